"""Password hashes: the only place that imports passlib.

Everything here is slow on purpose and blocks: call it in a thread, outside a transaction (see `dav.auth.HashPool`).
"""

from __future__ import annotations

import secrets
import unicodedata
from functools import cache

from passlib.hash import argon2  # type: ignore[import-untyped]

# More than any password manager makes; bounds what a stranger can make us normalise and hash.
PASSWORD_BYTES_MAX = 1024

# argon2id with 19 MiB, two passes, one lane. Devices sign in every few minutes, in every worker, so one check should
# cost about 25 ms of one core: larger sets cost ten times that, and a few wrong passwords would fill a small machine.
# The library loads its backend at first use, and fails when two threads use it first at the same time.
argon2.set_backend("argon2_cffi")
_HASHER = argon2.using(type="ID", memory_cost=19 * 1024, time_cost=2, parallelism=1)

_CONSONANTS = "bdfghjkmnprstvwz"
_VOWELS = "aeiou"


class PasswordUnusable(ValueError):
    """The password is empty, too long, or holds control characters. The message is a sentence for a person."""


def normalise(password: str) -> str:
    """The spelling that is hashed: NFC, and every kind of space as U+0020 (RFC 8265 §4.2.1, OpaqueString)."""
    if password.isascii():
        return password
    spaced = "".join(" " if unicodedata.category(char) == "Zs" else char for char in password)
    return unicodedata.normalize("NFC", spaced)


def check_usable(password: str) -> None:
    """Raises PasswordUnusable for a password that no account may have."""
    if not password:
        raise PasswordUnusable("The password is empty.")
    if len(password.encode("utf-8", "surrogatepass")) > PASSWORD_BYTES_MAX:
        raise PasswordUnusable(f"The password is longer than {PASSWORD_BYTES_MAX} bytes.")
    # RFC 7617 §2: user-id and password must not contain control characters, so no client could send them.
    if any(unicodedata.category(char) in ("Cc", "Cs") for char in password):
        raise PasswordUnusable("The password holds a control character, such as a tab or a line break.")


def hash_password(password: str) -> str:
    """The argon2id hash of a usable password, as PHC string. Raises PasswordUnusable."""
    check_usable(password)
    hashed: str = _HASHER.hash(normalise(password))
    return hashed


def verify(password: str, password_hash: str) -> bool:
    """Whether the password is the hashed one. An unusable password, or a hash of another kind, is never right.

    Takes the same time for a wrong password as for a right one.
    """
    try:
        check_usable(password)
        # The database's hash sets the cost, so only shapes that we could have written are followed.
        right: bool = argon2.identify(password_hash) and _HASHER.verify(normalise(password), password_hash)
    except PasswordUnusable:
        dummy_verify()
        return False
    except (ValueError, TypeError):
        return False
    return right


def needs_rehash(password_hash: str) -> bool:
    """Whether a new hash of the same password would be of another kind or cost."""
    return not argon2.identify(password_hash) or bool(_HASHER.needs_update(password_hash))


def dummy_verify() -> None:
    """Spends the time of one verification, so that an unknown account answers no faster than a known one."""
    _HASHER.verify("x", _dummy_hash())


@cache
def _dummy_hash() -> str:
    hashed: str = _HASHER.hash(secrets.token_hex(16))
    return hashed


def generate() -> str:
    """A random password that can be read out and typed on a phone: five groups of four letters, 63 bits."""
    pair = [secrets.choice(_CONSONANTS) + secrets.choice(_VOWELS) for _ in range(10)]
    return "-".join(pair[i] + pair[i + 1] for i in range(0, 10, 2))
