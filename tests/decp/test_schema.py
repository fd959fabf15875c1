"""The packaged schemas against the official files, and the reasons given for a refusal."""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
import re
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import jsonschema_rs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import dume_spider
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.schema import (
    MAX_DEPTH,
    file_schema,
    is_valid,
    problems,
    record_schema,
    resolve,
)
from dume_spider.decp.verdict import Problem

OFFICIAL = {
    Regime.R2019: "official/1.5.0/marches-1.5.0.schema.json",
    Regime.R2022: "official/2.0.4/decp-2.0.4.schema.json",
}
VALIDATORS = {
    Regime.R2019: jsonschema.Draft4Validator,
    Regime.R2022: jsonschema.Draft7Validator,
}
FAST_VALIDATORS = {
    Regime.R2019: jsonschema_rs.Draft4Validator,
    Regime.R2022: jsonschema_rs.Draft7Validator,
}
DEFINITIONS = {ContractType.MARCHE: "marche", ContractType.CONCESSION: "contrat-concession"}
CLASSES = [(type_, regime) for type_ in ContractType for regime in Regime]

every_class = pytest.mark.parametrize(("type_", "regime"), CLASSES)
every_regime = pytest.mark.parametrize("regime", Regime)


# The official side: its schemas judged by the reference engine, jsonschema


@pytest.fixture(scope="module")
def official(shared: Path) -> dict[Regime, dict[str, Any]]:
    return {
        regime: json.loads((shared / path).read_text("utf-8")) for regime, path in OFFICIAL.items()
    }


def official_judge(root: dict[str, Any], type_: ContractType, regime: Regime) -> Any:
    """The official schema of one class of records in the reference engine."""
    record = {"$ref": f"#/definitions/{DEFINITIONS[type_]}"}
    return VALIDATORS[regime]({"definitions": root["definitions"], "allOf": [record]})


def inlined(node: Any, root: dict[str, Any]) -> Any:
    """A schema without references, texts and order: equal ones take the same values."""
    if not isinstance(node, dict):
        return [inlined(each, root) for each in node] if isinstance(node, list) else node
    if "$ref" in node:
        target = root
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return inlined(target, root)
    if "allOf" in node:
        assert set(node) == {"allOf"}
        assert len(node["allOf"]) == 1
        return inlined(node["allOf"][0], root)
    told = {}
    for keyword, value in node.items():
        if keyword == "properties":
            told[keyword] = {name: inlined(child, root) for name, child in value.items()}
        elif keyword in ("required", "enum"):
            told[keyword] = sorted(value)
        elif keyword == "pattern":
            told[keyword] = value.replace(r"\-", "-")
        elif keyword not in ("$id", "id", "title", "description", "definitions"):
            told[keyword] = inlined(value, root)
    return told


@every_regime
def test_same_constraints_as_the_official_schema(official, regime):
    assert inlined(file_schema(regime), file_schema(regime)) == inlined(
        official[regime], official[regime]
    )


@every_regime
def test_the_title_of_a_pattern_is_its_own(official, regime):
    texts = set(re.findall(r'"(?:title|description)": "([^"]+)"', json.dumps(official[regime])))
    own = set(re.findall(r'"title": "([^"]+)"', json.dumps(file_schema(regime))))
    assert not own & texts


def records_of(document: dict[str, Any]) -> list[tuple[ContractType, dict[str, Any]]]:
    """The records of a file of either regime, each with the definition it falls under."""
    if isinstance(document["marches"], list):
        return [
            (
                ContractType.CONCESSION if "autoriteConcedante" in record else ContractType.MARCHE,
                record,
            )
            for record in document["marches"]
        ]
    return [
        (type_, record)
        for type_, name in DEFINITIONS.items()
        for record in document["marches"].get(name, [])
    ]


def official_examples(shared: Path, regime: Regime) -> dict[str, dict[str, Any]]:
    folder = shared / Path(OFFICIAL[regime]).parent / "examples" / "json"
    return {file.name: json.loads(file.read_text("utf-8")) for file in folder.glob("*.json")}


