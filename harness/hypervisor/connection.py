"""The connection to libvirt: which daemon, started if need be, and one thread that delivers its events."""

from __future__ import annotations

import grp
import os
import re
import threading
from contextlib import suppress
from pathlib import Path

import libvirt

from harness import process, steps
from harness.errors import DeadlineExpired, HostError, MachineError, UsageError
from harness.waiting import Deadline, wait_for

# A daemon that says nothing for a minute is gone; a busy host may well hold one up for some seconds.
_KEEPALIVE_SECONDS, _KEEPALIVE_TRIES = 10, 6
_RESTART_SECONDS = 60.0  # it asks QEMU what it can do, which takes a busy host its time

_DAEMONS = (("virtlogd", Path("/run/virtlogd.pid")), ("libvirtd", Path("/run/libvirtd.pid")))
_OTHERS_SECONDS = 20.0  # within which a daemon that somebody else is just starting has written down its number

_answered: set[str] = set()  # daemons that this process has talked to: one that is silent now may be starting anew
_event_loop_lock = threading.Lock()  # guards _event_loop
_event_loop: threading.Thread | None = None


def default_uri() -> str:
    """$WFP_HIL_LIBVIRT_URI, else the system daemon for root and the user's own daemon for everybody else."""
    named = os.environ.get("WFP_HIL_LIBVIRT_URI")
    return named or ("qemu:///system" if os.geteuid() == 0 else "qemu:///session")


def connect(uri: str | None = None, *, deadline: Deadline | None = None) -> libvirt.virConnect:
    """Open a connection whose events are delivered; start libvirt's daemons where nobody else does.

    Raises HostError when libvirt is not there or refuses this user.
    """
    uri = uri or default_uri()
    _run_event_loop()
    if uri == "qemu:///system" and os.geteuid() == 0:
        give_kvm_its_group()
    try:
        connection = _open(uri)
    except libvirt.libvirtError as error:
        ours = _daemon_is_ours_to_start(uri, error)
        if not ours and not (uri in _answered and _is_silent(error)):
            raise _explain(uri, error) from error

        def attempt() -> libvirt.virConnect | None:
            if ours:
                start_daemons()  # again and again: one that is just ending seems to run
            return _open_or_none(uri)

        wait = deadline or Deadline(_RESTART_SECONDS)
        connection = wait_for(attempt, wait, f"libvirtd to answer at {uri}")
    _answered.add(uri)
    with suppress(libvirt.libvirtError):  # drivers of libvirt without a daemon have nobody to ask
        connection.setKeepAlive(_KEEPALIVE_SECONDS, _KEEPALIVE_TRIES)
    return connection


def start_daemons() -> None:
    """Start virtlogd and libvirtd, for a host without systemd; harmless for those which run already."""
    for name, pid_file in _DAEMONS:
        tool = process.find_tool(name)
        if tool is None:
            raise HostError(f"The program '{name}' is not installed.", hint="'make setup' installs all that is needed.")
        if _runs(pid_file, name):
            continue
        done = process.run([tool, "-d"], deadline=Deadline(20), lasting=True, check=False)
        if done.exit_code != 0 and not _is_started_by_others(pid_file, name):
            raise HostError(f"'{tool} -d' ended with exit code {done.exit_code}: {done.stderr.strip()[-2000:]}")


def give_kvm_its_group(node: Path = Path("/dev/kvm"), udev: Path = Path("/run/udev/control")) -> None:
    """Do for /dev/kvm what udev's default rule does (group kvm, mode 0660), on a host where no udev runs.

    libvirt 9.0 holds every answer it cached about QEMU for outdated while QEMU's user may not open a node that root
    may. It then asks QEMU anew a dozen times for each start of a domain, which costs a minute.
    """
    with suppress(OSError, KeyError):
        facts = node.stat()
        if not udev.exists() and facts.st_uid == facts.st_gid == 0 and not facts.st_mode & 0o066:
            os.chown(node, 0, grp.getgrnam("kvm").gr_gid)
            node.chmod(0o660)
            steps.note(f"{node} got group kvm and mode 0660, as udev would have given it.")


def qemu_log(uri: str, domain: str) -> Path:
    """The file into which libvirt has a domain's QEMU write its complaints."""
    if uri.endswith("/system"):
        return Path("/var/log/libvirt/qemu", f"{domain}.log")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "libvirt" / "qemu" / "log" / f"{domain}.log"


def words_of(error: libvirt.libvirtError) -> str:
    """What libvirt says, in its own words."""
    return (error.get_error_message() or str(error)).strip()


def refusal_text(error: libvirt.libvirtError, log: Path) -> str:
    """What libvirt says, with QEMU's own words where libvirt says only that it did not reach QEMU any more.

    A QEMU that ends at once is met by libvirt in one state or another: on a busy host it often is gone before libvirt
    opens its monitor, and libvirt then does not look into its log.
    """
    text = words_of(error)
    if "monitor" not in text:
        return text
    with suppress(OSError):
        said = [line for line in log.read_text(errors="replace").splitlines() if re.search(r" qemu-system-\w+: ", line)]
        return f"{text}\n{said[-1].strip()}" if said else text
    return text


