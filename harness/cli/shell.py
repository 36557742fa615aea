"""`wfp-hil shell`: a console in a guest, over WinRM; in a machine that runs, or in one that is booted for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from harness.cli.progress import show_steps
from harness.cli.screen import choose_machine
from harness.errors import HostError, TransportError, UsageError

if TYPE_CHECKING:
    from harness.guest import Guest

_ANSWER_SECONDS = 600.0
_DAY = 86400.0


def shell(
    guest: Annotated[
        str | None, typer.Argument(help="A machine that runs, or the profile of a guest to boot; not needed for one.")
    ] = None,
) -> None:
    """Open a console in a guest: cmd.exe over WinRM, until 'exit' or the end of the input.

    Finds a running machine of that name first, else boots the guest's image, which is gone afterwards.
    """
    with reach(guest) as session:
        converse(session, sys.stdin, sys.stdout)


def reach(guest: str | None) -> AbstractContextManager[Guest]:
    """The guest of a machine that runs, found by a part of its name, else of one that is booted now."""
    from harness.hypervisor.state import live_machines

    fitting = [name for name in live_machines() if guest is None or guest in name]
    return _attached(choose_machine(guest)) if fitting or guest is None else _booted(guest)


def converse(session: Guest, lines: TextIO, out: TextIO) -> None:
    """Give each line to cmd.exe in the guest and print what it says, as it comes."""
    from harness.waiting import Deadline

    def show(_stream: str, text: str) -> None:
        out.write(text.replace("\r\n", "\n"))
        out.flush()

    running = session.start("cmd.exe", on_output=show)
    try:
        for line in lines:
            if not running.is_running:
                break
            running.send(line.rstrip("\n") + "\r\n")
            if line.strip().lower() == "exit":
                break
        else:
            running.send("exit\r\n", end=True)
        running.wait(Deadline(_DAY))
    except KeyboardInterrupt:
        running.terminate()
    except TransportError as error:
        print(f"\nThe console ended: {error.message}", file=sys.stderr)


@dataclass(frozen=True, slots=True)
class _Ports:
    winrm_port: int
    ssh_port: int


@contextmanager
def _attached(name: str) -> Iterator[Guest]:
    """The guest of a machine of another process."""
    from harness.config import load_profile, state_root
    from harness.guest import open_guest
    from harness.hypervisor import connect
    from harness.hypervisor.console import find_console
    from harness.hypervisor.monitor import Monitor
    from harness.hypervisor.state import MachineState

    image = _image_of(MachineState(state_root() / name).disk)
    profile = load_profile(str(json.loads((image / "image.json").read_text(encoding="utf-8"))["name"]))
    connection = connect()
    try:
        ports = Monitor.of(find_console(connection, name).domain).host_ports()
    finally:
        connection.close()
    management = profile.management
    reach = _Ports(ports[management.winrm_port], ports[management.ssh_port])
    print(f"console of {name}; 'exit' leaves it", file=sys.stderr)
    with open_guest(reach, image / "secrets", kind=str(profile.kind)) as session:
        yield session


@contextmanager
def _booted(name: str) -> Iterator[Guest]:
    """The guest of a machine that is booted now and gone at the end."""
    from harness.config import load_profile
    from harness.guest import open_guest
    from harness.hypervisor import NicSpec, open_machine
    from harness.images import ensure
    from harness.link import StreamLink
    from harness.ownership import temporary_folder
    from harness.waiting import Deadline

    profile = load_profile(name)
    with ExitStack() as stack:
        with show_steps(max_depth=1):
            image = ensure(profile.name)
            run_dir = stack.enter_context(temporary_folder("shell"))
            links = [stack.enter_context(StreamLink.listen()) for _ in profile.machine.nics]
            nics = [
                NicSpec(model=model, link_port=link.port)
                for model, link in zip(profile.machine.nics, links, strict=True)
            ]
            machine = stack.enter_context(open_machine(profile, image, run_dir=run_dir, nics=nics))
            machine.start(Deadline(profile.boot.ready_seconds))
            session = stack.enter_context(open_guest(machine, image.secrets, kind=str(profile.kind)))
            session.wait_until_ready(Deadline(_ANSWER_SECONDS))
        print(f"console of {machine.name}; 'exit' ends the machine", file=sys.stderr)
        yield session


def _image_of(disk: Path) -> Path:
    """The folder of the image that a machine's overlay lies on."""
    from harness.process import run
    from harness.waiting import Deadline

    try:
        told = run(["qemu-img", "info", "-U", "--output=json", disk], deadline=Deadline(30)).stdout
        return Path(json.loads(told)["backing-filename"]).parent
    except (HostError, ValueError, KeyError) as error:
        raise UsageError(
            f"'{disk.parent.name}' was not started from an image, so there are no secrets to log in with.",
            hint="'wfp-hil screen' shows what it does.",
        ) from error
