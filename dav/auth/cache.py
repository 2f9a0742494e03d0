"""What this process remembers of verified and of refused credentials, so that a device costs one hash in five minutes.

Nothing here can be turned back into a password: entries are keyed hashes, and their key never leaves the process.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass

ENTRIES_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Remembered:
    """A verified pair: whose it is, the account's auth_seq when it was verified, and until when it is believed."""

    account_id: int
    auth_seq: int
    expires_s: float


class CredentialCache:
    """Verified (login, password) pairs → account and auth_seq. Bounded: the one unused for longest makes room.

    The reader must compare auth_seq with the account's inside its transaction: that is what makes a changed password or
    a disabled account count at once in every process, without any message between them. Thread-safe.
    """

    def __init__(self, seconds: float, *, entries_max: int = ENTRIES_MAX) -> None:
        self._key = secrets.token_bytes(32)
        self._seconds = seconds
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, Remembered] = OrderedDict()
        self._by_account: dict[int, set[bytes]] = {}
        self._lock = threading.Lock()

    def digest(self, login: str, password: str, *more: str) -> bytes:
        """The keyed hash of a pair; the lengths are hashed too, so ("ab", "c") and ("a", "bc") differ."""
        hasher = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (login, password, *more):
            octets = part.encode("utf-8", "surrogatepass")
            hasher.update(len(octets).to_bytes(8, "big"))
            hasher.update(octets)
        return hasher.digest()

    def get(self, login: str, password: str, now: float) -> Remembered | None:
        """The entry of this pair if it was verified less than `seconds` before `now`."""
        digest = self.digest(login, password)
        with self._lock:
            entry = self._entries.get(digest)
            if entry is None:
                return None
            if entry.expires_s <= now:
                self._drop(digest)
                return None
            self._entries.move_to_end(digest)
            return entry

    def put(self, login: str, password: str, account_id: int, auth_seq: int, now: float) -> None:
        """Remembers a pair that was verified at `now`."""
        if self._seconds <= 0 or self._entries_max <= 0:
            return
        digest = self.digest(login, password)
        with self._lock:
            if digest in self._entries:
                self._drop(digest)
            while len(self._entries) >= self._entries_max:
                self._drop(next(iter(self._entries)))
            self._entries[digest] = Remembered(account_id, auth_seq, now + self._seconds)
            self._by_account.setdefault(account_id, set()).add(digest)

    def forget(self, account_id: int) -> None:
        """Drops everything remembered of an account."""
        with self._lock:
            for digest in self._by_account.pop(account_id, set()):
                del self._entries[digest]

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, digest: bytes) -> None:
        entry = self._entries.pop(digest)
        digests = self._by_account[entry.account_id]
        digests.discard(digest)
        if not digests:
            del self._by_account[entry.account_id]


class RefusedCache:
    """Pairs that were wrong a moment ago: a device with an old password asks again and again, at no hash each time.

    The digest includes the auth_seq it was refused under (or that there was no such account), so a password that
    becomes right is right at once; the caller has looked the account up before it asks. Bounded; thread-safe.
    """

    def __init__(self, seconds: float = 30, *, entries_max: int = 10_000) -> None:
        self._seconds = seconds
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, float] = OrderedDict()
        self._lock = threading.Lock()

    def __contains__(self, item: tuple[bytes, float]) -> bool:
        digest, now = item
        with self._lock:
            expires_s = self._entries.get(digest)
            return expires_s is not None and expires_s > now

    def add(self, digest: bytes, now: float) -> None:
        """Remembers a refusal at `now`."""
        with self._lock:
            self._entries[digest] = now + self._seconds
            self._entries.move_to_end(digest)
            while len(self._entries) > self._entries_max:
                self._entries.popitem(last=False)
