"""The lossless reader of content lines, for iCalendar (RFC 5545 §3.1) and vCard (RFC 6350 §3.2).

bytes → logical lines → (name, group, parameters, raw value) → a tree of components. Nothing is thrown away: every line
keeps the bytes it came from, so a tree writes back exactly what was read, and an edit changes only its own line.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

_LONG_BYTES = 1_000_000
# One logical line. Nearly all are plain: raw, name, parameters with their semicolon, value. Others: the last group.
_LOGICAL = re.compile(
    rb"(([A-Za-z0-9-]++)(;[^:\"\n]*+(?:\"[^\"\n]*+\"[^:\"\n]*+)*+)?:([^\r\n]*+)\r?\n(?![ \t]))"
    rb"|([^\n]*+(?:\n[ \t][^\n]*+)*+\n?)"
)
_LOGICAL_CR = re.compile(rb"[^\r]*(?:\r[ \t][^\r]*)*\r?")
_FOLD_CR = re.compile(rb"\r[ \t]")
# Possessive and by runs: a match by characters would keep a place to go back to, 150 bytes, for each of them.
_PARAM = re.compile(r';([^=;:"]*+)(?:=((?:"[^"]*+"|[^";:]++)*+))?')
_QUOTED = re.compile(r'"[^"]*+"')
_BEFORE_COLON = re.compile(r'(?:[^":]++|"[^"]*+")*+(?=:)')
# Physical lines to a logical one, on average: a long value, folded at 75 octets, is many.
_FOLDS_MAX = 4
# Parts of one structured value; a name has five.
PARTS_MAX = 1_000
# Stand for characters that must not be looked at again. No decoding makes them: they are halves of surrogate pairs.
_HELD, _HELD_TOO = "\udc00", "\udc01"

# Names of properties that are met every day, in the only spelling that is: for these nothing needs to be looked at.
_COMMON = (
    "BEGIN END VERSION PRODID CALSCALE METHOD UID DTSTAMP DTSTART DTEND DUE DURATION SUMMARY DESCRIPTION LOCATION "
    "CLASS STATUS TRANSP SEQUENCE PRIORITY CREATED LAST-MODIFIED COMPLETED PERCENT-COMPLETE RRULE EXRULE RDATE "
    "EXDATE RECURRENCE-ID ORGANIZER ATTENDEE CATEGORIES COMMENT CONTACT ATTACH GEO URL RELATED-TO RESOURCES "
    "REQUEST-STATUS FREEBUSY TRIGGER ACTION REPEAT ACKNOWLEDGED TZID TZNAME TZOFFSETFROM TZOFFSETTO TZURL COLOR "
    "IMAGE CONFERENCE X-LIC-LOCATION X-WR-CALNAME X-WR-TIMEZONE X-WR-ALARMUID X-MOZ-GENERATION X-MOZ-LASTACK "
    "X-APPLE-TRAVEL-ADVISORY-BEHAVIOR X-APPLE-DEFAULT-ALARM X-APPLE-STRUCTURED-LOCATION FN N NICKNAME ORG EMAIL "
    "TEL ADR BDAY NOTE PHOTO REV TITLE ROLE KIND MEMBER IMPP X-ABLABEL X-ABADR"
)
_NAMES = {name.encode(): name for name in _COMMON.split()}

Params = tuple[tuple[str, tuple[str, ...]], ...]


class LineError(ValueError):
    """The bytes are not content lines, or components do not nest. `number` is the physical line, from 1."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(f"line {number}: {message}")
        self.number = number


