"""The back end "ldap": people of a directory (RFC 4511), found by a search and verified by a bind.

Each check has a connection of its own: search as the service account, then bind as whom the search found. Blocking, in
threads of its own. The only place that imports ldap3.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import socket
import ssl
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from dav.auth.backend import Backend, BackendDown, Credentials, Identity, Refusal, Tools
from dav.auth.gate import printable
from dav.auth.threads import Threads
from dav.config import AuthLdapConfig, ConfigError

with warnings.catch_warnings():
    # It uses names of pyasn1 that are marked as old: nothing that an administrator could act on.
    warnings.simplefilter("ignore", DeprecationWarning)
    import ldap3  # type: ignore[import-untyped]
    from ldap3.utils.dn import parse_dn  # type: ignore[import-untyped]

log = logging.getLogger("davenport.auth")

NAME_CHARS_MAX = 255
ADDRESSES_MAX = 200
_GROUPS_MAX = 500
PASSWORD_BYTES_MAX = 1024
_SECRET_BYTES_MAX = 4096
# A whole check is connect, TLS, bind, search, group, bind.
_STEPS = 6

# draft-behera-ldap-password-policy §6: why a bind failed, or that it succeeded only for changing the password.
_PASSWORD_POLICY = "1.3.6.1.4.1.42.2.27.8.5.1"
# Of the Netscape family: the password has expired, and the bind was granted for changing it.
_PASSWORD_EXPIRED = "2.16.840.1.113730.3.4.4"

# RFC 4511 §4.1.9. What a bind answers about the person; everything else that is not success is about the server.
_SUCCESS, _SIZE_LIMIT, _NO_SUCH_ATTRIBUTE, _CONSTRAINT, _NO_SUCH_OBJECT = 0, 4, 16, 19, 32
_INAPPROPRIATE, _INVALID_CREDENTIALS, _INSUFFICIENT, _UNWILLING = 48, 49, 50, 53
# 48: no password is kept for the entry. 19, 53: locked or inactive at some servers. 50: may not bind.
_REFUSED = frozenset((_INVALID_CREDENTIALS, _INAPPROPRIATE, _INSUFFICIENT, _UNWILLING, _CONSTRAINT, _NO_SUCH_OBJECT))

# Asked with every person: what other directories write into a disabled account.
_STATE = ("userAccountControl", "nsAccountLock", "loginDisabled", "pwdAccountLockedTime", "pwdReset")

T = TypeVar("T")
Attributes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Person:
    """An entry: its DN, and its attributes by lower-case name."""

    dn: str
    attributes: Attributes


def make(tools: Tools) -> Backend:
    """The back end of config.auth_ldap. Raises ConfigError."""
    return Ldap(tools.config.auth_ldap)


class Ldap:
    """See `dav.auth.backend.Backend`."""

    name = "ldap"
    kinds = frozenset(("password",))

    def __init__(self, config: AuthLdapConfig) -> None:
        if not config.url:
            raise ConfigError("auth.backends names ldap, which needs auth_ldap.url")
        if not config.base and not config.user_dn:
            raise ConfigError("auth.backends names ldap, which needs auth_ldap.base or auth_ldap.user_dn")
        self._config = config
        self._secret = _secret(config)
        if config.bind_dn and not self._secret:
            # RFC 4513 §5.1.2: it would be taken for an anonymous bind, and the searches would find other things.
            raise ConfigError("auth_ldap.bind_dn is set, so auth_ldap.bind_password or bind_password_file is needed")
        try:
            self._tls = ssl.create_default_context(cafile=config.ca_file or None)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"auth_ldap.ca_file cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from None
        if not config.start_tls and any(url.startswith("ldap:") and not _is_here(url) for url in config.url):
            log.warning("ldap: passwords go to the directory without encryption (auth_ldap.start_tls = no)")
        self._threads = Threads("ldap", config.threads, seconds=config.timeout_seconds * _STEPS)

    async def check(self, given: Credentials) -> Identity | Refusal:
        """Search, then bind. Raises BackendDown."""
        login, password = given.login, given.password
        if not password or "\0" in password or not _is_login(login):
            # RFC 4513 §5.1.2: with a name and no password a bind succeeds for anybody.
            return Refusal.WRONG if password is not None and not password else Refusal.NOT_MINE
        octets = password.encode("utf-8", "surrogatepass")
        if len(octets) > PASSWORD_BYTES_MAX:
            return Refusal.WRONG
        return await self._threads.run(lambda: self._check(login, octets), client=given.client)

    async def still(self, identity: Identity) -> bool:
        """True: this back end gives no stamps, and is asked again when the memory of a password ends."""
        return True

    async def lookup(self, name: str) -> Identity | Refusal | None:
        """What the directory says of a person by the filter; None when there is only a template. Raises BackendDown."""
        if not self._config.base:
            return None
        if not _is_login(name):
            return Refusal.NOT_MINE
        return await self._threads.run(lambda: self._lookup(name))

    async def close(self) -> None:
        """Nothing to end: connections live as long as a check."""

    # ---- in a thread -------------------------------------------------------------------------------------------------

    def _check(self, login: str, password: bytes) -> Identity | Refusal:
        with self._connected() as connection:
            if not self._config.base:
                return self._by_template(connection, login, password)
            self._bind_service(connection)
            person = self._find(connection, login)
            if person is Refusal.WRONG:
                self._bind(connection, _nobody(self._config.base), password)
                return Refusal.WRONG
            if not isinstance(person, Person):
                # The time of a bind, so that the answer does not tell who exists.
                self._bind(connection, _nobody(self._config.base), password)
                return Refusal.NOT_MINE
            member = self._is_member(connection, person)
            dn = self._template(login) if self._config.user_dn else person.dn
            if not self._bind(connection, dn, password):
                return Refusal.WRONG
            if not member or _is_disabled(person):
                log.info("ldap: the password is right, but the person may not sign in: %s", printable(person.dn))
                return Refusal.WRONG
            if self._searches_groups:
                # Only now, so that a wrong password costs no search; and as who finds them in a look-up, too.
                self._bind_service(connection, again=True)
            return self._identity(connection, person)

    def _by_template(self, connection: Any, login: str, password: bytes) -> Identity | Refusal:
        """Without a search there is no telling a person with another password from nobody: both are not ours."""
        dn = self._template(login)
        if not dn or not self._bind(connection, dn, password):
            return Refusal.NOT_MINE
        found = self._search(connection, dn, "(objectClass=*)", "BASE")
        if len(found) != 1:
            log.warning("ldap: %s may not read its own entry, so its name and addresses are unknown", printable(dn))
            return Refusal.WRONG
        if _is_disabled(found[0]) or not self._is_member(connection, found[0]):
            return Refusal.WRONG
        return self._identity(connection, found[0])

    def _lookup(self, name: str) -> Identity | Refusal:
        with self._connected() as connection:
            self._bind_service(connection)
            person = self._find(connection, name)
            if not isinstance(person, Person):
                return person
            if _is_disabled(person) or not self._is_member(connection, person):
                return Refusal.WRONG
            return self._identity(connection, person)

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """A connection to the first server that answers, encrypted as configured. Raises BackendDown."""
        failures: list[str] = []
        for url in self._config.url:
            try:
                connection = self._open(url)
            except BackendDown as error:
                failures.append(f"{url}: {error}")
                continue
            try:
                yield connection
            finally:
                _close(connection)
            return
        raise BackendDown("; ".join(failures))

    def _open(self, url: str) -> Any:
        config = self._config
        parts = urlsplit(url)
        encrypted = parts.scheme == "ldaps"
        server = ldap3.Server(
            parts.hostname,
            port=parts.port or (636 if encrypted else 389),
            use_ssl=encrypted,
            tls=_verified_tls(self._tls, parts.hostname or ""),
            get_info=ldap3.NONE,
            connect_timeout=config.timeout_seconds,
        )
        connection = ldap3.Connection(
            server,
            auto_bind=ldap3.AUTO_BIND_NONE,
            # A referral would send the password to a server that nobody here has named.
            auto_referrals=False,
            auto_range=False,
            check_names=False,
            raise_exceptions=False,
            receive_timeout=config.timeout_seconds,
            return_empty_attributes=False,
        )
        try:
            _call(connection.open, read_server_info=False)
            _at_once(connection)
            if not encrypted and config.start_tls and not _call(connection.start_tls, read_server_info=False):
                raise BackendDown("StartTLS was refused")
        except BackendDown:
            _close(connection)
            raise
        return connection

    def _bind_service(self, connection: Any, *, again: bool = False) -> None:
        """again: the connection was somebody else's before."""
        config = self._config
        if not config.bind_dn:
            if again:
                _call(connection.rebind, authentication=ldap3.ANONYMOUS, read_server_info=False)
            return  # RFC 4513 §4: a new connection is anonymous
        simple = ldap3.SIMPLE
        secret = self._secret.encode()
        _call(connection.rebind, user=config.bind_dn, password=secret, authentication=simple, read_server_info=False)
        if connection.result["result"] != _SUCCESS:
            raise BackendDown(f"the directory refuses auth_ldap.bind_dn: {printable(connection.result['description'])}")

    def _bind(self, connection: Any, dn: str, password: bytes) -> bool:
        """Whether the password is the entry's and may be used. Raises BackendDown when the server cannot tell."""
        assert password, "an empty password would be an anonymous bind (RFC 4513 §5.1.2)"
        _call(
            connection.rebind,
            user=dn,
            # bytes: a str would go through SASLprep, and some passwords of mail servers would not survive it.
            password=password,
            authentication=ldap3.SIMPLE,
            read_server_info=False,
            controls=[(_PASSWORD_POLICY, False, None)],
        )
        code = connection.result["result"]
        if code == _SUCCESS:
            return not _must_change(connection.result)
        if code not in _REFUSED:
            raise BackendDown(f"the directory answers a bind with {printable(connection.result['description'])}")
        return False

    def _find(self, connection: Any, login: str) -> Person | Refusal:
        """The one person with this login. NOT_MINE: nobody. WRONG: several, so nobody can be told."""
        local, at, domain = login.rpartition("@")
        values = {"login": login, "local": local if at else login, "domain": domain if at else ""}
        found = self._search(
            connection, self._config.base, _fill(self._config.filter, values, _filter_value), "SUBTREE"
        )
        if len(found) > 1:
            log.error(
                "ldap: several entries are found for the login %s; auth_ldap.filter must find one", printable(login)
            )
            return Refusal.WRONG
        return found[0] if found else Refusal.NOT_MINE

    def _search(self, connection: Any, base: str, text: str, scope: str, *, limit: int = 2) -> list[Person]:
        """The entries, at most limit. Raises BackendDown."""
        config = self._config
        wanted = {*config.name_attributes, *config.address_attributes, *config.display_name_attributes}
        wanted |= {"memberOf", "uid", *_STATE}
        try:
            _call(
                connection.search,
                base,
                text,
                search_scope=scope,
                dereference_aliases=ldap3.DEREF_NEVER,
                attributes=sorted(wanted),
                size_limit=limit,
                time_limit=config.timeout_seconds,
            )
        except ldap3.core.exceptions.LDAPInvalidFilterError:
            raise BackendDown("auth_ldap.filter or group_filter is not an LDAP filter (RFC 4515)") from None
        code = connection.result["result"]
        if code == _NO_SUCH_OBJECT and scope == "BASE":
            return []
        if code not in (_SUCCESS, _SIZE_LIMIT, _NO_SUCH_ATTRIBUTE):
            raise BackendDown(f"the directory answers a search with {printable(connection.result['description'])}")
        # Besides entries there may be references to other servers; they are not followed.
        entries = [entry for entry in connection.response or () if entry.get("type") == "searchResEntry"]
        return [Person(entry["dn"], _texts(entry["raw_attributes"])) for entry in entries]

    def _is_member(self, connection: Any, person: Person) -> bool:
        """Whether the person is in the needed group: by memberOf, else by what the group's entry holds."""
        group = self._config.group
        if not group:
            return True
        if any(_same_dn(group, other) for other in person.attributes.get("memberof", ())):
            return True
        return bool(self._search(connection, group, self._group_filter(person), "BASE"))

    def _group_filter(self, person: Person) -> str:
        values = {"dn": person.dn, "uid": _first(person, ("uid",)), "name": self._name(person)}
        return _fill(self._config.group_filter, values, _filter_value)

    @property
    def _searches_groups(self) -> bool:
        return bool(self._config.group_accounts and self._config.group_base)

    def _groups_found(self, connection: Any, person: Person) -> tuple[str, ...] | None:
        """DNs of the groups whose entries name the person; None when that cannot be told. It does not bar the way."""
        if not self._searches_groups:
            return ()
        base = self._config.group_base
        try:
            found = self._search(connection, base, self._group_filter(person), "SUBTREE", limit=_GROUPS_MAX + 1)
        except BackendDown as error:
            log.error("ldap: the groups below auth_ldap.group_base cannot be read: %s", error)
            return None
        if len(found) > _GROUPS_MAX or connection.result["result"] == _SIZE_LIMIT:
            log.warning("ldap: %s is in more groups than are read, so they stay as they are", printable(person.dn))
            return None
        return tuple(entry.dn for entry in found)

    def _template(self, login: str) -> str:
        local, at, domain = login.rpartition("@")
        if not at and "{domain}" in self._config.user_dn:
            return ""
        values = {"login": login, "local": local if at else login, "domain": domain}
        # user@domain, as Active Directory takes it, is no DN: only what stands behind "attribute=" is escaped for one.
        escape = _dn_value if "=" in self._config.user_dn else str
        return _fill(self._config.user_dn, values, escape)

    def _name(self, person: Person) -> str:
        name = unicodedata.normalize("NFC", _first(person, self._config.name_attributes)).strip().lower()
        return name if _is_login(name) else ""

    def _identity(self, connection: Any, person: Person) -> Identity | Refusal:
        name = self._name(person)
        if not name:
            log.error("ldap: %s has none of auth_ldap.name_attributes, so it cannot sign in", printable(person.dn))
            return Refusal.WRONG
        display_name = _first(person, self._config.display_name_attributes)
        found = addresses(person, self._config.address_attributes)
        groups = self._groups(person, self._groups_found(connection, person))
        return Identity(name, display_name[:NAME_CHARS_MAX], found, groups=groups)

    def _groups(self, person: Person, found: tuple[str, ...] | None = ()) -> tuple[str, ...] | None:
        """The names of the group accounts for what memberOf says and for these DNs.

        None without the setting, or when nothing is known of the latter.
        """
        template = self._config.group_accounts
        if not template or found is None:
            return None
        names = (_first_value(dn) for dn in (*person.attributes.get("memberof", ())[:_GROUPS_MAX], *found))
        return tuple(dict.fromkeys(_fill(template, {"cn": name}, str) for name in names if name))


