"""driver.toml: what only the maker of a driver can say of it, asked once and kept beside the driver."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness.cert.requirements import all_requirements, near_requirements
from harness.config import load_model
from harness.errors import UsageError

FILE_NAME = "driver.toml"
_EXAMPLE = "'wfp-hil cert init' writes one that is whole; docs/certification.md explains each key."
_VARIABLE = re.compile(r"%([^%\s]*)%")
VARIABLES = (
    "APPLICATION", "LOCAL_IP", "REMOTE_IP", "PROTOCOL", "LOCAL_PORT", "REMOTE_PORT", "ICMP_TYPE", "ICMP_CODE", "IS_RAW",
    "LOCAL_MAC", "REMOTE_MAC", "FRAME_TYPE",
)  # fmt: skip
"""What the kit's test puts into the commands of WFPLogo.Answer."""
# Of Windows itself: commands may name folders by them.
_ENVIRONMENT = ("windir", "systemroot", "systemdrive", "programfiles", "programfiles(x86)", "programdata")
_PLACES = ("action", "direction", "match", "family")

Text = Annotated[str, Field(min_length=1, pattern=r'^[^"\r\n]*$')]
Command = Annotated[str, Field(min_length=1, pattern=r"^[^;\r\n]*$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Product(_Section):
    """Whose driver it is; paths are relative to the file, or absolute."""

    company: Text
    product: Text
    file: Path
    inf: Path | None = None
    releases: tuple[str, ...] = ()  # Windows releases it is for, by the names under vm-images; all where none is named
    installed_as: Text = ""  # where the product puts the driver on Windows; %SystemRoot%\System32\drivers if empty


class Features(_Section):
    """What the driver does; each decides which requirements concern it."""

    firewall: bool
    layered_on_windows_firewall: bool = False
    mac_layers: bool
    vswitch_layers: bool
    packet_injection: bool
    stream_injection: bool
    connection_proxying: bool


class Attestation(_Section):
    """Who answers for what: `requirements` are those that this person has read and takes to be met."""

    by: Text = ""
    requirements: tuple[str, ...] = ()
    interop_with_wfpsampler: bool = False

    @field_validator("requirements")
    @classmethod
    def _they_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _known(names)

    @model_validator(mode="after")
    def _somebody_signs(self) -> Self:
        if (self.requirements or self.interop_with_wfpsampler) and not self.by:
            raise ValueError("'by' is missing: an attestation has somebody's name under it")
        return self


class Commands(_Section):
    """How the product's own command line makes an exception and takes it away, as WFPLogo.Answer has it.

    In `add` and `delete`, {action}, {direction} and {family} stand for what the variation asks for, {match} for the
    text of the kind below; a kind that is missing is one that the command line cannot do.
    """

    add: Command
    delete: Command
    permit: Text = "allow"
    block: Text = "block"
    inbound: Text = "in"
    outbound: Text = "out"
    address: Command | None = None
    port: Command | None = None
    protocol: Command | None = None
    icmp: Command | None = None
    application: Command | None = None
    mac: Command | None = None
    stream: Command | None = None
    power: Command | None = None
    injection: Command | None = None

    @field_validator("*")
    @classmethod
    def _variables_exist(cls, text: str | None) -> str | None:
        for name in _VARIABLE.findall(text or ""):
            if name not in VARIABLES and name.lower() not in _ENVIRONMENT:
                raise ValueError(f"%{name}% is not known; the lab kit puts in {', '.join(VARIABLES)}")
        for name in re.findall(r"\{([^}]*)\}", text or ""):
            if name not in _PLACES:
                raise ValueError(f"{{{name}}} is not known, wanted one of {{{'}, {'.join(_PLACES)}}}")
        return text

    @field_validator("add")
    @classmethod
    def _it_matches_something(cls, text: str) -> str:
        if "{match}" not in text or "{action}" not in text:
            raise ValueError("a command with {action} and {match}")
        return text

    def match_of(self, kind: str) -> str | None:
        """What {match} stands for in a kind of exception."""
        text: str | None = getattr(self, kind)
        return text


class Answers(_Section):
    """The whole file; `path` is where it was read from. `done` says of requirements who settled them, when, by what."""

    driver: Product
    features: Features
    attestation: Attestation = Attestation()
    commands: Commands | None = None
    done: dict[str, Text] = {}
    path: Path = Field(default=Path(FILE_NAME), exclude=True)

    @field_validator("done")
    @classmethod
    def _they_exist(cls, table: dict[str, str]) -> dict[str, str]:
        _known(tuple(table))
        return table

    @model_validator(mode="after")
    def _layers_agree(self) -> Self:
        if self.features.layered_on_windows_firewall and not self.features.firewall:
            raise ValueError("features.layered_on_windows_firewall is true and features.firewall is not")
        return self

    @property
    def driver_file(self) -> Path:
        """The .sys file."""
        return self.path.parent / self.driver.file

    @property
    def inf_file(self) -> Path | None:
        """The .inf file; the one beside the driver where none is named, if it is there."""
        if self.driver.inf is not None:
            return self.path.parent / self.driver.inf
        beside = self.driver_file.with_suffix(".inf")
        return beside if beside.is_file() else None

    @property
    def flags(self) -> Mapping[str, bool]:
        """The features by name, as conditions of requirements name them."""
        return self.features.model_dump()


def load_answers(path: Path | None = None) -> Answers:
    """Read driver.toml, of the current folder if no other is named. Raises ConfigError, UsageError."""
    place = path or Path(FILE_NAME)
    if place.is_dir():
        place /= FILE_NAME
    if not place.is_file():
        raise UsageError(f"There is no '{place}'.", hint="'wfp-hil cert init' asks what it has to say, and writes it.")
    return load_model(place.absolute(), Answers, example=_EXAMPLE, given={"path": place.absolute()})


def _known(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in all_requirements():
            raise ValueError(
                f"ids of requirements, and '{name}' is none; {near_requirements(name)[:1].lower()}"
                f"{near_requirements(name)[1:].rstrip('.')}"
            )
    return names
