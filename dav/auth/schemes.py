"""Password hashes as mail servers keep them: `{SCHEME}data`, `{SCHEME.ENC}data`, or data alone in a default scheme.

An answer is yes or no; a hash that cannot be judged raises, since "wrong password" would be a lie. Nothing here takes a
stored string for the password itself unless it says {PLAIN}. Slow on purpose, and blocking: call it in the hash pool.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import ctypes
import ctypes.util
import hashlib
import hmac
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import bcrypt
from passlib.hash import (  # type: ignore[import-untyped]
    apr_md5_crypt,
    argon2,
    bcrypt_sha256,
    des_crypt,
    md5_crypt,
    pbkdf2_sha256,
    sha256_crypt,
    sha512_crypt,
)

from dav.auth import passwords
from dav.auth.passwords import PASSWORD_BYTES_MAX
from dav.config import ConfigError

STORED_CHARS_MAX = 4096
# What a stored hash may ask of us. Whoever can write the mail server's table must not be able to stop this server.
MEMORY_KIB_MAX = 256 * 1024
ARGON2_PASSES_MAX = 20
ARGON2_LANES_MAX = 16
ROUNDS_MAX = 2_000_000
BCRYPT_COST_MAX = 15

# The room that crypt_r(3) wants for its work.
_CRYPT_DATA_BYTES = 32_768
# Longer passwords are refused by crypt(3) itself.
_CRYPT_PASSWORD_BYTES_MAX = 511
# A hash that takes more memory than is usual is made alone, whatever the number of threads.
_MEMORY_KIB_USUAL = 64 * 1024
_BIG = threading.Lock()
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

# The library looks for the fastest implementation at first use, and fails when two threads do that at the same time.
# "builtin": the others of these are deprecated modules of the standard library.
for _handler in (md5_crypt, sha256_crypt, sha512_crypt, des_crypt):
    _handler.set_backend("builtin")
argon2.set_backend("argon2_cffi")
bcrypt_sha256.set_backend("bcrypt")


class UnsupportedScheme(ValueError):
    """A hash that is not checked here, by its kind or its cost. The message names the scheme, never the hash."""


class BadHash(ValueError):
    """The stored string is not what its scheme asks for. The message names the scheme, never the hash."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """How one scheme is read and checked.

    check: (password, stored bytes) → whether they belong together; ValueError for stored bytes that cannot be.
    digest_bytes: length of a digest that the data is (or begins with, when salted), 0 for text. Such data stands in hex
    or base64, other data as it is, if no encoding is named.
    """

    check: Callable[[bytes, bytes], bool]
    digest_bytes: int = 0
    salted: bool = False


def verify(password: str | bytes, stored: str, *, default: str = "CRYPT") -> bool:
    """Whether this is the password of the stored hash. default: the scheme of a hash that names none.

    Empty passwords, those with NUL or over 1,024 bytes, and locked accounts ("*", "!") are never right. Raises
    UnsupportedScheme and BadHash, both ValueError.
    """
    octets = password if isinstance(password, bytes) else password.encode("utf-8", "surrogatepass")
    if not octets or b"\0" in octets or len(octets) > PASSWORD_BYTES_MAX or not stored:
        return False
    name, encoding, data = split(stored, default)
    scheme = SCHEMES.get(name)
    if scheme is None:
        raise UnsupportedScheme(f"the scheme {{{name}}} is not known here")
    try:
        raw = _decode(scheme, encoding, data)
        return scheme.check(octets, raw)
    except UnsupportedScheme:
        raise
    except (ValueError, TypeError, UnicodeError, MemoryError, OverflowError):
        raise BadHash(f"the data of scheme {{{name}}} cannot be read") from None


def verify_any(password: str, hashes: Iterable[str], *, default: str = "CRYPT") -> bool:
    """Whether the password is that of one of the hashes, as it was sent or, if that differs, in NFC.

    Some keyboards send letters with separate accents. A hash that cannot be judged counts only when no other one is
    right: then it raises UnsupportedScheme or BadHash.
    """
    trouble: ValueError | None = None
    composed = unicodedata.normalize("NFC", password)
    spellings = [password] if composed == password else [password, composed]
    for stored in hashes:
        for spelling in spellings:
            try:
                if verify(spelling, stored, default=default):
                    return True
            except (UnsupportedScheme, BadHash) as error:
                trouble = trouble or error
                break
    if trouble is not None:
        raise trouble
    return False


def spend(password: str, usual: str, *, default: str = "CRYPT") -> None:
    """Spends the time of one verification, for a person who does not exist: the answer counts for nothing.

    usual: a hash as the others there are, or "".
    """
    try:
        if usual:
            verify_any(password, [usual], default=default)
            return
    except (UnsupportedScheme, BadHash):
        pass
    passwords.dummy_verify()


def usable_default(name: str, section: str) -> str:
    """The scheme in capitals, for section.default_scheme. Raises ConfigError for one that is not known."""
    if name.upper() not in SCHEMES:
        raise ConfigError(f"{section}.default_scheme: {name!r} is not known; CRYPT, SSHA512 and others are")
    return name.upper()


def split(stored: str, default: str) -> tuple[str, str, str]:
    """(scheme in capitals, encoding: "hex", "base64" or "", data) of a stored string. Raises UnsupportedScheme."""
    if len(stored) > STORED_CHARS_MAX:
        raise UnsupportedScheme(f"a hash longer than {STORED_CHARS_MAX} characters")
    # Dovecot takes this prefix for MD5-CRYPT whatever else is configured.
    if stored.startswith("$1$"):
        return "MD5-CRYPT", "", stored
    if not stored.startswith("{"):
        return default.upper(), "", stored
    match = _PREFIX.match(stored)
    # A brace that begins no scheme is never the beginning of a password: a context that falls back to plain text would
    # let everybody in who can read the table.
    if match is None:
        raise UnsupportedScheme("a hash that begins with '{' but names no scheme")
    encoding = (match[2] or "").lower()
    return match[1].upper(), "base64" if encoding == "b64" else encoding, stored[match.end() :]


_PREFIX = re.compile(r"\{([A-Za-z0-9-]{1,40})(?:\.(b64|base64|hex))?\}", re.IGNORECASE)


def _decode(scheme: Scheme, encoding: str, data: str) -> bytes:
    if scheme.digest_bytes and not encoding:
        # Salted data has no fixed length, so hex can only be told from base64 by saying so.
        encoding = "hex" if not scheme.salted and len(data) == 2 * scheme.digest_bytes else "base64"
    if encoding == "hex":
        return binascii.unhexlify(data.encode("ascii"))
    if encoding == "base64":
        return _base64(data)
    return data.encode("utf-8", "surrogateescape")


def _base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


# --- digests ---------------------------------------------------------------------------------------------------------


def _digest(algorithm: str) -> Scheme:
    length = hashlib.new(algorithm, usedforsecurity=False).digest_size

    def check(password: bytes, raw: bytes) -> bool:
        if len(raw) != length:
            raise ValueError
        return hmac.compare_digest(hashlib.new(algorithm, password, usedforsecurity=False).digest(), raw)

    return Scheme(check, length)


def _salted(algorithm: str) -> Scheme:
    length = hashlib.new(algorithm, usedforsecurity=False).digest_size

    def check(password: bytes, raw: bytes) -> bool:
        digest, salt = raw[:length], raw[length:]
        if not salt:
            raise ValueError
        return hmac.compare_digest(hashlib.new(algorithm, password + salt, usedforsecurity=False).digest(), digest)

    return Scheme(check, length, salted=True)


def _md5(password: bytes, raw: bytes) -> bool:
    """{MD5}: an MD5-CRYPT or a digest in hex or base64, whichever the data looks like."""
    if raw.startswith(b"$1$"):
        return _crypt(password, raw)
    plain = SCHEMES["PLAIN-MD5"]
    return plain.check(password, _decode(plain, "", raw.decode("ascii")))


def _plain(password: bytes, raw: bytes) -> bool:
    return hmac.compare_digest(raw, password)


def _pbkdf2(password: bytes, raw: bytes) -> bool:
    """Dovecot's own form, `$1$salt$rounds$hex`: HMAC-SHA1, 20 bytes, the salt as the ASCII text it is."""
    match = re.fullmatch(r"\$1\$([^$]{1,255})\$([0-9]{1,9})\$([0-9a-fA-F]{40})", raw.decode("ascii"))
    if match is None:
        raise ValueError
    made = hashlib.pbkdf2_hmac("sha1", password, match[1].encode(), _rounds(match[2]), 20)
    return hmac.compare_digest(made, bytes.fromhex(match[3]))