@pytest.mark.parametrize(
    ("regime", "files", "records"), [(Regime.R2019, 9, 12), (Regime.R2022, 4, 10)]
)
def test_official_examples(shared, official, regime, files, records):
    documents = official_examples(shared, regime)
    validator = VALIDATORS[regime]
    of_all = [pair for document in documents.values() for pair in records_of(document)]
    assert (len(documents), len(of_all)) == (files, records)
    for name, document in documents.items():
        assert validator(official[regime]).is_valid(document), name
        assert validator(file_schema(regime)).is_valid(document), name
        for type_, record in records_of(document):
            assert problems(record, type_, regime) == [], name


REAL_FILES = [
    (
        "aife",
        {"MP": 4508, "MP valid": 331, "CC": 22},
        {"required": 6737, "enum": 270, "pattern": 93, "type": 22, "uniqueItems": 5},
    ),
    (
        "marches-publics.info",
        {"MP": 4499, "MP valid": 4352, "CC": 10, "CC valid": 9},
        {"enum": 135, "pattern": 8, "type": 1, "uniqueItems": 4},
    ),
]


@pytest.mark.parametrize(("name", "counts", "rules"), REAL_FILES)
def test_real_records(shared, official, name, counts, rules):
    with gzip.open(shared / "data" / f"real-{name}-2019.json.gz") as stream:
        records = records_of(json.load(stream))
    regime = Regime.R2019
    judges = {type_: official_judge(official[regime], type_, regime) for type_ in ContractType}
    types = {"Marché": ContractType.MARCHE, "Contrat de concession": ContractType.CONCESSION}
    seen: Counter[str] = Counter()
    seen_rules: Counter[str] = Counter()
    for type_, record in records:
        assert types[record["_type"]] is type_
        valid = judges[type_].is_valid(record)
        found = problems(record, type_, regime)
        assert (found == []) is valid, found
        seen.update([type_, f"{type_} valid"] if valid else [type_])
        seen_rules.update(problem.rule for problem in found)
    assert seen == counts
    assert seen_rules == rules


# Records made from the schema, with every field, and ways to spoil them

SAMPLES = {
    "a SIRET (14 digits)": "12345678901234",
    "a CPV code (8 digits, the check digit after a dash is optional)": "45112500-9",
    "a date (YYYY-MM-DD)": "2024-05-25",
    "a date (YYYY-MM-DD, a zone such as +01:00 is optional)": "2018-12-31+01:00",
    "a SIRET followed by 7 to 16 characters": "12345678901234201872300",
    "'Marché'": "Marché",
    "'Contrat de concession'": "Contrat de concession",
}


def whole(node: dict[str, Any], root: dict[str, Any], nth: int = 0) -> Any:
    """A value with every field, as a JSON reader would give it; ``nth`` tells items apart."""
    node = resolve(node, root)
    if "properties" in node:
        return {name: whole(child, root, nth) for name, child in node["properties"].items()}
    if "items" in node:
        return [whole(node["items"], root, each) for each in range(2)]
    if "enum" in node:
        return node["enum"][nth]
    if "pattern" in node:
        return SAMPLES[node["title"]]
    if node["type"] == "string":
        return "é" * (node.get("minLength", 1) + nth)
    return {"boolean": True, "integer": 1 + nth, "number": node.get("minimum", 0) + nth / 2}[
        node["type"]
    ]


def whole_record(type_: ContractType, regime: Regime) -> dict[str, Any]:
    schema = record_schema(type_, regime)
    return whole(schema, schema)


@every_class
def test_a_record_with_every_field_is_valid(type_, regime):
    record = whole_record(type_, regime)
    assert problems(record, type_, regime) == []
    assert len(record) == {"2019MP": 16, "2019CC": 17, "2022MP": 31, "2022CC": 16}[regime + type_]


