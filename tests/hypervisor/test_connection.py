"""Connections without a daemon, and errors of libvirt turned into sentences."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import libvirt
import pytest

from harness.errors import HostError, MachineError, UsageError
from harness.hypervisor import connection


def refusal(message: str) -> libvirt.libvirtError:
    error = libvirt.libvirtError("x")
    error.err = (1, 10, message, 2, None, None, None, 0, 0)
    return error


def test_the_uri_can_be_named(monkeypatch):
    monkeypatch.setenv("WFP_HIL_LIBVIRT_URI", "test:///default")

    opened = connection.connect()

    assert opened.getURI() == "test:///default"
    opened.close()


@pytest.mark.parametrize(("user", "uri"), [(0, "qemu:///system"), (1000, "qemu:///session")])
def test_root_gets_the_system_daemon_and_others_their_own(monkeypatch, user, uri):
    monkeypatch.delenv("WFP_HIL_LIBVIRT_URI", raising=False)
    monkeypatch.setattr(connection.os, "geteuid", lambda: user)

    assert connection.default_uri() == uri


def test_a_daemon_that_does_not_answer_is_a_host_error():
    with pytest.raises(HostError, match=r"^libvirt at qemu\+unix:///system\?socket=/nonexistent does not answer: "):
        connection.connect("qemu+unix:///system?socket=/nonexistent")


@pytest.mark.parametrize(
    "said",
    [
        "Failed to connect socket to '/run/libvirt/libvirt-sock': Permission denied",
        "internal error: Unable to get system bus connection: Could not connect: No such file or directory",
        "authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'",
    ],
)
def test_a_refused_user_is_told_of_the_other_daemon(monkeypatch, said):
    def refuse(uri: str) -> None:
        raise refusal(said)

    monkeypatch.setattr(connection, "_open", refuse)
    with pytest.raises(HostError) as caught:
        connection.connect("qemu:///system")
    assert caught.value.message.startswith("libvirt at qemu:///system refuses this user: " + said)
    assert "qemu:///session" in caught.value.hint
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    ("said", "kind", "part"),
    [
        (
            "internal error: qemu: Could not set up host forwarding rule 'tcp:127.0.0.1:5986-:5986'",
            UsageError,
            "a host port for management is taken",
        ),
        ("Could not open '/root/x/disk.qcow2': Permission denied", HostError, "Permission denied"),
        ("first line\nunsupported machine type", MachineError, "could not start: unsupported machine type."),
    ],
)
def test_what_libvirt_says_becomes_a_sentence_of_the_right_kind(said, kind, part):
    error = connection.machine_error("start", refusal(said))

    assert type(error) is kind
    assert part in error.message


@pytest.mark.parametrize(
    ("log", "part"),
    [
        (
            (
                "Starting vTPM manufacturing as tss:tss\nSuccessfully created.\n  Invoking /usr/bin/swtpm_localca\n"
                "Need read/write rights on .lock.swtpm-localca for user tss.\nAn error occurred.\nEnding vTPM\n"
            ),
            "there: Need read/write rights on .lock.swtpm-localca for user tss).",
        ),
        ("Starting vTPM manufacturing as tss:tss\n", "which is empty)."),
        (None, "which could not be read: No such file or directory)."),
    ],
)
def test_the_reason_is_read_from_the_log_that_libvirt_names(tmp_path, log, part):
    path = tmp_path / "swtpm.log"
    if log is not None:
        path.write_text(log)

    said = f"internal error: Could not run '/usr/bin/swtpm_setup'. exitstatus: 1; Check error log '{path}' for details."
    assert connection.machine_error("start", refusal(said)).message.endswith(f"for details ({part}")


QEMU_LOG = """-msg timestamp=on
2026-11-21 22:52:32.502+0000: Domain id=35 is tainted: custom-argv
2026-11-21T22:52:32.820011Z qemu-system-x86_64: -netdev user: Could not set up host forwarding rule 'tcp:127.0.0.1:45'
2026-11-21 22:52:33.842+0000: shutting down, reason=failed
"""


@pytest.mark.parametrize(
    ("said", "log", "kind", "part"),
    [
        ("failed to connect to monitor socket: Connection refused", QEMU_LOG, UsageError, "management is taken"),
        ("failed to connect to monitor socket: Connection refused", "", MachineError, "Connection refused."),
        ("failed to connect to monitor socket: Connection refused", None, MachineError, "Connection refused."),
        ("no such device", QEMU_LOG, MachineError, "no such device."),
    ],
)
def test_a_qemu_that_was_gone_before_libvirt_reached_it_is_asked_in_its_log(tmp_path, said, log, kind, part):
    path = tmp_path / "qemu.log"
    if log is not None:
        path.write_text(log)

    error = connection.machine_error("start", refusal(said), connection.refusal_text(refusal(said), path))

    assert type(error) is kind
    assert part in error.message


def test_the_log_of_qemu_is_where_the_daemon_of_that_uri_has_it_written(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert connection.qemu_log("qemu:///system", "one") == Path("/var/log/libvirt/qemu/one.log")
    assert connection.qemu_log("qemu:///session", "one") == tmp_path / "libvirt/qemu/log/one.log"


def test_errors_are_not_printed_as_well(capfd):
    opened = connection.connect("test:///default")
    with pytest.raises(libvirt.libvirtError):
        opened.lookupByName("absent")
    opened.close()

    assert capfd.readouterr() == ("", "")


def test_the_kvm_node_gets_udevs_mode_only_where_no_udev_runs(tmp_path, monkeypatch):
    node, udev = tmp_path / "kvm", tmp_path / "udev"
    node.touch(mode=0o600)
    owners: list[tuple[int, int]] = []
    monkeypatch.setattr(connection.os, "chown", lambda path, user, group: owners.append((user, group)))
    monkeypatch.setattr(connection.grp, "getgrnam", lambda name: type("Group", (), {"gr_gid": 107}))
    owned_by_root = node.stat().st_uid == 0

    udev.touch()
    connection.give_kvm_its_group(node, udev)
    assert node.stat().st_mode & 0o777 == 0o600

    udev.unlink()
    connection.give_kvm_its_group(node, udev)
    assert node.stat().st_mode & 0o777 == (0o660 if owned_by_root else 0o600)
    assert owners == ([(0, 107)] if owned_by_root else [])


@pytest.fixture
def one_daemon(monkeypatch, tmp_path):
    """The daemon 'libvirtd', which does not run; `start` is what starting it does."""
    record = tmp_path / "libvirtd.pid"
    monkeypatch.setattr(connection, "_DAEMONS", (("libvirtd", record),))
    monkeypatch.setattr(connection, "_runs", lambda pid_file, name: pid_file.exists())
    monkeypatch.setattr(connection.process, "find_tool", Path)

    def start(code, *, begun_by_others):
        def run(argv, **_):
            if begun_by_others:
                record.touch()
            return connection.process.Completed(argv=argv, exit_code=code, stdout="", stderr="locked", duration=0)

        monkeypatch.setattr(connection.process, "run", run)
        connection.start_daemons()

    return start


def test_a_daemon_that_somebody_else_starts_at_the_same_time_is_started(one_daemon):
    one_daemon(1, begun_by_others=True)


def test_a_daemon_that_does_not_start_is_a_host_error(one_daemon, monkeypatch):
    monkeypatch.setattr(connection, "_OTHERS_SECONDS", 0.1)

    with pytest.raises(HostError, match="'libvirtd -d' ended with exit code 1: locked"):
        one_daemon(1, begun_by_others=False)


def test_a_daemon_that_has_ended_and_was_not_waited_for_does_not_run(tmp_path):
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()", "libvirtd"], stdin=pipe, stdout=pipe)
    child.stdout.readline()  # while a program is being put into its process, that has no command line
    record = tmp_path / "libvirtd.pid"
    record.write_text(str(child.pid))
    assert connection._runs(record, "libvirtd")

    child.stdin.close()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    assert not connection._runs(record, "libvirtd")
    child.wait()
    child.stdout.close()
