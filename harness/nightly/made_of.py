"""What the results of a cell depend on, as digests by part: a finished cell is kept only while none of them changes."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.config import Profile, project_root
from harness.driver.build import drivers_root
from harness.images import wanted_hash

# What a person is told of each part.
PARTS = {
    "profile": "the guest's profile",
    "image": "the guest's image",
    "driver": "the driver",
    "tools": "the harness's own drivers and probe",
    "harness": "the harness",
    "words": "what its run is told",
    "selection": "which scenarios it has",
    "scenarios": "the files of its scenarios",
}
_TEST = re.compile(r"(test_.*|.*_test)\.py")
_CONFIGURED_BY = ("conftest.py", "pyproject.toml", "pytest.ini", "tox.ini", "setup.cfg")
_NOT_SOURCES = {"build", "__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".git", ".venv", "out"}
_BESIDE_A_DRIVER = (".inf", ".cat")
# Of the harness: what only looks at results when a run has ended.
_LOOKS_ON = (Path("nightly"), Path("report", "page"))


class Ingredients:
    """Digests of all that cells are made of; each file is read once."""

    def __init__(self) -> None:
        self._files: dict[Path, str] = {}
        self._trees: dict[Path, str] = {}
        self._images: dict[str, str] = {}

    def of(
        self,
        *,
        profile: Profile,
        driver: Path | None,
        options: Sequence[str],
        words: Sequence[str],
        scenarios: Sequence[str],
    ) -> dict[str, str]:
        """The digest of each part; '' where it cannot be told.

        `driver` is None for the harness's own, `options` are the matrix's words for the run, `words` the selection's.
        """
        return {
            "profile": _digest(profile.model_dump_json()),
            "image": self._image(profile.name),
            **({"driver": self._driver(driver)} if driver is not None else {}),
            "tools": self._tree(drivers_root()),
            "harness": self._tree(project_root() / "harness", leave=_LOOKS_ON),
            "words": _digest(json.dumps([*options, *words])),
            "selection": _digest(json.dumps(list(scenarios))),
            "scenarios": self._scenarios(words, scenarios),
        }

    def _image(self, name: str) -> str:
        if name not in self._images:
            self._images[name] = wanted_hash(name)
        return self._images[name]

    def _driver(self, driver: Path) -> str:
        beside = (driver.with_suffix(suffix) for suffix in _BESIDE_A_DRIVER)
        return self._together(driver.parent, [driver, *(path for path in beside if path.is_file())])

    def _scenarios(self, words: Sequence[str], scenarios: Sequence[str]) -> str:
        """Over the files that hold them, what lies beside these, conftest.py above, and files that the words name."""
        files = {Path(each) for word in words for each in (word, word.partition("=")[2]) if each and _is_file(each)}
        for name in dict.fromkeys(scenario.partition("::")[0] for scenario in scenarios):
            base = next((base for base in _bases(words) if (base / name).is_file()), None)
            if base is None:
                return ""
            path = base / name
            files |= {path, *_data_below(path.parent)}
            for folder in path.parent.parents:
                if not folder.is_relative_to(base):
                    break
                files |= {folder / each for each in _CONFIGURED_BY if (folder / each).is_file()}
                if folder != base:
                    files |= {each for each in folder.iterdir() if _is_source(each) and not _TEST.fullmatch(each.name)}
        return self._together(Path.cwd(), files)

    def _tree(self, root: Path, leave: Sequence[Path] = ()) -> str:
        if root not in self._trees:
            left_out = [root / each for each in leave]
            files = (path for path in _sources(root) if not any(path.is_relative_to(each) for each in left_out))
            self._trees[root] = self._together(root, files)
        return self._trees[root]

    def _together(self, root: Path, files: Iterable[Path]) -> str:
        """Over names and contents of files; '' when one cannot be read."""
        told = []
        for path in sorted(files):
            try:
                told.append((os.path.relpath(path, root), self._file(path)))
            except OSError:
                return ""
        return _digest(json.dumps(told))

    def _file(self, path: Path) -> str:
        if path not in self._files:
            self._files[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self._files[path]


def why_again(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Why a cell that was made of `before` has to be run again; '' where nothing of it has changed."""
    if not before:
        return "an earlier wfp-hil ran it, and did not write down what it was made of"
    unknown = [part for part in now if not now[part]]
    changed = [part for part in PARTS if part not in unknown and before.get(part) != now.get(part)]
    said = [f"changed since: {', '.join(PARTS[part] for part in changed)}"] * bool(changed)
    said += [f"cannot be compared: {', '.join(PARTS[part] for part in unknown)}"] * bool(unknown)
    return "; ".join(said)


def _bases(words: Sequence[str]) -> Iterator[Path]:
    """Where names of scenarios may begin: pytest's root is this folder, one above it, or above what was asked for."""
    asked = [Path(word.partition("::")[0]).absolute() for word in words if not word.startswith("-")]
    for place in (Path.cwd(), *(path for path in asked if path.exists())):
        yield from (place, *place.parents)


def _data_below(folder: Path) -> Iterator[Path]:
    return (path for path in _sources(folder) if not _TEST.fullmatch(path.name))


def _sources(root: Path) -> Iterator[Path]:
    """All files below that a person has written for a program."""
    for path in root.iterdir():
        if path.is_dir():
            if path.name not in _NOT_SOURCES:
                yield from _sources(path)
        elif _is_source(path):
            yield path


def _is_source(path: Path) -> bool:
    return path.is_file() and path.suffix not in (".pyc", ".md")


def _is_file(word: str) -> bool:
    try:
        return Path(word).is_file()
    except OSError:  # words of pytest may be longer than a name can be
        return False


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
