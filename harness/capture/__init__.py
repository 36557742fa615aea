"""Captures from the field: packets of a pcap or pcapng file, with the link layer taken off, and their conversations.

Pure: reads and writes files, drives nothing. What the file lacks is said in `Capture.notes`, never guessed.
"""

from __future__ import annotations

from harness.capture.capture import Capture, Note
from harness.capture.conversation import Conversation
from harness.capture.packet import Packet
from harness.capture.reader import Limits, read

__all__ = ["Capture", "Conversation", "Limits", "Note", "Packet", "read"]
