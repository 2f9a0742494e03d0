"""Settings: frozen dataclasses, read from an INI file and the environment.

The dataclasses are the one table: names, defaults, readers and the sentence that explains each setting stand here, and
`config.example.ini`, the error messages and the environment variables are made from them.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SYSTEM_PATH = Path("/etc/davenport/config.ini")
FILE_BYTES_MAX = 1 << 20
_ENV_PREFIX = "DAVENPORT_"
_KIB = 1024
_MIB = 1024 * _KIB
_GIB = 1024 * _MIB


class ConfigError(Exception):
    """A setting cannot be used. The message names the file and line, or the environment variable."""


# --- readers: text → value, raising ValueError with the end of the sentence "bad value for key: …" --------------------


@dataclass(frozen=True, slots=True)
class Reader:
    """How one kind of value is read and written. read: text → value or ValueError. show: value → text."""

    read: Callable[[str], Any]
    show: Callable[[Any], str] = str


def _number(low: int, high: int) -> Reader:
    def read(text: str) -> int:
        # Only ASCII digits: int() would also take "1_000" and digits of other scripts.
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError(f"a whole number from {low} to {high} is needed")
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"it must be from {low} to {high}")
        return value

    return Reader(read)


_UNITS = {"": 1, "b": 1, "kib": _KIB, "mib": _MIB, "gib": _GIB, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def _read_size(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15})\s*([A-Za-z]*)", text)
        if match is None or match[2].lower() not in _UNITS:
            raise ValueError("a size such as 500 KiB, 10 MiB or 2 GiB is needed")
        value = int(match[1]) * _UNITS[match[2].lower()]
        if not low <= value <= high:
            raise ValueError(f"it must be from {_show_size(low)} to {_show_size(high)}")
        return value

    return read


def _show_size(value: int) -> str:
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB"), (_KIB, "KiB")):
        if value >= unit and value % unit == 0:
            return f"{value // unit} {name}"
    return str(value)


def _size(low: int, high: int) -> Reader:
    return Reader(_read_size(low, high), _show_size)


def _read_flag(text: str) -> bool:
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise ValueError("yes or no is needed")


_FLAG = Reader(_read_flag, lambda value: "yes" if value else "no")


def _read_text(text: str) -> str:
    return text


_TEXT = Reader(_read_text)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _choices(*names: str) -> Reader:
    def read(text: str) -> tuple[str, ...]:
        words = tuple(_words(text))
        for word in words:
            if word not in names:
                raise ValueError(f"{word!r} is not known; {_or(names)}{_nearest(word, names)}")
        if not words or len(set(words)) != len(words):
            raise ValueError("one or more different names are needed")
        return words

    return Reader(read, " ".join)


def _choice(*names: str) -> Reader:
    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{_or(names)} is needed{_nearest(text.lower(), names)}")
        return text.lower()

    return Reader(read)


def _read_host(text: str) -> str:
    if not text or len(text) > 255 or re.search(r"[\s/@]", text):
        raise ValueError("an address or host name to listen on is needed, such as 127.0.0.1, 0.0.0.0 or ::")
    return text.strip("[]")


def _read_networks(text: str) -> tuple[str, ...]:
    words = tuple(_words(text))
    for word in words:
        try:
            ipaddress.ip_network(word)
        except ValueError:
            raise ValueError(f"{word!r} is neither an IP address nor a network such as 10.0.0.0/8") from None
    return words


def _read_public_url(text: str) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        port_ok = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        raise ValueError("an address such as https://dav.example.org is needed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok or parts.username is not None:
        raise ValueError("an address such as https://dav.example.org is needed")
    if parts.path not in ("", "/") or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("only scheme, host and port; a path belongs in server.base_path")
    return f"{parts.scheme}://{parts.netloc}"


def _read_base_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError("a path such as /davenport is needed, or nothing")
    if any(name in (".", "..") for name in path.split("/")):
        raise ValueError("'.' and '..' cannot be part of it")
    return path


def _read_database_url(text: str) -> str:
    # The value may hold a password, so no message repeats it.
    scheme, found, rest = text.partition("://")
    if not found:
        raise ValueError("a URL is needed: sqlite:///davenport.db or postgresql://user@host/name")
    if scheme == "sqlite":
        if not rest.startswith("/") or rest in ("/", "/:memory:"):
            raise ValueError("a file is needed: sqlite:///davenport.db, or sqlite:////srv/davenport.db from the root")
        return text
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    known = ("sqlite", "postgresql")
    raise ValueError(f"SQLite and PostgreSQL are known here{_nearest(scheme, known)}")


def _or(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _nearest(word: str, names: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _option(default: Any, reader: Reader, doc: str) -> Any:
    return field(default=default, metadata={"reader": reader, "doc": doc})


# --- the settings ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server listens and how it is reached."""

    host: str = _option(
        "127.0.0.1", Reader(_read_host), "Address to listen on. 127.0.0.1: this machine only; 0.0.0.0 or :: everywhere."
    )
    port: int = _option(5232, _number(0, 65535), "Port to listen on; 0 takes any free one and prints it.")
    workers: int = _option(1, _number(1, 256), "Worker processes over the same database; about one for each core.")
    threads: int = _option(16, _number(1, 256), "Requests that one worker handles at the same time.")
    public_url: str = _option(
        "",
        Reader(_read_public_url),
        "Address that clients type, such as https://dav.example.org. Empty: taken from each request.",
    )
    trusted_proxies: tuple[str, ...] = _option(
        ("127.0.0.1", "::1"),
        Reader(_read_networks, " ".join),
        "Reverse proxies (addresses or networks) whose X-Forwarded-For, -Host and -Proto are believed. Empty: none.",
    )
    base_path: str = _option(
        "", Reader(_read_base_path), "Path below which a proxy serves Davenport, such as /davenport. Empty: the root."
    )
    certificate: str = _option(
        "", _TEXT, "PEM file with the certificate chain, to serve https without a proxy; relative to this file."
    )
    key: str = _option("", _TEXT, "PEM file with the private key of the certificate; relative to this file.")


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where everything is kept."""

    url: str = _option(
        "sqlite:///davenport.db",
        Reader(_read_database_url),
        "sqlite:///davenport.db (relative to this file; four slashes: from the root) or postgresql://user@host/name.",
    )
    files: str = _option(
        "",
        _TEXT,
        "Folder for the bodies of large files; relative to this file. Empty: beside the database file.",
    )


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Who may sign in."""

    backends: tuple[str, ...] = _option(
        ("local",), _choices("local"), "Where passwords are checked, in this order. local: this database."
    )
    cache_seconds: int = _option(
        300,
        _number(0, 86400),
        "How long a verified password is remembered in memory; a changed one counts at once all the same. 0: never.",
    )
    realm: str = _option(
        "Davenport", Reader(lambda text: _read_realm(text)), "Name that clients show when they ask for the password."
    )


