"""The WS-Management operations of the Windows Remote Shell: from a request to a response envelope."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from xml.sax.saxutils import escape

from . import faults, soap
from .commands import Commands
from .enumeration import Enumerations
from .shells import MAX_COMMANDS, MAX_SHELLS, Shell, ShellOptions, Shells

MAX_BODY = 1 << 20  # of a request; `http` holds to it
_Operations = dict[str, Callable[[soap.Request], bytes]]
_CMD = f"{soap.SHELL}/cmd"


@dataclass(frozen=True)
class Client:
    """Who asks: `connection` is a descriptor that tells when it is gone."""

    user: str
    address: str
    connection: int


class Service:
    """Answers requests."""

    def __init__(self, shells: Shells, machine: str, vendor: str, version: str) -> None:
        self._shells = shells
        self._machine = machine
        self._vendor = vendor
        self._version = version
        self._commands = Commands(self._shell)
        self._enumerations = Enumerations()
        shell_operations: _Operations = {
            f"{soap.TRANSFER}/Delete": self._delete,
            f"{soap.TRANSFER}/Get": self._get,
            f"{soap.ENUMERATION}/Enumerate": self._enumerate,
            f"{soap.ENUMERATION}/Pull": self._enumerations.pull,
            f"{soap.ENUMERATION}/Release": self._enumerations.release,
            f"{soap.SHELL}/Command": self._commands.start,
            f"{soap.SHELL}/Send": self._commands.send,
            f"{soap.SHELL}/Signal": self._commands.signal,
        }
        self._operations: dict[str, _Operations] = {
            _CMD: shell_operations,
            soap.SHELL: shell_operations,  # the name by which clients list shells of all kinds
            soap.CONFIG: {f"{soap.TRANSFER}/Get": _get_config},
        }

    def answer(self, data: bytes, client: Client) -> tuple[int, bytes, Callable[[], None]]:
        """HTTP status, body, and what to call when the body could not be delivered."""
        message_id = ""
        undo: Callable[[], None] = _nothing
        try:
            request = soap.parse(data)
            if request.is_identify:
                return 200, self.identify(), undo
            message_id = request.message_id
            operations = self._operations.get(request.resource.rstrip("/").lower())
            if operations is None:
                raise faults.unknown_resource(request.resource)
            if request.action == f"{soap.SHELL}/Receive":
                body, undo = self._commands.receive(request, client.connection)
                return 200, body, undo
            if request.action == f"{soap.TRANSFER}/Create":
                return 200, self._create(request, client), undo
            operation = operations.get(request.action)
            if operation is None:
                raise faults.unknown_action(request.action)
            return 200, operation(request), undo
        except faults.Fault as fault:
            return 500, soap.fault(fault.relates_to or message_id, fault, self._machine), undo

    def identify(self) -> bytes:
        """The answer to an Identify that needs no authentication."""
        return soap.identify_response(self._vendor, self._version)

    def _shell(self, request: soap.Request) -> Shell:
        shell_id = request.selectors.get("ShellId", "")
        shell = self._shells.find(shell_id)
        if shell is None:
            raise faults.shell_not_found(shell_id)
        return shell

    def _create(self, request: soap.Request, client: Client) -> bytes:
        body = soap.body_of(request, soap.SHELL, "Shell")
        environment = {
            variable.get("Name", ""): variable.text or ""
            for variable in body.iterfind(f"{{{soap.SHELL}}}Environment/{{{soap.SHELL}}}Variable")
        }
        idle = soap.shell_text(body, "IdleTimeOut") or soap.shell_text(body, "IdleTimeout")
        codepage = request.options.get("WINRS_CODEPAGE", "65001")
        if not codepage.isdecimal():
            raise faults.malformed(f"WINRS_CODEPAGE is '{codepage}', not a number.")
        shell_id = body.get("ShellId", "")
        if shell_id and not _is_uuid(shell_id):
            raise faults.malformed(f"The ShellId '{shell_id}' is not a UUID.")
        options = ShellOptions(
            shell_id=shell_id,
            name=soap.shell_text(body, "Name"),
            owner=client.user,
            client_address=client.address,
            directory=soap.shell_text(body, "WorkingDirectory"),
            environment=environment,
            codepage=int(codepage),
            idle_timeout=soap.parse_duration(idle) if idle else 7200.0,
            input_streams=soap.shell_text(body, "InputStreams") or "stdin",
            output_streams=soap.shell_text(body, "OutputStreams") or "stdout stderr",
        )
        try:
            shell = self._shells.create(options)
        except FileExistsError as error:
            raise faults.shell_exists(shell_id) from error
        except BlockingIOError as error:
            raise faults.quota(str(error)) from error
        created = (
            f"<x:ResourceCreated><a:Address>{soap.ADDRESSING}/role/anonymous</a:Address><a:ReferenceParameters>"
            f'<w:ResourceURI>{_CMD}</w:ResourceURI><w:SelectorSet><w:Selector Name="ShellId">{shell.id}'
            "</w:Selector></w:SelectorSet></a:ReferenceParameters></x:ResourceCreated>"
        )
        return soap.response(request, f"{soap.TRANSFER}/CreateResponse", created + _describe(shell))

    def _get(self, request: soap.Request) -> bytes:
        return soap.response(request, f"{soap.TRANSFER}/GetResponse", _describe(self._shell(request)))

    def _enumerate(self, request: soap.Request) -> bytes:
        return self._enumerations.enumerate(request, [_describe(shell) for shell in self._shells.all()])

    def _delete(self, request: soap.Request) -> bytes:
        if not self._shells.delete(self._shell(request).id):
            raise faults.shell_not_found(request.selectors.get("ShellId", ""))
        return soap.response(request, f"{soap.TRANSFER}/DeleteResponse", "")


def _describe(shell: Shell) -> str:
    options = shell.options
    now = time.monotonic()
    fields = {
        "ShellId": shell.id,
        "Name": options.name,
        "ResourceUri": _CMD,
        "Owner": options.owner,
        "ClientIP": options.client_address,
        "IdleTimeOut": f"PT{options.idle_timeout:.3f}S",
        "InputStreams": options.input_streams,
        "OutputStreams": options.output_streams,
        "WorkingDirectory": options.directory,
        "ShellRunTime": f"P0DT0H0M{now - shell.created:.0f}S",
        "ShellInactivity": f"P0DT0H0M{now - shell.used:.0f}S",
    }
    inner = "".join(f"<rsp:{name}>{escape(value)}</rsp:{name}>" for name, value in fields.items() if value)
    return f"<rsp:Shell>{inner}</rsp:Shell>"


def _get_config(request: soap.Request) -> bytes:
    # The part of `winrm get winrm/config` that clients size their messages by, with the limits that hold here.
    answer = (
        f'<cfg:Config xmlns:cfg="{soap.CONFIG}"><cfg:MaxEnvelopeSizekb>{MAX_BODY // 1024}</cfg:MaxEnvelopeSizekb>'
        "<cfg:Winrs><cfg:AllowRemoteShellAccess>true</cfg:AllowRemoteShellAccess>"
        f"<cfg:MaxProcessesPerShell>{MAX_COMMANDS}</cfg:MaxProcessesPerShell>"
        f"<cfg:MaxShellsPerUser>{MAX_SHELLS}</cfg:MaxShellsPerUser></cfg:Winrs></cfg:Config>"
    )
    return soap.response(request, f"{soap.TRANSFER}/GetResponse", answer)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _nothing() -> None:
    """Nothing to take back."""
