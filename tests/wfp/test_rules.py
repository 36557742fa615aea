"""The catalogue is complete, and each entry says what an entry has to say."""

from __future__ import annotations

import re

import pytest

from harness import wfp
from harness.errors import UsageError
from harness.wfp.data import load
from harness.wfp.layers import all_layers
from harness.wfp.rules import Check, Kind, all_areas, all_rules, find_area, rule, rule_ids, unknown_ids

RULES = tuple(all_rules().values())


def test_ids_go_from_the_first_to_the_last_without_a_gap() -> None:
    assert rule_ids() == tuple(f"W{number:03}" for number in range(1, 306))
    assert len(load("rules")["rules"]) == len(RULES), "an id stands there twice"


def test_no_entry_has_a_member_that_nobody_reads() -> None:
    known = {"id", "area", "kind", "text", "layers", "check", "reason", "sources"}
    assert not {name for entry in load("rules")["rules"] for name in entry} - known


def test_areas_follow_one_another() -> None:
    numbers = [rule.area.number for rule in RULES]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(all_areas()) == set(range(1, 16))


def test_kinds_are_as_many_as_were_read() -> None:
    kinds = [rule.kind for rule in RULES]
    assert {kind: kinds.count(kind) for kind in Kind} == {Kind.DOCUMENTED: 277, Kind.OBSERVED: 5, Kind.CONFLICT: 23}


@pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.id)
def test_an_entry_is_whole(entry: wfp.Rule) -> None:
    assert re.fullmatch(r"\S.{15,}[.].*|\S.{15,}\.", entry.text), "the text is no sentence"
    assert entry.text == " ".join(entry.text.split())
    assert entry.sources
    assert all(source.strip() == source and source for source in entry.sources)
    assert len(set(entry.sources)) == len(entry.sources)
    for pattern in entry.layers:
        assert any(re.fullmatch(pattern.replace("*", ".*").replace("?", "."), name) for name in all_layers()), pattern
    assert (entry.reason is not None) == (entry.check is Check.NONE), "a reason belongs to what is not observable"
    assert entry.reason is None or entry.reason.endswith(".")
    for other in re.findall(r"W\d{3}", entry.text + (entry.reason or "")):
        assert rule(other).observable, f"it leans on {other}, which cannot be observed either"


@pytest.mark.parametrize("entry", RULES, ids=lambda entry: entry.id)
def test_sources_are_pages_or_say_what_else_they_are(entry: wfp.Rule) -> None:
    page = re.compile(r"(network|ddi/fwpsk|ddi/fwpmk|sdk-api|win32|winsock)/[a-z0-9_*-]+\.md")
    other = re.compile(r"(header|observed|samples|ddi/fwpsk): \S.*")
    assert all(page.fullmatch(source) or other.fullmatch(source) for source in entry.sources)
    if entry.kind is Kind.DOCUMENTED:
        assert any(not source.startswith("observed: ") for source in entry.sources)


def test_every_status_in_the_texts_is_one_of_windows_and_has_its_value() -> None:
    """STATUS_X (0x...) in a text is what the table of status codes says."""
    seen = 0
    for entry in RULES:
        for name, value in re.findall(r"(STATUS_[A-Z_]+)(?:,| \()\s*(0x[0-9A-F]{8})", entry.text):
            assert wfp.status_value(name) & 0xFFFFFFFF == int(value, 16), entry.id
            seen += 1
        for name in re.findall(r"\bSTATUS_[A-Z_]+[A-Z]\b", entry.text):
            assert wfp.status_value(name) is not None, f"{entry.id}: {name}"
    assert seen > 25


def test_layers_of_a_rule_are_found_by_pattern() -> None:
    assert rule("W120").layer_names == ("ALE_CONNECT_REDIRECT_V4", "ALE_CONNECT_REDIRECT_V6")
    assert "ALE_AUTH_CONNECT_V4_DISCARD" in rule("W113").layer_names
    assert rule("W002").layer_names == ()


def test_a_wrong_id_comes_with_those_near_it() -> None:
    assert "STATUS_DEVICE_BUSY" in rule("W012").text
    with pytest.raises(UsageError, match="W999") as error:
        rule("W999")
    assert error.value.hint
    with pytest.raises(UsageError, match="W12") as error:
        rule("W12")
    assert "W120" in str(error.value.hint) or "W012" in str(error.value.hint)
    assert unknown_ids(["W001", "W306", "X1"]) == ("W306", "X1")


@pytest.mark.parametrize(
    ("text", "number"), [("6", 6), ("arbitration", 6), ("Objects", 3), ("flow", 10), ("ale", 11), ("context", 10)]
)
def test_an_area_is_found_by_its_number_or_its_name(text: str, number: int) -> None:
    assert find_area(text).number == number


@pytest.mark.parametrize("text", ["16", "pended", "", "arbitrage"])
def test_an_area_that_is_none_or_several_is_an_error(text: str) -> None:
    with pytest.raises(UsageError) as error:
        find_area(text)
    assert "areas: " in str(error.value.hint)
