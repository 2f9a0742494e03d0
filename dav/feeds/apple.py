"""Subscriptions that Apple's programs keep here (collections of type CS:subscribed), followed by the server too.

The programs fetch such a calendar themselves and show it; others do not know the type. With feeds.followed_from_apple
the server makes a followed calendar beside each, and removes it with the subscription.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dav.errors import DavError
from dav.feeds.fetch import BadUrl, checked_url
from dav.feeds.follow import CannotFollow, check_room_in, state_xml
from dav.feeds.names import FROM, NAMESPACE, STATE
from dav.ical.recur import duration
from dav.names import cs, d, ical
from dav.xml import Element, escape, parse, text_of
from storage import collections, feeds_in, properties
from storage.engine import transaction
from storage.errors import StorageError
from storage.records import Collection

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Conn, Store

PREFIX = "apple-"

# Address, what is left out, seconds between two looks.
_Wish = tuple[str, tuple[str, ...], int | None]


def follow_apple(store: Store, config: Config, now_s: int) -> str:
    """Makes, changes and removes followed calendars as the subscriptions say. Returns a sentence, or "" for nothing.

    A calendar that its owner removed is not made again.
    """
    with transaction(store) as conn:
        kept = feeds_in.subscribed_with(conn, cs("source"))
        ours = {one.name: (one, feed, wish) for one, feed, wish in feeds_in.feeds_with(conn, FROM)}
    made = changed = removed = 0
    for subscription, xml in kept:
        name = f"{PREFIX}{subscription.key}"
        followed = ours.pop(name, None)
        wish = _wish(xml, config)
        if wish is None:
            continue
        try:
            if followed is None:
                made += _make(store, config, subscription, name, wish, now_s)
            elif followed[2] != _written(wish):
                changed += _change(store, followed[0], wish, now_s)
        except (CannotFollow, StorageError):
            continue  # there is no room, or somebody else writes: looked at again with the next turn
    for one, _, _ in ours.values():
        with transaction(store, write=True) as conn:
            collections.delete_collection(conn, one, now_s=now_s)
        removed += 1
    if not (made or changed or removed):
        return ""
    return f"Of subscriptions of Apple's programs {made} are followed anew, {changed} changed, {removed} no more."


def _make(store: Store, config: Config, subscription: Collection, name: str, wish: _Wish, now_s: int) -> bool:
    url, strip, wanted_s = wish
    with transaction(store, write=True) as conn:
        if feeds_in.was_removed(conn, subscription.owner_id, name):
            return False
        check_room_in(conn, config, subscription.owner_id, url)
        made = feeds_in.follow(
            conn, subscription.owner_id, url, name=name, display_name=subscription.display_name, strip=strip,
            interval_s=wanted_s, next_s=now_s, now_s=now_s,
        )  # fmt: skip
        _note(conn, made, wish, now_s)
    return True


def _change(store: Store, followed: Collection, wish: _Wish, now_s: int) -> bool:
    url, strip, wanted_s = wish
    with transaction(store, write=True) as conn:
        feeds_in.change(conn, followed.id, url=url, strip=strip, interval_s=wanted_s, next_s=now_s)
        _note(conn, followed, wish, now_s)
    return True


def _note(conn: Conn, followed: Collection, wish: _Wish, now_s: int) -> None:
    properties.set_property(conn, followed.id, FROM, _written(wish))
    state = state_xml(wish[0], checked_s=None, good_s=None, next_s=now_s, error="", notes=())
    properties.set_property(conn, followed.id, STATE, state)


def _written(wish: _Wish) -> str:
    url, strip, wanted_s = wish
    return (
        f'<subscription xmlns="{NAMESPACE}" strip="{" ".join(strip)}" seconds="{wanted_s or ""}">'
        f"{escape(url)}</subscription>"
    )


def _wish(xml: dict[str, str], config: Config) -> _Wish | None:
    """What a subscription asks for; None when it names no address that can be followed."""
    source = _element(xml.get(cs("source")), config)
    href = None if source is None else source.find(d("href"))
    try:
        url = checked_url(text_of(href)) if href is not None else None
    except BadUrl:
        url = None
    if url is None:
        return None
    strip = tuple(part for part in feeds_in.STRIPS if cs(f"subscribed-strip-{part}") in xml)
    rate = _element(xml.get(ical("refreshrate")), config)
    try:
        every = duration(text_of(rate)) if rate is not None else None
    except ValueError:
        every = None
    seconds = every.days * 86_400 + every.seconds if every is not None else 0
    return url, strip, seconds if seconds > 0 else None


def _element(xml: str | None, config: Config) -> Element | None:
    if xml is None:
        return None
    try:
        return parse(xml.encode(), config.limits)
    except DavError:
        return None
