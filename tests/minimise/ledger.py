"""What planted/ledger.c does with a capture, in Python: the verdict without a machine."""

from __future__ import annotations

import random
from ipaddress import ip_address

from harness.capture import Capture, Conversation
from harness.link.headers import ACK, FIN, RST, SYN
from harness.minimise.verdict import CrashPlace, Verdict
from harness.report import Outcome
from tests.minimise.field import GUEST

CRASH = Verdict(
    outcome=Outcome.CRASH,
    message="The guest crashed: bugcheck 0x139.",
    crash=CrashPlace(code=0x139, module="ledger.sys", offset=0x1234, symbol="release_ledger"),
)
PASS = Verdict(outcome=Outcome.PASS)
LOST = Verdict(outcome=Outcome.LOST, message="The machine is gone.")


def judge(capture: Capture) -> Verdict:
    """CRASH where a RST overtakes data on a connection whose handshake is in the capture."""
    return CRASH if any(map(overtakes, capture.conversations())) else PASS


def overtakes(conversation: Conversation) -> bool:
    """Whether, on a connection that a peer opened, a RST comes while a segment is missing."""
    guest = ip_address(GUEST).packed
    next_number: int | None = None
    gap = False
    for packet in conversation.packets:
        ip, segment = packet.ip, packet.tcp
        if ip is None or segment is None or ip.source == guest:
            continue
        if segment.flags & RST:
            return gap
        if segment.flags & SYN:
            next_number = segment.seq
        if next_number is None:
            return False
        ahead = (segment.seq - next_number + (1 << 31)) % (1 << 32) - (1 << 31)
        if ahead > 0 and segment.payload:
            gap = True
        elif ahead <= 0:
            gap = False
            end = segment.seq + len(segment.payload) + bool(segment.flags & SYN) + bool(segment.flags & FIN)
            next_number = max(next_number, end % (1 << 32)) if segment.flags & ACK else end % (1 << 32)
    return False


class Flaky:
    """Fails in a share of the attempts alone, by a seed."""

    def __init__(self, rate: float, seed: int = 1) -> None:
        self.rate = rate
        self.calls = 0
        self._chance = random.Random(seed)

    def __call__(self, capture: Capture) -> Verdict:
        """A verdict."""
        self.calls += 1
        verdict = judge(capture)
        return verdict if verdict is PASS or self._chance.random() < self.rate else PASS
