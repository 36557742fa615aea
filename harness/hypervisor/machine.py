"""One virtual machine from power-on to power-off."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import libvirt

from harness import steps
from harness.config import Profile
from harness.errors import DeadlineExpired, MachineError, MachineLost, UsageError
from harness.hypervisor import accelerator as accelerators
from harness.hypervisor import warm
from harness.hypervisor.connection import connect, machine_error, qemu_log, refusal_text
from harness.hypervisor.console import Console
from harness.hypervisor.disk_io import has_io_uring
from harness.hypervisor.domain_xml import DomainSpec, NicSpec, has_second_channel, render_domain
from harness.hypervisor.firmware import find_firmware, make_nvram, place_tpm, share_tpm_authority
from harness.hypervisor.monitor import Monitor
from harness.hypervisor.qemu_process import end_without_libvirt, find_process, is_stopped
from harness.hypervisor.serial import SerialLog
from harness.hypervisor.sharing import keep_private
from harness.hypervisor.snapshots import Reverted, Snapshots, Way
from harness.hypervisor.source import BootImage, Setup
from harness.hypervisor.state import DOMAIN_PREFIX, MachineState
from harness.hypervisor.tsc import tsc_khz
from harness.hypervisor.watch import Bugcheck, Condition, Watch
from harness.ownership import Owner
from harness.waiting import Deadline, wait_for


@contextmanager
def open_machine(
    profile: Profile,
    image: BootImage,
    *,
    run_dir: Path,
    nics: Sequence[NicSpec],
    uri: str | None = None,
) -> Iterator[Machine]:
    """A machine that is not started yet; leaving the block ends it and removes all it left but `run_dir`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    connection = connect(uri)
    try:
        machine = Machine(connection, profile, image, run_dir=run_dir, nics=nics)
        try:
            yield machine
        finally:
            machine.close()
    finally:
        with suppress(libvirt.libvirtError):  # its daemon may be gone
            connection.close()


