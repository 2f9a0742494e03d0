"""Slows guessing down: later and later after wrong passwords, by login and network, and by each of the two alone.

The counts are in the store, so all workers agree. A guesser locks nobody out: whoever has signed in from a network
before is slowed only by what is tried with this login from this network.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storage import accounts, audit
from storage import guard as counts
from storage.engine import transaction

if TYPE_CHECKING:
    from dav.auth.backend import InThread
    from storage.engine import Conn, Store

# Checks of one login from one network come one after the other, and so many may wait.
WAITING_MAX = 16
# Of a network, or of a login seen from networks that are new to it, so many are checked at the same time.
WIDE_RUNNING = 64
WIDE_WAITING_MAX = 512
# How long one may stand behind others beyond the longest delay.
PATIENCE_S = 5.0
# How many more failures than of a lane are free for a whole network, and for a login from all networks new to it.
NETWORK_FREE = 10
LOGIN_FREE = 4
# Failures older than this are forgiven; a network is new again for a login after so long.
FORGET_S = 900
KNOWN_S = 30 * 86_400
MARK_AGAIN_S = 86_400
# Refusals that one worker writes into the audit table: for one lane each minute, and in all.
AUDIT_EVERY_S = 60
AUDITS_A_MINUTE = 30
AUDITED_LANES_MAX = 1000


class LaneFull(Exception):
    """Too many checks of this login, or from this network, are waiting already."""


@dataclass(slots=True)
class _Queue:
    places: asyncio.Semaphore
    count: int = 0


@dataclass(slots=True)
class Turn:
    """The right to check one password now. known: this login has been signed in from this network lately."""

    login: str
    client: str
    pair: str
    network: str
    name: str
    mark: str
    known: bool = False
    failed_before: bool = False
    marked_s: int = 0
    delays: list[float] = field(default_factory=list)


class Guard:
    """One for each process; used on one event loop's thread only, with its blocking parts in threads.

    in_thread: for short reads; write: for writes, which may wait for other writers. clock: Unix time.
    """

    def __init__(
        self,
        store: Store,
        *,
        in_thread: InThread,
        write: InThread,
        free_failures: int = 5,
        delay_max_s: float = 30,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._in_thread, self._write = in_thread, write
        self._free, self._delay_max_s = free_failures, delay_max_s
        self._clock, self._sleep = clock, sleep
        self._secret: bytes | None = None
        self._queues: dict[str, _Queue] = {}
        self._audited: OrderedDict[str, float] = OrderedDict()
        self._audits: tuple[float, int] = (0.0, 0)

    @contextlib.asynccontextmanager
    async def turn(self, login: str, client: str) -> AsyncIterator[Turn]:
        """Waits for the turn and its delay, then yields it for `failed` or `passed`. Raises LaneFull, StoreBusy."""
        secret = self._secret = self._secret or await self._load_secret()
        turn = _turn(secret, login, client)
        async with contextlib.AsyncExitStack() as stack:
            try:
                # Whoever stands behind others that wait must not stand there for minutes: a client gives up before.
                async with asyncio.timeout(self._delay_max_s + PATIENCE_S):
                    await self._wait(turn, stack)
            except TimeoutError:
                raise LaneFull from None
            yield turn

    async def _wait(self, turn: Turn, stack: contextlib.AsyncExitStack) -> None:
        await stack.enter_async_context(self._queue(turn.pair, 1, WAITING_MAX))
        await self._read(turn)
        if not turn.known:
            waited = False
            for lane in (turn.network, turn.name):
                waited |= self._is_full(lane)
                await stack.enter_async_context(self._queue(lane, WIDE_RUNNING, WIDE_WAITING_MAX))
            if waited:
                await self._read(turn)
        delay_s = max(turn.delays)
        if delay_s > 0:
            await self._sleep(delay_s)

    async def failed(self, turn: Turn) -> None:
        """Counts a wrong password. One write."""
        # From a network that the login knows, only this pair: a mistyped password there slows nobody else down.
        lanes = [turn.pair] if turn.known else [turn.pair, turn.network, turn.name]
        now = self._clock()
        noted = self._may_audit(turn.pair, now)

        def write() -> None:
            with transaction(self._store, write=True) as conn:
                counts.count_failure(conn, lanes, now_s=int(now), forget_s=FORGET_S)
                if noted:
                    _note_refusal(conn, turn, int(now))

        await self._write(write)

    async def passed(self, turn: Turn) -> None:
        """Forgets the failures of this login from this network, and marks the network as known to it."""
        now_s = int(self._clock())
        marks = now_s - turn.marked_s > MARK_AGAIN_S
        if not marks and not turn.failed_before:
            return

        def write() -> None:
            with transaction(self._store, write=True) as conn:
                if turn.failed_before:
                    counts.clear_lane(conn, turn.pair)
                if marks:
                    counts.set_mark(conn, turn.mark, now_s=now_s)

        await self._write(write)

    def delay_s(self, failures: int, free: int) -> float:
        """How long after its last failure the next check of a lane may come: at once at first, then doubling."""
        if failures < free:
            return 0.0
        return float(min(self._delay_max_s, 2 ** min(failures - free, 20)))

    async def _read(self, turn: Turn) -> None:
        keys = (turn.pair, turn.network, turn.name, turn.mark)

        def read() -> dict[str, tuple[int, int]]:
            with transaction(self._store) as conn:
                return counts.lanes(conn, keys)

        found = await self._in_thread(read)
        now = self._clock()
        turn.marked_s = found.get(turn.mark, (0, 0))[1]
        turn.known = now - turn.marked_s < KNOWN_S
        turn.failed_before = turn.pair in found
        lanes = [(turn.pair, self._free)]
        if not turn.known:
            lanes += [(turn.network, self._free * NETWORK_FREE), (turn.name, self._free * LOGIN_FREE)]
        turn.delays = [self._still_to_wait(*found.get(key, (0, 0)), free, now) for key, free in lanes]

    def _still_to_wait(self, failures: int, last_s: int, free: int, now: float) -> float:
        # A clock that was put back must not make anybody wait longer than the delay itself.
        since_s = max(0.0, now - last_s)
        return 0.0 if since_s > FORGET_S else max(0.0, self.delay_s(failures, free) - since_s)

    async def _load_secret(self) -> bytes:
        def read() -> bytes | None:
            with transaction(self._store) as conn:
                return counts.secret(conn)

        def make() -> bytes:
            with transaction(self._store, write=True) as conn:
                return counts.make_secret(conn)

        found = await self._in_thread(read)
        return found if found is not None else await self._write(make)

    @contextlib.asynccontextmanager
    async def _queue(self, lane: str, running: int, waiting_max: int) -> AsyncIterator[None]:
        queue = self._queues.get(lane)
        if queue is None:
            queue = self._queues[lane] = _Queue(asyncio.Semaphore(running))
        if queue.count >= running - 1 + waiting_max:
            raise LaneFull
        queue.count += 1
        try:
            async with queue.places:
                yield
        finally:
            queue.count -= 1
            if queue.count == 0 and self._queues.get(lane) is queue:
                del self._queues[lane]

    def _is_full(self, lane: str) -> bool:
        queue = self._queues.get(lane)
        return queue is not None and queue.places.locked()

    def _may_audit(self, lane: str, now: float) -> bool:
        """Whether this refusal is written down: an attack must not fill the store with the story of itself."""
        since, count = self._audits
        if now - since > 60:
            since, count = now, 0
        if count >= AUDITS_A_MINUTE or now - self._audited.get(lane, -math.inf) < AUDIT_EVERY_S:
            return False
        self._audits = (since, count + 1)
        self._audited[lane] = now
        self._audited.move_to_end(lane)
        while len(self._audited) > AUDITED_LANES_MAX:
            self._audited.popitem(last=False)
        return True


def _note_refusal(conn: Conn, turn: Turn, now_s: int) -> None:
    account = accounts.account_by_name(conn, turn.login)
    audit.note(
        conn,
        at_s=now_s,
        account_id=account.id if account is not None else 0,
        actor=turn.login[:100],
        action="sign-in refused",
        subject=turn.client[:100],
        detail="wrong",
    )


def _turn(secret: bytes, login: str, client: str) -> Turn:
    name, place = accounts.fold(login), network(client)

    def key(kind: str, *parts: str) -> str:
        message = "\0".join((kind, *parts)).encode("utf-8", "surrogatepass")
        return hmac.new(secret, message, hashlib.sha256).hexdigest()[:32]

    return Turn(
        login, client, key("pair", name, place), key("network", place), key("login", name), key("mark", name, place)
    )


def network(client: str) -> str:
    """The network that a client's address stands for: an IPv4 address itself, the /64 of an IPv6 one, else the text."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    if address.version == 4:
        return str(address)
    mapped = address.ipv4_mapped
    return str(mapped) if mapped else str(ipaddress.ip_network((address, 64), strict=False).network_address)
