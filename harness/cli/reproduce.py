"""`wfp-hil reproduce`: a capture from the field, played again with the guest in the part of one of its hosts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import options
from harness.cli.before import make_ready
from harness.cli.field import options_of, settings_of
from harness.cli.repeat import repeat_until, seeds_of
from harness.cli.run import run_pytest
from harness.cli.unbundle import contract_of, nic_of, timing_of, unbundled
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.capture import Capture
    from harness.capture.reader import Progress

_SHOWN = 20
_SHOW_PROGRESS_OF = 64 << 20


def reproduce(
    context: typer.Context,
    capture: Annotated[Path, typer.Argument(help="A pcap or pcapng file, or a bundle of 'wfp-hil bundle'.")],
    guest: options.Guest = "reference",
    driver: options.Driver = None,
    guest_address: Annotated[
        list[str] | None,
        typer.Option(metavar="IP", help="The guest's address in the capture; inferred or asked for if not given."),
    ] = None,
    timing: options.Timing = "fast",
    patience: options.Patience = 5.0,
    packets: Annotated[str | None, typer.Option(metavar="FIRST-LAST", help="Only these packets of the file.")] = None,
    host: Annotated[
        list[str] | None, typer.Option(metavar="IP", help="Only packets to or from this host; may be repeated.")
    ] = None,
    nic: options.Nic = None,
    vcpus: options.Vcpus = None,
    verifier: options.Verifier = None,
    contract: options.MaybeContract = None,
    out: options.Out = None,
    show: Annotated[bool, typer.Option("--show", help="Only tell what would be replayed; starts no guest.")] = False,
    until: Annotated[
        str | None,
        typer.Option(metavar="crash|hang|fail|EXPR", help="Attempt it again and again until it comes to this."),
    ] = None,
    repeat: Annotated[int, typer.Option(min=1, help="With --until: attempts under each seed.")] = 10,
    seeds: Annotated[
        str, typer.Option(metavar="N|FIRST-LAST", help="With --until: orders of the conversations; 0: as captured.")
    ] = "0",
) -> None:
    """Play a capture again: the guest in the part of one of its hosts, the harness in that of all others.

    Ends with 0 when the driver got through it, 1 when it crashed, hung or failed, 2 for usage and captures that cannot
    be used, 3 when the host or the infrastructure failed. Departures from the capture are told and kept; they are no
    failures.
    """
    from harness.config import load_profile
    from harness.driver import load_package_for
    from harness.minimise.bundle import is_bundle
    from harness.minimise.criterion import parse_criterion

    if is_bundle(capture):
        with unbundled(capture) as inside:
            kept = inside.kept
            reproduce(
                context, inside.capture, kept.guest, inside.driver, list(kept.guest_addresses), timing_of(kept),
                kept.patience, nic=nic_of(kept), vcpus=kept.vcpus or None, contract=contract_of(kept), out=out,
                show=show, until=until, repeat=repeat, seeds=seeds,
            )  # fmt: skip
        return
    profile = load_profile(guest).with_vcpus(vcpus)
    criterion, seed_range = parse_criterion(until) if until else None, seeds_of(seeds)
    if driver is not None:
        load_package_for(driver, profile.folder)
    loaded = _load(capture, packets, host or [])
    addresses = _who_is_guest(loaded, guest_address or [])
    if show:
        _show(loaded, addresses)
        return
    _plan(loaded, addresses)
    make_ready(profile)
    if criterion is not None:
        attempts = options_of(guest, driver, nic, vcpus, contract or "fail", out, "reproduce", verifier)
        settings = settings_of(addresses, timing, patience)
        sys.exit(repeat_until(loaded, criterion, attempts, settings, seed_range, repeat))
    from harness.plugin import captured

    arguments = [*context.args, captured.__file__, "--guest", guest, "--capture-file", str(capture.absolute())]
    for option, value in (
        ("--driver", driver), ("--timing", timing), ("--patience", patience), ("--packets", packets), ("--nic", nic),
        ("--vcpus", vcpus), ("--verifier", verifier), ("--contract", contract), ("--out", out),
    ):  # fmt: skip
        if value is not None:
            arguments += [option, str(value)]
    for address in addresses:
        arguments += ["--guest-address", address]
    for name in host or []:
        arguments += ["--host", name]
    sys.exit(run_pytest(arguments))


def _load(path: Path, packets: str | None, hosts: list[str]) -> Capture:
    from harness.capture import read
    from harness.plugin.replaying import chooser

    with _progress(path) as progress:
        return read(path, choose=chooser(packets, tuple(hosts)), progress=progress)


@contextmanager
def _progress(path: Path) -> Iterator[Progress | None]:
    """A bar for files that take a while."""
    if not path.is_file() or path.stat().st_size < _SHOW_PROGRESS_OF or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("reading the capture"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("read", total=path.stat().st_size)
        yield lambda at, _: bar.update(task, completed=at)


def _who_is_guest(capture: Capture, asked: list[str]) -> list[str]:
    """The guest's addresses: as asked for, inferred, or chosen by whoever sits at the terminal."""
    from harness.link.headers import address_text
    from harness.reproduce import find_guest

    try:
        role = find_guest(capture, asked)
    except UsageError:
        if asked or not sys.stdin.isatty():
            raise
        hosts = sorted({address_text(end[0]) for talk in capture.conversations() for end in (talk.first, talk.second)})
        print("Which of these hosts is the guest to play?", *hosts[:_SHOWN], sep="\n  ", file=sys.stderr)
        answer: str = typer.prompt("Guest", default=hosts[0], err=True)
        role = find_guest(capture, [answer.strip()])
    found = sorted(address_text(packed) for packed in role.addresses)
    print(f"The guest plays {' and '.join(found)}: {role.why}.", file=sys.stderr)
    return found


def _plan(capture: Capture, addresses: list[str]) -> None:
    """Find out before any guest is started whether there is something to replay."""
    from harness.reproduce import Settings, foresee

    foresee(capture, Settings(guest_addresses=tuple(addresses)))


def _show(capture: Capture, addresses: list[str]) -> None:
    from harness.reproduce import Settings, foresee

    departures = foresee(capture, Settings(guest_addresses=tuple(addresses)))
    conversations = capture.conversations()
    seconds = (capture.packets[-1].time - capture.packets[0].time) / 1e9
    many = "" if len(conversations) == 1 else "s"
    print(f"{len(capture)} packets in {len(conversations)} conversation{many}, {seconds:.1f} s:")
    for talk in conversations[:_SHOWN]:
        print(f"  {talk}, {len(talk.packets)} packets from number {talk.packets[0].number}")
    if len(conversations) > _SHOWN:
        print(f"  and {len(conversations) - _SHOWN} more")
    print("The replay will depart from it:" if departures else "Nothing is known by which the replay would depart.")
    for departure in departures:
        print(f"  {departure}")
