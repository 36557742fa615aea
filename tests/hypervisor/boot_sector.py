"""A guest of 100 bytes: says that it is ready, then writes the number of each timer tick to the serial port.

  cli; xor ax, ax; mov ds, ax; mov ss, ax; mov sp, 0x7c00; jmp 0:init
init: mov si, msg
next: lodsb; test al, al; jz run; call putc; jmp next
run:  sti; xor cx, cx
tick: hlt; inc cx; mov bx, cx; mov di, 4
hex:  rol bx, 4; mov al, bl; and al, 15; add al, 'A'; call putc; dec di; jnz hex
      mov al, 10; call putc; jmp tick
putc: push ax; mov dx, 0x3fd; wait until bit 5; pop ax; mov dx, 0x3f8; out dx, al; ret
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

_CODE = bytes.fromhex(
    "fa31c08ed88ed0bc007cea0f7c0000be4b7cac84c07405e82200ebf6fb31c9f4"
    "4189cbbf0400c1c30488d8240f0441e80a004f75f1b00ae80200ebe350bafd03"
    "eca82074fb58baf803eec3"
)


@dataclass(frozen=True)
class TickingImage:
    disk: Path
    kernel: Path | None = None
    initrd: Path | None = None
    nvram: Path | None = None
    tpm: Path | None = None


def make_image(folder: Path) -> TickingImage:
    sector = (_CODE + b"\nwfp-hil: ready\n\0").ljust(510, b"\0") + b"\x55\xaa"
    raw, disk = folder / "ticking.img", folder / "ticking.qcow2"
    raw.write_bytes(sector.ljust(1 << 20, b"\0"))
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, disk], check=True)
    return TickingImage(disk)


def ticks(serial: str) -> list[int]:
    """The numbers in the order they were written; each digit is a letter from 'A' on."""
    lines = [line for line in serial.splitlines() if len(line) == 4 and line.isupper()]
    return [int("".join(f"{ord(letter) - ord('A'):x}" for letter in line), 16) for line in lines]
