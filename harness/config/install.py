"""The section [install] of a profile: how a guest is installed from a medium that the user provides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0, le=86400)]
StageName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")]


class StageSettings(BaseModel):
    """One stage of an installation: how long it takes where KVM works, and when it is taken for stuck."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expected_seconds: Seconds
    stall_seconds: Seconds


class InstallSettings(BaseModel):
    """What of the medium is installed, onto what, and the stages in the order in which they report themselves."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    editions: tuple[str, ...] = Field(min_length=1)
    edition_ids: tuple[str, ...] = ()
    architecture: Literal["amd64"] = "amd64"
    minimum_build: int = Field(default=0, ge=0)
    computer_name: str = Field(default="WFPHIL", pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,14}$")
    bypass_requirements: bool = False
    disk_gib: int = Field(ge=1, le=2048)
    memory_mib: int = Field(ge=16, le=65536)
    tcg_factor: float = Field(default=20.0, ge=1, le=200)
    stages: dict[StageName, StageSettings] = Field(min_length=1)
