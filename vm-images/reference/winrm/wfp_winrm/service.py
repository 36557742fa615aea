"""The WS-Management operations of the Windows Remote Shell: from a request to a response envelope."""

from __future__ import annotations

import base64
import binascii
import os
import select
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from xml.sax.saxutils import escape

from . import faults, soap
from .shells import Chunks, Command, Shell, ShellOptions, Shells

RESOURCE = f"{soap.SHELL}/cmd"
STATE = f"{soap.SHELL}/CommandState"
ERROR_FILE_NOT_FOUND = 2
ERROR_DIRECTORY = 267
MAX_RECEIVE = 256 * 1024  # base64 and the envelope stay below the 500 KiB that clients announce by default


class Dropped(Exception):
    """The client's connection ended while it waited; nothing was taken for it."""


class Service:
    """Answers requests; `dead` in `answer` tells whether the asking connection is still there."""

    def __init__(self, shells: Shells, machine: str, vendor: str, version: str) -> None:
        self._shells = shells
        self._machine = machine
        self._vendor = vendor
        self._version = version
        self._operations: dict[str, Callable[[soap.Request], bytes]] = {
            f"{soap.TRANSFER}/Create": self._create,
            f"{soap.TRANSFER}/Delete": self._delete,
            f"{soap.TRANSFER}/Get": self._get,
            f"{soap.SHELL}/Command": self._command,
            f"{soap.SHELL}/Send": self._send,
            f"{soap.SHELL}/Signal": self._signal,
        }

    def answer(self, data: bytes, connection: int) -> tuple[int, bytes, Callable[[], None]]:
        """HTTP status, body, and what to call when the body could not be delivered to `connection` (a descriptor)."""
        message_id = ""
        undo: Callable[[], None] = _nothing
        try:
            request = soap.parse(data)
            if request.is_identify:
                return 200, soap.identify_response(self._vendor, self._version), undo
            message_id = request.message_id
            if request.resource.lower() != RESOURCE:
                raise faults.unknown_resource(request.resource)
            if request.action == f"{soap.SHELL}/Receive":
                body, undo = self._receive(request, connection)
                return 200, body, undo
            operation = self._operations.get(request.action)
            if operation is None:
                raise faults.unknown_action(request.action)
            return 200, operation(request), undo
        except faults.Fault as fault:
            return 500, soap.fault(message_id, fault, self._machine), undo

    def identify(self) -> bytes:
        """The answer to an Identify that needs no authentication."""
        return soap.identify_response(self._vendor, self._version)

    def _shell(self, request: soap.Request) -> Shell:
        shell_id = request.selectors.get("ShellId", "")
        shell = self._shells.find(shell_id)
        if shell is None:
            raise faults.shell_not_found(shell_id)
        return shell

    @staticmethod
    def _find_command(shell: Shell, command_id: str) -> Command:
        command = shell.commands.get(command_id)
        if command is None:
            raise faults.command_not_found(command_id)
        return command

    def _create(self, request: soap.Request) -> bytes:
        body = _body(request, "Shell")
        environment = {
            variable.get("Name", ""): variable.text or ""
            for variable in body.iterfind(f"{{{soap.SHELL}}}Environment/{{{soap.SHELL}}}Variable")
        }
        idle = _text(body, "IdleTimeOut") or _text(body, "IdleTimeout")
        codepage = request.options.get("WINRS_CODEPAGE", "65001")
        if not codepage.isdecimal():
            raise faults.malformed(f"WINRS_CODEPAGE is '{codepage}', not a number.")
        options = ShellOptions(
            directory=_text(body, "WorkingDirectory"),
            environment=environment,
            codepage=int(codepage),
            idle_timeout=soap.parse_duration(idle) if idle else 7200.0,
            input_streams=_text(body, "InputStreams") or "stdin",
            output_streams=_text(body, "OutputStreams") or "stdout stderr",
        )
        try:
            shell = self._shells.create(options)
        except BlockingIOError as error:
            raise faults.quota(str(error)) from error
        created = (
            f"<x:ResourceCreated><a:Address>{soap.ADDRESSING}/role/anonymous</a:Address><a:ReferenceParameters>"
            f'<w:ResourceURI>{RESOURCE}</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">{shell.id}'
            "</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>"
        )
        return soap.response(request, f"{soap.TRANSFER}/CreateResponse", created + _describe(shell))

    def _get(self, request: soap.Request) -> bytes:
        return soap.response(request, f"{soap.TRANSFER}/GetResponse", _describe(self._shell(request)))

    def _delete(self, request: soap.Request) -> bytes:
        if not self._shells.delete(self._shell(request).id):
            raise faults.shell_not_found(request.selectors.get("ShellId", ""))
        return soap.response(request, f"{soap.TRANSFER}/DeleteResponse", "")

    def _command(self, request: soap.Request) -> bytes:
        shell = self._shell(request)
        body = _body(request, "CommandLine")
        program = _text(body, "Command")
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

    def _send(self, request: soap.Request) -> bytes:
        shell = self._shell(request)
        for stream in _body(request, "Send").iterfind(f"{{{soap.SHELL}}}Stream"):
            command = self._find_command(shell, stream.get("CommandId", ""))
            try:
                data = base64.b64decode(stream.text or "", validate=False)
            except binascii.Error as error:
                raise faults.malformed(f"The stream is not base64: {error}.") from error
            try:
                command.send(data, end=stream.get("End", "").lower() in ("true", "1"))
            except BrokenPipeError as error:
                raise faults.win32(232, "The pipe is being closed. ") from error
        return soap.response(request, f"{soap.SHELL}/SendResponse", "<rsp:SendResponse/>")

    def _signal(self, request: soap.Request) -> bytes:
        shell = self._shell(request)
        body = _body(request, "Signal")
        command = self._find_command(shell, body.get("CommandId", ""))
        code = _text(body, "Code").rsplit("/", 1)[-1].lower()
        if code == "terminate":
            shell.forget(command.id)
        elif code in ("ctrl_c", "ctrl_break"):
            command.signal(code)
        else:
            raise faults.malformed(f"The signal '{code}' is not known.")
        return soap.response(request, f"{soap.SHELL}/SignalResponse", "<rsp:SignalResponse/>")

    def _receive(self, request: soap.Request, connection: int) -> tuple[bytes, Callable[[], None]]:
        shell = self._shell(request)
        desired = _body(request, "Receive").find(f"{{{soap.SHELL}}}DesiredStream")
        if desired is None:
            raise faults.malformed("The Receive has no DesiredStream.")
        command = self._find_command(shell, desired.get("CommandId", ""))
        chunks = _wait_for_output(command, request.timeout, connection)
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


