"""The package of a driver: catalog and signatures as others read them, and every change of a member is found."""

from __future__ import annotations

import datetime as dt
import hashlib
import importlib.util
import random
import shutil
import struct
from pathlib import Path

import pefile
import pytest

from harness.driver.catalog import check_catalog, load_catalog, make_catalog
from harness.driver.digest import image_checksum, image_digest, member_digest, stored_checksum
from harness.driver.inf_check import check_inf
from harness.driver.sign import make_certificate, verify
from harness.driver.version import read_version
from harness.driver.windows_package import check_package, make_package
from harness.errors import DriverPackageError
from harness.process import run

_spec = importlib.util.spec_from_file_location("witnesses", Path(__file__).with_name("witnesses.py"))
witnesses = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(witnesses)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("package")
    source, driver = folder / "d.c", folder / "tiny.sys"
    source.write_text("int DriverEntry(void *a, void *b) { (void)a; (void)b; return 0; }")
    run([
        "x86_64-w64-mingw32-gcc", "-nostdlib", "-Wl,--subsystem,native", "-Wl,-e,DriverEntry", source, "-o", driver,
    ])  # fmt: skip
    return driver


@pytest.fixture(scope="module")
def made(driver, certificate, tmp_path_factory):
    return make_package(driver, tmp_path_factory.mktemp("made") / "tiny", signer=certificate)


@pytest.fixture
def package(made, tmp_path):
    """A copy that a test may spoil."""
    shutil.copytree(made.sys.parent, tmp_path / "tiny")
    return type(made)(
        **{name: tmp_path / "tiny" / getattr(made, name).name for name in ("sys", "inf", "cat", "certificate")},
        thumbprint=made.thumbprint,
        service=made.service,
        signed_here=made.signed_here,
    )


def osslsigncode(package, certificate, path):
    words = ["osslsigncode", "verify", "-catalog", package.cat, "-CAfile", certificate.certificate, "-in", path]
    return run(words, check=False)


def signify(package, certificate, path):
    """Verify a file against the catalog; raises when it does not stand in it or the signature is not right."""
    store = witnesses.CertificateStore(
        [witnesses.Certificate.from_pem(certificate.certificate.read_bytes())], trusted=True
    )
    catalog = witnesses.CertificateTrustList.from_envelope(package.cat.read_bytes())
    catalog.verify(trusted_certificate_store=store)
    kind = witnesses.signed_file.AuthenticodeFile.from_stream
    with path.open("rb") as stream:
        file = kind(stream) if path.suffix == ".sys" else witnesses.signed_file.FlatFile(stream)
        file.add_catalog(catalog)
        return list(file.verify(signature_types="catalog", trusted_certificate_store=store))


def test_package_is_whole(made):
    names = {"tiny.sys", "tiny.inf", "tiny.cat", "test-signing.cer"}
    assert {path.name for path in made.sys.parent.iterdir()} == names
    assert check_inf(made.inf.read_bytes()) == []
    assert made.service == "tiny"
    assert made.thumbprint == hashlib.sha1(made.certificate.read_bytes()).hexdigest()
    check_package(made)


def test_osslsigncode_finds_the_driver_in_the_signed_catalog(made, certificate):
    done = osslsigncode(made, certificate, made.sys)

    assert done.exit_code == 0, done.stdout + done.stderr
    assert "File is signed in catalog" in done.stdout
    verify(made.sys, certificate)  # its own signature as well
    verify(made.cat, certificate)


@pytest.mark.parametrize("kind", ["sys", "inf"])
def test_signify_finds_both_files_in_the_signed_catalog(made, certificate, kind):
    assert signify(made, certificate, getattr(made, kind))


def test_another_certificate_is_not_trusted_by_either_witness(made, tmp_path):
    other = make_certificate(tmp_path)
    assert osslsigncode(made, other, made.sys).exit_code != 0
    with pytest.raises(Exception, match=r"(?i)certificate|chain"):
        signify(made, other, made.sys)


def places(content, how_many):
    """Offsets all over a file, chosen the same way each time."""
    return sorted(random.Random(7).sample(range(len(content)), how_many))


