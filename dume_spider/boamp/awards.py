"""The awards that a notice states, lot by lot, each value with its place in the notice."""

from __future__ import annotations

from typing import Any

from dume_spider.boamp.tree import Node

Award = dict[str, Any]


def awards_of(kind: str, payload: Node, notice: dict[str, Any]) -> list[Award]:
    """The awards of a notice: none yet, the formats are read in the next commits."""
    return []
