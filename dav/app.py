"""The ASGI application: reads the body, signs in, takes one thread hop, sends. The only composition root."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import RedirectResponse
from starlette.responses import Response as WebResponse
from starlette.routing import Route

from dav import access, observe, recall
from dav.auth import Authenticator, SignedIn
from dav.context import Ctx, LeaveLane, Method, Request, Response
from dav.errors import DavError, from_storage
from dav.feeds import publish
from dav.feeds.address import PATH as FEEDS_PATH
from dav.methods import METHODS
from dav.methods.options import dav_header
from dav.methods.report import Asked
from dav.spool import Abandoned, Bodies, Held, NoRoom, Room, Spool
from dav.urls import Place, Urls
from dav.version import VERSION
from dav.web import free_busy, guest, pages
from dav.web.limit import network_of
from dav.xml import comment, document, split_clark, wrap
from storage import accounts, collections
from storage.blobs import BlobWriter
from storage.engine import Heard, transaction
from storage.errors import StorageError
from storage.meetings import LockFirst
from storage.records import Blob

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from dav.config import Config
    from storage.engine import Store

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_GZIP_FROM_BYTES = 1024
_SHORT_BODY_BYTES = 4096
_PLACE_CHARS_MAX = 300
_SHORT_MULTIGET_BYTES = 8 * 1024
_LARGE_BODY_BYTES = 1024 * 1024
_LARGE_AT_ONCE = 2
_LOCK_TRIES = 5
_STREAM_CHUNK_BYTES = 64 * 1024
_COMPRESSIBLE = ("text/", "application/xml", "application/json")
_WELL_KNOWN = ("/.well-known/caldav", "/.well-known/carddav")
_PAGE_METHODS = ("GET", "HEAD")


def build(config: Config, store: Store) -> Davenport:
    """The application over an open store."""
    return Davenport(config, store)


class Stale(Exception):
    """The remembered credential is older than the account: verify the password once more."""


class Davenport:
    """ASGI entry. Everything under the DAV root goes the one way of docs/architecture.md; the rest is Starlette's."""

    def __init__(self, config: Config, store: Store) -> None:
        self.config, self.store = config, store
        self.urls = Urls(config.server.base_path)
        # On every answer: clients look for it on PROPFIND too, and it is the same set everywhere.
        self._dav_field = ("DAV", dav_header(config))
        self.threads = ThreadPoolExecutor(config.server.threads, thread_name_prefix="dav")
        self.auth = Authenticator(store, config)
        self.now: Callable[[], float] = time.time
        # Told after each commit of a writing request, from any thread: there may be mail to send.
        self.wrote: Callable[[], None] = _nothing
        home = Route("/", self._home_page, methods=list(_PAGE_METHODS))
        site = guest.Site(config, store, self.urls, lambda: self.now(), self._in_thread)
        open_to_all = (*guest.routes(site), *free_busy.routes(site))
        self.feeds = publish.Door(config, store, self.urls, lambda: self.now())
        self.web = Starlette(routes=[home, *pages.token_routes(config), *open_to_all, *pages.ROUTES])
        # A stream keeps its connection between two turns in a thread. Were all connections theirs, the threads would
        # wait for a connection, and the streams for a thread.
        self._streams = asyncio.Semaphore(max(1, config.server.threads // 2))
        self._spool_room = Room(config.limits.spool_bytes)
        self._bodies = Bodies(config.limits.body_memory)
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        # Readers of SQLite wait for nobody. A server would have to be waited for, and the loop must not wait.
        self._fast_lane = store.dialect == "sqlite"
        most = config.limits.answer_memory
        self.memory = recall.Memory(store, self.auth, bytes_max=most) if most else None
        # Clients ask about the same few addresses: a look-up takes 0.3 µs where reading one takes 8.
        self._remembered_place = functools.lru_cache(4096)(self.urls.parse)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                await self.auth.close_backends()
                self.close()
                return

    def close(self) -> None:
        """Ends the worker threads."""
        self.threads.shutdown(wait=True, cancel_futures=True)
        self.auth.close()

    # ---- routing -----------------------------------------------------------------------------------------------------

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = _raw_path(scope)
        path = raw_path[len(self.urls.base) :] if raw_path.startswith(self.urls.base) else raw_path
        if path.rstrip("/") in _WELL_KNOWN or raw_path.rstrip("/") in _WELL_KNOWN:
            # RFC 6764 §5: every method, with and without credentials. A path keeps scheme, host and port as they are.
            await self._page(RedirectResponse(self.urls.root(), 301), scope, receive, send, raw_path)
        elif path.startswith("/dav/") or path == "/dav":
            await self._dav(scope, receive, send, raw_path)
        elif path.startswith(FEEDS_PATH):
            await self._published(scope, send, raw_path, path[len(FEEDS_PATH) :])
        elif path in ("", "/") and scope["method"] not in _PAGE_METHODS:
            await self._dav(scope, receive, send, raw_path or "/")
        else:
            scope = dict(scope, path=path or "/", raw_path=(path or "/").encode())
            await self._page(self.web, scope, receive, send, raw_path)

    async def _page(self, page: ASGIApp, scope: Scope, receive: Receive, send: Send, raw_path: str) -> None:
        """An answer that is not ours to make, with the line in the log that every request gets."""
        started = time.perf_counter()
        exchange = _Exchange(observe.request_id(), scope["method"], raw_path, "authorization" in _headers(scope))

        async def counting(message: MutableMapping[str, Any]) -> None:
            exchange.status = message.get("status", exchange.status)
            exchange.size += len(message.get("body", b""))
            await send(message)

        try:
            await page(scope, receive, counting)
        except Exception:
            exchange.status = 500
            raise
        finally:
            _log(exchange, started)

    async def _home_page(self, request: WebRequest) -> WebResponse:
        base = self.config.server.public_url or f"{request.url.scheme}://{request.url.netloc}"
        body = pages.home_page(base.rstrip("/") + self.urls.host(), version=VERSION)
        return WebResponse(body, headers=dict(pages.HEADERS))

    # ---- published collections ---------------------------------------------------------------------------------------

    async def _published(self, scope: Scope, send: Send, raw_path: str, rest: str) -> None:
        """A request for what is published (dav/feeds/publish.py): no sign-in, and no body is read."""
        started = time.perf_counter()
        headers = _headers(scope)
        exchange = _Exchange(observe.request_id(), scope["method"], raw_path, "authorization" in headers)
        sender = _Sender(send, exchange, publish.ROBOTS)
        request = Request(
            scope["method"], Place("none"), headers, b"", self.config, self.urls, scope.get("scheme", "http"),
            headers.get("host", ""), scope.get("query_string", b"").decode("latin-1"), now_s=int(self.now()),
        )  # fmt: skip
        client = network_of(scope["client"][0] if scope.get("client") else "")
        answer = functools.partial(self.feeds.answer, request, rest, client, gzip=_accepts_gzip(headers))
        try:
            try:
                response = await self._in_lane(answer)
            except DavError as error:
                response = error_response(error)
            if response.stream is not None:
                await self._stream(sender, headers, response)
            else:
                await self._send(sender, headers, response)
        except _ClientGone:
            exchange.status = 499
        except Exception as error:
            observe.log_failure(exchange.id, error)
            if not sender.begun:
                await self._send(sender, headers, Response(500, _PLAIN, f"Error {exchange.id}.\n".encode()))
        finally:
            _log(exchange, started)

    async def _in_lane(self, answer: Callable[..., Response]) -> Response:
        """The answer, made where this stands if it is short and the store is SQLite, else in a thread."""
        if self._fast_lane:
            try:
                return answer(lane=True)
            except LeaveLane:
                pass
        return await self._in_thread(functools.partial(answer, lane=False))  # type: ignore[no-any-return]

    # ---- one DAV request ---------------------------------------------------------------------------------------------

    async def _dav(self, scope: Scope, receive: Receive, send: Send, raw_path: str) -> None:
        started = time.perf_counter()
        headers = _headers(scope)
        client = scope["client"][0] if scope.get("client") else ""
        exchange = _Exchange(
            observe.request_id(), scope["method"], raw_path, "authorization" in headers, client,
            secure=scope.get("scheme") == "https" or _is_here(client), vouched=self.auth.vouched(scope, headers),
            slot=scope.get(recall.PLACE),
        )  # fmt: skip
        if observe.tracing():
            observe.trace(exchange.id, f"{exchange.method} {raw_path}", headers.items())
        sender = _Sender(send, exchange, self._dav_field)
        try:
            response = await self._answer(scope, receive, headers, exchange)
            if isinstance(response, recall.Known):
                await sender.again(response)
            elif response.stream is not None:
                await self._stream(sender, headers, response)
            else:
                await self._send(sender, headers, response)
        except _ClientGone:
            exchange.status = 499
        except Exception as error:
            observe.log_failure(exchange.id, error)
            if not sender.begun:
                await self._send(sender, headers, Response(500, _PLAIN, f"Error {exchange.id}.\n".encode()))
        finally:
            _log(exchange, started)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: dict[str, str], exchange: _Exchange
    ) -> Response | recall.Known:
        try:
            method = METHODS.get(scope["method"])
            if method is None:
                raise DavError(501, detail="This method is not known here.")
            # Signed in before the path is looked at: without credentials nothing is told about any address.
            signed = None if method.anonymous else await self._sign_in(headers, exchange)
            if signed is None and not method.anonymous:
                raise self.auth.challenge()
            place = self._place(method, exchange.path)
            held = Held(self._bodies, 0 if signed is None else signed.account_id)
            came = _Body()
            try:
                await self._take_body(came, method, place, headers, receive, held, there=recall.BODY_THERE in scope)
                request = Request(
                    method.name, place, headers, came.octets, self.config, self.urls, scope.get("scheme", "http"),
                    headers.get("host", ""), scope.get("query_string", b"").decode("latin-1"), came.blob,
                    int(self.now()), came.upload,
                )  # fmt: skip
                if signed is None:
                    return method.handle(_nobody(self, request), method.parse(request))
                if len(request.body) > _LARGE_BODY_BYTES:
                    # What is made of a large body is many times its size, and each of them keeps a processor busy.
                    async with self._large:
                        return await self._run(method, request, signed, exchange)
                return await self._run(method, request, signed, exchange)
            finally:
                held.release()
                if came.upload is not None:
                    came.upload.abort()
        except DavError as error:
            exchange.slot = None
            return error_response(error)

    async def _sign_in(self, headers: Mapping[str, str], exchange: _Exchange) -> SignedIn | None:
        return await self.auth.sign_in(
            headers, client=exchange.client, secure=exchange.secure, vouched=exchange.vouched
        )

    def _place(self, method: Method, raw_path: str) -> Place:
        parse = self._remembered_place if len(raw_path) <= _PLACE_CHARS_MAX else self.urls.parse
        if method.anonymous:
            try:
                return parse(raw_path)
            except DavError:
                return Place("none")  # OPTIONS is answered alike everywhere (RFC 9110 §9.3.7)
        return parse(raw_path)

    async def _run(
        self, method: Method, request: Request, signed: SignedIn, exchange: _Exchange
    ) -> Response | recall.Known:
        loop = asyncio.get_running_loop()
        try:
            response = await self._short_or_hop(method, request, signed, exchange)
        except Stale:
            # The password was changed or the account disabled, perhaps by another worker: ask again, once.
            self.auth.forget(signed.account_id)
            exchange.slot = None
            again = await self._sign_in(request.headers, exchange)
            if again is None:
                raise self.auth.challenge() from None
            try:
                response = await loop.run_in_executor(self.threads, self._work, method, request, again, exchange)
            except Stale:
                raise self.auth.challenge("Wrong name or password.") from None
        if isinstance(response, Response):
            exchange.items = response.items
        return response

    async def _short_or_hop(
        self, method: Method, request: Request, signed: SignedIn, exchange: _Exchange
    ) -> Response | recall.Known:
        if self._fast_lane and _is_short(request):
            try:
                return self._work(method, request, signed, exchange, lane=True)
            except LeaveLane:
                pass
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.threads, self._remembered_or_work, method, request, signed, exchange)

    def _remembered_or_work(
        self, method: Method, request: Request, signed: SignedIn, exchange: _Exchange
    ) -> Response | recall.Known:
        known = None if exchange.slot is None else exchange.slot.known
        try:
            if known is not None and known.signed == signed and known.told.is_so_still(self.store):
                return known
        except StorageError as error:
            raise from_storage(error) from error
        return self._work(method, request, signed, exchange)

    def _work(
        self, method: Method, request: Request, signed: SignedIn, exchange: _Exchange, lane: bool = False
    ) -> Response:
        """Parse, then one transaction: in a worker thread, or, for what is short, where it stands.

        One that finds that it should have locked more before what it holds is undone and begun anew with all of it.
        """
        first: frozenset[int] = frozenset()
        for _ in range(_LOCK_TRIES):
            try:
                return self._try(method, request, signed, exchange, lane, first)
            except LockFirst as wanted:
                first |= wanted.ids
        raise DavError(503, detail="The store is busy; try again.", headers=(("Retry-After", "5"),))

    def _try(
        self, method: Method, request: Request, signed: SignedIn, exchange: _Exchange, lane: bool,
        first: frozenset[int],
    ) -> Response:  # fmt: skip
        parsed = method.parse(request)
        if isinstance(parsed, Asked):
            exchange.report = split_clark(parsed.report.name)[1]
        try:
            short = method.writes and _is_short_write(request)
            with transaction(self.store, write=method.writes, short=short) as conn:
                heard = None
                if exchange.slot is not None and not method.writes:
                    heard = conn.heard = Heard()
                account = accounts.account_by_id(conn, signed.account_id)
                if account is None or not account.active or account.auth_seq != signed.auth_seq:
                    raise Stale
                exchange.account = account.name
                if first:
                    collections.lock_collections(conn, first)
                ctx = Ctx(
                    conn, self.store, self.config, self.urls, account, request.now_s, request, lane, scope=signed.scope
                )
                if signed.scope is not None:
                    access.check_scope(ctx, method)
                response = method.handle(ctx, parsed)
        except LockFirst:
            raise
        except StorageError as error:
            raise from_storage(error) from error
        if method.writes:
            self.wrote()
        if heard is not None and not ctx.timed and response.stream is None:
            exchange.origin = _Origin(heard, signed, lane)
        return response

    # ---- bodies ------------------------------------------------------------------------------------------------------

    async def _take_body(
        self, came: _Body, method: Method, place: Place, headers: Mapping[str, str], receive: Receive, held: Held, *,
        there: bool,
    ) -> None:  # fmt: skip
        """Reads what is sent. there: it has come already, so that nobody waits for it."""
        limits = self.config.limits
        to_file = method.name == "PUT" and place.area == "files"
        if to_file:
            limit = limits.file_bytes
        elif method.name in ("PUT", "POST"):
            limit = limits.resource_bytes
        else:
            limit = limits.xml_bytes
        bound = _Bound(limit, method, place)
        if _is_larger(headers.get("content-length", ""), limit):
            raise bound.exceeded()
        if there and not to_file:
            came.octets = await _read(bound, receive, held)
            return
        try:
            async with asyncio.timeout(limits.body_seconds):
                if to_file:
                    came.blob, came.upload = await self._to_blob(bound, receive)
                else:
                    came.octets = await _read(bound, receive, held)
        except TimeoutError:
            raise DavError(408, detail="The body did not arrive in time.", headers=(("Connection", "close"),)) from None

    async def _to_blob(self, bound: _Bound, receive: Receive) -> tuple[Blob, BlobWriter]:
        """Stream a body to the blob folder's disk; memory stays at one chunk."""
        loop = asyncio.get_running_loop()
        writer = BlobWriter(self.store.blob_dir)  # opens a file, no more
        running: asyncio.Future[Any] | None = None
        try:
            async for chunk in _chunks(bound, receive):
                running = loop.run_in_executor(self.threads, writer.write, chunk)
                await asyncio.shield(running)
            running = loop.run_in_executor(self.threads, writer.seal)
            blob: Blob = await asyncio.shield(running)
            return blob, writer
        except BaseException:
            if running is None or running.done():
                writer.abort()
            else:
                # A thread is still writing: its file must not be closed under it.
                running.add_done_callback(lambda done: _drop(writer, done))
            raise

    # ---- answers -----------------------------------------------------------------------------------------------------

    async def _send(self, sender: _Sender, headers: dict[str, str], response: Response) -> None:
        body = response.body
        fields = list(response.headers)
        head = sender.exchange.method == "HEAD"
        counted = response.status not in (204, 304)
        if len(body) > _GZIP_FROM_BYTES and response.status != 206 and _may_gzip(fields):
            fields.append(("Vary", "Accept-Encoding"))
            if _accepts_gzip(headers):
                fields.append(("Content-Encoding", "gzip"))
                if head:
                    counted = False  # RFC 9110 §9.3.2: left out rather than compressed to be counted
                else:
                    body = await asyncio.get_running_loop().run_in_executor(self.threads, _gzip, body)
        if counted:
            fields.append(("Content-Length", str(len(body))))
        sent = b"" if head else body
        raw = await sender.start(response.status, fields)
        await sender.body(sent, last=True)
        if sender.exchange.slot is not None and response.status in recall.STATUSES:
            self._keep(sender.exchange.slot, headers, sender.exchange, recall.head_of(raw), sent)

    def _keep(self, slot: recall.Slot, headers: dict[str, str], exchange: _Exchange, head: bytes, body: bytes) -> None:
        """Remembers the answer to a read, if it came from nothing but the request and the store."""
        origin, credential = exchange.origin, self.auth.credential(headers, exchange.vouched)
        told = None if origin is None or len(body) > recall.ANSWER_BYTES_MAX else origin.heard.told()
        if self.memory is None or origin is None or credential is None or told is None:
            return
        facts = observe.facts(
            exchange.account, exchange.method, exchange.path, exchange.status, report=exchange.report,
            items=exchange.items, size=exchange.size,
        )  # fmt: skip
        known = recall.Known(
            exchange.status, head, body, facts, credential, origin.signed, slot.version, told, origin.short
        )
        self.memory.keep(slot, known)

    async def _stream(self, sender: _Sender, headers: dict[str, str], response: Response) -> None:
        """Send what response.stream yields, in its own read transaction, holding few chunks in memory."""
        fields = list(response.headers)
        packer = None
        if _may_gzip(fields) and not any(name in ("Content-Range", "Content-Length") for name, _ in fields):
            fields.append(("Vary", "Accept-Encoding"))
            if _accepts_gzip(headers):
                packer = zlib.compressobj(1, zlib.DEFLATED, 31)
                fields.append(("Content-Encoding", "gzip"))
        await sender.start(response.status, fields)
        if sender.exchange.method == "HEAD":
            await sender.body(b"", last=True)
            return
        chunks = _pieces(self._parts(response), packer)
        if response.detached:
            try:
                while chunk := await self._in_thread(next, chunks, b""):
                    await sender.body(chunk)
            finally:
                await self._in_thread(chunks.close)
        else:
            await self._spooled(sender, chunks)
        await sender.body(b"", last=True)

    async def _spooled(self, sender: _Sender, chunks: Generator[bytes, None, None]) -> None:
        """Sends what is made in a transaction; a slow client does not keep the transaction open."""
        spool = Spool(self._in_thread, self._spool_room, stall_s=self.config.limits.stall_seconds)

        async def fill() -> None:
            try:
                async with self._streams:
                    try:
                        while chunk := await self._in_thread(next, chunks, b""):
                            await spool.put(chunk)
                    finally:
                        await self._in_thread(chunks.close)
            finally:
                spool.end()

        filling = asyncio.create_task(fill())
        try:
            while chunk := await spool.get():
                await sender.body(chunk)
            await filling
        except Abandoned:
            raise _ClientGone from None
        finally:
            # Not cancelled: the thread that makes the next piece could not be stopped, and has the generator.
            spool.abandon()
            await asyncio.wait([filling])
            if not filling.cancelled():
                filling.exception()
            spool.close()

    async def _in_thread(self, function: Callable[..., Any], /, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self.threads, function, *arguments)

    def _parts(self, response: Response) -> Iterator[bytes]:
        assert response.stream is not None
        if response.detached:
            nothing: Any = None
            yield from response.stream(nothing)
        else:
            with transaction(self.store) as conn:
                yield from response.stream(conn)


