"""The accelerator probe believes what a guest did, never the device node; fake QEMUs stand in here."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.hypervisor import accelerator


@pytest.fixture
def node(tmp_path):
    path = tmp_path / "kvm"
    path.touch()
    return path


@pytest.fixture
def fake_qemu(tmp_path):
    def make(body: str) -> Path:
        path = tmp_path / "qemu-system-x86_64"
        path.write_text(f"#!/bin/sh\necho run >> {tmp_path}/runs\n{body}\n")
        path.chmod(0o755)
        return path

    return make


def test_a_guest_that_leaves_with_the_agreed_code_proves_kvm(fake_qemu, node):
    found = accelerator.probe(fake_qemu("exit 67"), node=node, seconds=60)

    assert found.kind == "kvm"
    assert found.domain_type == "kvm"


UNDER_TCG = 'case "$*" in *"-accel tcg"*) {}; exit 67;; esac'


def test_a_guest_that_hangs_means_tcg(fake_qemu, node):
    found = accelerator.probe(fake_qemu(UNDER_TCG.format(":") + "\nexec tail -f /dev/null"), node=node, seconds=0.3)

    assert found.kind == "tcg"
    assert found.domain_type == "qemu"
    said = r" opens, but a guest of four instructions did not end within \S+ s; under TCG it took \S+ s\."
    assert re.fullmatch(re.escape(str(node)) + said, found.reason), found.reason


def test_where_qemu_starts_slowly_kvm_has_another_try(fake_qemu, node, tmp_path):
    """A second under TCG gives it five."""
    slow = "exec tail -f /dev/null"
    body = f"{UNDER_TCG.format('sleep 1')}\n[ $(wc -l < {tmp_path}/runs) = 1 ] && {slow}\nexit 67"

    found = accelerator.probe(fake_qemu(body), node=node, seconds=0.3)

    assert found.kind == "kvm"
    assert (tmp_path / "runs").read_text().count("run") == 3


def test_a_qemu_that_does_nothing_at_all_is_told(fake_qemu, node, monkeypatch):
    monkeypatch.setattr(accelerator, "_TCG_SECONDS", 0.3)

    found = accelerator.probe(fake_qemu("exec tail -f /dev/null"), node=node, seconds=0.3)

    assert found.kind == "tcg"
    assert found.reason.startswith("KVM could not be tried: ")


@pytest.mark.parametrize("code", [0, 1, 134])
def test_any_other_end_means_tcg_and_quotes_qemu(fake_qemu, node, code):
    found = accelerator.probe(fake_qemu(f"echo 'failed to set MSR' >&2; exit {code}"), node=node, seconds=60)

    assert found.kind == "tcg"
    assert found.reason == f"QEMU with KVM ended with {code}: failed to set MSR."


def test_without_a_node_nothing_is_run(fake_qemu, tmp_path):
    found = accelerator.probe(fake_qemu("exit 67"), node=tmp_path / "absent")

    assert found.kind == "tcg"
    assert not (tmp_path / "runs").exists()


def test_the_answer_is_kept_until_something_changes(fake_qemu, node, tmp_path, monkeypatch):
    emulator = fake_qemu("exit 67")
    monkeypatch.setattr(accelerator, "_KVM_NODE", node)
    monkeypatch.setattr(accelerator, "find_emulator", lambda: emulator)
    monkeypatch.setattr(accelerator.probe, "__kwdefaults__", {"node": node, "seconds": 60.0})
    kept = tmp_path / "state" / "accelerator.json"

    first = accelerator.choose_accelerator(cache_file=kept)
    again = accelerator.choose_accelerator(cache_file=kept)
    assert first == again
    assert (tmp_path / "runs").read_text().count("run") == 1

    node.chmod(0o600 if node.stat().st_mode & 0o777 != 0o600 else 0o660)
    accelerator.choose_accelerator(cache_file=kept)
    assert (tmp_path / "runs").read_text().count("run") == 2

    kept.write_text(json.dumps({"key": "of another version"}))
    accelerator.choose_accelerator(cache_file=kept)
    assert (tmp_path / "runs").read_text().count("run") == 3


def test_a_profile_that_insists_on_kvm_is_told_why_not(fake_qemu, node, tmp_path, monkeypatch):
    emulator = fake_qemu("exit 1")
    monkeypatch.setattr(accelerator, "find_emulator", lambda: emulator)
    monkeypatch.setattr(accelerator.probe, "__kwdefaults__", {"node": node, "seconds": 60.0})

    with pytest.raises(UsageError, match=r"^The profile asks for KVM, which does not work here\. QEMU with KVM ended"):
        accelerator.choose_accelerator("kvm", cache_file=tmp_path / "a.json")
    assert accelerator.choose_accelerator("tcg", cache_file=tmp_path / "b.json").kind == "tcg"


def test_a_nic_model_that_qemu_lacks_is_a_usage_error_naming_the_others(fake_qemu):
    emulator = fake_qemu("""echo 'name "e1000e", bus PCI'; echo 'name "rtl8139", bus PCI'""")

    accelerator.require_nic_model("rtl8139", emulator)
    with pytest.raises(UsageError) as caught:
        accelerator.require_nic_model("igb", emulator)
    assert caught.value.message == "This QEMU has no test NIC of model 'igb'; it has e1000e, rtl8139."
    assert caught.value.hint == "'igb' needs QEMU 8.0 or newer."
