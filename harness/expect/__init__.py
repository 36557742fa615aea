"""Assertions of scenarios: what was wanted, what was seen, the nearest miss, and where the timeline is.

`expect(x)` picks the words that fit x: a witness, a trace, a socket of the guest, a station's sockets, bytes.
It looks at what has been recorded and waits for nothing: a fence before it says that all work is done.
"""

from __future__ import annotations

from harness.expect.dispatch import expect
from harness.expect.failure import failure_entry, timeline_at
from harness.expect.fence import Fence

__all__ = ["Fence", "expect", "failure_entry", "timeline_at"]
