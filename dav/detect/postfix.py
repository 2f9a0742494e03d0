"""Postfix's configuration: main.cf, and the map files that it names."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dav.detect.files import Machine, Text

_EXPANSIONS_MAX = 20
DATABASES = ("mysql", "pgsql", "sqlite")


@dataclass(frozen=True, slots=True)
class Map:
    """A table that a parameter of main.cf names. kind: "mysql", "hash", …; settings: of its file, for databases."""

    parameter: str
    kind: str
    path: str
    where: str
    settings: dict[str, str]


def read(machine: Machine, path: str = "/etc/postfix/main.cf") -> dict[str, tuple[str, str]] | None:
    """Parameter → (value with $parameters expanded, file:line); None when there is no such file."""
    text = machine.read(path)
    if text is None:
        return None
    found = _settings(text)
    return {name: (_expanded(value, found), where) for name, (value, where) in found.items()}


def maps(machine: Machine, main: dict[str, tuple[str, str]], parameter: str) -> list[Map]:
    """The tables of a parameter such as virtual_alias_maps, in their order."""
    value, where = main.get(parameter, ("", ""))
    found = []
    for word in re.split(r"[\s,]+", value):
        kind, colon, path = word.removeprefix("proxy:").partition(":")
        if not colon or not path.startswith("/"):
            continue
        settings: dict[str, str] = {}
        if kind in DATABASES:
            text = machine.read(path)
            if text is None:
                continue
            settings = {name: one for name, (one, _) in _settings(text).items()}
        found.append(Map(parameter, kind, path, where, settings))
    return found


def _settings(text: Text) -> dict[str, tuple[str, str]]:
    """key → (value, file:line). A line that begins with white space goes on with the one before."""
    found: dict[str, tuple[str, str]] = {}
    key = ""
    for number, line in enumerate(text.lines, start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line[0] in " \t":
            if key:
                value, where = found[key]
                found[key] = (f"{value} {line.strip()}", where)
            continue
        name, equals, value = line.partition("=")
        key = name.strip() if equals else ""
        if key:
            found[key] = (value.strip(), text.at(number))
    return found


def _expanded(value: str, settings: dict[str, tuple[str, str]]) -> str:
    for _ in range(_EXPANSIONS_MAX):
        match = re.search(r"\$(?:\{(\w+)\}|\((\w+)\)|(\w+))", value)
        if not match or len(value) > 100_000:
            break
        name = match[1] or match[2] or match[3]
        value = value[: match.start()] + settings.get(name, ("", ""))[0] + value[match.end() :]
    return value


_WORD = r"[A-Za-z_][A-Za-z0-9_.]*"
_PLAIN = re.compile(
    rf"\s*SELECT\s+(?:DISTINCT\s+)?({_WORD})\s+FROM\s+({_WORD})\s+WHERE\s+({_WORD})\s*=\s*'%s'"
    r"((?:\s+AND\s+[^%;]*)?)\s*;?\s*",
    re.IGNORECASE,
)


def addresses_query(map_: Map) -> str:
    """A query from a person to their addresses, made by turning an alias map around; "" when it is not a plain one.

    An alias with several targets in one row is not found by it: it is nobody's own address.
    """
    settings = map_.settings
    text = settings.get("query", "")
    if not text and all(settings.get(key) for key in ("table", "select_field", "where_field")):
        text = (
            f"SELECT {settings['select_field']} FROM {settings['table']} WHERE {settings['where_field']} = '%s' "
            f"{settings.get('additional_conditions', '')}"
        )
    match = _PLAIN.fullmatch(text)
    if not match:
        return ""
    target, table, source, more = match.groups()
    return " ".join(f"SELECT {source} FROM {table} WHERE {target} = :user{more}".split())
