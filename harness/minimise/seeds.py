"""Other orders in which the conversations of a capture could have met, by a seed: for faults that need luck."""

from __future__ import annotations

import random
from dataclasses import replace

from harness.capture import Capture, Packet


def interleaved(capture: Capture, seed: int) -> Capture:
    """The same conversations, each in its own order, met by chance; the moments of the packets stay. 0: as captured.

    A packet that comes now at another's moment takes that moment's time. A conversation may begin before one that it
    followed from: the answer of a name server comes after a connect then, say.
    """
    if seed == 0:
        return capture
    chance = random.Random(seed)  # noqa: S311 - an order, no secret
    owner: dict[int, int] = {}
    for number, conversation in enumerate(capture.conversations()):
        owner |= dict.fromkeys(conversation.numbers, number)
    queues: dict[int, list[Packet]] = {}
    for packet in capture.packets:
        queues.setdefault(owner.get(packet.number, -packet.number), []).append(packet)
    draws = [name for name, queue in queues.items() for _ in queue]
    chance.shuffle(draws)
    heads = {name: iter(queue) for name, queue in queues.items()}
    order = (next(heads[name]) for name in draws)
    return replace(
        capture,
        packets=tuple(replace(packet, time=at.time) for packet, at in zip(order, capture.packets, strict=True)),
    )
