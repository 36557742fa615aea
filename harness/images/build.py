"""Building an image: base layer, finish, disk; everything in a temporary folder that becomes the image by a rename."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import shutil
import sysconfig
import tempfile
from contextlib import suppress
from pathlib import Path

from harness.errors import DeadlineExpired, HostError, ImageBuildError
from harness.images import scratch
from harness.images.base import base_layer, differences, run_as_c
from harness.images.cache import TEMPORARY, Image, images_root, load_image, remove_broken, remove_image
from harness.images.initrd import write_initrd
from harness.images.recipe import Recipe
from harness.images.secrets import make_secrets
from harness.process import find_tool
from harness.steps import note, step
from harness.waiting import Deadline

_ROOM = 4 << 30  # the base layer, its unpacked tree and the raw disk lie on the host at the same time
_SCRATCH_ROOM = 2 << 30  # Debian unpacked, before it is packed into the base layer
# What the kernel says, what apt says before it tries, what quotas say.
_DISK_FULL = re.compile(r"No space left on device|enough free space|Disk quota exceeded")
_ELSEWHERE = "Free some space, or set WFP_HIL_CACHE, and TMPDIR for what is temporary, to folders on another disk."
_BUILD_SECONDS = 1800.0


def build_image(recipe: Recipe, image_hash: str) -> Image:
    """Build the image and put it into its place; the caller holds the lock of the name.

    Raises ImageBuildError; nothing half-built is left behind.
    """
    final = images_root() / f"{recipe.name}-{image_hash}"
    _check_host()
    deadline = Deadline(_BUILD_SECONDS)
    remove_broken(recipe.name)
    temporary = Path(tempfile.mkdtemp(prefix=f"{TEMPORARY}{recipe.name}-", dir=images_root()))
    try:
        temporary.chmod(0o711)
        with step(f"build image '{recipe.name}'", hash=image_hash):
            _build_model(recipe, deadline)
            base = base_layer(recipe, deadline)
            work = temporary / "work"
            work.mkdir(mode=0o755)
            with step("install model, init and WinRM endpoint"):
                _finish(recipe, base, work, temporary / "secrets", deadline)
            with step("compress the disk"):
                # zstd, not the default zlib: a third of the time here, and quicker to read for every boot.
                options = ["-c", "-O", "qcow2", "-o", "compression_type=zstd"]
                run_as_c(["qemu-img", "convert", *options, work / "disk.raw", temporary / "disk.qcow2"], deadline)
            (work / "vmlinuz").rename(temporary / "vmlinuz")
            write_initrd(work / "initrd", temporary / "initrd.img")
            for name in ("disk.qcow2", "vmlinuz", "initrd.img"):
                (temporary / name).chmod(0o644)
            _write_manifest(recipe, image_hash, work, temporary)
            scratch.remove_tree(work)
            if final.exists():
                remove_image(final)
            temporary.rename(final)
    except ImageBuildError:
        raise
    except OSError as error:
        raise _explain(str(error)) from error
    except HostError as error:
        raise _explain(error.message, error.hint) from error
    except DeadlineExpired as error:
        raise ImageBuildError(f"Image '{recipe.name}' was not built in time: {error.message}") from error
    finally:
        if temporary.exists():
            scratch.remove_tree(temporary)
    image = load_image(final)
    if image is None:
        raise ImageBuildError(f"The image in '{final}' is not complete right after its build.")
    note(f"image '{recipe.name}' is ready", path=str(final), megabytes=image.disk.stat().st_size >> 20)
    return image


def _explain(message: str, hint: str | None = None) -> ImageBuildError:
    """One sentence of what may be pages of apt's and dpkg's; the pages go into a file."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if len(lines) > 1:
        log = images_root() / "last-failure.log"
        with suppress(OSError):
            log.write_text(message + "\n", encoding="utf-8")
            hint = hint or f"All that was said is in '{log}'."
    full = next((line for line in lines if _DISK_FULL.search(line)), None)
    if full is not None:
        free = ", ".join(f"{shutil.disk_usage(path).free >> 20} MB free in '{path}'" for path in _places())
        return ImageBuildError(
            f"The disk became full while the image was built (now {free}): {full[-200:]}", hint=_ELSEWHERE
        )
    telling = [line for line in lines if line.startswith(("E: ", "tar: ", "mke2fs: ", "unshare: "))] or lines[-1:]
    first = lines[0].rstrip(":") + ": " if len(lines) > 1 else ""
    return ImageBuildError(f"The image could not be built: {first}{telling[0][:200]}", hint=hint)


