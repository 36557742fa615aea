"""`wfp-hil minimise`: the smallest part of a capture by which a driver still fails, and a scenario of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import field, options

if TYPE_CHECKING:
    from harness.capture import Capture
    from harness.minimise.tries import Told, Tries
    from harness.plugin.trying import Trials


def minimise(
    capture: field.CaptureFile,
    until: field.Until = "crash or hang or fail",
    guest: options.Guest = "reference",
    driver: options.Driver = None,
    guest_address: field.GuestAddress = None,
    timing: options.Timing = "fast",
    patience: options.Patience = 5.0,
    nic: options.Nic = None,
    vcpus: options.Vcpus = None,
    contract: options.Contract = "fail",
    machines: options.Machines = None,
    repeat: Annotated[int, typer.Option(min=1, max=100, help="Attempts at the whole capture before the search.")] = 3,
    votes: field.Votes = 0,
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.999, help="Of a try's vote, where a capture does not fail each time.")
    ] = 0.95,
    seed: Annotated[int, typer.Option(min=0, help="Another order of the conversations; 0: as captured.")] = 0,
    other_failures: Annotated[
        bool, typer.Option("--any", help="A failure in another place counts as well, as long as --until holds.")
    ] = False,
    out: field.Out = None,
) -> None:
    """Leave out conversations, then packets, then bytes and pauses of a capture, as long as the driver goes on failing.

    Every try is made on a guest that was put back. The folder has minimised.pcapng, test_minimised.py, a scenario that
    fails by itself, and tries.jsonl: the same command with the same --out goes on where it was interrupted.

    Ends with 0 when it is done, 2 when the capture does not fail at all, 3 when the host or the infrastructure failed,
    130 when it was interrupted: the best capture so far is kept.
    """
    from harness.config import load_profile
    from harness.driver import load_package_for
    from harness.minimise.kept import CAPTURE, SCENARIO
    from harness.plugin.minimising import Wish, minimise_on_guests

    if driver is not None:
        load_package_for(driver, load_profile(guest).folder)
    settings = field.settings_of(guest_address, timing, patience)
    loaded, criterion = field.look_before(capture, guest, vcpus, until)
    asked = field.options_of(guest, driver, nic, vcpus, contract, out, "minimise")
    wish = Wish(
        criterion=criterion, settings=settings, machines=field.machines_for(machines, guest), repeat=repeat,
        votes=votes, confidence=confidence, pinned=not other_failures, seed=seed,
    )  # fmt: skip
    view = _View(len(loaded))
    with field.until_interrupted(f"Interrupted. What was found so far is in '{asked.out}'; --out goes on from there."):
        result = minimise_on_guests(loaded, capture, asked, wish, view)
    print(f"{len(result.capture)} of {len(loaded)} packets are left: {result.verdict} in {result.confirmed}.")
    print(f"{result.tries} tries, {result.attempts} of them with a guest.")
    print(asked.out / CAPTURE)
    print(asked.out / SCENARIO)
    if not result.confirmed.startswith("0 "):
        return
    print("It did not fail again when it was tried once more: give --votes, as it fails by chance.")


class _View:
    """The search as lines."""

    def __init__(self, whole: int) -> None:
        self._teller = field.Teller()
        self._whole = whole
        self._stage = ""
        self._best: Capture | None = None

    def begun(self, trials: Trials) -> None:
        """The guests are ready."""
        count = len(trials.runners)
        self._teller.say(f"{count} guest{'s are' if count > 1 else ' is'} ready: {trials.facts['guest_title']}")

    def reproduced(self, words: str) -> None:
        """The whole capture fails."""
        self._teller.say(words)

    def stage(self, name: str, best: Capture) -> None:
        """Another kind of thing is left out."""
        self._stage = name
        self._teller.say(f"{name}: {len(best)} packets in {len(best.conversations())} conversations")

    def tried(self, told: Told, tries: Tries) -> None:
        """One more try."""
        word = "fails" if told.fails else "does not"
        known = "known" if told.attempts == 0 else f"{told.seconds:.1f} s"
        best = self._whole if self._best is None else len(self._best)
        self._teller.move(
            f"{self._stage}: try {tries.made} ({tries.spared} known before): {len(told.capture)} packets: {word} "
            f"({known}); the best has {best}"
        )

    def better(self, best: Capture) -> None:
        """A smaller one fails."""
        if self._best is None or len(best) < len(self._best):
            self._teller.say(f"{len(best)} packets fail")
        self._best = best
