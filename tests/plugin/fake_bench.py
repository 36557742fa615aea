"""A bench without a machine: a memory link whose other end answers pings, and a driver that is a list of events."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

from harness.errors import DeadlineExpired, ExpectationFailed, HarnessError
from harness.link import MemoryLink
from harness.plugin.crash_folder import CrashRecord

MARKER = 8
ASSOCIATE = 5


class FakeControl:
    def __init__(self, bench):
        self.bench = bench
        self.pending = []
        self.seq = 0
        self.dropped = 0
        self.counters = {"pending_injections": 0, "held_clones": 0, "flow_contexts": 0}

    def record(self, kind, **fields):
        self.seq += 1
        self.pending.append({"seq": self.seq, "time_100ns": self.seq * 10, "kind": kind, **fields})

    def drain(self):
        self.record(MARKER)
        return self.seq

    def read_events(self):
        events, self.pending = self.pending, []
        return SimpleNamespace(dropped=self.dropped, events=events, more=False)

    def settle(self):
        if not self.bench.running:
            return None
        self.record(MARKER)
        return SimpleNamespace(events=self.read_events(), stats=self.counters)


class FakeStations:
    def __init__(self):
        self.answers = True

    def ping(self, deadline):
        if not self.answers:
            raise DeadlineExpired("Waited 1.0 s for the guest to answer a ping, in vain.")
        return 0.001


class FakeBench:
    def __init__(self, options):
        self.options = options
        self.facts = {"guest": options.guest, "driver": "fake.sys", "contract": "checked"}
        self.driver_file = None
        self.near, self.link = MemoryLink.pair()
        self.stations = FakeStations()
        self.control = FakeControl(self) if options.driver is None else None
        self.facts["control"] = "none" if self.control is None else "wfpcallout"
        self.far = None
        self.guest = self.machine = self.service = SimpleNamespace()
        self.probe = SimpleNamespace(observe=lambda observer: lambda: None)
        options.machine_folder.mkdir(parents=True, exist_ok=True)
        self.serial_log = options.machine_folder / "serial.log"
        self.serial_log.write_text("booted\n")
        self.load_mark = None
        self.says_at_unload = ""
        self.running = True
        self.broken: HarnessError | None = None
        self.heads = (object(),)
        self.missing_parts = []
        self.recognised_seconds, self.function, self.events_kept = 0.25, "f at f.c:1", 3
        self.fresh_fails: HarnessError | None = None
        self.renew_fails: HarnessError | None = None
        self.calls = []

    def fresh(self):
        self.calls.append("fresh")
        if self.fresh_fails:
            raise self.fresh_fails
        self.broken = None
        self.running = True
        self.control = FakeControl(self) if self.options.driver is None else None
        self.stations = FakeStations()

    def renew(self):
        self.calls.append("renew")
        if self.renew_fails:
            raise self.renew_fails
        self.fresh_fails = None
        self.near.close()
        self.link.close()
        self.near, self.link = MemoryLink.pair()
        self.broken, self.running = None, True
        self.control = FakeControl(self) if self.options.driver is None else None
        self.stations = FakeStations()

    def reports_start(self):
        load, self.load_mark = self.load_mark, None
        return self.serial_size() if load is None else load

    def unload(self):
        self.calls.append("unload")
        with self.serial_log.open("a") as log:
            log.write(self.says_at_unload)
        self.running = False

    def save_crash(self, seen, scene, folder):
        self.calls.append("dumps")
        dump = folder / "MEMORY.DMP"
        dump.write_bytes(b"PAGEDU64")
        (folder / "crash.json").write_text("{}")
        return CrashRecord(
            seen=seen,
            recognised_seconds=self.recognised_seconds,
            dumps=(dump,),
            heads=self.heads,
            missing=tuple(self.missing_parts),
            function=self.function,
            events=self.events_kept,
        )

    def save_dumps(self, folder):
        self.calls.append("dumps")
        (folder / "MEMORY.DMP").write_bytes(b"PAGEDU64")

    def save_state(self, file):
        self.calls.append("state")
        file.write_bytes(b"<wfpstate/>")

    def watched(self, quiet_seconds=None):
        self.quiet_seconds = quiet_seconds
        return nullcontext()

    def tidy(self):
        self.calls.append("tidy")
        self.running = True

    def check(self):
        if self.broken:
            raise self.broken

    def driver_runs(self):
        return self.running

    def serial_size(self):
        return self.serial_log.stat().st_size

    def diagnose(self, error):
        if self.broken:
            return self.broken
        if isinstance(error, DeadlineExpired):
            return ExpectationFailed(str(error))
        return error


@contextmanager
def open_fake(options):
    bench = FakeBench(options)
    try:
        yield bench
    finally:
        (options.machine_folder / "bench.txt").write_text(" ".join(bench.calls))
        bench.link.close()
        bench.near.close()
