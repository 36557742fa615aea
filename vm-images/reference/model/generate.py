"""Generate the model's C tables and export stubs from the facts in data/.

generate.py tables OUT.c    layers, fields, built-in sublayers
generate.py exports OUT.def every name fwpkclnt.sys exports
generate.py guards OUT.s    the way in to functions that may be called at PASSIVE_LEVEL only
generate.py stubs OUT.c OBJ... a stub for each exported name that no OBJ defines
generate.py user-exports OUT.def, user-stubs OUT.c OBJ...  the same for fwpuclnt.dll
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DATA = Path(__file__).parent / "data"


def guid(text: str) -> str:
    """A C initialiser for a GUID in registry form."""
    a, b, c, d, e = text.split("-")
    tail = ", ".join(f"0x{(d + e)[i : i + 2]}" for i in range(0, 16, 2))
    return f"{{0x{a}, 0x{b}, 0x{c}, {{{tail}}}}}"


def tables() -> str:
    """The C file of layers, fields and built-in sublayers."""
    facts = json.loads((DATA / "layers.json").read_text())
    conditions = list(facts["conditions"])
    lines = ['#include "tables.h"', "", "const GUID condition_keys[] = {"]
    lines += [f"    {guid(facts['conditions'][name])}, /* {name} */" for name in conditions]
    lines += ["};", ""]
    fields = {layer["name"]: layer["fields"] for layer in facts["layers"]}
    for layer in facts["layers"]:  # a _DISCARD layer has the fields of the one whose packets it tells of
        layer["fields"] = fields[layer["name"].removesuffix("_DISCARD")]
        lines.append(f"static const struct field_fact fields_{layer['id']}[] = {{")
        for condition, data_type in layer["fields"]:
            kind = data_type if data_type != "FWP_BYTE_BLOB" else "FWP_BYTE_BLOB_TYPE"
            lines.append(f"    {{{conditions.index(condition)}, {kind}}},")
        lines += ["};"]
    lines += ["", "const struct layer_fact layer_facts[] = {"]
    for layer in facts["layers"]:
        number, count = layer["id"], len(layer["fields"])
        lines.append(f'    {{{number}, {guid(layer["guid"])}, "{layer["name"]}", {count}, fields_{number}}},')
    lines += ["};", f"const unsigned layer_fact_count = {len(facts['layers'])};", ""]
    lines += ["const struct sublayer_fact sublayer_facts[] = {"]
    lines += [f"    {{{guid(key)}, {weight}}}, /* {name} */" for name, (key, weight) in facts["sublayers"].items()]
    lines += ["};", f"const unsigned sublayer_fact_count = {len(facts['sublayers'])};", ""]
    return "\n".join(lines)


def condition_enum() -> str:
    """The C enumeration of condition keys, in the order of condition_keys[]."""
    facts = json.loads((DATA / "layers.json").read_text())
    prefix = "FWPM_CONDITION_"
    body = "\n".join(f"    COND_{name.removeprefix(prefix)}," for name in facts["conditions"])
    return f"enum condition_index {{\n{body}\n    COND_COUNT\n}};\n"


def exports() -> str:
    """The module definition that exports every name, behind its guard where it has one."""
    facts = json.loads((DATA / "exports.json").read_text())
    passive = set(facts["passive"])
    lines = [f"    {name} = guarded_{name}\n" if name in passive else f"    {name}\n" for name in facts["functions"]]
    lines.append("    ModelContract\n")  # for ndis.sys
    return "LIBRARY fwpkclnt.sys\nEXPORTS\n" + "".join(lines)


_GUARD = """
.seh_proc guard
guard: # rax = the name; keeps the arguments for the function that is jumped to afterwards
    push rcx
    .seh_pushreg rcx
    push rdx
    .seh_pushreg rdx
    push r8
    .seh_pushreg r8
    push r9
    .seh_pushreg r9
    sub rsp, 32
    .seh_stackalloc 32
    .seh_endprologue
    mov rcx, rax
    call irql_require_passive
    add rsp, 32
    pop r9
    pop r8
    pop rdx
    pop rcx
    ret
.seh_endproc
"""


def guards() -> str:
    """Assembly that complains of a caller above PASSIVE_LEVEL, then goes on to the function."""
    lines = [".intel_syntax noprefix", ".text", _GUARD]
    for name in json.loads((DATA / "exports.json").read_text())["passive"]:
        lines.append(f".globl guarded_{name}\nguarded_{name}:\n    lea rax, name_{name}[rip]")
        lines.append(f'    call guard\n    jmp {name}\nname_{name}: .asciz "{name}"\n')
    return "\n".join(lines)


def names_in(objects: list[str]) -> set[str]:
    """What object files define."""
    listing = subprocess.run(
        ["x86_64-w64-mingw32-nm", "--defined-only", "-g", *objects], check=True, capture_output=True, text=True
    ).stdout
    return {line.split()[-1] for line in listing.splitlines() if line and not line.endswith(":")}


def user_exports() -> str:
    """The module definition of fwpuclnt.dll."""
    names = json.loads((DATA / "user_exports.json").read_text())["functions"]
    return "LIBRARY fwpuclnt.dll\nEXPORTS\n" + "".join(f"    {name}\n" for name in names)


def user_stubs(objects: list[str]) -> str:
    """A function that says its name and fails for each export of fwpuclnt.dll that no object defines."""
    defined = names_in(objects)
    missing = [
        name for name in json.loads((DATA / "user_exports.json").read_text())["functions"] if name not in defined
    ]
    bodies = [
        f'DWORD {name}(void);\nDWORD {name}(void)\n{{\n    return unimplemented("{name}");\n}}\n' for name in missing
    ]
    return "\n".join(['#include "user.h"', "", *bodies])


def stubs(objects: list[str]) -> str:
    """A C function that fails loudly for each exported name that no object defines."""
    defined = names_in(objects)
    lines = ['#include "model.h"', ""]
    for name, returns in json.loads((DATA / "exports.json").read_text())["functions"].items():
        if name in defined:
            continue
        value = "(int64_t)(int32_t)STATUS_NOT_IMPLEMENTED" if returns == "NTSTATUS" else "0"
        lines.append(f"int64_t {name}(void);")
        lines.append(f'int64_t {name}(void)\n{{\n    model_unimplemented("{name}");\n    return {value};\n}}\n')
    return "\n".join(lines)


def main(argv: list[str]) -> None:
    """Write the file that the command line asks for."""
    kind, out, *rest = argv
    made = {"tables": tables, "conditions": condition_enum, "exports": exports, "guards": guards}
    made["user-exports"] = user_exports
    stubbed = {"stubs": stubs, "user-stubs": user_stubs}
    text = stubbed[kind](rest) if kind in stubbed else made[kind]()
    Path(out).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
