"""A mail as it came: who it says it is from, the calendars in it, and what a bounce tells (RFC 5322, 2045, 3464).

Pure. Everything is bounded before it is looked at: octets, lines, depth, parts; `read_mail` raises MailUnusable and
nothing else, whatever the bytes are.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import quopri
import re
from dataclasses import dataclass
from email import policy
from email.header import decode_header
from email.message import Message as Part
from email.parser import BytesParser

from dav.scheduling.addresses import mail_of, normalise

LINES_MAX = 100_000
# Each line is compared with the boundaries of all containers around it, so their depth costs time.
CONTAINERS_MAX = 20
PARTS_MAX = 100
CALENDARS_MAX = 10
HEADER_CHARS_MAX = 4_000
REFERENCES_MAX = 20
REPORTED_MAX = 50

_CONTAINER = re.compile(rb"(?i)multipart/|message/")
# What the parser of Python takes the square of the length for.
_TYPE = re.compile(rb"(?im)^content-(?:type|disposition)[ \t]*:[^\r\n]*(?:(?:\r\n|\r|\n)[ \t][^\r\n]*)*")
_MESSAGE_ID = re.compile(r"<([^<>\s]{1,300})>")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]+")
# Character sets that a calendar comes in. Not all that Python knows: some cost time that grows with the square.
_CHARSETS = re.compile(
    r"(?i)(?:us-)?ascii|utf-?8|utf-?16(?:[lb]e)?|(?:iso-?8859-?|latin-?)\d{1,2}|windows-?125\d|cp125\d|koi8-[rut]|"
    r"gb2312|gbk|gb18030|big5|shift_jis|euc-(?:jp|kr)|iso-2022-(?:jp|kr)|macintosh"
)


class MailUnusable(ValueError):
    """A mail cannot be read within the bounds. The text is a sentence for a person."""


@dataclass(frozen=True, slots=True)
class CalendarPart:
    """A calendar found in a mail. data: UTF-8. method: what its media type says, in capitals, "" when it does not.

    proper: the media type is text/calendar; other parts only count where there is no such one.
    """

    data: bytes
    method: str
    proper: bool


@dataclass(frozen=True, slots=True)
class Reported:
    """What a bounce says of one recipient (RFC 3464 §2.3). recipient: a mail address; action: in lower case."""

    recipient: str
    action: str
    status: str
    diagnostic: str


@dataclass(frozen=True, slots=True)
class Report:
    """A delivery status notification. message_ids and calendars: of the mail that came back."""

    recipients: tuple[Reported, ...]
    message_ids: tuple[str, ...]
    calendars: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Mail:
    """What is read of a mail. Addresses are normalised calendar user addresses ("mailto:…").

    sender: of its one From; "" where there is none or more than one. to: of To, Cc, Delivered-To and the like.
    results: values of Authentication-Results, topmost first. threads: ids in In-Reply-To and References.
    answering: it is an automatic reply (RFC 3834), or came through a list, or as bulk: nothing may be sent because of
    it. reply: an automatic reply proper. calendars: those that may be its message. report: it is a bounce.
    """

    sender: str
    sender_name: str
    to: tuple[str, ...]
    subject: str
    message_id: str
    threads: tuple[str, ...]
    results: tuple[str, ...]
    answering: bool
    reply: bool
    through_list: bool
    calendars: tuple[CalendarPart, ...] = ()
    report: Report | None = None


def read_mail(raw: bytes, *, bytes_max: int) -> Mail:
    """The mail in these octets. Raises MailUnusable."""
    if len(raw) > bytes_max:
        raise MailUnusable(f"The mail is larger than {bytes_max} octets.")
    if raw.count(b"\n") + raw.count(b"\r") > 2 * LINES_MAX or raw.count(b"\n") > LINES_MAX:
        raise MailUnusable(f"The mail has more than {LINES_MAX} lines.")
    if len(_CONTAINER.findall(raw)) > CONTAINERS_MAX:
        raise MailUnusable("The mail is nested too deeply.")
    if any(len(found[0]) > HEADER_CHARS_MAX for found in _TYPE.finditer(raw)):
        raise MailUnusable("A header of the mail is too long.")
    try:
        message = BytesParser(policy=policy.compat32).parsebytes(raw)
        return _mail_of(message)
    except MailUnusable:
        raise
    except (RecursionError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
        # The parser of Python promises to take anything, and now and then does not.
        raise MailUnusable(f"The mail cannot be read ({type(error).__name__}).") from error


def _mail_of(message: Part) -> Mail:
    sender, sender_name = _only_address(_all(message, "From"))
    automatic = _header(message, "Auto-Submitted").partition(";")[0].strip().lower()
    reply = automatic == "auto-replied"
    precedence = _header(message, "Precedence").strip().lower()
    through_list = bool(_all(message, "List-Id") or _all(message, "List-Post")) or precedence == "list"
    parts = _leaves(message)
    return Mail(
        sender=sender,
        sender_name=sender_name,
        to=tuple(_recipients(message)),
        subject=plain(_header(message, "Subject"))[:500],
        message_id=next(iter(_ids(_header(message, "Message-ID"))), ""),
        threads=tuple(
            dict.fromkeys(
                _ids(_header(message, "In-Reply-To")) + _ids(_header(message, "References"))[-REFERENCES_MAX:]
            )
        ),
        results=tuple(_all(message, "Authentication-Results"))[:20],
        answering=reply or through_list or precedence in ("bulk", "junk"),
        reply=reply,
        through_list=through_list,
        calendars=tuple(_calendars(parts)),
        report=_report(message),
    )


# --- headers ----------------------------------------------------------------------------------------------------------


def _all(message: Part, name: str) -> list[str]:
    """All values of a header, unfolded."""
    return [re.sub(r"[\r\n]+", "", str(value))[:HEADER_CHARS_MAX] for value in message.get_all(name, [])]


def _header(message: Part, name: str) -> str:
    values = _all(message, name)
    return values[0] if values else ""


def plain(text: str) -> str:
    """A header's text with encoded words decoded (RFC 2047), without control characters."""
    if "=?" in text:
        pieces = []
        try:
            for piece, charset in decode_header(text):
                pieces.append(piece if isinstance(piece, str) else _decoded(piece, charset or ""))
            text = "".join(pieces)
        except (ValueError, LookupError, binascii.Error):
            pass
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return _CONTROL.sub(" ", text).strip()


