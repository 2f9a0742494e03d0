"""The back end "sql": the mail server's own table, read through any of the databases that mail stacks use.

People, app passwords and addresses are asked by a preset or by own queries (`storage.mailpresets` says which columns
mean what). A remembered password is believed only while the rows it was checked against are the same.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from dav.auth import schemes
from dav.auth.backend import Backend, BackendDown, Credentials, Identity, PersonUnclear, Refusal, T, Tools
from dav.auth.basic import LOGIN_CHARS_MAX, candidates
from dav.auth.gate import printable
from dav.auth.identities import address_of, allowed_from, ascii_domain, spellings, targets_of
from dav.auth.threads import Threads
from dav.config import ConfigError
from storage import mailpresets
from storage.mailbase import CONNECTIONS, MailBase, MailBaseDown, Row
from storage.mailpresets import LISTED_MAX

if TYPE_CHECKING:
    from dav.config import AuthSqlConfig

ADDRESSES_MAX = 200
DOMAINS_MAX = 50
HASHES_MAX = 20
GROUPS_MAX = 5_000
TARGETS_MAX = 1_000
NAME_CHARS_MAX = 255

log = logging.getLogger("davenport.auth")

_YES = frozenset(("1", "y", "yes", "t", "true", "on"))


@dataclass(frozen=True, slots=True)
class Person:
    """What the table has of one person. login: what was bound as :user to find them; stamp: changes with any of it.

    hashes: each with the networks it is limited to. allowed: may sign in. elsewhere: the password is kept by another
    program, so a wrong one says nothing.
    """

    login: str
    name: str
    display_name: str
    hashes: tuple[tuple[str, str], ...]
    allowed: bool
    elsewhere: bool
    stamp: str


def make(tools: Tools) -> Backend:
    """The back end of config.auth_sql. Raises ConfigError."""
    return Sql(tools, tools.config.auth_sql)


class Sql:
    """See `dav.auth.backend.Backend`."""

    name = "sql"
    kinds = frozenset(("password",))

    def __init__(self, tools: Tools, config: AuthSqlConfig) -> None:
        self._tools, self._config = tools, config
        self._preset = _preset(config)
        self._default_scheme = schemes.usable_default(config.default_scheme or self._preset.default_scheme, "auth_sql")
        self._base = _base(config)
        self._threads = Threads("sql", CONNECTIONS, seconds=2 * config.timeout_seconds)
        # A hash as this site has them, to spend the same time on people who do not exist.
        self._usual = ""

    async def check(self, given: Credentials) -> Identity | Refusal:
        """The row of the login, then its hashes. Raises BackendDown."""
        login, password = given.login, given.password
        if password is None or len(login) > LOGIN_CHARS_MAX:
            return Refusal.NOT_MINE
        person = await self._run(partial(self._find, login))
        hashes = usable_hashes(person, given.client) if person else []
        refusal = Refusal.WRONG if person and not person.elsewhere else Refusal.NOT_MINE
        # What was refused with these very hashes is refused again without another one.
        digest = self._tools.cache.digest(login, password, self.name, person.stamp if person else "", *hashes)
        if (digest, self._tools.clock()) in self._tools.refused:
            return refusal
        if person is None or not hashes:
            await self._tools.pool.run(partial(schemes.spend, password, self._usual, default=self._default_scheme))
            self._tools.refused.add(digest, self._tools.clock())
            return refusal
        try:
            right = await self._tools.pool.run(
                partial(schemes.verify_any, password, hashes, default=self._default_scheme)
            )
        except (schemes.UnsupportedScheme, schemes.BadHash) as error:
            raise PersonUnclear(f"the password of {printable(person.name)} cannot be checked: {error}") from None
        self._usual = hashes[0]
        if not right:
            self._tools.refused.add(digest, self._tools.clock())
            return refusal
        return await self._identified(person)

    async def still(self, identity: Identity) -> bool:
        """Whether the rows are as they were. Raises BackendDown.

        Never for somebody who is limited to networks: the next request may come from elsewhere, so it is checked anew.
        """
        login = identity.stamp.partition(" ")[2]
        person = await self._run(partial(self._person, login))
        if person is None or not person.allowed or any(networks for _, networks in person.hashes):
            return False
        return person.stamp == identity.stamp

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """The person of this name with their addresses. Raises BackendDown."""
        if len(name) > LOGIN_CHARS_MAX:
            return Refusal.NOT_MINE
        person = await self._run(partial(self._find, name))
        if person is None:
            return Refusal.NOT_MINE
        return await self._identified(person) if person.allowed else Refusal.WRONG

    async def groups(self) -> dict[str, tuple[str, ...]] | None:
        """Aliases with several targets; None when auth_sql.group_accounts is off, or of more than GROUPS_MAX.

        Raises BackendDown.
        """
        if not self._config.group_accounts:
            return None
        found: dict[str, tuple[str, ...]] = {}
        after = ""
        while True:
            # One page at a time: each question to the database has its own bounded time.
            page, after = await self._run(partial(self._aliases, after))
            found.update(page)
            if len(found) > GROUPS_MAX:
                log.error("sql: more than %d aliases have several targets: no group is changed", GROUPS_MAX)
                return None
            if not after:
                return {address: targets for address, targets in found.items() if len(targets) > 1}

    async def close(self) -> None:
        """Closes the connections."""
        self._base.close()

    async def _identified(self, person: Person) -> Identity:
        return await self._run(partial(self._identity, person))

    async def _run(self, function: Callable[[], T]) -> T:
        try:
            return await self._threads.run(function)
        except MailBaseDown as error:
            raise BackendDown(f"the mail server's database: {error}") from None

    # --- in a thread --------------------------------------------------------------------------------------------------

    def _find(self, login: str) -> Person | None:
        """The person that the login means, by the first of its spellings that the table knows."""
        seen: set[str] = set()
        for candidate in candidates(login):
            for spelling in spellings(candidate, lower_case=self._config.lower_case):
                if spelling not in seen and "\0" not in spelling:
                    seen.add(spelling)
                    person = self._person(spelling)
                    if person is not None:
                        return person
        return None

    def _person(self, login: str) -> Person | None:
        bound = _bound(login)
        first, *others = self._preset.passwords
        rows = self._base.ask(first, **bound)
        if not rows:
            return None
        for row in rows:
            if "user" not in row or "password" not in row:
                raise MailBaseDown("auth_sql.password_query must give the columns user and password")
        names = {str(row["user"]) for row in rows}
        name = self._name(names.pop())
        if names or not name:
            raise MailBaseDown("auth_sql.password_query gives rows of several people for one login, or without a user")
        allowed = [row for row in rows if _allows(row)]
        hashes = [_hash(row) for row in allowed]
        more = [row for question in others for row in self._base.ask(question, **bound)] if allowed else []
        # Most people have few app passwords, and each may take the time of a slow hash.
        hashes += [_hash(row) for row in more if self._name(str(row["user"])) == name]
        display = str(rows[0].get("name") or "") or " ".join(
            str(rows[0][column]) for column in ("first_name", "last_name") if rows[0].get(column)
        )
        return Person(
            login=login,
            name=name,
            display_name=display,
            hashes=tuple(pair for pair in hashes if pair[0])[:HASHES_MAX],
            allowed=bool(allowed),
            elsewhere=any(_yes(row.get("elsewhere")) for row in rows),
            stamp=f"{_stamp([*rows, *more])} {login}",
        )

    def _name(self, user: str) -> str:
        name = user.strip()
        return name.lower() if self._config.lower_case else name

    def _identity(self, person: Person) -> Identity:
        display = person.display_name
        if self._preset.name:
            rows = self._base.ask(self._preset.name, **_bound(person.name))
            display = str(next(iter(rows[0].values()), "") or "") if rows else ""
        return Identity(
            name=person.name,
            display_name=" ".join(display.split())[:NAME_CHARS_MAX],
            addresses=self._addresses(person.name),
            stamp=person.stamp,
        )

    def _addresses(self, name: str) -> tuple[str, ...]:
        """One's own name first, then the aliases that lead to nobody else, then the same under other domains."""
        found: dict[str, None] = {address: None for address in [address_of(name)] if address}
        for question in self._preset.addresses:
            for row in self._base.ask(question, **_bound(name)):
                address = address_of(str(next(iter(row.values()), "") or ""))
                if address and ("target" not in row or self._is_target(row, name)):
                    found[address] = None
        if self._preset.domains:
            for address in list(found)[:DOMAINS_MAX]:
                local, _, domain = address.rpartition("@")
                for row in self._base.ask(self._preset.domains, domain=domain)[:DOMAINS_MAX]:
                    other = ascii_domain(str(next(iter(row.values()), "")).strip().removeprefix("@"))
                    same = address_of(f"{local}@{other}")
                    if same and same not in found and len(found) < ADDRESSES_MAX and self._is_free(same, name):
                        found[same] = None
        return tuple(found)[:ADDRESSES_MAX]

    def _aliases(self, after: str) -> tuple[dict[str, tuple[str, ...]], str]:
        """(alias → its targets, of those behind `after`; the last one of them, "" when there are no more)."""
        rows = self._base.ask(self._preset.groups, after=after)
        keys = [str(row["address"]) for row in rows]
        more = len(rows) >= LISTED_MAX
        if more and keys[0] != keys[-1]:
            # There may be more rows of the last one: it is read again, with the next ones.
            rows = rows[: keys.index(keys[-1])]
            keys = keys[: len(rows)]
        found: dict[str, dict[str, None]] = {}
        for key, row in zip(keys, rows, strict=True):
            address = address_of(key)
            targets = [self._name(target) for target in targets_of(str(row["target"] or ""))]
            if address:
                found.setdefault(address, {}).update(dict.fromkeys(targets))
        pairs = {address: tuple(targets)[:TARGETS_MAX] for address, targets in found.items()}
        return pairs, keys[-1] if more else ""

    def _is_free(self, address: str, name: str) -> bool:
        """Whether no entry of its own gives the address to somebody else."""
        rows = (row for question in self._preset.owners for row in self._base.ask(question, **_bound(address)))
        return all(self._is_target(row, name) for row in rows)

    def _is_target(self, row: Row, name: str) -> bool:
        return [self._name(target) for target in targets_of(str(row["target"] or ""))] == [name]


