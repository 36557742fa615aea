"""The domain XML of a machine, built with lxml and held against libvirt's own schema before libvirt sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lxml import etree
from lxml.builder import ElementMaker

from harness.config import Profile
from harness.errors import HostError, MachineError
from harness.hypervisor import platform_xml
from harness.hypervisor.accelerator import Accelerator
from harness.hypervisor.firmware import find_firmware
from harness.ownership import OWNER_NAMESPACE, OWNER_VARIABLE, Owner

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"
SCHEMA = Path("/usr/share/libvirt/schemas/domain.rng")
MANAGEMENT_MAC = "52:54:00:77:66:01"
DEBUGGER_MAC = "52:54:00:77:66:02"
_MANAGEMENT_SLOT = 0x10  # on the root bus: nothing that libvirt places by itself goes this high
_FIRST_TEST_SLOT = 0x11
_DEBUGGER_SLOT = 0x19  # behind the last test NIC; debug.ps1 in the guest finds it there

# QEMU 7.2's TCG runs iretq in user mode with supervisor rights: with SMAP on, that crashes the guest's kernel.
# "Enhanced" and "fast short" rep movs and stos are carried out byte by byte: what clears and copies memory with wider
# moves is several times as fast, in the guest's kernel as in its C library.
_NOT_UNDER_TCG = ("smap", "erms", "fsrm")

_E = ElementMaker()
_DOMAIN = ElementMaker(nsmap={"qemu": QEMU_NAMESPACE})
_QEMU = ElementMaker(namespace=QEMU_NAMESPACE, nsmap={"qemu": QEMU_NAMESPACE})
_OWNER = ElementMaker(namespace=OWNER_NAMESPACE, nsmap={"wfp-hil": OWNER_NAMESPACE})


@dataclass(frozen=True, slots=True, kw_only=True)
class NicSpec:
    """A test NIC: the model the guest sees, and the port of the harness' link that QEMU connects to."""

    model: str = "e1000e"
    link_port: int
    link_address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSpec:
    """All that goes into the XML of one machine."""

    name: str
    uuid: str
    profile: Profile
    accelerator: Accelerator
    emulator: Path
    disk: Path
    kernel: Path | None
    initrd: Path | None
    serial_log: Path
    nics: Sequence[NicSpec]
    owner: Owner
    nvram: Path | None = None
    cdroms: Sequence[Path] = ()
    memory_mib: int | None = None  # the profile's if not given
    keep_tpm: bool = False
    second_channel: Path | None = None  # the UNIX socket that QEMU listens at for the second serial port
    io_uring: bool = False  # for the disk; QEMU's own threads otherwise
    tsc_khz: int | None = None  # rate of the host's time stamp counter, where it is known


def nic_mac(index: int) -> str:
    """MAC address of test NIC `index`; the guest's init names the NIC after it."""
    return f"52:54:00:77:66:1{index:x}"


def render_domain(spec: DomainSpec) -> str:
    """The XML text.

    Raises MachineError when libvirt's schema does not allow it, which is an error of this module.
    """
    machine = spec.profile.machine
    kvm = spec.accelerator.kind == "kvm"
    firmware = machine.firmware == "efi"
    arguments = [*_firmware_arguments(spec), *_management_arguments(spec.profile), *_debugger_arguments(spec.profile)]
    root = _DOMAIN(
        "domain",
        _E.name(spec.name),
        _E.uuid(spec.uuid),
        _E.title(spec.profile.title or spec.profile.name),
        _E.metadata(
            _OWNER.owner(pid=str(spec.owner.pid), started=str(spec.owner.started), host_boot=spec.owner.host_boot)
        ),
        _E.memory(str(spec.memory_mib or machine.memory_mib), unit="MiB"),
        _E.vcpu(str(machine.vcpus)),
        _os(spec),
        platform_xml.features(machine, kvm=kvm),
        _cpu(spec.accelerator, one_socket_of=machine.vcpus if firmware else None),
        platform_xml.clock(machine, kvm=kvm) if firmware else _E.clock(offset=machine.clock),
        _E.on_poweroff("destroy"),
        _E.on_reboot("restart"),
        _E.on_crash("preserve"),
        *([platform_xml.power(machine)] if firmware else []),
        _devices_with_firmware(spec) if firmware else _devices(spec),
        _E.seclabel(type="none"),
        _QEMU.commandline(
            *(_QEMU.arg(value=word) for word in arguments), _QEMU.env(name=OWNER_VARIABLE, value=spec.owner.mark)
        ),
        type=spec.accelerator.domain_type,
    )
    etree.indent(root)
    validate(root)
    return etree.tostring(root, encoding="unicode", pretty_print=True)


