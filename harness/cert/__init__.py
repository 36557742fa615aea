"""Getting a driver ready for certification: what is asked of it, what is known of each, what is left to do by hand."""

from __future__ import annotations

from harness.cert.answers import Answers, load_answers
from harness.cert.requirements import (
    Requirement,
    Settled,
    all_requirements,
    near_requirements,
    requirement,
    unknown_requirements,
)

__all__ = [
    "Answers",
    "Requirement",
    "Settled",
    "all_requirements",
    "load_answers",
    "near_requirements",
    "requirement",
    "unknown_requirements",
]
