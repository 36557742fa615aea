"""The guest of a running machine: commands, files and the probe together, through snapshots and reverts."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from harness.errors import ConfigError, GuestError, HarnessError, HostError
from harness.guest.kind import GuestKind
from harness.guest.probe import ProbeClient
from harness.guest.reference import ReferenceGuest
from harness.guest.sftp import SftpTransport
from harness.guest.transport import CommandResult, Identity, OutputCallback, ProgressCallback
from harness.guest.windows import WindowsGuest
from harness.guest.winrm import RunningCommand, WinRmTransport
from harness.steps import note, step
from harness.waiting import Deadline

WORK_FOLDER = r"C:\wfp-hil"
PROBE_PATH = WORK_FOLDER + r"\wfpprobe.exe"
BOOT_ID_PATH = WORK_FOLDER + r"\boot-id"
_RUN_SECONDS = 60.0
_PROBE_START_SECONDS = 60.0

_KINDS: dict[str, Callable[[], GuestKind]] = {"reference": ReferenceGuest, "windows": WindowsGuest}


class MachinePorts(Protocol):
    """What a session needs of a machine: the forwarded ports."""

    @property
    def winrm_port(self) -> int:
        """Port on 127.0.0.1 that is forwarded to WinRM."""

    @property
    def ssh_port(self) -> int:
        """Port on 127.0.0.1 that is forwarded to SSH."""


class Guest:
    """The operating system in a machine, as a scenario sees it."""

    def __init__(self, *, kind: GuestKind, winrm: WinRmTransport, files: SftpTransport) -> None:
        self.kind = kind
        self.winrm = winrm
        self.files = files
        self._probe: ProbeClient | None = None
        self._probe_command: RunningCommand | None = None

    def wait_until_ready(self, deadline: Deadline) -> Identity:
        """Wait until WinRM answers; files are reached when they are first needed."""
        return self.winrm.identify(deadline)

    def run(self, command: str, *, deadline: Deadline | None = None, skip_cmd_shell: bool = False) -> CommandResult:
        """Run a command line to its end, whatever its exit code."""
        return self.winrm.run(command, deadline or Deadline(_RUN_SECONDS), skip_cmd_shell=skip_cmd_shell)

    def start(self, command: str, *, on_output: OutputCallback | None = None) -> RunningCommand:
        """Start a program and come back at once."""
        return self.winrm.start(command, on_output=on_output)

    def upload(self, local: Path, remote: str, *, progress: ProgressCallback | None = None) -> str:
        r"""Copy a file to a path such as C:\wfp-hil\x.sys, verified, and give back its SHA-256."""
        with step("upload", file=local.name, to=remote):
            path = to_sftp_path(remote)
            self.files.make_folder(posixpath.dirname(path))
            return self.files.put(local, path, progress=progress)

    def download(self, remote: str, local: Path) -> str:
        """Copy a file of the guest to this host, and give back its SHA-256."""
        return self.files.get(to_sftp_path(remote), local)

    def read(self, remote: str) -> bytes:
        """Content of a small file of the guest."""
        return self.files.read(to_sftp_path(remote))

    def boot_id(self, *, deadline: Deadline | None = None) -> str:  # noqa: ARG002 - SFTP has limits of its own
        """A text that changes with every boot of the guest, from a file that the guest writes before anybody gets in.

        Not the time of the boot: Windows computes that from its clock, which may be set. Not by a command: that costs
        Wine seconds while it is booting. Raises GuestError when the file is empty.
        """
        boot_id = self.read(BOOT_ID_PATH).decode(errors="replace").strip()
        if not boot_id:
            raise GuestError(
                f"'{BOOT_ID_PATH}' in the guest is empty.", hint="init writes it at boot, or boot.ps1 in Windows."
            )
        return boot_id

    def has_carrier(self, nic: int = 0, *, deadline: Deadline | None = None) -> bool:
        """Whether the guest's own driver sees a cable in test NIC `nic`, counted from 0.

        Raises GuestError or TransportError when the guest does not say.
        """
        return self.kind.has_carrier(self.winrm.run, self.files.read, nic, deadline or Deadline(_RUN_SECONDS))

    def shut_down(self, *, deadline: Deadline | None = None) -> None:
        """Tell the guest to switch itself off; comes back when it was told, not when it is off.

        Raises GuestError or TransportError when it did not take the order.
        """
        self.kind.shut_down(self.winrm.run, self.files.shell, deadline or Deadline(_RUN_SECONDS))

    def probe(self) -> ProbeClient:
        """The running probe; started when there is none."""
        if self._probe is not None and self._probe_command is not None and self._probe_command.is_running:
            return self._probe
        with step("start the probe"):
            client = ProbeClient()
            running = self.winrm.start(
                PROBE_PATH, on_output=client.feed, on_lost=client.lose, awaits=client.awaits_answer
            )
            client.attach(running)
            client.wait_until_ready(Deadline(_PROBE_START_SECONDS))
        self._probe, self._probe_command = client, running
        return client

    @property
    def progress(self) -> tuple[int, int, int]:
        """Something that differs once the guest has said anything: over WinRM, by the probe, in a transfer."""
        lines = self._probe.lines if self._probe is not None else 0
        return self.winrm.answers, lines, self.files.blocks

    def interrupt(self, error: HarnessError) -> None:
        """End every wait for the guest of this moment, in whatever thread: with `error` or a broken connection."""
        if self._probe is not None:
            self._probe.interrupt(error)
        self.winrm.interrupt(error)
        self.files.disconnect()

    def cut(self) -> None:
        """Break every connection; what runs in the guest goes on, and is reached over new ones."""
        self.winrm.cut()
        self.files.disconnect()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Everything stands still and can be gone on with after a revert: take the snapshot inside."""
        probe = self._probe
        # Its answer may be read before or after the snapshot: nobody waits for it.
        nudge = (lambda: probe.start("hello")) if probe is not None else None
        with self.winrm.held(nudge=nudge):
            self.files.disconnect()
            yield

    def cut_off(self, why: str) -> None:
        """The machine stands still until it is put back: who waits for the guest, or asks it, gets TransportError."""
        self.winrm.cut_off(why)
        if self._probe is not None:
            self._probe.cut_off(why)
        self.files.disconnect()

    def reverted(self) -> None:
        """Go on after the machine was put back to the snapshot that was taken in held()."""
        self.files.disconnect()
        self.winrm.reconnect()
        if self._probe is not None:
            self._probe.resynchronise()

    def close(self) -> None:
        """End what runs in the guest and let go of every connection."""
        self.winrm.close()
        self.files.close()

    def abandon(self) -> None:
        """Let go of every connection without a word to the guest: for a machine that is gone."""
        self.winrm.abandon()
        self.files.disconnect()


