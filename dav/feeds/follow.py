"""Outside calendars that the server follows: when they are looked at, and how what came becomes members of a calendar.

One look: fetch (async, no transaction), take apart and compare (a thread, short reading transactions), write in batches
of BATCH. Every writing transaction asks whether the calendar is still taken by this worker. A worker may die anywhere:
what it wrote stays, the validators of the answer are noted last, so the next look compares everything once more.
Nothing here sends a message to anybody: the objects carry no schedule tag.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import random
import re
import secrets
import socket
import ssl
import threading
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from dav.errors import DavError, from_storage
from dav.feeds.fetch import Fetched, Fetcher, FetchError, checked_url, host_of, without_password
from dav.feeds.names import NAMESPACE, STATE
from dav.feeds.split import Item, NotACalendar, Notes, Split, quiet, split
from dav.ical.tz import named_zone
from dav.methods.put import Described, describe, etag_of
from dav.names import ical
from dav.xml import escape, tags
from storage import collections, feeds_in, objects, properties
from storage.engine import transaction
from storage.errors import StorageError
from storage.feeds_in import Feed, Good
from storage.records import Collection

if TYPE_CHECKING:
    from dav.config import Config, FeedsConfig
    from storage.engine import Conn, Store

# What is written in one transaction, and read at once for comparing.
BATCH = 100
PAUSE_S = 0.005
POLL_S = 15.0
# Beside followed_seconds: for taking apart and writing. After it somebody else may begin.
LEASE_S = 1800
# How long the events of one calendar may take to be understood. What was written until then stays, and the next look
# goes on behind it.
WORK_S = 300.0
DAY_S = 86_400
WEEK_S = 7 * DAY_S
# After the first failure, and twice as long after each further one, up to a day.
RETRY_S = 300
HELD_S = 1800
GONE_FROM = 3
# A calendar with less than this may lose all of it at once.
SHRINK_FROM = 10
# Changes whenever split() makes something else of the same bytes.
READ_AS = b"1"

Progress = Callable[[str], None]
T = TypeVar("T")

log = logging.getLogger("davenport.feeds")


class CannotFollow(Exception):
    """This cannot be followed. The message is a sentence for whoever asked."""


class _Lost(Exception):
    """The calendar was removed, changed, or taken by another worker meanwhile."""


class _Held(Exception):
    """The answer looks wrong, and would be believed the second time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one look.

    kind: "changed", "same", "failed", "held" (it looks wrong and is believed if it stays so), or "lost" (removed or
    changed meanwhile, nothing was noted). error: a sentence for the two that failed. total: members now; left_out:
    items that could not be kept.
    """

    kind: str
    error: str = ""
    added: int = 0
    changed: int = 0
    removed: int = 0
    total: int = 0
    left_out: int = 0
    next_s: int = 0

    @property
    def good(self) -> bool:
        return self.kind in ("changed", "same")


def _silent(sentence: str) -> None:
    """Nobody watches."""


# ---- when ----


def interval_s(config: FeedsConfig, wanted_s: int | None, offered_s: int | None) -> int:
    """Seconds between two looks: as the owner wants, else as the calendar asks, else by the setting; within bounds."""
    seconds = wanted_s or offered_s or config.followed_minutes * 60
    return max(config.followed_minutes_least * 60, min(seconds, WEEK_S))


def retry_s(failures: int, *, status: int = 0, retry_after_s: int | None = None, held: bool = False) -> int:
    """Seconds until the next look after `failures` failures, this one included."""
    if status == 410 or (status == 404 and failures >= GONE_FROM):
        return DAY_S
    seconds = min(RETRY_S << min(failures - 1, 16), DAY_S)
    if held:
        seconds = max(seconds, HELD_S)
    return min(max(seconds, retry_after_s or 0), DAY_S)


def _spread(seconds: int) -> int:
    """So that calendars that were added together are not fetched together for ever."""
    return int(seconds * random.uniform(0.9, 1.1))


# ---- one look ----


async def look(
    store: Store,
    config: Config,
    fetcher: Fetcher,
    taken: tuple[Collection, Feed],
    *,
    holder: str,
    clock: Callable[[], float] = time.time,
    progress: Progress = _silent,
    turn: asyncio.Semaphore | None = None,
) -> Outcome:
    """Fetch a calendar that `holder` has taken and make its members what the answer says. Never raises for the answer.

    turn: held while what came is read and written. Raises StorageError when the outcome could not be noted.
    """
    feed = taken[1]
    # An answer that is to be confirmed must come whole, and so must one after a change of how it is read.
    known = feed.good_s is not None and not feed.held and bool(feed.digest)
    progress(f"Fetching from {host_of(feed.url)}.")
    try:
        fetched = await fetcher.fetch(
            feed.url, etag=feed.etag if known else "", last_modified=feed.last_modified if known else ""
        )
    except FetchError as error:
        return await in_thread(_note_failure, store, config, taken, error, holder, int(clock()))
    async with turn or contextlib.nullcontext():
        return await in_thread(apply, store, config, taken, fetched, holder, int(clock()), progress)


def apply(
    store: Store,
    config: Config,
    taken: tuple[Collection, Feed],
    fetched: Fetched,
    holder: str,
    now_s: int,
    progress: Progress = _silent,
) -> Outcome:
    """Make the members what an answer says and note the outcome. Blocks; raises StorageError as look does."""
    try:
        return _apply(store, config, taken, fetched, holder, now_s, progress)
    except _Lost:
        return Outcome("lost")
    except NotACalendar as error:
        return _note_failure(store, config, taken, FetchError(str(error)), holder, now_s)
    except _Held as error:
        return _note_failure(store, config, taken, FetchError(str(error)), holder, now_s, held=True)
    except StorageError as error:
        sentence = _of_storage(error)
        if not sentence:
            raise
        return _note_failure(store, config, taken, FetchError(sentence), holder, now_s)


def _of_storage(error: StorageError) -> str:
    """What the store refuses, as a sentence; "" when it is just busy."""
    try:
        answer = from_storage(error)
    except StorageError:
        return ""
    return "" if answer.status == 503 else answer.detail


def _apply(
    store: Store,
    config: Config,
    taken: tuple[Collection, Feed],
    fetched: Fetched,
    holder: str,
    now_s: int,
    progress: Progress,
) -> Outcome:
    collection, feed = taken
    if fetched.body is None:
        return _unchanged(store, config, taken, fetched, holder, now_s, feed.digest)
    digest = hashlib.sha256(b"\0".join((READ_AS, ",".join(feed.strip).encode(), fetched.body))).hexdigest()
    if digest == feed.digest and not feed.held:
        return _unchanged(store, config, taken, fetched, holder, now_s, digest)
    found = split(fetched.body, strip=feed.strip, items_max=config.feeds.followed_events)
    progress(f"{len(fetched.body)} bytes with {len(found.items)} events and tasks.")
    with transaction(store) as conn:
        etags = {row[0]: str(row[1]) for rows in objects.list_columns(conn, collection.id, 2) for row in rows}
    wanted = {item.name: item for item in found.items}
    gone = sorted(etags.keys() - wanted.keys())
    _check_plausible(config.feeds, found, feed, before=len(etags), gone=len(gone))
    notes = Notes()
    for note in found.notes:
        notes.add(note)
    added, changed, refused = _write(store, config, taken, wanted, etags, notes, holder, now_s, progress)
    _remove(store, taken, gone, holder, now_s)
    offered_s = found.refresh_s or fetched.max_age_s
    next_s = now_s + _spread(interval_s(config.feeds, feed.interval_s, offered_s))
    good = Good(fetched.url, fetched.etag, fetched.last_modified, digest, offered_s, next_s, "\n".join(notes.lines()))
    with transaction(store, write=True) as conn:
        _still(conn, taken, holder)
        _describe_calendar(conn, collection, feed, found, now_s)
        _note_good(conn, taken, good, holder, now_s)
    total = len(etags) + added - len(gone)
    kind = "changed" if added or changed or gone else "same"
    return Outcome(kind, "", added, changed, len(gone), total, refused, next_s)


def _check_plausible(config: FeedsConfig, found: Split, feed: Feed, *, before: int, gone: int) -> None:
    """Raises NotACalendar for an answer that broke off, _Held for one that is not believed the first time."""
    if found.cut:
        raise NotACalendar("It broke off in the middle of an event.")
    if feed.held:
        return
    if not found.closed:
        raise _Held("The end of the calendar is missing.")
    if before and not found.items:
        raise _Held(f"It is empty, and had {before} events.")
    if before >= SHRINK_FROM and gone * 100 > before * config.followed_shrink_percent:
        raise _Held(f"Of {before} events {gone} are missing at once (feeds.followed_shrink_percent).")


def _unchanged(
    store: Store, config: Config, taken: tuple[Collection, Feed], fetched: Fetched, holder: str, now_s: int, digest: str
) -> Outcome:
    collection, feed = taken
    offered_s = feed.offered_s or fetched.max_age_s
    next_s = now_s + _spread(interval_s(config.feeds, feed.interval_s, offered_s))
    good = Good(
        fetched.url, fetched.etag or feed.etag, fetched.last_modified or feed.last_modified, digest, offered_s, next_s,
        feed.notes,
    )  # fmt: skip
    with transaction(store, write=True) as conn:
        _still(conn, taken, holder)
        _note_good(conn, taken, good, holder, now_s)
        total = collections.member_count(conn, collection.id)
    return Outcome("same", total=total, next_s=next_s)


def _write(
    store: Store,
    config: Config,
    taken: tuple[Collection, Feed],
    wanted: dict[str, Item],
    etags: dict[str, str],
    notes: Notes,
    holder: str,
    now_s: int,
    progress: Progress,
) -> tuple[int, int, int]:
    """Writes what is new or says something else. Returns how many were added, changed, and could not be kept."""
    collection = taken[0]
    added = changed = refused = 0
    other = [item for item in wanted.values() if etags.get(item.name) != etag_of(item.body)]
    started = time.monotonic()
    for start in range(0, len(other), BATCH):
        if time.monotonic() - started > WORK_S:
            raise NotACalendar(f"It takes too long to read: {start} of {len(other)} events were looked at.")
        batch = other[start : start + BATCH]
        ready = [item for item in batch if item.name not in etags]
        known = [item for item in batch if item.name in etags]
        ready += _really_changed(store, collection, known)
        writings: list[tuple[Item, Described]] = []
        for item in ready:
            try:
                writings.append((item, describe("event", item.body, config, now_s)))
            except DavError as error:
                # One that was good before stays as it was.
                refused += 1
                notes.add(f"{item.component} {item.uid[:80]}: {error.detail}")
        if writings:
            with transaction(store, write=True) as conn:
                _still(conn, taken, holder)
                for item, described in writings:
                    _, created = objects.put_object(
                        conn, collection, item.name, item.body, content_type=described.content_type,
                        etag=etag_of(item.body), index=described.index, now_s=now_s, history=False,
                    )  # fmt: skip
                    added += created
                    changed += not created
        if len(other) > BATCH:
            progress(f"{min(start + BATCH, len(other))} of {len(other)} compared.")
        # A moment for the requests that wait.
        time.sleep(PAUSE_S)
    return added, changed, refused


def _really_changed(store: Store, collection: Collection, items: Sequence[Item]) -> list[Item]:
    """Those whose stored body differs by more than when and how often it was written."""
    if not items:
        return []
    with transaction(store) as conn:
        stored = {
            record.name: body
            for record, body in objects.bodies_by_names(conn, collection.id, [item.name for item in items])
        }
    return [item for item in items if quiet(stored.get(item.name, b"")) != quiet(item.body)]


def _remove(store: Store, taken: tuple[Collection, Feed], gone: Sequence[str], holder: str, now_s: int) -> None:
    collection = taken[0]
    for start in range(0, len(gone), BATCH):
        with transaction(store, write=True) as conn:
            _still(conn, taken, holder)
            for record in objects.objects_by_names(conn, collection.id, gone[start : start + BATCH]):
                objects.delete_object(conn, collection, record, now_s=now_s, history=False)
        time.sleep(PAUSE_S)


def _still(conn: Conn, taken: tuple[Collection, Feed], holder: str) -> None:
    if not feeds_in.still_taken(conn, taken[0].id, holder):
        raise _Lost


def _describe_calendar(conn: Conn, collection: Collection, feed: Feed, found: Split, now_s: int) -> None:
    """What the calendar says about itself becomes the collection's, the first time; the rest is its owner's to change.

    Which components it holds is kept up to date: programs with tasks show a calendar that has none otherwise.
    """
    changes: dict[str, Any] = {}
    held = {item.component for item in found.items}
    components = tuple(
        name for name in ("VEVENT", "VTODO", "VJOURNAL") if name in held or name in collection.components
    )
    if components and components != collection.components:
        changes["components"] = components
    if feed.good_s is None:
        if collection.display_name is None:
            changes["display_name"] = found.name or host_of(feed.url)
        if found.description and collection.description is None:
            changes["description"] = found.description
        zone = named_zone(found.zone_id) if found.zone_id else None
        if zone is not None and zone.key is not None and not (collection.time_zone or collection.time_zone_id):
            changes["time_zone_id"] = zone.key
        if found.colour and ical("calendar-color") not in properties.get_properties(conn, collection.id):
            start, end, _ = tags(ical("calendar-color"))
            properties.set_property(conn, collection.id, ical("calendar-color"), f"{start}{found.colour}FF{end}")
            collections.touch_properties(conn, collection.id, now_s=now_s)
    if changes:
        collections.update_collection(conn, collection.id, now_s=now_s, **changes)


def _note_good(conn: Conn, taken: tuple[Collection, Feed], good: Good, holder: str, now_s: int) -> None:
    collection, feed = taken
    if not feeds_in.went_well(conn, collection.id, good, holder=holder, now_s=now_s):
        raise _Lost
    notes = good.notes.split("\n") if good.notes else []
    xml = state_xml(good.url, checked_s=now_s, good_s=now_s, next_s=good.next_s, error="", notes=notes)
    properties.set_property(conn, collection.id, STATE, xml)
    if feed.error:
        log.info("calendar %d is fetched from %s again", collection.id, host_of(good.url))


def _note_failure(
    store: Store,
    config: Config,
    taken: tuple[Collection, Feed],
    error: FetchError,
    holder: str,
    now_s: int,
    held: bool = False,
) -> Outcome:
    collection, feed = taken
    failures = feed.failures + 1
    wait_s = retry_s(failures, status=error.status, retry_after_s=error.retry_after_s, held=held)
    next_s = now_s + _spread(wait_s)
    sentence = str(error)
    with transaction(store, write=True) as conn:
        noted = feeds_in.still_taken(conn, collection.id, holder) and feeds_in.went_wrong(
            # What is to be confirmed stays so while the server cannot be reached.
            conn, collection.id, sentence, held=held or feed.held, next_s=next_s, holder=holder, now_s=now_s
        )  # fmt: skip
        if noted:
            xml = state_xml(
                feed.url, checked_s=now_s, good_s=feed.good_s, next_s=next_s, error=sentence,
                notes=feed.notes.split("\n") if feed.notes else [],
            )  # fmt: skip
            properties.set_property(conn, collection.id, STATE, xml)
    if not noted:
        return Outcome("lost")
    if sentence != feed.error:
        log.warning("calendar %d is not fetched from %s: %s", collection.id, host_of(feed.url), sentence)
    return Outcome("held" if held else "failed", sentence, next_s=next_s)


def state_xml(
    url: str, *, checked_s: int | None, good_s: int | None, next_s: int, error: str, notes: Iterable[str]
) -> str:
    """The property in which the owner's programs see how a followed calendar does; docs/feeds.md."""
    parts = [f"<source>{escape(without_password(url))}</source>"]
    for name, at_s in (("checked", checked_s), ("good", good_s), ("next", next_s)):
        if at_s is not None:
            parts.append(f"<{name}>{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at_s))}</{name}>")
    if error:
        parts.append(f"<error>{escape(error)}</error>")
    parts += [f"<note>{escape(note)}</note>" for note in notes]
    return f'<followed xmlns="{NAMESPACE}">{"".join(parts)}</followed>'


