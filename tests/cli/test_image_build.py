"""`wfp-hil image build`: options that do not fit the guest are named before anything is done."""

from __future__ import annotations

import pytest

from harness.cli.image import build
from harness.errors import UsageError
from harness.media import write_answer_cd

NONE = {"rebuild": False, "iso": None, "virtio_iso": None, "openssh": None, "edition": None, "product_key": None,
        "slow": False, "restart": False}  # fmt: skip


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("WFP_HIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.cli.image.clear_up", lambda: None)


@pytest.mark.parametrize(
    ("name", "options", "message", "hint"),
    [
        ("reference", {"slow": True}, "'reference' is not installed from a medium, so --slow means nothing to it.",
         "'wfp-hil image build reference' builds it."),
        ("windows-11", {}, "There is no image of 'windows-11' yet: it is installed from a medium of yours.",
         "wfp-hil image build windows-11 --iso FILE"),
        ("windows-11", {"rebuild": True}, "'windows-11' is installed from a medium.",
         "wfp-hil image build windows-11 --iso FILE"),
        ("windws-11", {}, "There is no image recipe named 'windws-11'.", None),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named(name, options, message, hint):
    with pytest.raises(UsageError) as caught:
        build(name, **{**NONE, **options})

    assert caught.value.message == message
    assert hint is None or caught.value.hint == hint


def test_a_medium_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"^There is no installation medium at '.*win11\.iso'"):
        build("windows-11", **{**NONE, "iso": tmp_path / "win11.iso"})


def test_a_medium_of_something_else_is_named_before_the_host_is_looked_at(tmp_path, monkeypatch):
    path = tmp_path / "drivers.iso"
    write_answer_cd(path, {"readme.txt": b"no Windows here"}, label="DRIVERS")
    monkeypatch.setattr("harness.images.install.checks.choose_factor", lambda *_, **__: pytest.fail("too early"))

    with pytest.raises(UsageError, match="is no installation medium of Windows"):
        build("windows-11", **{**NONE, "iso": path})
    assert not (tmp_path / "cache" / "installs").exists()
