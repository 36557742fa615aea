"""Passwords as answer files hold them: UTF-16 with the element's name behind it, in base64: readable by anybody."""

from __future__ import annotations

import base64
import binascii
from typing import Literal

# Windows System Image Manager appends the name of the element that a hidden password stands in. Values in public answer
# files decode to just that: https://github.com/rgl/windows-vagrant, windows-11-24h2-uefi/autounattend.xml.
PasswordElement = Literal["Password", "AdministratorPassword"]


def encode_password(password: str, element: PasswordElement) -> str:
    """The value of `<Password>` or `<AdministratorPassword>` beside `<PlainText>false</PlainText>`."""
    return base64.b64encode((password + element).encode("utf-16-le")).decode("ascii")


def decode_password(value: str, element: PasswordElement) -> str:
    """The password behind such a value.

    Raises ValueError when the value is not base64 of UTF-16, or belongs to another element.
    """
    try:
        text = base64.b64decode(value, validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError(f"'{value}' is not the base64 of UTF-16 text: {error}.") from error
    # Every AdministratorPassword ends with Password, too.
    found = "AdministratorPassword" if text.endswith("AdministratorPassword") else "Password"
    if not text.endswith(element) or found != element:
        raise ValueError(f"the hidden password does not end with '{element}', so Setup would take it for another one.")
    return text.removesuffix(element)
