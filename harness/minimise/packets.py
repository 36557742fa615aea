"""Packets as a scenario writes them: `tcp(PEER, GUEST, "PA", seq=401, ack=1, data=b"a")`.

Sequence numbers are small ones, as the replay gives every connection live ones in their place anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from harness.capture import Capture, Conversation, Packet
from harness.errors import UsageError
from harness.link.checksum import internet_checksum
from harness.link.headers import ACK, FIN, PSH, RST, SYN, TCP, UDP, URG, IpPacket, TcpSegment, address_text
from harness.traffic.assemble import icmp_body, icmp_protocol, ip_frame, tcp_body, udp_body

_FLAGS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "A": ACK, "U": URG}
_WINDOW = 64240
_MACS = bytes(6), bytes(6)
_ETHERNET = 14
_SEQUENCES = 1 << 32


def tcp(
    source: str,
    destination: str,
    flags: str,
    *,
    seq: int = 0,
    ack: int = 0,
    data: bytes = b"",
    window: int = _WINDOW,
    after: float = 0,
) -> Packet:
    """A TCP segment between two endpoints, as `198.51.100.7:40000`; `after` seconds behind the packet before it."""
    unknown = [letter for letter in flags if letter not in _FLAGS]
    if unknown:
        raise UsageError(f"'{flags}' is no set of TCP flags: '{unknown[0]}' is none of {' '.join(_FLAGS)}.")
    a, a_port = _endpoint(source)
    b, b_port = _endpoint(destination)
    bits = sum(_FLAGS[letter] for letter in set(flags))
    return _packet(a, b, TCP, tcp_body(a, b, (a_port, b_port), seq, ack, bits, window, data), after)


def udp(source: str, destination: str, *, data: bytes = b"", after: float = 0) -> Packet:
    """A UDP datagram between two endpoints."""
    a, a_port = _endpoint(source)
    b, b_port = _endpoint(destination)
    return _packet(a, b, UDP, udp_body(a, b, (a_port, b_port), data), after)


def icmp(
    source: str, destination: str, kind: int, code: int = 0, *, rest: bytes = bytes(4), after: float = 0
) -> Packet:
    """An ICMP message between two addresses, ICMPv6 where they are; `rest` is what follows the checksum."""
    a, b = ip_address(source).packed, ip_address(destination).packed
    return _packet(a, b, icmp_protocol(a), icmp_body(a, b, kind, code, rest), after)


def raw(text: str, *, length: int | None = None, after: float = 0) -> Packet:
    """An IP packet in hexadecimal digits; `length` is what it had on the wire, where more than is here."""
    data = bytes.fromhex(text)
    return Packet(0, round(after * 1e9), data, len(data) if length is None else length)


def capture_of(packets: Iterable[Packet]) -> Capture:
    """A capture of packets that were written down: counted from 1, with the pauses that they name."""
    time, numbered = 0, []
    for number, packet in enumerate(packets, 1):
        time += packet.time
        numbered.append(replace(packet, number=number, time=time))
    return Capture(tuple(numbered))


def readable(conversation: Conversation) -> Iterable[Packet]:
    """The packets as the functions above would make them: without options, every connection counted from 0."""
    bases: dict[tuple[bytes, int], int] = {}
    for packet in conversation.packets:
        ip, segment = packet.ip, packet.tcp
        if ip is None or segment is None:
            continue
        source, destination = ip.ports
        bases.setdefault((ip.source, source), segment.seq)
        if segment.flags & ACK:  # of a side that never speaks: its SYN was 0
            bases.setdefault((ip.destination, destination), segment.ack - 1)
    for packet in conversation.packets:
        ip, segment = packet.ip, packet.tcp
        if ip is None or ip.fragment or packet.is_cut or ip.trouble is not None:
            continue
        if segment is not None:
            source, destination = ip.ports
            ack = segment.ack - bases[ip.destination, destination] if segment.flags & ACK else 0
            seq = segment.seq - bases[ip.source, source]
            moved = replace(segment, seq=seq % _SEQUENCES, ack=ack % _SEQUENCES)
            yield _as(packet, tcp(**_tcp_fields(ip, moved)))
        elif ip.protocol in (UDP, icmp_protocol(ip.source)) and len(ip.body) >= 8:
            yield _as(packet, udp(**_udp_fields(ip)) if ip.protocol == UDP else icmp(**_icmp_fields(ip)))


def written(packet: Packet, names: dict[str, str], *, after: float = 0) -> str:
    """The call that makes this packet; `names` are what endpoints and addresses are called in the scenario."""
    ip, segment = packet.ip, packet.tcp
    if ip is not None and not ip.fragment:
        if segment is not None and segment.flags < 64:
            fields = _tcp_fields(ip, segment)
            if tcp(**fields).data == packet.data:
                return _call("tcp", fields, names, after)
        elif ip.protocol == UDP and len(ip.body) >= 8:
            fields = _udp_fields(ip)
            if udp(**fields).data == packet.data:
                return _call("udp", fields, names, after)
        elif ip.protocol == icmp_protocol(ip.source) and len(ip.body) >= 4:
            fields = _icmp_fields(ip)
            if icmp(**fields).data == packet.data:
                return _call("icmp", fields, names, after)
    more = f", length={packet.length}" if packet.is_cut else ""
    return f'raw("{packet.data.hex()}"{more}{_pause(after)})'


def endpoint_of(address: bytes, port: int) -> str:
    """As the functions above want it."""
    text = address_text(address)
    return f"[{text}]:{port}" if ":" in text else f"{text}:{port}"


def _tcp_fields(ip: IpPacket, segment: TcpSegment) -> dict[str, Any]:
    letters = "".join(letter for letter, bit in _FLAGS.items() if segment.flags & bit)
    return {
        "source": endpoint_of(ip.source, segment.source_port),
        "destination": endpoint_of(ip.destination, segment.destination_port),
        "flags": letters,
        "seq": segment.seq,
        "ack": segment.ack,
        "data": segment.payload,
        "window": segment.window,
    }


def _udp_fields(ip: IpPacket) -> dict[str, Any]:
    source, destination = ip.ports
    return {
        "source": endpoint_of(ip.source, source),
        "destination": endpoint_of(ip.destination, destination),
        "data": ip.payload,
    }


def _icmp_fields(ip: IpPacket) -> dict[str, Any]:
    return {
        "source": address_text(ip.source),
        "destination": address_text(ip.destination),
        "kind": ip.body[0],
        "code": ip.body[1],
        "rest": ip.body[4:],
    }


_DEFAULTS: dict[str, Any] = {"seq": 0, "ack": 0, "data": b"", "window": _WINDOW, "rest": bytes(4)}
_IN_ORDER = ("source", "destination", "flags", "kind", "code")


def _call(function: str, fields: dict[str, Any], names: dict[str, str], after: float) -> str:
    words = [names.get(str(fields[name]), _literal(fields[name])) for name in ("source", "destination")]
    words += [_literal(fields[name]) for name in _IN_ORDER[2:] if name in fields]
    words += [
        f"{name}={_literal(value)}"
        for name, value in fields.items()
        if name not in _IN_ORDER and value != _DEFAULTS[name]
    ]
    return f"{function}({', '.join(words)}{_pause(after)})"


def _pause(after: float) -> str:
    return f", after={after!r}" if after else ""


def _literal(value: object) -> str:
    if isinstance(value, bytes) and len(value) > 8 and len(set(value)) == 1:
        return f"{_literal(value[:1])} * {len(value)}"
    text = repr(value)
    return text if '"' in text or not text.endswith("'") else text.replace("'", '"')


def _endpoint(text: str) -> tuple[bytes, int]:
    address, _, port = text.rpartition(":")
    try:
        packed, number = ip_address(address.strip("[]")).packed, int(port)
    except ValueError:
        number = -1
    if not 0 <= number <= 65535:
        raise UsageError(f"'{text}' is no endpoint, wanted an address and a port as 198.51.100.7:80.")
    return packed, number


def _packet(source: bytes, destination: bytes, protocol: int, body: bytes, after: float) -> Packet:
    if len(source) != len(destination):
        raise UsageError(
            f"{address_text(source)} and {address_text(destination)} are not of one family: no packet joins them."
        )
    data = bytearray(ip_frame(*_MACS, source, destination, protocol, body)[_ETHERNET:])
    if len(source) == 4:  # the same packet each time that it is made
        data[4:6] = b"\0\0"
        data[10:12] = b"\0\0"
        data[10:12] = internet_checksum(bytes(data[:20])).to_bytes(2, "big")
    return Packet(0, round(after * 1e9), bytes(data), len(data))


def _as(packet: Packet, made: Packet) -> Packet:
    return replace(packet, data=made.data, length=made.length)
