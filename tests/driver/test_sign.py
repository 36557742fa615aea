from __future__ import annotations

import stat
import subprocess
import sys

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from harness.driver.package import load_package
from harness.driver.sign import make_certificate, sign, verify
from harness.errors import SigningError
from harness.process import run


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sign")
    (folder / "d.c").write_text("int DriverEntry(void *a, void *b) { (void)a; (void)b; return 0; }")
    run([
        "x86_64-w64-mingw32-gcc", "-nostdlib", "-shared", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry",
        folder / "d.c", "-o", folder / "tiny.sys",
    ])  # fmt: skip
    return folder / "tiny.sys"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


def test_certificate_is_made_once_and_its_key_is_private(certificate):
    before = certificate.certificate.read_bytes()

    assert make_certificate(certificate.key.parent).certificate.read_bytes() == before
    assert stat.S_IMODE(certificate.key.stat().st_mode) == 0o600


def test_a_certificate_that_is_about_to_expire_is_made_anew(tmp_path, monkeypatch):
    module = sys.modules["harness.driver.sign"]
    monkeypatch.setattr(module, "_VALID_DAYS", 0)
    before = make_certificate(tmp_path).certificate.read_bytes()
    monkeypatch.setattr(module, "_VALID_DAYS", 365)

    after = make_certificate(tmp_path).certificate.read_bytes()

    assert after != before
    assert make_certificate(tmp_path).certificate.read_bytes() == after


def test_signed_driver_verifies_and_is_still_a_driver(tiny, certificate, tmp_path):
    signed = sign(tiny, tmp_path / "tiny.sys", certificate)

    verify(signed, certificate)
    assert load_package(signed).is_signed
    assert not load_package(tiny).is_signed
    assert load_package(signed).checksum_ok


def test_signing_again_over_the_same_file_works(tiny, certificate, tmp_path):
    target = tmp_path / "tiny.sys"
    sign(tiny, target, certificate)
    sign(tiny, target, certificate)

    verify(target, certificate)


def test_a_file_changed_after_signing_does_not_verify(tiny, certificate, tmp_path):
    signed = sign(tiny, tmp_path / "tiny.sys", certificate)
    content = bytearray(signed.read_bytes())
    content[0x400] ^= 0xFF
    signed.write_bytes(content)

    with pytest.raises(SigningError, match="could not verify"):
        verify(signed, certificate)


def test_an_unsigned_file_does_not_verify(tiny, certificate):
    with pytest.raises(SigningError, match="could not verify"):
        verify(tiny, certificate)


def test_another_certificate_does_not_verify(tiny, certificate, tmp_path):
    signed = sign(tiny, tmp_path / "tiny.sys", certificate)

    with pytest.raises(SigningError):
        verify(signed, make_certificate(tmp_path / "other"))


def test_what_is_no_pe_is_not_signed_and_leaves_nothing(certificate, tmp_path):
    text = tmp_path / "x.txt"
    text.write_text("no driver")
    target = tmp_path / "out.sys"

    with pytest.raises(SigningError, match=r"could not sign '.*x\.txt'"):
        sign(text, target, certificate)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.txt"]


def test_processes_that_want_the_certificate_at_once_get_the_same_whole_one(tmp_path):
    """As those do that deploy side by side from a checkout that has none yet."""
    ask = (
        "import sys\nfrom pathlib import Path\nfrom harness.driver.sign import make_certificate\n"
        "made = make_certificate(Path(sys.argv[1]))\n"
        "sys.stdout.buffer.write(made.certificate.read_bytes() + made.key.read_bytes())"
    )
    askers = [
        subprocess.Popen([sys.executable, "-c", ask, tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(4)
    ]
    answers = [asker.communicate(timeout=100) for asker in askers]

    assert [said.decode() for _, said in answers] == [""] * 4
    assert len({pair for pair, _ in answers}) == 1
    (pair,) = {pair for pair, _ in answers}
    certificate, key = x509.load_pem_x509_certificate(pair), serialization.load_pem_private_key(pair, None)
    assert certificate.public_key() == key.public_key()