@dataclass(slots=True)
class Line:
    """One content line.

    name: upper case; "" when the line has no colon or no valid name. group: as written, without its dot; "" if none.
    value: raw (escapes kept), unfolded, decoded as UTF-8 or else Latin-1. raw: the bytes as they came, folds and line
    end included. number: physical line number, from 1.
    """

    name: str
    group: str
    value: str
    raw: bytes
    number: int
    head: str = ""
    _params: Params | None = None

    @property
    def params(self) -> Params:
        """Parameters in order as (upper-case name, values): quotes removed, RFC 6868 carets kept as they are."""
        if self._params is None:
            # Dates and addresses have the same few heads over and over; long ones are somebody's own.
            self._params = (_short_params if len(self.head) <= 80 else _parse_params)(self.head)
        return self._params

    def param(self, name: str) -> str | None:
        """First value of the parameter `name` (upper case), RFC 6868 decoded; None when absent."""
        if ";" not in self.head:
            return None
        for key, values in self.params:
            if key == name:
                return decode_caret(values[0]) if values else ""
        return None

    def param_values(self, name: str) -> list[str]:
        """All values of all parameters called `name` (upper case), RFC 6868 decoded."""
        if ";" not in self.head:
            return []
        return [decode_caret(value) for key, values in self.params if key == name for value in values]

    @property
    def text(self) -> str:
        """The value with TEXT escapes undone (RFC 5545 §3.3.11)."""
        return unescape(self.value)


@dataclass(slots=True)
class Component:
    """BEGIN … END with what stands between, in order. name: upper case. end is None when it was never closed."""

    name: str
    begin: Line
    items: list[Line | Component] = field(default_factory=list)
    end: Line | None = None

    @property
    def lines(self) -> list[Line]:
        return [item for item in self.items if isinstance(item, Line)]

    @property
    def components(self) -> list[Component]:
        return [item for item in self.items if isinstance(item, Component)]

    def all(self, name: str) -> list[Line]:
        """Own lines called `name` (upper case), in order."""
        return [item for item in self.items if isinstance(item, Line) and item.name == name]

    def first(self, name: str) -> Line | None:
        """The first own line called `name` (upper case), or None."""
        for item in self.items:
            if isinstance(item, Line) and item.name == name:
                return item
        return None

    def value(self, name: str) -> str | None:
        """Raw value of the first own line called `name`, or None."""
        line = self.first(name)
        return None if line is None else line.value

    def to_bytes(self) -> bytes:
        """The bytes of this component: identical to what was read, but for edited lines."""
        parts: list[bytes] = []
        _write(self, parts)
        return b"".join(parts)


@dataclass(slots=True)
class Document:
    """All top-level components of a body. stray: non-blank lines outside any component (before, between, after)."""

    components: list[Component]
    stray: list[Line]


def read(
    data: bytes,
    *,
    depth_max: int = 16,
    lines_max: int = 1_000_000,
    folded_max: int | None = None,
    params_max: int | None = None,
) -> Document:
    """Read a body into its component tree.

    lines_max: logical lines; folded_max: physical ones, None = four times as many. params_max: parameters, and values
    in lists of them, of all lines together, None = any number.
    Raises LineError when END does not match BEGIN, a component is not closed, nesting is deeper than depth_max, there
    are more than lines_max, folded_max or params_max, or the bytes are UTF-16/32. Lines without a colon are kept with
    name "".
    """
    # Counted before anything is made of them: each costs a hundred bytes.
    if folded_max is None:
        folded_max = _FOLDS_MAX * lines_max
    if data.count(b"\n") > folded_max:
        raise LineError(f"more than {folded_max} lines, with their folds", 1)
    lines = content_lines(data)
    if params_max is not None and data.count(b";") + data.count(b",") > params_max:
        lines = _with_few_params(lines, params_max)
    top: list[Component] = []
    stray: list[Line] = []
    stack: list[Component] = []
    items: list[Line | Component] | None = None  # of the innermost open component
    for count, line in enumerate(lines, 1):
        if count > lines_max:
            raise LineError(f"more than {lines_max} lines", line.number)
        name = line.name
        if name == "BEGIN":
            if len(stack) >= depth_max:
                raise LineError(f"components nested deeper than {depth_max}", line.number)
            component = Component(line.value.strip().upper(), line)
            if items is None:
                top.append(component)
            else:
                items.append(component)
            stack.append(component)
            items = component.items
        elif name == "END":
            if not stack or stack[-1].name != line.value.strip().upper():
                raise LineError(f"END:{line.value.strip()[:40]} closes nothing that is open", line.number)
            stack.pop().end = line
            items = stack[-1].items if stack else None
        elif items is not None:
            items.append(line)
        elif line.raw.strip():
            stray.append(line)
    if stack:
        raise LineError(f"BEGIN:{stack[-1].name[:40]} is never closed", stack[-1].begin.number)
    return Document(top, stray)


