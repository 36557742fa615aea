"""Reading requests and writing responses: XML only, no state."""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from . import faults

SOAP = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING = faults.ADDRESSING
WSMAN = faults.WSMAN
IDENTITY = "http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
TRANSFER = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
ENUMERATION = faults.ENUMERATION
MICROSOFT = "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
CONFIG = "http://schemas.microsoft.com/wbem/wsman/1/config"
SHELL = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"

_NAMESPACES = (
    f'xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:w="{WSMAN}" xmlns:x="{TRANSFER}" xmlns:rsp="{SHELL}" '
    f'xmlns:n="{ENUMERATION}" xmlns:p="{MICROSOFT}" xml:lang="en-US"'
)
_UNDERSTOOD = {
    ADDRESSING: {"Action", "MessageID", "To", "ReplyTo", "FaultTo", "From", "RelatesTo"},
    WSMAN: {"ResourceURI", "OperationTimeout", "MaxEnvelopeSize", "SelectorSet", "OptionSet", "Locale"},
    MICROSOFT: {"SessionId", "OperationID", "SequenceId", "DataLocale"},
}
_OPTIONS = {"WINRS_CODEPAGE", "WINRS_NOPROFILE", "WINRS_CONSOLEMODE_STDIN", "WINRS_SKIP_CMD_SHELL",
            "WSMAN_CMDSHELL_OPTION_KEEPALIVE"}  # fmt: skip
_TRUE = ("true", "1")
LEAST_ENVELOPE = 8192
_DURATION = re.compile(
    r"P(?:(?P<d>\d+(?:\.\d+)?)D)?(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?"
)


@dataclass
class Request:
    """What a request says in its headers, and its body element (None when the body is empty)."""

    action: str = ""
    message_id: str = ""
    resource: str = ""
    timeout: float = 60.0
    max_envelope: int = 512000
    selectors: dict[str, str] = field(default_factory=dict)
    options: dict[str, str] = field(default_factory=dict)
    body: ET.Element | None = None
    is_identify: bool = False


def parse(data: bytes) -> Request:
    """Read a request; raises a Fault when it is not one."""
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise faults.malformed("Document type declarations are not allowed.")
    try:
        envelope = ET.fromstring(data)  # noqa: S314 - declarations, the only way to harm expat here, are refused above
    except ET.ParseError as error:
        raise faults.malformed(f"It is not well-formed XML: {error}.") from error
    if envelope.tag != f"{{{SOAP}}}Envelope":
        raise faults.malformed(f"The root element is {envelope.tag}, not a SOAP 1.2 Envelope.")
    body = envelope.find(f"{{{SOAP}}}Body")
    if body is None:
        raise faults.malformed("The envelope has no Body.")
    request = Request(body=next(iter(body), None))
    if request.body is not None and request.body.tag == f"{{{IDENTITY}}}Identify":
        request.is_identify = True
        return request
    header = envelope.find(f"{{{SOAP}}}Header")
    if header is None:
        raise faults.missing_header("Header")
    try:
        _read_headers(header, request)
    except faults.Fault as fault:
        fault.relates_to = request.message_id
        raise
    return request


def _read_headers(header: ET.Element, request: Request) -> None:
    request.message_id = _text(header, f"{{{ADDRESSING}}}MessageID")
    request.action = _text(header, f"{{{ADDRESSING}}}Action")
    request.resource = _text(header, f"{{{WSMAN}}}ResourceURI")
    for element in header:
        space, _, name = element.tag.removeprefix("{").partition("}")
        if element.get(f"{{{SOAP}}}mustUnderstand", "").lower() in _TRUE and name not in _UNDERSTOOD.get(space, ()):
            raise faults.not_understood(element.tag)
    for name, value in (("MessageID", request.message_id), ("Action", request.action)):
        if not value:
            raise faults.missing_header(name)
    timeout = _text(header, f"{{{WSMAN}}}OperationTimeout")
    if timeout:
        request.timeout = parse_duration(timeout)
    size = _text(header, f"{{{WSMAN}}}MaxEnvelopeSize")
    if size:
        if not size.isdecimal():
            raise faults.malformed(f"The MaxEnvelopeSize is '{size}', not a number.")
        request.max_envelope = int(size)
        if request.max_envelope < LEAST_ENVELOPE:
            raise faults.envelope_too_small(request.max_envelope, LEAST_ENVELOPE)
    for selector in header.iterfind(f"{{{WSMAN}}}SelectorSet/{{{WSMAN}}}Selector"):
        request.selectors[selector.get("Name", "")] = (selector.text or "").strip()
    for option in header.iterfind(f"{{{WSMAN}}}OptionSet/{{{WSMAN}}}Option"):
        name = option.get("Name", "").upper()
        if name not in _OPTIONS and option.get("MustComply", "").lower() in _TRUE:
            raise faults.unknown_option(name)
        request.options[name] = (option.text or "").strip()


