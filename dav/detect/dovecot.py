"""Dovecot's configuration, 2.3 and 2.4: blocks, settings, includes; and what in it says who may sign in."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from dav.detect.files import Machine, Text

INCLUDE_DEPTH_MAX = 10
BLOCK_DEPTH_MAX = 20
_OPEN = re.compile(r"(?P<kind>[^\s={}\"]+)(?:\s+(?P<name>\"[^\"]*\"|[^\s={}]+))?\s*\{$")


@dataclass(frozen=True, slots=True)
class Setting:
    """One `key = value`. where: file and line."""

    key: str
    value: str
    where: str


@dataclass(slots=True)
class Block:
    """`kind name { … }`; the outermost one has no kind."""

    kind: str = ""
    name: str = ""
    where: str = ""
    settings: list[Setting] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)

    def get(self, *keys: str) -> Setting | None:
        """The last setting with one of these keys: that is the one which counts."""
        return next((one for one in reversed(self.settings) if one.key in keys), None)

    def all(self, kind: str) -> Iterator[Block]:
        """The blocks of a kind, at any depth."""
        for block in self.blocks:
            if block.kind == kind:
                yield block
            yield from block.all(kind)


@dataclass(frozen=True, slots=True)
class Source:
    """A passdb. driver: "sql", "passwd-file", "ldap", …; block: where its own settings are."""

    driver: str
    block: Block
    where: str


def read(machine: Machine, path: str = "/etc/dovecot/dovecot.conf") -> Block | None:
    """The whole configuration with what it includes; None when there is no such file."""
    text = machine.read(path)
    if text is None:
        return None
    top = Block(where=path)
    _parse(machine, text, [top], depth=0)
    return top


def parse_lines(lines: tuple[str, ...], path: str) -> Block:
    """A configuration that a program printed, without includes."""
    top = Block(where=path)
    _parse(None, Text(path, lines), [top], depth=0)
    return top


def _parse(machine: Machine | None, text: Text, stack: list[Block], *, depth: int) -> None:
    base = len(stack)
    for number, line in _logical(text):
        if line == "}":
            # A file that closes more than it opened must not close its includer's block.
            if len(stack) > base:
                stack.pop()
            continue
        if line.startswith("!include"):
            words = line.split(None, 1)
            if machine is not None and len(words) == 2 and depth < INCLUDE_DEPTH_MAX:
                pattern = posixpath.join(posixpath.dirname(text.path), _unquoted(words[1]))
                for path in machine.glob(pattern):
                    included = machine.read(path)
                    if included is not None:
                        _parse(machine, included, stack, depth=depth + 1)
            continue
        key, equals, value = line.partition("=")
        opened = _OPEN.match(line)
        if opened:
            block = Block(opened["kind"], _unquoted(opened["name"] or ""), text.at(number))
            stack[-1].blocks.append(block)
            if len(stack) < BLOCK_DEPTH_MAX:
                stack.append(block)
        elif line.endswith("{}") and not equals:
            words = line.removesuffix("{}").split()
            if words:
                stack[-1].blocks.append(Block(words[0], _unquoted(" ".join(words[1:])), text.at(number)))
        elif equals:
            stack[-1].settings.append(Setting(key.strip(), _unquoted(value.strip()), text.at(number)))
    del stack[base:]


def _logical(text: Text) -> Iterator[tuple[int, str]]:
    """(number of the first line, text) without comments, continued lines joined."""
    pending, first = "", 0
    for number, raw in enumerate(text.lines, start=1):
        line = raw.strip()
        # A comment line inside a continued value is left out, as Dovecot does.
        if line.startswith("#"):
            continue
        line = _without_comment(line)
        if not pending:
            first = number
        if line.endswith("\\"):
            pending += line[:-1].rstrip() + " "
            continue
        line, pending = (pending + line).strip(), ""
        if line:
            yield first, line
    if pending.strip():
        yield first, pending.strip()


def _without_comment(line: str) -> str:
    """A "#" begins a comment after white space, outside quotes."""
    quote = ""
    for position, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "#" and position and line[position - 1] in " \t":
            return line[:position].rstrip()
    return line


def _unquoted(value: str) -> str:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'" and value[0] not in value[1:-1]:
        return value[1:-1]
    return value


def is_24(config: Block) -> bool:
    """Whether this is written for 2.4, where every configuration begins with its version."""
    return config.get("dovecot_config_version") is not None


def passdbs(config: Block) -> list[Source]:
    """The passdbs in their order, without those that only deny."""
    found = []
    for block in config.all("passdb"):
        driver = block.get("driver", "passdb_driver")
        name = driver.value if driver else block.name
        denies = block.get("deny", "passdb_deny")
        if name and not (denies and denies.value == "yes"):
            found.append(Source(name, block, driver.where if driver else block.where))
    return found


def is_open(source: Source) -> Setting | None:
    """The setting that lets everybody in without a password, as `nopassword=y` does; None when there is none."""
    blocks = [source.block, *source.block.blocks]
    for one in (one for block in blocks for one in block.settings):
        if one.key == "nopassword" and one.value.lower() in ("y", "yes", "1", "true"):
            return one
        if re.search(r"(?:^|\s)nopassword(?:=(?:y|yes|1|true))?(?:\s|$)", one.value) and one.key in (
            "args", "default_fields", "override_fields", "passdb_fields"
        ):  # fmt: skip
            return one
    return None


def args(source: Source) -> dict[str, str]:
    """The `args = scheme=… path` of 2.3: options by their names, the rest under ""."""
    one = source.block.get("args")
    options: dict[str, str] = {}
    rest = []
    for word in one.value.split() if one else []:
        name, equals, value = word.partition("=")
        if equals and re.fullmatch(r"[a-z_]+", name):
            options[name] = value
        else:
            rest.append(word)
    options[""] = " ".join(rest)
    return options


@dataclass(frozen=True, slots=True)
class Listener:
    """A socket of the auth service that speaks the auth-client protocol, or with userdb=True the look-up one."""

    path: str
    mode: str
    user: str
    group: str
    userdb: bool
    where: str


def listeners(config: Block) -> list[Listener]:
    """The Unix sockets of the auth service that a program may ask for passwords or people."""
    base = config.get("base_dir")
    folder = base.value if base else "/run/dovecot"
    found = []
    for service in config.all("service"):
        if service.name != "auth":
            continue
        for block in service.all("unix_listener"):
            kind = block.get("type")
            # 2.3 takes the protocol from the end of the name, 2.4 from a setting.
            tail = kind.value if kind else posixpath.basename(block.name).rpartition("-")[2]
            if tail in ("login", "master", "token", "token-login") or not block.name:
                continue
            values = {key: one.value if (one := block.get(key)) else "" for key in ("mode", "user", "group")}
            path = posixpath.join(folder, block.name)
            found.append(Listener(path, **values, userdb=tail == "userdb", where=block.where))
    return found


def connect_words(text: str) -> dict[str, str]:
    """The words of a 2.3 `connect = host=… dbname=… password='…'`; the first of several hosts."""
    found: dict[str, str] = {}
    for match in re.finditer(r"([a-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|(\S*))", text):
        value = match[3] if match[2] is None else re.sub(r"\\(.)", r"\1", match[2])
        found.setdefault(match[1], value)
    return found


# What stands for the name in a query, and the parameter of ours that is the same. Whatever case conversion it asks
# for: the name is compared in lower case on both sides where the mail side does so.
_VARIABLES = (
    (re.compile(r"%\{\s*user\s*\|\s*username\s*(?:\|\s*lower\s*)?\}|%[LUuM]*n|%\{username\}"), ":local"),
    (re.compile(r"%\{\s*user\s*\|\s*domain\s*(?:\|\s*lower\s*)?\}|%[LUM]*d|%\{domain\}"), ":domain"),
    (re.compile(r"%\{\s*user\s*(?:\|\s*lower\s*)?\}|%[LUM]*u"), ":user"),
)

_PARAMETERS = (":user", ":local", ":domain")


def query(text: str, driver: str) -> str:
    """Dovecot's query with our bind parameters. Raises ValueError naming a variable that has no counterpart here."""
    for pattern, parameter in _VARIABLES:
        text = pattern.sub(parameter, text)
    # The quotes around a variable are part of Dovecot's text; a parameter has none. One inside a longer literal
    # ('%n@example.com') is joined to it.
    text = re.sub(r"'([^']*)'", lambda match: _literal(match, driver), text)
    left = re.search(r"%(?:\{[^}]*\}|[A-Za-z]+)", text)
    if left:
        raise ValueError(left[0])
    text = " ".join(text.rstrip("; \t").split())
    # Dovecot goes on with the name that was typed when the query gives none.
    columns = re.match(r"SELECT\s(.*?)\sFROM\s", text, re.IGNORECASE)
    if columns and not re.search(r"\buser\b", columns[1].replace(":user", ""), re.IGNORECASE):
        text = f"{text[:7]}:user AS user, {text[7:]}"
    return text


def _literal(match: re.Match[str], driver: str) -> str:
    inner = match[1].replace(":local@:domain", ":user")
    parts = [part for part in re.split(r"(:(?:user|local|domain)\b)", inner) if part]
    if not any(part in _PARAMETERS for part in parts):
        return match[0]
    shown = [part if part in _PARAMETERS else f"'{part}'" for part in parts]
    if len(shown) == 1:
        return shown[0]
    # MySQL's || is a logical or.
    return f"concat({', '.join(shown)})" if driver == "mysql" else " || ".join(shown)
