"""Settings: frozen dataclasses, read from an INI file and the environment.

The dataclasses are the one table: names, defaults, readers and the sentence that explains each setting stand here, and
`config.example.ini`, the error messages and the environment variables are made from them.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SYSTEM_PATH = Path("/etc/davenport/config.ini")
FILE_BYTES_MAX = 1 << 20
_ENV_PREFIX = "DAVENPORT_"
_KIB = 1024
_MIB = 1024 * _KIB
_GIB = 1024 * _MIB


class ConfigError(Exception):
    """A setting cannot be used. The message names the file and line, or the environment variable."""


# --- readers: text → value, raising ValueError with the end of the sentence "bad value for key: …" --------------------


@dataclass(frozen=True, slots=True)
class Reader:
    """How one kind of value is read and written. read: text → value or ValueError. show: value → text."""

    read: Callable[[str], Any]
    show: Callable[[Any], str] = str


def _number(low: int, high: int) -> Reader:
    def read(text: str) -> int:
        # Only ASCII digits: int() would also take "1_000" and digits of other scripts.
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise ValueError(f"a whole number from {low} to {high} is needed")
        value = int(text)
        if not low <= value <= high:
            raise ValueError(f"it must be from {low} to {high}")
        return value

    return Reader(read)


_UNITS = {"": 1, "b": 1, "kib": _KIB, "mib": _MIB, "gib": _GIB, "kb": 1000, "mb": 1000**2, "gb": 1000**3}


def _read_size(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        match = re.fullmatch(r"([0-9]{1,15})\s*([A-Za-z]*)", text)
        if match is None or match[2].lower() not in _UNITS:
            raise ValueError("a size such as 500 KiB, 10 MiB or 2 GiB is needed")
        value = int(match[1]) * _UNITS[match[2].lower()]
        if not low <= value <= high:
            raise ValueError(f"it must be from {_show_size(low)} to {_show_size(high)}")
        return value

    return read


def _show_size(value: int) -> str:
    for unit, name in ((_GIB, "GiB"), (_MIB, "MiB"), (_KIB, "KiB")):
        if value >= unit and value % unit == 0:
            return f"{value // unit} {name}"
    return str(value)


def _size(low: int, high: int) -> Reader:
    return Reader(_read_size(low, high), _show_size)


def _read_flag(text: str) -> bool:
    if text.lower() in ("yes", "true", "on", "1"):
        return True
    if text.lower() in ("no", "false", "off", "0"):
        return False
    raise ValueError("yes or no is needed")


_FLAG = Reader(_read_flag, lambda value: "yes" if value else "no")


def _read_text(text: str) -> str:
    return text


_TEXT = Reader(_read_text)
# A file: a relative one counts from the folder of the settings file (`_resolve`).
_PATH = Reader(_read_text, str)


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]


def _choices(*names: str) -> Reader:
    def read(text: str) -> tuple[str, ...]:
        words = tuple(_words(text))
        for word in words:
            if word not in names:
                raise ValueError(f"{word!r} is not known; {_or(names)}{_nearest(word, names)}")
        if not words or len(set(words)) != len(words):
            raise ValueError("one or more different names are needed")
        return words

    return Reader(read, " ".join)


def _choice(*names: str) -> Reader:
    def read(text: str) -> str:
        if text.lower() not in names:
            raise ValueError(f"{_or(names)} is needed{_nearest(text.lower(), names)}")
        return text.lower()

    return Reader(read)


def _read_host(text: str) -> str:
    if not text or len(text) > 255 or re.search(r"[\s/@]", text):
        raise ValueError("an address or host name to listen on is needed, such as 127.0.0.1, 0.0.0.0 or ::")
    return text.strip("[]")


def _read_networks(text: str) -> tuple[str, ...]:
    words = tuple(_words(text))
    for word in words:
        try:
            ipaddress.ip_network(word)
        except ValueError:
            raise ValueError(f"{word!r} is neither an IP address nor a network such as 10.0.0.0/8") from None
    return words


def _read_public_url(text: str) -> str:
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        port_ok = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        raise ValueError("an address such as https://dav.example.org is needed") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok or parts.username is not None:
        raise ValueError("an address such as https://dav.example.org is needed")
    if parts.path not in ("", "/") or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", text):
        raise ValueError("only scheme, host and port; a path belongs in server.base_path")
    return f"{parts.scheme}://{parts.netloc}"


def _read_base_path(text: str) -> str:
    path = text.rstrip("/")
    if path and not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", path):
        raise ValueError("a path such as /davenport is needed, or nothing")
    if any(name in (".", "..") for name in path.split("/")):
        raise ValueError("'.' and '..' cannot be part of it")
    return path


def _read_database_url(text: str) -> str:
    # The value may hold a password, so no message repeats it.
    scheme, found, rest = text.partition("://")
    if not found:
        raise ValueError("a URL is needed: sqlite:///davenport.db or postgresql://user@host/name")
    if scheme == "sqlite":
        if not rest.startswith("/") or rest in ("/", "/:memory:"):
            raise ValueError("a file is needed: sqlite:///davenport.db, or sqlite:////srv/davenport.db from the root")
        return text
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return f"postgresql+psycopg://{rest}"
    known = ("sqlite", "postgresql")
    raise ValueError(f"SQLite and PostgreSQL are known here{_nearest(scheme, known)}")


def _read_ldap_urls(text: str) -> tuple[str, ...]:
    needed = "addresses such as ldaps://ldap.example.org or ldap://10.0.0.5:389 are needed"
    words = tuple(_words(text))
    for word in words:
        try:
            parts = urlsplit(word)
            port_ok = parts.port is None or 0 < parts.port < 65536
        except ValueError:
            raise ValueError(needed) from None
        if parts.scheme not in ("ldap", "ldaps") or not parts.hostname or not port_ok or "@" in parts.netloc:
            raise ValueError(needed)
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"{needed}; the search base is auth_ldap.base")
    return words


def _read_template(*marks: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        for found in re.findall(r"\{([^{}]*)\}", text):
            if found not in marks:
                raise ValueError(f"{{{found}}} is not known; {_or(tuple(f'{{{mark}}}' for mark in marks))}")
        if text and not any(f"{{{mark}}}" in text for mark in marks):
            raise ValueError(f"{_or(tuple(f'{{{mark}}}' for mark in marks))} must stand in it")
        return text

    return read


def _read_web_url(text: str) -> str:
    # The value may hold a password by mistake, so no message repeats it.
    needed = "an address such as https://id.example.org/realms/home is needed"
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        port_ok = parts.port is None or 0 < parts.port < 65536
    except ValueError:
        raise ValueError(needed) from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok or parts.fragment:
        raise ValueError(needed)
    if "@" in parts.netloc or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"{needed}, without a name or password in it")
    # What goes to an authority decides who may sign in, and carries our secret: never over a network in clear.
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise ValueError("https is needed, except on this machine itself")
    return text


def _names(pattern: str, sentence: str, *, least: int = 0) -> Reader:
    def read(text: str) -> tuple[str, ...]:
        words = tuple(_words(text))
        if len(words) < least or len(words) > 20 or not all(re.fullmatch(pattern, word) for word in words):
            raise ValueError(sentence)
        return words

    return Reader(read, " ".join)


def _read_field_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]{1,100}", text):
        raise ValueError("the name of a header such as X-Remote-User is needed")
    return text


def _read_domain(text: str) -> str:
    if text and not re.fullmatch(r"[^\s@/\\]{1,253}", text):
        raise ValueError("a domain such as example.org is needed")
    return text.lower()


def _read_service(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", text) or text in (".", ".."):
        raise ValueError("the name of a file in /etc/pam.d is needed")
    return text


_SQL_PARAMETERS = ("user", "local", "domain")
_MAIL_STACK = _choice("postfixadmin", "iredmail", "mailcow", "modoboa", "mailinabox", "mailu", "vimbadmin")


def _read_mail_database_url(text: str) -> str:
    # The value may hold a password, so no message repeats it.
    if not text:
        return ""
    scheme, found, rest = text.partition("://")
    kind = scheme.partition("+")[0]
    if not found:
        raise ValueError("a URL is needed: sqlite:////srv/mail/users.sqlite, postgresql://… or mysql://…")
    if kind == "sqlite":
        if not re.fullmatch(r"/[^?#]+", rest) or rest == "/:memory:" or rest.startswith("/file:"):
            raise ValueError("a file is needed: sqlite:////srv/mail/users.sqlite; it is opened for reading only anyway")
        return f"sqlite://{rest}"
    drivers = {
        "postgresql": "postgresql+psycopg",
        "postgres": "postgresql+psycopg",
        "mysql": "mysql+pymysql",
        "mariadb": "mysql+pymysql",
    }
    if kind not in drivers:
        raise ValueError(f"SQLite, PostgreSQL, MySQL and MariaDB are known here{_nearest(kind, ['sqlite', *drivers])}")
    return f"{drivers[kind]}://{rest}"


def _read_query(text: str) -> str:
    if not text:
        return ""
    if not re.match(r"(?i)(select|with)\b", text) or ";" in text:
        raise ValueError("one SELECT statement without a semicolon is needed")
    names = re.findall(r"(?<![:\w\\]):(\w+)(?!:)", text)
    for name in names:
        if name not in _SQL_PARAMETERS:
            raise ValueError(f":{name} is not known; {_or(tuple(f':{known}' for known in _SQL_PARAMETERS))}")
    if not names:
        raise ValueError(f"{_or(tuple(f':{known}' for known in _SQL_PARAMETERS))} must stand in it")
    return text


def _read_delimiters(text: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+/=?^_`{|}~.-]{0,4}", text):
        raise ValueError("up to four characters such as + or - are needed, or nothing")
    return text


def _read_listen(text: str) -> str:
    if not text or text.startswith("/") or (text.startswith("unix:") and len(text) > 5):
        return text.removeprefix("unix:")
    host, found, port = text.rpartition(":")
    if not found or not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError("host:port such as 127.0.0.1:5224, or the path of a socket such as /run/davenport/lmtp.sock")
    return f"{_read_host(host)}:{port}" if ":" not in host.strip("[]") else f"[{_read_host(host)}]:{port}"


def _read_strip(text: str) -> tuple[str, ...]:
    words = tuple(_words(text.lower()))
    if words == ("nothing",):
        return ()
    for word in words:
        if word not in ("alarms", "attachments", "todos"):
            raise ValueError(f"{word!r} is not known; alarms, attachments, todos or nothing")
    if not words or len(set(words)) != len(words):
        raise ValueError("one or more of alarms, attachments and todos are needed, or nothing")
    return words


def _read_folders(text: str) -> tuple[str, ...]:
    folders = tuple(word.strip() for word in text.split(",") if word.strip())
    if not folders or len(folders) > 20 or any(len(folder) > 200 or not folder.isprintable() for folder in folders):
        raise ValueError("one or more folders such as INBOX are needed, with commas between")
    return folders


def _read_mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError("permissions such as 0660 are needed")
    return int(text, 8)


def _or(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _nearest(word: str, names: tuple[str, ...] | list[str]) -> str:
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _option(default: Any, reader: Reader, doc: str) -> Any:
    return field(default=default, metadata={"reader": reader, "doc": doc})


# --- the settings ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Where the server listens and how it is reached."""

    host: str = _option(
        "127.0.0.1", Reader(_read_host), "Address to listen on. 127.0.0.1: this machine only; 0.0.0.0 or :: everywhere."
    )
    port: int = _option(5232, _number(0, 65535), "Port to listen on; 0 takes any free one and prints it.")
    workers: int = _option(1, _number(1, 256), "Worker processes over the same database; about one for each core.")
    threads: int = _option(16, _number(1, 256), "Requests that one worker handles at the same time.")
    public_url: str = _option(
        "",
        Reader(_read_public_url),
        "Address that clients type, such as https://dav.example.org. Empty: taken from each request.",
    )
    trusted_proxies: tuple[str, ...] = _option(
        ("127.0.0.1", "::1"),
        Reader(_read_networks, " ".join),
        "Reverse proxies (addresses or networks) whose X-Forwarded-For, -Host and -Proto are believed. Empty: none.",
    )
    base_path: str = _option(
        "", Reader(_read_base_path), "Path below which a proxy serves Davenport, such as /davenport. Empty: the root."
    )
    certificate: str = _option(
        "", _TEXT, "PEM file with the certificate chain, to serve https without a proxy; relative to this file."
    )
    key: str = _option("", _TEXT, "PEM file with the private key of the certificate; relative to this file.")


