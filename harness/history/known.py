"""Failures that are known: a TOML list with a reason and a day on which each runs out.

A known failure is still shown as what it was, and does not make the run fail. Nothing hides a crash or a hang.
"""

from __future__ import annotations

import datetime as dt
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from harness.errors import ConfigError
from harness.report import Outcome

FILE = "known-issues.toml"
_HIDEABLE = (Outcome.FAIL, Outcome.LOST)
_LONGEST_SEARCHED = 20_000  # a guest has a say in it
_EXAMPLE = "docs/history.md has one that works."


class KnownIssue(BaseModel):
    """One failure that is known; `*` and `?` are patterns, `message` is a regular expression found in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    scenario: Annotated[str, Field(min_length=1)]
    outcome: str | None = None
    message: str | None = None
    guest: str = "*"
    reason: Annotated[str, Field(min_length=1)]
    expires: dt.date

    @field_validator("outcome")
    @classmethod
    def _is_hideable(cls, outcome: str | None) -> str | None:
        if outcome in (Outcome.CRASH, Outcome.HANG):
            raise ValueError(f"{' or '.join(_HIDEABLE)}: a {outcome} is never hidden")
        if outcome is not None and outcome not in _HIDEABLE:
            raise ValueError(" or ".join(_HIDEABLE))
        return outcome

    @field_validator("message")
    @classmethod
    def _is_pattern(cls, message: str | None) -> str | None:
        try:
            re.compile(message or "")
        except re.error as error:
            raise ValueError(f"a regular expression ({error})") from error
        return message

    @field_validator("expires", mode="before")
    @classmethod
    def _is_day(cls, expires: object) -> object:
        if not isinstance(expires, dt.date) or isinstance(expires, dt.datetime):
            raise ValueError("a date without quotes, such as 2027-01-31")  # noqa: TRY004 - pydantic's way
        return expires

    @model_validator(mode="after")
    def _says_which(self) -> KnownIssue:
        if self.outcome is None and self.message is None:
            raise ValueError("one of 'outcome' and 'message' is needed, or all that ever fails would be known")
        return self

    def covers(self, scenario: str, guest: str) -> bool:
        """Whether it is about this scenario on this guest."""
        names = (scenario, scenario.partition("[")[0])
        return any(_fits(self.scenario, name) for name in names) and _fits(self.guest, guest)

    def explains(self, outcome: Outcome, message: str) -> bool:
        """Whether it is this failure; never of a crash or a hang."""
        if outcome not in _HIDEABLE or (self.outcome or Outcome.FAIL) != outcome:
            return False
        return self.message is None or re.search(self.message, message[:_LONGEST_SEARCHED]) is not None


@dataclass(slots=True)
class KnownIssues:
    """The list, and what became of each of its entries in this run."""

    path: Path | None = None
    issues: Sequence[KnownIssue] = ()
    today: dt.date = field(default_factory=lambda: dt.datetime.now().astimezone().date())
    _matched: set[int] = field(default_factory=set)
    _covered: set[int] = field(default_factory=set)

    def reason_for(self, scenario: str, guest: str, outcome: Outcome, message: str) -> str:
        """Why this failure is known; empty when it is not, or no longer."""
        reason = ""
        for number, issue in enumerate(self.issues):
            if not issue.covers(scenario, guest):
                continue
            self._covered.add(number)
            if issue.explains(outcome, message) and issue.expires >= self.today:
                self._matched.add(number)
                reason = reason or issue.reason
        return reason

    def state(self, number: int) -> str:
        """What became of an entry, counted from 0: 'ran out', 'of no scenario here', 'matched nothing' or 'holds'."""
        if self.issues[number].expires < self.today:
            return "ran out"
        if number not in self._covered:
            return "of no scenario here"
        return "holds" if number in self._matched else "matched nothing"

    def notes(self) -> list[str]:
        """A sentence for each entry that has run out or did not match anything, to be told at the end of a run."""
        told = []
        for number, issue in enumerate(self.issues):
            name = f"Known issue {number + 1} of '{self.path}' ({issue.scenario})"
            if issue.expires < self.today:
                told.append(f"{name} ran out on {issue.expires}: it hides nothing any more.")
            elif number not in self._covered:
                told.append(f"{name} is about no scenario of this run.")
            elif number not in self._matched:
                told.append(f"{name} matched nothing in this run; is it mended? '{issue.reason}'")
        return told


def load_known_issues(path: Path | None) -> KnownIssues:
    """Read the list; an empty one for None.

    Raises ConfigError when it cannot be read, or when a key or value is not allowed: with file, entry and key.
    """
    if path is None:
        return KnownIssues()
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"'{path}' is not valid TOML: {error}.", hint=_EXAMPLE) from error
    except OSError as error:
        raise ConfigError(f"'{path}' cannot be read: {error.strerror}.", hint=_EXAMPLE) from error
    for key in table:
        if key != "issue":
            raise ConfigError(f"'{path}': key '{key}' is not known; wanted a list [[issue]].", hint=_EXAMPLE)
    entries = table.get("issue", [])
    if not isinstance(entries, list):
        raise ConfigError(f"'{path}': 'issue' is no list; write [[issue]] above each entry.", hint=_EXAMPLE)
    issues = []
    for number, entry in enumerate(entries, start=1):
        try:
            issues.append(KnownIssue.model_validate(entry))
        except ValidationError as error:
            # A misspelt key shows as one unknown and one missing key; the unknown one is the cause.
            details = sorted(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
            raise _explain(path, number, details[0]) from error
    return KnownIssues(path, tuple(issues))


def _fits(pattern: str, name: str) -> bool:
    """Whether a name is what `*` and `?` in a pattern leave open; brackets stand for themselves, cases have them."""
    words = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(words, name, re.DOTALL) is not None


def _explain(path: Path, number: int, detail: ErrorDetails) -> ConfigError:
    key = ".".join(str(part) for part in detail["loc"])
    where, hint = f"'{path}', issue {number}", _EXAMPLE
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(key, KnownIssue.model_fields, n=1)
        if near:
            hint = f"Did you mean '{near[0]}'?"
        return ConfigError(f"{where}: key '{key}' is not known.", hint=hint)
    if detail["type"] == "missing":
        return ConfigError(f"{where}: key '{key}' is missing.", hint=hint)
    wanted = detail["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not key:
        return ConfigError(f"{where}: {wanted}.", hint=hint)
    return ConfigError(f"{where}: key '{key}' is {detail['input']!r}, wanted {wanted}.", hint=hint)