def _wait_for_output(command: Command, timeout: float, connection: int) -> Chunks:
    end = time.monotonic() + timeout
    waiter = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    try:
        command.attach(waiter)
        poll = select.poll()
        poll.register(waiter, select.POLLIN)
        poll.register(connection, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        while True:
            chunks = command.take(waiter, MAX_RECEIVE)
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


def _body(request: soap.Request, name: str) -> ET.Element:
    if request.body is None or request.body.tag != f"{{{soap.SHELL}}}{name}":
        seen = "empty" if request.body is None else request.body.tag
        raise faults.malformed(f"The body must be a {name} element and is {seen}.")
    return request.body


def _text(element: ET.Element, name: str) -> str:
    return (element.findtext(f"{{{soap.SHELL}}}{name}") or "").strip()


def _describe(shell: Shell) -> str:
    options = shell.options
    directory = f"<rsp:WorkingDirectory>{escape(options.directory)}</rsp:WorkingDirectory>" if options.directory else ""
    return (
        f"<rsp:Shell><rsp:ShellId>{shell.id}</rsp:ShellId><rsp:ResourceUri>{RESOURCE}</rsp:ResourceUri>"
        f"<rsp:Owner>Administrator</rsp:Owner><rsp:IdleTimeOut>PT{options.idle_timeout:.3f}S</rsp:IdleTimeOut>"
        f"<rsp:InputStreams>{escape(options.input_streams)}</rsp:InputStreams>"
        f"<rsp:OutputStreams>{escape(options.output_streams)}</rsp:OutputStreams>{directory}"
        f"<rsp:ShellRunTime>PT{time.monotonic() - shell.created:.0f}S</rsp:ShellRunTime></rsp:Shell>"
    )


def _nothing() -> None:
    """Nothing to take back."""
