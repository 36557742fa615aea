"""A crash that a scenario wants: it passes when the crash comes, is the wanted one, and is known with all its parts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from harness.driver.build import find_built
from harness.driver.crash import Crash, CrashSeen
from harness.errors import DeadlineExpired, ExpectationFailed, HarnessError, UsageError
from harness.plugin.crash_folder import CrashRecord
from harness.steps import note
from harness.waiting import Deadline, wait_for
from harness.wfp.bugchecks import bugcheck_code

if TYPE_CHECKING:
    from harness.plugin.recording import Scene

_SECONDS = 30.0


class ExpectedCrash:
    """What the fixture `crash` gives."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    @contextmanager
    def expected(self, *names: str, module: str | None = None, seconds: float = _SECONDS) -> Iterator[ExpectedCrash]:
        """A block in which the guest crashes, with one of the bugchecks of these names, in this module.

        Several names, as a guest may tell one fault in several ways. The block ends when the crash is recognised;
        `seconds` is how long that may take after its last line. What is wrong with the crash fails the scenario:
        another code or module, a part that is missing. The guest is gone afterwards: nothing more can be asked of it.
        What is known then is in `crash`, of what is given, and all of it in `record`.
        """
        codes = [_code_of(name) for name in names]
        self._synchronise()
        error: Exception | None = None
        try:
            yield self
        except (HarnessError, AssertionError) as raised:
            error = raised  # most often the connection that went with the guest
        record = self._await(seconds, error)
        self._judge(record, codes, names, module)

    @property
    def record(self) -> CrashRecord:
        """All that is known of the crash, behind the block."""
        record = self._scene.crash
        if record is None:
            raise UsageError("There is no crash yet: it is known behind the block of expected().")
        return record

    @property
    def crash(self) -> Crash:
        """Code, parameters, place and stack, behind the block."""
        return self.record.crash

    def _synchronise(self) -> None:
        """An event that is read at once ties the guest's clock to the host's: the record tells how late it came."""
        control = self._scene.bench.control
        if control is not None:
            before = time.monotonic()
            control.drain()
            self._scene.trace.refresh()
            self._scene.trace.tie(before)

    def _await(self, seconds: float, error: Exception | None) -> CrashRecord:
        bench, scene = self._scene.bench, self._scene

        def look() -> CrashSeen | None:
            try:
                bench.check()
            except CrashSeen as seen:
                return seen
            return None

        try:
            seen = wait_for(look, Deadline(seconds if error is None else min(seconds, 5.0)), "the guest to crash")
        except DeadlineExpired as late:
            if error is not None:
                raise error from late
            raise ExpectationFailed(
                f"The guest did not crash within {seconds:.0f} s, and the scenario wants it to."
            ) from late
        scene.crash = bench.save_crash(seen, scene, scene.folder.path)
        late_by = scene.crash.recognised_seconds
        words = "" if late_by is None else f" {late_by:.3f} s after the fault"
        note(f"The crash was recognised{words}: {scene.crash.crash.title()}")
        return scene.crash

    def _judge(self, record: CrashRecord, codes: list[int], names: tuple[str, ...], module: str | None) -> None:
        crash, wrong = record.crash, list(record.missing)
        if codes and crash.code not in codes:
            wrong.append(f"wanted {' or '.join(names)}, seen {crash.title()}")
        if module is not None and crash.stack and (crash.place is None or crash.place.module.lower() != module):
            wrong.append(f"wanted in {module}, seen in {crash.place}")
        if not record.heads:
            wrong.append("the guest's dump is missing")
        if self._scene.bench.facts.get("contract") == "checked":
            wrong += _missing_of_reference(record, module)
        if self._scene.bench.control is not None and not record.events:
            wrong.append("the driver's last events are missing")
        if wrong:
            raise ExpectationFailed("The guest crashed, and not as wanted:\n" + "\n".join(f"  {w}" for w in wrong))


def _missing_of_reference(record: CrashRecord, module: str | None) -> list[str]:
    """What the reference guest always tells, and Windows not always."""
    wrong = []
    if not record.crash.stack:
        wrong.append("the stack is missing")
    if module is not None and find_built(module) is not None and not record.function:
        wrong.append(f"function and line are missing, although {module} was built here")
    if record.recognised_seconds is None:
        wrong.append("how long after the fault it was recognised is not known")
    return wrong


def _code_of(name: str) -> int:
    code = bugcheck_code(name)
    if code is None:
        raise UsageError(f"There is no bugcheck '{name}'.", hint="Its name as Windows has it, such as BAD_POOL_CALLER.")
    return code