def _pbkdf2_sha512(password: bytes, raw: bytes) -> bool:
    """FreeIPA's form, which mailcow also keeps: `rounds$salt$digest`, the last two in base64."""
    rounds, salt, digest = raw.decode("ascii").split("$")
    expected = _base64(digest)
    if not expected or len(expected) > 64:
        raise ValueError
    made = hashlib.pbkdf2_hmac("sha512", password, _base64(salt), _rounds(rounds), len(expected))
    return hmac.compare_digest(made, expected)


def _scram(algorithm: str) -> Scheme:
    # RFC 5802 §3: StoredKey is the hash of HMAC(SaltedPassword, "Client Key"), so the password leads to it.
    def check(password: bytes, raw: bytes) -> bool:
        rounds, salt, stored_key, _server_key = raw.decode("ascii").split(",")
        salted = hashlib.pbkdf2_hmac(algorithm, password, _base64(salt), _rounds(rounds))
        expected = _base64(stored_key)
        if len(expected) != len(salted):
            raise ValueError
        client_key = hmac.digest(salted, b"Client Key", algorithm)
        return hmac.compare_digest(hashlib.new(algorithm, client_key).digest(), expected)

    return Scheme(check)


def _rounds(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) == 0:
        raise ValueError
    if int(text) > ROUNDS_MAX:
        raise UnsupportedScheme(f"a hash of more than {ROUNDS_MAX} rounds")
    return int(text)


