"""A plain HTTP client for the tests from outside: standard library and lxml, nothing of the server's own code."""

from __future__ import annotations

import base64
import http.client
import socket
import time
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from lxml import etree

D = "{DAV:}"
C = "{urn:ietf:params:xml:ns:caldav}"
CR = "{urn:ietf:params:xml:ns:carddav}"
CS = "{http://calendarserver.org/ns/}"
XMLNS = (
    'xmlns:D="DAV:" xmlns:C="urn:ietf:params:xml:ns:caldav" '
    'xmlns:R="urn:ietf:params:xml:ns:carddav" xmlns:S="http://calendarserver.org/ns/"'
)
ICS = "text/calendar; charset=utf-8"
VCF = "text/vcard; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """One response. headers: lower-case names; the values of a repeated one joined by a comma. seconds: wall time."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def etag(self) -> str:
        return self.headers.get("etag", "")

    def root(self) -> etree._Element:
        parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)
        return etree.fromstring(self.body, parser)

    def condition(self) -> str:
        """Clark name of the precondition in a DAV:error body (RFC 4918 §16); "" when there is none."""
        try:
            root = self.root()
        except etree.XMLSyntaxError:
            return ""
        if root.tag != D + "error":
            return ""
        return str(root[0].tag) if len(root) else ""

    def __str__(self) -> str:
        return f"{self.status} {self.text[:600]!r}"


@dataclass(frozen=True, slots=True)
class Item:
    """One DAV:response. status: its own, when it has no propstat. props: those found; missing: name → status."""

    href: str
    status: int | None
    props: dict[str, etree._Element]
    missing: dict[str, int]

    def text(self, name: str) -> str:
        element = self.props.get(name)
        return "" if element is None else "".join(str(part) for part in element.itertext()).strip()


def items(answer: Answer) -> dict[str, Item]:
    """The responses of a multistatus by href as written. Fails when it is none or names one href twice."""
    assert answer.status == 207, str(answer)
    root = answer.root()
    assert root.tag == D + "multistatus", root.tag
    found: dict[str, Item] = {}
    for response in root.findall(D + "response"):
        href = response.findtext(D + "href") or ""
        own = response.findtext(D + "status")
        props: dict[str, etree._Element] = {}
        missing: dict[str, int] = {}
        for propstat in response.findall(D + "propstat"):
            status = int((propstat.findtext(D + "status") or "").split()[1])
            for element in propstat.iterfind(f"{D}prop/*"):
                if status == 200:
                    props[str(element.tag)] = element
                else:
                    missing[str(element.tag)] = status
        assert href not in found, f"{href} twice"
        found[href] = Item(href, int(own.split()[1]) if own else None, props, missing)
    return found


def names(answer: Answer) -> set[str]:
    """Last path segments, decoded, of the responses that are not errors."""
    return {
        unquote(item.href.rstrip("/").rsplit("/", 1)[-1])
        for item in items(answer).values()
        if item.status in (None, 200)
    }


