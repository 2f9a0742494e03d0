"""What each kind of request and job costs in a small store and in a large one.

    python -m bench.growth --small URL --large URL [--rounds 40] [--only poll,query-day]

Both stores come from bench.fill, on either engine. Each kind is asked of an ordinary account (`user000001`) in both
stores, and of the account with one large calendar in both; the app runs in this process. Printed is the least
processor time of all rounds in µs, of this process and of the database's (PostgreSQL; the mean there), then large to
small. The stores keep what they had, but for change numbers. Rounds go by turns, so that other load hits both.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from bench.fill import event as event_text
from dav.config import Config
from dav.version import VERSION
from storage import accounts, app_passwords, feeds_in, feeds_out, meetings, objects, outbound, purge
from storage import collections as collections_
from storage.engine import Conn, Store, open_store, transaction
from storage.migrate import upgrade
from storage.records import Account
from tests.dsl import Client, Server, element

DATA = "<D:prop><D:getetag/><C:calendar-data/></D:prop>"
ETAG = "<D:prop><D:getetag/></D:prop>"
OF_HOME = (
    "<D:propfind xmlns:D='DAV:' xmlns:C='urn:ietf:params:xml:ns:caldav' xmlns:S='http://calendarserver.org/ns/'><D:prop>"
    "<D:resourcetype/><D:displayname/><S:getctag/><C:supported-calendar-component-set/><D:current-user-privilege-set/>"
    "</D:prop></D:propfind>"
)
POLL = "<D:prop><S:getctag xmlns:S='http://calendarserver.org/ns/'/><D:sync-token/><D:displayname/></D:prop>"
_DAY_S = 86_400
_numbers = count(int(time.time()))


class World:
    """One store, one account of it, and one of its calendars."""

    def __init__(self, server: Server, name: str, calendar: str) -> None:
        self.server, self.store = server, server.store
        with transaction(self.store) as conn:
            account = accounts.account_by_name(conn, name)
            assert account is not None, f"{name}: no account in {self.store.url}; bench.fill makes it"
            _, home = collections_.resolve(conn, name, "calendars", calendar)
            found, _ = collections_.resolve(conn, name, "calendars", calendar)
            assert home is not None
            assert found is not None
            self.calendar_id = found.id
            self.names = [record.name for record in objects.list_objects(conn, found.id, limit=60)]
            record = objects.object_by_name(conn, found.id, self.names[7])
            assert record is not None
            self.uid = record.uid or ""
        self.account: Account = account
        self.client: Client = server.client(account)
        self.home = f"calendars/{name}/"
        self.calendar = f"calendars/{name}/{calendar}/"
        self.token = self.client.sync(self.calendar, "")[1] if len(self.names) < 60 else self._token()
        self.backends = _backends(self.store)

    def _token(self) -> str:
        answer = self.client.request("PROPFIND", self.calendar, element("D:propfind", POLL), depth="0")
        return str(answer.xml.findtext(".//{DAV:}sync-token"))

    def ask(self, verb: str, path: str, body: bytes | str = b"", **fields: str) -> Any:
        """One request, which no memory of earlier answers knows."""
        return self.client.request(verb, path, body, x_round=str(next(_numbers)), **fields)

    def database_s(self) -> float:
        """Seconds of processor time that the database's processes for this store have used."""
        return sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in self.backends) / 1e9

    def direct(self, question: Callable[[Conn], Any]) -> Any:
        with transaction(self.store) as conn:
            return question(conn)


