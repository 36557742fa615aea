"""Where the live view is shown, and what gives way to it."""

from __future__ import annotations

import pytest
from rich.console import Console

from harness.printable import PrintableStream
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
    terminal = reporter._tw._file  # noqa: SLF001
    reporter._tw._file = PrintableStream(terminal)  # noqa: SLF001 - what failed may say what a guest said
    return LiveView(Console(file=terminal, highlight=False))
