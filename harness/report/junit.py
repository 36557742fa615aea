"""JUnit for CI systems, made from the attempts; what CI cannot tell apart stands in the type and the message."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from lxml import etree

from harness.report.outcome import Outcome
from harness.report.results import Attempt, last_attempts

# XML 1.0 has no place for these, not even escaped.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


Suite = tuple[str, Iterable[Attempt], Mapping[str, object], str]
"""Name, attempts, properties, and why it did not come to its end: '' if it did."""


def write_junit(path: Path, attempts: Iterable[Attempt], properties: Mapping[str, object]) -> None:
    """Write one test suite: what every scenario came to in its last attempt, and the guest it ran on.

    Earlier attempts are told in the elements that Maven Surefire's schema has for them: flakyError where the last one
    passed, else rerunError.
    """
    write_suites(path, [("wfp-hil", attempts, properties, "")])


def write_suites(path: Path, suites: Iterable[Suite]) -> None:
    """Write several test suites into one file, as the cells of a night are.

    One that did not come to its end has a test case that says why, as an error; one of which nothing ran is skipped.
    """
    root = etree.Element("testsuites")
    for name, attempts, properties, trouble in suites:
        root.append(_suite(name, list(attempts), properties, trouble))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True))


def _suite(name: str, attempts: list[Attempt], properties: Mapping[str, object], trouble: str) -> etree._Element:
    latest = last_attempts(attempts)
    errors = sum(attempt.outcome is Outcome.LOST and not attempt.known for attempt in latest)
    skipped = sum(attempt.outcome is Outcome.SKIP or attempt.known != "" for attempt in latest)
    refused = trouble != "" and properties.get("refused") is True
    suite = etree.Element(
        "testsuite",
        name=name,
        tests=str(len(latest) + (trouble != "")),
        failures=str(sum(attempt.outcome.blames_driver and not attempt.known for attempt in latest)),
        errors=str(errors + (trouble != "" and not refused)),
        skipped=str(skipped + refused),
        time=f"{sum(attempt.total_seconds for attempt in latest):.3f}",
    )
    _properties(suite, properties)
    if trouble:
        case = etree.SubElement(suite, "testcase", classname=name, name="the run as a whole", time="0.000")
        kind, outcome = ("skipped", Outcome.SKIP) if refused else ("error", Outcome.LOST)
        etree.SubElement(case, kind, type=str(outcome), message=_clean(trouble)).text = _clean(trouble)
    for attempt in latest:
        _case(suite, attempt, [each for each in attempts if each.scenario == attempt.scenario and each is not attempt])
    return suite


def _case(suite: etree._Element, attempt: Attempt, earlier: Iterable[Attempt]) -> None:
    folder, _, name = attempt.scenario.rpartition("::")
    case = etree.SubElement(
        suite, "testcase", classname=folder.removesuffix(".py").replace("/", "."), name=name,
        time=f"{attempt.total_seconds:.3f}",
    )  # fmt: skip
    broken = "; ".join(attempt.broken_rules(on_purpose=True))
    _properties(
        case,
        {
            "guest": attempt.guest, "title": attempt.title, "rules": " ".join(attempt.rules), "breaches": broken,
            "seed": attempt.seed,
        },
    )  # fmt: skip
    kind = {Outcome.SKIP: "skipped", Outcome.LOST: "error"}.get(attempt.outcome, "failure")
    if attempt.outcome is not Outcome.PASS:
        message = f"Known: {attempt.known} It was: {attempt.message}" if attempt.known else attempt.message
        kind = "skipped" if attempt.known else kind
        element = etree.SubElement(case, kind, type=str(attempt.outcome), message=_clean(message))
        element.text = _clean(attempt.details or attempt.message)
    for each in earlier:
        _earlier(case, each, passed=attempt.outcome is Outcome.PASS)


def _earlier(case: etree._Element, attempt: Attempt, *, passed: bool) -> None:
    kind = ("flaky" if passed else "rerun") + ("Failure" if attempt.outcome.blames_driver else "Error")
    element = etree.SubElement(case, kind, type=str(attempt.outcome), message=_clean(attempt.message))
    etree.SubElement(element, "stackTrace").text = _clean(attempt.details or attempt.message)


def _properties(parent: etree._Element, properties: Mapping[str, object]) -> None:
    holder = etree.SubElement(parent, "properties")
    for name, value in properties.items():
        if value not in ("", None):
            etree.SubElement(holder, "property", name=name, value=_clean(str(value)))


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", text)
