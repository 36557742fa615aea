"""What a run was asked for."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The options of the command line, with the folder for the results filled in."""

    guest: str
    driver: Path | None
    nic: str | None
    fresh: str
    reuse_boot: bool
    out: Path
    vcpus: int | None = None
    verifier: str | None = None
    firewall: str | None = None
    contract: str = "fail"
    examples: int | None = None
    worker: str = ""
    host_dump: bool = False
    seed: int = 0

    @classmethod
    def of(cls, config: pytest.Config, *, out: Path | None = None, worker: str = "") -> RunOptions:
        """Read them from pytest; a worker is told its name, and the folder that all of the run write into."""
        return cls(
            guest=config.getoption("--guest"),
            driver=config.getoption("--driver"),
            nic=config.getoption("--nic"),
            vcpus=config.getoption("--vcpus"),
            fresh=config.getoption("--fresh"),
            reuse_boot=not config.getoption("--cold"),
            out=out or folder_of(config),
            verifier=config.getoption("--verifier"),
            firewall=config.getoption("--firewall"),
            contract=config.getoption("--contract"),
            examples=config.getoption("--examples"),
            worker=worker,
            host_dump=config.getoption("--host-dump"),
            seed=config.getoption("--seed"),
        )

    @property
    def machine_folder(self) -> Path:
        """What the machine writes by itself; each of several has its own."""
        return self.out / "machines" / self.worker if self.worker else self.out

    @property
    def facts(self) -> dict[str, object]:
        """What is known of the run before there is a guest; of settings those alone that were asked for."""
        asked = {"verifier": self.verifier, "firewall": self.firewall, "vcpus": self.vcpus}
        settings = {name: value for name, value in asked.items() if value is not None}
        return {"guest": self.guest, "fresh": self.fresh, "seed": self.seed, **settings}


def folder_of(config: pytest.Config) -> Path:
    """The folder for the results: the one that was asked for, or a new one."""
    run_id = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    return config.getoption("--out") or Path("out") / run_id
