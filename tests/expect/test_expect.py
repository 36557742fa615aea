"""Expectations: when they hold, when they fail, and what their failures say."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from types import SimpleNamespace

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from harness.errors import DeadlineExpired, ExpectationFailed, GuestCrashed, GuestHung, UsageError
from harness.expect import Fence, expect, timeline_at
from harness.expect.matching import fits
from harness.guest import ProbeClient, ProbeListener
from harness.trace import Trace
from harness.waiting import Deadline

MACS = {"src": "52:54:00:77:66:10", "dst": "02:00:c0:00:02:01"}


def witness(*packets: object) -> SimpleNamespace:
    frames = [
        SimpleNamespace(number=number, called="frame", direction="from-guest", raw=bytes(packet), fate="")
        for number, packet in enumerate(packets, 1)
    ]
    return SimpleNamespace(place="witness", frames=lambda: frames)


SYN = Ether(**MACS) / IP(src="192.0.2.2", dst="198.51.100.5") / TCP(sport=49152, dport=80, flags="S")
DATAGRAM = Ether(**MACS) / IP(src="192.0.2.2", dst="198.51.100.5") / UDP(sport=1024, dport=53) / b"a secret"
DAMAGED = bytes(DATAGRAM)[:-1] + b"X"


def trace(*records: dict[str, object]) -> Trace:
    made = Trace()
    made.take({"seq": number, "time_100ns": 0, "kind": 1, **fields} for number, fields in enumerate(records, 1))
    return made


def test_none_holds_when_no_frame_fits() -> None:
    expect(witness(SYN, Ether(**MACS) / ARP())).none(dst="198.51.100.6")
    expect(witness(SYN)).none(dst="198.51.100.5:81")
    expect(witness()).none()


def test_none_names_the_frames_that_fit() -> None:
    with pytest.raises(ExpectationFailed) as failure:
        expect(witness(DATAGRAM, SYN)).none(dst="198.51.100.5", proto="tcp")

    assert str(failure.value) == (
        "expect(witness).none: wanted no frame with dst='198.51.100.5', proto='tcp', saw 1: "
        "frame 2 from-guest tcp 192.0.2.2:49152 > 198.51.100.5:80 [S]."
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"dst": "198.51.100.5"}, {"dst": ":80"}, {"dst": "198.51.100.5:80"}, {"dport": 80}, {"flags": "S"},
        {"src": "192.0.2.2:49152", "proto": "tcp", "checksums": "right"}, {"dport": lambda port: port < 100},
        {"flags": {"S", "SA"}},
    ],
)  # fmt: skip
def test_one_finds_a_frame_by_any_of_its_fields(fields: dict[str, object]) -> None:
    expect(witness(DATAGRAM, SYN)).one(dport=80, **{k: v for k, v in fields.items() if k != "dport"})
    expect(witness(SYN)).one(**fields)


def test_a_segment_sent_again_is_told_from_one_injected_twice() -> None:
    again = SYN.copy()
    again[IP].id = 2
    expect(witness(SYN, again)).one(flags="S", retransmission=False)
    expect(witness(SYN, again)).one(flags="S", retransmission=True)
    expect(witness(SYN, SYN)).count(2, flags="S", retransmission=False)
    other = SYN.copy()
    other[TCP].seq = 7
    expect(witness(SYN, other)).count(2, flags="S", retransmission=False)


def test_payloads_are_compared_whole_or_by_what_they_hold() -> None:
    expect(witness(DATAGRAM)).one(payload=b"a secret")
    expect(witness(DATAGRAM)).one(contains=b"secret")
    expect(witness(DATAGRAM)).none(payload=b"secret")
    expect(witness(DATAGRAM)).none(contains=b"Secret")


def test_a_wrong_checksum_is_told() -> None:
    with pytest.raises(ExpectationFailed, match="UDP checksum is 0x"):
        expect(witness(DAMAGED)).one(proto="udp", checksums="right")


def test_a_misspelt_field_is_no_reason_for_none_to_hold() -> None:
    with pytest.raises(UsageError, match="no field 'port'"):
        expect(witness(SYN)).none(port=80)


def test_the_nearest_miss_says_in_what_it_differs_and_where_the_timeline_is() -> None:
    seen = trace({"layer": 48, "action": 0x1002}, {"layer": 66, "action": 0x1001, "remote_addr": "198.51.100.5"})

    with timeline_at(Path("out/x/timeline.txt")), pytest.raises(ExpectationFailed) as failure:
        expect(seen).one(layer="ALE_CONNECT_REDIRECT_V4", action="permit", remote="198.51.100.5")

    text = str(failure.value)
    assert "saw none among 2 events" in text
    assert "Nearest miss: event 2 classify ALE_CONNECT_REDIRECT_V4 block" in text
    assert "whose action 'block' is not as wanted" in text
    assert text.endswith("Timeline: out/x/timeline.txt")


def test_count_one_and_some_count() -> None:
    seen = trace({"action": 0x1002}, {"action": 0x1002})

    expect(seen).count(2, action="permit")
    expect(seen).some(action="permit")
    with pytest.raises(ExpectationFailed, match=r"wanted exactly 1 event .* saw 2"):
        expect(seen).one(action="permit")
    with pytest.raises(ExpectationFailed, match="at least one event"):
        expect(seen).some(action="block")


def test_in_order_does_not_use_one_event_twice() -> None:
    seen = trace({"kind": 3}, {"kind": 11}, {"kind": 4, "status": 0})

    expect(seen).in_order({"kind": "inject"}, {"kind": "inject-complete", "status": "STATUS_SUCCESS"})
    with pytest.raises(ExpectationFailed, match="number 2 of 2"):
        expect(seen).in_order({"kind": "self"}, {"kind": "inject"})
    with pytest.raises(ExpectationFailed, match="number 2 of 2"):
        expect(seen).in_order({"kind": "inject"}, {"kind": "inject"})


class Listener(ProbeListener):
    """A listener whose probe is two lists."""

    def __init__(self, contexts: list[bytes], *, extra: int = 0) -> None:
        super().__init__(ProbeClient(), 1, local="127.0.0.1:8080")
        self.contexts, self.count = contexts, len(contexts) + extra

    def state(self) -> dict[str, object]:
        return {"accepted": self.count}

    def accept(self, *, seconds: float = 10.0) -> SimpleNamespace:
        if not self.contexts:
            raise DeadlineExpired("nobody came")
        context = self.contexts.pop(0)
        return SimpleNamespace(peer="192.0.2.2:1", local="", redirect_context=lambda: context)


MEANT = bytes([198, 51, 100, 5, 0, 80, 0, 0])


def test_a_listener_is_judged_by_number_and_by_what_its_connections_were_meant_for() -> None:
    expect(Listener([MEANT])).accepted(original_remote="198.51.100.5:80")
    expect(Listener([])).nothing()
    with pytest.raises(ExpectationFailed, match=r"wanted 1 connections accepted at 127\.0\.0\.1:8080, saw 0"):
        expect(Listener([])).accepted()
    with pytest.raises(ExpectationFailed, match="saw 2"):
        expect(Listener([MEANT], extra=1)).accepted()
    with pytest.raises(ExpectationFailed, match=r"meant for 198\.51\.100\.5:80"):
        expect(Listener([MEANT])).accepted(original_remote="198.51.100.5:81")


def sockaddr(family: int, port: int, address: bytes, *, at: int) -> bytes:
    """A WFPCALLOUT_REDIRECT_CONTEXT: eight bytes of the rule's, then a SOCKADDR_STORAGE of Windows."""
    head = family.to_bytes(2, "little") + port.to_bytes(2, "big")
    return bytes(8) + (head + bytes(at - 4) + address).ljust(128, b"\0")


