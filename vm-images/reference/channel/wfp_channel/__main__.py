"""`python3 -m wfp_channel --port /dev/ttyS1`: serve the second control channel for as long as the guest runs."""

from __future__ import annotations

import argparse
import os
import termios
import tty

from wfp_channel.line import serve
from wfp_channel.requests import Requests


def main() -> None:
    """Open the port raw, and answer whoever asks."""
    parser = argparse.ArgumentParser(prog="wfp_channel")
    parser.add_argument("--port", default="/dev/ttyS1")
    parser.add_argument("--prefix", default=os.environ.get("WINEPREFIX", "/var/lib/wfp/prefix"))
    parser.add_argument("--wine", default="/usr/lib/wine/wine64")
    parser.add_argument("--run", default="/run/wfp-hil", help="folder for what is fetched in pieces")
    given = parser.parse_args()
    port = os.open(given.port, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    tty.setraw(port)
    settings = termios.tcgetattr(port)
    settings[2] |= termios.CLOCAL | termios.CREAD  # nobody at the other end is no reason to stop
    settings[2] &= ~termios.CRTSCTS
    settings[4] = settings[5] = termios.B115200
    termios.tcsetattr(port, termios.TCSANOW, settings)
    # A driver that spins on every processor must not keep this from answering.
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    serve(port, Requests(prefix=given.prefix, wine=given.wine, folder=given.run))


if __name__ == "__main__":
    main()
