"""What an unattended installation is to do."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.errors import UsageError

SETUP_FOLDER = "C:\\wfp-hil\\setup"
FIRST_LOGON = f"powershell.exe -NoProfile -ExecutionPolicy Bypass -File {SETUP_FOLDER}\\first-logon.ps1"
# Windows 11's first-run pages ask for an account unless one is made here, whatever is said of the Administrator
# (https://github.com/cschneegans/unattend-generator, issues 63 and 308). finalise.ps1 removes it.
HELPER_ACCOUNT = "wfphil-setup"

_COMPUTER_NAME = re.compile(r"(?!\d+$)[A-Za-z0-9](?:[A-Za-z0-9-]{0,13}[A-Za-z0-9])?")
_PRODUCT_KEY = re.compile(r"[A-Z0-9]{5}(?:-[A-Z0-9]{5}){4}")
_KEYBOARD = re.compile(r"[0-9a-fA-F]{4}:[0-9a-fA-F]{8}")
_LOCALE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z]{2,4})+")
_LONGEST_PASSWORD = 127
# Servers insist: https://learn.microsoft.com/en-us/previous-versions/windows/it-pro/windows-10/security/threat-protection/
# security-policy-settings/password-must-meet-complexity-requirements
_KINDS = ("[A-Z]", "[a-z]", "[0-9]", "[^A-Za-z0-9]")
_KINDS_WANTED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallPlan:
    """One installation onto the first, empty disk of a UEFI machine: EFI, reserved and Windows partition.

    `driver_folders` are folders that Windows PE loads storage drivers from; `first_logon` runs after the first logon.
    Raises UsageError for what Setup would stop at with a question.
    """

    computer_name: str
    image_name: str
    image_index: int
    password: str
    architecture: str = "amd64"
    product_key: str | None = None
    user: str = "Administrator"
    locale: str = "en-US"
    keyboard: str = "0409:00000409"
    time_zone: str = "UTC"
    bypass_requirements: bool = False
    driver_folders: tuple[str, ...] = ()
    first_logon: tuple[str, ...] = (FIRST_LOGON,)

    def __post_init__(self) -> None:
        if not _COMPUTER_NAME.fullmatch(self.computer_name):
            raise UsageError(
                f"'{self.computer_name}' is no computer name.",
                hint="Take up to 15 letters, digits and '-', not digits alone.",
            )
        if self.product_key is not None and not _PRODUCT_KEY.fullmatch(self.product_key):
            raise UsageError(
                f"'{self.product_key}' is no product key.",
                hint="It has five groups of five: XXXXX-XXXXX-XXXXX-XXXXX-XXXXX.",
            )
        if self.architecture != "amd64":
            raise UsageError(f"Architecture '{self.architecture}' is not known, wanted 'amd64'.")
        if self.image_index < 1:
            raise UsageError(f"Image {self.image_index} cannot be: the first image of a medium is number 1.")
        if not self.password or len(self.password) > _LONGEST_PASSWORD:
            raise UsageError(f"A password of {len(self.password)} characters, wanted 1 to {_LONGEST_PASSWORD}.")
        if sum(bool(re.search(kind, self.password)) for kind in _KINDS) < _KINDS_WANTED:
            raise UsageError(
                "The password is too simple for Windows.", hint="Mix three of: capitals, small letters, digits, others."
            )
        if not _KEYBOARD.fullmatch(self.keyboard):
            raise UsageError(f"'{self.keyboard}' is no keyboard.", hint="Language and layout, as 0409:00000409.")
        if not _LOCALE.fullmatch(self.locale):
            raise UsageError(f"'{self.locale}' is no locale.", hint="Language and region, as en-US.")
