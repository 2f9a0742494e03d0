"""Values that vCard 3.0 and 4.0 write differently: dates, positions, time zones, pictures, sounds and keys.

Each function changes one property in place, and leaves it alone when its value is not of the form it knows.
"""

from __future__ import annotations

import base64
import re
from typing import Protocol
from urllib.parse import unquote_to_bytes

_DATE = re.compile(
    r"(\d{4})-?(\d\d)-?(\d\d)(?:T(\d\d):?(\d\d)(?::?(\d\d)(?:[.,]0+)?)?(Z|[+-]\d\d(?::?\d\d)?)?)?", re.A | re.I
)
_NO_YEAR = re.compile(r"--(\d\d)-?(\d\d)", re.A)
_OFFSET = re.compile(r"([+-]\d\d):?(\d\d)", re.A)
# Possessive: millions of digits would else be tried at each length.
_DEGREES = r"[+-]?\d++(?:\.\d++)?+"
_GEO_3 = re.compile(rf"\s*+({_DEGREES})\s*+\\?[;,]\s*+({_DEGREES})\s*+", re.A)
_GEO_4 = re.compile(rf"geo:({_DEGREES})\\?,({_DEGREES})", re.A | re.I)
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?(;base64)?\\?,(.*)", re.A | re.I | re.S)
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,3}", re.A)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:", re.A)
_MEDIA = re.compile(r"[A-Za-z0-9.+-]+(?:/[A-Za-z0-9.+-]+)?", re.A)

