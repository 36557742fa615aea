"""Write imports.json: which kernel functions a driver may import in the reference guest.

    imports.py [MODEL_BUILD_FOLDER]

Wine's own modules are listed in facts/wine_kernel_exports.json. Modules that the model brings replace Wine's: their
exports are read from the built files. What fwpkclnt.sys exports and no part of the model implements is a stub: it says
its name and fails. `make -C model all` builds them.
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


def stubs_of_the_model(build: Path) -> set[str]:
    """Exports of fwpkclnt.sys that fail, by the source that the build makes of them."""
    return set(re.findall(r'model_unimplemented\("(\w+)"\)', (build / "stubs.c").read_text()))


def imports(build: Path) -> str:
    """What the file has to say of the modules in this folder."""
    wine = json.loads((HERE / "facts" / "wine_kernel_exports.json").read_text())["modules"]
    modules = {name: {"provided": module["implemented"], "stubs": module["stub"]} for name, module in wine.items()}
    kernel, hooked = modules["ntoskrnl.exe"], hooked_names()
    kernel["provided"] = sorted({*kernel["provided"], *(name for name in kernel["stubs"] if name in hooked)})
    kernel["stubs"] = [name for name in kernel["stubs"] if name not in hooked]
    stubs = stubs_of_the_model(build)
    for path in sorted(build.glob("*.sys")):
        names = exports_of(path)
        failing = stubs if path.name == "fwpkclnt.sys" else set()
        modules[path.name.lower()] = {
            "provided": [name for name in names if name not in failing],
            "stubs": [name for name in names if name in failing],
        }
    about = "What a driver may import in the reference guest. Made by imports.py; do not edit."
    return json.dumps({"about": about, "guest": "reference", "modules": modules}, indent=0, sort_keys=True) + "\n"


def main() -> None:
    """Write the file beside this one."""
    build = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "model" / "build"
    (HERE / "imports.json").write_text(imports(build))


if __name__ == "__main__":
    main()
