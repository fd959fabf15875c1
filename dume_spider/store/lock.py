"""Locks that go with the process that holds them, for what only one may do at a time."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from sqlalchemy import text

from dume_spider.exceptions import StoreError
from dume_spider.store.database import Database


class Lock:
    """The sign that a living process holds something: gone when the process is, however it
    ends.

    SQLite: a lock on an empty file beside the store, taken by SQLite itself, so that it
    works wherever the store does. PostgreSQL: an advisory lock of a session. ``number`` says
    which one of its kind is held.
    """

    def __init__(self, number: int, holder: Any, path: Path | None):
        self.number = number
        self._holder = holder
        self._path = path

    @classmethod
    def take(cls, database: Database, kind: str, number: int) -> Self | None:
        """The lock of the ``number`` (31 bits) of a ``kind`` of things; ``None`` when another
        process holds it. Raises :class:`StoreError`."""
        if not database.is_sqlite:
            session = database.session()
            if session.execute(_TRY, {"kind": kind, "number": number}).scalar_one():
                return cls(number, session, None)
            session.close()
            return None
        path = Path(f"{database.name}-{kind}-{number}")
        holder = None
        try:
            path.touch()
            file = _number_of(path)
            holder = sqlite3.connect(path, timeout=0, isolation_level=None)
            holder.execute("PRAGMA journal_mode=OFF")  # nothing is ever written
            holder.execute("BEGIN EXCLUSIVE")
        except (OSError, sqlite3.Error) as error:
            if holder is not None:
                holder.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                return None
            raise StoreError(
                f"the store {database.name}: {error}: {path}; give this user the right to write "
                "there, or set DECP_STORE_URL"
            ) from error
        if file is None or file != _number_of(path):
            # Its holder has just let go of it for good: another process may have a new one.
            holder.close()
            return None
        return cls(number, holder, path)

    def release(self, *, for_good: bool = False) -> None:
        """Let go; ``for_good``: with nothing left of it. Harmless when done twice."""
        if for_good and self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
        self._path = None
        self._holder.close()


def _number_of(path: Path) -> int | None:
    """What tells a file from one that has taken its name since; ``None`` if there is none."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


#: Two stores in schemas of one database have things of the same number.
_TRY = text(
    "SELECT pg_try_advisory_lock("
    "hashtext('dume_spider ' || :kind || ' ' || current_schema()), :number)"
)
