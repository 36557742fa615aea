"""Keys, certificate and password of an image: made fresh for each build, never committed."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USER = "Administrator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What the guest and the host must know of each other, as file contents."""

    winrm_password: str
    winrm_certificate: bytes
    winrm_key: bytes
    ssh_user_key: bytes
    ssh_user_public: bytes
    ssh_host_key: bytes
    ssh_host_public: bytes

    def write_for_host(self, folder: Path) -> None:
        """Write the host's side into a folder that only its owner may enter."""
        folder.mkdir(mode=0o700)
        login = json.dumps({"user": USER, "password": self.winrm_password}, indent=2)
        _write_private(folder / "winrm.json", login.encode() + b"\n")
        _write_private(folder / "winrm.pem", self.winrm_certificate)
        _write_private(folder / "ssh_key", self.ssh_user_key)
        _write_private(folder / "ssh_host.pub", self.ssh_host_public)

    def write_for_guest(self, root: Path) -> None:
        """Write the guest's side into its file tree."""
        own = root / "etc" / "wfp-hil"
        own.mkdir(parents=True, exist_ok=True)
        _write_private(own / "winrm.pem", self.winrm_key + self.winrm_certificate)
        # NTLM names the domain it wants: none, the machine's, or '.'.
        users = "".join(f"{domain}:{USER}:{self.winrm_password}\n" for domain in ("", "WFPREF", "."))
        _write_private(own / "users", users.encode())
        ssh = root / "etc" / "ssh"
        ssh.mkdir(parents=True, exist_ok=True)
        _write_private(ssh / "ssh_host_ed25519_key", self.ssh_host_key)
        _write_private(ssh / "ssh_host_ed25519_key.pub", self.ssh_host_public)
        home = root / "root" / ".ssh"
        home.mkdir(parents=True, exist_ok=True)
        _write_private(home / "authorized_keys", self.ssh_user_public)


def make_secrets(*, computer_name: str | None = None) -> Secrets:
    """Fresh secrets from the system's random source; those of a Windows guest are for its computer name."""
    certificate, key = _make_certificate(computer_name)
    user_key, user_public = _make_ssh_key("wfp-hil host")
    host_key, host_public = _make_ssh_key("wfp-hil guest")
    return Secrets(
        winrm_password=secrets.token_urlsafe(24) + "-aA1",  # one of each kind that Windows may ask for
        winrm_certificate=certificate,
        winrm_key=key,
        ssh_user_key=user_key,
        ssh_user_public=user_public,
        ssh_host_key=host_key,
        ssh_host_public=host_public,
    )


def _make_certificate(computer_name: str | None) -> tuple[bytes, bytes]:
    # P-256, not RSA: a handshake costs the emulated guest milliseconds instead of a tenth of a second. Windows' WinRM
    # has an RSA key, as everybody gives it, and wants the certificate's name to be that of its listener.
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if computer_name is None
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    common_name = computer_name or "wfp-hil reference guest"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    others = [] if computer_name is None else [x509.DNSName(computer_name)]
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # The guest's clock and the host's may differ; a snapshot keeps the time at which it was taken.
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now + dt.timedelta(days=3650))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost"), *others]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def _make_ssh_key(comment: str) -> tuple[bytes, bytes]:
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return private, public + b" " + comment.encode() + b"\n"


def _write_private(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
