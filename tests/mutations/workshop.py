"""The model's sources with a fault in them, and what is built from those."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.driver.contract import read_breaches
from tests.building import build, nobody_builds

ROOT = Path(__file__).parents[2]
MODEL = Path("vm-images/reference/model")
SECONDS = 300  # the checks take 2 on a quiet host; on a busy one a fault late in them was cut off, and unseen, after 60


@dataclass(frozen=True, slots=True)
class Mutation:
    """One fault: where it is, and the rules whose checks it must break."""

    rules: tuple[str, ...]
    what: str
    file: str
    find: str
    replace: str
    sample: bool = False  # part of an ordinary test run
    oracle: bool = False  # the specification must find it, too
    driver: str = ""  # of the checker of drivers: the one of tests/bad_drivers that shows it, "bad-..." or "good-..."

    @property
    def name(self) -> str:
        return f"{'-'.join(self.rules)}-{re.sub(r'[^a-z0-9]+', '-', self.what.lower())}"


def read_mutations() -> list[Mutation]:
    entries = tomllib.loads((Path(__file__).parent / "mutations.toml").read_text())["mutation"]
    return [Mutation(**entry | {"rules": tuple(entry["rules"])}) for entry in entries]


class Workshop:
    """A copy of the model and its checks, built once; a fault costs one file and the link."""

    def __init__(self, folder: Path, wine: Any) -> None:
        self.folder, self.wine = folder, wine
        with nobody_builds(ROOT / MODEL):  # what is half written would be copied as if it were done
            for part in (MODEL, Path("tests/model"), Path("tests/bad_drivers"), Path("drivers/include")):
                shutil.copytree(ROOT / part, folder / part)

    def built(self, name: str) -> Path:
        """A program of the model's Makefile, from the sources as they are now."""
        build(self.folder / MODEL, f"build/{name}")
        return self.folder / MODEL / "build" / name

    def failed(self) -> set[str]:
        """Rules with an engine check that does not hold."""
        program = self.built("engine_test.exe")
        out = self.folder / "output.txt"
        # A wrong engine may well stand still; what failed before that counts.
        with out.open("w") as stream, contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                [self.wine.program, program],
                stdout=stream,
                stderr=subprocess.DEVNULL,
                timeout=SECONDS,
                check=False,
                env=self.wine.environment,
            )
        lines = out.read_text(errors="replace").splitlines()
        names = [found[1] for line in lines if (found := re.match(r"FAILED ((?:W\d+ )+)", line))]
        assert lines, "the checks did not run"
        return {name for words in names for name in words.split()}

    def told(self, driver: str) -> set[str]:
        """Rules that a driver of tests/bad_drivers is reported by."""
        build(self.folder / MODEL, "bad")
        rig, console = self.folder / MODEL / "build" / "bad", self.folder / "console.txt"
        console.write_text("")
        overrides = self.wine.environment["WINEDLLOVERRIDES"] + ";fwpkclnt.sys,ndis.sys=n"
        environment = self.wine.environment | {"WINEDLLOVERRIDES": overrides, "WFP_MODEL_CONSOLE": str(console)}
        command = [self.wine.program, rig / "bad_rig.exe", driver]
        subprocess.run(command, cwd=rig, capture_output=True, timeout=SECONDS, check=True, env=environment)
        return {breach.rule for breach in read_breaches(console)[0]}

    @contextlib.contextmanager
    def fault(self, mutation: Mutation) -> Iterator[None]:
        """The sources have the fault."""
        source = self.folder / MODEL / "src" / mutation.file
        original = source.read_text()
        source.write_text(original.replace(mutation.find, mutation.replace))
        try:
            yield
        finally:
            source.write_text(original)
