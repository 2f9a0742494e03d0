"""Clients that take their time keep nobody else waiting, and cost neither threads nor connections of the database."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dav.config import Config, Limits, ServerConfig
from dav.spool import MEMORY_BYTES, Abandoned, Bodies, Held, NoRoom, Room, Spool
from storage.engine import Store, open_store
from tests.dsl import Client, Server, event

CALENDAR = "calendars/alice/calendar/"
THREADS = 4


@pytest.fixture
def server(store_url: str, tmp_path: Path) -> Iterator[Server]:
    """A server with few threads and as many connections; a waiting writer or reader gives up soon."""
    store = open_store(store_url, blob_dir=tmp_path / "files", threads=THREADS, busy_timeout_s=3)
    limits = Limits(spool_bytes=64 << 20, stall_seconds=1)
    running = Server(store, Config(server=ServerConfig(threads=THREADS), limits=limits))
    yield running
    running.close()
    store.close()


@pytest.fixture
def alice(server: Server) -> Client:
    """An account whose calendar is larger than what a stream keeps in memory."""
    alice = server.account("alice")
    for number in range(12):
        more = "".join(f"X-LONG:{'x' * 60}{line}\r\n" for line in range(1000))
        assert alice.put(f"{CALENDAR}{number}.ics", event(str(number), more=more)).status == 201
    assert alice.put("files/alice/large", b"x" * 1_000_000).status == 201
    return alice


class Slow:
    """One request whose client takes nothing until `go` is set."""

    def __init__(self, client: Client, path: str) -> None:
        method, self.path, _, fields, _ = client.prepare("GET", path)
        self.scope = {
            "type": "http", "method": method, "path": self.path, "raw_path": self.path.encode(), "query_string": b"",
            "scheme": "http", "client": ("127.0.0.1", 1),
            "headers": [(name.encode(), value.encode()) for name, value in fields],
        }  # fmt: skip
        self.app = client.server.app
        self.go = asyncio.Event()
        self.begun = asyncio.Event()
        self.body = b""
        self.whole = False

    async def run(self) -> None:
        await self.app(self.scope, self.receive, self.send)

    async def receive(self) -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.body":
            self.begun.set()
            await self.go.wait()
            self.body += message["body"]
            self.whole = not message["more_body"]


@pytest.mark.parametrize("path", [CALENDAR, "files/alice/large"])
def test_more_slow_readers_than_threads_keep_nobody_waiting(server: Server, alice: Client, path: str) -> None:
    expected = alice.get(path).body

    async def scenario() -> list[Slow]:
        slow = [Slow(alice, path) for _ in range(THREADS * 3)]
        tasks = [asyncio.create_task(one.run()) for one in slow]
        await asyncio.gather(*(one.begun.wait() for one in slow))
        for verb, where, body in (
            ("PUT", f"{CALENDAR}new.ics", event("new").encode()),
            ("PROPFIND", CALENDAR, b""),
            ("GET", CALENDAR + "new.ics", b""),
        ):
            answer = await asyncio.wait_for(server._call(*alice.prepare(verb, where, body, depth="1")), 10)
            assert answer.status in (200, 201, 204, 207), answer.status
        for one in slow:
            one.go.set()
        await asyncio.gather(*tasks)
        return slow

    for one in server._loop.run_until_complete(scenario()):
        assert one.whole
        # What came after the reading began is not in it: each read one snapshot.
        assert one.body == expected


def test_a_reader_that_is_too_slow_for_the_room_there_is_gets_cut_off(sqlite_url: str, tmp_path: Path) -> None:
    store: Store = open_store(sqlite_url, blob_dir=tmp_path / "files", threads=2)
    server = Server(store, Config(limits=Limits(spool_bytes=4096, stall_seconds=0)))
    alice = server.account("alice")
    for number in range(12):
        assert (
            alice.put(f"{CALENDAR}{number}.ics", event(str(number), more=f"X-LONG:{'x' * 100_000}\r\n")).status == 201
        )

    async def scenario() -> Slow:
        slow = Slow(alice, CALENDAR)
        task = asyncio.create_task(slow.run())
        await slow.begun.wait()
        await asyncio.sleep(0.3)
        slow.go.set()
        await task
        return slow

    found = server._loop.run_until_complete(scenario())
    # Cut short, and not ended properly, so that the client can tell.
    assert not found.whole
    server.close()
    store.close()


async def run_here(function: Any, *arguments: Any) -> Any:
    await asyncio.sleep(0)
    return function(*arguments)


@pytest.mark.parametrize("reader_pause", [0, 1, 3])
def test_what_goes_through_a_spool_comes_out_in_its_order(reader_pause: int) -> None:
    """Whatever the order of the two sides: in memory, in the file, and back in memory."""

    async def scenario() -> None:
        room = Room(64 << 20)
        spool = Spool(run_here, room, stall_s=5)
        sent, got = hashlib.sha256(), hashlib.sha256()

        async def write() -> None:
            for number in range(300):
                chunk = bytes([number % 256]) * (1 + number * 397 % (MEMORY_BYTES // 8))
                sent.update(chunk)
                await spool.put(chunk)
                if number % 50 == 0:
                    await asyncio.sleep(0.005)
            spool.end()

        async def read() -> None:
            while chunk := await spool.get():
                got.update(chunk)
                for _ in range(reader_pause):
                    await asyncio.sleep(0)

        await asyncio.gather(write(), read())
        spool.close()
        assert got.digest() == sent.digest()
        assert room.left == 64 << 20

    asyncio.run(scenario())


def test_a_writer_learns_that_nobody_reads() -> None:
    async def scenario() -> None:
        spool = Spool(run_here, Room(0), stall_s=60)
        await spool.put(b"x" * MEMORY_BYTES)
        waiting = asyncio.create_task(spool.put(b"y"))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        spool.abandon()
        with pytest.raises(Abandoned):
            await waiting
        spool.close()

    asyncio.run(scenario())


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_bodies_wait_for_room_and_one_at_a_time_goes_beyond() -> None:
    """Were all of them only to wait for each other, none would ever be complete."""

    async def scenario() -> None:
        bodies = Bodies(100)
        first, second, third = Held(bodies, 1), Held(bodies, 2), Held(bodies, 3)
        await first.take(45)
        await second.take(45)
        await third.take(20)  # goes beyond
        waiting = asyncio.create_task(second.take(10))
        await settled()
        assert not waiting.done()
        await third.take(60)  # the one beyond is finished first
        assert bodies.held == 170
        third.release()
        await waiting
        assert bodies.held == 100
        first.release()
        second.release()
        second.release()
        assert bodies.held == 0

    asyncio.run(scenario())


def test_one_account_gets_half_of_the_room_for_bodies() -> None:
    async def scenario() -> None:
        bodies = Bodies(100)
        held = [Held(bodies, 1) for _ in range(3)]
        await held[0].take(25)
        await held[1].take(25)
        await held[2].take(10)  # goes beyond
        waiting = [asyncio.create_task(one.take(10)) for one in held[:2]]
        await Held(bodies, 2).take(40)  # somebody else's is not kept waiting
        await settled()
        assert [task.done() for task in waiting] == [False, False]
        held[2].release()
        await settled()
        assert [task.done() for task in waiting] == [True, False]
        held[0].release()
        await waiting[1]
        assert bodies.held == 35 + 40

    asyncio.run(scenario())


def test_a_body_that_finds_no_room_gives_up() -> None:
    async def scenario() -> None:
        bodies = Bodies(100, wait_s=0.01)
        await Held(bodies, 1).take(50)
        await Held(bodies, 1).take(1)
        with pytest.raises(NoRoom):
            await Held(bodies, 1).take(1)
        assert bodies.held == 51

    asyncio.run(scenario())


def test_large_bodies_that_arrive_at_once_get_503_and_small_ones_pay_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """Somebody begins a large body and does not end it, and another one goes beyond the room."""
    store: Store = open_store(sqlite_url, blob_dir=tmp_path / "files", threads=2)
    server = Server(store, Config(limits=Limits(body_memory=1 << 20)))
    server.app._bodies.wait_s = 0.05
    alice = server.account("alice")
    path = f"{CALENDAR}x.ics"

    async def scenario() -> tuple[list[int], int, int]:
        begun = [Unfinished(alice, path, 300_000, endless=number < 2) for number in range(4)]
        tasks = [asyncio.create_task(one.run()) for one in begun]
        await asyncio.wait_for(asyncio.gather(*(one.stuck.wait() for one in begun[:2])), 10)
        small = await server._call(*alice.prepare("PUT", path, event("x").encode()))
        await asyncio.wait_for(asyncio.gather(*tasks[2:]), 10)
        assert all((b"retry-after", b"10") in one.fields for one in begun[2:])
        for one in begun[:2]:
            one.go.set()
        await asyncio.wait_for(asyncio.gather(*tasks[:2]), 10)
        later = await server._call(*alice.prepare("PUT", path, event("x", summary="y" * 300_000).encode()))
        assert later.status == 204
        return [one.status for one in begun], small.status, server.app._bodies.held

    statuses, small, left = server._loop.run_until_complete(scenario())
    # The account's half of the room has place for one of them, and one goes beyond.
    assert (statuses, small, left) == ([0, 0, 503, 503], 201, 0)
    server.close()
    store.close()


class Unfinished(Slow):
    """A PUT of two pieces; an endless one then hangs, and after `go` its connection ends (status 0: no answer)."""

    def __init__(self, client: Client, path: str, size: int, *, endless: bool) -> None:
        super().__init__(client, path)
        self.scope["method"] = "PUT"
        self.pieces = [b"x" * size, b"x"]
        self.endless = endless
        self.stuck = asyncio.Event()
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []

    async def receive(self) -> dict[str, Any]:
        if self.pieces:
            return {"type": "http.request", "body": self.pieces.pop(0), "more_body": self.endless or bool(self.pieces)}
        self.stuck.set()
        await self.go.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status, self.fields = message["status"], message["headers"]
