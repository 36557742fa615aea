"""The command tree, and how an error ends: `error: ...`, `hint: ...`, and the code of whose fault it was."""

from __future__ import annotations

import signal
import sys

import typer

from harness.cli import (
    bisect,
    bundle,
    cert,
    clean,
    doctor,
    history,
    image,
    minimise,
    nightly,
    report,
    reproduce,
    rules,
    run,
    screen,
    shell,
    state,
)
from harness.errors import HarnessError
from harness.printable import printable

app = typer.Typer(
    name="wfp-hil",
    help="Hardware-in-the-loop tests for Windows Filtering Platform callout drivers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command(name="run", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(run.run)
app.command(name="nightly")(nightly.nightly)
app.command(name="reproduce", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    reproduce.reproduce
)
app.command(name="minimise")(minimise.minimise)
app.command(name="bisect")(bisect.bisect)
app.command(name="bundle")(bundle.bundle)
app.command(name="rules")(rules.rules)
app.command(name="history")(history.history)
app.command(name="report")(report.report)
app.command(name="doctor")(doctor.doctor)
app.command(name="clean")(clean.clean)
app.command(name="screen")(screen.screen)
app.command(name="shell")(shell.shell)
app.command(name="state")(state.state)
app.add_typer(image.app, name="image")
app.add_typer(cert.app, name="cert")


def main() -> None:
    """Entry point of the console script."""
    debug = "--debug" in sys.argv[1:]
    # Asked to end in whatever way, it takes away its machine first; what nohup has it ignore stays ignored.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    try:
        app(args=arguments)
    except HarnessError as error:
        if debug:
            raise
        print(f"error: {printable(error.message)}", file=sys.stderr)
        if error.hint:
            print(f"hint: {printable(error.hint)}", file=sys.stderr)
        sys.exit(error.exit_code)
