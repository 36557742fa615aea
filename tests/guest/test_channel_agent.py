"""Installing the second channel's agent in a Windows guest, with a guest that notes what it is told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.errors import DeployError
from harness.guest.channel_agent import install


class Told:
    """Answers the commands with the exit codes it is given; `done` is what was asked for."""

    def __init__(self, *codes: int) -> None:
        self.codes = list(codes)
        self.done: list[str] = []

    def upload(self, local: Path, remote: str) -> None:
        self.done.append(f"{local.name} -> {remote}")

    def run(self, command: str, **_: Any) -> Any:
        self.done.append(command)
        return SimpleNamespace(exit_code=self.codes.pop(0), stdout="[SC] said so")


@pytest.mark.parametrize("codes", [(0, 0), (1073, 0), (1073, 1056)])
def test_it_becomes_a_service_that_starts_with_windows(codes):
    guest = Told(*codes)

    install(guest, Path("/x/wfpchannel.exe"))  # type: ignore[arg-type]

    assert guest.done == [
        r"wfpchannel.exe -> C:\wfp-hil\wfpchannel.exe",
        r'sc.exe create wfpchannel binPath= "C:\wfp-hil\wfpchannel.exe" type= own start= auto',
        "sc.exe start wfpchannel",
    ]


def test_what_sc_refuses_is_told():
    with pytest.raises(DeployError, match=r"'sc.exe start wfpchannel' ended with 5: \[SC\] said so"):
        install(Told(0, 5), Path("wfpchannel.exe"))  # type: ignore[arg-type]
