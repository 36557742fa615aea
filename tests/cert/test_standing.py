"""Where a driver stands by what has run: a pass in the reference guest is never one on Windows."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from harness.cert import load_answers, requirement
from harness.cert.evidence import Evidence, Planned, Where, gather_evidence
from harness.cert.page import render_page, write_page
from harness.cert.readiness import Finding
from harness.cert.standing import State, stand
from harness.cert.steps import steps_by_hand
from harness.cert.table import checked_by, show_findings, show_one, show_standings, show_steps, tried_by
from harness.errors import UsageError
from harness.report import Outcome

CLEAN = requirement("ArchitecturalDesign.CleanUninstall").id
STREAM = requirement("ArchitecturalDesign.StreamInjection.NoStreamStarvation").id
TDI = requirement("Security.NoTDIFilterAndLSP").id


@pytest.fixture
def gather(tmp_path, ours):
    """Read these runs; the scenarios of this project are not collected."""

    def read(*runs, planned=()):
        seen = gather_evidence(tmp_path, ours, runs, [tmp_path], named=True)
        return Evidence(seen=seen.seen, planned=tuple(planned), other_builds=seen.other_builds)

    return read


def state_of(answers, evidence, findings=(), name=CLEAN):
    return next(each for each in stand(answers, evidence, list(findings)) if each.requirement.id == name)


def result(outcome="PASS", **more):
    return {"outcome": outcome, "requirements": [CLEAN], **more}


def test_nothing_is_known_at_first(answers, gather):
    assert state_of(answers, gather()).state is State.OPEN
    assert state_of(answers, gather(), name=STREAM).state is State.NOT_ASKED
    assert state_of(answers, gather(), name=TDI).state is State.CLEAN


def test_a_pass_in_the_reference_guest_is_a_rehearsal(answers, gather, a_run):
    standing = state_of(answers, gather(a_run(result())))
    assert standing.state is State.REHEARSED
    assert standing.summary == "reference guest: 1 PASS"


def test_only_when_all_has_passed_on_windows_it_was_seen_there(answers, gather, a_run):
    here = a_run(result(scenario="a"), result(scenario="b"), name="here")
    part = a_run(result(scenario="a", guest="w11"), name="part", guest_kind="windows")
    rest = a_run(result(scenario="b", guest="w11"), name="rest", guest_kind="windows")
    assert state_of(answers, gather(here, part)).state is State.REHEARSED
    assert state_of(answers, gather(here, part, rest)).state is State.SEEN
    waiting = [Planned(scenario="c", requirements=(CLEAN,), title="")]
    assert state_of(answers, gather(here, part, rest, planned=waiting)).state is State.REHEARSED


@pytest.mark.parametrize("outcome", ["FAIL", "CRASH", "HANG"])
def test_what_fails_anywhere_fails(answers, gather, a_run, outcome):
    windows = a_run(result(guest="w11"), name="w", guest_kind="windows")
    assert state_of(answers, gather(windows, a_run(result(outcome)))).state is State.FAILING


@pytest.mark.parametrize("outcome", ["SKIP", "LOST"])
def test_what_came_to_no_result_leaves_it_open(answers, gather, a_run, outcome):
    assert state_of(answers, gather(a_run(result(outcome)))).state is State.OPEN


def test_the_last_attempt_on_a_guest_counts(answers, gather, a_run):
    old = a_run(result("FAIL", started="2026-01-01"), name="old")
    new = a_run(result("PASS", started="2026-01-02"), name="new")
    for runs in ((old, new), (new, old)):
        assert [each.outcome for each in gather(*runs).seen] == [Outcome.PASS]


def test_results_of_another_build_do_not_count(answers, gather, a_run, tmp_path):
    (tmp_path / "other.sys").write_bytes(b"another build")
    evidence = gather(a_run(result(), driver=tmp_path / "other.sys"))
    assert (evidence.seen, evidence.other_builds) == ((), 1)
    assert state_of(answers, evidence).state is State.OPEN


def test_a_run_from_before_the_kind_was_told_is_known_by_its_guest(gather, a_run):
    (seen,) = gather(a_run(result(guest="windows-11"), guest_kind="")).seen
    assert seen.where is Where.WINDOWS
    (seen,) = gather(a_run(result(guest="nobody-knows"), name="b", guest_kind="")).seen
    assert seen.where is Where.UNKNOWN


def test_results_of_scenarios_that_are_gone_do_not_count(tmp_path, ours, a_run):
    (tmp_path / "test_mine.py").write_text(
        f"import pytest\n\n@pytest.mark.requirement('{CLEAN}')\ndef test_there(probe):\n    'It is there.'\n"
    )
    there, gone, elsewhere = "test_mine.py::test_there", "test_mine.py::test_renamed", "other.py::test_of_others"
    run = a_run(*(result(scenario=name) for name in (there, gone, elsewhere)))
    evidence = gather_evidence(tmp_path, ours, [run], [tmp_path / "test_mine.py"], named=True)
    assert {each.scenario for each in evidence.seen} == {there, elsewhere}
    assert evidence.gone == 1


def test_what_was_skipped_everywhere_is_told_and_to_be_tried_by_hand(answers, gather, a_run):
    first = a_run(result("SKIP", scenario="a", message="no \x1b[2Jcable"), result(scenario="b"), name="first")
    standing = state_of(answers, gather(first))
    assert checked_by(standing) == "2 scenarios, in part (1 skipped); HLK; attestation"
    step = next(each for each in steps_by_hand(answers, [standing]) if each.requirements and "leave out" in each.title)
    assert step.words[1] == "ArchitecturalDesign.CleanUninstall: 1 of 2 scenarios: no \\x1b[2Jcable"
    windows = a_run(result(scenario="a", guest="w11"), name="windows", guest_kind="windows")
    standing = state_of(answers, gather(first, windows))
    assert checked_by(standing).startswith("2 scenarios, in part;")
    assert not any("leave out" in each.title for each in steps_by_hand(answers, [standing]))
    alone = state_of(answers, gather(a_run(result("SKIP"), name="alone")))
    assert tried_by(alone) == "1 scenario, in part (all skipped)"
    assert alone.state is State.OPEN


def test_records_of_a_run_cannot_point_out_of_it(gather, a_run):
    run = a_run(result(folder="/etc"), result(scenario="b", folder=".."))
    (run / "scenarios").mkdir()
    assert [each.folder for each in gather(run).seen] == [None, None]


def test_a_folder_without_results_is_refused_where_it_was_named(gather, tmp_path):
    with pytest.raises(UsageError, match="There are no results in"):
        gather(tmp_path / "nothing")


def test_findings_and_words_of_a_person_decide_too(answers_file, gather, a_run):
    answers = load_answers(answers_file(f'[done]\n"{CLEAN}" = "J. Doe, HLK 26100"\n'))
    finding = Finding(requirement=CLEAN, breaks=False, text="T.", instead="I.", source="https://x")
    breaking = Finding(requirement=CLEAN, breaks=True, text="T.", instead="I.", source="https://x")
    assert state_of(answers, gather()).state is State.SETTLED
    assert state_of(answers, gather(), [breaking]).state is State.FAILING, "nobody's word mends it"
    assert state_of(load_answers(answers_file()), gather(a_run(result())), [finding]).state is State.LOOK


def test_steps_come_in_order_and_end_with_what_is_settled(answers, gather, a_run):
    finding = Finding(requirement=TDI, breaks=True, text="It is a TDI filter.", instead="Do not.", source="https://x")
    planned = [Planned(scenario="c", requirements=(CLEAN,), title="")]
    evidence = gather(a_run(result("FAIL", scenario="a"), result(scenario="b")), planned=planned)
    steps = steps_by_hand(answers, stand(answers, evidence, [finding]))
    titles = [step.title for step in steps]
    assert titles[:5] == ["Mend what fails", "Run the scenarios", "Run them on Windows", "Try by hand", "Attest"]
    assert titles[5] == "Prepare the test machine"
    assert titles[-2:] == ["HLK: WindowsFilteringPlatform_Tests", "Submit"]
    assert "Security.NoTDIFilterAndLSP: It is a TDI filter. Do not." in steps[0].words
    assert "ArchitecturalDesign.CleanUninstall: FAIL on reference: a" in steps[0].words
    assert "the 1 scenarios" in steps[1].words[0]
    assert any("UseAnswerFile = 0" in words for words in steps[5].words)
    assert all(STREAM not in step.requirements for step in steps), "it is not asked of this driver"


def test_when_all_is_settled_only_attesting_is_left(answers_file, gather):
    from harness.cert import all_requirements

    done = "[done]\n" + "".join(f'"{name}" = "yes"\n' for name in all_requirements())
    answers = load_answers(answers_file(done))
    assert [step.title for step in steps_by_hand(answers, stand(answers, gather(), []))] == ["Attest"]


def test_the_page_has_it_all_and_says_what_a_pass_is_worth(answers, gather, a_run, tmp_path):
    run = a_run(
        result(title="<b>nothing</b> is left", folder="x"), result("FAIL", scenario="b", message="it <did> not")
    )
    (run / "scenarios" / "x").mkdir(parents=True)
    (run / "scenarios" / "x" / "timeline.txt").write_text("")
    finding = Finding(requirement=TDI, breaks=True, text="T.", instead="I.", source="https://x")
    evidence = gather(run)
    standings = stand(answers, evidence, [finding])
    text = render_page(answers, evidence, [finding], standings, links_from=tmp_path)
    assert "is no pass on Windows" in text
    assert "&lt;b&gt;nothing&lt;/b&gt; is left" in text
    assert "it &lt;did&gt; not" in text
    assert 'href="run/scenarios/x/timeline.txt"' in text
    assert text.count('<details class="requirement"') == 47
    assert "CompanyName = &#34;wfp-hil&#34;;" in text
    assert not re.search(r"<(script|link|img|iframe)|@import|url\(", text), "it loads nothing from anywhere"
    assert write_page(tmp_path / "r.html", answers, evidence, [finding], standings).read_text() == text


def test_tables_show_every_requirement(answers, gather, a_run):
    evidence = gather(a_run(result()), planned=[Planned(scenario="c", requirements=(CLEAN,), title="")])
    finding = Finding(requirement=TDI, breaks=True, text="T.", instead="I.", source="https://x")
    standings = stand(answers, evidence, [finding])
    out = io.StringIO()
    console = Console(file=out, width=200, highlight=False)
    show_standings(console, standings, evidence)
    text = out.getvalue()
    assert all(each.requirement.short.rpartition(".")[2] in text for each in standings)
    assert "reference guest: 1 PASS; 1 not run" in text
    assert "it is no pass on Windows" in text
    narrow = io.StringIO()
    show_standings(Console(file=narrow, width=80, highlight=False), standings, evidence)
    assert re.search(r"^ CleanUninstall +rehearsed +reference guest: 1 PASS; *$", narrow.getvalue(), re.MULTILINE)
    assert " AppContainers.SupportModernApplications " in narrow.getvalue()
    assert re.search(r"not asked +not firewall", narrow.getvalue())
    assert "in part" not in narrow.getvalue()
    show_one(console, standings[1])
    show_findings(console, [finding])
    show_findings(console, [])
    show_steps(console, steps_by_hand(answers, standings))
    assert f"endangers {TDI}" in out.getvalue()
    assert "1. Mend what fails" in out.getvalue()
