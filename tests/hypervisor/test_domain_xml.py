"""Domain XML: one golden file, libvirt's schema, and what must never be in it."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest
from lxml import etree

from harness.config import known_profiles, load_profile, profiles_root
from harness.errors import HostError, MachineError
from harness.hypervisor.accelerator import Accelerator
from harness.hypervisor.connection import connect
from harness.hypervisor.domain_xml import SCHEMA, DomainSpec, NicSpec, nic_mac, render_domain, validate
from harness.hypervisor.firmware import Firmware
from harness.ownership import Owner

GOLDEN = Path(__file__).with_name("reference.xml")
GOLDEN_WINDOWS = Path(__file__).with_name("windows.xml")
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
        second_channel=Path("/cache/state/m/com2"),
        nics=[NicSpec(model="e1000e", link_port=4001), NicSpec(model="virtio-net-pci", link_port=4002)],
        owner=Owner(pid=42, started=4711, host_boot="b007"),
    )


def test_the_reference_machine_is_the_golden_one(spec):
    rendered = render_domain(spec)
    if not GOLDEN.is_file():
        GOLDEN.write_text(rendered)
        pytest.fail(f"{GOLDEN} was missing and is written now: review it")

    assert rendered == GOLDEN.read_text()


@pytest.mark.parametrize(("accelerator", "told"), [(TCG, True), (KVM, False)])
def test_only_an_emulated_guest_is_told_the_rate_of_the_hosts_counter(spec, accelerator, told):
    rendered = render_domain(replace(spec, accelerator=accelerator, tsc_khz=2445430))

    assert (" tsc_early_khz=2445430</cmdline>" in rendered) is told


@pytest.mark.parametrize("profile", ["reference", "windows-11"])
@pytest.mark.parametrize(("io_uring", "io"), [(True, ["io_uring"]), (False, [])])
def test_the_overlay_is_read_by_io_uring_where_the_host_has_it(spec, profile, io_uring, io):
    nvram = None if profile == "reference" else Path("/cache/state/m/nvram.fd")
    spec = replace(spec, profile=load_profile(profile), nvram=nvram, io_uring=io_uring)

    assert etree.fromstring(render_domain(spec)).xpath("//disk[@device='disk']/driver/@io") == io


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


@pytest.fixture
def windows(spec, monkeypatch):
    """Windows 11 while it is installed where KVM works."""
    firmware = Firmware(Path("/usr/share/OVMF/OVMF_CODE_4M.fd"), Path("/usr/share/OVMF/OVMF_VARS_4M.fd"))
    monkeypatch.setattr("harness.hypervisor.domain_xml.find_firmware", lambda machine: firmware)
    return replace(
        spec,
        name="wfp-hil-0a1b2c-windows-11",
        profile=load_profile("windows-11"),
        accelerator=KVM,
        kernel=None,
        initrd=None,
        nvram=Path("/cache/installs/windows-11/nvram.qcow2"),
        cdroms=[Path("/home/me/win11.iso"), Path("/cache/installs/windows-11/answer.iso")],
        keep_tpm=True,
    )


def test_the_windows_machine_is_the_golden_one(windows):
    rendered = render_domain(windows)
    if not GOLDEN_WINDOWS.is_file():
        GOLDEN_WINDOWS.write_text(rendered)
        pytest.fail(f"{GOLDEN_WINDOWS} was missing and is written now: review it")

    assert rendered == GOLDEN_WINDOWS.read_text()


@pytest.mark.parametrize("name", [name for name in known_profiles() if name != "reference"])
@pytest.mark.parametrize("accelerator", [TCG, KVM])
def test_every_profile_with_firmware_is_what_the_schema_allows(windows, name, accelerator):
    render_domain(replace(windows, profile=load_profile(name), accelerator=accelerator))


def with_machine(spec, **settings):
    machine = spec.profile.machine.model_copy(update=settings)
    return replace(spec, profile=spec.profile.model_copy(update={"machine": machine}))


def test_enlightenments_and_their_panic_device_exist_under_kvm_alone(windows):
    tcg = render_domain(replace(windows, accelerator=TCG))

    assert "<hyperv" not in tcg
    assert "hypervclock" not in tcg
    assert 'panic model="hyperv"' not in tcg
    assert 'panic model="isa"' in tcg


def test_everything_on_the_root_bus_has_a_place_of_its_own(windows):
    nics = [NicSpec(model=model, link_port=1) for model in ("e1000e", "virtio-net-pci", "rtl8139", "e1000e")]
    root = etree.fromstring(render_domain(with_machine(replace(windows, nics=nics), disk_bus="virtio")))
    places = [(node.get("slot"), node.get("function")) for node in root.iterfind(".//address[@type='pci']")]
    fixed = [node.tag for node in root.find("devices") if node.tag in ("interface", "video")]

    assert len(places) == len(set(places))
    assert ("0x10", "0x0") not in places  # the management NIC's
    assert len(places) == len(fixed) + 3  # and the disk, and the controllers of SATA and of the agent


def test_a_virtio_test_nic_leaves_sums_and_segments_alone(windows):
    nics = [NicSpec(model="virtio-net-pci", link_port=1), NicSpec(model="e1000e", link_port=2)]
    found = etree.fromstring(render_domain(replace(windows, nics=nics))).findall(".//interface")

    host, guest = found[0].find("driver/host"), found[0].find("driver/guest")
    assert set(host.attrib.values()) | set(guest.attrib.values()) == {"off"}
    assert {"csum", "tso4", "tso6", "gso"} <= set(host.attrib)
    assert found[1].find("driver") is None


def test_all_processors_are_in_one_socket(windows):
    topology = etree.fromstring(render_domain(with_machine(windows, vcpus=6))).find("cpu/topology")

    assert (topology.get("sockets"), topology.get("cores")) == ("1", "6")


def test_certification_wants_sleep_and_local_time(windows):
    root = etree.fromstring(render_domain(with_machine(windows, power_states=True, clock="localtime")))

    assert root.find("clock").get("offset") == "localtime"
    assert [node.get("enabled") for node in root.find("pm")] == ["yes", "yes"]


def test_a_booted_image_has_no_media_and_leaves_no_tpm_behind(windows):
    root = etree.fromstring(render_domain(replace(windows, cdroms=(), keep_tpm=False)))

    assert [node.get("device") for node in root.iterfind(".//disk")] == ["disk"]
    assert root.find(".//tpm/backend").get("persistent_state") is None


def test_secure_boot_takes_its_own_firmware_and_smm(windows, monkeypatch):
    monkeypatch.undo()
    spec = with_machine(windows, secure_boot=True)
    try:
        rendered = render_domain(spec)
    except HostError as error:
        pytest.skip(error.message)

    assert "<smm" in rendered
    assert "secboot" in rendered


def test_a_debugger_gets_in_only_where_it_was_asked_for(windows):
    plain = render_domain(windows)
    serial = render_domain(with_machine(windows, debugger="serial", debugger_port=50007))
    net = render_domain(with_machine(windows, debugger="net"))

    assert "debugger" not in plain
    assert "socket,id=debugger,host=127.0.0.1,port=50007,server=on,wait=off" in serial
    assert "isa-serial,chardev=debugger,index=1" in serial
    assert '<target port="1"/>' in plain
    assert '<target port="1"/>' not in serial, "the debugger has the second serial port"
    # debug.ps1 tells KDNET the place of this NIC, in decimal.
    place = re.search(r"e1000e,netdev=debugger,mac=[^,]+,bus=pcie.0,addr=0x([0-9a-f]+)", net)
    script = (profiles_root() / "windows" / "setup" / "debug.ps1").read_text()
    assert f"$BusParameters = '0.{int(place[1], 16)}.0'" in script
    assert "net=10.0.3.0/24" in net
    assert "$HostAddress = '10.0.3.2'" in script


@pytest.mark.parametrize("accelerator", [TCG, KVM])
def test_libvirt_makes_a_qemu_of_it(windows, accelerator):
    """libvirt knows which enlightenment needs which; its schema does not."""
    try:
        connection = connect()
    except HostError as error:
        pytest.skip(error.message)
    if accelerator is KVM and not os.access("/dev/kvm", os.R_OK | os.W_OK):
        pytest.skip("libvirt takes no domain of type kvm where this user may not open /dev/kvm")
    root = etree.fromstring(render_domain(replace(windows, accelerator=accelerator)).encode())
    # For this question libvirt makes every interface one of a tap device, which it opens: only root may.
    for interface in root.findall(".//interface"):
        interface.getparent().remove(interface)
    words = connection.domainXMLToNative("qemu-argv", etree.tostring(root, encoding="unicode"), 0).split()
    connection.close()

    processor = words[words.index("-cpu") + 1].split(",")
    wanted = {"hv-time=on", "hv-stimer-direct=on", "hv-ipi=on", "hv-crash"}
    assert wanted & set(processor) == (wanted if accelerator is KVM else set())
    assert any("ICH9-LPC.disable_s3=1" in word for word in words)
