"""The stand-in for Windows Setup: PID 1 of the medium, inside the system that it is about to install."""

from __future__ import annotations

import json
import mmap
import os
import shutil
import subprocess
import traceback
from pathlib import Path
from typing import BinaryIO

from answer import Answer
from commands import Interpreter
from console import Console, Refused, read_wishes, reboot
from disk import Partition, first_disk, partition_path, plan, reread, write_table
from firmware import add_boot_entry, describe_tpm
from media import find_answer_file, mount_removable
from wim import Image, Wim

MEDIUM = Path("/run/medium")
PROGRAMS = Path("/run/setup")
TARGET, EFI = Path("/run/target"), Path("/run/efi")
_LOADER = "\\EFI\\wfp-hil\\loader.efi"
_CHUNK = 4 << 20


def main() -> None:
    """Everything from the answer file to the first reboot."""
    roots = mount_removable()
    console = Console(read_wishes(roots))
    try:
        _install(roots, console)
    except Refused as error:
        console.fail(str(error))
    except Exception as error:  # PID 1 must not end: the kernel would panic
        traceback.print_exc()
        console.fail(f"{type(error).__name__}: {error}")


def _install(roots: list[Path], console: Console) -> None:
    path = find_answer_file(roots)
    if path is None:
        raise Refused("no removable medium has an autounattend.xml in its root: Setup would ask for everything")
    console.show(f"answer file: {path}")
    answer = Answer(path)
    interpreter = Interpreter(console, roots)
    for command in answer.commands("windowsPE"):
        interpreter.run(command.line)
    wim = Wim(MEDIUM / "sources" / "install.wim")
    answer.check_user_data()
    image = answer.choose(wim.images)
    answer.check_architecture(image)
    tpm = describe_tpm()
    if console.wishes.get("require_tpm") and tpm is None and "bypasstpmcheck" not in interpreter.waived:
        raise Refused("this PC has no TPM, and LabConfig does not waive it")
    wanted, target = answer.partitions()

    disk = first_disk()
    sectors = int((Path("/sys/class/block") / disk.name / "size").read_text())
    try:
        partitions = plan(wanted, sectors)
    except ValueError as error:
        raise Refused(str(error)) from error
    console.show(f"partitions {disk}")
    with disk.open("r+b", buffering=0) as file:
        write_table(file, partitions, sectors)
        os.fsync(file.fileno())
        reread(file)
    efi = next(partition for partition in partitions if partition.kind == "EFI")
    subprocess.run(["busybox", "mkdosfs", "-n", "SYSTEM", str(partition_path(disk, efi.number))], check=True)
    console.show(f"copies the files of '{image.name}'")
    entry = _copy_system(wim, image, disk, target, efi, console)
    facts = {
        "answer_file": str(path),
        "image": image.name,
        "index": image.index,
        "disk": disk.name,
        "partitions": [[partition.kind, partition.first, partition.last] for partition in partitions],
        "boot_entry": entry,
        "tpm": tpm,
        "waived": sorted(interpreter.waived),
        "ran": interpreter.ran,
        "skipped": interpreter.skipped,
    }
    _leave_for_passes(path, facts)
    for mounted in (TARGET, EFI):
        subprocess.run(["umount", str(mounted)], check=True)
    console.show("reboots into the installed system")
    reboot()


def _copy_system(wim: Wim, image: Image, disk: Path, target: int, efi: Partition, console: Console) -> str:
    files = wim.files(image.index)
    system = files["system.img"]
    extents = json.loads(wim.read(files["system.extents"]))
    device = partition_path(disk, target)
    total, done, told = sum(length for _, length in extents), 0, 0
    # Past the kernel's cache on the way to the disk, from a buffer that begins with a page: an emulator copies slowly.
    sink = os.open(device, os.O_RDWR | os.O_DIRECT)
    buffer = memoryview(mmap.mmap(-1, _CHUNK))
    with wim.path.open("rb", buffering=0) as source:
        room = os.lseek(sink, 0, os.SEEK_END)
        if room < system.size:
            raise Refused(f"partition {target} has {room >> 20} MiB, and the image wants {system.size >> 20}")
        for start, length in extents:
            source.seek(system.offset + start)
            left = length
            while left:
                part = buffer[: min(left, _CHUNK)]
                _fill(source, part)
                os.pwrite(sink, part, start + length - left)
                left -= len(part)
                done += len(part)
                if done * 10 // total > told:
                    told = done * 10 // total
                    console.show(f"copied {told}0 %")
    os.fsync(sink)
    os.close(sink)
    for path, kind, place in ((device, "ext4", TARGET), (partition_path(disk, efi.number), "vfat", EFI)):
        place.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", kind, str(path), str(place)], check=True)
    loader = wim.read(files["boot/loader.efi"])
    for folder, name in (("BOOT", "BOOTX64.EFI"), ("wfp-hil", "loader.efi")):
        (EFI / "EFI" / folder).mkdir(parents=True, exist_ok=True)
        (EFI / "EFI" / folder / name).write_bytes(loader)
    for name in ("vmlinuz", "initrd.img"):
        (EFI / name).write_bytes(wim.read(files[f"boot/{name}"]))
    options = wim.read(files["boot/options"]).decode().strip()
    (EFI / "boot.cfg").write_text(f"kernel=\\vmlinuz\noptions=initrd=\\initrd.img root={device} {options}\n")
    return add_boot_entry("wfp-hil stand-in system", _LOADER, efi)


def _fill(source: BinaryIO, part: memoryview) -> None:
    filled = 0
    while filled < len(part):
        count = source.readinto(part[filled:])
        if not count:
            raise Refused("the medium's sources/install.wim is shorter than it says")
        filled += count


def _leave_for_passes(answer_file: Path, facts: dict[str, object]) -> None:
    # Windows keeps the answer file in %WINDIR%\Panther for the passes that follow.
    panther = TARGET / "var/lib/wfp/prefix/drive_c/windows/Panther"
    panther.mkdir(exist_ok=True)
    shutil.copyfile(answer_file, panther / "unattend.xml")
    programs = TARGET / "usr/lib/wfp-hil/setup"
    programs.mkdir(exist_ok=True)
    for path in [*PROGRAMS.glob("*.py"), PROGRAMS / "first-boot"]:
        shutil.copyfile(path, programs / path.name)
    (programs / "first-boot").chmod(0o755)
    (programs / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
