"""The objects of WFP in a Windows guest, from the XML of `netsh wfp show state`, and what a driver left of its own.

Windows and other products add and delete filters all the time. So three states are compared: before the driver, while
it runs, and after it was uninstalled.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lxml import etree

from harness.errors import GuestError

STATE_COMMAND = 'netsh.exe wfp show state file="{}"'

# The first element of an item names what it is; its text is the object's key.
_KINDS = {
    "providerKey": "provider",
    "providerContextKey": "provider context",
    "subLayerKey": "sublayer",
    "calloutKey": "callout",
    "filterKey": "filter",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WfpObject:
    """One object: two are the same when kind and key are; `provider` is the key of its owner, or nothing."""

    kind: str
    key: str
    name: str
    provider: str

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}' {self.key}" if self.name else f"{self.kind} {self.key}"


def load_wfp_state(content: bytes) -> dict[tuple[str, str], WfpObject]:
    """All objects by kind and key.

    Raises GuestError when it is not what netsh writes.
    """
    try:
        root = etree.fromstring(_whole(content), etree.XMLParser(resolve_entities=False, huge_tree=True))
    except etree.XMLSyntaxError as error:
        raise GuestError(f"The state of WFP that netsh wrote is no XML: {error}.") from error
    found: dict[tuple[str, str], WfpObject] = {}
    for item in root.iter("item"):
        kind = _KINDS.get(str(item[0].tag)) if len(item) else None
        key = (item[0].text or "").strip().lower() if kind else ""
        if kind and key:
            provider = "" if kind == "provider" else (item.findtext("providerKey") or "").strip().lower()
            name = (item.findtext("displayData/name") or "").strip()
            found[kind, key] = WfpObject(kind=kind, key=key, name=name, provider=provider)
    if not any(kind == "provider" for kind, _ in found):
        raise GuestError(
            "The state of WFP that netsh wrote has no provider, and every Windows has some.",
            hint="Is the base filtering engine (service BFE) running?",
        )
    return found


def _whole(content: bytes) -> bytes:
    """One XML document: netsh of newer Windows writes a second root, <firewallState>, behind <wfpstate>."""
    encoding = "utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    text = re.sub(r"^\s*<\?xml[^>]*\?>", "", content.decode(encoding, errors="replace"))
    return f"<state>{text}</state>".encode()


def find_left(before: bytes, running: bytes, after: bytes) -> list[WfpObject]:
    """What came with the driver and is still there after it.

    A filter of an owner that was there before the driver is that owner's.
    Raises GuestError when one of the three is not what netsh writes.
    """
    old, new, now = load_wfp_state(before), load_wfp_state(running), load_wfp_state(after)
    owners = {key for kind, key in old if kind == "provider"}
    return [
        thing
        for identity, thing in new.items()
        if identity not in old and identity in now and not (thing.kind == "filter" and thing.provider in owners)
    ]
