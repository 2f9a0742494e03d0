"""What this process remembers of verified and of refused credentials, so that a device costs one hash in five minutes.

Nothing here can be turned back into a password: entries are keyed hashes, and their key never leaves the process.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dav.auth.backend import Identity, SignedIn

ENTRIES_MAX = 50_000


@dataclass(frozen=True, slots=True)
class Remembered:
    """A verified pair: whose it is, and until when it is believed.

    expires_s: until when without asking again; ends_s: until when at all, while `backend` cannot be reached. identity:
    what the back end said, None for a credential of our own that no back end need be asked about.
    """

    signed: SignedIn
    expires_s: float
    ends_s: float
    backend: str = ""
    identity: Identity | None = None


class CredentialCache:
    """Verified (login, password) pairs → account and auth_seq. Bounded: the one unused for longest makes room.

    The reader must compare auth_seq with the account's inside its transaction: that is what makes a changed password or
    a disabled account count at once in every process, without any message between them. Thread-safe.
    """

    def __init__(self, seconds: float, *, grace_s: float = 0, entries_max: int = ENTRIES_MAX) -> None:
        self._key = secrets.token_bytes(32)
        self._seconds = seconds
        self._grace_s = grace_s
        self._entries_max = entries_max
        self._entries: OrderedDict[bytes, Remembered] = OrderedDict()
        self._by_account: dict[int, set[bytes]] = {}
        self._lock = threading.Lock()
        self._headers: dict[bytes, bytes] = {}

    def known_by(self, header: str) -> bytes | None:
        """The digest of the pair that an Authorization header carries, if that has been told by `learn`."""
        return self._headers.get(self.digest(header))

    def learn(self, header: str, digest: bytes) -> None:
        """Remembers the digest of the pair that a header carries, so that it need not be read again: hash for hash.

        To be told of verified pairs only. Reading a header took 9 µs of each request.
        """
        with self._lock:
            if len(self._headers) >= self._entries_max:
                del self._headers[next(iter(self._headers))]
            self._headers[self.digest(header)] = digest

    def digest(self, login: str, *more: str) -> bytes:
        """The keyed hash of a pair; the lengths are hashed too, so ("ab", "c") and ("a", "bc") differ."""
        hasher = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (login, *more):
            octets = part.encode("utf-8", "surrogatepass")
            hasher.update(len(octets).to_bytes(8, "big"))
            hasher.update(octets)
        return hasher.digest()

    def get(self, login: str, password: str, now: float) -> Remembered | None:
        """The entry of this pair if it was verified less than `seconds` before `now`."""
        entry = self.kept(login, password, now)
        return entry if entry is not None and entry.expires_s > now else None

    def kept(self, login: str, password: str, now: float) -> Remembered | None:
        """The entry of this pair, even when it should be verified again (expires_s) but its grace has not ended."""
        return self.kept_as(self.digest(login, password), now)

    def kept_as(self, digest: bytes, now: float) -> Remembered | None:
        """As `kept`, by the digest of the pair."""
        with self._lock:
            entry = self._entries.get(digest)
            if entry is None:
                return None
            if entry.ends_s <= now:
                self._drop(digest)
                return None
            self._entries.move_to_end(digest)
            return entry

    def put(
        self,
        login: str,
        password: str,
        signed: SignedIn,
        now: float,
        *,
        backend: str = "",
        identity: Identity | None = None,
        ends_s: float | None = None,
    ) -> None:
        """Remembers a pair that was verified at `now`. ends_s: when it is void by itself, on the same clock."""
        if self._seconds <= 0 or self._entries_max <= 0:
            return
        expires_s = now + self._seconds
        last_s = expires_s + self._grace_s
        if ends_s is not None:
            expires_s, last_s = min(expires_s, ends_s), min(last_s, ends_s)
        digest = self.digest(login, password)
        with self._lock:
            if digest in self._entries:
                self._drop(digest)
            while len(self._entries) >= self._entries_max:
                self._drop(next(iter(self._entries)))
            self._entries[digest] = Remembered(signed, expires_s, last_s, backend, identity)
            self._by_account.setdefault(signed.account_id, set()).add(digest)

    def believe(self, login: str, password: str, until_s: float) -> None:
        """Takes an entry in its grace for good until `until_s`, when it is tried to be verified once more."""
        digest = self.digest(login, password)
        with self._lock:
            entry = self._entries.get(digest)
            if entry is not None:
                self._entries[digest] = replace(entry, expires_s=min(until_s, entry.ends_s))

    def drop(self, login: str, password: str) -> None:
        """Forgets one pair."""
        self.drop_as(self.digest(login, password))

    def drop_as(self, digest: bytes) -> None:
        """Forgets one pair, by its digest."""
        with self._lock:
            if digest in self._entries:
                self._drop(digest)

    def forget(self, account_id: int) -> None:
        """Drops everything remembered of an account."""
        with self._lock:
            for digest in self._by_account.pop(account_id, set()):
                del self._entries[digest]

    def __len__(self) -> int:
        return len(self._entries)

    def _drop(self, digest: bytes) -> None:
        account_id = self._entries.pop(digest).signed.account_id
        digests = self._by_account[account_id]
        digests.discard(digest)
        if not digests:
            del self._by_account[account_id]


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