def _backends(store: Store) -> list[int]:
    if store.dialect != "postgresql":
        return []
    with transaction(store) as conn:
        conn.cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND backend_type = 'client backend'"
        )
        return [int(row[0]) for row in conn.cursor.fetchall()]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request. before, after: not counted, around each round. per_item: divide by what is found."""

    run: Callable[[World], Any]
    before: Callable[[World], Any] | None = None
    after: Callable[[World], Any] | None = None
    statuses: tuple[int, ...] = (200, 201, 204, 207)


def _sync(world: World, token: str) -> Any:
    body = f"<D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level>{ETAG}"
    return world.ask("REPORT", world.calendar, element("D:sync-collection", body), depth="0")


def _query(world: World, start: str, end: str) -> Any:
    inner = (
        f"{DATA}<C:filter><C:comp-filter name='VCALENDAR'><C:comp-filter name='VEVENT'>"
        f"<C:time-range start='{start}' end='{end}'/></C:comp-filter></C:comp-filter></C:filter>"
    )
    return world.ask("REPORT", world.calendar, element("C:calendar-query", inner), depth="1")


def _by_uid(world: World) -> Any:
    inner = (
        f"{ETAG}<C:filter><C:comp-filter name='VCALENDAR'><C:comp-filter name='VEVENT'><C:prop-filter name='UID'>"
        f"<C:text-match collation='i;octet'>{world.uid}</C:text-match>"
        "</C:prop-filter></C:comp-filter></C:comp-filter></C:filter>"
    )
    return world.ask("REPORT", world.calendar, element("C:calendar-query", inner), depth="1")


def _free_busy(world: World, start: str, end: str) -> Any:
    body = element("C:free-busy-query", f"<C:time-range start='{start}' end='{end}'/>")
    return world.ask("REPORT", world.calendar, body, depth="1")


def _multiget(world: World) -> Any:
    hrefs = "".join(f"<D:href>/dav/{world.calendar}{name}</D:href>" for name in world.names[:50])
    return world.ask("REPORT", world.calendar, element("C:calendar-multiget", DATA + hrefs), depth="1")


def _principals(world: World) -> Any:
    inner = (
        "<D:property-search><D:prop><D:displayname/></D:prop><D:match>name1999</D:match></D:property-search>"
        "<D:prop><D:displayname/></D:prop>"
    )
    return world.ask("REPORT", "principals/", element("D:principal-property-search", inner), depth="0")


NEW = "growth-new.ics"


def _put(world: World) -> Any:
    body = event_text(next(_numbers) % 10 * 10).replace(b"0000000000", b"growth-new")
    return world.ask("PUT", world.calendar + NEW, body, content_type="text/calendar")


def _delete(world: World) -> Any:
    return world.ask("DELETE", world.calendar + NEW)


def _one_change(world: World) -> Any:
    _put(world)
    token, world.token = world.token, world._token()
    return token


def _feed(world: World) -> Any:
    with transaction(world.store, write=True) as conn:
        feeds_out.revoke_open(conn, world.calendar_id)
        feed = feeds_out.publish(conn, world.calendar_id, mode="busy", label="", now_s=int(time.time()))
    world.secret = feed.secret  # type: ignore[attr-defined]


def _unfeed(world: World) -> Any:
    with transaction(world.store, write=True) as conn:
        feeds_out.revoke_open(conn, world.calendar_id)


def _jobs(conn: Conn) -> None:
    """The questions that the jobs ask again and again when there is nothing to do."""
    now_s = 1_700_000_000  # everything is newer
    objects.objects_to_extend(conn, now_s, 100)
    objects.unclassified(conn, 100)
    purge._OLDEST_DELETED.scalar(conn, before_s=now_s)
    meetings.old_inbox_items(conn, now_s, 100)
    feeds_in.any_due(conn, now_s)
    outbound.next_due(conn)


KINDS: dict[str, Kind] = {
    "poll": Kind(lambda w: w.ask("PROPFIND", w.calendar, element("D:propfind", POLL), depth="0")),
    "sync-unchanged": Kind(lambda w: _sync(w, w._token()), before=lambda w: w._token()),
    "sync-one-change": Kind(lambda w: _sync(w, w.old), before=lambda w: setattr(w, "old", _one_change(w))),  # type: ignore[attr-defined]
    "get": Kind(lambda w: w.ask("GET", w.calendar + w.names[5])),
    "put": Kind(_put, before=_delete, statuses=(201,)),
    "update": Kind(_put, before=_put, statuses=(204,)),
    "delete": Kind(_delete, before=_put),
    "multiget-50": Kind(_multiget),
    "query-day-empty": Kind(lambda w: _query(w, "20250610T000000Z", "20250611T000000Z")),
    "query-day": Kind(lambda w: _query(w, "20261210T000000Z", "20261211T000000Z")),
    "query-uid": Kind(_by_uid),
    "free-busy-empty": Kind(lambda w: _free_busy(w, "20250610T000000Z", "20250611T000000Z")),
    "free-busy-day": Kind(lambda w: _free_busy(w, "20261210T000000Z", "20261211T000000Z")),
    "home-depth1": Kind(lambda w: w.ask("PROPFIND", w.home, OF_HOME, depth="1")),
    "inbox-poll": Kind(lambda w: w.ask("PROPFIND", w.home + "inbox/", element("D:propfind", POLL), depth="1")),
    "principal-search": Kind(_principals),
    "feed-poll": Kind(lambda w: w.direct(lambda conn: feeds_out.find(conn, w.secret)), before=_feed, after=_unfeed),  # type: ignore[attr-defined]
    "login-name": Kind(lambda w: w.direct(lambda conn: accounts.account_by_name(conn, w.account.name))),
    "login-app-password": Kind(lambda w: w.direct(lambda conn: app_passwords.app_password_by_digest(conn, "0" * 64))),
    "jobs-idle": Kind(lambda w: w.direct(_jobs)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Cost:
    """µs of processor time for one request: the least of this process, the mean of the database's."""

    app: float
    database: float
    bytes: int