VALUES = [
    None, True, False, 0, 1, 2, -1, 0.0, -0.0, 0.5, 1.0, 4.0, 4.5, 0.999999999999, 1.000000001,
    1e17, 10**17, 2**53, 2.0**53, 2**64, 2.0**64, 10**25, int(1e25), 1e25, 1e300, 5e-324,
    math.nan, math.inf, -math.inf, 10**400,
    "", " ", "x", "é" * 6, "é" * 7, "é" * 16, "é" * 17, "👍" * 16, "x" * 255, "x" * 256, "x" * 257,
    "x" * 1000, "x" * 1001, "1", "12345678901234", "12345678901234\n", "1234567890123", "45112500",
    "45112500\n", "451125000", "45112500-", "2024-01-01", "2024-01-01\n", "2024-01-01\r\n",
    "2024-99-99", "9999-99-99", "le 2024-01-01 à midi", "2018-12-31+01:00", "2018-12-31+01:00Z",
    "2018-12-31Z", "٢٠٢٤-٠١-٠١", "２０２４-01-01", "１２３４５６７８９０１２３４", "4511250٠",
    "Marché", "marché", "MARCHÉ", "Marche", "Marche\u0301", "Marché\n", "Contrat de concession\n",
    "Sans objet", "Appel d’offres ouvert", "SIRET", "UE", "\ud83d\ude00", "a\ud800", "\x00",
    [], [None], [[]], ["abc"], ["abc", "abc"], [1, 1.0], [1, True], [[1], [True], [1]], {}, [{}],
    [1e25, int(1e25)], [10**30, 1e30], {"a": 1}, [{"a": 1}, {"a": 1.0}], (), ("Travaux",), {1: 2},
    Decimal(4), Decimal("NaN"), date(2024, 1, 1), b"x", {"x"}, math.pi * 1j,
]  # fmt: skip


def places(value: Any, path: tuple = ()) -> list[tuple]:
    """The paths of all values inside a value."""
    found = []
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            found += [(*path, key), *places(value[key], (*path, key))]
    return found


def spoil(record: Any, rng: random.Random) -> None:
    """One change, at one place, of a kind met in real files or sought by an adversary."""
    *path, key = rng.choice(places(record))
    parent = record
    for step in path:
        parent = parent[step]
    value = parent[key]
    change = rng.choice(["delete", "value", "value", "value", "like", "like", "like", "extra"])
    if change == "delete":
        del parent[key]
    elif change == "value":
        parent[key] = copy.deepcopy(rng.choice(VALUES))
    elif change == "extra":
        target = value if isinstance(value, dict) else record
        target[rng.choice(["uid", "source", "_type", "x"])] = copy.deepcopy(rng.choice(VALUES))
    else:
        parent[key] = rng.choice(variations(value))()


def variations(value: Any) -> list[Callable[[], Any]]:
    """What resembles a value: mostly what people and programs write in its place."""
    if isinstance(value, str):
        return [
            lambda: value + "\n",
            lambda: "\n" + value,
            lambda: value + " ",
            lambda: value[:-1],
            lambda: value.upper(),
            lambda: value.replace("'", "’"),
            lambda: value.translate({48 + digit: 0x660 + digit for digit in range(10)}),
            lambda: value * 20,
            lambda: [value],
        ]
    if isinstance(value, list):
        return [
            lambda: value + copy.deepcopy(value[:1]),
            lambda: value[:1],
            list,
            lambda: [value],
            lambda: tuple(value),
            lambda: {"0": value},
            lambda: [{"x": number} for number in (1e25, int(1e25))],
        ]
    if isinstance(value, dict):
        return [
            lambda: [value],
            lambda: list(value.values()),
            lambda: {**value, "x": math.nan},
            lambda: {**value, "x": value},
        ]
    if isinstance(value, int | float) and abs(value) < 1e18:
        return [
            lambda: float(value),
            lambda: str(value),
            lambda: -value,
            lambda: value * 10**18,
            lambda: value - 0.5,
        ]
    return [lambda: None]


def cause_of_strictness(problem: Problem, record: Any) -> str:
    """Which documented case makes us refuse what the official schema takes; see schema.py."""
    if problem.rule == "json":
        return "not JSON"
    value = record
    for key in problem.path.split("."):
        value = value[int(key) if isinstance(value, list) else key]
    if problem.rule == "pattern" and value.endswith("\n"):
        return "final line feed"
    if problem.rule == "pattern" and not value.isascii():
        return "digits other than ASCII"
    if problem.rule == "uniqueItems":
        return "twins"
    return f"undocumented: {problem} {value!r}"


