"""Windows Firewall of a guest, on or off for all profiles, as it is in force and not only as it was asked for.

https://learn.microsoft.com/en-us/windows/security/operating-system-security/network-security/windows-firewall/configure-with-command-line
has both commands; -PolicyStore ActiveStore is what local settings and group policy come to together.
"""

from __future__ import annotations

from harness.errors import GuestError
from harness.guest.windows_tools import Session, WindowsTools
from harness.steps import step

# Names of the enumeration, which no language of Windows translates.
_ASK = (
    'powershell.exe -NoProfile -NonInteractive -Command "'
    "(Get-NetFirewallProfile -PolicyStore ActiveStore | ForEach-Object { [string]$_.Enabled }) -join ','\""
)
_WORDS = {"on": "True", "off": "False"}
_PROFILES = 3  # domain, private, public


def set_firewall(guest: Session, state: str) -> None:
    """Switch it 'on' or 'off' for all profiles.

    Raises GuestError when Windows refuses, or when it is otherwise in force, as where a group policy says so.
    """
    tools = WindowsTools(guest)
    with step(f"switch Windows Firewall {state}"):
        tools.run(f"netsh.exe advfirewall set allprofiles state {state}", doing=f"switch its firewall {state}")
        said = tools.run(_ASK, doing="say whether its firewall is on").stdout.strip()
        if said.split(",") != [_WORDS[state]] * _PROFILES:
            raise GuestError(
                f"Windows Firewall was switched {state}, and the profiles in force say '{said[:100]}', wanted "
                f"{_PROFILES} times {_WORDS[state]}.",
                hint="A group policy of the image may decide it.",
                command=_ASK,
            )
