"""The properties of a card while they are changed from one vCard version to another, and lines that nothing changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from dav import vcard_values as values
from dav.ical.lines import Component, Line, encode_param, escape, fold
from dav.vcard_lines import property_lines, value_of_21

_PARAM = re.compile(r';[^=;:"]*+(?:=(?:"[^"]*+"|[^";:]++)*+)?')
_WORD = re.compile(r"[A-Za-z0-9-]+")
_BARE_ENCODINGS = {"BASE64": "b", "B": "b", "QUOTED-PRINTABLE": "", "7BIT": "", "8BIT": ""}
BINARY = frozenset({"PHOTO", "LOGO", "SOUND", "KEY"})


@dataclass(slots=True, eq=False)
class Prop:
    """One property while it is being changed. name: upper case. shown: its name as it is to be written.

    params: (upper-case name, text as written, without the semicolon). line: where it came from; None for a new one.
    before: its head and value then. after: new lines to be written right after it. gone: not to be written.
    """

    name: str
    shown: str
    group: str
    params: list[tuple[str, str]]
    value: str
    line: Line | None = None
    before: tuple[str, str] | None = None
    after: list[Prop] = field(default_factory=list)
    gone: bool = False

    def head(self) -> str:
        group = f"{self.group}." if self.group else ""
        return group + self.shown + "".join(f";{text}" for _, text in self.params)

    def raw(self) -> bytes:
        """The bytes it came from when head and value are as they were, else the line written anew."""
        head = self.head()
        if self.line is not None and self.before == (head, self.value) and _is_utf8(self.line.raw):
            return self.line.raw if self.line.raw.endswith((b"\n", b"\r")) else self.line.raw + b"\r\n"
        return fold(f"{head}:{self.value}")

    def rename(self, name: str) -> None:
        self.name, self.shown = name, name

    def get(self, key: str) -> str | None:
        """First value of a parameter without its quotes, None when it is absent."""
        for name, text in self.params:
            if name == key:
                return text.partition("=")[2].replace('"', "")
        return None

    def drop(self, *keys: str) -> None:
        self.params = [param for param in self.params if param[0] not in keys]

    def add(self, key: str, value: str, *, first: bool = False) -> None:
        """Add a parameter; value is plain text."""
        self.params.insert(0 if first else len(self.params), (key, f"{key}={encode_param(value)}"))

    def types(self) -> list[str]:
        """All TYPE values in lower case."""
        found: list[str] = []
        for name, text in self.params:
            if name == "TYPE":
                found += [part.strip().lower() for part in text.partition("=")[2].replace('"', "").split(",")]
        return [kind for kind in found if kind]

    def drop_type(self, kind: str) -> None:
        """Remove one TYPE value (lower case); the parameters that do not hold it stay as written."""
        kept: list[tuple[str, str]] = []
        for name, text in self.params:
            if name == "TYPE":
                key, _, listed = text.partition("=")
                parts = listed.replace('"', "").split(",")
                left = [part for part in parts if part.strip().lower() != kind]
                if not left:
                    continue
                if len(left) != len(parts):
                    text = f"{key}={','.join(left)}"
            kept.append((name, text))
        self.params = kept


Item = Prop | Line  # a Line is passed on as it is: blank, or with parameters that cannot be read


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def raw_line(line: Line) -> bytes:
    """The bytes of a line that nothing changes, made UTF-8 and closed by a line end where they are not."""
    raw = line.raw if _is_utf8(line.raw) else fold(f"{line.head}:{line.value}" if line.head else line.value)
    return raw if raw.endswith((b"\n", b"\r")) else raw + b"\r\n"


def read_items(card: Component, source: str, agent_text: Callable[[Component], str]) -> list[Item]:
    """The lines of a card in the manner of 3.0 and 4.0: no bare types, no quoted-printable, no nested card.

    source: the card's version. agent_text: gives a card that stands below AGENT as text.
    """
    own = {id(item) for item in card.items if isinstance(item, Line)}
    items: list[Item] = []
    for part in property_lines(card, source):
        if isinstance(part, Component):
            agent = items[-1] if items else None
            if isinstance(agent, Prop) and agent.name == "AGENT":
                # RFC 2426 §3.5.4: a card inside a card is text; in 4.0 the line stays, as one that its readers skip.
                agent.value = escape(agent_text(part))
            continue
        prop = _prop(part)
        if prop is None:
            items.append(part)
            continue
        if source == "2.1" and id(part) in own and "CHARSET" not in part.head.upper():
            prop.value = value_of_21(prop.name, prop.value)
        _modern_params(prop)
        items.append(prop)
    return items


def _prop(line: Line) -> Prop | None:
    if not line.name:
        word = line.value.strip()
        return Prop(word.upper(), word, "", [], "") if _WORD.fullmatch(word) else None
    start = line.head.find(";")
    shown = (line.head if start < 0 else line.head[:start]).rpartition(".")[2].strip()
    params: list[tuple[str, str]] = []
    if start >= 0:
        texts = _PARAM.findall(line.head, start)
        if "".join(texts) != line.head[start:]:
            return None
        params = [(text[1:].partition("=")[0].strip().upper(), text[1:]) for text in texts]
    prop = Prop(line.name, shown, line.group, params, line.value, line)
    prop.before = (line.head, line.value)
    return prop


def _modern_params(prop: Prop) -> None:
    """Parameters of vCard 2.1, which 3.0 cards have too: bare types and encodings, VALUE=URL, BASE64."""
    if not prop.params:
        return
    out: list[tuple[str, str]] = []
    types: list[str] = []
    place = 0
    for key, text in prop.params:
        if "=" not in text:
            if key in _BARE_ENCODINGS:
                if _BARE_ENCODINGS[key]:
                    out.append(("ENCODING", "ENCODING=b"))
            elif key in ("URL", "URI"):
                out.append(("VALUE", "VALUE=uri"))
            elif key and key != "INLINE":
                place = place if types else len(out)
                types.append(text.strip())
        elif key == "ENCODING" and text.partition("=")[2].strip('" ').upper() == "BASE64":
            out.append((key, "ENCODING=b"))
        elif key == "VALUE" and text.partition("=")[2].strip('" ').upper() == "URL":
            out.append((key, "VALUE=uri"))
        elif key == "VALUE" and text.partition("=")[2].strip('" ').upper() == "INLINE":
            continue
        else:
            out.append((key, text))
    if types:
        out.insert(place, ("TYPE", "TYPE=" + ",".join(types)))
    prop.params = out
    if prop.name in BINARY and prop.get("ENCODING") == "b":
        prop.value = values.joined_base64(prop.value) or prop.value
