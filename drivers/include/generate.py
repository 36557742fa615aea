#!/usr/bin/env python3
"""Write the kernel headers of WFP for mingw-w64 from the facts in harness/wfp/data.

mingw-w64 has no fwpsk.h, no fwpmk.h and no NDIS 6. The files in mingw/ carry the kit's names, so that one
source builds with both; they are on the include path of the mingw build alone. Every structure is followed
by assertions on its size and on the offset of each member.

    python3 drivers/include/generate.py            # write mingw/*.h and mingw/*.def
    python3 drivers/include/generate.py --check    # exit 1 when a file on disk is not what would be written

SPDX-License-Identifier: MIT
"""

from __future__ import annotations

import json
import re
import sys
import uuid
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "harness" / "wfp" / "data"
OUT = HERE / "mingw"

# Structures that mingw's own kernel headers declare (asserted only) or that abi_base.h declares by hand.
FROM_DDK = ["DRIVER_OBJECT", "GUID", "IO_STACK_LOCATION", "IRP", "KDPC", "KEVENT", "LIST_ENTRY", "MDL",
            "SLIST_HEADER", "UNICODE_STRING"]  # fmt: skip
BY_HAND = ["IF_LUID", "NET_LUID", "SCOPE_ID", "WSACMSGHDR", "NDIS_OBJECT_HEADER"]
ABSENT = ["IoRingContext", "TargetInfoAsUlong", "ProcessorHistory"]  # members newer than mingw's DDK
SKIPPED = ["DEVICE_OBJECT"]  # mingw's has another size; its members agree and no driver depends on the size
SOCKETS = ["SOCKADDR", "SOCKADDR_IN", "SOCKADDR_IN6", "SOCKADDR_INET", "SOCKADDR_STORAGE", "IP_ADDRESS_PREFIX"]
NDIS = ["NET_BUFFER_HEADER", "NET_BUFFER", "NET_BUFFER_LIST_HEADER", "NET_BUFFER_LIST_CONTEXT", "NET_BUFFER_LIST",
        "NET_BUFFER_POOL_PARAMETERS", "NET_BUFFER_LIST_POOL_PARAMETERS", "NDIS_GENERIC_OBJECT"]  # fmt: skip
OPAQUE_UNIONS = ["NDIS_NET_BUFFER_LIST_8021Q_INFO", "NDIS_RSC_NBL_INFO", "NDIS_TCP_IP_CHECKSUM_NET_BUFFER_LIST_INFO",
                 "NDIS_TCP_LARGE_SEND_OFFLOAD_NET_BUFFER_LIST_INFO"]  # fmt: skip
# Types that a prototype or a member may use and that abi_base.h or the DDK declares.
KNOWN = set(
    """void char wchar_t int unsigned long short float double const volatile struct union
    UINT8 UINT16 UINT32 UINT64 INT INT8
    INT16 INT32 INT64 UCHAR CHAR USHORT ULONG ULONG64 LONG SIZE_T PSIZE_T BOOL BOOLEAN
    DWORD PVOID HANDLE LPWSTR NTSTATUS NDIS_STATUS NDIS_HANDLE MDL GUID LUID SID PSID ACL PACL PSECURITY_DESCRIPTOR
    SECURITY_INFORMATION PSID_AND_ATTRIBUTES ADDRESS_FAMILY IF_INDEX COMPARTMENT_ID IPPROTO NDIS_PORT_NUMBER
    NDIS_SWITCH_PORT_ID NDIS_SWITCH_NIC_INDEX SCATTER_GATHER_LIST PHYSICAL_ADDRESS PDRIVER_OBJECT IN_ADDR IN6_ADDR
    FWP_ACTION_TYPE PNET_BUFFER_LIST FWPS_INJECT_COMPLETE0 FWPS_NET_BUFFER_LIST_NOTIFY_FN0
    FWPS_NET_BUFFER_LIST_NOTIFY_FN1 FWPM_SERVICE_STATE_CHANGE_CALLBACK0 NET_BUFFER_SHARED_MEMORY
    FWPS_CALLOUT_CLASSIFY_FN0 FWPS_CALLOUT_CLASSIFY_FN1 FWPS_CALLOUT_CLASSIFY_FN2 FWPS_CALLOUT_CLASSIFY_FN3
    FWPS_CALLOUT_NOTIFY_FN0 FWPS_CALLOUT_NOTIFY_FN1 FWPS_CALLOUT_NOTIFY_FN2 FWPS_CALLOUT_NOTIFY_FN3
    FWPS_CALLOUT_FLOW_DELETE_NOTIFY_FN0 FWPS_VSWITCH_LIFETIME_EVENT_CALLBACK0 FWPS_VSWITCH_PORT_EVENT_CALLBACK0
    FWPS_VSWITCH_INTERFACE_EVENT_CALLBACK0 FWPS_VSWITCH_FILTER_ENGINE_REORDER_CALLBACK0
    FWPS_VSWITCH_POLICY_EVENT_CALLBACK0 FWPS_VSWITCH_RUNTIME_STATE_SAVE_CALLBACK0
    FWPS_VSWITCH_RUNTIME_STATE_RESTORE_CALLBACK0""".split()  # noqa: SIM905 - a list of words
)

