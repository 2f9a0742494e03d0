"""People without an account: they are sent the address of a feed by mail, which ends with their share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from dav.feeds import address
from dav.mail import can_mail
from dav.mail.feed_note import METHOD, UID
from dav.mail.links import base_url
from dav.sharing import notices
from dav.sharing.desk import Desk
from storage import feeds_out, outbound
from storage.records import Feed, NewOutgoing

if TYPE_CHECKING:
    from storage.records import Account, Collection, Share

_AREAS = ("calendars", "addressbooks")
# Mails that wait at the same time for one share: one, but for a change of level.
_WAITING_MAX = 20
_HOUR_S = 3600


class Outsiders:
    """The outsiders of one collection in one transaction. What is asked of the store is asked once."""

    def __init__(self, desk: Desk, source: Collection) -> None:
        self._desk, self._source = desk, source
        self._known: list[Feed] | None = None
        self._left: int | None = None
        self._promised = 0

    def state_of(self, before: Share | None, access: str) -> str:
        """The state of a share with an outsider: "accepted" where a feed can be sent, "pending" where none can."""
        config, source = self._desk.config, self._source
        possible = (
            config.sharing.outsiders and config.feeds.published and can_mail(config) and bool(base_url(config))
            and source.area in _AREAS
        )  # fmt: skip
        if not possible:
            return "pending"
        if before is not None and before.state == "accepted" and self._of(before, _mode(source, access)):
            return "accepted"  # has the address already
        if before is None or before.state != "accepted":
            if len(self._feeds()) + self._promised >= config.feeds.published_most:
                return "pending"
            self._promised += 1
        if self._mails_left() <= 0:
            return "pending"
        self._left = self._mails_left() - 1
        return "accepted"

    def publish(self, owner: Account, share: Share) -> None:
        """Makes the feed of an outsider's share and puts the mail with its address into the ledger.

        Nothing when there is one of the same kind: who is invited twice gets one mail.
        """
        desk, source = self._desk, self._source
        mode = _mode(source, share.access)
        if share.state != "accepted" or self._of(share, mode):
            return
        for feed in self._of(share):
            self._revoke(feed)
        # The link goes to strangers: nothing that a request says about us may stand in it.
        base = base_url(desk.config)
        feed = feeds_out.publish(desk.conn, source.id, mode=mode, label=_label(share), now_s=desk.now_s)
        self._feeds().append(feed)
        url = address.link_of(base, feed, source)
        page = address.link(base, feed.secret, "") if desk.config.feeds.published_page else ""
        note = {"url": url, "page": page, "area": source.area, "mode": mode}
        sender = owner.addresses[0] if owner.addresses else desk.config.mail.from_address
        item = NewOutgoing(
            account_id=owner.id, uid=_uid(source, share), recurrence="", recipient=_label(share),
            recipient_name=share.common_name, sender=sender,
            sender_name=owner.display_name or owner.name, method=METHOD, kind="", sequence=0,
            digest=hashlib.sha256(url.encode()).hexdigest(), summary=share.summary or notices.title_of(source),
            changes=(), calendar=json.dumps(note).encode(),
        )  # fmt: skip
        outbound.enqueue(desk.conn, item, now_s=desk.now_s, settle_s=0, settle_max_s=0)

    def revoke(self, owner: Account, gone: Iterable[Share]) -> None:
        """Makes the addresses of these shares void, and takes back the mails that were not sent yet."""
        desk = self._desk
        for share in gone:
            if not share.grantee.startswith("mailto:"):
                continue
            feeds = self._of(share)
            for feed in feeds:
                self._revoke(feed)
            if not feeds and share.state != "accepted":
                continue  # never sent one
            uid = _uid(self._source, share)
            for row in outbound.list_outgoing(desk.conn, account_id=owner.id, uid=uid, limit=_WAITING_MAX):
                if row.state == "held":
                    outbound.drop(desk.conn, row.id, desk.now_s)

    def _feeds(self) -> list[Feed]:
        if self._known is None:
            self._known = feeds_out.feeds_of(self._desk.conn, self._source.id)
        return self._known

    def _of(self, share: Share, mode: str = "") -> list[Feed]:
        return [feed for feed in self._feeds() if feed.label == _label(share) and mode in ("", feed.mode)]

    def _revoke(self, feed: Feed) -> None:
        feeds_out.revoke(self._desk.conn, feed.id)
        self._feeds().remove(feed)

    def _mails_left(self) -> int:
        """How many mails this collection may still send in this hour. One statement, once."""
        if self._left is None:
            since_s = self._desk.now_s - _HOUR_S
            made = feeds_out.mails_since(self._desk.conn, self._source.owner_id, _prefix(self._source), since_s=since_s)
            self._left = self._desk.config.sharing.feed_mails - made
        return self._left


def _mode(source: Collection, access: str) -> str:
    return "busy" if access == "busy" and source.area == "calendars" else "whole"


def _prefix(source: Collection) -> str:
    """What the uids of a collection's mails begin with."""
    return f"{UID}{source.id:x}-"


def _uid(source: Collection, share: Share) -> str:
    return _prefix(source) + share.key


def _label(share: Share) -> str:
    return share.grantee.removeprefix("mailto:")
