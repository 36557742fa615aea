"""A whole search on guests: the capture that fails, made small, confirmed, and written down as a scenario."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from harness.capture import Capture
from harness.driver import build_all
from harness.link.headers import address_text
from harness.minimise.criterion import Criterion
from harness.minimise.kept import CAPTURE, SCENARIO, Reproduction, write_record
from harness.minimise.scenario_file import Provenance, write_scenario
from harness.minimise.search import Search, reproduce
from harness.minimise.seeds import interleaved
from harness.minimise.smaller import without_pauses
from harness.minimise.tries import Journal, Told, Tries, key_of
from harness.minimise.verdict import Verdict
from harness.minimise.voting import Voting
from harness.plugin.options import RunOptions
from harness.plugin.trying import Trials, inputs_of, machine_folder, open_trials, settled_guest
from harness.reproduce import Settings, Timing

JOURNAL = "tries.jsonl"
_CONFIRMATIONS = 3


class View(Protocol):
    """What a search tells while it goes on."""

    def begun(self, trials: Trials) -> None:
        """The guests are ready."""

    def reproduced(self, words: str) -> None:
        """The whole capture fails."""

    def stage(self, name: str, best: Capture) -> None:
        """Another kind of thing is left out from here on."""

    def tried(self, told: Told, tries: Tries) -> None:
        """One more capture was judged."""

    def better(self, best: Capture) -> None:
        """A smaller one fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What to look for, and how hard."""

    criterion: Criterion
    settings: Settings
    machines: int = 1
    repeat: int = 3
    votes: int = 0
    confidence: float = 0.95
    pinned: bool = True
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of it."""

    capture: Capture
    verdict: Verdict
    confirmed: str
    tries: int
    attempts: int


def minimise_on_guests(capture: Capture, source: Path, options: RunOptions, wish: Wish, view: View) -> Result:
    """Search in the folder `options.out`; what it has found is there at any time, also when it is interrupted.

    Raises UsageError when the whole capture does not fail, HostError when the host does.
    """
    settings = settled_guest(capture, wish.settings)
    whole = interleaved(capture, wish.seed)
    with_pauses = settings.timing is Timing.CAPTURE
    if not with_pauses:
        whole = without_pauses(whole, ())
    out = machine_folder(options.out)
    with open_trials(options, settings, machines=wish.machines) as trials:
        view.begun(trials)
        journal = Journal(out / JOURNAL, {"whole": key_of(whole), **inputs_of(trials, options, settings)})
        tries = Tries(trials.runners, wish.criterion, journal)
        tries.tell = lambda told: view.tried(told, tries)
        seen = reproduce(whole, tries, attempts=wish.repeat)
        if wish.pinned:
            tries.criterion = wish.criterion.pinned_to(seen.verdict)
        tries.voting = Voting(1.0 if wish.votes == 1 else seen.rate, wish.confidence, wish.votes or 15)
        view.reproduced(f"{seen}; {tries.voting}; looking for: {tries.criterion}")
        keeper = _Keeper(out, capture, source, options, wish, settings, trials, tries.criterion, seen.verdict)

        def better(best: Capture) -> None:
            keeper.found(best)
            view.better(best)

        search = Search(
            whole, tries, with_pauses=with_pauses,
            stage=lambda name: view.stage(name, search.best),
            found=better,
        )  # fmt: skip
        with keeper.keeping(search):
            search.run()
        verdicts = tries.verdicts(search.best, _CONFIRMATIONS)
        hits = [verdict for verdict in verdicts if tries.criterion.holds(verdict)]
        confirmed = f"{len(hits)} of {len(verdicts)} attempts"
        verdict = hits[0] if hits else seen.verdict
        keeper.write(search.best, verdict, confirmed)
    return Result(capture=search.best, verdict=verdict, confirmed=confirmed, tries=tries.made, attempts=tries.attempts)


class _Keeper:
    """Writes the best capture that is known into the folder: when it is found, and with the words of the end."""

    def __init__(
        self, out: Path, capture: Capture, source: Path, options: RunOptions, wish: Wish, settings: Settings,
        trials: Trials, criterion: Criterion, verdict: Verdict,
    ) -> None:  # fmt: skip
        self._out, self._capture, self._source, self._options = out, capture, source, options
        self._wish, self._settings, self._facts = wish, settings, trials.facts
        self._criterion, self._verdict = criterion, verdict

    @contextmanager
    def keeping(self, search: Search) -> Iterator[None]:
        """Whatever ends the block: the best so far is written."""
        try:
            yield
        finally:
            self.write(search.best, self._verdict, "the attempt that found them")

    def found(self, best: Capture) -> None:
        """A smaller one: whoever kills this process finds it."""
        self.write(best, self._verdict, "the attempt that found them")

    def write(self, best: Capture, verdict: Verdict, seen: str) -> None:
        """The capture, the scenario, and what they depend on."""
        driver = self._options.driver
        name = str(self._facts.get("driver", ""))
        digest = str(self._facts.get("driver_sha256", ""))
        addresses = self._settings.guest_addresses
        best.write(self._out / CAPTURE)
        origin = Provenance(
            source=str(self._source), packets=len(self._capture), driver=name, driver_sha256=digest,
            guest_title=str(self._facts.get("guest_title", "")), criterion=self._criterion.text, seen=seen,
            guest_address=next((a for a in addresses if _has(best, a)), addresses[0]),
        )  # fmt: skip
        write_scenario(self._out / SCENARIO, best, verdict, origin)
        write_record(
            self._out,
            Reproduction(
                guest=self._options.guest, driver=name if driver is not None else "", driver_sha256=digest,
                until=self._criterion.text, guest_addresses=addresses, timing=str(self._settings.timing),
                patience=self._settings.patience, seed=self._wish.seed, nic=self._options.nic or "",
                vcpus=self._options.vcpus or 0, contract=self._options.contract,
                image=str(self._facts.get("image", "")), harness=version("wfp-hil"), source=self._source.name,
                source_packets=len(self._capture), packets=len(best), seen=seen, verdict=str(verdict),
            ),
            driver or build_all()["wfpcallout.sys"],
        )  # fmt: skip


def _has(capture: Capture, address: str) -> bool:
    read = (packet.ip for packet in capture.packets)
    return any(ip is not None and address in (address_text(ip.source), address_text(ip.destination)) for ip in read)
