"""A driver package for Windows, made on this host: the signed driver, its INF, its signed catalog, the certificate."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from harness.driver.catalog import check_catalog, make_catalog, sign_catalog
from harness.driver.inf import StartType, load_inf, render_inf
from harness.driver.inf_check import check_inf, copied_files, find_service
from harness.driver.package import DriverPackage, load_package
from harness.driver.sign import TestCertificate, sign, verify
from harness.driver.version import read_version
from harness.errors import DriverPackageError, SigningError
from harness.ownership import temporary_folder
from harness.steps import step

_PROVIDER = "wfp-hil test"


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowsPackage:
    """The files of a package in one folder, and the service that its INF adds.

    `certificate` is DER, as certutil takes it; `thumbprint` is its SHA-1, by which Windows' stores name it. The catalog
    is always signed with it, the driver only where `signed_here`: else it kept a signature that it came with.
    """

    sys: Path
    inf: Path
    cat: Path
    certificate: Path
    thumbprint: str
    service: str
    signed_here: bool

    def contents(self) -> dict[str, bytes]:
        """What the catalog vouches for, by file name."""
        return {path.name: path.read_bytes() for path in (self.sys, self.inf)}


def make_package(
    driver: Path,
    target: Path,
    *,
    signer: TestCertificate,
    inf: Path | None = None,
    start: StartType = StartType.DEMAND,
) -> WindowsPackage:
    """Make the package of a .sys file in the folder `target`, which appears whole or not at all.

    A driver that carries a signature keeps it; else a copy is test-signed. Without `inf` one is made.
    Raises DriverPackageError when the driver or the INF cannot be used, SigningError.
    """
    package = load_package(driver)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        step("make the driver package", driver=driver.name),
        temporary_folder("package", beside=target.parent) as scratch,
    ):
        folder = scratch / "package"
        folder.mkdir()
        text = inf.read_bytes() if inf else _render(package, start).encode()
        problems = check_inf(text)
        if problems:
            raise DriverPackageError(
                f"The INF of '{driver.name}' breaks the rules of Windows: {' '.join(problems)}",
                hint="harness/driver/data/inf_rules.toml has the pages. With no .inf beside the driver one is made.",
            )
        names = copied_files(load_inf(text))
        if [name.lower() for name in names] != [driver.name.lower()]:
            raise DriverPackageError(
                f"The INF '{inf}' copies {', '.join(names)}, wanted '{driver.name}' alone.",
                hint="Take the .inf away: then one is made for the driver alone.",
            )
        made = _fill(folder, package, text, signer)
        check_package(made)
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)
    return _moved(made, target)


def check_package(package: WindowsPackage) -> None:
    """Check that INF, catalog and driver belong together.

    Raises DriverPackageError that names every file that was changed after the catalog was made.
    """
    problems = check_catalog(package.cat.read_bytes(), package.contents())
    named = load_inf(package.inf.read_bytes()).value("Version", "CatalogFile")
    if named.lower() != package.cat.name.lower():
        problems.append(f"The INF names the catalog '{named}', the package has '{package.cat.name}'.")
    if problems:
        raise DriverPackageError(
            f"The driver package in '{package.sys.parent}' does not agree with itself: {' '.join(problems)}",
            hint="Make it anew; Windows refuses it like this.",
        )


def _fill(folder: Path, package: DriverPackage, inf: bytes, signer: TestCertificate) -> WindowsPackage:
    parsed = load_inf(inf)
    service = find_service(parsed)
    certificate = x509.load_pem_x509_certificate(signer.certificate.read_bytes())
    made = WindowsPackage(
        sys=folder / package.path.name,
        inf=folder / f"{package.path.stem}.inf",
        cat=folder / parsed.value("Version", "CatalogFile"),
        certificate=folder / "test-signing.cer",
        thumbprint=certificate.fingerprint(hashes.SHA1()).hex(),  # noqa: S303 - Windows' own name for a certificate
        service=service[0] if service else package.service,
        signed_here=not package.is_signed or _is_by(package.path, signer),
    )
    if package.is_signed:
        shutil.copyfile(package.path, made.sys)
    else:
        sign(package.path, made.sys, signer)
    made.inf.write_bytes(inf)
    made.certificate.write_bytes(certificate.public_bytes(Encoding.DER))
    unsigned = folder / "unsigned.cat"
    unsigned.write_bytes(make_catalog(made.contents()))
    sign_catalog(unsigned, made.cat, signer)
    unsigned.unlink()
    return made


def _is_by(signed: Path, signer: TestCertificate) -> bool:
    try:
        verify(signed, signer)
    except SigningError:
        return False
    return True


def _render(package: DriverPackage, start: StartType) -> str:
    stamp = dt.datetime.fromtimestamp(package.path.stat().st_mtime, dt.UTC)
    version = read_version(package.path)
    return render_inf(
        package.path.name,
        service=package.service,
        provider=_PROVIDER,
        description=f"{package.service} (test package)",
        version=version.file_version if version else "1.0.0.0",
        date=stamp.date(),
        start=start,
    )


def _moved(made: WindowsPackage, target: Path) -> WindowsPackage:
    return WindowsPackage(
        sys=target / made.sys.name,
        inf=target / made.inf.name,
        cat=target / made.cat.name,
        certificate=target / made.certificate.name,
        thumbprint=made.thumbprint,
        service=made.service,
        signed_here=made.signed_here,
    )
