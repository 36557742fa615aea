"""What the scenarios for certification share: rules that have the driver at work, and driver.toml if there is one."""

from __future__ import annotations

import pytest

from harness.cert import load_answers


@pytest.fixture
def answers(request):
    """What driver.toml says; None where the run was not given one."""
    path = request.config.getoption("--answers")
    return load_answers(path) if path is not None else None


@pytest.fixture
def put_to_work(scene):
    """Call it to have the driver at work: the reference driver gets rules; any other one has its own, or none.

    `flags` are those of the reference driver's rules: under load its ring has no room for every classify.
    """

    def begin(*, flags=()):
        control = scene.bench.control
        if control is None:
            return
        for family in (4, 6):
            for layer in ("ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT"):
                control.inspect("any", layer=layer, family=family, flags=flags)
            for layer in ("OUTBOUND_TRANSPORT", "INBOUND_TRANSPORT"):
                control.reinject("udp", layer=layer, family=family, flags=flags)
                control.reinject("tcp", layer=layer, family=family, flags=flags)
            control.inspect(
                "icmpv6" if family == 6 else "icmp", layer="OUTBOUND_ICMP_ERROR", family=family, flags=flags
            )
            control.inspect("icmpv6" if family == 6 else "icmp", layer="INBOUND_ICMP_ERROR", family=family, flags=flags)

    return begin


@pytest.fixture
def at_work(put_to_work):
    """The driver is at work from the beginning of the scenario."""
    put_to_work()
