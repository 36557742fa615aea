"""The questions that driver.toml answers, what the driver's file suggests as answers, and the file that they make."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.cert.answers import FILE_NAME
from harness.driver import load_package
from harness.driver.version import read_version
from harness.errors import HostError, UsageError

QUESTIONS = {
    "firewall": "Is the product a firewall?",
    "layered_on_windows_firewall": "Does it add its rules to Windows Firewall?",
    "mac_layers": "Does it filter at the MAC layers?",
    "vswitch_layers": "Does it filter in the virtual switch of Hyper-V?",
    "packet_injection": "Does it inject packets?",
    "stream_injection": "Does it inject into streams, or hold stream data back?",
    "connection_proxying": "Does it redirect connections, or act as a proxy?",
}
"""The features, in the order in which they are asked."""

_MEANING = {
    "firewall": "a firewall: it decides, by rules that a user or an administrator makes",
    "layered_on_windows_firewall": "it adds its rules to Windows Firewall",
    "mac_layers": "callouts or filters at the MAC layers",
    "vswitch_layers": "callouts or filters in the virtual switch",
    "packet_injection": "it injects packets, changed or not",
    "stream_injection": "it injects into streams, or holds their data back",
    "connection_proxying": "it redirects connects or binds, or acts as a proxy",
}
_BY_IMPORT = {
    "packet_injection": ("FwpsInjectNetwork", "FwpsInjectTransport", "FwpsInjectForward", "FwpsInjectMac"),
    "stream_injection": ("FwpsStreamInject", "FwpsCloneStreamData"),
    "connection_proxying": ("FwpsRedirectHandleCreate",),
    "mac_layers": ("FwpsInjectMac",),
    "vswitch_layers": ("FwpsInjectvSwitch", "FwpsvSwitch"),
}


@dataclass(slots=True, kw_only=True)
class Draft:
    """What is going to be written."""

    company: str
    product: str
    driver: Path
    features: dict[str, bool] = field(default_factory=dict)
    by: str = ""


def suggest(driver: Path) -> Draft:
    """What a driver's file says of itself: names from its version resource, features from what it imports.

    Raises DriverPackageError when it is no driver.
    """
    package = load_package(driver)
    version = read_version(driver)
    texts = version.texts if version else {}
    imports = [name for names in package.imports.values() for name in names]
    features = dict.fromkeys(QUESTIONS, False)
    for name, beginnings in _BY_IMPORT.items():
        features[name] = any(each.startswith(beginnings) for each in imports)
    return Draft(
        company=texts.get("CompanyName", "").strip() or "Your company",
        product=texts.get("ProductName", "").strip() or driver.stem,
        driver=driver,
        features=features,
    )


def render_answers(draft: Draft, target: Path) -> str:
    """The file as text, with a comment for each key; the driver's path is relative to it."""
    driver = os.path.relpath(draft.driver.absolute(), target.absolute().parent)
    lines = [
        "# What wfp-hil cert has to know of this driver: docs/certification.md explains each key.",
        "",
        "[driver]",
        f"company = {_quoted(draft.company)}  # the provider's display name contains it",
        f"product = {_quoted(draft.product)}  # and its description this",
        f"file = {_quoted(Path(driver).as_posix())}",
        '# inf = "..."            # the .inf beside the driver if none is named',
        '# installed_as = "..."   # where the product puts it; C:\\Windows\\System32\\drivers if nothing is said',
        "# releases = []          # Windows releases by the names under vm-images; all if none is named",
        "",
        "[features]",
        *(f"{name} = {_bool(draft.features, name)}  # {meaning}" for name, meaning in _MEANING.items()),
        "",
        "[attestation]",
        f"by = {_quoted(draft.by)}  # whose word it is" if draft.by else '# by = "..."  # whose word it is',
        "requirements = []  # ids of those that this person has read and takes to be met",
        "interop_with_wfpsampler = false  # tried beside Microsoft's sample WFPSampler",
        "",
        "# The product's command line, by which WFPLogo.Answer and the scenarios make exceptions. Kinds that it cannot",
        "# do are left out; %...% are put in by the lab kit, {...} by wfp-hil.",
        "# [commands]",
        "# add = '\"C:\\Program Files\\Product\\ctl.exe\" add name=logo {direction} {action} {match}'",
        "# delete = '\"C:\\Program Files\\Product\\ctl.exe\" delete name=logo'",
        "# address = 'local=%LOCAL_IP% remote=%REMOTE_IP%'",
        "# port = 'protocol=%PROTOCOL% localport=%LOCAL_PORT% remoteport=%REMOTE_PORT%'",
        "# protocol = 'protocol=%PROTOCOL%'",
        "# icmp = 'protocol=icmpv{family} type=%ICMP_TYPE% code=%ICMP_CODE%'",
        "",
        "# [done]  # requirements that are settled: who, when, by what",
        '# "Filter.Driver.Security.NoTDIFilterAndLSP" = "..."',
    ]
    return "\n".join(lines) + "\n"


def write_answers(draft: Draft, target: Path, *, force: bool) -> Path:
    """Write the file; the path. Raises UsageError where there is one already, HostError when it cannot be written."""
    if target.is_dir():
        target /= FILE_NAME
    if target.exists() and not force:
        raise UsageError(f"There is a '{target}' already.", hint="Edit it, or have it replaced with --force.")
    try:
        target.write_text(render_answers(draft, target), encoding="utf-8")
    except OSError as error:
        raise HostError(f"'{target}' cannot be written: {error.strerror}.") from error
    return target


def _quoted(text: str) -> str:
    return json.dumps(text.replace('"', "'"), ensure_ascii=False)


def _bool(features: Mapping[str, bool], name: str) -> str:
    return "true" if features.get(name) else "false"