_PLAIN = (("Content-Type", "text/plain; charset=utf-8"),)


class _ClientGone(Exception):
    """The client closed the connection before its body was complete."""


class _Origin(NamedTuple):
    """What an answer was made from. short: on the event loop's thread."""

    heard: Heard
    signed: SignedIn
    short: bool


@dataclass(slots=True)
class _Exchange:
    """What the access log says of one request."""

    id: str
    method: str
    path: str
    credentials: bool
    client: str = ""
    # Nobody between the client and us can listen; and who a trusted proxy says that it is.
    secure: bool = True
    vouched: str | None = None
    account: str = ""
    report: str = ""
    status: int = 0
    items: int = 0
    size: int = 0
    # Where the answer may be kept, and what it came from; None when it is one of the moment.
    slot: recall.Slot | None = None
    origin: _Origin | None = None
    facts: str = ""


def _log(exchange: _Exchange, started: float) -> None:
    ms = (time.perf_counter() - started) * 1000
    if exchange.facts:
        observe.log_facts(logging.INFO, exchange.id, exchange.facts, ms)
        return
    observe.log_request(
        id=exchange.id, account=exchange.account, method=exchange.method, path=exchange.path, status=exchange.status,
        ms=ms, report=exchange.report, items=exchange.items, size=exchange.size,
        credentials=exchange.credentials,
    )  # fmt: skip


