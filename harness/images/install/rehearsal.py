"""The stand-in for Windows' medium: an ISO of our own that installs the reference guest as Setup would Windows.

Kept in the cache under the hash of what it is made from. `vm-images/rehearsal/installer` has its programs.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from pathlib import Path

from harness.config import load_profile
from harness.config.directories import cache_root, profiles_root
from harness.errors import ImageBuildError
from harness.images.base import run_as_c
from harness.images.cache import Image
from harness.images.initrd import write_initrd
from harness.media import write_boot_medium
from harness.ownership import temporary_folder
from harness.steps import note, step
from harness.waiting import Deadline

LABEL = "WFPHIL_STANDIN"
PROMPT_SECONDS = 5
# Two images that differ in name alone, as on a medium with several editions. Architecture 9 is amd64.
EDITIONS = (("wfp-hil stand-in Enterprise", "Enterprise"), ("wfp-hil stand-in Home", "Core"))
BUILD = 22631
_INSTALLER = profiles_root() / "rehearsal" / "installer"
_FORMAT = "1"
_FAT_SECTOR = 512


def installer_path(image: Image) -> Path:
    """Where the medium for this reference image lies, or would lie."""
    return cache_root() / "media" / f"rehearsal-{_hash(image)}.iso"


def build_installer(image: Image, deadline: Deadline) -> Path:
    """The medium for this reference image, from the cache or made now.

    Raises ImageBuildError with what failed; nothing half-made is left.
    """
    target = installer_path(image)
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        step("make the stand-in for Windows' medium"),
        temporary_folder("medium", beside=target.parent) as work,
    ):
        _make(image, work, deadline)
        # The image is mostly holes; a medium without them would be twice as large.
        run_as_c(["fallocate", "--dig-holes", work / "medium.iso"], deadline)
        (work / "medium.iso").chmod(0o644)
        (work / "medium.iso").rename(target)
    # An installation that goes on may still want the one before.
    media = sorted(target.parent.glob("rehearsal-*.iso"), key=lambda path: path.stat().st_mtime)
    for old in media[:-2]:
        old.unlink(missing_ok=True)
    note("the stand-in medium is ready", path=str(target))
    return target


def _hash(image: Image) -> str:
    digest = hashlib.sha256(f"{_FORMAT} {image.hash} {_options()} {EDITIONS} {BUILD} {PROMPT_SECONDS}".encode())
    for path in sorted(_INSTALLER.rglob("*")):
        if path.is_file() and path.suffix != ".md" and not {"build", "__pycache__"} & set(path.parts):
            digest.update(f"\0{path.relative_to(_INSTALLER)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _options() -> str:
    """Kernel arguments of the installed system: the reference guest's, but for what the installer knows better."""
    words = load_profile("reference").boot.kernel_arguments.split()
    return " ".join(word for word in words if not word.startswith("root="))


def _make(image: Image, work: Path, deadline: Deadline) -> None:
    run_as_c(["make", "-s", "-C", _INSTALLER / "loader"], deadline)
    loader = _INSTALLER / "loader" / "build" / "loader.efi"
    assert image.kernel is not None, "the reference image boots directly"
    tree = work / "tree"
    boot = tree / "boot"
    boot.mkdir(parents=True)
    system = tree / "system.img"
    run_as_c(["qemu-img", "convert", "-O", "raw", image.disk, system], deadline)
    (tree / "system.extents").write_text(json.dumps(_extents(system)))
    modules = work / "modules"
    modules.mkdir()
    run_as_c(["debugfs", "-R", f"rdump /usr/lib/wfp-hil/media-modules {modules}", system], deadline)
    modules /= "media-modules"
    if not (modules / "order").is_file():
        raise ImageBuildError(
            f"The image '{image.path}' has no drivers for disks and CDs of a PC.",
            hint="It was built before there were any: 'wfp-hil image build reference' builds a new one.",
        )
    shutil.copy(image.kernel, boot / "vmlinuz")
    shutil.copy(loader, boot / "loader.efi")
    (boot / "options").write_text(_options() + "\n")
    _write_initrd(image, modules, boot / "initrd.img", {"init": _INSTALLER / "boot" / "disk-init"})
    wim = work / "install.wim"
    _write_wim(tree, wim, deadline)
    place = work / "system-place"
    place.write_text("{} {}\n".format(*_find_system(wim)))
    system.unlink()
    programs: dict[str, Path] = {f"setup/{path.name}": path for path in (_INSTALLER / "setup").glob("*.py")}
    programs |= {"init": _INSTALLER / "boot" / "setup-init", "setup/first-boot": _INSTALLER / "boot" / "first-boot"}
    _write_initrd(image, modules, work / "initrd.img", {**programs, "system-place": place})
    efi = work / "efisys.bin"
    _write_efi_image(efi, loader, image.kernel, work / "initrd.img", deadline)
    files: dict[str, bytes | Path] = {
        "efi/boot/bootx64.efi": loader,
        "setup.exe": b"MZ: this medium is a stand-in for the tests of wfp-hil and installs no Windows.\r\n",
        "sources/install.wim": wim,
    }
    write_boot_medium(work / "medium.iso", files, label=LABEL, efi_image=efi)


