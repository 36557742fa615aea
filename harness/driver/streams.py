"""What the reference callout driver does to TCP streams: the rules of the stream layer.

Offsets count the bytes of one direction of a connection as they are indicated to the rule's callout, from 0.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from harness.driver.interface import Action, FilterAction, StreamDirection

if TYPE_CHECKING:
    from harness.driver.control import Rule


class StreamRules:
    """The part of DriverControl that is about streams; `direction` is OUT for what the guest sends, IN for the rest."""

    @abstractmethod
    def add_rule(self, layer: str, action: Action, protocol: str = "", **options: Any) -> Rule:
        """Add a rule: see DriverControl."""

    def stream_need_more(self, length: int, **options: Any) -> Rule:
        """Have the engine hold the first bytes until there are `length` of them (FWPS_STREAM_ACTION_NEED_MORE_DATA)."""
        return self._stream(Action.STREAM_NEED_MORE, stream_length=length, **options)

    def stream_defer(self, **options: Any) -> Rule:
        """Defer what comes in when it first does; a work item continues it, or with RuleFlag.HOLD a drain."""
        options.setdefault("direction", StreamDirection.IN)
        return self._stream(Action.STREAM_DEFER, **options)

    def stream_replace(self, pattern: bytes, replacement: bytes, **options: Any) -> Rule:
        """Replace each `pattern`, also one that lies across segments, by `replacement` of any length up to 64."""
        return self._stream(
            Action.STREAM_REPLACE, pattern=pattern.hex(), replacement=replacement.hex() or None, **options
        )

    def stream_insert(self, offset: int, data: bytes, **options: Any) -> Rule:
        """Insert up to 64 bytes at an offset; at the very end too, in front of the FIN."""
        return self._stream(Action.STREAM_INSERT, stream_offset=offset, replacement=data.hex(), **options)

    def stream_remove(self, offset: int, length: int, **options: Any) -> Rule:
        """Take `length` bytes out of the stream from an offset on; the sender gets its acknowledgement all the same."""
        return self._stream(Action.STREAM_REMOVE, stream_offset=offset, stream_length=length, **options)

    def stream_reinject(self, *, pattern: bytes = b"", replacement: bytes = b"", **options: Any) -> Rule:
        """Clone and block everything, FIN included, and inject it from a work item: out of band.

        With `pattern` a copy is injected in which it is replaced, where it lies within one indication.
        """
        options.setdefault("filter_action", FilterAction.UNKNOWN)
        return self._stream(
            Action.STREAM_REINJECT, pattern=pattern.hex() or None, replacement=replacement.hex() or None, **options
        )

    def stream_drop(self, **options: Any) -> Rule:
        """Have the connection dropped with the first byte (FWPS_STREAM_ACTION_DROP_CONNECTION)."""
        options.setdefault("filter_action", FilterAction.UNKNOWN)
        return self._stream(Action.STREAM_DROP, **options)

    def stream_allow(self, **options: Any) -> Rule:
        """Permit the connection for good with the first byte (FWPS_STREAM_ACTION_ALLOW_CONNECTION)."""
        return self._stream(Action.STREAM_ALLOW, **options)

    def _stream(
        self,
        action: Action,
        *,
        direction: StreamDirection = StreamDirection.BOTH,
        layer: str = "STREAM",
        **options: Any,
    ) -> Rule:
        return self.add_rule(layer, action, "tcp", stream_direction=int(direction), **options)
