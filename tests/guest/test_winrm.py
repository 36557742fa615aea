from __future__ import annotations

import queue
import socket
import threading
from pathlib import Path

import pytest

from harness.errors import AuthenticationFailed, DeadlineExpired, GuestError, TransportError, UsageError
from harness.guest.transport import find_codec
from harness.guest.winrm import WinRmTransport
from harness.waiting import Deadline, wait_for


@pytest.fixture
def winrm(server):
    with open_transport(server) as transport:
        yield transport


def open_transport(server, **changes):
    wanted = {"port": server.port, "user": "Administrator", "password": "secret", "ca": server.pem} | changes
    return WinRmTransport(**wanted)


def test_streams_and_exit_code_come_apart(winrm):
    done = winrm.run("echo out; echo err >&2; exit 7", Deadline(30))

    assert (done.stdout, done.stderr, done.exit_code) == ("out\n", "err\n", 7)


def test_one_shell_serves_every_command(winrm, server):
    for _ in range(3):
        winrm.run("true", Deadline(30))

    assert server.actions.count("Create") == 1


def test_close_deletes_the_shell_and_ends_what_runs(server):
    with open_transport(server) as transport:
        running = transport.start("cat")

    assert not server.shells
    assert not running.is_running
    assert server.commands[running.id].process.poll() is not None


def test_output_longer_than_one_operation_timeout_arrives(winrm, server):
    running = winrm.start("cat")
    seen = server.actions.count("Receive")
    wait_for(lambda: server.actions.count("Receive") > seen + 2 or None, Deadline(30), "receives that time out")

    running.send("late\n", end=True)

    assert running.wait(Deadline(30)).stdout == "late\n"


def test_several_commands_at_a_time_keep_their_own_output(winrm):
    running = [winrm.start("cat") for _ in range(4)]
    for number, command in enumerate(running):
        command.send(f"{number}\n")
    first_lines = [next(command.lines(Deadline(30))) for command in running]
    for command in reversed(running):
        command.send(b"", end=True)

    assert first_lines == ["0", "1", "2", "3"]
    assert [command.wait(Deadline(30)).exit_code for command in running] == [0, 0, 0, 0]


