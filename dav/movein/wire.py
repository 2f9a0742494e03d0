"""Any CalDAV and CardDAV account over the wire: found as a program on a phone finds it, read as one reads it.

From an address: the principal (RFC 5397), its homes (RFC 4791 §6.2.1, RFC 6352 §7.1.1), their collections; RFC 6764's
well-known addresses when the address itself knows no principal. What belongs to somebody else stays out.

The members of a collection come from a sync-collection REPORT (RFC 6578) or, where a server has none, from a listing.
Their bodies come by multiget, in batches. At the end of a collection its sync-token is handed on as a mark (an Item
without a name); a later run gives it to the server and fetches what has changed since.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import unquote, urljoin, urlsplit

from dav import xml
from dav.feeds.fetch import BadUrl, checked_url
from dav.movein.client import Dav, Entry, Multistatus, TooLarge, WireError, hrefs, origin
from dav.movein.report import Report
from dav.movein.sabre import seconds_of
from dav.movein.source import Item, Known, Source, SourceAccount, SourceCollection, SourceError
from dav.names import CALDAV, CARDDAV, c, cr, cs, d, ical
from storage.feeds_in import STRIPS

# So many bodies are asked for at once, and so many homes and folders in them are looked into.
BATCH = 50
HOMES_MAX = 20
DEPTH_MAX = 3
COLLECTIONS_MAX = 2_000
PAGES_MAX = 10_000
# A long sync-token is not one that we keep.
TOKEN_MAX = 2_000

_PRINCIPAL, _CALENDARS, _BOOKS = d("current-user-principal"), c("calendar-home-set"), cr("addressbook-home-set")
_TYPE, _NAME, _ETAG, _REPORTS = d("resourcetype"), d("displayname"), d("getetag"), d("supported-report-set")
_TOKEN, _OWNER, _ADDRESSES = d("sync-token"), d("owner"), c("calendar-user-address-set")
_OC_OWNER = "{http://owncloud.org/ns}owner-principal"
_COLOURS = {"calendar": ical("calendar-color"), "addressbook": "{http://inf-it.com/ns/ab/}addressbook-color"}
_START = (_PRINCIPAL, _CALENDARS, _BOOKS, _TYPE)
_DESCRIBED = (
    _TYPE, _NAME, _OWNER, _OC_OWNER, _REPORTS, _TOKEN, c("calendar-description"), cr("addressbook-description"),
    *_COLOURS.values(), ical("calendar-order"), c("calendar-timezone"), c("calendar-timezone-id"),
    c("supported-calendar-component-set"), c("schedule-calendar-transp"), cs("source"), ical("refreshrate"),
    *(cs(f"subscribed-strip-{what}") for what in STRIPS),
)  # fmt: skip
# Kinds of collections that are no calendars and books of a person, whatever else they are.
_PROTOCOL = {
    c("schedule-inbox"), c("schedule-outbox"), cs("notification"), cs("notifications"), cs("dropbox-home"),
    cs("calendar-proxy-read"), cs("calendar-proxy-write"), d("principal"),
    "{http://nextcloud.com/ns}trash-bin", "{http://nextcloud.com/ns}deleted-calendar",
}  # fmt: skip
_SHARED = {cs("shared"), "{http://nextcloud.com/ns}app-generated-shared", d("shared")}
_BODIES = {
    "calendar": (CALDAV, "calendar-multiget", c("calendar-data")),
    "addressbook": (CARDDAV, "addressbook-multiget", cr("address-data")),
}
# Collections of Nextcloud that are made from something else.
_GENERATED = {"contact_birthdays": "the birthday calendar, which is made from the contacts"}
_STATUS_GONE = (404, 410)
_BARE_LF = re.compile(r"(?<!\r)\n")


def wire(client: Dav, url: str, user: str) -> Source:
    """What an account has at a server. url: of the server, the account, or one collection. user: its name there."""
    return Source(id=f"dav:{user}@{origin(url)}", accounts=lambda report: _accounts(client, url, user, report))


@dataclass(frozen=True, slots=True)
class _Found:
    """What discovery has found. owner: the principal's address, "" when it is not known."""

    principal: str
    calendars: tuple[str, ...]
    books: tuple[str, ...]
    alone: Entry | None = None


