"""A client that speaks our verbs to the ASGI app in this process: `alice.put("calendars/alice/calendar/x.ics", body)`.

No sockets and no HTTP library: a request is one call of the app on our own event loop, so a test costs a millisecond.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from lxml import etree

from dav.app import Davenport, build
from dav.auth import SignedIn
from dav.config import Config
from dav.names import PREFIXES
from dav.provision import provision
from storage.engine import Store, transaction
from storage.records import Account

NAMESPACES = " ".join(f'xmlns:{prefix}="{namespace}"' for namespace, prefix in PREFIXES.items())
Prepared = tuple[str, str, bytes, list[tuple[str, str]], int]
NOW_S = 1_795_000_000  # 18 November 2026; tests move it by server.clock.now_s


@dataclass
class Clock:
    """What the app believes the time to be."""

    now_s: int = NOW_S

    def __call__(self) -> float:
        return float(self.now_s)


@dataclass
class Answer:
    """What came back. headers: lower-case names; a repeated one is joined by ", "."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def xml(self) -> etree._Element:
        return etree.fromstring(self.body)

    @property
    def etag(self) -> str:
        return self.headers["etag"]

    @property
    def condition(self) -> str | None:
        """Clark name of the one element in DAV:error; None when the body is none."""
        if not self.body.lstrip().startswith(b"<"):
            return None
        root = self.xml
        if root.tag != "{DAV:}error":
            return None
        (child,) = [child for child in root if isinstance(child.tag, str)]
        return str(child.tag)

    @property
    def error_hrefs(self) -> list[str]:
        """The DAV:hrefs inside of DAV:error."""
        return [str(element.text) for element in self.xml.iter("{DAV:}href")]

    @property
    def responses(self) -> dict[str, Item]:
        """The responses of a multi-status body by href. Fails when the answer is no 207."""
        assert self.status == 207, (self.status, self.body[:500])
        found: dict[str, Item] = {}
        for response in self.xml.iter("{DAV:}response"):
            item = Item()
            for child in response:
                if child.tag == "{DAV:}status":
                    item.status = int(str(child.text).split()[1])
                elif child.tag == "{DAV:}propstat":
                    status = int(str(child.findtext("{DAV:}status")).split()[1])
                    props = child.find("{DAV:}prop")
                    assert props is not None
                    item.by_status.setdefault(status, {}).update({str(prop.tag): prop for prop in props})
            href = str(response.findtext("{DAV:}href"))
            assert href not in found, f"{href} is there twice"
            found[href] = item
        return found


@dataclass
class Item:
    """One DAV:response: a status of its own, or properties by their status."""

    status: int | None = None
    by_status: dict[int, dict[str, etree._Element]] = field(default_factory=dict)

    @property
    def props(self) -> dict[str, etree._Element]:
        return self.by_status.get(200, {})


class Server:
    """The app over a store, with accounts whose password is their name."""

    def __init__(self, store: Store, config: Config | None = None) -> None:
        self.store = store
        self.config = config or Config()
        self.app: Davenport = build(self.config, store)
        self.clock = Clock()
        self.app.now = self.clock
        self._loop = asyncio.new_event_loop()

    def account(self, name: str) -> Client:
        """A new account with its first collections, and a client that is signed in as it."""
        with transaction(self.store, write=True) as conn:
            account = provision(conn, name, now_s=self.clock.now_s)
        return self.client(account)

    def client(self, account: Account) -> Client:
        # Remembered as if verified: hashing a password for each test would be most of its time.
        signed = SignedIn(account.id, account.auth_seq)
        self.app.auth.cache.put(account.name, account.name, signed, time.monotonic())
        return Client(self, account)

    def close(self) -> None:
        self.app.close()
        self._loop.close()

    def call(self, method: str, path: str, body: bytes, headers: list[tuple[str, str]], chunk: int = 0) -> Answer:
        """One request. chunk: bytes in each piece of the body, 0 for all at once."""
        return self._loop.run_until_complete(self._call(method, path, body, headers, chunk))

    def together(self, *requests: Prepared) -> list[Answer]:
        """Several requests at the same time, each in a worker thread of the app."""

        async def all_of_them() -> list[Answer]:
            return list(await asyncio.gather(*(self._call(*one) for one in requests)))

        return self._loop.run_until_complete(all_of_them())

    async def _call(self, method: str, path: str, body: bytes, headers: list[tuple[str, str]], chunk: int) -> Answer:
        raw_path, _, query = path.partition("?")
        pieces: Iterator[bytes] = iter(
            [body[at : at + chunk] for at in range(0, len(body), chunk)] if chunk and body else [body]
        )
        last = False

        async def receive() -> dict[str, Any]:
            nonlocal last
            piece = next(pieces, None)
            if piece is None:
                last = True
                return {"type": "http.request", "body": b"", "more_body": False}
            return {"type": "http.request", "body": piece, "more_body": bool(chunk)}

        answer = Answer(0, {}, b"")
        parts: list[bytes] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                for raw_name, raw_value in message["headers"]:
                    name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
                    answer.headers[name] = f"{answer.headers[name]}, {value}" if name in answer.headers else value
            else:
                parts.append(message.get("body", b""))

        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
            "path": raw_path, "raw_path": raw_path.encode("latin-1"), "query_string": query.encode("latin-1"),
            "root_path": "", "client": ("127.0.0.1", 40000), "server": ("dav.example", 80),
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        }  # fmt: skip
        await self.app(scope, receive, send)
        answer.body = b"".join(parts)
        return answer


