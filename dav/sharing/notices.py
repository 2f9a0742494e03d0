"""Notices of invitations and answers: members of the collection `notifications` in a calendar home.

They are stored in the form that Apple's programs read (CS:notification). A client that asks for the media type of
draft-pot-webdav-notifications gets the same in DAV: names.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lxml import etree

from dav.names import c, cs, d
from dav.xml import ROOT_NAMESPACES, attribute, escape, href_element, wrap
from storage import meetings
from storage import notices as stored
from storage.records import ObjectIndex

if TYPE_CHECKING:
    from dav.sharing.desk import Desk
    from storage.records import Account, Collection, ObjectRecord, Share

INVITE, REPLY = "invite-notification", "invite-reply"
TYPE = "application/xml; charset=utf-8"
DAV_TYPE = "application/davnotification+xml"
_DAV_NAMES = {INVITE: "share-invite-notification", REPLY: "share-reply-notification"}
_STATES = {"pending": "noresponse", "accepted": "accepted", "declined": "declined"}
_PARSER = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)


def state_word(state: str) -> str:
    """The local name of the element for a state of records.SHARE_STATES, or for "invalid" and "deleted"."""
    return f"invite-{_STATES.get(state, state)}"


def access_element(access: str) -> str:
    """The level of a share in Apple's names, which know two."""
    return "<CS:read-write/>" if access in ("write", "owner") else "<CS:read/>"


# ---- what a notice says ----------------------------------------------------------------------------------------


def invitation(desk: Desk, share: Share, source: Collection, owner: Account, *, sharee: str, state: str) -> bytes:
    """An invitation, or with the state "deleted" its end. sharee: the href by which somebody was invited."""
    parts = [
        wrap(cs("uid"), escape(share.key)),
        href_element(sharee),
        f"<CS:{state_word(state)}/>",
        wrap(cs("access"), access_element(share.access)),
        wrap(cs("hosturl"), href_element(source_href(desk, source))),
        organizer(desk, owner),
        wrap(cs("summary"), escape(share.summary or title_of(source))),
    ]
    if source.kind == "calendar":
        names = source.components or ("VEVENT", "VTODO")
        inner = "".join(f"<C:comp name={attribute(name)}/>" for name in names)
        parts.append(wrap(c("supported-calendar-component-set"), inner))
    return _notice(desk, f"<CS:{INVITE} shared-type={attribute(source.kind)}>{''.join(parts)}</CS:{INVITE}>")


def reply(desk: Desk, share: Share, source: Collection, who: Account, *, state: str, summary: str = "") -> bytes:
    """An answer, for the owner. summary: what the sharee calls the collection."""
    parts = [
        href_element(share.address if share.grantee_id == who.id and share.address else address_of(desk, who)),
        f"<CS:{state_word(state)}/>",
        wrap(cs("hosturl"), href_element(source_href(desk, source))),
        wrap(cs("in-reply-to"), escape(share.key)),
        wrap(cs("summary"), escape(summary or share.summary or title_of(source))),
        wrap(cs("common-name"), escape(who.display_name or who.name)),
    ]
    return _notice(desk, f"<CS:{REPLY} shared-type={attribute(source.kind)}>{''.join(parts)}</CS:{REPLY}>")


def organizer(desk: Desk, owner: Account) -> str:
    """CS:organizer: who shares."""
    name = wrap(cs("common-name"), escape(owner.display_name or owner.name))
    return wrap(cs("organizer"), href_element(desk.urls.principal(owner.name)) + name)


def title_of(source: Collection) -> str:
    """What a collection is called by its owner."""
    return source.display_name or source.name


def source_href(desk: Desk, source: Collection) -> str:
    """Where a shared collection is in its owner's home."""
    return desk.urls.collection(source.area, source.owner_name, source.path)


def address_of(desk: Desk, account: Account) -> str:
    """How an account is named: by its first address, else by its principal."""
    return f"mailto:{account.addresses[0]}" if account.addresses else desk.urls.principal(account.name)