class Machine:
    """The domain, its disk overlay, its serial log and its snapshots.

    The first thing that breaks it is latched: `check()` raises it from then on, until a revert repairs it.
    """

    def __init__(
        self,
        connection: libvirt.virConnect,
        profile: Profile,
        image: BootImage,
        *,
        run_dir: Path,
        nics: Sequence[NicSpec],
    ) -> None:
        emulator = accelerators.find_emulator()
        for nic in nics:
            accelerators.require_nic_model(nic.model, emulator)
        self.profile = profile
        self.image = image
        self.setup = image if isinstance(image, Setup) else None
        self.run_dir = run_dir
        self.nics = tuple(nics)
        self.name = f"{DOMAIN_PREFIX}{secrets.token_hex(3)}-{profile.name}"
        self.accelerator = accelerators.choose_accelerator(profile.machine.accelerator)
        self.serial = SerialLog(run_dir.absolute() / "serial.log")
        self.boots = 0
        self._emulator = emulator
        self._connection = connection
        self._uri = connection.getURI()
        self._state = MachineState.create(
            self.name, self._uri, run_dir.absolute(), disks=self.setup.folder if self.setup else None
        )
        self._second_channel = self._state.second_channel if has_second_channel(profile) else None
        self._snapshots = Snapshots(self, self._state.folder)
        self._domain: libvirt.virDomain | None = None
        self._uuid = ""
        self._paused = False
        self._ports: dict[int, int] = {}
        self._mark = 0  # where the serial log of this boot begins
        self._boot_id: str | None = None
        self._boot_ids: dict[str, str | None] = {}  # by snapshot
        self._watch = Watch(connection, self.name, self.serial)

    @property
    def serial_log(self) -> Path:
        """The file with every byte of the guest's serial port."""
        return self.serial.path

    @property
    def disk(self) -> Path:
        """The overlay disk."""
        return self._state.disk

    @property
    def disks(self) -> tuple[Path, ...]:
        """All files that the machine writes to as disks: the overlay, and the NVRAM of UEFI firmware."""
        return (self.disk, self._state.nvram) if self.profile.machine.firmware == "efi" else (self.disk,)

    @property
    def winrm_port(self) -> int:
        """Port on 127.0.0.1 that leads to WinRM; may change when a revert is not in place."""
        return self._ports[self.profile.management.winrm_port]

    @property
    def ssh_port(self) -> int:
        """Port on 127.0.0.1 that leads to SSH; may change when a revert is not in place."""
        return self._ports[self.profile.management.ssh_port]

    @property
    def second_channel(self) -> Path | None:
        """The socket of the guest's second serial port; None while there is none."""
        path = self._second_channel
        return path if path is not None and path.exists() else None

    @property
    def condition(self) -> Condition:
        """What libvirt last told."""
        return self._watch.condition

    @property
    def resets(self) -> int:
        """How often the guest has rebooted since the machine exists, expected or not."""
        return self._watch.resets

    @property
    def bugcheck(self) -> Bugcheck | None:
        """What the guest's kernel said of its crash to a panic device that can tell."""
        return self._watch.bugcheck

    @property
    def lost_at(self) -> float | None:
        """When the event came that broke it, of this host's monotonic clock; None while it is sound."""
        return self._watch.lost_at

    @property
    def tpm_place(self) -> tuple[str, str]:
        """libvirt's URI and the UUID under which it keeps the TPM of the last power-on."""
        return self._uri, self._uuid

    def start_booted(self) -> bool:
        """Start from the state that `keep_booted` kept of such a machine; False, and no QEMU runs, if there is none.

        Whether the guest answers, the caller has to find out; if not, `start` boots it, after `drop_booted`.
        """
        state = self._warm_state()
        if not state.path.is_file():
            return False
        with steps.step("start the guest as it was booted before", machine=self.name):
            if not state.take(self.disks):
                return False
            try:
                self.power_on(keep_disk=True, paused=True)  # or it would boot until the state is loaded
                self.monitor().order(f"loadvm {warm.SNAPSHOT}")
                self.ensure_running()
            except MachineError as error:
                steps.note(f"The kept state does not load, the guest boots: {error.message}")
                self.drop_booted()
                return False
            self.check()
        return True

    def keep_booted(self) -> None:
        """Keep the state of the guest that has just booted, for `start_booted` of a later run."""
        with steps.step("keep the booted state"):
            try:
                self.monitor().order(f"savevm {warm.SNAPSHOT}")
                self.pause()  # QEMU writes out what it holds back of the disk's tables
                try:
                    self._warm_state().keep(self.disks)
                finally:
                    self.resume()
                self.monitor().order(f"delvm {warm.SNAPSHOT}")
            except MachineError as error:
                steps.note(f"The state of the booted machine was not kept: {error.message}")
                self.check()

    def drop_booted(self) -> None:
        """End QEMU and throw away the kept state: what came of it did not work."""
        self._destroy()
        self._warm_state().drop()

    def start(self, deadline: Deadline) -> None:
        """Power on and wait for the ready line on the serial port."""
        with steps.step("boot the guest", machine=self.name, accelerator=self.accelerator.kind):
            self.power_on()
            if self.accelerator.kind == "tcg":
                steps.note(self.accelerator.reason)
            try:
                self.wait_for_serial(self.profile.boot.ready_line, deadline.sub(self.profile.boot.ready_seconds))
            except DeadlineExpired as late:
                busy = f"The host's load is {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
                late.hint = f"{busy}; 'boot.ready_seconds' of the profile says how long to wait."
                raise

    def power_on(self, *, keep_disk: bool = False, paused: bool = False) -> None:
        """Make the overlay anew, or keep it, and start the domain, without waiting for the guest."""
        if not keep_disk:
            self._state.create_overlay(self.image.disk)
            if self.profile.machine.firmware == "efi":
                make_nvram(self._state.nvram, self.image.nvram or find_firmware(self.profile.machine).template)
        for disk in (self.image.disk, self._state.disk):
            keep_private(disk)
        self._mark = self.serial.size()
        try:
            self._create(paused=paused)
        except libvirt.libvirtError as error:
            said = self._why_not_started(error)
            if self.accelerator.kind != "kvm" or "kvm" not in said.lower():
                raise machine_error("start", error, said) from error
            # The probe ran as this user; QEMU under qemu:///system runs as another, whom the node may refuse.
            self.accelerator = accelerators.Accelerator(kind="tcg", reason=f"libvirt could not use KVM: {error}")
            try:
                self._create(paused=paused)
            except libvirt.libvirtError as second:
                raise machine_error("start", second, self._why_not_started(second)) from second
        self.boots += 1
        self._boot_id = None

    def _why_not_started(self, error: libvirt.libvirtError) -> str:
        return refusal_text(error, qemu_log(self._uri, self.name))

    def wait_for_serial(self, text: str, deadline: Deadline, *, since: int | None = None) -> int:
        """Wait until the guest wrote `text` in this boot, or after the offset `since`; gives the offset behind it.

        Raises MachineLost at once when the machine breaks meanwhile, DeadlineExpired with the last line otherwise.
        """
        start = self._mark if since is None else since
        return self.serial.wait_for(text, deadline, since=start, check=self.check)

    def save_snapshot(self, name: str) -> Way:
        """Save memory, devices and disk; says by which way `revert` will go back."""
        self.check()
        way = self._snapshots.save(name)
        self._boot_ids[name] = self._boot_id
        return way

    def revert(self, name: str) -> Reverted:
        """Go back to a snapshot; repairs a machine that panicked, rebooted or lost its QEMU."""
        done = self._snapshots.revert(name)
        if done.way is not Way.COLD_BOOT:
            self._boot_id = self._boot_ids.get(name)
        if (domain := self._running_domain()).isActive():
            self._watch.follow(domain.UUIDString())  # what broke it before is undone
        return done

    def check(self) -> None:
        """Raises MachineLost, with its first cause, when the machine is broken."""
        self._watch.check()

    def examine(self, deadline: Deadline) -> None:
        """Look at the host's side of the machine now, as the last event may still be on its way.

        Raises MachineLost when QEMU is gone, or is stopped by a signal or by somebody's `virsh suspend`.
        """
        self.check()
        if self._domain is None:
            return
        pid = find_process(self.name)
        if pid is None:
            with suppress(DeadlineExpired):  # libvirt knows best how it ended
                wait_for(lambda: True if not self.is_alive() else None, deadline, "libvirt to tell how QEMU ended")
            self._watch.end("its QEMU process has ended")
        elif is_stopped(pid):
            self._watch.lose(Condition.STOPPED, f"stands still: a signal stopped its QEMU process {pid}")
        elif self.condition is Condition.PAUSED and not self._paused:
            self._watch.lose(Condition.STOPPED, "stands still: somebody else paused its processors")
        self.check()

    def is_alive(self) -> bool:
        """Whether the domain runs (or is paused) and has not panicked or rebooted by itself."""
        return self.condition in (Condition.RUNNING, Condition.PAUSED)

    def on_lost(self, callback: Callable[[MachineLost], None]) -> None:
        """Have `callback` called once when the machine breaks, in libvirt's event thread; it must not block."""
        self._watch.on_lost(callback)

    def observe_boot_id(self, boot_id: str) -> None:
        """Compare the guest's boot id with the first one seen in this boot.

        Raises MachineLost when it differs: then the guest has rebooted, whatever its ports look like.
        """
        if self._boot_id is None:
            self._boot_id = boot_id
        elif boot_id != self._boot_id:
            seen = f"rebooted by itself: its boot id was {self._boot_id} and is {boot_id}"
            self._watch.lose(Condition.REBOOTED, seen)
            self.check()

    @contextmanager
    def expect_reboot(self) -> Iterator[None]:
        """A block in which the guest may reboot."""
        with self._watch.expecting_reboot():
            yield
        self._boot_id = None

    def pause(self) -> None:
        """Stop the guest's processors."""
        self._paused = True
        self._call("pause", lambda domain: domain.suspend())

    def resume(self) -> None:
        """Let the guest's processors go on."""
        self._call("resume", lambda domain: domain.resume())
        self._paused = False

    def set_carrier(self, nic: int, *, up: bool) -> None:
        """Give a test NIC its carrier, or take it away: what the guest's NIC driver sees of the cable.

        `nic` counts the test NICs from 0. Frames of either side are thrown away by QEMU while it is away.
        """
        if not 0 <= nic < len(self.nics):
            raise UsageError(f"There is no test NIC {nic}; this machine has {len(self.nics)}.")
        self.monitor().order(f"set_link net{nic} {'on' if up else 'off'}")

    def inject_nmi(self) -> None:
        """Send a non-maskable interrupt; Windows answers with a bugcheck and a dump."""
        self._call("take an NMI", lambda domain: domain.injectNMI())

    def screenshot(self, path: Path) -> None:
        """Write what the guest's screen shows, in QEMU's format (PPM or PNG)."""
        if self.profile.machine.video == "none":
            raise UsageError("This guest has no screen.", hint='Set video = "vga" in the section [machine].')
        path.write_bytes(self.console().screen())

    def console(self) -> Console:
        """Screen, keyboard and power button."""
        return Console(self._connection, self._running_domain())

    def monitor(self) -> Monitor:
        """QEMU's monitor."""
        return Monitor.of(self._running_domain())

    def close(self) -> None:
        """End the domain and remove its state; harmless when called again."""
        self._watch.close()
        self._destroy()
        self._state.remove()

    # What Snapshots asks of its subject.

    def freeze_to(self, path: Path) -> None:
        """Write the memory to `path` and end QEMU; an empty path only ends it."""
        if path == Path():
            self._destroy()
        else:
            self._watch.follow(None)
            self._call("save its memory", lambda domain: domain.save(str(path)))
            self._domain = None

    def thaw_from(self, path: Path) -> None:
        """Start a new QEMU from saved memory."""
        try:
            self._connection.restoreFlags(str(path), None, libvirt.VIR_DOMAIN_SAVE_RUNNING)
            self._domain = self._connection.lookupByName(self.name)
        except libvirt.libvirtError as error:
            raise machine_error("be restored", error) from error
        self._watch.follow(self._domain.UUIDString())
        self._ports = self.monitor().host_ports()
        self._guard_second_channel()

    def boot_anew(self) -> None:
        """End QEMU if it runs, and boot from a new overlay."""
        self._destroy()
        self.start(Deadline(self.profile.boot.ready_seconds))

    def start_process_anew(self) -> None:
        """End QEMU if it runs, and start another one on the same overlay, for a `loadvm`."""
        self._destroy()
        self.power_on(keep_disk=True, paused=True)

    def ensure_running(self) -> None:
        """Resume the processors if they are stopped."""
        domain = self._running_domain()
        state: object = domain.info()[0]  # a number, although the binding says otherwise
        if state != libvirt.VIR_DOMAIN_RUNNING:
            self.resume()

    def _create(self, *, paused: bool) -> None:
        uuid = str(uuid4())
        if self.profile.machine.tpm and self._uri.endswith("/system"):
            share_tpm_authority()
        if self.image.tpm is not None:
            place_tpm(self.image.tpm, self._uri, uuid)
        self._uuid = uuid
        self._watch.follow(uuid)
        try:
            self._domain = _create_domain(self._connection, render_domain(self._spec(uuid)), paused=paused)
        except libvirt.libvirtError:
            self._watch.follow(None)
            raise
        self._ports = self.monitor().host_ports()
        self._guard_second_channel()

    def _guard_second_channel(self) -> None:
        """Whoever may write to the socket rules the guest."""
        path = self.second_channel
        if path is not None:
            with suppress(OSError):  # a session daemon's QEMU has made it ours alone already
                path.chmod(0o600)

    def _destroy(self) -> None:
        self._watch.follow(None)
        domain, self._domain = self._domain, None
        if domain is not None:
            try:
                domain.destroy()
            except libvirt.libvirtError as error:
                if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
                    end_without_libvirt(self.name)

    def _running_domain(self) -> libvirt.virDomain:
        if self._domain is None:
            raise MachineError(f"The machine '{self.name}' is not running.")
        return self._domain

    def _call(self, what: str, call: Callable[[libvirt.virDomain], object]) -> None:
        domain = self._running_domain()
        try:
            call(domain)
        except libvirt.libvirtError as error:
            raise machine_error(what, error) from error

    def _warm_state(self) -> warm.WarmState:
        # All that the machine is made of, and nothing of this run.
        spec = replace(
            self._spec(str(UUID(int=0))),
            name="kept",
            disk=Path("/disk"),
            serial_log=Path("/serial"),
            second_channel=Path("/com2") if self._second_channel is not None else None,
            nics=[replace(nic, link_port=1) for nic in self.nics],
            owner=Owner(pid=0, started=0, host_boot=""),
            nvram=Path("/nvram"),
            cdroms=(),
            memory_mib=None,
            keep_tpm=False,
        )
        return warm.find_state(
            image=(self.image.disk, self.image.kernel, self.image.initrd, self.image.nvram),
            machine=render_domain(spec),
            emulator=self._emulator,
            kvm=self.accelerator.kind == "kvm",
        )

    def _spec(self, uuid: str) -> DomainSpec:
        return DomainSpec(
            name=self.name,
            uuid=uuid,
            profile=self.profile,
            accelerator=self.accelerator,
            emulator=self._emulator,
            disk=self._state.disk,
            kernel=self.image.kernel,
            initrd=self.image.initrd,
            serial_log=self.serial.path,
            second_channel=self._second_channel,
            nics=self.nics,
            owner=Owner.this_process(),
            nvram=self._state.nvram,
            cdroms=self.setup.cdroms if self.setup else (),
            memory_mib=self.setup.memory_mib if self.setup else None,
            keep_tpm=self.setup is not None,
            io_uring=has_io_uring(),
            tsc_khz=tsc_khz(),
        )


def _create_domain(connection: libvirt.virConnect, xml: str, *, paused: bool) -> libvirt.virDomain:
    how = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
    # Autodestroy ends the domain when this process dies, however it dies; some drivers of libvirt lack it.
    try:
        safe = libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_VALIDATE
        return connection.createXML(xml, how | safe)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_SUPPORT, libvirt.VIR_ERR_INVALID_ARG):
            raise
    return connection.createXML(xml, how)
