"""The JSON schemas of the two regimes, and what is wrong with a record under them.

The schemas are this project's own files (``schemas/README.md`` says where their content
comes from). Two engines read the same schema differently: jsonschema-rs, which is fast,
and jsonschema, the reference in Python, which scrapy-jsonschema and most others use. A
record is valid only when both take it, and when it is JSON:

* In patterns jsonschema-rs is the stricter one: a final line feed is not the end of the
  text, and ``\\d`` is an ASCII digit.
* In ``uniqueItems`` either may be: jsonschema-rs takes an integer of more than 64 bits for
  the float next to it, but not always for the float equal to it; jsonschema misses twins
  among lists that it cannot sort. Elsewhere jsonschema is stricter only with objects of
  Python that stand for JSON, such as a tuple for a list. So jsonschema runs for records
  with numbers that large alone (:func:`_is_ordinary`).
* What a JSON file cannot hold is refused wherever it stands, in unknown fields too: NaN and
  infinity, half a surrogate pair, keys that are not text, any object of Python but plain
  ``dict``, ``list``, ``str``, ``int``, ``float``, ``bool`` and ``None``; also more than
  254 levels of nesting and integers of more digits than Python writes (4,300).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, NamedTuple

import jsonschema
import jsonschema_rs
import orjson

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.verdict import Problem, quote

#: The deepest nesting that orjson writes; the format needs 8 levels.
MAX_DEPTH = 254

#: From here on a float no longer tells neighbouring integers apart.
_INEXACT = 2.0**53

#: At most so many values that are not JSON are listed for one record.
_LISTED = 20

_DEFINITION = {
    ContractType.MARCHE: "marche",
    ContractType.CONCESSION: "contrat-concession",
}


@cache
def file_schema(regime: Regime) -> dict[str, Any]:
    """The schema of a DECP file of ``regime``, as in its ``*.schema.json``.

    The dictionary is shared by all callers: read it, change a copy.
    """
    path = resources.files("dume_spider.decp") / "schemas" / f"decp-{Regime(regime)}.schema.json"
    return json.loads(path.read_bytes())


@cache
def record_schema(type: ContractType, regime: Regime) -> dict[str, Any]:
    """The schema of one record, complete in itself.

    ``$schema``, the keywords of the record, and beside them the ``definitions`` that its
    ``$ref`` point to. The dictionary is shared by all callers: read it, change a copy.
    """
    root = file_schema(regime)
    definitions = {
        name: node for name, node in root["definitions"].items() if name not in _DEFINITION.values()
    }
    record = root["definitions"][_DEFINITION[ContractType(type)]]
    return {"$schema": root["$schema"], **record, "definitions": definitions}


def resolve(node: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    """The node that ``node`` stands for: itself, or the definition that its ``$ref`` names.

    ``root`` is the :func:`record_schema` or :func:`file_schema` that ``node`` is from.
    """
    while "$ref" in node:
        node = root["definitions"][node["$ref"].removeprefix("#/definitions/")]
    return node


def is_valid(record: object, type: ContractType, regime: Regime) -> bool:
    """Whether :func:`problems` finds nothing in the record."""
    return not problems(record, type, regime)


def problems(record: object, type: ContractType, regime: Regime, at: str = "") -> list[Problem]:
    """What is wrong with a record under the schema of its type and regime; [] when valid.

    The rule of a problem is the keyword of JSON Schema that fails, or ``json`` for a value
    that JSON cannot hold; of a record that is not JSON nothing else is said. The path of a
    missing or unknown field ends with its name. ``at`` is put before every path
    (``marches.marche.3``).
    """
    judge = _judge(type, regime)
    ordinary = _is_ordinary(record)
    if ordinary and judge.fast.is_valid(record):
        return []
    prefix = (at,) if at else ()
    if not ordinary and (foreign := list(islice(_not_json(record, prefix), _LISTED))):
        return foreign
    places = [
        (failure.instance_path, failure.evaluation_path)
        for failure in judge.fast.iter_errors(record)
    ]
    if not ordinary:
        try:
            places += (
                (list(failure.absolute_path), list(failure.absolute_schema_path))
                for failure in judge.reference.iter_errors(record)
            )
        except RecursionError:
            return [Problem(at, "json", "is nested too deeply to be compared")]
    found = dict.fromkeys(
        problem
        for where, schema_path in places
        for problem in _explain(record, judge.schema, where, schema_path, prefix)
    )
    # A value of the wrong type is no label of the list either: one reason is enough.
    mistyped = {problem.path for problem in found if problem.rule == "type"}
    return [p for p in found if p.rule == "type" or p.path not in mistyped]


class _Judge(NamedTuple):
    """A record's schema, and the two engines made ready for it."""

    schema: dict[str, Any]
    fast: jsonschema_rs.Validator
    reference: jsonschema.protocols.Validator