def _text(element: ET.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def parse_duration(text: str) -> float:
    """Seconds of an xs:duration without years and months."""
    match = _DURATION.fullmatch(text)
    if match is None or not any(match.groups()):
        raise faults.malformed(f"'{text}' is not a duration such as PT20S.")
    days, hours, minutes, seconds = (float(part or 0) for part in match.groups())
    return days * 86400 + hours * 3600 + minutes * 60 + seconds


def body_of(request: Request, space: str, name: str) -> ET.Element:
    """The body element, which must be `name` of the namespace `space`."""
    if request.body is None or request.body.tag != f"{{{space}}}{name}":
        seen = "empty" if request.body is None else request.body.tag
        raise faults.malformed(f"The body must be a {name} element and is {seen}.")
    return request.body


def shell_text(element: ET.Element, name: str) -> str:
    """The text of a child in the shell's namespace."""
    return _text(element, f"{{{SHELL}}}{name}")


def response(request: Request, action: str, body: str) -> bytes:
    """The envelope that answers `request`; `body` is XML text with the prefixes of this module."""
    return _envelope(action, request.message_id, body)


def fault(message_id: str, error: faults.Fault, machine: str) -> bytes:
    """The envelope of a fault."""
    subcode = f"<s:Subcode><s:Value>{error.subcode}</s:Value></s:Subcode>" if error.subcode else ""
    detail = f"<w:FaultDetail>{error.detail}</w:FaultDetail>" if error.detail else ""
    body = (
        f"<s:Fault><s:Code><s:Value>s:{error.party}</s:Value>{subcode}</s:Code>"
        f'<s:Reason><s:Text xml:lang="en-US">{escape(error.reason)}</s:Text></s:Reason><s:Detail>{detail}'
        f'<f:WSManFault xmlns:f="http://schemas.microsoft.com/wbem/wsman/1/wsmanfault" Code="{error.number}" '
        f'Machine="{escape(machine)}"><f:Message>{escape(error.message)}</f:Message></f:WSManFault></s:Detail></s:Fault>'
    )
    return _envelope(error.action, message_id, body)


def identify_response(vendor: str, version: str) -> bytes:
    """The answer to wsmid:Identify, which has no addressing headers."""
    return (
        f'<s:Envelope xmlns:s="{SOAP}" xml:lang="en-US"><s:Header/><s:Body>'
        f'<wsmid:IdentifyResponse xmlns:wsmid="{IDENTITY}"><wsmid:ProtocolVersion>{WSMAN}</wsmid:ProtocolVersion>'
        f"<wsmid:ProductVendor>{escape(vendor)}</wsmid:ProductVendor>"
        f"<wsmid:ProductVersion>{escape(version)}</wsmid:ProductVersion>"
        "</wsmid:IdentifyResponse></s:Body></s:Envelope>"
    ).encode()


def _envelope(action: str, relates_to: str, body: str) -> bytes:
    relation = f"<a:RelatesTo>{escape(relates_to)}</a:RelatesTo>" if relates_to else ""
    return (
        f"<s:Envelope {_NAMESPACES}><s:Header><a:Action>{action}</a:Action>"
        f"<a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID>"
        f"<a:To>{ADDRESSING}/role/anonymous</a:To>{relation}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    ).encode()
