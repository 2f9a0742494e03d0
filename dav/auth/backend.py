"""What a sign-in back end is given and what it answers."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from dav.auth.cache import CredentialCache, RefusedCache

if TYPE_CHECKING:
    from storage.engine import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whose credentials these are. auth_seq: the account's at that time, to be compared in the transaction."""

    account_id: int
    auth_seq: int


class Refusal(enum.Enum):
    """WRONG: mine, and the password is wrong or the account disabled. NOT_MINE: ask the next back end."""

    WRONG = "wrong"
    NOT_MINE = "not mine"


class BackendDown(Exception):
    """The back end cannot tell now. Answered 503: a 401 would make phones ask their owner for a new password."""


# (login as sent, password) → the answer. Raises BackendDown. Runs on the event loop, so it must not block.
Backend = Callable[[str, str], Awaitable[SignedIn | Refusal]]


class InThread(Protocol):
    """Runs a blocking function in a worker thread and waits for it."""

    def __call__(self, function: Callable[[], T], /) -> Awaitable[T]: ...


class HashPool:
    """Threads that do nothing but hash. Bounded twice: few threads, and few waiting; beyond that BackendDown."""

    def __init__(self, threads: int = 2, *, waiting_max: int = 200) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="hash")
        self._waiting_max = waiting_max
        self._waiting = 0

    async def run(self, function: Callable[[], T]) -> T:
        """Runs one hash. Raises BackendDown when too many are waiting."""
        if self._waiting >= self._waiting_max:
            raise BackendDown("too many passwords are being checked")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Ends the threads, without waiting for hashes that have not begun."""
        self._threads.shutdown(wait=True, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Tools:
    """What back ends share. clock: monotonic seconds, for everything that expires."""

    store: Store
    in_thread: InThread
    pool: HashPool
    cache: CredentialCache
    refused: RefusedCache
    clock: Callable[[], float]
