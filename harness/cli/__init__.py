"""The command `wfp-hil`: one file a command, no logic here but turning errors into text and exit codes."""

from __future__ import annotations

from harness.cli.app import main

__all__ = ["main"]
