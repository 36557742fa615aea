"""A driver that cuts the network that the harness itself comes in by, and the way that is left."""

from __future__ import annotations

from harness.driver.interface import LabOp
from harness.errors import DeadlineExpired
from harness.expect import expect
from harness.waiting import Deadline, NotYet, wait_for

LAYERS = (
    "INBOUND_IPPACKET_V4",
    "OUTBOUND_IPPACKET_V4",
    "INBOUND_TRANSPORT_V4",
    "OUTBOUND_TRANSPORT_V4",
    "ALE_AUTH_CONNECT_V4",
    "ALE_AUTH_RECV_ACCEPT_V4",
)


def _is_silent(guest):
    guest.cut()
    try:
        guest.wait_until_ready(Deadline(6))
    except DeadlineExpired:
        return True
    raise NotYet("it still answers")


def test_a_driver_that_blocks_everything_is_unloaded_over_the_second_channel(
    driver, guest, service, second_channel, management_in_path
):
    """A driver that blocks every packet, management included, is unloaded over the serial port; then WinRM is back."""
    booted = second_channel.hello(Deadline(20)).boot_id
    driver.lab.transaction_begin()
    for layer in LAYERS:
        driver.lab.filter_add(layer, "BLOCK")
    driver.lab.send(LabOp.TXN_COMMIT)

    wait_for(lambda: _is_silent(guest), Deadline(60), "WinRM to fall silent")  # nobody can tell us of the commit
    alive = second_channel.hello(Deadline(20))
    stopped = second_channel.stop_service(service.name, Deadline(60))
    guest.wait_until_ready(Deadline(60))

    expect(alive.boot_id).equals(booted)
    expect(str(f"{service.name}.sys" in alive.drivers)).equals("True")
    expect(str(stopped)).equals("True")
    expect(guest.boot_id()).equals(booted)
    expect(service.state().value).equals("STOPPED")
