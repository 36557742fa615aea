"""WS-Enumeration: a list handed out in pieces, or at once to a client that asks for that."""

from __future__ import annotations

import threading
import uuid
import xml.etree.ElementTree as ET

from . import faults, soap

MAX_CONTEXTS = 32


class Enumerations:
    """The lists that clients are in the middle of."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _contexts
        self._contexts: dict[str, list[str]] = {}

    def enumerate(self, request: soap.Request, items: list[str]) -> bytes:
        """Answer an Enumerate of `items`, each XML text."""
        body = soap.body_of(request, soap.ENUMERATION, "Enumerate")
        context, inline, end = "", "", ""
        rest = items
        if body.find(f"{{{soap.WSMAN}}}OptimizeEnumeration") is not None:
            count = _count(body, f"{{{soap.WSMAN}}}MaxElements")
            inline, rest = f"<w:Items>{''.join(items[:count])}</w:Items>", items[count:]
            end = "" if rest else "<w:EndOfSequence/>"
        if not end:
            context = self._keep(rest)
        answer = (
            f"<n:EnumerateResponse><n:EnumerationContext>{context}</n:EnumerationContext>{inline}{end}"
            "</n:EnumerateResponse>"
        )
        return soap.response(request, f"{soap.ENUMERATION}/EnumerateResponse", answer)

    def pull(self, request: soap.Request) -> bytes:
        """Answer a Pull: the next items, and a context where there are more."""
        body = soap.body_of(request, soap.ENUMERATION, "Pull")
        items = self._take(body)
        count = _count(body, f"{{{soap.ENUMERATION}}}MaxElements")
        rest = items[count:]
        context = f"<n:EnumerationContext>{self._keep(rest)}</n:EnumerationContext>" if rest else ""
        end = "" if rest else "<n:EndOfSequence/>"
        answer = f"<n:PullResponse>{context}<n:Items>{''.join(items[:count])}</n:Items>{end}</n:PullResponse>"
        return soap.response(request, f"{soap.ENUMERATION}/PullResponse", answer)

    def release(self, request: soap.Request) -> bytes:
        """Answer a Release: the client does not want the rest."""
        self._take(soap.body_of(request, soap.ENUMERATION, "Release"))
        return soap.response(request, f"{soap.ENUMERATION}/ReleaseResponse", "")

    def _keep(self, items: list[str]) -> str:
        context = f"uuid:{str(uuid.uuid4()).upper()}"
        with self._lock:
            while len(self._contexts) >= MAX_CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))  # the oldest: its client has most likely gone
            self._contexts[context] = items
        return context

    def _take(self, body: ET.Element) -> list[str]:
        context = (body.findtext(f"{{{soap.ENUMERATION}}}EnumerationContext") or "").strip()
        with self._lock:
            items = self._contexts.pop(context, None)
        if items is None:
            raise faults.enumeration_unknown()
        return items


def _count(body: ET.Element, path: str) -> int:
    text = (body.findtext(path) or "1").strip()
    if not text.isdecimal() or int(text) < 1:
        raise faults.malformed(f"MaxElements is '{text}', not a number from 1 up.")
    return int(text)
