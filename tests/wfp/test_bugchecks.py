from __future__ import annotations

import pytest

from harness.wfp.bugchecks import bugcheck_code, bugcheck_name, bugcheck_names


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0xD1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL"),
        (0x139, "KERNEL_SECURITY_CHECK_FAILURE"),
        (0x1000007E, "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M"),
        (0x100000D1, "DRIVER_IRQL_NOT_LESS_OR_EQUAL_M"),
    ],
)
def test_codes_and_names_lead_to_each_other(code: int, name: str) -> None:
    assert bugcheck_name(code) == name
    assert bugcheck_code(name.lower()) == code


def test_what_is_not_known_has_no_name() -> None:
    assert bugcheck_name(0x12345) == ""
    assert bugcheck_name(0x200000D1) == ""
    assert bugcheck_code("NO_SUCH_THING") is None


def test_no_name_is_told_of_two_codes() -> None:
    assert len(set(bugcheck_names())) == len(bugcheck_names())
