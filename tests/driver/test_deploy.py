from __future__ import annotations

import sys

import pytest

from harness.driver.deploy import DriverService, ServiceState, deploy
from harness.driver.package import DriverPackage, load_package
from harness.errors import DeployError, DriverStartError
from harness.guest.reference import ReferenceGuest
from harness.guest.transport import CommandResult
from harness.process import run

ABSENT = (36, "[SC] OpenService FAILED 1060:\r\n\r\nThe specified service does not exist.\r\n")


def state(number, name):
    return (0, f"\r\nSERVICE_NAME: x\r\n        STATE              : {number}  {name}\r\n")


class FakeGuest:
    """A guest whose sc.exe says what it is told; an answer may be a list, used up one by one."""

    kind = ReferenceGuest()

    def __init__(self, fake):
        self.fake = fake
        self.commands = []
        self.uploads = []
        self.says = {}

    def run(self, command, *, deadline=None, skip_cmd_shell=False):
        self.commands.append(command)
        answer = self.says.get(command.split()[1], (0, ""))
        if isinstance(answer, list):
            answer = answer.pop(0)
        return CommandResult(command=command, exit_code=answer[0], stdout=answer[1], stderr="", duration=0.0)

    def upload(self, local, remote):
        self.uploads.append((local.name, remote))
        return "0" * 64

    def probe(self):
        return self.fake.client


@pytest.fixture
def guest(fake):
    return FakeGuest(fake)


@pytest.fixture
def service(guest):
    return DriverService(guest=guest, name="x", path=r"C:\wfp-hil\x.sys")


def test_deploy_uploads_and_creates_the_service(guest, tmp_path):
    package = DriverPackage(path=tmp_path / "x.sys", service="x", imports={}, is_signed=True, checksum_ok=True)

    made = deploy(guest, package)

    assert guest.uploads == [("x.sys", r"C:\wfp-hil\x.sys")]
    created = r'sc.exe create x binPath= "C:\wfp-hil\x.sys" type= kernel start= demand group= NetworkProvider'
    assert guest.commands == [created]
    assert made.name == "x"


