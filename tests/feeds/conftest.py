"""Two accounts of a server in this process, and what it takes to follow a calendar without a network."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dav.config import Config, FeedsConfig
from dav.feeds import follow
from dav.feeds.fetch import Fetched, FetchError
from dav.feeds.follow import Outcome
from storage import collections, feeds_in
from storage.engine import Store, transaction
from storage.feeds_in import Feed
from storage.records import Collection
from tests.dsl import NOW_S, Client
from tests.protocol.conftest import alice, bob, serve, server

__all__ = ["alice", "bob", "serve", "server"]

URL = "https://club.example/secret-0123456789abcdef/all.ics"


class Followed:
    """A followed calendar. look(body): what comes of one look whose answer is this."""

    def __init__(self, store: Store, config: Config, collection: Collection) -> None:
        self.store, self.config, self.id, self.now_s = store, config, collection.id, NOW_S
        self.path = f"calendars/{collection.owner_name}/{collection.path}/"
        self.holder = "worker"

    @property
    def collection(self) -> Collection:
        with transaction(self.store) as conn:
            found = collections.collection_by_id(conn, self.id)
        assert found is not None
        return found

    @property
    def feed(self) -> Feed:
        with transaction(self.store) as conn:
            found = feeds_in.feed_of(conn, self.id)
        assert found is not None
        return found

    def take(self) -> tuple[Collection, Feed]:
        self.now_s += 3600
        with transaction(self.store, write=True) as conn:
            taken = feeds_in.take_one(conn, self.id, holder=self.holder, now_s=self.now_s, lease_s=600)
        assert taken is not None
        return taken

    def look(self, body: bytes | None, **fields: str) -> Outcome:
        taken = self.take()
        fetched = Fetched(body, taken[1].url, **fields)
        return follow.apply(self.store, self.config, taken, fetched, self.holder, self.now_s)

    def fail(self, error: FetchError) -> Outcome:
        return follow._note_failure(self.store, self.config, self.take(), error, self.holder, self.now_s)


Follow = Callable[..., Followed]


@pytest.fixture
def followed(store: Store) -> Follow:
    """Makes a followed calendar for an account; keywords as for feeds_in.follow, and settings=FeedsConfig(...)."""

    def make(client: Client, url: str = URL, *, settings: FeedsConfig | None = None, **options: object) -> Followed:
        assert client.account is not None
        values: dict[str, object] = {"name": "club", "display_name": "Club", "strip": ("alarms",), **options}
        with transaction(store, write=True) as conn:
            collection = feeds_in.follow(conn, client.account.id, url, next_s=NOW_S, now_s=NOW_S, **values)  # type: ignore[arg-type]
        return Followed(store, Config(feeds=settings or FeedsConfig()), collection)

    return make
