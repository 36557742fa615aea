"""Windows' own programs: the exact commands, and answers in any language, failing ones as clear sentences."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
from pathlib import Path

import pytest

from harness.errors import DeadlineExpired, GuestError, TransportError
from harness.guest.firewall import set_firewall
from harness.guest.restart import restart
from harness.guest.transport import CommandResult
from harness.guest.windows_tools import CRASH_DUMP, StorePackage, WindowsTools
from harness.waiting import Deadline
from tests.wine import WINE_LIBRARIES

_spec = importlib.util.spec_from_file_location("scripted", Path(__file__).with_name("scripted.py"))
scripted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted)

VERSION = r'reg.exe query "HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion" /v "CurrentBuildNumber"'
OPTIONS = r'reg.exe query "HKLM\SYSTEM\CurrentControlSet\Control" /v "SystemStartOptions"'
# FORM: reg.exe of a missing value, exit code 1.
NO_VALUE = (1, "ERROR: The system was unable to find the specified registry key or value.\n")
# FORM: https://learn.microsoft.com/en-us/windows-hardware/drivers/devtest/pnputil-examples
ADDED = """Microsoft PnP Utility

Adding driver package:  x.inf
Driver package added successfully.
Published Name:         oem12.inf

Total driver packages:  1
Added driver packages:  1
"""
# FORM: the same in German, as public recordings of pnputil have its labels.
ADDED_GERMAN = """Microsoft-PnP-Dienstprogramm

Treiberpaket wird hinzugefügt:  x.inf
Das Treiberpaket wurde erfolgreich hinzugefügt.
Veröffentlichter Name:         oem12.inf
"""
DRIVERS = """Microsoft PnP Utility

Published Name:     oem3.inf
Original Name:      other.inf
Provider Name:      Somebody
Class Name:         Display adapters
Class GUID:         {4d36e968-e325-11ce-bfc1-08002be10318}
Driver Version:     08/14/2024 32.0.15.6094
Signer Name:        Microsoft Windows Hardware Compatibility Publisher

Published Name:     oem12.inf
Original Name:      x.inf
Provider Name:      wfp-hil
Class GUID:         {57465043-616c-6c6f-7574-5f636c617373}
Driver Version:     11/21/2026 0.1.0.0
Signer Name:        wfp-hil test signing
"""
DRIVERS_RUSSIAN = """Служебная программа PnP

Опубликованное имя:            oem3.inf
Исходное имя:                  other.inf
Поставщик:                     Somebody

