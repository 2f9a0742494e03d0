"""App passwords: how they look, and what one may do. The store keeps the digest of the secret, nobody the secret."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable

from dav.auth.backend import Scope
from storage import app_passwords
from storage.engine import Conn
from storage.records import AppPassword

# Without the letters and digits that look alike: people type them from one screen into another. 28 of 31 signs: 138
# bits, so that one SHA-256 is enough and a device costs no slow hash.
_SIGNS = "abcdefghjkmnpqrstuvwxyz23456789"
_LENGTH = 28
_PREFIX = "app"
_FORM = re.compile(f"{_PREFIX}[{_SIGNS}]{{{_LENGTH}}}")
# As people call them → the areas of the store.
AREAS = {"calendars": "calendars", "contacts": "addressbooks", "files": "files"}
_WRITTEN_MAX = 64


def generate() -> str:
    """A new secret, as it is shown once: app-xxxx-xxxx-…"""
    signs = "".join(secrets.choice(_SIGNS) for _ in range(_LENGTH))
    return "-".join([_PREFIX, *(signs[at : at + 4] for at in range(0, _LENGTH, 4))])


def digest_of(password: str) -> str | None:
    """The digest under which the store has it; None for what does not look like an app password.

    Capitals, spaces and hyphens do not matter: keyboards of phones add them.
    """
    if len(password) > _WRITTEN_MAX or not password.isascii():
        return None
    plain = re.sub(r"[\s-]", "", password).lower()
    return hashlib.sha256(plain.encode()).hexdigest() if _FORM.fullmatch(plain) else None


def areas_of(words: Iterable[str]) -> tuple[str, ...]:
    """The store's areas of "calendars", "contacts" and "files". Raises ValueError with a sentence for another word."""
    found = []
    for word in words:
        if word not in AREAS:
            raise ValueError(f"{word!r} is not one of {', '.join(AREAS)}.")
        if AREAS[word] not in found:
            found.append(AREAS[word])
    if not found:
        raise ValueError(f"At least one of {', '.join(AREAS)} is needed.")
    return tuple(found)


def words_of(areas: Iterable[str]) -> tuple[str, ...]:
    """The store's areas as people call them."""
    return tuple(word for word, area in AREAS.items() if area in set(areas))


def create(
    conn: Conn,
    account_id: int,
    name: str,
    *,
    areas: Iterable[str],
    read_only: bool = False,
    expires_s: int | None = None,
    now_s: int,
) -> tuple[str, AppPassword]:
    """Makes an app password: (the secret, to be shown once, what the store keeps). Needs a write transaction.

    areas: as the store calls them, see areas_of. The caller writes the audit row.
    """
    secret = generate()
    digest = digest_of(secret)
    assert digest is not None
    made = app_passwords.create_app_password(
        conn, account_id, name, digest, areas=areas, read_only=read_only, expires_s=expires_s, now_s=now_s
    )
    return secret, made


def scope_of(record: AppPassword) -> Scope:
    """What the bearer may do."""
    return Scope(frozenset(record.areas), record.read_only)
