"""Signing in: headers → whose they are. Async, and before any worker thread or transaction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from dav.auth import local
from dav.auth.backend import Backend, BackendDown, HashPool, Refusal, T, Tools
from dav.auth.backend import SignedIn as SignedIn
from dav.auth.basic import BadCredentials, parse_basic
from dav.auth.cache import CredentialCache, RefusedCache
from dav.auth.throttle import LaneFull, Throttle
from dav.errors import DavError
from storage.errors import StoreBusy

if TYPE_CHECKING:
    from dav.config import AuthConfig
    from storage.engine import Store

# Threads that look accounts up before their passwords are checked: each may hold one of the store's connections.
LOOKUP_THREADS = 2

BACKENDS: dict[str, Callable[[Tools], Backend]] = {
    "local": local.make,
}


class Authenticator:
    """Checks credentials against the configured back ends and remembers the right ones. One for each process."""

    def __init__(
        self,
        store: Store,
        config: AuthConfig,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cache = CredentialCache(config.cache_seconds)
        self._clock = clock
        self._challenge = f'Basic realm="{config.realm}", charset="UTF-8"'
        self._throttle = Throttle(clock)
        self._pool = HashPool()
        self._lookups = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="sign-in")
        tools = Tools(store, self._in_thread, self._pool, self.cache, RefusedCache(), clock)
        self._counted = RefusedCache(3600)
        self._backends = [BACKENDS[name](tools) for name in config.backends]
        self._running: dict[tuple[bytes, str], asyncio.Task[SignedIn | None]] = {}

    async def sign_in(self, headers: Mapping[str, str], *, client: str = "") -> SignedIn | None:
        """Who sent these headers (lower-case names); None when they carry no credentials that we know how to check.

        client: address of the sender, for slowing guesses down. Raises DavError 401 for wrong credentials, 503 when
        nobody can tell now. The caller compares auth_seq with the account's in its transaction; when they differ it
        calls `forget` and asks once more.
        """
        header = headers.get("authorization", "")
        try:
            pair = parse_basic(header) if header else None
        except BadCredentials as error:
            raise self.challenge(f"The Authorization header cannot be read: {error}.") from None
        if pair is None:
            return None
        login, password = pair
        found = self._remembered(login, password) or await self._verify_once(login, password, client)
        if found is None:
            raise self.challenge("Wrong name or password.")
        return found

    def remembered(self, headers: Mapping[str, str]) -> SignedIn | None:
        """What `sign_in` would answer if it needs no back end, at once; else None, which says nothing."""
        try:
            pair = parse_basic(headers.get("authorization", ""))
        except BadCredentials:
            return None
        return self._remembered(*pair) if pair else None

    def challenge(self, detail: str = "Sign in first.") -> DavError:
        """The 401 that makes clients send credentials; the same realm everywhere, or Thunderbird asks again."""
        # RFC 7617 §2.1: charset asks for UTF-8; clients that do not know it ignore it.
        return DavError(401, detail=detail, headers=(("WWW-Authenticate", self._challenge),))

    def forget(self, account_id: int) -> None:
        """Drops what is remembered of an account: its auth_seq turned out to have changed."""
        self.cache.forget(account_id)

    def close(self) -> None:
        """Ends the threads."""
        self._pool.close()
        self._lookups.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(self, function: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._lookups, function)

    def _remembered(self, login: str, password: str) -> SignedIn | None:
        entry = self.cache.get(login, password, self._clock())
        return SignedIn(entry.account_id, entry.auth_seq) if entry else None

    async def _verify_once(self, login: str, password: str, client: str) -> SignedIn | None:
        """Verifies, but only once for requests that come together: phones open several connections at the same time."""
        key = (self.cache.digest(login, password), client)
        task = self._running.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.get_running_loop().create_task(self._verify(login, password, client))
            self._running[key] = task
            task.add_done_callback(lambda done: self._forget_task(key, done))
        # Shielded: a client that hangs up must not fail the others that wait for the same answer.
        return await asyncio.shield(task)

    def _forget_task(self, key: tuple[bytes, str], task: asyncio.Task[SignedIn | None]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen: whoever waited has got it, and nobody may be left

    async def _verify(self, login: str, password: str, client: str) -> SignedIn | None:
        try:
            async with self._throttle.turn(login, client) as lane:
                started = self._clock()
                for backend in self._backends:
                    answer = await backend(login, password)
                    if isinstance(answer, SignedIn):
                        self.cache.put(login, password, answer.account_id, answer.auth_seq, started)
                        self._throttle.passed(lane)
                        return answer
                    if answer is Refusal.WRONG:
                        break
                # A device that repeats its old password guesses nothing: only a new wrong one counts.
                digest = self.cache.digest(login, password)
                if (digest, started) not in self._counted:
                    self._counted.add(digest, started)
                    self._throttle.failed(lane)
                return None
        except (BackendDown, LaneFull, StoreBusy) as error:
            detail = "Passwords cannot be checked now."
            raise DavError(503, detail=detail, headers=(("Retry-After", "10"),)) from error
