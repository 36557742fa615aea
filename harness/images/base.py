"""The base layer: Debian packages at locked versions, kernel and Wine prefix, as one archive in the cache.

Versions come from `recipe/packages.lock`. They are looked for where the host finds its packages, then in Debian's
archive of the day on which the lock was made; where neither has them, the release's present versions are taken and
the image's manifest says in what they differ.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
import shutil
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.config.directories import cache_root
from harness.errors import HostError, ImageBuildError
from harness.images import scratch
from harness.images.recipe import Recipe
from harness.process import Completed, run
from harness.steps import note, step
from harness.waiting import Deadline

SUITE = "bookworm"
_SNAPSHOTS = "http://snapshot.debian.org/archive"
# What apt says when no source has a version, or when the archive of old versions cannot be reached.
_VERSION_GONE = re.compile(r"Version '.*' for '.*' was not found|Unable to locate package|no installation candidate")
_UNREACHABLE = re.compile(
    r"Failed to fetch|Could not (?:resolve|connect)|apt-get update.* failed|does not have a Release"
)


def base_layer(recipe: Recipe, deadline: Deadline) -> Path:
    """The archive of the base layer, from the cache or made now.

    Raises HostError with what mmdebstrap said; nothing half-made is left.
    """
    base = _place(recipe)
    if base.is_file():
        note("the base layer is in the cache", path=str(base))
        return base
    with _half(base) as half, step("unpack Debian and make the Wine prefix"):
        _make_locked(recipe, half, deadline)
        half.rename(base)
    _remove_old(recipe, base)
    return base


def write_lock(recipe: Recipe, deadline: Deadline) -> int:
    """Make the base layer from the newest versions and lock these; gives back how many packages there are."""
    with _half(_place(recipe)) as half:
        with step("unpack Debian and make the Wine prefix"):
            _mmdebstrap(recipe, half, _host_sources(), {}, deadline)
        kernel, packages = read_versions(half)
        recipe.lock.write_text(format_lock({**packages, **kernel}, dt.datetime.now(dt.UTC)))
        base = _place(recipe)
        half.rename(base)
    _remove_old(recipe, base)
    return len(packages) + len(kernel)


def read_versions(base: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Versions of the kernel's package and of all others, as base.sh wrote them into the archive."""
    with tarfile.open(base) as archive:
        texts: dict[str, str] = {}
        for name in ("kernel-version", "packages"):
            file = archive.extractfile(f"./boot/{name}")
            assert file is not None, f"base.sh writes boot/{name}"
            texts[name] = file.read().decode()
    kernel, packages = (dict(line.split(" ", 1) for line in text.splitlines()) for text in texts.values())
    return kernel, packages


def format_lock(versions: Mapping[str, str], now: dt.datetime) -> str:
    """The text of a lock."""
    lines = [
        "# Exact versions of all packages in the image; made by 'wfp-hil image lock', not by hand.",
        f"# snapshot {now:%Y%m%dT%H%M%SZ}",
        *(f"{name} {version}" for name, version in sorted(versions.items())),
    ]
    return "\n".join(lines) + "\n"


def differences(recipe: Recipe, versions: Mapping[str, str]) -> list[str]:
    """In what an image departs from the lock, one package an entry."""
    locked = recipe.locked_versions()
    return [
        f"{name} {versions.get(name, 'absent')}, locked {locked.get(name, 'absent')}"
        for name in sorted({*locked, *versions})
        if locked and locked.get(name) != versions.get(name)
    ]


def _make_locked(recipe: Recipe, target: Path, deadline: Deadline) -> None:
    locked = recipe.locked_versions()
    places = [("the host's package sources", _host_sources()), ("Debian's archive", _snapshot_sources(recipe))]
    for place, sources in places if locked else ():
        try:
            _mmdebstrap(recipe, target, sources, locked, deadline)
        except HostError as error:
            gone = _VERSION_GONE.search(error.message)
            if gone is None and not (place == "Debian's archive" and _UNREACHABLE.search(error.message)):
                raise
            note(f"{place} cannot serve the locked versions: {gone.group(0) if gone else 'not reachable'}")
        else:
            return
    _mmdebstrap(recipe, target, _host_sources(), {}, deadline)