NOTICE = (
    "/* Written by drivers/include/generate.py from harness/wfp/data; do not edit. SPDX-License-Identifier: MIT */\n"
)


@cache
def load(name: str) -> dict:
    """One file of facts."""
    return json.loads((DATA / f"{name}.json").read_text(encoding="utf-8"))


def header(guard: str, includes: list[str], body: list[str]) -> str:
    """A header file with its guard."""
    lines = [NOTICE + f"#ifndef WFP_ABI_{guard}\n#define WFP_ABI_{guard}\n"]
    lines += [f'#include "{name}"' for name in includes]
    return "\n".join([*lines, "", *body, "", "#endif", ""])


def declare(member: dict) -> str:
    """One member: `UINT8[16]` becomes `UINT8 name[16]`."""
    kind, name = re.sub(r"struct _(FWPS\w+)", r"struct \1_", member["type"]), member["name"]
    array = re.match(r"(.*?)((?:\[\d*\])+)$", kind)
    if array:
        return f"{array[1]} {name}{array[2]}"
    bits = f" : {member['bits']}" if "bits" in member else ""
    return f"{kind}{'' if kind.endswith('*') else ' '}{name}{bits}"


def groups(members: list[dict]) -> list[list[dict]]:
    """Split members into runs that overlap in memory; a run of more than one is a union."""
    runs: list[list[dict]] = []
    end = -1
    for member in members:
        while len(runs) > 1 and member["offset"] < runs[-1][0]["offset"]:
            runs[-2:] = [runs[-2] + runs[-1]]
        overlaps = bool(runs) and (member["offset"] < end) and "bits" not in member
        same_bits = bool(runs) and "bits" in member and "bits" in runs[-1][0]
        if overlaps or same_bits:
            runs[-1].append(member)
        else:
            runs.append([member])
        end = max(end, member["offset"] + max(member["size"], 0))
    return runs


def alternatives(run: list[dict]) -> list[list[dict]]:
    """Arrange the members of a union as structures whose members do not overlap."""
    chains: list[list[dict]] = []
    for member in run:
        last = chains[-1][-1] if chains else None
        if last and member["offset"] >= last["offset"] + last["size"]:
            chains[-1].append(member)
            continue
        home = next((c for c in chains if c[-1]["offset"] + c[-1]["size"] <= member["offset"]), None)
        if home is None:
            chains.append([member])
        else:
            home.append(member)
    return chains


def alignment(member: dict) -> int:
    """The alignment that the compiler gives a member by itself."""
    kind, _, count = member["type"].partition("[")
    known = load("layouts_x64")["structs"].get(kind)
    if known:
        return known["align"]
    size = member["size"] // int(count.rstrip("]")) if count.rstrip("]") else abs(member["size"])
    return 1 if count == "]" else min(size, 8)


