"""Cards: checked on the way in, indexed, converted, cut down and written (RFC 6350, RFC 2426, RFC 6352).

What a client sends is stored as sent. Accepted although a rule is broken, because other servers accept it too:
- no UID (RFC 6352 §5.1): address books made by import, Gmail's export; uid is None;
- no VERSION: old Evolution and LDIF exports; read as 2.1 or 3.0 by the look of its parameters;
- no FN or no N (RFC 2426 §3.1): Evolution, Android groups, DAVx5 companies;
- a property name alone on its line, without a colon: old Evolution;
- vCard 2.1, quoted-printable in 3.0, control characters, bytes that are not UTF-8: old phones; converted when served;
- another card written out below AGENT: vCard 2.1 §2.4.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav.errors import DavError
from dav.filters.collation import unicode_casemap
from dav.ical.lines import Component, Document, Line, LineError, content_lines, escape, fold, make_line, read, unescape
from dav.ical.secrecy import secrecy_of_lines
from dav.names import cr
from dav.vcard_convert import convert_card, name_of
from dav.vcard_lines import property_lines
from storage.records import ObjectIndex

if TYPE_CHECKING:
    from lxml.etree import _Element

VERSIONS = ("3.0", "4.0")  # what address-data can be asked for; 2.1 is taken, but never given (RFC 6352 §6.2.2)
NESTING_MAX = 4
LINES_MAX = 1_000_000
PROPS_MAX = 500
# Characters of the properties that are indexed. They are names, numbers and addresses.
INDEXED_CHARS_MAX = 100_000

INDEXED = ("FN", "N", "NICKNAME", "ORG", "EMAIL", "TEL")
_COLUMNS = {name: name.lower() for name in INDEXED}
_KNOWN_NAMES = frozenset(INDEXED) | {
    "VERSION",
    "UID",
    "ADR",
    "PHOTO",
    "REV",
    "PRODID",
    "NOTE",
    "BDAY",
    "X-ABLABEL",
    "TITLE",
}
_DIRECTORY_KINDS = {"room": "location", "resource": "device"}  # RFC 6350 §6.1.4, RFC 6473
_NAME = re.compile(r"[A-Za-z0-9_-]+")
# Names that may stand alone on a line; anything else without a colon is the rest of a badly broken line.
_ALONE = frozenset(
    {"FN", "N", "ORG", "TITLE", "NOTE", "TEL", "EMAIL", "ADR", "LABEL", "URL", "NICKNAME", "ROLE", "BDAY"}
)
_LOOKS_21 = re.compile(r"(?:;ENCODING=\"?QUOTED-PRINTABLE)|;[^=:;\"]+(?:;|$)", re.I)
_STATED = re.compile(rb"^VERSION[ \t]*:[ \t]*([0-9.]+)[ \t]*\r?$", re.I | re.M)


@dataclass(frozen=True, slots=True)
class CardObject:
    """One card that was read. card: as sent. version: "2.1", "3.0" or "4.0" (a guess when it names none).

    uid: None when it has none. is_group: KIND or Apple's X-ADDRESSBOOKSERVER-KIND is "group". lines: its properties in
    order, quoted-printable and other charsets decoded; what a nested AGENT card holds is not among them.
    """

    card: Component
    version: str
    uid: str | None
    is_group: bool
    lines: tuple[Line, ...]


def check_card(
    body: bytes,
    *,
    size_max: int,
    lines_max: int = LINES_MAX,
    folded_max: int | None = None,
    params_max: int | None = None,
    indexed_max: int | None = None,
) -> CardObject:
    """The one card that `body` is.

    lines_max: properties; folded_max: the lines that they are folded into; params_max: parameters of all lines;
    indexed_max: characters of the properties in INDEXED. None = any number (of folded lines: four of each).

    Raises DavError 403 with a precondition of RFC 6352 §6.3.2.1: max-resource-size (size_max, in bytes),
    supported-address-data (another version) or valid-address-data; the detail names the line.
    """
    if len(body) > size_max:
        raise DavError(403, cr("max-resource-size"), f"The card has {len(body)} bytes; at most {size_max} are stored.")
    try:
        document = read(body, depth_max=NESTING_MAX, lines_max=lines_max, folded_max=folded_max, params_max=params_max)
    except LineError as error:
        raise _invalid(f"Not a vCard: {error}.") from None
    card = _only_card(document)
    version = _version(card)
    _check_lines(card)
    uid: str | None = None
    is_group = False
    indexed = 0
    lines = tuple(line for line in property_lines(card, version) if isinstance(line, Line))
    for line in lines:
        name = line.name
        if name == "UID":
            value = line.text.strip()
            if uid is not None and value and value != uid:
                raise _invalid(f"line {line.number}: UID: the card has two different ones.")
            uid = value or uid
        elif name in _COLUMNS:
            indexed += len(line.value)
            if indexed_max is not None and indexed > indexed_max:
                raise _invalid(
                    f"line {line.number}: {name}: names, numbers and addresses are longer than {indexed_max}."
                )
        elif name in ("KIND", "X-ADDRESSBOOKSERVER-KIND") and line.value.strip().lower() == "group":
            is_group = True
    return CardObject(card, version, uid, is_group, lines)


def _invalid(detail: str) -> DavError:
    return DavError(403, cr("valid-address-data"), detail)


def _only_card(document: Document) -> Component:
    if document.stray:
        line = document.stray[0]
        raise _invalid(
            f"line {line.number}: {(line.name or line.value)[:40]!r} stands outside BEGIN:VCARD and END:VCARD."
        )
    if not document.components:
        raise _invalid("line 1: there is no BEGIN:VCARD.")
    if len(document.components) > 1:
        # RFC 6352 §5.1: an address object resource holds one card; a file of many is for the import.
        second = document.components[1].begin
        raise _invalid(f"line {second.number}: BEGIN: a second component; an address object holds one card.")
    card = document.components[0]
    if card.name != "VCARD":
        raise _invalid(f"line {card.begin.number}: BEGIN:{card.name[:40]} is not a vCard.")
    return card


def _version(card: Component) -> str:
    stated = card.all("VERSION")
    if not stated:
        looks_21 = any(";" in line.head and _LOOKS_21.search(line.head) for line in card.lines)
        return "2.1" if looks_21 else "3.0"
    version = stated[0].value.strip()
    if version not in ("2.1", "3.0", "4.0"):
        detail = f"line {stated[0].number}: VERSION:{version[:20]} is not one of 2.1, 3.0, 4.0."
        raise DavError(403, cr("supported-address-data"), detail)
    for line in stated[1:]:
        if line.value.strip() != version:
            raise _invalid(f"line {line.number}: VERSION: the card has two different ones.")
    return version


def _check_lines(card: Component) -> None:
    soft = False  # the line before was quoted-printable and goes on in this one
    agent = False
    for item in card.items:
        if isinstance(item, Component):
            if not agent or item.name != "VCARD":
                raise _invalid(f"line {item.begin.number}: BEGIN:{item.name[:40]} stands inside the card.")
            _version(item)
            _check_lines(item)
            agent = soft = False
            continue
        name = item.name
        if soft:
            soft = item.value.rstrip(" \t").endswith("=")
            continue
        if not name:
            text = item.value.strip()
            if text and text.upper() not in _ALONE:
                raise _invalid(f"line {item.number}: {text[:40]!r} has no colon, so it is no property.")
            continue
        if name not in _KNOWN_NAMES and not _NAME.fullmatch(name):
            raise _invalid(f"line {item.number}: {name[:40]!r} is no property name.")
        if item.group and not _NAME.fullmatch(item.group):
            raise _invalid(f"line {item.number}: {item.group[:40]!r} is no group name.")
        agent = name == "AGENT" and not item.value.strip()
        soft = item.value.endswith("=") and "QUOTED-PRINTABLE" in item.head.upper()


def index_card(card: CardObject) -> ObjectIndex:
    """What the store keeps to find this card: folded text of FN, N, NICKNAME, ORG, EMAIL, TEL, one value a line."""
    found: dict[str, list[str]] = {}
    summary: str | None = None
    for line in card.lines:
        if line.name in _COLUMNS:
            text = unescape(line.value)
            found.setdefault(line.name, []).append(unicode_casemap(text))
            if summary is None and line.name == "FN":
                summary = text
    columns = tuple((_COLUMNS[name], "\n".join(texts)) for name, texts in found.items())
    secrecy = secrecy_of_lines([line for line in card.lines if line.name == "CLASS"])
    return ObjectIndex(uid=card.uid, component="VCARD", summary=summary, text=columns, secrecy=secrecy)


def convert(body: bytes, version: str) -> bytes:
    """The card in vCard 3.0 or 4.0; the same object when it is that already.

    Only lines that say it differently in the other version are rewritten, all others stay byte-equal. A body that is no
    card (stored by an old import) comes back as it is.
    """
    assert version in VERSIONS
    if _all_state(body, version):
        return body
    try:
        document = read(_with_line_feeds(body), depth_max=NESTING_MAX, lines_max=LINES_MAX)
        card = _only_card(document)
        source = _version(card)
    except (LineError, DavError):
        return body
    if source == version and card.first("VERSION") is not None:
        return body
    return convert_card(card, source, version)


def _all_state(body: bytes, version: str) -> bool:
    stated = _STATED.findall(body)
    return bool(stated) and all(value.decode() == version for value in stated)


def _with_line_feeds(body: bytes) -> bytes:
    """Bare CR line ends made CRLF: a line of ours would bring the first LF, and bare CRs would end no line any more."""
    return body.replace(b"\r", b"\r\n") if b"\n" not in body else body


@dataclass(frozen=True, slots=True)
class AddressData:
    """What CARDDAV:address-data asks for (RFC 6352 §10.4).

    version: "3.0", "4.0", or None for a card as it is stored. props: the properties wanted as (upper-case name, maybe
    with a group; novalue), or None for all.
    """

    version: str | None = "3.0"
    content_type: str = "text/vcard"
    props: tuple[tuple[str, bool], ...] | None = None


def parse_address_data(element: _Element | None) -> AddressData:
    """Read CARDDAV:address-data. A missing version means 3.0 (RFC 6352 §10.4), which is what Apple's clients rely on.

    Raises DavError 403 supported-address-data for a type or version that we do not make.
    """
    if element is None:
        return AddressData()
    content_type = element.get("content-type", "text/vcard").partition(";")[0].strip().lower()
    version = element.get("version", "3.0").strip()
    if content_type != "text/vcard" or version not in VERSIONS:
        detail = f"Cards are given as text/vcard 3.0 and 4.0, not as {content_type[:60]} {version[:20]}."
        raise DavError(403, cr("supported-address-data"), detail)
    props: list[tuple[str, bool]] = []
    for child in element:
        if child.tag == cr("allprop"):
            return AddressData(version)
        if child.tag == cr("prop"):
            props.append((child.get("name", "").strip().upper(), child.get("novalue", "no") == "yes"))
    if len(props) > PROPS_MAX:
        raise DavError(403, cr("supported-address-data"), f"More than {PROPS_MAX} properties are asked for.")
    return AddressData(version, content_type, tuple(props) or None)


def render_card(body: bytes, data: AddressData) -> bytes:
    """The card as asked for, always valid UTF-8; the same object when nothing has to change.

    With data.props only those properties, and VERSION, without which it would be no card; a name without a group takes
    the property in any group (RFC 6352 §10.4.2).
    """
    if data.version is not None:
        body = convert(body, data.version)
    if data.props is not None:
        body = _partial(body, data.props)
    try:
        body.decode()
    except UnicodeDecodeError:
        return _as_utf8(body)
    return body


def _partial(body: bytes, props: tuple[tuple[str, bool], ...]) -> bytes:
    try:
        card = _only_card(read(body, depth_max=NESTING_MAX, lines_max=LINES_MAX))
        version = _version(card)
    except (LineError, DavError):
        return body
    wanted = dict(props)
    kept: list[Line | Component] = []
    for item in property_lines(card, version):
        if isinstance(item, Component):
            if "AGENT" in wanted and not wanted["AGENT"]:
                kept.append(item)
            continue
        novalue = wanted.get(f"{item.group.upper()}.{item.name}") if item.group else None
        if novalue is None:
            novalue = False if item.name == "VERSION" else wanted.get(item.name)
        if novalue is not None:
            kept.append(
                Line(item.name, item.group, "", fold(f"{item.head}:"), item.number, item.head) if novalue else item
            )
    return Component(card.name, card.begin, kept, card.end).to_bytes()


def _as_utf8(body: bytes) -> bytes:
    """Lines that are not UTF-8 by themselves, or were folded inside a character, are written anew."""
    try:
        lines = list(content_lines(body))
    except LineError:
        return body.decode("latin-1").encode()
    parts: list[bytes] = []
    for line in lines:
        try:
            line.raw.decode()
            parts.append(line.raw)
        except UnicodeDecodeError:
            parts.append(fold(f"{line.head}:{line.value}" if line.name or line.head else line.value))
    return b"".join(parts)


def merge_cards(bodies: Iterable[bytes]) -> Iterator[bytes]:
    """All cards one after the other, as a GET on an address book gives them; each ends with a line end."""
    for body in bodies:
        yield body if body.endswith((b"\n", b"\r")) else body + b"\r\n"


def directory_card(*, uid: str, name: str, addresses: Iterable[str], kind: str) -> bytes:
    """A vCard 3.0 of an account, for the read-only book of this server's accounts. The same input gives the same bytes.

    kind: individual, group, room or resource, as in `storage.records.Account`. addresses: the primary one first.
    """
    lines = [
        make_line("BEGIN", "VCARD"),
        make_line("VERSION", "3.0"),
        make_line("UID", escape(uid)),
        make_line("FN", escape(name)),
        make_line("N", name_of(name, whole=kind != "individual")),
    ]
    if kind == "group":
        lines.append(make_line("X-ADDRESSBOOKSERVER-KIND", "group"))
    elif kind in _DIRECTORY_KINDS:
        lines.append(make_line("KIND", _DIRECTORY_KINDS[kind]))
    for position, address in enumerate(addresses):
        types = ("INTERNET", "pref") if position == 0 else ("INTERNET",)
        lines.append(make_line("EMAIL", escape(address), (("TYPE", types),)))
    lines.append(make_line("END", "VCARD"))
    return b"".join(line.raw for line in lines)
