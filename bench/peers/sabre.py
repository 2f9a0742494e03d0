"""sabre/dav as Debian has it (1.8.12, php-sabre-dav) behind nginx and php-fpm, on SQLite (WAL) or PostgreSQL.

That version is old: it knows no sync-collection (which came with 2.0). Newer ones are in no package of Debian or PyPI.
Its schema for SQLite has no indexes; it gets here those that it has for PostgreSQL.
"""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.peers import postgres, web
from bench.peers.process import PASSWORD, ROOT, USER, Running, free_port, processes, without
from bench.system import debian

SCHEMA = Path("/usr/share/doc/php-sabre-dav/examples/sql")
INDEXES = (
    "CREATE UNIQUE INDEX calendars_ukey ON calendars (principaluri, uri);"
    "CREATE UNIQUE INDEX calendarobjects_ukey ON calendarobjects (calendarid, uri);"
    "CREATE UNIQUE INDEX addressbooks_ukey ON addressbooks (principaluri, uri);"
    "CREATE UNIQUE INDEX cards_ukey ON cards (addressbookid, uri);"
)
PERSON = (
    f"INSERT INTO principals (uri, email, displayname) VALUES ('principals/{USER}', '{USER}@example.org', 'Bench');"
)


def missing() -> str:
    packages = (*web.PACKAGES, "php-sabre-dav", "php8.2-sqlite3", "php8.2-pgsql", "postgresql-15")
    found = without(*packages) or ("" if os.geteuid() == 0 else "root")
    return found or ("" if SCHEMA.is_dir() else f"{SCHEMA} (a Debian without documentation)")


def version() -> str:
    return debian("php-sabre-dav")


def schema(kind: str) -> str:
    """The tables that the package tells to make, without its example's people."""
    files = sorted(SCHEMA.glob(f"{kind}.*.sql"))
    text = "\n".join(file.read_text() for file in files if ".locks." not in file.name and ".users." not in file.name)
    return re.sub(r"INSERT INTO .*?;", "", text, flags=re.DOTALL) + PERSON


@contextmanager
def sabre(folder: Path, *, postgresql: bool = False) -> Iterator[Running]:
    port = free_port()
    with processes(folder) as running:
        if postgresql:
            database = postgres.start(running, folder)
            postgres.query(folder / "pg", database, schema("pgsql"))
            source = f"pgsql:host={folder}/pg;port={database};user=postgres;dbname=postgres"
        else:
            place = folder / "data"
            place.mkdir()
            connection = sqlite3.connect(place / "db.sqlite")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(schema("sqlite") + INDEXES)
            connection.close()
            subprocess.run(["chown", "-R", "www-data", str(place)], check=True)
            source = f"sqlite:{place}/db.sqlite"
        file = folder / "server.php"
        file.write_bytes((ROOT / "bench" / "peers" / "sabre_server.php").read_bytes())
        told = {"BENCH_DSN": source, "BENCH_USER": USER, "BENCH_PASSWORD": PASSWORD}
        settings = "".join(f'env[{name}] = "{value}"\n' for name, value in told.items())
        socket = web.fpm(running, folder, settings=settings)
        web.nginx(running, folder, port, f"location / {{\n{web.script(socket, file, '/server.php', '$uri')}}}\n")
        yield Running(f"http://127.0.0.1:{port}/", USER, PASSWORD, running.pids)