def _with_few_params(lines: Iterator[Line], most: int) -> Iterator[Line]:
    """The lines, up to the one whose parameters are more than `most` together with those before."""
    count = 0
    for line in lines:
        head = line.head
        if ";" in head:
            if '"' in head:
                head = _QUOTED.sub("", head)
            count += head.count(";") + head.count(",")
            if count > most:
                raise LineError(f"more than {most} parameters and values of parameters", line.number)
        yield line


def content_lines(data: bytes) -> Iterator[Line]:
    """Logical lines of a body, in order. Line ends may be CRLF, LF, or bare CR when there is no LF at all."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LineError("the body is UTF-16, not UTF-8", 1)
    if b"\n" not in data and b"\r" in data:
        yield from _bare_cr_lines(data)
        return
    number = 1
    names = _NAMES
    # All at once is faster; of a long body it would be millions of lines before the first is counted.
    found = _LOGICAL.findall(data) if len(data) < _LONG_BYTES else (m.groups(b"") for m in _LOGICAL.finditer(data))
    for raw, name, params, value, odd in found:
        known = names.get(name)
        if known is not None:
            try:
                text = value.decode()
                head = known + params.decode() if params else known
            except UnicodeDecodeError:
                yield _line(raw.rstrip(b"\r\n"), raw, number)
            else:
                yield Line(known, "", text, raw, number, head)
            number += 1
            continue
        raw = raw or odd
        if not raw:
            continue
        body = raw
        physical = raw.count(b"\n") or 1
        if physical > 1 or raw[-1:] != b"\n":
            # An LF in a logical line stands before a blank. Four searches for bytes cost a tenth of one by a pattern.
            body = body.replace(b"\n\t", b"\n ").replace(b"\r\n ", b"").replace(b"\n ", b"")
        if number == 1 and body[:3] == b"\xef\xbb\xbf":
            body = body[3:]
        yield _line(body.rstrip(b"\r\n"), raw, number)
        number += physical


def _bare_cr_lines(data: bytes) -> Iterator[Line]:
    """The same for line ends of an old Mac."""
    number = 1
    for raw in (match[0] for match in _LOGICAL_CR.finditer(data)):
        if not raw:
            continue
        body = raw
        physical = raw.count(b"\r") or 1
        if physical > 1 or not raw.endswith(b"\r"):
            body = _FOLD_CR.sub(b"", body)
        if number == 1 and body[:3] == b"\xef\xbb\xbf":
            body = body[3:]
        yield _line(body.rstrip(b"\r\n"), raw, number)
        number += physical


def _line(body: bytes, raw: bytes, number: int) -> Line:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        text = body.decode("latin-1")  # old exports declare nothing; Latin-1 never fails and loses nothing
    head, colon, value = text.partition(":")
    if '"' in head and head.count('"') % 2:  # the colon stood inside a quoted parameter value
        head, colon, value = _split_quoted(text)
    if not colon:
        return Line("", "", text, raw, number)
    name = head.partition(";")[0]
    group = ""
    if "." in name:
        group, _, name = name.rpartition(".")
    return Line(name.upper().strip(), group, value, raw, number, head)


def _split_quoted(text: str) -> tuple[str, str, str]:
    found = _BEFORE_COLON.match(text)
    if found is None:
        return text.partition(":")  # an unbalanced quote: take the first colon, as lenient readers do
    return found[0], ":", text[found.end() + 1 :]


def _parse_params(head: str) -> Params:
    start = head.find(";")
    if start < 0:
        return ()
    found: list[tuple[str, tuple[str, ...]]] = []
    for match in _PARAM.finditer(head, start):
        name, values = match.group(1), match.group(2)
        if values is None:
            found.append((name.strip().upper(), ()))  # vCard 2.1: a bare type such as ;HOME
        elif '"' in values:
            found.append((name.strip().upper(), tuple(v.strip('"') for v in _split_values(values))))
        else:
            found.append((name.strip().upper(), tuple(values.split(","))))
    return tuple(found)


_short_params = lru_cache(maxsize=512)(_parse_params)


def _split_values(values: str) -> list[str]:
    return re.findall(r'(?:"[^"]*+"|[^",]++)++|(?<=,)(?=,|$)', values)


def decode_caret(value: str) -> str:
    """RFC 6868 §3: ^n is a line break, ^' a double quote, ^^ a caret; any other ^ stands for itself."""
    if "^" not in value:
        return value
    # Pairs of carets first, from the left: one that is left over then stands before something else.
    value = value.replace("^^", _HELD).replace("^n", "\n").replace("^'", '"')
    return value.replace(_HELD, "^")


