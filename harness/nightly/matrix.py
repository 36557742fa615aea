"""The matrix: what a night is to run, as a TOML file says it. A contradiction is an error that names file and key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from harness.config import NicModel, line_of, load_model
from harness.errors import ConfigError, HarnessError

Verifier = Literal["off", "standard", "low-resources"]
Firewall = Literal["on", "off"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,30}$")]
EXAMPLE = "docs/nightly.md has a matrix that works."
OWN_DRIVER = "own"
AXES = ("guest", "nic", "driver", "verifier", "firewall", "scenarios")
# What a cell is given by the matrix itself; a selection that gives it as well would contradict it.
_TAKEN = {
    "--guest": "matrix.guests", "--nic": "matrix.nics", "--driver": "drivers", "--verifier": "matrix.verifier",
    "--firewall": "matrix.firewall", "--machines": "run.machines", "-n": "run.machines", "--history": "--history",
    "--known-issues": "--known-issues", "--out": "--out", "--fresh": "run.fresh", "--contract": "run.contract",
    "--vcpus": "run.vcpus", "--numprocesses": "run.machines", "--maxprocesses": "run.machines",
    "--dist": "run.machines",
}  # fmt: skip
_KEYS = {"guest": "guests", "nic": "nics", "driver": "drivers", "verifier": "verifier", "firewall": "firewall"}


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Axes(_Section):
    """What is crossed with what; an axis that is left out stays as the guest's profile and image have it."""

    guests: tuple[str, ...] = Field(min_length=1)
    nics: tuple[NicModel, ...] = ()
    verifier: tuple[Verifier, ...] = ()
    firewall: tuple[Firewall, ...] = ()
    drivers: tuple[Name, ...] = ()
    scenarios: tuple[Name, ...] = ()


class Exclude(_Section):
    """Cells that are left out, with the reason, which the report shows. What is not named fits all."""

    guest: str | None = None
    nic: NicModel | None = None
    driver: str | None = None
    verifier: Verifier | None = None
    firewall: Firewall | None = None
    scenarios: str | None = None
    reason: str = Field(min_length=1)


class RunSettings(_Section):
    """How each cell is run."""

    machines: int = Field(default=1, ge=1, le=64)
    minutes: float = Field(default=240, gt=0, le=7 * 24 * 60)
    vcpus: int | None = Field(default=None, ge=1)
    fresh: Literal["test", "module", "session"] | None = None
    contract: Literal["fail", "tell"] | None = None


class BudgetSettings(_Section):
    """How much of this host the night may take; what is left out is all that is free when it begins."""

    cores: int | None = Field(default=None, ge=1)
    memory_mib: int | None = Field(default=None, ge=64)
    disk_mib: int | None = Field(default=None, ge=64)


class Matrix(_Section):
    """The file as a whole. `path` is where it came from."""

    name: Name | None = None
    matrix: Axes
    drivers: dict[Name, str] = {}
    scenarios: dict[Name, tuple[str, ...]] = {}
    exclude: tuple[Exclude, ...] = ()
    run: RunSettings = RunSettings()
    budget: BudgetSettings = BudgetSettings()
    path: Path = Field(default=Path(), exclude=True)

    @property
    def title(self) -> str:
        """The name that was given, else the file's."""
        return self.name or self.path.stem

    def wrong(self, key: str, sentence: str, hint: str | None = None) -> ConfigError:
        """The error about a key, with file and line; `sentence` without a full stop."""
        try:
            where = line_of(self.path.read_text(encoding="utf-8"), key.split("."))
        except (OSError, UnicodeDecodeError):  # it has changed since
            where = ""
        return ConfigError(f"'{self.path}'{where}: key '{key}': {sentence}.", hint=hint or EXAMPLE)

    @contextmanager
    def naming(self, key: str, kind: type[HarnessError], about: str = "") -> Iterator[None]:
        """A block whose errors of a kind are told as errors about a key, with `about` before their sentence."""
        try:
            yield
        except kind as error:
            raise self.wrong(key, about + error.message.removesuffix("."), error.hint) from error

    def relative(self, word: str) -> Path:
        """A path of the file: relative ones begin where the file lies."""
        return (self.path.parent / word).absolute()


