"""What PostgreSQL's planner knows of the tables, made as soon as they have something in them.

Its autovacuum does this too, a minute or more after a store was filled, restored or has grown; until then the planner
guesses that most collections are deleted and that each has a tenth of all members, and walks through indexes: with
36,000 collections a listing of a home took 3.8 ms of its time instead of 1. SQLite needs none: its plans are fixed.
"""

from __future__ import annotations

import sqlalchemy as sa

from storage import schema
from storage.engine import Statement, Store, transaction

# A table is looked at anew when so many rows and this part of it have changed, as autovacuum does by half.
_ROWS_LEAST = 200


def refresh(store: Store) -> list[str]:
    """Make the statistics of tables that have none, or have changed by a fifth; returns their names.

    Reads 30,000 rows of each at most, whatever its size. Each in a transaction of its own, in which nobody has to wait
    but another refresh. Does nothing on SQLite.
    """
    if store.dialect != "postgresql":
        return []
    with transaction(store) as conn:
        found = [str(row[0]) for row in _STALE.all(conn, least=_ROWS_LEAST)]
    # Only tables of ours: the schema may hold others.
    names = [name for name in found if name in schema.metadata.tables]
    for name in names:
        with transaction(store, write=True) as conn:
            _ANALYZE[name].run(conn)
    return names


_STALE = Statement(
    postgresql=sa.text(
        "SELECT relname FROM pg_stat_user_tables WHERE relid IN (SELECT oid FROM pg_class"
        " WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r')"
        " AND n_mod_since_analyze > 0 AND (n_mod_since_analyze > CAST(:least AS bigint) + n_live_tup / 5"
        " OR (last_analyze IS NULL AND last_autoanalyze IS NULL)) ORDER BY relname"
    ).bindparams(sa.bindparam("least", type_=sa.BigInteger()))
)
_ANALYZE = {name: Statement(postgresql=sa.text(f"ANALYZE {name}")) for name in schema.metadata.tables}