OMITTED_YEAR = "1604"  # what Apple writes for a birthday without year; a leap year, so 29 February has a date
_NOT_MEDIA = frozenset({"home", "work", "pref", "dom", "intl", "postal", "parcel", "internet"})
_MAJOR = {"PHOTO": "image", "LOGO": "image", "SOUND": "audio", "KEY": "application"}
_KEYS = {"x509": "pkix-cert", "pgp": "pgp-keys"}  # RFC 2426 §3.7.2; RFC 2585, RFC 3156
_KEYS_BACK = {sub: kind for kind, sub in _KEYS.items()}
_UNKNOWN = "application/octet-stream"
# The first base64 characters of well-known formats, for pictures whose TYPE is missing.
_SNIFF = (("/9j/", "image/jpeg"), ("iVBORw0KGgo", "image/png"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp"))


class Prop(Protocol):
    """What these functions need of `dav.vcard_convert.Prop`."""

    name: str
    value: str

    def get(self, key: str) -> str | None: ...
    def drop(self, *keys: str) -> None: ...
    def add(self, key: str, value: str, *, first: bool = False) -> None: ...
    def types(self) -> list[str]: ...
    def drop_type(self, kind: str) -> None: ...


def _kind(prop: Prop) -> str:
    return (prop.get("VALUE") or "").lower()


def joined_base64(value: str) -> str | None:
    """Base64 without the blanks that lines of vCard 2.1 leave in it; None when it is something else."""
    data = value.replace(" ", "").replace("\t", "").replace("\r", "").replace("\n", "")
    return data if _BASE64.fullmatch(data) else None


def date_to_4(prop: Prop) -> None:
    """ISO 8601 extended or basic → basic (RFC 6350 §4.3); Apple's omitted year → --MMDD."""
    if _kind(prop) == "text":
        return
    match = _DATE.fullmatch(prop.value.strip())
    short = _NO_YEAR.fullmatch(prop.value.strip())
    if match is not None:
        year, month, day, hour = match.group(1), match.group(2), match.group(3), match.group(4)
        if hour is None and prop.get("X-APPLE-OMIT-YEAR") == year:
            prop.drop("X-APPLE-OMIT-YEAR")
            prop.value = f"--{month}{day}"
        else:
            prop.value = year + month + day + _time(match, "")
    elif short is not None:
        prop.value = f"--{short.group(1)}{short.group(2)}"
    else:
        return
    if _kind(prop) in ("date", "date-time"):
        prop.drop("VALUE")  # RFC 6350 §6.2.5: date-and-or-time is the default


def date_to_3(prop: Prop) -> None:
    """Basic → extended (RFC 2426 §3.1.5); --MMDD → Apple's year 1604, as DAVx5 writes it. Other partial dates stay."""
    if _kind(prop) == "text":
        return
    match = _DATE.fullmatch(prop.value.strip())
    short = _NO_YEAR.fullmatch(prop.value.strip())
    if match is None and short is None:
        return
    if _kind(prop) == "date-and-or-time":
        prop.drop("VALUE")
    if match is not None:
        prop.value = f"{match.group(1)}-{match.group(2)}-{match.group(3)}{_time(match, ':')}"
        if match.group(4) is not None and not _kind(prop):
            prop.add("VALUE", "date-time")
    elif short is not None:
        prop.drop("X-APPLE-OMIT-YEAR")
        prop.add("X-APPLE-OMIT-YEAR", OMITTED_YEAR, first=True)
        prop.value = f"{OMITTED_YEAR}-{short.group(1)}-{short.group(2)}"


def _time(match: re.Match[str], colon: str) -> str:
    """The time part of _DATE with or without colons; vCard 3.0 needs the seconds (RFC 2425 §5.8.4)."""
    hour, minute, second, zone = match.group(4), match.group(5), match.group(6), match.group(7)
    if hour is None:
        return ""
    zone = (zone or "").upper()
    if len(zone) > 1:
        zone = zone[:3] + colon + (zone[3:].lstrip(":") or ("00" if colon else ""))
    seconds = second or ("00" if colon else "")
    return f"T{hour}{colon}{minute}{colon if seconds else ''}{seconds}{zone}"


def timestamp_to_4(prop: Prop) -> None:
    """REV (RFC 6350 §4.3.5): the basic format; a date alone stays as it is."""
    match = _DATE.fullmatch(prop.value.strip())
    if match is not None and match.group(4) is not None:
        prop.value = match.group(1) + match.group(2) + match.group(3) + _time(match, "")
        if _kind(prop) == "date-time":
            prop.drop("VALUE")


def timestamp_to_3(prop: Prop) -> None:
    match = _DATE.fullmatch(prop.value.strip())
    if match is not None and match.group(4) is not None:
        prop.value = f"{match.group(1)}-{match.group(2)}-{match.group(3)}{_time(match, ':')}"
        if _kind(prop) == "timestamp":
            prop.drop("VALUE")


def position_to_4(prop: Prop) -> None:
    """`lat;lon` (RFC 2426 §3.4.2; a comma in 2.1) → a geo: URI (RFC 5870)."""
    match = _GEO_3.fullmatch(prop.value)
    if match is not None:
        prop.value = f"geo:{match.group(1)},{match.group(2)}"
        prop.drop("VALUE")


def position_to_3(prop: Prop) -> None:
    match = _GEO_4.fullmatch(prop.value.strip())
    if match is not None:
        prop.value = f"{match.group(1)};{match.group(2)}"
        prop.drop("VALUE")


def zone_to_4(prop: Prop) -> None:
    """An offset says so in 4.0, where text is the default; in 3.0 it is the other way round (RFC 6350 §6.5.1)."""
    match = _OFFSET.fullmatch(prop.value.strip())
    if match is not None and _kind(prop) in ("", "utc-offset"):
        prop.value = match.group(1) + match.group(2)
        prop.drop("VALUE")
        prop.add("VALUE", "utc-offset")


def zone_to_3(prop: Prop) -> None:
    match = _OFFSET.fullmatch(prop.value.strip())
    if match is not None and _kind(prop) in ("", "utc-offset"):
        prop.value = f"{match.group(1)}:{match.group(2)}"
        prop.drop("VALUE")
    elif not _kind(prop):
        prop.add("VALUE", "text")


def binary_to_4(prop: Prop) -> None:
    """Inline base64 → a data: URI; the TYPE that names the format → its media type or MEDIATYPE (RFC 6350 §6.2.4)."""
    encoding = (prop.get("ENCODING") or "").lower()
    if encoding in ("b", "base64"):
        data = joined_base64(prop.value)
        if data is None:
            return
        media = _take_media(prop)
        if media is None:
            media = next((kind for start, kind in _SNIFF if data.startswith(start)), _UNKNOWN)
        prop.drop("ENCODING", "VALUE")
        prop.value = f"data:{media};base64,{data}"
    elif encoding:
        return
    elif _kind(prop) == "uri":
        media = _take_media(prop) if prop.get("MEDIATYPE") is None else None
        if media is not None:
            prop.add("MEDIATYPE", media)
    elif prop.name == "KEY" and not _kind(prop) and not _URI.match(prop.value):
        prop.add("VALUE", "text")  # RFC 2426 §3.7.2: an armoured key; 4.0 would take it for a URI


def binary_to_3(prop: Prop) -> None:
    """A data: URI → inline base64, the only form that Apple shows; another URI says so (RFC 2426 §3.1.4)."""
    value = prop.value.strip()
    match = _DATA.fullmatch(value) if value[:5].lower() == "data:" else None
    if match is not None:
        data = match.group(3)
        if match.group(2) is None:
            data = base64.b64encode(unquote_to_bytes(data)).decode()
        if not _BASE64.fullmatch(data):
            match = None
    if match is not None:
        media = (match.group(1) or prop.get("MEDIATYPE") or "").lower()
        prop.drop("VALUE", "MEDIATYPE", "ENCODING")
        if media and (media != _UNKNOWN or prop.types()):
            prop.add("TYPE", _type(prop.name, media), first=True)  # before all others: the way back takes the first
        prop.add("ENCODING", "b", first=True)
        prop.value = data
    elif _kind(prop) in ("", "uri") and prop.get("ENCODING") is None and _URI.match(value):
        if not _kind(prop):
            prop.add("VALUE", "uri")
        media = (prop.get("MEDIATYPE") or "").lower()
        if media and _MEDIA.fullmatch(media):
            prop.drop("MEDIATYPE")
            prop.add("TYPE", _type(prop.name, media))


def _take_media(prop: Prop) -> str | None:
    """The media type that a TYPE value names; that value is removed."""
    for kind in prop.types():
        if kind not in _NOT_MEDIA and _MEDIA.fullmatch(kind):
            prop.drop_type(kind)
            if "/" in kind:
                return kind
            return f"{_MAJOR[prop.name]}/{_KEYS.get(kind, kind) if prop.name == 'KEY' else kind}"
    return None


def _type(name: str, media: str) -> str:
    major, _, minor = media.partition("/")
    if major != _MAJOR[name] or not minor:
        return media
    return (_KEYS_BACK.get(minor, minor) if name == "KEY" else minor).upper()
