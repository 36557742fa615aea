"""Installing a guest from the user's medium, from the checks to the image in the cache."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.config import GuestKind, Profile, cache_root
from harness.driver.build import certificate_folder
from harness.driver.sign import make_certificate
from harness.errors import HarnessError, UsageError
from harness.hypervisor import Machine, NicSpec, Setup, nic_mac, open_machine
from harness.hypervisor.domain_xml import MANAGEMENT_MAC
from harness.hypervisor.firmware import find_firmware, give_to_qemu, make_nvram
from harness.images.cache import Image, build_lock, images_root, load_image
from harness.images.install import checks, seal
from harness.images.install.follow import Follower, View
from harness.images.install.resume import Unfinished
from harness.images.install.stages import Progress
from harness.images.installed import FORMAT, recipe_hash
from harness.images.secrets import make_secrets
from harness.link import StreamLink
from harness.media import choose_image, open_medium, write_answer_cd
from harness.media.wim import WimImage
from harness.process import run
from harness.steps import note, step
from harness.unattend import InstallPlan, setup_files
from harness.waiting import Deadline

_LINK_SECONDS = 30.0
_PRESS_SECONDS = 180.0
_SERVER = "Server"
_OWN_SSH_BUILD = 26100  # of Windows Server 2025, the first that has OpenSSH's server on its medium
_ANSWER_CD = "answer.iso"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What was asked for, with the image of the medium that was chosen for it."""

    profile: Profile
    iso: Path
    chosen: WimImage
    volume_id: str
    virtio_iso: Path | None
    openssh: Path | None
    product_key: str | None

    def inputs_hash(self) -> str:
        """Identity of the image: what it is made from, never times or places."""
        files = (self.iso, self.virtio_iso, self.openssh)
        parts = [recipe_hash(self.profile), self.volume_id, repr(self.chosen), str(self.product_key)]
        parts += [f"{path.name}:{path.stat().st_size}" if path else "" for path in files]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]

    def doubts(self) -> dict[str, str]:
        """What only Windows' Setup can tell of this order, by the stage that would not come."""
        if self.product_key is None:
            return {}
        return {
            "specialize": f"The product key is perhaps of another edition than '{self.chosen.display_name}': Setup "
            "then shows that no image is available, or that the key matches none; give the key of this edition, or "
            "another --edition. Or Setup stopped at another question: the screen shows which"
        }


def install_image(
    profile: Profile,
    iso: Path,
    *,
    virtio_iso: Path | None = None,
    openssh: Path | None = None,
    edition: str | None = None,
    product_key: str | None = None,
    slow: bool = False,
    restart: bool = False,
    on_view: Callable[[View], None] = lambda _view: None,
) -> Image:
    """The image of this profile from this medium, installed where the cache does not have it.

    An installation that was interrupted is gone on with, unless `restart`. Raises UsageError for what can be known
    beforehand, ImageBuildError when the guest does not become ready.
    """
    settings = checks.install_settings(profile)
    order = _take_order(profile, iso, virtio_iso, openssh, edition, product_key)
    factor = checks.choose_factor(profile, slow=slow)
    inputs = order.inputs_hash()
    path = images_root() / f"{profile.name}-{inputs}"
    with step(f"image '{profile.name}'", hash=inputs, image=order.chosen.name), build_lock(profile.name):
        if not restart and (image := load_image(path)) and image.manifest.get("format") == FORMAT:
            return image
        unfinished = Unfinished(profile.name)
        if restart or not unfinished.load(inputs):
            checks.check_host(profile, cache_root())
            unfinished.begin(inputs)
            _prepare(order, unfinished)
        setup = Setup(
            folder=unfinished.folder,
            cdroms=tuple(path for path in (order.iso, unfinished.folder / _ANSWER_CD, order.virtio_iso) if path),
            memory_mib=settings.memory_mib,
        )
        secrets = unfinished.folder / "secrets"
        with _machine(profile, setup, unfinished) as (machine, links):
            try:
                _install(order, machine, links, unfinished, factor, on_view)
                seal.try_ways_in(profile, machine, secrets, factor=factor)
                seal.shut_down(profile, machine, secrets, factor=factor)
            except HarnessError as error:
                unfinished.fail(str(error))
                raise
        image = seal.pack(profile, unfinished, secrets, image_hash=inputs, facts=_facts(order, unfinished))
        unfinished.remove()
        note(f"image '{profile.name}' is ready", path=str(image.path), megabytes=image.disk.stat().st_size >> 20)
        return image


