"""`wfp-hil doctor`: what this host can do."""

from __future__ import annotations

import sys


def doctor() -> None:
    """Check this host: tools, libvirt, accelerator, room; each finding with a hint."""
    from harness.doctor import examine

    findings = examine()
    for finding in findings:
        print(f"{'ok ' if finding.ok else 'NO '} {finding.title}: {finding.detail}")
        if not finding.ok and finding.hint:
            print(f"    hint: {finding.hint}")
    sys.exit(0 if all(finding.ok or not finding.required for finding in findings) else 3)
