"""Profiles of guests: TOML in, frozen models out, errors that name the file and the key."""

from __future__ import annotations

from harness.config.directories import cache_root, profiles_root, project_root, state_root
from harness.config.install import InstallSettings, StageSettings
from harness.config.loading import known_profiles, line_of, load_model, load_profile
from harness.config.profile import (
    BootSettings,
    GuestKind,
    MachineSettings,
    ManagementSettings,
    NetworkSettings,
    NicModel,
    Profile,
)

__all__ = [
    "BootSettings",
    "GuestKind",
    "InstallSettings",
    "MachineSettings",
    "ManagementSettings",
    "NetworkSettings",
    "NicModel",
    "Profile",
    "StageSettings",
    "cache_root",
    "known_profiles",
    "line_of",
    "load_model",
    "load_profile",
    "profiles_root",
    "project_root",
    "state_root",
]
