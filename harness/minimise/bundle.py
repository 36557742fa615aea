"""A bundle: what is needed to run a reproduction elsewhere, as one zip with a manifest.

`manifest.json` names the format, every file with its size and SHA-256, and what the reproduction depends on. What is
not in it: images, passwords, keys, certificates, paths of the host. Whoever opens a bundle trusts nothing of it: sizes
are bounded before anything is unpacked, names are the manifest's and lie in the bundle's own folder.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import HostError, UsageError

FORMAT = 1
MANIFEST = "manifest.json"
_MANIFEST_MOST = 1 << 20
_FILE_MOST = 256 << 20
_WHOLE_MOST = 512 << 20
_FILES_MOST = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CHUNK = 1 << 20
# What zipfile and zlib raise of a damaged file.
_UNREADABLE = (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, ValueError)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bundle from the same files


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was unpacked: where its files are, and what its manifest says of the reproduction."""

    folder: Path
    files: Mapping[str, Path]
    facts: Mapping[str, Any]

    def file(self, role: str) -> Path:
        """The file that plays this role (capture, driver, profile); raises UsageError when there is none."""
        name = self.facts.get("roles", {}).get(role)
        if not isinstance(name, str) or name not in self.files:
            raise UsageError(f"The bundle has no {role}.", hint="Pack it again with 'wfp-hil bundle'.")
        return self.files[name]


def pack(target: Path, files: Mapping[str, Path], facts: Mapping[str, object]) -> Path:
    """Write a bundle of these files, by the role that each plays; gives back `target`.

    Raises HostError when it cannot be written, UsageError for a file that is missing or too large.
    """
    roles: dict[str, str] = {}
    contents: dict[str, bytes] = {}
    for role, path in files.items():
        name = re.sub(r"[^A-Za-z0-9._-]", "_", path.name).lstrip("._-") or role
        if name in contents or name == MANIFEST:
            name = f"{role}-{name}"
        contents[name] = _read(path)
        roles[role] = name
    about = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in contents.items()}
    manifest = {**facts, "format": FORMAT, "roles": roles, "files": about}
    beside = target.with_name(f".{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as archive:
            text = json.dumps(manifest, indent=2, sort_keys=True) + "\n"
            for name, data in {MANIFEST: text.encode(), **contents}.items():
                archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
        beside.replace(target)
    except OSError as error:
        raise HostError(f"The bundle '{target}' cannot be written: {error.strerror}.") from error
    finally:
        beside.unlink(missing_ok=True)
    return target


def is_bundle(path: Path) -> bool:
    """Whether a file begins as a zip does; what it holds is seen when it is unpacked."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def unpack(path: Path, folder: Path) -> Bundle:
    """Check a bundle and unpack it into an empty folder; nothing is written of one that is refused.

    Raises UsageError for a newer format, a file too many or too few, a wrong size or hash, or a name that leads
    out of the folder.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(path, archive)
            contents = {
                name: _content(path, archive, name, about) for name, about in _check_files(path, archive, manifest)
            }
    except _UNREADABLE as error:
        raise UsageError(f"The bundle '{path}' cannot be read: {error}.", hint="Was it copied whole?") from error
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return Bundle(folder, {name: folder / name for name in contents}, manifest)


def _manifest(path: Path, archive: zipfile.ZipFile) -> dict[str, Any]:
    try:
        info = archive.getinfo(MANIFEST)
    except KeyError as error:
        raise UsageError(
            f"'{path}' is a zip, and no bundle: it has no {MANIFEST}.", hint="'wfp-hil bundle' makes bundles."
        ) from error
    try:
        manifest = json.loads(_bounded(path, archive, info, _MANIFEST_MOST))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"The manifest of the bundle '{path}' is no JSON: {error}.") from error
    if not isinstance(manifest, dict) or type(manifest.get("format")) is not int:
        raise UsageError(f"The manifest of the bundle '{path}' names no format.")
    if manifest["format"] > FORMAT:
        raise UsageError(
            f"The bundle '{path}' has format {manifest['format']}, this wfp-hil reads up to {FORMAT}.",
            hint="It was made by a newer version: take that one, or one that is newer still.",
        )
    if manifest["format"] < 1:
        raise UsageError(f"The bundle '{path}' has format {manifest['format']}, which there never was.")
    return manifest


def _check_files(
    path: Path, archive: zipfile.ZipFile, manifest: Mapping[str, Any]
) -> list[tuple[str, tuple[int, str]]]:
    files = manifest.get("files")
    inside = [info.filename for info in archive.infolist()]
    if not isinstance(files, dict) or len(inside) > _FILES_MOST:
        raise UsageError(f"The bundle '{path}' has {len(inside)} files, {_FILES_MOST} are allowed, or lists none.")
    for name in (*inside, *files):
        if not _NAME.fullmatch(name):
            raise UsageError(f"The bundle '{path}' has a file called {name!r}, which no bundle of ours would hold.")
    if sorted(inside) != sorted([MANIFEST, *files]):
        odd = sorted({*inside}.symmetric_difference({MANIFEST, *files})) or ["one of them twice"]
        raise UsageError(f"The bundle '{path}' does not hold what its manifest lists: {', '.join(odd)}.")
    found, whole = [], 0
    for name, about in files.items():
        match about:
            case {"size": int(size), "sha256": str(digest)} if 0 <= size <= _FILE_MOST:
                whole += size
                found.append((name, (size, digest)))
            case _:
                raise UsageError(f"The manifest of the bundle '{path}' says no right size and hash of '{name}'.")
    if whole > _WHOLE_MOST:
        raise UsageError(f"The bundle '{path}' holds {whole >> 20} MiB, {_WHOLE_MOST >> 20} are allowed.")
    return found


def _content(path: Path, archive: zipfile.ZipFile, name: str, about: tuple[int, str]) -> bytes:
    size, digest = about
    data = _bounded(path, archive, archive.getinfo(name), size)
    if len(data) != size:
        raise UsageError(f"'{name}' in the bundle '{path}' has {len(data)} bytes, its manifest says {size}.")
    if hashlib.sha256(data).hexdigest() != digest:
        raise UsageError(
            f"'{name}' in the bundle '{path}' is not the file that was packed: its SHA-256 is another.",
            hint="Was it changed, or copied with an error? Ask for it again.",
        )
    return data


def _bounded(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, most: int) -> bytes:
    """At most so many bytes, whatever the zip says of itself."""
    data = bytearray()
    with archive.open(info) as file:
        while chunk := file.read(_CHUNK):
            data += chunk
            if len(data) > most:
                raise UsageError(f"'{info.filename}' in the bundle '{path}' is larger than the {most} bytes it may be.")
    return bytes(data)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > _FILE_MOST:
            raise UsageError(f"'{path}' has {size >> 20} MiB, a bundle takes files of at most {_FILE_MOST >> 20}.")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"'{path}' cannot be packed: {error.strerror}.") from error