def _first_value(dn: str) -> str:
    """The value of the first part of a DN: staff of cn=staff,ou=groups,dc=example. "" for no DN."""
    try:
        value = str(parse_dn(dn)[0][1])
        found = re.sub(
            rb"\\([0-9A-Fa-f]{2}|.)",
            lambda match: bytes.fromhex(match[1].decode()) if len(match[1]) == 2 else match[1],
            value.encode(),
        )
        return unicodedata.normalize("NFC", found.decode()).strip()[:NAME_CHARS_MAX]
    except (ldap3.core.exceptions.LDAPExceptionError, ValueError, IndexError):
        return ""


# --- what entries say -------------------------------------------------------------------------------------------------


def addresses(person: Person, names: tuple[str, ...]) -> tuple[str, ...]:
    """The addresses in these attributes, lower-case, each once, the primary one first.

    proxyAddresses of Active Directory says SMTP: before the primary one and smtp: before others; values with another
    prefix (x500:, sip:) are none.
    """
    primary: list[str] = []
    others: list[str] = []
    for name in names:
        for value in person.attributes.get(name.lower(), ()):
            prefix, colon, rest = value.partition(":")
            if colon and prefix.lower() != "smtp":
                continue
            address = (rest if colon else value).strip().lower()
            if _is_address(address):
                (primary if colon and prefix == "SMTP" else others).append(address)
    return tuple(dict.fromkeys(primary + others))[:ADDRESSES_MAX]


