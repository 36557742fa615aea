"""What is asked for, held against the medium before anything is started."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from harness.config import load_profile
from harness.errors import UsageError
from harness.hypervisor import Accelerator
from harness.images.install import build, checks
from harness.images.install.build import Order, install_image
from harness.media import WimImage

CLIENT = WimImage(
    index=3, name="Windows 11 Pro", display_name="Windows 11 Pro", edition_id="Professional", architecture="amd64",
    build=26100, version="10.0.26100.1", languages=("en-US",), installation_type="Client", size=1,
)  # fmt: skip


@pytest.fixture
def medium(tmp_path, monkeypatch):
    """A medium with one image, which a test may replace."""
    found = SimpleNamespace(image=CLIENT, iso=tmp_path / "win11.iso")
    found.iso.write_bytes(b"medium")
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "open_medium", lambda path: SimpleNamespace(volume_id="WIN", close=lambda: None))
    monkeypatch.setattr(build, "choose_image", lambda medium, **wishes: found.image)
    monkeypatch.setattr(checks, "choose_accelerator", lambda wanted: Accelerator(kind="tcg", reason="No KVM."))
    return found


def test_windows_without_an_ssh_server_of_its_own_needs_one_handed_in(medium, tmp_path):
    with pytest.raises(UsageError, match="'Windows 11 Pro' gets its SSH server from Windows Update") as caught:
        install_image(load_profile("windows-11"), medium.iso)
    assert "--openssh" in (caught.value.hint or "")

    package = tmp_path / "OpenSSH-Win64.zip"
    package.touch()
    with pytest.raises(UsageError, match="KVM does not work here"):  # which is asked next
        install_image(load_profile("windows-11"), medium.iso, openssh=package)


def test_windows_server_2025_has_its_own(medium):
    values = {name: getattr(CLIENT, name) for name in CLIENT.__slots__}
    medium.image = WimImage(**{**values, "installation_type": "Server"})

    with pytest.raises(UsageError, match="KVM does not work here"):
        install_image(load_profile("windows-server-2025"), medium.iso)


def order(tmp_path, **changes):
    iso = tmp_path / "win11.iso"
    iso.write_bytes(b"medium")
    given = {"profile": load_profile("windows-11"), "iso": iso, "chosen": CLIENT, "volume_id": "WIN",
             "virtio_iso": None, "openssh": None, "product_key": None, **changes}  # fmt: skip
    return Order(**given)


def test_other_inputs_are_another_image(tmp_path):
    other = tmp_path / "other.iso"
    other.write_bytes(b"another medium")
    hashes = {
        order(tmp_path).inputs_hash(),
        order(tmp_path, product_key="AAAAA-BBBBB-CCCCC-DDDDD-EEEEE").inputs_hash(),
        order(tmp_path, virtio_iso=other).inputs_hash(),
        order(tmp_path, openssh=other).inputs_hash(),
        order(tmp_path, volume_id="WIN2").inputs_hash(),
        order(tmp_path, profile=load_profile("windows-10")).inputs_hash(),
    }

    assert len(hashes) == 6
    assert order(tmp_path).inputs_hash() in hashes


def test_a_product_key_is_a_doubt_that_setup_alone_can_settle(tmp_path):
    assert order(tmp_path).doubts() == {}
    assert "another edition than 'Windows 11 Pro'" in order(tmp_path, product_key="X").doubts()["specialize"]
