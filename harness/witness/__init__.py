"""The witness: every frame of a link in both directions, kept in a pcapng and ready to be asked about."""

from __future__ import annotations

from harness.witness.frame import WitnessedFrame
from harness.witness.witness import Mark, Witness

__all__ = ["Mark", "Witness", "WitnessedFrame"]
