"""The answer file as Windows Setup would take it: parsed, and refused for what Setup would refuse or ask about.

Settings: https://learn.microsoft.com/windows-hardware/customize/desktop/unattend/components-b-unattend
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from console import Refused
from disk import TYPES, Wanted
from wim import Image

_NS = "{urn:schemas-microsoft-com:unattend}"
_ARCHITECTURES = {0: "x86", 9: "amd64", 12: "arm64"}
_LIMIT = 4 << 20


@dataclass(frozen=True)
class Command:
    """A command of a pass, and whether the machine is to reboot after it."""

    order: int
    line: str
    reboots: bool


@dataclass(frozen=True)
class Account:
    """An account with the password that the answer file gives it."""

    name: str
    password: str


class Answer:
    """A parsed answer file."""

    def __init__(self, path: Path) -> None:
        if path.stat().st_size > _LIMIT:
            raise Refused(f"the answer file has more than {_LIMIT} bytes")
        try:
            self._root = ET.fromstring(path.read_bytes())  # noqa: S314 - bounded, and expat limits entities
        except ET.ParseError as error:
            raise Refused(f"the answer file is not well-formed XML: {error}") from error
        if self._root.tag != f"{_NS}unattend":
            raise Refused(
                f"the answer file's first element is '{self._root.tag}', not unattend of Microsoft's name space"
            )

    def _component(self, pass_name: str, name: str) -> ET.Element | None:
        for settings in self._root.findall(f"{_NS}settings"):
            if settings.get("pass") == pass_name:
                for component in settings.findall(f"{_NS}component"):
                    if component.get("name") == name:
                        return component
        return None

    def check_architecture(self, image: Image) -> None:
        """Every component has to be for the architecture of the image."""
        wanted = _ARCHITECTURES.get(image.architecture or 0, "unknown")
        for component in self._root.iter(f"{_NS}component"):
            architecture = component.get("processorArchitecture")
            if architecture != wanted:
                name = component.get("name")
                raise Refused(f"component '{name}' is for '{architecture}' and image '{image.name}' for '{wanted}'")

    def check_user_data(self) -> None:
        """Setup asks for the licence, and for languages, when the answer file does not settle them."""
        accepted = _text(self._setup(), "UserData/AcceptEula")
        if accepted.lower() != "true":
            raise Refused(f"UserData/AcceptEula is '{accepted}', not 'true': Setup would ask for the licence")
        if self._component("windowsPE", "Microsoft-Windows-International-Core-WinPE") is None:
            raise Refused(
                "the component Microsoft-Windows-International-Core-WinPE is missing: Setup would ask for languages"
            )

    def choose(self, images: Sequence[Image]) -> Image:
        """The image of ImageInstall/OSImage/InstallFrom."""
        wanted = {
            _text(node, "Key").upper(): _text(node, "Value")
            for node in _all(self._setup(), "ImageInstall/OSImage/InstallFrom/MetaData")
        }
        names = ", ".join(f"{image.index}: '{image.name}'" for image in images)
        if "/IMAGE/NAME" in wanted:
            found = [image for image in images if image.name.lower() == wanted["/IMAGE/NAME"].lower()]
        elif "/IMAGE/INDEX" in wanted:
            found = [image for image in images if str(image.index) == wanted["/IMAGE/INDEX"]]
        else:
            raise Refused(f"InstallFrom/MetaData names no image: Setup would ask which one of {names}")
        if not found:
            raise Refused(f"the medium has no image {' '.join(wanted.values())!r}: it has {names}")
        return found[0]

    def partitions(self) -> tuple[list[Wanted], int]:
        """Partitions of disk 0 in their order, and the number of the one to install to."""
        disks = [disk for disk in _all(self._setup(), "DiskConfiguration/Disk") if _text(disk, "DiskID") == "0"]
        if not disks:
            raise Refused("DiskConfiguration says nothing of disk 0: Setup would ask where to install")
        if _text(disks[0], "WillWipeDisk").lower() != "true":
            raise Refused("WillWipeDisk of disk 0 is not 'true'")
        made: list[Wanted] = []
        nodes = sorted(
            _all(disks[0], "CreatePartitions/CreatePartition"), key=lambda node: int(_text(node, "Order") or "0")
        )
        for node in nodes:
            kind, size, extend = _text(node, "Type"), _text(node, "Size"), _text(node, "Extend").lower() == "true"
            if kind not in TYPES:
                raise Refused(f"a partition has the type '{kind}'; on a GPT disk it is one of {', '.join(TYPES)}")
            if extend == bool(size) or (size and not size.isdigit()):
                raise Refused(
                    f"a partition of type {kind} needs either Size in MiB or Extend, not '{size}' and '{extend}'"
                )
            made.append(Wanted(kind, None if extend else int(size)))
        if not any(entry.kind == "EFI" for entry in made):
            raise Refused("the disk would have no EFI partition: it could not be booted from")
        formats = {
            _text(node, "PartitionID"): _text(node, "Format").upper()
            for node in _all(disks[0], "ModifyPartitions/ModifyPartition")
        }
        efi = str(1 + [entry.kind for entry in made].index("EFI"))
        if formats.get(efi) != "FAT32":
            raise Refused(f"the EFI partition is to be formatted as '{formats.get(efi, '')}', not FAT32")
        target = _text(self._setup(), "ImageInstall/OSImage/InstallTo/PartitionID")
        if not target.isdigit() or not 1 <= int(target) <= len(made) or made[int(target) - 1].kind != "Primary":
            raise Refused(f"InstallTo/PartitionID is '{target}', which is no primary partition of disk 0")
        if formats.get(target) != "NTFS":
            raise Refused(f"partition {target} is to be formatted as '{formats.get(target, '')}', not NTFS")
        return made, int(target)

    def commands(self, pass_name: str) -> list[Command]:
        """RunSynchronous of windowsPE and of specialize; FirstLogonCommands of oobeSystem; in their order."""
        places = {
            "windowsPE": ("Microsoft-Windows-Setup", "RunSynchronous/RunSynchronousCommand", "Path"),
            "specialize": ("Microsoft-Windows-Deployment", "RunSynchronous/RunSynchronousCommand", "Path"),
            "oobeSystem": ("Microsoft-Windows-Shell-Setup", "FirstLogonCommands/SynchronousCommand", "CommandLine"),
        }
        component, path, key = places[pass_name]
        found = [
            Command(int(_text(node, "Order") or "0"), _text(node, key), _text(node, "WillReboot").lower() == "always")
            for node in _all(self._component(pass_name, component), path)
        ]
        return sorted(found, key=lambda command: command.order)

    def computer_name(self) -> str:
        """Name that specialize gives the machine; 15 characters at most."""
        name = _text(self._component("specialize", "Microsoft-Windows-Shell-Setup"), "ComputerName")
        if not 1 <= len(name) <= 15:
            raise Refused(f"ComputerName '{name}' has {len(name)} characters, and 1 to 15 are allowed")
        return name

    def accounts(self) -> list[Account]:
        """The built-in administrator and local accounts, with their passwords as plain text."""
        shell = self._component("oobeSystem", "Microsoft-Windows-Shell-Setup")
        found = [
            Account("Administrator", decode(node, "AdministratorPassword"))
            for node in _all(shell, "UserAccounts/AdministratorPassword")
        ]
        for node in _all(shell, "UserAccounts/LocalAccounts/LocalAccount"):
            passwords = _all(node, "Password")
            found.append(Account(_text(node, "Name"), decode(passwords[0], "Password") if passwords else ""))
        if not found:
            raise Refused("UserAccounts names no account with a password: Windows would ask for one")
        for node in _all(shell, "AutoLogon"):
            self._check_logon(node, found)
        return found

    def _check_logon(self, node: ET.Element, accounts: Iterable[Account]) -> None:
        user = _text(node, "Username")
        account = next((account for account in accounts if account.name.lower() == user.lower()), None)
        if account is None:
            raise Refused(f"AutoLogon names '{user}', which is no account of the answer file")
        passwords = _all(node, "Password")
        if not passwords or decode(passwords[0], "Password") != account.password:
            raise Refused(f"AutoLogon's password is not the one of '{user}'")

    def _setup(self) -> ET.Element:
        component = self._component("windowsPE", "Microsoft-Windows-Setup")
        if component is None:
            raise Refused("the pass windowsPE has no component Microsoft-Windows-Setup")
        return component


def decode(node: ET.Element, element: str) -> str:
    """A password: plain, or base64 of UTF-16LE of the password with its element's name behind."""
    value, plain = _text(node, "Value"), _text(node, "PlainText").lower()
    if plain == "true":
        return value
    try:
        text = base64.b64decode(value, validate=True).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise Refused(f"the value of {element} is not base64 of UTF-16: {error}") from error
    if not text.endswith(element):
        raise Refused(f"the value of {element} does not end with its element's name once decoded")
    return text.removesuffix(element)


def _all(node: ET.Element | None, path: str) -> list[ET.Element]:
    return [] if node is None else node.findall("/".join(f"{_NS}{word}" for word in path.split("/")))


def _text(node: ET.Element | None, path: str) -> str:
    found = _all(node, path)
    return (found[0].text or "").strip() if found else ""