class Client:
    """One account's client. Paths are below /dav/ unless they begin with a slash; keywords are header fields.

    A keyword's underscores become hyphens and one at its end is dropped: if_none_match="*", if_="(<token>)".
    """

    host = "dav.example"

    def __init__(self, server: Server, account: Account | None) -> None:
        self.server, self.account = server, account

    @property
    def name(self) -> str:
        assert self.account is not None
        return self.account.name

    def anonymous(self) -> Client:
        """The same server without credentials."""
        return Client(self.server, None)

    def path(self, area: str, *names: str) -> str:
        """Canonical path in one of the account's homes; "" as last name ends it in a slash."""
        return "/".join(("/dav", area, quote(self.name, safe=""), *(quote(name, safe="") for name in names)))

    def request(self, verb: str, path: str, body: bytes | str = b"", *, chunk: int = 0, **headers: str) -> Answer:
        return self.server.call(*self.prepare(verb, path, body, chunk=chunk, **headers))

    def prepare(self, verb: str, path: str, body: bytes | str = b"", *, chunk: int = 0, **headers: str) -> Prepared:
        """A request that is not sent yet, for Server.together."""
        fields = [("host", self.host)]
        if self.account is not None:
            pair = f"{self.account.name}:{self.account.name}".encode()
            fields.append(("authorization", "Basic " + base64.b64encode(pair).decode()))
        fields += [(name.removesuffix("_").replace("_", "-"), value) for name, value in headers.items()]
        data = body.encode() if isinstance(body, str) else body
        if data and not chunk:
            fields.append(("content-length", str(len(data))))
        if not path.startswith("/"):
            path = f"/dav/{path}"
        return verb, path, data, fields, chunk

    def options(self, path: str, **headers: str) -> Answer:
        return self.request("OPTIONS", path, **headers)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, **headers)

    def head(self, path: str, **headers: str) -> Answer:
        return self.request("HEAD", path, **headers)

    def put(self, path: str, body: bytes | str, *, chunk: int = 0, **headers: str) -> Answer:
        return self.request("PUT", path, body, chunk=chunk, **headers)

    def post(self, path: str, body: bytes | str, **headers: str) -> Answer:
        return self.request("POST", path, body, **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.request("DELETE", path, **headers)

    def mkcol(self, path: str, body: bytes | str = b"", **headers: str) -> Answer:
        return self.request("MKCOL", path, body, **headers)

    def mkcalendar(self, path: str, body: bytes | str = b"", **headers: str) -> Answer:
        return self.request("MKCALENDAR", path, body, **headers)

    def copy(self, path: str, destination: str, **headers: str) -> Answer:
        return self.request("COPY", path, destination=self._destination(destination), **headers)

    def move(self, path: str, destination: str, **headers: str) -> Answer:
        return self.request("MOVE", path, destination=self._destination(destination), **headers)

    def lock(self, path: str, *, scope: str = "exclusive", owner: str = "", **headers: str) -> Answer:
        """A new write lock."""
        text = f"<D:owner>{owner}</D:owner>" if owner else ""
        body = f"<D:lockscope><D:{scope}/></D:lockscope><D:locktype><D:write/></D:locktype>{text}"
        return self.request("LOCK", path, element("D:lockinfo", body), **headers)

    def refresh(self, path: str, **headers: str) -> Answer:
        return self.request("LOCK", path, **headers)

    def unlock(self, path: str, token: str) -> Answer:
        return self.request("UNLOCK", path, lock_token=f"<{token}>")

    def proppatch(self, path: str, body: str, **headers: str) -> Answer:
        """body: the DAV:set and DAV:remove elements."""
        return self.request("PROPPATCH", path, element("D:propertyupdate", body), **headers)

    def propfind(
        self, path: str, names: Iterable[str], *, depth: str | int = 0, **headers: str
    ) -> dict[str, dict[str, etree._Element]]:
        """{href: {Clark name: element}} of what was found."""
        answer = self.propfind_raw(path, names, depth=depth, **headers)
        return {href: item.props for href, item in answer.responses.items()}

    def propfind_raw(self, path: str, names: Iterable[str], *, depth: str | int = 0, **headers: str) -> Answer:
        asked = "".join(clark_element(name) for name in names)
        body = element("D:propfind", f"<D:prop>{asked}</D:prop>")
        return self.request("PROPFIND", path, body, depth=str(depth), **headers)

    def report(self, path: str, body: str | bytes, *, depth: str | int | None = None, **headers: str) -> Answer:
        """body: the whole report element; a name without xmlns may use the prefixes of dav.names."""
        extra = {} if depth is None else {"depth": str(depth)}
        return self.request("REPORT", path, body, **extra, **headers)

    def sync(self, path: str, token: str = "") -> tuple[dict[str, int], str]:
        """({href: status}, new token) of a sync-collection report."""
        body = f"<D:sync-token>{token}</D:sync-token><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop>"
        answer = self.report(path, element("D:sync-collection", body), depth=0)
        found = {href: item.status or 200 for href, item in answer.responses.items()}
        return found, str(answer.xml.findtext("{DAV:}sync-token"))

    def locks(self, path: str) -> list[etree._Element]:
        """The DAV:activelock elements of a resource."""
        (props,) = self.propfind(path, ["{DAV:}lockdiscovery"]).values()
        return list(props["{DAV:}lockdiscovery"])

    def _destination(self, value: str) -> str:
        if value.startswith("/") or "://" in value:
            return value
        return f"http://{self.host}/dav/{value}"


def element(name: str, inner: str) -> str:
    """A whole document whose root declares the prefixes of dav.names."""
    return f'<?xml version="1.0" encoding="utf-8"?><{name} {NAMESPACES}>{inner}</{name}>'


def clark_element(name: str) -> str:
    """An empty element of a Clark name."""
    namespace, _, local = name[1:].rpartition("}")
    return f'<x:{local} xmlns:x="{namespace}"/>' if namespace else f'<{local} xmlns=""/>'


def token_of(answer: Answer) -> str:
    """The lock token that a LOCK answer names."""
    return answer.headers["lock-token"].strip("<>")


def event(uid: str, *, summary: str = "Tea", start: str = "20261201T150000Z", more: str = "") -> str:
    """A calendar object with one event; more: further lines of it, each ended by CRLF."""
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Davenport//Tests//EN\r\nBEGIN:VEVENT\r\n"
        f"UID:{uid}\r\nDTSTAMP:20261101T000000Z\r\nDTSTART:{start}\r\nDURATION:PT1H\r\nSUMMARY:{summary}\r\n{more}"
        "END:VEVENT\r\nEND:VCALENDAR\r\n"
    )


def task(uid: str, *, summary: str = "Dust") -> str:
    """A calendar object with one task."""
    return (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Davenport//Tests//EN\r\nBEGIN:VTODO\r\n"
        f"UID:{uid}\r\nDTSTAMP:20261101T000000Z\r\nSUMMARY:{summary}\r\nEND:VTODO\r\nEND:VCALENDAR\r\n"
    )


def card(uid: str, *, name: str = "Alice Liddell", version: str = "3.0") -> str:
    """A card with a name."""
    family = name.rpartition(" ")[2]
    return (
        f"BEGIN:VCARD\r\nVERSION:{version}\r\nUID:{uid}\r\nFN:{name}\r\nN:{family};{name.partition(' ')[0]};;;\r\n"
        "END:VCARD\r\n"
    )
