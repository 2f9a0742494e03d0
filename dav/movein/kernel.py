"""Puts what a source gives into accounts, so that it can be stopped anywhere and repeated.

A source is a function that makes a `Source`; its types are in dav.movein.source, and a new source needs nothing else:

    def nextcloud(url, …) -> Source                       # dav/movein/nextcloud.py
    kernel.run(store, config, source, Options(…), report, now_s=…, progress=…)

The command line has a row for it in dav.cli_import.COMMANDS, whose `run` hands the Source to `cli_import.carry_out`.

What is brought over is written down in the table `imported` in the same transaction. A second run leaves alone what has
not changed there, updates what has, and keeps what was changed or removed here meanwhile. Nobody is invited or told
anything: meetings become scheduling objects, and messages go out only for what is changed here later. Everything is
checked as if a client had sent it, quota and limits included; what cannot be stored is left out and reported.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from dav import privacy, provision, tree, xml
from dav.cli_kit import note
from dav.config import Config
from dav.context import Ctx, Request
from dav.derived import birthdays
from dav.errors import DavError
from dav.feeds.fetch import BadUrl, checked_url
from dav.ical.rules import MAIN_COMPONENTS
from dav.ical.tz import named_zone
from dav.mail.texts import language_of
from dav.methods.put import Described, etag_of, type_of_name
from dav.movein import props, repair
from dav.movein.report import Progress, Report
from dav.movein.source import (
    AREAS,
    Item,
    Source,
    SourceAccount,
    SourceCollection,
    SourceError,
    SourceMount,
    SourceOverlay,
    SourceShare,
)
from dav.names import c, cs
from dav.properties import change
from dav.scheduling import implicit
from dav.scheduling.addresses import Who, who_is
from dav.scheduling.deliver import new_tag
from dav.scheduling.model import scheduling_object
from dav.urls import HOME_AREAS, NAME_BYTES_MAX, Place, Urls, decode_segment, encode_segment
from storage import (
    accounts,
    collections,
    feeds_in,
    feeds_out,
    groups,
    imported,
    itip,
    objects,
    overlays,
    properties,
    proxies,
    shares,
)
from storage.blobs import BlobWriter
from storage.engine import Conn, Store, clean, transaction
from storage.errors import NameTaken, NameTooLong, NotFound, QuotaExceeded, StorageError, UidTaken
from storage.imported import Imported
from storage.records import (
    BOOKING_CONFLICTS,
    BOOKING_MODES,
    Account,
    Blob,
    Booking,
    Collection,
    ObjectIndex,
    ObjectRecord,
)

# One transaction: so many objects, or so many bytes of them.
BATCH_OBJECTS = 100
BATCH_BYTES = 4 * 1024 * 1024
_CHUNK = 1024 * 1024
_MEMBER_KINDS = {"calendar": "event", "inbox": "event", "subscribed": "event", "addressbook": "card"}
# Of the first collections those that people make themselves; the others the server needs.
_MEMBERS_OWN = ("calendar", "addressbook")
_SUFFIXES = {"event": ".ics", "card": ".vcf"}
_OF_PRINCIPAL = -1  # under which its dead properties are kept; dav.properties.dead
_ACCOUNT_KINDS = ("individual", "group", "room", "resource")
_RESERVED = frozenset({"inbox", "outbox", "notifications"})
_NAMES_TRIED = 1000
_HORIZON_DAYS_MAX = 36_500
_SECRET = re.compile(r"[A-Za-z0-9_-]{22,200}")  # 128 bits at least
# Under this name, which no member can have, how far a collection was read.
_MARK = "/mark"


@dataclass(frozen=True, slots=True)
class Options:
    """How an import is done.

    into: an account here that gets everything; "" for the accounts of the same names. collection: a collection of it
    that gets everything, "" for those of the source. only: names of accounts there, () for all. names: name there →
    name here. create_accounts: make those that are missing. dry_run: write nothing. remove_gone: what an earlier run
    brought over, and is not there any more, and was not changed here, goes. afresh: forget what was brought over.
    existing: whether an account that is here already may be one that the source names, not the caller.
    """

    into: str = ""
    collection: str = ""
    only: frozenset[str] = frozenset()
    names: Mapping[str, str] = field(default_factory=dict)
    create_accounts: bool = False
    dry_run: bool = False
    remove_gone: bool = False
    afresh: bool = False
    existing: bool = True


@dataclass(frozen=True, slots=True)
class _Ready:
    """One object, read and checked, before the transaction. key: its item in `imported`."""

    key: str
    version: str
    name: str
    body: bytes | Blob
    etag: str
    content_type: str
    index: ObjectIndex
    role: bool
    shown: str
    notes: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    # Further items that are done with it.
    also: tuple[Imported, ...] = ()

    @property
    def size(self) -> int:
        return self.body.size if isinstance(self.body, Blob) else len(self.body)


@dataclass(slots=True)
class _Target:
    """A collection that is being filled. collection: None in a dry run, where it would be made."""

    account: Account
    who: Who
    collection: Collection | None
    kind: str
    components: tuple[str, ...]
    shown: str
    # In a dry run: what would stand here by now, uid → name.
    uids: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)


def run(
    store: Store,
    config: Config,
    source: Source,
    options: Options,
    report: Report,
    *,
    now_s: int,
    progress: Progress | None = None,
) -> None:
    """Bring over what the source has. Whatever cannot be is in the report; raises SourceError when nothing can be."""
    _Run(store, config, source, options, report, now_s, progress or Progress()).run()


class _Run:
    def __init__(
        self,
        store: Store,
        config: Config,
        source: Source,
        options: Options,
        report: Report,
        now_s: int,
        progress: Progress,
    ) -> None:
        self.store, self.config, self.source, self.options = store, config, source, options
        self.report, self.now_s, self.progress = report, now_s, progress
        self.urls = Urls("")
        self.room: dict[int, int] = {}  # in a dry run: bytes left of an account's quota
        self.found: dict[str, Account] = {}  # by name there
        self.shared: list[tuple[str, Collection, tuple[SourceShare, ...]]] = []
        self.lost: set[str] = set()  # items of which something was left out

    def run(self) -> None:
        done: list[tuple[SourceAccount, Account, bool]] = []
        for there in self.source.accounts(self.report):
            if self.options.only and there.name not in self.options.only:
                continue
            account, made = self._account(there)
            if account is not None:
                self.found[there.name] = account
                self._collections(there, account, made)
                done.append((there, account, made))
        self.progress.end()
        if not self.options.dry_run:
            for there, account, _ in done:
                self._relations(there, account)
            self._shares()
            for there, account, _ in done:
                self._overlays(there, account)

    # ---- accounts ---------------------------------------------------------------------------------------------------

    def _account(self, there: SourceAccount) -> tuple[Account | None, bool]:
        """The account here that gets what one there has, and whether it was made for it."""
        name = self.options.into or self.options.names.get(there.name, there.name)
        with transaction(self.store) as conn:
            account = accounts.account_by_name(conn, name)
        if account is not None and not self.options.existing and not self.options.into:
            # Whoever wrote the source would choose whose delegate he becomes.
            self.report.left(
                there.name, "", f"There is an account {name!r} already; --into {name} says that it is meant."
            )
            return None, False
        if account is not None:
            if self.options.afresh and not self.options.dry_run:
                with transaction(self.store, write=True) as conn:
                    imported.forget_all(conn, account.id, self.source.id)
            return account, False
        if not self.options.create_accounts:
            self.report.left(there.name, "", f"There is no account {name!r}; --create-accounts makes it.")
            return None, False
        try:
            return self._make_account(there, provision.check_name(name)), True
        except (provision.NameUnusable, NameTaken) as error:
            self.report.left(there.name, "", str(error) or f"An account or address {name!r} is taken.")
            return None, False

    def _make_account(self, there: SourceAccount, name: str) -> Account:
        """Raises NameUnusable, NameTaken."""
        if self.options.dry_run:
            return Account(0, name, there.display_name, there.kind, None, 0, "", "", there.quota_bytes, True, False, 0)
        wanted: list[str] = []
        with transaction(self.store, write=True) as conn:
            with suppress(provision.NameUnusable):
                wanted.append(provision.check_address(name))
            for address in there.addresses:
                try:
                    checked = provision.check_address(address)
                except provision.NameUnusable as error:
                    self.report.left(there.name, address, str(error))
                    continue
                if checked.casefold() in (other.casefold() for other in wanted):
                    continue
                if accounts.account_by_address(conn, checked) is not None:
                    self.report.left(there.name, address, "Another account has this address.")
                    continue
                wanted.append(checked)
            if there.addresses:  # theirs come first, in their order
                order = [address.casefold() for address in there.addresses]
                wanted.sort(key=lambda one: order.index(one.casefold()) if one.casefold() in order else len(order))
            account = accounts.create_account(
                conn, name, display_name=there.display_name, password_hash=there.password_hash,
                kind=there.kind if there.kind in _ACCOUNT_KINDS else "individual", locale=language_of(there.locale),
                time_zone=there.time_zone if named_zone(there.time_zone) is not None else "",
                addresses=tuple(wanted), now_s=self.now_s,
            )  # fmt: skip
            for area, path, kind, _, _ in provision.FIRST_COLLECTIONS:
                if kind not in _MEMBERS_OWN:
                    home = collections.home(conn, account.id, area)
                    collections.create_collection(conn, home, path, kind=kind, now_s=self.now_s)
            if there.quota_bytes is not None:
                accounts.update_account(conn, account.id, quota_bytes=there.quota_bytes)
            note(conn, account.id, "account created", detail="import")
            return accounts.account_by_id(conn, account.id) or account

    def _first_collections(self, conn: Conn, account: Account) -> None:
        """The calendar, task list and address book that a new account would lack."""
        for area, name, kind, shown, components in provision.FIRST_COLLECTIONS:
            home = collections.home(conn, account.id, area)
            there = [one for one in collections.children(conn, home.id) if one.kind == kind]
            if kind not in _MEMBERS_OWN or any(
                not components or not one.components or set(components) <= set(one.components) for one in there
            ):
                continue
            if not collections.name_in_use(conn, home, name):
                collections.create_collection(
                    conn, home, name, kind=kind, display_name=shown, components=components, now_s=self.now_s
                )

    def _relations(self, there: SourceAccount, account: Account) -> None:
        """What an account has beside its collections: properties, the default calendars, delegates, members."""
        with transaction(self.store, write=True) as conn:
            ctx = self._ctx(conn, account)
            if there.properties:
                home = collections.home(conn, account.id, "calendars")
                for name, text in props.dead(there.properties, self.config.limits):
                    properties.set_property(conn, home.id, name, text, object_id=_OF_PRINCIPAL)
            if there.booking is not None and itip.get_booking(conn, account.id) is None:
                mode, conflicts, days = there.booking
                if mode in BOOKING_MODES and conflicts in BOOKING_CONFLICTS and 1 <= days <= _HORIZON_DAYS_MAX:
                    itip.set_booking(conn, Booking(account.id, mode, conflicts, days))
            if there.default_calendars:
                self._default_calendars(ctx, there, account)
            for name, writes in there.delegates:
                other = self._other(conn, name)
                if other is None or other.id == account.id:
                    self.report.left(there.name, f"delegate {name}", "There is no such account here.")
                elif proxies.proxy_of(conn, account.id, other.id) is None:
                    proxies.add_proxy(conn, account.id, other.id, writes=writes)
            for name in there.members:
                other = self._other(conn, name)
                try:
                    if other is None:
                        raise NotFound(name)
                    groups.add_member(conn, account.id, other.id, now_s=self.now_s)
                except (NotFound, ValueError):
                    self.report.left(there.name, f"member {name}", "It cannot be a member of this group here.")

    def _default_calendars(self, ctx: Ctx, there: SourceAccount, account: Account) -> None:
        inbox, _ = collections.resolve(ctx.conn, account.name, "calendars", "inbox")
        if inbox is None:
            return
        names = {"VEVENT": c("schedule-default-calendar-URL"), "VTODO": cs("schedule-default-tasks-URL")}
        for component, path in there.default_calendars.items():
            if component in names:
                try:
                    href = self.urls.collection("calendars", account.name, _check_segment(path))
                except DavError:
                    continue
                element = props.element(
                    names[component], f"<D:href xmlns:D='DAV:'>{xml.escape(href)}</D:href>", raw=True
                )
                change.update(ctx, tree.collection_node(ctx, account, inbox), [(names[component], element)])

    def _other(self, conn: Conn, name: str) -> Account | None:
        return self.found.get(name) or accounts.account_by_name(conn, self.options.names.get(name, name))

    def _shares(self) -> None:
        for name, collection, wanted in self.shared:
            for share in wanted:
                try:
                    with transaction(self.store, write=True) as conn:
                        why = self._share(conn, collection, share)
                except (ValueError, NotFound) as error:
                    why = f"It cannot be shared so: {error}."
                if why:
                    self.report.left(name, f"share of {collection.path} with {share.grantee}", why)

    def _share(self, conn: Conn, collection: Collection, share: SourceShare) -> str:
        """Makes a share, if there is none to the same; why it cannot be made, or "". Raises ValueError, NotFound."""
        grantee: str | Account = share.grantee
        if share.grantee != "all" and not share.grantee.startswith("mailto:"):
            found = self._other(conn, share.grantee)
            if found is None:
                return "There is no such account here."
            if found.id == collection.owner_id:
                return ""
            grantee = found
        key = grantee if isinstance(grantee, str) else shares.grantee_of(grantee)
        if shares.share_to(conn, collection.id, key) is None:
            shares.put_share(conn, collection, grantee, access=share.access, state=share.state, now_s=self.now_s)
            for name, wanted in share.mounts.items():
                other = self._other(conn, name)
                mount = None if other is None else shares.mount_of(conn, other.id, collection.id)
                if other is not None and mount is not None:
                    self._dress(conn, other, mount, wanted)
        return ""

    def _dress(self, conn: Conn, account: Account, mount: Collection, wanted: SourceMount) -> None:
        """Gives what is shared the name, colour and place that it has there in the sharee's home."""
        home = collections.home(conn, account.id, mount.area)
        with suppress(DavError, NameTaken, NameTooLong):
            name = _check_segment(wanted.path) if wanted.path else mount.name
            reserved = mount.area == "calendars" and name in _RESERVED
            if name != mount.name and not reserved and not collections.name_in_use(conn, home, name):
                mount = collections.move_collection(conn, mount, home, name, now_s=self.now_s)
        ctx = self._ctx(conn, account)
        node = tree.mounts(ctx, [mount]).get(mount.id)
        described = SourceCollection(
            mount.name, mount.kind, lambda known: (), display_name=wanted.display_name, colour=wanted.colour,
            order=wanted.order, transparent=wanted.transparent,
        )  # fmt: skip
        if node is not None:
            for name, element in props.wanted(described, mount)[0]:
                change.update(ctx, node, [(name, element)], creating=True)

    def _overlays(self, there: SourceAccount, account: Account) -> None:
        """What an account keeps for itself at objects of others, where it has none here and may write."""
        try:
            for kept in there.overlays():
                with transaction(self.store, write=True) as conn:
                    why = self._overlay(conn, account, kept)
                if why:
                    self.report.left(there.name, f"own alarms at {kept.area}/{kept.owner}/{kept.path}/{kept.name}", why)
        except SourceError as error:
            self.report.left(there.name, "own alarms", str(error))

    def _overlay(self, conn: Conn, account: Account, kept: SourceOverlay) -> str:
        """Why it cannot be kept, or ""."""
        owner = self._other(conn, kept.owner)
        source = None
        if owner is not None and kept.area in HOME_AREAS:
            source, _ = collections.resolve(conn, owner.name, kept.area, kept.path)
        if owner is None or source is None or owner.id == account.id:
            return "There is no such calendar here (any more, or yet: another run tries again)."
        if shares.access_of(conn, account.id, source.id) not in ("write", "owner"):
            return "It is not shared with this account, or only to be read."
        collections.lock_collections(conn, [source.id])
        record = objects.object_by_uid(conn, source.id, kept.uid) if kept.uid else None
        record = record or objects.object_by_name(conn, source.id, kept.name)
        if record is None or record.component not in MAIN_COMPONENTS:
            return "There is no such object here."
        overlay = privacy.overlay_of(kept.content)
        if not overlay or len(overlay) > self.config.limits.resource_bytes:
            return "It has nothing of its own, or too much."
        if overlays.of_objects(conn, account.id, [record.id]):
            return ""  # what is here is newer
        if account.quota_bytes is not None:
            used = accounts.usage_bytes(conn, account.id) + overlays.used_bytes(conn, account.id, without=record.id)
            if used + len(overlay) > account.quota_bytes:
                return "The account's quota is used up."
        overlays.set_overlay(conn, record.id, account.id, privacy.digest_of(overlay), overlay)
        objects.renumber(conn, record, now_s=self.now_s)
        return ""

    # ---- collections ------------------------------------------------------------------------------------------------

    def _collections(self, there: SourceAccount, account: Account, made: bool) -> None:
        try:
            for found in there.collections():
                try:
                    self._collection(there, account, found)
                except SourceError as error:
                    self.report.left(there.name, found.path or found.kind, str(error))
        except SourceError as error:
            self.report.left(there.name, "", str(error))
        if made and not there.complete and not self.options.dry_run:
            with transaction(self.store, write=True) as conn:
                self._first_collections(conn, account)

    def _collection(self, there: SourceAccount, account: Account, found: SourceCollection) -> None:
        if found.kind not in AREAS or found.area not in ("", *HOME_AREAS):
            self.report.left(there.name, found.path, f"A {found.kind[:40]} is nothing that is kept here.")
            return
        area = found.area or AREAS[found.kind]
        where = f"{area}/{found.path}".rstrip("/")
        try:
            target = self._target(there, account, found, area, where)
        except DavError as refused:
            self.report.left(there.name, where, refused.detail)
            return
        except StorageError as error:
            self.report.left(there.name, where, _sentence(error))
            return
        if target is None:
            return
        if target.collection is not None and not self.options.dry_run:
            if found.shares:
                self.shared.append((there.name, target.collection, found.shares))
            self._publish(there, target.collection, found)
        self.progress.expect(found.count)
        self._items(there, target, found, where)

    def _target(
        self, there: SourceAccount, account: Account, found: SourceCollection, area: str, where: str
    ) -> _Target | None:
        """Where a collection's items go, made when it is missing; None, and reported, when they go nowhere."""
        path = self.options.collection or found.path
        for segment in path.split("/") if path else ():
            _check_segment(segment)
        components = tuple(name for name in map(str.upper, found.components) if name in MAIN_COMPONENTS)
        target = _Target(account, self._who(account), None, found.kind, components, where)
        if account.id == 0:  # a dry run of an account that would be made
            return target
        with transaction(self.store) as conn:
            before = imported.one(conn, account.id, self.source.id, f"{where}/")
            if before is not None and before.target and not self.options.collection:
                path = before.target.partition("/")[2]
            existing, parent = collections.resolve(conn, account.name, area, path)
        kind = "calendar" if found.kind == "feed" else found.kind
        reserved = area == "calendars" and path in _RESERVED and kind != path
        if reserved or (existing is not None and existing.kind != kind):
            if before is not None or self.options.collection or not path:
                self.report.left(there.name, where, f"What has this name here is no {found.kind}.")
                return None
            with transaction(self.store) as conn:
                path = self._free_path(conn, account, area, path)
            existing = None
            self.report.add("repaired", there.name, where, f"The name is taken here, so it is called {path}.")
        if existing is not None:
            if existing.origin != ("feed" if found.kind == "feed" else ""):
                self.report.left(there.name, where, "What has this name here is not the account's own to change.")
                return None
            target.collection, target.components = existing, existing.components
            if not self.options.dry_run:
                self._describe(there, target, found, where, before)
            return target
        if before is not None:
            self.report.add("kept", there.name, where, "It was removed here since it was brought over.")
            return None
        if parent is None:
            self.report.left(there.name, where, "The folder that it lies in is not there.")
            return None
        if found.kind == "inbox":
            self.report.left(there.name, where, "The account has no inbox.")
            return None
        if not self.options.dry_run:
            self._make_collection(there, target, found, area, path, where)
        return target

    def _free_path(self, conn: Conn, account: Account, area: str, path: str) -> str:
        for number in range(1, _NAMES_TRIED):
            wanted = f"{path}-{number}"
            if collections.resolve(conn, account.name, area, wanted)[0] is None:
                return wanted
        raise NameTaken(path)

    def _make_collection(
        self, there: SourceAccount, target: _Target, found: SourceCollection, area: str, path: str, where: str
    ) -> None:
        """Raises DavError for too many or too deep ones, StorageError."""
        limits = self.config.limits
        if path.count("/") + 1 > limits.depth:
            raise DavError(403, detail=f"Folders may nest {limits.depth} deep.")
        above, _, name = path.rpartition("/")
        account = target.account
        with transaction(self.store, write=True) as conn:
            home = collections.home(conn, account.id, area)
            if sum(one.source_id is None for one in collections.descendants(conn, home)) >= limits.collections:
                raise DavError(507, detail=f"An account may have {limits.collections} collections.")
            parent, _ = collections.resolve(conn, account.name, area, above)
            if parent is None:
                raise NotFound(above)
            if found.kind == "feed":
                target.collection = self._follow(conn, account, found, name)
            else:
                components = target.components if found.kind == "calendar" else ()
                target.collection = collections.create_collection(
                    conn, parent, name, kind=found.kind, components=components, now_s=self.now_s
                )
            note(conn, account.id, "collection imported", subject=f"{area}/{path}", detail=self.source.id[:200])
        self._describe(there, target, found, where, None)

    def _follow(self, conn: Conn, account: Account, found: SourceCollection, name: str) -> Collection:
        """Raises DavError where the account may follow no more."""
        feeds = self.config.feeds
        if not found.url or not feeds.followed or feeds_in.count_of(conn, account.id) >= feeds.followed_most:
            raise DavError(403, detail="What it follows cannot be followed here: feeds.followed, feeds.followed_most.")
        try:
            url = checked_url(found.url)
        except BadUrl as error:
            raise DavError(403, detail=str(error)) from None
        return feeds_in.follow(
            conn, account.id, url, name=name, display_name=found.display_name, strip=found.strip,
            interval_s=found.interval_s, transparent=found.transparent is not False, next_s=self.now_s,
            now_s=self.now_s,
        )  # fmt: skip

    def _describe(
        self,
        there: SourceAccount,
        target: _Target,
        found: SourceCollection,
        where: str,
        before: Imported | None,
    ) -> None:
        """Gives a collection the properties that it has there, unless they were changed here."""
        assert target.collection is not None
        wanted, refused = props.wanted(found, target.collection)
        version = hashlib.sha256(repr(sorted((name, xml.serialise(one)) for name, one in wanted)).encode()).hexdigest()
        collection = target.collection
        if before is not None and before.version == version:
            return
        untouched = collection.props_seq == 1 if before is None else str(collection.props_seq) == before.here
        if collection.kind in ("home", "inbox"):
            untouched = True
        with transaction(self.store, write=True) as conn:
            if untouched and not self.options.collection:
                ctx = self._ctx(conn, target.account)
                node = tree.collection_node(ctx, target.account, collection)
                for name, element in wanted:
                    outcomes = change.update(ctx, node, [(name, element)], creating=True)
                    if any(outcome.status != 200 for outcome in outcomes.values()):
                        refused.append((name, "The property is not one that can be set here."))
            fresh = collections.collection_by_id(conn, collection.id)
            if fresh is None:
                raise NotFound(collection.path)
            target.collection, target.components = fresh, fresh.components
            here = Imported(f"{where}/", version, f"{fresh.area}/{fresh.path}", str(fresh.props_seq))
            imported.remember(conn, target.account.id, self.source.id, [here], now_s=self.now_s)
        for name, why in refused:
            self.report.left(there.name, f"{where} property {name}", why)
        if not untouched and before is not None:
            self.report.add("kept", there.name, where, "Its name or other properties were changed here.")

    def _publish(self, there: SourceAccount, collection: Collection, found: SourceCollection) -> None:
        """Publishes a collection under the addresses that it has there."""
        for secret, mode, label in found.published:
            with transaction(self.store, write=True) as conn:
                old = feeds_out.find(conn, secret)
                if old is None and mode in feeds_out.MODES and _SECRET.fullmatch(secret):
                    feeds_out.publish(conn, collection.id, mode=mode, label=label, secret=secret, now_s=self.now_s)
                elif old is None or old.feed.collection_id != collection.id:
                    self.report.left(there.name, collection.path, "The address it is published at is in use here.")

    def _ctx(self, conn: Conn, account: Account) -> Ctx:
        """What changing properties needs: as if the owner had asked."""
        request = Request("PROPPATCH", Place("host"), {}, b"", self.config, self.urls, now_s=self.now_s)
        return Ctx(conn, self.store, self.config, self.urls, account, self.now_s, request)

    def _who(self, account: Account) -> Who:
        return who_is(account, self.urls, self.config.auth.recipient_delimiter)

    # ---- items ------------------------------------------------------------------------------------------------------

    def _items(self, there: SourceAccount, target: _Target, found: SourceCollection, where: str) -> None:
        known: dict[str, Imported] = {}
        if target.account.id:
            with transaction(self.store) as conn:
                known = imported.below(conn, target.account.id, self.source.id, where)
        before = known.get(f"{where}/{_MARK}")
        # Names of members have no slash; the collection's own row, and what lies in folders below, end in or have one.
        known = {key: row for key, row in known.items() if (tail := key[len(where) + 1 :]) and "/" not in tail}
        versions = {_name(key[len(where) + 1 :]): row.version for key, row in known.items() if "#" not in key}
        if before is not None:
            versions[""] = before.version
        mark, left = "", self.report.counts["left"]
        batch: list[_Ready] = []
        size = 0
        seen: set[str] = set()
        opened: set[str] = set()
        for item in found.items(versions):
            if not item.name and item.body is None and not item.problem:
                mark = item.version
                continue
            key = f"{where}/{_key(item.name)}"
            seen.add(key)
            old = known.get(key)
            if item.problem:
                self.progress.step(key)
                self.report.left(there.name, key, item.problem)
            elif item.body is None or (old is not None and old.version == item.version and item.version):
                self.progress.step(key)
                self.report.add("unchanged", there.name, key)
            else:
                opened.add(key)
                for ready in self._ready(there, target, item, key, known, seen):
                    batch.append(ready)
                    size += ready.size
                    if len(batch) >= BATCH_OBJECTS or size >= BATCH_BYTES:
                        self._put(there, target, batch, known)
                        batch, size = [], 0
        if batch:
            self._put(there, target, batch, known)
        if self.options.remove_gone and target.collection is not None:
            self._remove_gone(there, target, known, seen, opened)
        # What was left out is asked for again, so its collection is not done up to the mark.
        if mark and self.report.counts["left"] == left and target.collection is not None and not self.options.dry_run:
            self._remember(target, Imported(f"{where}/{_MARK}", mark, "", ""))

    def _remember(self, target: _Target, row: Imported) -> None:
        with transaction(self.store, write=True) as conn:
            imported.remember(conn, target.account.id, self.source.id, [row], now_s=self.now_s)

    def _ready(
        self,
        there: SourceAccount,
        target: _Target,
        item: Item,
        key: str,
        known: Mapping[str, Imported],
        seen: set[str],
    ) -> list[_Ready]:
        """The objects in an item, as they can be stored; those that have not changed are left out. Adds to seen."""
        kind = _MEMBER_KINDS.get(target.kind, "file")
        try:
            name = _check_segment(item.name, line_feed=kind != "file") if item.name else ""
        except DavError as refused:
            if kind == "file":
                self.report.left(there.name, key, refused.detail)
                return []
            name = ""
        if kind == "file":
            return list(self._ready_file(there, item, key, name))
        body = item.body if isinstance(item.body, bytes) else self._read_whole(item)
        if body is None:
            self.report.left(there.name, key, "It is too large to be read.")
            return []
        parts = repair.parts_of(kind, body, self.config, self.now_s, tidy=item.etag is None)
        for which, why in parts.left:
            self.report.left(there.name, f"{key}#{which}" if which else key, why)
            self.lost.add(key)
        ready = []
        several = False
        for part in parts.good:
            several = several or bool(part.key)
            part_key = f"{key}#{_key(part.key)}" if part.key else key
            version = etag_of(part.body) if part.key else item.version
            old = known.get(part_key)
            seen.add(part_key)
            if part.key and old is not None and old.version == version:
                self.report.add("unchanged", there.name, part_key)
                continue
            described = part.described
            own = (
                name
                if name and item.named and not part.key
                else repair.name_for(described.index.uid, _SUFFIXES[kind], part.body)
            )
            ready.append(
                _Ready(
                    part_key, version, own, part.body,
                    item.etag if item.etag and part.body == body else etag_of(part.body),
                    described.content_type, described.index, self._has_role(target, described), part_key, part.notes,
                    {} if part.key else item.properties,
                )
            )  # fmt: skip
        if (several or not parts.good) and not parts.left and item.version:
            # Only when all objects of an item are here is the item done.
            whole = Imported(key, item.version, "", "")
            if ready:
                ready[-1] = replace(ready[-1], also=(whole,))
            elif not self.options.dry_run:
                self._remember(target, whole)
        return ready

    def _has_role(self, target: _Target, described: Described) -> bool:
        """Whether an object is a scheduling object of this account (RFC 6638 §3.1)."""
        if described.calendar is None or target.kind != "calendar" or not self.config.scheduling.enabled:
            return False
        return bool(implicit.role_of(scheduling_object(described.calendar), target.who))

    def _ready_file(self, there: SourceAccount, item: Item, key: str, name: str) -> Iterator[_Ready]:
        limit = self.config.limits.file_bytes
        writer = BlobWriter(self.store.blob_dir)
        with writer:
            for chunk in _chunks(item):
                writer.write(chunk)
                if writer.size > limit:
                    self.report.left(there.name, key, f"It is larger than {limit} bytes.")
                    return
            blob = writer.seal()
            if self.options.dry_run:
                writer.abort()
            else:
                writer.place()
        yield _Ready(
            key, item.version or blob.name, name, blob, item.etag or blob.name[:40],
            item.content_type or type_of_name(name), ObjectIndex(), False, key, (), item.properties,
        )  # fmt: skip

    def _read_whole(self, item: Item) -> bytes | None:
        limit = self.config.imports.file_bytes
        parts, size = [], 0
        for chunk in _chunks(item):
            size += len(chunk)
            if size > limit:
                return None
            parts.append(chunk)
        return b"".join(parts)

    # ---- storing ----------------------------------------------------------------------------------------------------

    def _put(self, there: SourceAccount, target: _Target, batch: list[_Ready], known: Mapping[str, Imported]) -> None:
        """Store a batch in one transaction; when the store refuses something of it, one by one."""
        if self.options.dry_run and len(batch) > 1:
            for ready in batch:  # there is nothing to undo when one of them is refused
                self._put(there, target, [ready], known)
            return
        said: list[tuple[str, str, str]] = []
        try:
            if self.options.dry_run:
                if target.account.id:
                    with transaction(self.store) as conn:
                        self._put_in(conn, target, batch, known, said)
                else:
                    self._put_in(None, target, batch, known, said)
            else:
                with transaction(self.store, write=True) as conn:
                    self._put_in(conn, target, batch, known, said)
        except (UidTaken, NameTaken, NameTooLong, QuotaExceeded, NotFound, ValueError) as error:
            if len(batch) > 1:
                for ready in batch:
                    self._put(there, target, [ready], known)
                return
            said = [("left", batch[0].shown, _sentence(error))]
            self.lost.add(batch[0].key.partition("#")[0])
        for ready in batch:
            self.progress.step(ready.shown)
        for outcome, shown, why in said:
            self.report.add(outcome, there.name, shown, why)

    def _put_in(
        self,
        conn: Conn | None,
        target: _Target,
        batch: list[_Ready],
        known: Mapping[str, Imported],
        said: list[tuple[str, str, str]],
    ) -> None:
        collection = target.collection
        names, uids = self._around(conn, target, batch, known)
        rows: list[Imported] = []
        for ready in batch:
            row = known.get(ready.key)
            outcome, name, why = self._decide(conn, target, ready, row, names, uids)
            if outcome in ("stored", "updated"):
                record = self._store(conn, target, ready, name, said)
                names[name] = record
                if record.uid is not None:
                    uids[record.uid] = record
                rows.append(Imported(ready.key, ready.version, name, record.etag))
                notes = " ".join((*ready.notes, *([why] if why else [])))
                if notes:
                    said.append(("repaired", ready.shown, notes))
                why = ""
            elif outcome == "unchanged":
                rows.append(Imported(ready.key, ready.version, name, names[name].etag))
            elif outcome == "kept" and row is not None:
                # Its version there is noted, so that it is said once and not at every run.
                rows.append(replace(row, version=ready.version))
            said.append((outcome, ready.shown, why))
            base = ready.key.partition("#")[0]
            if outcome == "left":
                self.lost.add(base)
            elif base not in self.lost:
                rows += ready.also
        if conn is not None and rows and not self.options.dry_run and collection is not None:
            imported.remember(conn, target.account.id, self.source.id, rows, now_s=self.now_s)

    def _around(
        self, conn: Conn | None, target: _Target, batch: list[_Ready], known: Mapping[str, Imported]
    ) -> tuple[dict[str, ObjectRecord], dict[str, ObjectRecord]]:
        """What stands in the way of a batch: by name and by UID."""
        wanted = {collections.normal_path(ready.name) for ready in batch}
        own = () if target.kind == "inbox" else [one.index.uid for one in batch if one.index.uid is not None]
        found = [_stand_in(name, None) for name in wanted & target.names]
        for uid in map(objects.stored_uid, own):
            if uid in target.uids:
                found.append(_stand_in(target.uids[uid], uid))
        if conn is not None and target.collection is not None:
            if not self.options.dry_run:
                collections.lock_collections(conn, [target.collection.id])
            wanted |= {row.target for ready in batch if (row := known.get(ready.key)) is not None and row.target}
            found += imported.in_the_way(conn, target.collection.id, wanted, own)
        names = {record.name: record for record in found}
        return names, {record.uid: record for record in found if record.uid is not None}

    def _decide(
        self,
        conn: Conn | None,
        target: _Target,
        ready: _Ready,
        row: Imported | None,
        names: Mapping[str, ObjectRecord],
        uids: Mapping[str, ObjectRecord],
    ) -> tuple[str, str, str]:
        """(outcome, name here, why)."""
        name = collections.normal_path(ready.name)
        index = ready.index
        if target.kind == "calendar" and target.components and index.component not in target.components:
            return "left", name, f"This calendar takes {', '.join(target.components)}, not {index.component}."
        uid = None if index.uid is None or target.kind == "inbox" else objects.stored_uid(index.uid)
        other = uids.get(uid) if uid is not None else None
        if row is not None and row.target:
            here = names.get(row.target)
            if here is None:
                return "kept", row.target, "It was removed here since it was brought over."
            if here.etag == ready.etag:
                return "unchanged", row.target, ""
            if here.etag != row.here:
                return "kept", row.target, "It was changed here since it was brought over."
            if (other is not None and other.name != row.target) or (here.uid is not None and here.uid != uid):
                return "left", row.target, "It has another UID than before."
            return "updated", row.target, ""
        if other is not None:
            if self._same(other, ready):
                return "unchanged", other.name, ""
            return "left", other.name, f"Another object of this collection has its UID: {other.name}."
        there = names.get(name)
        if there is None:
            return "stored", name, ""
        if self._same(there, ready):
            return "unchanged", name, ""
        if target.kind in ("folder", "home") or uid is None or there.uid == uid:
            return "left", name, "Something else has its name here."
        stem, dot, suffix = name.rpartition(".")
        for number in range(1, _NAMES_TRIED):
            wanted = f"{stem}-{number}{dot}{suffix}"
            taken = wanted in names or wanted in target.names
            if not taken and conn is not None and target.collection is not None:
                taken = objects.object_by_name(conn, target.collection.id, wanted) is not None
            if not taken:
                return "stored", wanted, f"The name is taken here, so it is called {wanted}."
        return "left", name, "Its name is taken here."

    def _same(self, record: ObjectRecord, ready: _Ready) -> bool:
        """Whether what stands there is this very content."""
        if record.etag == ready.etag:
            return True
        if isinstance(ready.body, Blob):
            return record.blob == ready.body.name
        return record.etag == etag_of(ready.body)

    def _store(
        self, conn: Conn | None, target: _Target, ready: _Ready, name: str, said: list[tuple[str, str, str]]
    ) -> ObjectRecord:
        if conn is None or target.collection is None or self.options.dry_run:
            return self._pretend(conn, target, ready, name)
        tag = None
        if ready.role:
            assert ready.index.uid is not None
            copies = objects.scheduling_by_uid(conn, target.account.id, ready.index.uid)
            if any(one.schedule_tag is not None and (place.id, one.name) != (target.collection.id, name)
                   for place, one in copies):  # fmt: skip
                # RFC 6638 §3.2.4.1: one scheduling object of a UID in a home.
                said.append(("repaired", ready.shown, "Another calendar has this meeting; this is a plain copy of it."))
            else:
                tag = new_tag()
        record, _ = objects.put_object(
            conn, target.collection, name, ready.body, content_type=ready.content_type, etag=ready.etag,
            index=ready.index, schedule_tag=tag, now_s=self.now_s,
        )  # fmt: skip
        if target.kind == "addressbook" and isinstance(ready.body, bytes):
            birthdays.card_written(conn, self.config, target.collection, name, ready.body, now_s=self.now_s)
        for key, text in props.dead(ready.properties, self.config.limits):
            properties.set_property(conn, target.collection.id, key, text, object_id=record.id)
        return record

    def _pretend(self, conn: Conn | None, target: _Target, ready: _Ready, name: str) -> ObjectRecord:
        """What a dry run has in the place of a stored object. Raises QuotaExceeded."""
        account = target.account
        if account.quota_bytes is not None:
            if account.id not in self.room:
                used = 0 if conn is None else accounts.usage_bytes(conn, account.id)
                self.room[account.id] = account.quota_bytes - used
            if ready.size > self.room[account.id]:
                raise QuotaExceeded(name)
            self.room[account.id] -= ready.size
        uid = None if ready.index.uid is None else objects.stored_uid(ready.index.uid)
        target.names.add(name)
        if uid is not None:
            target.uids[uid] = name
        return replace(_stand_in(name, uid), etag=ready.etag)

    def _remove_gone(
        self, there: SourceAccount, target: _Target, known: Mapping[str, Imported], seen: set[str], opened: set[str]
    ) -> None:
        """Removes what was brought over, is not there any more, and is here as it came. opened: items looked into."""
        assert target.collection is not None
        gone = []
        for key, row in known.items():
            item, hash_sign, _ = key.partition("#")
            if key not in seen and not (hash_sign and item in seen and item not in opened):
                gone.append(row)
        for start in range(0, len(gone), BATCH_OBJECTS):
            rows = gone[start : start + BATCH_OBJECTS]
            said = []
            with transaction(self.store, write=not self.options.dry_run) as conn:
                if not self.options.dry_run:
                    collections.lock_collections(conn, [target.collection.id])
                names = [row.target for row in rows if row.target]
                found = {record.name: record for record in objects.objects_by_names(conn, target.collection.id, names)}
                for row in rows:
                    record = found.get(row.target)
                    if record is not None and record.etag != row.here:
                        said.append(("kept", row.item, "It is gone there, but was changed here."))
                        continue
                    if record is not None:
                        if not self.options.dry_run:
                            objects.delete_object(conn, target.collection, record, now_s=self.now_s)
                            birthdays.card_removed(conn, target.collection, record.name, now_s=self.now_s)
                        said.append(("removed", row.item, ""))
                if not self.options.dry_run:
                    imported.forget(conn, target.account.id, self.source.id, [row.item for row in rows])
            for outcome, shown, why in said:
                self.report.add(outcome, there.name, shown, why)


