"""The cells of a matrix: each is one `wfp-hil run` of its own, or a reason why it cannot be one."""

from __future__ import annotations

import hashlib
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness import process
from harness.config import GuestKind, Profile, load_profile
from harness.driver.package import load_package, load_package_for
from harness.errors import ConfigError, DriverPackageError, UsageError
from harness.hypervisor import require_nic_model
from harness.images import check_image
from harness.nightly.made_of import Ingredients
from harness.nightly.matrix import AXES, OWN_DRIVER, Exclude, Matrix, axis_values, guest_label
from harness.waiting import Deadline

_COLLECT_SECONDS = 300.0
_NONE_COLLECTED = 5
_NO_VERIFIER = (
    "The reference guest has no Driver Verifier, which is a part of Windows; its engine holds the driver to its "
    "contract in every run (docs/contract.md)."
)
_NO_FIREWALL = "The reference guest has no Windows Firewall: what it would block or let through cannot be told."


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One point of the matrix. `words` are what `wfp-hil run` is told, `scenarios` what it will run.

    `refused` is why it is not run; `made_of` are the digests of all that its results depend on, by part.
    """

    axes: tuple[tuple[str, str], ...]
    profile: Profile
    words: tuple[str, ...]
    scenarios: tuple[str, ...]
    machines: int
    refused: str = ""
    made_of: Mapping[str, str] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Its labels joined: stable from night to night, and fit for the name of a folder."""
        return "+".join(value for _, value in self.axes if value)

    def value(self, axis: str) -> str:
        """The label on one axis; '' where the axis was left out."""
        return dict(self.axes)[axis]


def expand(matrix: Matrix, *, scenarios_root: Path = Path("scenarios")) -> list[Cell]:
    """All cells in the order of the file, those that cannot be run with the reason.

    Raises ConfigError for a guest that there is not, a driver that cannot be used, a selection that selects nothing,
    two names for the same build, and a matrix of which nothing is left.
    """
    profiles = _profiles(matrix)
    drivers = _drivers(matrix)
    selected = {name: _select(matrix, name, scenarios_root) for name in axis_values(matrix, "scenarios")}
    ingredients = Ingredients()
    cells = []
    for values in itertools.product(*(axis_values(matrix, axis) for axis in AXES)):
        axes = dict(zip(AXES, values, strict=True))
        profile, asked = profiles[axes["guest"]]
        words, scenarios = selected[axes["scenarios"]]
        driver = drivers[axes["driver"]]
        refused = _refusal(matrix.exclude, axes, profile)
        if driver is not None and not refused:
            _must_load(matrix, axes["driver"], driver, profile)
        options = _options(matrix, axes, asked, driver, profile)
        cells.append(
            Cell(
                axes=tuple(axes.items()), profile=profile, scenarios=scenarios, machines=matrix.run.machines,
                words=(*options, *words), refused=refused,
                made_of={} if refused else ingredients.of(
                    profile=profile, driver=driver, options=options, words=words, scenarios=scenarios
                ),
            )
        )  # fmt: skip
    if all(cell.refused for cell in cells):
        raise matrix.wrong(
            "matrix", f"nothing is left to run of {len(cells)} cells; the first: {cells[0].refused.removesuffix('.')}"
        )
    return cells


def _profiles(matrix: Matrix) -> dict[str, tuple[Profile, str]]:
    found: dict[str, tuple[Profile, str]] = {}
    for guest in matrix.matrix.guests:
        asked = guest if guest_label(guest) == guest else str(matrix.relative(guest))
        with matrix.naming("matrix.guests", ConfigError):
            profile = load_profile(asked)
        with matrix.naming("run.vcpus", UsageError):
            profile = profile.with_vcpus(matrix.run.vcpus)
        if guest_label(guest) in found:
            raise matrix.wrong("matrix.guests", f"two guests are called '{guest_label(guest)}'")
        found[guest_label(guest)] = profile, asked
    return found


