"""One replay of a capture on a link: finds the guest in it, plans, plays, and says where it had to depart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.capture import Capture
from harness.errors import CaptureError
from harness.link import Link
from harness.link.headers import address_text
from harness.reproduce.addresses import AddressMap, LinkAddresses
from harness.reproduce.departures import Departure, Departures
from harness.reproduce.guest_side import GuestSide
from harness.reproduce.hosts import GuestRole, find_guest
from harness.reproduce.plan import Plan, make_plan
from harness.reproduce.player import Figures, Player, Timing
from harness.traffic import Stations


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a capture is replayed: which addresses in it are the guest's (inferred where none is given), and how fast.

    `patience` is how many seconds the guest is waited for that does not do what it did in the capture.
    """

    guest_addresses: tuple[str, ...] = ()
    timing: Timing = Timing.FAST
    patience: float = 5.0
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay came to, as a replay: nothing here says whether the driver did well."""

    figures: Figures
    role: GuestRole
    departures: tuple[Departure, ...]


def plan_for(
    capture: Capture, addresses: LinkAddresses, settings: Settings, departures: Departures
) -> tuple[Plan, AddressMap, GuestRole]:
    """The plan for a capture, which guest it has, and who is who on the link.

    Raises UsageError when it cannot be told which host the guest is, CaptureError when there is nothing to replay.
    """
    role = find_guest(capture, settings.guest_addresses)
    for note in capture.notes:
        departures.tell(note.text, note.number)
    table = AddressMap(addresses, role.addresses, departures)
    plan = make_plan(capture, table, departures)
    if not plan.actions:
        guests = ", ".join(sorted(address_text(packed) for packed in role.addresses))
        raise CaptureError(
            f"Nothing in the capture can be replayed with {guests} as the guest ({role.why}).",
            hint="Name another host with --guest-address. " + " ".join(str(each) for each in departures.all()[:5]),
        )
    return plan, table, role


def foresee(capture: Capture, settings: Settings) -> tuple[Departure, ...]:
    """What is known before a replay of how it will depart, but for addresses that the link takes.

    Raises as `plan_for` does.
    """
    departures = Departures()
    plan_for(capture, LinkAddresses(bytes(4), bytes(16), ()), settings, departures)
    return departures.all()


def replay(
    capture: Capture,
    *,
    link: Link,
    stations: Stations,
    guest: GuestSide,
    addresses: LinkAddresses,
    settings: Settings | None = None,
    progress: Callable[[int, int], None] | None = None,
    check: Callable[[], None] | None = None,
    departures: Departures | None = None,
) -> Replayed:
    """Play the capture once, with the guest as it is now; `check` raises when it is gone, and is asked while waiting.

    Who gives `departures` has them also of a replay that is ended by an error.

    Raises as `plan_for` does, what `check` raises, and LinkError, TransportError, ProbeError when the guest or the link
    are lost.
    """
    settings = settings or Settings()
    departures = departures or Departures()
    plan, table, role = plan_for(capture, addresses, settings, departures)
    player = Player(
        plan, link=link, stations=stations, guest=guest, addresses=table, departures=departures,
        timing=settings.timing, patience=settings.patience, mtu=settings.mtu, progress=progress, check=check,
    )  # fmt: skip
    figures = player.run()
    return Replayed(figures, role, departures.all())
