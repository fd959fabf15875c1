"""Harvests that several workers share: which shards are done, and what they owe.

The shards of one harvest are harvests of their own, which ask for the same but for their
``shard`` (``2/8``). A shard is done when its harvest is (:mod:`dume_spider.store.ledger`);
its records are then owed until all of them are written together.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, literal, select, update

from dume_spider.store import notices
from dume_spider.store.saving import add_counts
from dume_spider.store.store import Store
from dume_spider.store.tables import destinations, harvests, owed, runs


class Shard(NamedTuple):
    """The newest harvest of one share: its run, and that run's summary once it has ended."""

    run: str
    is_done: bool
    summary: dict[str, Any]


@dataclass(slots=True)
class SharedHarvest:
    """What ``of`` workers share: the arguments (without ``shard``) and the shards begun."""

    asked: dict[str, Any]
    of: int
    shards: dict[int, Shard] = field(default_factory=dict)
    #: All runs that have served it.
    runs: list[str] = field(default_factory=list)

    @property
    def missing(self) -> list[int]:
        """The shards that are not done."""
        every = range(1, self.of + 1)
        return [number for number in every if not self._is_done(number)]

    def _is_done(self, number: int) -> bool:
        shard = self.shards.get(number)
        return shard is not None and shard.is_done


def shared_harvests(store: Store, of: int) -> list[SharedHarvest]:
    """The harvests that ``of`` workers share or have shared, the newest first.

    Those of notices, which are owed to no file, are not among them. Raises
    :class:`StoreError`, as all here do.
    """
    found: dict[str, SharedHarvest] = {}
    with store.database.reading() as connection:
        lines = connection.execute(
            select(harvests.c.asked, harvests.c.open, runs.c.name, runs.c.summary)
            .join(runs, runs.c.number == harvests.c.run)
            .where(harvests.c.asked.contains(f'/{of}"', autoescape=True))
            .order_by(harvests.c.id.desc())
        ).all()
    for line in lines:
        asked = orjson.loads(line.asked)
        number, _, others = str(asked.pop("shard", "")).partition("/")
        if others != str(of) or asked["spider"] == notices.SOURCE:
            continue
        shared = found.setdefault(orjson.dumps(asked).decode(), SharedHarvest(asked, of))
        shared.runs.append(line.name)
        # One that was killed, and is done by another of the same arguments, has no summary.
        if int(number) not in shared.shards and (line.open or line.summary):
            summary = orjson.loads(line.summary or "{}")
            shared.shards[int(number)] = Shard(line.name, not line.open, summary)
    return list(found.values())


def hand_over(store: Store, given: Iterable[str], to: str) -> int:
    """Let the run ``to`` owe what the runs ``given`` owe, with the counts of it; how many
    records that are. Those runs must be over. Its files are to be published where theirs were."""
    numbers = sorted({store.number_of(run) for run in given if run != to})
    receiver = store.number_of(to)

    def move(connection: Connection) -> int:
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for number in numbers:
            debts = connection.execute(
                select(owed.c.door)
                .where(owed.c.run == number)
                .order_by(*owed.primary_key)
                .with_for_update()
            ).scalars()
            doors = Counter(debts)
            counts[number].subtract(doors)
            counts[receiver].update(doors)
            connection.execute(update(owed).where(owed.c.run == number).values(run=receiver))
        add_counts(connection, counts)
        theirs = select(literal(receiver), destinations.c.portal, destinations.c.dataset)
        connection.execute(
            store.database.insert(destinations)
            .from_select(
                ["run", "portal", "dataset"], theirs.where(destinations.c.run.in_(numbers))
            )
            .on_conflict_do_nothing()
        )
        return counts[receiver].total()

    return store.database.write(move, durable=True)
