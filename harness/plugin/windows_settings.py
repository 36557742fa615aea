"""Settings of a run that only Windows has: refused for another guest, before it is booted."""

from __future__ import annotations

from harness.config import GuestKind, Profile
from harness.errors import UsageError
from harness.plugin.options import RunOptions


def refuse_settings(options: RunOptions, profile: Profile) -> None:
    """Raise UsageError when the run asks for what this guest has not."""
    if profile.kind is GuestKind.WINDOWS:
        return
    for asked, name, option in (
        (options.verifier, "Driver Verifier", "--verifier"),
        (options.firewall, "Windows Firewall", "--firewall"),
    ):
        if asked is not None:
            raise UsageError(
                f"The guest '{profile.name}' has no {name}.",
                hint=f"It is part of Windows: leave out {option}, or take a Windows guest.",
            )
