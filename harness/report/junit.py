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


def write_junit(path: Path, attempts: Iterable[Attempt], properties: Mapping[str, object]) -> None:
    """Write one test suite: what every scenario came to in its last attempt, and the guest it ran on.

    Earlier attempts are told in the elements that Maven Surefire's schema has for them: flakyError where the last one
    passed, else rerunError.
    """
    attempts = list(attempts)
    latest = last_attempts(attempts)
    suite = etree.Element(
        "testsuite",
        name="wfp-hil",
        tests=str(len(latest)),
        failures=str(sum(attempt.outcome.blames_driver and not attempt.known for attempt in latest)),
        errors=str(sum(attempt.outcome is Outcome.LOST and not attempt.known for attempt in latest)),
        skipped=str(sum(attempt.outcome is Outcome.SKIP or attempt.known != "" for attempt in latest)),
        time=f"{sum(attempt.total_seconds for attempt in latest):.3f}",
    )
    _properties(suite, properties)
    for attempt in latest:
        folder, _, name = attempt.scenario.rpartition("::")
        case = etree.SubElement(
            suite, "testcase", classname=folder.removesuffix(".py").replace("/", "."), name=name,
            time=f"{attempt.total_seconds:.3f}",
        )  # fmt: skip
        broken = "; ".join(attempt.broken_rules(on_purpose=True))
        _properties(
            case,
            {"guest": attempt.guest, "title": attempt.title, "rules": " ".join(attempt.rules), "breaches": broken},
        )
        kind = {Outcome.SKIP: "skipped", Outcome.LOST: "error"}.get(attempt.outcome, "failure")
        if attempt.outcome is not Outcome.PASS:
            message = f"Known: {attempt.known} It was: {attempt.message}" if attempt.known else attempt.message
            kind = "skipped" if attempt.known else kind
            element = etree.SubElement(case, kind, type=str(attempt.outcome), message=_clean(message))
            element.text = _clean(attempt.details or attempt.message)
        for earlier in attempts:
            if earlier.scenario == attempt.scenario and earlier is not attempt:
                _earlier(case, earlier, passed=attempt.outcome is Outcome.PASS)
    root = etree.Element("testsuites")
    root.append(suite)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(etree.tostring(root, xml_declaration=True, encoding="utf-8", pretty_print=True))


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