@pytest.mark.slow
@every_class
def test_spoilt_records(shared, official, type_, regime):
    """Never more lenient than the reference engine, stricter in documented cases only."""
    root = official[regime]
    reference = VALIDATORS[regime](inlined(root["definitions"][DEFINITIONS[type_]], root))
    # The same schema, and ours, with their references: slow, so for a tenth of the records.
    others = [
        official_judge(root, type_, regime),
        VALIDATORS[regime](record_schema(type_, regime)),
    ]
    sources = [json.dumps(whole_record(type_, regime))]
    for document in official_examples(shared, regime).values():
        sources += [json.dumps(record) for each, record in records_of(document) if each is type_]
    rng = random.Random(f"{type_} {regime}")
    outcomes: Counter[str] = Counter()
    for number in range(5000):
        record = json.loads(rng.choice(sources))
        for _ in range(rng.choice([1, 1, 1, 1, 2, 5])):
            spoil(record, rng)
        try:
            verdict = reference.is_valid(record)
        except (ArithmeticError, TypeError):  # Decimal("NaN"), 1j: no order to judge by
            verdict = False
        else:
            if number % 10 == 0:
                assert [other.is_valid(record) for other in others] == [verdict] * 2
        found = problems(record, type_, regime)
        assert len(found) == len({(problem.path, problem.rule) for problem in found})
        assert verdict or found, f"taken by us only: {record}"
        if verdict and found:
            outcomes.update({cause_of_strictness(problem, record) for problem in found})
        else:
            outcomes["valid" if verdict else "refused"] += 1
    assert outcomes.keys() - {"valid", "refused"} <= {
        "not JSON",
        "final line feed",
        "digits other than ASCII",
        "twins",
    }
    assert min(outcomes["valid"], outcomes["refused"]) > 500
    assert min(outcomes["not JSON"], outcomes["final line feed"]) > 0


# What a person reads

MP_2022 = (ContractType.MARCHE, Regime.R2022)
CC_2022 = (ContractType.CONCESSION, Regime.R2022)
MP_2019 = (ContractType.MARCHE, Regime.R2019)
CC_2019 = (ContractType.CONCESSION, Regime.R2019)

