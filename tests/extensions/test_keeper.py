"""What the keeper notes, and when: against a real store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scrapy.utils.test import get_crawler

from dume_spider.decp.regime import ContractType
from dume_spider.decp.verdict import Problem
from dume_spider.extensions.keeper import Group, Keeper
from dume_spider.extensions.run_summary import RunSummary
from dume_spider.items import DecpItem, Origin, make_item
from dume_spider.spiders.dume import DumeSpider
from dume_spider.store.ledger import Found, Harvest, Window
from dume_spider.store.store import Rejection

WINDOW = Window({"date_start": "2026-03-02"}, "closed", [["A:1", "A"]])


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    """The keeper of a run that has just begun."""
    settings = {
        "DECP_RUNS_DIR": str(tmp_path / "runs"),
        "DECP_STORE_URL": f"sqlite:///{tmp_path / 'store.sqlite'}",
        "DUME_API_URL": "http://127.0.0.1:9/",
        "EXTENSIONS": {RunSummary: 1, Keeper: 2},
    }
    crawler = get_crawler(DumeSpider, settings)
    crawler.spider = DumeSpider.from_crawler(crawler, date="2026-03-02")
    books = crawler.get_extension(RunSummary)
    books.spider_opened()
    books.engine_started()
    yield crawler.get_extension(Keeper)
    books.spider_closed("finished")


def harvest_of(keeper: Keeper) -> Harvest:
    return keeper.crawler.get_extension(RunSummary).harvest


def row(group: Group, raw: str) -> DecpItem:
    origin = Origin("dume", {"raw": raw}, group=group)
    return make_item(origin, reference="A", type_=ContractType.MARCHE, regime=None, record={})


def reject(keeper: Keeper, item: DecpItem) -> None:
    raw = item.origin.raw["raw"].encode()
    problem = Problem("", "rule", "no")
    keeper.reject(item, Rejection("dume", "A", ContractType.MARCHE, None, [problem], raw))


def run(steps: Callable[[], None]) -> None:
    async def inside() -> None:
        steps()

    asyncio.run(inside())


def test_a_window_is_noted_once_its_rows_are_saved_and_not_before(keeper: Keeper) -> None:
    harvest = harvest_of(keeper)

    def steps() -> None:
        group = keeper.single("A:1")
        keeper.answered(WINDOW, ["A:1", "B:1"], [Found("B", "MP")])
        keeper.flush()
        assert not list(harvest.windows())
        assert harvest.waiting() == []
        reject(keeper, row(group, "1"))
        keeper.flush()
        assert list(harvest.windows()) == [WINDOW]
        assert harvest.waiting() == [Found("B", "MP")]
        assert harvest.settled_rows() == {"A:1"}
        assert harvest.rows() == 1

    run(steps)


def test_a_reference_is_settled_with_the_last_of_its_rows(keeper: Keeper) -> None:
    harvest = harvest_of(keeper)

    def steps() -> None:
        group = Group(2, "A", found=(Found("C", None),))
        reject(keeper, row(group, "1"))
        keeper.flush()
        assert (harvest.rows(), harvest.settled()) == (0, set())
        reject(keeper, row(group, "2"))
        keeper.flush()
        assert (harvest.rows(), harvest.settled()) == (2, {"A"})
        assert harvest.waiting() == [Found("C", None)]

    run(steps)


def test_a_reference_waits_for_its_rows_that_a_search_gave(keeper: Keeper) -> None:
    harvest = harvest_of(keeper)

    def steps() -> None:
        single = keeper.single("A:1")
        keeper.settled(Group(0, "A", needs=frozenset({"A:1", "A:2"})))
        keeper.flush()
        assert harvest.settled() == set()
        reject(keeper, row(single, "1"))
        keeper.flush()
        assert harvest.settled() == {"A"}

    run(steps)


def test_a_lost_row_takes_its_group_with_it(keeper: Keeper) -> None:
    harvest = harvest_of(keeper)

    def steps() -> None:
        group = Group(3, "A")
        first, lost, last = (row(group, str(number)) for number in range(3))
        reject(keeper, first)
        keeper.item_left(first)  # as a rejected row does: it has come, nothing is lost
        assert not group.is_lost
        keeper.item_left(lost)
        reject(keeper, last)
        keeper.flush()
        assert (harvest.rows(), harvest.settled()) == (0, set())
        assert keeper.run.failed == 2

    run(steps)


def test_a_bug_of_the_store_leaves_no_row_waiting(keeper: Keeper, monkeypatch, caplog) -> None:
    def save(*_: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Harvest, "save", save)
    keeper.crawler.spider.stop = lambda _: None

    def steps() -> None:
        reject(keeper, row(Group(1, "A"), "1"))
        keeper.flush()
        assert keeper.run.failures == [
            {
                "reference": "A",
                "error": "the store could not be written: ZeroDivisionError('a bug')",
            }
        ]
        assert len(keeper.run.errors) == 1

    run(steps)
    assert [record.getMessage() for record in caplog.records] == [
        "[DECP-08] The store could not be written",
        "[DECP-02] the store could not be written: ZeroDivisionError('a bug')",
    ]


def test_a_store_that_failed_is_not_tried_again(keeper: Keeper, tmp_path: Path) -> None:
    harvest = harvest_of(keeper)
    stopped: list[str] = []
    keeper.crawler.spider.stop = stopped.append

    def steps() -> None:
        bad = Rejection("dume", "A", ContractType.MARCHE, None, [], b"x")
        object.__setattr__(bad, "source", None)  # which the store cannot take
        group = Group(1, "A")
        keeper.reject(row(group, "1"), bad)
        keeper.flush()
        reject(keeper, row(Group(1, "B"), "2"))
        keeper.flush()
        assert stopped == ["StoreError"]
        assert harvest.settled() == set()
        assert keeper.run.failed == 2
        assert len(keeper.run.errors) == 1

    run(steps)
