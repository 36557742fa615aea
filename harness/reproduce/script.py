"""What the guest's applications do in a replay, as the probe plays it: a text of steps, and the bytes that they send.

The probe goes from step to step by itself, as each waits for what has to come before it; so a replay needs no round
trip for a packet. `drivers/probe/README.md` has the format.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.link.headers import address_text, endpoint_text

_HEADER = "wfp-replay 2 {:010d}\n"


@dataclass(slots=True)
class Script:
    """Steps while they are put together; `channels` and `holds` are how many numbers of each kind have been given."""

    channels: int = 0
    holds: int = 0
    _before: list[str] = field(default_factory=list)
    _steps: list[str] = field(default_factory=list)
    _data: bytearray = field(default_factory=bytearray)

    def __len__(self) -> int:
        return len(self._steps)

    def channel(self) -> int:
        """A new number."""
        self.channels += 1
        return self.channels - 1

    def listen(self, address: bytes, port: int) -> int:
        """Have a listener before the replay begins; gives its channel."""
        return self._prepare("listen", endpoint(address, port))

    def udp(self, address: bytes, port: int) -> int:
        """Have a UDP socket before the replay begins; gives its channel."""
        return self._prepare("udp", endpoint(address, port))

    def pair(self, socket: int, peer: str) -> int:
        """A channel that counts the datagrams that a UDP socket gets from one peer."""
        return self._prepare("pair", f"{socket} {peer}")

    def step(self, verb: str, number: int, microseconds: int, channel: int, *words: object) -> None:
        """A step that belongs to a packet and, where the capture's timing is kept, is not taken before its time."""
        self._steps.append(" ".join(map(str, (verb, number, max(microseconds, 0), channel, *words))))

    def hold(self, number: int, channel: int) -> int:
        """A step that is over when the harness says so; gives the number by which it does."""
        self.holds += 1
        self.step("hold", number, 0, channel, self.holds)
        return self.holds

    def send(self, verb: str, number: int, microseconds: int, channel: int, data: bytes, *words: object) -> None:
        """A step that sends bytes."""
        at = len(self._data)
        self._data += data
        self.step(verb, number, microseconds, channel, *words, at, len(data))

    def send_on(self, channel: int, data: bytes) -> bool:
        """Have the last step send more bytes; False where it is none that sends on this channel."""
        words = self._steps[-1].split() if self._steps else []
        if words[:1] != ["send"] or words[3] != str(channel):
            return False
        self._data += data
        self._steps[-1] = " ".join([*words[:5], str(int(words[5]) + len(data))])
        return True

    def encode(self) -> bytes:
        """The script as a file."""
        text = "\n".join([*self._before, "go", *self._steps, "end\n"]).encode()
        start = len(_HEADER.format(0)) + len(text)
        return _HEADER.format(start).encode() + text + bytes(self._data)

    def _prepare(self, verb: str, words: str) -> int:
        channel = self.channel()
        self._before.append(f"{verb} {channel} {words}")
        return channel


def endpoint(address: bytes, port: int) -> str:
    """An address and a port as the probe reads them."""
    return endpoint_text(address_text(address), port)
