"""Write imports.json: which kernel functions a driver may import in the reference guest.

    imports.py [MODEL_BUILD_FOLDER]

Wine's own modules are listed in facts/wine_kernel_exports.json. Modules that the model brings replace Wine's: their
exports are read from the built files, or, for fwpkclnt.sys before it is built, from the model's list of names.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pefile

HERE = Path(__file__).parent
EXPORT_DIRECTORY = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_EXPORT"]


def exports_of(path: Path) -> list[str]:
    """Names that a PE file exports."""
    with pefile.PE(str(path), fast_load=True) as pe:
        pe.parse_data_directories([EXPORT_DIRECTORY])
        symbols = pe.DIRECTORY_ENTRY_EXPORT.symbols if hasattr(pe, "DIRECTORY_ENTRY_EXPORT") else []
        return sorted(symbol.name.decode() for symbol in symbols if symbol.name)


def hooked_names() -> set[str]:
    """Functions of Wine's ntoskrnl.exe that the model answers in its place, as hooks.c lists them."""
    text = (HERE / "model" / "src" / "hooks.c").read_text()
    return set(re.findall(r'^    \{"(\w+)", \(void \*\)', text, re.MULTILINE))


def main() -> None:
    """Write the file beside this one."""
    wine = json.loads((HERE / "facts" / "wine_kernel_exports.json").read_text())["modules"]
    modules = {name: {"provided": module["implemented"], "stubs": module["stub"]} for name, module in wine.items()}
    kernel, hooked = modules["ntoskrnl.exe"], hooked_names()
    kernel["provided"] = sorted({*kernel["provided"], *(name for name in kernel["stubs"] if name in hooked)})
    kernel["stubs"] = [name for name in kernel["stubs"] if name not in hooked]
    names = json.loads((HERE / "model" / "data" / "exports.json").read_text())["functions"]
    modules["fwpkclnt.sys"] = {"provided": sorted(names), "stubs": []}
    build = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "model" / "build"
    for path in sorted(build.glob("*.sys")):
        modules[path.name.lower()] = {"provided": exports_of(path), "stubs": []}
    about = "What a driver may import in the reference guest. Made by imports.py; do not edit."
    text = json.dumps({"about": about, "guest": "reference", "modules": modules}, indent=0, sort_keys=True)
    (HERE / "imports.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