#: Class, fields put in the place of those of a valid record (``...``: left out), and the
#: problems as (path, rule, message).
MESSAGES = [
    (MP_2022, {"montant": ...}, [("montant", "required", "is missing")]),
    (
        MP_2022,
        {"acheteur": {}, "lieuExecution": {"code": "75"}},
        [
            ("acheteur.id", "required", "is missing"),
            ("lieuExecution.typeCode", "required", "is missing"),
        ],
    ),
    (
        MP_2022,
        {"uid": "1", "source": "x"},
        [
            ("uid", "additionalProperties", "is not a field of this format"),
            ("source", "additionalProperties", "is not a field of this format"),
        ],
    ),
    (
        MP_2022,
        {"nature": "MARCHE", "procedure": "Appel d’offres ouvert"},
        [
            (
                "nature",
                "enum",
                (
                    "'MARCHE' is not one of: Marché, Marché de partenariat, "
                    "Marché de défense ou de sécurité"
                ),
            ),
            (
                "procedure",
                "enum",
                (
                    "'Appel d’offres ouvert' is not one of: Procédure adaptée, "
                    "Appel d'offres ouvert, Appel d'offres restreint, Procédure avec négociation, "
                    "Marché passé sans publicité ni mise en concurrence préalable, … (6 labels)"
                ),
            ),
        ],
    ),
    (
        MP_2022,
        {
            "objet": None,
            "dureeMois": "12",
            "montant": "1000",
            "marcheInnovant": "oui",
            "titulaires": {"titulaire": {}},
            "techniques": ["Concours"],
            "ccag": 3,
        },
        [
            ("objet", "type", "None is not text"),
            ("techniques", "type", "['Concours'] is not an object"),
            ("marcheInnovant", "type", "'oui' is not true or false"),
            ("ccag", "type", "3 is not text"),
            ("dureeMois", "type", "'12' is not an integer"),
            ("montant", "type", "'1000' is not a number"),
            ("titulaires", "type", "{'titulaire': {}} is not a list"),
        ],
    ),
    (
        MP_2022,
        {"codeCPV": "4511250", "dateNotification": "25/05/2024", "acheteur": {"id": "123"}},
        [
            ("acheteur.id", "pattern", "'123' is not a SIRET (14 digits)"),
            (
                "codeCPV",
                "pattern",
                "'4511250' is not a CPV code (8 digits, the check digit after a dash is optional)",
            ),
            ("dateNotification", "pattern", "'25/05/2024' is not a date (YYYY-MM-DD)"),
        ],
    ),
    (
        MP_2022,
        {"offresRecues": 0, "tauxAvance": 1.5, "origineUE": -0.5},
        [
            ("offresRecues", "minimum", "0 is below 1"),
            ("tauxAvance", "maximum", "1.5 is above 1"),
            ("origineUE", "minimum", "-0.5 is below 0"),
        ],
    ),
    (
        MP_2022,
        {"id": "", "idAccordCadre": "x" * 17, "objet": "é" * 1001},
        [
            ("id", "minLength", "'' has 0 characters, fewer than 1"),
            ("objet", "maxLength", "has 1001 characters, more than 1000"),
            ("idAccordCadre", "maxLength", "has 17 characters, more than 16"),
        ],
    ),
    (
        MP_2022,
        {
            "titulaires": [{"titulaire": {"typeIdentifiant": "HORS_UE", "id": "FR1"}}] * 2,
            "modifications": [],
        },
        [
            ("titulaires", "uniqueItems", "holds the same item more than once"),
            *(
                (
                    f"titulaires.{position}.titulaire.typeIdentifiant",
                    "enum",
                    "'HORS_UE' is not one of: SIRET, TVA, TAHITI, RIDET, FRWF, … (7 labels)",
                )
                for position in range(2)
            ),
            ("modifications", "minItems", "has 0 items, fewer than 1"),
        ],
    ),
    (
        CC_2022,
        {"valeurGlobale": 0.5, "considerationsSociales": {"considerationSociale": [None]}},
        [
            ("valeurGlobale", "minimum", "0.5 is below 1"),
            (
                "considerationsSociales.considerationSociale.0",
                "enum",
                (
                    "None is not one of: Clause sociale, Critère social, Concession réservée, "
                    "Pas de considération sociale"
                ),
            ),
        ],
    ),
    (
        MP_2019,
        {
            "id": "123456",
            "uid": "12345678901234",
            "_type": "Marche",
            "dateNotification": "2018-12-31Z",
            "dureeMois": 4.0,
        },
        [
            ("id", "minLength", "'123456' has 6 characters, fewer than 7"),
            (
                "uid",
                "pattern",
                "'12345678901234' is not a SIRET followed by 7 to 16 characters",
            ),
            ("_type", "pattern", "'Marche' is not 'Marché'"),
            ("dureeMois", "type", "4.0 is not an integer"),
            (
                "dateNotification",
                "pattern",
                "'2018-12-31Z' is not a date (YYYY-MM-DD, a zone such as +01:00 is optional)",
            ),
        ],
    ),
    (
        CC_2019,
        {"_type": "Marché", "lieuExecution": {"code": "7500123", "typeCode": "Code postal"}},
        [
            ("_type", "pattern", "'Marché' is not 'Contrat de concession'"),
            ("lieuExecution.nom", "required", "is missing"),
            ("lieuExecution.code", "maxLength", "has 7 characters, more than 6"),
        ],
    ),
]


def changed(of_class: tuple[ContractType, Regime], fields: dict[str, Any]) -> dict[str, Any]:
    """A valid record with other values in some fields, and without those that are ``...``."""
    record = whole_record(*of_class) | fields
    return {name: value for name, value in record.items() if value is not ...}


@pytest.mark.parametrize(("of_class", "fields", "expected"), MESSAGES)
def test_messages(of_class, fields, expected):
    found = problems(changed(of_class, fields), *of_class)
    assert sorted(map(problem_tuple, found)) == sorted(expected)


def problem_tuple(problem: Problem) -> tuple[str, str, str]:
    return problem.path, problem.rule, problem.message


def test_problems_follow_the_order_of_the_schema():
    of_class, fields, expected = MESSAGES[4]
    found = problems(changed(of_class, fields), *of_class)
    assert [problem.path for problem in found] == [path for path, _, _ in expected]


