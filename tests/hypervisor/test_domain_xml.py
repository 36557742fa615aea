"""Domain XML: one golden file, libvirt's schema, and what must never be in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from harness.config import load_profile
from harness.errors import MachineError
from harness.hypervisor.accelerator import Accelerator
from harness.hypervisor.domain_xml import SCHEMA, DomainSpec, NicSpec, nic_mac, render_domain, validate
from harness.hypervisor.ownership import Owner

GOLDEN = Path(__file__).with_name("reference.xml")
TCG = Accelerator(kind="tcg", reason="")
KVM = Accelerator(kind="kvm", reason="")

pytestmark = pytest.mark.skipif(not SCHEMA.is_file(), reason=f"libvirt's schema is not at {SCHEMA}")


@pytest.fixture
def spec():
    return DomainSpec(
        name="wfp-hil-0a1b2c-reference",
        uuid="5a3c1c5e-6c4e-4b1e-9b6a-0d9c1f2e3a4b",
        profile=load_profile("reference"),
        accelerator=TCG,
        emulator=Path("/usr/bin/qemu-system-x86_64"),
        disk=Path("/cache/state/m/disk.qcow2"),
        kernel=Path("/cache/images/reference-1/vmlinuz"),
        initrd=Path("/cache/images/reference-1/initrd.img"),
        serial_log=Path("/out/serial.log"),
        nics=[NicSpec(model="e1000e", link_port=4001), NicSpec(model="virtio-net-pci", link_port=4002)],
        owner=Owner(pid=42, started=4711, host_boot="b007"),
    )


def test_the_reference_machine_is_the_golden_one(spec):
    rendered = render_domain(spec)
    if not GOLDEN.is_file():
        GOLDEN.write_text(rendered)
        pytest.fail(f"{GOLDEN} was missing and is written now: review it")

    assert rendered == GOLDEN.read_text()


@pytest.mark.parametrize("model", ["e1000e", "igb", "rtl8139", "virtio-net-pci"])
@pytest.mark.parametrize("accelerator", [TCG, KVM])
def test_every_combination_is_what_the_schema_allows(spec, model, accelerator):
    render_domain(replace(spec, accelerator=accelerator, nics=[NicSpec(model=model, link_port=1)], kernel=None))


def test_the_schema_refuses_a_misspelt_element(spec):
    root = etree.fromstring(render_domain(spec))
    etree.SubElement(root, "memroy").text = "1"

    with pytest.raises(MachineError, match=r"^The domain XML is not what libvirt's schema allows: line \d+"):
        validate(root)


def test_smap_is_off_under_tcg_alone(spec):
    assert 'name="smap"' in render_domain(spec)
    assert 'name="smap"' not in render_domain(replace(spec, accelerator=KVM))


def test_management_is_restricted_and_forwarded_on_loopback_only(spec):
    arguments = [node.get("value") for node in etree.fromstring(render_domain(spec)).iterfind(".//{*}arg")]
    netdev = arguments[arguments.index("-netdev") + 1]

    assert "restrict=on" in netdev.split(",")
    forwards = [word for word in netdev.split(",") if word.startswith("hostfwd=")]
    assert len(forwards) == 2
    assert all(word.startswith("hostfwd=tcp:127.0.0.1:0-10.0.2.15:") for word in forwards)


def test_each_test_nic_has_a_mac_and_a_slot_of_its_own(spec):
    nics = [NicSpec(model="e1000e", link_port=port) for port in range(5000, 5008)]
    root = etree.fromstring(render_domain(replace(spec, nics=nics)))

    assert len(set(root.xpath("//interface/mac/@address"))) == 8
    assert len(set(root.xpath("//interface/address/@slot")) | {"0x10"}) == 9
    assert nic_mac(1) == "52:54:00:77:66:11"


def test_a_text_with_markup_stays_text(spec):
    profile = spec.profile.model_copy(update={"title": "<b>&amp;"})

    assert etree.fromstring(render_domain(replace(spec, profile=profile))).findtext("title") == "<b>&amp;"
