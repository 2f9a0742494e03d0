"""The tables of the first release."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Int = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Bytes = sa.LargeBinary()


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", Int, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("name_key", Text, nullable=False),
        sa.Column("display_name", Text, nullable=False),
        sa.Column("display_key", Text, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("password_hash", Text, nullable=True),
        sa.Column("auth_seq", Int, nullable=False),
        sa.Column("locale", Text, nullable=False),
        sa.Column("time_zone", Text, nullable=False),
        sa.Column("quota_bytes", Int, nullable=True),
        sa.Column("used_bytes", Int, nullable=False),
        sa.Column("active", Int, nullable=False),
        sa.Column("admin", Int, nullable=False),
        sa.Column("created_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_accounts"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ux_accounts_name_key", "accounts", ["name_key"], unique=True)
    op.create_table(
        "audit",
        sa.Column("id", Int, nullable=False),
        sa.Column("at_s", Int, nullable=False),
        sa.Column("account_id", Int, nullable=False),
        sa.Column("actor", Text, nullable=False),
        sa.Column("action", Text, nullable=False),
        sa.Column("subject", Text, nullable=False),
        sa.Column("detail", Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_strict=True,
    )
    op.create_index("ix_audit_account", "audit", ["account_id", "id"], unique=False)
    op.create_index("ix_audit_at_s", "audit", ["at_s"], unique=False)
    op.create_table(
        "cards",
        sa.Column("collection_id", Int, nullable=False),
        sa.Column("object_id", Int, nullable=False),
        sa.Column("fn", Text, nullable=False),
        sa.Column("n", Text, nullable=False),
        sa.Column("nickname", Text, nullable=False),
        sa.Column("org", Text, nullable=False),
        sa.Column("email", Text, nullable=False),
        sa.Column("tel", Text, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "object_id", name="pk_cards"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "instances",
        sa.Column("collection_id", Int, nullable=False),
        sa.Column("bucket", Int, nullable=False),
        sa.Column("sort_s", Int, nullable=False),
        sa.Column("object_id", Int, nullable=False),
        sa.Column("other_s", Int, nullable=False),
        sa.Column("busy", Int, nullable=False),
        sa.PrimaryKeyConstraint(
            "collection_id", "bucket", "sort_s", "object_id", "other_s", "busy", name="pk_instances"
        ),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_instances_object_id", "instances", ["object_id"], unique=False)
    op.create_table(
        "jobs",
        sa.Column("name", Text, nullable=False),
        sa.Column("holder", Text, nullable=False),
        sa.Column("until_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_jobs"),
        sqlite_strict=True,
    )
    op.create_table(
        "orphan_blobs",
        sa.Column("name", Text, nullable=False),
        sa.Column("since_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_orphan_blobs"),
        sqlite_strict=True,
    )
    op.create_table(
        "store_meta",
        sa.Column("key", Text, nullable=False),
        sa.Column("value", Text, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_store_meta"),
        sqlite_strict=True,
    )
    op.create_table(
        "workers",
        sa.Column("id", Int, nullable=False),
        sa.Column("host", Text, nullable=False),
        sa.Column("pid", Int, nullable=False),
        sa.Column("version", Text, nullable=False),
        sa.Column("started_s", Int, nullable=False),
        sa.Column("beat_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
        sqlite_strict=True,
    )
    op.create_table(
        "addresses",
        sa.Column("id", Int, nullable=False),
        sa.Column("account_id", Int, nullable=False),
        sa.Column("address", Text, nullable=False),
        sa.Column("address_key", Text, nullable=False),
        sa.Column("is_primary", Int, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_addresses"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_addresses_account_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_addresses_account_id", "addresses", ["account_id"], unique=False)
    op.create_index("ux_addresses_address_key", "addresses", ["address_key"], unique=True)
    op.create_table(
        "collections",
        sa.Column("id", Int, nullable=False),
        sa.Column("owner_id", Int, nullable=False),
        sa.Column("area", Text, nullable=False),
        sa.Column("path", Text, nullable=False),
        sa.Column("parent_id", Int, nullable=True),
        sa.Column("kind", Text, nullable=False),
        sa.Column("key", Text, nullable=False),
        sa.Column("display_name", Text, nullable=True),
        sa.Column("description", Text, nullable=True),
        sa.Column("time_zone", Text, nullable=True),
        sa.Column("time_zone_id", Text, nullable=True),
        sa.Column("components", Text, nullable=False),
        sa.Column("transparent", Int, nullable=False),
        sa.Column("position", Int, nullable=False),
        sa.Column("change_seq", Int, nullable=False),
        sa.Column("props_seq", Int, nullable=False),
        sa.Column("created_s", Int, nullable=False),
        sa.Column("modified_s", Int, nullable=False),
        sa.Column("deleted_s", Int, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_collections"),
        sa.ForeignKeyConstraint(["owner_id"], ["accounts.id"], name="fk_collections_owner_id"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index(
        "ix_collections_deleted_s",
        "collections",
        ["deleted_s"],
        unique=False,
        sqlite_where=sa.text("deleted_s IS NOT NULL"),
        postgresql_where=sa.text("deleted_s IS NOT NULL"),
    )
    op.create_index("ix_collections_owner_id", "collections", ["owner_id"], unique=False)
    op.create_index("ix_collections_parent", "collections", ["parent_id", "position", "id"], unique=False)
    op.create_index("ux_collections_key", "collections", ["key"], unique=True)
    op.create_index(
        "ux_collections_path",
        "collections",
        ["owner_id", "area", "path"],
        unique=True,
        sqlite_where=sa.text("deleted_s IS NULL"),
        postgresql_where=sa.text("deleted_s IS NULL"),
    )
    op.create_table(
        "locks",
        sa.Column("token", Text, nullable=False),
        sa.Column("owner_id", Int, nullable=False),
        sa.Column("area", Text, nullable=False),
        sa.Column("path", Text, nullable=False),
        sa.Column("depth_infinity", Int, nullable=False),
        sa.Column("shared", Int, nullable=False),
        sa.Column("account_id", Int, nullable=False),
        sa.Column("owner", Text, nullable=False),
        sa.Column("timeout_s", Int, nullable=False),
        sa.Column("expires_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_locks"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_locks_account_id"),
        sa.ForeignKeyConstraint(["owner_id"], ["accounts.id"], name="fk_locks_owner_id"),
        sqlite_strict=True,
    )
    op.create_index("ix_locks_account_id", "locks", ["account_id"], unique=False)
    op.create_index("ix_locks_expires_s", "locks", ["expires_s"], unique=False)
    op.create_index("ix_locks_path", "locks", ["owner_id", "area", "path"], unique=False)
    op.create_table(
        "object_versions",
        sa.Column("id", Int, nullable=False),
        sa.Column("collection_id", Int, nullable=False),
        sa.Column("object_id", Int, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("etag", Text, nullable=False),
        sa.Column("size", Int, nullable=False),
        sa.Column("content_type", Text, nullable=False),
        sa.Column("change_seq", Int, nullable=False),
        sa.Column("modified_s", Int, nullable=False),
        sa.Column("uid", Text, nullable=True),
        sa.Column("component", Text, nullable=False),
        sa.Column("schedule_tag", Text, nullable=True),
        sa.Column("summary", Text, nullable=True),
        sa.Column("blob", Text, nullable=True),
        sa.Column("content", Bytes, nullable=True),
        sa.Column("cause", Text, nullable=False),
        sa.Column("ended_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_object_versions"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name="fk_object_versions_collection_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_object_versions_blob",
        "object_versions",
        ["blob"],
        unique=False,
        sqlite_where=sa.text("blob IS NOT NULL"),
        postgresql_where=sa.text("blob IS NOT NULL"),
    )
    op.create_index("ix_object_versions_collection", "object_versions", ["collection_id", "name"], unique=False)
    op.create_index("ix_object_versions_ended_s", "object_versions", ["ended_s"], unique=False)
    op.create_table(
        "objects",
        sa.Column("id", Int, nullable=False),
        sa.Column("collection_id", Int, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("etag", Text, nullable=False),
        sa.Column("size", Int, nullable=False),
        sa.Column("content_type", Text, nullable=False),
        sa.Column("change_seq", Int, nullable=False),
        sa.Column("created_s", Int, nullable=False),
        sa.Column("modified_s", Int, nullable=False),
        sa.Column("uid", Text, nullable=True),
        sa.Column("uid_tie", Int, nullable=False),
        sa.Column("component", Text, nullable=False),
        sa.Column("schedule_tag", Text, nullable=True),
        sa.Column("blob", Text, nullable=True),
        sa.Column("readable", Int, nullable=False),
        sa.Column("first_s", Int, nullable=False),
        sa.Column("last_s", Int, nullable=False),
        sa.Column("exact", Int, nullable=False),
        sa.Column("recurs", Int, nullable=False),
        sa.Column("indexed_from_s", Int, nullable=False),
        sa.Column("indexed_to_s", Int, nullable=False),
        sa.Column("instances_digest", Int, nullable=False),
        sa.Column("summary", Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_objects"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name="fk_objects_collection_id"),
        sqlite_strict=True,
    )
    op.create_index(
        "ix_objects_blob",
        "objects",
        ["blob"],
        unique=False,
        sqlite_where=sa.text("blob IS NOT NULL"),
        postgresql_where=sa.text("blob IS NOT NULL"),
    )
    op.create_index("ix_objects_bounds", "objects", ["collection_id", "component", "last_s", "first_s"], unique=False)
    op.create_index(
        "ix_objects_horizon",
        "objects",
        ["indexed_to_s"],
        unique=False,
        sqlite_where=sa.text("indexed_to_s < 8796093022208"),
        postgresql_where=sa.text("indexed_to_s < 8796093022208"),
    )
    op.create_index(
        "ix_objects_indexed_from",
        "objects",
        ["collection_id", "indexed_from_s"],
        unique=False,
        sqlite_where=sa.text("indexed_from_s > -8796093022208"),
        postgresql_where=sa.text("indexed_from_s > -8796093022208"),
    )
    op.create_index(
        "ix_objects_indexed_to",
        "objects",
        ["collection_id", "indexed_to_s"],
        unique=False,
        sqlite_where=sa.text("indexed_to_s < 8796093022208"),
        postgresql_where=sa.text("indexed_to_s < 8796093022208"),
    )
    op.create_index(
        "ix_objects_unreadable",
        "objects",
        ["collection_id"],
        unique=False,
        sqlite_where=sa.text("readable = 0"),
        postgresql_where=sa.text("readable = 0"),
    )
    op.create_index("ux_objects_change_seq", "objects", ["collection_id", "change_seq"], unique=True)
    op.create_index("ux_objects_name", "objects", ["collection_id", "name"], unique=True)
    op.create_index(
        "ux_objects_uid",
        "objects",
        ["collection_id", "uid", "uid_tie"],
        unique=True,
        sqlite_where=sa.text("uid IS NOT NULL"),
        postgresql_where=sa.text("uid IS NOT NULL"),
    )
    op.create_table(
        "properties",
        sa.Column("collection_id", Int, nullable=False),
        sa.Column("object_id", Int, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("xml", Text, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "object_id", "name", name="pk_properties"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name="fk_properties_collection_id"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_table(
        "tombstones",
        sa.Column("collection_id", Int, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("change_seq", Int, nullable=False),
        sa.PrimaryKeyConstraint("collection_id", "name", name="pk_tombstones"),
        sa.ForeignKeyConstraint(["collection_id"], ["collections.id"], name="fk_tombstones_collection_id"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ux_tombstones_change_seq", "tombstones", ["collection_id", "change_seq"], unique=True)
    op.create_table(
        "bodies",
        sa.Column("object_id", Int, nullable=False),
        sa.Column("content", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("object_id", name="pk_bodies"),
        sa.ForeignKeyConstraint(["object_id"], ["objects.id"], name="fk_bodies_object_id", ondelete="CASCADE"),
        sqlite_strict=True,
    )
