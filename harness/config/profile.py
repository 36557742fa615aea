"""The profile: what `vm-images/<name>/guest.toml` may say, with the meaning and unit of every key."""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from harness.config.directories import profiles_root
from harness.config.install import InstallSettings
from harness.errors import UsageError

NicModel = Literal["e1000e", "igb", "rtl8139", "virtio-net-pci"]
_VCPUS_MOST = 64
Port = Annotated[int, Field(ge=1, le=65535)]


class GuestKind(StrEnum):
    """What runs in the guest; the few differences between the kinds live in `harness.guest`."""

    REFERENCE = "reference"
    WINDOWS = "windows"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MachineSettings(_Section):
    """The virtual hardware."""

    memory_mib: int = Field(ge=16, le=65536)
    vcpus: int = Field(ge=1, le=_VCPUS_MOST)
    accelerator: Literal["auto", "kvm", "tcg"] = "auto"
    video: Literal["none", "vga"] = "none"
    nics: tuple[NicModel, ...] = Field(default=("e1000e",), min_length=1, max_length=8)
    firmware: Literal["bios", "efi"] = "bios"
    secure_boot: bool = False
    tpm: bool = False
    disk_bus: Literal["virtio", "sata"] = "virtio"
    management_nic: Literal["virtio-net-pci", "e1000e"] = "virtio-net-pci"
    clock: Literal["utc", "localtime"] = "utc"
    hyperv: bool = False
    panic: tuple[Literal["isa", "hyperv"], ...] = ("isa",)
    vmcoreinfo: bool = False
    guest_agent: bool = False
    power_states: bool = False
    debugger: Literal["none", "serial", "net"] = "none"
    debugger_port: Port = 50000

    @model_validator(mode="after")
    def _secure_boot_is_of_efi(self) -> Self:
        if self.secure_boot and self.firmware != "efi":
            raise ValueError(f"secure_boot needs firmware = 'efi', which is '{self.firmware}'")
        return self


class BootSettings(_Section):
    """How it starts and how to see that it has."""

    kernel_arguments: str = ""
    ready_line: str = Field(min_length=1)
    ready_seconds: float = Field(gt=0, le=3600)


class ManagementSettings(_Section):
    """The way in over QEMU's user network; host ports are free ones unless given."""

    user: str = "Administrator"
    winrm_port: Port = 5986
    ssh_port: Port = 22
    winrm_host_port: int = Field(default=0, ge=0, le=65535)
    ssh_host_port: int = Field(default=0, ge=0, le=65535)


class NetworkSettings(_Section):
    """Addresses on the first test NIC; the gateway is a station that the harness plays.

    `forward_ipv4` is the guest's address on its second test NIC, into whose network it forwards.
    """

    ipv4: ipaddress.IPv4Interface
    ipv4_gateway: ipaddress.IPv4Address
    ipv6: ipaddress.IPv6Interface | None = None
    ipv6_gateway: ipaddress.IPv6Address | None = None
    forward_ipv4: ipaddress.IPv4Interface | None = None

    @model_validator(mode="after")
    def _gateway_is_on_link(self) -> Self:
        if self.ipv4_gateway not in self.ipv4.network:
            raise ValueError(f"ipv4_gateway {self.ipv4_gateway} does not lie in {self.ipv4.network}")
        if self.ipv6 and self.ipv6_gateway and self.ipv6_gateway not in self.ipv6.network:
            raise ValueError(f"ipv6_gateway {self.ipv6_gateway} does not lie in {self.ipv6.network}")
        return self


class Profile(_Section):
    """One kind of guest. `path` is the file it came from."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,30}$")
    kind: GuestKind
    title: str = ""
    machine: MachineSettings
    boot: BootSettings
    management: ManagementSettings = ManagementSettings()
    network: NetworkSettings
    install: InstallSettings | None = None
    path: Path = Field(default=Path(), exclude=True)

    @model_validator(mode="after")
    def _an_installed_guest_has_firmware(self) -> Self:
        if self.install is not None and self.machine.firmware != "efi":
            raise ValueError(f"a section [install] needs machine.firmware = 'efi', which is '{self.machine.firmware}'")
        return self

    @property
    def folder(self) -> Path:
        """What belongs to the guest: `vm-images/<name>`, wherever the profile itself was read from."""
        return profiles_root() / self.name

    def with_vcpus(self, count: int | None) -> Self:
        """The same guest with another number of processors; None leaves it as it is.

        Raises UsageError when no machine may have so many.
        """
        if count is None:
            return self
        if not 1 <= count <= _VCPUS_MOST:
            raise UsageError(f"A guest with {count} processors was asked for, wanted 1 to {_VCPUS_MOST}.")
        return self.model_copy(update={"machine": self.machine.model_copy(update={"vcpus": count})})