class _Sender:
    """Sends one answer and remembers how far it got."""

    def __init__(self, send: Send, exchange: _Exchange, dav: tuple[str, str]) -> None:
        self._send, self.exchange, self._dav, self.begun = send, exchange, dav, False

    async def start(self, status: int, fields: list[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
        """Sends the head; returns its fields as they were sent."""
        self.begun = True
        self.exchange.status = status
        if observe.tracing():
            observe.trace(self.exchange.id, str(status), fields)
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (*fields, self._dav)]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})
        return raw

    async def again(self, known: recall.Known) -> None:
        """Sends an answer that was remembered."""
        self.begun = True
        self.exchange.status, self.exchange.facts = known.status, known.facts
        await self._send({"type": "http.response.start", "status": known.status, "headers": known.fields})
        await self._send({"type": "http.response.body", "body": known.body})

    async def body(self, data: bytes, *, last: bool = False) -> None:
        if data or last:
            self.exchange.size += len(data)
            await self._send({"type": "http.response.body", "body": data, "more_body": not last})


def _nothing() -> None:
    """Nobody wants to know."""


def error_response(error: DavError) -> Response:
    """A DavError as an answer: DAV:error with its condition alone, or a sentence."""
    if error.condition is None:
        text = (error.detail + "\n").encode() if error.detail else b""
        return Response(error.status, (*_PLAIN, *error.headers), text)
    # No element stands beside the condition: several clients and suites look at the first child only. The sentence for
    # a person is a comment, which every parser skips.
    body = document("{DAV:}error", wrap(error.condition, error.content) + comment(error.detail))
    fields = (("Content-Type", "application/xml; charset=utf-8"), *error.headers)
    return Response(error.status, fields, body)


