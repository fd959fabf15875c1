"""The store's database: opening it, transactions that hold, errors in one line.

SQLite (WAL: one process writes, others read) by default, PostgreSQL by URL. What differs
between the two is here.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, TimeoutError

from dume_spider.exceptions import StoreError
from dume_spider.store.tables import bring_up_to_date

T = TypeVar("T")

#: Seconds that a process waits for another one's transaction.
PATIENCE = 60
#: Seconds that it waits for a server to answer at all.
CONNECT_TIMEOUT = 10

_ATTEMPTS = 20
#: What PostgreSQL answers to a transaction that met another one: serialization failure,
#: deadlock, unique violation.
_MET = {"40001", "40P01", "23505"}
#: The lock under which the tables are made; any number that no other program takes.
_MAKING = 0x64756D65

_BUSY = f"another process has been writing to it for {PATIENCE} s; try again when it is done"
_RIGHTS = "give this user the right to write there, or set DECP_STORE_URL"
#: What to do, by a word of the database's message.
_ADVICE = {
    "locked": _BUSY,
    "lock timeout": _BUSY,
    "is full": "free some space and run the same command again",
    "no space": "free some space and run the same command again",
    "disk i/o": "check the disk and its free space, then run the same command again",
    "readonly": _RIGHTS,
    "read-only": _RIGHTS,
    "unable to open": _RIGHTS,
    "permission denied": _RIGHTS,
    "malformed": "it is damaged: put a copy back, or move it away to start anew",
    "not a database": "it is damaged or no store: put a copy back, or set DECP_STORE_URL",
    "connect": "check DECP_STORE_URL and that the server is running",
}


class MetError(Exception):
    """This transaction met another one's work: it is to be undone and run again."""


class Database:
    """An open database at ``url``, its tables up to date.

    ``sqlite:///path`` (the folder is made) or ``postgresql://…``. All methods raise
    :class:`StoreError` when it cannot be used; what was there is then as it was.
    """

    def __init__(self, url: str):
        #: Of :meth:`execute_many`: text and order of the values, by statement and names.
        self._texts: dict[tuple[Any, tuple[str, ...]], tuple[str, list[str] | None]] = {}
        self._url = _known_url(url)
        self.is_sqlite = self._url.get_backend_name() == "sqlite"
        self.name = str(self._url.database) if self.is_sqlite else _shown(self._url)
        with self._errors():
            if self.is_sqlite:
                self._check_path()
            self._engine = _engine(self._url)
            try:
                self._write_once(self._prepare, durable=True)
            except BaseException:
                self._engine.dispose()
                raise

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection for reads that belong together."""
        with self._errors(), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[Connection]:
        """One transaction that writes; undone when the block raises.

        On SQLite it first waits until no other process writes. ``durable``: what is
        committed survives a power cut (SQLite may otherwise lose the last transactions,
        each of them whole).
        """
        with self._errors(), self._transaction(durable) as connection:
            yield connection

    def write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        """What ``work`` returns, run in a transaction, again if that met another one.

        On PostgreSQL two transactions may each lock what the other wants, or add the same
        reference: one is undone, and sees the other's work when it runs again. ``work``
        raises :class:`MetError` when it finds so by itself.
        """
        with self._errors():
            return self._write_once(work, durable)

    def session(self) -> Connection:
        """A connection of its own, outside any transaction, for what lasts as long as it
        does; it is closed by whoever asked for it."""
        with self._errors():
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()
            return connection

    def insert(self, table: Table) -> Any:
        """The engine's own ``INSERT``, which knows ``ON CONFLICT``."""
        if self.is_sqlite:
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql  # 15 ms that most runs do without

        return postgresql.insert(table)

    def execute_many(
        self, connection: Connection, statement: Any, rows: Sequence[Mapping[str, Any]]
    ) -> None:
        """Run a statement for each row; all have the same names, and values as drivers take them.

        ``statement`` has to be one that lasts, such as a constant: its text is made once, and
        the rows go to the driver as they are. For the many rows of a batch, what SQLAlchemy
        does for each value would take as long as the engine.
        """
        if not rows:
            return
        names = tuple(rows[0])
        if (known := self._texts.get((statement, names))) is None:
            compiled = statement.compile(self._engine, column_keys=list(names))
            known = self._texts[statement, names] = compiled.string, compiled.positiontup
        text_, order = known
        values = [tuple([row[name] for name in order]) for row in rows] if order else list(rows)
        connection.exec_driver_sql(text_, values)

    def _write_once(self, work: Callable[[Connection], T], durable: bool) -> T:
        for attempt in range(1, _ATTEMPTS):
            try:
                with self._transaction(durable) as connection:
                    return work(connection)
            except (MetError, DBAPIError) as error:
                if not isinstance(error, MetError) and _state(error) not in _MET:
                    raise
            time.sleep(random.uniform(0, 0.02 * attempt))  # noqa: S311 (no secret)
        with self._transaction(durable) as connection:
            return work(connection)

    @contextmanager
    def _transaction(self, durable: bool) -> Iterator[Connection]:
        with (
            self._engine.connect().execution_options(
                writes="durable" if durable else "soon"
            ) as connection,
            connection.begin(),
        ):
            yield connection

    def _check_path(self) -> None:
        """Make the folder, and set the modes of a file that is still empty."""
        path = Path(self.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the store {self.name} cannot be made: {error.strerror}: {error.filename}; "
                "set DECP_STORE_URL to a place that can be written"
            ) from error
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                with closing(sqlite3.connect(path, PATIENCE)) as connection:
                    self._check_file(connection, path)
                    return
            except sqlite3.OperationalError as error:
                # SQLite does not wait by itself while another process sets the modes.
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.01)

    def _check_file(self, connection: sqlite3.Connection, path: Path) -> None:
        # The modes are kept in the file: one that may not be ours is not changed.
        if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            # A version is some 2 kB: of pages of 4 kB, the default, half would be empty.
            connection.execute("PRAGMA page_size=8192")
            connection.execute("PRAGMA journal_mode=WAL")
        page_size = connection.execute("PRAGMA page_size").fetchone()[0]
        # SQLite itself finds out about whole pages only. (While there is a journal to write
        # back, after a power cut, the file may end anywhere.)
        journal = path.with_name(f"{path.name}-wal")
        journaled = journal.exists() and journal.stat().st_size
        if path.stat().st_size % page_size and not journaled:
            raise sqlite3.DatabaseError("database disk image is malformed")

    def _prepare(self, connection: Connection) -> None:
        if not self.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MAKING})
        bring_up_to_date(connection, self.name)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, TimeoutError, sqlite3.Error, MetError) as error:
            raise StoreError(f"the store {self.name}: {_cause(error)}") from error


