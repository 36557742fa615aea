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
    verifier: str | None = None
    contract: str = "fail"
    examples: int | None = None

    @classmethod
    def of(cls, config: pytest.Config) -> RunOptions:
        """Read them from pytest."""
        run_id = f"{datetime.now().astimezone():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        return cls(
            guest=config.getoption("--guest"),
            driver=config.getoption("--driver"),
            nic=config.getoption("--nic"),
            fresh=config.getoption("--fresh"),
            reuse_boot=not config.getoption("--cold"),
            out=config.getoption("--out") or Path("out") / run_id,
            verifier=config.getoption("--verifier"),
            contract=config.getoption("--contract"),
            examples=config.getoption("--examples"),
        )