@cache
def _judge(type: ContractType, regime: Regime) -> _Judge:
    schema = record_schema(type, regime)
    reference = jsonschema.validators.validator_for(schema)
    return _Judge(schema, jsonschema_rs.validator_for(schema), reference(schema))


def _is_ordinary(record: object) -> bool:
    """Whether the record is surely JSON and free of what the engines see differently.

    ``False`` means that a slower look is needed, not that anything is wrong.
    """
    try:
        orjson.dumps(record)
    except TypeError:  # no JSON text, a foreign type, over 64 bits, too deep or endless
        return False
    # What orjson writes although it is no JSON (tuples, enumerations, NaN), and floats of
    # which an int may be the twin. One flat loop: this runs for every value of every record.
    values = [record]
    for value in values:
        kind = type(value)
        if kind is str:
            continue
        if kind is dict:
            values += value.values()
        elif kind is list:
            values += value
        elif kind is float:
            if not -_INEXACT < value < _INEXACT:
                return False
        elif kind is not int and kind is not bool and value is not None:
            return False
    return True


def _not_json(value: object, path: tuple[str, ...], depth: int = MAX_DEPTH) -> Iterator[Problem]:
    """The values of a record that JSON cannot hold, each with its reason."""

    def problem(reason: str) -> Problem:
        return Problem(".".join(path), "json", reason)

    kind = type(value)
    if kind is dict or kind is list:
        if not depth:
            yield problem(f"is nested deeper than {MAX_DEPTH} levels")
            return
        for key, child in value.items() if kind is dict else enumerate(value):
            if kind is dict and not (type(key) is str and _is_encodable(key)):
                yield problem(f"has a key that is not JSON text: {quote(key)}")
            else:
                yield from _not_json(child, (*path, str(key)), depth - 1)
    elif kind is str:
        if not _is_encodable(value):
            yield problem(f"{quote(value)} holds half a surrogate pair, which is no text")
    elif kind is float:
        if not math.isfinite(value):
            yield problem(f"{value} is not a number that JSON can hold")
    elif kind is int:
        try:
            str(value)
        except ValueError:
            yield problem("is an integer with too many digits")
    elif kind is not bool and value is not None:
        yield problem(f"is of type {kind.__name__}, which JSON does not know")


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_TYPE_NAMES = {
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
}

#: At most so many labels of an enumeration are shown.
_LABELS = 5


def _explain(
    record: Any, root: dict[str, Any], where: list, schema_path: list, prefix: tuple[str, ...]
) -> Iterator[Problem]:
    """The failure of one keyword at one place, in words."""
    value, node = record, root
    for key in where:
        value = value[key]
    *steps, keyword = schema_path
    for step in steps:
        if step != "$ref":
            node = resolve(node, root)[step]
    node = resolve(node, root)
    path = (*prefix, *map(str, where))

    if keyword == "required":
        for field in node["required"]:
            if field not in value:
                yield Problem(".".join((*path, field)), keyword, "is missing")
    elif keyword == "additionalProperties":
        for field in value:
            if field not in node["properties"]:
                yield Problem(".".join((*path, field)), keyword, "is not a field of this format")
    else:
        yield Problem(".".join(path), keyword, _sentence(keyword, value, node))


def _sentence(keyword: str, value: Any, node: dict[str, Any]) -> str:
    limit = node[keyword]
    match keyword:
        case "type":
            return f"{quote(value)} is not {_TYPE_NAMES[limit]}"
        case "enum":
            more = f", … ({len(limit)} labels)" if len(limit) > _LABELS else ""
            return f"{quote(value)} is not one of: {', '.join(limit[:_LABELS])}{more}"
        case "pattern":
            return f"{quote(value)} is not {node['title']}"
        case "minimum":
            return f"{quote(value)} is below {limit}"
        case "maximum":
            return f"{quote(value)} is above {limit}"
        case "minLength":
            return f"{quote(value)} has {len(value)} characters, fewer than {limit}"
        case "maxLength":
            return f"has {len(value)} characters, more than {limit}"
        case "minItems":
            return f"has {len(value)} items, fewer than {limit}"
        case "uniqueItems":
            return "holds the same item more than once"
    raise NotImplementedError(f"no sentence for the keyword {keyword}")