Опубликованное имя:            oem12.inf
Исходное имя:                  x.inf
Поставщик:                     wfp-hil
"""


@pytest.fixture
def guest():
    return scripted.ScriptedWindows()


@pytest.fixture
def tools(guest):
    return WindowsTools(guest)


def test_build_and_test_signing_are_read_from_the_registry(tools, guest):
    guest.says[VERSION] = scripted.registry("HKEY_LOCAL_MACHINE\\x", "CurrentBuildNumber", "REG_SZ", "26100")
    guest.says[OPTIONS] = scripted.registry(
        "HKEY_LOCAL_MACHINE\\x", "SystemStartOptions", "REG_SZ", " NOEXECUTE=OPTIN  TESTSIGNING"
    )
    assert tools.find_build() == 26100
    assert tools.is_test_signing_on()

    guest.says[OPTIONS] = scripted.registry("x", "SystemStartOptions", "REG_SZ", " NOEXECUTE=OPTIN")
    assert not tools.is_test_signing_on()
    guest.says[OPTIONS] = NO_VALUE
    assert not tools.is_test_signing_on()
    guest.says[VERSION] = NO_VALUE
    with pytest.raises(GuestError, match="Windows does not say its build number"):
        tools.find_build()


def test_certificate_goes_into_both_stores(tools, guest):
    guest.says["certutil.exe"] = "CertUtil: -addstore command completed successfully.\n"
    tools.trust(r"C:\x.cer")
    assert guest.commands == [
        r'certutil.exe -f -addstore Root "C:\x.cer"',
        r'certutil.exe -f -addstore TrustedPublisher "C:\x.cer"',
    ]
    guest.says["certutil.exe -store TrustedPublisher"] = (
        -2146885628,  # CRYPT_E_NOT_FOUND
        "CertUtil: -store command FAILED: 0x80092004 (-2146885628 CRYPT_E_NOT_FOUND)\n",
    )
    assert not tools.is_trusted("ab12")
    guest.says["certutil.exe -store TrustedPublisher"] = ""
    assert tools.is_trusted("ab12")
    tools.distrust("ab12")
    assert guest.commands[-2:] == ["certutil.exe -delstore Root ab12", "certutil.exe -delstore TrustedPublisher ab12"]


def test_a_certificate_that_is_refused_is_said(tools, guest):
    guest.says["certutil.exe"] = (-2147024891, "CertUtil: -addstore command FAILED: 0x80070005 (WIN32: 5)\n")
    with pytest.raises(
        GuestError, match=r"could not trust the certificate in Root: .* ended with 0x80070005: CertUtil"
    ):
        tools.trust(r"C:\x.cer")


@pytest.mark.parametrize("said", [ADDED, ADDED_GERMAN])
@pytest.mark.parametrize(("code", "reboot"), [(0, False), (3010, True), (259, False)])
def test_package_is_added_and_its_name_learned(tools, guest, said, code, reboot):
    guest.says["pnputil.exe /add-driver"] = (code, said)
    added = tools.add_package(r"C:\wfp-hil\package\x.inf")

    assert (added.published, added.reboot) == ("oem12.inf", reboot)
    assert guest.commands == [r'pnputil.exe /add-driver "C:\wfp-hil\package\x.inf" /install']


def test_name_comes_from_the_driver_store_where_pnputil_does_not_say_it(tools, guest):
    guest.says["pnputil.exe /add-driver"] = "Driver package is up-to-date.\n"
    guest.says["pnputil.exe /enum-drivers"] = DRIVERS
    assert tools.add_package(r"C:\p\X.inf").published == "oem12.inf"
    guest.says["pnputil.exe /enum-drivers"] = DRIVERS.replace("x.inf", "y.inf")
    with pytest.raises(GuestError, match=r"did not say under which name .* the driver store has no 'x\.inf'"):
        tools.add_package(r"C:\p\x.inf")


@pytest.mark.parametrize(
    ("code", "said", "wanted"),
    [
        (
            -536870353,  # 0xE000022F
            "Failed to add driver package: The third-party INF does not contain digital signature information.\n",
            "0xe000022f: Failed to add driver package: The third-party INF does not contain digital signature",
        ),
        (
            -2146762487,
            "Failed to add driver package: A certificate chain processed, but terminated in a root certificate.\n",
            "0x800b0109: Failed to add",
        ),
        (5, "Access is denied.\n", "ended with 5: Access is denied"),
        (87, "", "ended with 87: it printed nothing"),
    ],
)
def test_a_package_that_is_refused_is_said(tools, guest, code, said, wanted):
    guest.says["pnputil.exe"] = (code, said)
    with pytest.raises(GuestError) as refused:
        tools.add_package(r"C:\p\x.inf")
    assert r"could not install the driver package 'C:\p\x.inf'" in refused.value.message
    assert wanted in refused.value.message
    assert (refused.value.hint is not None) == (code == 5)


@pytest.mark.parametrize("said", [DRIVERS, DRIVERS_RUSSIAN])
def test_driver_store_is_read_in_any_language(tools, guest, said):
    guest.says["pnputil.exe"] = said
    assert tools.list_packages() == [
        StorePackage(published="oem3.inf", original="other.inf"),
        StorePackage(published="oem12.inf", original="x.inf"),
    ]


def test_package_is_deleted_by_its_published_name(tools, guest):
    guest.says["pnputil.exe"] = [(0, "Driver package deleted successfully.\n"), (3010, "")]
    assert not tools.delete_package("oem12.inf")
    assert tools.delete_package("oem12.inf")
    assert guest.commands[0] == "pnputil.exe /delete-driver oem12.inf /uninstall"


# FORM: event 1001 of BugCheck in XML, https://learn.microsoft.com/en-us/windows/win32/wes/eventschema-elements
BUGCHECK = (
    "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider "
    "Name='Microsoft-Windows-WER-SystemErrorReporting' Guid='{abce23e7}' EventSourceName='BugCheck'/>"
    "<EventID Qualifiers='16384'>1001</EventID></System><EventData>"
    "<Data Name='param1'>0x000000c4 (0x0000000000000062, 0xffffe00112345678, 0xffffe00187654321, "
    "0x0000000000000001)</Data>"
    "<Data Name='param2'>C:\\Windows\\MEMORY.DMP</Data><Data Name='param3'>ab-cd</Data></EventData></Event>\n"
)


def test_last_bugcheck_is_read_from_the_event_log(tools, guest):
    guest.says["wevtutil.exe qe System"] = BUGCHECK
    crash = tools.last_bugcheck()

    assert crash.code == 0xC4
    assert crash.parameters == (0x62, 0xFFFFE00112345678, 0xFFFFE00187654321, 1)
    assert crash.dump == CRASH_DUMP
    assert guest.commands[0].endswith("/f:xml /c:1 /rd:true")


def test_no_bugcheck_and_a_broken_event(tools, guest):
    guest.says["wevtutil.exe"] = "\n"
    assert tools.last_bugcheck() is None
    guest.says["wevtutil.exe"] = "<Event"
    with pytest.raises(GuestError, match="event of the crash cannot be read"):
        tools.last_bugcheck()
    guest.says["wevtutil.exe"] = BUGCHECK.replace("0x", "")
    with pytest.raises(GuestError, match="no bugcheck code"):
        tools.last_bugcheck()


def test_dumps_of_every_kind_are_found(tools, guest):
    guest.says[r'dir /b /a-d "C:\Windows\MEMORY.DMP"'] = "MEMORY.DMP\n"
    guest.says[r'dir /b /a-d "C:\Windows\Minidump'] = "112126-1.dmp\n112126-2.dmp\n"
    guest.says[r'dir /b /a-d "C:\Windows\LiveKernelReports'] = (1, "File Not Found\n")
    assert tools.find_dumps() == [
        CRASH_DUMP,
        r"C:\Windows\Minidump\112126-1.dmp",
        r"C:\Windows\Minidump\112126-2.dmp",
    ]


@pytest.mark.parametrize(("build", "verb"), [("19045", "pcapng"), ("20348", "etl2pcap"), ("26100", "etl2pcap")])
def test_capture_inside_the_guest(tools, guest, build, verb):
    guest.says |= {
        VERSION: scripted.registry("x", "CurrentBuildNumber", "REG_SZ", build),
        "pktmon.exe": "",
    }
    tools.start_capture(r"C:\x.etl")
    tools.stop_capture(r"C:\x.etl", r"C:\x.pcapng")
    assert guest.commands_of("pktmon") == [
        r'pktmon.exe start --capture --pkt-size 0 --file-name "C:\x.etl"',
        "pktmon.exe stop",
        rf'pktmon.exe {verb} "C:\x.etl" --out "C:\x.pcapng"',
    ]


def test_a_windows_whose_pktmon_is_too_old_is_said(tools, guest):
    guest.says[VERSION] = scripted.registry("x", "CurrentBuildNumber", "REG_SZ", "17763")
    with pytest.raises(GuestError, match="pktmon of Windows build 17763 writes nothing that Wireshark reads"):
        tools.start_capture(r"C:\x.etl")


def test_a_script_answers_with_one_line_of_json(tools, guest, tmp_path):
    script = tmp_path / "driver-state.ps1"
    script.write_text("")
    guest.says["powershell.exe"] = 'some warning\n{"exists":true}\n'
    assert tools.run_script(script, {"Service": "x"}, doing="look") == {"exists": True}
    assert guest.uploads == [("driver-state.ps1", r"C:\wfp-hil\scripts\driver-state.ps1")]
    (command,) = guest.commands
    assert command.startswith("powershell.exe -NoProfile -NonInteractive -ExecutionPolicy Bypass -File ")
    assert command.endswith(r'"C:\wfp-hil\scripts\driver-state.ps1" -Service "x"')
    guest.says["powershell.exe"] = '{"exists":\n'
    with pytest.raises(GuestError, match=r"'driver-state\.ps1' did not answer with JSON: \{\"exists\":"):
        tools.run_script(script, {}, doing="look")
    guest.says["powershell.exe"] = (1, "At C:\\x.ps1:3 char:1\n+ CategoryInfo: NotSpecified\n")
    with pytest.raises(GuestError, match=r"could not look: .* ended with 1: \+ CategoryInfo"):
        tools.run_script(script, {}, doing="look")


def test_boot_options_and_event_logs(tools, guest):
    guest.says |= {"bcdedit.exe": "The operation completed successfully.\n", "wevtutil.exe epl": ""}
    tools.set_boot_option("testsigning", "on")
    tools.export_events("System", r"C:\s.evtx")
    assert guest.commands == [
        "bcdedit.exe /set {current} testsigning on",
        r'wevtutil.exe epl "System" "C:\s.evtx" /ow:true',
    ]
    guest.says["bcdedit.exe"] = (1, "The value is protected by Secure Boot policy and cannot be modified or deleted.\n")
    with pytest.raises(
        GuestError, match=r"could not set the boot option 'testsigning'.*protected by Secure Boot policy"
    ):
        tools.set_boot_option("testsigning", "on")


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("harness.guest.restart._PAUSE_SECONDS", 0.0)


def test_a_restart_is_over_when_the_boot_id_is_another(guest):
    guest.says["shutdown.exe"] = ""
    guest.boot_ids = ["old", "old", TransportError("refused"), GuestError("no file"), "new"]
    assert restart(guest, Deadline(60)) == "new"
    assert guest.commands[:2] == ["shutdown.exe /r /f /t 0", "(connections let go)"]


def test_a_restart_that_does_not_come_is_told_by_what_was_seen(guest):
    guest.says["shutdown.exe"] = ""
    with pytest.raises(DeadlineExpired, match="it answers with its old boot id"):
        restart(guest, Deadline(0))
    guest.says["shutdown.exe"] = (5, "Access is denied.(5)\n")
    with pytest.raises(GuestError, match="did not take the order to restart: Access is denied"):
        restart(guest, Deadline(60))


class WineSession:
    """Runs commands by a real cmd.exe and a real reg.exe: Wine's, whose forms are those of Windows."""

    def __init__(self, wine):
        self.wine = wine

    def run(self, command, *, deadline=None, skip_cmd_shell=False):
        words = [word.strip('"') for word in shlex.split(command, posix=False)]
        if words[0] != "reg.exe":
            words = ["cmd.exe", "/c", *words]
        done = subprocess.run(
            [self.wine.program, WINE_LIBRARIES / words[0], *words[1:]],
            env=self.wine.environment,
            capture_output=True,
            check=False,
            timeout=60,
        )
        return CommandResult(
            command=command,
            exit_code=done.returncode,
            stdout=done.stdout.decode(errors="replace"),
            stderr=done.stderr.decode(errors="replace"),
            duration=0.0,
        )


