"""What the planner needs to know of a search row: the raw values that the filters match."""

from __future__ import annotations

from collections.abc import Iterator
from sys import intern
from typing import Any

from dume_spider.decp.regime import BUYER_FIELD, ContractType
from dume_spider.dume.answer import row_key
from dume_spider.dume.mapping import LONGEST_LABEL, FieldNames, raw_fields
from dume_spider.dume.planner import RowFacts

_WINNERS = {ContractType.MARCHE: "titulaires", ContractType.CONCESSION: "concessionnaires"}
_WANTED = {"procedure", "nature", "codeCPV", *BUYER_FIELD.values(), *_WINNERS.values()}


def facts_of(row: object, names: FieldNames, asked_type: ContractType | None) -> RowFacts:
    """The facts of a row; what is no row has none but its key.

    Values are given as the service has them, not repaired: its filters are exact.
    """
    raw = raw_fields(row, names, asked_type, _WANTED)
    if raw is None:
        return RowFacts(row_key(None, row))
    fields = raw.fields
    return RowFacts(
        row_key(raw.reference, row),
        raw.reference,
        raw.type,
        _text(fields.get("procedure")),
        _text(fields.get("nature")),
        _text(fields.get("codeCPV")),
        next(_ids(fields.get(BUYER_FIELD[raw.type])), None),
        tuple(_ids(fields.get(_WINNERS[raw.type]))),
    )


def _ids(value: Any) -> Iterator[str]:
    """The identifiers in a party, a list of parties, wrapped or not."""
    if isinstance(value, list):
        for inner in value:
            yield from _ids(inner)
    elif isinstance(value, dict):
        if text := _text(value.get("id")):
            yield text
        else:
            yield from _ids([inner for inner in value.values() if isinstance(inner, dict | list)])


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_LABEL:
        return None
    # Interned: the planner holds the labels of all rows, and there are few that differ.
    return intern(value)
