"""Test-signing: a certificate made on the spot, Authenticode by osslsigncode; never trusted anywhere else."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from harness.errors import HostError, SigningError
from harness.ownership import temporary_folder
from harness.process import Completed, run
from harness.steps import step
from harness.waiting import Deadline, lock

_NAME = "wfp-hil test signing"
_VALID_DAYS = 365
_SIGN_SECONDS = 60.0
_MAKE_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TestCertificate:
    """A code-signing certificate and its key, both PEM files; the key is readable by its owner only."""

    __test__ = False  # not a test class, whatever pytest thinks of its name

    certificate: Path
    key: Path


def make_certificate(folder: Path) -> TestCertificate:
    """The test certificate in `folder`, made when there is none that is still valid tomorrow."""
    made = TestCertificate(certificate=folder / "test-signing.pem", key=folder / "test-signing.key")
    if _is_valid_tomorrow(made):
        return made
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        lock(file, Deadline(_MAKE_SECONDS), f"another process to make the certificate in '{folder}'")
        if not _is_valid_tomorrow(made):
            _make(made)
    return made


def _is_valid_tomorrow(made: TestCertificate) -> bool:
    """Whether both files are there, and the certificate has not run out by then."""
    if not (made.certificate.is_file() and made.key.is_file()):
        return False
    kept = x509.load_pem_x509_certificate(made.certificate.read_bytes())
    return kept.not_valid_after_utc > dt.datetime.now(dt.UTC) + dt.timedelta(days=1)


def _make(made: TestCertificate) -> None:
    now = dt.datetime.now(dt.UTC)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # the guest's clock may be behind
        .not_valid_after(now + dt.timedelta(days=_VALID_DAYS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    # Whoever asks meanwhile finds both files whole, or none that is valid: the key comes first.
    _write(made.key, private, 0o600)
    _write(made.certificate, certificate.public_bytes(serialization.Encoding.PEM), 0o644)


def sign(source: Path, target: Path, certificate: TestCertificate) -> Path:
    """Sign a PE file into `target`, which appears only when its signature verifies.

    Raises SigningError.
    """
    with step("sign", file=source.name), temporary_folder("signing", beside=target.parent) as scratch:
        signed = scratch / target.name
        _osslsigncode(
            source,
            "sign",
            "-certs", certificate.certificate,
            "-key", certificate.key,
            "-h", "sha256",
            "-n", _NAME,
            "-in", source,
            "-out", signed,
        )  # fmt: skip
        verify(signed, certificate)
        signed.replace(target)
    return target


def verify(path: Path, certificate: TestCertificate) -> None:
    """Check that a file carries a valid signature by this certificate.

    Raises SigningError when it is unsigned, was changed after signing, or was signed by another.
    """
    _osslsigncode(path, "verify", "-CAfile", certificate.certificate, "-in", path)


def _osslsigncode(subject: Path, *arguments: str | os.PathLike[str]) -> Completed:
    verb = arguments[0]
    try:
        done = run(["osslsigncode", *arguments], deadline=Deadline(_SIGN_SECONDS), check=False)
    except HostError as error:
        raise SigningError(error.message, hint=error.hint) from error
    if done.exit_code != 0:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        telling = [line.strip() for line in said if "error" in line.lower() or "mismatch" in line.lower()]
        raise SigningError(
            f"osslsigncode could not {verb} '{subject}': {'; '.join(telling[:3] or said[-1:]) or 'it printed nothing'}."
        )
    return done


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole from the moment it is there."""
    with temporary_folder("certificate", beside=path.parent) as scratch:
        written = scratch / path.name
        with os.fdopen(os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as out:
            out.write(content)
        written.replace(path)
