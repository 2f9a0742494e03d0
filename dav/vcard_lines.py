"""The lines of a card as text: vCard 2.1's QUOTED-PRINTABLE and CHARSET undone, the rest as `dav.ical.lines` read it.

vCard 2.1 (and sloppy 3.0) breaks a quoted-printable value with a soft line break, which is no fold: its second half
looks like a line of its own. Here such halves are joined again, so that everything above sees one property, one line.
"""

from __future__ import annotations

import binascii
import re

from dav.ical.lines import Component, Line, fold, split_value

# A codec is taken from the card only when it is one of these: Python also has codecs that are slow, or not text at all.
_CHARSET = re.compile(
    r"(?:utf-?8|us-ascii|(?:x-)?iso-?8859-\d{1,2}|latin-?[19]|windows-\d{3,4}|cp\d{3,4}|koi8-[ru]|shift[_-]jis|sjis|"
    r"gb2312|gbk|gb18030|big5|euc-(?:jp|kr)|iso-2022-jp|macintosh)",
    re.I | re.A,
)
_QUOTED_PRINTABLE = re.compile(r";(?:ENCODING=)?\"?QUOTED-PRINTABLE\"?(?=;|$)", re.I)
_CHARSET_PARAM = re.compile(r';CHARSET="?([^";:,]*)"?', re.I)
_SOFT_BREAK = re.compile(rb"=[ \t]*(?:\r?\n|\r)")
_FOLD = re.compile(rb"(?:\r?\n|\r)[ \t]")

# Characters that were escaped already, while those that were not are being escaped; halves of surrogate pairs, which
# no decoding makes.
_ESCAPED = {"\\": "\udc00", ";": "\udc01", ",": "\udc02"}

# Properties whose value has parts between semicolons (vCard 2.1 §2.3, RFC 2426 §3.1.2, §3.2.1, §3.5.5).
STRUCTURED = frozenset({"N", "ADR", "ORG"})
# Values that are lists at commas (RFC 2426 §3.1.3, §3.7.1); elsewhere vCard 2.1 writes a comma bare.
_LISTS = frozenset({"NICKNAME", "CATEGORIES"})
_READ_ANYWAY = frozenset({"", "UTF-8", "UTF8", "US-ASCII"})
# Values that are not text: nothing in them is escaped (RFC 6350 §6).
NOT_TEXT = frozenset(
    {
        "BEGIN", "END", "VERSION", "UID", "URL", "SOURCE", "FBURL", "CALURI", "CALADRURI", "BDAY", "ANNIVERSARY", "REV",
        "GEO", "TZ", "PHOTO", "LOGO", "SOUND", "KEY", "IMPP", "MEMBER", "RELATED", "AGENT",
    }
)  # fmt: skip


def property_lines(card: Component, version: str) -> list[Line | Component]:
    """What stands between BEGIN and END, in order: quoted-printable halves joined, values decoded, no blank lines.

    A line that needed decoding is a new Line: its value escaped as vCard 3.0 does, without ENCODING and CHARSET; all
    others are the very objects of `card`. version: "2.1" reads text by the escaping rules of vCard 2.1.
    """
    found: list[Line | Component] = []
    items = card.items
    index = 0
    while index < len(items):
        item = items[index]
        index += 1
        if isinstance(item, Component):
            found.append(item)
            continue
        head = item.head
        if "=" in head or ";" in head:
            upper = head.upper()
            if "QUOTED-PRINTABLE" in upper and _QUOTED_PRINTABLE.search(head):
                raw = [item.raw]
                last = item
                while last.value.rstrip(" \t").endswith("=") and index < len(items):
                    following = items[index]
                    if not isinstance(following, Line):
                        break
                    raw.append(following.raw)
                    index += 1
                    last = following
                found.append(_decoded(item, b"".join(raw), version, quoted=True))
                continue
            if "CHARSET" in upper and _CHARSET_PARAM.search(head):
                found.append(_decoded(item, item.raw, version, quoted=False))
                continue
        if item.name or item.value.strip():
            found.append(item)
    return found


def _decoded(line: Line, raw: bytes, version: str, *, quoted: bool) -> Line:
    charset = _CHARSET_PARAM.search(line.head)
    codec = charset.group(1).strip() if charset else ""
    head = _CHARSET_PARAM.sub("", line.head)
    if quoted:
        head = _QUOTED_PRINTABLE.sub("", head)
    body = raw.strip(b"\r\n")
    if b"\n" in body or b"\r" in body or body.rstrip(b" \t").endswith(b"="):
        if quoted:
            raw = _SOFT_BREAK.sub(b"", raw)
        body = _FOLD.sub(b"", raw).strip(b"\r\n")
    start = body.find(b":", len(line.head.encode()) if line.head.isascii() else 0)
    data = body[start + 1 :]
    structured = line.name in STRUCTURED
    if quoted:
        # The separators are those that are not encoded: =3B is a semicolon that belongs to the text.
        parts = _split_bytes(data) if structured else [data]
        value = _joined([_text(binascii.a2b_qp(part), codec) for part in parts], line.name, version, quoted=True)
    else:
        value = line.value if codec.upper() in _READ_ANYWAY else _text(data, codec)
        value = value_of_21(line.name, value) if version == "2.1" else value
    value = value.replace("\r", "").replace("\n", "")
    return Line(line.name, line.group, value, fold(f"{head}:{value}"), line.number, head)


def _joined(texts: list[str], name: str, version: str, *, quoted: bool) -> str:
    if name in NOT_TEXT:
        return "".join(texts)
    if version == "2.1" and not name.startswith("X-"):
        return ";".join(escape_21(text, quoted=quoted, lists=name in _LISTS) for text in texts)
    return ";".join(texts).replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\\n")


def value_of_21(name: str, value: str) -> str:
    """The raw value of a vCard 2.1 property as vCard 3.0 writes it: escaped where text needs it. name: upper case."""
    if name in NOT_TEXT or name.startswith("X-"):
        return value
    return _joined(split_value(value, ";") if name in STRUCTURED else [value], name, "2.1", quoted=False)


def _split_bytes(data: bytes) -> list[bytes]:
    return [part.encode("latin-1") for part in split_value(data.decode("latin-1"), ";")]


def _text(data: bytes, codec: str) -> str:
    if codec and _CHARSET.fullmatch(codec):
        try:
            return data.decode(codec.lower().removeprefix("x-"))
        except (UnicodeDecodeError, LookupError):
            pass
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("latin-1")


def escape_21(text: str, *, quoted: bool, lists: bool = False) -> str:
    """One text of vCard 2.1 (or one part of a structured value) as a raw value of 3.0.

    vCard 2.1 §2.1.2 knows the escape `\\;` only; the programs that wrote it also used `\\n` and `\\,`, but not in
    quoted-printable (quoted), where a line break is =0D=0A. lists: a bare comma separates values and stays.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not quoted:
        text = text.replace("\\\\", _ESCAPED["\\"]).replace("\\n", "\n").replace("\\N", "\n").replace("\\:", ":")
    for char in ";,":
        text = text.replace("\\" + char, _ESCAPED[char])
    text = text.replace("\\", "\\\\").replace(";", "\\;").replace("\n", "\\n")
    if not lists:
        text = text.replace(",", "\\,")
    for char, held in _ESCAPED.items():
        text = text.replace(held, "\\" + char)
    return text
