"""What a WinRM client sees of shells and commands."""

from __future__ import annotations

import hashlib
import queue
import threading
import uuid
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from winrm.exceptions import InvalidCredentialsError, WinRMOperationTimeoutError, WSManFaultError

from harness.waiting import Deadline, wait_for
from tests.processes import is_running

SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"


def run(client: Any, shell: str, line: str) -> tuple[bytes, bytes, int]:
    command = client.run_command(shell, line)
    result = client.get_command_output(shell, command)
    client.cleanup_command(shell, command)
    return result


def receive_until(client: Any, shell: str, command: str, size: int) -> bytes:
    out = b""
    while len(out) < size:
        data, _, _, done = client.get_command_output_raw(shell, command)
        out += data
        assert not (done and len(out) < size)
    return out


def test_output_error_output_and_exit_code_come_apart(client, shell):
    assert run(client, shell, "echo out; echo err >&2; exit 7") == (b"out\n", b"err\n", 7)


def test_wrong_password_is_refused(endpoint):
    with pytest.raises(InvalidCredentialsError):
        endpoint.connect(password="wrong").open_shell()


def test_unknown_user_is_refused(endpoint):
    with pytest.raises(InvalidCredentialsError):
        endpoint.connect(user="Guest").open_shell()


def test_a_local_domain_before_the_user_is_accepted(endpoint):
    client = endpoint.connect(user=".\\Administrator")
    client.close_shell(client.open_shell())


def test_several_commands_of_one_shell_run_at_the_same_time(endpoint, client, shell):
    # Each waits for a line of input, so that all four must be alive at once for any to be fed out of order.
    commands = [client.run_command(shell, f"read line; echo {number} $line") for number in range(4)]
    for command in reversed(commands):
        client.send_command_input(shell, command, b"go\n")
    results = [client.get_command_output(shell, command)[0] for command in commands]
    assert results == [b"0 go\n", b"1 go\n", b"2 go\n", b"3 go\n"]


def test_output_streams_while_the_command_runs(client, shell):
    command = client.run_command(shell, "cat")
    for line in (b"one\n", b"two\n"):
        client.send_command_input(shell, command, line)
        assert receive_until(client, shell, command, len(line)) == line
    client.send_command_input(shell, command, b"", end=True)
    assert client.get_command_output(shell, command) == (b"", b"", 0)


def test_large_output_arrives_whole_and_in_order(client, shell):
    out, _, code = run(client, shell, "seq 1 400000")
    assert code == 0
    assert out == b"".join(b"%d\n" % number for number in range(1, 400001))


def test_large_input_arrives_whole(client, shell):
    command = client.run_command(shell, "md5sum")
    block = bytes(range(256)) * 400
    for _ in range(5):
        client.send_command_input(shell, command, block)
    client.send_command_input(shell, command, b"", end=True)
    assert client.get_command_output(shell, command)[0].split()[0].decode() == hashlib.md5(block * 5).hexdigest()


def test_receive_without_output_ends_with_the_time_out_fault(endpoint, shell):
    client = endpoint.connect(seconds=1)
    command = client.run_command(shell, "cat")
    with pytest.raises(WinRMOperationTimeoutError):
        client.get_command_output_raw(shell, command)
    client.cleanup_command(shell, command)


def test_terminate_ends_the_command_and_its_children(client, shell, tmp_path):
    pids = tmp_path / "pids"
    command = client.run_command(shell, f"setsid sh -c 'echo $$ >{pids}; exec sleep 300' & wait")
    pid = wait_for(lambda: (pids.exists() and pids.read_text().strip()) or None, Deadline(30), "the child to start")
    # While a program is being put into its process, that has no environment, by which the endpoint knows it.
    wait_for(
        lambda: Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x00300\x00" or None, Deadline(30), "its program"
    )
    client.cleanup_command(shell, command)
    wait_for(lambda: None if is_running(int(pid)) else True, Deadline(30), f"process {pid} to end")
    with pytest.raises(WSManFaultError):
        client.get_command_output_raw(shell, command)


