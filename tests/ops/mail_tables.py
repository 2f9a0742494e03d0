"""Tables of real mail stacks, with the columns and types that their own set-up makes, and the same people in each.

alice is at x.example, which is also called y.example; info@ is her alias, team@ leads to two people, "@x.example" is a
catch-all, bob forwards his mail to her, and dora@y.example is bob's by an entry of its own. carol may not sign in, and
erin's domain is switched off. The password of everybody is `secret`.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from passlib.hash import sha512_crypt  # type: ignore[import-untyped]

HASH = sha512_crypt.using(rounds=1000, salt="saltstring").hash("secret")
PREFIXED = "{SHA512-CRYPT}" + HASH

_TYPES = {
    "sqlite": {"bool": "TINYINT(1)", "serial": "INTEGER PRIMARY KEY AUTOINCREMENT", "time": "DATETIME", "json": "TEXT"},
    "postgresql": {"bool": "BOOLEAN", "serial": "SERIAL PRIMARY KEY", "time": "TIMESTAMP", "json": "JSON"},
    "mysql": {"bool": "TINYINT(1)", "serial": "INTEGER PRIMARY KEY AUTO_INCREMENT", "time": "DATETIME", "json": "JSON"},
}


class MailDb:
    """A database of a mail server, written the way its own panel would write it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.dialect = sa.make_url(url).get_backend_name()
        # An SQLite file is held open by nobody between two writes.
        self._engine = sa.create_engine(url, poolclass=sa.NullPool if self.dialect == "sqlite" else sa.StaticPool)

    def run(self, *statements: str, **values: Any) -> None:
        """Runs statements in one transaction. {bool}, {serial}, {time} and {json} stand for the database's types."""
        with self._engine.begin() as connection:
            for statement in statements:
                for name, kind in _TYPES[self.dialect].items():
                    statement = statement.replace(f"{{{name}}}", kind)
                connection.execute(sa.text(self._quoted(statement)), values)

    def add(self, table: str, *rows: dict[str, Any]) -> None:
        """Inserts rows."""
        with self._engine.begin() as connection:
            for row in rows:
                columns, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
                connection.execute(sa.text(self._quoted(f"INSERT INTO {table} ({columns}) VALUES ({marks})")), row)

    def close(self) -> None:
        """Closes the connection, if there is one."""
        self._engine.dispose()

    def _quoted(self, statement: str) -> str:
        return statement.replace('"', "`") if self.dialect == "mysql" else statement


def postfixadmin(db: MailDb, *, newest: bool = True) -> None:
    """newest: with app passwords, second factor and expiry, which came in that order of versions, backwards."""
    more = ", password_expiry {time}, totp_secret VARCHAR(255) DEFAULT NULL" if newest else ""
    db.run(
        "CREATE TABLE domain (domain VARCHAR(255) PRIMARY KEY, description VARCHAR(255), aliases INT DEFAULT 0, "
        "mailboxes INT DEFAULT 0, maxquota BIGINT DEFAULT 0, quota BIGINT DEFAULT 0, transport VARCHAR(255), "
        "backupmx {bool} NOT NULL, created {time}, modified {time}, active {bool} NOT NULL"
        + (", password_expiry INT DEFAULT 0" if newest else "") + ")",
        "CREATE TABLE mailbox (username VARCHAR(255) PRIMARY KEY, password VARCHAR(255) NOT NULL, name VARCHAR(255), "
        "maildir VARCHAR(255), quota BIGINT DEFAULT 0, local_part VARCHAR(255), domain VARCHAR(255), created {time}, "
        f"modified {{time}}, active {{bool}} NOT NULL, phone VARCHAR(30), token VARCHAR(255){more})",
        "CREATE TABLE alias (address VARCHAR(255) PRIMARY KEY, goto TEXT NOT NULL, domain VARCHAR(255), "
        "created {time}, modified {time}, active {bool} NOT NULL)",
        "CREATE TABLE alias_domain (alias_domain VARCHAR(255) PRIMARY KEY, target_domain VARCHAR(255), created {time}, "
        "modified {time}, active {bool} NOT NULL)",
    )  # fmt: skip
    if newest:
        db.run(
            "CREATE TABLE mailbox_app_password (id {serial}, username VARCHAR(255), description VARCHAR(255), "
            "password_hash VARCHAR(255))"
        )
    db.add(
        "domain",
        *({"domain": name, "backupmx": False, "active": name != "off.example"} for name in DOMAINS),
    )
    for name, display, active in PEOPLE:
        domain = name.partition("@")[2]
        db.add(
            "mailbox",
            {"username": name, "password": HASH, "name": display, "domain": domain, "active": active},
        )
    for address, goto in [*ALIASES, *((name, name) for name, _, _ in PEOPLE if name != BOB)]:
        db.add("alias", {"address": address, "goto": goto, "domain": address.partition("@")[2], "active": True})
    db.add("alias_domain", {"alias_domain": "y.example", "target_domain": "x.example", "active": True})


