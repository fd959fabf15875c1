"""A pipeline that loses rows on their way, as one of a user's own may."""

from __future__ import annotations

import os
from typing import Any

from scrapy.exceptions import DropItem


class LosingPipeline:
    """Loses the rows whose objet is ``lose me``: ``LOSE=drop`` or ``LOSE=error``."""

    def process_item(self, item: Any) -> Any:
        if item["record"]["objet"] != "lose me":
            return item
        if os.environ["LOSE"] == "drop":
            raise DropItem("lost")
        raise RuntimeError("lost")
