"""WFPLogo.Info and WFPLogo.Answer: every key once, nothing attested that nobody did, commands as the kit reads them."""

from __future__ import annotations

import re

import pytest

from harness.cert import all_requirements, load_answers
from harness.cert.wfplogo import (
    Variation,
    add_command,
    all_sections,
    commands_of,
    doubtful_programs,
    missing_kinds,
    put_in,
    render_answer,
    render_info,
    variations,
    write_wfplogo,
)

WINSOCK = "Filter.Driver.WindowsFilteringPlatform.ArchitecturalDesign.Winsock"
COMMANDS = """
[commands]
add = '%ProgramFiles%\\P\\ctl.exe add {direction} {action} v{family} {match}'
delete = 'ctl.exe delete'
permit = "let"
inbound = "incoming"
""" + "".join(
    f"{kind} = '{kind} %LOCAL_IP%'\n"
    for kind in ("address", "port", "protocol", "icmp", "application", "power", "injection")
)
# All keys that the published form of the kit has, but for the attestations of requirements.
KEYS = {
    "CompanyName", "ProductName", "DriverName", "EnableDriverVerifier", "UseAnswerFile", "CalloutDriver", "IsAFirewall",
    "LayeredOnMicrosoftWindowsFirewall", "DoesMACFiltering", "DoesVSwitchFiltering", "DoesPacketInjection",
    "DoesStreamInjection", "DoesConnectionProxying", "SupportNeighborDiscovery", "InteropWithWFPSampler", "RunBy",
}  # fmt: skip


def entries(text: str) -> list[tuple[str, str]]:
    """Key and value of each line that is no comment; the form of every line is held, too."""
    assert text.endswith("\r\n")
    lines = text.replace("\r\n", "\n").split("\n")
    assert "\r" not in "".join(lines)
    found = []
    for line in lines:
        if line.strip() and not line.lstrip().startswith("#"):
            match = re.fullmatch(r" *(\w+) = ([^;]+);", line)
            assert match is not None, line
            found.append((match[1], match[2]))
    return found


def test_the_form_has_every_key_once(answers):
    found = entries(render_info(answers))
    keys = [key for key, _ in found]
    assert len(keys) == len(set(keys))
    assert set(keys) == KEYS | {each.attestation for each in all_requirements().values() if each.attestation}
    values = dict(found)
    assert values["CompanyName"] == '"wfp-hil"'
    assert values["DriverName"] == r'"C:\Windows\System32\drivers\wfpcallout.sys"'
    assert (values["IsAFirewall"], values["DoesStreamInjection"], values["DoesMACFiltering"]) == ("1", "0", "0")
    assert keys[-1] == "RunBy"


def test_nothing_is_attested_that_nobody_attested(answers, answers_file):
    attested = {each.attestation for each in all_requirements().values() if each.attestation}
    assert not any(value != "0" for key, value in entries(render_info(answers)) if key in attested)
    given = load_answers(answers_file(f'[attestation]\nby = "J. Doe"\nrequirements = ["{WINSOCK}"]\n'))
    values = dict(entries(render_info(given)))
    assert {key for key in attested if values[key] == "1"} == {"MaxWinSock"}
    assert values["RunBy"] == '"J. Doe"'


def test_the_answers_have_two_entries_for_every_variation(answers_file):
    answers = load_answers(answers_file(COMMANDS))
    text = render_answer(answers)
    keys = [key for key, _ in entries(text)]
    count = sum(section.variations for section in all_sections())
    assert count == 2 + 7 * 8 + 4
    assert keys.count("LOGO_ADD") == keys.count("LOGO_DELETE") == count
    assert keys[0] == "configurationTimer"
    for section in all_sections():
        for number in range(1, section.variations + 1):
            assert f"# {section.name}.{number}\r\n" in text
    assert missing_kinds(answers) == ()
    assert dict(entries(render_info(answers)))["UseAnswerFile"] == "1"


def test_commands_are_filled_in_for_each_variation(answers_file):
    text = render_answer(load_answers(answers_file(COMMANDS)))
    part = text.partition("# Firewall.Support5TupleExceptions.PortExceptions.1\r\n")[2].split("\r\n\r\n")
    adds = [value for block in part[:8] for key, value in entries(block.strip("\r\n") + "\r\n") if key == "LOGO_ADD"]
    start = r"%ProgramFiles%\P\ctl.exe add "
    assert [add.removeprefix(start) for add in adds] == [
        f"{way} {act} v{family} port %LOCAL_IP%"
        for family in (4, 6)
        for way in ("out", "incoming")
        for act in ("let", "block")
    ]


