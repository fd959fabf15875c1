"""The tables of the store, their version, and how an older store is brought up to it.

A *reference* has one line in ``records`` (small, often updated: its state) and one line in
``versions`` for each state it has been in (large, hardly ever updated: the record and its
raw row). ``file_sets`` are the documents written, ``files`` their formats, ``contents``
which versions they hold. Runs are referred to by number. ``notices`` and ``notice_versions``
are the same for the notices of the BOAMP, which are never in DECP files.

Texts that order or select are compared byte by byte on every engine (collation C).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    update,
)

from dume_spider.exceptions import StoreError

metadata = MetaData()


class Bytes(LargeBinary):
    """Bytes as both drivers take and give them: without a conversion of each value."""

    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> None:
        """None: ``bytes`` go as they are."""

    def result_processor(self, dialect: Dialect, coltype: object) -> None:
        """None: ``bytes`` come as they are."""


_Number = BigInteger().with_variant(Integer, "sqlite")
_Name = String().with_variant(String(collation="C"), "postgresql")


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, default=0)


store = Table(
    "store",
    metadata,
    Column("version", Integer, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("name", _Name, nullable=False, unique=True),
    Column("spider", _Name, nullable=False),
    Column("arguments", Text, nullable=False, comment="JSON"),
    Column("started", _Name, nullable=False, comment="ISO 8601, UTC"),
    Column("finished", _Name, comment="ISO 8601, UTC; null: running, or killed"),
    Column("status", _Name),
    Column("summary", Text, comment="JSON"),
    _count("new"),
    _count("updated"),
    _count("unchanged"),
    _count("superseded"),
    _count("rejected"),
    _count("taken"),
    _count("written"),
)

records = Table(
    "records",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("source", _Name, nullable=False),
    Column("reference", _Name, nullable=False),
    Column("type", _Name, nullable=False),
    Column("regime", _Name, nullable=False),
    Column("buyer", _Name, nullable=False),
    Column("published", _Name, nullable=False, comment="YYYY-MM-DD or empty"),
    Column("version", Integer, nullable=False, comment="the current one"),
    Column("last_version", Integer, nullable=False, comment="the last number given"),
    Column("fingerprint", Bytes, nullable=False, comment="of the current record"),
    Column("received", Bytes, nullable=False, comment="the same before merging"),
    Column("additions", Integer, nullable=False),
    Column("latest", _Name, nullable=False),
    Column("fields", Integer, nullable=False),
    Column("first_run", Integer, nullable=False),
    Column("last_run", Integer, nullable=False, comment="the last that saw the reference"),
    Column("written", Boolean, nullable=False, comment="an earlier version was in a file"),
    Column("alias_of", _Name, comment="the reference that holds the same record"),
    # What the run that decided last started from, so that it can decide again.
    Column("door_run", Integer, nullable=False),
    Column("door", _Name, nullable=False),
    Column("base_version", Integer, comment="the current one before that run"),
    Column("base_last", Integer, nullable=False, comment="last_version before that run"),
    Column("base_done", Boolean, nullable=False, comment="that one was in a file"),
    Column("contract", Bytes, comment="the same for one contract by the State's key"),
    Index("records_reference", "source", "reference", unique=True),
)
#: No two references of a source hold the same record: the later one is an alias.
Index(
    "records_fingerprint",
    records.c.source,
    records.c.fingerprint,
    unique=True,
    sqlite_where=records.c.alias_of.is_(None),
    postgresql_where=records.c.alias_of.is_(None),
)
Index(
    "records_alias",
    records.c.source,
    records.c.fingerprint,
    records.c.reference,
    sqlite_where=records.c.alias_of.is_not(None),
    postgresql_where=records.c.alias_of.is_not(None),
)
Index(
    "records_contract",
    records.c.contract,
    sqlite_where=records.c.contract.is_not(None),
    postgresql_where=records.c.contract.is_not(None),
)
#: The current versions that no file holds yet, each with the run that has to write it; in
#: the order of files, so that writing one touches few pages. A record that is neither here
#: nor an alias is in a file.
owed = Table(
    "owed",
    metadata,
    Column("regime", _Name, nullable=False),
    Column("type", _Name, nullable=False),
    Column("buyer", _Name, nullable=False),
    Column("published", _Name, nullable=False),
    Column("reference", _Name, nullable=False),
    Column("source", _Name, nullable=False),
    Column("run", Integer, nullable=False),
    Column("door", _Name, nullable=False, comment="that the run has counted: new, updated"),
    Column("record_id", ForeignKey("records.id"), nullable=False),
    Column("version", Integer, nullable=False),
    PrimaryKeyConstraint("regime", "type", "buyer", "published", "reference", "source"),
    sqlite_with_rowid=False,
)

versions = Table(
    "versions",
    metadata,
    Column("record_id", ForeignKey("records.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("run", Integer, nullable=False, comment="that received it"),
    Column("type", _Name, nullable=False),
    Column("regime", _Name, nullable=False),
    Column("buyer", _Name, nullable=False),
    Column("published", _Name, nullable=False),
    Column("fingerprint", Bytes, nullable=False),
    Column("received", Bytes, nullable=False),
    Column("additions", Integer, nullable=False),
    Column("latest", _Name, nullable=False),
    Column("fields", Integer, nullable=False),
    Column("found", _Name, comment="where it was found, as the spider says"),
    Column("repairs", Text, comment="JSON"),
    Column("warnings", Text, comment="JSON"),
    Column("record", Bytes, nullable=False, comment="the DECP record, JSON"),
    Column("received_record", Bytes, comment="before merging, when it differs"),
    Column("raw", Bytes, nullable=False, comment="the row as served, zlib"),
    PrimaryKeyConstraint("record_id", "number"),
)

rejections = Table(
    "rejections",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("source", _Name, nullable=False),
    Column("reference", _Name),
    Column("type", _Name),
    Column("regime", _Name),
    Column("problems", Text, nullable=False, comment="JSON"),
    Column("raw", Bytes, nullable=False, comment="the row as served, zlib"),
    Column("raw_hash", Bytes, nullable=False),
    Column("first_run", Integer, nullable=False),
    Column("last_run", Integer, nullable=False),
    Column("resolved_run", Integer, comment="that accepted the reference; null: still open"),
    Index("rejections_row", "source", "raw_hash", unique=True),
)
Index(
    "rejections_open",
    rejections.c.source,
    rejections.c.reference,
    sqlite_where=rejections.c.resolved_run.is_(None),
    postgresql_where=rejections.c.resolved_run.is_(None),
)

file_sets = Table(
    "file_sets",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("run", Integer, nullable=False),
    Column("regime", _Name, nullable=False),
    Column("buyer", _Name, nullable=False, comment="the SIRET in the name"),
    Column("records", Integer, nullable=False),
    Column("placed", Boolean, nullable=False, comment="false: about to be put in place"),
)
Index(
    "file_sets_planned",
    file_sets.c.id,
    sqlite_where=~file_sets.c.placed,
    postgresql_where=~file_sets.c.placed,
)

files = Table(
    "files",
    metadata,
    Column("file_set", ForeignKey("file_sets.id"), nullable=False),
    Column("position", Integer, nullable=False),
    Column("name", _Name, nullable=False),
    Column("folder", _Name, nullable=False, comment="its absolute path or URI"),
    Column("sha1", _Name, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    PrimaryKeyConstraint("file_set", "position"),
    Index("files_name", "name"),
)

contents = Table(
    "contents",
    metadata,
    Column("file_set", ForeignKey("file_sets.id"), nullable=False),
    Column("record_id", ForeignKey("records.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("door", _Name, nullable=False, comment="that the run has counted: new, updated"),
    PrimaryKeyConstraint("file_set", "record_id", "version"),
    sqlite_with_rowid=False,
)

harvests = Table(
    "harvests",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("run", Integer, nullable=False, comment="that serves it, in all its attempts"),
    Column("asked", Text, nullable=False, comment="what it asks for, JSON"),
    Column("asked_hash", Bytes, nullable=False),
    Column("open", Boolean, nullable=False, comment="the same command takes it up again"),
    Index("harvests_asked", "asked_hash", "id"),
    Index("harvests_run", "run"),
)

windows = Table(
    "windows",
    metadata,
    Column("harvest", ForeignKey("harvests.id"), nullable=False),
    Column("filters", _Name, nullable=False, comment="JSON"),
    Column("state", _Name, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("answered", _Name, nullable=False, comment="ISO 8601, UTC"),
    Column("facts", Bytes, comment="of its rows, JSON, zlib; null: the harvest is done"),
    PrimaryKeyConstraint("harvest", "filters"),
    sqlite_with_rowid=False,
)

#: The references of open harvests that are asked for one by one.
found = Table(
    "found",
    metadata,
    Column("harvest", ForeignKey("harvests.id"), nullable=False),
    Column("reference", _Name, nullable=False),
    Column("type", _Name, comment="of the search that found it, if it had one"),
    Column("settled", Boolean, nullable=False, comment="all its rows have left by a door"),
    PrimaryKeyConstraint("harvest", "reference"),
    sqlite_with_rowid=False,
)

#: The rows of open harvests that were taken as the search gave them, and have left.
settled_rows = Table(
    "settled_rows",
    metadata,
    Column("harvest", ForeignKey("harvests.id"), nullable=False),
    Column("key", _Name, nullable=False),
    PrimaryKeyConstraint("harvest", "key"),
    sqlite_with_rowid=False,
)

#: What the summary of an open harvest counts and no other table tells.
tallies = Table(
    "tallies",
    metadata,
    Column("harvest", ForeignKey("harvests.id"), nullable=False),
    Column("kind", _Name, nullable=False),
    Column("name", _Name, nullable=False),
    Column("count", Integer, nullable=False),
    PrimaryKeyConstraint("harvest", "kind", "name"),
    sqlite_with_rowid=False,
)

#: The BOAMP's notices, by idweb: which version is the current one, and who saw it.
notices = Table(
    "notices",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("reference", _Name, nullable=False, comment="idweb"),
    Column("published", _Name, nullable=False, comment="YYYY-MM-DD or empty"),
    Column("version", Integer, nullable=False, comment="the current one, and the last"),
    Column("fingerprint", LargeBinary, nullable=False, comment="of the row as served"),
    Column("first_run", Integer, nullable=False),
    Column("last_run", Integer, nullable=False, comment="the last that saw the notice"),
    Index("notices_reference", "reference", unique=True),
    Index("notices_published", "published", "reference"),
)

#: Every state that a notice was served in. What it means is read from the row.
notice_versions = Table(
    "notice_versions",
    metadata,
    Column("notice_id", ForeignKey("notices.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("run", Integer, nullable=False, comment="that received it"),
    Column("raw", LargeBinary, nullable=False, comment="the row as served, zlib"),
    PrimaryKeyConstraint("notice_id", "number"),
)

#: Which rows a run has rejected; the rows themselves are in ``rejections``.
rejected = Table(
    "rejected",
    metadata,
    Column("run", Integer, nullable=False),
    Column("source", _Name, nullable=False),
    Column("raw_hash", Bytes, nullable=False),
    PrimaryKeyConstraint("run", "source", "raw_hash"),
    sqlite_with_rowid=False,
)

#: What was published, and never less than that: one line each time that a resource got a file.
publications = Table(
    "publications",
    metadata,
    Column("id", _Number, primary_key=True),
    Column("run", Integer, nullable=False, comment="that published it"),
    Column("published", _Name, nullable=False, comment="ISO 8601, UTC"),
    Column("name", _Name, nullable=False, comment="of the file"),
    Column("sha1", _Name, nullable=False, comment="empty: a link to a file elsewhere"),
    Column("bytes", BigInteger, nullable=False),
    Column("portal", _Name, nullable=False, comment="the address of its API"),
    Column("dataset", _Name, nullable=False),
    Column("resource", _Name, nullable=False),
    Column("url", _Name, nullable=False, comment="of the file on the portal"),
    Index("publications_name", "name"),
    Index("publications_sha1", "sha1"),
)

#: The data sets that the files of a run are to be published in.
destinations = Table(
    "destinations",
    metadata,
    Column("run", Integer, nullable=False),
    Column("portal", _Name, nullable=False),
    Column("dataset", _Name, nullable=False),
    PrimaryKeyConstraint("run", "portal", "dataset"),
    sqlite_with_rowid=False,
)


def _add_ledger(connection: Connection) -> None:
    """Version 2: what a harvest has asked already, so that it can be carried on."""
    _run_ddl(connection, _LEDGER_DDL)


def _add_contracts(connection: Connection) -> None:
    """Version 3: which references are one contract. Those stored before are told when they
    change."""
    _run_ddl(
        connection,
        (
            "ALTER TABLE records ADD COLUMN contract {bytes}",
            "CREATE INDEX records_contract ON records (contract) WHERE contract IS NOT NULL",
        ),
    )


def _add_publications(connection: Connection) -> None:
    """Version 4: what was published on a portal, and what is to be."""
    _run_ddl(connection, _PUBLICATIONS_DDL)


def _run_ddl(connection: Connection, statements: Sequence[str]) -> None:
    """Run statements with the types of the engine in the place of their names in braces."""
    sqlite = connection.dialect.name == "sqlite"
    types = {
        "{id}": "INTEGER NOT NULL PRIMARY KEY" if sqlite else "SERIAL PRIMARY KEY",
        "{number}": "INTEGER NOT NULL PRIMARY KEY" if sqlite else "BIGSERIAL PRIMARY KEY",
        "{big}": "INTEGER" if sqlite else "BIGINT",
        "{name}": "VARCHAR" if sqlite else 'VARCHAR COLLATE "C"',
        "{bytes}": "BLOB" if sqlite else "BYTEA",
        "{end}": " WITHOUT ROWID" if sqlite else "",
    }
    for statement in statements:
        for name, text_of in types.items():
            statement = statement.replace(name, text_of)
        connection.exec_driver_sql(statement)


_LEDGER_DDL = (
    "CREATE TABLE harvests (id {id}, run INTEGER NOT NULL, asked TEXT NOT NULL, "
    "asked_hash {bytes} NOT NULL, open BOOLEAN NOT NULL)",
    "CREATE INDEX harvests_open ON harvests (asked_hash, id) WHERE open",
    "CREATE TABLE windows (harvest INTEGER NOT NULL REFERENCES harvests (id), "
    "filters {name} NOT NULL, state {name} NOT NULL, rows INTEGER NOT NULL, "
    "answered {name} NOT NULL, facts {bytes}, PRIMARY KEY (harvest, filters)){end}",
    "CREATE TABLE found (harvest INTEGER NOT NULL REFERENCES harvests (id), "
    "reference {name} NOT NULL, type {name}, settled BOOLEAN NOT NULL, "
    "PRIMARY KEY (harvest, reference)){end}",
    "CREATE TABLE settled_rows (harvest INTEGER NOT NULL REFERENCES harvests (id), "
    "key {name} NOT NULL, PRIMARY KEY (harvest, key)){end}",
    "CREATE TABLE tallies (harvest INTEGER NOT NULL REFERENCES harvests (id), "
    "kind {name} NOT NULL, name {name} NOT NULL, count INTEGER NOT NULL, "
    "PRIMARY KEY (harvest, kind, name)){end}",
    "CREATE TABLE rejected (run INTEGER NOT NULL, source {name} NOT NULL, "
    "raw_hash {bytes} NOT NULL, PRIMARY KEY (run, source, raw_hash)){end}",
    # A row that two runs have rejected was known by the last one only.
    "INSERT INTO rejected (run, source, raw_hash) "
    "SELECT last_run, source, raw_hash FROM rejections WHERE resolved_run IS NULL",
)

_PUBLICATIONS_DDL = (
    "CREATE TABLE publications (id {number}, run INTEGER NOT NULL, published {name} NOT NULL, "
    "name {name} NOT NULL, sha1 {name} NOT NULL, bytes BIGINT NOT NULL, portal {name} NOT NULL, "
    "dataset {name} NOT NULL, resource {name} NOT NULL, url {name} NOT NULL)",
    "CREATE INDEX publications_name ON publications (name)",
    "CREATE TABLE destinations (run INTEGER NOT NULL, portal {name} NOT NULL, "
    "dataset {name} NOT NULL, PRIMARY KEY (run, portal, dataset)){end}",
)


def _add_notices(connection: Connection) -> None:
    """Version 5: the notices of the BOAMP."""
    _run_ddl(connection, _NOTICES_DDL)


_NOTICES_DDL = (
    "CREATE TABLE notices (id {number}, reference {name} NOT NULL, published {name} NOT NULL, "
    "version INTEGER NOT NULL, fingerprint {bytes} NOT NULL, first_run INTEGER NOT NULL, "
    "last_run INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX notices_reference ON notices (reference)",
    "CREATE INDEX notices_published ON notices (published, reference)",
    "CREATE TABLE notice_versions (notice_id {big} NOT NULL REFERENCES notices (id), "
    "number INTEGER NOT NULL, run INTEGER NOT NULL, raw {bytes} NOT NULL, "
    "PRIMARY KEY (notice_id, number))",
)


def _add_lookups(connection: Connection) -> None:
    """Version 6: what of years of runs is not published is found without reading all of it."""
    _run_ddl(
        connection,
        (
            "CREATE INDEX publications_sha1 ON publications (sha1)",
            "CREATE INDEX harvests_run ON harvests (run)",
            "CREATE INDEX harvests_asked ON harvests (asked_hash, id)",
            "DROP INDEX harvests_open",
        ),
    )


#: How each version is made from the one before. A new store is made at the last version at
#: once, so a step may rely on the tables of its own time only: it writes out its DDL.
#: To change the tables: change their definition above and append one step.
MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    _add_ledger,
    _add_contracts,
    _add_publications,
    _add_notices,
    _add_lookups,
)


def current_version() -> int:
    """The version of the tables that this code works with."""
    return 1 + len(MIGRATIONS)


def bring_up_to_date(connection: Connection, name: str) -> None:
    """Make the tables in an empty place, or migrate older ones, in the open transaction.

    Raises :class:`StoreError`, naming the place ``name``, when the store is newer than this
    code, or when what is there is not a store.
    """
    names = set(inspect(connection).get_table_names())
    if store.name not in names:
        # A SQLite file is the store's own; a PostgreSQL database may hold other tables.
        foreign = names if connection.dialect.name == "sqlite" else names & set(metadata.tables)
        if foreign:
            raise StoreError(
                f"the store {name} is not one: it holds another program's {min(foreign)!r}; "
                "set DECP_STORE_URL to another place"
            )
        metadata.create_all(connection, checkfirst=False)
        connection.execute(insert(store).values(version=current_version()))
        return
    found = connection.execute(select(store.c.version)).scalar_one()
    if found > current_version():
        raise StoreError(
            f"the store {name} was made by a newer dume_spider (store version {found}, this one "
            f"knows {current_version()}); install the newer one"
        )
    for migrate in MIGRATIONS[found - 1 :]:
        migrate(connection)
    # Also when it is the same: it proves that the store can be written.
    connection.execute(update(store).values(version=current_version()))
