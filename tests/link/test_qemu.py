"""The stream link with a real QEMU at its other end: the network boot program of a NIC's option ROM is the guest."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from harness import process
from harness.errors import LinkError
from harness.link import Direction, StreamLink
from harness.traffic import Stations, TcpListener
from harness.waiting import Deadline, wait_for
from harness.witness import Witness

MAC = "52:54:00:77:66:10"
ADDRESS = "192.0.2.2"


class Router:
    """Gives the guest its address. The boot program also looks for IPv6, and goes on without after 16 s."""

    def __init__(self, link: StreamLink) -> None:
        self.link = link
        self.acknowledged = threading.Event()
        link.subscribe(self.answer, Direction.FROM_GUEST)

    def answer(self, direction: Direction, frame: bytes, when: float) -> None:
        asked = Ether(frame)
        if BOOTP not in asked or asked[BOOTP].op != 1:
            return
        discovering = (
            dict(option[:2] for option in asked[DHCP].options if isinstance(option, tuple))["message-type"] == 1
        )
        gateway = "192.0.2.1"
        self.link.post(
            bytes(
                Ether(src="02:00:c0:00:02:01", dst=MAC)
                / IP(src=gateway, dst="255.255.255.255")
                / UDP(sport=67, dport=68)
                / BOOTP(
                    op=2,
                    xid=asked[BOOTP].xid,
                    yiaddr=ADDRESS,
                    siaddr=gateway,
                    chaddr=asked[BOOTP].chaddr,
                    file=b"http://198.51.100.5/script",
                )
                / DHCP(
                    options=[
                        ("message-type", "offer" if discovering else "ack"),
                        ("server_id", gateway),
                        ("lease_time", 3600),
                        ("subnet_mask", "255.255.255.0"),
                        ("router", gateway),
                        "end",
                    ]
                )
            )
        )
        if not discovering:
            self.acknowledged.set()


SCRIPT = b"""#!ipxe
imgfetch http://198.51.100.5/large
imgfetch http://198.51.100.5/done
"""


def serve(listener: TcpListener, answer: bytes, deadline: Deadline) -> str:
    """Answer one HTTP request; returns the path that was asked for."""
    connection = listener.wait_for_connection(deadline)
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += connection.receive(1, deadline)
    connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
    connection.close()
    connection.flush(deadline)
    return request.split()[1].decode()


@pytest.mark.vm
def test_a_boot_program_in_qemu_talks_to_stations(tmp_path: Path) -> None:
    """Its DHCP, ARP, ICMP and TCP are those of a stranger: they agree with ours, and the link carries them whole."""
    deadline = Deadline(90)
    with (
        StreamLink.listen() as link,
        Stations(link, guest_mac=MAC) as stations,
        Witness(link, tmp_path / "frames.pcapng") as witness,
    ):
        server = Router(link)
        web = stations.add("198.51.100.5").tcp_listen(80)
        lost: list[str] = []
        link.on_lost(lost.append)
        argv = [
            "qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-display", "none", "-nodefaults", "-boot", "n",
            "-netdev", f"socket,id=test0,connect=127.0.0.1:{link.port}",
            "-device", f"e1000e,netdev=test0,mac={MAC},bootindex=1",
        ]  # fmt: skip
        with process.start(argv) as qemu:
            link.accept(deadline)
            assert server.acknowledged.wait(deadline.remaining()), [str(frame) for frame in witness.frames()]
            assert stations.arp_ping(deadline) > 0
            assert stations.ping(deadline) > 0
            asked = [serve(web, answer, deadline) for answer in (SCRIPT, bytes(range(256)) * 2000, b"done")]
            assert asked == ["/script", "/large", "/done"]
            qemu.kill()
            wait_for(lambda: lost or None, deadline, "the end of QEMU to be told", 0.001)
        with pytest.raises(LinkError):
            link.send(b"x")
        assert witness.troubled() == []
        assert witness.select(proto="udp", dport=67, direction="from-guest")
        assert stations.counters.bad_packets == 0
        syn, syn_ack = witness.select(proto="tcp", flags="S")[:2]
        assert (syn.flags, syn_ack.flags) == ("S", "SA")  # an answer is never seen before its question
