"""A firewall permits and blocks by each part of the five-tuple, in the variations of the lab kit's own test."""

from __future__ import annotations

import pytest

from harness.cert.wfplogo import Variation, add_command, commands_of, put_in
from harness.expect import expect
from harness.guest import ProbeError

UDP, PORT, REMOTE_PORT = 17, 43990, 45521
OUTBOUND, INBOUND = "ALE_AUTH_CONNECT", "ALE_AUTH_RECV_ACCEPT"


class ReferenceRules:
    """Exceptions by rules of the reference driver; what is permitted is blocked by a lighter rule beneath."""

    def __init__(self, control, family):
        self._control, self._family = control, family
        self._rules = []

    def add(self, variation):
        """Make the exception."""
        layer = INBOUND if variation.inbound else OUTBOUND
        matches = {
            "address": {"remote": self._family.host, "local": self._family.guest},
            "port": {"remote": f":{REMOTE_PORT}", "local": f":{PORT}"},
            "protocol": {},
        }
        match = matches[variation.kind] | {"family": self._family.version}
        if variation.permit:
            self._rules.append(self._control.block("udp", layer=layer, family=self._family.version, weight=2))
            self._rules.append(self._control.permit("udp", layer=layer, weight=12, **match))
        else:
            self._rules.append(self._control.block("udp", layer=layer, weight=12, **match))

    def delete(self):
        """Take it away."""
        while self._rules:
            self._rules.pop().remove()


class ProductCommands:
    """Exceptions by the product's own command line, as WFPLogo.Answer has it."""

    def __init__(self, guest, commands, family, *, is_windows):
        self._guest, self._commands, self._family = guest, commands, family
        self._is_windows = is_windows

    def add(self, variation):
        """Make the exception."""
        if self._commands.match_of(variation.kind) is None:
            pytest.skip(f"driver.toml has no command for '{variation.kind}' under [commands]")
        values = {
            "LOCAL_IP": self._family.guest, "REMOTE_IP": self._family.host, "PROTOCOL": UDP, "LOCAL_PORT": PORT,
            "REMOTE_PORT": REMOTE_PORT, "IS_RAW": 0,
        }  # fmt: skip
        self._run(put_in(add_command(self._commands, variation), values))

    def delete(self):
        """Take it away."""
        self._run(self._commands.delete)

    def _run(self, command):
        code = self._guest.run(command).exit_code
        if code != 0 and not self._is_windows:
            pytest.skip(
                f"the product's command line does not run in this guest: {command.split()[0]} ended with {code}"
            )
        expect(f"'{command}' ended with {code}").equals(f"'{command}' ended with 0")


@pytest.fixture
def exceptions(scene, guest, answers, family):
    """How this product is told of exceptions."""
    commands = commands_of(answers) if answers is not None else None
    is_windows = scene.bench.is_windows
    if commands is not None and answers.commands is None and not is_windows:
        pytest.skip("the product adds its rules to Windows Firewall, and the reference guest has none")
    if commands is not None:
        return ProductCommands(guest, commands, family, is_windows=is_windows)
    if scene.bench.control is None:
        pytest.skip("no command line is known that makes exceptions: [commands] in driver.toml")
    return ReferenceRules(scene.bench.control, family)


def a_datagram_passes(probe, stations, fence, family, *, inbound):
    """Whether one from the guest's socket to the station's, or the other way, arrives."""
    station = stations.add(family.host)
    station.reset()
    remote = station.udp(REMOTE_PORT)
    socket = probe.udp_open(family.end(family.guest, PORT))
    try:
        if inbound:
            remote.send_to(family.guest, PORT, b"in")
            fence()
            return socket.receive_from(seconds=0.1)[0] == b"in"
        socket.send_to(family.end(family.host, REMOTE_PORT), b"out")
        fence()
        return [each.payload for each in remote.received] == [b"out"]
    except ProbeError:  # refused to the program, or nothing to receive
        return False
    finally:
        socket.close()


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.Firewall.Support5TupleExceptions")
@pytest.mark.parametrize("kind", ["address", "port", "protocol"])
def test_datagrams_are_permitted_and_blocked(exceptions, probe, stations, fence, family, kind):
    """By each part of the five-tuple, outbound and inbound, what is permitted passes and what is blocked does not."""
    for inbound in (False, True):
        for permit in (True, False):
            variation = Variation(kind, permit, inbound, family.version)
            exceptions.add(variation)
            passed = a_datagram_passes(probe, stations, fence, family, inbound=inbound)
            exceptions.delete()
            words = ("is stopped", "passes")
            expect(f"{variation}: the datagram {words[passed]}").equals(f"{variation}: the datagram {words[permit]}")


@pytest.mark.requirement("Filter.Driver.WindowsFilteringPlatform.Firewall.Support5TupleExceptions")
def test_echo_requests_are_permitted_and_blocked(driver, stations, witness, fence, family):
    """By the type of ICMP an echo request is permitted, and blocked."""
    station = stations.add(family.host)
    kind = 128 if family.version == 6 else 8

    for permit in (True, False):
        text = b"permitted" if permit else b"blocked"
        add = driver.permit if permit else driver.block
        rule = add(family.icmp, layer=INBOUND, remote=family.end(family.host, 0), local=f":{kind}")
        station.send_echo(family.guest, text)
        fence()
        rule.remove()

    expect(witness).one(direction="from-guest", proto=family.icmp, dst=family.host, contains=b"permitted")
    expect(witness).none(direction="from-guest", proto=family.icmp, dst=family.host, contains=b"blocked")
