"""A store for the commands that read one."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from crawling import ROOT

from dume_spider.decp.reading import read_records
from dume_spider.store.store import Candidate, Store

GOLDEN = ROOT / "tests" / "decp" / "golden"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """The store of two runs: the golden records of 2019, then those of 2022."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    store = Store(url)
    for regime in ("2019", "2022"):
        run = f"run-{regime}"
        store.begin_run(run, "dume", {}, datetime(2026, 3, 1, tzinfo=UTC))
        store.save(
            run,
            [
                Candidate.of("dume", found.path, found.type, found.regime, found.record, b"{}")
                for found in read_records(GOLDEN / f"{regime}.json")
            ],
        )
    store.close()
    return url