def test_what_does_not_concern_the_driver_does_nothing(answers_file):
    """Stream injection is not the driver's: its two entries are there, and inert."""
    text = render_answer(load_answers(answers_file(COMMANDS)))
    part = text.partition("# ArchitecturalDesign.StreamInjection.NoStreamStarvation.1\r\n")[2].split("\r\n\r\n")[0]
    assert entries(part + "\r\n") == [("LOGO_ADD", "cmd.exe /c exit 0"), ("LOGO_DELETE", "cmd.exe /c exit 0")]


def test_kinds_without_a_command_leave_the_dialogues_to_a_person(answers, answers_file):
    assert missing_kinds(answers) == ("power", "address", "port", "protocol", "icmp", "application", "injection")
    assert dict(entries(render_info(answers)))["UseAnswerFile"] == "0"
    partly = load_answers(answers_file(COMMANDS.replace("icmp = 'icmp %LOCAL_IP%'\n", "")))
    assert missing_kinds(partly) == ("icmp",)


def test_a_product_on_windows_firewall_uses_its_commands(answers_file):
    answers = load_answers(answers_file("layered_on_windows_firewall = true\n"))
    commands = commands_of(answers)
    assert commands is not None
    assert missing_kinds(answers) == ()
    start, _, match = add_command(commands, Variation("icmp", False, True, 6)).rpartition(" ")
    assert start == "netsh.exe advfirewall firewall add rule name=wfp-hil-logo dir=in action=block"
    assert match == "protocol=icmpv6:%ICMP_TYPE%,%ICMP_CODE%"


def test_both_directions_of_a_stream_are_one_command(answers_file):
    answers = load_answers(answers_file("layered_on_windows_firewall = true\n", stream_injection="true"))
    (section,) = [each for each in all_sections() if each.kind == "stream"]
    (first, _) = variations(section)
    commands = commands_of(answers)
    assert commands is not None
    command = add_command(commands, *first)
    assert command.startswith('cmd.exe /s /c "netsh.exe ')
    assert " dir=in " in command
    assert " dir=out " in command


@pytest.mark.parametrize(
    ("command", "made"),
    [("a %LOCAL_IP% b", "a 1.0.0.1 b"), ("%WinDir%\\x", "%WinDir%\\x"), ("%REMOTE_IP%", "%REMOTE_IP%")],
)
def test_variables_are_put_in_as_the_kit_does(command, made):
    assert put_in(command, {"LOCAL_IP": "1.0.0.1"}) == made


def test_both_files_are_written(answers, tmp_path):
    info, answer = write_wfplogo(answers, tmp_path / "new")
    assert (info.name, answer.name) == ("WFPLogo.Info", "WFPLogo.Answer")
    assert info.read_bytes() == render_info(answers).encode()


def test_each_entry_says_what_it_sets(answers_file):
    text = render_answer(load_answers(answers_file(COMMANDS, stream_injection="true")))
    assert "# Firewall.Support5TupleExceptions.PortExceptions.3\r\n#    port, permit inbound, IPv4\r\n" in text
    assert "NoStreamStarvation.2\r\n#    stream, permit inbound, IPv6, and stream, permit outbound, IPv6\r\n" in text


@pytest.mark.parametrize(
    ("add", "wanted"),
    [
        ("ctl.exe add", ["'ctl.exe' names no folder"]),
        ("CTL add", ["'CTL' names no folder"]),
        (r"C:\Program Files\P\ctl.exe add", [r"'C:\Program Files\P\ctl.exe' has a space in it"]),
        (r'"C:\Program Files\P\ctl.exe" add', []),
        (r"%ProgramFiles%\P\ctl.exe add", []),
        ("netsh.exe advfirewall add", []),
        ("powershell -File x.ps1", []),
    ],
)
def test_programs_that_the_kit_may_not_find_are_noted(answers_file, add, wanted):
    commands = f"[commands]\nadd = '{add} {{action}} {{match}}'\ndelete = 'cmd.exe /c exit 0'\n"
    found = doubtful_programs(load_answers(answers_file(commands)))
    assert [text.startswith(beginning) for text, beginning in zip(found, wanted, strict=True)] == [True] * len(wanted)


def test_what_has_no_commands_has_no_doubtful_ones(answers):
    assert doubtful_programs(answers) == ()
