"""WS-Management faults with the codes that Windows answers."""

from __future__ import annotations

ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"


class Fault(Exception):
    """A SOAP fault: `party` is Sender or Receiver, `subcode` a qualified name, `number` Windows' own code."""

    def __init__(self, party: str, subcode: str, number: int, reason: str, action: str | None = None) -> None:
        super().__init__(reason)
        self.party = party
        self.subcode = subcode
        self.number = number
        self.reason = reason
        space = ADDRESSING if subcode.startswith("a:") else WSMAN
        self.action = action or f"{space.removesuffix('.xsd').removesuffix('/wsman')}/fault"
        if subcode.startswith("w:"):
            self.action = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"


def timed_out() -> Fault:
    """No output within OperationTimeout: the client is to ask again."""
    return Fault(
        "Receiver",
        "w:TimedOut",
        2150858793,
        "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.  ",
    )


def shell_not_found(shell_id: str) -> Fault:
    """The ShellId selector names no shell."""
    return Fault(
        "Sender",
        "w:InvalidSelectors",
        2150858843,
        f"The request for the Windows Remote Shell with ShellId {shell_id} failed because the shell was not found on "
        "the server. Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the "
        "server. Provide the correct ShellId or create a new shell and retry the operation.",
    )


def command_not_found(command_id: str) -> Fault:
    """The CommandId names no command of the shell."""
    return Fault(
        "Sender",
        "w:InvalidParameter",
        87,
        f"The parameter is incorrect: the shell has no command with the CommandId {command_id}.",
    )


def aborted() -> Fault:
    """Another Receive for the same command has taken over, or the shell is gone."""
    return Fault(
        "Receiver",
        "w:InternalError",
        995,
        "The I/O operation has been aborted because of either a thread exit or an application request. ",
    )


def malformed(what: str) -> Fault:
    """The message is not what the schema wants."""
    return Fault(
        "Sender",
        "w:SchemaValidationError",
        2150858817,
        f"The SOAP XML in the message does not match the corresponding XML schema definition. {what}",
    )


def missing_header(name: str) -> Fault:
    """A header that every request must have is not there."""
    return Fault(
        "Sender",
        "a:MessageInformationHeaderRequired",
        2150858755,
        f"The WS-Management service cannot process the request because the message has no {name} header.",
    )


def unknown_resource(uri: str) -> Fault:
    """The ResourceURI is not the Windows Remote Shell."""
    return Fault(
        "Sender",
        "a:DestinationUnreachable",
        2150858752,
        f"The WS-Management service cannot process the request. The resource URI is missing or incorrect: {uri}",
    )


def unknown_action(action: str) -> Fault:
    """The Action is not one of the Windows Remote Shell's."""
    return Fault(
        "Sender",
        "a:ActionNotSupported",
        2150858754,
        f"The action is not supported by the WS-Management service: {action}",
    )


def quota(what: str) -> Fault:
    """A limit of the service is reached."""
    return Fault(
        "Receiver", "w:QuotaLimit", 2150859173, f"The WS-Management service cannot process the request. {what}"
    )


def win32(code: int, what: str) -> Fault:
    """The system refused what the operation needs, for example to start the program."""
    return Fault("Receiver", "w:InternalError", code, what)


def internal(what: str) -> Fault:
    """The endpoint itself broke."""
    return Fault("Receiver", "w:InternalError", 2150858770, f"The WS-Management service has an internal error: {what}")