def _is_short(request: Request) -> bool:
    """Whether a request is one of the short reads that devices send all day.

    Without the hop to a thread and back a poll costs half the CPU and the loop answers four times as many; it is the
    same parse and handle, and what turns out to be long leaves the lane (Ctx.leave_lane).
    """
    if request.method == "PROPFIND":
        if len(request.body) > _SHORT_BODY_BYTES:
            return False
        # A home lists its collections, which are few for most people (tree.collections_in).
        home = request.place.area in ("calendars", "addressbooks") and bool(request.place.account)
        depth = request.header("depth")
        return depth == "0" or (depth == "1" and home and not request.place.path)
    if request.method in ("GET", "HEAD"):
        return request.place.area in ("calendars", "addressbooks") and "/" in request.place.path
    if request.method != "REPORT":
        return False
    if len(request.body) <= _SHORT_BODY_BYTES and b"sync-collection" in request.body:
        return True
    return len(request.body) <= _SHORT_MULTIGET_BYTES and b"-multiget" in request.body


def _is_short_write(request: Request) -> bool:
    """Whether a request changes one resource, which takes milliseconds, so that others may wait for its commit."""
    return request.method in ("PUT", "DELETE", "PROPPATCH", "LOCK", "UNLOCK", "MOVE") and not request.place.slash