def validate(root: etree._Element) -> None:
    """Hold domain XML against libvirt's schema. Raises MachineError with the line that is not allowed."""
    schema = _schema()
    if not schema.validate(root):
        last = schema.error_log[-1]
        raise MachineError(f"The domain XML is not what libvirt's schema allows: line {last.line}, {last.message}.")


@cache
def _schema() -> etree.RelaxNG:
    if not SCHEMA.is_file():
        raise HostError(f"libvirt's schema is not at '{SCHEMA}'.", hint="Install libvirt-daemon-system or libvirt0.")
    return etree.RelaxNG(etree.parse(SCHEMA))


def _os(spec: DomainSpec) -> etree._Element:
    node = _E.os(_E.type("hvm", arch="x86_64", machine="q35"))
    if spec.profile.machine.firmware == "efi":
        return node  # each disk has its place in the order
    if spec.kernel is None:
        node.append(_E.boot(dev="hd"))
        return node
    node.append(_E.kernel(str(spec.kernel)))
    if spec.initrd is not None:
        node.append(_E.initrd(str(spec.initrd)))
    arguments = spec.profile.boot.kernel_arguments
    if spec.accelerator.kind == "tcg" and spec.tsc_khz is not None:
        arguments += f" tsc_early_khz={spec.tsc_khz}"
    node.append(_E.cmdline(arguments))
    return node


def _cpu(accelerator: Accelerator, *, one_socket_of: int | None) -> etree._Element:
    # Windows for clients uses two sockets at most, whatever cores they have; libvirt would give each processor its own.
    cores = str(one_socket_of)
    topology = [] if one_socket_of is None else [_E.topology(sockets="1", dies="1", cores=cores, threads="1")]
    if accelerator.kind == "kvm":
        return _E.cpu(*topology, mode="host-passthrough", migratable="on")
    features = (_E.feature(policy="disable", name=name) for name in _NOT_UNDER_TCG)
    return _E.cpu(*topology, *features, mode="maximum")


def _devices(spec: DomainSpec) -> etree._Element:
    devices = _E.devices(
        _E.emulator(str(spec.emulator)),
        _E.disk(
            platform_xml.overlay_driver(io_uring=spec.io_uring),
            _E.source(file=str(spec.disk)),
            _E.target(dev="vda", bus="virtio"),
            type="file",
            device="disk",
        ),
        _E.controller(type="usb", model="none"),
        *(_interface(index, nic) for index, nic in enumerate(spec.nics)),
        _serial(spec),
        *_second_channel(spec),
    )
    if spec.profile.machine.video != "none":
        devices.append(_E.video(_E.model(type=spec.profile.machine.video)))
    devices.append(_E.memballoon(model="none"))
    devices.append(_E.panic(model="isa"))
    return devices


