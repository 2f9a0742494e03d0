from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from storage import accounts, migrate, schema
from storage.engine import Store, open_store, transaction
from storage.errors import StoreInUse, StoreNewer
from tests.conftest import own_database

NOW_S = 1_790_000_000


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Store]]:
    """Opens an empty database, the same one each time."""
    opened: list[Store] = []

    def open_it(url: str) -> Store:
        opened.append(open_store(url, busy_timeout_s=20))
        return opened[-1]

    if request.param == "sqlite":
        yield lambda: open_it(f"sqlite:///{tmp_path}/new.db")
    else:
        with own_database(request.getfixturevalue("postgresql_server")) as url:
            yield lambda: open_it(url)
            for store in opened:
                store.close()
    for store in opened:
        store.close()


def described(store: Store) -> dict[str, Any]:
    """Everything that the database says about its tables."""
    inspector = sa.inspect(store.engine)
    found: dict[str, Any] = {}
    for table in sorted(inspector.get_table_names()):
        columns = [
            (column["name"], str(column["type"]), column["nullable"], getattr(column["type"], "collation", None))
            for column in inspector.get_columns(table)
        ]
        indexes = sorted(
            (
                str(index["name"]), index["column_names"], bool(index["unique"]),
                {key: str(value) for key, value in index.get("dialect_options", {}).items()},
            )
            for index in inspector.get_indexes(table)
        )  # fmt: skip
        foreign = sorted(
            (str(key["name"]), key["constrained_columns"], key["referred_table"], key["options"])
            for key in inspector.get_foreign_keys(table)
        )
        found[table] = (columns, inspector.get_pk_constraint(table), indexes, foreign)
    for view in sorted(inspector.get_view_names()):
        columns = [(column["name"], str(column["type"])) for column in inspector.get_columns(view)]
        found[f"{view} view"] = (columns, inspector.get_view_definition(view))
    if store.dialect == "sqlite":
        with store.engine.connect() as connection:
            for name, sql in connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'"):
                words = str(sql).upper()
                found[f"{name} options"] = [
                    word for word in ("STRICT", "WITHOUT ROWID", "AUTOINCREMENT") if word in words
                ]
    return found


def set_revision(store: Store, revision: str) -> None:
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = :r"), {"r": revision})


def test_the_migrations_make_the_same_tables_as_the_schema(new_store: Callable[[], Store]) -> None:
    store = new_store()
    with migrate._exclusive(store) as connection:
        migrate.run_migrations(connection, migrate.HEAD)
    by_migrations = described(store)
    with migrate._exclusive(store) as connection:
        schema.metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE alembic_version")
    migrate.upgrade(store, version="1")
    at_once = described(store)
    version = "alembic_version"
    assert by_migrations.pop(version)[0][0][0] == at_once.pop(version)[0][0][0] == "version_num"
    assert by_migrations == at_once
    assert {f"{view} view" for view in schema.VIEWS} <= set(at_once)


def test_a_store_of_the_first_schema_keeps_its_accounts(new_store: Callable[[], Store]) -> None:
    store = new_store()
    with migrate._exclusive(store) as connection:
        migrate.run_migrations(connection, "0001")
        connection.execute(sa.text("INSERT INTO store_meta (key, value) VALUES ('epoch', 'x')"))
        columns = "id, name, name_key, display_name, display_key, kind, auth_seq, locale, time_zone, used_bytes, active"
        connection.execute(
            sa.text(
                f"INSERT INTO accounts ({columns}, admin, created_s)"
                " VALUES (7, 'a@x', 'a@x', '', '', 'individual', 1, '', '', 0, 1, 0, 5)"
            )
        )
        connection.execute(
            sa.text("INSERT INTO addresses (account_id, address, address_key, is_primary) VALUES (7, 'a@x', 'a@x', 1)")
        )
    migrate.upgrade(store, version="2", now_s=NOW_S)
    with transaction(store, write=True) as conn:
        account = accounts.account_by_name(conn, "a@x")
        assert account is not None
        assert (account.id, account.source, account.addresses) == (7, "", ("a@x",))
        assert accounts.set_sourced_addresses(conn, 7, "sql", ["b@x"]) == []