def _accounts(client: Dav, url: str, user: str, report: Report) -> Iterator[SourceAccount]:
    try:
        found = _discover(client, url)
        name, addresses = _person(client, found)
    except WireError as error:
        raise SourceError(str(error)) from None
    reader = _Reader(client, user, found, report)
    yield SourceAccount(name=user, collections=reader.collections, display_name=name, addresses=addresses)


def _discover(client: Dav, url: str) -> _Found:
    """Raises WireError when no home can be found."""
    trouble: WireError | None = None
    for place in dict.fromkeys(
        (url, urljoin(url, "/.well-known/caldav"), urljoin(url, "/.well-known/carddav"), urljoin(url, "/"))
    ):
        try:
            found = _look(client, place)
        except WireError as error:
            if error.status in (401, 403) and place == url:
                raise
            # A wrong password says more than an address that is not there.
            trouble = error if trouble is None or error.status == 401 else trouble
            continue
        if found.alone is not None and place == url:
            return found
        if found.calendars and found.books:
            return found
        if found.calendars or found.books:
            # Contacts may be on another host than calendars, or know another principal.
            return _complete(client, url, found)
    raise trouble or WireError("There are no calendars and no address books at this address.")


def _complete(client: Dav, url: str, found: _Found) -> _Found:
    missing = "carddav" if found.calendars else "caldav"
    try:
        other = _look(client, urljoin(url, f"/.well-known/{missing}"))
    except WireError:
        return found
    return _Found(found.principal, found.calendars or other.calendars, found.books or other.books)


def _look(client: Dav, url: str) -> _Found:
    """What an address says of itself: it may be a collection, a home, or lead to the principal."""
    entry = _first(client.propfind(url, _START, depth="0"))
    kind = _kind(entry)
    if kind:
        described = _first(client.propfind(entry.url, _DESCRIBED, depth="0"))
        return _Found("", (), (), Entry(entry.url, 200, described.properties))
    principal = _href(entry, _PRINCIPAL) or ""
    calendars, books = _hrefs(entry, _CALENDARS), _hrefs(entry, _BOOKS)
    if principal and not (calendars and books):
        own = _first(client.propfind(principal, (*_START, _ADDRESSES), depth="0"))
        calendars, books = calendars or _hrefs(own, _CALENDARS), books or _hrefs(own, _BOOKS)
    elif not principal and d("principal") in entry.names_in(_TYPE):
        principal = entry.url
    return _Found(principal, calendars[:HOMES_MAX], books[:HOMES_MAX])


def _person(client: Dav, found: _Found) -> tuple[str, tuple[str, ...]]:
    if not found.principal:
        return "", ()
    try:
        entry = _first(client.propfind(found.principal, (_NAME, _ADDRESSES), depth="0"))
    except WireError:
        return "", ()
    written = entry.properties.get(_ADDRESSES)
    texts = [] if written is None else [xml.text_of(one) for one in xml.children(written) if one.tag == d("href")]
    return entry.text(_NAME), tuple(one[7:] for one in texts if one.lower().startswith("mailto:"))


