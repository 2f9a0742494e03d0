"""Signing in: headers → whose they are. Async, and before any worker thread or transaction."""

from __future__ import annotations

import asyncio
import functools
import importlib
import logging
import re
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dav.auth import apppassword, people
from dav.auth.backend import (
    Backend,
    BackendDown,
    Credentials,
    HashPool,
    Identity,
    PersonUnclear,
    Refusal,
    T,
    TellsAtOnce,
    Tools,
)
from dav.auth.backend import Scope as Scope
from dav.auth.backend import SignedIn as SignedIn
from dav.auth.basic import BadCredentials, candidates, normalise_login, parse_basic
from dav.auth.cache import CredentialCache, RefusedCache, Remembered
from dav.auth.guard import Guard, LaneFull
from dav.config import ConfigError
from dav.errors import DavError
from dav.provision import NameUnusable
from storage import accounts, app_passwords, audit
from storage.engine import transaction
from storage.errors import NameTaken, StorageError, StoreBusy
from storage.records import Account, AppPassword

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Store

# Threads that look accounts up before their passwords are checked: each may hold one of the store's connections.
LOOKUP_THREADS = 2
PASSWORD_BYTES_MAX = 1024
# How long a back end that was down is taken to be down still, for whoever has a remembered credential.
DOWN_S = 30.0
# How long nobody's remembered credential is asked about after a back end could not tell that.
MUTE_S = 5.0
# Wrong pairs are not asked of a back end again for so long. Those of `local` and `sql` know better by themselves.
REFUSED_S = 15.0
# A device that repeats its old password guesses nothing: within this time only a new wrong one counts.
COUNTED_S = 3600.0
# How often the log says that a back end cannot tell.
SAID_S = 60.0
USED_EVERY_S = 3600

# Name in auth.backends → the module with make(tools), imported when it is needed. Tests put functions here.
BACKENDS: dict[str, str | Callable[[Tools], Backend]] = {
    "local": "dav.auth.local",
    "sql": "dav.auth.sql",
    "passwd-file": "dav.auth.passwd_file",
    "dovecot": "dav.auth.dovecot",
    "imap": "dav.auth.imap",
    "smtp": "dav.auth.smtp",
    "ldap": "dav.auth.ldap",
    "oauth2": "dav.auth.oauth2",
    "proxy": "dav.auth.proxy",
    "pam": "dav.auth.pam",
}
# They compare their own state before they hash again, so that what becomes right is right at once.
_REMEMBER_REFUSALS = frozenset({"local", "sql", "passwd-file"})

_CLIENT = re.compile(r"[0-9A-Za-z:.%_-]{0,64}")
# No login of a password can begin with a control character (dav.auth.basic), so these stand beside them in the cache.
_TOKEN, _HEADER = "\0token", "\0header"

_INSECURE = (
    "This address takes passwords over https only. Use https, let the reverse proxy send X-Forwarded-Proto, or set "
    "auth.allow_insecure = yes."
)
_APP_PASSWORD_NEEDED = "This server takes app passwords only here: make one for this device, and give it that."

Vouched = Callable[[MutableMapping[str, Any], Mapping[str, str]], str | None]

_log = logging.getLogger("davenport.auth")


def make_backend(name: str, tools: Tools) -> Backend:
    """The back end of this name in auth.backends. Raises ConfigError when its settings or its library are missing."""
    row = BACKENDS[name]
    if not isinstance(row, str):
        return row(tools)
    made: Backend = _imported(name, row).make(tools)
    return made


def import_backends(names: Iterable[str]) -> None:
    """Imports what the back ends need, to be shared by forked workers. Raises ConfigError."""
    for name in names:
        row = BACKENDS[name]
        if isinstance(row, str):
            _imported(name, row)


