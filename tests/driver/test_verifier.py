"""Driver Verifier: the exact commands, what it prints read without its words, and what is wrong as a sentence."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from harness.driver.verifier import (
    VerifierProfile,
    confirm_active,
    parse_activity,
    parse_settings,
    set_verifier,
    verifier_command,
)
from harness.errors import DeployError, GuestError

_spec = importlib.util.spec_from_file_location("scripted", Path(__file__).parents[1] / "guest" / "scripted.py")
scripted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted)

# FORM of Windows 10 and 11, after public recordings; 0x00100000 is an internal flag that /standard brings along.
SETTINGS = """
Verifier Flags: 0x{flags:08x}

  Standard Flags:

    [{mark}] 0x00000001 Special pool.
    [{mark}] 0x00000002 Force IRQL checking.
    [{mark}] 0x00000008 Pool tracking.
    [{mark}] 0x00000010 I/O verification.
    [{mark}] 0x00000020 Deadlock detection.
    [{mark}] 0x00000080 DMA checking.
    [{mark}] 0x00000100 Security checks.
    [{mark}] 0x00000800 Miscellaneous checks.
    [{mark}] 0x00020000 DDI compliance checking.

  Additional Flags:

    [ ] 0x00000004 Randomized low resources simulation.

    [X] Indicates flag is enabled.

  Boot Mode:

    Persistent

  Rules:

    All rules are using default settings

  Verified Drivers:

{drivers}
"""
NO_ACTIVITY = "\nNo drivers are currently verified.\n"
# FORM of verifier /query, after public recordings.
ACTIVITY = """
Time Stamp: 11/21/2026 10:00:00.000

Verifier Flags: 0x{flags:08x}

Driver Verification List

