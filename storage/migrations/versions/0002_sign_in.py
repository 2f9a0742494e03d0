"""Signing in by other back ends: where accounts and addresses come from, app passwords, the guard's counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Int = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("accounts", sa.Column("source", Text, nullable=False, server_default=""))
    op.add_column("addresses", sa.Column("source", Text, nullable=False, server_default=""))
    op.create_table(
        "app_passwords",
        sa.Column("id", Int, nullable=False),
        sa.Column("account_id", Int, nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("digest", Text, nullable=False),
        sa.Column("scope", Text, nullable=False),
        sa.Column("read_only", Int, nullable=False),
        sa.Column("created_s", Int, nullable=False),
        sa.Column("last_used_s", Int, nullable=True),
        sa.Column("expires_s", Int, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_app_passwords"),
        sa.ForeignKeyConstraint(
            ["account_id"], ["accounts.id"], name="fk_app_passwords_account_id", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ux_app_passwords_digest", "app_passwords", ["digest"], unique=True)
    op.create_index("ix_app_passwords_account_id", "app_passwords", ["account_id"], unique=False)
    op.create_table(
        "guard",
        sa.Column("key", Text, nullable=False),
        sa.Column("failures", Int, nullable=False),
        sa.Column("last_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_guard"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_guard_last_s", "guard", ["last_s"], unique=False)
