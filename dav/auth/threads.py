"""Threads for libraries that block on others: few, with few waiting, and nobody waits longer than a limit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from dav.auth.backend import BackendDown
from dav.auth.gate import Gate

T = TypeVar("T")
# Runs a function, and returns what tells of its result.
Work = Callable[[], Callable[[], object]]
# How long a thread waits for more to do before it ends.
IDLE_S = 10.0


class Threads:
    """Runs blocking functions, at most `threads` at a time and `waiting_max` in all.

    A call that takes longer than `seconds`, waiting included, is given up: whoever asked gets BackendDown. Its thread
    cannot be stopped and keeps its place until it comes back, so what hangs for ever uses up places, never the machine.
    The threads are daemons: one that hangs does not keep the process from ending. Used on an event loop's thread.
    """

    def __init__(self, name: str, threads: int, *, seconds: float, waiting_max: int = 200) -> None:
        self._name, self._seconds = name, seconds
        self._free = threads
        self._gate = Gate(threads, waiting_max=waiting_max)
        self._queue: list[asyncio.Future[None]] = []
        # The threads that have nothing to do, by what they listen at. To start one costs more than most look-ups.
        self._idle: list[SimpleQueue[Work]] = []
        self._lock = threading.Lock()

    async def run(self, function: Callable[[], T], *, client: str = "") -> T:
        """What function returns or raises. Raises BackendDown when there is no room, or not in time.

        client: the address for whom it is done; no network gets more than half of the places.
        """
        try:
            async with asyncio.timeout(self._seconds), self._gate.turn(client):
                await self._place()
                return await self._start(function)
        except TimeoutError:
            raise BackendDown(f"{self._name} did not answer within {self._seconds:g} seconds") from None

    async def _place(self) -> None:
        if self._free > 0:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()  # the place came at the same moment as the end of the wait
            else:
                self._queue.remove(turn)
            raise

    def _leave(self) -> None:
        """Gives the place to the next one that waits."""
        while self._queue:
            turn = self._queue.pop(0)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _start(self, function: Callable[[], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
            self._leave()
            if answer.done():
                return  # given up
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type]

        def work() -> Callable[[], object]:
            result: T | None = None
            error: BaseException | None = None
            try:
                result = function()
            except BaseException as raised:
                error = raised
            return lambda: loop.call_soon_threadsafe(tell, result, error)

        with self._lock:
            inbox = self._idle.pop() if self._idle else None
        if inbox is not None:
            inbox.put(work)
            return answer
        inbox = SimpleQueue()
        inbox.put(work)
        try:
            threading.Thread(target=self._work, args=(inbox,), name=f"{self._name}-sign-in", daemon=True).start()
        except RuntimeError:
            self._leave()
            raise BackendDown(f"no thread can be started for {self._name}") from None
        return answer

    def _work(self, inbox: SimpleQueue[Work]) -> None:
        """What a thread does: what it was started for, then whatever comes in, until nothing has come for a while."""
        while True:
            try:
                tell = inbox.get(timeout=IDLE_S)()
            except Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue  # something is on its way
            # It is free before anybody learns of it, so that the next call finds it.
            with self._lock:
                self._idle.append(inbox)
            # A loop that was closed meanwhile has nobody who waits.
            with contextlib.suppress(RuntimeError):
                tell()
            del tell