def _devices_with_firmware(spec: DomainSpec) -> etree._Element:
    machine, kvm = spec.profile.machine, spec.accelerator.kind == "kvm"
    return _E.devices(
        _E.emulator(str(spec.emulator)),
        platform_xml.boot_disk(spec.disk, machine.disk_bus, io_uring=spec.io_uring),
        *platform_xml.media(spec.cdroms),
        *platform_xml.controllers(machine),
        *(_interface(index, nic, offloads=False) for index, nic in enumerate(spec.nics)),
        _serial(spec),
        *_second_channel(spec),
        *platform_xml.agent(machine),
        *platform_xml.tpm(machine, keep=spec.keep_tpm),
        *platform_xml.video(machine),
        _E.memballoon(model="none"),
        *platform_xml.panic_devices(machine, kvm=kvm),
    )


def _serial(spec: DomainSpec) -> etree._Element:
    return _E.serial(_E.source(path=str(spec.serial_log), append="on"), _E.target(port="0"), type="file")


def has_second_channel(profile: Profile) -> bool:
    """Whether the second serial port is the harness' own; a serial debugger takes it."""
    return profile.machine.debugger != "serial"


def _second_channel(spec: DomainSpec) -> list[etree._Element]:
    # A port that every PC has: the guest needs no driver for it, and no filter driver is in its way.
    if spec.second_channel is None or not has_second_channel(spec.profile):
        return []
    return [_E.serial(_E.source(mode="bind", path=str(spec.second_channel)), _E.target(port="1"), type="unix")]


def _interface(index: int, nic: NicSpec, *, offloads: bool = True) -> etree._Element:
    # For libvirt virtio-net-pci is "virtio"; the others have QEMU's names.
    model = "virtio" if nic.model == "virtio-net-pci" else nic.model
    return _E.interface(
        _E.mac(address=nic_mac(index)),
        _E.source(address=nic.link_address, port=str(nic.link_port)),
        _E.model(type=model),
        *([] if offloads or model != "virtio" else [platform_xml.quiet_offloads()]),
        _E.rom(enabled="no"),
        platform_xml.pci(f"0x{_FIRST_TEST_SLOT + index:02x}"),
        type="client",
    )


def _firmware_arguments(spec: DomainSpec) -> list[str]:
    machine = spec.profile.machine
    if machine.firmware != "efi":
        return []
    if spec.nvram is None:
        raise MachineError(f"The machine '{spec.name}' has UEFI firmware and no NVRAM.")
    return find_firmware(machine).drives(spec.nvram, secure_boot=machine.secure_boot)


def _management_arguments(profile: Profile) -> list[str]:
    # By command line, because libvirt 9.0 knows no port forwards for <interface type='user'>. Host port 0 lets QEMU
    # choose a free one when it binds, so that no other program can take it in between.
    management = profile.management
    forwards = [
        f"hostfwd=tcp:127.0.0.1:{management.winrm_host_port}-10.0.2.15:{management.winrm_port}",
        f"hostfwd=tcp:127.0.0.1:{management.ssh_host_port}-10.0.2.15:{management.ssh_port}",
    ]
    model, place = profile.machine.management_nic, f"bus=pcie.0,addr=0x{_MANAGEMENT_SLOT:x}"
    device = f"{model},netdev=mgmt,mac={MANAGEMENT_MAC},{place},romfile="
    return ["-netdev", ",".join(["user,id=mgmt,restrict=on", *forwards]), "-device", device]


def _debugger_arguments(profile: Profile) -> list[str]:
    """What a kernel debugger gets in at: a second serial port on a TCP port of this host, or a NIC of its own."""
    machine = profile.machine
    if machine.debugger == "serial":
        listen = f"socket,id=debugger,host=127.0.0.1,port={machine.debugger_port},server=on,wait=off"
        return ["-chardev", listen, "-device", "isa-serial,chardev=debugger,index=1"]
    if machine.debugger == "net":
        # A model that KDNET has a driver for, on a network of its own: the guest reaches this host as 10.0.3.2.
        place = f"bus=pcie.0,addr=0x{_DEBUGGER_SLOT:x}"
        device = f"e1000e,netdev=debugger,mac={DEBUGGER_MAC},{place},romfile="
        return ["-netdev", "user,id=debugger,net=10.0.3.0/24", "-device", device]
    return []