def usable_hashes(person: Person, client: str) -> list[str]:
    """The hashes that count for a client at this address."""
    return [stored for stored, networks in person.hashes if allowed_from(networks, client)]


def _preset(config: AuthSqlConfig) -> mailpresets.Preset:
    chosen = mailpresets.own(config.password_query, config.addresses_query, config.name_query)
    if not config.preset:
        if config.group_accounts:
            raise ConfigError("auth_sql.group_accounts needs auth_sql.preset, which says where aliases are")
        if not config.password_query:
            raise ConfigError("auth.backends names sql, which needs auth_sql.preset or auth_sql.password_query")
        return chosen
    preset = mailpresets.PRESETS[config.preset]
    own_addresses = bool(config.addresses_query)
    return mailpresets.Preset(
        passwords=chosen.passwords if config.password_query else preset.passwords,
        addresses=chosen.addresses if own_addresses else preset.addresses,
        domains=() if own_addresses else preset.domains,
        owners=preset.owners,
        groups=preset.groups,
        name=chosen.name,
        default_scheme=preset.default_scheme,
    )


def _base(config: AuthSqlConfig) -> MailBase:
    if not config.url:
        raise ConfigError("auth.backends names sql, which needs auth_sql.url")
    try:
        return MailBase(config.url, timeout_s=config.timeout_seconds)
    except ImportError:
        raise ConfigError("auth_sql.url names MySQL, which needs `pip install davenport[mysql]`") from None
    except Exception:
        # What the library says about a URL may repeat the password in it.
        raise ConfigError("auth_sql.url cannot be used") from None


