"""Slows guessing down: one check at a time for one login from one network, later and later after failures.

A lane is one login as seen from one network, so a guesser locks nobody out: the owner, elsewhere, has another lane.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

WAITING_MAX = 16
LANES_MAX = 20_000
FREE_FAILURES = 5
DELAY_MAX_S = 5.0
FORGET_S = 600.0

Lane = tuple[str, str]


class LaneFull(Exception):
    """Too many checks of this login are waiting already."""


@dataclass(slots=True)
class _Waiting:
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    count: int = 0


class Throttle:
    """Lanes with their waiting checks and recent failures. Used on one event loop's thread only."""

    def __init__(
        self,
        clock: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        lanes_max: int = LANES_MAX,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._lanes_max = lanes_max
        self._waiting: dict[Lane, _Waiting] = {}
        self._failures: OrderedDict[Lane, tuple[int, float]] = OrderedDict()

    @contextlib.asynccontextmanager
    async def turn(self, login: str, client: str) -> AsyncIterator[Lane]:
        """Waits for the lane's turn and its delay, then yields the lane for `failed` or `passed`. Raises LaneFull."""
        lane = (login.casefold(), network(client))
        waiting = self._waiting.setdefault(lane, _Waiting())
        if waiting.count >= WAITING_MAX:
            raise LaneFull
        waiting.count += 1
        try:
            async with waiting.lock:
                delay_s = self.delay_s(lane)
                if delay_s > 0:
                    await self._sleep(delay_s)
                yield lane
        finally:
            waiting.count -= 1
            if waiting.count == 0:
                del self._waiting[lane]

    def delay_s(self, lane: Lane) -> float:
        """How long the next check of this lane has to wait: nothing for the first failures, then doubling."""
        count, since_s = self._failures.get(lane, (0, 0.0))
        if count < FREE_FAILURES or self._clock() - since_s > FORGET_S:
            return 0.0
        return min(DELAY_MAX_S, 0.25 * 2.0 ** min(count - FREE_FAILURES, 10))

    def failed(self, lane: Lane) -> None:
        """Counts a wrong password."""
        now = self._clock()
        count, since_s = self._failures.get(lane, (0, now))
        self._failures[lane] = (1 if now - since_s > FORGET_S else count + 1, now)
        self._failures.move_to_end(lane)
        while len(self._failures) > self._lanes_max:
            self._failures.popitem(last=False)

    def passed(self, lane: Lane) -> None:
        """Forgets the failures of a lane, after a right password."""
        self._failures.pop(lane, None)


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
