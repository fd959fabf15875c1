"""Opening a store, and what a person is told when it cannot be used."""

from __future__ import annotations

import os
import resource
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import inspect, make_url, text

from dume_spider.decp.regime import Regime
from dume_spider.exceptions import StoreError
from dume_spider.store import database
from dume_spider.store.database import Database
from dume_spider.store.ledger import take_up
from dume_spider.store.store import Candidate, PlannedFile, RecordKeys, Store
from dume_spider.store.tables import current_version

ROOT = Path(__file__).resolve().parents[2]
STARTED = datetime(2024, 3, 1, tzinfo=UTC)
RIGHTS = "give this user the right to write there, or set DECP_STORE_URL"


@pytest.fixture
def path(tmp_path: Path, candidate: Callable[..., Candidate]) -> Path:
    """A SQLite store with some records."""
    path = tmp_path / "store.sqlite"
    store = Store(f"sqlite:///{path}")
    store.begin_run("run", "dume", {}, STARTED)
    store.save("run", [candidate(f"R{n}", objet="x" * 500 + str(n)) for n in range(200)])
    store.close()
    return path


def error_of(url: str | Path) -> str:
    """The one line with which a store is refused."""
    with pytest.raises(StoreError) as error:
        Store(url if isinstance(url, str) else f"sqlite:///{url}")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("", "''"),
        ("data/store.sqlite", "'data/store.sqlite'"),
        ("sqlite://", "'sqlite://'"),
        ("sqlite:///:memory:", "'sqlite:///%3Amemory%3A'"),
        ("mysql://me:secret@host/db", "'mysql://me:***@host/db'"),
        ("postgresql+asyncpg://me:secret@host/db", "'postgresql+asyncpg://me:***@host/db'"),
        ("postgresql://me:secret@host:port/db", "'postgresql'"),
    ],
)
def test_unknown_url(url: str, shown: str) -> None:
    assert error_of(url) == (
        f"DECP_STORE_URL={shown} cannot be used; give sqlite:///path/to/store.sqlite or "
        "postgresql+psycopg://user:password@host/database"
    )


