"""What detection proposes, and how it is written down for pasting."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode

# Stands for the database's password until it is printed.
_HOLE = "\0"
PLACEHOLDER = "PASSWORD"


@dataclass(frozen=True, slots=True)
class Line:
    """One setting. found: where it was read. secret: what belongs in the value's hole, not printed unless asked for."""

    key: str
    value: str
    found: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One back end that would work here. notes: sentences for the administrator."""

    title: str
    backend: str
    section: str
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Report:
    """Proposals in the order of preference; warnings that belong to none of them."""

    proposals: list[Proposal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def database_url(
    driver: str, *, host: str, name: str, user: str, password: str, port: str = "", found: str, key: str = "url"
) -> Line:
    """The URL of a database server as a line. driver: "mysql" or "pgsql". host: may be a socket's path."""
    scheme = {"mysql": "mysql", "pgsql": "postgresql"}[driver]
    who = quote(user, safe="") + (f":{_HOLE}" if password else "")
    query = ""
    if host.startswith("/"):
        query = "?" + urlencode({"unix_socket" if driver == "mysql" else "host": host})
        host = ""
    elif ":" in host and not host.startswith("["):
        # An IPv6 address, unless it is host:port.
        left, _, right = host.rpartition(":")
        host, port = (left, right) if ":" not in left and right.isdigit() else (f"[{host}]", port)
    where = host + (f":{port}" if port and host else "")
    at = f"{who}@" if who else ""
    # PyMySQL wants a host beside the socket; it is not used.
    where = where or ("localhost" if driver == "mysql" else "")
    return Line(key, f"{scheme}://{at}{where}/{quote(name, safe='')}{query}", found, quote(password, safe=""))


def sqlite_url(path: str, found: str) -> Line:
    """The URL of a SQLite file, by its absolute path."""
    return Line("url", f"sqlite:///{path}", found)


def render(report: Report, *, with_secrets: bool) -> str:
    """The text of `auth detect`: the best proposal to paste, the others commented out, then the warnings."""
    out: list[str] = []
    for number, proposal in enumerate(report.proposals):
        if number == 1:
            out += ["# Other ways that would work here, to be used instead:", ""]
        mark = "" if number == 0 else "#"
        out += [f"# {proposal.title}", *(f"# {_flat(sentence)}" for sentence in proposal.notes)]
        if number == 0:
            out += ["[auth]", f"backends = {proposal.backend}", ""]
        else:
            out += [f"#[auth] backends = {proposal.backend}"]
        out += [f"{mark}[{proposal.section}]"]
        for line in proposal.lines:
            out += [f"# {_flat(line.found)}"] if line.found else []
            value = line.value.replace(_HOLE, line.secret if with_secrets else PLACEHOLDER)
            out += [f"{mark}{line.key} = {one_line(value)}"]
        out += [""]
    hidden = [line for proposal in report.proposals for line in proposal.lines if line.secret]
    if hidden and not with_secrets:
        out += [f"# {PLACEHOLDER} stands for the database's password: --with-secrets prints it.", ""]
    out += [f"# Note: {sentence}" for sentence in unique(report.warnings)]
    return "\n".join(out).rstrip("\n") + "\n"


def one_line(value: str) -> str:
    """As the settings file can hold it."""
    return " ".join(value.split())


def _flat(sentence: str) -> str:
    """Without what could end the line of a comment; indentation is kept."""
    return "".join(char if char.isprintable() else " " for char in sentence)


def unique(sentences: Iterable[str]) -> list[str]:
    """Each sentence once, on one line each."""
    return list(dict.fromkeys(one_line(sentence) for sentence in sentences))
