"""People without an account: they are sent the address of a feed by mail, which ends with their share."""

from __future__ import annotations

import hashlib
import json
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
    from dav.sharing.invite import Gift
    from storage.records import Account, Collection, Share

_AREAS = ("calendars", "addressbooks")
# Mails that wait at the same time for one share: one, but for a change of level.
_WAITING_MAX = 20


def state_of(desk: Desk, source: Collection, before: Share | None, gift: Gift) -> str:
    """The state of a share with an outsider: "accepted" where a feed can be sent, "pending" where none can."""
    config = desk.config
    possible = (
        config.sharing.outsiders and config.feeds.published and can_mail(config) and bool(base_url(config))
        and source.area in _AREAS
    )  # fmt: skip
    if possible and (before is None or before.state != "accepted"):
        possible = len(feeds_out.feeds_of(desk.conn, source.id)) < config.feeds.published_most
    return "accepted" if possible else "pending"


def publish(desk: Desk, owner: Account, source: Collection, share: Share, before: Share | None) -> None:
    """Makes the feed of an outsider's share and puts the mail with its address into the ledger.

    Nothing when there is one of the same kind: who is invited twice gets one mail.
    """
    mode = "busy" if share.access == "busy" and source.area == "calendars" else "whole"
    feeds = _feeds(desk, source, share)
    if share.state != "accepted" or any(feed.mode == mode for feed in feeds):
        return
    for feed in feeds:
        feeds_out.revoke(desk.conn, feed.id)
    # The link goes to strangers: nothing that a request says about us may stand in it.
    base = base_url(desk.config)
    feed = feeds_out.publish(desk.conn, source.id, mode=mode, label=_label(share), now_s=desk.now_s)
    url = address.link_of(base, feed, source)
    page = address.link(base, feed.secret, "") if desk.config.feeds.published_page else ""
    note = {"url": url, "page": page, "area": source.area, "mode": mode}
    sender = owner.addresses[0] if owner.addresses else desk.config.mail.from_address
    item = NewOutgoing(
        account_id=owner.id, uid=UID + share.key, recurrence="", recipient=_label(share),
        recipient_name=share.common_name, sender=sender,
        sender_name=owner.display_name or owner.name, method=METHOD, kind="", sequence=0,
        digest=hashlib.sha256(url.encode()).hexdigest(), summary=share.summary or notices.title_of(source),
        changes=(), calendar=json.dumps(note).encode(),
    )  # fmt: skip
    outbound.enqueue(desk.conn, item, now_s=desk.now_s, settle_s=0, settle_max_s=0)


def revoke(desk: Desk, owner: Account, source: Collection, share: Share) -> None:
    """Makes the address void, and takes back the mail if it was not sent yet."""
    for feed in _feeds(desk, source, share):
        feeds_out.revoke(desk.conn, feed.id)
    for row in outbound.list_outgoing(desk.conn, account_id=owner.id, uid=UID + share.key, limit=_WAITING_MAX):
        if row.state == "held":
            outbound.drop(desk.conn, row.id, desk.now_s)


def _feeds(desk: Desk, source: Collection, share: Share) -> list[Feed]:
    return [feed for feed in feeds_out.feeds_of(desk.conn, source.id) if feed.label == _label(share)]


def _label(share: Share) -> str:
    return share.grantee.removeprefix("mailto:")
