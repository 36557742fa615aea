"""The server's side of NTLMv2 [MS-NLMP]: a challenge, and whether the answer to it proves the password.

Written out here because a library for it costs the emulated guest a dozen seconds to import at boot, and after each
revert most of the time until the first answer.
"""

from __future__ import annotations

import functools
import hmac
import os
import struct
import time
from pathlib import Path

SIGNATURE = b"NTLMSSP\0"
_UNICODE, _TARGET, _SIGN, _SEAL, _NTLM = 0x1, 0x4, 0x10, 0x20, 0x200
_ALWAYS_SIGN, _IS_SERVER, _EXTENDED, _INFO = 0x8000, 0x20000, 0x80000, 0x800000
_VERSION, _128, _KEY_EXCHANGE, _56 = 0x2000000, 0x20000000, 0x40000000, 0x80000000
_OURS = _UNICODE | _TARGET | _NTLM | _IS_SERVER | _EXTENDED | _INFO | _VERSION
# Taken when the client offers them; over TLS nothing is signed or sealed with them.
_IF_OFFERED = _SIGN | _SEAL | _ALWAYS_SIGN | _128 | _KEY_EXCHANGE | _56
_NEGOTIATE, _CHALLENGE, _AUTHENTICATE = 1, 2, 3
_AV_END, _AV_COMPUTER, _AV_DOMAIN, _AV_DNS_COMPUTER, _AV_DNS_DOMAIN, _AV_FLAGS, _AV_TIME = 0, 1, 2, 3, 4, 6, 7
_HAS_MIC = 2
_MIC_AT = 72
_EPOCH = 116444736000000000  # 1970 in the 100 ns steps since 1601 of a FILETIME


class Refused(Exception):
    """The message is malformed or does not prove the password."""


class Exchange:
    """One login: NEGOTIATE comes, CHALLENGE goes, AUTHENTICATE comes."""

    def __init__(self, users: Path, machine: str) -> None:
        self._users = users
        self._machine = machine
        self._negotiate = b""
        self._sent = b""
        self._nonce = b""

    def challenge(self, negotiate: bytes) -> bytes:
        """The CHALLENGE that answers a NEGOTIATE."""
        if len(negotiate) < 16 or _type(negotiate) != _NEGOTIATE:
            raise Refused("the message is no NTLM NEGOTIATE")
        (offered,) = struct.unpack_from("<I", negotiate, 12)
        name = self._machine.encode("utf-16-le")
        now = struct.pack("<Q", int(time.time() * 10_000_000) + _EPOCH)
        pairs = ((_AV_DOMAIN, name), (_AV_COMPUTER, name), (_AV_DNS_DOMAIN, name), (_AV_DNS_COMPUTER, name),
                 (_AV_TIME, now), (_AV_END, b""))  # fmt: skip
        info = b"".join(struct.pack("<HH", number, len(value)) + value for number, value in pairs)
        self._negotiate, self._nonce = negotiate, os.urandom(8)
        self._sent = (
            struct.pack("<8sIHHII8s8x", SIGNATURE, _CHALLENGE, len(name), len(name), 56,
                        _OURS | (offered & _IF_OFFERED), self._nonce)
            + struct.pack("<HHI", len(info), len(info), 56 + len(name))
            + struct.pack("<BBH3xB", 10, 0, 19043, 15) + name + info
        )  # fmt: skip
        return self._sent

    def authenticate(self, message: bytes) -> str:
        """Check an AUTHENTICATE, and give back 'DOMAIN\\user'; a challenge is good for one of them."""
        nonce, self._nonce = self._nonce, b""
        if not nonce or len(message) < 64 or _type(message) != _AUTHENTICATE:
            raise Refused("the message is no NTLM AUTHENTICATE that answers a challenge")
        response, domain, user, exchanged = (_field(message, at) for at in (20, 28, 36, 52))
        (flags,) = struct.unpack_from("<I", message, 60)
        domain_name, user_name = domain.decode("utf-16-le", "replace"), user.decode("utf-16-le", "replace")
        if len(response) < 16 + 28 + 4:
            raise Refused(f"user '{user_name}' did not answer with NTLMv2")
        proof, blob = response[:16], response[16:]
        hashed = find_hash(self._users, domain_name, user_name)
        key = _hmac(hashed or b"", (user_name.upper() + domain_name).encode("utf-16-le"))
        is_right = hmac.compare_digest(_hmac(key, nonce + blob), proof)
        if hashed is None or not is_right:
            raise Refused(f"user '{domain_name}\\{user_name}' is not known or the password is wrong")
        if _av_flags(blob[28:]) & _HAS_MIC:
            session = _hmac(key, proof)
            if flags & _KEY_EXCHANGE:
                session = _rc4(session, exchanged)
            whole = self._negotiate + self._sent + message[:_MIC_AT] + bytes(16) + message[_MIC_AT + 16 :]
            if not hmac.compare_digest(_hmac(session, whole), message[_MIC_AT : _MIC_AT + 16]):
                raise Refused("the messages of the login were changed on their way")
        return f"{domain_name}\\{user_name}"


