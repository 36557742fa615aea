"""The passes of the answer file that run in the installed system: specialize, then oobeSystem.

Ends with code 0 when the system's own init may go on; reboots where the answer file wants it.
"""

from __future__ import annotations

import json
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from answer import Account, Answer
from commands import Interpreter
from console import Console, Refused, read_wishes, reboot
from firmware import current_entry
from media import mount_removable

_HERE = Path("/usr/lib/wfp-hil/setup")
_DRIVE = Path("/var/lib/wfp/prefix/drive_c")
_OWN = Path("/etc/wfp-hil")


def main() -> int:
    """Play the pass that is due."""
    roots = mount_removable()
    console = Console(read_wishes(roots), _HERE / "reboots")
    console.stage = "specialize"
    try:
        _play(roots, console)
    except Refused as error:
        console.fail(str(error))
    except Exception as error:
        traceback.print_exc()
        console.fail(f"{type(error).__name__}: {error}")
    return 0


def _play(roots: list[Path], console: Console) -> None:
    answer = Answer(_DRIVE / "windows/Panther/unattend.xml")
    interpreter = Interpreter(console, roots, _DRIVE)
    facts: dict[str, Any] = json.loads((_HERE / "facts.json").read_text())
    facts.setdefault("boots", []).append(current_entry())
    if "specialized" not in facts:
        facts["computer_name"] = answer.computer_name()
        reboots = _run(answer, "specialize", interpreter)
        facts["specialized"] = True
        _keep(facts, interpreter)
        if reboots:
            reboot()
    if "accounts" not in facts:
        console.stage = "oobe"
        accounts = answer.accounts()
        _set_accounts(accounts, facts["computer_name"])
        _run(answer, "oobeSystem", interpreter)
        _take_keys(console)
        facts["accounts"] = [account.name for account in accounts]
        _keep(facts, interpreter)
        if interpreter.reboots:
            reboot()
    # What probe.ps1 has had planned for every boot.
    if (script := _DRIVE / "wfp-hil/setup/boot.ps1").is_file():
        console.stage = "finalise"
        interpreter.play(script)
    (_DRIVE / "wfp-hil/setup.json").write_text(json.dumps(facts, indent=2))
    # No secret of the installation is to be left.
    for name in ("windows/Panther/unattend.xml", "unattend.xml"):
        (_DRIVE / name).unlink(missing_ok=True)
    shutil.rmtree(_DRIVE / "wfp-hil/setup", ignore_errors=True)
    (_HERE / "done").touch()


def _run(answer: Answer, pass_name: str, interpreter: Interpreter) -> bool:
    reboots = False
    for command in answer.commands(pass_name):
        interpreter.run(command.line)
        reboots |= command.reboots
    return reboots


def _keep(facts: dict[str, Any], interpreter: Interpreter) -> None:
    facts["ran"] += interpreter.ran
    facts["skipped"] += interpreter.skipped
    interpreter.ran, interpreter.skipped = [], []
    (_HERE / "facts.json").write_text(json.dumps(facts))


def _set_accounts(accounts: list[Account], computer: str) -> None:
    # NTLM names the domain it wants: none, the machine's (the guest's init calls it WFPREF), or '.'.
    lines = [
        f"{domain}:{account.name}:{account.password}\n"
        for account in accounts
        for domain in ("", "WFPREF", computer, ".")
    ]
    path = _OWN / "users"
    path.touch(mode=0o600)
    path.write_text("".join(lines))


def _take_keys(console: Console) -> None:
    """The WinRM certificate with its key and the keys of SSH, from the folder that the answer file had copied."""
    folder = _DRIVE / "wfp-hil" / "setup"
    settings = folder / "settings.json"
    if not settings.is_file():
        console.show("no setup\\settings.json was copied: the image's own keys stay")
        return
    password = str(json.loads(settings.read_text())["pfx_password"])
    _take(_OWN / "winrm.pem", _open_pfx((folder / "winrm.pfx").read_bytes(), password))
    _take(Path("/root/.ssh/authorized_keys"), (folder / "administrators_authorized_keys").read_bytes())
    for name in ("ssh_host_ed25519_key", "ssh_host_ed25519_key.pub"):
        _take(Path("/etc/ssh", name), (folder / name).read_bytes())


def _open_pfx(data: bytes, password: str) -> bytes:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.serialization import pkcs12

    try:
        key, certificate, _ = pkcs12.load_key_and_certificates(data, password.encode())
    except ValueError as error:
        raise Refused(f"setup\\winrm.pfx does not open with the password of settings.json: {error}") from error
    if key is None or certificate is None:
        raise Refused("setup\\winrm.pfx has no certificate with its key")
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    plain = key.private_bytes(encoding, form, serialization.NoEncryption())
    return plain + certificate.public_bytes(encoding)


def _take(target: Path, content: bytes) -> None:
    target.touch(mode=0o600)
    target.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
