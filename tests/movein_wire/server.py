"""A small CalDAV and CardDAV server in memory, with the habits of real ones as switches. For httpx's MockTransport."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

import httpx
from lxml import etree

D, C, R, S = (
    "{DAV:}",
    "{urn:ietf:params:xml:ns:caldav}",
    "{urn:ietf:params:xml:ns:carddav}",
    "{http://calendarserver.org/ns/}",
)
_NS = (
    'xmlns="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" xmlns:R="urn:ietf:params:xml:ns:carddav" '
    'xmlns:S="http://calendarserver.org/ns/" xmlns:I="http://apple.com/ns/ical/" xmlns:O="http://owncloud.org/ns"'
)


def escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("\r", "&#13;")


@dataclass(slots=True)
class Place:
    """A collection. log: (number of the change, name, whether it is gone)."""

    types: str
    props: str = ""
    members: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    log: list[tuple[int, str, bool]] = field(default_factory=list)

    def put(self, name: str, body: bytes, etag: str = "") -> None:
        number = len(self.log) + 1
        self.members[name] = (etag or f'"{number}-{quote(name)}"', body)
        self.log.append((number, name, False))

    def remove(self, name: str) -> None:
        del self.members[name]
        self.log.append((len(self.log) + 1, name, True))


@dataclass(slots=True)
class FakeServer:
    """Its one person is alice; everything is below /dav/."""

    syncs: bool = True
    multigets: bool = True
    keeps_cr: bool = False  # escapes CR in XML, as careful servers do
    page: int = 1000
    oldest: int = 0  # the oldest token that is still good
    knows_url: bool = True  # answers at the address that is typed in; else only at the well-known one
    tags: bool = True
    password: str = "tea"
    places: dict[str, Place] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    faults: list[Callable[[httpx.Request], httpx.Response | None]] = field(default_factory=list)

    def calendar(self, name: str, props: str = "", types: str = "<collection/><C:calendar/>") -> Place:
        place = self.places[f"/dav/alice/cal/{name}/"] = Place(types, props)
        return place

    def book(self, name: str, props: str = "") -> Place:
        place = self.places[f"/dav/alice/book/{name}/"] = Place("<collection/><R:addressbook/>", props)
        return place

    def count(self, method: str) -> int:
        return sum(1 for asked, _ in self.asked if asked == method)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append((request.method, path))
        for fault in list(self.faults):
            answer = fault(request)
            if answer is not None:
                return answer
        given = httpx.BasicAuth("alice", self.password)
        wanted = next(given.auth_flow(httpx.Request("GET", "http://x/"))).headers["Authorization"]
        if request.headers.get("Authorization") != wanted:
            return httpx.Response(401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        if path.startswith("/.well-known/"):
            return httpx.Response(301, headers={"Location": "/dav/"})
        if not path.startswith("/dav/") and not (path == "/" and self.knows_url):
            return httpx.Response(404)
        if request.method == "PROPFIND":
            return self._propfind(path, request.headers["Depth"])
        if request.method == "REPORT":
            return self._report(path, request.content)
        if request.method == "GET":
            return self._get(path)
        return httpx.Response(405)

    # --- methods ------------------------------------------------------------------------------------------------------

    def _propfind(self, path: str, depth: str) -> httpx.Response:
        found: list[str] = []
        if path in ("/", "/dav/"):
            principal = "<current-user-principal><href>/dav/p/alice/</href></current-user-principal>"
            found.append(response(path, f"<resourcetype><collection/></resourcetype>{principal}"))
        elif path == "/dav/p/alice/":
            homes = (
                "<C:calendar-home-set><href>/dav/alice/cal/</href></C:calendar-home-set>"
                "<R:addressbook-home-set><href>/dav/alice/book/</href></R:addressbook-home-set>"
                "<C:calendar-user-address-set><href>mailto:alice@x.example</href></C:calendar-user-address-set>"
            )
            found.append(
                response(path, f"<resourcetype><principal/></resourcetype><displayname>Al</displayname>{homes}")
            )
        elif path in self.places or path in ("/dav/alice/cal/", "/dav/alice/book/"):
            own = self.places.get(path, Place("<collection/>"))
            found.append(response(path, self._described(own)))
            if depth == "1":
                found += [response(path + quote(name), self._tag(own, name)) for name in own.members]
                for name, place in self.places.items():
                    if name.startswith(path) and name.count("/") == path.count("/") + 1:
                        found.append(response(name, self._described(place)))
        else:
            return httpx.Response(404)
        return multistatus("".join(found))

    def _report(self, path: str, body: bytes) -> httpx.Response:
        root = etree.fromstring(body)
        place = self.places.get(path)
        if place is None:
            return httpx.Response(404)
        if root.tag == f"{D}sync-collection" and self.syncs:
            return self._sync(path, place, root.findtext(f"{D}sync-token") or "")
        if root.tag in (f"{C}calendar-multiget", f"{R}addressbook-multiget") and self.multigets:
            data = "C:calendar-data" if root.tag.startswith(C) else "R:address-data"
            found = []
            for href in root.findall(f"{D}href"):
                name = unquote(str(href.text).rpartition("/")[2])
                if name in place.members:
                    content = escape(place.members[name][1].decode())
                    content = content if self.keeps_cr else content.replace("&#13;", "")
                    found.append(response(path + quote(name), f"{self._tag(place, name)}<{data}>{content}</{data}>"))
                else:
                    found.append(
                        f"<response><href>{escape(str(href.text))}</href><status>HTTP/1.1 404 x</status></response>"
                    )
            return multistatus("".join(found))
        return httpx.Response(501)

    def _sync(self, path: str, place: Place, token: str) -> httpx.Response:
        since = int(token.rpartition("/")[2]) if token else 0
        if token and since < self.oldest:
            return httpx.Response(403, content=b'<error xmlns="DAV:"><valid-sync-token/></error>')
        news = {name: (number, gone) for number, name, gone in place.log if number > since}
        rows = sorted((number, name, gone) for name, (number, gone) in news.items() if token or not gone)
        cut = len(rows) > self.page
        rows = rows[: self.page]
        found = [
            f"<response><href>{path}{quote(name)}</href><status>HTTP/1.1 404 x</status></response>"
            if gone
            else response(path + quote(name), self._tag(place, name))
            for _, name, gone in rows
        ]
        reached = rows[-1][0] if cut else len(place.log)
        if cut:
            found.append(f"<response><href>{path}</href><status>HTTP/1.1 507 x</status></response>")
        return multistatus("".join(found) + f"<sync-token>http://x/{reached}</sync-token>")

    def _get(self, path: str) -> httpx.Response:
        folder, _, name = path.rpartition("/")
        place = self.places.get(f"{folder}/")
        if place is None or name not in place.members:
            return httpx.Response(404)
        etag, body = place.members[name]
        return httpx.Response(200, headers={"ETag": etag} if self.tags else {}, content=body)

    # --- XML ----------------------------------------------------------------------------------------------------------

    def _described(self, place: Place) -> str:
        reports = "<report><sync-collection/></report>" if self.syncs else ""
        return (
            f"<resourcetype>{place.types}</resourcetype>{place.props}"
            f"<supported-report-set><supported-report>{reports}</supported-report></supported-report-set>"
        )

    def _tag(self, place: Place, name: str) -> str:
        tag = f"<getetag>{escape(place.members[name][0])}</getetag>" if self.tags else ""
        return f"<resourcetype/>{tag}"


def quote(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.@_-]", lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)


def response(href: str, props: str) -> str:
    inner = f"<propstat><prop>{props}</prop><status>HTTP/1.1 200 OK</status></propstat>"
    return f"<response><href>{href}</href>{inner}</response>"


def multistatus(inner: str) -> httpx.Response:
    return httpx.Response(207, content=f"<multistatus {_NS}>{inner}</multistatus>".encode())
