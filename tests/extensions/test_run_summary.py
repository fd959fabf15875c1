"""How a run has ended: the last lines of its log, and its summary."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from crawling import Crawl
from sqlalchemy import text

from dume_spider.extensions.run_summary import log_outcome
from dume_spider.run import Run
from dume_spider.store.store import Store


def said(run: Run, caplog: pytest.LogCaptureFixture) -> list[str]:
    with caplog.at_level(logging.INFO, "dume_spider.extensions.run_summary"):
        log_outcome(run, "data/decp")
    return caplog.messages


def test_a_probable_run_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run("dume", {"date": "2026-03-02"}, tmp_path)
    run.finish_reason = "finished"
    run.proof, why = "probable", "its days are not over: more may be published"
    run.unproven = [{"filters": {}, "state": "probable", "why": why}]
    assert run.status == "probable"
    place = tmp_path / run.id / "summary.json"
    assert said(run, caplog)[-1] == f"Run {run.id} is probable ({why}): {place}"


@pytest.mark.parametrize(
    ("arguments", "published", "expected"),
    [
        (
            {},
            [("", "created", ""), ("a.json", "uploaded", "r1"), ("b.json", "uploaded", "r2")],
            "Published: 2 uploaded, 1 data set created, 0 failed; data set 5f",
        ),
        ({}, [], "Published: 0 failed"),
    ],
)
def test_a_publication_says_where(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    arguments: dict[str, str],
    published: list[tuple[str, str, str]],
    expected: str,
) -> None:
    run = Run("publish", arguments, tmp_path)
    run.proof = "complete"
    run.published = [
        {"file": file, "action": action, "dataset": "5f", "resource": resource}
        for file, action, resource in published
    ]
    assert expected in said(run, caplog)


def test_a_store_that_fails_in_the_end_is_in_the_summary(
    tmp_path: Path, crawl: Callable[..., Crawl], serve: Callable[..., str]
) -> None:
    """The log says that the run failed and names the summary, which says why."""
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    with store.database.writing() as connection:
        connection.execute(
            text(
                "CREATE TRIGGER full BEFORE UPDATE OF summary ON runs "
                "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
            )
        )
    store.close()
    url = serve(lambda asked: (200, b'{"response": {"donneesEssentielles": []}}'))
    done = crawl(url, {"date": "2026-03-01"})
    assert done.status == 1, done.output
    assert done.summary["status"] == "failed"
    (error,) = done.summary["errors"]
    assert "disk is full" in error
