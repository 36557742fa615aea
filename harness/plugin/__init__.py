"""The pytest plug-in: options, the fixture ladder, outcomes and results of scenarios.

A test is a scenario when it uses one of the fixtures below; sessions without any are left as they are.
Everything heavy is imported when the first scenario needs it.
"""

from __future__ import annotations

import argparse
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.plugin.fixtures import (
    crash,
    driver,
    far,
    fence,
    guest,
    host,
    impair,
    link,
    machine,
    management_in_path,
    probe,
    replay,
    scene,
    second_channel,
    seed,
    service,
    stations,
    trace,
    wfp_bench,
    witness,
)

if TYPE_CHECKING:
    from harness.plugin.run import Run

__all__ = [
    "crash",
    "driver",
    "far",
    "fence",
    "guest",
    "host",
    "impair",
    "link",
    "machine",
    "management_in_path",
    "probe",
    "replay",
    "scene",
    "second_channel",
    "seed",
    "service",
    "stations",
    "trace",
    "wfp_bench",
    "witness",
]

_BODY_SECONDS = 120
_LOOKING_ONLY = ("collectonly", "showfixtures", "show_fixtures_per_test", "setupplan")
NIC_MODELS = ("e1000e", "igb", "rtl8139", "virtio-net-pci")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare what a scenario run can be told."""
    group = parser.getgroup("wfp-hil", "scenarios against a WFP callout driver")
    group.addoption("--guest", default="reference", metavar="NAME", help="folder under vm-images, or a guest.toml")
    group.addoption("--driver", type=Path, metavar="PATH", help="the .sys under test (default: our own callout driver)")
    group.addoption("--nic", choices=NIC_MODELS, help="model of the test NIC (default: the profile's)")
    group.addoption("--vcpus", type=int, metavar="N", help="processors of the guest (default: the profile's)")
    group.addoption(
        "--fresh", choices=("test", "module", "session"), default="test", help="how often the guest is reverted"
    )
    group.addoption(
        "--verifier",
        choices=("off", "standard", "low-resources"),
        help="profile of Driver Verifier for the driver and ndis.sys, in a Windows guest (default: as it is)",
    )
    group.addoption("--firewall", choices=("on", "off"), help="Windows Firewall of a Windows guest (default: as it is)")
    group.addoption(
        "--cold", action="store_true", help="boot the guest, even where its state after an earlier boot was kept"
    )
    group.addoption(
        "--contract",
        choices=("fail", "tell"),
        default="fail",
        help="what a driver that breaks its contract comes to: the scenario fails (default), or it is told alone",
    )
    group.addoption(
        "--examples", type=int, metavar="N", help="how many random sequences are tried (default: a few seconds' worth)"
    )
    group.addoption(
        "--seed",
        type=_seed,
        default=0,
        metavar="N",
        help="what random choices are drawn from: impairments without one of their own, sequences (default: 0)",
    )
    group.addoption(
        "--host-dump", action="store_true", help="after a crash also have QEMU write the guest's whole memory to a file"
    )
    from harness.plugin.replaying import add_options

    add_options(group)
    group.addoption(
        "--requirement",
        action="append",
        default=[],
        metavar="ID",
        help="only scenarios that speak to this requirement of certification; may be given more than once",
    )
    group.addoption("--answers", type=Path, metavar="FILE", help="driver.toml: what the maker of the driver says of it")
    group.addoption("--out", type=Path, metavar="DIR", help="folder for the results (default: out/<run>)")
    group.addoption(
        "--history", metavar="FILE", help="SQLite file of all runs, or 'off' (default: under the user's state folder)"
    )
    group.addoption(
        "--known-issues",
        metavar="FILE",
        help="TOML list of failures that are known (default: known-issues.toml, if it is there)",
    )


def _seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is no seed; wanted a whole number from 0 on")
    return int(text)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Let others bring their own way to a running guest."""
    from harness.plugin import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers."""
    config.addinivalue_line("markers", "rule(*ids): documented WFP behaviour that a scenario shows, such as 'W187'")
    config.addinivalue_line(
        "markers",
        "misuse(*ids): rules that a scenario makes the driver break, such as 'W103'; their report has to come",
    )
    config.addinivalue_line(
        "markers", "quiet(seconds): how long nothing may move in a scenario before the watch-dog ends it (default: 45)"
    )
    config.addinivalue_line("markers", "requirement(*ids): requirements of certification that a scenario speaks to")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep what was asked for by requirement."""
    wanted = config.getoption("--requirement")
    if wanted:
        from harness.cert import requirement
        from harness.plugin.selection import choose_by_requirement

        kept = choose_by_requirement(items, [requirement(name).id for name in wanted])
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin a run, if there is anything to run."""
    from harness.plugin.contract import unknown_misuse
    from harness.plugin.remembering import wrong_known_issues
    from harness.plugin.selection import is_scenario, unknown_rules, wrong_quiet, wrong_requirements

    scenarios = [item for item in session.items if is_scenario(item)]
    wrong = unknown_rules(scenarios) or unknown_misuse(scenarios) or wrong_quiet(scenarios)
    wrong = wrong or wrong_requirements(scenarios)
    if scenarios:
        wrong = wrong or wrong_known_issues(session.config)
    if wrong:
        pytest.exit(wrong, returncode=2)
    if session.config.pluginmanager.hasplugin("timeout"):
        for item in scenarios:
            if item.get_closest_marker("timeout") is None:
                # The first scenario boots the guest in its set-up, which has deadlines of its own.
                item.add_marker(pytest.mark.timeout(_BODY_SECONDS, func_only=True))
    if scenarios and not any(getattr(session.config.option, name, False) for name in _LOOKING_ONLY):
        from harness.plugin.run import Run

        only_scenarios = len(scenarios) == len(session.items)
        if hasattr(session.config, "workerinput"):
            from harness.plugin.worker import begin_in_worker

            begin_in_worker(session.config, only_scenarios=only_scenarios)
        else:
            Run.begin(session.config, only_scenarios=only_scenarios)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """A worker of pytest-xdist is about to be started: it has a machine of its own, and tells us what it does."""
    from harness.plugin.workers import Workers

    Workers.of(node.config).invite(node)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Find out what a phase came to, and write the result down before anybody shows it."""
    report = yield
    run = _run(item.config)
    if run is not None and run.covers(item):
        run.end_phase(item, call, report)
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Outcome of a scenario's report, counted once, shown by the live view only."""
    outcome = dict(getattr(report, "user_properties", ())).get("wfp_outcome")
    if outcome is None:
        return None
    if getattr(report, "outcome", "") == "rerun":
        return "rerun", "", outcome
    if getattr(report, "failed", False):
        return "error" if outcome == "LOST" else "failed", "", outcome
    if getattr(report, "skipped", False):
        return "skipped", "", outcome
    if getattr(report, "when", "") == "teardown" and outcome == "PASS":
        return "passed", "", outcome
    return "", "", ""


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the rest of the results and set the exit code."""
    run = _run(session.config)
    if run is not None:
        session.exitstatus = run.end(int(exitstatus))


def _run(config: pytest.Config) -> Run | None:
    if not config.pluginmanager.hasplugin("wfp-hil-run"):
        return None
    run: Run = config.pluginmanager.getplugin("wfp-hil-run")
    return run