# ---- following and following no more ----


async def subscribe(
    store: Store,
    config: Config,
    fetcher: Fetcher,
    account_id: int,
    url: str,
    *,
    display_name: str | None = None,
    strip: Sequence[str] | None = None,
    wanted_s: int | None = None,
    anyway: bool = False,
    clock: Callable[[], float] = time.time,
    progress: Progress = _silent,
) -> tuple[Collection, Outcome]:
    """Follow an address: it is fetched first, and a calendar made only when that is one.

    anyway: make it even if it cannot be fetched now. wanted_s: seconds between two looks. Raises CannotFollow,
    BadUrl, and StorageError.
    """
    url = checked_url(url)
    await in_thread(check_room, store, config, account_id, url)
    strip = config.feeds.followed_strip if strip is None else strip
    progress(f"Fetching from {host_of(url)}.")
    failure: FetchError | None = None
    name, fetched = "", None
    try:
        fetched = await fetcher.fetch(url)
        found = await in_thread(_look_into, fetched, strip, config)
        name = found.name
    except (FetchError, NotACalendar) as error:
        if not anyway:
            raise CannotFollow(str(error)) from None
        failure = error if isinstance(error, FetchError) else FetchError(str(error))
    holder = new_holder()
    taken = await in_thread(
        _make, store, config, account_id, url, display_name, path_name(display_name or name or host_of(url)),
        tuple(strip), wanted_s, holder, int(clock()),
    )  # fmt: skip
    if fetched is None or failure is not None:
        assert failure is not None
        outcome = await in_thread(_note_failure, store, config, taken, failure, holder, int(clock()))
    else:
        outcome = await in_thread(apply, store, config, taken, fetched, holder, int(clock()), progress)
    return taken[0], outcome


