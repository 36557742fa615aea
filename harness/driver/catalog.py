"""The security catalog of a driver package: the digests of its files in one signed list.

It is what inf2cat makes with /os:10_X64: PKCS #7 SignedData over a certificate trust list, catalog version 2, each file
once by its SHA-256 and once by its SHA-1. The structures are those of wintrust.h (CAT_NAMEVALUE, CAT_MEMBERINFO2,
SPC_INDIRECT_DATA_CONTENT, SPC_PE_IMAGE_DATA, SPC_LINK) and of [MS-CAESO] (the list):
https://learn.microsoft.com/en-us/windows-hardware/drivers/install/catalog-files,
https://learn.microsoft.com/en-us/windows/win32/api/wintrust/ns-wintrust-spc_indirect_data_content.
That an image stands here by its Authenticode digest and other files by the plain one:
https://learn.microsoft.com/en-us/windows/win32/api/mscat/nf-mscat-cryptcatadmincalchashfromfilehandle2.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asn1crypto import core

from harness.driver.catalog_asn1 import (
    CATALOG_LIST,
    CATALOG_MEMBER_V2,
    CTL,
    IMAGE_DATA,
    INDIRECT_DATA,
    LINK_DATA,
    MEMBER_INFO_V2,
    NAME_VALUE,
    SHA256,
    SIGNED_DATA,
    Attribute,
    ContentInfo,
    ImageData,
    IndirectData,
    Link,
    MemberInfo,
    NameValue,
    String,
    TrustList,
)
from harness.driver.digest import is_image, member_digest
from harness.driver.sign import TestCertificate, sign
from harness.errors import DriverPackageError

# The attribute is kept in plain text, and is signed with the list (CRYPTCAT_ATTR_AUTHENTICATED | _NAMEASCII |
# _DATAASCII of mscat.h).
_PLAIN_SIGNED = 0x10010001
_WINDOWS_10 = "2:10.0"  # platform NT and the version that all of Windows 10, 11 and Server since 2016 have
_OS = "_v100_X64"


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogMember:
    """One file of a catalog: `digest` is what it is known by, SHA-256 or SHA-1 by its length."""

    name: str
    digest: bytes


def make_catalog(
    members: Mapping[str, bytes],
    *,
    hardware_ids: Iterable[str] = (),
    made: dt.datetime | None = None,
    identifier: bytes | None = None,
) -> bytes:
    """A catalog, not yet signed, of the files in `members`: contents by name, as they go into the package.

    A primitive driver has no hardware ids. `made` and `identifier` are for those who want the same bytes twice.
    """
    entries = []
    for name, content in members.items():
        digest = member_digest(content)
        common = [
            _attribute(MEMBER_INFO_V2, MemberInfo("other", b"")),
            _name_value("File", name),
            _name_value("OSAttr", _WINDOWS_10),
        ]
        entries.append((digest, [*common, _attribute(INDIRECT_DATA, _indirect_data(content, digest))]))
        entries.append((member_digest(content, "sha1"), common))
    entries.sort(key=lambda entry: entry[0])
    extensions = [_extension("OS", _OS)]
    extensions += [_extension(f"HWID{number}", name.lower()) for number, name in enumerate(hardware_ids, start=1)]
    trust_list = TrustList(
        {
            "usage": [CATALOG_LIST],
            "identifier": identifier or os.urandom(16),
            "this_update": core.UTCTime(made or dt.datetime.now(dt.UTC)),
            "algorithm": {"algorithm": CATALOG_MEMBER_V2, "parameters": core.Null()},
            "members": [{"identifier": digest, "attributes": attributes} for digest, attributes in entries],
            "extensions": extensions,
        }
    )
    signed = {
        "version": 1,
        "digest_algorithms": [],
        "content": {"type": CTL, "content": trust_list},
        "signers": [],
    }
    return bytes(ContentInfo({"type": SIGNED_DATA, "content": signed}).dump())


def sign_catalog(unsigned: Path, target: Path, certificate: TestCertificate) -> Path:
    """Sign a catalog into `target`, which appears only when its signature verifies.

    Raises SigningError.
    """
    return sign(unsigned, target, certificate)


def load_catalog(content: bytes) -> tuple[CatalogMember, ...]:
    """What a catalog vouches for; its signature is not looked at.

    Raises DriverPackageError when it is no catalog.
    """
    try:
        trust_list = _trust_list(ContentInfo.load(content, strict=True))
        return tuple(
            CatalogMember(name=_file_name(member["attributes"]), digest=member["identifier"].native)
            for member in trust_list["members"]
        )
    except (ValueError, TypeError, KeyError) as error:
        raise DriverPackageError(f"This is no security catalog: {error}.", hint="Was it copied whole?") from error


def _trust_list(outer: Any) -> Any:
    if outer["type"].native != SIGNED_DATA:
        raise ValueError("it is no PKCS #7 signed data")
    inner = outer["content"]["content"]
    if inner["type"].native != CTL:
        raise ValueError("what is signed is no trust list")
    if CATALOG_LIST not in inner["content"]["usage"].native:
        raise ValueError("the trust list is of another use")
    return inner["content"]


def check_catalog(catalog: bytes, members: Mapping[str, bytes]) -> list[str]:
    """Hold the files of a package against its catalog: what is missing, changed or not in the package, a sentence each.

    Raises DriverPackageError when it is no catalog.
    """
    listed = load_catalog(catalog)
    problems = []
    for name, content in members.items():
        for algorithm, size in (("sha256", 32), ("sha1", 20)):
            digests = [
                member.digest for member in listed if member.name.lower() == name.lower() and len(member.digest) == size
            ]
            if not digests:
                problems.append(f"The catalog does not list '{name}' by its {algorithm.upper()}.")
            elif member_digest(content, algorithm) not in digests:
                problems.append(
                    f"'{name}' has the {algorithm.upper()} {member_digest(content, algorithm).hex()}, "
                    f"the catalog says {digests[0].hex()}: it was changed after the catalog was made."
                )
    present = {name.lower() for name in members}
    extra = sorted({member.name for member in listed if member.name.lower() not in present})
    return problems + [f"The catalog lists '{name or 'a file without a name'}', which is not there." for name in extra]


def _indirect_data(content: bytes, digest: bytes) -> IndirectData:
    link = Link("file", String("unicode", ""))  # Windows' own tools name no file here
    data: core.Asn1Value = link
    kind = LINK_DATA
    if is_image(content):
        data = ImageData({"flags": core.BitString((1, 0, 1)), "file": link})  # the flags of signtool and inf2cat
        kind = IMAGE_DATA
    return IndirectData(
        {
            "data": {"type": kind, "value": data},
            "digest": {"algorithm": {"algorithm": SHA256, "parameters": core.Null()}, "digest": digest},
        }
    )


def _attribute(type: str, value: Any) -> Attribute:
    return Attribute({"type": type, "values": [value]})


def _named(name: str, value: str) -> NameValue:
    return NameValue(
        {
            "name": name,
            "flags": _PLAIN_SIGNED,
            "value": (value + "\0").encode("utf-16-le"),
        }
    )


def _name_value(name: str, value: str) -> Attribute:
    return _attribute(NAME_VALUE, _named(name, value))


def _extension(name: str, value: str) -> dict[str, object]:
    return {"type": NAME_VALUE, "value": _named(name, value).dump()}


def _file_name(attributes: Any) -> str:
    for attribute in attributes:
        if attribute["type"].native == NAME_VALUE:
            for value in attribute["values"]:
                named = value.parse(NameValue)
                if named["name"].native == "File":
                    return str(named["value"].native.decode("utf-16-le").rstrip("\0"))
    return ""