def excluded(content):
    """Offsets that the Authenticode digest leaves out, found by pefile and not by our own code."""
    pe = pefile.PE(data=content, fast_load=True)
    checksum = pe.OPTIONAL_HEADER.get_field_absolute_offset("CheckSum")
    entry = pe.OPTIONAL_HEADER.DATA_DIRECTORY[4]
    at = entry.get_file_offset()
    spans = [(checksum, 4), (at, 8), (entry.VirtualAddress, entry.Size)]
    return {place for start, size in spans for place in range(start, start + size)}


def test_any_byte_of_the_driver_that_is_changed_is_found(made, certificate, package):
    content = made.sys.read_bytes()
    out = excluded(content)
    for place in places(content, 400):
        if place in out:
            continue
        changed = bytearray(content)
        changed[place] ^= 1 << (place % 8)
        try:
            problems = check_catalog(made.cat.read_bytes(), made.contents() | {"tiny.sys": bytes(changed)})
        except DriverPackageError:
            continue  # it is no whole image any more, which is found as well
        assert any("'tiny.sys' has the SHA256" in problem for problem in problems), place

    inside = next(place for place in places(content, 400) if place not in out and place > 0x400)
    changed = bytearray(content)
    changed[inside] ^= 1
    package.sys.write_bytes(changed)
    assert osslsigncode(package, certificate, package.sys).exit_code != 0
    with pytest.raises(Exception, match=r"(?i)digest|hash|catalog|no signature"):
        signify(package, certificate, package.sys)


def test_any_byte_of_the_inf_that_is_changed_is_found(made, certificate, package):
    content = made.inf.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1
        problems = check_catalog(made.cat.read_bytes(), made.contents() | {"tiny.inf": bytes(changed)})
        assert any("'tiny.inf' has the SHA256" in problem for problem in problems)

    package.inf.write_bytes(content + b"\r\n")
    with pytest.raises(DriverPackageError, match=r"'tiny\.inf' has the SHA256 .* it was changed after the catalog"):
        check_package(package)
    with pytest.raises(Exception, match=r"(?i)digest|hash|catalog|no signature"):
        signify(package, certificate, package.inf)


def test_any_byte_of_the_catalog_that_is_changed_is_found(made, certificate, package):
    content = made.cat.read_bytes()
    accepted = []
    for place in places(content, 60):
        changed = bytearray(content)
        changed[place] ^= 1
        package.cat.write_bytes(changed)
        try:
            assert signify(package, certificate, package.sys)
            accepted.append(place)
        except Exception:  # whatever it says, it refused
            continue
    assert all(osslsigncode(package, certificate, package.sys).exit_code != 0 for place in accepted), accepted


def test_catalog_has_the_bytes_of_inf2cat():
    """The structure byte by byte, as recordings of inf2cat's catalogs have it."""
    catalog = make_catalog({"a.inf": b"x"}, made=dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), identifier=bytes(16))
    assert b"\x17\x0d260102030405Z" in catalog
    member_info = bytes.fromhex("3010060a2b060104018237 0c0203 3102 8200")
    assert catalog.count(member_info) == 2, "each file stands there by SHA-256 and by SHA-1"
    link = bytes.fromhex("060a2b060104018237020119 a2028000")
    assert catalog.count(link) == 1
    assert hashlib.sha256(b"x").digest() in catalog
    assert hashlib.sha1(b"x").digest() in catalog
    version = bytes.fromhex("300e 060a2b060104018237 0c0103 0500")
    assert version in catalog, "catalog version 2"
    assert "OSAttr".encode("utf-16-be") in catalog
    assert "_v100_X64\0".encode("utf-16-le") in catalog


def test_an_image_stands_in_it_as_an_image(made):
    catalog = made.cat.read_bytes()
    assert bytes.fromhex("060a2b06010401823702010f 300a 030205a0 a004 a2028000") in catalog


