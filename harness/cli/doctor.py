"""`wfp-hil doctor`: what this host can do."""

from __future__ import annotations

import sys

_WORDS = {"good": "ok", "slow": "slow", "missing": "NO"}


def doctor() -> None:
    """Check this host: tools, libvirt, accelerator, room; each finding with a hint.

    Ends with 0 when the main job can run here, with 3 when it cannot.
    """
    from harness.doctor import examine

    findings = examine()
    width = max(len(finding.title) for finding in findings)
    for finding in findings:
        print(f"{_WORDS[finding.health]:5} {finding.title:{width}}  {finding.detail}")
        if not finding.ok and finding.hint:
            print(f"{'':5} {'':{width}}  hint: {finding.hint}")
    lacking = [finding.title for finding in findings if finding.required]
    if lacking:
        print(f"The main job cannot run on this host: {', '.join(lacking)}.")
    else:
        print("The main job can run on this host: 'make run'.")
    sys.exit(3 if lacking else 0)
