"""What the planner needs to know of a search row: the raw values that the filters match."""

from __future__ import annotations

from typing import Any

from dume_spider.decp.regime import BUYER_FIELD, ContractType
from dume_spider.dume.answer import row_key
from dume_spider.dume.mapping import FieldNames, _RowNames, _shape
from dume_spider.dume.planner import RowFacts

_WINNERS = {ContractType.MARCHE: "titulaires", ContractType.CONCESSION: "concessionnaires"}


def facts_of(row: object, names: FieldNames, asked_type: ContractType | None) -> RowFacts:
    """The facts of a row; a row that is no object has none but its key.

    Values are given as the service has them, not repaired: its filters are exact.
    """
    if not isinstance(row, dict):
        return RowFacts(row_key(None, row))
    shape = _shape(row)
    about = names.about(row, shape)
    type_ = about.type or asked_type or about.likely_type
    fields = _RowNames(names, type_, row, shape)
    buyer = fields.record.get(BUYER_FIELD[type_])
    winners = fields.record.get(_WINNERS[type_])
    return RowFacts(
        row_key(about.reference, row),
        about.reference,
        type_,
        _text(fields.record.get("procedure")),
        _text(fields.record.get("nature")),
        _text(fields.record.get("codeCPV")),
        _text(buyer.get("id") if isinstance(buyer, dict) else buyer),
        tuple(filter(None, map(_winner, winners if isinstance(winners, list) else [winners]))),
    )


def _winner(value: Any) -> str | None:
    if isinstance(value, dict):
        return _text(value.get("id")) or next(
            (_winner(inner) for inner in value.values() if isinstance(inner, dict)), None
        )
    return None


def _text(value: Any) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None
