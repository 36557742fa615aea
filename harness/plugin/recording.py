"""One scenario while it runs: its folder, witness, trace and fence, and the checks that follow every scenario."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from harness.errors import ExpectationFailed
from harness.expect import Fence, timeline_at
from harness.expect.frames import frame_record
from harness.guest.socket_log import SocketLog
from harness.plugin.bench_needs import Bench
from harness.plugin.contract import ContractLog
from harness.plugin.crash_folder import CrashRecord
from harness.report import ScenarioFolder
from harness.reproduce import Departure
from harness.steps import StepEvent, subscribe
from harness.trace import Entry, Event, EventKind, Trace
from harness.witness import Witness

_MOST_DEPARTURES = 1000  # on the timeline: results.jsonl has the packets of all


class Scene:
    """What is recorded of one scenario."""

    def __init__(self, bench: Bench, folder: ScenarioFolder, witness: Witness) -> None:
        self.bench = bench
        self.folder = folder
        self.witness = witness
        self.far_witness: Witness | None = None  # of the second link, where the scenario forwards
        self.trace = Trace(bench.control)
        self.fence = Fence([bench.stations], bench.control, self.trace, bench.check)
        self.sockets = SocketLog()
        self.steps: list[StepEvent] = []
        self.departures: tuple[Departure, ...] = ()  # of captures that were replayed in it
        self.failures: list[Entry] = []
        self._is_saved = False
        self.seeds: list[str] = []  # of all that was drawn at random, in order
        self.crash: CrashRecord | None = None  # that the scenario wanted: the guest is gone with it
        self.serial_start = bench.serial_size()
        self.contract = ContractLog(bench.serial_log, bench.reports_start(), bench.driver_file)

    def check(self, *, may_stop_driver: bool) -> None:
        """What must hold after every scenario; raises ExpectationFailed, or what the bench finds broken."""
        self.bench.check()
        control = self.bench.control
        settled = control.settle() if control is not None else None
        if settled is None and not may_stop_driver and not (control is None and self.bench.driver_runs()):
            raise ExpectationFailed("After the scenario the driver was no longer running.")
        if settled is None:
            return
        self.trace.take_batch(settled.events)
        if settled.events.more:
            self.trace.refresh()
        if self.trace.dropped:
            raise ExpectationFailed(
                f"The driver's ring had no room for {self.trace.dropped} events: the trace has gaps."
            )
        check_stats(settled.stats, self.trace)

    def check_contract(self, expected: Sequence[str]) -> None:
        """The driver kept its contract until it was unloaded, but for the rules that the scenario breaks on purpose."""
        reports = self.bench.facts.get("contract") == "checked"
        if reports:
            self.bench.unload()
        against = self.contract.judge(expected, wait=reports)
        if against is not None:
            raise ExpectationFailed(against)

    def save(self) -> None:
        """Write everything into the folder; a guest that no longer answers is no reason to lose the rest."""
        self.folder.write_steps(self.steps)
        self.folder.write_events(self.trace)
        self.folder.write_sockets(self.sockets.calls)
        self.folder.write_serial(self.bench.serial_log, self.serial_start)
        self.folder.write_timeline(self._entries())
        self._is_saved = True

    def failed(self, entry: Entry) -> None:
        """Put what ended the scenario into its timeline, also behind its end."""
        self.failures.append(entry)
        if self._is_saved:
            with suppress(OSError):  # what is there is whole but for this
                self.folder.write_timeline(self._entries())

    def _entries(self) -> Iterator[Entry]:
        for lane, witness in (("frame", self.witness), ("far", self.far_witness)):
            for frame in witness.frames() if witness is not None else ():
                yield Entry(time=frame.time, lane=lane, text=frame_record(frame).text)
        for event in self.trace.events:
            yield Entry(time=self.trace.host_time(event), lane="event", text=str(event))
        for call in self.sockets.calls:
            yield Entry(time=call.time, lane="socket", text=str(call))
        for step in self.steps:
            text = "  " * step.depth + f"{step.kind} {step.title}" + (f": {step.error}" if step.error else "")
            yield Entry(time=step.time, lane="step", text=text)
        moments = (each for departure in self.departures for each in departure.at_moments())
        for moment, words in itertools.islice(moments, _MOST_DEPARTURES):
            yield Entry(time=moment, lane="replay", text=words)
        yield from self.failures


def check_stats(stats: dict[str, int], trace: Trace) -> None:
    """No injection is pending, no clone is held, and every flow context is either alive or was deleted once."""
    for name, words in (("pending_injections", "injections pending"), ("held_clones", "cloned packets not freed")):
        if stats.get(name, 0):
            raise ExpectationFailed(f"The driver left {stats[name]} {words} after its rules were removed.")
    events = since_load(trace.events)
    made = [
        event.value
        for event in events
        if event.kind is EventKind.FLOW_ASSOCIATE and event.status_name == "STATUS_SUCCESS"
    ]
    deleted = [event.value for event in events if event.kind is EventKind.FLOW_DELETE]
    twice = sorted({value for value in deleted if deleted.count(value) > 1})
    if twice:
        raise ExpectationFailed(f"flowDeleteFn ran more than once for the contexts {twice}.")
    alive = len(set(made) - set(deleted))
    if stats.get("flow_contexts", 0) != alive:
        raise ExpectationFailed(
            f"The driver holds {stats.get('flow_contexts', 0)} flow contexts, "
            f"{alive} are left of {len(made)} that it associated: contexts leak."
        )


def since_load(events: Sequence[Event]) -> Sequence[Event]:
    """The events of the driver that runs now: what an earlier load of it counted, it took along when it unloaded."""
    begins = 0
    for at in range(1, len(events)):
        if events[at].seq <= events[at - 1].seq:
            begins = at
    return events[begins:]


@contextmanager
def open_scene(bench: Bench, folder: ScenarioFolder, *, quiet_seconds: float | None = None) -> Iterator[Scene]:
    """Record from here to the end of the block; for `quiet_seconds` nothing may move in it, or the usual time."""
    with Witness(bench.link, folder.frames) as witness, timeline_at(folder.timeline), bench.watched(quiet_seconds):
        scene = Scene(bench, folder, witness)
        unsubscribe = subscribe(scene.steps.append)
        unobserve = bench.probe.observe(scene.sockets)
        try:
            yield scene
        finally:
            unobserve()
            unsubscribe()
            scene.save()
