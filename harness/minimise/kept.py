"""What a search leaves in its folder, and what a bundle says: everything that a reproduction depends on, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import HostError, UsageError

RECORD = "reproduction.json"
CAPTURE = "minimised.pcapng"
SCENARIO = "test_minimised.py"
_LONGEST = 1 << 20
_TEXT_MOST = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction:
    """How to make a driver fail by a capture; `patience` is in seconds, `driver` a file name or '' for our own."""

    guest: str
    driver: str
    driver_sha256: str
    until: str
    guest_addresses: tuple[str, ...]
    timing: str = "fast"
    patience: float = 5.0
    seed: int = 0
    nic: str = ""
    vcpus: int = 0
    contract: str = "fail"
    image: str = ""
    harness: str = ""
    source: str = ""
    source_packets: int = 0
    packets: int = 0
    seen: str = ""
    verdict: str = ""

    def as_record(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self) | {"guest_addresses": list(self.guest_addresses)}

    @classmethod
    def from_record(cls, record: Mapping[str, object], where: str) -> Reproduction:
        """Read it back, from whoever it is; raises UsageError for what is none."""
        values: dict[str, object] = {}
        for name, field in cls.__dataclass_fields__.items():
            if name not in record:
                continue
            value = record[name]
            if name == "guest_addresses":
                if not isinstance(value, list) or not all(isinstance(each, str) and len(each) < 64 for each in value):
                    raise _wrong(where, name, value)
                values[name] = tuple(value)
                continue
            wanted = {"str": str, "int": int, "float": (int, float)}[str(field.type)]
            if isinstance(value, bool) or not isinstance(value, wanted) or len(str(value)) > _TEXT_MOST:  # type: ignore[arg-type]
                raise _wrong(where, name, value)
            values[name] = value
        missing = [
            name for name in ("guest", "driver", "driver_sha256", "until", "guest_addresses") if name not in values
        ]
        if missing:
            raise UsageError(f"{where} does not say '{missing[0]}'.")
        return cls(**values)  # type: ignore[arg-type]


def write_record(folder: Path, kept: Reproduction, driver: Path | None) -> None:
    """Write it beside the capture; the driver's path stays on this host and goes into no bundle."""
    record = kept.as_record() | {"driver_path": str(driver.absolute()) if driver is not None else ""}
    try:
        (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise HostError(f"'{folder / RECORD}' cannot be written: {error.strerror}.") from error


def read_record(folder: Path) -> tuple[Reproduction, Path | None]:
    """Read it, with the path that the driver had; raises UsageError when the folder has none."""
    path = folder / RECORD
    try:
        text = path.read_text(encoding="utf-8")
        record = json.loads(text) if len(text) <= _LONGEST else None
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(
            f"'{path}' cannot be read: {error}.", hint="Give the folder that 'wfp-hil minimise' has written."
        ) from error
    if not isinstance(record, dict):
        raise UsageError(f"'{path}' is no record of a reproduction.")
    place = record.get("driver_path")
    return Reproduction.from_record(record, f"'{path}'"), Path(place) if isinstance(place, str) and place else None


def _wrong(where: str, name: str, value: object) -> UsageError:
    return UsageError(f"{where} has {str(value)[:80]!r} for '{name}', which makes no sense.")