def postfixadmin_old(db: MailDb) -> None:
    postfixadmin(db, newest=False)


def iredmail(db: MailDb) -> None:
    times = "created {time}, modified {time}, expired {time} NOT NULL DEFAULT '9999-12-31 01:01:01'"
    small = "SMALLINT NOT NULL DEFAULT"
    db.run(
        f"CREATE TABLE domain (domain VARCHAR(255) PRIMARY KEY, description TEXT, transport VARCHAR(255), "
        f"backupmx {small} 0, {times}, active {small} 1)",
        f"CREATE TABLE mailbox (username VARCHAR(255) PRIMARY KEY, password VARCHAR(255) NOT NULL, "
        f"name VARCHAR(255) NOT NULL DEFAULT '', language VARCHAR(5), maildir VARCHAR(255), quota BIGINT DEFAULT 0, "
        f"domain VARCHAR(255), isadmin {small} 0, enablesmtp {small} 1, enableimap {small} 1, enablesogo {small} 1, "
        f"enablesogowebmail VARCHAR(1) DEFAULT 'y', enablesogocalendar VARCHAR(1) DEFAULT 'y', allow_nets TEXT, "
        f"passwordlastchange {{time}}, {times}, active {small} 1)",
        f"CREATE TABLE forwardings (id {{serial}}, address VARCHAR(255) NOT NULL, forwarding VARCHAR(255) NOT NULL, "
        f"domain VARCHAR(255), dest_domain VARCHAR(255), is_maillist {small} 0, is_list {small} 0, "
        f"is_forwarding {small} 0, is_alias {small} 0, active {small} 1)",
        f"CREATE TABLE alias_domain (alias_domain VARCHAR(255) PRIMARY KEY, target_domain VARCHAR(255), "
        f"created {{time}}, modified {{time}}, active {small} 1)",
    )
    db.add("domain", *({"domain": name, "active": int(name != "off.example")} for name in DOMAINS))
    for name, display, active in PEOPLE:
        domain = name.partition("@")[2]
        db.add(
            "mailbox",
            {"username": name, "password": PREFIXED, "name": display, "domain": domain, "active": int(active)},
        )
    for address, goto in ALIASES:
        for target in goto.split(","):
            row = {"address": address, "forwarding": target, "is_alias": 1}
            db.add("forwardings", row | ({"is_alias": 0, "is_forwarding": 1} if address == BOB else {}))
    db.add("alias_domain", {"alias_domain": "y.example", "target_domain": "x.example"})


def mailcow(db: MailDb) -> None:
    db.run(
        "CREATE TABLE domain (domain VARCHAR(255) PRIMARY KEY, description VARCHAR(255), backupmx SMALLINT DEFAULT 0, "
        "gal SMALLINT DEFAULT 1, created {time}, modified {time}, active SMALLINT NOT NULL DEFAULT 1)",
        "CREATE TABLE mailbox (username VARCHAR(255) PRIMARY KEY, password VARCHAR(255) NOT NULL, name VARCHAR(255), "
        "description VARCHAR(255), quota BIGINT DEFAULT 102400, local_part VARCHAR(255), domain VARCHAR(255), "
        "attributes {json}, custom_attributes {json}, kind VARCHAR(100) NOT NULL DEFAULT '', "
        "multiple_bookings INT DEFAULT -1, authsource VARCHAR(20) DEFAULT 'mailcow', created {time}, modified {time}, "
        "active SMALLINT NOT NULL DEFAULT 1)",
        "CREATE TABLE alias (id {serial}, address VARCHAR(255) NOT NULL UNIQUE, goto TEXT NOT NULL, "
        "domain VARCHAR(255), created {time}, modified {time}, private_comment TEXT, public_comment TEXT, "
        "sogo_visible SMALLINT DEFAULT 1, internal SMALLINT DEFAULT 0, sender_allowed SMALLINT DEFAULT 1, "
        "active SMALLINT NOT NULL DEFAULT 1)",
        "CREATE TABLE alias_domain (alias_domain VARCHAR(255) PRIMARY KEY, target_domain VARCHAR(255), created {time}, "
        "modified {time}, active SMALLINT NOT NULL DEFAULT 1)",
        "CREATE TABLE app_passwd (id {serial}, name VARCHAR(255) NOT NULL, mailbox VARCHAR(255) NOT NULL, "
        "domain VARCHAR(255), password VARCHAR(255) NOT NULL, created {time}, modified {time}, "
        "imap_access SMALLINT DEFAULT 1, smtp_access SMALLINT DEFAULT 1, dav_access SMALLINT DEFAULT 1, "
        "eas_access SMALLINT DEFAULT 1, pop3_access SMALLINT DEFAULT 1, sieve_access SMALLINT DEFAULT 1, "
        "active SMALLINT DEFAULT 1)",
    )
    db.add("domain", *({"domain": name, "active": int(name != "off.example")} for name in DOMAINS))
    for name, display, active in PEOPLE:
        row = {"username": name, "password": PREFIXED, "name": display, "domain": name.partition("@")[2]}
        db.add("mailbox", row | {"active": int(active), "attributes": '{"dav_access": "1", "force_pw_update": "0"}'})
    for address, goto in [*ALIASES, *((name, name) for name, _, _ in PEOPLE if name != BOB)]:
        db.add("alias", {"address": address, "goto": goto, "domain": address.partition("@")[2]})
    db.add("alias_domain", {"alias_domain": "y.example", "target_domain": "x.example"})


