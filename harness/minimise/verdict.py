"""What one attempt at a capture came to: the part of it that a criterion can ask about, as a record of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from harness.driver.crash import Crash, Namer
from harness.report import Outcome

_TEXT_MOST = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashPlace:
    """A bugcheck by its code and by the driver's innermost frame; `symbol` is '' where no function is known."""

    code: int
    module: str = ""
    offset: int | None = None
    symbol: str = ""

    @classmethod
    def of(cls, crash: Crash, name: Namer | None = None) -> CrashPlace:
        """The place of a crash; `symbol` is the function alone, so that it outlives an edit of the file."""
        place = crash.place
        if place is None:
            return cls(code=crash.code)
        told = name(place, crash.behind(place)) if name is not None else ""
        return cls(code=crash.code, module=place.module, offset=place.offset, symbol=told.partition(" at ")[0])

    def __str__(self) -> str:
        where = f" in {self.module}" + (f"+{self.offset:#x}" if self.offset is not None else "") if self.module else ""
        return f"bugcheck {self.code:#x}{where}" + (f" {self.symbol}" if self.symbol else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an attempt came to; `rules` are those that the driver broke, `departures` where the replay strayed."""

    outcome: Outcome
    message: str = ""
    crash: CrashPlace | None = None
    rules: tuple[str, ...] = ()
    departures: int = 0

    def __str__(self) -> str:
        if self.crash is not None:
            return f"{self.outcome}, {self.crash}"
        broken = f", {' '.join(self.rules)} broken" if self.rules else ""
        return f"{self.outcome}{broken}"

    def as_record(self) -> dict[str, object]:
        """For a line of JSON."""
        return {
            "outcome": str(self.outcome),
            "message": self.message[:_TEXT_MOST],
            "crash": asdict(self.crash) if self.crash is not None else None,
            "rules": list(self.rules),
            "departures": self.departures,
        }

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Verdict:
        """Read what `as_record` made; raises ValueError for anything else."""
        match record:
            case {
                "outcome": str(outcome),
                "message": str(message),
                "crash": crash,
                "rules": list(rules),
                "departures": int(departures),
            } if all(isinstance(rule, str) for rule in rules):
                return cls(
                    outcome=Outcome(outcome),
                    message=message,
                    crash=_crash_of(crash),
                    rules=tuple(rules),
                    departures=departures,
                )
        raise ValueError(f"no verdict: {record!r:.200}")


def _crash_of(record: object) -> CrashPlace | None:
    match record:
        case None:
            return None
        case {"code": int(code), "module": str(module), "offset": int() | None as offset, "symbol": str(symbol)}:
            return CrashPlace(code=code, module=module, offset=offset, symbol=symbol)
    raise ValueError(f"no crash: {record!r:.200}")
