"""The guest's screen: saved as a picture, and small enough for a terminal."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image as Picture
from rich.color import Color
from rich.style import Style
from rich.text import Text

_UPPER_HALF = "▀"


def save_png(picture: bytes, target: Path) -> Path:
    """Write a picture, PNG or PPM, as PNG; gives back where."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Picture.open(io.BytesIO(picture)) as opened:
        opened.convert("RGB").save(target, "PNG")
    return target


def thumbnail(picture: bytes, columns: int, rows: int) -> Text:
    """The picture in half blocks: each character is two points, one above the other."""
    with Picture.open(io.BytesIO(picture)) as opened:
        small = opened.convert("RGB")
    small.thumbnail((columns, rows * 2))
    width, height = small.size
    points = small.tobytes() + bytes(3 * width)  # and one black row, should the last have none below it
    text = Text(no_wrap=True)
    for row in range(0, height, 2):
        for at in range(3 * width * row, 3 * width * (row + 1), 3):
            upper, lower = points[at : at + 3], points[at + 3 * width : at + 3 * width + 3]
            text.append(_UPPER_HALF, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower)))
        text.append("\n")
    return text