def _notice(desk: Desk, inner: str) -> bytes:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(desk.now_s))
    text = f"<CS:notification {ROOT_NAMESPACES}><CS:dtstamp>{stamp}</CS:dtstamp>{inner}</CS:notification>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def dav_form(body: bytes) -> bytes:
    """A stored notice in the names of draft-pot-webdav-resource-sharing-04; as it is when it is none of ours."""
    try:
        root = etree.fromstring(body, _PARSER)
    except etree.XMLSyntaxError:
        return body
    notice = next((child for child in root if child.tag in (cs(INVITE), cs(REPLY))), None)
    if root.tag != cs("notification") or notice is None:
        return body
    local = str(notice.tag).rpartition("}")[2]
    state = next(str(child.tag).rpartition("}")[2] for child in notice if str(child.tag).startswith(cs("invite-")))
    host = href_element(notice.findtext(f"{cs('hosturl')}/{d('href')}") or "")
    summary = escape(notice.findtext(cs("summary")) or "")
    if local == INVITE:
        name = escape(notice.findtext(f"{cs('organizer')}/{cs('common-name')}") or "")
        who = href_element(notice.findtext(f"{cs('organizer')}/{d('href')}") or "")
        level = "read-write" if notice.find(f"{cs('access')}/{cs('read-write')}") is not None else "read"
        kind = notice.get("shared-type")
        types = {"calendar": "<D:collection/><C:calendar/>", "addressbook": "<D:collection/><CR:addressbook/>"}
        parts = [
            wrap(d("principal"), who + wrap(d("prop"), wrap(d("displayname"), name))),
            f"<D:{state}/>",
            wrap(d("sharer-resource-uri"), host),
            wrap(d("share-access"), f"<D:{level}/>"),
            wrap(d("prop"), wrap(d("displayname"), summary)
                 + wrap(d("resourcetype"), types.get(str(kind), "<D:collection/>"))),
        ]  # fmt: skip
    else:
        parts = [
            wrap(d("sharee"), href_element(notice.findtext(d("href")) or "")),
            f"<D:{state}/>",
            wrap(d("sharer-resource-uri"), host),
        ]
    stamp = wrap(d("dtstamp"), escape(root.findtext(cs("dtstamp")) or ""))
    inner = wrap(d(_DAV_NAMES[local]), "".join(parts))
    text = f"<D:notification {ROOT_NAMESPACES}>{stamp}{inner}</D:notification>"
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def type_element(component: str, *, dav: bool) -> str | None:
    """The value of notificationtype for the component of a stored notice, in Apple's names or in DAV:."""
    local, _, kind = component.partition("/")
    if local not in _DAV_NAMES:
        return None
    return f"<D:{_DAV_NAMES[local]}/>" if dav else f"<CS:{local} shared-type={attribute(kind)}/>"


# ---- keeping them ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored notice. owner_id: whose."""

    owner_id: int
    collection: Collection
    record: ObjectRecord


def put(desk: Desk, local: str, source: Collection, bodies: Mapping[tuple[str, int], bytes]) -> None:
    """Puts notices: (uid, account) → content, each in the place of one with the same uid.

    local: INVITE or REPLY. source: what they are about; its kind stands with it in the column component. Nobody gets
    more than sharing.notices: what is shared is listed without a notice too. A dozen statements for any number. Raises
    LockFirst.
    """
    if not bodies:
        return
    people = {account_id for _, account_id in bodies}
    found = stored.notifications_of(desk.conn, people)
    for account_id in sorted(people - found.keys()):
        found[account_id] = stored.make_notifications(desk.conn, account_id, now_s=desk.now_s), 0
    ids = [collection.id for collection, _ in found.values()]
    meetings.lock_in_order(desk.conn, ids)
    there = stored.by_uids(desk.conn, ids, {uid for uid, _ in bodies})
    old = {(record.uid, record.collection_id): record for record in there}
    counts = {account_id: count for account_id, (_, count) in found.items()}
    writings = []
    for (uid, account_id), body in bodies.items():
        collection, _ = found[account_id]
        before = old.get((uid, collection.id))
        if before is None:
            if counts[account_id] >= desk.config.sharing.notices:
                continue
            counts[account_id] += 1
        name = before.name if before is not None else f"{secrets.token_hex(16)}.xml"
        index = ObjectIndex(uid=uid, component=f"{local}/{source.kind}")
        etag = hashlib.sha256(body).hexdigest()[:32]
        writings.append(meetings.Writing(collection, before, name, body, etag, TYPE, index, None))
    meetings.write_many(desk.conn, writings, now_s=desk.now_s)


def find(desk: Desk, uids: Iterable[str], account_ids: Iterable[int]) -> list[Kept]:
    """The notices with one of these uids that these accounts have. Two statements."""
    by_id = {one.id: (owner, one) for owner, (one, _) in stored.notifications_of(desk.conn, account_ids).items()}
    return [
        Kept(by_id[record.collection_id][0], by_id[record.collection_id][1], record)
        for record in stored.by_uids(desk.conn, by_id, uids)
    ]


def drop(desk: Desk, kept: Iterable[Kept]) -> None:
    """Removes notices, in a few statements. Raises LockFirst."""
    some = [(one.collection, one.record) for one in sorted(kept, key=lambda kept: kept.collection.id)]
    meetings.lock_in_order(desk.conn, {collection.id for collection, _ in some})
    stored.remove_many(desk.conn, some, now_s=desk.now_s)