def _mmdebstrap(
    recipe: Recipe, target: Path, sources: Sequence[str], locked: Mapping[str, str], deadline: Deadline
) -> None:
    kernel = next((f"{name}={locked[name]}" for name in locked if name.startswith("linux-image-")), "")
    includes = [f"{name}={version}" for name, version in locked.items() if not name.startswith("linux-image-")]
    with scratch.scratch_folder() as folder_for_all:
        # A copy that all may read: root of mmdebstrap's namespace may not enter a home that only its owner enters.
        steps = folder_for_all / "recipe"
        shutil.copytree(recipe.steps, steps)
        pins = steps / "pins"
        pins.write_text("".join(f"Package: {n}\nPin: version {v}\nPin-Priority: 1001\n\n" for n, v in locked.items()))
        script, pins_word = shlex.quote(str(steps / "base.sh")), shlex.quote(str(pins))
        folder = '"$1"/etc/apt/preferences.d'
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in recipe.excluded_paths]
        options += [f"--aptopt={option}" for option in _apt_options(deadline)]
        run_as_c(
            [
                *scratch.DIE_WITH_US,
                *(("unshare", *scratch.OWN_MOUNTS) if os.geteuid() == 0 else ()),
                "mmdebstrap",
                "--mode=root" if os.geteuid() == 0 else "--mode=unshare",
                "--variant=essential",
                f"--include={','.join(includes or recipe.packages)}",
                '--aptopt=APT::Install-Recommends "false"',
                "--dpkgopt=force-unsafe-io",
                *options,
                "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
                f"--setup-hook=mkdir -p {folder} && cp {pins_word} {folder}/wfp-hil",
                f'--customize-hook=sh {script} "$1" {shlex.quote(kernel)} && rm {folder}/wfp-hil',
                SUITE,
                target,
                *sources,
            ],
            deadline,
            TMPDIR=str(folder_for_all),
        )


def _place(recipe: Recipe) -> Path:
    return cache_root() / "bases" / f"{recipe.name}-{recipe.base_hash()}.tar"


@contextmanager
def _half(base: Path) -> Iterator[Path]:
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageBuildError(
            f"The folder '{base.parent}' cannot be made: {error.strerror}.",
            hint="Set WFP_HIL_CACHE to a folder that you may write to.",
        ) from error
    half = base.with_suffix(f".{os.getpid()}.half.tar")
    try:
        yield half
    finally:
        half.unlink(missing_ok=True)


def _remove_old(recipe: Recipe, base: Path) -> None:
    for old in base.parent.glob(f"{recipe.name}-*.tar"):
        if old != base and not old.name.endswith(".half.tar"):
            old.unlink()


def _host_sources() -> list[str]:
    """The host's own package sources, where the host is the Debian that the guest is; else mmdebstrap's default."""
    release = Path("/etc/os-release").read_text()
    if f"VERSION_CODENAME={SUITE}" not in release or "ID=debian" not in release.splitlines():
        return []
    folder = Path("/etc/apt/sources.list.d")
    files = [Path("/etc/apt/sources.list"), *sorted(folder.glob("*.list")), *sorted(folder.glob("*.sources"))]
    texts = {str(path): path.read_text() for path in files if path.is_file()}
    return [path for path, text in texts.items() if SUITE in text and "debian" in text][:1]


def _snapshot_sources(recipe: Recipe) -> list[str]:
    day = recipe.lock_snapshot()
    suites = (("debian", SUITE), ("debian", f"{SUITE}-updates"), ("debian-security", f"{SUITE}-security"))
    return [f"deb [check-valid-until=no] {_SNAPSHOTS}/{archive}/{day} {suite} main" for archive, suite in suites]


def _apt_options(deadline: Deadline) -> list[str]:
    """How the host's apt reaches its sources: proxies, and whether old indexes are accepted."""
    lines = run_as_c(["apt-config", "dump", "Acquire"], deadline).stdout.splitlines()
    wanted = ("acquire::http::proxy", "acquire::https::proxy", "acquire::check-valid-until", "acquire::retries")
    return [line.rstrip(";") for line in lines if line.lower().startswith(wanted) and '""' not in line]


def run_as_c(words: Sequence[str | Path], deadline: Deadline, **variables: str) -> Completed:
    """Run a program whose messages are read here, with the sbin folders on the path, where mke2fs lies.

    Raises HostError with all that it said: of pages of apt's, the line that tells may be anywhere.
    """
    path = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
    env = {**os.environ, "PATH": path, "LC_ALL": "C.UTF-8", **variables}
    done = run(words, deadline=deadline, env=env, check=False)
    if done.exit_code != 0:
        call = shlex.join(done.argv)
        program = next((name for name in ("mmdebstrap", "finish.sh", "qemu-img") if name in call), str(words[0]))
        raise HostError(f"'{program}' ended with exit code {done.exit_code}:\n{call}\n{done.stdout}\n{done.stderr}")
    return done
