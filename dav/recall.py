"""Short answers to reads, given again for as long as the store would make the same ones.

Devices ask the same few questions all day, and mostly nothing has changed. An answer is remembered with the number of
the store's state in which it was made and with the statements that made it. While that number is the store's, the
answer is given again at once. After a commit, by this process, another worker or the command line, the statements are
asked once more: when every row is as it was, so is the answer, since nothing else went into it. What looked at the
clock is not remembered (Ctx.now_s), and who has signed in is looked at each time.

An answer stands under a keyed hash of everything that was sent, so that no header, present or future, can make a
difference that the memory does not see, and no password lies in it.

Measured, in this process without the socket: a poll costs 45 µs of processor time, 150 after a commit (SQLite then
reads its pages anew), 330 by the way through the app.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from dav import observe
from storage.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dav.auth import Authenticator, SignedIn
    from storage.engine import Store, Told

# Requests that are looked for. What a write answers is never the same twice.
METHODS = frozenset({b"GET", b"HEAD", b"PROPFIND", b"REPORT"})
STATUSES = frozenset({200, 207, 304})
# A poll's body has some hundred bytes. Longer ones are rarely sent twice.
BODY_BYTES_MAX = 4096
# Longest answer that is kept: the listing of a home with some twenty calendars. One that is longer takes so much time
# to make and to send that nobody repeats it for nothing.
ANSWER_BYTES_MAX = 32 * 1024
# Fields that proxies give each request anew, and that nothing here reads (a test looks for that).
_OF_ONE_REQUEST = frozenset(
    {
        b"x-request-id", b"x-correlation-id", b"x-request-start", b"x-amzn-trace-id", b"cf-ray", b"traceparent",
        b"tracestate", b"x-b3-traceid", b"x-b3-spanid",
    }
)  # fmt: skip
# What an entry takes beside the bytes of its answer: the statements' parameters, and the objects around them.
_ENTRY_BYTES = 2048
# In the scope of a request: where its answer may be kept; and that its whole body has come already.
PLACE, BODY_THERE = "davenport.recall", "davenport.body_there"

Headers = Sequence[tuple[bytes, bytes]]


class Slot(NamedTuple):
    """Where the answer to a request may be kept.

    version: the store's state when the request came, None where there are no numbers. known: what was remembered; it is
    to be given when `known.told` is so still.
    """

    key: bytes
    version: int | None
    known: Known | None = None


@dataclass(slots=True)
class Known:
    """An answer. head: its fields as they are sent, without those of the server itself. facts: for its line in the log.

    credential: the digest under which the sign-in is remembered that it was made for, and signed: whose it was.
    version: the last state of the store of which it is known to be right. told: what the store was asked for it. short:
    whether that may be asked on the event loop's thread.
    """

    status: int
    head: bytes
    body: bytes
    facts: str
    credential: bytes
    signed: SignedIn
    version: int | None
    told: Told
    short: bool

    @property
    def size(self) -> int:
        return _ENTRY_BYTES + len(self.head) + len(self.body)

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields one by one."""
        return [(name, value) for name, _, value in (line.partition(b": ") for line in self.head.splitlines()) if name]


class Memory:
    """The answers of one worker. bytes_max: what all of them may take; used on the event loop's thread only."""

    def __init__(self, store: Store, auth: Authenticator, *, bytes_max: int) -> None:
        self._store, self._auth, self._bytes_max = store, auth, bytes_max
        self._on_loop = store.dialect == "sqlite"  # a server would have to be waited for
        self._secret = secrets.token_bytes(32)
        self._known: dict[bytes, Known] = {}
        self._bytes = 0

    def find(
        self, method: bytes, url: bytes, headers: Headers, body: bytes, client: str, scheme: str
    ) -> tuple[Slot | None, Known | None]:
        """(where the answer may be kept, the answer if it can be given at once) of a request as it came.

        client: the address of whoever sent it, and scheme: that of the connection; with the header fields they decide
        what is believed of the way that the request came.
        """
        if observe.tracing():
            return None, None
        key = self._key(method, url, headers, body, client, scheme)
        if key is None:
            return None, None
        # Before anything is read: what is made from now on is of this state or of a later one.
        version = self._store.version()
        known = self._known.get(key)
        if known is None or not self._auth.holds(known.credential, known.signed):
            return Slot(key, version), None
        if not self._on_loop:
            return Slot(key, None, known), None
        if version is None or (known.version != version and not (known.short and self._is_right(known))):
            return Slot(key, version), None
        known.version = version
        self._known[key] = self._known.pop(key)  # the one unused for longest stands first
        return None, known

    def keep(self, slot: Slot, known: Known) -> None:
        """Remembers an answer. Older ones make room for it."""
        size = known.size
        if size > self._bytes_max or size > ANSWER_BYTES_MAX + _ENTRY_BYTES:
            return
        before = self._known.pop(slot.key, None)
        self._bytes += size - (before.size if before is not None else 0)
        self._known[slot.key] = known
        while self._bytes > self._bytes_max:
            self._bytes -= self._known.pop(next(iter(self._known))).size

    def _is_right(self, known: Known) -> bool:
        try:
            return known.told.is_so_still(self._store)
        except StorageError:
            return False

    def __len__(self) -> int:
        return len(self._known)

    def _key(self, method: bytes, url: bytes, headers: Headers, body: bytes, client: str, scheme: str) -> bytes | None:
        parts = [method, url, client.encode(), scheme.encode()]
        for name, value in headers:
            if name not in _OF_ONE_REQUEST:
                parts += name, value
        head = b"\0".join(parts)
        # No part has a zero octet in it (HTTP forbids them), or two requests could look alike.
        if head.count(b"\0") != len(parts) - 1:
            return None
        return hashlib.blake2b(b"%d %b%b" % (len(head), head, body), key=self._secret, digest_size=24).digest()


def head_of(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The fields of an answer as they are sent, with the empty line that ends them."""
    return b"".join([part for name, value in fields for part in (name, b": ", value, b"\r\n")] + [b"\r\n"])
