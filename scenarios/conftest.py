"""What scenarios of several folders share: the two address families."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from harness.link.headers import endpoint_text


@dataclass(frozen=True)
class Family:
    """Addresses of one family: the guest's own, and two hosts behind the gateway."""

    version: int
    guest: str
    loopback: str
    host: str
    other_host: str

    def layer(self, name: str) -> str:
        """A layer's name in this family."""
        return f"{name}_V{self.version}"

    def end(self, address: str, port: int) -> str:
        """An address with a port, as the probe and the expectations write it."""
        return endpoint_text(address, port)

    @property
    def icmp(self) -> str:
        """The family's ICMP."""
        return "icmpv6" if self.version == 6 else "icmp"


_FAMILIES = (
    Family(4, "192.0.2.2", "127.0.0.1", "198.51.100.5", "198.51.100.9"),
    Family(6, "2001:db8::2", "::1", "2001:db8:99::5", "2001:db8:99::9"),
)


@pytest.fixture(params=_FAMILIES, ids=lambda family: f"ipv{family.version}")
def family(request: pytest.FixtureRequest) -> Family:
    """Runs the scenario once over IPv4 and once over IPv6."""
    found: Family = request.param
    return found


@pytest.fixture
def ipv6() -> Family:
    """IPv6 alone."""
    return _FAMILIES[1]