def check_room(store: Store, config: Config, account_id: int, url: str) -> None:
    """Whether the account may follow one more. Raises CannotFollow."""
    if not config.feeds.followed:
        raise CannotFollow("Calendars elsewhere are not followed here (feeds.followed).")
    with transaction(store) as conn:
        check_room_in(conn, config, account_id, url)


def check_room_in(conn: Conn, config: Config, account_id: int, url: str) -> None:
    """As check_room, in the transaction in which the calendar is made. Raises CannotFollow."""
    followed = feeds_in.feeds_of(conn, account_id)
    home = collections.home(conn, account_id, "calendars")
    if any(feed.url == url for _, feed in followed):
        raise CannotFollow("The account follows this address already.")
    if len(followed) >= config.feeds.followed_most:
        raise CannotFollow(f"An account may follow {config.feeds.followed_most} calendars (feeds.followed_most).")
    if sum(one.source_id is None for one in collections.descendants(conn, home)) >= config.limits.collections:
        raise CannotFollow(f"An account may have {config.limits.collections} collections (limits.collections).")


def _look_into(fetched: Fetched, strip: Sequence[str], config: Config) -> Split:
    found = split(fetched.body or b"", strip=strip, items_max=config.feeds.followed_events)
    if found.cut:
        raise NotACalendar("It broke off in the middle of an event.")
    return found


