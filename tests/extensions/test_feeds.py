"""A feed that cannot be written: said before the first request, and never passed over."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dume_spider.exceptions import OutputError
from dume_spider.extensions.feeds import check_writable
from dume_spider.sandbox.generator import generate

DAY = {"date": "2026-03-02"}


@pytest.fixture
def service(serve: Callable[..., str]) -> str:
    """A service with three contracts of a day."""
    day = date.fromisoformat(DAY["date"])
    made = [each.served.row for each in generate(3, 1, day, day, faulty=0)]

    def answer(asked: dict[str, Any]) -> tuple[int, bytes]:
        wanted = asked.get("referenceUnique")
        rows = [row for row in made if wanted in (None, row["referenceUnique"])]
        return 200, json.dumps({"response": {"donneesEssentielles": rows}}).encode()

    return serve(answer)


@pytest.mark.slow
def test_a_feed_that_cannot_be_opened_ends_the_run_before_the_first_request(
    service: str, crawl: Callable[..., Any], tmp_path: Path
) -> None:
    feed = tmp_path / "items.jsonl"
    feed.mkdir()
    done = crawl(service, DAY)
    assert done.status == 1, done.output
    assert "Traceback" not in done.output
    assert f"ERROR: [DECP-03] the feed {feed} cannot be written: Is a directory" in done.output
    assert done.summary["status"] == "failed"
    assert done.summary["requests"]["search"] == 0
    # Nothing is lost by it: the same command, once that is repaired, gives them all.
    feed.rmdir()
    again = crawl(service, DAY)
    assert again.status == 0, again.output
    assert len(again.items) == again.counts["written"] > 0


@pytest.mark.slow
def test_a_feed_that_could_not_be_stored_fails_the_run(
    service: str, crawl: Callable[..., Any], tmp_path: Path
) -> None:
    """As on a full disk: the records are written and in the store, but not in the feed."""
    (tmp_path / "items.jsonl").symlink_to("/dev/full")
    done = crawl(service, DAY)
    assert done.status == 1, done.output
    assert done.summary["status"] == "failed"
    assert done.counts["written"] > 0
    (error,) = done.summary["errors"]
    assert error.endswith(f"scrapy export --run {done.summary['run']}")
    assert f"ERROR: [DECP-03] {error}" in done.output
    assert re.search(r"ERROR: \[DECP-10\] Run \S+ failed: a feed could not be stored", done.output)


def test_what_is_tried_is_left_as_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "old.jsonl", tmp_path / "sub" / "new.jsonl"
    old.write_text("kept", encoding="utf-8")
    check_writable(old)
    check_writable(new)
    assert old.read_text(encoding="utf-8") == "kept"
    assert not new.exists()
    with pytest.raises(OutputError, match=r"the feed .* cannot be written: Not a directory; give"):
        check_writable(old / "new.jsonl")
