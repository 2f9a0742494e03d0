"""Alembic's environment for whoever writes a migration: `alembic -c storage/migrations/alembic.ini revision`.

The program itself does not read this file; it runs the migrations by storage/migrate.py on its own connection.
"""

from __future__ import annotations

from alembic import context
from sqlalchemy import create_engine

from storage.schema import metadata


def run() -> None:
    url = context.config.get_main_option("sqlalchemy.url") or context.get_x_argument(as_dictionary=True)["url"]
    with create_engine(url).connect() as connection:
        context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
        with context.begin_transaction():
            context.run_migrations()


run()
