"""Who signs in, and which back end says so. See dav.config."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from dav.settings.readers import (
    FLAG,
    PATH,
    TEXT,
    Reader,
    choice,
    choices,
    names_of,
    nearest,
    number,
    one_of,
    option,
    read_server,
    words_of,
)


def _read_ldap_urls(text: str) -> tuple[str, ...]:
    needed = "addresses such as ldaps://ldap.example.org or ldap://10.0.0.5:389 are needed"
    words = tuple(words_of(text))
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
                raise ValueError(f"{{{found}}} is not known; {one_of(tuple(f'{{{mark}}}' for mark in marks))}")
        if text and not any(f"{{{mark}}}" in text for mark in marks):
            raise ValueError(f"{one_of(tuple(f'{{{mark}}}' for mark in marks))} must stand in it")
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
_MAIL_STACK = choice("postfixadmin", "iredmail", "mailcow", "modoboa", "mailinabox", "mailu", "vimbadmin")


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
        raise ValueError(f"SQLite, PostgreSQL, MySQL and MariaDB are known here{nearest(kind, ['sqlite', *drivers])}")
    return f"{drivers[kind]}://{rest}"


def _read_query(text: str) -> str:
    if not text:
        return ""
    if not re.match(r"(?i)(select|with)\b", text) or ";" in text:
        raise ValueError("one SELECT statement without a semicolon is needed")
    names = re.findall(r"(?<![:\w\\]):(\w+)(?!:)", text)
    for name in names:
        if name not in _SQL_PARAMETERS:
            raise ValueError(f":{name} is not known; {one_of(tuple(f':{known}' for known in _SQL_PARAMETERS))}")
    if not names:
        raise ValueError(f"{one_of(tuple(f':{known}' for known in _SQL_PARAMETERS))} must stand in it")
    return text


def _read_delimiters(text: str) -> str:
    if not re.fullmatch(r"[!#$%&'*+/=?^_`{|}~.-]{0,4}", text):
        raise ValueError("up to four characters such as + or - are needed, or nothing")
    return text


@dataclass(frozen=True, slots=True)
class AuthConfig:
    """Who may sign in."""

    backends: tuple[str, ...] = option(
        ("local",),
        choices("local", "sql", "passwd-file", "dovecot", "imap", "smtp", "ldap", "oauth2", "proxy", "pam"),
        "Where passwords are checked, in this order. local: this database; the others have a section each, [auth_…].",
    )
    create_accounts: bool = option(
        True, FLAG, "Whoever signs in by another back end than local for the first time gets an account here."
    )
    default_domain: str = option(
        "",
        Reader(lambda text: _read_login_domain(text)),
        "Domain that is added to a login without one, such as example.org.",
    )
    strip_domain: str = option(
        "",
        Reader(lambda text: _read_login_domain(text)),
        "Domain that is cut off the names of accounts: the rest is unique.",
    )
    recipient_delimiter: str = option(
        "+",
        Reader(lambda text: _read_delimiters(text)),
        "Characters that begin a tag in a mail address: alice+work@ is alice@. As in the mail server; empty: none.",
    )
    dav_requires_app_password: bool = option(
        False, FLAG, "Devices must use app passwords; the main password is refused for calendars, contacts and files."
    )
    allow_insecure: bool = option(
        False,
        FLAG,
        "Take passwords over plain http from other machines. Without it only https, loopback and proxies saying https.",
    )
    cache_seconds: int = option(
        300,
        number(0, 86400),
        "How long a verified password is remembered in memory; changes in local and sql count at once. 0: never.",
    )
    grace_seconds: int = option(
        86_400,
        number(0, 2_592_000),
        "How much longer a remembered password is taken while the back end that verified it cannot be reached.",
    )
    hash_threads: int = option(2, number(1, 64), "Passwords that one worker hashes at the same time.")
    hash_queue: int = option(
        200, number(1, 10_000), "Passwords that may wait to be hashed; more are told to come back."
    )
    guard_free_failures: int = option(
        5, number(1, 1000), "Wrong passwords of one login from one network before the next ones have to wait."
    )
    guard_delay_max_seconds: int = option(
        30, number(0, 600), "Longest time that a sign-in waits after many wrong passwords; it doubles up to this."
    )
    realm: str = option(
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
_ATTRIBUTES = names_of(r"[A-Za-z][A-Za-z0-9;-]{0,63}", "names of attributes are needed, such as mail uid", least=1)
_CLAIMS = names_of(r"[A-Za-z0-9_.:/-]{1,128}", "names of claims are needed, such as email preferred_username")


@dataclass(frozen=True, slots=True)
class AuthLdapConfig:
    """The directory that is asked when auth.backends names ldap."""

    url: tuple[str, ...] = option(
        (),
        Reader(_read_ldap_urls, " ".join),
        "ldaps://host or ldap://host; several are tried in this order.",
    )
    start_tls: bool = option(True, FLAG, "Encrypt ldap:// by StartTLS before anything is said. ldaps:// always is.")
    ca_file: str = option(
        "", PATH, "PEM file with the authority that signed the directory's certificate. Empty: the system's."
    )
    bind_dn: str = option("", TEXT, "Who searches: a DN that may read people. Empty: anonymously.")
    bind_password: str = option("", TEXT, "The password of bind_dn.")
    bind_password_file: str = option("", PATH, "File whose first line is the password of bind_dn.")
    base: str = option("", TEXT, "DN below which people are searched. Empty: no search; user_dn is needed.")
    filter: str = option(
        "(|(mail={login})(uid={login}))",
        Reader(_read_template("login", "local", "domain")),
        "How a person is found: {login} as typed, {local} and {domain} before and after its @.",
    )
    user_dn: str = option(
        "",
        Reader(_read_template("login", "local", "domain")),
        "DN (or another name to bind with) made from the login instead of a search: uid={local},ou=people,dc=example.",
    )
    name_attributes: tuple[str, ...] = option(
        ("mail", "uid"), _ATTRIBUTES, "The account's name is the value of the first of these that a person has."
    )
    address_attributes: tuple[str, ...] = option(
        ("mail", "mailAlternateAddress", "proxyAddresses"),
        _ATTRIBUTES,
        "Where addresses are. The primary one is that with SMTP: before it, else the first.",
    )
    display_name_attributes: tuple[str, ...] = option(
        ("displayName", "cn"), _ATTRIBUTES, "Name to show, from the first of these that a person has."
    )
    group: str = option("", TEXT, "DN of a group; only its members may sign in. Empty: everybody who is found.")
    group_filter: str = option(
        "(|(member={dn})(uniqueMember={dn})(memberUid={uid}))",
        Reader(_read_template("dn", "uid", "name")),
        "What of the group proves a member, for directories without memberOf: {dn}, {uid} or {name} of the person.",
    )
    group_accounts: str = option(
        "",
        Reader(_read_template("cn")),
        "What the group account of a group there is called here, such as {cn}@example.org. Empty: no groups.",
    )
    group_base: str = option(
        "",
        TEXT,
        "DN below which groups are searched by group_filter, for directories without memberOf. Empty: no search.",
    )
    timeout_seconds: int = option(5, number(1, 60), "How long one step (connect, search, bind) may take.")
    threads: int = option(8, number(1, 64), "Checks that one worker does at the same time.")


@dataclass(frozen=True, slots=True)
class AuthOAuth2Config:
    """The authority whose tokens (Authorization: Bearer) are taken when auth.backends names oauth2."""

    issuer: str = option(
        "", Reader(_read_web_url), "Address of the authority, as in its tokens: https://id.example.org/realms/home."
    )
    method: str = option(
        "jwt",
        choice("jwt", "introspection"),
        "jwt: tokens are verified with the issuer's published keys. introspection: the authority is asked (RFC 7662).",
    )
    audience: tuple[str, ...] = option(
        (),
        names_of(r"[!-~]{1,255}", "names without spaces are needed"),
        "Tokens must be made for one of these (claim aud). jwt: needed.",
    )
    algorithms: tuple[str, ...] = option(
        ("RS256", "ES256", "EdDSA"), choices(*JWT_ALGORITHMS), "Signatures that are believed."
    )
    scope: str = option(
        "", Reader(lambda text: _read_scope(text)), "A scope that tokens must have. Empty: none is needed."
    )
    jwks_url: str = option(
        "", Reader(_read_web_url), "Where the keys are. Empty: as the issuer's openid-configuration says."
    )
    introspection_url: str = option(
        "", Reader(_read_web_url), "Where tokens are asked about. Empty: as the issuer's openid-configuration says."
    )
    client_id: str = option("", TEXT, "Our name at the authority, for introspection.")
    client_secret: str = option("", TEXT, "Our secret at the authority.")
    client_secret_file: str = option("", PATH, "File whose first line is our secret.")
    name_claims: tuple[str, ...] = option(
        ("email",),
        _CLAIMS,
        "The account's name is the first of these that a token has; an email that is not verified is passed over.",
    )
    address_claims: tuple[str, ...] = option(("email",), _CLAIMS, "Where the person's addresses are.")
    display_name_claims: tuple[str, ...] = option(("name",), _CLAIMS, "Where the name to show is.")
    as_password: bool = option(
        False,
        FLAG,
        "Take a token in place of a password too, for clients without Bearer. With introspection everything that is "
        "typed as password goes to the authority.",
    )
    ca_file: str = option(
        "", PATH, "PEM file with the authority that signed the issuer's certificate. Empty: the system's."
    )
    timeout_seconds: int = option(5, number(1, 60), "How long the authority may take to answer.")


@dataclass(frozen=True, slots=True)
class AuthProxyConfig:
    """Sign-in by a reverse proxy, when auth.backends names proxy: it says who it is in a header.

    Believed only from server.trusted_proxies; the proxy must remove the header from what clients send.
    """

    header: str = option("X-Remote-User", Reader(_read_field_name), "The header with the name of who signed in there.")


@dataclass(frozen=True, slots=True)
class AuthPamConfig:
    """The system's own accounts, by PAM, when auth.backends names pam."""

    service: str = option("davenport", Reader(_read_service), "The file in /etc/pam.d that says how.")
    domain: str = option(
        "",
        Reader(_read_domain),
        "Domain of the accounts: alice@DOMAIN is the system's alice, and other domains are not asked about. Empty: "
        "logins go to PAM as they are.",
    )
    first_uid: int = option(1000, number(0, 2**31), "Accounts with smaller numbers, such as root, cannot sign in.")
    timeout_seconds: int = option(20, number(1, 120), "How long PAM may take.")
    threads: int = option(8, number(1, 64), "Checks that one worker does at the same time.")


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


