"""A TCP/IP that is not ready yet, as when a driver is loaded early in the boot."""

from __future__ import annotations

import pytest

from harness.expect import expect
from harness.guest import ProbeError

STATION = "198.51.100.5"
TRANSPORT, NOT_READY = 2, "STATUS_FWP_TCPIP_NOT_READY"


@pytest.fixture
def not_ready(probe):
    """Makes TCP/IP answer so many of the next calls that it is not ready; where that can be had."""

    def later(times):
        try:
            probe.request("model_not_ready", times=times)
        except ProbeError as error:
            pytest.skip(f"Only the reference guest has a TCP/IP that is not ready on request: {error}")

    return later


@pytest.mark.rule("W238")
def test_a_handle_is_to_be_had_when_the_stack_is_ready(driver, not_ready, fence):
    """While TCP/IP is not ready no injection handle is made, and the status says so; later one is."""
    not_ready(2)

    statuses = [driver.lab.injection_create(TRANSPORT).name for _ in range(3)]
    fence()

    expect(" ".join(statuses)).equals(f"{NOT_READY} {NOT_READY} STATUS_SUCCESS")


@pytest.mark.rule("W238")
def test_a_driver_that_is_loaded_early_waits_for_the_stack(driver, service, probe, stations, not_ready, witness, fence):
    """A driver that is started before TCP/IP is ready asks again, and injects as soon as it can."""
    stations.add(STATION).udp(53)
    probe.request("drv_close")
    service.stop()

    not_ready(3)
    service.start()
    driver.reinject("udp", layer="OUTBOUND_TRANSPORT", remote=f"{STATION}:53")
    probe.udp_open().send_to(f"{STATION}:53", b"after all")
    fence()

    expect(witness).one(dst=f"{STATION}:53", payload=b"after all", checksums="right")
