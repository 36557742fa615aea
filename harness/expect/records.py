"""What an expectation says about any sequence of records: none, one, some, count, in_order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.expect.failure import fail
from harness.expect.matching import Record, Want, check_names, describe, find_all, nearest_miss, sample


class RecordsExpect:
    """Expectations on records of one noun ('frame', 'event') from one place ('witness', 'trace')."""

    def __init__(self, place: str, noun: str, known: Sequence[str], records: Sequence[Record]) -> None:
        self._place, self._noun, self._known, self._records = place, noun, known, records

    def none(self, **wanted: Want) -> None:
        """No record fits."""
        found = self._find(wanted)
        if found:
            raise fail(self._claim("none"), f"no {self._noun} with {describe(wanted)}", self._amount(found))

    def one(self, **wanted: Want) -> None:
        """Exactly one record fits."""
        self._count("one", 1, wanted)

    def count(self, number: int, **wanted: Want) -> None:
        """Exactly `number` records fit."""
        self._count("count", number, wanted)

    def some(self, **wanted: Want) -> None:
        """At least one record fits."""
        if not self._find(wanted):
            raise fail(
                self._claim("some"),
                f"at least one {self._noun} with {describe(wanted)}",
                self._nothing(),
                nearest_miss(wanted, self._records),
            )

    def in_order(self, *steps: Mapping[str, Want]) -> None:
        """Records that fit `steps` follow one another; others may stand between them."""
        at = 0
        for number, wanted in enumerate(steps, 1):
            check_names(wanted, self._known, self._noun)
            rest = self._records[at:]
            found = find_all(wanted, rest)
            if not found:
                before = "the beginning" if number == 1 else self._records[at - 1].text
                raise fail(
                    self._claim("in_order"),
                    f"as number {number} of {len(steps)} a {self._noun} with {describe(wanted)} after {before}",
                    f"none among the {len(rest)} that follow",
                    nearest_miss(wanted, rest),
                )
            at += rest.index(found[0]) + 1

    def all(self, **wanted: Want) -> None:
        """Every record fits, and there is at least one."""
        check_names(wanted, self._known, self._noun)
        found = find_all(wanted, self._records)
        if not found or len(found) < len(self._records):
            raise fail(
                self._claim("all"),
                f"every {self._noun} with {describe(wanted)}",
                f"{len(found)} of {len(self._records)}",
                nearest_miss(wanted, self._records),
            )

    def _count(self, word: str, number: int, wanted: Mapping[str, Want]) -> None:
        found = self._find(wanted)
        if len(found) != number:
            raise fail(
                self._claim(word),
                f"exactly {number} {self._noun}{'s' if number != 1 else ''} with {describe(wanted)}",
                self._amount(found) if found else self._nothing(),
                nearest_miss(wanted, self._records) if len(found) < number else None,
            )

    def _find(self, wanted: Mapping[str, Want]) -> list[Record]:
        check_names(wanted, self._known, self._noun)
        return find_all(wanted, self._records)

    def _claim(self, word: str) -> str:
        return f"expect({self._place}).{word}"

    def _amount(self, found: Sequence[Record]) -> str:
        return f"{len(found)}: {sample(found)}"

    def _nothing(self) -> str:
        return f"none among {len(self._records)} {self._noun}s"
