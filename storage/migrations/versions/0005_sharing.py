"""Sharing: shares, groups, what others keep for themselves, published and followed calendars, imports."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Int = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Bytes = sa.LargeBinary()


def upgrade() -> None:
    op.add_column("collections", sa.Column("origin", Text, nullable=False, server_default=""))
    op.add_column("collections", sa.Column("source_id", Int))
    op.add_column("collections", sa.Column("mounted_as", Text, nullable=False, server_default=""))
    _index(
        "ux_collections_source", "collections", ["source_id", "owner_id"],
        "deleted_s IS NULL AND source_id IS NOT NULL", unique=True,
    )  # fmt: skip
    for table in ("objects", "tombstones"):
        op.add_column(table, sa.Column("secrecy", Int))
        op.add_column(table, sa.Column("secret_seq", Int, nullable=False, server_default="0"))
    _index("ix_objects_unclassified", "objects", ["component"], "secrecy IS NULL")
    op.add_column("mail_queue", sa.Column("actor_id", Int))
    _give_notifications()
    op.create_table(
        "shares",
        sa.Column("id", Int, nullable=False),
        sa.Column("collection_id", Int, nullable=False),
        sa.Column("grantee", Text, nullable=False),
        sa.Column("grantee_id", Int, nullable=True),
        *_texts("access", "state", "key", "address", "common_name", "summary"),
        sa.Column("created_s", Int, nullable=False),
        sa.Column("changed_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_shares"),
        _of_collection("shares"),
        _of_account("shares", "grantee_id"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    _index("ux_shares_grantee", "shares", ["collection_id", "grantee"], unique=True)
    _index("ix_shares_grantee_id", "shares", ["grantee_id"], "grantee_id IS NOT NULL")
    _index("ix_shares_all", "shares", ["grantee", "collection_id"], "grantee = 'all'")
    _index("ux_shares_key", "shares", ["key"], unique=True)
    op.create_table(
        "share_answers",
        sa.Column("share_id", Int, nullable=False),
        sa.Column("account_id", Int, nullable=False),
        *_texts("state"),
        sa.PrimaryKeyConstraint("share_id", "account_id", name="pk_share_answers"),
        sa.ForeignKeyConstraint(["share_id"], ["shares.id"], name="fk_share_answers_share_id", ondelete="CASCADE"),
        _of_account("share_answers", "account_id"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    _index("ix_share_answers_account_id", "share_answers", ["account_id"])
    op.create_table(
        "members",
        sa.Column("group_id", Int, nullable=False),
        sa.Column("member_id", Int, nullable=False),
        sa.Column("source", Text, nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("group_id", "member_id", name="pk_members"),
        _of_account("members", "group_id"),
        _of_account("members", "member_id"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    _index("ix_members_member_id", "members", ["member_id"])
    op.create_table(
        "overlays",
        sa.Column("object_id", Int, nullable=False),
        sa.Column("account_id", Int, nullable=False),
        *_texts("digest"),
        sa.Column("content", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("object_id", "account_id", name="pk_overlays"),
        sa.ForeignKeyConstraint(["object_id"], ["objects.id"], name="fk_overlays_object_id", ondelete="CASCADE"),
        _of_account("overlays", "account_id"),
        sqlite_strict=True,
    )
    _index("ix_overlays_account_id", "overlays", ["account_id"])
    op.create_table(
        "feeds_out",
        sa.Column("id", Int, nullable=False),
        sa.Column("collection_id", Int, nullable=False),
        *_texts("secret", "mode", "label"),
        sa.Column("created_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_feeds_out"),
        _of_collection("feeds_out"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    _index("ux_feeds_out_secret", "feeds_out", ["secret"], unique=True)
    _index("ix_feeds_out_collection_id", "feeds_out", ["collection_id"])
    op.create_table(
        "feeds_in",
        sa.Column("collection_id", Int, nullable=False),
        *_texts("url"),
        *_empty("etag", "last_modified", "digest", "error", "holder", "strip"),
        sa.Column("interval_s", Int, nullable=True),
        sa.Column("offered_s", Int, nullable=True),
        sa.Column("checked_s", Int, nullable=True),
        sa.Column("good_s", Int, nullable=True),
        sa.Column("next_s", Int, nullable=False),
        sa.Column("failures", Int, nullable=False, server_default="0"),
        sa.Column("held", Int, nullable=False, server_default="0"),
        *_empty("notes"),
        sa.PrimaryKeyConstraint("collection_id", name="pk_feeds_in"),
        _of_collection("feeds_in"),
        sqlite_strict=True,
    )
    _index("ix_feeds_in_next_s", "feeds_in", ["next_s"])
    op.create_table(
        "imported",
        sa.Column("account_id", Int, nullable=False),
        *_texts("source", "item", "etag", "target", "here"),
        sa.Column("at_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "source", "item", name="pk_imported"),
        _of_account("imported", "account_id"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )


def _give_notifications() -> None:
    """Every account that has an inbox gets a collection for notices, unless something is called so."""
    random = "lower(hex(randomblob(16)))"
    if op.get_bind().dialect.name == "postgresql":
        random = "md5(random()::text || h.id::text || clock_timestamp()::text)"
    op.execute(
        f"""
INSERT INTO collections (owner_id, area, path, parent_id, kind, key, components, transparent, position, change_seq,
    props_seq, created_s, modified_s)
SELECT h.owner_id, h.area, 'notifications', h.id, 'notifications', {random}, '', 0, 0, 0, 1, h.created_s, h.created_s
FROM collections h JOIN collections i ON i.parent_id = h.id AND i.kind = 'inbox' AND i.deleted_s IS NULL
WHERE h.kind = 'home' AND h.area = 'calendars' AND h.deleted_s IS NULL AND NOT EXISTS (
    SELECT 1 FROM collections o WHERE o.owner_id = h.owner_id AND o.area = h.area AND o.path = 'notifications'
        AND o.deleted_s IS NULL)
"""
    )


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, Text, nullable=False) for name in names]


def _empty(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, Text, nullable=False, server_default="") for name in names]


def _of_account(table: str, column: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["accounts.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def _of_collection(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_collection_id"
    return sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name=name, ondelete="CASCADE")


def _index(name: str, table: str, columns: list[str], where: str | None = None, *, unique: bool = False) -> None:
    partial: dict[str, Any] = {}
    if where is not None:
        partial = {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    op.create_index(name, table, columns, unique=unique, **partial)
