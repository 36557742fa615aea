"""wfp-hil: a QEMU-hosted hardware-in-the-loop test harness for Windows Filtering Platform callout drivers."""

from __future__ import annotations

__version__ = "0.1.0"