@dataclass(slots=True)
class _Reader:
    client: Dav
    user: str
    found: _Found
    report: Report
    seen: set[str] = field(default_factory=set)

    def collections(self) -> Iterator[SourceCollection]:
        if self.found.alone is not None:
            yield from self._collection(self.found.alone)
            return
        for home in dict.fromkeys((*self.found.calendars, *self.found.books)):
            try:
                yield from self._home(home, 1)
            except WireError as error:
                self.report.left(self.user, urlsplit(home).path, str(error))

    def _home(self, home: str, depth: int) -> Iterator[SourceCollection]:
        for entry in self.client.propfind(home, _DESCRIBED, depth="1").entries:
            if _same(entry.url, home) or entry.url in self.seen or not 200 <= entry.status < 300:
                continue
            if len(self.seen) >= COLLECTIONS_MAX:
                raise WireError(f"The account has more than {COLLECTIONS_MAX} collections.")
            self.seen.add(entry.url)
            types = entry.names_in(_TYPE)
            if _kind(entry) or cs("subscribed") in types:
                yield from self._collection(entry)
            elif d("collection") in types and not _is_protocol(types) and depth < DEPTH_MAX and _below(entry.url, home):
                # Zimbra and others let calendars lie in folders.
                try:
                    yield from self._home(entry.url, depth + 1)
                except WireError as error:
                    self.report.left(self.user, urlsplit(entry.url).path, str(error))

    def _collection(self, entry: Entry) -> Iterator[SourceCollection]:
        types = entry.names_in(_TYPE)
        path = _last(entry.url)
        if _is_protocol(types):
            return
        if path in _GENERATED:
            self.report.left(self.user, path, _GENERATED[path])
            return
        if types & _SHARED or self._is_others(entry):
            self.report.left(self.user, path, "it belongs to somebody else, who may bring it over and share it")
            return
        if cs("subscribed") in types:
            try:
                url = checked_url(entry.text(cs("source")))
            except BadUrl as error:
                self.report.left(self.user, path, f"the calendar that is followed has no usable address: {error}")
                return
            yield SourceCollection(
                path=path, kind="feed", items=lambda known: (), display_name=entry.text(_NAME) or None,
                colour=_colour(entry, "calendar"), order=_number(entry.text(ical("calendar-order"))), url=url,
                strip=tuple(what for what in STRIPS if cs(f"subscribed-strip-{what}") in entry.properties),
                interval_s=seconds_of(entry.text(ical("refreshrate"))),
            )  # fmt: skip
            return
        kind = _kind(entry)
        description = c("calendar-description") if kind == "calendar" else cr("addressbook-description")
        transparent = entry.names_in(c("schedule-calendar-transp"))
        zone = entry.raw(c("calendar-timezone")).strip()
        yield SourceCollection(
            path=path,
            kind=kind,
            items=partial(self._items, entry, kind),
            display_name=entry.text(_NAME) or None,
            description=entry.text(description) or None,
            colour=_colour(entry, kind),
            order=_number(entry.text(ical("calendar-order"))),
            time_zone=(_crlf(zone) or entry.text(c("calendar-timezone-id")) or None) if kind == "calendar" else None,
            components=_components(entry),
            transparent=None if not transparent else c("transparent") in transparent,
        )

    def _is_others(self, entry: Entry) -> bool:
        """Whether a collection in the account's home has another owner: SOGo and Nextcloud show shared ones there."""
        if not self.found.principal:
            return False
        principal = _plain(self.found.principal)
        owner = _href(entry, _OWNER)
        # Only where both are written alike: some servers have several addresses for one principal.
        if owner and _plain(owner) != principal and _plain(owner).rpartition("/")[0] == principal.rpartition("/")[0]:
            return _plain(owner).casefold() != principal.casefold()
        written = entry.text(_OC_OWNER).strip("/").rpartition("/")[2]
        mine = (_last(self.found.principal).casefold(), self.user.casefold())
        return bool(written) and unquote(written).casefold() not in mine

    # --- members ------------------------------------------------------------------------------------------------------

    def _items(self, entry: Entry, kind: str, known: Known) -> Iterator[Item]:
        try:
            yield from self._changed(entry, kind, known)
        except WireError as error:
            raise SourceError(str(error)) from None

    def _changed(self, entry: Entry, kind: str, known: Known) -> Iterator[Item]:
        """All members: those that known has as they are without a body, and a mark at the end."""
        token = known.get("", "")
        listed: dict[str, tuple[str, str]] | None = None  # name → (address, entity tag)
        gone: set[str] = set()
        reached = ""
        if d("sync-collection") in _reports(entry):
            try:
                listed, gone, reached = self._sync(entry.url, token)
            except WireError as error:
                if error.status in (401, 0) and not isinstance(error, TooLarge):
                    raise
                token, listed = "", None
                # The token is too old, or no sync after all: RFC 6578 §3.2 wants 403 with a condition.
                if known.get(""):
                    try:
                        listed, gone, reached = self._sync(entry.url, "")
                    except WireError:
                        listed = None
        if listed is None:
            listed, token, reached = self._listing(entry.url), "", ""
        if token:
            told = listed.keys() | gone
            for name, version in known.items():
                # An item of several objects has one name for each, behind "#".
                if name and name not in told and name.partition("#")[0] not in told:
                    yield Item(name, version, None)
        wanted: list[tuple[str, str, str]] = []
        for name, (url, etag) in listed.items():
            if etag and known.get(name) == etag:
                yield Item(name, etag, None)
            else:
                wanted.append((name, url, etag))
        for start in range(0, len(wanted), BATCH):
            yield from self._bodies(entry.url, kind, wanted[start : start + BATCH])
        if reached and len(reached) <= TOKEN_MAX:
            yield Item("", reached, None)

    def _sync(self, url: str, token: str) -> tuple[dict[str, tuple[str, str]], set[str], str]:
        """(members that are new or changed, names of those that are gone, the token reached). RFC 6578 §3."""
        listed: dict[str, tuple[str, str]] = {}
        gone: set[str] = set()
        for _ in range(PAGES_MAX):
            answer = self.client.report(
                url,
                f'<D:sync-collection xmlns:D="DAV:"><D:sync-token>{xml.escape(token)}</D:sync-token>'
                f"<D:sync-level>1</D:sync-level><D:prop><D:getetag/><D:resourcetype/></D:prop></D:sync-collection>",
                depth="0",
            )
            cut = False
            for entry in answer.entries:
                if _same(entry.url, url):
                    cut = cut or entry.status == 507
                elif not _below(entry.url, url):
                    continue
                elif entry.status in _STATUS_GONE:
                    gone.add(_last(entry.url))
                    listed.pop(_last(entry.url), None)
                elif _is_member(entry):
                    gone.discard(_last(entry.url))
                    listed[_last(entry.url)] = (entry.url, _etag(entry.text(_ETAG)))
            if not answer.sync_token:
                raise WireError("The answer to a sync has no token.", 500)
            # RFC 6578 §3.6: cut short, to be gone on with. A token that stands still would go on for ever.
            if not cut or answer.sync_token == token:
                return listed, gone, answer.sync_token
            token = answer.sync_token
        raise WireError(f"A sync takes more than {PAGES_MAX} pages.", 500)

    def _listing(self, url: str) -> dict[str, tuple[str, str]]:
        answer = self.client.propfind(url, (_ETAG, _TYPE), depth="1")
        return {
            _last(entry.url): (entry.url, _etag(entry.text(_ETAG)))
            for entry in answer.entries
            if not _same(entry.url, url) and _below(entry.url, url) and 200 <= entry.status < 300 and _is_member(entry)
        }

    def _bodies(self, url: str, kind: str, wanted: list[tuple[str, str, str]]) -> Iterator[Item]:
        """The members with these (name, address, entity tag): by multiget, and one by one where that gives none."""
        try:
            answer = self._multiget(url, kind, [address for _, address, _ in wanted])
        except TooLarge:
            if len(wanted) > 1:
                half = len(wanted) // 2
                yield from self._bodies(url, kind, wanted[:half])
                yield from self._bodies(url, kind, wanted[half:])
                return
            answer = Multistatus(())
        except WireError as error:
            if error.status in (0, 401):
                raise
            answer = Multistatus(())
        data = _BODIES[kind][2]
        got = {_last(entry.url): entry for entry in answer.entries if 200 <= entry.status < 300}
        for name, address, etag in wanted:
            entry = got.get(name)
            body = entry.raw(data) if entry is not None else ""
            if entry is None or not body.strip():
                yield self._alone(name, address, etag)
                continue
            version = _etag(entry.text(_ETAG)) or etag
            # XML 1.0 §2.11: a parser makes LF of CRLF, which every object has (RFC 5545 §3.1, RFC 6350 §3.2).
            yield Item(name, version, _crlf(body).encode("utf-8", "replace"), etag=_kept(version))

    def _multiget(self, url: str, kind: str, addresses: Iterable[str]) -> Multistatus:
        namespace, local, _ = _BODIES[kind]
        data = "calendar-data" if kind == "calendar" else "address-data"
        return self.client.report(
            url,
            f'<X:{local} xmlns:D="DAV:" xmlns:X="{namespace}"><D:prop><D:getetag/><X:{data}/></D:prop>'
            f"{hrefs(addresses)}</X:{local}>",
            depth="1",
        )

    def _alone(self, name: str, address: str, etag: str) -> Item:
        """One member by GET. Raises WireError when the server gives no answer at all."""
        try:
            answer = self.client.get(address)
        except WireError as error:
            if error.status == 0 and not isinstance(error, TooLarge):
                raise
            return Item(name, etag, None, problem=str(error))
        version = _etag(answer.headers.get("etag", "")) or etag
        return Item(name, version, answer.body, etag=_kept(version))


