"""`wfp-hil run`: the scenarios on a guest; any further words go to pytest as they are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest
import typer

from harness.cli import options
from harness.cli.before import make_ready
from harness.config import Profile
from harness.errors import UsageError
from harness.ownership import OWNER_VARIABLE, Owner, temporary_folder
from harness.process import free_memory_mib

_INTERRUPTED = 130
_ALONE = ("-n", "--dist", "--pdb", "--trace", "-s", "--capture", "--collect-only", "--co", "--fixtures", "--setup-plan")
_BESIDE_MIB = 512  # QEMU's translations and the harness, beside the guest's memory
_MOST = 4


def run(
    context: typer.Context,
    guest: options.Guest = "reference",
    driver: options.Driver = None,
    nic: options.Nic = None,
    vcpus: options.Vcpus = None,
    fresh: Annotated[
        Literal["test", "module", "session"] | None, typer.Option(help="How often the guest is reverted.")
    ] = None,
    verifier: options.Verifier = None,
    firewall: Annotated[
        Literal["on", "off"] | None, typer.Option(help="Windows Firewall, all profiles; Windows guests only.")
    ] = None,
    contract: options.MaybeContract = None,
    machines: options.Machines = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="What random choices are drawn from: impairments, random sequences.")
    ] = None,
    out: options.Out = None,
    history: options.History = None,
    known_issues: options.KnownIssues = None,
    scenarios: Annotated[Path, typer.Option(help="Folder or file of scenarios.")] = Path("scenarios"),
) -> None:
    """Build or find the image, boot the guest, deploy the driver and run the scenarios.

    Ends with 0 when all passed, 1 when the driver failed, 2 for usage, 3 when the host or the infrastructure failed,
    130 when it was interrupted.
    """
    if not scenarios.exists():
        raise UsageError(
            f"There are no scenarios at '{scenarios}'.", hint="Call wfp-hil in the checkout, or give --scenarios."
        )
    from harness.config import load_profile
    from harness.driver import load_package_for
    from harness.plugin.remembering import find_known_issues

    # What was mistyped should cost no time: first all that can be known without a guest.
    profile = load_profile(guest).with_vcpus(vcpus)
    if driver is not None:
        load_package_for(driver, profile.folder)
    find_known_issues(None if known_issues is None else str(known_issues))
    if out is not None:
        _make(out)
    make_ready(profile)
    arguments = [*context.args, "--guest", guest]
    for option, value in (
        ("--driver", driver),
        ("--nic", nic),
        ("--vcpus", vcpus),
        ("--fresh", fresh),
        ("--verifier", verifier),
        ("--firewall", firewall),
        ("--contract", contract),
        ("--seed", seed),
        ("--out", out),
        ("--history", history),
        ("--known-issues", known_issues),
    ):
        if value is not None:
            arguments += [option, str(value)]
    arguments += side_by_side(machines, profile, context.args, fresh)
    if not any(Path(word.split("::")[0]).exists() for word in context.args if not word.startswith("-")):
        arguments.append(str(scenarios))
    sys.exit(run_pytest(arguments))


def side_by_side(machines: int | None, profile: Profile, words: list[str], fresh: str | None) -> list[str]:
    """What has pytest-xdist run the scenarios on several machines; nothing for one.

    What needs the terminal, or says itself how to be distributed, is left alone.
    """
    if any(word.startswith(_ALONE) for word in words):
        return []
    if machines is None:
        machines = machines_here(profile)
    # Scenarios of one module share a guest, and so stay together, where the guest is put back once a module.
    return (
        [] if machines == 1 else ["-n", str(machines), "--dist", "worksteal" if fresh in (None, "test") else "loadfile"]
    )


def machines_here(profile: Profile) -> int:
    """How many side by side: one for each core, as memory allows, up to four.

    That keeps this host busy: an emulated guest that is at work fills a core, whatever vCPUs it has.
    """
    room = free_memory_mib() // (profile.machine.memory_mib + _BESIDE_MIB)
    return max(1, min(os.cpu_count() or 1, room, _MOST))


def run_pytest(arguments: list[str]) -> int:
    """The exit code of a run; those that are pytest's own become ours."""
    watch = _Watch()
    os.environ[OWNER_VARIABLE] = Owner.this_process().mark  # by which the workers of a killed run are known
    with temporary_folder("pytest") as folder:  # what pytest makes by itself would outlive a run that is killed
        own = [] if any(word.startswith("--basetemp") for word in arguments) else ["--basetemp", str(folder / "tmp")]
        code = int(pytest.main([*arguments, *own], plugins=[watch]))
    del os.environ[OWNER_VARIABLE]
    if watch.interrupted:
        return _INTERRUPTED
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise UsageError(
            "No scenario was selected, so nothing was tested.",
            hint="'wfp-hil run --collect-only -q' lists all scenarios.",
        )
    return 2 if code == pytest.ExitCode.USAGE_ERROR else code


class _Watch:
    """Tells Ctrl-C from the other ways in which pytest ends with 2."""

    def __init__(self) -> None:
        self.interrupted = False

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Called for pytest.exit as well, and for scenarios that cannot be imported, with an heir of the error."""
        self.interrupted = excinfo.type is KeyboardInterrupt


def _make(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"The folder for the results, '{out}', cannot be made: {error.strerror}.",
            hint="Give another folder with --out.",
        ) from error
