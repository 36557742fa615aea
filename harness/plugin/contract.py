"""Whether a driver kept its contract during a scenario, and how that is told.

A scenario that makes the driver break a rule on purpose says so, `@pytest.mark.misuse("W103")`, and fails when the
report does not come.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from harness.driver.contract import KERNEL_RULES, Breach, read_breaches
from harness.driver.guest_record import Frame
from harness.driver.symbols import Symbols
from harness.errors import DeadlineExpired
from harness.waiting import Deadline, wait_for
from harness.wfp import near_rules, unknown_ids

_REPORT_SECONDS = 5.0
_FRAMES_TOLD = 4
ANY_RULE = "any"  # of a scenario that tries at random what a driver may not do


def expected_of(item: pytest.Item) -> tuple[str, ...]:
    """The rules that a scenario breaks on purpose."""
    return tuple(dict.fromkeys(str(name) for marker in item.iter_markers("misuse") for name in marker.args))


def unknown_misuse(items: Sequence[pytest.Item]) -> str | None:
    """A sentence about a mark `misuse` that names no rule; None when all do."""
    for item in items:
        for name in unknown_ids([name for name in expected_of(item) if name not in (*KERNEL_RULES, ANY_RULE)]):
            known = ", ".join(KERNEL_RULES)
            return (
                f"'{item.nodeid}' is marked misuse with '{name}', which is no rule. "
                f"Hint: {near_rules(name)}; those of the kernel are {known}."
            )
    return None


class ContractLog:
    """The reports of one scenario: what the serial log says behind byte `start`."""

    def __init__(self, log: Path, start: int, driver: Path | None) -> None:
        self._log, self._start, self._driver = log, start, driver
        self._symbols: Symbols | None = None
        self.failed = False  # whether a judgement went against the driver, and so has told of all

    def breaches(self) -> tuple[Breach, ...]:
        """What was reported so far."""
        return read_breaches(self._log, self._start)[0]

    def judge(self, expected: Sequence[str], *, wait: bool) -> str | None:
        """What speaks against the driver or the scenario; None when nothing does. `wait`: the guest does report."""
        if ANY_RULE in expected:
            return None
        seen = self._await(expected) if wait else self.breaches()
        unexpected = [breach for breach in seen if breach.rule not in expected]
        if unexpected:
            self.failed = True
            return "\n".join(["The driver broke its contract:", *self.tell(unexpected)])
        missing = [name for name in expected if name not in {breach.rule for breach in seen}]
        if missing and wait:
            told = ", ".join(breach.rule for breach in seen) or "none"
            return (
                f"The scenario is marked as misuse of {', '.join(missing)}, and the guest reported no such thing; "
                f"reported: {told}."
            )
        return None

    def tell(self, breaches: Sequence[Breach]) -> list[str]:
        """Lines for a message: each breach, and under it its stack."""
        lines: list[str] = []
        for breach in breaches:
            lines.append(f"  {breach}")
            lines += [f"    in {self._place(frame)}" for frame in breach.stack[:_FRAMES_TOLD]]
        return lines

    def records(self, breaches: Sequence[Breach], expected: Sequence[str]) -> tuple[dict[str, object], ...]:
        """The breaches as results.jsonl has them; `on_purpose` are those that the scenario is marked with."""
        return tuple(
            asdict(breach)
            | {
                "stack": [self._place(frame) for frame in breach.stack],
                "on_purpose": not {breach.rule, ANY_RULE}.isdisjoint(expected),
            }
            for breach in breaches
        )

    def _await(self, expected: Sequence[str]) -> tuple[Breach, ...]:
        """The port may be a moment behind what the guest has written to it."""
        names = set(expected)
        if not names:
            return self.breaches()

        def look() -> bool | None:
            return True if names <= {breach.rule for breach in self.breaches()} else None

        with suppress(DeadlineExpired):
            wait_for(look, Deadline(_REPORT_SECONDS), "the guest to report a broken contract")
        return self.breaches()

    def _place(self, frame: Frame) -> str:
        if self._driver is None or frame.module.lower() != self._driver.name.lower():
            return str(frame)
        if self._symbols is None:
            self._symbols = Symbols(self._driver)
        name = self._symbols.name(frame.offset)
        return f"{frame} {name}".rstrip()
