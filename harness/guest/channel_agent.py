"""Puts the second channel's agent into a Windows guest: `wfpchannel.exe`, as a service that starts with Windows.

The reference guest has its own from its image. A service, not a program of the remote shell: it has to live on when
WinRM does not, and to be there again after a crash.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import DeployError
from harness.steps import step
from harness.waiting import Deadline

if TYPE_CHECKING:
    from harness.guest.session import Guest

SERVICE = "wfpchannel"
PATH = r"C:\wfp-hil\wfpchannel.exe"
_EXISTS, _RUNS = 1073, 1056
_SECONDS = 60.0


def install(guest: Guest, agent: Path) -> None:
    """Copy it there, make the service and start it; one that is there already is only started.

    Raises DeployError with what sc.exe said, TransportError.
    """
    with step("install the agent of the second channel", deadline=Deadline(_SECONDS)):
        guest.upload(agent, PATH)
        create = f'sc.exe create {SERVICE} binPath= "{PATH}" type= own start= auto'
        for command, fine in ((create, _EXISTS), (f"sc.exe start {SERVICE}", _RUNS)):
            done = guest.run(command, skip_cmd_shell=True)
            if done.exit_code not in (0, fine):
                raise DeployError(
                    f"The agent of the second channel could not be installed: '{command}' ended with "
                    f"{done.exit_code}: {done.stdout.strip()[-200:]}",
                    command=command,
                )
