"""The builds of a driver that a bisection goes over: found, and brought into order."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.driver.version import read_version
from harness.errors import UsageError

_LIST_MOST = 1 << 20
_BUILDS_MOST = 10_000
_DIGITS = re.compile(r"(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """One build; `label` tells it from the others, `order` is what its place goes by."""

    path: Path
    label: str
    order: str = ""
    sha256: str = ""

    def __str__(self) -> str:
        return f"{self.label} ({self.order})" if self.order else self.label


@dataclass(frozen=True, slots=True)
class Series:
    """Builds, oldest first, and by what they are in that order."""

    builds: tuple[Build, ...]
    ordered_by: str


def find_builds(place: Path) -> Series:
    """The builds in a folder, or those that a list names; raises UsageError when there are fewer than two.

    A list has a path a line, oldest first, relative to its own folder; what follows a # is a remark. Of a folder all
    .sys files count, also in the folders in it: by file version where each has another one, else by the time of their
    last change.
    """
    series = _of_folder(place) if place.is_dir() else _of_list(place)
    if len(series.builds) < 2:
        raise UsageError(
            f"'{place}' has {len(series.builds)} build(s) of a driver, a bisection needs two or more.",
            hint="Give a folder of .sys files, or a text file with the path of one a line, oldest first.",
        )
    return series


def _of_list(place: Path) -> Series:
    try:
        with place.open("rb") as file:
            raw = file.read(_LIST_MOST + 1)
        if len(raw) > _LIST_MOST or b"\0" in raw:
            raise UsageError(f"'{place}' is no list of builds: it is not a text of at most {_LIST_MOST >> 20} MiB.")
        lines = raw.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"'{place}' is no list of builds: it is not UTF-8.") from error
    except OSError as error:
        raise UsageError(f"'{place}' cannot be read: {error.strerror}.") from error
    builds = []
    for number, line in enumerate(lines, 1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        path = place.parent / name
        if not path.is_file():
            raise UsageError(f"'{place}' names '{name}' in line {number}, and there is no such file.")
        builds.append(Build(path=path, label=name, sha256=_hash(path)))
    return Series(tuple(builds[:_BUILDS_MOST]), "the list")


def _of_folder(place: Path) -> Series:
    paths = sorted(
        (path for path in place.rglob("*") if path.suffix.lower() == ".sys" and path.is_file()), key=_natural
    )
    if len(paths) > _BUILDS_MOST:
        raise UsageError(f"'{place}' has {len(paths)} drivers, {_BUILDS_MOST} are allowed.")
    said = {path: read_version(path) for path in paths}
    versions = {path: resource.file_version for path, resource in said.items() if resource is not None}
    if len(versions) == len(paths) == len(set(versions.values())):
        paths.sort(key=lambda path: [int(part) for part in versions[path].split(".")])
        return Series(tuple(_build(path, place, f"version {versions[path]}") for path in paths), "file version")
    times = {path: path.stat().st_mtime_ns for path in paths}
    paths.sort(key=lambda path: (times[path], _natural(path)))
    dates = {path: datetime.fromtimestamp(time / 1e9, UTC).isoformat(" ", "seconds") for path, time in times.items()}
    return Series(
        tuple(_build(path, place, dates[path]) for path in paths), "the time of their last change, then by name"
    )


def _build(path: Path, root: Path, order: str) -> Build:
    return Build(path=path, label=str(path.relative_to(root)), order=order, sha256=_hash(path))


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _natural(path: Path) -> list[tuple[int, str]]:
    """So that build10 comes behind build9."""
    return [(int(word), "") if word.isdigit() else (-1, word) for word in _DIGITS.split(str(path).lower()) if word]
