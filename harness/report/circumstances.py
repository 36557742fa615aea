"""Under what circumstances a run was made, beside its guest, image and driver: what makes two results no repetition."""

from __future__ import annotations

from collections.abc import Collection, Mapping

Circumstances = tuple[str, str, str, str]
NAMES = ("nic", "verifier", "firewall", "vcpus")
"""Keys of the `session` record; what was not asked for, and so stayed as profile and image have it, is ''."""

_WORDS = {"nic": "{}", "verifier": "verifier {}", "firewall": "firewall {}", "vcpus": "processors {}"}


def circumstances_of(session: Mapping[str, object]) -> Circumstances:
    """Those of a run, from its `session` record."""
    nic, verifier, firewall, vcpus = (
        "" if session.get(name) is None else str(session[name]).encode("utf-8", "replace").decode() for name in NAMES
    )
    return nic, verifier, firewall, vcpus


def in_words(circumstances: Circumstances, among: Collection[Circumstances] | None = None) -> str:
    """'igb, verifier standard, firewall on'; with `among` that alone in which those differ."""
    told = []
    for at, (name, value) in enumerate(zip(NAMES, circumstances, strict=True)):
        nobody = {""} if name == "nic" else set()  # a run that never had a machine had no NIC
        if value in nobody:
            continue
        if value if among is None else len({each[at] for each in among} - nobody) > 1:
            told.append(_WORDS[name].format(value or "as it is"))
    return ", ".join(told)