def test_every_keyword_has_a_message():
    """Each keyword of a record's schema either says nothing by itself or is in the table."""
    keywords = set()

    def walk(node: dict[str, Any]) -> None:
        keywords.update(node)
        for name in ("properties", "definitions"):
            for child in node.get(name, {}).values():
                walk(child)
        if "items" in node:
            walk(node["items"])
        assert "pattern" not in node or "title" in node

    for of_class in CLASSES:
        walk(record_schema(*of_class))
    told = {rule for _, _, expected in MESSAGES for _, rule, _ in expected}
    assert keywords == told | {"$schema", "$ref", "title", "definitions", "properties", "items"}


@every_class
@pytest.mark.parametrize("record", [None, [], "record", 1.5])
def test_a_record_that_is_no_object(type_, regime, record):
    expected = Problem("marches.3", "type", f"{record!r} is not an object")
    assert problems(record, type_, regime, at="marches.3") == [expected]
    assert problems(record, type_, regime) == [Problem("", "type", expected.message)]


def test_at_is_put_before_every_path():
    record = changed(MP_2022, {"montant": ..., "x": 1, "ccag": "", "acheteur": {"id": math.nan}})
    at = "marches.marche.7"
    assert [problem.path for problem in problems(record, *MP_2022, at=at)] == [
        f"{at}.acheteur.id",
    ]
    record["acheteur"] = {"id": ""}
    assert {problem.path for problem in problems(record, *MP_2022, at=at)} == {
        f"{at}.montant",
        f"{at}.x",
        f"{at}.ccag",
        f"{at}.acheteur.id",
    }


# Where the two engines differ


def nested(levels: int, leaf: Any = 1) -> Any:
    for _ in range(levels):
        leaf = [leaf]
    return leaf


def operator(**fields: Any) -> dict[str, Any]:
    return {"titulaire": {"typeIdentifiant": "SIRET", "id": "1", **fields}}


#: Class, fields, whether the reference engine and whether jsonschema-rs take the record,
#: and the one problem that we find, if any.
DIFFERENCES = [
    # jsonschema-rs is stricter.
    (
        MP_2022,
        {"acheteur": {"id": "12345678901234\n"}},
        (True, False),
        ("acheteur.id", "pattern", "'12345678901234\\n' is not a SIRET (14 digits)"),
    ),
    (
        MP_2022,
        {"dateNotification": "٢٠٢٤-٠١-٠١"},
        (True, False),
        ("dateNotification", "pattern", "'٢٠٢٤-٠١-٠١' is not a date (YYYY-MM-DD)"),
    ),
    (
        MP_2019,
        {"_type": "Marché\n"},
        (True, False),
        ("_type", "pattern", "'Marché\\n' is not 'Marché'"),
    ),
    (
        MP_2022,
        {"titulaires": [operator(x=10**30), operator(x=1e30)]},  # 1e30 is not 10**30
        (True, False),
        ("titulaires", "uniqueItems", "holds the same item more than once"),
    ),
    (
        MP_2022,
        {"titulaires": [[1], [True], [1]]},
        (True, False),
        ("titulaires", "uniqueItems", "holds the same item more than once"),
    ),
    # The reference is stricter.
    (
        MP_2022,
        {"titulaires": [operator(x=int(1e25)), operator(x=1e25)]},
        (False, True),
        ("titulaires", "uniqueItems", "holds the same item more than once"),
    ),
    (
        MP_2022,
        {"titulaires": [operator(x=2**63), operator(x=2.0**63)]},
        (False, True),
        ("titulaires", "uniqueItems", "holds the same item more than once"),
    ),
    (
        MP_2022,
        {"titulaires": (operator(),)},
        (False, True),
        ("titulaires", "json", "is of type tuple, which JSON does not know"),
    ),
    (
        MP_2022,
        {"dureeMois": Decimal(12)},
        (False, True),
        ("dureeMois", "json", "is of type Decimal, which JSON does not know"),
    ),
    # Both take it, JSON does not.
    (
        MP_2022,
        {"acheteur": {"id": "12345678901234", "x": [math.inf]}},
        (True, True),
        ("acheteur.x.0", "json", "inf is not a number that JSON can hold"),
    ),
    (
        MP_2022,
        {"acheteur": {"id": "12345678901234", "\udc80": 1}},
        (True, True),
        ("acheteur", "json", "has a key that is not JSON text: '\\udc80'"),
    ),
    (
        MP_2022,
        {"nature": ContractType.MARCHE},
        (False, False),
        ("nature", "json", "is of type ContractType, which JSON does not know"),
    ),
    (
        MP_2022,
        {"acheteur": {"id": "12345678901234", "x": nested(MAX_DEPTH - 1)}},
        (True, True),
        (
            ".".join(["acheteur.x", *"0" * (MAX_DEPTH - 2)]),
            "json",
            "is nested deeper than 254 levels",
        ),
    ),
    # Large or deep, and nothing wrong.
    (
        MP_2022,
        {"acheteur": {"id": "12345678901234", "x": nested(MAX_DEPTH - 2)}},
        (True, True),
        None,
    ),
    (
        MP_2022,
        {"acheteur": {"id": "12345678901234", "x": nested(MAX_DEPTH - 2, 1e25)}},
        (True, True),
        None,
    ),
    (MP_2022, {"montant": 10**400, "dureeMois": 2**70, "offresRecues": 1e300}, (True, True), None),
    (MP_2022, {"dureeMois": 4.0}, (True, True), None),
    (MP_2022, {"titulaires": ["abc"]}, (True, True), None),
    (CC_2022, {"donneesExecution": []}, (True, True), None),
    (MP_2019, {"uid": ..., "_type": ..., "source": "x"}, (True, True), None),
]