def _imported(name: str, module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.partition(".")[0] == "dav":
            raise
        raise ConfigError(
            f"auth.backends names {name}, which needs {error.name}: pip install davenport[{name}]"
        ) from None


@dataclass(frozen=True, slots=True)
class _Asked:
    """One sign-in under way. key: its place in the cache, (login as sent, secret)."""

    given: Credentials
    key: tuple[str, str]
    kind: str


def _asked(key: tuple[str, str], client: str, secure: bool) -> _Asked:
    login, secret = key
    if login == _HEADER:
        return _Asked(Credentials(header=secret, client=client, secure=secure), key, "header")
    if login == _TOKEN:
        return _Asked(Credentials(token=secret, client=client, secure=secure), key, "token")
    return _Asked(Credentials(login=login, password=secret, client=client, secure=secure), key, "password")


class _AllDown(Exception):
    """Nobody said yes, and these back ends could not be asked; none of them where one could not tell of this person."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(", ".join(names))
        self.names = names


class Authenticator:
    """Checks credentials against the configured back ends and remembers the right ones. One for each process.

    clock: monotonic seconds. wall: Unix time. Raises ConfigError for a back end that cannot work as it is configured.
    """

    def __init__(
        self,
        store: Store,
        config: Config,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        settings = config.auth
        self._settings = settings
        self._store = store
        self._clock, self._wall, self._sleep = clock, wall, sleep
        self.cache = CredentialCache(settings.cache_seconds, grace_s=settings.grace_seconds)
        self._pool = HashPool(settings.hash_threads, waiting_max=settings.hash_queue)
        self._lookups = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="sign-in")
        # Writes wait for other writers, so they have a thread of their own: nobody's look-up waits behind them.
        self._writes = ThreadPoolExecutor(1, thread_name_prefix="sign-in-write")
        tools = Tools(store, self._in_thread, self._pool, self.cache, RefusedCache(), clock, config)
        self.backends = [make_backend(name, tools) for name in settings.backends]
        self._by_name = {backend.name: backend for backend in self.backends}
        self._at_once = {backend.name: backend for backend in self.backends if isinstance(backend, TellsAtOnce)}
        self._guard = Guard(
            store, in_thread=self._in_thread, write=self._write, free_failures=settings.guard_free_failures,
            delay_max_s=settings.guard_delay_max_seconds, clock=wall, sleep=sleep,
        )  # fmt: skip
        self._counted = RefusedCache(COUNTED_S)
        self._refused = RefusedCache(REFUSED_S)
        self._running: dict[tuple[bytes, str], asyncio.Task[SignedIn | None]] = {}
        self._ended = False
        self._down: dict[str, float] = {}
        self._mute: dict[str, float] = {}
        self._said_down: dict[str, float] = {}
        self._said_unclear = RefusedCache(SAID_S)
        self._usual_refusal_s = 0.0
        self._vouched: Vouched | None = None
        if "proxy" in settings.backends:
            from dav.auth import proxy

            self._vouched = functools.partial(proxy.vouched, config)
        self._parse_bearer: Callable[[str], str | None] | None = None
        bearer: tuple[str, ...] = ()
        bearer_refused: tuple[str, ...] = ()
        if "oauth2" in settings.backends:
            from dav.auth import oauth2

            self._parse_bearer = oauth2.parse_bearer
            bearer, bearer_refused = oauth2.challenges(config), oauth2.challenges(config, refused=True)
        # RFC 7617 §2.1: charset asks for UTF-8; clients that do not know it ignore it.
        basic = f'Basic realm="{settings.realm}", charset="UTF-8"'
        self._challenges = tuple(("WWW-Authenticate", text) for text in (basic, *bearer))
        self._token_challenges = tuple(("WWW-Authenticate", text) for text in (*bearer_refused, basic))

    def vouched(self, scope: MutableMapping[str, Any], headers: Mapping[str, str]) -> str | None:
        """The name that a trusted proxy gives in a header of this ASGI request; None when none does."""
        return None if self._vouched is None else self._vouched(scope, headers)

    async def sign_in(
        self, headers: Mapping[str, str], *, client: str = "", secure: bool = True, vouched: str | None = None
    ) -> SignedIn | None:
        """Who sent these headers (lower-case names); None when they carry no credentials that we know how to check.

        client: address of the sender, for slowing guesses down. secure: nobody between us can listen (https, or this
        machine). vouched: the name that a trusted proxy gives, see `vouched`.
        Raises DavError 401 for wrong credentials, 403 for a way that is not secure, 503 when nobody can tell now. The
        caller compares auth_seq with the account's in its transaction; when they differ it calls `forget` and asks
        once more.
        """
        if not secure and not self._settings.allow_insecure:
            # Not 401: that would ask for the password, to be sent in the clear.
            raise DavError(403, detail=_INSECURE)
        # What a remembered credential costs is paid by every poll of every device: nothing is made that is not needed.
        header = headers.get("authorization", "")
        key: tuple[str, str] | None = None
        digest = self.cache.known_by(header) if vouched is None else None
        if digest is None:
            key = (_HEADER, vouched) if vouched is not None else self._key(header)
            if key is None:
                return None
            digest = self.cache.digest(*key)
        now = self._clock()
        entry = self.cache.kept_as(digest, now)
        if entry is not None and entry.expires_s > now:
            if key is not None and vouched is None:
                self.cache.learn(header, digest)
            identity = entry.identity
            if identity is None or not identity.stamp or await self._still(entry.backend, identity):
                return entry.signed
            self.cache.drop_as(digest)
            entry = None
        if key is None:
            key = self._key(header)
            assert key is not None, "what could be read once can be read again"
        if entry is not None and self._is_down(entry.backend) and not self._ended:
            # It goes on at once; whether the password is still right is asked behind it.
            self._verify_task(_asked(key, client, secure))
            return entry.signed
        asked = _asked(key, client, secure)
        found = await self._verify_once(asked)
        if found is None and asked.kind == "token":
            raise self.challenge("The token is not valid, or not any more.", token=True)
        if found is None:
            raise self.challenge("Wrong name or password.")
        return found

    def credential(self, headers: Mapping[str, str], vouched: str | None) -> bytes | None:
        """Under what the sign-in of these headers is remembered, if it is: for `holds`."""
        if vouched is not None:
            return self.cache.digest(_HEADER, vouched)
        return self.cache.known_by(headers.get("authorization", ""))

    def holds(self, credential: bytes, signed: SignedIn) -> bool:
        """Whether `sign_in` would answer `signed` again, as far as that can be told at once; never waits."""
        now = self._clock()
        entry = self.cache.kept_as(credential, now)
        if entry is None or entry.expires_s <= now or entry.signed != signed:
            return False
        if entry.identity is None or not entry.identity.stamp:
            return True
        backend = self._at_once.get(entry.backend)
        return backend is not None and backend.surely_still(entry.identity)

    def remembered(self, headers: Mapping[str, str]) -> SignedIn | None:
        """What `sign_in` would answer if it needs no back end, at once; else None, which says nothing."""
        try:
            pair = parse_basic(headers.get("authorization", ""))
        except BadCredentials:
            return None
        entry = self.cache.get(*pair, self._clock()) if pair else None
        return None if entry is None or (entry.identity is not None and entry.identity.stamp) else entry.signed

    def challenge(self, detail: str = "Sign in first.", *, token: bool = False) -> DavError:
        """The 401 that makes clients send credentials; the same realm everywhere, or Thunderbird asks again.

        token: a token was sent, and it is not valid (RFC 6750 §3.1).
        """
        return DavError(401, detail=detail, headers=self._token_challenges if token else self._challenges)

    def forget(self, account_id: int) -> None:
        """Drops what is remembered of an account: its auth_seq turned out to have changed."""
        self.cache.forget(account_id)

    def end_waiting(self) -> None:
        """Answers 503 to everybody who waits for a check now or asks for one later; to be called on their loop.

        For the shutdown, which would else wait for slow back ends and for the delays of guesses.
        """
        self._ended = True
        for task in list(self._running.values()):
            task.cancel()

    async def close_backends(self) -> None:
        """Ends the back ends' connections and threads; to be called on the loop that they ran on."""
        for backend in self.backends:
            try:
                await backend.close()
            except Exception:
                _log.exception("back end %s did not close", backend.name)

    def close(self) -> None:
        """Ends our own threads."""
        self._pool.close()
        self._lookups.shutdown(wait=True, cancel_futures=True)
        self._writes.shutdown(wait=True, cancel_futures=True)

    async def _in_thread(self, function: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._lookups, function)

    async def _write(self, function: Callable[[], T], /) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._writes, function)

    # ---- what was sent -----------------------------------------------------------------------------------------------

    def _key(self, header: str) -> tuple[str, str] | None:
        """(login, password) of an Authorization header, (_TOKEN, token), or None. Raises DavError 401 for garbage."""
        if not header:
            return None
        try:
            pair = parse_basic(header)
        except BadCredentials as error:
            raise self.challenge(f"The Authorization header cannot be read: {error}.") from None
        if pair is not None or self._parse_bearer is None:
            return pair
        token = self._parse_bearer(header)
        if token is None:
            return None
        if not token:
            raise self.challenge("The token cannot be read.", token=True)
        return _TOKEN, token

    # ---- verifying ---------------------------------------------------------------------------------------------------

    async def _verify_once(self, asked: _Asked) -> SignedIn | None:
        """Verifies, but only once for requests that come together: phones open several connections at the same time."""
        if self._ended:
            raise _not_now()
        # Shielded: a client that hangs up must not fail the others that wait for the same answer.
        task = self._verify_task(asked)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if self._ended and task.cancelled():
                raise _not_now() from None
            raise

    def _verify_task(self, asked: _Asked) -> asyncio.Task[SignedIn | None]:
        key = (self.cache.digest(*asked.key), asked.given.client)
        task = self._running.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.get_running_loop().create_task(self._verify(asked))
            self._running[key] = task
            task.add_done_callback(functools.partial(self._forget_task, key))
        return task

    def _forget_task(self, key: tuple[bytes, str], task: asyncio.Task[SignedIn | None]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen: whoever waited has got it, and nobody may be left

    async def _verify(self, asked: _Asked) -> SignedIn | None:
        try:
            if asked.kind != "password":
                found = await self._ask(asked)
                if found is None:
                    self._refuse(asked, counted=False)
                return found
            return await self._verify_password(asked)
        except _AllDown as error:
            return self._in_grace(asked, error.names)
        except (BackendDown, LaneFull, StoreBusy) as error:
            raise _not_now() from error

    async def _verify_password(self, asked: _Asked) -> SignedIn | None:
        given = asked.given
        login = normalise_login(given.login, self._settings.default_domain)
        password = given.password or ""
        octets = password.encode("utf-8", "surrogatepass")
        if not login or not octets or b"\0" in octets or len(octets) > PASSWORD_BYTES_MAX:
            self._refuse(asked, counted=False)
            return None
        digest = apppassword.digest_of(password)
        if digest is not None and (found := await self._app_password(asked, login, digest)) is not None:
            return found
        if self._settings.dav_requires_app_password:
            _log.info("sign-in refused: client=%s account=%s reason=needs-app-password", *_who(given))
            raise self.challenge(_APP_PASSWORD_NEEDED)
        async with self._guard.turn(login, given.client) as turn:
            started = self._clock()
            found = await self._ask(replace(asked, given=replace(given, login=login)))
            if found is not None:
                try:
                    await self._guard.passed(turn)
                except StoreBusy:
                    _log.warning("the guard could not note a right password: the store is busy")
                return found
            counted = (self.cache.digest(*asked.key), started) not in self._counted
            if counted:
                self._counted.add(self.cache.digest(*asked.key), started)
                await self._guard.failed(turn)
            self._refuse(asked, counted=counted)
            return None

    async def _ask(self, asked: _Asked) -> SignedIn | None:
        """Asks the back ends in their order. Raises _AllDown when nobody said yes and some could not tell."""
        down: list[str] = []
        unclear = False
        started = self._clock()
        asked_all = True
        backends = [backend for backend in self.backends if asked.kind in backend.kinds]
        for backend in backends:
            try:
                answer = await self._ask_one(backend, asked)
            except PersonUnclear as error:
                self._note_unclear(backend.name, error)
                self._down.pop(backend.name, None)
                unclear = True
                continue
            except BackendDown as error:
                self._note_down(backend.name, error)
                down.append(backend.name)
                continue
            except Exception as error:
                # A fault in one back end must not keep those out whom the next one knows, nor be taken for a no.
                self._note_down(backend.name, BackendDown(f"it failed ({type(error).__name__})"), error)
                down.append(backend.name)
                continue
            self._down.pop(backend.name, None)
            if isinstance(answer, Identity):
                return await self._welcome(asked, backend, answer, started)
            if answer is Refusal.WRONG:
                asked_all = backend is backends[-1]
                break
        if down or unclear:
            raise _AllDown(down)
        self.cache.drop(*asked.key)
        if len(backends) > 1:
            await self._pad_refusal(self._clock() - started, asked_all)
        return None

    async def _ask_one(self, backend: Backend, asked: _Asked) -> Identity | Refusal:
        digest = self.cache.digest(*asked.key, backend.name)
        remembers = asked.kind == "password" and backend.name not in _REMEMBER_REFUSALS
        now = self._clock()
        if remembers and (digest, now) in self._refused:
            return Refusal.WRONG if (digest + b"!", now) in self._refused else Refusal.NOT_MINE
        answer: Identity | Refusal = Refusal.NOT_MINE
        for given in _spellings(asked.given):
            answer = await backend.check(given)
            if isinstance(answer, Identity):
                return answer
        if remembers:
            self._refused.add(digest, self._clock())
            if answer is Refusal.WRONG:
                self._refused.add(digest + b"!", self._clock())
        return answer

    async def _pad_refusal(self, took_s: float, asked_all: bool) -> None:
        """Makes an early no take as long as one for which all back ends were asked: else it tells whose name it is."""
        if asked_all:
            self._usual_refusal_s += (took_s - self._usual_refusal_s) / 4
        elif took_s < self._usual_refusal_s:
            await self._sleep(self._usual_refusal_s - took_s)

    async def _welcome(self, asked: _Asked, backend: Backend, identity: Identity, started: float) -> SignedIn | None:
        """After a yes: the account, found or made, and the pair remembered."""
        if identity.until_s is not None and identity.until_s <= self._wall():
            return None
        if identity.account is not None:
            signed = SignedIn(*identity.account)
        else:
            account = await self._account(backend.name, identity)
            if account is None:
                return None
            signed = SignedIn(account.id, account.auth_seq)
        self._remember(asked, signed, started, backend.name, identity)
        return signed

    def _remember(
        self, asked: _Asked, signed: SignedIn, started: float, backend: str, identity: Identity | None,
        until_s: int | None = None,
    ) -> None:  # fmt: skip
        if identity is not None and identity.until_s is not None:
            until_s = identity.until_s if until_s is None else min(until_s, identity.until_s)
        ends_s = None if until_s is None else self._clock() + until_s - self._wall()
        self.cache.put(*asked.key, signed, started, backend=backend, identity=identity, ends_s=ends_s)

    async def _account(self, source: str, identity: Identity) -> Account | None:
        """The account of a person that a back end knows; None when there may be none, or it is disabled."""
        try:
            name = people.account_name(identity.name, self._settings)
        except NameUnusable as error:
            _log.error("%s says yes to %r, which cannot be an account here: %s", source, identity.name[:100], error)
            return None
        account, due = await self._in_thread(functools.partial(self._find, name, source, identity))
        if account is None and not self._settings.create_accounts:
            _log.warning("%s says yes to %r, who has no account here (auth.create_accounts = no)", source, name)
            return None
        if account is None or (account.active and due):
            try:
                account = await self._write(functools.partial(self._settle, name, source, identity))
            except NameTaken:
                # Another worker made the account at the same moment.
                account, _ = await self._in_thread(functools.partial(self._find, name, source, identity))
            except StoreBusy:
                if account is None:
                    raise
                _log.warning("what %s says of %r could not be written: the store is busy", source, name)
        if account is None or not account.active:
            _log.info("account %r is disabled here", name)
            return None
        return account

    def _find(self, name: str, source: str, identity: Identity) -> tuple[Account | None, bool]:
        with transaction(self._store) as conn:
            account = accounts.account_by_name(conn, name)
            return account, account is not None and people.is_due(conn, account, source, identity)

    def _settle(self, name: str, source: str, identity: Identity) -> Account | None:
        with transaction(self._store, write=True) as conn:
            account = accounts.account_by_name(conn, name)
            if account is None:
                return people.make(conn, name, source, identity, now_s=int(self._wall()))
            people.refresh(conn, account, source, identity, now_s=int(self._wall()))
            return account

    # ---- app passwords -----------------------------------------------------------------------------------------------

    async def _app_password(self, asked: _Asked, login: str, digest: str) -> SignedIn | None:
        """Whose app password it is; None when it is nobody's, of another login, or ended."""
        started = self._clock()
        now_s = int(self._wall())
        record, account = await self._in_thread(lambda: self._read_app_password(digest))
        if record is None or account is None or not account.active:
            return None
        if (record.expires_s is not None and record.expires_s <= now_s) or not self._names(login, account):
            return None
        # The mail side may have disabled the person since: an app password is no way around that.
        backend, identity = self._by_name.get(account.source), None
        if backend is not None:
            try:
                known = await backend.lookup(people.mail_name(account, self._settings))
            except BackendDown as error:
                self._note_down(backend.name, error)
                known = None
            if isinstance(known, Refusal):
                _log.warning("app password of %r refused: %s does not let the person in", account.name, backend.name)
                return None
            identity = known
        if record.last_used_s is None or now_s - record.last_used_s >= USED_EVERY_S:
            try:
                await self._write(lambda: self._note_use(record, account, now_s))
            except StorageError as error:
                _log.warning("the use of an app password could not be noted: %s", error)
        signed = SignedIn(account.id, account.auth_seq, apppassword.scope_of(record))
        name = backend.name if backend is not None and identity is not None else ""
        self._remember(asked, signed, started, name, identity, record.expires_s)
        return signed

    def _read_app_password(self, digest: str) -> tuple[AppPassword | None, Account | None]:
        with transaction(self._store) as conn:
            record = app_passwords.app_password_by_digest(conn, digest)
            return record, None if record is None else accounts.account_by_id(conn, record.account_id)

    def _note_use(self, record: AppPassword, account: Account, now_s: int) -> None:
        with transaction(self._store, write=True) as conn:
            app_passwords.note_use(conn, record.id, now_s=now_s)
            if record.last_used_s is None:
                audit.note(
                    conn, at_s=now_s, account_id=account.id, actor=account.name, action="app password used first",
                    subject=record.name,
                )  # fmt: skip

    def _names(self, login: str, account: Account) -> bool:
        """Whether a login means this account: its name, with or without the usual domains, or one of its addresses."""
        known = {accounts.fold(account.name), *map(accounts.fold, account.addresses)}
        for domain in (self._settings.default_domain, self._settings.strip_domain):
            if domain and "@" not in account.name:
                known.add(accounts.fold(f"{account.name}@{domain}"))
        return any(accounts.fold(name) in known for name in candidates(login))

    # ---- down and refused --------------------------------------------------------------------------------------------

    async def _still(self, name: str, identity: Identity) -> bool:
        """Whether a remembered yes is one still; while its back end is down, it is."""
        backend = self._by_name.get(name)
        if backend is None:
            return False
        now = self._clock()
        if now - self._mute.get(name, -MUTE_S) < MUTE_S:
            return True
        try:
            return await backend.still(identity)
        except BackendDown as error:
            self._mute[name] = self._clock()
            self._note_down(name, error)
            return True

    def _is_down(self, name: str) -> bool:
        return self._clock() - self._down.get(name, -DOWN_S) < DOWN_S

    def _note_down(self, name: str, error: BackendDown, fault: Exception | None = None) -> None:
        now = self._clock()
        self._down[name] = now
        if now - self._said_down.get(name, -SAID_S) >= SAID_S:
            self._said_down[name] = now
            _log.error("back end %s cannot tell: %s", name, error, exc_info=fault)

    def _note_unclear(self, name: str, error: PersonUnclear) -> None:
        """One line a minute for each person."""
        digest, now = self.cache.digest(name, str(error)), self._clock()
        if (digest, now) not in self._said_unclear:
            self._said_unclear.add(digest, now)
            _log.error("back end %s cannot tell: %s", name, error)

    def _in_grace(self, asked: _Asked, down: list[str]) -> SignedIn:
        """Goes on with what is remembered of a back end that is down. Raises DavError 503 when nothing is."""
        entry: Remembered | None = self.cache.kept(*asked.key, self._clock())
        if entry is None or entry.backend not in down:
            raise _not_now()
        self.cache.believe(*asked.key, self._clock() + DOWN_S)
        _log.info("account %d goes on with what is remembered, as %s is down", entry.signed.account_id, entry.backend)
        return entry.signed

    def _refuse(self, asked: _Asked, *, counted: bool) -> None:
        """One line for each refusal; those that repeat what was refused already are not for the fail2ban filter."""
        level = logging.WARNING if counted else logging.DEBUG
        _log.log(level, "sign-in refused: client=%s account=%s reason=wrong", *_who(asked.given))


def _not_now() -> DavError:
    return DavError(503, detail="Passwords cannot be checked now.", headers=(("Retry-After", "10"),))


def _who(given: Credentials) -> tuple[str, str]:
    """(client, account) for a log line, in which neither can end the line or forge a field."""
    client = given.client if _CLIENT.fullmatch(given.client) else repr(given.client[:64])
    return client or "-", repr(given.login[:100])


def _spellings(given: Credentials) -> list[Credentials]:
    """The password as sent and, where it differs, composed: some keyboards send accents apart from their letters."""
    if given.password is None or given.password.isascii():
        return [given]
    composed = unicodedata.normalize("NFC", given.password)
    return [given] if composed == given.password else [given, replace(given, password=composed)]
