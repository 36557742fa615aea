"""Machines under libvirt and QEMU; the only package that imports libvirt."""

from __future__ import annotations

from harness.hypervisor.accelerator import Accelerator, choose_accelerator, require_nic_model
from harness.hypervisor.connection import connect, default_uri
from harness.hypervisor.domain_xml import NicSpec, nic_mac
from harness.hypervisor.machine import Machine, open_machine
from harness.hypervisor.snapshots import Reverted, Way
from harness.hypervisor.source import BootImage, Setup
from harness.hypervisor.watch import Condition

__all__ = [
    "Accelerator",
    "BootImage",
    "Condition",
    "Machine",
    "NicSpec",
    "Reverted",
    "Setup",
    "Way",
    "choose_accelerator",
    "connect",
    "default_uri",
    "nic_mac",
    "open_machine",
    "require_nic_model",
]
