"""Media and archives made here: by hand where they are to be wrong, by wimlib where a second witness is wanted."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pycdlib
import pytest

from harness.media import Medium, open_medium

IMAGE = """<IMAGE INDEX="{index}"><NAME>{name}</NAME><DISPLAYNAME>{display}</DISPLAYNAME><TOTALBYTES>1000</TOTALBYTES>
<WINDOWS><ARCH>{arch}</ARCH><EDITIONID>{edition}</EDITIONID><INSTALLATIONTYPE>{kind}</INSTALLATIONTYPE>
<LANGUAGES><LANGUAGE>en-US</LANGUAGE><LANGUAGE>de-DE</LANGUAGE><DEFAULT>en-US</DEFAULT></LANGUAGES>
<VERSION><MAJOR>10</MAJOR><MINOR>0</MINOR><BUILD>{build}</BUILD><SPBUILD>7</SPBUILD></VERSION></WINDOWS></IMAGE>"""


def describe(index: int, name: str, edition: str = "Professional", **changes: object) -> str:
    """The XML of one image."""
    words = {"display": name, "arch": 9, "kind": "Client", "build": 22631} | changes
    return IMAGE.format(index=index, name=name, edition=edition, **words)


def make_wim(*images: str, xml: str | bytes | None = None, count: int | None = None) -> bytes:
    """An archive of a header and a description, in which nothing else is; or with a description as it should not be."""
    text = f"<WIM>{''.join(images)}</WIM>" if xml is None else xml
    data = text if isinstance(text, bytes) else b"\xff\xfe" + text.encode("utf-16-le")
    header = bytearray(208)
    struct.pack_into("<8sIIII16sHHI", header, 0, b"MSWIM\0\0\0", 208, 0x10D00, 0, 0, bytes(16), 1, 1,
                     len(images) if count is None else count)  # fmt: skip
    struct.pack_into("<QQQ", header, 0x48, len(data) | 2 << 56, 208, len(data))
    return bytes(header) + data


WINDOWS_11 = make_wim(
    describe(1, "Windows 11 Home", "Core"),
    describe(2, "Windows 11 Pro"),
    describe(3, "Windows 11 Enterprise", "Enterprise"),
)


def make_iso(
    path: Path, files: dict[str, bytes], *, system: str = "udf", platforms: tuple[int, ...] = (0, 0xEF)
) -> Path:
    """A medium whose files lie in one file system alone, bootable on these platforms."""
    iso = pycdlib.PyCdlib()
    kinds = {"udf": {"udf": "2.60"}, "joliet": {"joliet": 3}, "iso9660": {}}
    iso.new(interchange_level=4, vol_ident="TEST_MEDIUM", **kinds[system])
    key = {"udf": "udf_path", "joliet": "joliet_path", "iso9660": "iso_path"}[system]
    made: set[str] = set()
    for name, content in files.items():
        parts = name.split("/")
        for depth in range(1, len(parts)):
            folder = "/" + "/".join(parts[:depth])
            if folder not in made:
                iso.add_directory(**{key: folder})
                made.add(folder)
        iso.add_fp(BytesIO(content), len(content), **{key: "/" + name})
    for number, platform in enumerate(platforms):
        iso.add_fp(BytesIO(bytes(2048)), 2048, iso_path=f"/BOOT{number}.BIN")
        more = {"platform_id": platform} if number == 0 else {"efi": platform == 0xEF}
        iso.add_eltorito(f"/BOOT{number}.BIN", bootcatfile="/BOOT.CAT", **more)
    iso.write(str(path))
    iso.close()
    return path


@pytest.fixture
def medium(tmp_path: Path) -> Iterator[Callable[..., Medium]]:
    """Makes a medium of these files and opens it."""
    with ExitStack() as stack:

        def make(files: dict[str, bytes], **how: object) -> Medium:
            opened = open_medium(make_iso(tmp_path / "medium.iso", files, **how))
            stack.callback(opened.close)
            return opened

        yield make


@pytest.fixture(scope="session")
def wimlib(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Captures a folder with wimlib; gives back the archive."""
    folder = tmp_path_factory.mktemp("wim")
    tree = folder / "tree"
    (tree / "Windows" / "System32").mkdir(parents=True)
    (tree / "Windows" / "System32" / "kernel.bin").write_bytes(bytes(range(256)) * 64)
    (tree / "große Datei.txt").write_text("text")
    (tree / "empty").touch()

    def capture(name: str, *words: str, **properties: str) -> Path:
        target = folder / name
        given = [f"--image-property={key.replace('_', '/')}={value}" for key, value in properties.items()]
        call = ["wimlib-imagex", "capture", tree, target, "Windows Test", "--no-acls", *given, *words]
        subprocess.run(call, check=True, capture_output=True, timeout=60)
        return target

    return capture