def load_matrix(path: Path) -> Matrix:
    """Read the file and hold its keys against each other.

    Raises ConfigError when it cannot be read, has a key or value that is not allowed, or contradicts itself.
    """
    matrix = load_model(path, Matrix, example=EXAMPLE, given={"path": path})
    for key in ("guests", "nics", "verifier", "firewall", "drivers", "scenarios"):
        _no_doubles(matrix, f"matrix.{key}", getattr(matrix.matrix, key))
    _names_exist(matrix, "drivers", matrix.matrix.drivers, (*matrix.drivers, OWN_DRIVER))
    _names_exist(matrix, "scenarios", matrix.matrix.scenarios, tuple(matrix.scenarios))
    if OWN_DRIVER in matrix.drivers:
        raise matrix.wrong(f"drivers.{OWN_DRIVER}", f"'{OWN_DRIVER}' is the harness's own callout driver already")
    for name, words in matrix.scenarios.items():
        _may_select(matrix, name, words)
    for number, exclude in enumerate(matrix.exclude, start=1):
        _excludes_something(matrix, number, exclude)
    return matrix


def _no_doubles(matrix: Matrix, key: str, values: Sequence[str]) -> None:
    double = next((value for at, value in enumerate(values) if value in values[:at]), None)
    if double is not None:
        raise matrix.wrong(key, f"'{double}' stands there twice, and its cells would be run twice")


def _names_exist(matrix: Matrix, table: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise matrix.wrong(
                f"matrix.{table}", f"'{name}' is none of [{table}]", f"Known there: {', '.join(known) or 'nothing'}."
            )


def _may_select(matrix: Matrix, name: str, words: Sequence[str]) -> None:
    if not words:
        raise matrix.wrong(f"scenarios.{name}", "it is empty, wanted pytest's words, such as 'scenarios/redirect'")
    for word in words:
        option = word.partition("=")[0]
        if option in _TAKEN or (word.startswith("-n") and word[2:].isdigit()):
            raise matrix.wrong(
                f"scenarios.{name}",
                f"'{word}' contradicts the matrix, which says that by '{_TAKEN.get(option, 'run')}'",
            )


def _excludes_something(matrix: Matrix, number: int, exclude: Exclude) -> None:
    named = {axis: getattr(exclude, axis) for axis in AXES if getattr(exclude, axis) is not None}
    if not named:
        raise matrix.wrong("exclude", f"entry {number} names no axis, and so would leave out everything")
    for axis, value in named.items():
        allowed = axis_values(matrix, axis)
        if value not in allowed:
            has = ", ".join(filter(None, allowed)) or f"nothing to choose of: it leaves out '{_KEYS.get(axis, axis)}'"
            raise matrix.wrong("exclude", f"entry {number}: {axis} '{value}' is not in the matrix, which has {has}")


def axis_values(matrix: Matrix, axis: str) -> tuple[str, ...]:
    """The labels of one axis, in the order of the file; one '' where the axis is left out."""
    axes = matrix.matrix
    if axis == "guest":
        return tuple(guest_label(guest) for guest in axes.guests)
    if axis == "driver":
        return axes.drivers or tuple(matrix.drivers) or (OWN_DRIVER,)
    if axis == "scenarios":
        return axes.scenarios or tuple(matrix.scenarios) or ("all",)
    values: tuple[str, ...] = getattr(axes, _KEYS[axis])
    return values or ("",)


def guest_label(guest: str) -> str:
    """How a guest is called in the matrix: a profile's name; of a file its own name, or its folder's for guest.toml."""
    path = Path(guest)
    if "/" not in guest and path.suffix != ".toml":
        return guest
    return path.stem if path.suffix == ".toml" and path.stem != "guest" else (path.parent if path.suffix else path).name