def modoboa(db: MailDb) -> None:
    db.run(
        "CREATE TABLE core_user (id {serial}, username VARCHAR(254) UNIQUE, first_name VARCHAR(150), "
        "last_name VARCHAR(150), email VARCHAR(254), is_staff {bool}, is_active {bool}, is_superuser {bool}, "
        "date_joined {time}, is_local {bool}, master_user {bool}, password VARCHAR(256), language VARCHAR(10))",
        "CREATE TABLE admin_domain (id {serial}, name VARCHAR(100) UNIQUE, quota INT, enabled {bool}, "
        "type VARCHAR(20) DEFAULT 'domain', creation {time}, last_modification {time})",
        "CREATE TABLE admin_domainalias (id {serial}, name VARCHAR(100) UNIQUE, target_id INT, enabled {bool}, "
        "creation {time}, last_modification {time})",
        "CREATE TABLE admin_mailbox (id {serial}, address VARCHAR(252), quota INT, use_domain_quota {bool}, "
        "domain_id INT, user_id INT, message_limit INT, is_send_only {bool})",
        "CREATE TABLE admin_alias (id {serial}, address VARCHAR(254), enabled {bool}, internal {bool}, "
        "description TEXT, expire_at {time}, domain_id INT, creation {time}, last_modification {time})",
        "CREATE TABLE modoboa_admin_aliasrecipient (id {serial}, address VARCHAR(254), alias_id INT, "
        "r_alias_id INT, r_mailbox_id INT)",
    )
    numbers = {}
    for number, name in enumerate(DOMAINS, 1):
        numbers[name] = number
        db.add("admin_domain", {"id": number, "name": name, "enabled": name != "off.example"})
    db.add("admin_domainalias", {"name": "y.example", "target_id": numbers["x.example"], "enabled": True})
    aliases = list(ALIASES)
    for number, (name, display, active) in enumerate(PEOPLE, 1):
        first, _, last = display.partition(" ")
        local, _, domain = name.partition("@")
        row = {"id": number, "username": name, "email": name, "first_name": first, "last_name": last}
        db.add("core_user", row | {"is_active": active, "is_local": True, "password": PREFIXED})
        box = {"address": local, "domain_id": numbers[domain], "user_id": number, "is_send_only": False}
        db.add("admin_mailbox", box)
        if name != BOB:
            aliases.append((name, name))
    for number, (address, goto) in enumerate(aliases, 1):
        db.add("admin_alias", {"id": number, "address": address, "enabled": True, "internal": False})
        for target in goto.split(","):
            db.add("modoboa_admin_aliasrecipient", {"address": target, "alias_id": number})


def mailinabox(db: MailDb) -> None:
    db.run(
        "CREATE TABLE users (id {serial}, email TEXT NOT NULL UNIQUE, password TEXT NOT NULL, extra TEXT, "
        "privileges TEXT NOT NULL DEFAULT '', quota TEXT NOT NULL DEFAULT '0')",
        "CREATE TABLE aliases (id {serial}, source TEXT NOT NULL UNIQUE, destination TEXT NOT NULL, "
        "permitted_senders TEXT)",
        "CREATE TABLE auto_aliases (id {serial}, source TEXT NOT NULL UNIQUE, destination TEXT NOT NULL, "
        "permitted_senders TEXT)",
    )
    for name, _, active in PEOPLE:
        if active and not name.endswith("@off.example"):  # a row is an account: who may not sign in has none
            db.add("users", {"email": name, "password": PREFIXED})
    for address, goto in ALIASES:
        db.add("aliases", {"source": address, "destination": goto})
    db.add("aliases", {"source": "@y.example", "destination": "@x.example"})


