"""Records of the data set read as notices: columns, payload, links, nothing lost."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from dume_spider.boamp.notice import EXPECTED_COLUMNS, ReadNotice, notice_schema, read_notice

VALIDATOR = jsonschema.Draft7Validator(notice_schema())


def record(**columns: Any) -> dict[str, Any]:
    """A whole record: every column is there, those not given are null; donnees is packed."""
    row: dict[str, Any] = dict.fromkeys(EXPECTED_COLUMNS)
    row |= {"idweb": "26-100", "nature": "ATTRIBUTION", "gestion": "{}", "donnees": "{}"}
    for name, value in columns.items():
        row[name] = json.dumps(value) if isinstance(value, dict) else value
    return row


def read(**columns: Any) -> ReadNotice:
    """What is read of a record, which is valid under the schema if it is accepted."""
    result = read_notice(record(**columns))
    if not result.problems:
        VALIDATOR.validate(result.notice)
    return result


def rules(result: ReadNotice) -> list[tuple[str, str]]:
    return [(warning.path, warning.rule) for warning in result.warnings]


def test_the_schema_is_one_that_scrapy_jsonschema_knows() -> None:
    assert notice_schema()["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(notice_schema())


@pytest.mark.parametrize("row", [None, 3, "text", [], [{}]])
def test_what_is_no_record_is_refused(row: Any) -> None:
    result = read_notice(row)
    assert [problem.rule for problem in result.problems] == ["row"]


@pytest.mark.parametrize("idweb", [None, "", " ", {}, [], ["a", "b"], True])
def test_a_record_without_idweb_is_refused_and_read(idweb: Any) -> None:
    result = read_notice(record(idweb=None) | {"idweb": idweb, "objet": "Travaux"})
    assert [(problem.path, problem.rule) for problem in result.problems] == [("idweb", "idweb")]
    assert result.notice["objet"] == "Travaux"