def measure(worlds: Sequence[World], kind: Kind, rounds: int) -> list[Cost]:
    best = [1e9] * len(worlds)
    database = [1e9] * len(worlds)
    size = [0] * len(worlds)
    limit = time.monotonic() + 20
    for _ in range(rounds):
        for at, world in enumerate(worlds):
            if kind.before is not None:
                kind.before(world)
            base, began = world.database_s(), time.process_time()
            answer = kind.run(world)
            used = time.process_time() - began
            database[at] = min(database[at], world.database_s() - base)
            best[at] = min(best[at], used)
            if kind.after is not None:
                kind.after(world)
            if hasattr(answer, "status"):
                assert answer.status in kind.statuses, (answer.status, answer.body[:300])
                size[at] = len(answer.body)
        if time.monotonic() > limit:
            break
    return [Cost(best[at] * 1e6, database[at] * 1e6, size[at]) for at in range(len(worlds))]


def _shown(cost: Cost) -> str:
    database = f" + {cost.database:.0f}" if cost.database else ""
    return f"{cost.app:.0f}{database}" + (f" ({cost.bytes:,} B)" if cost.bytes else "")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", required=True)
    parser.add_argument("--large", required=True)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--only", type=lambda text: text.split(","))
    arguments = parser.parse_args(argv)
    servers = []
    for url in (arguments.small, arguments.large):
        store = open_store(url)
        upgrade(store, version=VERSION)
        config = Config()
        servers.append(Server(store, replace(config, limits=replace(config.limits))))
    small, large = servers
    pairs = {
        "account": [World(small, "user000001", "calendar"), World(large, "user000001", "calendar")],
        "calendar": [World(small, "large", "large"), World(large, "large", "large")],
    }
    names = arguments.only or list(KINDS)
    print("| row | " + " | ".join(f"{what}: small | large | ratio" for what in pairs) + " |")
    print("| --- |" + " --- | --- | --- |" * len(pairs))
    for name in names:
        cells = []
        for worlds in pairs.values():
            costs = measure(worlds, KINDS[name], arguments.rounds)
            totals = [cost.app + cost.database for cost in costs]
            shown = [_shown(cost) for cost in costs]
            cells += [*shown, f"{totals[1] / totals[0]:.2f}"]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    for server in servers:
        server.close()
        server.store.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
