"""Installation media: read the user's, write our own."""

from __future__ import annotations

from harness.media.write import write_answer_cd, write_boot_medium

__all__ = ["write_answer_cd", "write_boot_medium"]