def test_the_head_is_the_newest_migration() -> None:
    names = sorted(path.name for path in (migrate.MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert names[-1].startswith(f"{migrate.HEAD}_")


def test_upgrading_twice_changes_nothing(new_store: Callable[[], Store]) -> None:
    store = new_store()
    migrate.upgrade(store, version="1")
    epoch = store.epoch
    with transaction(store, write=True) as conn:
        account = accounts.create_account(conn, "a", now_s=NOW_S)
    migrate.upgrade(store, version="1")
    again = new_store()
    migrate.upgrade(again, version="2")
    assert again.epoch == epoch
    with transaction(again) as conn:
        assert accounts.list_accounts(conn) == [account]


def test_many_may_start_on_an_empty_store_at_once(new_store: Callable[[], Store]) -> None:
    stores = [new_store() for _ in range(4)]
    errors: list[BaseException] = []

    def start(store: Store) -> None:
        try:
            migrate.upgrade(store, version="1")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=start, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len({store.epoch for store in stores}) == 1


def test_a_store_of_a_newer_program_is_refused_and_left_alone(new_store: Callable[[], Store]) -> None:
    store = new_store()
    migrate.upgrade(store, version="1")
    set_revision(store, "9999")
    before = described(store)
    with pytest.raises(StoreNewer, match="9999"):
        migrate.upgrade(store, version="1")
    assert described(store) == before


def test_a_store_in_use_by_older_workers_is_not_changed(
    new_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store()
    migrate.upgrade(store, version="1")
    monkeypatch.setattr(migrate, "HEAD", "9998")
    ran: list[str] = []
    monkeypatch.setattr(migrate, "run_migrations", lambda connection, target: ran.append(target))
    worker = migrate.register_worker(store, version="1.2.3", now_s=NOW_S)
    with pytest.raises(StoreInUse, match=r"process \d+ \(version 1\.2\.3\)"):
        migrate.upgrade(store, version="2", now_s=NOW_S + 60)
    migrate.beat(store, worker, NOW_S + 50)
    with pytest.raises(StoreInUse):
        migrate.upgrade(store, version="2", now_s=NOW_S + 110)
    assert ran == []
    migrate.upgrade(store, version="2", now_s=NOW_S + 111)  # it has given no sign for more than a minute
    assert ran == ["9998"]
    migrate.beat(store, worker, NOW_S + 200)
    migrate.unregister_worker(store, worker)
    migrate.upgrade(store, version="2", now_s=NOW_S + 200)
    assert ran == ["9998", "9998"]


def test_workers_are_listed_while_they_live(new_store: Callable[[], Store]) -> None:
    store = new_store()
    migrate.upgrade(store, version="1")
    first = migrate.register_worker(store, version="1", now_s=NOW_S)
    migrate.register_worker(store, version="1", now_s=NOW_S + 50)
    with transaction(store) as conn:
        assert len(migrate.live_workers(conn, now_s=NOW_S + 60)) == 2
        assert [beat for *_, beat in migrate.live_workers(conn, now_s=NOW_S + 61)] == [NOW_S + 50]
    migrate.beat(store, first, NOW_S + 100)
    migrate.register_worker(store, version="1", now_s=NOW_S + 86400 + 60)  # forgets those that are dead for a day
    with transaction(store) as conn:
        assert [beat for *_, beat in migrate.live_workers(conn, now_s=0)] == [NOW_S + 100, NOW_S + 86400 + 60]


def test_a_failed_migration_leaves_the_store_as_it_was(
    new_store: Callable[[], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = new_store()
    migrate.upgrade(store, version="1")
    before = described(store)

    def half(connection: sa.Connection, target: str) -> None:
        connection.exec_driver_sql("ALTER TABLE accounts ADD COLUMN half TEXT")
        connection.exec_driver_sql("DROP TABLE audit")
        raise RuntimeError(target)

    with monkeypatch.context() as patch:
        patch.setattr(migrate, "HEAD", "9998")
        patch.setattr(migrate, "run_migrations", half)
        with pytest.raises(RuntimeError):
            migrate.upgrade(store, version="2", now_s=NOW_S)
    assert described(store) == before
    migrate.upgrade(store, version="1")


def test_a_new_epoch_is_another_one(new_store: Callable[[], Store]) -> None:
    store = new_store()
    migrate.upgrade(store, version="1")
    before = store.epoch
    after = migrate.renew_epoch(store)
    assert after == store.epoch != before