# --- crypt(3) and its like: told apart by how the data begins --------------------------------------------------------

_BCRYPT = re.compile(r"\$2[abxy]\$([0-9]{2})\$[./0-9A-Za-z]{53}")
_SHA_CRYPT = re.compile(r"\$[56]\$(?:rounds=([0-9]{1,9})\$)?[^$:\n]{0,16}\$[./0-9A-Za-z]{43,86}")
_MD5_CRYPT = re.compile(r"\$(?:1|apr1)\$[^$:\n]{0,8}\$[./0-9A-Za-z]{22}")
_DES_CRYPT = re.compile(r"[./0-9A-Za-z]{13}")
_ARGON2 = re.compile(
    r"\$argon2(?:i|id)\$v=(?:16|19)\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,9})\$[A-Za-z0-9+/]+\$[A-Za-z0-9+/]+"
)
# Flavour j is the only one that is made; after it the logarithm of N and r, one digit of base 64 each. Longer
# parameters (more lanes, more time) are of sizes that nobody uses.
_YESCRYPT = re.compile(r"\$g?y\$j([./0-9A-Za-z])([./0-9A-Za-z])\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}")
# The logarithm of N in one digit, r and p in five each, the least significant first.
_SCRYPT = re.compile(r"\$7\$([./0-9A-Za-z])([./0-9A-Za-z]{5})([./0-9A-Za-z]{5})[./0-9A-Za-z]{0,86}\$[./0-9A-Za-z]{43}")


# What stands for an account that is locked, beside "*…" and "!…".
_LOCKED = frozenset(("x", "NP", "LK", "locked"))


