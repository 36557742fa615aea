"""All that lies on the CD beside the answer file: the scripts, what they are told, keys and certificates."""

from __future__ import annotations

import json
import secrets as random_source
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from harness.config import Profile, profiles_root
from harness.errors import UsageError
from harness.unattend.answer import render_answer
from harness.unattend.plan import HELPER_ACCOUNT, InstallPlan
from harness.unattend.schema import check_answer

SETUP = "setup"
_FOLDER = "windows"  # of vm-images: what all editions share


class GuestSecrets(Protocol):
    """What the guest is told of keys and certificates; `harness.images` makes them for each image anew."""

    @property
    def winrm_certificate(self) -> bytes:
        """PEM; its name is the guest's computer name."""

    @property
    def winrm_key(self) -> bytes:
        """PEM, not encrypted."""

    @property
    def ssh_user_public(self) -> bytes:
        """One line, as in authorized_keys."""

    @property
    def ssh_host_key(self) -> bytes:
        """In OpenSSH's own format."""

    @property
    def ssh_host_public(self) -> bytes:
        """One line."""


def setup_files(
    plan: InstallPlan,
    profile: Profile,
    *,
    secrets: GuestSecrets,
    management_mac: str,
    test_macs: Sequence[str],
    test_certificate: bytes,
    build: int,
    server: bool,
    openssh: Path | None = None,
) -> dict[str, bytes | Path]:
    """Names on the answer CD and what is in them: the answer file at the root, all else under `setup/`.

    `test_certificate` (PEM) is the one that drivers are test-signed with; `build` and `server` say which Windows it is;
    `openssh` is a package of Win32-OpenSSH (.zip or .msi) for a guest without a network, None takes it from Windows.
    Raises UsageError when Setup would stop at the answer file.
    """
    pfx_password = random_source.token_urlsafe(18)
    settings = {
        "computer_name": plan.computer_name,
        "user": plan.user,
        "helper_account": HELPER_ACCOUNT,
        "management": {"name": "mgmt0", "mac": _windows_mac(management_mac)},
        "test_nics": _test_nics(profile, test_macs),
        "winrm_port": profile.management.winrm_port,
        "ssh_port": profile.management.ssh_port,
        "pfx_password": pfx_password,
        "openssh": None if openssh is None else f"openssh{openssh.suffix.lower()}",
        "virtio_folder": virtio_folder(build=build, server=server),
        "hibernation": profile.machine.power_states,
        # The kernel's own pages are less than the memory; Windows refuses a file that could be too small.
        "dump_mib": profile.machine.memory_mib + 512,
        "registry": registry_values(),
    }
    answer = render_answer(plan)
    if problems := check_answer(answer, scripts=frozenset(path.name for path in setup_scripts())):
        raise UsageError(
            f"Windows Setup would not take the answer file: {problems[0]}",
            hint="Look at the profile, --edition and --product-key; what is allowed is in unattend-schema.toml.",
        )
    files: dict[str, bytes | Path] = {"autounattend.xml": answer}
    if openssh is not None:
        files[f"{SETUP}/{settings['openssh']}"] = openssh
    files |= {f"{SETUP}/{path.name}": path for path in setup_scripts()}
    sshd = (profiles_root() / _FOLDER / SETUP / "sshd_config").read_bytes()
    files[f"{SETUP}/sshd_config"] = sshd.replace(b"Port 22\n", b"Port %d\n" % profile.management.ssh_port)
    files |= {
        f"{SETUP}/settings.json": json.dumps(settings, indent=2).encode("ascii") + b"\n",
        f"{SETUP}/winrm.pfx": _pfx(secrets, pfx_password),
        f"{SETUP}/test-signing.cer": x509.load_pem_x509_certificate(test_certificate).public_bytes(
            serialization.Encoding.DER
        ),
        f"{SETUP}/administrators_authorized_keys": secrets.ssh_user_public,
        f"{SETUP}/ssh_host_ed25519_key": secrets.ssh_host_key,
        f"{SETUP}/ssh_host_ed25519_key.pub": secrets.ssh_host_public,
    }
    return files


def setup_scripts() -> list[Path]:
    """The files of `vm-images/windows/setup`, which go onto the CD as they are."""
    return sorted(path for path in (profiles_root() / _FOLDER / SETUP).iterdir() if path.is_file())


def registry_values() -> dict[str, list[dict[str, Any]]]:
    """By stage: the registry values that `vm-images/windows/registry.toml` asks for, without their reasons."""
    table = tomllib.loads((profiles_root() / _FOLDER / "registry.toml").read_text(encoding="utf-8"))
    wanted: dict[str, list[dict[str, Any]]] = {}
    for row in table["value"]:
        kept = {key: row[key] for key in ("path", "name", "type", "value")}
        wanted.setdefault(row["stage"], []).append(kept)
    return wanted


def virtio_folder(*, build: int, server: bool) -> str:
    """How the virtio-win medium calls this Windows in its folders, as in `vioserial/w11/amd64`.

    https://github.com/virtio-win/virtio-win-pkg-scripts, the lists of its file maps; read as excerpts.
    """
    if server:
        return next(
            name for least, name in ((26100, "2k25"), (20348, "2k22"), (17763, "2k19"), (0, "2k16")) if build >= least
        )
    return "w11" if build >= 22000 else "w10"


def _test_nics(profile: Profile, macs: Sequence[str]) -> list[dict[str, Any]]:
    """The first test NIC has the addresses of the profile; the others have none of their own."""
    network = profile.network
    nics: list[dict[str, Any]] = [
        {"name": f"test{number}", "mac": _windows_mac(mac)} for number, mac in enumerate(macs)
    ]
    if nics:
        nics[0]["ipv4"] = {
            "address": str(network.ipv4.ip),
            "prefix": network.ipv4.network.prefixlen,
            "gateway": str(network.ipv4_gateway),
        }
        if network.ipv6 is not None:
            nics[0]["ipv6"] = {
                "address": str(network.ipv6.ip),
                "prefix": network.ipv6.network.prefixlen,
                "gateway": None if network.ipv6_gateway is None else str(network.ipv6_gateway),
            }
    return nics


def _windows_mac(mac: str) -> str:
    return mac.replace(":", "-").upper()


def _pfx(secrets: GuestSecrets, password: str) -> bytes:
    key = serialization.load_pem_private_key(secrets.winrm_key, None)
    if not isinstance(key, rsa.RSAPrivateKey):
        # An EC key works in TLS, but nobody reports a WinRM listener with one.
        raise UsageError("The key of the WinRM certificate is no RSA key.", hint="make_secrets(computer_name=...)")
    # What every Windows reads; the file is deleted when the certificate is in the guest's store.
    how = (
        serialization.PrivateFormat.PKCS12.encryption_builder()
        .kdf_rounds(50000)
        .key_cert_algorithm(pkcs12.PBES.PBESv1SHA1And3KeyTripleDESCBC)
        .hmac_hash(hashes.SHA1())  # noqa: S303 - the format's own
        .build(password.encode())
    )
    certificate = x509.load_pem_x509_certificate(secrets.winrm_certificate)
    return pkcs12.serialize_key_and_certificates(b"wfp-hil", key, certificate, None, how)
