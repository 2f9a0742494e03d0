"""The tables. Integers, texts and bytes only, so that a driver's row needs no conversion.

Times are integers ending in _s (seconds since 1970 UTC), truth is 0 or 1. A change here needs a migration in
storage/migrations/versions; a test compares what the migrations make with what stands here.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from storage.records import BEGINLESS, ENDLESS

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    }
)

Int = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
# "C" compares by bytes, as SQLite does: ranges over paths and the order of names are the same on both.
Text = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Bytes = sa.LargeBinary()


def _id() -> sa.Column[int]:
    return sa.Column("id", Int, primary_key=True, autoincrement=True)


def _int(name: str, default: int | None = None) -> sa.Column[int]:
    return sa.Column(name, Int, nullable=False, server_default=None if default is None else str(default))


def _text(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, Text, nullable=False, server_default=default)


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


# What stands alone: epoch, and the guard's secret.
store_meta = sa.Table(
    "store_meta",
    metadata,
    sa.Column("key", Text, primary_key=True),
    _text("value"),
    sqlite_strict=True,
)

accounts = sa.Table(
    "accounts",
    metadata,
    _id(),
    _text("name"),
    _text("name_key"),  # case-folded, NFC: what a name is looked up by
    _text("display_name"),
    _text("display_key"),
    _text("kind"),
    sa.Column("password_hash", Text),
    _int("auth_seq"),
    _text("locale"),
    _text("time_zone"),
    sa.Column("quota_bytes", Int),
    _int("used_bytes"),  # sum of objects.size in live collections, kept by every write
    _int("active"),
    _int("admin"),
    _int("created_s"),
    _text("source", ""),  # the back end whose yes made it; "" for by hand
    sa.Index("ux_accounts_name_key", "name_key", unique=True),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

addresses = sa.Table(
    "addresses",
    metadata,
    _id(),
    sa.Column("account_id", Int, sa.ForeignKey("accounts.id"), nullable=False),
    _text("address"),
    _text("address_key"),
    _int("is_primary"),
    _text("source", ""),  # the back end that said so; "" for by hand
    sa.Index("ux_addresses_address_key", "address_key", unique=True),
    sa.Index("ix_addresses_account_id", "account_id"),
    sqlite_strict=True,
)

collections = sa.Table(
    "collections",
    metadata,
    _id(),
    sa.Column("owner_id", Int, sa.ForeignKey("accounts.id"), nullable=False),
    _text("area"),
    _text("path"),
    sa.Column("parent_id", Int),
    _text("kind"),
    _text("key"),
    sa.Column("display_name", Text),
    sa.Column("description", Text),
    sa.Column("time_zone", Text),
    sa.Column("time_zone_id", Text),
    _text("components"),  # joined with ","
    _int("transparent"),
    _int("position"),
    _int("change_seq"),
    _int("props_seq"),
    _int("created_s"),
    _int("modified_s"),
    sa.Column("deleted_s", Int),
    # What the server keeps itself: "shared" (a place in the home of source_id, somebody else's collection), "feed" (an
    # outside calendar that is followed), "birthdays". "" for all that belongs to the account.
    _text("origin", ""),
    sa.Column("source_id", Int),
    _text("mounted_as", ""),  # of a "shared" one: the access for which its key was made
    sa.Index(
        "ux_collections_source",
        "source_id",
        "owner_id",
        unique=True,
        **_where("deleted_s IS NULL AND source_id IS NOT NULL"),
    ),
    sa.Index("ux_collections_path", "owner_id", "area", "path", unique=True, **_where("deleted_s IS NULL")),
    sa.Index("ux_collections_key", "key", unique=True),
    sa.Index("ix_collections_parent", "parent_id", "position", "id"),
    sa.Index("ix_collections_owner_id", "owner_id"),
    sa.Index("ix_collections_deleted_s", "deleted_s", **_where("deleted_s IS NOT NULL")),
    sqlite_autoincrement=True,  # an id in an old sync token must never mean another collection
    sqlite_strict=True,
)

# Dead properties. object_id 0: of the collection itself.
properties = sa.Table(
    "properties",
    metadata,
    sa.Column("collection_id", Int, sa.ForeignKey("collections.id"), primary_key=True),
    sa.Column("object_id", Int, primary_key=True),
    sa.Column("name", Text, primary_key=True),
    _text("xml"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# What in a calendar or a book may not be for everybody who reads it: a class of its own, one that is not known yet, and
# what is in the blob folder.
SECRET = "secrecy IS NULL OR secrecy <> 0 OR (blob IS NOT NULL AND component <> '')"
SECRET_ONCE = "secrecy <> 0"

objects = sa.Table(
    "objects",
    metadata,
    _id(),
    sa.Column("collection_id", Int, sa.ForeignKey("collections.id"), nullable=False),
    _text("name"),
    _text("etag"),
    _int("size"),
    _text("content_type"),
    _int("change_seq"),
    _int("created_s"),
    _int("modified_s"),
    sa.Column("uid", Text),
    # 0 where a UID may stand once in a collection. In an inbox it may stand in many (RFC 6638 §4.1): the change_seq
    # then.
    _int("uid_tie"),
    _text("component"),
    sa.Column("schedule_tag", Text),
    sa.Column("blob", Text),
    _int("readable"),
    _int("first_s"),
    _int("last_s"),
    _int("exact"),
    _int("recurs"),
    _int("indexed_from_s"),
    _int("indexed_to_s"),
    _int("instances_digest"),  # of the rows in instances, 0 when there are none: equal ones are not written again
    sa.Column("summary", Text),
    # What CLASS asks for (RFC 5545 §3.8.1.3): 2 where every component is PRIVATE, 0 where every one is PUBLIC, else 1;
    # null where it was written before this was kept: the body says. secret_seq: its change_seq when this last rose, 0
    # if never.
    sa.Column("secrecy", Int),
    _int("secret_seq", 0),
    sa.Index("ux_objects_name", "collection_id", "name", unique=True),
    sa.Index("ux_objects_change_seq", "collection_id", "change_seq", unique=True),
    sa.Index("ux_objects_uid", "collection_id", "uid", "uid_tie", unique=True, **_where("uid IS NOT NULL")),
    # Open-ended ranges, and all of one component.
    sa.Index("ix_objects_bounds", "collection_id", "component", "last_s", "first_s"),
    # The few whose instances are not all in the index; see objects.in_range.
    sa.Index("ix_objects_indexed_to", "collection_id", "indexed_to_s", **_where(f"indexed_to_s < {ENDLESS}")),
    sa.Index("ix_objects_indexed_from", "collection_id", "indexed_from_s", **_where(f"indexed_from_s > {BEGINLESS}")),
    sa.Index("ix_objects_horizon", "indexed_to_s", **_where(f"indexed_to_s < {ENDLESS}")),
    sa.Index("ix_objects_unreadable", "collection_id", **_where("readable = 0")),
    sa.Index("ix_objects_unclassified", "component", **_where("secrecy IS NULL")),
    sa.Index("ix_objects_blob", "blob", **_where("blob IS NOT NULL")),
    # What lies in inboxes, by age: these are emptied once a day.
    sa.Index("ix_objects_inbox", "created_s", **_where("uid_tie > 0")),
    # The few that others may not see as they are stored.
    sa.Index("ix_objects_secret", "collection_id", **_where(SECRET)),
    sqlite_strict=True,
)

# Apart from objects, so that listings and queries do not read past the bodies. No row when the body is a blob.
bodies = sa.Table(
    "bodies",
    metadata,
    sa.Column("object_id", Int, sa.ForeignKey("objects.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column("content", Bytes, nullable=False),
    sqlite_strict=True,
)

# The time index. bucket: 2 × floating + long, long = more than timeindex.SHORT_MAX_S. sort_s is the start of a short
# instance and the end of a long one; other_s is its other end. No foreign key: a check for each row would double the
# cost of a write.
instances = sa.Table(
    "instances",
    metadata,
    *(
        sa.Column(name, Int, primary_key=True, autoincrement=False)
        for name in ("collection_id", "bucket", "sort_s", "object_id", "other_s", "busy")
    ),
    sa.Index("ix_instances_object_id", "object_id"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# The time index of what comes again at equal steps, three times or more; see storage/timeindex.py. last_s: the start of
# the last one, at most timeindex.RUN_MAX_S after the first.
runs = sa.Table(
    "runs",
    metadata,
    *(
        sa.Column(name, Int, primary_key=True, autoincrement=False)
        for name in ("collection_id", "floating", "first_s", "object_id", "last_s", "step_s", "length_s", "busy")
    ),
    sa.Index("ix_runs_object_id", "object_id"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# Search texts of contacts, folded by objects.fold_text.
cards = sa.Table(
    "cards",
    metadata,
    sa.Column("collection_id", Int, primary_key=True, autoincrement=False),
    sa.Column("object_id", Int, primary_key=True, autoincrement=False),
    *(_text(name) for name in ("fn", "n", "nickname", "org", "email", "tel")),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# Names that were members once. A name is in objects or here, never in both.
tombstones = sa.Table(
    "tombstones",
    metadata,
    sa.Column("collection_id", Int, sa.ForeignKey("collections.id"), primary_key=True),
    sa.Column("name", Text, primary_key=True),
    _int("change_seq"),
    sa.Column("secrecy", Int),  # of what is gone, as in objects
    _int("secret_seq", 0),
    sa.Index("ux_tombstones_change_seq", "collection_id", "change_seq", unique=True),
    sa.Index("ix_tombstones_secret", "collection_id", **_where(SECRET_ONCE)),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# What an object was before it was replaced ("replaced") or removed ("deleted") at ended_s.
object_versions = sa.Table(
    "object_versions",
    metadata,
    _id(),
    sa.Column("collection_id", Int, sa.ForeignKey("collections.id"), nullable=False),
    _int("object_id"),
    _text("name"),
    _text("etag"),
    _int("size"),
    _text("content_type"),
    _int("change_seq"),
    _int("modified_s"),
    sa.Column("uid", Text),
    _text("component"),
    sa.Column("schedule_tag", Text),
    sa.Column("summary", Text),
    sa.Column("blob", Text),
    sa.Column("content", Bytes),
    _text("cause"),
    _int("ended_s"),
    sa.Index("ix_object_versions_collection", "collection_id", "name"),
    sa.Index("ix_object_versions_ended_s", "ended_s"),
    sa.Index("ix_object_versions_blob", "blob", **_where("blob IS NOT NULL")),
    sqlite_strict=True,
)

# Blobs that nothing refers to, and since when that is known; see blobs.purge_blobs.
orphan_blobs = sa.Table(
    "orphan_blobs",
    metadata,
    sa.Column("name", Text, primary_key=True),
    _int("since_s"),
    sqlite_strict=True,
)

locks = sa.Table(
    "locks",
    metadata,
    sa.Column("token", Text, primary_key=True),
    sa.Column("owner_id", Int, sa.ForeignKey("accounts.id"), nullable=False),
    _text("area"),
    _text("path"),
    _int("depth_infinity"),
    _int("shared"),
    sa.Column("account_id", Int, sa.ForeignKey("accounts.id"), nullable=False),
    _text("owner"),
    _int("timeout_s"),
    _int("expires_s"),
    sa.Index("ix_locks_path", "owner_id", "area", "path"),
    sa.Index("ix_locks_account_id", "account_id"),
    sa.Index("ix_locks_expires_s", "expires_s"),
    sqlite_strict=True,
)

workers = sa.Table(
    "workers",
    metadata,
    _id(),
    _text("host"),
    _int("pid"),
    _text("version"),
    _int("started_s"),
    _int("beat_s"),
    sqlite_strict=True,
)

# Leases of background work: who does it, and until when nobody else may.
jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("name", Text, primary_key=True),
    _text("holder"),
    _int("until_s"),
    sqlite_strict=True,
)

# Who did what. account_id: whose account it concerns, 0 for none. No reference, so that it outlives the account.
audit = sa.Table(
    "audit",
    metadata,
    _id(),
    _int("at_s"),
    _int("account_id"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _text("detail"),
    sa.Index("ix_audit_account", "account_id", "id"),
    sa.Index("ix_audit_at_s", "at_s"),
    sqlite_strict=True,
)

# digest: SHA-256 in hex of a secret of at least 128 random bits, which needs no slow hash. scope: areas joined by ",".
app_passwords = sa.Table(
    "app_passwords",
    metadata,
    _id(),
    sa.Column("account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    _text("name"),
    _text("digest"),
    _text("scope"),
    _int("read_only"),
    _int("created_s"),
    sa.Column("last_used_s", Int),
    sa.Column("expires_s", Int),
    sa.Index("ux_app_passwords_digest", "digest", unique=True),
    sa.Index("ix_app_passwords_account_id", "account_id"),
    sa.Index("ix_app_passwords_expires_s", "expires_s", **_where("expires_s IS NOT NULL")),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# Wrong passwords by lane; see storage/guard.py. key: a keyed hash, so that no address or name stands here.
guard = sa.Table(
    "guard",
    metadata,
    sa.Column("key", Text, primary_key=True),
    _int("failures"),
    _int("last_s"),
    sa.Index("ix_guard_last_s", "last_s"),
    sa.Index("ix_guard_failed", "last_s", **_where("failures > 0")),  # they go after a day, marks of networks stay
    sqlite_with_rowid=False,
    sqlite_strict=True,
)


# The ledger of what goes out by mail (RFC 6047): one message to one recipient. uid: as objects.stored_uid keeps it.
# message_key: SHA-256 in hex of what makes a message the same as another (outbound.message_key); round is part of it.
# state: one of outbound.STATES. not_before_s: when it may be taken next; while it is being sent, when the lease ends.
# since_s: when the first message was put in whose place this one came. ended_s: when it got its last state; null while
# it is held or sending. calendar: empty when it was superseded or undone. It stands last, so that reading the others
# does not read it.
mail_queue = sa.Table(
    "mail_queue",
    metadata,
    _id(),
    sa.Column("account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    _text("message_key"),
    _int("round"),
    _text("uid"),
    _text("recurrence"),
    _text("recipient"),
    _text("recipient_key"),  # case-folded
    _text("recipient_name"),
    _text("sender"),
    _text("sender_name"),
    _text("method"),
    _text("kind"),
    _int("sequence"),
    _text("digest"),
    _text("summary"),
    _text("changes"),  # joined with ","
    _text("state"),
    _text("holder"),
    _int("tries"),
    _int("not_before_s"),
    _int("since_s"),
    _int("created_s"),
    sa.Column("sent_s", Int),
    sa.Column("ended_s", Int),
    _text("message_id"),
    _text("answer"),
    _text("status"),
    sa.Column("calendar", Bytes, nullable=False),
    sa.Column("actor_id", Int),  # who wrote it for the account, null for itself
    sa.Index("ux_mail_queue_message_key", "message_key", unique=True),
    sa.Index("ix_mail_queue_due", "not_before_s", "id", **_where("ended_s IS NULL")),
    sa.Index("ix_mail_queue_thread", "uid", "account_id", "recipient_key", "id"),
    sa.Index("ix_mail_queue_sent", "account_id", "sent_s"),
    sa.Index("ix_mail_queue_recipient", "account_id", "recipient_key"),
    sa.Index("ix_mail_queue_state", "state", "id"),
    sa.Index("ix_mail_queue_ended_s", "ended_s", **_where("ended_s IS NOT NULL")),
    sa.Index("ix_mail_queue_message_id", "message_id", **_where("message_id <> ''")),
    sqlite_autoincrement=True,  # an id in a bounce must never mean another message
    sqlite_strict=True,
)

# Mail addresses to which mail could not be delivered. hard: nobody is there, as often as this was said.
bounces = sa.Table(
    "bounces",
    metadata,
    sa.Column("address_key", Text, primary_key=True),
    _int("hard"),
    _int("soft"),
    _int("last_s"),
    sa.Index("ix_bounces_last_s", "last_s"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# Messages that came in and were used, so that the same one is not used twice.
inbound_seen = sa.Table(
    "inbound_seen",
    metadata,
    sa.Column(
        "account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("digest", Text, primary_key=True),
    _int("at_s"),
    sa.Index("ix_inbound_seen_at_s", "at_s"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# Messages that came in and could not be used. account_id: whose, null when it is nobody's here.
kept_mail = sa.Table(
    "kept_mail",
    metadata,
    _id(),
    sa.Column("account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE")),
    _int("received_s"),
    _text("envelope_from"),
    _text("envelope_to"),
    _text("sender"),
    _text("subject"),
    _text("message_id"),
    _text("method"),
    _text("uid"),
    _text("outcome"),
    _text("reason"),
    _int("size"),
    sa.Column("raw", Bytes, nullable=False),
    sa.Index("ix_kept_mail_account", "account_id", "id"),
    sa.Index("ix_kept_mail_received_s", "received_s"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# The newest that each calendar user said about a meeting, so that what is older does nothing (RFC 5546 §2.1.5).
itip_seen = sa.Table(
    "itip_seen",
    metadata,
    sa.Column(
        "account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("uid", Text, primary_key=True),
    sa.Column("address", Text, primary_key=True),
    sa.Column("recurrence", Text, primary_key=True),
    _int("sequence"),
    _text("dtstamp"),
    _int("at_s"),
    sa.Index("ix_itip_seen_at_s", "at_s"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# How an account answers invitations by itself. No row: as records.DEFAULT_BOOKING says for rooms and resources.
bookings = sa.Table(
    "bookings",
    metadata,
    sa.Column(
        "account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    _text("mode"),
    _text("conflicts"),
    _int("horizon_days"),
    sqlite_strict=True,
)

# Who may act for whom. writes: 1 for also changing, 0 for reading only.
proxies = sa.Table(
    "proxies",
    metadata,
    *(
        sa.Column(name, Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
        for name in ("principal_id", "delegate_id")
    ),
    _int("writes"),
    sa.Index("ix_proxies_delegate_id", "delegate_id"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# Published free-busy addresses. digest: SHA-256 in hex of the secret in the address, of at least 128 random bits.
freebusy_links = sa.Table(
    "freebusy_links",
    metadata,
    sa.Column("digest", Text, primary_key=True),
    sa.Column("account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), nullable=False),
    _int("created_s"),
    sa.Index("ix_freebusy_links_account_id", "account_id"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)


# Who may see or change whose collection. grantee: "12" for the account (also a group), "all" for everybody who signs
# in, "mailto:…" for somebody without an account. access: of records.ACCESS. state: of records.SHARE_STATES, for the
# account itself; for groups and "all" it is "accepted" and share_answers says what their members want. key: an opaque
# unique string that names the invitation.
shares = sa.Table(
    "shares",
    metadata,
    _id(),
    sa.Column("collection_id", Int, sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    _text("grantee"),
    sa.Column("grantee_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE")),
    _text("access"),
    _text("state"),
    _text("key"),
    _text("address"),
    _text("common_name"),
    _text("summary"),
    _int("created_s"),
    _int("changed_s"),
    sa.Index("ux_shares_grantee", "collection_id", "grantee", unique=True),
    sa.Index("ix_shares_grantee_id", "grantee_id", **_where("grantee_id IS NOT NULL")),
    sa.Index("ix_shares_all", "grantee", "collection_id", **_where("grantee = 'all'")),
    sa.Index("ux_shares_key", "key", unique=True),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# What a member of a group, or anybody where "all" may, wants of a share: "accepted" or "declined"; "pending" for who is
# asked though the others are not.
share_answers = sa.Table(
    "share_answers",
    metadata,
    sa.Column("share_id", Int, sa.ForeignKey("shares.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column(
        "account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    _text("state"),
    sa.Index("ix_share_answers_account_id", "account_id"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# Groups. source: the back end that said so, "" for by hand.
members = sa.Table(
    "members",
    metadata,
    *(
        sa.Column(name, Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False)
        for name in ("group_id", "member_id")
    ),
    _text("source", ""),
    sa.Index("ix_members_member_id", "member_id"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)

# What somebody else than the owner keeps for himself at a shared object: his alarms, and lines of the whole.
overlays = sa.Table(
    "overlays",
    metadata,
    sa.Column("object_id", Int, sa.ForeignKey("objects.id", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    sa.Column(
        "account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    _text("digest"),
    sa.Column("content", Bytes, nullable=False),
    sa.Index("ix_overlays_account_id", "account_id"),
    sqlite_strict=True,
)

# Published collections. secret: what stands in the address, which its owner may read again. mode: "whole" or "busy".
feeds_out = sa.Table(
    "feeds_out",
    metadata,
    _id(),
    sa.Column("collection_id", Int, sa.ForeignKey("collections.id", ondelete="CASCADE"), nullable=False),
    _text("secret"),
    _text("mode"),
    _text("label"),
    _int("created_s"),
    sa.Index("ux_feeds_out_secret", "secret", unique=True),
    sa.Index("ix_feeds_out_collection_id", "collection_id"),
    sqlite_autoincrement=True,
    sqlite_strict=True,
)

# Outside calendars that the server follows, one a collection of origin "feed". etag, last_modified: of the last good
# answer, as they came. digest: SHA-256 in hex of its body. error: "" while all is well. holder: who fetches now.
feeds_in = sa.Table(
    "feeds_in",
    metadata,
    sa.Column(
        "collection_id", Int, sa.ForeignKey("collections.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    _text("url"),
    _text("etag", ""),
    _text("last_modified", ""),
    _text("digest", ""),
    _text("error", ""),
    _text("holder", ""),
    _text("strip", ""),  # of "alarms", "attachments", "todos", joined with ","
    sa.Column("interval_s", Int),  # what the user wants; null for what the feed or the setting says
    sa.Column("offered_s", Int),  # what the feed itself asks for
    sa.Column("checked_s", Int),
    sa.Column("good_s", Int),
    _int("next_s"),
    _int("failures", 0),
    _int("held", 0),  # 1: the last answer looked wrong (empty, cut, much less than before) and is believed next time
    _text("notes", ""),  # what of it could not be kept, a line each
    sa.Index("ix_feeds_in_next_s", "next_s"),
    sqlite_strict=True,
)

# What an import has brought over, so that it can go on and be repeated. source: which import; item: where it was there;
# etag: its version there; target: its name here, "" for what was left out; here: its version here when it came.
imported = sa.Table(
    "imported",
    metadata,
    sa.Column(
        "account_id", Int, sa.ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    ),
    sa.Column("source", Text, primary_key=True),
    sa.Column("item", Text, primary_key=True),
    _text("etag"),
    _text("target"),
    _text("here"),
    _int("at_s"),
    sqlite_with_rowid=False,
    sqlite_strict=True,
)


# What a mail server may read, so that people have one password and Davenport keeps it; docs/mail.md shows its side.
# login, address: case-folded. password: with the prefix that tells Dovecot its scheme. Accounts whose password another
# back end keeps, and disabled ones, are not in them. A migration that changes `accounts` or `addresses` must drop the
# views before and make them again after.
VIEWS = {
    "mail_users": """