def _crypt(password: bytes, raw: bytes) -> bool:
    stored = raw.decode("ascii")
    for prefixes, check in _BY_PREFIX:
        if stored.startswith(prefixes):
            return check(password, stored)
    if _DES_CRYPT.fullmatch(stored):
        return bool(des_crypt.verify(password, stored))
    if stored[:1] in ("$", "_"):
        raise UnsupportedScheme(f"a hash of crypt(3) that begins with {stored[:4]!r}")
    if not stored or stored[0] in "*!" or stored in _LOCKED:
        return False
    raise UnsupportedScheme("a hash that no crypt(3) made, without {SCHEME}: is default_scheme right?")


def _bcrypt(password: bytes, stored: str) -> bool:
    match = _BCRYPT.fullmatch(stored)
    if match is None:
        raise ValueError
    if int(match[1]) > BCRYPT_COST_MAX:
        raise UnsupportedScheme(f"a bcrypt hash of cost {match[1]}")
    # The algorithm never looked beyond 72 bytes, and mail servers cut silently; this library refuses longer ones.
    return bcrypt.checkpw(password[:72], stored.encode())


def _sha_crypt(password: bytes, stored: str) -> bool:
    match = _SHA_CRYPT.fullmatch(stored)
    if match is None:
        raise ValueError
    if match[1] is not None:
        _rounds(match[1])
    return bool((sha512_crypt if stored[1] == "6" else sha256_crypt).verify(password, stored))


def _md5_crypt(password: bytes, stored: str) -> bool:
    # What stands behind a further "$" is not part of the hash.
    stored = "$".join(stored.split("$")[:4])
    if not _MD5_CRYPT.fullmatch(stored):
        raise ValueError
    return bool((md5_crypt if stored[1] == "1" else apr_md5_crypt).verify(password, stored))


def _argon2(password: bytes, stored: str) -> bool:
    match = _ARGON2.fullmatch(stored)
    if match is None:
        raise UnsupportedScheme("an argon2 hash of another kind than argon2i and argon2id")
    memory_kib, passes, lanes = (int(number) for number in match.groups())
    if memory_kib > MEMORY_KIB_MAX or passes > ARGON2_PASSES_MAX or lanes > ARGON2_LANES_MAX:
        raise UnsupportedScheme(f"an argon2 hash of m={memory_kib},t={passes},p={lanes}")
    with _room(memory_kib):
        return bool(argon2.verify(password, stored))


def _bcrypt_sha256(password: bytes, stored: str) -> bool:
    match = re.fullmatch(
        r"\$bcrypt-sha256\$(?:v=2,t=2[by],r=([0-9]{1,2})|2[ab],([0-9]{1,2}))\$[./0-9A-Za-z]{22}\$[./0-9A-Za-z]{31}",
        stored,
    )
    if match is None:
        raise ValueError
    if int(match[1] or match[2]) > BCRYPT_COST_MAX:
        raise UnsupportedScheme("a bcrypt-sha256 hash of too high a cost")
    return bool(bcrypt_sha256.verify(password, stored))


def _pbkdf2_sha256(password: bytes, stored: str) -> bool:
    match = re.fullmatch(r"\$pbkdf2-sha256\$([0-9]{1,9})\$[./0-9A-Za-z]{0,255}\$[./0-9A-Za-z]{43}", stored)
    if match is None:
        raise ValueError
    _rounds(match[1])
    return bool(pbkdf2_sha256.verify(password, stored))


def _yescrypt(password: bytes, stored: str) -> bool:
    match = _YESCRYPT.fullmatch(stored)
    if match is None:
        raise UnsupportedScheme("a yescrypt hash of unusual cost")
    memory_kib = _scrypt_kib(_ALPHABET.index(match[1]) + 1, _ALPHABET.index(match[2]) + 1, 1)
    return _libc_crypt(password, stored, memory_kib)


def _scrypt(password: bytes, stored: str) -> bool:
    match = _SCRYPT.fullmatch(stored)
    if match is None:
        raise ValueError
    r, p = (sum(_ALPHABET.index(char) << (6 * i) for i, char in enumerate(digits)) for digits in match.groups()[1:])
    return _libc_crypt(password, stored, _scrypt_kib(_ALPHABET.index(match[1]), r, p))