def _bound(user: str) -> dict[str, str]:
    local, at, domain = user.rpartition("@")
    return {"user": user, "local": local if at else user, "domain": domain}


def _yes(value: Any) -> bool:
    # 2 is not yes: mailcow's mailboxes with it receive, but may not sign in.
    return str(value).strip().lower() in _YES if value is not None else False


def _allows(row: Row) -> bool:
    for column, value in row.items():
        if column.startswith("active") and not _yes(value):
            return False
        if column.startswith("denied") and value is not None and str(value).strip().lower() not in _NO:
            return False
    return _dav_access(row.get("attributes"))


_NO = frozenset(("", "0", "n", "no", "f", "false", "off"))


def _dav_access(attributes: Any) -> bool:
    """mailcow keeps which services a mailbox may use in a JSON object, whose values are "1" and "0"."""
    if not attributes:
        return True
    try:
        values = json.loads(attributes) if isinstance(attributes, str) else attributes
        return "dav_access" not in values or _yes(values["dav_access"])
    except (ValueError, TypeError, RecursionError):
        return False


def _hash(row: Row) -> tuple[str, str]:
    return str(row["password"] or "").strip("\r\n"), str(row.get("allow_nets") or "")


def _stamp(rows: Iterable[Row]) -> str:
    """A digest of everything that decides who may sign in."""
    hasher = hashlib.blake2b(digest_size=16)
    for row in rows:
        for column, value in row.items():
            if column not in ("name", "first_name", "last_name"):
                hasher.update(repr((column, value)).encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()
