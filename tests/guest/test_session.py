from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from harness.errors import ConfigError, GuestError, HostError
from harness.guest.session import BOOT_ID_PATH, open_guest, to_sftp_path, to_windows_path
from harness.guest.transport import CommandResult
from harness.guest.windows import WindowsGuest
from harness.waiting import Deadline

HASH = "ab" * 32


def answers(stdout="", stderr="", exit_code=0):
    def run(command, deadline):
        return CommandResult(command=command, exit_code=exit_code, stdout=stdout, stderr=stderr, duration=0.1)

    return run


@pytest.fixture
def secrets(tmp_path, server):
    (tmp_path / "winrm.json").write_text(json.dumps({"user": "Administrator", "password": "secret"}))
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ5cJ3v0l1dF6qC9m0l5b0Jx9n8y7w6v5u4t3s2r1q0p root@guest"
    (tmp_path / "ssh_host.pub").write_text(key)
    (tmp_path / "ssh_key").write_text("not needed")
    return tmp_path


def test_paths_are_spelt_both_ways():
    assert to_sftp_path(r"C:\wfp-hil\x.sys") == "/C:/wfp-hil/x.sys"
    assert to_windows_path("/C:/wfp-hil/x.sys") == r"C:\wfp-hil\x.sys"


def test_a_session_runs_commands_and_ends_the_shell(server, secrets):
    machine = SimpleNamespace(winrm_port=server.port, ssh_port=1)
    with open_guest(machine, secrets) as guest:
        guest.wait_until_ready(Deadline(30))
        assert guest.run("echo hi").stdout == "hi\n"

    assert not server.shells


def test_a_session_that_breaks_says_nothing_more_to_the_guest(server, secrets):
    machine = SimpleNamespace(winrm_port=server.port, ssh_port=1)
    with pytest.raises(RuntimeError), open_guest(machine, secrets) as guest:
        guest.run("true")
        raise RuntimeError("the machine died")

    assert "Delete" not in server.actions


def test_unknown_kind_names_the_known_ones(secrets):
    machine = SimpleNamespace(winrm_port=1, ssh_port=1)
    with (
        pytest.raises(ConfigError, match="Known kinds: reference, windows"),
        open_guest(machine, secrets, kind="amiga"),
    ):
        pass


@pytest.mark.parametrize("damage", ["", "[]", '{"user": "x"}', "{"])
def test_damaged_secrets_are_named(secrets, damage):
    (secrets / "winrm.json").write_text(damage)
    machine = SimpleNamespace(winrm_port=1, ssh_port=1)
    with pytest.raises(HostError, match=r"winrm\.json"), open_guest(machine, secrets):
        pass


def test_the_boot_id_is_what_the_guest_wrote(server, secrets, monkeypatch):
    machine = SimpleNamespace(winrm_port=server.port, ssh_port=1)
    with open_guest(machine, secrets) as guest:
        monkeypatch.setattr(type(guest), "read", lambda self, remote: {BOOT_ID_PATH: b"0815-4711\r\n"}[remote])
        assert guest.boot_id() == "0815-4711"
        monkeypatch.setattr(type(guest), "read", lambda self, remote: b"\r\n")
        with pytest.raises(GuestError, match="boot-id' in the guest is empty"):
            guest.boot_id()


@pytest.mark.parametrize(
    "said",
    [
        f"SHA256 hash of C:\\x:\r\n{HASH}\r\nCertUtil: -hashfile command completed successfully.\r\n",
        f"SHA256 hash of file C:\\x:\r\n{' '.join(['AB'] * 32)}\r\nCertUtil: done.\r\n",
    ],
)
def test_certutil_of_old_and_new_windows(said):
    assert WindowsGuest().find_hash(answers(said), r"C:\x", Deadline(1)) == HASH


def test_certutil_that_fails_is_an_error():
    with pytest.raises(GuestError, match="gave no SHA-256"):
        WindowsGuest().find_hash(
            answers("CertUtil: -hashfile command FAILED: 0x80070002", exit_code=1), "x", Deadline(1)
        )
