"""`wfp-hil bisect`: the first build of a driver that fails by a capture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import field, options


def bisect(
    builds: Annotated[
        Path, typer.Argument(help="A folder of .sys files, or a text file with the path of one a line, oldest first.")
    ],
    capture: Annotated[Path, typer.Option(help="A pcap or pcapng file.")],
    until: field.Until = "crash or hang or fail",
    guest: options.Guest = "reference",
    guest_address: field.GuestAddress = None,
    timing: options.Timing = "fast",
    patience: options.Patience = 5.0,
    nic: options.Nic = None,
    vcpus: options.Vcpus = None,
    contract: options.Contract = "fail",
    votes: field.Votes = 1,
    out: field.Out = None,
) -> None:
    """Halve the builds between one that gets through the capture and one that does not.

    A build that does not load is skipped, as 'git bisect skip' would, and said. Ends with 0 when the first bad build,
    or the range in which it is, is known; 2 when the newest build is good or the oldest bad; 3 when the host failed.
    """
    from harness.minimise.bisect import Judged
    from harness.minimise.builds import find_builds
    from harness.plugin.bisecting import bisect_on_guests
    from harness.plugin.minimising import Wish

    series = find_builds(builds)
    settings = field.settings_of(guest_address, timing, patience)
    loaded, criterion = field.look_before(capture, guest, vcpus, until)
    asked = field.options_of(guest, None, nic, vcpus, contract, out, "bisect")
    teller = field.Teller()
    first, last = series.builds[0], series.builds[-1]
    teller.say(f"{len(series.builds)} builds, in the order of {series.ordered_by}, from {first} to {last}")

    def tell(judged: Judged, left: int) -> None:
        teller.say(f"{judged.mark:<7}  {judged.build}: {judged.why}  ({left} left)")

    wish = Wish(criterion=criterion, settings=settings, votes=votes)
    with field.until_interrupted(f"Interrupted; --out '{asked.out}' goes on from there."):
        finding = bisect_on_guests(loaded, series, asked, wish, tell)
    for build in finding.skipped:
        print(f"skipped: {build}")
    print(finding)
