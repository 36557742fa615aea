"""signify, the second witness for signatures, without the fault of a library under it."""

from __future__ import annotations

import re

_WRONG = "\\b(\\d\\.\\d\\.\\d[a-z]*)\\b"  # how oscrypto 1.3.0 looks for OpenSSL's version: not in "3.0.19"
_search = re.search


def _search_rightly(pattern, text, *flags):
    return _search("\\b(\\d+\\.\\d+\\.\\d+[a-z]*)\\b" if pattern == _WRONG else pattern, text, *flags)


re.search = _search_rightly
try:
    from signify.authenticode import CertificateTrustList, signed_file
    from signify.x509 import Certificate, CertificateStore
finally:
    re.search = _search

__all__ = ["Certificate", "CertificateStore", "CertificateTrustList", "signed_file"]
