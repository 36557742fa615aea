"""What the history says to a page: crashes by signature with when they were seen, flake rates, known failures."""

from __future__ import annotations

from collections.abc import Iterable

from harness.history.known import KnownIssues
from harness.history.record import Past, gather, recent
from harness.report import Outcome
from harness.report.page import CrashPast, Memory, Quarantine, ScenarioPast
from harness.report.signature import signature_of

_LAST = 12


def crashes_of(pasts: Iterable[Past]) -> dict[str, list[Past]]:
    """All crashes by signature, each list oldest first; `pasts` come oldest first."""
    found: dict[str, list[Past]] = {}
    for past in pasts:
        signature = signature_of(past.message) if past.outcome is Outcome.CRASH else None
        if signature is not None:
            found.setdefault(str(signature), []).append(past)
    return found


def memory_of(pasts: Iterable[Past], known: KnownIssues | None = None) -> Memory:
    """What a page shows of the past; of each known failure also what became of it here."""
    pasts = list(pasts)
    return Memory(
        crashes={
            signature: CrashPast(first=of[0].started, last=of[-1].started, count=len(of))
            for signature, of in crashes_of(pasts).items()
        },
        scenarios={
            (record.scenario, record.guest, record.circumstances): ScenarioPast(
                flaked=record.flaked, comparable=record.comparable, recent=recent(record.pasts, _LAST)
            )
            for record in gather(pasts)
        },
        quarantine=quarantine_of(known) if known is not None else (),
    )


def quarantine_of(known: KnownIssues) -> tuple[Quarantine, ...]:
    """The list of known failures, those that run out first on top."""
    ordered = sorted(enumerate(known.issues), key=lambda each: each[1].expires)
    return tuple(
        Quarantine(
            scenario=issue.scenario, guest=issue.guest, reason=issue.reason, expires=issue.expires.isoformat(),
            state=known.state(number),
        )
        for number, issue in ordered
    )  # fmt: skip
