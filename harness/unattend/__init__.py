"""The answer file of an unattended Windows installation, the check of it, and all that its CD carries."""

from __future__ import annotations

from harness.unattend.answer import render_answer
from harness.unattend.files import GuestSecrets, setup_files, virtio_folder
from harness.unattend.passwords import decode_password, encode_password
from harness.unattend.plan import InstallPlan
from harness.unattend.schema import check_answer

__all__ = [
    "GuestSecrets",
    "InstallPlan",
    "check_answer",
    "decode_password",
    "encode_password",
    "render_answer",
    "setup_files",
    "virtio_folder",
]