def _is_address(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    return bool(at and local and domain) and len(text) <= NAME_CHARS_MAX and "@" not in local and text.isprintable()


def _is_login(text: str) -> bool:
    return 0 < len(text) <= NAME_CHARS_MAX and text.isprintable()


def _first(person: Person, names: tuple[str, ...]) -> str:
    return next((value for name in names for value in person.attributes.get(name.lower(), ()) if value), "")


def _is_disabled(person: Person) -> bool:
    """Whether the directory says so in the entry; most also refuse the bind, but a look-up has no bind."""
    # Active Directory: bit 2 of userAccountControl, ACCOUNTDISABLE.
    control = _first(person, ("userAccountControl",))
    if control.isascii() and control.isdigit() and len(control) < 12 and int(control) & 2:
        return True
    if any(_first(person, (name,)).lower() == "true" for name in ("nsAccountLock", "loginDisabled", "pwdReset")):
        return True
    # draft-behera-ldap-password-policy §5.3.3: this value is "until an administrator unlocks it".
    return _first(person, ("pwdAccountLockedTime",)) == "000001010000Z"


def _texts(raw: Mapping[str, list[bytes]]) -> Attributes:
    found: dict[str, tuple[str, ...]] = {}
    for name, values in raw.items():
        found[name.lower()] = tuple(value.decode("utf-8", "replace") for value in values[:1000])
    return found


def _must_change(result: Mapping[str, Any]) -> bool:
    """Whether a bind was granted only for changing the password."""
    controls: Mapping[str, Any] = result.get("controls") or {}
    if _PASSWORD_EXPIRED in controls:
        return True
    value = (controls.get(_PASSWORD_POLICY) or {}).get("value")
    return isinstance(value, bytes) and policy_error(value) is not None


def policy_error(value: bytes) -> int | None:
    """The error in a password policy response; None without one, or when the value is not one.

    SEQUENCE { warning [0] CHOICE OPTIONAL, error [1] ENUMERATED OPTIONAL }, in BER with short lengths.
    """
    if len(value) < 2 or value[0] != 0x30 or value[1] != len(value) - 2:
        return None
    rest = value[2:]
    while len(rest) >= 2 and len(rest) >= 2 + rest[1]:
        if rest[0] == 0x81 and rest[1] == 1:
            return rest[2]
        rest = rest[2 + rest[1] :]
    return None


# --- what goes to the server ------------------------------------------------------------------------------------------


def _fill(template: str, values: Mapping[str, str], escape: Callable[[str], str]) -> str:
    """The template with its {marks} replaced, in one go: a mark inside a value stays text."""
    parts = template.split("{")
    text = parts[0]
    for part in parts[1:]:
        mark, _, rest = part.partition("}")
        text += escape(values.get(mark, "")) + rest
    return text


def _filter_value(text: str) -> str:
    """A value for a filter (RFC 4515 §3): every octet but letters and digits as \\xx, so none can end the value."""
    return "".join(chr(o) if chr(o).isalnum() and o < 128 else f"\\{o:02x}" for o in text.encode("utf-8"))


def _dn_value(text: str) -> str:
    """A value inside a DN (RFC 4514 §2.4), escaped in the same way."""
    return _filter_value(text)


def _nobody(base: str) -> str:
    return f"cn={secrets.token_hex(8)},{base}"


def _same_dn(one: str, other: str) -> bool:
    """Whether two DNs are the same but for letter case and the spaces around separators."""

    def plain(dn: str) -> list[str]:
        return ["=".join(half.strip() for half in part.split("=", 1)).casefold() for part in dn.split(",")]

    return plain(one) == plain(other)


def _call(function: Callable[..., T], *arguments: Any, **named: Any) -> T:
    """Calls the library. Raises BackendDown for whatever it raises.

    Besides its own exceptions these are those of its decoder: an answer that is no LDAP makes it stumble anywhere. Its
    complaint about a filter is passed on, since the settings are the cause.
    """
    try:
        return function(*arguments, **named)
    except Exception as error:
        if type(error).__name__ == "LDAPInvalidFilterError":
            raise
        detail = printable(str(error)) if "ldap3" in type(error).__module__ else type(error).__name__
        raise BackendDown(detail) from error


def _at_once(connection: Any) -> None:
    """Small packets go out at once: waiting for the other side to acknowledge costs 40 ms a check."""
    with contextlib.suppress(OSError):
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _close(connection: Any) -> None:
    """Ends a connection, in whatever state it is; the library leaves some sockets open."""
    taken = connection.socket
    try:
        connection.unbind()
    except Exception as error:
        log.debug("ldap: closing a connection: %s", type(error).__name__)
    if taken is not None:
        with contextlib.suppress(OSError):
            taken.close()


def _is_here(url: str) -> bool:
    return urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def _secret(config: AuthLdapConfig) -> str:
    if config.bind_password and config.bind_password_file:
        raise ConfigError("only one of auth_ldap.bind_password and auth_ldap.bind_password_file can be set")
    if not config.bind_password_file:
        return config.bind_password
    try:
        with Path(config.bind_password_file).open("rb") as stream:
            lines = stream.read(_SECRET_BYTES_MAX).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"auth_ldap.bind_password_file cannot be read: {type(error).__name__}") from None
    return lines[0] if lines else ""


# --- the library ------------------------------------------------------------------------------------------------------


def _verified_tls(context: ssl.SSLContext, host: str) -> Any:
    """TLS as Python's ssl does it, certificate and host name verified during the handshake, for ldap3's connections."""

    class Verified(ldap3.Tls):  # type: ignore[misc]
        def wrap_socket(self, connection: Any, do_handshake: bool = False) -> None:
            # ldap3's own way turns the check of the host name off and does it again by itself, after the handshake.
            _at_once(connection)
            connection.socket = context.wrap_socket(
                connection.socket, server_hostname=host, do_handshake_on_connect=do_handshake
            )

    return Verified(validate=ssl.CERT_REQUIRED)