# ---- what they share -----------------------------------------------------------------------------------------------


def _stand_in(name: str, uid: str | None) -> ObjectRecord:
    return ObjectRecord(0, 0, name, "", 0, "", 0, 0, 0, uid, "", None, None)


def _key(name: str) -> str:
    """A name as part of an item's key: short enough for an index entry, and without a slash."""
    name = clean(name).replace("%", "%25").replace("/", "%2F").replace("#", "%23")
    if len(name) <= NAME_BYTES_MAX // 4:
        return name
    return f"{name[:100]}…{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _name(key: str) -> str:
    """The name for which a key stands, unless it was shortened."""
    return key.replace("%23", "#").replace("%2F", "/").replace("%25", "%")


def _check_segment(name: str, *, line_feed: bool = False) -> str:
    """A name as an address here can have it, as dav.urls says. Raises DavError with a sentence."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DavError(400, detail="The name is not UTF-8.") from None
    if not name:
        raise DavError(400, detail="The name is empty.")
    return decode_segment(encode_segment(name), line_feed=line_feed)


def _chunks(item: Item) -> Iterator[bytes]:
    if isinstance(item.body, bytes):
        yield item.body
        return
    assert item.body is not None
    with item.body() as stream:
        while chunk := stream.read(_CHUNK):
            yield chunk


_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (UidTaken, "Another object of this collection has its UID."),
    (NameTaken, "Something else has its name here."),
    (NameTooLong, "Its name is too long."),
    (QuotaExceeded, "The account's quota is used up."),
    (NotFound, "The collection was removed meanwhile."),
)


def _sentence(error: Exception) -> str:
    return next((text for kind, text in _SENTENCES if isinstance(error, kind)), f"It cannot be stored: {error}.")
