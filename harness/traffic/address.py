"""Addresses as stations use them: packed bytes inside, text at the border."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from harness.errors import UsageError
from harness.link.headers import address_text, endpoint_text


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a port; as text `192.0.2.2:80` or `[2001:db8::2]:80`."""

    packed: bytes
    port: int

    @property
    def address(self) -> str:
        """The address as text."""
        return address_text(self.packed)

    def __str__(self) -> str:
        return endpoint_text(self.address, self.port)


def pack_address(text: str) -> bytes:
    """An address as bytes; raises UsageError for anything else than an IP address."""
    try:
        return ipaddress.ip_address(text).packed
    except ValueError as error:
        raise UsageError(f"'{text}' is not an IP address.", hint="Stations have numbers, no names.") from error


def pack_mac(text: str) -> bytes:
    """A MAC address as bytes."""
    try:
        packed = bytes.fromhex(text.replace(":", "").replace("-", ""))
    except ValueError:
        packed = b""
    if len(packed) != 6:
        raise UsageError(f"'{text}' is not a MAC address.", hint="Write it as '52:54:00:77:66:10'.")
    return packed
