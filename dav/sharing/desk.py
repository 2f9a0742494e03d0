"""What sharing works with: a transaction, the settings, and who does it. From a request or from the command line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage import audit

if TYPE_CHECKING:
    from dav.config import Config
    from dav.context import Ctx
    from dav.urls import Urls
    from storage.engine import Conn
    from storage.records import Account, Collection


@dataclass(frozen=True, slots=True)
class Desk:
    """actor: as the audit names who does it."""

    conn: Conn
    config: Config
    urls: Urls
    now_s: int
    actor: str

    def note(self, collection: Collection, action: str, *, detail: str = "") -> None:
        """Writes down what was done to somebody's collection."""
        self.note_all(collection, [(action, detail)])

    def note_all(self, collection: Collection, deeds: Iterable[tuple[str, str]]) -> None:
        """As note, for several (action, detail). One statement."""
        subject = f"{collection.area}/{collection.path}"
        audit.note_many(
            self.conn, [(action, subject, detail) for action, detail in deeds], at_s=self.now_s,
            account_id=collection.owner_id, actor=self.actor,
        )  # fmt: skip


def desk_of(ctx: Ctx) -> Desk:
    """The desk of a request."""
    return Desk(ctx.conn, ctx.config, ctx.urls, ctx.now_s, ctx.account.name)


def is_hidden(desk: Desk, account: Account, reader: Account | None) -> bool:
    """Whether an account may not be found by its name: the directory is not shown, and it is not the reader's own."""
    return not desk.config.directory.visible and reader is not None and account.id != reader.id