def test_members_hardware_ids_and_names_are_read_back():
    catalog = make_catalog({"a.inf": b"x", "b.txt": b"y"}, hardware_ids=["PCI\\VEN_1"])
    digests = [member.digest for member in load_catalog(catalog)]
    assert digests == sorted(digests), "Windows searches it"
    assert {(member.name, len(member.digest)) for member in load_catalog(catalog)} == {
        (name, size) for name in ("a.inf", "b.txt") for size in (20, 32)
    }
    assert "pci\\ven_1\0".encode("utf-16-le") in catalog
    assert check_catalog(catalog, {"a.inf": b"x"}) == ["The catalog lists 'b.txt', which is not there."]
    assert check_catalog(catalog, {"a.inf": b"x", "b.txt": b"y", "c": b"z"})[0].startswith(
        "The catalog does not list 'c'"
    )


@pytest.mark.parametrize("content", [b"", b"no catalog", b"\x30\x03\x02\x01\x01"])
def test_what_is_no_catalog_is_said(content):
    with pytest.raises(DriverPackageError, match="no security catalog"):
        load_catalog(content)


def test_our_digest_and_checksum_are_those_of_others(made, driver):
    content = made.sys.read_bytes()
    with made.sys.open("rb") as stream:
        file = witnesses.signed_file.AuthenticodeFile.from_stream(stream)
        assert file.get_fingerprint(hashlib.sha256) == image_digest(content)
        assert file.get_fingerprint(hashlib.sha1) == image_digest(content, "sha1")
    for path in (made.sys, driver):
        content = path.read_bytes()
        assert image_checksum(content) == pefile.PE(data=content).generate_checksum() == stored_checksum(content)
    assert member_digest(b"x") == hashlib.sha256(b"x").digest()


def test_what_stands_behind_the_signature_belongs_to_the_digest(made):
    content = made.sys.read_bytes()
    assert image_digest(content + b"12345678") != image_digest(content)


def test_a_signature_that_is_cut_off_is_said(made):
    with pytest.raises(DriverPackageError, match="signature reaches to byte"):
        image_digest(made.sys.read_bytes()[:-8])
    with pytest.raises(DriverPackageError, match="no whole PE headers"):
        image_digest(b"MZ" + bytes(58) + struct.pack("<I", 0x1000))


def test_a_package_with_an_inf_of_ones_own(driver, certificate, tmp_path, made):
    inf = tmp_path / "own.inf"
    inf.write_bytes(made.inf.read_bytes().replace(b"tiny.cat", b"own.cat"))
    own = make_package(driver, tmp_path / "own", signer=certificate, inf=inf)
    assert own.cat.name == "own.cat"

    inf.write_bytes(made.inf.read_bytes().replace(b"PnpLockdown = 1", b""))
    with pytest.raises(DriverPackageError, match=r"PnpLockdown is '', wanted 1\. \[lockdown\]"):
        make_package(driver, tmp_path / "bad", signer=certificate, inf=inf)
    assert not (tmp_path / "bad").exists()

    other = tmp_path / "other.sys"
    shutil.copyfile(driver, other)
    with pytest.raises(DriverPackageError, match=r"copies tiny\.sys, wanted 'other\.sys' alone"):
        make_package(other, tmp_path / "bad", signer=certificate, inf=own.inf)


def test_a_catalog_of_another_name_is_not_the_packages(package):
    package.cat.rename(package.cat.with_name("other.cat"))
    renamed = type(package)(
        sys=package.sys, inf=package.inf, cat=package.cat.with_name("other.cat"), certificate=package.certificate,
        thumbprint=package.thumbprint, service=package.service, signed_here=True,
    )  # fmt: skip
    with pytest.raises(DriverPackageError, match=r"names the catalog 'tiny\.cat', the package has 'other\.cat'"):
        check_package(renamed)


def test_a_driver_that_is_signed_keeps_its_signature(made, certificate, tmp_path):
    again = make_package(made.sys, tmp_path / "again", signer=make_certificate(tmp_path / "other"))
    assert again.sys.read_bytes() == made.sys.read_bytes()
    assert made.signed_here
    assert not again.signed_here


def test_no_version_resource_is_none(driver, tmp_path):
    assert read_version(driver) is None
    assert read_version(tmp_path / "missing.sys") is None
