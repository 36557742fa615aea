"""How fast and how whole the link carries frames: `python benchmarks/link.py [frames]`.

Two measurements: frames into a real QEMU and, through its hub, out of it again; and the round trip of a ping between
two sets of stations. Prints what machine it was.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import threading
import time
from pathlib import Path

from harness import process
from harness.link import Direction, MemoryLink, StreamLink
from harness.ownership import temporary_folder
from harness.traffic import Stations
from harness.waiting import Deadline
from harness.witness import Witness


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(describe_machine())
    through_qemu(count)
    ping_between_stations(2000)


def describe_machine() -> str:
    models = [
        line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line
    ]
    version = process.run(["qemu-system-x86_64", "--version"]).stdout.splitlines()[0]
    return (
        f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, {version}"
    )


def through_qemu(count: int) -> None:
    """Frames into one netdev of a QEMU and out of another, joined by a hub; each must arrive, in order, once."""
    deadline = Deadline(300)
    with temporary_folder("bench") as folder, StreamLink.listen() as there, StreamLink.listen() as back:
        argv = [
            "qemu-system-x86_64", "-accel", "tcg", "-M", "none", "-display", "none", "-nodefaults",
            "-netdev", f"socket,id=there,connect=127.0.0.1:{there.port}",
            "-netdev", f"socket,id=back,connect=127.0.0.1:{back.port}",
            "-netdev", "hubport,id=port0,hubid=0,netdev=there",
            "-netdev", "hubport,id=port1,hubid=0,netdev=back",
        ]  # fmt: skip
        with process.start(argv), Witness(there, folder / "frames.pcapng"):
            there.accept(deadline)
            back.accept(deadline)
            wanted, wrong, done = 0, 0, threading.Event()

            def check(direction: Direction, frame: bytes, when: float) -> None:  # noqa: ARG001
                nonlocal wanted, wrong
                wrong += int.from_bytes(frame[14:18], "big") != wanted
                wanted += 1
                if wanted == count:
                    done.set()

            back.subscribe(check, Direction.FROM_GUEST)
            head, tail = bytes(range(14)), bytes(1514 - 18)
            started = time.monotonic()
            there.send_all(head + number.to_bytes(4, "big") + tail for number in range(count))
            done.wait(deadline.sub(60).remaining())
            took = time.monotonic() - started
            print(
                f"link through QEMU, witnessed: {wanted:,} of {count:,} frames of 1514 bytes, {wrong} out of order, "
                f"{took:.2f} s, {wanted / took:,.0f} frames/s, {wanted * 1514 * 8 / took / 1e6:,.0f} Mbit/s"
            )


def ping_between_stations(count: int) -> None:
    deadline = Deadline(60)
    first, second = MemoryLink.pair()
    with (
        first,
        second,
        Stations(first, guest_mac="02:00:c0:00:02:02") as host,
        Stations(second, guest_ip="192.0.2.1", gateway="192.0.2.2", guest_ip6="2001:db8::1", gateway6="2001:db8::2"),
    ):
        times = sorted(host.ping(deadline) * 1e6 for _ in range(count))
        print(
            f"ping between stations in memory: {statistics.median(times):.0f} us median, "
            f"{times[-20]:.0f} us 99th percentile"
        )


if __name__ == "__main__":
    main()
