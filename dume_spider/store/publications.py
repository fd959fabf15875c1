"""What was published on a portal, and which files of finished runs are still to be."""

from __future__ import annotations

import zlib
from collections import Counter
from datetime import UTC, date, datetime
from typing import NamedTuple

from sqlalchemy import Connection, bindparam, exists, insert, or_, select

from dume_spider.store.database import Database
from dume_spider.store.doors import Door
from dume_spider.store.lock import Lock
from dume_spider.store.saving import add_counts
from dume_spider.store.store import Store
from dume_spider.store.tables import (
    destinations,
    file_sets,
    files,
    harvests,
    publications,
    runs,
)

#: The statuses of runs whose files are published.
TRUSTED = ("complete", "probable")


class Publication(NamedTuple):
    """A file as the data set ``dataset`` has it; ``sha1`` is empty for a link."""

    name: str
    sha1: str
    bytes: int
    dataset: str
    resource: str
    url: str


class OwedFile(NamedTuple):
    """A file that is to be published: its place, without credentials, its name there, and the
    run that wrote it."""

    place: str
    name: str
    run: str


class Publications:
    """The publications on the portal whose API is at ``portal``, in ``store``.

    All methods raise :class:`StoreError`.
    """

    def __init__(self, store: Store, portal: str):
        self._store = store
        self._portal = portal

    def note(self, run: str, publication: Publication, door: Door) -> None:
        """Note that a file is published, and count it among those of the run.

        ``door``: ``new``, ``updated`` or ``unchanged``; of the latter only what was not known
        is noted, such as what another computer has published.
        """
        number = self._store.number_of(run)
        line = publication._asdict() | {"portal": self._portal}
        same = [publications.c[name] == value for name, value in line.items() if name != "url"]

        def note(connection: Connection) -> None:
            known = connection.scalar(select(publications.c.id).where(*same).limit(1))
            if door is not Door.UNCHANGED or known is None:
                published = datetime.now(UTC).isoformat(timespec="seconds")
                connection.execute(
                    insert(publications), line | {"run": number, "published": published}
                )
            counts = Counter({door.value: 1, "written": int(door is not Door.UNCHANGED)})
            add_counts(connection, {number: counts})

        self._store.database.write(note)

    def hold(self, what: str) -> Lock | None:
        """What keeps other processes with this store from publishing in ``what``, the id of a data
        set or of an organization; ``None`` while one does."""
        number = zlib.crc32(f"{self._portal} {what}".encode()) >> 1
        return Lock.take(self._store.database, "publication", number)

    def has_noted(self, dataset: str, name: str, sha1: str) -> bool:
        """Whether this content was ever noted as what the data set has under this name."""
        line = {"portal": self._portal, "dataset": dataset, "name": name, "sha1": sha1}
        same = [publications.c[column] == value for column, value in line.items()]
        with self._store.database.reading() as connection:
            return bool(connection.scalar(select(exists().where(*same))))

    def intend(self, run: str, dataset: str) -> None:
        """Note that the files of a run are to be published in a data set, once it has ended
        well."""
        added = self._store.database.insert(destinations).on_conflict_do_nothing()
        line = {"run": self._store.number_of(run), "portal": self._portal, "dataset": dataset}
        self._store.database.write(lambda connection: connection.execute(added, line))

    def owed(self, dataset: str) -> list[OwedFile]:
        """The files that are to be published in a data set and were not yet, by name.

        They are those of runs that have ended ``complete`` or ``probable``, or whose harvest
        was asked again, or at the same time, by one that has. One whose content is there under
        another name is not owed.
        """
        with self._store.database.reading() as connection:
            lines = connection.execute(_OWED, {"of_portal": self._portal, "of_dataset": dataset})
            return [OwedFile(*line) for line in lines]


def published_names(database: Database, day: date) -> list[str]:
    """The names of the files of a day that were published, in any data set."""
    with database.reading() as connection:
        like = publications.c.name.like(f"DECP-%-{day.isoformat()}-%")
        return list(connection.scalars(select(publications.c.name).where(like).distinct()))


def datasets_of(store: Store, run: str) -> list[str]:
    """The ids of the data sets that the files of a run are to be published in."""
    of_run = destinations.c.run == store.number_of(run)
    with store.database.reading() as connection:
        return sorted(connection.scalars(select(destinations.c.dataset).where(of_run)))


_this, _later = harvests.alias(), harvests.alias()
_better = runs.alias()
_OWED = (
    select(files.c.folder, files.c.name, runs.c.name)
    .join(file_sets)
    .join(runs, runs.c.number == file_sets.c.run)
    .join(destinations, destinations.c.run == runs.c.number)
    .where(
        file_sets.c.placed,
        destinations.c.portal == bindparam("of_portal"),
        destinations.c.dataset == bindparam("of_dataset"),
        or_(
            runs.c.status.in_(TRUSTED),
            exists().where(
                _this.c.run == runs.c.number,
                _later.c.asked_hash == _this.c.asked_hash,
                _better.c.number == _later.c.run,
                # One begun before it may have gone on beside it.
                or_(_better.c.number > runs.c.number, _better.c.finished > runs.c.started),
                _better.c.status.in_(TRUSTED),
            ),
        ),
        ~exists().where(
            publications.c.portal == destinations.c.portal,
            publications.c.dataset == destinations.c.dataset,
            publications.c.sha1 == files.c.sha1,
        ),
    )
    .order_by(files.c.name)
)
