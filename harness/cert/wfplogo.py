"""WFPLogo.Info and WFPLogo.Answer, by which the lab kit's test of the filtering platform runs without a person.

The keys and their meaning are those of the kit's page
https://learn.microsoft.com/en-us/previous-versions/windows/hardware/hck/jj123533(v=vs.85); how a line is written is
seen in files that users of the kit have published. Lines end with CR LF.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from harness.cert.answers import VARIABLES, Answers, Commands
from harness.cert.requirements import Requirement, all_requirements
from harness.errors import HostError

INFO, ANSWER = "WFPLogo.Info", "WFPLogo.Answer"
_NOTHING = "cmd.exe /c exit 0"  # for a variation that is not asked for: what reads the file may count its entries
_TIMER = 10
_OF_WINDOWS = ("netsh", "cmd", "powershell", "sc", "reg")  # found without a folder
_BESIDE = {"SupportARP": ("SupportNeighborDiscovery",)}  # keys that belong to a requirement with another one


@dataclass(frozen=True, slots=True)
class Section:
    """A part of WFPLogo.Answer: the test, the kind of exception, whom it concerns, and how many variations it has."""

    name: str
    kind: str
    when: tuple[str, ...]
    variations: int

    def concerns(self, answers: Answers) -> bool:
        """Whether the test asks a driver with these answers for it."""
        return all(answers.flags[name] for name in self.when)


@dataclass(frozen=True, slots=True)
class Variation:
    """One setting that the test asks for: what it matches, whether it permits, which way, over which IP."""

    kind: str
    permit: bool
    inbound: bool
    family: int

    def __str__(self) -> str:
        words = ("permit" if self.permit else "block", "inbound" if self.inbound else "outbound")
        return f"{self.kind}, {' '.join(words)}, IPv{self.family}"


@cache
def all_sections() -> tuple[Section, ...]:
    """The parts of WFPLogo.Answer in order."""
    return tuple(
        Section(entry["name"], entry["kind"], tuple(entry["when"]), entry["variations"]) for entry in _data()["section"]
    )


def commands_of(answers: Answers) -> Commands | None:
    """The product's commands: its own, else those of Windows Firewall where it adds its rules there."""
    if answers.commands is None and answers.features.layered_on_windows_firewall:
        return Commands.model_validate(_data()["windows_firewall"])
    return answers.commands


def missing_kinds(answers: Answers) -> tuple[str, ...]:
    """The kinds of exception that the test will ask for and no command makes: those dialogues need a person."""
    commands = commands_of(answers)
    wanted = [section.kind for section in all_sections() if section.concerns(answers)]
    return tuple(kind for kind in wanted if commands is None or commands.match_of(kind) is None)


def doubtful_programs(answers: Answers) -> tuple[str, ...]:
    """What may keep the kit from finding the programs that the commands start, a sentence each."""
    commands = commands_of(answers)
    found: list[str] = []
    for command in (commands.add, commands.delete) if commands is not None else ():
        quoted = command.startswith('"')
        match = re.match(r'"([^"]*)"|(.*?\.(?:exe|cmd|bat))(?=\s|$)|(\S+)', command, re.IGNORECASE)
        program = next((group for group in match.groups() if group), "") if match else ""
        if not re.search(r"[\\/]", program) and program.lower().removesuffix(".exe") not in _OF_WINDOWS:
            found.append(f"'{program}' names no folder: whether the kit finds it depends on the path of its process.")
        if " " in program and not quoted:
            found.append(f"'{program}' has a space in it and no quotation marks around it.")
    return tuple(dict.fromkeys(found))


def render_info(answers: Answers) -> str:
    """The form. A requirement is attested (1) only where driver.toml says that somebody does."""
    features = answers.features
    product = answers.driver
    lines = [
        "# Made by wfp-hil from driver.toml. It goes to %WinDir%\\System32 of the test machine.",
        "",
        "# Provider: the display name and description of the driver's provider contain these.",
        f'   CompanyName = "{product.company}";',
        f'   ProductName = "{product.product}";',
        f'   DriverName = "{_installed(answers)}";',
        "",
        "# Driver Verifier: 1 has the test switch it on.",
        "   EnableDriverVerifier = 1;",
        "",
        "# 1 has the test take its commands from WFPLogo.Answer, 0 has it ask for every setting.",
        f"   UseAnswerFile = {_bit(not missing_kinds(answers))};",
        "",
        "# What the driver does: 0 no, 1 yes.",
        "   CalloutDriver = 1;",
        f"   IsAFirewall = {_bit(features.firewall)};",
        f"   LayeredOnMicrosoftWindowsFirewall = {_bit(features.layered_on_windows_firewall)};",
        f"   DoesMACFiltering = {_bit(features.mac_layers)};",
        f"   DoesVSwitchFiltering = {_bit(features.vswitch_layers)};",
        f"   DoesPacketInjection = {_bit(features.packet_injection)};",
        f"   DoesStreamInjection = {_bit(features.stream_injection)};",
        f"   DoesConnectionProxying = {_bit(features.connection_proxying)};",
        "",
        "# Attestations: 0 no, 1 yes. The test ignores those of features that the driver does not have.",
    ]
    for each in all_requirements().values():
        if each.attestation:
            lines += _attestation(each, answers)
    lines += [
        "",
        "# Tried beside Microsoft's sample WFPSampler",
        f"   InteropWithWFPSampler = {_bit(answers.attestation.interop_with_wfpsampler)};",
        "",
        "# Whose word all of this is",
        f'   RunBy = "{answers.attestation.by}";',
    ]
    return _text(lines)