def _drivers(matrix: Matrix) -> dict[str, Path | None]:
    found: dict[str, Path | None] = {OWN_DRIVER: None}
    seen: dict[str, str] = {}
    for name, word in matrix.drivers.items():
        path = matrix.relative(word)
        try:
            with matrix.naming(f"drivers.{name}", DriverPackageError):
                load_package(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise matrix.wrong(f"drivers.{name}", f"'{path}' cannot be read: {error.strerror}") from error
        if digest in seen:
            raise matrix.wrong(f"drivers.{name}", f"it is the same file, byte by byte, as '{seen[digest]}'")
        seen[digest] = name
        found[name] = path
    return found


def _must_load(matrix: Matrix, name: str, driver: Path, profile: Profile) -> None:
    """What the guest's loader would refuse in the middle of the night is said before it."""
    with matrix.naming(f"drivers.{name}", DriverPackageError, f"on guest '{profile.name}': "):
        load_package_for(driver, profile.folder)


def require_host(matrix: Matrix, cells: Sequence[Cell]) -> None:
    """Raise ConfigError for what a run could not have on this host: a guest's image, a model of NIC.

    An image that is installed from a medium has to be there, and usable; a night of many hours is no time to miss it.
    """
    to_run = [cell for cell in cells if not cell.refused]
    for nic in {cell.value("nic") for cell in to_run} - {""}:
        with matrix.naming("matrix.nics", UsageError):
            require_nic_model(nic)
    for guest in dict.fromkeys(cell.profile.name for cell in to_run):
        with matrix.naming("matrix.guests", UsageError):
            check_image(guest)


def _select(matrix: Matrix, name: str, root: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The words for pytest, and the scenarios that they select."""
    words = matrix.scenarios.get(name, ())
    if not any(Path(word.split("::")[0]).exists() for word in words if not word.startswith("-")):
        words = (*words, str(root))
    # Colours and headers aside: one scenario a line.
    argv = [sys.executable, "-m", "pytest", "--collect-only", "-q", "--color=no", "-p", "no:cacheprovider", *words]
    done = process.run(argv, deadline=Deadline(_COLLECT_SECONDS), check=False)
    scenarios = tuple(line for line in done.stdout.splitlines() if "::" in line and not line.startswith(" "))
    key = f"scenarios.{name}"
    if done.exit_code == _NONE_COLLECTED or (done.exit_code == 0 and not scenarios):
        raise matrix.wrong(key, f"no scenario is selected by '{' '.join(words)}'")
    if done.exit_code:
        raise matrix.wrong(key, f"pytest refuses '{' '.join(words)}': {_complaint(done.stderr or done.stdout)}")
    return words, scenarios


def _complaint(said: str) -> str:
    """What of pytest's words is the error."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and "usage:" not in line]
    errors = [line for line in lines if "error:" in line.lower() or line.startswith(("ERROR", "E "))]
    return next(iter(errors or lines[-1:]), "it does not say why").removesuffix(".")


def _options(
    matrix: Matrix, axes: Mapping[str, str], guest: str, driver: Path | None, profile: Profile
) -> tuple[str, ...]:
    windows = profile.kind is GuestKind.WINDOWS
    given: list[tuple[str, str | None]] = [
        ("--guest", guest),
        ("--nic", axes["nic"] or None),
        ("--driver", str(driver) if driver else None),
        ("--verifier", axes["verifier"] or None if windows else None),
        ("--firewall", axes["firewall"] or None if windows else None),
        ("--machines", str(matrix.run.machines)),
        ("--vcpus", str(matrix.run.vcpus) if matrix.run.vcpus is not None else None),
        ("--fresh", matrix.run.fresh),
        ("--contract", matrix.run.contract),
    ]
    return tuple(word for option, value in given if value is not None for word in (option, value))


def _refusal(excludes: Sequence[Exclude], axes: Mapping[str, str], profile: Profile) -> str:
    for exclude in excludes:
        if all(getattr(exclude, axis) in (None, axes[axis]) for axis in AXES):
            return f"The matrix excludes it: {exclude.reason}"
    if profile.kind is not GuestKind.WINDOWS:
        if axes["verifier"] not in ("", "off"):
            return _NO_VERIFIER
        if axes["firewall"] == "on":
            return _NO_FIREWALL
    return ""
