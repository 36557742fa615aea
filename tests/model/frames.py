"""Frames for the fuzz runs: a corpus of ordinary ones that are changed at random, and strategies for odd ones."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import TypeAlias

from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    RouterAlert,
    fragment6,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Packet, Raw

GUEST, PEER, BEYOND = "192.0.2.2", "198.51.100.5", "10.1.2.3"
GUEST6, PEER6 = "2001:db8::2", "2001:db8::5"


class Source(IntEnum):
    """Where a frame comes from, as `engine_fuzz` counts."""

    GUEST = 0
    LINK = 1
    SECOND = 2


Framed: TypeAlias = tuple[Source, bytes]


def pack(frames: Sequence[Framed]) -> bytes:
    """The frames as `engine_fuzz` reads them: length (4 bytes, little-endian), source, bytes."""
    return b"".join(struct.pack("<IB", len(data), source) + data for source, data in frames)


def _ethernet(packet: Packet) -> bytes:
    return bytes(Ether(src="02:02:02:02:02:02", dst="02:00:00:00:00:01") / packet)


def _transports(here: int, there: int) -> list[Packet]:
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("NOP", None), ("WScale", 7)]
    return [
        UDP(sport=here, dport=there) / Raw(b"a datagram"),
        UDP(sport=here, dport=there),
        TCP(sport=here, dport=there, flags="S", seq=1000, options=options),
        TCP(sport=here, dport=there, flags="SA", seq=2000, ack=1001),
        TCP(sport=here, dport=there, flags="PA", seq=1001, ack=2001) / Raw(b"GET / HTTP/1.1\r\n\r\n"),
        TCP(sport=here, dport=there, flags="FA", seq=1019, ack=2001),
        TCP(sport=here, dport=there, flags="R", seq=1020),
    ]


def corpus() -> list[Framed]:
    """What a guest and its peers say to each other, of every kind that the engine looks into."""
    packets: list[tuple[Source, Packet]] = []
    for source, v4, v6, here, there in (
        (Source.GUEST, IP(src=GUEST, dst=PEER), IPv6(src=GUEST6, dst=PEER6), 5000, 80),
        (Source.LINK, IP(src=PEER, dst=GUEST), IPv6(src=PEER6, dst=GUEST6), 80, 5000),
    ):
        for inner in _transports(here, there):
            packets += [(source, v4 / inner), (source, v6 / inner)]
        big = UDP(sport=here, dport=there) / Raw(bytes(range(256)) * 8)
        packets += [(source, part) for part in fragment(v4 / big, fragsize=800)]
        packets += [(source, part) for part in fragment6(v6 / IPv6ExtHdrFragment(id=7) / big, 900)]
        datagram = UDP(sport=here, dport=there) / Raw(b"behind options")
        packets += [
            (source, v4 / ICMP() / Raw(b"ping")),
            (source, v4 / ICMP(type=3, code=3) / IP(src=v4.dst, dst=v4.src) / UDP(sport=there, dport=here)),
            (source, v6 / ICMPv6EchoRequest(id=1, seq=1, data=b"ping")),
            (source, v6 / ICMPv6DestUnreach(code=4) / IPv6(src=v6.dst, dst=v6.src) / UDP(sport=there, dport=here)),
            (source, v6 / IPv6ExtHdrHopByHop(options=[RouterAlert(), PadN(optdata=b"12")]) / datagram),
            (source, v6 / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=[PEER6]) / datagram),
            (source, IP(src=v4.src, dst=v4.dst, options=b"\x07\x07\x04\0\0\0\0\0") / datagram),
            (source, IP(src=v4.src, dst=v4.dst, proto=47) / Raw(b"\0" * 30)),
        ]
    packets += [
        (Source.LINK, IP(src=PEER, dst=BEYOND) / UDP(sport=1, dport=2) / Raw(b"forwarded")),
        (Source.SECOND, IP(src=BEYOND, dst=PEER) / UDP(sport=2, dport=1) / Raw(b"and back")),
        (Source.LINK, IPv6(src="fe80::1", dst="ff02::1:ff00:2") / ICMPv6ND_NS(tgt=GUEST6)),
        (Source.LINK, ARP(psrc=PEER, pdst=GUEST)),
        (Source.LINK, Dot1Q(vlan=5) / IP(src=PEER, dst=GUEST) / UDP(sport=3, dport=4)),
    ]
    return [(source, _ethernet(packet)) for source, packet in packets]


_ADDRESSES = {4: [GUEST, PEER, BEYOND, "255.255.255.255", "224.0.0.1", "0.0.0.0", "127.0.0.1"]}
_ADDRESSES[6] = [GUEST6, PEER6, "::", "::1", "ff02::1", "fe80::1"]
_PORTS = st.sampled_from([0, 53, 80, 5000, 5001, 65535])


@st.composite
def _transport(draw: st.DrawFn) -> Packet:
    payload = Raw(draw(st.binary(max_size=64)))
    ports = {"sport": draw(_PORTS), "dport": draw(_PORTS)}
    if draw(st.booleans()):
        length = draw(st.one_of(st.none(), st.integers(0, 65535)))
        return UDP(**ports, len=length, chksum=draw(st.sampled_from([None, 0, 1]))) / payload
    return (
        TCP(
            **ports,
            flags=draw(st.integers(0, 255)),
            seq=draw(st.sampled_from([0, 1000, 1001, 2**31, 2**32 - 1])),
            ack=draw(st.sampled_from([0, 1001, 2001, 2**32 - 1])),
            dataofs=draw(st.one_of(st.none(), st.integers(0, 15))),
        )
        / payload
    )


@st.composite
def _network(draw: st.DrawFn) -> Packet:
    family = draw(st.sampled_from([4, 6]))
    source, destination = (draw(st.sampled_from(_ADDRESSES[family])) for _ in range(2))
    length = draw(st.one_of(st.none(), st.integers(0, 65535)))
    if family == 4:
        header = IP(
            src=source,
            dst=destination,
            ihl=draw(st.one_of(st.none(), st.integers(0, 15))),
            len=length,
            id=draw(st.integers(0, 3)),
            flags=draw(st.integers(0, 7)),
            frag=draw(st.sampled_from([0, 0, 0, 1, 2, 8191])),
            ttl=draw(st.sampled_from([0, 1, 64])),
        )
    else:
        header = IPv6(src=source, dst=destination, plen=length, hlim=draw(st.sampled_from([0, 1, 64])))
        for _ in range(draw(st.integers(0, 3))):
            header /= draw(
                st.sampled_from(
                    [
                        IPv6ExtHdrHopByHop(),
                        IPv6ExtHdrDestOpt(len=255),
                        IPv6ExtHdrRouting(),
                        IPv6ExtHdrFragment(offset=0, m=1, id=1),
                        IPv6ExtHdrFragment(offset=1, m=0, id=1),
                    ]
                )
            )
    return header / draw(_transport())


@st.composite
def frames(draw: st.DrawFn) -> Framed:
    """One frame from anywhere: well made, or of lengths and offsets that contradict each other, or cut short."""
    source = draw(st.sampled_from(list(Source)))
    data = draw(st.one_of(_network().map(_ethernet), st.binary(max_size=120)))
    return source, data[: draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))]
