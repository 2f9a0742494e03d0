"""The two rooms: storage knows nothing of protocols, dav nothing of SQL; and some packages have one door."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

FORBIDDEN = {
    "storage": {
        *("dav", "starlette", "uvicorn", "xml", "lxml", "defusedxml", "vobject", "radicale"),
        *("http", "httptools", "smtplib", "email", "passlib"),
    },
    "dav": {"sqlalchemy", "sqlite3", "psycopg", "alembic"},
}
# package → the only files that may import it
DOORS = {
    "passlib": {"dav/auth/passwords.py", "dav/auth/schemes.py"},
    "ldap3": {"dav/auth/ldap.py"},
    "jwt": {"dav/auth/oauth2.py"},
    "httpx": {"dav/auth/oauth2.py", "dav/feeds/fetch.py", "dav/movein/client.py"},
    "pamela": {"dav/auth/pam.py"},
    "vobject": {"dav/ical/make.py", "dav/vcard.py"},
    "radicale": {"dav/movein/radicale.py"},
}
CLOCKS = ("time.time", "datetime.now", "datetime.utcnow", "datetime.datetime.now", "date.today")


@functools.cache
def facts(path: Path) -> tuple[frozenset[str], tuple[int, ...]]:
    """(top-level names of every import in a module, nested ones too; where it asks for the time).

    Once for all tests: reading the syntax is most of their time.
    """
    roots, clocks = set(), []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            roots.add((node.module or "").split(".")[0])
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in CLOCKS:
            clocks.append(node.lineno)
    return frozenset(roots), tuple(clocks)


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", sorted(FORBIDDEN))
def test_a_room_imports_nothing_of_the_other_s_trade(package: str) -> None:
    assert sources(package)
    wrong = {
        path.relative_to(ROOT).as_posix(): found
        for path in sources(package)
        if (found := facts(path)[0] & FORBIDDEN[package])
    }
    assert wrong == {}


def test_packages_with_one_door_are_imported_there_only() -> None:
    wrong = []
    for path in [*sources("dav"), *sources("storage")]:
        name = path.relative_to(ROOT).as_posix()
        roots = facts(path)[0]
        wrong += [(name, package) for package, doors in DOORS.items() if package in roots and name not in doors]
    assert wrong == []


def test_no_module_makes_its_own_clock() -> None:
    # Time comes from ctx.now_s; only what stands outside a request reads the clock.
    # put.py: the horizon of the index is a hint that needs no agreed time. tz.py: which rules of a zone are today's.
    allowed = {"put.py", "tz.py", "app.py", "worker.py", "cli_kit.py", "serve.py", "firstrun.py", "jobs.py"}
    allowed |= {"inbound.py", "imapwatch.py"}  # mail comes in outside of any request
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources("dav")
        if path.name not in allowed
        for line in facts(path)[1]
    ]
    assert wrong == []