def hole(member: dict, end: int) -> list[str]:
    """A pad before a member that Microsoft's declaration aligns more strictly than its type asks for."""
    natural = -(-end // alignment(member)) * alignment(member)
    return [f"UCHAR pad_{member['name']}[{member['offset'] - end}];"] if natural != member["offset"] else []


def structure(name: str, layout: dict) -> list[str]:
    """The declaration of a structure and its assertions."""
    align = " DECLSPEC_ALIGN(16)" if layout["align"] == 16 else ""
    out = [f"typedef struct{align} {name}_ {{"]
    end = 0
    for run in groups(layout["fields"]):
        out += [f"    {pad}" for pad in hole(run[0], end)]
        end = max(member["offset"] + member["size"] for member in run)
        if len(run) == 1 or "bits" in run[0]:
            out += [f"    {declare(member)};" for member in run]
            continue
        out.append("    union {")
        for chain in alternatives(run):
            parts: list[str] = []
            at = run[0]["offset"]
            for member in chain:
                parts += [*hole(member, at), declare(member) + ";"]
                at = member["offset"] + member["size"]
            out.append(f"        {parts[0]}" if len(parts) == 1 else f"        struct {{ {' '.join(parts)} }};")
        out.append("    };")
    end = max(f["offset"] + max(f["size"], 0) for f in layout["fields"])
    if layout["size"] - end >= layout["align"] and not layout["fields"][-1]["type"].endswith("[]"):
        out.append(f"    UCHAR pad_end[{layout['size'] - end}];")
    out.append(f"}} {name}, *P{name};")
    return [*out, *assertions(name, layout), ""]


def assertions(name: str, layout: dict) -> list[str]:
    """Compile-time checks of a size and of every offset that C can name."""
    out = [f'_Static_assert(sizeof({name}) == {layout["size"]}, "{name}");']
    for member in layout["fields"]:
        if "bits" in member or member["name"] in ABSENT or (name == "SCOPE_ID" and member["name"] != "Value"):
            continue
        at = f"FIELD_OFFSET({name}, {member['name']}) == {member['offset']}"
        out.append(f'_Static_assert({at}, "{name}.{member["name"]}");')
    return out


def macros(constants: dict, wanted: re.Pattern[str]) -> list[str]:
    """The constants whose name begins as wanted; those that mingw has already are left alone."""
    out = []
    for name, value in constants["macros"].items() | constants["extra"].items():
        if not wanted.match(name):
            continue
        if name.startswith("STATUS_"):
            text = f"((NTSTATUS)0x{value:08X}L)"
        else:
            text = f"{value:#x}" + ("ull" if value > 0xFFFFFFFF else "u")
        out.append(f"#ifndef {name}\n#define {name} {text}\n#endif")
    return sorted(out)


def enums(constants: dict, wanted: re.Pattern[str]) -> list[str]:
    """The enumerations whose name begins as wanted."""
    out = []
    for name, members in constants["enums"].items():
        if wanted.match(name):
            inner = ", ".join(f"{key} = {value}" for key, value in members.items())
            out.append(f"typedef enum {name}_ {{ {inner} }} {name};")
    return out


def guid(name: str, text: str) -> str:
    """DEFINE_GUID as the kit writes it."""
    value = uuid.UUID(text)
    tail = ", ".join(f"0x{byte:02x}" for byte in value.bytes[8:])
    first, second, third = value.fields[:3]
    return f"DEFINE_GUID({name}, 0x{first:08x}, 0x{second:04x}, 0x{third:04x}, {tail});"


def prototypes(functions: list[dict], names: set[str]) -> list[str]:
    """Declare the functions; a type that only a pointer needs is declared as an incomplete structure."""
    out: list[str] = []
    seen: set[str] = set()
    for function in functions:
        for text in function["args"]:
            for word in re.findall(r"[A-Za-z_]\w*", text.rsplit(" ", 1)[0]):
                if word not in names and word not in KNOWN and word not in seen:
                    seen.add(word)
                    out.append(f"typedef struct {word}_ {word};")
    for function in functions:
        args = ", ".join(function["args"]) or "void"
        out.append(f"WFP_ABI_IMPORT {function['returns']} NTAPI {function['name']}({args});")
    return out


def version_names(functions: list[dict]) -> list[str]:
    """The kit's names without a version, for the newest version of each function and structure."""
    newest: dict[str, str] = {}
    for function in functions:
        for alias in function["version_independent_name"] or []:
            newest[alias] = function["name"]
    out = [f"#define {alias} {name}" for alias, name in sorted(newest.items())]
    types = "FWPS_CALLOUT3 FWPS_FILTER3 FWPS_CLASSIFY_OUT0 FWPS_INCOMING_VALUES0 FWPS_INCOMING_VALUE0 FWPM_ACTION0"
    types += " FWPS_INCOMING_METADATA_VALUES0 FWPS_CONNECT_REQUEST0 FWPS_BIND_REQUEST0 FWPS_TRANSPORT_SEND_PARAMS1"
    types += " FWPM_CALLOUT0 FWPM_FILTER0 FWPM_FILTER_CONDITION0 FWPM_SESSION0 FWPM_SUBLAYER0 FWPM_PROVIDER0"
    return out + [f"#define {name[:-1]} {name}" for name in types.split()]


def definition(library: str, names: list[str]) -> str:
    """A module definition file for dlltool."""
    return "\n".join(
        [f"; Written by drivers/include/generate.py. {library}", f"LIBRARY {library}", "EXPORTS", *names, ""]
    )


def files() -> dict[str, str]:  # noqa: PLR0915 - one list of files, read from top to bottom
    """Every file of mingw/ that is generated, by name."""
    structs, constants = load("layouts_x64")["structs"], load("constants")
    functions, layers, fields = load("exports")["functions"], load("layers")["layers"], load("fields")["layers"]
    guids = {name: text for family in load("guids")["guids"].values() for name, text in family.items()}
    taken = {*FROM_DDK, *BY_HAND, *SKIPPED, *SOCKETS, *NDIS, *OPAQUE_UNIONS}
    rest = [name for name in structs if name not in taken]
    names = {*structs, *constants["enums"]}

    def group(prefix: str) -> list[str]:
        """Structures of one family, each after those it holds by value."""
        chosen = [name for name in rest if name.startswith(prefix)]
        done: list[str] = []
        while chosen:
            for name in chosen:
                held = {f["type"].split("[")[0] for f in structs[name]["fields"]}
                if not held & (set(chosen) - {name}):
                    done.append(name)
            chosen = [name for name in chosen if name not in done]
        out = [f"typedef struct {name}_ {name};" for name in done]
        return out + [line for name in done for line in structure(name, structs[name])]

    def opaque(prefix: str) -> list[str]:
        """Incomplete structures for what members of one family only point at."""
        words = {
            word
            for name in rest
            if name.startswith(prefix)
            for f in structs[name]["fields"]
            if f["type"].endswith("*")
            for word in re.findall(r"[A-Za-z_]\w*", f["type"].replace("struct _", ""))
        }
        return [f"typedef struct {word}_ {word};" for word in sorted(words - names - KNOWN)]

    body: dict[str, str] = {}
    assertion_lines = [line for name in FROM_DDK + BY_HAND for line in assertions(name, structs[name])
                       if "unnamed" not in line and "IF_LUID.Info" not in line]  # fmt: skip
    sockets = [line for name in SOCKETS for line in structure(name, structs[name])]
    body["ws2ipdef.h"] = header("WS2IPDEF", ["abi_base.h"], [*sockets, *assertion_lines])
    nbl = [f"typedef struct {name}_ {name};" for name in NDIS]
    nbl += [line for name in NDIS for line in structure(name, structs[name])]
    nbl += enums(constants, re.compile(r"NDIS_NET_BUFFER_LIST_INFO$"))
    nbl += macros(constants, re.compile(r"NDIS_|NBL_|NET_BUFFER"))
    body["ndis_types.h"] = header("NDIS_TYPES", ["ws2ipdef.h"], nbl)
    for prefix, file, includes in (
        ("FWP_", "fwptypes.h", ["ws2ipdef.h"]),
        ("FWPM_", "fwpmtypes.h", ["fwptypes.h"]),
        ("FWPS_", "fwpstypes.h", ["fwpmtypes.h", "ndis_types.h"]),
    ):
        wanted = re.compile(rf"{prefix}|STATUS_|SIO_|IP_WFP" if prefix == "FWP_" else prefix)
        lines = enums(constants, re.compile(prefix))
        if prefix == "FWPS_":
            lines.append('#include "abi_callbacks.h"')
            lines.append("typedef enum FWPS_BUILTIN_LAYERS_ {")
            lines += [f"    {layer['name']} = {layer['id']}," for layer in layers if layer["id"] is not None]
            lines.append("} FWPS_BUILTIN_LAYERS;")
            for layer, entry in fields.items():
                if not entry["fields"]:
                    continue
                inner = ", ".join(f"{f['name']} = {f['i']}" for f in entry["fields"])
                lines.append(f"typedef enum FWPS_FIELDS_{layer.removeprefix('FWPS_LAYER_')}_ {{ {inner} }} "
                             f"FWPS_FIELDS_{layer.removeprefix('FWPS_LAYER_')};")  # fmt: skip
        lines += macros(constants, wanted) + opaque(prefix) + group(prefix)
        body[file] = header(file.removesuffix(".h").upper(), includes, lines)
    for file, includes in (("fwpsk.h", ["fwpstypes.h"]), ("fwpmk.h", ["fwpsk.h"])):
        mine = [f for f in functions if f["header"] == file]
        lines = prototypes(mine, names)
        if file == "fwpmk.h":
            lines += [guid(name, text) for name, text in sorted(guids.items())]
            lines += version_names(functions)
        body[file] = header(file.removesuffix(".h").upper(), includes, lines)
    body["fwpkclnt.def"] = definition("fwpkclnt.sys", [f["name"] for f in functions if f["name"] != "FwpsOpenToken0"])
    imported = re.findall(r"NTAPI (Ndis\w+)\(", (OUT / "ndis.h").read_text(encoding="utf-8"))
    body["ndis.def"] = definition("ndis.sys", sorted(imported))
    return body


def main() -> int:
    """Write or check the files."""
    stale = []
    for name, text in files().items():
        path = OUT / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    print(f"{'stale' if '--check' in sys.argv else 'wrote'}: {', '.join(stale) or 'nothing'}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