def find_hash(users: Path, domain: str, user: str) -> bytes | None:
    """The NT hash of the user's password, from a file with lines 'domain:user:password'."""
    for line in _lines(users):
        in_domain, name, password = line.split(":", 2)
        if (in_domain.upper(), name.upper()) == (domain.upper(), user.upper()):
            return nt_hash(password)
    return None


@functools.cache
def _lines(users: Path) -> tuple[str, ...]:
    return tuple(line for line in users.read_text(encoding="utf-8").splitlines() if line.count(":") >= 2)


@functools.cache
def nt_hash(password: str) -> bytes:
    """MD4 of the password in UTF-16; OpenSSL 3 no longer has it."""
    return md4(password.encode("utf-16-le"))


def md4(data: bytes) -> bytes:
    """The digest of RFC 1320."""
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476]
    padded = data + b"\x80" + bytes((55 - len(data)) % 64) + struct.pack("<Q", len(data) * 8)
    rounds = (
        (lambda x, y, z: (x & y) | (~x & z), 0, range(16), (3, 7, 11, 19)),
        (lambda x, y, z: (x & y) | (x & z) | (y & z), 0x5A827999,
         (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), (3, 5, 9, 13)),
        (lambda x, y, z: x ^ y ^ z, 0x6ED9EBA1,
         (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15), (3, 9, 11, 15)),
    )  # fmt: skip
    for start in range(0, len(padded), 64):
        words = struct.unpack_from("<16I", padded, start)
        a, b, c, d = state
        for mix, constant, order, shifts in rounds:
            for step, index in enumerate(order):
                value = (a + mix(b, c, d) + words[index] + constant) & 0xFFFFFFFF
                shift = shifts[step % 4]
                a, b, c, d = d, ((value << shift) | (value >> (32 - shift))) & 0xFFFFFFFF, b, c
        state = [(old + new) & 0xFFFFFFFF for old, new in zip(state, (a, b, c, d), strict=True)]
    return struct.pack("<4I", *state)


def _type(message: bytes) -> int:
    return int.from_bytes(message[8:12], "little") if message.startswith(SIGNATURE) else 0


def _field(message: bytes, at: int) -> bytes:
    size, _, offset = struct.unpack_from("<HHI", message, at)
    if offset + size > len(message):
        raise Refused("a field of the message lies outside of it")
    return message[offset : offset + size]


def _av_flags(pairs: bytes) -> int:
    at = 0
    while at + 4 <= len(pairs):
        number, size = struct.unpack_from("<HH", pairs, at)
        if number == _AV_END:
            break
        if number == _AV_FLAGS:
            return int.from_bytes(pairs[at + 4 : at + 4 + size], "little")
        at += 4 + size
    return 0


def _hmac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "md5")


def _rc4(key: bytes, data: bytes) -> bytes:
    box = list(range(256))
    j = 0
    for i in range(256):
        j = (j + box[i] + key[i % len(key)]) & 255
        box[i], box[j] = box[j], box[i]
    out, i, j = bytearray(), 0, 0
    for byte in data:
        i = (i + 1) & 255
        j = (j + box[i]) & 255
        box[i], box[j] = box[j], box[i]
        out.append(byte ^ box[(box[i] + box[j]) & 255])
    return bytes(out)