def test_a_new_store(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "store.sqlite"
    Store(f"sqlite:///{path}").close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("SELECT version FROM store").fetchall() == [(current_version(),)]


def test_postgresql_by_its_short_name(postgresql: str) -> None:
    url = make_url(postgresql).set(drivername="postgresql").render_as_string()
    # Temporary tables go with the connection.
    opened = Database(f"{url}?options=-csearch_path%3Dpg_temp")
    with opened.reading() as connection:
        assert connection.dialect.driver == "psycopg"
    opened.close()


def test_opened_again(store_url: str, candidate: Callable[..., Candidate]) -> None:
    store = Store(store_url)
    store.begin_run("run", "dume", {}, STARTED)
    store.save("run", [candidate("A")])
    store.close()
    store = Store(store_url)
    assert [record.reference for record in store.pending("run")] == ["A"]
    store.close()


@pytest.mark.slow
def test_opened_by_many_at_once(store_url: str) -> None:
    code = "import sys; from dume_spider.store.store import Store; Store(sys.argv[1]).close()"
    processes = [
        subprocess.Popen([sys.executable, "-c", code, store_url], cwd=ROOT) for _ in range(6)
    ]
    assert [process.wait(60) for process in processes] == [0] * 6
    database = Database(store_url)
    with database.reading() as connection:
        assert connection.execute(text("SELECT version FROM store")).all() == [(current_version(),)]
    database.close()


def test_a_newer_store(store_url: str) -> None:
    database = Database(store_url)
    with database.writing() as connection:
        connection.execute(text("UPDATE store SET version = 7"))
    database.close()
    before = content(store_url)
    assert error_of(store_url) == (
        f"the store {database.name} was made by a newer dume_spider (store version 7, this one "
        f"knows {current_version()}); install the newer one"
    )
    assert content(store_url) == before


def test_another_programs_database(new_store_url: Callable[[], str]) -> None:
    url = new_store_url()
    create(url, "CREATE TABLE records (a integer)")
    before = content(url)
    name = database._shown(make_url(url)) if "postgresql" in url else make_url(url).database
    assert error_of(url) == (
        f"the store {name} is not one: it holds another program's 'records'; "
        "set DECP_STORE_URL to another place"
    )
    assert content(url) == before


def test_beside_other_tables(new_store_url: Callable[[], str]) -> None:
    """A server's database may be shared; a file is the store's own."""
    url = new_store_url()
    create(url, "CREATE TABLE invoices (a integer)")
    if "sqlite" in url:
        assert "it holds another program's 'invoices'" in error_of(url)
    else:
        Store(url).close()


def create(url: str, statement: str) -> None:
    if "sqlite" in url:
        with closing(sqlite3.connect(make_url(url).database)) as connection:
            connection.execute(statement)
        return
    import psycopg

    plain = make_url(url).set(drivername="postgresql").render_as_string()
    with psycopg.connect(plain) as connection:
        connection.execute(statement)


def content(url: str) -> object:
    """All that a store holds: its bytes, or its tables."""
    if "sqlite" in url:
        return Path(make_url(url).database).read_bytes()
    engine = database._engine(make_url(url))
    with engine.connect() as connection:
        tables = sorted(inspect(connection).get_table_names())
        held = {t: connection.execute(text(f"SELECT * FROM {t}")).all() for t in tables}
    engine.dispose()
    return held


@pytest.mark.parametrize("left", [50, 4096, 10_000, 0.5, 0.99])
def test_a_truncated_file(left: float, path: Path) -> None:
    whole = path.read_bytes()
    cut = whole[: left if isinstance(left, int) else int(len(whole) * left)]
    path.write_bytes(cut)
    advice = {
        "file is not a database": (
            "it is damaged or no store: put a copy back, or set DECP_STORE_URL"
        ),
        "database disk image is malformed": (
            "it is damaged: put a copy back, or move it away to start anew"
        ),
    }
    assert error_of(path) in {f"the store {path}: {why}; {what}" for why, what in advice.items()}
    assert path.read_bytes() == cut


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(b"name;amount\n" * 100)
    assert error_of(path) == (
        f"the store {path}: file is not a database; it is damaged or no store: "
        "put a copy back, or set DECP_STORE_URL"
    )
    assert path.read_bytes() == b"name;amount\n" * 100


def test_a_folder(tmp_path: Path) -> None:
    assert error_of(tmp_path) == f"the store {tmp_path}: unable to open database file; {RIGHTS}"


def test_under_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert error_of(tmp_path / "file" / "a" / "store.sqlite") == (
        f"the store {tmp_path}/file/a/store.sqlite cannot be made: Not a directory: "
        f"{tmp_path}/file/a; set DECP_STORE_URL to a place that can be written"
    )


#: Root may write everywhere: it gives up this right.
WITHOUT_RIGHTS = (
    ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
)


def error_in_a_process(path: Path, **limits: object) -> str:
    """The one line that a process without special rights is told, which opens the store."""
    code = (
        "import sys, datetime\n"
        "from dume_spider.store.store import Store\n"
        "from dume_spider.exceptions import StoreError\n"
        "try:\n"
        "    store = Store('sqlite:///' + sys.argv[1])\n"
        "    for n in range(int(sys.argv[2])):\n"
        "        day = datetime.datetime(2024, 3, 1)\n"
        "        store.begin_run(f'run {n}', 'dume', {'text': 'x' * 10_000}, day)\n"
        "except StoreError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [*WITHOUT_RIGHTS, sys.executable, "-c", code, str(path), str(limits.pop("runs", 0))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **limits,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_a_read_only_file(path: Path) -> None:
    before = path.read_bytes()
    path.chmod(0o444)
    assert error_in_a_process(path) == (
        f"the store {path}: attempt to write a readonly database; {RIGHTS}\n"
    )
    assert path.read_bytes() == before


def test_a_read_only_folder(path: Path) -> None:
    before = path.read_bytes()
    path.parent.chmod(0o555)
    try:
        message = error_in_a_process(path)
        new = error_in_a_process(path.parent / "new.sqlite")
        deeper = error_in_a_process(path.parent / "a" / "new.sqlite")
    finally:
        path.parent.chmod(0o755)
    assert message == f"the store {path}: attempt to write a readonly database; {RIGHTS}\n"
    assert new == (f"the store {path.parent}/new.sqlite: unable to open database file; {RIGHTS}\n")
    assert deeper == (
        f"the store {path.parent}/a/new.sqlite cannot be made: Permission denied: "
        f"{path.parent}/a; set DECP_STORE_URL to a place that can be written\n"
    )
    assert path.read_bytes() == before


def test_a_full_disk(path: Path) -> None:
    """The limit on the size of files makes the disk refuse, as a full one does."""
    size = path.stat().st_size + 200_000
    message = error_in_a_process(
        path, runs=100, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
    )
    assert message == (
        f"the store {path}: disk I/O error; "
        "check the disk and its free space, then run the same command again\n"
    )
    store = Store(f"sqlite:///{path}")
    assert store.counts_of("run").owed == 200
    assert store.counts_of("run 0").owed == 0
    store.close()


def test_another_process_writes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert error_of(path) == (
            f"the store {path}: database is locked; another process has been writing to it for "
            "60 s; try again when it is done"
        )


def test_a_server_that_does_not_answer() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pytest.importorskip("psycopg")
    message = error_of(f"postgresql+psycopg://me:secret@127.0.0.1:{port}/decp")
    assert message == (
        f"the store postgresql+psycopg://me:***@127.0.0.1:{port}/decp: connection failed: "
        f'connection to server at "127.0.0.1", port {port} failed: Connection refused; '
        "check DECP_STORE_URL and that the server is running"
    )


def test_no_such_database(postgresql: str) -> None:
    url = make_url(postgresql).set(database="nothing")
    assert error_of(url.render_as_string()) == (
        f"the store {url}: connection failed: connection to server at "
        f'"127.0.0.1", port {url.port} failed: FATAL:  database "nothing" does not exist; '
        "check DECP_STORE_URL and that the server is running"
    )


def test_no_right_to_make_tables(postgresql: str) -> None:
    create(postgresql, "CREATE ROLE guest LOGIN")
    url = make_url(postgresql).set(username="guest")
    assert error_of(url.render_as_string()) == (
        f"the store {url}: permission denied for schema public; {RIGHTS}"
    )


def test_psycopg_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert error_of("postgresql://me:secret@host/decp") == (
        "the store postgresql+psycopg://me:***@host/decp needs the package psycopg: "
        "pip install 'psycopg[binary]'"
    )


def test_the_server_goes_away(store: Store, store_url: str) -> None:
    """What fails later is told in the same way, and the next use works again."""
    if "sqlite" in store_url:
        pytest.skip("a file does not go away")
    create(
        store_url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'dume_spider'",
    )
    with pytest.raises(StoreError, match=r"the store postgresql.*terminat") as error:
        store.counts_of("run")
    assert "\n" not in str(error.value)
    assert store.counts_of("run").new == 0


def test_a_server_that_ends_what_waits(
    store_url: str, candidate: Callable[..., Candidate], tmp_path: Path
) -> None:
    """A file may take long to send, a harvest hours: the locks of both stay."""
    if "sqlite" in store_url:
        pytest.skip("only servers have such limits")
    limits = ("idle_in_transaction_session_timeout", "idle_session_timeout")
    store = Store(store_url + "".join(f"%20-c{name}%3D50" for name in limits))
    harvest = take_up(store, {}, run="run", spider="dume", arguments={}, started=STARTED)
    store.save("run", [candidate("A")])
    keys = RecordKeys(Regime.R2022, "1" * 14)
    for record in store.pending("run"):
        keys.add(record)

    def commit(announce: Any) -> None:
        announce([[PlannedFile("1.json", 1, 10, "a" * 40)]])
        time.sleep(0.2)

    assert store.place("run", [keys], folder="/", commit=commit)
    harvest.end()
    store.close()


def test_a_transaction_is_undone(store_url: str) -> None:
    opened = Database(store_url)
    with pytest.raises(ZeroDivisionError), opened.writing() as connection:  # noqa: PT012
        connection.execute(text("UPDATE store SET version = 7"))
        raise ZeroDivisionError
    with opened.reading() as connection:
        assert connection.execute(text("SELECT version FROM store")).all() == [(current_version(),)]
    opened.close()
