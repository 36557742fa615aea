"""Installation media: read the user's, write our own."""

from __future__ import annotations

from harness.media.edition import choose_image, read_images
from harness.media.iso import Medium, open_medium
from harness.media.wim import WimImage, WimInfo, read_wim
from harness.media.write import write_answer_cd, write_boot_medium

__all__ = [
    "Medium",
    "WimImage",
    "WimInfo",
    "choose_image",
    "open_medium",
    "read_images",
    "read_wim",
    "write_answer_cd",
    "write_boot_medium",
]
