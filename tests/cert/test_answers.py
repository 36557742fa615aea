"""driver.toml: what is wrong with it is said with file, line and key, and what the questions make can be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cert import load_answers
from harness.cert.asking import render_answers, suggest, write_answers
from harness.errors import ConfigError, DriverPackageError, UsageError

ID = "Filter.Driver.Security.NoTDIFilterAndLSP"
ADD = "[commands]\nadd = 'ctl add {action} {match}'\ndelete = 'ctl delete'\n"


def test_a_whole_file_is_read(answers_file, ours):
    answers = load_answers(
        answers_file(f'[attestation]\nby = "J. Doe"\nrequirements = ["{ID}"]\n[done]\n"{ID}" = "yes"\n')
    )
    assert answers.driver_file == ours
    assert answers.inf_file == ours.with_suffix(".inf"), "the one beside the driver"
    assert answers.flags["firewall"]
    assert answers.done == {ID: "yes"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[attestation]\nrequirements = ['Filter.Driver.Nothing']\nby = 'x'\n", "'Filter.Driver.Nothing' is none"),
        (f"[attestation]\nrequirements = ['{ID}']\n", "an attestation has somebody's name under it"),
        ("[done]\n'Filter.Driver.Nothing' = 'x'\n", "'Filter.Driver.Nothing' is none"),
        ("[commands]\nadd = 'ctl add'\ndelete = 'd'\n", "wanted a command with {action} and {match}"),
        (ADD + "address = '%LOCALIP%'\n", "%LOCALIP% is not known; the lab kit puts in"),
        (ADD + "address = '{protocol}'\n", "{protocol} is not known, wanted one of {action}"),
        (ADD + "port = 'a; b'\n", "key 'commands.port' is 'a; b', wanted text that matches"),
        ("[atestation]\n", "Did you mean 'attestation'?"),
    ],
)
def test_what_is_wrong_is_said(answers_file, more, said):
    path = answers_file(more)
    with pytest.raises(ConfigError) as caught:
        load_answers(path)
    assert str(caught.value).startswith(f"'{path}'")
    assert said in str(caught.value)


def test_a_feature_that_is_missing_or_no_yes_or_no_is_named(answers_file):
    with pytest.raises(ConfigError, match=r"line 8: key 'features\.firewall' is 'perhaps'"):
        load_answers(answers_file(firewall='"perhaps"'))
    path = answers_file()
    path.write_text(path.read_text().replace("packet_injection = true\n", ""))
    with pytest.raises(ConfigError, match=r"key 'features\.packet_injection' is missing"):
        load_answers(path)


def test_rules_in_windows_firewall_are_those_of_a_firewall(answers_file):
    with pytest.raises(ConfigError, match=r"layered_on_windows_firewall is true and features\.firewall is not"):
        load_answers(answers_file("layered_on_windows_firewall = true\n", firewall="false"))


def test_without_a_file_the_hint_says_who_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"There is no '.*driver\.toml'") as caught:
        load_answers(tmp_path)
    assert "wfp-hil cert init" in str(caught.value.hint)


def test_the_drivers_file_suggests_answers(ours, tmp_path):
    draft = suggest(ours)
    assert (draft.company, draft.product) == ("wfp-hil", "wfp-hil")
    assert draft.features["packet_injection"]
    assert draft.features["connection_proxying"]
    assert not draft.features["firewall"], "no import says so"
    draft.by = 'J. "D" Doe'
    path = write_answers(draft, tmp_path, force=False)
    read = load_answers(path)
    assert read.driver_file.resolve() == ours.resolve()
    assert read.flags == draft.features
    assert read.attestation.by == "J. 'D' Doe"
    with pytest.raises(UsageError, match="already"):
        write_answers(draft, tmp_path, force=False)
    assert write_answers(draft, tmp_path, force=True) == path


def test_what_is_commented_out_is_right_when_it_is_not(ours, tmp_path):
    text = render_answers(suggest(ours), tmp_path / "driver.toml")
    head, _, commands = text.partition("# [commands]")
    (tmp_path / "driver.toml").write_text(head + ("# [commands]" + commands).replace("\n# ", "\n").removeprefix("# "))
    answers = load_answers(tmp_path)
    assert answers.commands is not None
    assert answers.commands.icmp is not None
    assert answers.done == {ID: "..."}


def test_no_driver_no_answers(tmp_path):
    (tmp_path / "x.sys").write_text("no driver")
    with pytest.raises(DriverPackageError):
        suggest(tmp_path / "x.sys")