@pytest.mark.wine
def test_a_real_reg_and_a_real_cmd_are_understood(wine):
    tools = WindowsTools(WineSession(wine))
    for key, name, value in (
        (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion", "CurrentBuildNumber", "26100"),
        (r"HKLM\SYSTEM\CurrentControlSet\Control", "SystemStartOptions", " TESTSIGNING  NOEXECUTE=OPTIN"),
    ):
        tools.run(f'reg.exe add "{key}" /v "{name}" /t REG_SZ /d "{value}" /f', doing="set a value")
    assert tools.find_build() == 26100
    assert tools.is_test_signing_on()
    assert tools.read_registry(r"HKLM\SYSTEM\CurrentControlSet\Services\nobody", "ImagePath") is None
    assert tools.read_registry(r"HKLM\SYSTEM\CurrentControlSet\Control", "NoSuchValue") is None

    assert tools.find_dumps() == []
    folder = Path(wine.environment["WINEPREFIX"]) / "drive_c" / "windows"
    (folder / "Minidump").mkdir()
    for name in ("MEMORY.DMP", "Minidump/112126-1.dmp"):
        (folder / name).write_bytes(b"")
    assert tools.find_dumps() == [CRASH_DUMP, r"C:\Windows\Minidump\112126-1.dmp"]


@pytest.mark.parametrize(
    ("state", "in_force", "works"),
    [
        ("off", "False,False,False\n", True),
        ("on", "True,True,True\n", True),
        ("off", "False,True,False\n", False),  # a group policy keeps it on for one profile
        ("off", "", False),
        ("on", "1,1,1\n", False),
    ],
)
def test_the_firewall_counts_as_switched_when_all_profiles_in_force_say_so(guest, state, in_force, works):
    guest.says["netsh.exe"] = "Ok.\n\n"
    guest.says["powershell.exe"] = in_force
    if works:
        set_firewall(guest, state)
        assert guest.commands[0] == f"netsh.exe advfirewall set allprofiles state {state}"
        assert "-PolicyStore ActiveStore" in guest.commands[1]
    else:
        with pytest.raises(GuestError, match="the profiles in force say"):
            set_firewall(guest, state)


def test_a_firewall_that_windows_does_not_let_be_switched(guest):
    guest.says["netsh.exe"] = (1, "The requested operation requires elevation (Run as administrator).\n")
    with pytest.raises(GuestError, match=r"Windows could not switch its firewall off: .* requires elevation"):
        set_firewall(guest, "off")
