"""What sharing works with: a transaction, the settings, and who does it. From a request or from the command line."""

from __future__ import annotations

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
        subject = f"{collection.area}/{collection.path}"
        audit.note(
            self.conn, at_s=self.now_s, account_id=collection.owner_id, actor=self.actor, action=action,
            subject=subject, detail=detail,
        )  # fmt: skip


def desk_of(ctx: Ctx) -> Desk:
    """The desk of a request."""
    return Desk(ctx.conn, ctx.config, ctx.urls, ctx.now_s, ctx.account.name)


def is_hidden(desk: Desk, account: Account, reader: Account | None) -> bool:
    """Whether an account may not be found by its name: the directory is not shown, and it is not the reader's own."""
    return not desk.config.directory.visible and reader is not None and account.id != reader.id