def test_closing_a_shell_ends_its_commands(client, tmp_path):
    shell = client.open_shell()
    pids = tmp_path / "pids"
    client.run_command(shell, f"echo $$ >{pids}; cat; sleep 300")
    pid = wait_for(lambda: (pids.exists() and pids.read_text().strip()) or None, Deadline(30), "the program to start")
    client.close_shell(shell)
    wait_for(lambda: None if is_running(int(pid)) else True, Deadline(30), f"process {pid} to end")


def test_a_command_outlives_the_connection_that_started_it(endpoint, client, shell):
    command = client.run_command(shell, "cat")
    client.send_command_input(shell, command, b"before\n")
    client.transport.close_session()
    other = endpoint.connect()
    assert receive_until(other, shell, command, 7) == b"before\n"
    other.send_command_input(shell, command, b"after\n", end=True)
    assert other.get_command_output(shell, command) == (b"after\n", b"", 0)


def test_of_two_receives_for_one_command_the_later_gets_all(endpoint, client, shell):
    # After a revert the guest still holds a Receive whose client is gone: it must not swallow output.
    command = client.run_command(shell, "cat")
    results: queue.Queue[bytes | WSManFaultError] = queue.Queue()

    def receive() -> None:
        try:
            results.put(receive_until(endpoint.connect(), shell, command, 5))
        except WSManFaultError as error:
            results.put(error)

    threads = [threading.Thread(target=receive) for _ in range(2)]
    for thread in threads:
        thread.start()
    earlier = results.get(timeout=30)
    client.send_command_input(shell, command, b"data\n")
    later = results.get(timeout=30)
    for thread in threads:
        thread.join()
    assert isinstance(earlier, WSManFaultError)
    assert earlier.wsman_fault_code == 995
    assert later == b"data\n"


def test_environment_and_directory_of_the_shell(client, tmp_path):
    shell = client.open_shell(working_directory=str(tmp_path), env_vars={"COLOUR": "grün & <blau>"})
    assert run(client, shell, "pwd; echo $COLOUR") == (f"{tmp_path}\ngrün & <blau>\n".encode(), b"", 0)
    client.close_shell(shell)


def test_code_page_of_the_shell_reaches_the_program(client):
    shell = client.open_shell(codepage=437)
    assert run(client, shell, "echo $WINRS_CODEPAGE")[0] == b"437\n"
    client.close_shell(shell)


def test_program_without_shell_gets_its_arguments_as_they_are(client, shell):
    command = client.run_command(shell, "/usr/bin/printf", ["%s|", '"a b"', "$HOME"], skip_cmd_shell=True)
    assert client.get_command_output(shell, command) == (b"a b|$HOME|", b"", 0)


def test_missing_program_is_named(client, shell):
    with pytest.raises(WSManFaultError, match="cannot find the file specified: /no/such"):
        client.run_command(shell, "/no/such", skip_cmd_shell=True)


def test_unknown_shell_has_windows_fault_code(client):
    with pytest.raises(WSManFaultError) as caught:
        client.run_command(str(uuid.uuid4()).upper(), "true")
    assert caught.value.wsman_fault_code == 2150858843
    assert caught.value.fault_subcode == "w:InvalidSelectors"


def test_unknown_command_is_a_fault(client, shell):
    with pytest.raises(WSManFaultError) as caught:
        client.get_command_output_raw(shell, str(uuid.uuid4()).upper())
    assert caught.value.fault_subcode == "w:InvalidParameter"


def test_identify(client):
    request = (
        '<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
        'xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"><s:Header/><s:Body><i:Identify/>'
        "</s:Body></s:Envelope>"
    )
    answer = ET.fromstring(client.send_message(request))
    space = "{http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd}"
    assert answer.findtext(f".//{space}ProductVendor") == "Microsoft Corporation"


@pytest.mark.parametrize(
    ("message", "subcode"),
    [
        ("<no", "w:SchemaValidationError"),
        ("<Envelope/>", "w:SchemaValidationError"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', "w:SchemaValidationError"),
    ],
)
def test_malformed_messages_are_refused_and_the_connection_lives_on(client, shell, message, subcode):
    with pytest.raises(WSManFaultError) as caught:
        client.send_message(message)
    assert caught.value.fault_subcode == subcode
    assert run(client, shell, "echo still here")[0] == b"still here\n"