def _only_address(values: list[str]) -> tuple[str, str]:
    """(normalised address, name) of the one address in the From headers; ("", "") for none, several, or an odd one.

    Several authors, or a second From header, is what lets the checks of a mail server look at one address and us at
    another: then nobody is meant.
    """
    if len(values) != 1:
        return "", ""
    found = addresses(values[0])
    return found[0] if len(found) == 1 else ("", "")


_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*+"')
_ATOM = re.compile(r"[^\s<>()\[\],;:\\\"@]{1,64}@[^\s<>()\[\],;:\\\"@]{1,255}")


def addresses(value: str) -> list[tuple[str, str]]:
    """(normalised address, name) of each mailbox in a header's value (RFC 5322 §3.4).

    Strict where it matters: whatever does not read as `name <addr>` or `addr` makes the whole value give nothing.
    """
    bare = _without_comments(value)
    if bare is None or '"' in _QUOTED.sub("", bare):
        return []
    found: list[tuple[str, str]] = []
    for piece in _split(bare, ","):
        piece = piece.strip()
        if not piece:
            continue
        if piece.endswith(">"):
            name, mark, address = piece[:-1].rpartition("<")
            if not mark or "<" in _QUOTED.sub("", name) or ">" in _QUOTED.sub("", name):
                return []
            if "@" in _QUOTED.sub("", name) and not _ATOM.fullmatch(name.strip()):
                # "victim@example.net <me@…>" without quotes is common; anything odder is a trick.
                return []
        else:
            name, address = "", piece
        address = address.strip()
        if not _ATOM.fullmatch(address):
            return []
        found.append((normalise(f"mailto:{_literal(address)}"), plain(name.strip().strip('"'))[:200]))
        if len(found) > 200:
            return []
    return found