{modules}
Pool Allocation Statistics: ( NonPagedPool )
"""
STANDARD = 0x001209BB


def settings(flags, *drivers):
    return SETTINGS.format(
        flags=flags, mark="X" if flags else " ", drivers="\n".join(f"    {name}" for name in drivers) or "    None"
    )


def activity(flags, **loads):
    modules = "".join(f"MODULE: {name}.sys (load: {count} / unload: 0)\n\n" for name, count in loads.items())
    return ACTIVITY.format(flags=flags, modules=modules)


def test_commands_of_the_profiles():
    assert verifier_command(VerifierProfile.OFF, "x.sys") == "verifier.exe /reset"
    assert verifier_command(VerifierProfile.STANDARD, "x.sys") == "verifier.exe /standard /driver x.sys ndis.sys"
    assert (
        verifier_command(VerifierProfile.LOW_RESOURCES, "x.sys")
        == 'verifier.exe /flags 0x209bb /faults 600 "" "" 1 /driver x.sys ndis.sys'
    )


def test_settings_and_activity_are_read_in_any_language():
    seen = parse_settings(settings(STANDARD, "x.sys", "NDIS.SYS"))
    assert (seen.flags, seen.drivers) == (STANDARD, ("ndis.sys", "x.sys"))
    assert parse_settings(settings(0)).drivers == ()
    german = settings(STANDARD, "x.sys").replace("Verifier Flags", "Überprüfungskennzeichen")
    assert parse_settings(german).flags == STANDARD
    assert parse_activity(NO_ACTIVITY).loads == {}
    seen = parse_activity(activity(STANDARD, x=2, ndis=1).replace("load", "geladen"))
    assert (seen.flags, seen.loads) == (STANDARD, {"x.sys": 2, "ndis.sys": 1})
    with pytest.raises(GuestError, match="did not say its flags"):
        parse_settings("Special pool: Enabled\n")


def guest_with(**says):
    guest = scripted.ScriptedWindows({"verifier.exe /" + key.replace("_", " "): value for key, value in says.items()})
    guest.boot_ids = ["one", "two"]
    return guest


def test_standard_is_set_and_confirmed_after_the_reboot():
    guest = guest_with(
        querysettings=[settings(0), settings(STANDARD, "x.sys", "ndis.sys")],
        query=activity(STANDARD, ndis=1),
        standard=(2, "The new settings are in effect after you restart this computer.\n"),
        bootmode=(2, ""),
    )
    rebooted = []

    assert set_verifier(guest, VerifierProfile.STANDARD, "x.sys", reboot=lambda: rebooted.append(True))
    assert rebooted == [True]
    assert guest.commands == [
        "verifier.exe /querysettings",
        "verifier.exe /standard /driver x.sys ndis.sys",
        "verifier.exe /bootmode resetonbootfail",
        "verifier.exe /querysettings",
        "verifier.exe /querysettings",
        "verifier.exe /query",
    ]


def test_what_is_active_already_is_left_alone():
    guest = guest_with(querysettings=settings(STANDARD, "x.sys", "ndis.sys"), query=activity(STANDARD, x=0, ndis=1))
    assert not set_verifier(guest, VerifierProfile.STANDARD, "x.sys", reboot=lambda: pytest.fail("no reboot is needed"))
    guest = guest_with(querysettings=settings(0), query=NO_ACTIVITY)
    assert not set_verifier(guest, VerifierProfile.OFF, "x.sys", reboot=lambda: pytest.fail("no reboot is needed"))


def test_off_needs_a_reboot_as_well():
    guest = guest_with(
        querysettings=[settings(STANDARD, "x.sys", "ndis.sys"), settings(0)], query=NO_ACTIVITY, reset=(2, "")
    )
    assert set_verifier(guest, VerifierProfile.OFF, "x.sys", reboot=lambda: None)
    assert "verifier.exe /reset" in guest.commands
    assert not [command for command in guest.commands if "bootmode" in command]


def test_low_resources_have_their_flag():
    low = STANDARD | 4
    guest = guest_with(
        querysettings=[settings(STANDARD, "x.sys", "ndis.sys"), settings(low, "x.sys", "ndis.sys")],
        query=[activity(low, ndis=1)],
        flags=(2, ""),
        bootmode=(2, ""),
    )
    assert set_verifier(guest, VerifierProfile.LOW_RESOURCES, "x.sys", reboot=lambda: None)
    assert 'verifier.exe /flags 0x209bb /faults 600 "" "" 1 /driver x.sys ndis.sys' in guest.commands


def test_a_windows_with_the_older_name_of_the_boot_mode():
    guest = guest_with(
        querysettings=[settings(0), settings(STANDARD, "x.sys", "ndis.sys")],
        query=activity(STANDARD, ndis=1),
        standard=(2, ""),
        bootmode_resetonbootfail=(1, "Invalid parameter.\n"),
        bootmode_disableafterfail=(2, ""),
    )
    assert set_verifier(guest, VerifierProfile.STANDARD, "x.sys", reboot=lambda: None)
    assert guest.commands[2:4] == ["verifier.exe /bootmode resetonbootfail", "verifier.exe /bootmode disableafterfail"]


def good(**changes):
    says = {
        "querysettings": [settings(0), settings(STANDARD, "x.sys", "ndis.sys")],
        "query": activity(STANDARD, ndis=1),
        "standard": (2, ""),
        "bootmode": (2, ""),
    }
    return guest_with(**(says | changes))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            {"standard": (1, "Error 87: The parameter is incorrect.\n")},
            r"could not set Driver Verifier: .* ended with 1: Error 87",
        ),
        (
            {"querysettings": settings(0)},
            r"'standard' for 'x\.sys': it has flags 0x0 for no driver, wanted 0x209bb for x\.sys, ndis\.sys",
        ),
        (
            {"querysettings": [settings(0), settings(STANDARD, "x.sys")]},
            r"did not take the profile 'standard' .* it has flags 0x1209bb for x\.sys, wanted",
        ),
        (
            {"query": NO_ACTIVITY},
            r"'standard' is set and not active after the reboot: it verifies nothing with flags 0x0",
        ),
        (
            {"query": activity(0x1, ndis=1)},
            r"not active after the reboot: it verifies ndis\.sys with flags 0x1, wanted 0x209bb",
        ),
    ],
)
def test_what_driver_verifier_does_not_take_is_said(changes, wanted):
    with pytest.raises(DeployError, match=wanted):
        set_verifier(good(**changes), VerifierProfile.STANDARD, "x.sys", reboot=lambda: None)


def test_a_guest_that_did_not_reboot_is_said():
    guest = good()
    guest.boot_ids = ["one"]
    with pytest.raises(DeployError, match=r"did not reboot, so Driver Verifier 'standard' is not active: .* 'one'"):
        set_verifier(guest, VerifierProfile.STANDARD, "x.sys", reboot=lambda: None)


def test_the_loaded_driver_is_confirmed():
    seen = confirm_active(good(query=activity(STANDARD, x=1, ndis=1)), VerifierProfile.STANDARD, "X.sys")
    assert seen.loads["x.sys"] == 1
    with pytest.raises(DeployError, match=r"does not verify 'x\.sys' as 'standard' asks: .*loaded: ndis\.sys 1"):
        confirm_active(good(), VerifierProfile.STANDARD, "x.sys")
    with pytest.raises(DeployError, match=r"flags 0x1209bb \(wanted 0x209bf\)"):
        confirm_active(good(query=activity(STANDARD, x=1, ndis=1)), VerifierProfile.LOW_RESOURCES, "x.sys")
    with pytest.raises(DeployError, match=r"is to be off and verifies ndis\.sys"):
        confirm_active(good(), VerifierProfile.OFF, "x.sys")
    assert confirm_active(good(query=NO_ACTIVITY), VerifierProfile.OFF, "x.sys").loads == {}
