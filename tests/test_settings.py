"""What the project takes over from Scrapy's settings, and what it leaves out."""

from __future__ import annotations

import pytest
from scrapy.settings import default_settings

from dume_spider import settings


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("DOWNLOADER_MIDDLEWARES_BASE", 5),
        ("SPIDER_MIDDLEWARES_BASE", 3),
        ("EXTENSIONS_BASE", 3),
    ],
)
def test_what_is_left_out_is_there_in_scrapy(name: str, left_out: int) -> None:
    """A part that Scrapy renames would be set up again, unseen."""
    ours, scrapys = getattr(settings, name), getattr(default_settings, name)
    assert ours.items() < scrapys.items()
    assert len(scrapys) - len(ours) == left_out
