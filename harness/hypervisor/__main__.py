"""`python -m harness.hypervisor`: see to it that libvirt answers, and say which accelerator machines will get."""

from __future__ import annotations

import sys

from harness.errors import HarnessError
from harness.hypervisor.accelerator import choose_accelerator
from harness.hypervisor.connection import connect, default_uri


def main() -> int:
    """Gives the exit code."""
    try:
        connect().close()
        accelerator = choose_accelerator()
    except HarnessError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"libvirt answers at {default_uri()}; machines run under {accelerator.kind}. {accelerator.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
