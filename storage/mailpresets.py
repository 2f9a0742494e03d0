"""What to ask the tables of well-known mail stacks. Bind parameters: :user, :local, :domain (of the same name).

Columns of a password question have fixed meanings, for own queries too: `user` and `password`; `name`, or `first_name`
and `last_name`; `active…`: must be yes; `denied…`: must be no; `elsewhere`: yes when the password is kept by somebody
else; `allow_nets`: networks to which the row is limited; `attributes`: a JSON object whose `dav_access`, if there, must
be yes. A row without a password has none to try. Yes and no are judged outside SQL: booleans differ by database.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.mailbase import ROWS_MAX, Question

LISTED_MAX = ROWS_MAX
# Aliases whose targets stand in one column, separated by commas or what else a panel writes.
_LIST = (
    "SELECT a.address, a.goto AS target FROM alias a WHERE a.address > :after AND a.goto LIKE '%@%@%' AND {active} "
    f"AND NOT EXISTS (SELECT 1 FROM mailbox o WHERE o.username = a.address) ORDER BY a.address LIMIT {LISTED_MAX}"
)


@dataclass(frozen=True, slots=True)
class Preset:
    """One stack. passwords: the first question is about the person, the others give app passwords of the same :user.

    addresses: further addresses of :user, in the first column; where there is a `target`, it must be :user alone.
    domains: names under which the :domain is known too. owners: whose the address :user is, by its own entry, in the
    column `target`: it goes before what `domains` would make of it. groups: aliases that lead to several, or to one of
    several in each row, behind the address :after, in order of `address`, with the `target`; at most LISTED_MAX rows.
    """

    passwords: tuple[Question, ...]
    addresses: tuple[Question, ...] = ()
    domains: Question = ()
    owners: tuple[Question, ...] = ()
    groups: Question = ()
    name: Question = ()
    default_scheme: str = "CRYPT"


# A mailbox that forwards to another one has an alias of its own name: the address stays that of its own person, so each
# of the address questions leaves out the names of mailboxes.

_POSTFIXADMIN_PERSON = """
SELECT m.username AS user, {password} AS password, m.name, m.active AS active, d.active AS active_domain{more}
FROM mailbox m JOIN domain d ON d.domain = m.domain WHERE m.username = :user
"""
# The time is judged by the mail server's database, whose clock and zone wrote it. A domain's 0 days: passwords stay.
_POSTFIXADMIN_EXPIRY = """,
CASE WHEN d.password_expiry > 0 AND m.password_expiry <= CURRENT_TIMESTAMP THEN 1 ELSE 0 END AS denied_expired"""

POSTFIXADMIN = Preset(
    passwords=(
        (
            # With a second factor the main password alone is not enough; app passwords are made for that.
            _POSTFIXADMIN_PERSON.format(
                password="CASE WHEN m.totp_secret <> '' THEN NULL ELSE m.password END", more=_POSTFIXADMIN_EXPIRY
            ),
            _POSTFIXADMIN_PERSON.format(password="m.password", more=_POSTFIXADMIN_EXPIRY),
            _POSTFIXADMIN_PERSON.format(password="m.password", more=""),
        ),
        ("SELECT username AS user, password_hash AS password FROM mailbox_app_password WHERE username = :user", ""),
    ),
    addresses=(
        (
            (
                "SELECT a.address FROM alias a WHERE a.goto = :user AND a.active "
                "AND NOT EXISTS (SELECT 1 FROM mailbox o WHERE o.username = a.address)"
            ),
        ),
    ),
    domains=("SELECT alias_domain FROM alias_domain WHERE target_domain = :domain AND active", ""),
    owners=(
        ("SELECT goto AS target FROM alias WHERE address = :user AND active",),
        ("SELECT username AS target FROM mailbox WHERE username = :user",),
    ),
    groups=(_LIST.format(active="a.active"),),
)

_IREDMAIL_PERSON = """
SELECT m.username AS user, m.password, m.name, m.active AS active, d.active AS active_domain,
d.backupmx AS denied_backupmx,
CASE WHEN m.expired <= CURRENT_TIMESTAMP THEN 1 ELSE 0 END AS denied_expired,
CASE WHEN d.expired <= CURRENT_TIMESTAMP THEN 1 ELSE 0 END AS denied_domain_expired{more}
FROM mailbox m JOIN domain d ON d.domain = m.domain WHERE m.username = :user
"""

IREDMAIL = Preset(
    passwords=(
        (
            _IREDMAIL_PERSON.format(more=", m.enablesogo AS active_sogo, m.allow_nets"),
            _IREDMAIL_PERSON.format(more=", m.enablesogo AS active_sogo"),
            _IREDMAIL_PERSON.format(more=""),
        ),
    ),
    addresses=(
        (
            (
                "SELECT f.address FROM forwardings f WHERE f.forwarding = :user AND f.is_alias = 1 AND f.active = 1 "
                "AND NOT EXISTS (SELECT 1 FROM forwardings o "
                "WHERE o.address = f.address AND o.forwarding <> f.forwarding AND o.active = 1) "
                "AND NOT EXISTS (SELECT 1 FROM mailbox o WHERE o.username = f.address)"
            ),
        ),
    ),
    domains=("SELECT alias_domain FROM alias_domain WHERE target_domain = :domain AND active = 1",),
    owners=(
        ("SELECT forwarding AS target FROM forwardings WHERE address = :user AND active = 1",),
        ("SELECT username AS target FROM mailbox WHERE username = :user",),
    ),
    groups=(
        # is_list: members of an alias account. is_alias: further addresses of people. A mailing list is neither.
        (
            "SELECT f.address, f.forwarding AS target FROM forwardings f WHERE f.address > :after "
            "AND (f.is_list = 1 OR f.is_alias = 1) AND f.active = 1 "
            "AND EXISTS (SELECT 1 FROM forwardings x WHERE x.address = f.address AND x.forwarding <> f.forwarding "
            "AND x.active = 1) AND NOT EXISTS (SELECT 1 FROM mailbox o WHERE o.username = f.address) "
            f"ORDER BY f.address, f.forwarding LIMIT {LISTED_MAX}"
        ),
    ),
)

_MAILCOW_PERSON = """
SELECT m.username AS user, {password} AS password, m.name, m.attributes, m.active AS active, d.active AS active_domain,
CASE WHEN m.kind IN ('location', 'thing', 'group') THEN 1 ELSE 0 END AS denied_kind, {elsewhere} AS elsewhere
FROM mailbox m JOIN domain d ON d.domain = m.domain WHERE m.username = :user
"""

MAILCOW = Preset(
    passwords=(
        (
            _MAILCOW_PERSON.format(
                password="CASE WHEN m.authsource = 'mailcow' THEN m.password ELSE NULL END",
                elsewhere="CASE WHEN m.authsource = 'mailcow' THEN 0 ELSE 1 END",
            ),
            _MAILCOW_PERSON.format(password="m.password", elsewhere="0"),
        ),
        (
            "SELECT mailbox AS user, password FROM app_passwd WHERE mailbox = :user AND active = 1 AND dav_access = 1",
            "",
        ),
    ),
    addresses=(
        (
            # 2: active, but hidden from the address book.
            (
                "SELECT a.address FROM alias a WHERE a.goto = :user AND a.active IN (1, 2) "
                "AND NOT EXISTS (SELECT 1 FROM mailbox o WHERE o.username = a.address)"
            ),
        ),
    ),
    domains=("SELECT alias_domain FROM alias_domain WHERE target_domain = :domain AND active = 1",),
    owners=(
        ("SELECT goto AS target FROM alias WHERE address = :user AND active IN (1, 2)",),
        ("SELECT username AS target FROM mailbox WHERE username = :user",),
    ),
    groups=(_LIST.format(active="a.active IN (1, 2)"),),
    default_scheme="BLF-CRYPT",
)

_MODOBOA_PERSON = """
SELECT u.email AS user, u.password, u.first_name, u.last_name, u.is_active AS active, d.enabled AS active_domain,
CASE WHEN u.is_local THEN 0 ELSE 1 END AS elsewhere{more}
FROM core_user u JOIN admin_mailbox mb ON mb.user_id = u.id JOIN admin_domain d ON d.id = mb.domain_id
WHERE u.email = :user
"""
_MODOBOA_ADDRESSES = (
    "SELECT al.address FROM admin_alias al JOIN modoboa_admin_aliasrecipient r ON r.alias_id = al.id "
    "WHERE r.address = :user AND al.enabled{more} AND NOT EXISTS (SELECT 1 FROM modoboa_admin_aliasrecipient o "
    "WHERE o.alias_id = al.id AND o.address <> r.address) "
    "AND NOT EXISTS (SELECT 1 FROM core_user o WHERE o.email = al.address)"
)

_MODOBOA_GROUPS = (
    "SELECT al.address, r.address AS target FROM admin_alias al "
    "JOIN modoboa_admin_aliasrecipient r ON r.alias_id = al.id WHERE al.address > :after AND al.enabled{more} "
    "AND EXISTS (SELECT 1 FROM modoboa_admin_aliasrecipient x WHERE x.alias_id = al.id AND x.address <> r.address) "
    "AND NOT EXISTS (SELECT 1 FROM core_user o WHERE o.email = al.address) "
    f"ORDER BY al.address, r.address LIMIT {LISTED_MAX}"
)

MODOBOA = Preset(
    passwords=(
        (_MODOBOA_PERSON.format(more=", mb.is_send_only AS denied_send_only"), _MODOBOA_PERSON.format(more="")),
    ),
    addresses=(
        (
            _MODOBOA_ADDRESSES.format(more=" AND (al.expire_at IS NULL OR al.expire_at > CURRENT_TIMESTAMP)"),
            _MODOBOA_ADDRESSES.format(more=""),
        ),
    ),
    domains=(
        (
            "SELECT x.name FROM admin_domainalias x JOIN admin_domain d ON d.id = x.target_id "
            "WHERE d.name = :domain AND x.enabled"
        ),
    ),
    owners=(
        (
            (
                "SELECT r.address AS target FROM admin_alias al "
                "JOIN modoboa_admin_aliasrecipient r ON r.alias_id = al.id WHERE al.address = :user AND al.enabled"
            ),
        ),
        ("SELECT email AS target FROM core_user WHERE email = :user",),
    ),
    groups=(
        _MODOBOA_GROUPS.format(more=" AND (al.expire_at IS NULL OR al.expire_at > CURRENT_TIMESTAMP)"),
        _MODOBOA_GROUPS.format(more=""),
    ),
)

MAILINABOX = Preset(
    passwords=(("SELECT email AS user, password FROM users WHERE email = :user",),),
    addresses=(
        ("SELECT source FROM aliases WHERE destination = :user AND source NOT IN (SELECT email FROM users)",),
        # An alias of one's own goes before an automatic one of the same address.
        (
            (
                "SELECT source FROM auto_aliases WHERE destination = :user AND source NOT IN (SELECT email FROM users) "
                "AND source NOT IN (SELECT source FROM aliases)"
            ),
            "",
        ),
    ),
    domains=("SELECT source FROM aliases WHERE destination = '@' || :domain",),
    owners=(
        ("SELECT destination AS target FROM aliases WHERE source = :user AND destination <> ''",),
        ("SELECT email AS target FROM users WHERE email = :user",),
    ),
    groups=(
        (
            "SELECT source AS address, destination AS target FROM aliases WHERE source > :after "
            "AND destination LIKE '%@%@%' AND source NOT IN (SELECT email FROM users) "
            f"ORDER BY source LIMIT {LISTED_MAX}"
        ),
    ),
    default_scheme="SHA512-CRYPT",
)

_MAILU_ADDRESSES = (
    "SELECT a.email, a.destination AS target FROM alias a WHERE a.destination = :user AND NOT a.wildcard{more} "
    'AND NOT EXISTS (SELECT 1 FROM "user" o WHERE o.email = a.email)'
)

_MAILU_GROUPS = (
    "SELECT a.email AS address, a.destination AS target FROM alias a WHERE a.email > :after AND NOT a.wildcard{more} "
    "AND a.destination LIKE '%@%@%' "
    'AND NOT EXISTS (SELECT 1 FROM "user" o WHERE o.email = a.email) '
    f"ORDER BY a.email LIMIT {LISTED_MAX}"
)

MAILU = Preset(
    passwords=(
        ('SELECT email AS user, password, displayed_name AS name, enabled AS active FROM "user" WHERE email = :user',),
        ("SELECT user_email AS user, password, ip AS allow_nets FROM token WHERE user_email = :user",),
    ),
    addresses=((_MAILU_ADDRESSES.format(more=" AND NOT a.disabled"), _MAILU_ADDRESSES.format(more="")),),
    domains=("SELECT name FROM alternative WHERE domain_name = :domain",),
    owners=(
        ("SELECT destination AS target FROM alias WHERE email = :user",),
        ('SELECT email AS target FROM "user" WHERE email = :user',),
    ),
    groups=(_MAILU_GROUPS.format(more=" AND NOT a.disabled"), _MAILU_GROUPS.format(more="")),
)

VIMBADMIN = Preset(
    passwords=(
        (
            (
                "SELECT m.username AS user, m.password, m.name, m.active AS active, d.active AS active_domain, "
                "m.delete_pending AS denied_pending, CASE WHEN m.access_restriction = 'ALL' "
                "OR m.access_restriction LIKE '%IMAP%' THEN 1 ELSE 0 END AS active_access "
                "FROM mailbox m JOIN domain d ON d.id = m.Domain_id WHERE m.username = :user"
            ),
        ),
    ),
    addresses=(
        (
            (
                "SELECT a.address FROM alias a WHERE a.goto = :user AND a.active "
                "AND NOT EXISTS (SELECT 1 FROM mailbox o WHERE o.username = a.address)"
            ),
        ),
    ),
    groups=(_LIST.format(active="a.active"),),
)

PRESETS: dict[str, Preset] = {
    "postfixadmin": POSTFIXADMIN,
    "iredmail": IREDMAIL,
    "mailcow": MAILCOW,
    "modoboa": MODOBOA,
    "mailinabox": MAILINABOX,
    "mailu": MAILU,
    "vimbadmin": VIMBADMIN,
}


def own(password_query: str, addresses_query: str, name_query: str) -> Preset:
    """The preset of an administrator's own queries; the last two may be empty."""
    return Preset(
        passwords=((password_query,),),
        addresses=((addresses_query,),) if addresses_query else (),
        name=(name_query,) if name_query else (),
    )