def test_what_is_sent_by_many_threads_arrives_whole(winrm):
    running = winrm.start("cat")
    threads = [threading.Thread(target=running.send, args=(f"{n}" * 50 + "\n",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running.send(b"", end=True)

    assert sorted(running.wait(Deadline(30)).stdout.split()) == [f"{n}" * 50 for n in range(8)]


def test_a_deadline_ends_the_command_in_the_guest(winrm, server):
    running = winrm.start("echo begun; exec cat", skip_cmd_shell=False)
    assert next(running.lines(Deadline(30))) == "begun"

    with pytest.raises(
        GuestError, match=r"'echo begun; exec cat' did not end within 0\.5 s and was terminated"
    ) as late:
        running.wait(Deadline(0.5))

    assert late.value.stdout == "begun\n"
    (command,) = server.commands.values()
    assert command.process.poll() is not None
    assert winrm.run("echo still here", Deadline(30)).stdout == "still here\n"


def test_characters_cut_in_two_are_put_together(winrm):
    running = winrm.start("cat")
    euro = "€".encode()
    running.send(euro[:1])
    running.send(euro[1:] + b"\xff\n", end=True)

    assert running.wait(Deadline(30)).stdout == "€�\n"


def test_code_page_437_is_text(server):
    with open_transport(server, codepage=437) as transport:
        assert transport.run(r"printf '\201\n'", Deadline(30)).stdout == "ü\n"


def test_unknown_code_page_is_named():
    assert find_codec(936) == "gbk"
    with pytest.raises(UsageError, match="Code page 4711 is not known"):
        find_codec(4711)


def test_wrong_password_is_told_apart(server):
    with pytest.raises(AuthenticationFailed, match="refused the password of user 'Administrator'"):
        open_transport(server, password="wrong").open_shell()
    with pytest.raises(AuthenticationFailed):
        open_transport(server, password="wrong").identify(Deadline(30))


def test_another_certificate_is_not_trusted(server, another_certificate):
    with pytest.raises(AuthenticationFailed, match="not the one that was pinned"):
        open_transport(server, ca=another_certificate).open_shell()
    assert not server.actions


def test_nobody_listening_is_a_transport_error(server):
    with socket.socket() as taken:  # and so nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]

        with pytest.raises(TransportError, match="Connection refused"):
            open_transport(server, port=port).open_shell()
        with pytest.raises(DeadlineExpired, match="Connection refused"):
            open_transport(server, port=port).identify(Deadline(0.1))


def test_missing_certificate_is_named(tmp_path):
    with pytest.raises(TransportError, match=r"winrm\.pem' does not exist"):
        WinRmTransport(port=1, user="u", password="p", ca=Path(tmp_path / "winrm.pem"))


def test_a_dropped_receive_is_taken_up_again(winrm, server):
    server.drop_next.add("Receive")
    running = winrm.start("cat")
    running.send("on\n", end=True)

    assert running.wait(Deadline(30)).stdout == "on\n"


def test_a_shell_that_is_gone_ends_the_wait_with_the_fault(winrm, server):
    running = winrm.start("cat")
    server.shells.clear()

    with pytest.raises(TransportError, match="The shell does not exist"):
        running.wait(Deadline(30))


def test_nothing_is_received_while_held(winrm, server):
    running = winrm.start("cat")
    with winrm.held(nudge=lambda: running.send("nudge\n")):
        before = server.actions.count("Receive")
        running.send("kept for later\n")
        assert server.actions.count("Receive") == before

    running.send(b"", end=True)
    assert running.wait(Deadline(30)).stdout == "nudge\nkept for later\n"


def test_after_a_revert_the_same_command_goes_on_and_later_ones_are_lost(winrm, server):
    kept = winrm.start("cat")
    with winrm.held():
        pass
    later = winrm.start("cat")
    connections = server.connections

    winrm.reconnect()

    kept.send("same process\n", end=True)
    assert kept.wait(Deadline(30)).stdout == "same process\n"
    assert server.connections > connections
    with pytest.raises(TransportError, match="started after the snapshot"):
        later.wait(Deadline(30))
    assert server.actions.count("Create") == 1


def test_an_interruption_ends_every_wait_at_once_until_the_revert(winrm, server):
    kept = winrm.start("cat")
    with winrm.held():
        pass
    later = winrm.start("cat")

    winrm.cut_off("the guest has crashed")

    with pytest.raises(TransportError, match="the guest has crashed"):
        later.wait(Deadline(30))
    with pytest.raises(TransportError, match="WinRM is not asked any more: the guest has crashed"):
        winrm.run("echo", Deadline(30))
    with pytest.raises(TransportError, match="the guest has crashed"):
        kept.send("too early")
    winrm.reconnect()
    kept.send("same process\n", end=True)
    assert kept.wait(Deadline(30)).stdout == "same process\n"


def test_an_interrupted_transport_can_be_let_go_of(winrm, server):
    running = winrm.start("cat")
    with winrm.held():
        pass
    winrm.cut_off("the guest has crashed")

    winrm.abandon()

    with pytest.raises(TransportError, match="the machine is gone"):
        running.wait(Deadline(30))


def test_a_command_that_is_asked_one_thing_at_a_time_needs_one_connection_after_a_revert(winrm, server):
    server.operation_timeout = 60  # a Receive that comes back for nothing is followed by another one
    heard, waiting, rests = queue.SimpleQueue(), threading.Event(), threading.Event()

    def hear(_stream, text):
        waiting.clear()
        rests.clear()
        heard.put(text)

    def awaits():
        if not waiting.is_set():
            rests.set()  # its reader has asked, and does not ask again before something is sent
        return waiting.is_set()

    running = winrm.start("cat", on_output=hear, awaits=awaits)
    with winrm.held():
        rests.clear()
    winrm.reconnect()
    connections = server.connections

    for text in ("one", "two", "three"):
        assert rests.wait(30)
        waiting.set()
        running.send(text)
        assert heard.get(timeout=30) == text

    assert server.connections == connections + 1
    assert server.actions.count("Receive") == 3


def test_what_nobody_waits_for_is_received_when_somebody_does(winrm, server):
    heard, waiting = queue.SimpleQueue(), threading.Event()
    running = winrm.start("cat", on_output=lambda _stream, text: heard.put(text), awaits=waiting.is_set)
    running.send("early ")
    assert "Receive" not in server.actions

    waiting.set()
    running.send("late")

    text = ""
    while text != "early late":
        text += heard.get(timeout=30)