def _make(
    store: Store,
    config: Config,
    account_id: int,
    url: str,
    display_name: str | None,
    name: str,
    strip: tuple[str, ...],
    wanted_s: int | None,
    holder: str,
    now_s: int,
) -> tuple[Collection, Feed]:
    with transaction(store, write=True) as conn:
        check_room_in(conn, config, account_id, url)
        made = feeds_in.follow(
            conn, account_id, url, name=name, display_name=display_name, strip=strip, interval_s=wanted_s,
            next_s=now_s, now_s=now_s,
        )  # fmt: skip
        xml = state_xml(url, checked_s=None, good_s=None, next_s=now_s, error="", notes=())
        properties.set_property(conn, made.id, STATE, xml)
        taken = feeds_in.take_one(conn, made.id, holder=holder, now_s=now_s, lease_s=lease_s(config))
    assert taken is not None
    return taken


def path_name(text: str) -> str:
    """A name for the address of a calendar, from what people call it."""
    plain = unicodedata.normalize("NFKD", text[:200]).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40].strip("-") or "calendar"


def new_holder() -> str:
    """A name for whoever takes calendars."""
    return f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"


def lease_s(config: Config) -> int:
    return config.feeds.followed_seconds + LEASE_S


# ---- in the workers ----


async def run_for_ever(store: Store, config: Config, *, clock: Callable[[], float] = time.time) -> None:
    """Looks at this worker's share of what is due until it is cancelled; a few calendars at a time."""
    if not config.feeds.followed:
        return
    try:
        fetcher = Fetcher(config.feeds)
    except (OSError, ssl.SSLError) as error:
        log.error("no calendars are fetched: feeds.followed_ca_file: %s", error)
        return
    holder = new_holder()
    # Reading takes the processor and memory, so one after the other; many can be waited for at once.
    turn = asyncio.Semaphore(1)
    running: set[asyncio.Task[None]] = set()
    try:
        while True:
            await asyncio.sleep(POLL_S * random.uniform(0.8, 1.2))
            free = config.feeds.followed_at_once - len(running)
            for taken in await in_thread(_due, store, config, holder, free, int(clock())) if free > 0 else ():
                task = asyncio.create_task(_look_logged(store, config, fetcher, taken, holder, clock, turn))
                running.add(task)
                task.add_done_callback(running.discard)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _due(store: Store, config: Config, holder: str, limit: int, now_s: int) -> list[tuple[Collection, Feed]]:
    try:
        with transaction(store) as conn:
            # Nearly always nothing is due, and to find that out must cost no write.
            if not feeds_in.any_due(conn, now_s):
                return []
        with transaction(store, write=True) as conn:
            return feeds_in.take(conn, holder=holder, now_s=now_s, lease_s=lease_s(config), limit=limit)
    except StorageError as error:
        log.warning("what is due could not be found out: %s", error)
        return []


