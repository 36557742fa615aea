"""Hidden passwords, against values from answer files that others use."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.unattend import decode_password, encode_password

# rgl/windows-vagrant, windows-11-24h2-uefi/autounattend.xml: the password is "vagrant".
VAGRANT = "dgBhAGcAcgBhAG4AdABQAGEAcwBzAHcAbwByAGQA"
VAGRANT_ADMINISTRATOR = "dgBhAGcAcgBhAG4AdABBAGQAbQBpAG4AaQBzAHQAcgBhAHQAbwByAFAAYQBzAHMAdwBvAHIAZAA="


def test_known_values():
    assert encode_password("vagrant", "Password") == VAGRANT
    assert encode_password("vagrant", "AdministratorPassword") == VAGRANT_ADMINISTRATOR


@given(st.text(min_size=1), st.sampled_from(["Password", "AdministratorPassword"]))
def test_what_was_hidden_is_found_again(password, element):
    if element == "Password" and password.endswith("Administrator"):
        return  # looks like a password of the other element, as it would to Windows
    try:
        password.encode("utf-16-le")
    except UnicodeEncodeError:
        return
    assert decode_password(encode_password(password, element), element) == password


@pytest.mark.parametrize(
    ("value", "element"),
    [
        ("vagrant", "Password"),
        ("AAA=", "Password"),
        (VAGRANT, "AdministratorPassword"),
        (VAGRANT_ADMINISTRATOR, "Password"),
    ],
)
def test_what_windows_would_take_for_another_password_is_refused(value, element):
    with pytest.raises(ValueError, match=r"base64|hidden password"):
        decode_password(value, element)