def _take_order(
    profile: Profile,
    iso: Path,
    virtio_iso: Path | None,
    openssh: Path | None,
    edition: str | None,
    product_key: str | None,
) -> Order:
    settings = checks.install_settings(profile)
    iso = checks.check_readable(iso, "installation medium")
    virtio_iso = checks.check_readable(virtio_iso, "virtio medium") if virtio_iso else None
    openssh = checks.check_readable(openssh, "OpenSSH package") if openssh else None
    with step("look at the medium", iso=str(iso)):
        medium = open_medium(iso)
        try:
            chosen = choose_image(
                medium,
                editions=settings.editions,
                edition_ids=settings.edition_ids,
                architecture=settings.architecture,
                minimum_build=settings.minimum_build,
                wanted=edition,
                product_key=product_key,
            )
            volume_id = medium.volume_id
        finally:
            medium.close()
    has_ssh = chosen.installation_type.startswith(_SERVER) and chosen.build >= _OWN_SSH_BUILD
    if profile.kind is GuestKind.WINDOWS and openssh is None and not has_ssh:
        raise UsageError(
            f"'{chosen.display_name}' gets its SSH server from Windows Update, which the guest cannot reach from here.",
            hint="Give OpenSSH-Win64.zip of github.com/PowerShell/Win32-OpenSSH/releases with --openssh.",
        )
    note(f"the medium has '{chosen.name}', build {chosen.build}", image=chosen.index)
    return Order(
        profile=profile,
        iso=iso,
        chosen=chosen,
        volume_id=volume_id,
        virtio_iso=virtio_iso,
        openssh=openssh,
        product_key=product_key,
    )


def _prepare(order: Order, unfinished: Unfinished) -> None:
    """Empty disk, new NVRAM, secrets, and the CD with the answers."""
    settings, folder = checks.install_settings(order.profile), unfinished.folder
    with step("make disk and answer CD"):
        disk = folder / "disk.qcow2"
        run(["qemu-img", "create", "-q", "-f", "qcow2", disk, f"{settings.disk_gib}G"], deadline=Deadline(30))
        make_nvram(folder / "nvram.qcow2", find_firmware(order.profile.machine).template)
        secrets = make_secrets(computer_name=settings.computer_name)
        secrets.write_for_host(folder / "secrets")
        plan = InstallPlan(
            computer_name=settings.computer_name,
            image_name=order.chosen.name,
            image_index=order.chosen.index,
            password=secrets.winrm_password,
            architecture=settings.architecture,
            product_key=order.product_key,
            # A medium in another language asks for one when it is told a language that it does not have.
            locale=next(iter(order.chosen.languages), "en-US"),
            user=order.profile.management.user,
            bypass_requirements=settings.bypass_requirements,
        )
        files = setup_files(
            plan,
            order.profile,
            secrets=secrets,
            management_mac=MANAGEMENT_MAC,
            test_macs=[nic_mac(index) for index in range(len(order.profile.machine.nics))],
            test_certificate=make_certificate(certificate_folder()).certificate.read_bytes(),
            build=order.chosen.build,
            server=order.chosen.installation_type.startswith(_SERVER),
            openssh=order.openssh,
        )
        write_answer_cd(folder / _ANSWER_CD, files)
        give_to_qemu(folder / _ANSWER_CD)


@contextmanager
def _machine(profile: Profile, setup: Setup, unfinished: Unfinished) -> Iterator[tuple[Machine, list[StreamLink]]]:
    """The machine, with its test NICs on links where nobody answers."""
    with ExitStack() as stack:
        links = [stack.enter_context(StreamLink.listen()) for _ in profile.machine.nics]
        nics = [
            NicSpec(model=model, link_port=link.port) for model, link in zip(profile.machine.nics, links, strict=True)
        ]
        run_dir = unfinished.serial_folder
        machine = stack.enter_context(open_machine(profile, setup, run_dir=run_dir, nics=nics))
        stack.enter_context(machine.expect_reboot())
        yield machine, links


def _install(
    order: Order,
    machine: Machine,
    links: Sequence[StreamLink],
    unfinished: Unfinished,
    factor: float,
    on_view: Callable[[View], None],
) -> None:
    record = unfinished.record
    stages = checks.install_settings(order.profile).stages
    progress = Progress(stages, factor, record.reached, doubts=order.doubts())
    if record.checkpoint is None:
        with step("start the machine from the medium"):
            machine.power_on(keep_disk=True)
            record.tpm = machine.tpm_place
            unfinished.save()
    else:
        unfinished.go_on(machine)
    for link in links:
        link.accept(Deadline(_LINK_SECONDS))  # and read from then on, or a guest's NIC would stall when it is full

    def keep(_stage: str) -> None:
        unfinished.reach(progress.reached, follower.elapsed)
        unfinished.checkpoint(machine, follower.elapsed, catch_up=follower.catch_up)

    follower = Follower(
        machine,
        progress,
        evidence=unfinished.serial_folder,
        press_seconds=_PRESS_SECONDS * factor,
        elapsed=record.elapsed,
        on_stage=keep,
        on_view=on_view,
    )
    with step("install", stages=progress.count):
        try:
            follower.run()
        except KeyboardInterrupt:
            note("interrupted: the machine is being kept, this takes some seconds")
            if unfinished.checkpoint(machine, follower.elapsed, catch_up=follower.catch_up, force=True):
                note("The installation is kept: the same command goes on with it, --restart begins anew.")
            raise


def _facts(order: Order, unfinished: Unfinished) -> dict[str, Any]:
    return {
        "recipe": recipe_hash(order.profile),
        "medium": {"file": order.iso.name, "volume_id": order.volume_id},
        "system": asdict(order.chosen),
        "stages": unfinished.record.seconds,
    }
