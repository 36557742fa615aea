"""Framing and checksums, against any chopping and against Scapy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.utils import checksum as scapy_checksum

from harness.errors import LinkError, UsageError
from harness.link.checksum import internet_checksum, is_valid
from harness.link.framing import MAX_FRAME, FrameDecoder, encode_frame

frames = st.lists(st.binary(min_size=1, max_size=100), max_size=20)


@given(frames, st.lists(st.integers(1, 50)))
def test_frames_survive_any_chopping(sent: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(encode_frame, sent))
    decoder, received = FrameDecoder(), []
    for cut in cuts:
        received += decoder.feed(stream[:cut])
        stream = stream[cut:]
    received += decoder.feed(stream)
    assert received == sent


@given(frames, st.integers(0, 3000))
def test_a_forgotten_partial_frame_is_the_only_one_missing(sent: list[bytes], cut: int) -> None:
    stream = b"".join(map(encode_frame, sent))
    decoder = FrameDecoder()
    early = decoder.feed(stream[:cut])
    forgot = decoder.forget_partial()
    assert decoder.feed(stream[cut:]) == sent[len(early) + forgot :]


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1, 0xFFFFFFFF])
def test_a_length_that_no_frame_has_ends_the_stream(length: int) -> None:
    with pytest.raises(LinkError, match=f"announced a frame of {length} bytes"):
        FrameDecoder().feed(length.to_bytes(4, "big"))


@pytest.mark.parametrize("length", [0, MAX_FRAME + 1])
def test_a_frame_that_qemu_would_hang_up_on_is_refused(length: int) -> None:
    with pytest.raises(UsageError, match=f"A frame of {length} bytes cannot be sent"):
        encode_frame(bytes(length))


@given(st.binary(max_size=3000))
def test_the_checksum_is_the_one_that_scapy_computes(data: bytes) -> None:
    assert internet_checksum(data) == scapy_checksum(data)


@given(st.binary(min_size=4, max_size=200).filter(lambda data: len(data) % 2 == 0), st.data())
def test_any_single_flipped_bit_is_found(data: bytes, draw: st.DataObject) -> None:
    whole = data + internet_checksum(data).to_bytes(2, "big")
    bit = draw.draw(st.integers(0, len(whole) * 8 - 1))
    broken = bytearray(whole)
    broken[bit // 8] ^= 1 << bit % 8
    assert is_valid(whole)
    assert not is_valid(bytes(broken))