def render_answer(answers: Answers) -> str:
    """The commands, variation by variation; one that does nothing where none is asked for or none is known."""
    commands = commands_of(answers)
    lines = [
        "# Made by wfp-hil from driver.toml. It goes to %WinDir%\\System32 of the test machine.",
        f"configurationTimer = {_TIMER};",
    ]
    for section in all_sections():
        usable = commands is not None and commands.match_of(section.kind) is not None and section.concerns(answers)
        if section.kind == "injection":
            lines += ["", f"# {section.name}", f"numPacketInjectionCommands = {section.variations if usable else 0};"]
        for number, variation in enumerate(variations(section), start=1):
            add = add_command(commands, *variation) if commands is not None and usable else _NOTHING
            delete = commands.delete if commands is not None and usable else _NOTHING
            lines += [
                "",
                f"# {section.name}.{number}",
                f"#    {', and '.join(map(str, variation))}",
                f"LOGO_ADD = {add};",
                f"LOGO_DELETE = {delete};",
            ]
    return _text(lines)


def write_wfplogo(answers: Answers, folder: Path) -> tuple[Path, Path]:
    """Write both files into a folder; their paths. Raises HostError when that does not work."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INFO).write_bytes(render_info(answers).encode("utf-8"))
        (folder / ANSWER).write_bytes(render_answer(answers).encode("utf-8"))
    except OSError as error:
        raise HostError(f"'{folder}' cannot be written: {error.strerror}.", hint="Name another with --to.") from error
    return folder / INFO, folder / ANSWER


def variations(section: Section) -> Iterator[tuple[Variation, ...]]:
    """What is set at the same time, one group for each entry of the section."""
    for family in (4, 6):
        if section.variations == 2:
            yield tuple(Variation(section.kind, True, inbound, family) for inbound in (True, False))
            continue
        for inbound in (False, True):
            for permit in (True, False) if section.variations == 8 else (True,):
                yield (Variation(section.kind, permit, inbound, family),)


def add_command(commands: Commands, *several: Variation) -> str:
    """The command line that makes these exceptions, with the variables of the lab kit still in it."""
    made = [_fill(commands, each) for each in several]
    return made[0] if len(made) == 1 else f'cmd.exe /s /c "{" & ".join(made)}"'


def put_in(command: str, values: Mapping[str, object]) -> str:
    """A command with its variables replaced, as the lab kit's test does it; %WinDir% and the like stay."""
    known = {name: str(values[name]) for name in VARIABLES if name in values}
    return re.sub(r"%([^%\s]*)%", lambda found: known.get(found[1], found[0]), command)


def _fill(commands: Commands, variation: Variation) -> str:
    words = {
        "action": commands.permit if variation.permit else commands.block,
        "direction": commands.inbound if variation.inbound else commands.outbound,
        "family": str(variation.family),
    }

    def fill(text: str) -> str:
        for name, value in words.items():
            text = text.replace(f"{{{name}}}", value)
        return text

    return fill(commands.add).replace("{match}", fill(commands.match_of(variation.kind) or ""))


def _attestation(each: Requirement, answers: Answers) -> Iterator[str]:
    given = each.id in answers.attestation.requirements
    concerns = each.concerns(answers.flags)
    yield ""
    yield f"# {each.id}"
    yield f"#    {each.meaning}"
    if not concerns:
        yield "#    By the answers above it does not concern this driver."
    elif not given:
        yield "#    Nobody has attested it yet: see [attestation] in driver.toml."
    for key in (each.attestation, *_BESIDE.get(each.attestation, ())):
        yield f"   {key} = {_bit(given)};"


def _installed(answers: Answers) -> str:
    return answers.driver.installed_as or rf"C:\Windows\System32\drivers\{answers.driver_file.name}"


def _bit(value: bool) -> int:
    return int(value)


def _text(lines: list[str]) -> str:
    return "\r\n".join(lines) + "\r\n"


@cache
def _data() -> dict[str, Any]:
    return tomllib.loads((files("harness.cert.data") / "wfplogo.toml").read_text(encoding="utf-8"))
