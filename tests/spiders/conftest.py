"""Fixtures of the tests of spiders."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from publishing import Publishing, worker

from dume_spider.spiders import base, boamp, dume, harvest


@pytest.fixture
def on_18_march_2026(monkeypatch: pytest.MonkeyPatch) -> None:
    """For spiders, it is that day."""
    for module in (base, harvest, dume, boamp):
        monkeypatch.setattr(module, "today", lambda: date(2026, 3, 18))


@pytest.fixture(scope="session")
def publishing_worker() -> Iterator[subprocess.Popen[str]]:
    """The process in which the publish spider crawls."""
    with worker() as process:
        yield process


@pytest.fixture
def publish(publishing_worker: subprocess.Popen[str], tmp_path: Path) -> Iterator[Publishing]:
    """The publish spider in a folder of the test's own; no key is left in it."""
    publishing = Publishing(publishing_worker, tmp_path)
    yield publishing
    publishing.look_for_keys()