CREATE VIEW mail_users AS
SELECT name_key AS login, name,
    CASE
        WHEN substr(password_hash, 1, 1) = '{' THEN password_hash
        WHEN substr(password_hash, 1, 10) = '$argon2id$' THEN '{ARGON2ID}' || password_hash
        WHEN substr(password_hash, 1, 9) = '$argon2i$' THEN '{ARGON2I}' || password_hash
        ELSE '{CRYPT}' || password_hash
    END AS password,
    display_name, quota_bytes
FROM accounts
WHERE active = 1 AND password_hash <> ''
""",
    "mail_addresses": """
CREATE VIEW mail_addresses AS
SELECT d.address_key AS address, a.name AS name, a.name_key AS login, d.is_primary AS is_primary
FROM addresses d JOIN accounts a ON a.id = d.account_id
WHERE a.active = 1 AND a.password_hash <> ''
""",
}


def _make_views(target: sa.MetaData, connection: sa.Connection, **_: object) -> None:
    for text in VIEWS.values():
        connection.exec_driver_sql(text.strip())


def _drop_views(target: sa.MetaData, connection: sa.Connection, **_: object) -> None:
    for name in VIEWS:
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")


sa.event.listen(metadata, "after_create", _make_views)
sa.event.listen(metadata, "before_drop", _drop_views)