# --- reading properties -----------------------------------------------------------------------------------------------


def _first(answer: Multistatus) -> Entry:
    for entry in answer.entries:
        if 200 <= entry.status < 300:
            return entry
    raise WireError("The server's answer is empty.", 404)


def _kind(entry: Entry) -> str:
    types = entry.names_in(_TYPE)
    if _is_protocol(types):
        return ""
    return "calendar" if c("calendar") in types else "addressbook" if cr("addressbook") in types else ""


def _is_protocol(types: frozenset[str]) -> bool:
    """Whether a collection is for the protocol's own work. The first calendar of a SOGo is an outbox as well."""
    return bool(types & _PROTOCOL) and not (c("calendar") in types and types & _PROTOCOL == {c("schedule-outbox")})


def _hrefs(entry: Entry, name: str) -> tuple[str, ...]:
    element = entry.properties.get(name)
    if element is None:
        return ()
    found = []
    for child in xml.children(element):
        if child.tag == d("href") and (written := xml.text_of(child)):
            try:
                found.append(urljoin(entry.url, written))
            except ValueError:
                continue
    return tuple(found)


def _href(entry: Entry, name: str) -> str | None:
    return next(iter(_hrefs(entry, name)), None)


def _reports(entry: Entry) -> frozenset[str]:
    element = entry.properties.get(_REPORTS)
    if element is None:
        return frozenset()
    return frozenset(str(one[0].tag) for one in element.iter(d("report")) if len(one))