@cache
def both_engines(type_: ContractType, regime: Regime) -> tuple[Any, Any]:
    schema = record_schema(type_, regime)
    return VALIDATORS[regime](schema), FAST_VALIDATORS[regime](schema)


@pytest.mark.parametrize(("of_class", "fields", "verdicts", "expected"), DIFFERENCES)
def test_the_stricter_engine_wins(of_class, fields, verdicts, expected):
    record = changed(of_class, fields)
    assert tuple(engine.is_valid(record) for engine in both_engines(*of_class)) == verdicts
    assert list(map(problem_tuple, problems(record, *of_class))) == ([expected] if expected else [])


ENDLESS: list[Any] = []
ENDLESS += [ENDLESS, ENDLESS]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "nan is not a number that JSON can hold"),
        (-math.inf, "-inf is not a number that JSON can hold"),
        pytest.param(10**5000, "is an integer with too many digits", id="digits"),
        (date(2024, 1, 1), "is of type date, which JSON does not know"),
        (b"x", "is of type bytes, which JSON does not know"),
        ({"x"}, "is of type set, which JSON does not know"),
        (type("Text", (str,), {})("x"), "is of type Text, which JSON does not know"),
        ("a\ud800", "'a\\ud800' holds half a surrogate pair, which is no text"),
        ({1: 2}, "has a key that is not JSON text: 1"),
        ({None: 2}, "has a key that is not JSON text: None"),
    ],
)
@pytest.mark.parametrize("place", ["montant", "objet", "inconnu"])
def test_what_json_cannot_hold(place, value, message):
    record = changed(MP_2019, {place: value, "nature": ...})
    assert problems(record, *MP_2019) == [Problem(place, "json", message)]


def test_a_record_without_end():
    found = problems(changed(MP_2022, {"acheteur": ENDLESS}), *MP_2022)
    assert len(found) == 20
    assert {problem.message for problem in found} == {"is nested deeper than 254 levels"}


def test_all_values_that_are_not_json_are_named():
    record = changed(MP_2022, {"montant": math.nan, "titulaires": ({},), "acheteur": {"id": b""}})
    assert {problem.path for problem in problems(record, *MP_2022)} == {
        "montant",
        "titulaires",
        "acheteur.id",
    }


def test_too_deep_to_be_compared():
    """The reference engine compares by recursion: at its end there is a reason, no traceback."""
    deep = [operator(x=nested(240, number)) for number in (int(1e25), 1e25)]
    program = (
        "import json, sys; from dume_spider.decp.schema import problems\n"
        "record = json.load(sys.stdin)\n"
        "problems({}, 'MP', '2022')\n"
        "sys.setrecursionlimit(600)\n"
        "print(problems(record, 'MP', '2022', at='x'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(changed(MP_2022, {"titulaires": deep})),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(dume_spider.__file__).parents[1],
    )
    expected = [Problem("x", "json", "is nested too deeply to be compared")]
    assert done.stdout == f"{expected}\n"


