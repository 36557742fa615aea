"""The hosts of a capture, and which of them the guest is to play."""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from harness.capture import Capture, Conversation
from harness.errors import UsageError
from harness.link.headers import address_text

_MOST_OF_ONE_HOST = 6  # addresses behind one MAC; a router has more
_LISTED = 8
_PRIVATE = tuple(map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")))


@dataclass(frozen=True, slots=True)
class GuestRole:
    """The addresses of the capture that the guest stands for, and the sentence that says how that was found."""

    addresses: frozenset[bytes]
    why: str


def find_guest(capture: Capture, asked: Sequence[str] = ()) -> GuestRole:
    """Which host the guest is: as asked, or inferred from who captured, and who talks with everybody.

    Raises UsageError when an address that was asked for is not in the capture, or when several are as likely.
    """
    conversations = capture.conversations()
    talks = _talks(conversations)
    if asked:
        return GuestRole(frozenset(_asked(text, talks) for text in asked), "as it was asked for")
    senders: Counter[bytes] = Counter()
    for packet in capture.packets:
        ip = packet.ip if packet.outgoing else None
        if ip is not None:
            senders[ip.source] += 1
    if senders:
        chosen, why = senders.most_common(1)[0][0], "the host that captured it"
    else:
        chosen, why = _busiest(talks, conversations)
    found = _addresses_of_host(capture, chosen, talks, set(senders))
    other = _of_other_family(found, talks, conversations)
    return GuestRole(found | other, why + (", and the busiest of the other family" if other else ""))


def _talks(conversations: Sequence[Conversation]) -> Counter[bytes]:
    """In how many conversations each address takes part, hosts alone."""
    found: Counter[bytes] = Counter()
    for conversation in conversations:
        found.update(end[0] for end in (conversation.first, conversation.second) if is_host(end[0]))
    return found


def is_host(packed: bytes) -> bool:
    """Whether an address is that of one host: no multicast, no broadcast, not the unspecified one."""
    address = ipaddress.ip_address(packed)
    return not (address.is_multicast or address.is_unspecified or packed == b"\xff" * 4)


def _is_private(packed: bytes) -> bool:
    """Whether an address is from networks for private use: RFC 1918, RFC 4193."""
    address = ipaddress.ip_address(packed)
    return any(address.version == network.version and address in network for network in _PRIVATE)


def _asked(text: str, talks: Counter[bytes]) -> bytes:
    try:
        packed = ipaddress.ip_address(text).packed
    except ValueError as error:
        raise UsageError(f"'{text}' is not an IP address.", hint="--guest-address takes numbers, no names.") from error
    if packed not in talks:
        raise UsageError(f"No packet in the capture is to or from {text}.", hint=f"The hosts in it: {_list_of(talks)}.")
    return packed


def _busiest(talks: Counter[bytes], conversations: Sequence[Conversation]) -> tuple[bytes, str]:
    """The address that is in most conversations; of two alone the private one."""
    if not talks:
        raise UsageError("The capture has no packet between two hosts.", hint="Nothing in it can be replayed.")
    most = max(talks.values())
    likely = [packed for packed, count in talks.items() if count == most]
    if len(likely) == 1:
        return likely[0], f"the host of most conversations, {most} of {len(conversations)}"
    if sorted(map(len, likely)) == [4, 16]:
        return min(likely, key=len), "the host of most conversations of its family"
    private = [packed for packed in likely if _is_private(packed)]
    if len(private) == 1:
        return private[0], "the one host with a private address"
    raise UsageError(
        f"It cannot be told which host of the capture the guest is: {_list_of(talks)}.",
        hint="Say it with --guest-address.",
    )


def _addresses_of_host(capture: Capture, chosen: bytes, talks: Counter[bytes], senders: set[bytes]) -> frozenset[bytes]:
    """The chosen address and those that the same network adapter sent from, or the same capturing host."""
    by_mac: defaultdict[bytes, set[bytes]] = defaultdict(set)
    for packet in capture.packets:
        ip = packet.ip if packet.source_mac else None
        if ip is not None:
            by_mac[packet.source_mac].add(ip.source)
    found = {chosen} | senders
    for sources in by_mac.values():
        if chosen in sources and len(sources) <= _MOST_OF_ONE_HOST:
            found |= sources
    return frozenset(packed for packed in found if packed in talks)


def _of_other_family(
    found: frozenset[bytes], talks: Counter[bytes], conversations: Sequence[Conversation]
) -> frozenset[bytes]:
    """The guest's address of a family that it has none of yet: the one that is in all conversations of that family."""
    lengths = {len(packed) for packed in found}
    if len(lengths) == 2:
        return frozenset()
    others = Counter({packed: count for packed, count in talks.items() if len(packed) not in lengths})
    there = sum(
        len(talk.first[0]) not in lengths and is_host(talk.first[0]) and is_host(talk.second[0])
        for talk in conversations
    )
    busiest = [packed for packed, count in others.items() if count >= there]
    return frozenset(busiest) if len(busiest) == 1 and there > 1 else frozenset()


def _list_of(talks: Counter[bytes]) -> str:
    listed = ", ".join(f"{address_text(packed)} ({count})" for packed, count in talks.most_common(_LISTED))
    more = len(talks) - _LISTED
    return listed + (f" and {more} more" if more > 0 else "") + ", with the number of their conversations"