def _nobody(app: Davenport, request: Request) -> Ctx:
    """What an anonymous method gets: no connection and no account, and it needs neither."""
    nothing: Any = None
    return Ctx(nothing, app.store, app.config, app.urls, nothing, int(app.now()), request)


@functools.lru_cache(1024)
def _is_here(client: str) -> bool:
    """Whether a client is on this machine: the loopback, or a socket in the file system, which has no address."""
    try:
        return not client or ipaddress.ip_address(client).is_loopback
    except ValueError:
        return False


def _raw_path(scope: Scope) -> str:
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        from urllib.parse import quote

        return quote(scope["path"], safe="/%:@!$&'()*+,;=~-._")
    return raw.partition(b"?")[0].decode("latin-1")


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _pieces(parts: Iterator[bytes], packer: zlib._Compress | None) -> Generator[bytes, None, None]:
    """The parts, packed if wished, in pieces for which a thread hop each does not matter; never an empty one."""
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        data = packer.compress(part) if packer else part
        gathered.append(data)
        size += len(data)
        if size >= _STREAM_CHUNK_BYTES:
            yield b"".join(gathered)
            gathered, size = [], 0
    if packer:
        gathered.append(packer.flush())
    if any(gathered):
        yield b"".join(gathered)


def _drop(writer: BlobWriter, done: asyncio.Future[Any]) -> None:
    """Removes an upload that was given up while a thread was writing it."""
    if not done.cancelled():
        done.exception()  # seen; nobody waits for it any more
    writer.abort()


