"""What a wire is to do to the frames that go one way: typed, frozen, seeded.

Every frame that is meant (`of`) has a number, from 1. What becomes of it follows from the seed and that number
alone, so that the same seed does the same to the same frames, whatever else is asked for beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from ipaddress import ip_address
from typing import TypeVar

from harness.errors import UsageError
from harness.link.headers import ETH_ARP, ICMP, ICMPV6, RST, SYN, TCP, UDP, ether_type, parse_ip, parse_tcp

_Word = TypeVar("_Word", bound=StrEnum)


class Kind(StrEnum):
    """Kinds of frames that a wire tells apart."""

    ARP = "arp"
    ND = "nd"
    ICMP = "icmp"
    UDP = "udp"
    SYN = "syn"
    RST = "rst"
    TCP = "tcp"
    OTHER = "other"


class Clock(StrEnum):
    """What time a delay and a rate are of.

    FRAMES is virtual: it moves by what the frames themselves take at the rate, stands still while nothing is sent, and
    is therefore the same each time. HOST is real time: what is late then depends on how busy the host is.
    """

    FRAMES = "frames"
    HOST = "host"


class TooBig(StrEnum):
    """What becomes of a packet that is larger than the MTU.

    DROP: it vanishes. TELL: as a router does, it is answered by "fragmentation needed" or "packet too big", and cut
    into fragments where it is IPv4 and may be.
    """

    DROP = "drop"
    TELL = "tell"


Chosen = float | tuple[int, ...]
"""Which frames: each with a probability, or those with these numbers (from 1)."""

_CHANCES = ("lose", "repeat", "reorder", "corrupt")
# Lost resolutions and handshakes are only waited for, by timers of a second and more: they have to be asked for.
COMMON = (Kind.ICMP, Kind.UDP, Kind.TCP, Kind.OTHER)
EVERYTHING = tuple(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What becomes of the frames that go one way. Frames of kinds not in `of` are touched by `down` and `mtu` alone.

    `reorder` puts a frame behind up to `depth` later ones; `hold` puts each behind so many. `delay` and `jitter` are
    seconds and `rate` is bits a second, by `clock`; `queue` frames at most wait for the rate, 0 is as many as a wire
    holds at all: 4096.
    `corrupt` flips `bits` bits behind the Ethernet header; with `mend` within the payload of TCP or UDP, whose
    checksum is then made right. `mtu` is in bytes of the IP packet, 0 is any; `routers` answer what is too big.
    `down` lets nothing pass, in silence: the carrier is another matter.
    """

    seed: int = 0
    of: tuple[Kind, ...] = COMMON
    lose: Chosen = 0.0
    repeat: Chosen = 0.0
    reorder: Chosen = 0.0
    depth: int = 1
    hold: int = 0
    delay: float = 0.0
    jitter: float = 0.0
    rate: float = 0.0
    clock: Clock = Clock.FRAMES
    queue: int = 0
    corrupt: Chosen = 0.0
    bits: int = 1
    mend: bool = False
    mtu: int = 0
    too_big: TooBig = TooBig.TELL
    routers: tuple[str, str] = ("192.0.2.1", "2001:db8::1")
    down: bool = False

    def __post_init__(self) -> None:
        for name, kind in (("clock", Clock), ("too_big", TooBig)):
            object.__setattr__(self, name, _member(kind, getattr(self, name), name))
        object.__setattr__(self, "of", tuple(_member(Kind, word, "of") for word in self.of))
        for name in _CHANCES:
            object.__setattr__(self, name, _chosen(name, getattr(self, name)))
        self._check()

    def _check(self) -> None:
        for name, least in (("depth", 1), ("hold", 0), ("delay", 0), ("jitter", 0), ("rate", 0), ("queue", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"The impairment's '{name}' is {getattr(self, name)}; it must be {least} or more.")
        if not 1 <= self.bits <= 64:
            raise UsageError(f"The impairment's 'bits' is {self.bits}; 1 to 64 can be flipped in a frame.")
        if self.mtu and self.mtu < 68:
            raise UsageError(f"The impairment's 'mtu' is {self.mtu}; the least that IPv4 allows is 68.")
        if [ip_address(router).version for router in self.routers] != [4, 6]:
            raise UsageError(f"The impairment's 'routers' are {self.routers}; wanted an IPv4 and an IPv6 address.")
        if self.jitter > self.delay:
            raise UsageError(
                f"The impairment's 'jitter' is {self.jitter} s and its 'delay' {self.delay} s: it is less."
            )
        if self.clock is Clock.FRAMES:
            if bool(self.delay) != bool(self.rate):
                raise UsageError(
                    f"By the frames' clock delay and rate need each other; they are {self.delay} and {self.rate}.",
                    hint="Give both, or clock='host'.",
                )
            if self.queue:
                raise UsageError("By the frames' clock no frame waits for the rate, so that 'queue' means nothing.")

    @property
    def draws(self) -> bool:
        """Whether anything is left to the seed: with the same one the same frames meet the same fate."""
        by_chance = any(isinstance(getattr(self, name), float) and getattr(self, name) > 0 for name in _CHANCES)
        behind = self.depth > 1 and bool(self.reorder)
        return by_chance or behind or bool(self.corrupt) or self.jitter > 0

    @property
    def words(self) -> str:
        """All that differs from a wire that does nothing, for reports."""
        told = (f"{f.name}={_word(getattr(self, f.name))}" for f in fields(self) if getattr(self, f.name) != f.default)
        return ", ".join(told) or "nothing"


def kind_of(frame: bytes) -> Kind:
    """The kind of a frame; fragments go by their protocol."""
    packet = parse_ip(frame)
    if packet is None:
        return Kind.ARP if ether_type(frame) == ETH_ARP else Kind.OTHER
    if packet.protocol == TCP:
        segment = parse_tcp(packet)
        flags = segment.flags if segment is not None else 0
        return Kind.RST if flags & RST else Kind.SYN if flags & SYN else Kind.TCP
    if packet.protocol == UDP:
        return Kind.UDP
    if packet.protocol == ICMPV6:
        return Kind.ND if packet.body[:1] and 133 <= packet.body[0] <= 137 else Kind.ICMP
    return Kind.ICMP if packet.protocol == ICMP else Kind.OTHER


def _member(kind: type[_Word], word: str, name: str) -> _Word:
    try:
        return kind(word)
    except ValueError as error:
        raise UsageError(
            f"The impairment's '{name}' has '{word}', which is none of: {', '.join(kind)}.", hint="See harness.link."
        ) from error


def _chosen(name: str, value: object) -> Chosen:
    if isinstance(value, (list, tuple)):
        if all(isinstance(number, int) and number > 0 for number in value):
            return tuple(value)
    elif isinstance(value, (int, float)) and 0 <= value <= 1:
        return float(value)
    raise UsageError(
        f"The impairment's '{name}' is {value!r}; wanted a probability of 0 to 1, or numbers of frames from 1 on."
    )


def _word(value: object) -> str:
    return "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
