"""Locks between processes, on both engines: here each is tried by another connection."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from dume_spider.store import lock
from dume_spider.store.database import Database
from dume_spider.store.lock import Lock


@pytest.fixture
def two(store_url: str) -> Any:
    """Two processes, as far as the engine can tell."""
    both = Database(store_url), Database(store_url)
    yield both
    for each in both:
        each.close()


@pytest.mark.parametrize("for_good", [False, True])
def test_one_at_a_time(two: tuple[Database, Database], for_good: bool) -> None:
    one, other = two
    held = Lock.take(one, "thing", 7)
    assert Lock.take(other, "thing", 7) is None
    for kind, number in [("thing", 8), ("other", 7)]:
        Lock.take(other, kind, number).release(for_good=True)
    held.release(for_good=for_good)
    if one.is_sqlite:
        assert Path(f"{one.name}-thing-7").exists() is not for_good
    again = Lock.take(other, "thing", 7)
    # Nothing is left to let go of, and nobody else's is.
    held.release(for_good=True)
    assert Lock.take(one, "thing", 7) is None
    again.release(for_good=True)


def test_a_file_that_is_let_go_of_while_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of a file without a name keeps nobody from a new one: it is not taken."""
    database = Database(f"sqlite:///{tmp_path / 'store.sqlite'}")
    held = Lock.take(database, "thing", 7)
    connect = sqlite3.connect

    def slowly(path: Path, **options: Any) -> sqlite3.Connection:
        connection = connect(path, **options)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            connection.execute("PRAGMA schema_version")
        held.release(for_good=True)
        return connection

    monkeypatch.setattr(lock.sqlite3, "connect", slowly)
    assert Lock.take(database, "thing", 7) is None
    monkeypatch.undo()
    Lock.take(database, "thing", 7).release(for_good=True)
    database.close()