@contextmanager
def open_guest(machine: MachinePorts, secrets: Path, *, kind: str = "reference") -> Iterator[Guest]:
    """The guest of a running machine, reached with the secrets of its image; closed at the end of the block."""
    make = _KINDS.get(kind)
    if make is None:
        raise ConfigError(f"Guest kind '{kind}' does not exist.", hint=f"Known kinds: {', '.join(sorted(_KINDS))}.")
    user, password = _load_account(secrets)
    with ExitStack() as stack:
        guest_kind = make()
        winrm = WinRmTransport(port=machine.winrm_port, user=user, password=password, ca=secrets / "winrm.pem")

        def remote_hash(path: str) -> str | None:
            return guest_kind.find_hash(winrm.run, to_windows_path(path), Deadline(_RUN_SECONDS))

        files = SftpTransport(
            port=machine.ssh_port,
            user=user,
            key=secrets / "ssh_key",
            host_key=_read(secrets / "ssh_host.pub"),
            remote_hash=remote_hash,
        )
        guest = Guest(kind=guest_kind, winrm=winrm, files=files)
        try:
            yield guest
        except BaseException:
            stack.callback(guest.abandon)
            raise
        try:
            guest.close()
        except Exception as error:  # the work is done; a guest that dies at the end changes nothing
            note("the guest could not be left in good order", error=str(error))
            guest.abandon()


def to_sftp_path(path: str) -> str:
    r"""The spelling of C:\folder\file for SFTP: /C:/folder/file."""
    return "/" + path.replace("\\", "/").lstrip("/")


def to_windows_path(path: str) -> str:
    """The spelling of /C:/folder/file for a command."""
    return path.lstrip("/").replace("/", "\\")


def _load_account(secrets: Path) -> tuple[str, str]:
    try:
        account = json.loads(_read(secrets / "winrm.json"))
        return str(account["user"]), str(account["password"])
    except (ValueError, KeyError, TypeError) as error:
        raise HostError(
            f"'{secrets / 'winrm.json'}' does not hold a user and a password ({error}).", hint="Build the image again."
        ) from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise HostError(
            f"The image's secret '{path}' could not be read: {error.strerror}.", hint="Build the image again."
        ) from error
