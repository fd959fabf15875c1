"""The items: DECP records (a class per type of contract and regime) and notices.

Each is validated by its JSON schema. The item of a record holds what every feed gets:
``reference``, ``type`` (MP, CC), ``regime`` (2019, 2022) and ``record``, the DECP record; that
of a notice its fields. The :class:`Origin` travels beside these fields and is never exported.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

from dume_spider.boamp.notice import ReadNotice, notice_schema
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.repair import join_problems
from dume_spider.decp.schema import problems, record_schema
from dume_spider.decp.verdict import Problem, Repair, quote

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


class StoredItem(JsonSchemaItem):
    """What the pipelines validate and keep in the store: base of all items."""

    jsonschema: ClassVar[dict[str, Any]] = {"type": "object"}
    #: The field that holds the key of the service.
    key_field: ClassVar[str]
    _origin: Origin

    @property
    def origin(self) -> Origin:
        """Where the item comes from (not a field: feeds do not export it)."""
        return self._origin

    @property
    def key(self) -> str | None:
        """The service's key of the item; ``None`` when it has none."""
        return self.get(self.key_field)


class DecpItem(StoredItem):
    """A contract of which the type or the regime cannot be told, and base of the others."""

    jsonschema = _item_schema(None, None)
    key_field = "reference"


@cache
def item_class(type_: ContractType, regime: Regime) -> type[DecpItem]:
    """The class of the items of a type and regime, such as ``Marche2022Item``.

    Made when the first is needed: scrapy-jsonschema checks the schema of each class, which
    every start of ``scrapy`` would wait for.
    """
    name = "Marche" if type_ is ContractType.MARCHE else "Concession"
    attributes = {"jsonschema": _item_schema(type_, regime), "__module__": __name__}
    return type(DecpItem)(f"{name}{regime}Item", (DecpItem,), attributes)


def make_item(
    origin: Origin,
    *,
    reference: str | None,
    type_: ContractType,
    regime: Regime | None,
    record: dict[str, Any],
) -> DecpItem:
    """The item of a record. Fields that are not known (``None``) are left out."""
    cls = item_class(type_, regime) if regime else DecpItem
    item = cls(type=type_, record=record)
    if reference is not None:
        item["reference"] = reference
    if regime is not None:
        item["regime"] = regime
    item._origin = origin
    return item


class NoticeItem(StoredItem):
    """A notice of the BOAMP (see :func:`dume_spider.boamp.notice.read_notice`)."""

    jsonschema = notice_schema()
    key_field = "idweb"

    @classmethod
    def of(cls, read: ReadNotice, row: Any, group: Group | None = None) -> Self:
        """The item of a notice that was read from ``row``, saved with those of its group."""
        item = cls(read.notice)
        item._origin = Origin(
            "boamp", row, read.problems, warnings=list(read.warnings), group=group
        )
        return item


def problems_of(item: StoredItem) -> tuple[Problem, ...]:
    """All reasons why an item cannot be accepted: those of its reading and the schema's."""
    if not isinstance(item, DecpItem):
        if item.origin.problems:
            return item.origin.problems
        return tuple(
            Problem(".".join(map(str, error.absolute_path)), error.validator, quote(error.message))
            for error in item.validator.iter_errors(dict(item))
        )
    if "regime" not in item:
        return item.origin.problems
    found = problems(item["record"], item["type"], item["regime"])
    return join_problems(item.origin.problems, found)
