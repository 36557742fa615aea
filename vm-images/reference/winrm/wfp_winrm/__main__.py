"""`python3 -m wfp_winrm --config FILE [--ready FILE]`: serve until ended.

The configuration is JSON: address, port, certificate, users (path of an NTLM_USER_FILE), runner ("wine" or
"native"), wine, prefix.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import threading
from pathlib import Path

from .http import Server
from .runner import NativeRunner, Runner, WineRunner
from .service import Service
from .shells import Shells


def main() -> None:
    """Read the configuration and serve."""
    parser = argparse.ArgumentParser(prog="wfp_winrm")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--ready", type=Path, help="file that receives the port once connections are accepted")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(threadName)s %(message)s")

    config = json.loads(arguments.config.read_text())
    os.environ["NTLM_USER_FILE"] = config["users"]
    runner: Runner
    if config.get("runner", "wine") == "wine":
        runner = WineRunner(config.get("wine", "/usr/lib/wine/wine64"), Path(config["prefix"]))
    else:
        runner = NativeRunner()
    shells = Shells(runner)
    service = Service(
        shells,
        machine=config.get("machine", "WFPREF"),
        vendor="Microsoft Corporation",
        version="OS: 10.0.19043 SP: 0.0 Stack: 3.0 (wfp-hil reference guest)",
    )
    server = Server((config["address"], config["port"]), Path(config["certificate"]), service)

    def stop(*_: object) -> None:
        server.close()

    signal.signal(signal.SIGTERM, stop)
    thread = threading.Thread(target=server.serve, name="accept")
    thread.start()

    if arguments.ready:
        half = arguments.ready.with_name(arguments.ready.name + ".new")
        half.write_text(f"{server.port}\n")
        half.rename(arguments.ready)
    thread.join()
    shells.close()


main()
