"""A bug from the field: a capture played again, with the guest and its driver in the part of one of its hosts."""

from __future__ import annotations

from harness.reproduce.addresses import LinkAddresses
from harness.reproduce.departures import Departure, Departures
from harness.reproduce.guest_side import GuestSide, ProbeGuest
from harness.reproduce.hosts import GuestRole, find_guest
from harness.reproduce.player import Figures, Timing
from harness.reproduce.replay import Replayed, Settings, foresee, plan_for, replay

__all__ = [
    "Departure", "Departures", "Figures", "GuestRole", "GuestSide", "LinkAddresses", "ProbeGuest", "Replayed",
    "Settings", "Timing", "find_guest", "foresee", "plan_for", "replay",
]  # fmt: skip
