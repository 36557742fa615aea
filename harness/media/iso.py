"""Reading an ISO: its files by path, whichever of its file systems has them.

Windows' own media have their files in UDF alone; beside it lies an ISO 9660 tree with one file that says so. pycdlib
reads both, and opens Microsoft's media as they are: https://github.com/clalancette/pycdlib, issue 22, pull request 142.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal, cast

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from harness.errors import UsageError

System = Literal["udf", "joliet", "iso9660"]
_UEFI = 0xEF  # platform in El Torito's catalog: UEFI specification 2.10, section 13.3.2.1
_MOST_FILES = 200_000  # a medium of Windows has one or two thousand
_DAMAGED = "The file may be damaged, or be no CD image at all; compare its SHA-256 with what its source says."


class Medium:
    """An open ISO. Paths are relative, with '/' in between, and the case of letters does not matter."""

    def __init__(self, path: Path, file: BinaryIO, iso: pycdlib.PyCdlib) -> None:
        self.path = path
        self._file = file
        self._iso = iso
        self.system: System = "udf" if iso.has_udf() else "joliet" if iso.has_joliet() else "iso9660"

    @property
    def volume_id(self) -> str:
        """The label, as ISO 9660 has it."""
        return str(self._iso.pvd.volume_identifier.decode("ascii", "replace")).strip()

    @cached_property
    def _files(self) -> dict[str, str]:
        """Paths in small letters, and as they are written on the medium."""
        found: dict[str, str] = {}
        with _explained(self.path):
            for folder, _, names in self._iso.walk(**{self._key: "/"}):
                for name in names:
                    place = f"{folder.rstrip('/')}/{name}"
                    found[self._plain(place).casefold()] = place
                if len(found) > _MOST_FILES:
                    raise UsageError(f"'{self.path}' has more than {_MOST_FILES} files: it is no installation medium.")
        return found

    @property
    def listing(self) -> tuple[str, ...]:
        """Paths of all files, sorted."""
        return tuple(sorted(self._plain(place) for place in self._files.values()))

    def exists(self, path: str) -> bool:
        """Whether there is a file of this path."""
        return path.casefold() in self._files

    def size(self, path: str) -> int:
        """Bytes in a file. Raises UsageError when there is none."""
        place = self._place(path)
        with _explained(self.path):
            return int(self._iso.get_record(**{self._key: place}).get_data_length())

    def read(self, path: str, limit: int) -> bytes:
        """All of a small file. Raises UsageError when there is none, or it is larger than `limit` bytes."""
        size = self.size(path)
        if size > limit:
            raise UsageError(f"'{path}' on '{self.path}' has {size} bytes, and at most {limit} are read.")
        with _explained(self.path), self.open(path) as stream:
            data = stream.read(size)
        if len(data) < size:
            raise UsageError(
                f"'{self.path}' ends in the middle of '{path}': {len(data)} of {size} bytes are there.", hint=_DAMAGED
            )
        return data

    @contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """A file as a stream that can seek. Raises UsageError when there is none."""
        place = self._place(path)
        with ExitStack() as stack:
            with _explained(self.path):
                stream = stack.enter_context(self._iso.open_file_from_iso(**{self._key: place}))
            yield cast("BinaryIO", stream)

    @property
    def uefi_bootable(self) -> bool:
        """Whether El Torito's catalog has an entry for UEFI."""
        catalog = self._iso.eltorito_boot_catalog
        if catalog is None:
            return False
        platforms = [catalog.validation_entry.platform_id, *(section.platform_id for section in catalog.sections)]
        return _UEFI in platforms

    def close(self) -> None:
        """Close the file."""
        self._iso.close()
        self._file.close()

    @property
    def _key(self) -> str:
        return {"udf": "udf_path", "joliet": "joliet_path", "iso9660": "iso_path"}[self.system]

    def _plain(self, place: str) -> str:
        # ISO 9660 ends a name with ';1', and with a dot where it has no ending.
        return place.lstrip("/").partition(";")[0].rstrip(".") if self.system == "iso9660" else place.lstrip("/")

    def _place(self, path: str) -> str:
        place = self._files.get(path.casefold())
        if place is None:
            raise UsageError(f"'{self.path}' has no file '{path}'.")
        return place


def open_medium(path: Path) -> Medium:
    """Open an ISO. Raises UsageError when it cannot be read as one."""
    iso = pycdlib.PyCdlib()
    with _explained(path), ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        iso.open_fp(file)
        stack.pop_all()
        return Medium(path, file, iso)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """What pycdlib says of files that are not as they should be: its own errors, or Python's where it did not look."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"There is no file '{path}'.") from error
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror or error}.") from error
    except PyCdlibException as error:
        raise UsageError(f"'{path}' is no ISO that can be read: {error}.", hint=_DAMAGED) from error
    except (ArithmeticError, LookupError, MemoryError, RecursionError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"'{path}' is no ISO that can be read: {error!r}.", hint=_DAMAGED) from error
    except Exception as error:
        # struct.error is a plain Exception.
        if type(error).__module__ != "struct":
            raise
        raise UsageError(f"'{path}' is no ISO that can be read: {error}.", hint=_DAMAGED) from error
