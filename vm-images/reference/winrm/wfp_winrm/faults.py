"""WS-Management faults with the codes that Windows answers."""

from __future__ import annotations

ADDRESSING = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
ENUMERATION = "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
WSMAN = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
WSMAN_FAULT = "http://schemas.dmtf.org/wbem/wsman/1/wsman/fault"


DETAIL = "http://schemas.dmtf.org/wbem/wsman/1/wsman/faultDetail"


class Fault(Exception):
    """A SOAP fault: `party` is Sender or Receiver, `subcode` a qualified name, `number` Windows' own code.

    `detail` is the last word of the faultDetail URI that DSP0226 gives to the case.
    """

    def __init__(
        self, party: str, subcode: str, number: int, reason: str, *, detail: str = "", summary: str = ""
    ) -> None:
        super().__init__(reason)
        self.party = party
        self.subcode = subcode
        self.number = number
        self.message = reason
        self.reason = summary or reason
        self.detail = f"{DETAIL}/{detail}" if detail else ""
        self.relates_to = ""  # MessageID of the request, where it could be read

    @property
    def action(self) -> str:
        """The wsa:Action of a message with this fault."""
        prefix = self.subcode.partition(":")[0]
        return {"a": f"{ADDRESSING}/fault", "n": f"{ENUMERATION}/fault"}.get(prefix, WSMAN_FAULT)


def timed_out() -> Fault:
    """No output within OperationTimeout: the client is to ask again."""
    return Fault(
        "Receiver",
        "w:TimedOut",
        2150858793,
        "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.  ",
        detail="OperationTimeout",
    )


def shell_not_found(shell_id: str) -> Fault:
    """The ShellId selector names no shell."""
    return Fault(
        "Sender",
        "w:InvalidSelectors",
        2150858843,
        f"The request for the Windows Remote Shell with ShellId {shell_id} failed because the shell was not found on "
        "the server. Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the "
        "server. Provide the correct ShellId or create a new shell and retry the operation. ",
        detail="UnexpectedSelectors",
        summary="The WS-Management service cannot process the request because the request contained invalid selectors "
        "for the resource. ",
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
        2150858769,
        f"The WS-Management service cannot process the request because the message has no {name} header.",
    )


def unknown_resource(uri: str) -> Fault:
    """The ResourceURI is not the Windows Remote Shell."""
    return Fault(
        "Sender",
        "a:DestinationUnreachable",
        2150858752,
        f"The WS-Management service cannot process the request. The resource URI is missing or incorrect: {uri}",
        detail="InvalidResourceURI",
    )


def unknown_action(action: str) -> Fault:
    """The Action is not one of the Windows Remote Shell's."""
    return Fault(
        "Sender",
        "a:ActionNotSupported",
        2150858771,
        f"The action is not supported by the WS-Management service: {action}",
    )


def not_understood(header: str) -> Fault:
    """A header that the client marks as mustUnderstand is not one of ours."""
    return Fault(
        "MustUnderstand",
        "",
        2150858768,
        f"The WS-Management service cannot process a SOAP header in the request that is marked as mustUnderstand by "
        f"the client: {header}",
    )


def unknown_option(name: str) -> Fault:
    """An option that the client marks as MustComply is not one of ours."""
    return Fault(
        "Sender",
        "w:InvalidOptions",
        2150858833,
        f"The WS-Management service cannot process the request because the option is not supported: {name}",
        detail="NotSupported",
    )


def envelope_too_small(size: int, least: int) -> Fault:
    """The client's MaxEnvelopeSize leaves no room for an answer."""
    return Fault(
        "Sender",
        "w:EncodingLimit",
        2150858878,
        f"The WS-Management service cannot process the request because the MaxEnvelopeSize of {size} bytes is less "
        f"than {least}.",
        detail="MinimumEnvelopeLimit",
    )


def shell_exists(shell_id: str) -> Fault:
    """The ShellId that the client wants for a new shell is taken."""
    return Fault("Sender", "w:AlreadyExists", 2150858803, f"A shell with the ShellId {shell_id} exists already.")


def enumeration_unknown() -> Fault:
    """The EnumerationContext of a Pull is not one that an Enumerate gave out."""
    return Fault(
        "Receiver", "n:InvalidEnumerationContext", 2150858759, "The enumeration context of the request is not valid."
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
    return Fault("Receiver", "w:InternalError", 1359, f"The WS-Management service has an internal error: {what}")
