"""cmd.exe behind the endpoint: code pages, quoting, environment. Needs Wine on this host, and no VM."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.guest.transport import find_codec
from harness.guest.winrm import WinRmTransport
from harness.waiting import Deadline

pytestmark = pytest.mark.wine

PATH = {"PATH": r"C:\windows\system32"}
Run = Callable[..., tuple[bytes, bytes, int]]


@pytest.fixture(scope="module")
def run(windows_endpoint: Any) -> Run:
    """Runs one line in a shell of its own."""
    client = windows_endpoint.connect()

    def run(line: str, *arguments: str, skip_cmd_shell: bool = False, **shell: Any) -> tuple[bytes, bytes, int]:
        shell_id = client.open_shell(**shell)
        try:
            command = client.run_command(shell_id, line, arguments, skip_cmd_shell=skip_cmd_shell)
            result: tuple[bytes, bytes, int] = client.get_command_output(shell_id, command)
            client.cleanup_command(shell_id, command)
            return result
        finally:
            client.close_shell(shell_id)

    return run


@pytest.mark.parametrize(
    ("codepage", "text", "raw"),
    [
        (437, "grün", b"gr\x81n"),
        (850, "grün Ø", b"gr\x81n \x9d"),
        (866, "Ж", b"\x86"),
        (1252, "grün €", b"gr\xfcn \x80"),
        (65001, "grün Ж €", "grün Ж €".encode()),
    ],
)
def test_cmd_writes_in_the_code_page_of_the_shell(run, codepage, text, raw):
    out, err, code = run(f"echo {text}", codepage=codepage)
    assert (out, err, code) == (raw + b"\r\n", b"", 0)
    assert out.decode(find_codec(codepage)) == f"{text}\r\n"


def test_the_code_page_can_be_changed_as_on_windows(run):
    assert run("chcp", codepage=437, env_vars=PATH) == (b"Active code page: 437\r\n", b"", 0)
    assert run("chcp 1252 >nul & echo grün", codepage=437, env_vars=PATH) == (b"gr\xfcn\r\n", b"", 0)


def test_a_code_page_that_does_not_exist_is_said(run):
    _, err, code = run("echo x", codepage=12345)
    assert b"setting the code page failed" in err
    assert code != 0


@pytest.mark.parametrize("codepage", [850, 65001])
def test_the_harness_reads_text_whatever_the_code_page(windows_endpoint, codepage):
    with WinRmTransport(
        port=windows_endpoint.port,
        user=windows_endpoint.user,
        password=windows_endpoint.password,
        ca=windows_endpoint.certificate,
        codepage=codepage,
    ) as transport:
        assert transport.run("echo grün äöß", Deadline(60)).stdout == "grün äöß\r\n"


@pytest.mark.parametrize(
    ("line", "arguments", "printed"),
    [
        ("echo", ["a  b"], "a  b"),
        ('echo "two words" "a ""b"""', [], '"two words" "a ""b"""'),
        (r"echo back\slash\ " + r"\"x\"", [], r"back\slash\ \"x\""),
        ("echo 100% of %NOSUCH% & echo next", [], "100% of %NOSUCH% \r\nnext"),
        ("echo a^&b ^| c", [], "a&b | c"),
        ("if 1==1 (echo yes) else (echo no)", [], "yes"),
    ],
)
def test_a_line_reaches_cmd_as_it_was_written(run, line, arguments, printed):
    assert run(line, *arguments)[0].decode() == f"{printed}\r\n"


def test_the_exit_code_is_the_lines(run):
    assert run("exit 77")[2] == 77


def test_environment_of_the_shell_reaches_cmd_even_where_the_name_is_the_emulators(run):
    line = "echo %PATH%;%COLOUR%;%WINRS_LINE%"
    out, _, _ = run(line, codepage=65001, env_vars={"PATH": r"C:\tools", "COLOUR": "grün"})
    assert out.decode() == "C:\\tools;grün;%WINRS_LINE%\r\n"


def test_a_time_out_ends_cmd_and_what_it_started(windows_endpoint):
    with WinRmTransport(
        port=windows_endpoint.port,
        user=windows_endpoint.user,
        password=windows_endpoint.password,
        ca=windows_endpoint.certificate,
    ) as transport:
        running = transport.start("echo started & pause", skip_cmd_shell=False)
        assert next(running.lines(Deadline(60))).strip() == "started"
        running.terminate()
        assert transport.run("echo alive", Deadline(60)).stdout == "alive\r\n"