def machine_error(
    what: str, error: libvirt.libvirtError, said: str | None = None
) -> MachineError | HostError | UsageError:
    """The typed error for something that libvirt or QEMU refused; `what` completes 'could not ...'.

    `said` is a fuller text than the error's own.
    """
    text = said or words_of(error)
    reason = (text.splitlines()[-1] if "\n" in text else text).rstrip(".")
    log = re.search(r"Check error log '([^']+)'", reason)
    if log is not None:
        reason = f"{reason} ({_last_complaint(Path(log[1]))})"
    if "could not set up host forwarding rule" in text.lower():
        return UsageError(
            f"The machine could not {what}: a host port for management is taken ({reason}).",
            hint="Remove winrm_host_port and ssh_host_port from the profile, then free ports are chosen.",
        )
    if "permission denied" in text.lower():
        return HostError(
            f"The machine could not {what}: {reason}.",
            hint="QEMU runs as another user under qemu:///system; keep images below /var/cache/wfp-hil.",
        )
    return MachineError(f"The machine could not {what}: {reason}.")


def _last_complaint(log: Path) -> str:
    """What a program that libvirt ran put into its log as the reason, as far as one can tell."""
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()[-30:]]
    except OSError as error:
        return f"which could not be read: {error.strerror}"
    # swtpm_setup writes the reason first, then that every caller of it failed as well, then its last line.
    reasons = [line for line in lines if line and not re.match(r"(Starting|Ending|Successfully|Invoking)\b", line)]
    return f"there: {reasons[0].rstrip('.')}" if reasons else "which is empty"


def _open(uri: str) -> libvirt.virConnect:
    connection = libvirt.open(uri)
    if connection is None:
        raise libvirt.libvirtError(f"no connection to {uri}")
    return connection


def _open_or_none(uri: str) -> libvirt.virConnect | None:
    try:
        return _open(uri)
    except libvirt.libvirtError:
        return None


def _is_silent(error: libvirt.libvirtError) -> bool:
    text = words_of(error)
    return "socket" in text and ("No such file or directory" in text or "Connection refused" in text)


def _daemon_is_ours_to_start(uri: str, error: libvirt.libvirtError) -> bool:
    ours = uri == "qemu:///system" and os.geteuid() == 0 and not Path("/run/systemd/system").exists()
    return ours and _is_silent(error)


def _explain(uri: str, error: libvirt.libvirtError) -> HostError:
    text = words_of(error)
    codes = (libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_ACCESS_DENIED, libvirt.VIR_ERR_AUTH_UNAVAILABLE)
    # Asked by an ordinary user, the system's daemon asks polkit over the system bus, which may be missing as well.
    signs = ("permission denied", "authentication", "system bus", "polkit")
    if error.get_error_code() in codes or any(sign in text.lower() for sign in signs):
        hint = (
            "Unset WFP_HIL_LIBVIRT_URI to use qemu:///session, or have yourself added to the group 'libvirt'."
            if uri == "qemu:///system"
            else f"Look at the owner of {os.environ.get('XDG_RUNTIME_DIR', '~/.cache/libvirt')}."
        )
        return HostError(f"libvirt at {uri} refuses this user: {text}.", hint=hint)
    if "transport in URL" in text or "no connection driver" in text:
        return HostError(
            f"libvirt does not know '{uri}': {text}.", hint="Unset WFP_HIL_LIBVIRT_URI, or set it to qemu:///session."
        )
    hint = "Start it with 'systemctl start libvirtd'." if Path("/run/systemd/system").exists() else "Run 'make setup'."
    return HostError(f"libvirt at {uri} does not answer: {text}.", hint=hint)


def _runs(pid_file: Path, name: str) -> bool:
    try:
        pid = int(pid_file.read_text())
        return name in Path(f"/proc/{pid}/cmdline").read_text()  # empty of one that ended and was not waited for
    except (OSError, ValueError):
        return False


def _is_started_by_others(pid_file: Path, name: str) -> bool:
    """Of processes that start a daemon at the same time, all but one are refused."""
    try:
        return wait_for(lambda: _runs(pid_file, name) or None, Deadline(_OTHERS_SECONDS), f"'{name}' of somebody else")
    except DeadlineExpired:
        return False


def _run_event_loop() -> None:
    global _event_loop  # noqa: PLW0603 - libvirt has one event loop per process
    with _event_loop_lock:
        if _event_loop is not None:
            return
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors are raised; do not print them too
        libvirt.virEventRegisterDefaultImpl()
        _event_loop = threading.Thread(target=_deliver_events, name="libvirt-events", daemon=True)
        _event_loop.start()


def _deliver_events() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()
