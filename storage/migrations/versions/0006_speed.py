"""Speed: a series in the time index by its runs. What is indexed already stays as it is, and both are looked at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

Int = sa.Integer().with_variant(sa.BigInteger(), "postgresql")


def upgrade() -> None:
    columns = ("collection_id", "floating", "first_s", "object_id", "last_s", "step_s", "length_s", "busy")
    op.create_table(
        "runs",
        *(sa.Column(name, Int, nullable=False) for name in columns),
        sa.PrimaryKeyConstraint(*columns, name="pk_runs"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    op.create_index("ix_runs_object_id", "runs", ["object_id"], unique=False)
    # What others may not see as it is stored: a look says that a collection has nothing of the kind.
    secret = "secrecy IS NULL OR secrecy <> 0 OR (blob IS NOT NULL AND component <> '')"
    for name, table, condition in (
        ("ix_objects_secret", "objects", secret),
        ("ix_tombstones_secret", "tombstones", "secrecy <> 0"),
    ):
        where = sa.text(condition)
        op.create_index(name, table, ["collection_id"], unique=False, sqlite_where=where, postgresql_where=where)
    # What is purged by its age, without a look at what stays.
    for name, table, column, condition in (
        ("ix_objects_inbox", "objects", "created_s", "uid_tie > 0"),
        ("ix_app_passwords_expires_s", "app_passwords", "expires_s", "expires_s IS NOT NULL"),
        ("ix_guard_failed", "guard", "last_s", "failures > 0"),
    ):
        where = sa.text(condition)
        op.create_index(name, table, [column], unique=False, sqlite_where=where, postgresql_where=where)
