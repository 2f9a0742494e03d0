"""On PostgreSQL nothing is locked between requests, nor while a client is waited for."""

from __future__ import annotations

from typing import Any

import pytest

from dav.config import Config
from storage.engine import Store, open_store, transaction
from tests.dsl import Client, Server, element, event

LOCKS = (
    "SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
    " WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.application_name = 'davenport'"
    " AND l.locktype <> 'virtualxid'"
)


@pytest.fixture
def watched(postgresql_database: Any) -> Any:
    url, empty = postgresql_database
    empty()
    store, watcher = open_store(str(url), threads=4), open_store(str(url), threads=1)
    server = Server(store, Config())
    yield server, watcher
    server.close()
    store.close()
    watcher.close()


def locks(watcher: Store) -> int:
    with transaction(watcher) as conn:
        conn.cursor.execute(LOCKS)
        return int(conn.cursor.fetchone()[0])


def test_a_client_that_stalls_in_the_middle_of_its_body_holds_no_lock(watched: tuple[Server, Store]) -> None:
    server, watcher = watched
    alice = server.account("alice")
    path = alice.path("calendars", "calendar", "a.ics")
    assert alice.put(path, event("a")).status == 201
    seen: list[int] = []

    def pieces(client: Client) -> None:
        verb, raw_path, body, fields, _ = client.prepare("PUT", path, event("a", summary="Later"))
        half = len(body) // 2
        parts = iter([body[:half], body[half:]])

        async def receive() -> dict[str, Any]:
            piece = next(parts)
            if piece != body[:half]:
                seen.append(locks(watcher))  # the first half is there, and the client takes its time
            return {"type": "http.request", "body": piece, "more_body": piece == body[:half]}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.append(message["status"])

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": verb, "scheme": "http",
            "path": raw_path, "raw_path": raw_path.encode(), "query_string": b"", "root_path": "",
            "client": ("127.0.0.1", 40000), "server": ("dav.example", 80),
            "headers": [(name.lower().encode(), value.encode()) for name, value in fields],
        }  # fmt: skip
        server._loop.run_until_complete(server.app(scope, receive, send))

    pieces(alice)
    assert seen == [0, 204]


def test_nothing_is_locked_when_an_answer_has_been_sent(watched: tuple[Server, Store]) -> None:
    server, watcher = watched
    alice = server.account("alice")
    home = alice.path("calendars", "")
    path = alice.path("calendars", "calendar", "a.ics")
    query = element(
        "C:calendar-query", "<D:prop><D:getetag/></D:prop><C:filter><C:comp-filter name='VCALENDAR'/></C:filter>"
    )
    requests = (
        lambda: alice.put(path, event("a")),
        lambda: alice.put(path, event("a", summary="No"), if_match='"x"'),
        lambda: alice.get(path),
        lambda: alice.report(alice.path("calendars", "calendar", ""), query, depth=1),
        lambda: alice.propfind_raw(home, ["{DAV:}displayname"], depth=1),
        lambda: alice.delete(path),
    )
    assert [(request().status, locks(watcher)) for request in requests] == [
        (201, 0), (412, 0), (200, 0), (207, 0), (207, 0), (204, 0)
    ]  # fmt: skip
