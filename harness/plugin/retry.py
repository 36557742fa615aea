"""A scenario that is lost is tried once more, on a fresh machine; a machine that is lost twice in a row is latched.

Nothing that speaks about the driver is ever tried again: FAIL, CRASH and HANG stand as they are.
"""

# ruff: noqa: SLF001 - what pytest's own runner does around an attempt has no public name
from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

import pytest
from _pytest.runner import call_and_report, show_test_item

from harness.errors import HarnessError, UsageError

_HOST_TROUBLE = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EROFS}


class Retry:
    """Registered as the plug-in 'wfp-hil-retry' while scenarios run; runs each of them, at most twice."""

    def __init__(
        self,
        covers: Callable[[pytest.Item], bool],
        begin: Callable[[pytest.Item], None],
        give_back: Callable[[pytest.Item, str], bool],
    ) -> None:
        """`covers` says which tests are scenarios; `begin` is told that an attempt at one begins.

        `give_back` is offered what a latched machine does not run, and why; False when there is nobody else.
        """
        self._covers, self._begin, self._give_back = covers, begin, give_back
        self._lost: str | None = None
        self._again = False
        self._is_last = False
        self.latched: str | None = None
        """Why no scenario runs any more."""
        self.renew = False
        """Whether the next scenario needs a fresh machine; who opened it takes this back."""

    def note(self, cause: BaseException) -> None:
        """The attempt that runs now is LOST, of this."""
        if self._lost is None and _is_infrastructure(cause):
            self._lost = getattr(cause, "message", None) or f"{type(cause).__name__}: {cause}"

    def skip_all(self, why: str) -> None:
        """Nothing runs any more, here or elsewhere."""
        self.latched, self._is_last = why, True

    @pytest.hookimpl
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        """Run one scenario as pytest would, and once more if it was lost."""
        if not self._covers(item):
            return None
        if self.latched is not None and not self._is_last and self._give_back(item, self.latched):
            return True
        self._begin(item)
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        first = self._attempt(item, nextitem)
        if first is not None and self.latched is None and not item.session.shouldstop:
            self.renew = self._again = True
            self._begin(item)
            second = self._attempt(item, nextitem)
            self._again = False
            if second is not None or self.renew:
                before = f" In the attempt before: {first}" if second not in (None, first) else ""
                self.latched = f"the machine was lost twice: {second or first}{before}"
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip what a latched machine cannot run before any fixture of it asks for the machine."""
        if self.latched is not None and self._covers(item):
            pytest.skip(self.latched)

    def _attempt(self, item: Any, nextitem: pytest.Item | None) -> str | None:
        """Set up, call and tear down, and give back of what it was lost; pytest's own code has no place for that."""
        self._lost = None
        if not item._request:  # pytest gives the fixtures up when an attempt has ended
            item._initrequest()
        try:
            reports = [self._phase(item, "setup")]
            if reports[0].passed:
                only = item.config.getoption("setuponly", False)
                if item.config.getoption("setupshow", False):
                    show_test_item(item, add_space=not only)
                if not only:
                    reports.append(self._phase(item, "call"))
            if item.session.shouldfail or item.session.shouldstop:
                nextitem = None
            elif self._may_go_on:
                nextitem = item.parent  # so that the bench, which outlives scenarios, is there for the next attempt
            reports.append(self._phase(item, "teardown", nextitem=nextitem))
        finally:
            item._request = False
            item.funcargs = None
        for report in reports:
            if self._may_go_on and report.failed:
                report.outcome = "rerun"  # type: ignore[assignment]  # what plug-ins that repeat tests call it
            item.ihook.pytest_runtest_logreport(report=report)
        return self._lost

    @property
    def _may_go_on(self) -> bool:
        return self._lost is not None and not self._again and self.latched is None

    @staticmethod
    def _phase(item: pytest.Item, when: Any, **more: object) -> pytest.TestReport:
        return call_and_report(item, when, log=False, **more)


def _is_infrastructure(cause: BaseException) -> bool:
    """Whether another machine may change it; a mistake in a scenario is the same on any."""
    if isinstance(cause, OSError):
        return cause.errno in _HOST_TROUBLE
    return isinstance(cause, (HarnessError, MemoryError)) and not isinstance(cause, UsageError)