def _extents(path: Path) -> list[tuple[int, int]]:
    """Start and length of what is not a hole."""
    found: list[tuple[int, int]] = []
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        place = 0
        while place < end:
            try:
                start = file.seek(place, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                break
            place = file.seek(start, os.SEEK_HOLE)
            found.append((start, place - start))
    return found


def _write_initrd(image: Image, modules: Path, target: Path, files: dict[str, Path]) -> None:
    """The image's own initrd, with its busybox, and behind it an archive whose files come over those before."""
    assert image.initrd is not None
    with temporary_folder("initrd") as tree:
        for name, source in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tree / name)
        (tree / "init").chmod(0o755)
        for name in ("sys", "lib"):
            (tree / name).mkdir(exist_ok=True)
        order = (modules / "order").read_text().split()
        for name in order:
            (tree / "lib" / name).write_bytes(_unsigned((modules / name).read_bytes()))
        (tree / "media-modules").write_text("".join(f"/lib/{name}\n" for name in order))
        own = target.with_suffix(".own")
        write_initrd(tree, own)
    first = image.initrd.read_bytes()
    # The kernel wants the next archive to start at a multiple of four.
    target.write_bytes(first + bytes(-len(first) % 4) + own.read_bytes())
    own.unlink()


def _unsigned(module: bytes) -> bytes:
    """A kernel module without its signature: to check one costs an emulated guest a tenth of a second.

    The end of a signed module: signature, its description with its size in the last four bytes, and these words.
    """
    words = b"~Module signature appended~\n"
    if not module.endswith(words):
        return module
    size = int.from_bytes(module[-len(words) - 4 : -len(words)], "big")
    return module[: -len(words) - 12 - size]


def _write_wim(tree: Path, wim: Path, deadline: Deadline) -> None:
    name, edition = EDITIONS[0]
    properties = {
        "DISPLAYNAME": name,
        "DISPLAYDESCRIPTION": name,
        "WINDOWS/ARCH": "9",
        "WINDOWS/PRODUCTNAME": "wfp-hil stand-in",
        "WINDOWS/EDITIONID": edition,
        "WINDOWS/INSTALLATIONTYPE": "Client",
        "WINDOWS/LANGUAGES/LANGUAGE": "en-US",
        "WINDOWS/LANGUAGES/DEFAULT": "en-US",
        "WINDOWS/VERSION/MAJOR": "10",
        "WINDOWS/VERSION/MINOR": "0",
        "WINDOWS/VERSION/BUILD": str(BUILD),
        "WINDOWS/VERSION/SPBUILD": "1",
    }
    words = [f"--image-property={key}={value}" for key, value in properties.items()]
    # Not compressed: the medium's own kernel mounts the system where it lies.
    run_as_c(["wimlib-imagex", "capture", tree, wim, name, "--compress=none", "--no-acls", *words], deadline)
    for number, (name, edition) in enumerate(EDITIONS[1:], 2):
        run_as_c(["wimlib-imagex", "export", wim, "1", wim, name], deadline)
        words = [f"--image-property=WINDOWS/EDITIONID={edition}", f"--image-property=DISPLAYNAME={name}"]
        run_as_c(["wimlib-imagex", "info", wim, str(number), *words], deadline)


def _find_system(wim: Path) -> tuple[int, int]:
    """Offset and size of the system in the WIM, which is its largest resource."""
    with wim.open("rb") as file:
        file.seek(0x30)
        size, offset, _ = struct.unpack("<QQQ", file.read(24))
        file.seek(offset)
        table = file.read(size & ((1 << 56) - 1))
    blobs = [struct.unpack_from("<QQ", table, start) for start in range(0, len(table), 50)]
    size, offset = max((size & ((1 << 56) - 1), offset) for size, offset in blobs)
    return offset, size


def _write_efi_image(target: Path, loader: Path, kernel: Path, initrd: Path, deadline: Deadline) -> None:
    options = f"initrd=\\initrd.img console=tty0 quiet {_options_of_setup()}"
    config = target.with_name("boot.cfg")
    config.write_text(f"prompt={PROMPT_SECONDS}\nkernel=\\vmlinuz\noptions={options}\n")
    room = sum(path.stat().st_size for path in (loader, kernel, initrd)) + (1 << 20)
    sectors = room // _FAT_SECTOR // 64 * 64 + 64
    run_as_c(["mformat", "-i", target, "-C", "-T", str(sectors), "-h", "2", "-s", "32", "-v", "EFISYS", "::"], deadline)
    run_as_c(["mmd", "-i", target, "::/EFI", "::/EFI/BOOT"], deadline)
    places = {"EFI/BOOT/BOOTX64.EFI": loader, "vmlinuz": kernel, "initrd.img": initrd, "boot.cfg": config}
    for name, source in places.items():
        run_as_c(["mcopy", "-i", target, source, f"::/{name}"], deadline)


def _options_of_setup() -> str:
    keep = ("clocksource=", "tsc=", "mitigations=", "nopti", "no5lvl", "panic=")
    return " ".join(word for word in _options().split() if word.startswith(keep))