class Dav:
    """One account on one server. Paths are sent as they are written."""

    def __init__(self, base: str, user: str, password: str) -> None:
        parts = urlsplit(base)
        self.host, self.port, self.base = str(parts.hostname), parts.port or 80, base
        self.user, self.password = user, password

    def basic(self) -> str:
        return "Basic " + base64.b64encode(f"{self.user}:{self.password}".encode()).decode()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str | None = None,
        headers: dict[str, str] | None = None,
        *,
        auth: bool = True,
        timeout: float = 60,
    ) -> Answer:
        send = {"Authorization": self.basic()} if auth else {}
        send |= headers or {}
        data = body.encode() if isinstance(body, str) else body
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        start = time.monotonic()
        try:
            connection.request(method, path, data, send)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        folded: dict[str, str] = {}
        for name, value in response.getheaders():
            key = name.lower()
            folded[key] = f"{folded[key]}, {value}" if key in folded else value
        return Answer(response.status, folded, content, time.monotonic() - start)

    def raw(self, data: bytes, *, timeout: float = 20) -> bytes:
        """Sends the bytes as they are; returns what comes until it closes or falls silent for `timeout` s."""
        with socket.create_connection((self.host, self.port), timeout=timeout) as connection:
            connection.sendall(data)
            received = bytearray()
            try:
                while chunk := connection.recv(65536):
                    received += chunk
                    head, found, rest = bytes(received).partition(b"\r\n\r\n")
                    if found and _complete(head, rest):
                        break
            except (TimeoutError, ConnectionResetError):
                pass
            return bytes(received)

    # --- verbs ------------------------------------------------------------------------------------------------------

    def put(self, path: str, body: bytes | str, media: str = ICS, **headers: str) -> Answer:
        send = {"Content-Type": media} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("PUT", path, body, send)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()})

    def delete(self, path: str, **headers: str) -> Answer:
        return self.request("DELETE", path, None, {name.replace("_", "-"): value for name, value in headers.items()})

    def propfind(self, path: str, props: str, depth: str = "0") -> Answer:
        """props: elements with the prefixes of XMLNS, e.g. "<D:getetag/>"."""
        body = f"<D:propfind {XMLNS}><D:prop>{props}</D:prop></D:propfind>"
        return self.request("PROPFIND", path, body, {"Depth": depth, "Content-Type": "application/xml"})

    def report(self, path: str, body: str, depth: str = "1") -> Answer:
        return self.request("REPORT", path, body, {"Depth": depth, "Content-Type": "application/xml"})

    def sync(self, path: str, token: str = "", limit: int | None = None) -> Answer:
        cut = f"<D:limit><D:nresults>{limit}</D:nresults></D:limit>" if limit else ""
        return self.report(
            path,
            f"<D:sync-collection {XMLNS}><D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level>{cut}"
            "<D:prop><D:getetag/></D:prop></D:sync-collection>",
            depth="0",
        )

    def query(self, path: str, component: str, inner: str = "", *, data: str = "") -> Answer:
        """A calendar-query (RFC 4791 §7.8) for one kind of component; inner: what stands in its comp-filter."""
        return self.report(
            path,
            f"<C:calendar-query {XMLNS}><D:prop><D:getetag/>{data}</D:prop><C:filter>"
            f'<C:comp-filter name="VCALENDAR"><C:comp-filter name="{component}">{inner}</C:comp-filter>'
            "</C:comp-filter></C:filter></C:calendar-query>",
        )

    def expand(self, path: str, component: str, start: str, end: str) -> Answer:
        window = f'start="{start}" end="{end}"'
        return self.query(
            path,
            component,
            f"<C:time-range {window}/>",
            data=f"<C:calendar-data><C:expand {window}/></C:calendar-data>",
        )

    def multiget(self, path: str, hrefs: list[str]) -> Answer:
        listed = "".join(f"<D:href>{href}</D:href>" for href in hrefs)
        return self.report(
            path,
            f"<C:calendar-multiget {XMLNS}><D:prop><D:getetag/><C:calendar-data/></D:prop>{listed}"
            "</C:calendar-multiget>",
        )

    def card_query(self, path: str, filters: str, *, test: str = "anyof", data: str = "") -> Answer:
        return self.report(
            path,
            f"<R:addressbook-query {XMLNS}><D:prop><D:getetag/>{data}</D:prop>"
            f'<R:filter test="{test}">{filters}</R:filter></R:addressbook-query>',
        )

    # --- places -----------------------------------------------------------------------------------------------------

    def principal(self) -> str:
        answer = self.propfind("/dav/", "<D:current-user-principal/>")
        (item,) = items(answer).values()
        return str(item.props[D + "current-user-principal"].findtext(D + "href"))

    def home(self, kind: str = "calendar") -> str:
        """Path of the calendar or addressbook home, found as clients do it."""
        prefix, space = ("C", C) if kind == "calendar" else ("R", CR)
        answer = self.propfind(self.principal(), f"<{prefix}:{kind}-home-set/>")
        (item,) = items(answer).values()
        return str(item.props[f"{space}{kind}-home-set"].findtext(D + "href"))

    def files(self) -> str:
        """Path of the plain-files home: beside the calendar home, under /dav/files/."""
        return self.home().replace("/calendars/", "/files/", 1)

    def make_calendar(self, path: str, components: str = "", props: str = "") -> str:
        listed = "".join(f'<C:comp name="{name}"/>' for name in components.split())
        wanted = f"<C:supported-calendar-component-set>{listed}</C:supported-calendar-component-set>" if listed else ""
        body = f"<C:mkcalendar {XMLNS}><D:set><D:prop>{wanted}{props}</D:prop></D:set></C:mkcalendar>"
        answer = self.request(
            "MKCALENDAR", path, body if wanted or props else None, {"Content-Type": "application/xml"}
        )
        assert answer.status == 201, str(answer)
        return path

    def make_book(self, path: str) -> str:
        body = (
            f"<D:mkcol {XMLNS}><D:set><D:prop><D:resourcetype><D:collection/><R:addressbook/></D:resourcetype>"
            "</D:prop></D:set></D:mkcol>"
        )
        answer = self.request("MKCOL", path, body, {"Content-Type": "application/xml"})
        assert answer.status == 201, str(answer)
        return path


def _complete(head: bytes, rest: bytes) -> bool:
    """Whether a response read so far is whole: enough to stop waiting on a keep-alive connection."""
    lower = head.lower()
    for line in lower.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(rest) >= int(line.split(b":")[1])
    if b"transfer-encoding: chunked" in lower:
        return rest.endswith(b"0\r\n\r\n")
    return lower.startswith((b"http/1.1 204", b"http/1.1 304"))


# --- objects ---------------------------------------------------------------------------------------------------------


def propertyupdate(inner: str) -> str:
    """A PROPPATCH body (RFC 4918 §9.2) that sets what `inner` holds."""
    return f"<D:propertyupdate {XMLNS}><D:set><D:prop>{inner}</D:prop></D:set></D:propertyupdate>"


def calendar(*lines: str) -> bytes:
    """A VCALENDAR around the lines, with CRLF line ends."""
    text = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//outside//test//EN", *lines, "END:VCALENDAR", ""]
    return "\r\n".join(text).encode()


def event(uid: str, *lines: str) -> bytes:
    """A VCALENDAR with one VEVENT."""
    return calendar(*component("VEVENT", uid, *lines))


def component(kind: str, uid: str, *lines: str) -> list[str]:
    return [f"BEGIN:{kind}", f"UID:{uid}", "DTSTAMP:20260101T000000Z", *lines, f"END:{kind}"]


def card(uid: str, *lines: str, version: str = "3.0") -> bytes:
    return "\r\n".join(["BEGIN:VCARD", f"VERSION:{version}", f"UID:{uid}", *lines, "END:VCARD", ""]).encode()


def unfold(text: str) -> str:
    return text.replace("\r\n ", "").replace("\r\n\t", "").replace("\n ", "").replace("\r\n", "\n")


def window(start: str, end: str = "") -> str:
    """A time-range element; either side may be empty."""
    sides = (f' start="{start}"' if start else "") + (f' end="{end}"' if end else "")
    return f"<C:time-range{sides}/>"
