"""Which accelerator works here: found by running a real guest, because the device node proves nothing.

On some hosts `/dev/kvm` opens, a VM can be made, and the guest never executes anything.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from harness import process
from harness.config import state_root
from harness.errors import DeadlineExpired, HarnessError, HostError, UsageError
from harness.ownership import host_boot, temporary_folder
from harness.waiting import Deadline

PROBE_SECONDS = 2.0
_TCG_SECONDS = 60.0
_PATIENCE = 5.0  # times what the tiny guest takes under TCG, which nearly all is the start of QEMU
_KVM_NODE = Path("/dev/kvm")

# A boot sector that leaves through isa-debug-exit: mov dx, 0xf4; mov al, 0x21; out dx, al; then hlt for ever.
_EXIT_GUEST = (b"\xba\xf4\x00\xb0\x21\xee\xf4\xeb\xfd".ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 20, b"\0")
_EXIT_CODE = 0x21 << 1 | 1  # isa-debug-exit turns a written value into this


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """How the guest's instructions run, and the sentence that says why."""

    kind: Literal["kvm", "tcg"]
    reason: str

    @property
    def domain_type(self) -> str:
        """libvirt's word for it."""
        return "kvm" if self.kind == "kvm" else "qemu"


def find_emulator() -> Path:
    """Path of QEMU. Raises HostError when it is not installed."""
    found = process.find_tool("qemu-system-x86_64")
    if found is None:
        raise HostError(
            "The program 'qemu-system-x86_64' is not installed.", hint="'make setup' installs all that is needed."
        )
    return found


def choose_accelerator(
    wanted: Literal["auto", "kvm", "tcg"] = "auto", *, cache_file: Path | None = None
) -> Accelerator:
    """KVM where a tiny guest proves that it works, else TCG; what was found is kept until reboot.

    Raises UsageError when the profile insists on KVM and it does not work.
    """
    if wanted == "tcg":
        return Accelerator(kind="tcg", reason="The profile asks for TCG.")
    found = _remembered(find_emulator(), cache_file or state_root() / "accelerator.json")
    if wanted == "kvm" and found.kind != "kvm":
        raise UsageError(
            f"The profile asks for KVM, which does not work here. {found.reason}",
            hint='Set accelerator = "auto" in the profile.',
        )
    return found


def probe(emulator: Path, *, node: Path = _KVM_NODE, seconds: float = PROBE_SECONDS) -> Accelerator:
    """Run the tiny guest under KVM and say what came of it.

    Where it does not end in time it is run under TCG, which tells how long QEMU takes to start on a host as busy as
    this one; KVM has another try, of several times that, where that is longer than it had.
    """
    if not node.exists():
        return Accelerator(kind="tcg", reason=f"There is no {node}.")
    if not os.access(node, os.R_OK | os.W_OK):
        return Accelerator(kind="tcg", reason=f"This user may not open {node}.")
    usual = 0.0
    try:
        done = _run_tiny_guest(emulator, "kvm", "host", seconds)
        if done is None:
            usual = _seconds_under_tcg(emulator)
            if usual * _PATIENCE > seconds:
                seconds = usual * _PATIENCE
                done = _run_tiny_guest(emulator, "kvm", "host", seconds)
    except HarnessError as error:
        return Accelerator(kind="tcg", reason=f"KVM could not be tried: {error.message}")
    if done is None:
        hung = f"{node} opens, but a guest of four instructions did not end within {seconds:.2g} s"
        return Accelerator(kind="tcg", reason=f"{hung}; under TCG it took {usual:.2g} s.")
    if done.exit_code != _EXIT_CODE:
        said = done.stderr.strip().splitlines()
        return Accelerator(
            kind="tcg",
            reason=f"QEMU with KVM ended with {done.exit_code}: {said[0] if said else 'it printed nothing'}.",
        )
    return Accelerator(kind="kvm", reason=f"A small guest ran under KVM in {done.duration:.2f} s.")


def _seconds_under_tcg(emulator: Path) -> float:
    done = _run_tiny_guest(emulator, "tcg", "max", _TCG_SECONDS)
    if done is None:
        raise HostError(f"The tiny guest did not end under TCG either, which had {_TCG_SECONDS:g} s.")
    return done.duration


def _run_tiny_guest(emulator: Path, kind: str, cpu: str, seconds: float) -> process.Completed | None:
    """None where it has not ended by then."""
    with temporary_folder("probe") as folder, suppress(DeadlineExpired):
        disk = folder / "exit.img"
        disk.write_bytes(_EXIT_GUEST)
        argv = [
            *(str(emulator), "-machine", "q35", "-accel", kind, "-cpu", cpu, "-m", "16"),
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=4"),
            *("-drive", f"file={disk},format=raw,if=none,id=exit,readonly=on", "-device", "virtio-blk-pci,drive=exit"),
        ]
        return process.run(argv, deadline=Deadline(seconds), check=False)
    return None


@cache
def nic_models(emulator: Path) -> frozenset[str]:
    """The test NIC models that this QEMU has."""
    listing = process.run([emulator, "-device", "help"], deadline=Deadline(20)).stdout
    known = ("e1000e", "igb", "rtl8139", "virtio-net-pci")
    return frozenset(model for model in known if f'name "{model}"' in listing)


def require_nic_model(model: str, emulator: Path | None = None) -> None:
    """Raises UsageError, naming the models there are, when this QEMU lacks `model`; HostError when there is none."""
    available = nic_models(emulator or find_emulator())
    if model not in available:
        raise UsageError(
            f"This QEMU has no test NIC of model '{model}'; it has {', '.join(sorted(available))}.",
            hint="'igb' needs QEMU 8.0 or newer." if model == "igb" else None,
        )


def _remembered(emulator: Path, cache_file: Path) -> Accelerator:
    key = _circumstances(emulator)
    try:
        kept = json.loads(cache_file.read_text(encoding="utf-8"))
        if kept["key"] == key:
            return Accelerator(**kept["accelerator"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none kept, or by an older version: probe
    found = probe(emulator)
    try:
        cache_file.parent.mkdir(parents=True, exist_ok=True)
        cache_file.write_text(json.dumps({"key": key, "accelerator": asdict(found)}), encoding="utf-8")
    except OSError:
        pass  # the next run probes again
    return found


def _circumstances(emulator: Path) -> list[object]:
    node = _KVM_NODE.stat() if _KVM_NODE.exists() else None
    binary = emulator.stat()
    return [host_boot(), os.geteuid(), binary.st_mtime_ns, binary.st_size, node and [node.st_mode, node.st_gid]]
