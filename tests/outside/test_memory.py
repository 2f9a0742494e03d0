"""Memory does not grow with what is stored or sent: long bodies stream in, long answers stream out."""

from __future__ import annotations

import hashlib
import http.client
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from .servers import Server
from .wire import XMLNS, Dav, event

MIB = 1 << 20
EVERYTHING = (
    f"<C:calendar-query {XMLNS}><D:prop><D:getetag/><C:calendar-data/></D:prop>"
    '<C:filter><C:comp-filter name="VCALENDAR"/></C:filter></C:calendar-query>'
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that nothing else uses while its memory is watched."""
    running = Server(tmp_path_factory.mktemp("memory")).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def user(own: Server) -> Dav:
    return own.account("memory@example.com")


@pytest.fixture(scope="module")
def large_calendar(user: Dav) -> str:
    """1,500 events of 20 KB: 30 MB."""
    place = user.make_calendar(f"{user.home()}large/")
    note = "DESCRIPTION:" + "\r\n ".join(secrets.token_hex(35) for _ in range(280))
    connection = http.client.HTTPConnection(user.host, user.port, timeout=60)
    for number in range(1500):
        body = event(
            f"large-{number}", f"DTSTART:2026{1 + number % 12:02d}{1 + number % 28:02d}T100000Z", "DURATION:PT1H", note
        )
        headers = {"Authorization": user.basic(), "Content-Type": "text/calendar"}
        connection.request("PUT", f"{place}{number}.ics", body, headers)
        response = connection.getresponse()
        assert response.status == 201, response.read()
        response.read()
    connection.close()
    return place


def drain(user: Dav, method: str, path: str, body: str, depth: str = "1") -> tuple[int, int]:
    """Sends a request and reads the answer piece by piece; returns its status and its length."""
    connection = http.client.HTTPConnection(user.host, user.port, timeout=120)
    headers = {"Authorization": user.basic(), "Depth": depth, "Content-Type": "application/xml"}
    connection.request(method, path, body.encode() if body else None, headers)
    response = connection.getresponse()
    length = 0
    while chunk := response.read(MIB):
        length += len(chunk)
    connection.close()
    return response.status, length


def test_a_file_of_200_megabytes_goes_in_and_out_without_being_held(own: Server, user: Dav, tmp_path: Path) -> None:
    path = f"{user.files()}large.bin"
    piece = secrets.token_bytes(MIB)
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for _ in range(200):
            digest.update(piece)
            yield piece

    user.get(path)
    own.reset_peak()
    before = own.rss_mib()
    connection = http.client.HTTPConnection(user.host, user.port, timeout=120)
    connection.request("PUT", path, pieces(), {"Authorization": user.basic(), "Content-Length": str(200 * MIB)})
    response = connection.getresponse()
    response.read()
    assert response.status == 201
    connection.request("GET", path, None, {"Authorization": user.basic()})
    response = connection.getresponse()
    back = hashlib.sha256()
    while chunk := response.read(MIB):
        back.update(chunk)
    connection.close()
    assert response.status == 200
    assert back.digest() == digest.digest()
    assert own.peak_mib() - before < 40, f"{before:.0f} → {own.peak_mib():.0f} MiB"


@pytest.mark.parametrize("what", ["query", "sync-with-data", "collection-get"])
def test_a_long_answer_streams(what: str, own: Server, user: Dav, large_calendar: str) -> None:
    data = "<D:prop><D:getetag/><C:calendar-data/></D:prop>"
    requests = {
        "query": (
            "REPORT",
            EVERYTHING,
        ),
        "sync-with-data": (
            "REPORT",
            f"<D:sync-collection {XMLNS}><D:sync-token/><D:sync-level>1</D:sync-level>{data}</D:sync-collection>",
        ),
        "collection-get": ("GET", ""),
    }
    method, body = requests[what]
    user.propfind(large_calendar, "<D:getetag/>", depth="1")
    own.reset_peak()
    before = own.rss_mib()
    status, length = drain(user, method, large_calendar, body)
    assert status in (200, 207)
    assert length > 25 * MIB
    assert own.peak_mib() - before < 60, f"{before:.0f} → {own.peak_mib():.0f} MiB for {length // MIB} MiB"


def test_four_long_answers_at_once_do_not_add_up(own: Server, user: Dav, large_calendar: str) -> None:
    import threading

    body = EVERYTHING
    own.reset_peak()
    before = own.rss_mib()
    results: list[tuple[int, int]] = []
    threads = [
        threading.Thread(target=lambda: results.append(drain(user, "REPORT", large_calendar, body))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert [status for status, _ in results] == [207] * 4
    assert all(length > 25 * MIB for _, length in results)
    assert own.peak_mib() - before < 120, f"{before:.0f} → {own.peak_mib():.0f} MiB"


def test_an_abandoned_long_answer_is_let_go(own: Server, user: Dav, large_calendar: str) -> None:
    import socket
    import time

    body = EVERYTHING
    head = f"REPORT {large_calendar} HTTP/1.1\r\nHost: x\r\nAuthorization: {user.basic()}\r\nDepth: 1\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    own.reset_peak()
    before = own.rss_mib()
    connections = []
    for _ in range(20):
        connection = socket.create_connection((user.host, user.port), timeout=30)
        connection.sendall((head + body).encode())
        connections.append(connection)
    time.sleep(1.0)
    # 20 readers that read nothing: others are served, and the memory holds no 20 answers.
    assert user.propfind(large_calendar, "<D:getetag/>").status == 207
    for connection in connections:
        connection.close()
    assert user.propfind(large_calendar, "<D:getetag/>").seconds < 10
    assert own.peak_mib() - before < 200, f"{before:.0f} → {own.peak_mib():.0f} MiB"


def test_large_bodies_that_arrive_at_once_do_not_add_up(tmp_path: Path) -> None:
    """24 bodies of 9 MB, by two accounts: they wait for each other, or are told to come again later."""
    import threading

    small = Server(tmp_path, settings={"limits": {"body_memory": "32 MiB"}}).start()
    try:
        users = [small.account(name) for name in ("one@example.com", "two@example.com")]
        places = [user.make_calendar(f"{user.home()}many/") for user in users]
        note = "ATTACH;ENCODING=BASE64;VALUE=BINARY:" + "QUJD" * 2_300_000
        small.reset_peak()
        before = small.rss_mib()
        statuses: list[int] = []

        def store(number: int) -> None:
            user, place = users[number % 2], places[number % 2]
            body = event(f"many-{number}", "DTSTART:20261110T100000Z", note)
            statuses.append(user.put(f"{place}{number}.ics", body).status)

        threads = [threading.Thread(target=store, args=(number,)) for number in range(24)]
        for thread in threads:
            thread.start()
        # A small one is not kept waiting by them.
        answer = users[0].put(places[0] + "small.ics", event("small", "DTSTART:20261110T100000Z"))
        for thread in threads:
            thread.join(120)
        assert (answer.status, len(statuses)) == (201, 24)
        assert set(statuses) <= {201, 503}
        assert statuses.count(201) >= 10
        assert small.peak_mib() - before < 200, f"{before:.0f} → {small.peak_mib():.0f} MiB"
    finally:
        small.stop()
