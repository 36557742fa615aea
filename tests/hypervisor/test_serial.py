"""Reading a log that grows."""

from __future__ import annotations

import pytest

from harness.errors import DeadlineExpired, MachineLost
from harness.hypervisor.serial import SerialLog
from harness.waiting import Deadline


def fine() -> None:
    """The machine is well."""


def test_a_text_that_arrives_in_two_parts_is_found(tmp_path):
    log = SerialLog(tmp_path / "serial.log")
    parts = iter([b"boot\nwfp-hil: re", b"ady\n"])

    def grow() -> None:
        with log.path.open("ab") as file:
            file.write(next(parts))

    assert log.wait_for("wfp-hil: ready", Deadline(30), check=grow) == len("boot\nwfp-hil: ready")


def test_only_what_came_after_the_mark_counts(tmp_path):
    log = SerialLog(tmp_path / "serial.log")
    log.path.write_bytes(b"ready\n")

    with pytest.raises(DeadlineExpired, match=r"for 'ready' on the serial port .* \(last seen: 'ready'\)"):
        log.wait_for("ready", Deadline(0), since=log.size(), check=fine)


def test_a_machine_that_breaks_ends_the_wait_at_once(tmp_path):
    def lost() -> None:
        raise MachineLost("gone.")

    with pytest.raises(MachineLost):
        SerialLog(tmp_path / "absent.log").wait_for("ready", Deadline(60), check=lost)


def test_the_last_words_of_a_machine_count_even_when_it_is_gone(tmp_path):
    log = SerialLog(tmp_path / "serial.log")
    log.path.write_bytes(b"bugcheck\n")

    def lost() -> None:
        raise MachineLost("gone.")

    assert log.wait_for("bugcheck", Deadline(60), check=lost) == 8


def test_the_tail_has_the_last_lines_that_say_something(tmp_path):
    log = SerialLog(tmp_path / "serial.log")
    log.path.write_bytes(b"one\n\n  \xff two\r\n\nthree\n")

    assert log.tail(2) == ["\N{REPLACEMENT CHARACTER} two", "three"]
