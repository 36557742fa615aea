"""The operations on commands: Command, Send, Signal and Receive."""

from __future__ import annotations

import base64
import binascii
import os
import select
import time
from collections.abc import Callable
from xml.sax.saxutils import escape

from . import faults, soap
from .shells import Chunks, Command, Shell

STATE = f"{soap.SHELL}/CommandState"
ERROR_FILE_NOT_FOUND = 2
ERROR_DIRECTORY = 267
MAX_RECEIVE = 256 * 1024
ENVELOPE = 3072  # what surrounds the streams


class Dropped(Exception):
    """The client's connection ended while it waited; nothing was taken for it."""


class Commands:
    """Answers what is asked about the commands of the shell that a request selects."""

    def __init__(self, find_shell: Callable[[soap.Request], Shell]) -> None:
        self._find_shell = find_shell

    def start(self, request: soap.Request) -> bytes:
        """Command: run a program."""
        shell = self._find_shell(request)
        body = soap.body_of(request, soap.SHELL, "CommandLine")
        program = soap.shell_text(body, "Command")
        # Clients quote the program for cmd.exe; Windows takes the quotes off where there is only one word in them.
        if len(program) > 1 and program[0] == program[-1] == '"' and '"' not in program[1:-1]:
            program = program[1:-1]
        if not program:
            raise faults.malformed("The CommandLine has no Command.")
        arguments = [argument.text or "" for argument in body.iterfind(f"{{{soap.SHELL}}}Arguments")]
        skip_cmd = request.options.get("WINRS_SKIP_CMD_SHELL", "FALSE").upper() in ("TRUE", "1")
        try:
            command = shell.start(program, arguments, body.get("CommandId"), skip_cmd=skip_cmd)
        except FileNotFoundError as error:
            raise faults.win32(
                ERROR_FILE_NOT_FOUND, f"The system cannot find the file specified: {error.filename or error}. "
            ) from error
        except NotADirectoryError as error:
            raise faults.win32(ERROR_DIRECTORY, f"The directory name is invalid: {error}. ") from error
        except FileExistsError as error:
            raise faults.malformed(f"The CommandId {error} is in use.") from error
        except BlockingIOError as error:
            raise faults.quota(str(error)) from error
        except OSError as error:
            raise faults.win32(5, f"The program could not be started: {error}. ") from error
        body_xml = f"<rsp:CommandResponse><rsp:CommandId>{escape(command.id)}</rsp:CommandId></rsp:CommandResponse>"
        return soap.response(request, f"{soap.SHELL}/CommandResponse", body_xml)

    def send(self, request: soap.Request) -> bytes:
        """Send: data for its standard input."""
        shell = self._find_shell(request)
        for stream in soap.body_of(request, soap.SHELL, "Send").iterfind(f"{{{soap.SHELL}}}Stream"):
            command = _find_command(shell, stream.get("CommandId", ""))
            try:
                data = base64.b64decode(stream.text or "", validate=False)
            except binascii.Error as error:
                raise faults.malformed(f"The stream is not base64: {error}.") from error
            try:
                command.send(data, end=stream.get("End", "").lower() in ("true", "1"))
            except BrokenPipeError as error:
                raise faults.win32(232, "The pipe is being closed. ") from error
        return soap.response(request, f"{soap.SHELL}/SendResponse", "<rsp:SendResponse/>")

    def signal(self, request: soap.Request) -> bytes:
        """Signal: end or interrupt it."""
        shell = self._find_shell(request)
        body = soap.body_of(request, soap.SHELL, "Signal")
        command = _find_command(shell, body.get("CommandId", ""))
        code = soap.shell_text(body, "Code").rsplit("/", 1)[-1].lower()
        if code == "terminate":
            shell.forget(command.id)
        elif code in ("ctrl_c", "ctrl_break"):
            command.signal(code)
        else:
            raise faults.malformed(f"The signal '{code}' is not known.")
        return soap.response(request, f"{soap.SHELL}/SignalResponse", "<rsp:SignalResponse/>")

    def receive(self, request: soap.Request, connection: int) -> tuple[bytes, Callable[[], None]]:
        """Receive: wait for output or for the end; also what gives the output back when it cannot be delivered."""
        shell = self._find_shell(request)
        desired = soap.body_of(request, soap.SHELL, "Receive").find(f"{{{soap.SHELL}}}DesiredStream")
        if desired is None:
            raise faults.malformed("The Receive has no DesiredStream.")
        command = _find_command(shell, desired.get("CommandId", ""))
        chunks = _wait_for_output(command, request, connection)
        shell.used = time.monotonic()
        parts = [
            f'<rsp:Stream Name="{name}" CommandId="{escape(command.id)}">{base64.b64encode(data).decode()}</rsp:Stream>'
            for name, data in chunks.data
        ]
        parts += [f'<rsp:Stream Name="{name}" CommandId="{escape(command.id)}" End="true"/>' for name in chunks.ended]
        if chunks.exit_code is None:
            parts.append(f'<rsp:CommandState CommandId="{escape(command.id)}" State="{STATE}/Running"/>')
        else:
            parts.append(
                f'<rsp:CommandState CommandId="{escape(command.id)}" State="{STATE}/Done">'
                f"<rsp:ExitCode>{chunks.exit_code}</rsp:ExitCode></rsp:CommandState>"
            )
        body = f"<rsp:ReceiveResponse>{''.join(parts)}</rsp:ReceiveResponse>"
        return soap.response(request, f"{soap.SHELL}/ReceiveResponse", body), lambda: command.give_back(chunks)


def _find_command(shell: Shell, command_id: str) -> Command:
    command = shell.commands.get(command_id.upper())
    if command is None:
        raise faults.command_not_found(command_id)
    return command


def _wait_for_output(command: Command, request: soap.Request, connection: int) -> Chunks:
    end = time.monotonic() + request.timeout
    # What base64 makes of it, and the envelope, must not exceed what the client takes.
    max_bytes = min(MAX_RECEIVE, (request.max_envelope - ENVELOPE) * 3 // 4)
    waiter = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        command.attach(waiter)
        poll = select.poll()
        poll.register(waiter, select.POLLIN)
        poll.register(connection, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        while True:
            chunks = command.take(waiter, max_bytes)
            if chunks is None:
                raise faults.aborted()
            if chunks:
                return chunks
            remaining = end - time.monotonic()
            if remaining <= 0:
                raise faults.timed_out()
            for descriptor, _ in poll.poll(remaining * 1000):
                if descriptor == connection:
                    raise Dropped
                os.eventfd_read(waiter)
    finally:
        command.detach(waiter)
        os.close(waiter)
