"""CARDDAV:filter of an addressbook-query (RFC 6352 §10.5): read once, then asked card by card.

The store narrows (`plan`), `matches` decides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import combining

from dav.errors import DavError
from dav.filters.collation import CARDDAV_DEFAULT, COLLATIONS, MATCH_TYPES, collation_named, compare, unicode_casemap
from dav.ical.lines import Line, decode_caret
from dav.names import cr
from dav.vcard import INDEXED, CardObject

if TYPE_CHECKING:
    from lxml.etree import _Element

CONDITIONS_MAX = 64  # prop-filters, param-filters and text-matches of one filter together


@dataclass(frozen=True, slots=True)
class TextMatch:
    """RFC 6352 §10.5.4. text: as sent. needle: its key under the collation, which `key` computes for values."""

    text: str
    needle: str
    match: str
    negate: bool
    key: Callable[[str], str]

    def found_in(self, value: str) -> bool:
        """Whether the value matches, before negation."""
        return compare(self.key(value), self.needle, self.match)


@dataclass(frozen=True, slots=True)
class ParamFilter:
    """RFC 6352 §10.5.2. name: upper case. text None: the parameter must be there (or, is_not_defined, must not)."""

    name: str
    is_not_defined: bool
    text: TextMatch | None


@dataclass(frozen=True, slots=True)
class PropFilter:
    """RFC 6352 §10.5.1. name: upper case. group: upper case, or None for any. every: test="allof"."""

    name: str
    group: str | None
    is_not_defined: bool
    every: bool
    texts: tuple[TextMatch, ...]
    params: tuple[ParamFilter, ...]


@dataclass(frozen=True, slots=True)
class CardFilter:
    """every: test="allof" (anyof is the default). props empty: every card matches."""

    every: bool
    props: tuple[PropFilter, ...]


class Plan(NamedTuple):
    """What narrows the search in the store: cards whose `column` holds `text` (folded). match: one of MATCH_TYPES."""

    column: str
    text: str
    match: str


EVERYTHING = CardFilter(False, ())


def parse_filter(element: _Element | None) -> CardFilter:
    """Read CARDDAV:filter; None or an empty one matches every card.

    Raises DavError 403 supported-filter for what the RFC does not define, or too much of it, and supported-collation.
    """
    if element is None:
        return EVERYTHING
    if sum(1 for _ in element.iter(cr("prop-filter"), cr("param-filter"), cr("text-match"))) > CONDITIONS_MAX:
        raise _unsupported(f"more than {CONDITIONS_MAX} conditions")
    props: list[PropFilter] = []
    for child in _children(element):
        if child.tag != cr("prop-filter"):
            raise _unsupported(f"{child.tag} in filter")
        props.append(_prop_filter(child))
    return CardFilter(_every(element), tuple(props))


def _unsupported(what: str) -> DavError:
    return DavError(403, cr("supported-filter"), f"The filter has something that is not supported: {what[:100]}.")


def _children(element: _Element) -> list[_Element]:
    return [child for child in element if isinstance(child.tag, str)]  # comments have a function for a tag


def _every(element: _Element) -> bool:
    test = element.get("test", "anyof")
    if test not in ("anyof", "allof"):
        raise _unsupported(f"test={test!r}")
    return test == "allof"


def _name(element: _Element) -> str:
    name = element.get("name", "").strip().upper()
    if not name:
        raise _unsupported("a filter without a name")
    return name


def _prop_filter(element: _Element) -> PropFilter:
    group, dot, name = _name(element).rpartition(".")
    missing = False
    texts: list[TextMatch] = []
    params: list[ParamFilter] = []
    for child in _children(element):
        if child.tag == cr("is-not-defined"):
            missing = True
        elif child.tag == cr("text-match"):
            texts.append(_text_match(child))
        elif child.tag == cr("param-filter"):
            params.append(_param_filter(child))
        else:
            raise _unsupported(f"{child.tag} in prop-filter")
    if missing and (texts or params):
        raise _unsupported("is-not-defined beside other conditions")
    return PropFilter(name, group if dot else None, missing, _every(element), tuple(texts), tuple(params))


def _param_filter(element: _Element) -> ParamFilter:
    missing = False
    text: TextMatch | None = None
    for child in _children(element):
        if child.tag == cr("is-not-defined") and text is None:
            missing = True
        elif child.tag == cr("text-match") and text is None and not missing:
            text = _text_match(child)
        else:
            raise _unsupported(f"{child.tag} in param-filter")
    return ParamFilter(_name(element), missing, text)


def _text_match(element: _Element) -> TextMatch:
    wanted = element.get("collation")
    collation = collation_named(wanted, default=CARDDAV_DEFAULT)
    if collation is None:
        raise DavError(403, cr("supported-collation"), f"The collation {(wanted or '')[:60]!r} is not supported.")
    key = COLLATIONS[collation]
    match = element.get("match-type", "contains")
    if match not in MATCH_TYPES:
        raise _unsupported(f"match-type={match!r}")
    negate = element.get("negate-condition", "no")
    if negate not in ("yes", "no"):
        raise _unsupported(f"negate-condition={negate!r}")
    text = element.text or ""
    return TextMatch(text, key(text), match, negate == "yes", key)


def plan(filter: CardFilter) -> Plan | None:
    """The one text-match that no matching card can do without, if there is one on an indexed property.

    Of several the longest text is taken. The match type holds for one value; the store may find more, never less.
    """
    if len(filter.props) != 1 and not filter.every:
        return None
    best: Plan | None = None
    for prop in filter.props:
        if prop.name not in INDEXED or prop.is_not_defined:
            continue
        if not prop.every and len(prop.texts) + len(prop.params) > 1:
            continue
        for text in prop.texts:
            # Every collation finds no more than unicode-casemap, so that key is a sound needle for all of them; but it
            # puts combining marks in order, and a needle that was cut between two marks would then miss.
            needle = unicode_casemap(text.text)
            if text.negate or not needle or (text.key is not unicode_casemap and any(map(combining, needle))):
                continue
            if best is None or len(needle) > len(best.text):
                best = Plan(prop.name.lower(), needle, text.match)
    return best


def matches(filter: CardFilter, card: CardObject) -> bool:
    """Whether the card matches (RFC 6352 §10.5)."""
    props = filter.props
    if not props:
        return True
    if filter.every:
        return all(_prop_matches(prop, card.lines) for prop in props)
    return any(_prop_matches(prop, card.lines) for prop in props)


def _prop_matches(prop: PropFilter, lines: Iterable[Line]) -> bool:
    name, group = prop.name, prop.group
    found = [line for line in lines if line.name == name]
    if group is not None:
        found = [line for line in found if line.group.upper() == group]
    if prop.is_not_defined:
        return not found
    if not found or not (prop.texts or prop.params):
        return bool(found)
    if prop.every:
        # One and the same property has to meet all conditions.
        for param in prop.params:
            found = [line for line in found if _param_matches(param, line)]
        for text in prop.texts:
            if not text.negate:
                found = [line for line in found if text.found_in(line.text)]
        return bool(found) and not any(t.negate and any(t.found_in(line.text) for line in found) for t in prop.texts)
    # negate-condition gives the complement: no value of the property matches, not "some value does not".
    return any(any(text.found_in(line.text) for line in found) != text.negate for text in prop.texts) or any(
        _param_matches(param, line) for param in prop.params for line in found
    )


def _param_matches(param: ParamFilter, line: Line) -> bool:
    found = _param_values(line, param.name)
    if found is None or param.is_not_defined:
        return (found is None) == param.is_not_defined
    text = param.text
    return text is None or any(text.found_in(value) for value in found) != text.negate


def _param_values(line: Line, name: str) -> list[str] | None:
    """The values of a parameter; None when it is absent. A list in quotes (TYPE="home,fax") is a list, too."""
    if ";" not in line.head:
        return None
    found: list[str] | None = None
    for key, values in line.params:
        if key == name:
            found = found or []
            for value in values:
                found += decode_caret(value).split(",") if name == "TYPE" else [decode_caret(value)]
        elif name == "TYPE" and not values:
            found = [*(found or []), key]  # vCard 2.1: TEL;HOME
    return found
