"""The ASN.1 of a security catalog; which field means what is in `catalog`."""

from __future__ import annotations

from asn1crypto import core

SIGNED_DATA = "1.2.840.113549.1.7.2"
SHA256 = "2.16.840.1.101.3.4.2.1"
CTL = "1.3.6.1.4.1.311.10.1"  # szOID_CTL
CATALOG_LIST = "1.3.6.1.4.1.311.12.1.1"  # szOID_CATALOG_LIST
CATALOG_MEMBER_V2 = "1.3.6.1.4.1.311.12.1.3"  # szOID_CATALOG_LIST_MEMBER2
NAME_VALUE = "1.3.6.1.4.1.311.12.2.1"  # CAT_NAMEVALUE_OBJID
MEMBER_INFO_V2 = "1.3.6.1.4.1.311.12.2.3"  # CAT_MEMBERINFO2_OBJID
INDIRECT_DATA = "1.3.6.1.4.1.311.2.1.4"  # SPC_INDIRECT_DATA_OBJID
IMAGE_DATA = "1.3.6.1.4.1.311.2.1.15"  # SPC_PE_IMAGE_DATA_OBJID
LINK_DATA = "1.3.6.1.4.1.311.2.1.25"  # SPC_CAB_DATA_OBJID, of every file that is no image


class Algorithm(core.Sequence):  # noqa: D101 - the names are those of the standards
    _fields = [("algorithm", core.ObjectIdentifier), ("parameters", core.Any, {"optional": True})]  # noqa: RUF012


class NameValue(core.Sequence):
    """CAT_NAMEVALUE: the value is UTF-16 LE with a zero at its end."""

    _fields = [("name", core.BMPString), ("flags", core.Integer), ("value", core.OctetString)]  # noqa: RUF012


class MemberInfo(core.Choice):
    """CAT_MEMBERINFO2: an empty [2] says that the digest's own attribute tells what kind of file it is."""

    _alternatives = [("other", core.OctetString, {"implicit": 2})]  # noqa: RUF012


class TypeAndValue(core.Sequence):
    """SpcAttributeTypeAndOptionalValue."""

    _fields = [("type", core.ObjectIdentifier), ("value", core.Any)]  # noqa: RUF012


class DigestInfo(core.Sequence):  # noqa: D101
    _fields = [("algorithm", Algorithm), ("digest", core.OctetString)]  # noqa: RUF012


class IndirectData(core.Sequence):
    """SpcIndirectDataContent."""

    _fields = [("data", TypeAndValue), ("digest", DigestInfo)]  # noqa: RUF012


class String(core.Choice):
    """SpcString."""

    _alternatives = [("unicode", core.BMPString, {"implicit": 0})]  # noqa: RUF012


class Link(core.Choice):
    """SpcLink, the kind that names a file."""

    _alternatives = [("file", String, {"explicit": 2})]  # noqa: RUF012


class ImageData(core.Sequence):
    """SpcPeImageData."""

    _fields = [("flags", core.BitString), ("file", Link, {"explicit": 0})]  # noqa: RUF012


class AttributeValues(core.SetOf):  # noqa: D101
    _child_spec = core.Any


class Attribute(core.Sequence):  # noqa: D101
    _fields = [("type", core.ObjectIdentifier), ("values", AttributeValues)]  # noqa: RUF012


class Attributes(core.SetOf):  # noqa: D101
    _child_spec = Attribute


class TrustedSubject(core.Sequence):  # noqa: D101
    _fields = [("identifier", core.OctetString), ("attributes", Attributes)]  # noqa: RUF012


class TrustedSubjects(core.SequenceOf):  # noqa: D101
    _child_spec = TrustedSubject


class Usage(core.SequenceOf):  # noqa: D101
    _child_spec = core.ObjectIdentifier


class Extension(core.Sequence):  # noqa: D101
    _fields = [("type", core.ObjectIdentifier), ("value", core.OctetString)]  # noqa: RUF012


class Extensions(core.SequenceOf):  # noqa: D101
    _child_spec = Extension


class TrustList(core.Sequence):
    """CertificateTrustList of [MS-CAESO], the fields that a catalog has."""

    _fields = [  # noqa: RUF012
        ("usage", Usage),
        ("identifier", core.OctetString),
        ("this_update", core.UTCTime),
        ("algorithm", Algorithm),
        ("members", TrustedSubjects),
        ("extensions", Extensions, {"explicit": 0, "optional": True}),
    ]


class Algorithms(core.SetOf):  # noqa: D101
    _child_spec = Algorithm


class TrustListInfo(core.Sequence):
    """The ContentInfo inside: a list instead of data."""

    _fields = [("type", core.ObjectIdentifier), ("content", TrustList, {"explicit": 0})]  # noqa: RUF012


class Anything(core.SetOf):  # noqa: D101
    _child_spec = core.Any


class SignedData(core.Sequence):
    """PKCS #7 SignedData (RFC 2315); certificates and signers are left to those who verify them."""

    _fields = [  # noqa: RUF012
        ("version", core.Integer),
        ("digest_algorithms", Algorithms),
        ("content", TrustListInfo),
        ("certificates", Anything, {"implicit": 0, "optional": True}),
        ("revocations", Anything, {"implicit": 1, "optional": True}),
        ("signers", Anything),
    ]


class ContentInfo(core.Sequence):
    """The outermost ContentInfo of a catalog."""

    _fields = [("type", core.ObjectIdentifier), ("content", SignedData, {"explicit": 0})]  # noqa: RUF012