def _is_larger(length: str, limit: int) -> bool:
    """Whether a Content-Length is above the limit; what is no number says nothing and the body itself is counted."""
    digits = length.lstrip("0")
    return digits.isascii() and digits.isdigit() and (len(digits) > 18 or int(digits) > limit)


@dataclass(slots=True)
class _Body:
    """What was sent with a request: octets, or a blob that is not placed yet."""

    octets: bytes = b""
    blob: Blob | None = None
    upload: BlobWriter | None = None


@dataclass(slots=True)
class _Bound:
    """How long the body of a request may be."""

    limit: int
    method: Method
    place: Place

    def exceeded(self) -> DavError:
        """The answer to a longer one."""
        from dav.names import c, cr

        close = (("Connection", "close"),)
        if self.method.name in ("PUT", "POST") and self.place.area in ("calendars", "addressbooks"):
            space = c if self.place.area == "calendars" else cr
            # RFC 4791 §5.3.2.1, RFC 6352 §6.3.2.1
            return DavError(
                403, space("max-resource-size"), f"A resource here may have {self.limit} bytes at most.", headers=close
            )
        return DavError(413, detail=f"The body may have {self.limit} bytes at most.", headers=close)


async def _chunks(bound: _Bound, receive: Receive) -> Any:
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _ClientGone
        chunk: bytes = message.get("body", b"")
        size += len(chunk)
        if size > bound.limit:
            raise bound.exceeded()
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def _read(bound: _Bound, receive: Receive, held: Held) -> bytes:
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        if len(body) > bound.limit:
            raise bound.exceeded()
        return body

    async def first_then_rest() -> MutableMapping[str, Any]:
        nonlocal message
        if message:
            first, message = message, {}
            return first
        return await receive()

    chunks: list[bytes] = []
    refused = False
    async for chunk in _chunks(bound, first_then_rest):
        if refused:
            continue
        try:
            await held.take(len(chunk))
            chunks.append(chunk)
        except NoRoom:
            # The rest is read and dropped: a client that is cut off while it sends does not see why.
            refused = True
            chunks.clear()
            held.release()
    if refused:
        raise DavError(503, detail="Too many large bodies arrive at once.", headers=(("Retry-After", "10"),))
    return b"".join(chunks)


def _may_gzip(fields: list[tuple[str, str]]) -> bool:
    kind = next((value for name, value in fields if name == "Content-Type"), "")
    return kind.startswith(_COMPRESSIBLE) and not any(name == "Content-Encoding" for name, _ in fields)


def _accepts_gzip(headers: dict[str, str]) -> bool:
    for part in headers.get("accept-encoding", "").split(","):
        name, _, quality = part.partition(";")
        if name.strip().lower() == "gzip":
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)  # level 1: calendar text shrinks to a fifth at a third of the time
    return packer.compress(body) + packer.flush()
