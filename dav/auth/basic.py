"""HTTP Basic (RFC 7617): the header, and the spellings of a name that clients send."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import unicodedata
from urllib.parse import unquote

# RFC 9110 §11.4: the scheme is case-insensitive; one or more spaces follow, then token68.
_HEADER = re.compile(r"[Bb][Aa][Ss][Ii][Cc] +([A-Za-z0-9+/_-]*={0,2}) *")
_HEADER_MAX = 4096
LOGIN_CHARS_MAX = 255
_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")


class BadCredentials(ValueError):
    """An Authorization header that says Basic but carries no login and password."""


def parse_basic(header: str) -> tuple[str, str] | None:
    """(login, password) of an Authorization header; None when the scheme is another one.

    The octets are read as UTF-8 (RFC 7617 §2.1, which our challenge announces), else as Latin-1, as old clients do.
    Raises BadCredentials when Basic carries nothing usable.
    """
    if header[:5].lower() != "basic" or header[5:6] not in ("", " "):
        return None
    match = _HEADER.fullmatch(header) if len(header) <= _HEADER_MAX else None
    if match is None:
        raise BadCredentials("not token68, or too long")
    token = match[1].rstrip("=").replace("-", "+").replace("_", "/")
    try:
        octets = base64.b64decode(token + "=" * (-len(token) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise BadCredentials("not base64") from None
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    # RFC 7617 §2: the first colon separates; a password may hold more of them, a login none.
    login, colon, password = text.partition(":")
    if not colon or not login or len(login) > LOGIN_CHARS_MAX:
        raise BadCredentials("no login, no colon, or too long")
    # RFC 7617 §2: neither part may contain control characters.
    if any(unicodedata.category(char) == "Cc" for char in text):
        raise BadCredentials("control characters")
    return login, password


def candidates(login: str) -> list[str]:
    """The names that a login may mean, in the order to try them: as sent, without outer spaces, percent-decoded.

    All NFC; letter case is the store's affair, which compares case-folded.
    """
    names = [login, login.strip()]
    # CLIENT iOS 18.4 (2025-04): sends alice%40example.com when the account was set up from a URL with a user part.
    if _ESCAPE.search(login):
        with contextlib.suppress(UnicodeDecodeError):
            names.append(unquote(login, errors="strict").strip())
    found: list[str] = []
    for name in names:
        name = unicodedata.normalize("NFC", name)
        if name and name not in found and not any(unicodedata.category(char) == "Cc" for char in name):
            found.append(name)
    return found


def normalise_login(login: str, default_domain: str = "") -> str:
    """The login that back ends are asked about: NFC, without outer spaces, percent-decoded where no "@" is in it.

    default_domain: added behind "@" to a login without one.
    """
    names = candidates(login)
    if not names:
        return login.strip()
    name = names[-1] if "@" not in login else names[0]
    name = name.strip()
    return f"{name}@{default_domain}" if default_domain and "@" not in name else name
