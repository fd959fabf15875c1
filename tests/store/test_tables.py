"""The version of a store, and how an older one is brought up to date."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, inspect, text

from dume_spider.store import tables
from dume_spider.store.store import Candidate, Store

STARTED = datetime(2024, 3, 1, tzinfo=UTC)


def add_notes(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE notes (record_id integer, note text)"))
    connection.execute(text("INSERT INTO notes SELECT id, reference FROM records"))


def add_remarks(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE notes ADD COLUMN remark text"))


def fail(connection: Connection) -> None:
    connection.execute(text("CREATE TABLE halves (a integer)"))
    raise ZeroDivisionError


def version(store: Store) -> int:
    with store._database.reading() as connection:
        return connection.execute(text("SELECT version FROM store")).scalar_one()


def test_migrations(
    store_url: str, candidate: Callable[..., Candidate], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(store_url)
    store.begin_run("run", "dume", {}, STARTED)
    store.save("run", [candidate("A")])
    current = tables.current_version()
    assert version(store) == current
    store.close()
    known = tables.MIGRATIONS
    monkeypatch.setattr(tables, "MIGRATIONS", (*known, add_notes))
    store = Store(store_url)
    assert version(store) == current + 1
    store.close()
    # Only the steps that are lacking are made.
    monkeypatch.setattr(tables, "MIGRATIONS", (*known, add_notes, add_remarks))
    for _ in range(2):
        store = Store(store_url)
        assert version(store) == current + 2
        with store._database.reading() as connection:
            notes = connection.execute(text("SELECT record_id, note, remark FROM notes"))
            assert notes.all() == [(1, "A", None)]
        assert [record.reference for record in store.pending("run")] == ["A"]
        store.close()


def test_a_migration_that_fails(store_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(store_url).close()
    known, current = tables.MIGRATIONS, tables.current_version()
    monkeypatch.setattr(tables, "MIGRATIONS", (*known, add_notes, fail))
    with pytest.raises(ZeroDivisionError):
        Store(store_url)
    monkeypatch.setattr(tables, "MIGRATIONS", known)
    store = Store(store_url)
    assert version(store) == current
    with store._database.reading() as connection:
        assert set(inspect(connection).get_table_names()) == set(tables.metadata.tables)
    store.close()


def test_a_new_store_is_made_at_the_last_version(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MIGRATIONS", (fail, fail))
    store = Store(store_url)
    assert version(store) == 3
    store.close()
