"""The certification report: one HTML file with the evidence of each requirement and what remains to be done by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from harness.cert.answers import Answers
from harness.cert.evidence import Evidence, Seen
from harness.cert.readiness import Finding
from harness.cert.requirements import requirement
from harness.cert.standing import Standing, State
from harness.cert.steps import steps_by_hand
from harness.cert.table import checked_by, concern, told
from harness.cert.wfplogo import missing_kinds, render_answer, render_info
from harness.errors import HostError

__all__ = ["render_page", "write_page"]

# The classes of the run report's style sheet, by which each state is coloured.
_COLOURS = {
    State.FAILING: "FAIL",
    State.OPEN: "HANG",
    State.LOOK: "HANG",
    State.CLEAN: "CLEAN",
    State.REHEARSED: "REHEARSED",
    State.SEEN: "PASS",
    State.SETTLED: "PASS",
    State.NOT_ASKED: "SKIP",
}
_FILES = ("timeline.txt", "frames.pcapng", "events.jsonl", "serial.log", "wfp-state.xml", "crash.json")


def write_page(
    target: Path, answers: Answers, evidence: Evidence, findings: Sequence[Finding], standings: Sequence[Standing]
) -> Path:
    """Write the page; its path. Raises HostError when it cannot be written."""
    text = render_page(answers, evidence, findings, standings, links_from=target.absolute().parent)
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(f"The report '{target}' cannot be written: {error.strerror}.") from error
    return target


def render_page(
    answers: Answers,
    evidence: Evidence,
    findings: Sequence[Finding],
    standings: Sequence[Standing],
    *,
    links_from: Path,
) -> str:
    """The page as text; links to records and to the reports of runs are relative to `links_from`."""
    counts = Counter(each.state for each in standings)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(
        concern=concern,
        told=told,
        checked_by=checked_by,
        links=lambda seen: _links(seen, links_from),
        when=_when,
        colour=lambda state: _COLOURS[state],
        short=lambda name: requirement(name).short,
    )
    return environment.from_string(files(__name__).joinpath("cert.html.j2").read_text(encoding="utf-8")).render(
        answers=answers,
        digest=sha256(answers.driver_file.read_bytes()).hexdigest(),
        features=[(name.replace("_", " "), value) for name, value in answers.flags.items()],
        counts=[(state, counts[state]) for state in State if counts[state]],
        total=len(standings),
        asked=len(standings) - counts[State.NOT_ASKED],
        groups=[(name, list(found)) for name, found in groupby(standings, key=lambda each: each.requirement.group)],
        findings=findings,
        steps=steps_by_hand(answers, standings),
        other_builds=evidence.other_builds,
        gone=evidence.gone,
        guests=sorted({f"{each.guest} ({each.where})" for each in evidence.seen}),
        missing=missing_kinds(answers),
        info=render_info(answers).replace("\r\n", "\n"),
        answer=render_answer(answers).replace("\r\n", "\n"),
        style=files("harness.report.page").joinpath("report.css").read_text(encoding="utf-8")
        + files(__name__).joinpath("cert.css").read_text(encoding="utf-8"),
    )


def _links(seen: Seen, start: Path) -> list[tuple[str, str]]:
    found = (
        [(_link(seen.run / "report.html", start), "report of the run")] if (seen.run / "report.html").is_file() else []
    )
    if seen.folder is not None:
        found += [(_link(seen.folder / name, start), name) for name in _FILES if (seen.folder / name).is_file()]
    return found


def _when(seen: Seen) -> str:
    try:
        return f"{datetime.fromisoformat(seen.started).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return seen.started


def _link(path: Path, start: Path) -> str:
    try:
        return path.resolve().relative_to(start.resolve()).as_posix()
    except ValueError:
        return path.resolve().as_uri()
