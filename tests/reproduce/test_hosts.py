"""Who the guest is in a capture, and which addresses stand for the others."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

import pytest

from harness.capture import Capture
from harness.errors import UsageError
from harness.reproduce import LinkAddresses, find_guest
from harness.reproduce.addresses import AddressMap
from harness.reproduce.departures import Departures
from harness.traffic.address import pack_address
from tests.reproduce.stories import Story

A, B, C = "10.0.0.5", "198.51.100.7", "203.0.113.9"


def talks(*pairs: tuple[str, str], outgoing_of: str | None = None) -> Story:
    story = Story(outgoing_of=outgoing_of)
    for port, (source, destination) in enumerate(pairs, 1000):
        story.udp((source, port), (destination, 53), b"x")
    return story


def names(story: Story | Capture, *asked: str) -> set[str]:
    capture = story.capture() if isinstance(story, Story) else story
    return {str(pack) for pack in find_guest(capture, asked).addresses}


def packed(*addresses: str) -> set[str]:
    return {str(pack_address(address)) for address in addresses}


def test_the_host_that_captured_is_the_guest() -> None:
    assert names(talks((A, B), (B, A), (C, B), (C, B), outgoing_of=A)) == packed(A)


def test_else_the_host_of_most_conversations_is() -> None:
    assert names(talks((B, A), (A, B), (C, A))) == packed(A)


def test_of_two_hosts_the_private_one_is() -> None:
    assert names(talks((B, A))) == packed(A)


def test_two_public_hosts_have_to_be_told_apart() -> None:
    with pytest.raises(UsageError, match=r"198\.51\.100\.7 \(1\), 203\.0\.113\.9 \(1\).*--guest-address"):
        find_guest(talks((B, C)).capture())


def test_it_is_whom_one_asks_for() -> None:
    assert names(talks((A, B), (A, C)), C) == packed(C)
    with pytest.raises(UsageError, match=r"to or from 192\.0\.2\.1\. .*10\.0\.0\.5"):
        find_guest(talks((A, B)).capture(), ["192.0.2.1"])
    with pytest.raises(UsageError, match="is not an IP address"):
        find_guest(talks((A, B)).capture(), ["guest"])


def test_addresses_of_one_adapter_are_one_host() -> None:
    capture = talks((A, B), (A, C), ("2001:db8:5::5", "2001:db8:6::6"), ("2001:db8:7::7", "2001:db8:8::8")).capture()
    macs = (b"guest1", b"guest1", b"guest1", b"router")
    capture = Capture(tuple(replace(p, source_mac=mac) for p, mac in zip(capture.packets, macs, strict=True)))
    assert names(capture) == packed(A, "2001:db8:5::5")


def test_the_busiest_address_of_the_other_family_is_the_guests_too() -> None:
    six = "2001:db8:5::5"
    assert names(talks((A, B), (A, C), (six, "2001:db8::6"), ("2001:db8::7", six))) == packed(A, six)
    assert names(talks((A, B), (A, C), (six, "2001:db8::6"), ("2001:db8::7", "2001:db8::8"))) == packed(A)


def test_groups_are_nobody() -> None:
    assert names(talks((A, "224.0.0.251"), ("10.0.0.6", "224.0.0.251"), (A, B))) == packed(A)


def test_hosts_keep_their_addresses_where_the_link_lets_them() -> None:
    departures = Departures()
    link = LinkAddresses(pack_address("192.0.2.2"), pack_address("2001:db8::2"), (ip_network("192.0.2.0/24"),))
    table = AddressMap(link, frozenset({pack_address(A)}), departures)
    moved = {name: table.to_link(pack_address(name)) for name in (A, B, "192.0.2.1", "127.0.0.1", "fe80::1", "ff02::1")}
    assert moved[A] == link.guest4
    assert moved[B] == pack_address(B)
    assert moved["ff02::1"] == pack_address("ff02::1")
    assert len({moved["192.0.2.1"], moved["127.0.0.1"], moved["fe80::1"], moved[B]}) == 4
    assert table.to_link(pack_address("192.0.2.1")) == moved["192.0.2.1"]
    assert len(departures.all()) == 3
