"""The bench: a running guest with the driver started in it, and the way back to that state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from harness.config import GuestKind, Profile, load_profile
from harness.driver import (
    DriverControl,
    DriverService,
    VerifierProfile,
    build_all,
    confirm_active,
    deploy,
    find_built,
    load_package_for,
    set_verifier,
)
from harness.driver.control import ERROR_FILE_NOT_FOUND
from harness.driver.crash import CrashSeen
from harness.driver.deploy import ServiceState
from harness.driver.version import read_version
from harness.errors import (
    AuthenticationFailed,
    DeadlineExpired,
    GuestError,
    GuestHung,
    HarnessError,
    LinkError,
    MachineError,
    TransportError,
    UsageError,
)
from harness.guest import Guest, ProbeClient, ProbeError, open_guest
from harness.guest.channel_agent import install
from harness.guest.firewall import set_firewall
from harness.guest.restart import restart
from harness.guest.second_channel import SecondChannel
from harness.guest.session import PROBE_PATH
from harness.guest.state_xml import render_state
from harness.hypervisor import Condition, Way, nic_mac
from harness.images import Image, ensure
from harness.link import StreamLink
from harness.plugin.bench_needs import Bench
from harness.plugin.crash_cut import CrashCut
from harness.plugin.crash_folder import CrashedScene, CrashRecord, collect_crash
from harness.plugin.diagnosis import diagnose, find_crash, find_ended_wine, names_of
from harness.plugin.dumps import crash_on_purpose, fetch_after_crash, fetch_dumps
from harness.plugin.hang import Inquiry
from harness.plugin.losses import find_loss
from harness.plugin.options import RunOptions
from harness.plugin.rig import Rig, open_rig
from harness.plugin.watchdog import Watchdog
from harness.plugin.windows_settings import refuse_settings
from harness.steps import note, step
from harness.traffic import Stations
from harness.waiting import Deadline, bounding

_SNAPSHOT = "warm"
# The reference guest starts its agent last; in a Windows guest that has one it has long been running.
_GREETING = {GuestKind.REFERENCE: 60.0, GuestKind.WINDOWS: 5.0}
_ANSWER_SECONDS = 20.0
_UNLOADED = "wfp-hil: unloaded: "  # said by the model behind all that a driver left
_BOOTED_SECONDS = 15.0
_DUMP_SECONDS = 600.0


class GuestBench:
    """The bench on a machine of our own."""

    def __init__(
        self,
        options: RunOptions,
        profile: Profile,
        image: Image,
        open_rig: Callable[[], AbstractContextManager[Rig]],
    ) -> None:
        self.options = options
        self._profile, self._image = profile, image
        products = build_all()
        self._probe_path = products["wfpprobe.exe"]
        self.package = load_package_for(options.driver or products["wfpcallout.sys"], profile.folder)
        self.driver_file: Path | None = self.package.path
        self._open_rig = open_rig
        self._rig_stack, self._guest_stack = ExitStack(), ExitStack()
        self._serial_mark = 0
        self._load_mark: int | None = None
        self._watchdog = Watchdog(self._progress, self._interrupt)
        self._take_rig()
        self.guest: Guest
        self.service: DriverService
        self.probe: ProbeClient
        self.control: DriverControl | None = None
        self._names = names_of(self.driver_file)
        self.facts: dict[str, object] = {
            "guest": profile.name, "guest_kind": str(profile.kind), "guest_title": profile.title, "image": image.hash,
            "driver_version": _version_of(self.package.path),
            "driver": self.package.path.name, "driver_sha256": sha256(self.package.path.read_bytes()).hexdigest(),
            "nic": self.machine.nics[0].model, "harness": version("wfp-hil"),
            "contract": "checked" if profile.kind is GuestKind.REFERENCE else "none",
        }  # fmt: skip

    @property
    def second_channel(self) -> SecondChannel | None:
        """The channel that no driver can cut; None where nobody has answered on it."""
        return self._channel if self._hang.has_channel else None

    @property
    def is_windows(self) -> bool:
        """Whether the guest is Windows itself."""
        return self._profile.kind is GuestKind.WINDOWS

    def open(self) -> None:
        """Boot, deploy, start, and save the state to go back to."""
        if not (self.options.reuse_boot and self._start_booted()):
            self.machine.start(Deadline(self._profile.boot.ready_seconds))
            self.facts["boot"] = "in this run"
            self._connect()
            if self.options.reuse_boot:
                with self.guest.held():
                    self.machine.keep_booted()
        self.facts["accelerator"] = self.machine.accelerator.kind
        self._load_mark = self.serial_size()
        self._prepare(deploy_driver=True)
        with self.guest.held():
            self.machine.save_snapshot(_SNAPSHOT)
        self.probe.hello()

    def close(self) -> None:
        """Let go of the guest, and end the machine."""
        self._hang.forget()
        if not self.machine.is_alive():
            self._abandon()
        self._guest_stack.close()
        self.stations.close()
        if self.far is not None:
            self.far.stations.close()
        self._rig_stack.close()

    def renew(self) -> None:
        """Throw the machine away with its links, and open the bench on a fresh one."""
        with step("open a fresh machine"):
            self._abandon()
            self.close()
            self._take_rig()
            with self._naming_losses():
                self.open()

    @contextmanager
    def _naming_losses(self) -> Iterator[None]:
        """What broke the host's part is told in the place of what was noticed of it."""
        try:
            yield
        except (TransportError, DeadlineExpired, GuestError, LinkError) as error:
            loss = find_loss(self.machine, self._links())
            if loss is None:
                raise
            raise loss from error

    def _take_rig(self) -> None:
        rig = self._rig_stack.enter_context(self._open_rig())
        self.machine, self.link, self.far = rig.machine, rig.link, rig.far
        self._cut = CrashCut(self.machine, lambda: self.guest)
        self.serial_log = self.machine.serial_log
        self._serial_mark = self.serial_size()
        self.stations = Stations.beside(self._profile.network, self.link, guest_mac=nic_mac(0))
        machine = rig.machine
        self._channel = SecondChannel(lambda: machine.second_channel)
        self._hang = Inquiry(
            machine=machine,
            channel=self._channel,
            guest=lambda: self.guest,
            driver=self.package.path,
            is_windows=self.is_windows,
        )

    def _abandon(self) -> None:
        with suppress(AttributeError):  # of a bench that was never open there is no guest
            self.guest.abandon()

    def fresh(self) -> None:
        """Put the guest back to the state in which the bench was opened; the driver's ring is empty then."""
        with self._naming_losses():
            self._forget_traffic()
            self._hang.forget()
            done = self.machine.revert(_SNAPSHOT)
            self._serial_mark = self.serial_size()
            self._cut.finish()
            if done.way is Way.IN_PLACE:
                for link in self._links():
                    link.drain(Deadline(_ANSWER_SECONDS))
                self.guest.reverted()
                self.probe.hello()
                return
            self.guest.abandon()
            self._guest_stack.close()
            self._enter(deploy_driver=done.way is Way.COLD_BOOT)

    def tidy(self) -> None:
        """Undo what a scenario set up, without putting the guest back."""
        if self._hang.unloaded:  # over the second channel, behind everybody's back
            self.fresh()
            return
        self.probe.close_all()
        self._forget_traffic()
        self.probe.request("drv_close")
        self.service.stop()  # its dynamic session goes with it, and with that every object it added
        self.service.start()
        self._empty_ring()

    def check(self) -> None:
        """Raise what broke the guest, if something did."""
        crash = self._find_crash()
        if crash is not None:
            raise crash
        self.machine.check()
        ended = None if self.is_windows else find_ended_wine(self.machine, self._serial_mark)
        if ended is not None:
            raise ended

    def _find_crash(self) -> CrashSeen | None:
        windows = self._profile.kind is GuestKind.WINDOWS
        return find_crash(self.machine, self._serial_mark, windows=windows, name=self._names)

    def driver_runs(self) -> bool:
        """Whether the driver's service runs."""
        return self.service.state() is ServiceState.RUNNING

    def serial_size(self) -> int:
        """Bytes the serial console has said so far."""
        return self.machine.serial.size()

    def reports_start(self) -> int:
        """Where on the serial console the reports for the scenario that begins are from."""
        load, self._load_mark = self._load_mark, None
        return self.serial_size() if load is None else load

    def unload(self) -> None:
        """Stop the driver; what it has left behind is on the serial console then."""
        mark = self.serial_size()
        if self.service.stop():
            self.machine.serial.wait_for(_UNLOADED, Deadline(_ANSWER_SECONDS), since=mark, check=self.check)

    def save_state(self, file: Path) -> None:
        """After a failure: write what the guest's filter engine holds, as XML; a note when it cannot be had."""
        try:
            with step("fetch the state of the filter engine"):
                file.write_bytes(render_state(self.probe.wfp_state(), guest=self._profile.name))
        except (HarnessError, OSError) as error:
            note(f"The state of the filter engine could not be fetched: {error}")

    def save_dumps(self, folder: Path) -> None:
        """After a crash or a hang: put Windows' dump into the folder, or the stacks of the driver's process."""
        self._hang.save(folder)
        if self._hang.wants_dump:
            crash_on_purpose(self.machine)
        elif self._profile.kind is not GuestKind.WINDOWS or self.machine.condition is not Condition.PANICKED:
            return
        self.guest.abandon()
        kind = str(self._profile.kind)
        fetch_dumps(
            self.machine,
            lambda: open_guest(self.machine, self._image.secrets, kind=kind),
            folder,
            Deadline(_DUMP_SECONDS + self._profile.boot.ready_seconds),
        )

    def save_crash(self, seen: CrashSeen, scene: CrashedScene, folder: Path) -> CrashRecord:
        """After a crash: put the machine's screen and memory, the dump and the last events into the folder."""
        self._cut.finish()
        machine, kind = self.machine, self._profile.kind
        seconds = _DUMP_SECONDS + self._profile.boot.ready_seconds if kind is GuestKind.WINDOWS else None
        reach = partial(open_guest, machine, self._image.secrets, kind=str(kind))
        memory = "windows" if self._profile.machine.vmcoreinfo else "elf"
        return collect_crash(
            seen,
            scene,
            folder,
            machine=machine,
            fetch=partial(fetch_after_crash, machine, reach, seconds),
            name=self._names,
            memory=memory if self.options.host_dump else None,
            has_screen=self._profile.machine.video != "none",
        )

    def diagnose(self, error: BaseException) -> BaseException:
        """What an error that ended a scenario really says: machine lost, guest hung, or driver wrong."""
        crash = self._find_crash()
        if crash is not None and not isinstance(error, UsageError):
            return crash  # whatever the scenario said of it: a guest that is gone keeps no promise
        loss = find_loss(self.machine, self._links()) if crash is None else None
        with bounding(None):  # the time of what went wrong may be up
            found = loss or diagnose(
                self._watchdog.hung or error, check=self.check, probe=lambda: self.probe, inquiry=self._hang
            )
            if loss is None and isinstance(found, GuestHung):  # QEMU may have been about to end when it was looked at
                return find_loss(self.machine, self._links()) or found
            return found

    @contextmanager
    def watched(self, quiet_seconds: float | None = None) -> Iterator[None]:
        """A watch-dog ends what waits in the block when nothing moves any more, for so long or the usual time."""
        with self._watchdog.watching(quiet_seconds):
            yield

    def _interrupt(self, hung: GuestHung) -> None:
        self.guest.interrupt(hung)

    def _progress(self) -> object:
        frames = [(link.counters.sent, link.counters.received) for link in self._links()]
        return self.guest.progress, frames, self.machine.serial.size()

    def _start_booted(self) -> bool:
        """Go on from the state that an earlier run kept after its boot; False when there is none that answers."""
        if not self.machine.start_booted():
            return False
        try:
            self._connect(seconds=_BOOTED_SECONDS)
        except AuthenticationFailed:
            raise  # a boot would not change the password
        except (TransportError, DeadlineExpired, MachineError, GuestError) as error:
            note(f"The guest does not answer from its kept state, it boots: {error.message}")
            self._abandon()
            self._guest_stack.close()
            self.machine.drop_booted()
            return False
        self.facts["boot"] = "kept from an earlier run"
        return True

    def _enter(self, *, deploy_driver: bool) -> None:
        self._connect()
        if deploy_driver:
            self._load_mark = self.serial_size()
        self._prepare(deploy_driver=deploy_driver)

    def _connect(self, *, seconds: float = _ANSWER_SECONDS * 3) -> None:
        for link in self._links():
            link.accept(Deadline(_ANSWER_SECONDS))
        kind = str(self._profile.kind)
        self.guest = self._guest_stack.enter_context(open_guest(self.machine, self._image.secrets, kind=kind))
        with step("wait for WinRM"):
            self.guest.wait_until_ready(Deadline(seconds))
            self.machine.observe_boot_id(self.guest.boot_id())
        self._greet()

    def _greet(self) -> None:
        """Find the second channel's agent; Windows gets one where it has none."""
        seconds = _GREETING[self._profile.kind]
        agent = find_built("wfpchannel.exe") if self.is_windows else None
        if self._hang.greet(Deadline(seconds)) or agent is None or self.machine.second_channel is None:
            return
        try:
            install(self.guest, agent)
        except (TransportError, GuestError) as error:
            note(f"Without a second control channel: {error.message}")
        else:
            self._hang.greet(Deadline(seconds))

    def _prepare(self, *, deploy_driver: bool) -> None:
        if deploy_driver:
            verifier = VerifierProfile(self.options.verifier) if self.options.verifier else None
            if verifier is not None:
                set_verifier(self.guest, verifier, self.package.path.name, reboot=self._reboot)
            if self.options.firewall is not None:
                set_firewall(self.guest, self.options.firewall)
            self.guest.upload(self._probe_path, PROBE_PATH)
            self.probe = self.guest.probe()  # before the driver: it starts a service sooner than sc.exe
            self.service = deploy(self.guest, self.package, quick=True, serial_log=self.serial_log)
            self.service.start()
            if verifier is not None:
                confirm_active(self.guest, verifier, self.package.path.name)
        else:
            self.service.guest = self.guest
            self.probe = self.guest.probe()
        self.control = self._find_control()
        self._empty_ring()
        self.facts["control"] = "wfpcallout" if self.control is not None else "none"
        with step("wait for the test NIC"):
            self.stations.ping(Deadline(_ANSWER_SECONDS))
            if self.far is not None:
                self.far.ping(Deadline(_ANSWER_SECONDS))  # the guest knows whom to forward to from here on

    def _links(self) -> list[StreamLink]:
        return [self.link] if self.far is None else [self.link, self.far.link]

    def _forget_traffic(self) -> None:
        self.stations.reset()
        if self.far is not None:
            self.far.stations.reset()

    def _reboot(self) -> None:
        with self.machine.expect_reboot():
            boot_id = restart(self.guest, Deadline(self._profile.boot.ready_seconds))
        self.machine.observe_boot_id(boot_id)

    def _find_control(self) -> DriverControl | None:
        """The control interface of the reference callout driver; a driver of the user's own need not have it."""
        control = DriverControl(self.probe)
        try:
            control.version()
        except ProbeError as error:
            if self.options.driver is None or error.code != ERROR_FILE_NOT_FOUND:
                raise
            return None
        return control

    def _empty_ring(self) -> None:
        if self.control is not None:
            self.control.settle()


def _version_of(driver: Path) -> str:
    said = read_version(driver)
    return said.file_version if said is not None else ""


@contextmanager
def open_guest_bench(options: RunOptions) -> Iterator[Bench]:
    """Boot the guest that was asked for; everything is gone after the block."""
    profile = load_profile(options.guest).with_vcpus(options.vcpus)
    refuse_settings(options, profile)
    with ExitStack() as stack:
        image = ensure(profile.name)
        bench = GuestBench(options, profile, image, lambda: open_rig(options, profile, image))
        stack.callback(bench.close)
        bench.open()
        yield bench
