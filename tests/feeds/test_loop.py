"""The part of a worker that fetches what is due."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from dav.config import Config, FeedsConfig
from dav.feeds import follow
from storage import feeds_in, objects
from storage.engine import Store, transaction
from tests.dsl import NOW_S, Client
from tests.feeds.conftest import Follow
from tests.feeds.feedtext import club
from tests.feeds.web import Reply, Web, ok, running

CONFIG = Config(feeds=FeedsConfig(followed_private_networks=True, followed_at_once=3, followed_seconds=20))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "POLL_S", 0.02)


async def until(true: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def workers(store: Store, count: int, config: Config = CONFIG):  # type: ignore[no-untyped-def]
    tasks = [asyncio.create_task(follow.run_for_ever(store, config, clock=lambda: NOW_S)) for _ in range(count)]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def test_several_workers_fetch_each_calendar_once(alice: Client, followed: Follow, store: Store) -> None:
    async def scene() -> Web:
        async with running(lambda path, fields: [0.05, ok(club(2))]) as web:
            ids = [followed(alice, f"http://127.0.0.1:{web.port}/{number}").id for number in range(8)]

            def all_good() -> bool:
                with transaction(store) as conn:
                    return all(feed.good_s for _, feed in feeds_in.list_feeds(conn))

            async with workers(store, 3):
                await until(all_good)
                await asyncio.sleep(0.1)
            with transaction(store) as conn:
                assert {len(objects.list_objects(conn, one)) for one in ids} == {2}
            return web

    web = asyncio.run(scene())
    assert sorted(path for path, _ in web.asked) == [f"/{number}" for number in range(8)]


def test_one_worker_fetches_only_so_many_at_once(alice: Client, followed: Follow, store: Store) -> None:
    now = most = 0

    def reply(path: str, fields: dict[str, str]) -> Reply:
        nonlocal now, most
        now += 1
        most = max(most, now)
        yield 0.1
        yield ok(club(1))
        now -= 1

    async def scene() -> None:
        async with running(reply) as web:
            for number in range(9):
                followed(alice, f"http://127.0.0.1:{web.port}/{number}")
            async with workers(store, 1):
                await until(lambda: len(web.asked) == 9)

    asyncio.run(scene())
    assert most == 3


def test_a_worker_that_stops_gives_back_what_it_was_fetching(alice: Client, followed: Follow, store: Store) -> None:
    async def scene() -> None:
        async with running(lambda path, fields: [15.0, ok(club(1))]) as web:
            one = followed(alice, f"http://127.0.0.1:{web.port}/a")
            async with workers(store, 1):
                await until(lambda: len(web.asked) == 1)
                assert one.feed.holder
            assert (one.feed.holder, one.feed.next_s) == ("", NOW_S)

    asyncio.run(scene())


def test_one_calendar_that_fails_keeps_no_other_waiting(alice: Client, followed: Follow, store: Store) -> None:
    async def scene() -> None:
        async with running(lambda path, fields: b"" if path == "/bad" else ok(club(1))) as web:
            bad = followed(alice, f"http://127.0.0.1:{web.port}/bad")
            good = followed(alice, f"http://127.0.0.1:{web.port}/good")
            async with workers(store, 1):
                await until(lambda: bool(good.feed.good_s) and bad.feed.failures == 1)
            assert "HTTP" in bad.feed.error
            assert bad.feed.next_s > NOW_S

    asyncio.run(scene())


def test_nothing_is_fetched_where_that_is_switched_off(alice: Client, followed: Follow, store: Store) -> None:
    async def scene() -> None:
        followed(alice, "http://127.0.0.1:1/")
        off = replace(CONFIG, feeds=FeedsConfig(followed=False))
        async with workers(store, 1, off) as tasks:
            await asyncio.wait_for(asyncio.shield(tasks[0]), 5)

    asyncio.run(scene())


def test_the_second_look_is_conditional(alice: Client, followed: Follow, store: Store) -> None:
    async def scene() -> Web:
        async with running(lambda path, fields: ok(club(1), 'ETag: "7"')) as web:
            one = followed(alice, f"http://127.0.0.1:{web.port}/a")
            fetcher = follow.Fetcher(CONFIG.feeds)
            for _ in range(2):
                await follow.look(store, CONFIG, fetcher, one.take(), holder=one.holder)
            return web

    first, second = asyncio.run(scene()).asked
    assert "if-none-match" not in first[1]
    assert second[1]["if-none-match"] == '"7"'