def mailu(db: MailDb) -> None:
    base = "created_at DATE, updated_at DATE, comment VARCHAR(255)"
    db.run(
        f"CREATE TABLE domain (name VARCHAR(80) PRIMARY KEY, max_users INT, max_aliases INT, {base})",
        f"CREATE TABLE alternative (name VARCHAR(80) PRIMARY KEY, domain_name VARCHAR(80), {base})",
        f'CREATE TABLE "user" (localpart VARCHAR(80), password VARCHAR(255) NOT NULL, quota_bytes BIGINT, '
        f"global_admin {{bool}}, enabled {{bool}} NOT NULL, enable_imap {{bool}} NOT NULL, enable_pop {{bool}}, "
        f"displayed_name VARCHAR(160), domain_name VARCHAR(80), email VARCHAR(255) PRIMARY KEY, {base})",
        f"CREATE TABLE alias (localpart VARCHAR(80), wildcard {{bool}} NOT NULL, destination VARCHAR(1023) NOT NULL, "
        f"domain_name VARCHAR(80), email VARCHAR(255) PRIMARY KEY, owner_email VARCHAR(255), "
        f"disabled {{bool}} NOT NULL, {base})",
        f"CREATE TABLE token (id {{serial}}, user_email VARCHAR(255), password VARCHAR(255) NOT NULL, ip VARCHAR(255), "
        f"{base})",
    )
    db.add("domain", *({"name": name} for name in DOMAINS))
    db.add("alternative", {"name": "y.example", "domain_name": "x.example"})
    for name, display, active in PEOPLE:
        local, _, domain = name.partition("@")
        row = {"localpart": local, "domain_name": domain, "email": name, "displayed_name": display}
        enabled = active and domain != "off.example"
        db.add('"user"', row | {"password": PREFIXED, "enabled": enabled, "enable_imap": True})
    for address, goto in ALIASES:
        local, _, domain = address.partition("@")
        row = {"localpart": local or "%", "domain_name": domain, "email": f"{local or '%'}@{domain}"}
        db.add("alias", row | {"destination": goto, "wildcard": not local, "disabled": False})


def vimbadmin(db: MailDb) -> None:
    db.run(
        "CREATE TABLE domain (id {serial}, domain VARCHAR(255) UNIQUE, description VARCHAR(255), "
        "transport VARCHAR(255), backupmx {bool}, active {bool} NOT NULL, created {time}, modified {time})",
        "CREATE TABLE mailbox (id {serial}, username VARCHAR(255) UNIQUE, password VARCHAR(255) NOT NULL, "
        "name VARCHAR(255), alt_email VARCHAR(255), quota BIGINT DEFAULT 0, local_part VARCHAR(255), "
        "active {bool} NOT NULL, access_restriction VARCHAR(100) NOT NULL DEFAULT 'ALL', homedir VARCHAR(255), "
        "maildir VARCHAR(255), uid BIGINT, gid BIGINT, delete_pending {bool}, created {time}, modified {time}, "
        "Domain_id BIGINT)",
        "CREATE TABLE alias (id {serial}, address VARCHAR(255) UNIQUE, goto TEXT NOT NULL, active {bool} NOT NULL, "
        "created {time}, modified {time}, Domain_id BIGINT)",
    )
    numbers = {name: number for number, name in enumerate(DOMAINS, 1)}
    for name, number in numbers.items():
        db.add("domain", {"id": number, "domain": name, "active": name != "off.example"})
    for name, display, active in PEOPLE:
        row = {"username": name, "password": PREFIXED, "name": display, "active": active}
        db.add("mailbox", row | {"Domain_id": numbers[name.partition("@")[2]], "delete_pending": False})
    for address, goto in [*ALIASES, *((name, name) for name, _, _ in PEOPLE if name != BOB)]:
        db.add("alias", {"address": address, "goto": goto, "active": True})


DOMAINS = ("x.example", "off.example")
BOB = "bob@x.example"
PEOPLE = [
    ("alice@x.example", "Alice Adams", True),
    (BOB, "Bob Brown", True),
    ("carol@x.example", "Carol Clark", False),
    ("dora@x.example", "Dora Dunn", True),
    ("erin@off.example", "Erin East", True),
]
ALIASES = [
    ("info@x.example", "alice@x.example"),
    ("team@x.example", "alice@x.example,bob@x.example"),
    ("@x.example", "alice@x.example"),
    (BOB, "alice@x.example"),
    ("dora@y.example", BOB),
    ("far@x.example", "somebody@elsewhere.example"),
]
STACKS = {
    "postfixadmin": postfixadmin,
    "postfixadmin-old": postfixadmin_old,
    "iredmail": iredmail,
    "mailcow": mailcow,
    "modoboa": modoboa,
    "mailinabox": mailinabox,
    "mailu": mailu,
    "vimbadmin": vimbadmin,
}
