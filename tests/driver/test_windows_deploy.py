"""A driver package in a scripted Windows: installed, held against what was sent, taken out, and what is left named."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path

import pytest

from harness.driver.build import build_all
from harness.driver.deploy import deploy
from harness.driver.package import load_package
from harness.driver.sign import make_certificate
from harness.driver.wfp_state import find_left, load_wfp_state
from harness.driver.windows_deploy import install
from harness.driver.windows_package import make_package
from harness.errors import DeployError, DriverPackageError, GuestError

_spec = importlib.util.spec_from_file_location("scripted", Path(__file__).parents[1] / "guest" / "scripted.py")
scripted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(scripted)

VERSION = r'reg.exe query "HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion" /v "CurrentBuildNumber"'
OPTIONS = r'reg.exe query "HKLM\SYSTEM\CurrentControlSet\Control" /v "SystemStartOptions"'
SERVICE = r'reg.exe query "HKLM\SYSTEM\CurrentControlSet\Services\wfpcallout" /v "ImagePath"'
STATE_FILE = r"C:\wfp-hil\wfp-state.xml"
STORED = r"\SystemRoot\System32\DriverStore\FileRepository\wfpcallout.inf_amd64_0123\wfpcallout.sys"
ABSENT = (1060, "[SC] EnumQueryServicesStatus:OpenService FAILED 1060:\n")
NOTHING_LEFT = '{"services":[],"files":[],"packages":[],"keys":[]}\n'


def item(kind, key, name, provider=""):
    owner = f"<providerKey>{provider}</providerKey>" if kind != "providerKey" else ""
    return (
        f"<item><{kind}>{key}</{kind}><displayData><name>{name}</name><description/></displayData>"
        f"<flags/>{owner}</item>"
    )


WINDOWS_PROVIDER = item("providerKey", "{AAAA}", "Microsoft Corporation")
OLD_FILTER = item("filterKey", "{F0}", "Query User", "{AAAA}")
OUR_PROVIDER = item("providerKey", "{BBBB}", "wfp-hil")
OUR_SUBLAYER = item("subLayerKey", "{CCCC}", "wfp-hil A", "{BBBB}")
OUR_CALLOUT = item("calloutKey", "{DDDD}", "wfp-hil redirect", "{BBBB}")
OUR_FILTER = item("filterKey", "{F1}", "rule 1", "{BBBB}")
FOREIGN_FILTER = item("filterKey", "{F2}", "Boot Time Filter", "{AAAA}")


def state(*items, filters=(OLD_FILTER,)):
    """FORM of netsh wfp show state: lists of items, callouts and filters inside their layer."""
    providers = "".join(one for one in items if "<item><providerKey>" in one)
    sublayers = "".join(one for one in items if "<subLayerKey>" in one)
    callouts = "".join(one for one in items if "<calloutKey>" in one)
    return (
        "<?xml version='1.0' encoding='UTF-8'?><wfpstate><timeStamp/>"
        f"<providers numItems='1'>{WINDOWS_PROVIDER}{providers}</providers>"
        f"<subLayers>{sublayers}</subLayers><layers><item><layer><layerKey>L</layerKey></layer>"
        f"<callouts>{callouts}</callouts><filters>{''.join(filters)}</filters></item></layers></wfpstate>"
    ).encode()


BEFORE = state()
RUNNING = state(OUR_PROVIDER, OUR_SUBLAYER, OUR_CALLOUT, filters=(OLD_FILTER, OUR_FILTER, FOREIGN_FILTER))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("windows")
    driver = build_all(test_sign=False)["wfpcallout.sys"]
    return make_package(driver, folder / "package", signer=make_certificate(folder / "certificate"))


def loaded(package, **changes):
    said = {
        "exists": True,
        "running": True,
        "path": r"C:\Windows\System32\DriverStore\FileRepository\wfpcallout.inf_amd64_0123\wfpcallout.sys",
        "start": 3,
        "sha256": hashlib.sha256(package.sys.read_bytes()).hexdigest(),
        "version": "0.1.0.0",
        "signature": "Valid",
        "signer": package.thumbprint,
    }
    return json.dumps(said | changes) + "\n"


@pytest.fixture
def guest(package):
    """A Windows 11 that does all as it should; a test changes what it says."""
    made = scripted.ScriptedWindows(
        {
            VERSION: scripted.registry("x", "CurrentBuildNumber", "REG_SZ", "26100"),
            OPTIONS: scripted.registry("x", "SystemStartOptions", "REG_SZ", " TESTSIGNING  NOEXECUTE=OPTIN"),
            SERVICE: scripted.registry("x", "ImagePath", "REG_EXPAND_SZ", STORED),
            "netsh.exe wfp show state": "Data collection successful; output = C:\\wfp-hil\\wfp-state.xml\n",
            "certutil.exe": "",
            "pnputil.exe /add-driver": "Published Name:         oem7.inf\n",
            "pnputil.exe /delete-driver": "Driver package deleted successfully.\n",
            "sc.exe start": "",
            "sc.exe stop": "",
            "sc.exe create": "[SC] CreateService SUCCESS\n",
            "sc.exe delete": ABSENT,
            "sc.exe query": "        STATE              : 4  RUNNING\n",
            "del /f /q": "",
            "powershell.exe": "",
            f"powershell.exe {POWERSHELL}driver-state.ps1": loaded(package),
            f"powershell.exe {POWERSHELL}driver-leftovers.ps1": NOTHING_LEFT,
        }
    )
    made.files[STATE_FILE] = [BEFORE, RUNNING, BEFORE]
    return made


POWERSHELL = r'-NoProfile -NonInteractive -ExecutionPolicy Bypass -File "C:\wfp-hil\scripts' + "\\"


def stopped(guest):
    guest.says["sc.exe query"] = "        STATE              : 1  STOPPED\n"


def test_installed_started_and_taken_out_without_a_trace(guest, package):
    installed = install(guest, package)

    assert installed.published == "oem7.inf"
    assert installed.service.path == STORED
    folder = r"C:\wfp-hil\package"
    names = ["wfpcallout.sys", "wfpcallout.inf", "wfpcallout.cat", "test-signing.cer"]
    assert guest.uploads == [(name, rf"{folder}\{name}") for name in names]
    assert guest.commands == [
        OPTIONS,
        f'netsh.exe wfp show state file="{STATE_FILE}"',
        rf'certutil.exe -f -addstore Root "{folder}\test-signing.cer"',
        rf'certutil.exe -f -addstore TrustedPublisher "{folder}\test-signing.cer"',
        f"certutil.exe -store Root {package.thumbprint}",
        f"certutil.exe -store TrustedPublisher {package.thumbprint}",
        VERSION,
        rf'pnputil.exe /add-driver "{folder}\wfpcallout.inf" /install',
        SERVICE,
    ]
    guest.commands.clear()

    installed.service.start()
    stopped(guest)
    installed.service.remove()
    assert [command.partition(" -File ")[2] or command for command in guest.commands] == [
        "sc.exe start wfpcallout",
        "sc.exe query wfpcallout",
        r'"C:\wfp-hil\scripts\driver-state.ps1" -Service "wfpcallout"',
        f'netsh.exe wfp show state file="{STATE_FILE}"',
        "sc.exe stop wfpcallout",
        "sc.exe query wfpcallout",
        "pnputil.exe /delete-driver oem7.inf /uninstall",
        "sc.exe delete wfpcallout",
        r'del /f /q "C:\wfp-hil\package\wfpcallout.sys"',
        r'"C:\wfp-hil\scripts\driver-leftovers.ps1" -Service "wfpcallout" -File "wfpcallout.sys" -Inf "wfpcallout.inf"',
        f'netsh.exe wfp show state file="{STATE_FILE}"',
    ]


def test_a_pnputil_that_makes_no_service_is_helped_by_setupapi(guest, package):
    guest.says[SERVICE] = [(1, "ERROR: not found\n"), guest.says[SERVICE]]
    guest.says["rundll32.exe"] = ""
    installed = install(guest, package)

    assert (installed.published, installed.service.path) == ("oem7.inf", STORED)
    (command,) = guest.commands_of("rundll32")
    assert command == (
        r"rundll32.exe setupapi.dll,InstallHinfSection DefaultInstall.NTamd64 132 C:\wfp-hil\package\wfpcallout.inf"
    )


def test_a_windows_that_installs_no_driver_without_a_device_gets_a_service(guest, package):
    guest.says[SERVICE] = (1, "ERROR: not found\n")
    guest.says["rundll32.exe"] = ""
    installed = install(guest, package)

    assert installed.published == "oem7.inf"
    assert guest.commands_of("sc")[0].startswith(
        r'sc.exe create wfpcallout binPath= "C:\wfp-hil\package\wfpcallout.sys"'
    )
    installed.service.start()
    stopped(guest)
    installed.uninstall()
    assert "pnputil.exe /delete-driver oem7.inf /uninstall" in guest.commands
    assert "sc.exe delete wfpcallout" in guest.commands


def test_server_2019_gets_a_service_because_it_knows_no_drivers_without_a_device(guest, package):
    guest.says[VERSION] = scripted.registry("x", "CurrentBuildNumber", "REG_SZ", "17763")
    installed = install(guest, package)

    assert installed.published is None
    assert guest.commands_of("pnputil") == []
    path = r"C:\wfp-hil\package\wfpcallout.sys"
    assert guest.commands[-1] == (
        f'sc.exe create wfpcallout binPath= "{path}" type= kernel start= demand group= NetworkProvider'
    )
    installed.service.start()
    stopped(guest)
    installed.uninstall()
    assert f'del /f /q "{path}"' in guest.commands


def test_what_is_loaded_is_asked_once(guest, package):
    installed = install(guest, package)
    guest.files[STATE_FILE] = RUNNING
    installed.service.start()
    installed.service.start()
    assert installed.running == RUNNING
    assert len([command for command in guest.commands if "driver-state.ps1" in command]) == 1


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"sha256": "ab" * 32}, r"has the SHA-256 abab.*, sent: [0-9a-f]{64}"),
        ({"sha256": ""}, "has the SHA-256 of no file"),
        ({"version": "0.0.9.0"}, r"it says version 0\.0\.9\.0, sent: 0\.1\.0\.0"),
        ({"signature": "NotTrusted"}, "its signature is 'NotTrusted'"),
        ({"signer": "ab" * 20}, "it is signed by abab.*, sent: [0-9a-f]{40}"),
        ({"running": False}, "it does not run"),
        ({"exists": False}, "there is no such service"),
    ],
)
def test_a_file_that_is_not_the_one_that_was_sent_is_said(guest, package, changes, wanted):
    guest.says[f"powershell.exe {POWERSHELL}driver-state.ps1"] = loaded(package, **changes)
    installed = install(guest, package)
    with pytest.raises(DeployError, match=rf"driver 'wfpcallout' is not what was sent: .*{wanted}"):
        installed.service.start()


@pytest.mark.parametrize(("status", "loads"), [("UnknownError", True), ("NotTrusted", True), ("HashMismatch", False)])
def test_a_driver_with_a_signature_of_its_own_need_not_be_trusted(guest, package, tmp_path, status, loads):
    theirs = make_package(package.sys, tmp_path / "theirs", signer=make_certificate(tmp_path / "other"))
    assert not theirs.signed_here
    guest.says[f"powershell.exe {POWERSHELL}driver-state.ps1"] = loaded(package, signature=status, signer="cd" * 20)
    service = install(guest, theirs).service
    if loads:
        service.start()
    else:
        with pytest.raises(DeployError, match="its signature is 'HashMismatch'"):
            service.start()


def test_what_goes_with_its_last_handle_is_waited_for(guest, package):
    guest.says[f"powershell.exe {POWERSHELL}driver-leftovers.ps1"] = [
        '{"services":["wfpcallout"],"files":[],"packages":[],"keys":[]}\n',
        NOTHING_LEFT,
    ]
    guest.says["sc.exe delete"] = (1072, "[SC] DeleteService FAILED 1072:\n")
    installed = install(guest, package)
    installed.service.start()
    stopped(guest)
    installed.uninstall()


def test_a_windows_without_test_signing_is_said_before_anything_is_changed(guest, package):
    guest.says[OPTIONS] = scripted.registry("x", "SystemStartOptions", "REG_SZ", " NOEXECUTE=OPTIN")
    with pytest.raises(DeployError, match="was not started with test signing") as refused:
        install(guest, package)
    assert "bcdedit /set testsigning on" in refused.value.hint
    assert guest.commands == [OPTIONS]
    assert guest.uploads == []


@pytest.mark.parametrize(
    ("says", "wanted"),
    [
        (
            {"certutil.exe -store TrustedPublisher": (-2146885628, "")},
            r"does not have the certificate [0-9a-f]{40} in Root and TrustedPublisher",
        ),
        (
            {"pnputil.exe /add-driver": (-536870353, "Failed to add driver package: no digital signature.\n")},
            r"could not install the driver package .* 0xe000022f: Failed to add driver package",
        ),
    ],
)
def test_what_windows_refuses_is_said(guest, package, says, wanted):
    guest.says |= says
    with pytest.raises(DeployError, match=wanted):
        install(guest, package)


def test_a_windows_whose_filter_engine_does_not_answer_is_said(guest, package):
    guest.says["netsh.exe wfp show state"] = (1, "The Base Filtering Engine service is not running.\n")
    with pytest.raises(
        GuestError, match=r"could not read the state of WFP: .* ended with 1: The Base Filtering Engine"
    ):
        install(guest, package)
    guest.says["netsh.exe wfp show state"] = ""
    guest.files[STATE_FILE] = b"<wfpstate/>"
    with pytest.raises(GuestError, match="has no provider, and every Windows has some"):
        install(guest, package)
    guest.files[STATE_FILE] = b"<wfpst"
    with pytest.raises(GuestError, match="is no XML"):
        install(guest, package)


def test_a_package_that_was_changed_is_not_sent(guest, package, tmp_path):
    for path in package.sys.parent.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / package.inf.name).write_bytes(b"; changed\r\n" + package.inf.read_bytes())
    spoilt = type(package)(
        sys=tmp_path / package.sys.name, inf=tmp_path / package.inf.name, cat=tmp_path / package.cat.name,
        certificate=tmp_path / package.certificate.name, thumbprint=package.thumbprint, service=package.service,
        signed_here=True,
    )  # fmt: skip
    with pytest.raises(DriverPackageError, match=r"'wfpcallout\.inf' has the SHA256"):
        install(guest, spoilt)
    assert guest.commands == []


def test_everything_that_is_left_is_named(guest, package, monkeypatch):
    monkeypatch.setattr("harness.driver.windows_deploy._GONE_SECONDS", 0.0)
    guest.says[f"powershell.exe {POWERSHELL}driver-leftovers.ps1"] = (
        json.dumps(
            {
                "services": ["wfpcallout"],
                "files": [r"C:\Windows\System32\drivers\wfpcallout.sys"],
                "packages": r"C:\Windows\INF\oem7.inf",  # PowerShell makes no list of one
                "keys": [],
            }
        )
        + "\n"
    )
    guest.files[STATE_FILE] = [BEFORE, RUNNING, state(OUR_CALLOUT, filters=(OLD_FILTER, OUR_FILTER, FOREIGN_FILTER))]
    installed = install(guest, package)
    installed.service.start()
    stopped(guest)
    with pytest.raises(DeployError) as refused:
        installed.uninstall()
    assert refused.value.message == (
        "The driver 'wfpcallout' was uninstalled and left behind: services wfpcallout; "
        r"files C:\Windows\System32\drivers\wfpcallout.sys; packages C:\Windows\INF\oem7.inf; "
        "WFP callout 'wfp-hil redirect' {dddd}; WFP filter 'rule 1' {f1}."
    )


def test_a_driver_that_does_not_unload_is_not_deleted(guest, package):
    installed = install(guest, package)
    installed.service.start()
    guest.says["sc.exe stop"] = (1052, "[SC] ControlService FAILED 1052:\n")
    with pytest.raises(DeployError, match="could not be stopped: error 1052"):
        installed.uninstall()
    assert guest.commands_of("pnputil")[1:] == []


def test_deploy_installs_a_package_on_windows(guest):
    driver = build_all(test_sign=False)["wfpcallout.sys"]
    service = deploy(guest, load_package(driver))
    assert service.path == STORED
    assert service.confirm is not None
    assert guest.commands_of("sc") == []


def test_an_inf_beside_the_driver_is_the_one_that_is_installed(guest, tmp_path):
    ours = build_all()["wfpcallout.sys"]
    assert ours.with_suffix(".inf").is_file(), "our own goes along with the signed driver"
    driver = tmp_path / "wfpcallout.sys"
    driver.write_bytes(ours.read_bytes())
    text = ours.with_suffix(".inf").read_bytes()
    driver.with_suffix(".inf").write_bytes(text.replace(b"wfpcallout.cat", b"own.cat"))
    deploy(guest, load_package(driver))
    assert ("own.cat", r"C:\wfp-hil\package\own.cat") in guest.uploads

    driver.with_suffix(".inf").write_bytes(text.replace(b"PnpLockdown = 1", b"PnpLockdown = 0"))
    with pytest.raises(DriverPackageError, match="PnpLockdown is '0', wanted 1"):
        deploy(guest, load_package(driver))


def test_wfp_objects_are_told_apart_by_kind_and_key():
    seen = load_wfp_state(RUNNING)
    assert {str(thing) for thing in seen.values()} == {
        "provider 'Microsoft Corporation' {aaaa}", "provider 'wfp-hil' {bbbb}", "sublayer 'wfp-hil A' {cccc}",
        "callout 'wfp-hil redirect' {dddd}", "filter 'Query User' {f0}", "filter 'rule 1' {f1}",
        "filter 'Boot Time Filter' {f2}",
    }  # fmt: skip
    assert seen["filter", "{f1}"].provider == "{bbbb}"


@pytest.mark.parametrize(
    "written",
    [
        RUNNING + b"<firewallState><dynamicKeywordAddresses/></firewallState>",  # FORM of newer Windows: two roots
        b"\xef\xbb\xbf" + RUNNING,
        RUNNING.decode().replace("UTF-8", "UTF-16").encode("utf-16"),
    ],
    ids=["two roots", "UTF-8 with mark", "UTF-16"],
)
def test_every_form_that_netsh_writes_is_read(written):
    assert load_wfp_state(written) == load_wfp_state(RUNNING)


def test_only_what_came_with_the_driver_and_stayed_is_left():
    assert find_left(BEFORE, RUNNING, BEFORE) == []
    assert find_left(BEFORE, BEFORE, RUNNING) == [], "what came later is somebody else's"
    left = find_left(BEFORE, RUNNING, RUNNING)
    assert [thing.kind for thing in left] == ["provider", "sublayer", "callout", "filter"]
    nobody = item("filterKey", "{F3}", "without an owner")
    assert find_left(BEFORE, state(filters=(nobody,)), state(filters=(nobody,)))[0].key == "{f3}"