def _literal(address: str) -> str:
    # `normalise` takes percent-encoding away and cuts at "?", as in a URL; in a mail both are plain characters.
    return address.replace("%", "%25").replace("?", "%3F")


def _without_comments(value: str) -> str | None:
    """The value without (comments); None when parentheses or quotes do not match."""
    if "(" not in value and ")" not in value:
        return value
    out: list[str] = []
    depth, quoted, position = 0, False, 0
    while position < len(value):
        char = value[position]
        if char == "\\" and (quoted or depth):
            if not depth:
                out.append(value[position : position + 2])
            position += 2
            continue
        if quoted:
            quoted = char != '"'
            out.append(char)
        elif depth:
            depth += (char == "(") - (char == ")")
        elif char == "(":
            depth = 1
        elif char == ")":
            return None
        else:
            quoted = char == '"'
            out.append(char)
        position += 1
    return None if depth or quoted else "".join(out)


def _split(value: str, at: str) -> list[str]:
    """Cut at a character that does not stand in a quoted string."""
    pieces: list[str] = []
    start = position = 0
    while position < len(value):
        if value[position] == '"':
            match = _QUOTED.match(value, position)
            position = match.end() if match else position + 1
        elif value[position] == at:
            pieces.append(value[start:position])
            position += 1
            start = position
        else:
            position += 1
    return [*pieces, value[start:]]


def _recipients(message: Part) -> list[str]:
    found: list[str] = []
    for name in ("Delivered-To", "X-Original-To", "Envelope-To", "To", "Cc", "Resent-To"):
        for value in _all(message, name)[:20]:
            found += [address for address, _ in addresses(value) if mail_of(address)]
    return list(dict.fromkeys(found))[:200]


def _ids(value: str) -> list[str]:
    return _MESSAGE_ID.findall(value)


# --- parts ------------------------------------------------------------------------------------------------------------


def _leaves(message: Part) -> list[Part]:
    """Parts that hold something, in order; not those inside a mail that is attached, which somebody else wrote."""
    found: list[Part] = []
    waiting = [message]
    while waiting:
        part = waiting.pop()
        kind = part.get_content_maintype()
        if kind == "message":
            continue
        content = part.get_payload()
        if isinstance(content, list):
            waiting += [item for item in reversed(content) if isinstance(item, Part)]
        else:
            found.append(part)
        if len(found) + len(waiting) > PARTS_MAX:
            raise MailUnusable(f"The mail has more than {PARTS_MAX} parts.")
    return found


def _calendars(parts: list[Part]) -> list[CalendarPart]:
    found: list[CalendarPart] = []
    for part in parts:
        media = part.get_content_type()
        name = _filename(part)
        proper = media == "text/calendar"
        if not (proper or media in ("application/ics", "text/x-vcalendar") or name.endswith(".ics")):
            continue
        if media.startswith("image/") or len(found) >= CALENDARS_MAX:
            continue
        method = part.get_param("method") if proper else ""
        data = _content(part)
        if data.strip():
            found.append(CalendarPart(data, _word(method), proper))
    return found


def _word(value: object) -> str:
    # A parameter in the form of RFC 2231 is a triple.
    if isinstance(value, tuple):
        value = value[2] if len(value) == 3 else ""
    text = str(value or "").strip().upper()
    return text if re.fullmatch(r"[A-Z-]{1,30}", text) else ""


def _filename(part: Part) -> str:
    for value in (part.get_param("filename", header="content-disposition"), part.get_param("name")):
        text = value[2] if isinstance(value, tuple) and len(value) == 3 else value
        if text:
            return plain(str(text)[:HEADER_CHARS_MAX]).lower()
    return ""


def _content(part: Part) -> bytes:
    """The part's octets as UTF-8, its transfer encoding and character set undone."""
    payload = part.get_payload()
    if not isinstance(payload, str):
        return b""
    raw = payload.encode("utf-8", "surrogateescape")
    encoding = str(part.get("Content-Transfer-Encoding", "")).partition(";")[0].strip().lower()
    if encoding == "base64":
        raw = _base64(raw)
    elif encoding == "quoted-printable":
        raw = quopri.decodestring(raw)
    charset = part.get_param("charset")
    if isinstance(charset, tuple):
        charset = charset[2]
    return _decoded(raw, str(charset or "")).encode("utf-8", "replace")


