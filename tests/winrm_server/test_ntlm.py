"""The endpoint's own NTLM against the client side of pyspnego, and against published values."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import spnego

SOURCE = Path(__file__).resolve().parents[2] / "vm-images" / "reference" / "winrm"
sys.path.append(str(SOURCE))  # the package lives in the guest, not among the harness's own
ntlm: Any = importlib.import_module("wfp_winrm.ntlm")
auth: Any = importlib.import_module("wfp_winrm.auth")

USERS = ":Administrator:correct horse\nWFPREF:Administrator:correct horse\n"


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    path.write_text(USERS)
    return path


def client(password: str = "correct horse", user: str = "Administrator") -> Any:
    options = spnego.NegotiateOptions.use_ntlm
    return spnego.client(user, password, hostname="127.0.0.1", service="http", protocol="ntlm", options=options)


@pytest.mark.parametrize(
    ("text", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_gives_the_digests_of_rfc_1320(text: bytes, digest: str) -> None:
    assert ntlm.md4(text).hex() == digest


def test_the_nt_hash_is_the_one_of_the_specification() -> None:
    assert ntlm.nt_hash("Password").hex() == "a4f49c406510bdcab6824ee7c30fd852"  # [MS-NLMP] 4.2.2.1.2


def test_the_right_password_logs_in_whatever_the_case_of_the_name(users: Path) -> None:
    theirs, ours = client(user="ADMINistrator"), ntlm.Exchange(users, "WFPREF")

    challenge = ours.challenge(theirs.step())

    assert ours.authenticate(theirs.step(challenge)).endswith("ADMINistrator")


@pytest.mark.parametrize(("user", "password"), [("Administrator", "wrong"), ("nobody", "correct horse")])
def test_a_wrong_password_and_an_unknown_user_are_refused(users: Path, user: str, password: str) -> None:
    theirs, ours = client(password, user), ntlm.Exchange(users, "WFPREF")
    challenge = ours.challenge(theirs.step())

    with pytest.raises(ntlm.Refused, match="not known or the password is wrong"):
        ours.authenticate(theirs.step(challenge))


def test_an_answer_is_good_for_one_challenge_only(users: Path) -> None:
    theirs, ours = client(), ntlm.Exchange(users, "WFPREF")
    answer = theirs.step(ours.challenge(theirs.step()))
    ours.authenticate(answer)

    with pytest.raises(ntlm.Refused):
        ours.authenticate(answer)
    ours.challenge(client().step())
    with pytest.raises(ntlm.Refused):
        ours.authenticate(answer)


def test_a_message_changed_on_its_way_is_refused_by_its_integrity_code(users: Path) -> None:
    theirs, ours = client(), ntlm.Exchange(users, "WFPREF")
    answer = bytearray(theirs.step(ours.challenge(theirs.step())))
    answer[64] ^= 1  # a version number that nothing but the integrity code covers

    with pytest.raises(ntlm.Refused, match="changed on their way"):
        ours.authenticate(bytes(answer))


@pytest.mark.parametrize("cut", [4, 12, 40, 70, -1])
def test_a_message_that_was_cut_is_refused_and_not_an_accident(users: Path, cut: int) -> None:
    theirs, ours = client(), ntlm.Exchange(users, "WFPREF")
    answer = theirs.step(ours.challenge(theirs.step()))

    with pytest.raises(ntlm.Refused):
        ours.authenticate(answer[:cut])


def test_a_login_names_its_user_only_after_the_last_message(users: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "NTLM_USER_FILE", str(users))
    login = auth.Login()

    assert not login.check(None).allowed
    assert not login.check("NTLM !").allowed
    assert not login.check("Basic QTpi").allowed
    assert login.user is None
