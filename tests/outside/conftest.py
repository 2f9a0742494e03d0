"""Fixtures of the tests from outside. A server is started once for each test process and each database."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .servers import ROOT, Server, processes_below
from .wire import Dav

IN_CI = os.environ.get("DAVENPORT_OUTSIDE") == "1"
# What the log of a run may not hold: a handler that failed, or an answer that says so. (501, 502, 503 and 507 are plain
# statements: an unknown method, a foreign Destination, busy, out of space or cut at a limit.)
TROUBLE = re.compile(r"Traceback \(most recent call last\)|\bstatus=(?:500|504|505)\b")


def missing(reason: str) -> None:
    """A tool or the shared material is not there: a skip for a stranger, a failure in CI, where everything must run."""
    if IN_CI:
        pytest.fail(f"{reason} (DAVENPORT_OUTSIDE=1: nothing may be left out)")
    pytest.skip(reason)


def need_program(name: str, hint: str) -> str:
    found = shutil.which(name)
    if not found:
        missing(f"{name} is not installed ({hint})")
    return str(found)


@pytest.fixture(scope="session")
def material() -> Path:
    """The folder with corpus, replays and client scripts."""
    place = Path(os.environ.get("DAVENPORT_SHARED") or ROOT.parent / "shared").resolve()
    if not (place / "corpus" / "INDEX.tsv").is_file():
        missing(f"no shared material at {place}; set DAVENPORT_SHARED")
    return place


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Davenport over a fresh SQLite file."""
    running = Server(tmp_path_factory.mktemp("davenport")).start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def pg_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Davenport over a fresh PostgreSQL database, two workers, when DAVENPORT_TEST_PG names a cluster (a URL)."""
    cluster = os.environ.get("DAVENPORT_TEST_PG")
    if not cluster:
        missing("DAVENPORT_TEST_PG is not set")
    assert cluster
    import psycopg

    name = f"outside_{secrets.token_hex(6)}"
    plain = cluster.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
    left, _, query = plain.partition("?")
    url = re.sub(r"^(postgresql://[^/]*)(?:/.*)?$", rf"\1/{name}", left) + (f"?{query}" if query else "")
    running = Server(tmp_path_factory.mktemp("davenport-pg"), url=url, workers=2).start()
    yield running
    running.stop()
    with psycopg.connect(plain, autocommit=True) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest) -> Server:
    """The server over each of the two databases."""
    name = "server" if request.param == "sqlite" else "pg_server"
    found = request.getfixturevalue(name)
    assert isinstance(found, Server)
    return found


@pytest.fixture
def ahead() -> Iterator[None]:
    """This process and the servers that it started come first on the processors, where we may say so (root).

    For promises about seconds: they are the server's, and not those of whatever else is tested at the same moment.
    """
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    _give_priority(usual - 10)
    yield
    _give_priority(usual)


def _give_priority(priority: int) -> None:
    # Linux keeps it for each thread; what is started later inherits it.
    for pid in processes_below(os.getpid()):
        for thread in Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(thread.name), priority)


@pytest.fixture(autouse=True)
def no_server_error(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test sends, no request may end in a 5xx answer or leave a traceback in the server's log."""
    used = {"server", "either", "pg_server", "alice", "bob", "box", "book", "corpus"} & set(request.fixturenames)
    if not used:
        yield
        return
    servers = [
        request.getfixturevalue("either" if "either" in used else "pg_server" if "pg_server" in used else "server")
    ]
    before = [running.log.stat().st_size for running in servers]
    yield
    for running, size in zip(servers, before, strict=True):
        with running.log.open("rb") as log:
            log.seek(size)
            text = log.read().decode("utf-8", "replace")
        found = TROUBLE.search(text)
        assert not found, (
            f"the server's log tells of trouble:\n{text[max(0, found.start() - 1500) : found.end() + 2500]}"
        )


@pytest.fixture(scope="module")
def alice(server: Server, request: pytest.FixtureRequest) -> Dav:
    """An account of the module's own. Its name has an "@": many faults come from its encoding."""
    return server.account(f"alice-{request.module.__name__.rsplit('_', 1)[-1]}@example.com")


@pytest.fixture(scope="module")
def bob(server: Server, request: pytest.FixtureRequest) -> Dav:
    return server.account(f"bob-{request.module.__name__.rsplit('_', 1)[-1]}@example.com")


@pytest.fixture
def box(alice: Dav) -> str:
    """Path of a new empty calendar of alice's that takes every component."""
    return alice.make_calendar(f"{alice.home()}box-{secrets.token_hex(5)}/")


@pytest.fixture
def book(alice: Dav) -> str:
    """Path of a new empty address book of alice's."""
    return alice.make_book(f"{alice.home('addressbook')}book-{secrets.token_hex(5)}/")
