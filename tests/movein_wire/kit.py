"""What the tests of moving in share: objects, the filling of another server's tables, and a look at what came over."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from dav import provision
from dav.config import Config
from dav.movein import kernel
from dav.movein.kernel import Options
from dav.movein.report import Report
from dav.movein.source import Source
from storage import accounts, collections, objects, properties, shares
from storage.engine import Store, transaction
from storage.records import Account, Collection, Share

NOW_S = 1_790_000_000
_OWN = ("inbox", "outbox", "notifications")


def event(uid: str, summary: str = "Tea", *, extra: str = "") -> bytes:
    """A calendar object as a client sends it."""
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nBEGIN:VEVENT\r\n"
        f"UID:{uid}\r\nDTSTAMP:20260101T000000Z\r\nDTSTART:20260102T100000Z\r\nDTEND:20260102T110000Z\r\n"
        f"SUMMARY:{summary}\r\n{extra}END:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


def card(uid: str, name: str = "Zoë Ä.") -> bytes:
    """A contact as a client sends it."""
    return f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:{uid}\r\nFN:{name}\r\nN:{name};;;;\r\nEND:VCARD\r\n".encode()


def md5(body: bytes) -> str:
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def row_of(body: bytes, uri: str, **more: Any) -> dict[str, Any]:
    """The columns that an object's row has in all tables that have grown out of sabre/dav's."""
    return {"uri": uri, "etag": md5(body), "size": len(body), "lastmodified": 1_700_000_000, **more}


class There:
    """Another server's database: its tables made and filled."""

    def __init__(self, url: str, metadata: sa.MetaData) -> None:
        self.url, self.metadata = url, metadata
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)
        metadata.create_all(self._engine)

    def add(self, table: str, *rows: Mapping[str, Any]) -> list[int]:
        """Inserts rows; their numbers."""
        made = []
        with self._engine.begin() as connection:
            for row in rows:
                result = connection.execute(self.metadata.tables[table].insert().values(**row))
                made.append(result.inserted_primary_key[0] if result.inserted_primary_key else 0)
        return made

    def columns(self) -> dict[str, list[str]]:
        """Table → names of its columns."""
        return {table.name: list(table.columns.keys()) for table in self.metadata.sorted_tables}

    def run(self, sql: str, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(sa.text(sql), values)

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Asserts that nothing is changed meanwhile."""
        before = self._everything()
        yield
        assert self._everything() == before

    def _everything(self) -> list[Sequence[Any]]:
        with self._engine.connect() as connection:
            return [tuple(connection.execute(sa.select(table))) for table in self.metadata.sorted_tables]


@dataclass(slots=True)
class Here:
    """A Davenport that is moved into."""

    store: Store
    config: Config

    def bring(self, source: Source, options: Options | None = None) -> Report:
        """One run; its report."""
        report = Report()
        kernel.run(self.store, self.config, source, options or Options(create_accounts=True), report, now_s=NOW_S)
        return report

    def account(self, name: str) -> Account:
        with transaction(self.store) as conn:
            found = accounts.account_by_name(conn, name)
        assert found is not None, name
        return found

    def make(self, name: str) -> Account:
        """An account with what a new one has."""
        with transaction(self.store, write=True) as conn:
            return provision.provision(conn, name, now_s=NOW_S)

    def collection(self, name: str, area: str, path: str) -> Collection:
        with transaction(self.store) as conn:
            found, _ = collections.resolve(conn, name, area, path)
        assert found is not None, path
        return found

    def paths(self, name: str, area: str) -> list[str]:
        with transaction(self.store) as conn:
            home = collections.home(conn, self.account(name).id, area)
            return [one.path for one in collections.children(conn, home.id) if one.kind not in _OWN]

    def bodies(self, name: str, area: str, path: str) -> dict[str, tuple[str, bytes]]:
        """Name → (entity tag, bytes)."""
        collection = self.collection(name, area, path)
        with transaction(self.store) as conn:
            return {record.name: (record.etag, body) for record, body in objects.iter_bodies(conn, collection.id)}

    def properties(self, name: str, area: str, path: str) -> dict[str, str]:
        with transaction(self.store) as conn:
            return properties.get_properties(conn, self.collection(name, area, path).id)

    def shares(self, name: str, area: str, path: str) -> list[Share]:
        with transaction(self.store) as conn:
            return shares.shares_of(conn, self.collection(name, area, path).id)

    def seq(self, name: str, area: str, path: str) -> int:
        return self.collection(name, area, path).change_seq
