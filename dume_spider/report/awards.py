"""The award notices of the BOAMP against the contracts of the DECP, by buyer."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

import orjson

from dume_spider.boamp.notice import read_notice
from dume_spider.report.figures import Party, Survey
from dume_spider.store.reading import StoreReader

#: The nature of a notice that awards a contract.
AWARD = "ATTRIBUTION"
#: What an award is where there is no contract.
_NO_CONTRACT = {"not-awarded", "pending", "cancelled"}


class Compared(NamedTuple):
    """The award notices of a buyer and its contracts."""

    buyer: str
    name: str
    notices: int
    contracts: int


def compare(reader: StoreReader, surveyed: Survey, since: str = "") -> tuple[list[Compared], int]:
    """The buyers of the award notices published since a day, those whose contracts are most
    likely to be missing first, and how many notices name no buyer by a SIRET.

    A notice counts for each buyer that it names, unless it says that nothing was awarded.
    Buyers and titulaires that no contract names (records of 2022 hold a SIRET only) get the
    name that the last notice gives them. Raises :class:`StoreError`.
    """
    notices: Counter[str] = Counter()
    names: dict[str, str] = {}
    winners: dict[str, str] = {}
    unnamed = 0
    for line in reader.notices(since=since):
        notice = read_notice(orjson.loads(line.raw)).notice
        if notice["nature"] != AWARD:
            continue
        buyers = _sirets(notice, "buyers")
        winners |= _sirets(notice, "winners")
        names |= buyers
        statuses = {award["status"] for award in notice["awards"]}
        if statuses and statuses <= _NO_CONTRACT:
            continue
        notices.update(buyers.keys())
        unnamed += not buyers
    for (_, siret), party in surveyed.titulaires.items():
        party.name = party.name or winners.get(siret, "")
    compared = []
    for buyer, count in notices.items():
        known = surveyed.buyers.get(buyer) or Party(buyer)
        known.name = known.name or names[buyer]
        compared.append(Compared(buyer, names[buyer] or known.name, count, known.contracts))
    compared.sort(key=lambda each: (each.contracts - each.notices, each.buyer))
    return compared, unnamed


def _sirets(notice: dict[str, Any], parties: str) -> dict[str, str]:
    """The names of the ``buyers`` or ``winners`` of a notice, by their SIRETs."""
    return {
        identifier["value"]: party["name"]["value"] if party["name"] else ""
        for award in notice["awards"]
        for party in award[parties]
        for identifier in party["identifiers"]
        if identifier["type"] == "SIRET"
    }
