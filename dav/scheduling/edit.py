"""Line edits: the server changes single lines of what a client wrote and leaves all others byte-equal."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping

from dav.ical.lines import Component, Line, encode_param, fold, make_line

# Parameters that are the server's business and never leave it (RFC 6638 §7.1 to §7.3).
SERVER_PARAMS = ("SCHEDULE-AGENT", "SCHEDULE-STATUS", "SCHEDULE-FORCE-SEND")
_PARAM = re.compile(r';([^=;:"]*+)(=(?:"[^"]*+"|[^";:]++)*+)?')


def copy_tree(component: Component) -> Component:
    """A tree of its own over the same lines. Lines are never changed, only replaced."""
    items = [item if isinstance(item, Line) else copy_tree(item) for item in component.items]
    return Component(component.name, component.begin, items, component.end)


def with_params(line: Line, changes: Mapping[str, str | None]) -> Line:
    """The line with other parameters. changes: upper-case name → plain text, None removes it.

    Parameters that are not named stay as they were written; new ones come last. Without a difference the line itself.
    """
    start = line.head.find(";")
    name, rest = (line.head, "") if start < 0 else (line.head[:start], line.head[start:])
    parts: list[str] = []
    left = dict(changes)
    for match in _PARAM.finditer(rest):
        key = match[1].strip().upper()
        if key not in changes:
            parts.append(match[0])
        elif key in left:
            value = left.pop(key)
            if value is not None:
                same = match[2] is not None and line.param(key) == value
                parts.append(match[0] if same else f";{match[1].strip()}={_value(value)}")
    parts += [f";{key}={_value(value)}" for key, value in left.items() if value is not None]
    head = name + "".join(parts)
    if head == line.head:
        return line
    return Line(line.name, line.group, line.value, fold(f"{head}:{line.value}"), line.number, head)


def _value(text: str) -> str:
    # SCHEDULE-STATUS and addresses hold what must be quoted; encode_param does so.
    return encode_param(text.replace("\r", " ").replace("\x00", ""))


def replace_line(component: Component, old: Line, new: Line | None) -> bool:
    """Puts `new` where `old` stands (by identity), or takes it away. Returns whether anything changed."""
    if new is old:
        return False
    for position, item in enumerate(component.items):
        if item is old:
            if new is None:
                del component.items[position]
            else:
                component.items[position] = new
            return True
    return False


def set_property(component: Component, name: str, value: str, params: Mapping[str, str] = {}) -> None:
    """One line `name` with a raw value: in the place of the first there is, else before the first subcomponent."""
    line = make_line(name, value, tuple((key, (text,)) for key, text in params.items()))
    existing = component.all(name)
    if existing:
        replace_line(component, existing[0], line)
        for other in existing[1:]:
            replace_line(component, other, None)
    else:
        add_line(component, line)


def add_line(component: Component, line: Line) -> None:
    """A line after the last own line, so before the first subcomponent."""
    position = next((at for at, item in enumerate(component.items) if isinstance(item, Component)), None)
    if position is None:
        component.items.append(line)
    else:
        component.items.insert(position, line)


def remove_properties(component: Component, names: Collection[str]) -> bool:
    """Takes all own lines with these names away. Returns whether there were any."""
    kept = [item for item in component.items if not (isinstance(item, Line) and item.name in names)]
    changed = len(kept) != len(component.items)
    component.items[:] = kept
    return changed


def remove_components(component: Component, names: Collection[str]) -> bool:
    """Takes subcomponents with these names away (VALARM from a message)."""
    kept = [item for item in component.items if not (isinstance(item, Component) and item.name in names)]
    changed = len(kept) != len(component.items)
    component.items[:] = kept
    return changed


def replace_properties(target: Component, source: Component, names: Iterable[str]) -> bool:
    """Makes the own lines called so in target those of source, byte for byte, in the place where the first stood.

    Returns whether anything changed.
    """
    changed = False
    for name in names:
        ours, theirs = target.all(name), source.all(name)
        if [line.raw for line in ours] == [line.raw for line in theirs]:
            continue
        changed = True
        if not ours:
            for line in theirs:
                add_line(target, line)
            continue
        first = next(at for at, item in enumerate(target.items) if item is ours[0])
        gone = set(map(id, ours))
        target.items[first:] = [*theirs, *(item for item in target.items[first:] if id(item) not in gone)]
    return changed
