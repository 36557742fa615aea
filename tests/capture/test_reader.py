"""Captures are read exactly, whatever wrote them, and nothing in a file is believed."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, CookedLinux, CookedLinuxV2, Dot1AD, Dot1Q, Ether, Loopback
from scapy.packet import Packet as ScapyPacket
from scapy.packet import Raw
from scapy.utils import PcapNgWriter, PcapWriter

from harness.capture import Capture, Limits, Packet, read
from harness.errors import CaptureError

MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
FOUR = Ether(**MACS, type=0x800)
UDP4 = bytes(IP(src="198.51.100.1", dst="203.0.113.2") / UDP(sport=53, dport=4000) / b"answer")
UDP6 = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=53, dport=4000) / b"answer six")

LINK_LAYERS = [
    (1, bytes(FOUR / UDP4) + bytes(6)),  # with the padding of a short frame
    (1, bytes(Ether(**MACS) / Dot1Q(vlan=7, type=0x800) / UDP4)),
    (1, bytes(Ether(**MACS) / Dot1AD(vlan=9) / Dot1Q(vlan=7, type=0x800) / UDP4)),
    (1, bytes(Ether(**MACS, type=0x8864)) + bytes.fromhex("110000010000") + b"\x00\x21" + UDP4),
    (101, UDP4),
    (228, UDP4),
    (12, UDP4),
    (0, b"\x02\0\0\0" + UDP4),
    (0, b"\0\0\0\x02" + UDP4),
    (108, b"\0\0\0\x02" + UDP4),
    (113, bytes(CookedLinux(pkttype=4, lladdrlen=6, src=b"\2\0\0\0\0\1", proto=0x800) / Raw(UDP4))),
    (276, bytes(CookedLinuxV2(pkttype=4, lladdrlen=6, src=b"\2\0\0\0\0\1", proto=0x800) / Raw(UDP4))),
]


def pcap(
    records: list[tuple[int, int, bytes, int]], *, order: str = "<", magic: int = 0xA1B2C3D4, link: int = 101
) -> bytes:
    head = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    return head + b"".join(
        struct.pack(order + "IIII", sec, fraction, len(data), length) + data for sec, fraction, data, length in records
    )


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order: str) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order: str, link: int = 101, options: bytes = b"", snap: int = 0) -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link, 0, snap) + options)


def enhanced(
    order: str, data: bytes, *, ticks: int = 0, number: int = 0, length: int | None = None, options: bytes = b""
) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), length or len(data))
    return block(order, 6, head + data + bytes(-len(data) % 4) + options)


def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "it.pcap"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(("link", "frame"), LINK_LAYERS, ids=range(len(LINK_LAYERS)))
def test_the_link_layer_is_taken_off(tmp_path: Path, link: int, frame: bytes) -> None:
    capture = read(file(tmp_path, pcap([(1, 0, frame, len(frame))], link=link)))
    assert [packet.data for packet in capture.packets] == [UDP4]
    assert capture.packets[0].length == len(UDP4)


@pytest.mark.parametrize("link", [113, 276])
def test_cooked_captures_tell_who_sent_a_packet(tmp_path: Path, link: int) -> None:
    frame = dict(LINK_LAYERS)[link]
    packet = read(file(tmp_path, pcap([(1, 0, frame, len(frame))], link=link))).packets[0]
    assert (packet.outgoing, packet.source_mac.hex()) == (True, "020000000001")


@pytest.mark.parametrize("family", [10, 24, 28, 30])
def test_ipv6_on_loopback_has_the_number_of_its_system(tmp_path: Path, family: int) -> None:
    frame = family.to_bytes(4, "little") + UDP6
    capture = read(file(tmp_path, pcap([(1, 0, frame, len(frame))], link=0)))
    assert capture.packets[0].data == UDP6


def test_scapys_loopback_is_read(tmp_path: Path) -> None:
    frame = bytes(Loopback(type=2) / Raw(UDP4))
    assert read(file(tmp_path, pcap([(1, 0, frame, len(frame))], link=0))).packets[0].data == UDP4


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "fraction", "nanoseconds"), [(0xA1B2C3D4, 7, 7_000), (0xA1B23C4D, 7, 7)])
def test_pcap_has_two_byte_orders_and_two_units(
    tmp_path: Path, order: str, magic: int, fraction: int, nanoseconds: int
) -> None:
    capture = read(file(tmp_path, pcap([(1_700_000_000, fraction, UDP4, 99)], order=order, magic=magic)))
    packet = capture.packets[0]
    assert packet.time == 1_700_000_000_000_000_000 + nanoseconds
    assert (packet.number, packet.data) == (1, UDP4)


@pytest.mark.parametrize(
    ("resolution", "ticks", "nanoseconds"),
    [(b"", 5, 5_000), (b"\x09", 5, 5), (b"\x00", 5, 5_000_000_000), (b"\x81", 3, 1_500_000_000), (b"\x0c", 5_999, 5)],
)
@pytest.mark.parametrize("order", ["<", ">"])
def test_times_of_pcapng_are_exact(tmp_path: Path, order: str, resolution: bytes, ticks: int, nanoseconds: int) -> None:
    options = struct.pack(order + "HH", 9, 1) + resolution + bytes(3) if resolution else b""
    options += struct.pack(order + "HHq", 14, 8, 100)
    data = section(order) + interface(order, options=options) + enhanced(order, UDP4, ticks=ticks)
    assert read(file(tmp_path, data)).packets[0].time == 100_000_000_000 + nanoseconds


def test_each_section_has_its_own_order_and_interfaces(tmp_path: Path) -> None:
    data = section("<") + interface("<", 1) + enhanced("<", bytes(FOUR / UDP4))
    data += section(">") + interface(">", 101) + enhanced(">", UDP6)
    assert [packet.data for packet in read(file(tmp_path, data)).packets] == [UDP4, UDP6]


def test_simple_and_obsolete_packets_and_unknown_blocks_are_read(tmp_path: Path) -> None:
    data = section("<") + interface("<", 101) + block("<", 0xBAD, b"anything")
    data += enhanced("<", UDP4, ticks=9)
    data += block("<", 3, struct.pack("<I", len(UDP6)) + UDP6)
    data += block("<", 2, struct.pack("<HHIIII", 0, 0, 0, 11, len(UDP4), len(UDP4)) + UDP4)
    capture = read(file(tmp_path, data))
    assert [(packet.number, packet.time) for packet in capture.packets] == [(1, 9_000), (2, 9_000), (3, 11_000)]
    assert any("without a time" in note.text for note in capture.notes)


@pytest.mark.parametrize(("flags", "outgoing"), [(1, False), (2, True), (0, None)])
def test_the_direction_of_a_pcapng_packet_is_kept(tmp_path: Path, flags: int, outgoing: bool | None) -> None:
    options = struct.pack("<HHI", 2, 4, flags) + bytes(4)
    data = section("<") + interface("<") + enhanced("<", UDP4, options=options)
    assert read(file(tmp_path, data)).packets[0].outgoing is outgoing


def test_a_cut_packet_says_what_it_lacks(tmp_path: Path) -> None:
    capture = read(file(tmp_path, pcap([(1, 0, UDP4[:30], len(UDP4)), (1, 0, UDP4, len(UDP4))])))
    assert [packet.is_cut for packet in capture.packets] == [True, False]
    assert [note.number for note in capture.notes] == [1]
    assert f"30 bytes of {len(UDP4)}" in str(capture.notes[0])


def test_a_file_that_ends_in_the_middle_gives_what_it_has(tmp_path: Path) -> None:
    whole = pcap([(1, 0, UDP4, len(UDP4)), (2, 0, UDP6, len(UDP6))])
    for end in range(len(whole) - 1, len(whole) - len(UDP6) - 16, -1):
        capture = read(file(tmp_path, whole[:end]))
        assert [packet.data for packet in capture.packets] == [UDP4]
        assert "behind its packet 1" in capture.notes[0].text


def test_offloaded_segments_of_length_zero_are_as_long_as_their_frame(tmp_path: Path) -> None:
    segment = bytearray(bytes(IP(src="198.51.100.1", dst="203.0.113.2") / TCP() / Raw(bytes(3000))))
    segment[2:4] = b"\0\0"
    packet = read(file(tmp_path, pcap([(1, 0, bytes(segment), len(segment))]))).packets[0]
    assert (packet.length, packet.is_cut) == (3040, False)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends in the middle"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"MZ\x90\x00", "neither pcap nor pcapng"),
        (pcap([]), "0 frames and no IP packet"),
        (pcap([(1, 0, bytes(Ether(**MACS) / ARP()), 42)], link=1), "1 frame and no IP packet: 1 of ARP"),
        (pcap([(1, 0, UDP4, 1)], link=105), "1 of link type 105"),
        (section("<") + interface("<") + struct.pack("<II", 6, 0xFFFFFFFC), "at most 16777216"),
        (section("<")[:-4] + bytes(4), "no IP packet|cannot be followed|no order|0 frames"),
    ],
)
def test_what_is_no_capture_is_told_in_a_sentence(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(CaptureError, match=words):
        read(file(tmp_path, data))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="No such file"):
        read(tmp_path / "none.pcap")


def test_more_than_the_limit_is_refused_and_a_choice_is_not(tmp_path: Path) -> None:
    path = file(tmp_path, pcap([(n, 0, UDP4, len(UDP4)) for n in range(20)]))
    with pytest.raises(CaptureError, match="packet 11 was one too many"):
        read(path, Limits(packets=10))
    with pytest.raises(CaptureError, match="one too many"):
        read(path, Limits(bytes=100))
    chosen = read(path, Limits(packets=10), choose=lambda packet: packet.number > 15)
    assert chosen.numbers == (16, 17, 18, 19, 20)


def test_progress_ends_with_the_whole_file(tmp_path: Path) -> None:
    path = file(tmp_path, pcap([(n, 0, UDP4, len(UDP4)) for n in range(5000)]))
    seen: list[tuple[int, int]] = []
    read(path, progress=lambda at, of: seen.append((at, of)))
    size = path.stat().st_size
    assert seen[-1] == (size, size)
    assert seen[0][0] < size


frames = st.builds(
    lambda payload, ports, six: (IPv6() if six else IP()) / UDP(sport=ports[0], dport=ports[1]) / Raw(payload),
    st.binary(max_size=200), st.tuples(st.integers(1, 65535), st.integers(1, 65535)), st.booleans(),
)  # fmt: skip


@given(st.lists(st.tuples(frames, st.integers(0, 2**32 - 1)), min_size=1, max_size=8), st.booleans(), st.booleans())
def test_what_scapy_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory, packets: list[tuple[ScapyPacket, int]], ng: bool, nano: bool
) -> None:
    path = tmp_path_factory.mktemp("scapy") / "it"
    writer = PcapNgWriter(str(path)) if ng else PcapWriter(str(path), linktype=1, nano=nano)
    with writer:
        for packet, seconds in packets:
            frame = Ether(**MACS) / packet
            frame.time = seconds
            writer.write(frame)
    capture = read(path)
    assert [(packet.data, packet.time // 1_000_000_000) for packet in capture.packets] == [
        (bytes(packet), seconds) for packet, seconds in packets
    ]


packet_values = st.builds(
    Packet,
    number=st.just(0),
    time=st.integers(0, 2**63),
    data=st.sampled_from([UDP4, UDP6]),
    length=st.just(0),
    outgoing=st.sampled_from([None, True, False]),
)


@given(st.lists(packet_values, min_size=1, max_size=10))
def test_what_is_written_is_read_again(tmp_path_factory: pytest.TempPathFactory, packets: list[Packet]) -> None:
    numbered = tuple(
        Packet(number, packet.time, packet.data, len(packet.data), packet.outgoing)
        for number, packet in enumerate(packets, 1)
    )
    path = tmp_path_factory.mktemp("written") / "deep" / "it.pcapng"
    Capture(numbered).write(path)
    assert read(path) == Capture(numbered)


WHOLE = [
    pcap([(1, 0, frame, len(frame)) for _, frame in LINK_LAYERS[:4]], link=1),
    section("<") + interface("<", 101, struct.pack("<HHIHHq", 9, 1, 9, 14, 8, 3)) + enhanced("<", UDP4) * 3,
    section(">") + interface(">", 276) + enhanced(">", LINK_LAYERS[-1][1]) * 2,
]


@given(st.sampled_from(WHOLE), st.data())
def test_a_damaged_file_is_read_as_far_as_it_goes_or_refused(
    tmp_path_factory: pytest.TempPathFactory, whole: bytes, data: st.DataObject
) -> None:
    damaged = bytearray(whole)
    for at in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=6)):
        damaged[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / "it"
    path.write_bytes(damaged[: data.draw(st.integers(0, len(whole)))])
    try:
        capture = read(path)
    except CaptureError:
        return
    assert capture.packets
    capture.conversations()


@given(st.binary(max_size=400), st.sampled_from([0, 1, 12, 101, 108, 113, 228, 276]))
def test_frames_of_anything_are_read_or_left_out(
    tmp_path_factory: pytest.TempPathFactory, frame: bytes, link: int
) -> None:
    path = tmp_path_factory.mktemp("anything") / "it"
    path.write_bytes(pcap([(0, 0, frame, len(frame))], link=link))
    try:
        capture = read(path)
    except CaptureError:
        return
    assert capture.packets[0].length >= 20
    capture.conversations()