def encode_param(value: str) -> str:
    """A parameter value as written after `=`: RFC 6868 carets, quoted when it needs to be."""
    value = value.replace("^", "^^").replace("\n", "^n").replace('"', "^'")
    return f'"{value}"' if re.search(r"[:;,]", value) else value


def unescape(value: str) -> str:
    """Undo TEXT escapes: \\n, \\N → line break; \\, \\; \\\\ → the character (RFC 5545 §3.3.11, RFC 6350 §3.4)."""
    if "\\" not in value:
        return value
    # Pairs of backslashes first, from the left: one that is left over then escapes something else. To look at one
    # escape after the other would take seconds for the millions that somebody may send.
    value = value.replace("\\\\", _HELD).replace("\\n", "\n").replace("\\N", "\n")
    ending = "\\" if value.endswith("\\") else ""  # it escapes nothing
    return value.replace("\\", "").replace(_HELD, "\\") + ending


def escape(text: str) -> str:
    """TEXT as a raw value."""
    return (
        text.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\r\n", "\\n").replace("\n", "\\n")
    )


def split_value(value: str, separator: str, *, most: int = PARTS_MAX) -> list[str]:
    """Split a raw value at unescaped separators; the parts keep their escapes. The last of `most` has all the rest."""
    if "\\" not in value:
        return value.split(separator, most - 1)
    value = value.replace("\\\\", _HELD).replace("\\" + separator, _HELD_TOO)
    return [
        part.replace(_HELD_TOO, "\\" + separator).replace(_HELD, "\\\\") for part in value.split(separator, most - 1)
    ]


def fold(text: str) -> bytes:
    """A logical line as bytes: folded at 75 octets without splitting a character, CRLF at the end (RFC 5545 §3.1)."""
    data = text.encode()
    if len(data) <= 75:
        return data + b"\r\n"
    parts = []
    start, room = 0, 75
    while len(data) - start > room:
        end = start + room
        while data[end] & 0xC0 == 0x80:
            end -= 1
        parts.append(data[start:end])
        start, room = end, 74
    parts.append(data[start:])
    return b"\r\n ".join(parts) + b"\r\n"


def make_line(name: str, value: str, params: Params = (), group: str = "") -> Line:
    """A new line, written and folded by us. value is raw (already escaped); parameter values are plain text."""
    head = (f"{group}." if group else "") + name
    for key, values in params:
        head += f";{key}=" + ",".join(encode_param(v) for v in values) if values else f";{key}"
    return Line(name.upper(), group, value, fold(f"{head}:{value}"), 0, head)


def with_value(line: Line, value: str) -> Line:
    """The same line with another raw value; its name and parameters stay as written."""
    return Line(line.name, line.group, value, fold(f"{line.head}:{value}"), line.number, line.head)


def _write(component: Component, parts: list[bytes]) -> None:
    parts.append(component.begin.raw)
    for item in component.items:
        if isinstance(item, Line):
            parts.append(item.raw)
        else:
            _write(item, parts)
    if component.end is not None:
        raw = component.end.raw
        parts.append(raw if raw.endswith((b"\n", b"\r")) else raw + b"\r\n")