def _known_url(url: str) -> URL:
    try:
        known = make_url(url)
    except (ArgumentError, ValueError):  # the latter: a port that is no number
        known = None
    if known is not None and known.drivername in ("postgresql", "postgresql+psycopg"):
        return known.set(drivername="postgresql+psycopg")
    if (
        known is not None
        and known.drivername == "sqlite"
        and known.database not in (None, "", ":memory:")
    ):
        return known
    # What cannot be read as a URL may hold a password anywhere.
    shown = _shown(known) if known is not None else url.partition("://")[0]
    raise StoreError(
        f"DECP_STORE_URL={shown!r} cannot be used; give sqlite:///path/to/store.sqlite or "
        "postgresql+psycopg://user:password@host/database"
    )


def _shown(url: URL) -> str:
    return url.render_as_string(hide_password=True)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": PATIENCE})
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        engine = create_engine(
            url,
            connect_args={"connect_timeout": CONNECT_TIMEOUT, "application_name": "dume_spider"},
        )
    except ModuleNotFoundError as error:
        raise StoreError(
            f"the store {_shown(url)} needs the package psycopg: pip install 'psycopg[binary]'"
        ) from error
    event.listen(engine, "connect", _set_up_postgresql)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _: object) -> None:
    # Transactions begin in _begin_sqlite: the driver would begin them too late.
    connection.isolation_level = None
    connection.execute("PRAGMA cache_size=-16384")
    connection.execute("PRAGMA wal_autocheckpoint=8000")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes")
    if writes:
        mode = "FULL" if writes == "durable" else "NORMAL"
        connection.exec_driver_sql(f"PRAGMA synchronous={mode}")
    # A transaction that reads first and writes later could not wait for its turn.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _set_up_postgresql(connection: Any, _: object) -> None:
    connection.execute(f"SET lock_timeout = '{PATIENCE}s'")
    # Locks that outlast a long upload, or a whole harvest, are not idle. (Which limits there
    # are depends on the version.)
    connection.execute(
        "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN "
        "('idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout')"
    )
    connection.commit()


def _state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)


def _cause(error: Exception) -> str:
    if isinstance(error, MetError):
        return "other runs keep changing the same references; run the same command again"
    cause = getattr(error, "orig", None) or error
    first_line = str(cause).strip().partition("\n")[0]
    for word, advice in _ADVICE.items():
        if word in first_line.lower():
            return f"{first_line}; {advice}"
    return first_line or type(cause).__name__