def _components(entry: Entry) -> tuple[str, ...]:
    element = entry.properties.get(c("supported-calendar-component-set"))
    if element is None:
        return ()
    names = [str(one.get("name")).upper() for one in xml.children(element) if one.tag == c("comp") and one.get("name")]
    # What can be an object of its own here.
    return tuple(dict.fromkeys(name for name in names if name in ("VEVENT", "VTODO", "VJOURNAL", "VAVAILABILITY")))


def _is_member(entry: Entry) -> bool:
    return d("collection") not in entry.names_in(_TYPE) and not entry.url.endswith("/")


def _colour(entry: Entry, kind: str) -> str | None:
    return entry.text(_COLOURS[kind]) or None


def _number(written: str) -> int | None:
    return int(written) if written.isdecimal() and len(written) < 10 else None


def _etag(written: str) -> str:
    """An entity tag as it is remembered, with its quotes and W/. Apache adds -gzip when it compresses."""
    tag = written.strip()
    return f'{tag[:-6]}"' if tag.endswith('-gzip"') else tag


def _kept(version: str) -> str | None:
    """The tag that clients may hold these bytes under, without quotes; None for a weak one (RFC 9110 §8.8.1)."""
    if len(version) < 3 or not (version.startswith('"') and version.endswith('"')):
        return None
    inner = version[1:-1]
    return inner if len(inner) <= 200 and all(0x21 <= ord(char) <= 0x7E and char != '"' for char in inner) else None


def _last(url: str) -> str:
    return unquote(urlsplit(url).path.rstrip("/").rpartition("/")[2])


def _plain(url: str) -> str:
    return unquote(urlsplit(url).path).rstrip("/")


def _same(one: str, other: str) -> bool:
    return _plain(one) == _plain(other)


def _below(url: str, folder: str) -> bool:
    """Whether an address is directly in a folder. Some servers write the folder's own name another way: only the
    depth is compared with the name of the host and the path."""
    return _plain(url).rpartition("/")[0] == _plain(folder)


def _crlf(body: str) -> str:
    return _BARE_LF.sub("\r\n", body)