@dataclass(frozen=True, slots=True)
class DatabaseConfig:
    """Where everything is kept."""

    url: str = _option(
        "sqlite:///davenport.db",
        Reader(_read_database_url),
        "sqlite:///davenport.db (relative to this file; four slashes: from the root) or postgresql://user@host/name.",
    )
    files: str = _option(
        "",
        _TEXT,
        "Folder for the bodies of large files; relative to this file. Empty: beside the database file.",
    )


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Who may sign in."""

    backends: tuple[str, ...] = _option(
        ("local",),
        _choices("local", "sql", "passwd-file", "dovecot", "imap", "smtp", "ldap", "oauth2", "proxy", "pam"),
        "Where passwords are checked, in this order. local: this database; the others have a section each, [auth_…].",
    )
    create_accounts: bool = _option(
        True, _FLAG, "Whoever signs in by another back end than local for the first time gets an account here."
    )
    default_domain: str = _option(
        "",
        Reader(lambda text: _read_login_domain(text)),
        "Domain that is added to a login without one, such as example.org.",
    )
    strip_domain: str = _option(
        "",
        Reader(lambda text: _read_login_domain(text)),
        "Domain that is cut off the names of accounts: the rest is unique.",
    )
    recipient_delimiter: str = _option(
        "+",
        Reader(lambda text: _read_delimiters(text)),
        "Characters that begin a tag in a mail address: alice+work@ is alice@. As in the mail server; empty: none.",
    )
    dav_requires_app_password: bool = _option(
        False, _FLAG, "Devices must use app passwords; the main password is refused for calendars, contacts and files."
    )
    allow_insecure: bool = _option(
        False,
        _FLAG,
        "Take passwords over plain http from other machines. Without it only https, loopback and proxies saying https.",
    )
    cache_seconds: int = _option(
        300,
        _number(0, 86400),
        "How long a verified password is remembered in memory; changes in local and sql count at once. 0: never.",
    )
    grace_seconds: int = _option(
        86_400,
        _number(0, 2_592_000),
        "How much longer a remembered password is taken while the back end that verified it cannot be reached.",
    )
    hash_threads: int = _option(2, _number(1, 64), "Passwords that one worker hashes at the same time.")
    hash_queue: int = _option(
        200, _number(1, 10_000), "Passwords that may wait to be hashed; more are told to come back."
    )
    guard_free_failures: int = _option(
        5, _number(1, 1000), "Wrong passwords of one login from one network before the next ones have to wait."
    )
    guard_delay_max_seconds: int = _option(
        30, _number(0, 600), "Longest time that a sign-in waits after many wrong passwords; it doubles up to this."
    )
    realm: str = _option(
        "Davenport", Reader(lambda text: _read_realm(text)), "Name that clients show when they ask for the password."
    )


def _read_login_domain(text: str) -> str:
    domain = text.strip().removeprefix("@").casefold()
    if domain and not re.fullmatch(r"[^\s@/:%<>\"\\]{1,253}", domain):
        raise ValueError("a domain such as example.org is needed, or nothing")
    return domain


def _read_realm(text: str) -> str:
    if not re.fullmatch(r"[ !#-\[\]-~]{1,100}", text):
        raise ValueError("printable ASCII without quotes and backslashes is needed, at most 100 characters")
    return text


JWT_ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
_ATTRIBUTES = _names(r"[A-Za-z][A-Za-z0-9;-]{0,63}", "names of attributes are needed, such as mail uid", least=1)
_CLAIMS = _names(r"[A-Za-z0-9_.:/-]{1,128}", "names of claims are needed, such as email preferred_username")


@dataclass(frozen=True, slots=True)
class AuthLdapConfig:
    """The directory that is asked when auth.backends names ldap."""

    url: tuple[str, ...] = _option(
        (),
        Reader(_read_ldap_urls, " ".join),
        "ldaps://host or ldap://host; several are tried in this order.",
    )
    start_tls: bool = _option(True, _FLAG, "Encrypt ldap:// by StartTLS before anything is said. ldaps:// always is.")
    ca_file: str = _option(
        "", _PATH, "PEM file with the authority that signed the directory's certificate. Empty: the system's."
    )
    bind_dn: str = _option("", _TEXT, "Who searches: a DN that may read people. Empty: anonymously.")
    bind_password: str = _option("", _TEXT, "The password of bind_dn.")
    bind_password_file: str = _option("", _PATH, "File whose first line is the password of bind_dn.")
    base: str = _option("", _TEXT, "DN below which people are searched. Empty: no search; user_dn is needed.")
    filter: str = _option(
        "(|(mail={login})(uid={login}))",
        Reader(_read_template("login", "local", "domain")),
        "How a person is found: {login} as typed, {local} and {domain} before and after its @.",
    )
    user_dn: str = _option(
        "",
        Reader(_read_template("login", "local", "domain")),
        "DN (or another name to bind with) made from the login instead of a search: uid={local},ou=people,dc=example.",
    )
    name_attributes: tuple[str, ...] = _option(
        ("mail", "uid"), _ATTRIBUTES, "The account's name is the value of the first of these that a person has."
    )
    address_attributes: tuple[str, ...] = _option(
        ("mail", "mailAlternateAddress", "proxyAddresses"),
        _ATTRIBUTES,
        "Where addresses are. The primary one is that with SMTP: before it, else the first.",
    )
    display_name_attributes: tuple[str, ...] = _option(
        ("displayName", "cn"), _ATTRIBUTES, "Name to show, from the first of these that a person has."
    )
    group: str = _option("", _TEXT, "DN of a group; only its members may sign in. Empty: everybody who is found.")
    group_filter: str = _option(
        "(|(member={dn})(uniqueMember={dn})(memberUid={uid}))",
        Reader(_read_template("dn", "uid", "name")),
        "What of the group proves a member, for directories without memberOf: {dn}, {uid} or {name} of the person.",
    )
    group_accounts: str = _option(
        "",
        Reader(_read_template("cn")),
        "What the group account of a group there is called here, such as {cn}@example.org. Empty: no groups.",
    )
    group_base: str = _option(
        "",
        _TEXT,
        "DN below which groups are searched by group_filter, for directories without memberOf. Empty: no search.",
    )
    timeout_seconds: int = _option(5, _number(1, 60), "How long one step (connect, search, bind) may take.")
    threads: int = _option(8, _number(1, 64), "Checks that one worker does at the same time.")


@dataclass(frozen=True, slots=True)
class AuthOAuth2Config:
    """The authority whose tokens (Authorization: Bearer) are taken when auth.backends names oauth2."""

    issuer: str = _option(
        "", Reader(_read_web_url), "Address of the authority, as in its tokens: https://id.example.org/realms/home."
    )
    method: str = _option(
        "jwt",
        _choice("jwt", "introspection"),
        "jwt: tokens are verified with the issuer's published keys. introspection: the authority is asked (RFC 7662).",
    )
    audience: tuple[str, ...] = _option(
        (),
        _names(r"[!-~]{1,255}", "names without spaces are needed"),
        "Tokens must be made for one of these (claim aud). jwt: needed.",
    )
    algorithms: tuple[str, ...] = _option(
        ("RS256", "ES256", "EdDSA"), _choices(*JWT_ALGORITHMS), "Signatures that are believed."
    )
    scope: str = _option(
        "", Reader(lambda text: _read_scope(text)), "A scope that tokens must have. Empty: none is needed."
    )
    jwks_url: str = _option(
        "", Reader(_read_web_url), "Where the keys are. Empty: as the issuer's openid-configuration says."
    )
    introspection_url: str = _option(
        "", Reader(_read_web_url), "Where tokens are asked about. Empty: as the issuer's openid-configuration says."
    )
    client_id: str = _option("", _TEXT, "Our name at the authority, for introspection.")
    client_secret: str = _option("", _TEXT, "Our secret at the authority.")
    client_secret_file: str = _option("", _PATH, "File whose first line is our secret.")
    name_claims: tuple[str, ...] = _option(
        ("email",),
        _CLAIMS,
        "The account's name is the first of these that a token has; an email that is not verified is passed over.",
    )
    address_claims: tuple[str, ...] = _option(("email",), _CLAIMS, "Where the person's addresses are.")
    display_name_claims: tuple[str, ...] = _option(("name",), _CLAIMS, "Where the name to show is.")
    as_password: bool = _option(
        False,
        _FLAG,
        "Take a token in place of a password too, for clients without Bearer. With introspection everything that is "
        "typed as password goes to the authority.",
    )
    ca_file: str = _option(
        "", _PATH, "PEM file with the authority that signed the issuer's certificate. Empty: the system's."
    )
    timeout_seconds: int = _option(5, _number(1, 60), "How long the authority may take to answer.")


@dataclass(frozen=True, slots=True)
class AuthProxyConfig:
    """Sign-in by a reverse proxy, when auth.backends names proxy: it says who it is in a header.

    Believed only from server.trusted_proxies; the proxy must remove the header from what clients send.
    """

    header: str = _option("X-Remote-User", Reader(_read_field_name), "The header with the name of who signed in there.")


@dataclass(frozen=True, slots=True)
class AuthPamConfig:
    """The system's own accounts, by PAM, when auth.backends names pam."""

    service: str = _option("davenport", Reader(_read_service), "The file in /etc/pam.d that says how.")
    domain: str = _option(
        "",
        Reader(_read_domain),
        "Domain of the accounts: alice@DOMAIN is the system's alice, and other domains are not asked about. Empty: "
        "logins go to PAM as they are.",
    )
    first_uid: int = _option(1000, _number(0, 2**31), "Accounts with smaller numbers, such as root, cannot sign in.")
    timeout_seconds: int = _option(20, _number(1, 120), "How long PAM may take.")
    threads: int = _option(8, _number(1, 64), "Checks that one worker does at the same time.")


