"""What the domain XML says of a machine that boots from its own disk, as real Windows wants it.

Sources: libvirt.org/formatdomain.html; QEMU's docs/system/i386/hyperv.rst for which enlightenment needs which.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lxml import etree
from lxml.builder import ElementMaker

from harness.config import MachineSettings

_E = ElementMaker()
_SPINLOCK_RETRIES = "8191"  # what QEMU's documentation recommends
_VIDEO_SLOT = "0x01"
_AGENT_SLOT = "0x0f"  # below it libvirt places what it adds by itself, from 0x02 on

# VPINDEX is needed by SYNIC, TLBFLUSH and IPI; SYNIC and the reference clock by STIMER.
_ENLIGHTENMENTS = ("relaxed", "vapic", "vpindex", "runtime", "synic", "frequencies", "tlbflush", "ipi")


def pci(slot: str, function: str = "0x0") -> etree._Element:
    """A fixed place on the root bus: Windows takes an adapter in another place for another adapter."""
    return _E.address(type="pci", domain="0x0000", bus="0x00", slot=slot, function=function)


def features(machine: MachineSettings, *, kvm: bool) -> etree._Element:
    """ACPI and APIC, and what the profile asks for; Hyper-V's enlightenments exist under KVM alone."""
    node = _E.features(_E.acpi(), _E.apic())
    if machine.hyperv and kvm:
        hyperv = _E.hyperv(*(_E(name, state="on") for name in _ENLIGHTENMENTS), mode="custom")
        hyperv.append(_E.spinlocks(state="on", retries=_SPINLOCK_RETRIES))
        hyperv.append(_E.stimer(_E.direct(state="on"), state="on"))
        node.append(hyperv)
    if machine.secure_boot:
        node.append(_E.smm(state="on"))
    if machine.vmcoreinfo:
        node.append(_E.vmcoreinfo(state="on"))
    return node


def clock(machine: MachineSettings, *, kvm: bool) -> etree._Element:
    """The clock, and the timers that keep Windows' time right; without HPET, which costs it dearly."""
    node = _E.clock(
        _E.timer(name="rtc", tickpolicy="catchup"),
        _E.timer(name="pit", tickpolicy="delay"),
        _E.timer(name="hpet", present="no"),
        offset=machine.clock,
    )
    if machine.hyperv and kvm:
        node.append(_E.timer(name="hypervclock", present="yes"))
    return node


def power(machine: MachineSettings) -> etree._Element:
    """Whether the guest may sleep and hibernate."""
    enabled = "yes" if machine.power_states else "no"
    return _E.pm(_E("suspend-to-mem", enabled=enabled), _E("suspend-to-disk", enabled=enabled))


def overlay_driver(*, io_uring: bool) -> etree._Element:
    """The overlay is thrown away with the machine, so nothing is gained by flushing it."""
    io = {"io": "io_uring"} if io_uring else {}
    return _E.driver(name="qemu", type="qcow2", cache="unsafe", discard="unmap", **io)


def boot_disk(disk: Path, bus: str, *, io_uring: bool) -> etree._Element:
    """The disk, first in the firmware's order: while it is empty, the firmware goes on to the medium."""
    return _E.disk(
        overlay_driver(io_uring=io_uring),
        _E.source(file=str(disk)),
        _E.target(dev="sda" if bus == "sata" else "vda", bus=bus),
        _E.boot(order="1"),
        pci("0x0e") if bus == "virtio" else _E.address(type="drive", controller="0", bus="0", target="0", unit="0"),
        type="file",
        device="disk",
    )


def media(cdroms: Sequence[Path]) -> list[etree._Element]:
    """CD drives: the first holds the medium that is booted, the others what it finds there."""
    return [
        _E.disk(
            _E.driver(name="qemu", type="raw"),
            _E.source(file=str(path)),
            _E.target(dev=f"sd{chr(ord('b') + index)}", bus="sata"),
            _E.readonly(),
            *([_E.boot(order="2")] if index == 0 else []),
            _E.address(type="drive", controller="0", bus="0", target="0", unit=str(index + 1)),
            type="file",
            device="cdrom",
        )
        for index, path in enumerate(cdroms)
    ]


def controllers(machine: MachineSettings) -> list[etree._Element]:
    """Controllers in fixed places: q35's own SATA, no USB, and the agent's serial bus where it is wanted."""
    found = [
        _E.controller(pci("0x1f", "0x2"), type="sata", index="0"),
        _E.controller(type="usb", model="none"),
    ]
    if machine.guest_agent:
        found.append(_E.controller(pci(_AGENT_SLOT), type="virtio-serial", index="0"))
    return found


def agent(machine: MachineSettings) -> list[etree._Element]:
    """The channel of QEMU's guest agent; libvirt has the other end."""
    if not machine.guest_agent:
        return []
    return [
        _E.channel(
            _E.source(mode="bind"),
            _E.target(type="virtio", name="org.qemu.guest_agent.0"),
            _E.address(type="virtio-serial", controller="0", bus="0", port="1"),
            type="unix",
        )
    ]


def tpm(machine: MachineSettings, *, keep: bool) -> list[etree._Element]:
    """A TPM 2.0 by swtpm; `keep` leaves its state when the domain ends."""
    if not machine.tpm:
        return []
    backend = _E.backend(type="emulator", version="2.0")
    if keep:
        backend.set("persistent_state", "yes")
    return [_E.tpm(backend, model="tpm-tis")]


def video(machine: MachineSettings) -> list[etree._Element]:
    """The graphics card."""
    return [] if machine.video == "none" else [_E.video(_E.model(type=machine.video), pci(_VIDEO_SLOT))]


def panic_devices(machine: MachineSettings, *, kvm: bool) -> list[etree._Element]:
    """How the guest's kernel reports its crash.

    Hyper-V's way gives the bugcheck's code, and QEMU stops the guest before it wrote its dump: with on_crash=preserve
    the machine is there to be resumed, and Windows goes on with its dump.
    """
    return [_E.panic(model=model) for model in machine.panic if model != "hyperv" or kvm]


def quiet_offloads() -> etree._Element:
    """A virtio NIC that leaves sums and segments alone: frames on the link are then what a wire would carry."""
    off = "off"
    return _E.driver(
        _E.host(csum=off, gso=off, tso4=off, tso6=off, ecn=off, ufo=off, mrg_rxbuf=off),
        _E.guest(csum=off, tso4=off, tso6=off, ecn=off, ufo=off),
        name="qemu",
    )