def _base64(raw: bytes) -> bytes:
    clean = re.sub(rb"[^A-Za-z0-9+/]", b"", raw)
    if len(clean) % 4 == 1:
        clean = clean[:-1]
    return base64.b64decode(clean + b"=" * (-len(clean) % 4))


def _decoded(raw: bytes, charset: str) -> str:
    """Text of octets. A label that is wrong or unknown counts for nothing where the octets are UTF-8."""
    charset = charset.strip().strip('"')
    if raw.startswith(codecs.BOM_UTF8):
        raw = raw[3:]
    names = ["utf-8"]
    if _CHARSETS.fullmatch(charset):
        names = [charset, "utf-8"]
    for name in names:
        try:
            return raw.decode(name)
        except (UnicodeError, LookupError):
            continue
    return raw.decode("latin-1")


# --- bounces ----------------------------------------------------------------------------------------------------------


def _report(message: Part) -> Report | None:
    """What a delivery status notification says; None when the mail is none (RFC 3464, RFC 6522)."""
    if message.get_content_type() != "multipart/report":
        return None
    if _word(message.get_param("report-type")) not in ("DELIVERY-STATUS", ""):
        return None
    parts = message.get_payload()
    if not isinstance(parts, list):
        return None
    recipients: list[Reported] = []
    ids: list[str] = []
    calendars: list[bytes] = []
    told = False
    for part in parts[:10]:
        if not isinstance(part, Part):
            continue
        media = part.get_content_type()
        if media in ("message/delivery-status", "message/global-delivery-status"):
            told = True
            recipients += _reported(part)
        elif media in ("text/rfc822-headers", "message/rfc822-headers", "message/global-headers"):
            ids += _ids_in_text(_content(part) or _text_of(part))
        elif media in ("message/rfc822", "message/global"):
            inner = part.get_payload()
            original = inner[0] if isinstance(inner, list) and inner else None
            if isinstance(original, Part):
                ids += _ids(_header(original, "Message-ID"))
                calendars += [found.data for found in _calendars(_leaves(original))]
    if not told:
        return None
    return Report(tuple(recipients[:REPORTED_MAX]), tuple(ids[:5]), tuple(calendars[:2]))


def _reported(part: Part) -> list[Reported]:
    # The parser makes a message of each group of fields; the first is about the mail as a whole.
    groups = part.get_payload()
    found: list[Reported] = []
    for group in groups[: REPORTED_MAX + 1] if isinstance(groups, list) else []:
        if not isinstance(group, Part):
            continue
        action = _header(group, "Action").strip().lower()
        # The one that we wrote to comes first: the final one may lie behind aliases that are not our business.
        where = _typed(_header(group, "Original-Recipient")) or _typed(_header(group, "Final-Recipient"))
        if action and where:
            status = re.search(r"[245]\.\d{1,3}\.\d{1,3}", _header(group, "Status"))
            code = status[0] if status else ""
            found.append(Reported(where, action, code, plain(_header(group, "Diagnostic-Code"))[:500]))
    return found


def _typed(value: str) -> str:
    """The mail address in "rfc822; somebody@example.net", "" for none."""
    kind, mark, rest = value.partition(";")
    if not mark or kind.strip().lower() not in ("rfc822", "utf-8"):
        return ""
    found = addresses(rest.strip())
    return (mail_of(found[0][0]) or "") if len(found) == 1 else ""


def _text_of(part: Part) -> bytes:
    payload = part.get_payload()
    if isinstance(payload, list):
        return b"\r\n".join(str(item).encode("utf-8", "surrogateescape") for item in payload[:1])
    return str(payload).encode("utf-8", "surrogateescape")


def _ids_in_text(text: bytes) -> list[str]:
    match = re.search(rb"(?im)^message-id:[ \t]*(?:\r?\n[ \t]+)?([^\r\n]{1,400})", text)
    return _ids(match[1].decode("utf-8", "replace")) if match else []
