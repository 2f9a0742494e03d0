"""Scheduling: the ledger of mail, what came in, how rooms answer, delegates, published free-busy addresses."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Int = sa.Integer().with_variant(sa.BigInteger(), "postgresql")
Text = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
Bytes = sa.LargeBinary()


def upgrade() -> None:
    op.create_table(
        "mail_queue",
        sa.Column("id", Int, nullable=False),
        sa.Column("account_id", Int, nullable=False),
        sa.Column("message_key", Text, nullable=False),
        sa.Column("round", Int, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("recurrence", Text, nullable=False),
        sa.Column("recipient", Text, nullable=False),
        sa.Column("recipient_key", Text, nullable=False),
        sa.Column("recipient_name", Text, nullable=False),
        sa.Column("sender", Text, nullable=False),
        sa.Column("sender_name", Text, nullable=False),
        sa.Column("method", Text, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("sequence", Int, nullable=False),
        sa.Column("digest", Text, nullable=False),
        sa.Column("summary", Text, nullable=False),
        sa.Column("changes", Text, nullable=False),
        sa.Column("state", Text, nullable=False),
        sa.Column("holder", Text, nullable=False),
        sa.Column("tries", Int, nullable=False),
        sa.Column("not_before_s", Int, nullable=False),
        sa.Column("since_s", Int, nullable=False),
        sa.Column("created_s", Int, nullable=False),
        sa.Column("sent_s", Int, nullable=True),
        sa.Column("ended_s", Int, nullable=True),
        sa.Column("message_id", Text, nullable=False),
        sa.Column("answer", Text, nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("calendar", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_mail_queue"),
        _of_account("mail_queue"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    op.create_index("ux_mail_queue_message_key", "mail_queue", ["message_key"], unique=True)
    _index("ix_mail_queue_due", "mail_queue", ["not_before_s", "id"], "ended_s IS NULL")
    _index("ix_mail_queue_thread", "mail_queue", ["uid", "account_id", "recipient_key", "id"])
    _index("ix_mail_queue_sent", "mail_queue", ["account_id", "sent_s"])
    _index("ix_mail_queue_recipient", "mail_queue", ["account_id", "recipient_key"])
    _index("ix_mail_queue_state", "mail_queue", ["state", "id"])
    _index("ix_mail_queue_ended_s", "mail_queue", ["ended_s"], "ended_s IS NOT NULL")
    _index("ix_mail_queue_message_id", "mail_queue", ["message_id"], "message_id <> ''")
    op.create_table(
        "bounces",
        sa.Column("address_key", Text, nullable=False),
        sa.Column("hard", Int, nullable=False),
        sa.Column("soft", Int, nullable=False),
        sa.Column("last_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("address_key", name="pk_bounces"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    _index("ix_bounces_last_s", "bounces", ["last_s"])
    op.create_table(
        "inbound_seen",
        sa.Column("account_id", Int, nullable=False),
        sa.Column("digest", Text, nullable=False),
        sa.Column("at_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "digest", name="pk_inbound_seen"),
        _of_account("inbound_seen"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    _index("ix_inbound_seen_at_s", "inbound_seen", ["at_s"])
    op.create_table(
        "kept_mail",
        sa.Column("id", Int, nullable=False),
        sa.Column("account_id", Int, nullable=True),
        sa.Column("received_s", Int, nullable=False),
        sa.Column("envelope_from", Text, nullable=False),
        sa.Column("envelope_to", Text, nullable=False),
        sa.Column("sender", Text, nullable=False),
        sa.Column("subject", Text, nullable=False),
        sa.Column("message_id", Text, nullable=False),
        sa.Column("method", Text, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("outcome", Text, nullable=False),
        sa.Column("reason", Text, nullable=False),
        sa.Column("size", Int, nullable=False),
        sa.Column("raw", Bytes, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_kept_mail"),
        _of_account("kept_mail"),
        sqlite_autoincrement=True,
        sqlite_strict=True,
    )
    _index("ix_kept_mail_account", "kept_mail", ["account_id", "id"])
    _index("ix_kept_mail_received_s", "kept_mail", ["received_s"])
    op.create_table(
        "itip_seen",
        sa.Column("account_id", Int, nullable=False),
        sa.Column("uid", Text, nullable=False),
        sa.Column("address", Text, nullable=False),
        sa.Column("recurrence", Text, nullable=False),
        sa.Column("sequence", Int, nullable=False),
        sa.Column("dtstamp", Text, nullable=False),
        sa.Column("at_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("account_id", "uid", "address", "recurrence", name="pk_itip_seen"),
        _of_account("itip_seen"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    _index("ix_itip_seen_at_s", "itip_seen", ["at_s"])
    op.create_table(
        "bookings",
        sa.Column("account_id", Int, nullable=False),
        sa.Column("mode", Text, nullable=False),
        sa.Column("conflicts", Text, nullable=False),
        sa.Column("horizon_days", Int, nullable=False),
        sa.PrimaryKeyConstraint("account_id", name="pk_bookings"),
        _of_account("bookings"),
        sqlite_strict=True,
    )
    op.create_table(
        "proxies",
        sa.Column("principal_id", Int, nullable=False),
        sa.Column("delegate_id", Int, nullable=False),
        sa.Column("writes", Int, nullable=False),
        sa.PrimaryKeyConstraint("principal_id", "delegate_id", name="pk_proxies"),
        _of_account("proxies", "principal_id"),
        _of_account("proxies", "delegate_id"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    _index("ix_proxies_delegate_id", "proxies", ["delegate_id"])
    op.create_table(
        "freebusy_links",
        sa.Column("digest", Text, nullable=False),
        sa.Column("account_id", Int, nullable=False),
        sa.Column("created_s", Int, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_freebusy_links"),
        _of_account("freebusy_links"),
        sqlite_with_rowid=False,
        sqlite_strict=True,
    )
    _index("ix_freebusy_links_account_id", "freebusy_links", ["account_id"])


def _of_account(table: str, column: str = "account_id") -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], ["accounts.id"], name=f"fk_{table}_{column}", ondelete="CASCADE")


def _index(name: str, table: str, columns: list[str], where: str | None = None) -> None:
    partial: dict[str, Any] = {}
    if where is not None:
        partial = {"sqlite_where": sa.text(where), "postgresql_where": sa.text(where)}
    op.create_index(name, table, columns, unique=False, **partial)