async def _look_logged(
    store: Store,
    config: Config,
    fetcher: Fetcher,
    taken: tuple[Collection, Feed],
    holder: str,
    clock: Callable[[], float],
    turn: asyncio.Semaphore,
) -> None:
    collection, feed = taken
    try:
        outcome = await look(store, config, fetcher, taken, holder=holder, clock=clock, turn=turn)
    except asyncio.CancelledError:
        # The server stops: whoever starts next need not wait for the lease to end.
        with contextlib.suppress(StorageError):
            await in_thread(_give_back, store, taken, holder, int(clock()))
        raise
    except StorageError as error:
        log.warning("calendar %d could not be brought up to date: %s", collection.id, error)
        return
    except Exception:
        log.exception("calendar %d could not be brought up to date", collection.id)
        with contextlib.suppress(StorageError):
            await in_thread(
                _note_failure, store, config, taken, FetchError("The server failed at it; see its log."), holder,
                int(clock()),
            )  # fmt: skip
        return
    if outcome.kind == "changed":
        log.info(
            "calendar %d from %s: %d new, %d changed, %d removed, %d left out", collection.id, host_of(feed.url),
            outcome.added, outcome.changed, outcome.removed, outcome.left_out,
        )  # fmt: skip


def _give_back(store: Store, taken: tuple[Collection, Feed], holder: str, now_s: int) -> None:
    with transaction(store, write=True) as conn:
        feeds_in.give_back(conn, taken[0].id, holder=holder, next_s=now_s)


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """What a blocking function returns or raises; its thread is one that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        result: Any = None
        failure: BaseException | None = None
        try:
            result = function(*arguments)
        except BaseException as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody asks any more
            loop.call_soon_threadsafe(_settle, done, result, failure)

    threading.Thread(target=work, name="feeds", daemon=True).start()
    return await done


def _settle(done: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    if done.cancelled():
        return
    if failure is not None:
        done.set_exception(failure)
    else:
        done.set_result(result)
