"""Module definitions of a library in front of one of Wine's, and of the one behind it, from the list of exports."""

from __future__ import annotations

import sys
from pathlib import Path


def main(names: Path, ours: Path, behind: Path) -> None:
    """Export what the list marks `own` from here and hand everything else on, each by its ordinal (`@number`)."""
    lines = [line.split() for line in names.read_text().splitlines() if line and not line.startswith("#")]
    front = [f"LIBRARY {ours.stem}.dll", "EXPORTS"]
    for ordinal, name, *own in lines:
        target = f"shim_{name}" if own else f"{behind.stem}.{name}"
        front.append(f"    {name} = {target} @{ordinal}")
    ours.write_text("\n".join(front) + "\n")
    behind.write_text(
        "\n".join([f"LIBRARY {behind.stem}.dll", "EXPORTS", *(f"    {name}" for _, name, *_ in lines)]) + "\n"
    )


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