def test_a_redirect_context_says_where_a_connection_was_meant_to_go_in_both_families() -> None:
    six = ipaddress.ip_address("2001:db8:99::5").packed
    contexts = [sockaddr(2, 80, bytes([198, 51, 100, 5]), at=4), sockaddr(23, 8443, six, at=8)]
    expect(Listener(contexts[:1])).accepted(original_remote="198.51.100.5:80")
    expect(Listener(contexts[1:])).accepted(original_remote="[2001:db8:99::5]:8443")


def test_frames_of_ipv6_are_compared_with_their_ports_in_brackets() -> None:
    packet = Ether(**MACS) / IPv6(src="2001:db8::2", dst="2001:db8::5") / UDP(sport=1024, dport=53) / b"six"
    seen = witness(packet)
    expect(seen).one(src="[2001:db8::2]:1024", dst="[2001:db8::5]:53", checksums="right")
    expect(seen).one(dst="2001:db8::5")
    expect(seen).none(dst="2001:db8::2")


def test_an_ipv6_address_without_a_port_is_compared_as_a_whole() -> None:
    assert fits("2001:db8::5", "2001:db8::5")
    assert fits("2001:db8::5", "[2001:db8::5]:80")
    assert fits(":80", "[2001:db8::5]:80")
    assert not fits(":5", "2001:db8::5")


def test_bytes_that_differ_say_from_where() -> None:
    expect(b"same").equals(b"same")
    with pytest.raises(ExpectationFailed, match="the same up to offset 2"):
        expect(b"abXd").equals(b"abcd")


class Driver:
    """A driver that reaches its marker after some reads."""

    def __init__(self, reads: int) -> None:
        self.reads = reads
        self.order: list[str] = []

    def ping(self, deadline: object) -> None:
        self.order.append("ping")

    def drain(self) -> int:
        self.order.append("drain")
        return 7

    def read_events(self) -> SimpleNamespace:
        self.reads -= 1
        events = [{"seq": 7, "time_100ns": 1, "kind": 8}] if self.reads == 0 else []
        return SimpleNamespace(dropped=0, events=events, more=False)


def test_the_fence_pings_drains_pings_and_reads_up_to_the_marker() -> None:
    driver = Driver(reads=3)
    seen = Trace(driver)

    Fence([driver], driver, seen)(seconds=5)

    assert driver.order == ["ping", "drain", "ping"]
    assert seen.has_marker(7)


def test_a_fence_that_does_not_close_is_a_hang() -> None:
    driver = Driver(reads=-1)

    with pytest.raises(GuestHung, match=r"did not close within 0 s.*marker, event 7"):
        Fence([driver], driver, Trace(driver))(seconds=0.05)


def test_a_fence_looks_for_what_ended_the_guest_when_no_ping_comes_back() -> None:
    class Silent:
        asked = 0

        def ping(self, deadline: Deadline) -> None:
            self.asked += 1
            raise DeadlineExpired("Waited for the guest to answer a ping, in vain.")

    def crashed() -> None:
        if silent.asked == 2:
            raise GuestCrashed("bugcheck", code=0xD1)

    silent = Silent()
    with pytest.raises(GuestCrashed):
        Fence([silent], None, Trace(), crashed)(seconds=60)
    assert silent.asked == 2