numbers = st.sampled_from(
    [0, 1, 1.0, True, 2**53, 2.0**53, 2**63, 2.0**63, 2**64 - 1, 2**64, 2.0**64, 1e25, int(1e25)]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | numbers,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=2), children, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=200)
@given(items=st.lists(json_values, max_size=4), twice=st.booleans())
@example(items=[[1], [True], [1]], twice=False)
def test_valid_only_if_both_engines_take_it_and_json_holds_it(items, twice):
    """``titulaires`` of 2022 takes items of any type, as long as no two are equal."""
    record = changed(MP_2022, {"titulaires": items * 2 if twice else items})
    try:
        json.dumps(record, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        expected = False
    else:
        expected = all(engine.is_valid(record) for engine in both_engines(*MP_2022))
    assert is_valid(record, *MP_2022) is expected


# The schemas as such


@pytest.mark.parametrize(
    ("regime", "text"),
    [
        (Regime.R2019, "http://json-schema.org/draft-04/schema#"),
        (Regime.R2022, "http://json-schema.org/draft-07/schema#"),
    ],
)
def test_the_draft_is_named_to_the_letter(regime, text):
    """scrapy-jsonschema takes draft-04 without a word for any other text."""
    assert file_schema(regime)["$schema"] == text
    VALIDATORS[regime].check_schema(file_schema(regime))
    for type_ in ContractType:
        schema = record_schema(type_, regime)
        assert schema["$schema"] == text
        assert jsonschema.validators.validator_for(schema) is VALIDATORS[regime]


@every_class
def test_dates_and_sirets_are_known_by_their_reference(type_, regime):
    schema = record_schema(type_, regime)
    fields: dict[str, set[str]] = {"date": set(), "siret": set()}

    def walk(node: dict[str, Any], name: str) -> None:
        target = node.get("$ref", "").removeprefix("#/definitions/")
        if target in fields:
            fields[target].add(name)
        elif "pattern" in node:
            assert name in ("_type", "codeCPV", "uid")
        node = resolve(node, schema)
        assert "$ref" not in node
        for child_name, child in node.get("properties", {}).items():
            assert child_name.startswith("date") == (child.get("$ref") == "#/definitions/date"), (
                child_name
            )
            walk(child, child_name)
        if "items" in node:
            walk(node["items"], name)

    walk({name: node for name, node in schema.items() if name != "definitions"}, "")
    assert fields["siret"] == {"id"}
    assert len(fields["date"]) >= 4


def test_definitions_of_a_record_are_all_there_and_shared():
    for type_, regime in CLASSES:
        schema = record_schema(type_, regime)
        used = set(re.findall(r"#/definitions/([^\"]+)", json.dumps(schema)))
        assert used <= schema["definitions"].keys()
        assert not {"marche", "contrat-concession"} & schema["definitions"].keys()
        assert record_schema(type_.value, regime.value) is schema
    for regime in Regime:
        root = file_schema(regime)
        used = set(re.findall(r"#/definitions/([^\"]+)", json.dumps(root)))
        assert used == root["definitions"].keys()


@pytest.mark.parametrize("arguments", [("XX", "2022"), ("MP", "2023")])
def test_unknown_classes_are_errors(arguments):
    with pytest.raises(ValueError, match=r"is not a valid (ContractType|Regime)"):
        record_schema(*arguments)


def test_works_from_a_zip(tmp_path):
    package = Path(dume_spider.__file__).parent
    archive = tmp_path / "dume_spider.egg"
    with zipfile.ZipFile(archive, "w") as egg:
        for file in [package / "__init__.py", *(package / "decp").rglob("*")]:
            if file.suffix in (".py", ".json"):
                egg.write(file, file.relative_to(package.parent))
    program = (
        f"import sys; sys.path.insert(0, {str(archive)!r})\n"
        "from dume_spider.decp import schema\n"
        "print(schema.__file__)\n"
        "for regime in ('2019', '2022'):\n"
        "    for type_ in ('MP', 'CC'):\n"
        "        print(len(schema.problems({}, type_, regime)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    where, *counts = done.stdout.split()
    assert where == str(archive / "dume_spider" / "decp" / "schema.py")
    assert counts == ["14", "15", "24", "14"]
