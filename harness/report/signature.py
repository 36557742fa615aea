"""By what two crashes are taken for the same bug: the code, and where in which driver; never by parameters."""

from __future__ import annotations

import re
from dataclasses import dataclass

# As `harness.driver.crash` tells a crash: bugcheck 0xd1 (0x10, 0x2) NAME in x.sys+0x46 function at file.c:9
_TOLD = re.compile(
    r"bugcheck (?P<code>0x[0-9a-f]{1,8}) \([^)\n]*\) (?P<name>[A-Z0-9_]{3,80}|\(a code without a name here\))"
    r"(?: in (?P<module>[^\s+]{1,60})\+0x(?P<offset>[0-9a-f]{1,16})(?: (?P<function>[^\s]{1,120}) at [^\s]+)?)?"
)
_LONGEST = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """`place` is the function where it is known, else the offset: a function stays where a build moves offsets."""

    code: str
    name: str = ""
    module: str = ""
    place: str = ""

    def __str__(self) -> str:
        where = f" in {self.module}!{self.place}" if self.module else ""
        return f"{self.code} {self.name}".strip() + where


def signature_of(message: str) -> Signature | None:
    """The signature of the crash that a message tells, in other words by its first line; None of ''."""
    found = _TOLD.search(message[:4000])
    if found is None:
        line = message.strip().partition("\n")[0].strip()
        return Signature(code=line[:_LONGEST]) if line else None
    named = not found["name"].startswith("(")
    return Signature(
        code=found["code"],
        name=found["name"] if named else "",
        module=(found["module"] or "").lower(),
        place=(found["function"] or f"+0x{found['offset']}") if found["module"] else "",
    )
