"""The server itself: where it listens, its database, its log, its history and its directory. See dav.config."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from dav.settings.readers import FLAG, TEXT, Reader, choice, nearest, number, option, read_host, words_of


def _read_networks(text: str) -> tuple[str, ...]:
    words = tuple(words_of(text))
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
    raise ValueError(f"SQLite and PostgreSQL are known here{nearest(scheme, known)}")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server listens and how it is reached."""

    host: str = option(
        "127.0.0.1", Reader(read_host), "Address to listen on. 127.0.0.1: this machine only; 0.0.0.0 or :: everywhere."
    )
    port: int = option(5232, number(0, 65535), "Port to listen on; 0 takes any free one and prints it.")
    workers: int = option(1, number(1, 256), "Worker processes over the same database; about one for each core.")
    threads: int = option(16, number(1, 256), "Requests that one worker handles at the same time.")
    public_url: str = option(
        "",
        Reader(_read_public_url),
        "Address that clients type, such as https://dav.example.org. Empty: taken from each request.",
    )
    trusted_proxies: tuple[str, ...] = option(
        ("127.0.0.1", "::1"),
        Reader(_read_networks, " ".join),
        "Reverse proxies (addresses or networks) whose X-Forwarded-For, -Host and -Proto are believed. Empty: none.",
    )
    base_path: str = option(
        "", Reader(_read_base_path), "Path below which a proxy serves Davenport, such as /davenport. Empty: the root."
    )
    certificate: str = option(
        "", TEXT, "PEM file with the certificate chain, to serve https without a proxy; relative to this file."
    )
    key: str = option("", TEXT, "PEM file with the private key of the certificate; relative to this file.")


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where everything is kept."""

    url: str = option(
        "sqlite:///davenport.db",
        Reader(_read_database_url),
        "sqlite:///davenport.db (relative to this file; four slashes: from the root) or postgresql://user@host/name.",
    )
    files: str = option(
        "",
        TEXT,
        "Folder for the bodies of large files; relative to this file. Empty: beside the database file.",
    )


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is written to standard error."""

    level: str = option(
        "info",
        choice("error", "warning", "info", "debug", "trace"),
        "error, warning, info (one line a request), debug, or trace (all headers, credentials masked).",
    )


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """What is kept of changed and deleted things."""

    days: int = option(30, number(0, 36_500), "Days for which older versions and deleted things are kept.")


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """What accounts see of each other."""

    visible: bool = option(True, FLAG, "Accounts may find each other's names and addresses, to invite each other.")
