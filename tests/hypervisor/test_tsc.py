"""The rate of the time stamp counter, as hosts show it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.hypervisor.tsc import tsc_khz

CPU = """processor\t: 0
model name\t: AMD EPYC
cpu MHz\t\t: {rate}
flags\t\t: fpu {flags}

processor\t: 1
cpu MHz\t\t: 1.000
flags\t\t: tsc hypervisor
"""


@pytest.mark.parametrize(
    ("rate", "flags", "khz"),
    [
        ("2445.430", "tsc msr hypervisor", 2445430),
        ("2445.430", "tsc msr", None),  # a real host: the present clock of one core
        ("2445.430", "msr hypervisor", None),
        ("unknown", "tsc hypervisor", None),
    ],
)
def test_a_virtual_host_shows_it_as_its_clock(tmp_path: Path, rate: str, flags: str, khz: int | None) -> None:
    (tmp_path / "cpuinfo").write_text(CPU.format(rate=rate, flags=flags))

    assert tsc_khz(tmp_path / "cpuinfo", tmp_path / "none") == khz


def test_a_real_host_has_a_base_frequency(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPU.format(rate="800.000", flags="tsc"))
    (tmp_path / "base").write_text("2600000\n")

    assert tsc_khz(tmp_path / "cpuinfo", tmp_path / "base") == 2600000


def test_a_host_that_says_nothing_lets_the_guest_measure(tmp_path: Path) -> None:
    assert tsc_khz(tmp_path / "none", tmp_path / "none") is None
