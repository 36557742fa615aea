"""Our client against the endpoint of the reference guest, here with this host's shell in the place of cmd.exe."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from harness.errors import AuthenticationFailed, GuestError
from harness.guest.winrm import WinRmTransport
from harness.process import start
from harness.waiting import Deadline, wait_for
from tests.processes import is_running

ENDPOINT = Path(__file__).parents[2] / "vm-images" / "reference" / "winrm"


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory, make_certificate_in):
    folder = tmp_path_factory.mktemp("endpoint")
    pem, key = make_certificate_in(folder)
    (folder / "both.pem").write_bytes(key.read_bytes() + pem.read_bytes())
    (folder / "users").write_text(":Administrator:secret\n")
    config = {
        "address": "127.0.0.1",
        "port": 0,
        "certificate": str(folder / "both.pem"),
        "users": str(folder / "users"),
        "runner": "native",
    }
    (folder / "config.json").write_text(json.dumps(config))
    ready = folder / "ready"
    argv = [sys.executable, "-m", "wfp_winrm", "--config", folder / "config.json", "--ready", ready]
    with (folder / "log").open("wb") as log, start(argv, cwd=ENDPOINT, stderr=log.fileno(), env=dict(os.environ)):
        port = int(wait_for(lambda: ready.read_text() if ready.exists() else None, Deadline(60), "the endpoint"))
        yield {"port": port, "user": "Administrator", "password": "secret", "ca": pem}


@pytest.fixture
def winrm(endpoint):
    with WinRmTransport(**endpoint) as transport:
        yield transport


def test_identify(winrm):
    assert "wfp-hil reference guest" in winrm.identify(Deadline(30)).version


def test_streams_and_exit_code(winrm):
    done = winrm.run("echo out; echo err >&2; exit 7", Deadline(30))

    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 7)


def test_a_conversation(winrm):
    running = winrm.start("cat", skip_cmd_shell=False)
    lines = running.lines(Deadline(30))
    for number in range(5):
        running.send(f"{number}\n")
        assert next(lines) == str(number)
    running.send(b"", end=True)

    assert running.wait(Deadline(30)).exit_code == 0


def test_more_output_than_one_envelope_holds(winrm):
    done = winrm.run("i=0; while [ $i -lt 20000 ]; do echo line-$i; i=$((i+1)); done", Deadline(60))

    assert done.stdout.splitlines() == [f"line-{i}" for i in range(20000)]


def test_a_deadline_ends_the_command(winrm):
    running = winrm.start("echo $$; exec cat", skip_cmd_shell=False)
    pid = int(next(running.lines(Deadline(30))))
    with pytest.raises(GuestError, match="was terminated"):
        running.wait(Deadline(1.0))

    wait_for(lambda: None if is_running(pid) else True, Deadline(30), "the process to end")
    assert winrm.run("echo on", Deadline(30)).stdout == "on\n"


def test_after_a_revert_the_same_command_goes_on(winrm):
    running = winrm.start("cat", skip_cmd_shell=False)
    with winrm.held(nudge=lambda: running.send("nudge\n")):
        pass
    winrm.reconnect()
    running.send("on\n", end=True)

    assert running.wait(Deadline(30)).stdout == "nudge\non\n"


def test_wrong_password(endpoint):
    with pytest.raises(AuthenticationFailed):
        WinRmTransport(**endpoint | {"password": "wrong"}).identify(Deadline(30))