def _scrypt_kib(n_log2: int, r: int, p: int) -> int:
    """The memory that scrypt takes with these parameters (RFC 7914 §2), in KiB. Raises UnsupportedScheme."""
    memory_kib = (r << n_log2) // 8
    if memory_kib > MEMORY_KIB_MAX or p > 4:
        raise UnsupportedScheme("a scrypt or yescrypt hash of too high a cost")
    return memory_kib


def _room(memory_kib: int) -> contextlib.AbstractContextManager[object]:
    return _BIG if memory_kib > _MEMORY_KIB_USUAL else contextlib.nullcontext()


def _libc_crypt(password: bytes, stored: str, memory_kib: int) -> bool:
    """The comparison by the system's crypt(3): the only one that knows these. Raises UnsupportedScheme."""
    function = _crypt_r()
    if function is None:
        raise UnsupportedScheme(f"a hash of crypt(3) that begins with {stored[:4]!r}, on a system without libxcrypt")
    if len(password) > _CRYPT_PASSWORD_BYTES_MAX:
        return False
    with _room(memory_kib):
        made = function(password, stored.encode(), ctypes.create_string_buffer(_CRYPT_DATA_BYTES))
    # A method that the library lacks gives NULL, "*0" or "*1": compared blindly, a stored "*0" would be right.
    if not made or made.startswith(b"*"):
        raise UnsupportedScheme(f"a hash of crypt(3) that begins with {stored[:4]!r}: the system's library refuses it")
    return hmac.compare_digest(made, stored.encode())


@cache
def _crypt_r() -> Callable[..., bytes | None] | None:
    try:
        function = ctypes.CDLL(ctypes.util.find_library("crypt") or "libcrypt.so.1").crypt_r
    except (OSError, AttributeError):
        return None
    function.restype = ctypes.c_char_p
    function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
    typed: Callable[..., bytes | None] = function
    return typed


_BY_PREFIX: tuple[tuple[tuple[str, ...], Callable[[bytes, str], bool]], ...] = (
    (("$2a$", "$2b$", "$2x$", "$2y$"), _bcrypt),
    (("$5$", "$6$"), _sha_crypt),
    (("$1$", "$apr1$"), _md5_crypt),
    (("$argon2",), _argon2),
    (("$y$", "$gy$"), _yescrypt),
    (("$7$",), _scrypt),
    (("$bcrypt-sha256$",), _bcrypt_sha256),
    (("$pbkdf2-sha256$",), _pbkdf2_sha256),
)

# CRAM-MD5, DIGEST-MD5, OTP, PLAIN-TRUNC, PLAIN-MD4, LANMAN, NTLM, RPA and SKEY are left out: they cannot be checked
# with a password alone, or are not worth it.
SCHEMES: dict[str, Scheme] = {
    **dict.fromkeys(
        ("CRYPT", "BLF-CRYPT", "SHA512-CRYPT", "SHA256-CRYPT", "MD5-CRYPT", "DES-CRYPT", "BCRYPT"), Scheme(_crypt)
    ),
    **dict.fromkeys(("ARGON2", "ARGON2I", "ARGON2ID"), Scheme(lambda p, raw: _argon2(p, raw.decode("ascii")))),
    **dict.fromkeys(("SHA", "SHA1"), _digest("sha1")),
    "SHA256": _digest("sha256"),
    "SHA512": _digest("sha512"),
    **dict.fromkeys(("PLAIN-MD5", "LDAP-MD5"), _digest("md5")),
    "MD5": Scheme(_md5),
    "SMD5": _salted("md5"),
    "SSHA": _salted("sha1"),
    "SSHA256": _salted("sha256"),
    "SSHA512": _salted("sha512"),
    "PBKDF2": Scheme(_pbkdf2),
    "PBKDF2-SHA512": Scheme(_pbkdf2_sha512),
    "SCRAM-SHA-1": _scram("sha1"),
    "SCRAM-SHA-256": _scram("sha256"),
    **dict.fromkeys(("PLAIN", "CLEAR", "CLEARTEXT"), Scheme(_plain)),
}
