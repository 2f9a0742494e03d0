"""Bringing a store to the schema of this program, and who is using it meanwhile.

An empty store gets its tables at once from storage/schema.py; an older one goes through the Alembic migrations in
storage/migrations, all in one transaction. Alembic is imported only when there is something to migrate.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from storage import links, schema
from storage.engine import Conn, Statement, Store, new_epoch, raise_busy, transaction
from storage.errors import StoreInUse, StoreNewer

# The newest migration in storage/migrations/versions: what storage/schema.py describes.
HEAD = "0006"
MIGRATIONS = Path(__file__).with_name("migrations")
# A worker that has not given a sign for so long is taken for dead.
ALIVE_S = 60
# PostgreSQL advisory lock of whoever migrates: the letters "Dvnp".
_ADVISORY_LOCK = 0x44766E70

_workers = schema.workers


def upgrade(store: Store, *, version: str, now_s: int | None = None) -> None:
    """Make the store's schema that of this program; does nothing when it is already.

    version: of this program, for the messages. Only one process at a time does this, the others wait.
    Raises StoreNewer when the store was migrated by a newer program, StoreInUse when workers of another version that
    still run would meet a schema they do not know, StoreBusy when the lock could not be had in time.
    """
    now_s = int(time.time()) if now_s is None else now_s
    with _exclusive(store) as connection:
        revision = _revision(connection)
        if revision == HEAD:
            return
        if revision is None:
            schema.metadata.create_all(connection)
            connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
            connection.execute(sa.text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})
            connection.execute(schema.store_meta.insert().values(key="epoch", value=new_epoch()))
            links.prepare(connection)
            return
        _refuse_newer(revision, version)
        _refuse_in_use(connection, version, now_s)
        run_migrations(connection, HEAD)
        links.prepare(connection)


def run_migrations(connection: Connection, target: str) -> None:
    """Run the Alembic migrations up to `target` on a connection with an open transaction; the caller commits."""
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)

    def steps(revision: object, context: MigrationContext) -> object:
        return scripts._upgrade_revs(target, revision)  # type: ignore[arg-type]

    with EnvironmentContext(config, scripts, fn=steps, destination_rev=target) as environment:
        environment.configure(connection=connection, target_metadata=schema.metadata, transactional_ddl=False)
        environment.run_migrations()


def renew_epoch(store: Store) -> str:
    """Give the store a new epoch, after a restore: clients then compare everything. Returns it."""
    epoch = new_epoch()
    with transaction(store, write=True) as conn:
        _SET_EPOCH.run(conn, epoch=epoch)
    store.forget_epoch()
    return epoch


def register_worker(store: Store, *, version: str, now_s: int) -> int:
    """Say that this process works on the store from now on; returns its number for beat and unregister_worker.

    Entries of workers that are dead for a day are dropped on the way.
    """
    with transaction(store, write=True) as conn:
        _DROP_DEAD.run(conn, before_s=now_s - 86400)
        worker_id: int = _REGISTER.scalar(
            conn, host=socket.gethostname(), pid=os.getpid(), version=version, started_s=now_s, beat_s=now_s
        )
    return worker_id


def beat(store: Store, worker_id: int, now_s: int) -> None:
    """Say that the worker is still alive; call it at least every ALIVE_S / 3 seconds."""
    with transaction(store, write=True) as conn:
        _BEAT.run(conn, worker_id=worker_id, now_s=now_s)


def unregister_worker(store: Store, worker_id: int) -> None:
    """Say that the worker has ended."""
    with transaction(store, write=True) as conn:
        _UNREGISTER.run(conn, worker_id=worker_id)


def live_workers(conn: Conn, *, now_s: int) -> list[tuple[str, int, str, int]]:
    """(host, pid, version, beat_s) of the workers that gave a sign within ALIVE_S."""
    return [(str(h), int(p), str(v), int(b)) for h, p, v, b in _LIVE.all(conn, since_s=now_s - ALIVE_S)]


@contextmanager
def _exclusive(store: Store) -> Iterator[Connection]:
    """A Core connection in a write transaction that no other process's upgrade overlaps; committed at the end."""
    store.lock_writers()
    try:
        with store.engine.connect() as connection:
            if store.dialect == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            else:
                # The driver is in autocommit for our own BEGINs.
                connection.exec_driver_sql("BEGIN")
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
            try:
                yield connection
            except BaseException:
                connection.exec_driver_sql("ROLLBACK")
                raise
            connection.exec_driver_sql("COMMIT")
    except sa.exc.DBAPIError as error:
        if error.orig is not None:
            raise_busy(error.orig)
        raise
    finally:
        store.unlock_writers()


def _revision(connection: Connection) -> str | None:
    """The revision that the store says it has; None for an empty store."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    value = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    return None if value is None else str(value)


def _refuse_newer(revision: str, version: str) -> None:
    known = {path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}
    if revision not in known:
        raise StoreNewer(
            f"the store has the schema {revision}, which this program ({version}, schema {HEAD}) does not know: "
            "it was written by a newer version. Use that one, or restore the backup made before the upgrade."
        )


def _refuse_in_use(connection: Connection, version: str, now_s: int) -> None:
    rows = connection.execute(sa.select(_workers).where(_workers.c.beat_s >= now_s - ALIVE_S)).all()
    if rows:
        who = ", ".join(f"{row.host} process {row.pid} (version {row.version})" for row in rows)
        raise StoreInUse(
            f"the store must be changed for version {version}, but it is in use by {who}. "
            f"Stop these first; one that was killed is forgotten {ALIVE_S} seconds after its last sign of life."
        )


_SET_EPOCH = Statement(
    schema.store_meta.update().where(schema.store_meta.c.key == "epoch").values(value=sa.bindparam("epoch"))
)
_REGISTER = Statement(
    _workers.insert()
    .values({name: sa.bindparam(name) for name in ("host", "pid", "version", "started_s", "beat_s")})
    .returning(_workers.c.id)
)
_BEAT = Statement(
    _workers.update().where(_workers.c.id == sa.bindparam("worker_id")).values(beat_s=sa.bindparam("now_s"))
)
_UNREGISTER = Statement(_workers.delete().where(_workers.c.id == sa.bindparam("worker_id")))
_DROP_DEAD = Statement(_workers.delete().where(_workers.c.beat_s < sa.bindparam("before_s")))
_LIVE = Statement(
    sa.select(_workers.c.host, _workers.c.pid, _workers.c.version, _workers.c.beat_s)
    .where(_workers.c.beat_s >= sa.bindparam("since_s"))
    .order_by(_workers.c.id)
)
