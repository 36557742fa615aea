"""Which functions the kernel modules of each Windows release export to drivers, as far as public lists say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from harness.errors import UsageError
from harness.wfp.data import load


@dataclass(frozen=True, slots=True)
class Import:
    """What is known of one imported function: `missing` is a reason, or nothing; `proven`: a list has it."""

    name: str
    missing: str = ""
    proven: bool = False


def releases() -> dict[str, int]:
    """Build numbers of the releases, each the oldest of its family."""
    return dict(load("kernel_exports")["releases"])


def find_import(module: str, function: str, release: str) -> Import:
    """What is known of `module!function` in a release.

    Raises UsageError for a release that is not known.
    """
    known = releases()
    if release not in known:
        raise UsageError(f"Windows release '{release}' is not known.", hint=f"Known releases: {', '.join(known)}.")
    build, name = known[release], f"{module}!{function}"
    if module not in load("kernel_exports")["kernel_modules"]:
        return Import(name, f"'{module}' is no module of the kernel that drivers import from")
    names, since, complete_to = _module(module)
    if function in since:
        if since[function] > build:
            return Import(name, f"it came with build {since[function]}, {release} begins with build {build}")
        return Import(name, proven=True)
    if function in names:
        return Import(name, proven=True)
    if build <= complete_to:
        return Import(name, f"'{module}' of {release} has no such function")
    return Import(name)


@cache
def _module(module: str) -> tuple[frozenset[str], dict[str, int], int]:
    facts = load("kernel_exports")["modules"].get(module, {})
    return frozenset(facts.get("known", ())), facts.get("since", {}), int(facts.get("complete_to", 0))
