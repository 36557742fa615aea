"""`wfp-hil history`: what scenarios came to in earlier runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.errors import UsageError

_IMPORT = "import"


def history(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SCENARIO] | import FOLDER...",
            help="Part of a scenario's name; or 'import' and the folders of runs, to take them in.",
        ),
    ] = None,
    guest: Annotated[str | None, typer.Option(help="Only on this guest.")] = None,
    driver: Annotated[
        str | None, typer.Option(help="Only of this driver: file name, version, or beginning of its SHA-256.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="How many attempts are shown of each.")] = 20,
    failing: Annotated[bool, typer.Option("--failing", help="Only those that did not pass or skip at last.")] = False,
    crashes: Annotated[
        bool, typer.Option("--crashes", help="All crashes by signature: when first and last seen, where, which builds.")
    ] = False,
    file: Annotated[str | None, typer.Option("--history", help="The file; under the user's state folder else.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
) -> None:
    """The record of each scenario: its last outcomes, its flake rate, and since which build of the driver it fails.

    Every run adds to it by itself. The flake rate counts attempts with the same image, driver and seed that came to
    something else than the others. What ran with another NIC, verifier, firewall or number of processors stands apart.
    """
    from rich.console import Console

    from harness.history import HistoryStore, crashes_of, gather, history_path
    from harness.history.crashes import as_json as crashes_as_json
    from harness.history.crashes import show_crashes
    from harness.history.table import as_json as to_json
    from harness.history.table import show_one, show_records
    from harness.report import Outcome

    path = history_path(file)
    if path is None:
        raise UsageError("The history is off.", hint="Give a file with --history, or unset WFP_HIL_HISTORY.")
    words = words or []
    if words[:1] == [_IMPORT]:
        take_in(path, [Path(word) for word in words[1:]])
        return
    if len(words) > 1:
        raise UsageError(
            f"One scenario at most can be asked for, not {len(words)}.", hint="Part of its name is enough."
        )
    if not path.exists():
        raise UsageError(f"There is no history at '{path}' yet.", hint="A run makes it, or 'wfp-hil history import'.")
    if crashes:
        with HistoryStore(path) as store:
            found = crashes_of(store.pasts(scenario=words[0] if words else None, guest=guest, driver=driver))
        print(crashes_as_json(found)) if as_json else show_crashes(Console(highlight=False), found)
        return
    with HistoryStore(path) as store:
        records = gather(store.pasts(scenario=words[0] if words else None, guest=guest, driver=driver))
    if failing:
        records = [record for record in records if record.last.outcome not in (Outcome.PASS, Outcome.SKIP)]
    console = Console(highlight=False)
    if as_json:
        print(to_json(records))
    elif not records:
        raise UsageError("The history has no such attempt.", hint="Part of a scenario's name is enough.")
    elif words and len({record.scenario for record in records}) == 1:
        for record in records:
            show_one(console, record, last=last)
    else:
        show_records(console, records, last=last)


def take_in(path: Path, folders: list[Path]) -> None:
    """Import runs into the history."""
    from harness.history import HistoryStore

    if not folders:
        raise UsageError("There is nothing to import.", hint="Give the folders of runs: wfp-hil history import out/*")
    with HistoryStore(path) as store:
        for folder in folders:
            print(f"{folder}: {store.add_run(folder)} attempts")