@dataclass(frozen=True, slots=True)
class AuthDovecotConfig:
    """Back end "dovecot": Dovecot's authentication sockets. docs/mail.md shows Dovecot's side."""

    socket: str = option(
        "/run/dovecot/davenport-auth",
        Reader(_read_socket),
        "Auth-client socket: its path, or host:port in a network that nobody else can read.",
    )
    userdb_socket: str = option(
        "",
        Reader(_read_socket),
        "Userdb socket, to know who exists, names and addresses without a password. Empty: none.",
    )
    service: str = option(
        "davenport", Reader(_read_word), "Service that Dovecot is told, which its queries can look at (%s)."
    )
    timeout_seconds: int = option(
        30, number(1, 120), "How long Dovecot may take; it answers wrong passwords seconds late on purpose."
    )


@dataclass(frozen=True, slots=True)
class MailLoginConfig:
    """What signing in at a mail server needs, whatever it speaks."""

    host: str = option("", Reader(read_server), "The server, such as mail.example.org.")
    port: int = option(0, number(0, 65535), "Its port; 0: the usual one.")
    tls: str = option(
        "tls",
        choice("tls", "starttls", "none"),
        "tls from the first byte, starttls, or none, which only this machine itself (127.0.0.1, ::1) allows.",
    )
    ca_file: str = option(
        "", PATH, "PEM file of the authority that signed the server's certificate. Empty: the system's."
    )
    certificate_name: str = option(
        "", Reader(read_server), "Name that the certificate must have, when it is not host's."
    )
    timeout_seconds: int = option(30, number(1, 120), "How long one sign-in there may take, with all its waiting.")
    connections: int = option(20, number(1, 200), "Most connections at the same time, in each worker.")
    lower_case: bool = option(True, FLAG, "Letter case does not count there: ALICE@ and alice@ are one account.")