def _check_host() -> None:
    missing = [tool for tool in ("mmdebstrap", "qemu-img", "mke2fs", "unshare") if find_tool(tool) is None]
    if missing:
        raise ImageBuildError(
            f"Building an image needs programs that are not installed: {', '.join(missing)}.",
            hint="'make setup' installs all that is needed.",
        )
    if os.geteuid() != 0:
        scratch.check_namespaces()
    for place, wanted in _places().items():
        free = shutil.disk_usage(place).free
        if free < wanted:
            raise ImageBuildError(
                f"Building an image needs {wanted >> 20} MB on disk and '{place}' has {free >> 20} MB.",
                hint=_ELSEWHERE,
            )


def _places() -> dict[Path, int]:
    """Where a build writes, and how much room it wants there."""
    return {images_root(): _ROOM, scratch.scratch_root(): _SCRATCH_ROOM}


def _parts(recipe: Recipe) -> list[Path]:
    """What of the model is there: the engine, the Winsock that asks it."""
    return [part for part in (recipe.model, recipe.winsock) if (part / "install.sh").is_file()]


def _build_model(recipe: Recipe, deadline: Deadline) -> None:
    if (recipe.model / "install.sh").is_file():
        with step("build the WFP model"):
            for part in _parts(recipe):
                run_as_c(["make", "-s", "-C", part], deadline)
    else:
        note("there is no WFP model: the image will have none")
    run_as_c(["make", "-s", "-C", recipe.folder / "winrm"], deadline)


def _finish(recipe: Recipe, base: Path, work: Path, secrets_folder: Path, deadline: Deadline) -> None:
    secrets = make_secrets()
    secrets.write_for_host(secrets_folder)
    overlay = work / "overlay"
    programs = overlay / "usr" / "lib" / "wfp-hil"
    programs.mkdir(parents=True)
    shutil.copy(recipe.folder / "init" / "init", programs / "init")
    packages = overlay / "usr" / "lib" / "python3" / "dist-packages"
    for part in (recipe.folder / "winrm" / "wfp_winrm", recipe.folder / "channel" / "wfp_channel"):
        shutil.copytree(part, packages / part.name, ignore=shutil.ignore_patterns("__pycache__"))
    system32 = overlay / "var" / "lib" / "wfp" / "prefix" / "drive_c" / "windows" / "system32"
    system32.mkdir(parents=True)
    shutil.copy(recipe.folder / "winrm" / "build" / "winrshost.exe", system32)
    shutil.copytree(
        Path(sysconfig.get_path("purelib")) / "spnego",
        packages / "spnego",
        ignore=shutil.ignore_patterns("__pycache__", "*.pyi"),
    )
    secrets.write_for_guest(overlay)
    shutil.copy(recipe.folder / "init" / "sshd_config", overlay / "etc" / "ssh" / "sshd_config")
    (overlay / "etc" / "wfp-hil" / "winrm.json").write_text(
        json.dumps(
            {
                "address": "10.0.2.15",
                "port": 5986,
                "certificate": "/etc/wfp-hil/winrm.pem",
                "users": "/etc/wfp-hil/users",
                "runner": "wine",
                "wine": "/usr/lib/wine/wine64",
                "prefix": "/var/lib/wfp/prefix",
            }
        )
    )
    for part in _parts(recipe):
        target = overlay / "var" / "lib" / "wfp" / part.name
        products = shutil.ignore_patterns("__pycache__", "src", "*.o", "*.obj", "*.gch", "*.exe", "checked")
        shutil.copytree(part, target, ignore=products)
    out = work / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    script = [recipe.steps / "finish.sh", base, overlay, out, recipe.steps / "initrd-init"]
    own = [*(scratch.as_root() or ["unshare"]), *scratch.OWN_MOUNTS]
    run_as_c([*scratch.DIE_WITH_US, *own, "sh", *script], deadline)
    for path in out.iterdir():
        path.rename(work / path.name)


def _write_manifest(recipe: Recipe, image_hash: str, work: Path, target: Path) -> None:
    packages = dict(line.split(" ", 1) for line in (work / "packages").read_text().splitlines())
    kernel = (work / "kernel-version").read_text().strip()
    departures = differences(recipe, {**packages, kernel.split()[0]: kernel.split()[1]})
    if departures:
        note(f"the image departs from the lock in {len(departures)} packages: {departures[0]}")
    files = {name: (target / name).stat().st_size for name in ("disk.qcow2", "vmlinuz", "initrd.img")}
    manifest = {
        "name": recipe.name,
        "hash": image_hash,
        "built": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "kernel": kernel,
        "model": (recipe.model / "install.sh").is_file(),
        "size_bytes": sum(files.values()),
        "files": files,
        "packages": packages,
        "not_as_locked": departures,
    }
    (target / "image.json").write_text(json.dumps(manifest, indent=2) + "\n")
