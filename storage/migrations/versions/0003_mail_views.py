"""Views by which a mail server signs the same people in; see docs/mail.md."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MAIL_USERS = """
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
"""
MAIL_ADDRESSES = """
CREATE VIEW mail_addresses AS
SELECT d.address_key AS address, a.name AS name, a.name_key AS login, d.is_primary AS is_primary
FROM addresses d JOIN accounts a ON a.id = d.account_id
WHERE a.active = 1 AND a.password_hash <> ''
"""


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(MAIL_USERS.strip())
    connection.exec_driver_sql(MAIL_ADDRESSES.strip())