def _read_scope(text: str) -> str:
    # RFC 6749 §3.3: a scope-token.
    if not re.fullmatch(r"[!#-\[\]-~]{0,255}", text):
        raise ValueError("one scope without spaces and quotes is needed")
    return text


def _read_socket(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if "/" not in text and colon and host:
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 65536 or re.search(r"[\s@]", text):
            raise ValueError("host:port is needed, such as mail.example.org:12345")
    elif text and text[0] != "/":
        raise ValueError("a path from the root is needed, such as /run/dovecot/davenport-auth, or host:port")
    return text


def _read_word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise ValueError("a short word is needed, such as davenport or imap")
    return text


def _read_server(text: str) -> str:
    if text and (len(text) > 255 or not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", text)):
        raise ValueError("a host name or address is needed, such as mail.example.org")
    return text.strip("[]")


@dataclass(frozen=True, slots=True)
class AuthDovecotConfig:
    """Back end "dovecot": Dovecot's authentication sockets. docs/mail.md shows Dovecot's side."""

    socket: str = _option(
        "/run/dovecot/davenport-auth",
        Reader(_read_socket),
        "Auth-client socket: its path, or host:port in a network that nobody else can read.",
    )
    userdb_socket: str = _option(
        "",
        Reader(_read_socket),
        "Userdb socket, to know who exists, names and addresses without a password. Empty: none.",
    )
    service: str = _option(
        "davenport", Reader(_read_word), "Service that Dovecot is told, which its queries can look at (%s)."
    )
    timeout_seconds: int = _option(
        30, _number(1, 120), "How long Dovecot may take; it answers wrong passwords seconds late on purpose."
    )


@dataclass(frozen=True, slots=True)
class MailLoginConfig:
    """What signing in at a mail server needs, whatever it speaks."""

    host: str = _option("", Reader(_read_server), "The server, such as mail.example.org.")
    port: int = _option(0, _number(0, 65535), "Its port; 0: the usual one.")
    tls: str = _option(
        "tls",
        _choice("tls", "starttls", "none"),
        "tls from the first byte, starttls, or none, which only this machine itself (127.0.0.1, ::1) allows.",
    )
    ca_file: str = _option(
        "", _PATH, "PEM file of the authority that signed the server's certificate. Empty: the system's."
    )
    certificate_name: str = _option(
        "", Reader(_read_server), "Name that the certificate must have, when it is not host's."
    )
    timeout_seconds: int = _option(30, _number(1, 120), "How long one sign-in there may take, with all its waiting.")
    connections: int = _option(20, _number(1, 200), "Most connections at the same time, in each worker.")
    lower_case: bool = _option(True, _FLAG, "Letter case does not count there: ALICE@ and alice@ are one account.")


@dataclass(frozen=True, slots=True)
class AuthImapConfig(MailLoginConfig):
    """Back end "imap": signing in at an IMAP server, for each password that is not remembered."""

    port: int = _option(0, _number(0, 65535), "Its port; 0: 993 with tls, else 143.")
    forward_client: bool = _option(
        False, _FLAG, "Tell the server the client's address (IMAP ID), as Dovecot's login_trusted_networks allows."
    )


@dataclass(frozen=True, slots=True)
class AuthSmtpConfig(MailLoginConfig):
    """Back end "smtp": signing in at a submission server, for each password that is not remembered."""

    port: int = _option(0, _number(0, 65535), "Its port; 0: 465 with tls, else 587.")


def _read_mail_address(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,253}", text):
        raise ValueError("a mail address such as invites@example.org is needed")
    return text


@dataclass(frozen=True, slots=True)
class SmtpConfig:
    """The mail server that takes invitations for people elsewhere, see docs/mail.md. Without a host none are sent."""

    host: str = _option("", Reader(_read_server), "The submission server, such as mail.example.org. Empty: no mail.")
    port: int = _option(0, _number(0, 65535), "Its port; 0: 587 with starttls, 465 with tls, 25 with none.")
    tls: str = _option(
        "starttls",
        _choice("starttls", "tls", "none"),
        "starttls, tls from the first byte, or none; with a password none is for this machine (127.0.0.1, ::1) only.",
    )
    user: str = _option("", _TEXT, "Login there. Empty: the server takes mail from this machine without one.")
    password: str = _option("", _TEXT, "Its password.")
    password_file: str = _option("", _PATH, "File with the password on its first line, instead of smtp.password.")
    ca_file: str = _option(
        "", _PATH, "PEM file of the authority that signed the server's certificate. Empty: the system's."
    )
    certificate_name: str = _option(
        "", Reader(_read_server), "Name that the certificate must have, when it is not host's."
    )
    timeout_seconds: int = _option(30, _number(5, 600), "How long the server may take over one mail.")
    connections: int = _option(2, _number(1, 20), "Most connections at the same time, in each worker.")


@dataclass(frozen=True, slots=True)
class MailConfig:
    """Invitations, changes and answers that go out as mail, see docs/mail.md."""

    from_address: str = _option(
        "",
        Reader(_read_mail_address),
        "Address that Davenport itself sends from, such as invites@example.org; needed when smtp.host is set.",
    )
    domains: tuple[str, ...] = _option(
        (),
        _names(r"[^\s@/\\]{1,253}", "domains such as example.org are needed"),
        "Domains that the mail server signs for: organizers there are the From. Empty: that of mail.from_address.",
    )
    language: str = _option(
        "en", _choice("en", "de", "es", "fr"), "Language of mails to people of whom none is known: en, de, es or fr."
    )
    settle_seconds: int = _option(
        45, _number(0, 3600), "How long an invitation waits for the next change, so that three saves are one mail."
    )
    retry_days: int = _option(
        2, _number(1, 30), "Days for which a mail is tried while the mail server does not take it."
    )
    per_event_hour: int = _option(100, _number(1, 100_000), "Most mails of one event within an hour; the others wait.")
    per_account_hour: int = _option(
        1000, _number(1, 1_000_000), "Most mails of one account within an hour; the others wait."
    )
    bounces_before_dead: int = _option(
        3, _number(1, 1000), "Mails that came back from an address before no more are sent to it."
    )
    links: bool = _option(
        True, _FLAG, "Mails have links with which people answer on a small page; needs server.public_url."
    )
    link_days: int = _option(180, _number(1, 3650), "Days for which such a link can be used after it was sent.")


@dataclass(frozen=True, slots=True)
class MailInConfig:
    """Answers and invitations that come in as mail, see docs/mail.md: by LMTP, from a pipe, or from a mailbox."""

    lmtp: str = _option(
        "",
        Reader(_read_listen),
        "Where the mail server brings mail by LMTP: host:port on this machine, or a socket's path. Empty: nowhere.",
    )
    socket: str = _option(
        "",
        _PATH,
        "Socket at which the running server takes what `davenport deliver` is given. Empty: that works by itself.",
    )
    socket_mode: int = _option(0o660, Reader(_read_mode, lambda value: f"{value:04o}"), "Permissions of these sockets.")
    authserv_id: tuple[str, ...] = _option(
        (),
        _names(r"[^\s;]{1,253}", "names such as mail.example.org are needed"),
        "Name in the Authentication-Results of our mail server; it must remove such headers from outside. "
        "Empty: none count.",
    )
    strictness: str = _option(
        "normal",
        _choice("strict", "normal", "trusting"),
        "strict: only senders that are proven; normal: not those that fail the proof; trusting: the mail server has "
        "refused forgeries already.",
    )
    unknown_senders: str = _option(
        "keep",
        _choice("keep", "add", "ignore"),
        "Invitations of people of whom nothing is known: keep aside for the account, add to its calendar, or ignore.",
    )
    max_bytes: int = _option(_MIB, _size(16 * _KIB, 64 * _MIB), "Largest mail that is looked at.")
    components: int = _option(100, _number(1, 10_000), "Most components in the calendar of a mail.")
    kept_messages: int = _option(
        200, _number(0, 100_000), "Most mails kept aside for one account; then the oldest ones go."
    )
    kept_days: int = _option(60, _number(1, 3650), "Days for which what could not be used is kept aside.")
    per_sender_hour: int = _option(
        200, _number(1, 1_000_000), "Most messages of one sender to one account within an hour; others are put off."
    )
    imap_host: str = _option("", Reader(_read_server), "IMAP server with a mailbox to watch. Empty: none is watched.")
    imap_port: int = _option(0, _number(0, 65535), "Its port; 0: 993 with tls, else 143.")
    imap_tls: str = _option(
        "tls",
        _choice("tls", "starttls", "none"),
        "tls from the first byte, starttls, or none, which only this machine itself (127.0.0.1, ::1) allows.",
    )
    imap_user: str = _option("", _TEXT, "Login there.")
    imap_password: str = _option("", _TEXT, "Its password.")
    imap_password_file: str = _option("", _PATH, "File with the password on its first line, instead of imap_password.")
    imap_ca_file: str = _option(
        "", _PATH, "PEM file of the authority that signed the server's certificate. Empty: the system's."
    )
    imap_certificate_name: str = _option(
        "", Reader(_read_server), "Name that the certificate must have, when it is not imap_host's."
    )
    imap_folders: tuple[str, ...] = _option(
        ("INBOX",),
        Reader(lambda text: _read_folders(text), ", ".join),
        "Folders that are watched, with commas between.",
    )
    imap_delete: bool = _option(
        False, _FLAG, "Delete there what was used; else it is marked with $Davenport, or as read, and stays."
    )


@dataclass(frozen=True, slots=True)
class AuthSqlConfig:
    """Back end "sql": the mail server's own table of mailboxes, which is only ever read. docs/mail.md has examples."""

    url: str = _option(
        "",
        Reader(_read_mail_database_url),
        "The mail server's database: sqlite:////srv/mail/users.sqlite, postgresql://user:password@host/name or mysql://….",
    )
    preset: str = _option(
        "",
        Reader(lambda text: _MAIL_STACK.read(text) if text else ""),
        "Whose tables: postfixadmin, iredmail, mailcow, modoboa, mailinabox, mailu or vimbadmin. Empty: own queries.",
    )
    password_query: str = _option(
        "",
        Reader(_read_query),
        "Own query for :user (or :local and :domain), columns user and password; several rows: each is tried.",
    )
    addresses_query: str = _option(
        "", Reader(_read_query), "Own query for further addresses of :user, the first column; replaces the preset's."
    )
    name_query: str = _option("", Reader(_read_query), "Own query for the name that people read, the first column.")
    default_scheme: str = _option(
        "",
        _TEXT,
        "Scheme of hashes that name none: CRYPT, SSHA512, PLAIN-MD5 or others. Empty: the preset's, or CRYPT.",
    )
    lower_case: bool = _option(True, _FLAG, "Logins are looked up in lower case, as most mail servers have them.")
    group_accounts: bool = _option(
        False,
        _FLAG,
        "Make a group account of each alias with several targets that are all accounts here; looked up once an hour.",
    )
    timeout_seconds: int = _option(5, _number(1, 60), "How long the database may take to answer.")


@dataclass(frozen=True, slots=True)
class AuthPasswdFileConfig:
    """Back end "passwd-file": a file with a line for each person, of Dovecot, docker-mailserver or htpasswd."""

    file: str = _option(
        "",
        _PATH,
        "Lines user:hash[:…:extra fields] (Dovecot, htpasswd) or user|hash (docker-mailserver), re-read on change.",
    )
    aliases_file: str = _option(
        "", _PATH, "Lines alias target[,target], as docker-mailserver's postfix-virtual.cf: further addresses."
    )
    default_scheme: str = _option("CRYPT", _TEXT, "Scheme of hashes that name none.")
    lower_case: bool = _option(True, _FLAG, "Logins that are not found as sent are looked up in lower case.")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request or account may ask for; more is refused, with the RFC's condition where it has one."""

    xml_bytes: int = _option(2 * _MIB, _size(64 * _KIB, 64 * _MIB), "Largest XML request body.")
    xml_depth: int = _option(64, _number(16, 512), "How deep elements of a request body may nest.")
    xml_elements: int = _option(100_000, _number(1000, 10_000_000), "Most elements in a request body.")
    resource_bytes: int = _option(
        10 * _MIB,
        _size(16 * _KIB, 256 * _MIB),
        "Largest calendar object or contact; announced to clients as max-resource-size.",
    )
    resource_lines: int = _option(
        100_000,
        _number(1000, 10_000_000),
        "Most lines of a calendar object; four times as many (also of a contact) when the parts of folded ones count.",
    )
    contact_lines: int = _option(20_000, _number(1000, 10_000_000), "Most lines of a contact.")
    resource_parameters: int = _option(
        200_000,
        _number(1000, 10_000_000),
        "Most parameters, and values in lists of them, of all lines of a calendar object or contact.",
    )
    rules: int = _option(100, _number(1, 10_000), "Most recurrence rules (RRULE and EXRULE) in one calendar object.")
    dates: int = _option(
        5000,
        _number(100, 1_000_000),
        "Most dates that one calendar object lists: RDATE, EXDATE, FREEBUSY, and changed occurrences.",
    )
    time_zones: int = _option(100, _number(10, 10_000), "Most time zones that one calendar object names or defines.")
    observances: int = _option(
        1000, _number(10, 1000), "Most STANDARD and DAYLIGHT blocks of the time zones that one calendar object defines."
    )
    file_bytes: int = _option(2 * _GIB, _size(_KIB, 1024 * _GIB), "Largest file under /dav/files/.")
    multiget_hrefs: int = _option(5000, _number(100, 1_000_000), "Most resources that one multiget report may name.")
    query_results: int = _option(
        50_000, _number(100, 10_000_000), "Most results of one query; the answer is then marked as cut short."
    )
    instances: int = _option(
        50_000,
        _number(100, 1_000_000),
        "Most occurrences of one recurring object that are looked at; announced as max-instances.",
    )
    attendees: int = _option(
        1000, _number(10, 100_000), "Most attendees of one event; announced as max-attendees-per-instance."
    )
    expand_instances: int = _option(
        25_000, _number(100, 1_000_000), "Most occurrences (or KiB of them) that one report writes out when expanding."
    )
    recurrence_steps: int = _option(
        100_000, _number(1000, 100_000_000), "Most steps of computing one recurrence rule in one request."
    )
    answer_bytes: int = _option(
        256 * _MIB, _size(_MIB, 16 * _GIB), "Largest answer that lists properties or the content of many resources."
    )
    infinity_members: int = _option(
        10_000, _number(100, 10_000_000), "Most members listed by a PROPFIND with Depth: infinity."
    )
    collections: int = _option(500, _number(10, 100_000), "Most calendars, address books or folders of one account.")
    sync_page: int = _option(
        100_000,
        _number(100, 1_000_000),
        "Most changes in one answer to sync-collection; clients ask again for the rest.",
    )
    properties: int = _option(500, _number(10, 100_000), "Most properties that clients may keep on one resource.")
    property_bytes: int = _option(
        64 * _KIB, _size(_KIB, 16 * _MIB), "Largest property that clients may keep on a resource."
    )
    lock_seconds: int = _option(86_400, _number(60, 31_536_000), "Longest time-out of a WebDAV lock.")
    locks: int = _option(1000, _number(10, 1_000_000), "Most WebDAV locks of one account at the same time.")
    body_memory: int = _option(
        256 * _MIB,
        _size(16 * _MIB, 1024 * _GIB),
        "Most bytes of request bodies that one worker holds in memory; larger ones wait for room, then get 503.",
    )
    body_seconds: int = _option(3600, _number(5, 86_400), "Time in which the body of a request must have arrived.")
    spool_bytes: int = _option(
        _GIB, _size(_MIB, 1024 * _GIB), "Most bytes of long answers that wait on disk for slow clients, in each worker."
    )
    stall_seconds: int = _option(
        60, _number(1, 86_400), "How long a long answer may find no room there before it is cut off."
    )
    search_results: int = _option(100, _number(1, 10_000), "Most accounts found by one search of the directory.")
    depth: int = _option(50, _number(1, 1000), "How deep folders may nest under /dav/files/.")


@dataclass(frozen=True, slots=True)
class LogConfig:
    """What is written to standard error."""

    level: str = _option(
        "info",
        _choice("error", "warning", "info", "debug", "trace"),
        "error, warning, info (one line a request), debug, or trace (all headers, credentials masked).",
    )


@dataclass(frozen=True, slots=True)
class HistoryConfig:
    """What is kept of changed and deleted things."""

    days: int = _option(30, _number(0, 36_500), "Days for which older versions and deleted things are kept.")


@dataclass(frozen=True, slots=True)
class MailAccountsConfig:
    """The accounts here for a mail server on this machine, see docs/mail.md; with PostgreSQL it reads the views."""

    file: str = _option(
        "",
        _PATH,
        "SQLite file that is kept equal to the views mail_users and mail_addresses; its folder must be there.",
    )


@dataclass(frozen=True, slots=True)
class DirectoryConfig:
    """What accounts see of each other."""

    visible: bool = _option(True, _FLAG, "Accounts may find each other's names and addresses, to invite each other.")


@dataclass(frozen=True, slots=True)
class FreeBusyConfig:
    """Addresses that show when somebody is busy, to people without an account; made by `davenport freebusy publish`."""

    days_back: int = _option(7, _number(0, 366), "How many days before today they show.")
    days_ahead: int = _option(60, _number(1, 1000), "How many days from today on they show.")
    kinds: bool = _option(False, _FLAG, "Tell tentative times and those outside of working hours apart from busy ones.")


@dataclass(frozen=True, slots=True)
class SchedulingConfig:
    """Invitations: what happens when a meeting with guests is stored, changed or removed."""

    enabled: bool = _option(
        True, _FLAG, "Tell guests here of invitations, changes and answers. Without it nothing is sent to anybody."
    )
    recognise_imports: bool = _option(
        True, _FLAG, "Take a meeting whose guests were told elsewhere (an upload, a migration) as told already."
    )
    reply_on_calendar_delete: bool = _option(
        False, _FLAG, "Deleting a whole calendar also declines the invitations in it, as RFC 6638 wants it."
    )
    party_crashers: str = _option(
        "ask",
        _choice("ignore", "ask", "add"),
        "Somebody who is no guest answers an invitation: ignore, ask the organizer, or add to the guests.",
    )
    hide_cancelled: bool = _option(
        False, _FLAG, "Take what is called off out of the calendars of its guests, instead of showing it as cancelled."
    )
    like_calendar_server: bool = _option(
        False,
        _FLAG,
        "Do as Apple's Calendar Server where the standards leave room: an invitation without answer leaves its guest "
        "free, each change raises SEQUENCE and is announced to all guests here, instances by themselves.",
    )
    group_members: int = _option(
        100,
        _number(0, 1000),
        "Who invites a group invites its members, up to so many. 0, and groups with more: the group's own calendar.",
    )
    inbox_days: int = _option(
        60, _number(1, 3650), "Days for which a message stays in the scheduling inbox that no program has removed."
    )


@dataclass(frozen=True, slots=True)
class SharingConfig:
    """What others see of what is shared with them, or of what they keep for somebody."""

    administrators: str = _option(
        "none",
        _choice("none", "read", "all"),
        "What administrators may do in everybody's homes: nothing, read, or all that the owner may.",
    )
    private: str = _option(
        "hidden",
        _choice("hidden", "busy"),
        "What others see of an event marked PRIVATE: nothing at all, or a busy time without any words.",
    )
    confidential: str = _option(
        "busy", _choice("busy", "full"), "What others see of an event marked CONFIDENTIAL: a busy time, or all of it."
    )
    delegates_see_private: bool = _option(
        False, _FLAG, "Delegates see private and confidential events as the one does for whom they act."
    )
    accept: str = _option(
        "ask",
        _choice("ask", "at-once"),
        "What somebody shares is there for the other after a yes, or at once: where programs are used that cannot ask.",
    )
    everybody: bool = _option(True, _FLAG, "Anybody may share a collection with everybody who signs in.")
    outsiders: bool = _option(
        True, _FLAG, "Who is invited by an e-mail address that is nobody's here is sent the address of a feed."
    )
    people: int = _option(200, _number(1, 10_000), "Most people, groups and addresses that share one collection.")
    notices: int = _option(200, _number(1, 10_000), "Most notices of invitations that are kept for one account.")


@dataclass(frozen=True, slots=True)
class FeedsConfig:
    """Calendars and address books that anybody may read at a secret address (published_), outside ones (followed_)."""

    published: bool = _option(True, _FLAG, "Collections may be published; without it every published address is void.")
    published_most: int = _option(20, _number(1, 1000), "Most addresses that one collection may have.")
    published_refresh_minutes: int = _option(
        60, _number(5, 10_080), "How often a program that follows a published calendar is told to ask again."
    )
    published_requests: int = _option(
        600, _number(10, 1_000_000), "Most requests a minute from one network for published addresses, to each worker."
    )
    published_downloads: int = _option(
        60, _number(1, 1_000_000), "How many of those may be sent the whole; one that has the newest is not counted."
    )
    published_memory: int = _option(
        16 * _MIB, _size(0, 16 * _GIB), "Bytes of published calendars, compressed, that each worker keeps ready."
    )
    published_page: bool = _option(True, _FLAG, "A published address also has a page for people.")
    published_page_weeks: int = _option(6, _number(1, 53), "How many weeks that page shows at once.")
    published_page_events: int = _option(500, _number(1, 5000), "Most events, or contacts, that it shows at once.")
    followed: bool = _option(
        True, _FLAG, "Calendars elsewhere may be followed: the server fetches them. Without it they stay as they are."
    )
    followed_most: int = _option(50, _number(1, 10_000), "Most calendars that one account may follow.")
    followed_minutes: int = _option(
        120, _number(5, 10_080), "How often they are fetched, where neither their owner nor the calendar itself says."
    )
    followed_minutes_least: int = _option(15, _number(1, 10_080), "Never more often than that, whoever asks for it.")
    followed_bytes: int = _option(10 * _MIB, _size(1024, _GIB), "Largest calendar that is taken, uncompressed.")
    followed_events: int = _option(20_000, _number(1, 1_000_000), "Most events and tasks that are taken of one.")
    followed_seconds: int = _option(60, _number(1, 3600), "How long one calendar may take to arrive.")
    followed_at_once: int = _option(4, _number(1, 100), "How many each worker fetches at the same time.")
    followed_strip: tuple[str, ...] = _option(
        ("alarms",),
        Reader(_read_strip, lambda names: " ".join(names) or "nothing"),
        "What is left out unless its owner says otherwise: alarms, attachments, todos, or nothing.",
    )
    followed_shrink_percent: int = _option(
        50, _number(1, 100), "When more than this goes missing at once, the calendar must say so twice to be believed."
    )
    followed_private_networks: bool = _option(
        False, _FLAG, "Fetch from private networks and this machine too: only where all accounts are trusted."
    )
    followed_insecure_redirects: bool = _option(False, _FLAG, "Follow an address with https that leads to one without.")
    followed_ca_file: str = _option(
        "", _PATH, "PEM file of further certificate authorities to trust when calendars are fetched."
    )
    followed_from_apple: bool = _option(
        False, _FLAG, "Follow what Apple's programs subscribe to as well, so that other programs see it too."
    )


@dataclass(frozen=True, slots=True)
class DerivedConfig:
    """Calendars that the server makes itself from what an account has."""

    birthdays: bool = _option(
        False,
        _FLAG,
        "A calendar of the birthdays and anniversaries in the contacts, unless `davenport birthdays off` was said.",
    )
    birthdays_most: int = _option(10_000, _number(1, 1_000_000), "Most dates in such a calendar.")


@dataclass(frozen=True, slots=True)
class ImportsConfig:
    """What `davenport import` reads at most; objects have the limits of [limits] besides."""

    file_bytes: int = _option(
        64 * _MIB,
        _size(_MIB, 16 * _GIB),
        "Largest file of calendar objects or contacts; to take it apart takes up to twenty times as much memory.",
    )
    files: int = _option(1_000_000, _number(1, 100_000_000), "Most files in a folder with all below it, or in a zip.")
    zip_bytes: int = _option(64 * _GIB, _size(_MIB, 16 * 1024 * _GIB), "Most bytes that a zip may unpack to.")
    zip_ratio: int = _option(
        500, _number(10, 2000), "How many times its packed size a file of more than 1 MiB in a zip may have."
    )
    depth: int = _option(64, _number(1, 1000), "How deep folders may nest.")
    answer_bytes: int = _option(64 * _MIB, _size(_MIB, _GIB), "Longest answer of another server, unpacked.")
    answer_seconds: int = _option(900, _number(1, 86_400), "Longest time that one answer of another server may take.")
    tries: int = _option(7, _number(1, 100), "How often another server is asked when it is busy or the line breaks.")
    wait_max_seconds: int = _option(
        120, _number(1, 86_400), "Longest wait before the next try, whatever the other server asks for."
    )
    listed: int = _option(200_000, _number(100, 10_000_000), "Most resources in one answer of another server.")


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. path: the file they came from, or None when only defaults and the environment were used.

    After `load`, database.url names an absolute file or is a postgresql+psycopg URL, and database.files,
    server.certificate and server.key are absolute; the last two are empty when not set.
    """

    server: ServerConfig = field(default_factory=ServerConfig)
    database: DatabaseConfig = field(default_factory=DatabaseConfig)
    auth: AuthConfig = field(default_factory=AuthConfig)
    auth_sql: AuthSqlConfig = field(default_factory=AuthSqlConfig)
    auth_passwd_file: AuthPasswdFileConfig = field(default_factory=AuthPasswdFileConfig)
    auth_ldap: AuthLdapConfig = field(default_factory=AuthLdapConfig)
    auth_oauth2: AuthOAuth2Config = field(default_factory=AuthOAuth2Config)
    auth_proxy: AuthProxyConfig = field(default_factory=AuthProxyConfig)
    auth_pam: AuthPamConfig = field(default_factory=AuthPamConfig)
    auth_dovecot: AuthDovecotConfig = field(default_factory=AuthDovecotConfig)
    auth_imap: AuthImapConfig = field(default_factory=AuthImapConfig)
    auth_smtp: AuthSmtpConfig = field(default_factory=AuthSmtpConfig)
    limits: Limits = field(default_factory=Limits)
    log: LogConfig = field(default_factory=LogConfig)
    history: HistoryConfig = field(default_factory=HistoryConfig)
    directory: DirectoryConfig = field(default_factory=DirectoryConfig)
    freebusy: FreeBusyConfig = field(default_factory=FreeBusyConfig)
    mail_accounts: MailAccountsConfig = field(default_factory=MailAccountsConfig)
    smtp: SmtpConfig = field(default_factory=SmtpConfig)
    mail: MailConfig = field(default_factory=MailConfig)
    mail_in: MailInConfig = field(default_factory=MailInConfig)
    scheduling: SchedulingConfig = field(default_factory=SchedulingConfig)
    sharing: SharingConfig = field(default_factory=SharingConfig)
    feeds: FeedsConfig = field(default_factory=FeedsConfig)
    derived: DerivedConfig = field(default_factory=DerivedConfig)
    imports: ImportsConfig = field(default_factory=ImportsConfig)
    path: Path | None = None


SECTIONS: dict[str, type[Any]] = {
    "server": ServerConfig,
    "database": DatabaseConfig,
    "auth": AuthConfig,
    "auth_sql": AuthSqlConfig,
    "auth_passwd_file": AuthPasswdFileConfig,
    "auth_ldap": AuthLdapConfig,
    "auth_oauth2": AuthOAuth2Config,
    "auth_proxy": AuthProxyConfig,
    "auth_pam": AuthPamConfig,
    "auth_dovecot": AuthDovecotConfig,
    "auth_imap": AuthImapConfig,
    "auth_smtp": AuthSmtpConfig,
    "limits": Limits,
    "log": LogConfig,
    "history": HistoryConfig,
    "directory": DirectoryConfig,
    "freebusy": FreeBusyConfig,
    "mail_accounts": MailAccountsConfig,
    "smtp": SmtpConfig,
    "mail": MailConfig,
    "mail_in": MailInConfig,
    "scheduling": SchedulingConfig,
    "sharing": SharingConfig,
    "feeds": FeedsConfig,
    "derived": DerivedConfig,
    "imports": ImportsConfig,
}


# --- reading ---------------------------------------------------------------------------------------------------------


def load(path: str | None, environ: Mapping[str, str]) -> Config:
    """Settings from `path`, else DAVENPORT_CONFIG, ./config.ini, /etc/davenport/config.ini, else the defaults alone.

    A variable DAVENPORT_SECTION_KEY overrides the file. Raises ConfigError for a file that cannot be read, and for any
    section, key, value or variable that is not understood.
    """
    file = _find(path, environ)
    values: dict[str, dict[str, Any]] = {name: {} for name in SECTIONS}
    if file is not None:
        for section, key, text, where in _entries(_read_file(file), str(file)):
            values[section][key] = _value(section, key, text, where)
    for section, key, text, where in _environment(environ):
        values[section][key] = _value(section, key, text, where)
    config = Config(**{name: kind(**values[name]) for name, kind in SECTIONS.items()}, path=file)
    return _resolve(config)


def example() -> str:
    """The text of config.example.ini: every setting with its default, commented out, and its sentence above it."""
    lines = [
        "# Settings of Davenport. Lines that begin with # are comments; what is not set has the default shown.",
        "# Each setting can also be given as an environment variable: DAVENPORT_SERVER_PORT=8080.",
    ]
    for section, kind in SECTIONS.items():
        lines += ["", f"# {_first_sentence(kind)}", f"[{section}]"]
        for item in dataclasses.fields(kind):
            shown = item.metadata["reader"].show(item.default)
            lines += [f"# {item.metadata['doc']}", f"#{item.name} = {shown}".rstrip()]
    return "\n".join(lines) + "\n"


def _first_sentence(kind: type[Any]) -> str:
    return (kind.__doc__ or "").strip().partition("\n")[0]


def _find(path: str | None, environ: Mapping[str, str]) -> Path | None:
    asked = path or environ.get("DAVENPORT_CONFIG")
    if asked:
        return Path(asked).absolute()
    for candidate in (Path("config.ini"), SYSTEM_PATH):
        if candidate.is_file():
            return candidate.absolute()
    return None


def _read_file(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror or error}") from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError(f"{file}: is larger than {_show_size(FILE_BYTES_MAX)}, so it is hardly a file of settings")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{file}:{number}: this line is not UTF-8") from None


def _entries(text: str, file: str) -> Iterator[tuple[str, str, str, str]]:
    """(section, key, value, "file:line") of each setting. configparser is not used because it forgets the lines."""
    section = ""
    seen: dict[tuple[str, str], int] = {}
    for number, raw in enumerate(text.splitlines(), start=1):
        line, where = raw.strip(), f"{file}:{number}"
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = _section(line, where)
            continue
        key, equals, value = line.partition("=")
        key = key.strip()
        if not equals:
            raise ConfigError(f"{where}: neither [section] nor key = value")
        if not section:
            raise ConfigError(f"{where}: {key!r} stands before the first [section]")
        _known_key(section, key, where)
        if (section, key) in seen:
            raise ConfigError(f"{where}: {section}.{key} was set before, on line {seen[section, key]}")
        seen[section, key] = number
        yield section, key, value.strip(), where


def _section(line: str, where: str) -> str:
    if line[-1] != "]":
        raise ConfigError(f"{where}: a section is written [name], alone on its line")
    name = line[1:-1].strip()
    if name not in SECTIONS:
        names = list(SECTIONS)
        raise ConfigError(f"{where}: unknown section [{name}]{_nearest(name, names) or '; known: ' + ', '.join(names)}")
    return name


def _known_key(section: str, key: str, where: str) -> None:
    names = [item.name for item in dataclasses.fields(SECTIONS[section])]
    if key in names:
        return
    hint = _nearest(key, names)
    if not hint:
        homes = [name for name, kind in SECTIONS.items() if key in {item.name for item in dataclasses.fields(kind)}]
        hint = f"; it belongs in [{homes[0]}]" if homes else f"; known: {', '.join(names)}"
    raise ConfigError(f"{where}: unknown key {key!r} in [{section}]{hint}")


def _environment(environ: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    for variable in sorted(environ):
        if not variable.startswith(_ENV_PREFIX):
            continue
        rest = variable.removeprefix(_ENV_PREFIX).lower()
        # The longest section wins: DAVENPORT_AUTH_SQL_URL is url in [auth_sql], not sql_url in [auth]. Variables of
        # other sections are not ours to judge: container platforms make names such as DAVENPORT_PORT.
        section = max((name for name in SECTIONS if rest.startswith(f"{name}_")), key=len, default="")
        key = rest.removeprefix(f"{section}_")
        if section:
            where = f"environment variable {variable}"
            _known_key(section, key, where)
            yield section, key, environ[variable].strip(), where


def _value(section: str, key: str, text: str, where: str) -> Any:
    reader: Reader = next(item.metadata["reader"] for item in dataclasses.fields(SECTIONS[section]) if item.name == key)
    if "\0" in text:
        raise ConfigError(f"{where}: bad value for {section}.{key}: a NUL character")
    try:
        return reader.read(text)
    except ValueError as error:
        raise ConfigError(f"{where}: bad value for {section}.{key}: {error}") from None


def _resolve(config: Config) -> Config:
    """Makes relative paths absolute: they count from the file's folder, or from the current one without a file."""
    folder = config.path.parent if config.path is not None else Path.cwd()
    server, database = config.server, config.database
    if bool(server.certificate) != bool(server.key):
        raise ConfigError(f"{config.path or 'settings'}: server.certificate and server.key must be set together")
    server = dataclasses.replace(
        server,
        certificate=str(folder / server.certificate) if server.certificate else "",
        key=str(folder / server.key) if server.key else "",
    )
    url, files = database.url, folder / (database.files or "davenport.files")
    if url.startswith("sqlite:///"):
        name, mark, query = url.removeprefix("sqlite:///").partition("?")
        file = folder / name
        url = f"sqlite:///{file}{mark}{query}"
        if not database.files:
            files = file.with_name(f"{file.stem}.files")
    mail_url = config.auth_sql.url
    if mail_url.startswith("sqlite:///"):
        mail_url = f"sqlite:///{folder / mail_url.removeprefix('sqlite:///')}"
        config = dataclasses.replace(config, auth_sql=dataclasses.replace(config.auth_sql, url=mail_url))
    if config.mail_accounts.file and not url.startswith("sqlite:"):
        # One machine's job would write it, and the others' copies would grow old.
        raise ConfigError(
            f"{config.path or 'settings'}: mail_accounts.file is for SQLite; PostgreSQL's views can be read as they are"
        )
    _check_smtp(config)
    _check_mail_in(config)
    others = ("mail_accounts", "smtp", "mail_in", "feeds")
    with_files = [name for name in SECTIONS if name.startswith("auth_") or name in others]
    back_ends = {name: _absolute(getattr(config, name), folder) for name in with_files}
    return dataclasses.replace(config, server=server, database=DatabaseConfig(url=url, files=str(files)), **back_ends)


def _check_smtp(config: Config) -> None:
    """Raises ConfigError for settings of outgoing mail that cannot be used together."""
    smtp, where = config.smtp, config.path or "settings"
    if smtp.host and not config.mail.from_address:
        raise ConfigError(f"{where}: smtp.host is set, so mail.from_address must be set too")
    if smtp.password and smtp.password_file:
        raise ConfigError(f"{where}: smtp.password and smtp.password_file exclude each other")
    if smtp.tls == "none" and smtp.user and smtp.host.lower() not in ("127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{where}: smtp.tls = none would send a password to {smtp.host} in the clear")


def _check_mail_in(config: Config) -> None:
    """Raises ConfigError for settings of incoming mail that cannot be used together."""
    mail_in, where = config.mail_in, config.path or "settings"
    if mail_in.imap_host and not mail_in.imap_user:
        raise ConfigError(f"{where}: mail_in.imap_host is set, so mail_in.imap_user must be set too")
    if mail_in.imap_password and mail_in.imap_password_file:
        raise ConfigError(f"{where}: mail_in.imap_password and mail_in.imap_password_file exclude each other")
    if mail_in.imap_tls == "none" and mail_in.imap_host.lower() not in ("", "127.0.0.1", "::1", "localhost"):
        raise ConfigError(f"{where}: mail_in.imap_tls = none would send a password to {mail_in.imap_host} in the clear")


def _absolute(section: Any, folder: Path) -> Any:
    """The section with its files (`_PATH`) counted from the folder; what is not set stays empty."""
    files = [item.name for item in dataclasses.fields(section) if item.metadata["reader"] is _PATH]
    return dataclasses.replace(
        section, **{name: str(folder / getattr(section, name)) for name in files if getattr(section, name)}
    )
