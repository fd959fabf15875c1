"""The award notices of the BOAMP against the contracts of the DECP, by buyer."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import orjson

from dume_spider.boamp.notice import read_notice
from dume_spider.report.figures import Survey
from dume_spider.store.reading import StoreReader

#: The nature of a notice that awards a contract.
AWARD = "ATTRIBUTION"


class Compared(NamedTuple):
    """The award notices of a buyer and its contracts."""

    buyer: str
    name: str
    notices: int
    contracts: int


def compare(reader: StoreReader, surveyed: Survey, since: str = "") -> tuple[list[Compared], int]:
    """The buyers of the award notices published since a day, those whose contracts are most
    likely to be missing first, and how many notices name no buyer by a SIRET.

    A notice counts for each buyer that it names. Raises :class:`StoreError`.
    """
    notices: Counter[str] = Counter()
    names: dict[str, str] = {}
    unnamed = 0
    for line in reader.notices(since=since):
        notice = read_notice(orjson.loads(line.raw)).notice
        if notice["nature"] != AWARD:
            continue
        buyers = {
            identifier["value"]: buyer["name"]["value"] if buyer["name"] else ""
            for award in notice["awards"]
            for buyer in award["buyers"]
            for identifier in buyer["identifiers"]
            if identifier["type"] == "SIRET"
        }
        notices.update(buyers.keys())
        names |= buyers
        unnamed += not buyers
    compared = []
    for buyer, count in notices.items():
        known = surveyed.buyers.get(buyer)
        name = names[buyer] or (known.name if known else "")
        compared.append(Compared(buyer, name, count, known.contracts if known else 0))
    compared.sort(key=lambda each: (each.contracts - each.notices, each.buyer))
    return compared, unnamed
