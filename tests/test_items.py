from __future__ import annotations

from datetime import date
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from itemadapter import ItemAdapter

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.dume.mapping import load_field_names, map_row
from dume_spider.items import DecpItem, Origin, make_item, problems_of
from dume_spider.sandbox.generator import generate
from dume_spider.spiders.dume import item_of
from dume_spider.store.store import Candidate

NAMES = load_field_names()
MADE = list(generate(60, 11, date(2023, 12, 1), date(2024, 1, 31), faulty=0))


def test_each_class_has_the_schema_of_its_type_and_regime() -> None:
    classes = {
        type(
            make_item(
                Origin("dume", {}), reference="R", type_=type_, regime=regime, record={"id": "1"}
            )
        )
        for type_ in ContractType
        for regime in Regime
    }
    assert len(classes) == 4
    for cls in classes:
        assert issubclass(cls, DecpItem)
        assert set(cls.fields) == {"reference", "type", "regime", "record"}
        draft = "draft-04" if "2019" in cls.__name__ else "draft-07"
        assert cls.jsonschema["$schema"] == f"http://json-schema.org/{draft}/schema#"


def test_the_item_s_own_validator_agrees_with_ours() -> None:
    """The stock pipeline of scrapy-jsonschema would pass and refuse the same items."""
    for made in MADE:
        item = item_of(map_row(made.served.row, NAMES), made.served.row)
        assert problems_of(item) == ()
        assert list(item.validator.iter_errors(dict(item))) == []
        del item["record"]["id"]
        assert [problem.path for problem in problems_of(item)] == ["id"]
        (error,) = item.validator.iter_errors(dict(item))
        assert error.message == "'id' is a required property"


def test_feeds_get_the_four_fields_only() -> None:
    made = MADE[0]
    item = item_of(map_row(made.served.row, NAMES), made.served.row)
    assert ItemAdapter(item).asdict() == {
        "reference": made.served.reference,
        "type": made.type,
        "regime": made.regime,
        "record": made.record,
    }
    assert item.origin.raw == made.served.row


def test_a_field_that_does_not_exist_is_a_bug() -> None:
    with pytest.raises(KeyError):
        make_item(
            Origin("dume", {}),
            reference="R",
            type_=ContractType.MARCHE,
            regime=Regime.R2022,
            record={},
        )["acheteur"] = "x"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@st.composite
def damaged_rows(draw: st.DrawFn) -> dict[str, Any]:
    """Rows of the generator, with some values anywhere replaced by any JSON value."""
    row = orjson.loads(orjson.dumps(draw(st.sampled_from(MADE)).served.row))
    for _ in range(draw(st.integers(1, 4))):
        node: Any = row
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = draw(st.sampled_from(keys))
            if isinstance(node[key], dict | list) and node[key] and draw(st.booleans()):
                node = node[key]
                continue
            node[key] = draw(JSON)
            break
    return row


@given(damaged_rows())
@settings(max_examples=300)
def test_any_row_is_refused_with_reasons_or_can_be_stored(row: dict[str, Any]) -> None:
    item = item_of(map_row(row, NAMES), row)
    if problems_of(item):
        return
    candidate = Candidate.of(
        "dume",
        item["reference"],
        item["type"],
        item["regime"],
        item["record"],
        b"{}",
        repairs=item.origin.repairs,
    )
    assert orjson.loads(candidate.record) == item["record"]