@dataclass(frozen=True, slots=True)
class AuthImapConfig(MailLoginConfig):
    """Back end "imap": signing in at an IMAP server, for each password that is not remembered."""

    port: int = option(0, number(0, 65535), "Its port; 0: 993 with tls, else 143.")
    forward_client: bool = option(
        False, FLAG, "Tell the server the client's address (IMAP ID), as Dovecot's login_trusted_networks allows."
    )


@dataclass(frozen=True, slots=True)
class AuthSmtpConfig(MailLoginConfig):
    """Back end "smtp": signing in at a submission server, for each password that is not remembered."""

    port: int = option(0, number(0, 65535), "Its port; 0: 465 with tls, else 587.")


@dataclass(frozen=True, slots=True)
class AuthSqlConfig:
    """Back end "sql": the mail server's own table of mailboxes, which is only ever read. docs/mail.md has examples."""

    url: str = option(
        "",
        Reader(_read_mail_database_url),
        "The mail server's database: sqlite:////srv/mail/users.sqlite, postgresql://user:password@host/name or mysql://….",
    )
    preset: str = option(
        "",
        Reader(lambda text: _MAIL_STACK.read(text) if text else ""),
        "Whose tables: postfixadmin, iredmail, mailcow, modoboa, mailinabox, mailu or vimbadmin. Empty: own queries.",
    )
    password_query: str = option(
        "",
        Reader(_read_query),
        "Own query for :user (or :local and :domain), columns user and password; several rows: each is tried.",
    )
    addresses_query: str = option(
        "", Reader(_read_query), "Own query for further addresses of :user, the first column; replaces the preset's."
    )
    name_query: str = option("", Reader(_read_query), "Own query for the name that people read, the first column.")
    default_scheme: str = option(
        "",
        TEXT,
        "Scheme of hashes that name none: CRYPT, SSHA512, PLAIN-MD5 or others. Empty: the preset's, or CRYPT.",
    )
    lower_case: bool = option(True, FLAG, "Logins are looked up in lower case, as most mail servers have them.")
    group_accounts: bool = option(
        False,
        FLAG,
        "Make a group account of each alias with several targets that are all accounts here; looked up once an hour.",
    )
    timeout_seconds: int = option(5, number(1, 60), "How long the database may take to answer.")


@dataclass(frozen=True, slots=True)
class AuthPasswdFileConfig:
    """Back end "passwd-file": a file with a line for each person, of Dovecot, docker-mailserver or htpasswd."""

    file: str = option(
        "",
        PATH,
        "Lines user:hash[:…:extra fields] (Dovecot, htpasswd) or user|hash (docker-mailserver), re-read on change.",
    )
    aliases_file: str = option(
        "", PATH, "Lines alias target[,target], as docker-mailserver's postfix-virtual.cf: further addresses."
    )
    default_scheme: str = option("CRYPT", TEXT, "Scheme of hashes that name none.")
    lower_case: bool = option(True, FLAG, "Logins that are not found as sent are looked up in lower case.")
