"""kill -9 while writers write: every acknowledged write is there, whole, and no reader is told a lie afterwards."""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .servers import Server
from .wire import D, Dav, event, items

MOMENTS = int(os.environ.get("DAVENPORT_KILLS", "30"))
WRITERS = 4


@dataclass(slots=True)
class Ledger:
    """What one writer knows. acknowledged: name → body that the server said it has (None: deleted).

    pending: name → body of the one request that got no answer: the server may or may not have done it.
    """

    acknowledged: dict[str, bytes | None] = field(default_factory=dict)
    pending: tuple[str, bytes | None] | None = None
    refusals: list[str] = field(default_factory=list)


def body_of(writer: int, number: int, version: int, size: int) -> bytes:
    filler = hashlib.sha256(f"{writer}/{number}/{version}".encode()).hexdigest()
    text = (filler * (size // len(filler) + 1))[:size]
    lines = [f"DESCRIPTION:{version} "] + [" " + text[at : at + 70] for at in range(0, len(text), 70)]
    return event(
        f"kill-{writer}-{number}@example.com",
        f"DTSTART:202611{1 + number % 28:02d}T100000Z",
        "DTEND:20261231T110000Z" if number % 7 == 0 else "DURATION:PT1H",
        f"SUMMARY:writer {writer} number {number} version {version}",
        "\r\n".join(lines),
    )


def write(user: Dav, place: str, files: str, writer: int, ledger: Ledger, stop: threading.Event, seed: int) -> None:
    """Creates, changes, deletes and uploads files until the connection breaks or the time is up."""
    dice = random.Random(seed)
    while not stop.is_set():
        number = dice.randrange(40)
        turn = dice.random()
        if turn < 0.15:
            path = f"{files}kill-{writer}-{number}.bin"
            body: bytes | None = dice.randbytes(dice.choice((10, 5_000, 300_000)))
        else:
            path = f"{place}kill-{writer}-{number}.ics"
            body = body_of(writer, number, dice.randrange(10**9), dice.choice((50, 900, 20_000)))
        if turn > 0.9 and ledger.acknowledged.get(path) is not None:
            body = None
        ledger.pending = (path, body)
        try:
            if body is None:
                status = user.delete(path).status
            else:
                media = "text/calendar" if path.endswith(".ics") else "application/octet-stream"
                status = user.put(path, body, media).status
        except (OSError, http.client.HTTPException):
            return  # cut off: the request stays pending
        if status in (200, 201, 204):
            ledger.acknowledged[path] = body
        elif status != 503:
            ledger.refusals.append(f"{path}: {status}")
        ledger.pending = None


def judge(user: Dav, ledgers: list[Ledger]) -> None:
    for ledger in ledgers:
        assert not ledger.refusals, ledger.refusals[:5]
        unsure, maybe = ledger.pending or ("", None)
        for path in {*ledger.acknowledged, unsure} - {""}:
            known = ledger.acknowledged.get(path)
            answer = user.get(path)
            there = None if answer.status == 404 else answer.body
            allowed = [known, maybe] if path == unsure else [known]
            assert answer.status in (200, 404), (path, str(answer))
            assert there in allowed, f"{path}: {answer.status}, {len(answer.body)} bytes, not what was acknowledged"
            ledger.acknowledged[path] = there
        ledger.pending = None


@pytest.mark.timeout(60 + 8 * MOMENTS)
@pytest.mark.parametrize("workers", [1, 2])
def test_every_acknowledged_write_survives_kill_9(tmp_path: Path, workers: int) -> None:
    dice = random.Random(20261125 + workers)
    server = Server(tmp_path / "server", workers=workers).start()
    try:
        user = server.account("kill@example.com")
        place, files = user.make_calendar(f"{user.home()}kill/"), user.files()
        ledgers = [Ledger() for _ in range(WRITERS)]
        token = user.sync(place).root().findtext(D + "sync-token") or ""
        known: dict[str, str] = {}
        written = 0
        for moment in range((MOMENTS + 1) // 2):
            stop = threading.Event()
            arguments = [(user, place, files, n, ledgers[n], stop, dice.randrange(10**9)) for n in range(WRITERS)]
            threads = [threading.Thread(target=write, args=one) for one in arguments]
            before = sum(len(ledger.acknowledged) for ledger in ledgers)
            for thread in threads:
                thread.start()
            time.sleep(dice.uniform(0.02, 0.7))
            server.kill()
            stop.set()
            for thread in threads:
                thread.join(60)
                assert not thread.is_alive()
            server.start()
            judge(user, ledgers)
            written += sum(len(ledger.acknowledged) for ledger in ledgers) - before
            token = replay_changes(user, place, token, known)
            there = {
                path.rsplit("/", 1)[-1]
                for ledger in ledgers
                for path, body in ledger.acknowledged.items()
                if body is not None and path.startswith(place)
            }
            assert set(known) == there, (moment, set(known) ^ there)
        assert written > 20, "hardly anything was written: the test has proven nothing"
        server.stop()
        with sqlite3.connect(server.database) as database:
            assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        database.close()
        assert "Traceback" not in server.log_text()
    finally:
        server.stop()


def replay_changes(user: Dav, place: str, token: str, known: dict[str, str]) -> str:
    """Follows sync-collection from the token held before the crash, as a phone does; returns the new token."""
    answer = user.sync(place, token)
    for item in items(answer).values():
        name = item.href.rsplit("/", 1)[-1]
        if item.status == 404:
            known.pop(name, None)
        elif name:
            known[name] = item.text(D + "getetag")
    listed = items(user.propfind(place, "<D:getetag/>", depth="1"))
    for item in listed.values():
        name = item.href.rsplit("/", 1)[-1]
        if name:
            assert known.get(name) == item.text(D + "getetag"), name
    return answer.root().findtext(D + "sync-token") or ""


def test_a_server_that_is_told_to_stop_finishes_what_it_has_begun(tmp_path: Path) -> None:
    server = Server(tmp_path / "server").start()
    try:
        user = server.account("term@example.com")
        place, files = user.make_calendar(f"{user.home()}term/"), user.files()
        ledgers = [Ledger() for _ in range(WRITERS)]
        stop = threading.Event()
        threads = [
            threading.Thread(target=write, args=(user, place, files, n, ledgers[n], stop, n)) for n in range(WRITERS)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.6)
        server.stop()
        stop.set()
        for thread in threads:
            thread.join(60)
        assert server.process is not None
        assert server.process.returncode == 0
        assert sum(len(ledger.acknowledged) for ledger in ledgers) > 10
        server.start()
        judge(user, ledgers)
    finally:
        server.stop()
