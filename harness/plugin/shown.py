"""Where the live view is shown, and what gives way to it."""

from __future__ import annotations

import pytest
from rich.console import Console

from harness.report import LiveView

PLUGIN = "wfp-hil-run"


def live_view(config: pytest.Config, *, only_scenarios: bool) -> LiveView:
    """The live view in place of pytest's own progress, or beside it where ordinary tests run as well."""
    reporter = config.pluginmanager.getplugin("terminalreporter")
    if reporter is None:
        return LiveView(None)
    if only_scenarios:
        reporter.showfspath = False
        reporter._show_progress_info = False  # noqa: SLF001 - pytest has no public switch
    return LiveView(Console(file=reporter._tw._file, highlight=False))  # noqa: SLF001