def test_an_unsigned_driver_goes_into_the_guest_as_a_signed_copy(guest, tmp_path, monkeypatch):
    module = sys.modules["harness.driver.deploy"]  # by its name, the package gives the function
    monkeypatch.setattr(module, "certificate_folder", lambda: tmp_path / "certificate")
    source, driver = tmp_path / "d.c", tmp_path / "my driver.sys"
    source.write_text("int DriverEntry(void) { return 0; }")
    link = ["-nostdlib", "-shared", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry"]
    run(["x86_64-w64-mingw32-gcc", *link, source, "-o", driver])
    before = driver.read_bytes()
    signed = []
    guest.upload = lambda local, remote: signed.append((remote, load_package(local).is_signed))

    made = deploy(guest, load_package(driver))

    assert signed == [(r"C:\wfp-hil\my_driver.sys", True)]
    assert made.name == "my_driver"
    assert driver.read_bytes() == before, "what was handed in stays as it is"


def test_a_service_that_exists_is_kept(service, guest):
    guest.says["create"] = (1073, "[SC] CreateService FAILED 1073:")
    service.create()
    guest.says["create"] = (5, "[SC] OpenSCManager FAILED 5:\r\n\r\nAccess is denied.")
    with pytest.raises(DeployError, match="could not be created: error 5") as denied:
        service.create()
    assert "administrator" in denied.value.hint


def test_start_waits_until_it_runs(service, guest):
    guest.says["query"] = [state(2, "START_PENDING"), state(4, "RUNNING")]
    service.start()

    assert [command.split()[1] for command in guest.commands] == ["start", "query", "query"]


@pytest.mark.parametrize("exit_code", [31, 1])  # sc.exe of Windows ends with the error, Wine's with 1
def test_a_driver_entry_that_fails_is_named(service, guest, exit_code):
    guest.says["start"] = (exit_code, "[SC] StartService FAILED 31:\r\n\r\nA device is not functioning.")

    with pytest.raises(DriverStartError, match="service error 31, which stands for STATUS_UNSUCCESSFUL") as error:
        service.start()
    assert error.value.ntstatus == 0xC0000001
    assert error.value.exit_code == 1


def test_the_exact_status_comes_from_the_serial_log_of_this_start(service, guest, tmp_path):
    log = tmp_path / "serial.log"
    log.write_text('err:ntoskrnl:ZwLoadDriver failed to create driver L"x": c0000001\n')
    service.serial_log = log
    run = guest.run

    def run_and_log(command, **options):
        with log.open("a") as out:
            out.write('0118:err:ntoskrnl:ZwLoadDriver failed to create driver L"\\\\Registry\\\\x": c0220009\n')
        return run(command, **options)

    guest.run = run_and_log
    guest.says["start"] = (1, "[SC] StartService FAILED 317:")

    with pytest.raises(DriverStartError, match=r"DriverEntry returned STATUS_FWP_ALREADY_EXISTS \(0xc0220009\)"):
        service.start()


def test_a_driver_that_stops_at_once_did_not_start(service, guest):
    guest.says["query"] = state(1, "STOPPED")
    with pytest.raises(DriverStartError, match="the service is STOPPED"):
        service.start()


def test_an_unsigned_driver_gets_a_hint(service, guest):
    guest.says["start"] = (577, "[SC] StartService FAILED 577:")
    with pytest.raises(DriverStartError, match="STATUS_INVALID_IMAGE_HASH") as error:
        service.start()
    assert "testsigning" in error.value.hint


def test_stop_of_what_does_not_run_is_no_error(service, guest):
    guest.says["stop"] = (1062, "[SC] ControlService FAILED 1062:")
    assert not service.stop()
    guest.says["stop"] = ABSENT
    assert not service.stop()
    guest.says["delete"] = ABSENT
    service.delete()


def test_a_driver_that_does_not_unload_is_an_error(service, guest):
    guest.says["stop"] = (1052, "[SC] ControlService FAILED 1052:")
    with pytest.raises(DeployError, match="could not be stopped: error 1052"):
        service.stop()


def test_state_of_a_service(service, guest):
    guest.says["query"] = ABSENT
    assert service.state() is ServiceState.ABSENT
    guest.says["query"] = (0, "nonsense")
    with pytest.raises(DeployError, match="did not say in which state 'x' is"):
        service.state()


def test_the_quick_way_goes_through_the_probe(service, guest, fake):
    service.quick = True
    fake.answers["service"] = [{"state": "running"}]
    service.start()

    assert not guest.commands
    assert [request["action"] for request in fake.requests] == ["start"]


def test_the_quick_way_waits_for_a_service_that_the_probe_left_pending(service, fake):
    service.quick = True
    fake.answers["service"] = [{"state": "stop_pending"}, {"state": "stop_pending"}, {"state": "stopped"}]

    assert service.stop()
    assert [request["action"] for request in fake.requests] == ["stop", "query", "query"]


def test_a_probe_that_made_the_service_is_all_that_is_asked(guest, fake, tmp_path):
    fake.answers["service"] = {"state": "stopped"}
    package = DriverPackage(path=tmp_path / "x.sys", service="x", imports={}, is_signed=True, checksum_ok=True)

    assert deploy(guest, package, quick=True).quick
    assert not guest.commands
    assert [(request["action"], request["path"]) for request in fake.requests] == [("create", r"C:\wfp-hil\x.sys")]


def test_the_quick_way_has_the_same_errors(service, fake):
    service.quick = True
    fake.answers["service"] = {"ok": False, "error": "ERROR_GEN_FAILURE", "code": 31}
    with pytest.raises(DriverStartError, match="STATUS_UNSUCCESSFUL"):
        service.start()
    fake.answers["service"] = {"ok": False, "error": "ERROR_SERVICE_DOES_NOT_EXIST", "code": 1060}
    assert service.state() is ServiceState.ABSENT
    service.stop()