def _read_realm(text: str) -> str:
    if not re.fullmatch(r"[ !#-\[\]-~]{1,100}", text):
        raise ValueError("printable ASCII without quotes and backslashes is needed, at most 100 characters")
    return text


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request or account may ask for; more is refused, with the RFC's condition where it has one."""

    xml_bytes: int = _option(2 * _MIB, _size(64 * _KIB, 64 * _MIB), "Largest XML request body.")
    xml_depth: int = _option(64, _number(16, 512), "How deep elements of a request body may nest.")
    xml_elements: int = _option(100_000, _number(1000, 10_000_000), "Most elements in a request body.")
    resource_bytes: int = _option(
        10 * _MIB,
        _size(16 * _KIB, 256 * _MIB),
        "Largest calendar object or contact; announced to clients as max-resource-size.",
    )
    resource_lines: int = _option(
        200_000, _number(1000, 10_000_000), "Most lines of a calendar object; each costs memory while it is read."
    )
    file_bytes: int = _option(2 * _GIB, _size(_KIB, 1024 * _GIB), "Largest file under /dav/files/.")
    multiget_hrefs: int = _option(5000, _number(100, 1_000_000), "Most resources that one multiget report may name.")
    query_results: int = _option(
        50_000, _number(100, 10_000_000), "Most results of one query; the answer is then marked as cut short."
    )
    instances: int = _option(
        50_000,
        _number(100, 1_000_000),
        "Most occurrences of one recurring object that are looked at; announced as max-instances.",
    )
    attendees: int = _option(
        1000, _number(10, 100_000), "Most attendees of one event; announced as max-attendees-per-instance."
    )
    expand_instances: int = _option(
        50_000, _number(100, 1_000_000), "Most occurrences (or KiB of them) that one report writes out when expanding."
    )
    recurrence_steps: int = _option(
        100_000, _number(1000, 100_000_000), "Most steps of computing one recurrence rule in one request."
    )
    answer_bytes: int = _option(
        256 * _MIB, _size(_MIB, 16 * _GIB), "Largest answer that lists properties or the content of many resources."
    )
    infinity_members: int = _option(
        10_000, _number(100, 10_000_000), "Most members listed by a PROPFIND with Depth: infinity."
    )
    collections: int = _option(500, _number(10, 100_000), "Most calendars, address books or folders of one account.")
    sync_page: int = _option(
        100_000,
        _number(100, 1_000_000),
        "Most changes in one answer to sync-collection; clients ask again for the rest.",
    )
    properties: int = _option(500, _number(10, 100_000), "Most properties that clients may keep on one resource.")
    property_bytes: int = _option(
        64 * _KIB, _size(_KIB, 16 * _MIB), "Largest property that clients may keep on a resource."
    )
    lock_seconds: int = _option(86_400, _number(60, 31_536_000), "Longest time-out of a WebDAV lock.")
    locks: int = _option(1000, _number(10, 1_000_000), "Most WebDAV locks of one account at the same time.")
    body_seconds: int = _option(3600, _number(5, 86_400), "Time in which the body of a request must have arrived.")
    spool_bytes: int = _option(
        _GIB, _size(_MIB, 1024 * _GIB), "Most bytes of long answers that wait on disk for slow clients, in each worker."
    )
    stall_seconds: int = _option(
        60, _number(1, 86_400), "How long a long answer may find no room there before it is cut off."
    )
    search_results: int = _option(100, _number(1, 10_000), "Most accounts found by one search of the directory.")
    depth: int = _option(50, _number(1, 1000), "How deep folders may nest under /dav/files/.")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is written to standard error."""

    level: str = _option(
        "info",
        _choice("error", "warning", "info", "debug", "trace"),
        "error, warning, info (one line a request), debug, or trace (all headers, credentials masked).",
    )


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """What is kept of changed and deleted things."""

    days: int = _option(30, _number(0, 36_500), "Days for which older versions and deleted things are kept.")


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """What accounts see of each other."""

    visible: bool = _option(True, _FLAG, "Accounts may find each other's names and addresses, to invite each other.")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. path: the file they came from, or None when only defaults and the environment were used.

    After `load`, database.url names an absolute file or is a postgresql+psycopg URL, and database.files,
    server.certificate and server.key are absolute; the last two are empty when not set.
    """

    server: ServerConfig = field(default_factory=ServerConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    limits: Limits = field(default_factory=Limits)
    log: LogConfig = field(default_factory=LogConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    directory: DirectoryConfig = field(default_factory=DirectoryConfig)
    path: Path | None = None


SECTIONS: dict[str, type[Any]] = {
    "server": ServerConfig,
    "database": DatabaseConfig,
    "auth": AuthConfig,
    "limits": Limits,
    "log": LogConfig,
    "history": HistoryConfig,
    "directory": DirectoryConfig,
}


# --- reading ---------------------------------------------------------------------------------------------------------


def load(path: str | None, environ: Mapping[str, str]) -> Config:
    """Settings from `path`, else DAVENPORT_CONFIG, ./config.ini, /etc/davenport/config.ini, else the defaults alone.

    A variable DAVENPORT_SECTION_KEY overrides the file. Raises ConfigError for a file that cannot be read, and for any
    section, key, value or variable that is not understood.
    """
    file = _find(path, environ)
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    if file is not None:
        for section, key, text, where in _entries(_read_file(file), str(file)):
            values[section][key] = _value(section, key, text, where)
    for section, key, text, where in _environment(environ):
        values[section][key] = _value(section, key, text, where)
    config = Config(**{name: kind(**values[name]) for name, kind in SECTIONS.items()}, path=file)
    return _resolve(config)


def example() -> str:
    """The text of config.example.ini: every setting with its default, commented out, and its sentence above it."""
    lines = [
        "# Settings of Davenport. Lines that begin with # are comments; what is not set has the default shown.",
        "# Each setting can also be given as an environment variable: DAVENPORT_SERVER_PORT=8080.",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"# {_first_sentence(kind)}", f"[{section}]"]
        for item in dataclasses.fields(kind):
            shown = item.metadata["reader"].show(item.default)
            lines += [f"# {item.metadata['doc']}", f"#{item.name} = {shown}".rstrip()]
    return "\n".join(lines) + "\n"


def _first_sentence(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _find(path: str | None, environ: Mapping[str, str]) -> Path | None:
    asked = path or environ.get("DAVENPORT_CONFIG")
    if asked:
        return Path(asked).absolute()
    for candidate in (Path("config.ini"), SYSTEM_PATH):
        if candidate.is_file():
            return candidate.absolute()
    return None


def _read_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{file}: is larger than {_show_size(FILE_BYTES_MAX)}, so it is hardly a file of settings")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{number}: this line is not UTF-8") from None


def _entries(text: str, file: str) -> Iterator[tuple[str, str, str, str]]:
    """(section, key, value, "file:line") of each setting. configparser is not used because it forgets the lines."""
    section = ""
    seen: dict[tuple[str, str], int] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line, where = raw.strip(), f"{file}:{number}"
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = _section(line, where)
            continue
        key, equals, value = line.partition("=")
        key = key.strip()
        if not equals:
            raise ConfigError(f"{where}: neither [section] nor key = value")
        if not section:
            raise ConfigError(f"{where}: {key!r} stands before the first [section]")
        _known_key(section, key, where)
        if (section, key) in seen:
            raise ConfigError(f"{where}: {section}.{key} was set before, on line {seen[section, key]}")
        seen[section, key] = number
        yield section, key, value.strip(), where


def _section(line: str, where: str) -> str:
    if line[-1] != "]":
        raise ConfigError(f"{where}: a section is written [name], alone on its line")
    name = line[1:-1].strip()
    if name not in SECTIONS:
        names = list(SECTIONS)
        raise ConfigError(f"{where}: unknown section [{name}]{_nearest(name, names) or '; known: ' + ', '.join(names)}")
    return name


def _known_key(section: str, key: str, where: str) -> None:
    names = [item.name for item in dataclasses.fields(SECTIONS[section])]
    if key in names:
        return
    hint = _nearest(key, names)
    if not hint:
        homes = [name for name, kind in SECTIONS.items() if key in {item.name for item in dataclasses.fields(kind)}]
        hint = f"; it belongs in [{homes[0]}]" if homes else f"; known: {', '.join(names)}"
    raise ConfigError(f"{where}: unknown key {key!r} in [{section}]{hint}")


def _environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for variable in sorted(environ):
        if not variable.startswith(_ENV_PREFIX):
            continue
        section, _, key = variable.removeprefix(_ENV_PREFIX).lower().partition("_")
        # Variables of other sections are not ours to judge: container platforms make names such as DAVENPORT_PORT.
        if section in SECTIONS:
            where = f"environment variable {variable}"
            _known_key(section, key, where)
            yield section, key, environ[variable].strip(), where


def _value(section: str, key: str, text: str, where: str) -> Any:
    reader: Reader = next(item.metadata["reader"] for item in dataclasses.fields(SECTIONS[section]) if item.name == key)
    if "\0" in text:
        raise ConfigError(f"{where}: bad value for {section}.{key}: a NUL character")
    try:
        return reader.read(text)
    except ValueError as error:
        raise ConfigError(f"{where}: bad value for {section}.{key}: {error}") from None


def _resolve(config: Config) -> Config:
    """Makes relative paths absolute: they count from the file's folder, or from the current one without a file."""
    folder = config.path.parent if config.path is not None else Path.cwd()
    server, database = config.server, config.database
    if bool(server.certificate) != bool(server.key):
        raise ConfigError(f"{config.path or 'settings'}: server.certificate and server.key must be set together")
    server = dataclasses.replace(
        server,
        certificate=str(folder / server.certificate) if server.certificate else "",
        key=str(folder / server.key) if server.key else "",
    )
    url, files = database.url, folder / (database.files or "davenport.files")
    if url.startswith("sqlite:///"):
        name, mark, query = url.removeprefix("sqlite:///").partition("?")
        file = folder / name
        url = f"sqlite:///{file}{mark}{query}"
        if not database.files:
            files = file.with_name(f"{file.stem}.files")
    return dataclasses.replace(config, server=server, database=DatabaseConfig(url=url, files=str(files)))
