"""Another order is another meeting of the same conversations."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.capture import Capture
from harness.minimise.seeds import interleaved
from tests.minimise.field import field_capture

CAPTURE = field_capture(connections=9, culprit=4)


def told(capture: Capture) -> list[tuple[int, ...]]:
    return sorted(conversation.numbers for conversation in capture.conversations())


@given(seed=st.integers(1, 1 << 40))
def test_each_conversation_keeps_its_order_and_the_moments_stay(seed: int) -> None:
    other = interleaved(CAPTURE, seed)
    assert told(other) == told(CAPTURE)
    assert [packet.time for packet in other.packets] == [packet.time for packet in CAPTURE.packets]
    assert other == interleaved(CAPTURE, seed)


def test_seed_zero_is_the_capture_and_others_are_not() -> None:
    assert interleaved(CAPTURE, 0) is CAPTURE
    orders = {interleaved(CAPTURE, seed).numbers for seed in range(5)}
    assert len(orders) == 5
