"""What a sign-in back end is given and what it answers."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from dav.auth.cache import CredentialCache, RefusedCache

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Store

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scope:
    """What an app password may do. areas: of "calendars", "addressbooks" and "files"."""

    areas: frozenset[str]
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whose credentials these are. auth_seq: the account's at that time, to be compared in the transaction.

    scope: None for all that the account may do.
    """

    account_id: int
    auth_seq: int
    scope: Scope | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request carries to sign in with. One of password, token and header is set.

    login: as sent with the password, "" with a token. client: the sender's address, through trusted proxies. secure:
    the way to the client is https or the loopback. header: the name that a trusted proxy vouches for.
    """

    login: str = ""
    password: str | None = None
    token: str | None = None
    header: str | None = None
    client: str = ""
    secure: bool = True


@dataclass(frozen=True, slots=True)
class Identity:
    """A yes. name: as the back end calls the person, whatever spelling was sent: the account's name.

    addresses: at which the person can be invited, the primary one first; None when this back end does not know any.
    stamp: changes when the password or the right to sign in does, for `Backend.still`; "" when it cannot tell.
    until_s: Unix time after which the credential is void by itself, as a token's; None for no end.
    account: the account itself where the back end has it, so that it is not looked up twice: (id, auth_seq).
    groups: names of the group accounts here to which the person belongs; None when this back end does not say.
    """

    name: str
    display_name: str = ""
    addresses: tuple[str, ...] | None = None
    stamp: str = ""
    until_s: int | None = None
    account: tuple[int, int] | None = None
    groups: tuple[str, ...] | None = None


class Refusal(enum.Enum):
    """WRONG: mine, and the password is wrong or the account disabled. NOT_MINE: ask the next back end."""

    WRONG = "wrong"
    NOT_MINE = "not mine"


class BackendDown(Exception):
    """The back end cannot tell now. Answered 503: a 401 would make phones ask their owner for a new password.

    The message is a sentence for the administrator's log, naming the cause, without secrets.
    """


class PersonUnclear(BackendDown):
    """The back end answers, but of this one person it cannot tell: what is stored of them cannot be checked.

    They get 503; nobody else is concerned, and what is remembered of them is not believed any longer for it.
    """


class Backend(Protocol):
    """One place that knows people's passwords. One object for each process; its methods run on the event loop.

    None of them may block: slow hashes go to tools.pool, blocking libraries to a thread. Every wait has an end.
    """

    # As in auth.backends: "sql".
    name: str
    # Of "password", "token" and "header": the kinds of Credentials that it is asked about.
    kinds: frozenset[str]

    async def check(self, given: Credentials) -> Identity | Refusal:
        """Whose credentials these are. Raises BackendDown. NOT_MINE costs as much time as WRONG where it can."""
        ...

    async def still(self, identity: Identity) -> bool:
        """Whether what was a yes is one now: asked for each request with a remembered credential whose stamp is not "".

        Must be cheap (a stat, one indexed row). Raises BackendDown.
        """
        ...

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """What is known of a person without a password, to keep addresses fresh and to route invitations.

        NOT_MINE: there is no such person (any more). WRONG: there is, but may not sign in. None: this back end cannot
        look people up. Raises BackendDown.
        """
        ...

    async def close(self) -> None:
        """Ends connections and threads."""
        ...


@runtime_checkable
class TellsAtOnce(Protocol):
    """A back end that can often say without waiting whether what was a yes is one."""

    def surely_still(self, identity: Identity) -> bool:
        """As `Backend.still`, but False where it would have to wait to know."""
        ...


@runtime_checkable
class TellsGroups(Protocol):
    """A back end that knows lists of people, of which group accounts are made."""

    async def groups(self) -> Mapping[str, tuple[str, ...]] | None:
        """Address of each list → the addresses that it leads to; None when it is not to tell. Raises BackendDown."""
        ...


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
    """What back ends share. clock: monotonic seconds, for everything that expires.

    in_thread: for the short look-ups in our own store only; a back end that may wait for others has threads of its own.
    """

    store: Store
    in_thread: InThread
    pool: HashPool
    cache: CredentialCache
    refused: RefusedCache
    clock: Callable[[], float]
    config: Config
