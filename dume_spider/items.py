"""The items: one class per type of contract and regime, validated by its JSON schema.

An item holds what every feed gets: ``reference``, ``type`` (MP, CC), ``regime`` (2019,
2022) and ``record``, the DECP record. Its :class:`Origin` travels beside these fields and
is never exported.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.repair import join_problems
from dume_spider.decp.schema import problems, record_schema
from dume_spider.decp.verdict import Problem, Repair

with warnings.catch_warnings():
    # scrapy-jsonschema 0.5.0 imports names that jsonschema has deprecated.
    warnings.filterwarnings("ignore", "Accessing jsonschema", DeprecationWarning)
    from scrapy_jsonschema import JsonSchemaItem

if TYPE_CHECKING:
    from dume_spider.extensions.keeper import Group


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an item comes from: the raw row, what was repaired, what could not be.

    ``warnings`` are added by the validation pipeline: what the State's rules only note.
    ``unknown`` are the paths of the row's keys that no field uses.
    ``group`` are the rows that it is saved with; ``None``: it stands for itself.
    """

    source: str
    raw: Any
    problems: tuple[Problem, ...] = ()
    repairs: tuple[Repair, ...] = ()
    warnings: list[Problem] = field(default_factory=list)
    unknown: tuple[str, ...] = ()
    group: Group | None = None


def _item_schema(type_: ContractType | None, regime: Regime | None) -> dict[str, Any]:
    schema: dict[str, Any] = {
        # scrapy-jsonschema takes draft 4 unless the text is exactly one it knows.
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "reference": {"type": "string", "minLength": 1},
            "type": {"enum": [str(type_)] if type_ else [*ContractType]},
            "regime": {"enum": [str(regime)] if regime else [*Regime]},
            "record": {"type": "object"},
        },
        "required": ["reference", "type", "regime", "record"],
    }
    if type_ and regime:
        record = dict(record_schema(type_, regime))
        schema["$schema"] = record.pop("$schema")
        schema["definitions"] = record.pop("definitions")
        schema["properties"]["record"] = record
    return schema


class DecpItem(JsonSchemaItem):
    """A contract of which the type or the regime cannot be told, and base of the others."""

    jsonschema = _item_schema(None, None)
    _origin: Origin

    @property
    def origin(self) -> Origin:
        """Where the item comes from (not a field: feeds do not export it)."""
        return self._origin


class Marche2019Item(DecpItem):
    """A marché notified before 2024."""

    jsonschema = _item_schema(ContractType.MARCHE, Regime.R2019)


class Concession2019Item(DecpItem):
    """A contrat de concession signed before 2024."""

    jsonschema = _item_schema(ContractType.CONCESSION, Regime.R2019)


class Marche2022Item(DecpItem):
    """A marché notified from 2024 on."""

    jsonschema = _item_schema(ContractType.MARCHE, Regime.R2022)


class Concession2022Item(DecpItem):
    """A contrat de concession concluded from 2024 on."""

    jsonschema = _item_schema(ContractType.CONCESSION, Regime.R2022)


_CLASSES = {
    (ContractType.MARCHE, Regime.R2019): Marche2019Item,
    (ContractType.CONCESSION, Regime.R2019): Concession2019Item,
    (ContractType.MARCHE, Regime.R2022): Marche2022Item,
    (ContractType.CONCESSION, Regime.R2022): Concession2022Item,
}


def make_item(
    origin: Origin,
    *,
    reference: str | None,
    type_: ContractType,
    regime: Regime | None,
    record: dict[str, Any],
) -> DecpItem:
    """The item of a record. Fields that are not known (``None``) are left out."""
    cls = _CLASSES[type_, regime] if regime else DecpItem
    item = cls(type=type_, record=record)
    if reference is not None:
        item["reference"] = reference
    if regime is not None:
        item["regime"] = regime
    item._origin = origin
    return item


def problems_of(item: DecpItem) -> tuple[Problem, ...]:
    """All reasons why an item cannot be published: those of the mapping and the schema's."""
    if "regime" not in item:
        return item.origin.problems
    found = problems(item["record"], item["type"], item["regime"])
    return join_problems(item.origin.problems, found)
