"""Module definitions of ws2_32.dll and of the library behind it, from the list of Winsock's exports."""

from __future__ import annotations

import sys
from pathlib import Path


def main(names: Path, ours: Path, behind: Path) -> None:
    """Export what the list marks `own` from here and hand everything else on, each by its ordinal (`@number`)."""
    lines = [line.split() for line in names.read_text().splitlines() if line and not line.startswith("#")]
    front = ["LIBRARY ws2_32.dll", "EXPORTS"]
    for ordinal, name, *own in lines:
        target = f"shim_{name}" if own else f"ws2_wine.{name}"
        front.append(f"    {name} = {target} @{ordinal}")
    ours.write_text("\n".join(front) + "\n")
    behind.write_text("\n".join(["LIBRARY ws2_wine.dll", "EXPORTS", *(f"    {name}" for _, name, *_ in lines)]) + "\n")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
