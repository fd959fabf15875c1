"""Rows made from DECP records: names, shapes, files, references and days."""

from __future__ import annotations

import gzip
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.sandbox.generator import generate
from dume_spider.sandbox.rows import (
    DataFileError,
    read_decp,
    read_rows,
    reference_text,
    row_of,
)

MP, CC = ContractType.MARCHE, ContractType.CONCESSION
DAY, LAST = date(2025, 1, 1), date(2025, 1, 31)

MARCHE_2022 = {
    "id": "2025-01",
    "acheteur": {"id": "21750001600019"},
    "nature": "Marché",
    "objet": "Éclairage & voirie",
    "codeCPV": "45000000",
    "techniques": {"technique": ["Concours", "Accord-cadre"]},
    "modalitesExecution": {"modaliteExecution": ["Tranches"]},
    "marcheInnovant": True,
    "ccag": "Travaux",
    "offresRecues": 4,
    "attributionAvance": False,
    "typeGroupementOperateurs": "Conjoint",
    "sousTraitanceDeclaree": True,
    "actesSousTraitance": [
        {"acteSousTraitance": {"id": 1, "sousTraitant": {"typeIdentifiant": "SIRET", "id": "1"}}}
    ],
    "modificationsActesSousTraitance": [{"modificationActeSousTraitance": {"id": 1}}],
    "procedure": "Procédure adaptée",
    "lieuExecution": {"code": "75", "typeCode": "Code département"},
    "dureeMois": 12,
    "dateNotification": "2025-01-02",
    "datePublicationDonnees": "2025-01-03",
    "montant": 1000.5,
    "typesPrix": {"typePrix": ["Provisoire"]},
    "formePrix": "Mixte",
    "titulaires": [
        {"titulaire": {"typeIdentifiant": "SIRET", "id": "a"}},
        {"titulaire": {"typeIdentifiant": "TVA", "id": "b"}},
    ],
    "considerationsSociales": {"considerationSociale": ["Clause sociale", "Critère social"]},
    "considerationsEnvironnementales": {
        "considerationEnvironnementale": ["Clause environnementale"]
    },
    "modifications": [
        {
            "modification": {
                "id": 1,
                "dureeMois": 13,
                "titulaires": [{"titulaire": {"typeIdentifiant": "SIRET", "id": "c"}}],
            }
        }
    ],
}
ROW_2022 = {
    "referenceUnique": "R",
    "id": "2025-01",
    "objet": "Éclairage & voirie",
    "nature": "Marché",
    "procedure": "Procédure adaptée",
    "dureeMois": 12,
    "datePublicationDonnees": "2025-01-03",
    "modifications": [
        {"id": 1, "dureeMois": 13, "titulaires": [{"typeIdentifiant": "SIRET", "id": "c"}]}
    ],
    "donneesMP": {
        "idAcheteur": "21750001600019",
        "lieuExecutionCode": "75",
        "lieuExecutionTypeCode": "Code département",
        "technique": ["Concours", "Accord-cadre"],
        "modaliteExecution": "Tranches",
        "typePrix": "Provisoire",
        "considerationsSociales": ["Clause sociale", "Critère social"],
        "considerationsEnvironnementales": "Clause environnementale",
        "codeCPV": "45000000",
        "idAccordCadre": None,
        "dateNotification": "2025-01-02",
        "marchesInnovant": True,
        "attributionAvance": False,
        "tauxAvance": None,
        "sousTraitanceDeclaree": True,
        "actesSousTraitance": [{"id": 1, "sousTraitant": {"typeIdentifiant": "SIRET", "id": "1"}}],
        "modificationsActesSousTraitance": [{"id": 1}],
        "origineUE": None,
        "origineFrance": None,
        "ccag": "Travaux",
        "formePrix": "Mixte",
        "typeGroupementOperateurs": "Conjoint",
        "offresRecues": 4,
        "montant": 1000.5,
        "titulaires": [
            {"typeIdentifiant": "SIRET", "id": "a"},
            {"typeIdentifiant": "TVA", "id": "b"},
        ],
    },
    "donneesCC": None,
}

CONCESSION_2019 = {
    "_type": "Contrat de concession",
    "source": "somewhere",
    "autoriteConcedante": {"id": "22320001500012", "nom": "Département du Gers"},
    "objet": "Camping",
    "lieuExecution": {"code": "32", "typeCode": "Code département", "nom": "Gers"},
    "dateSignature": "2018-12-17",
    "valeurGlobale": "7789456.56",
    "montantSubventionPublique": 0,
    "donneesExecution": [
        {"depensesInvestissement": 1.5, "tarifs": [{"intituleTarif": "Nuit", "tarif": 2}]}
    ],
    "concessionnaires": [{"typeIdentifiant": "SIRET", "id": "c", "denominationSociale": "N & N"}],
    "modifications": [],
}
ROW_CONCESSION_2019 = {
    "referenceUnique": "R",
    "id": None,
    "objet": "Camping",
    "nature": None,
    "procedure": None,
    "dureeMois": None,
    "datePublicationDonnees": None,
    "modifications": [],
    "donneesMP": None,
    "donneesCC": {
        "idAutoriteConcedante": "22320001500012",
        "nomAutoriteConcedante": "Département du Gers",
        "lieuExecutionCode": "32",
        "lieuExecutionTypeCode": "Code département",
        "lieuExecutionNom": "Gers",
        "considerationsSociales": None,
        "considerationsEnvironnementales": None,
        "concessionnaires": [
            {"typeIdentifiant": "SIRET", "id": "c", "denominationSociale": "N & N"}
        ],
        "dateSignature": "2018-12-17",
        "dateDebutExecution": None,
        "valeurGlobale": "7789456.56",
        "montantSubventions": 0,
        "donneesExecution": [
            {"depensesInvestissement": 1.5, "tarifs": [{"intituleTarif": "Nuit", "tarif": 2}]}
        ],
    },
    "_type": "Contrat de concession",
    "source": "somewhere",
}


@pytest.mark.parametrize(
    ("record", "type_", "row"),
    [(MARCHE_2022, MP, ROW_2022), (CONCESSION_2019, CC, ROW_CONCESSION_2019)],
    ids=["marché of 2022", "concession of 2019"],
)
def test_row_of(record, type_, row):
    before = json.dumps(record)
    assert row_of(record, type_, "R") == row
    assert json.dumps(record) == before


@pytest.mark.parametrize(
    ("record", "block"),
    [
        ({"acheteur": "Ville"}, {"acheteur": "Ville", "idAcheteur": None}),
        (
            {"acheteur": {"id": 7, "ville": "Auch"}},
            {"acheteur": {"ville": "Auch"}, "idAcheteur": 7},
        ),
        ({"acheteur": None}, {"idAcheteur": None}),
        ({"techniques": "Concours"}, {"technique": "Concours"}),
        ({"techniques": {"technique": []}}, {"technique": []}),
        ({"techniques": {"technique": None}}, {"technique": None}),
        ({"techniques": [["Concours"]]}, {"technique": ["Concours"]}),
        ({"titulaires": {"titulaire": {"id": "1"}}}, {"titulaires": {"id": "1"}}),
        (
            {"titulaires": [None, "x", {"titulaire": None}]},
            {"titulaires": [None, "x", {"titulaire": None}]},
        ),
    ],
)
def test_dirty_values_stay(record, block):
    found = row_of(record, MP, "R")["donneesMP"]
    assert {key: value for key, value in found.items() if value is not None or key in block} == (
        block
    )


WRAPPERS = {
    "titulaires": "titulaire",
    "concessionnaires": "concessionnaire",
    "modifications": "modification",
    "actesSousTraitance": "acteSousTraitance",
    "modificationsActesSousTraitance": "modificationActeSousTraitance",
    "donneesExecution": "donneesAnnuelles",
    "tarifs": "tarif",
}
LISTS = {
    "technique": ("techniques", "technique"),
    "modaliteExecution": ("modalitesExecution", "modaliteExecution"),
    "typePrix": ("typesPrix", "typePrix"),
    "considerationsSociales": ("considerationsSociales", "considerationSociale"),
    "considerationsEnvironnementales": (
        "considerationsEnvironnementales",
        "considerationEnvironnementale",
    ),
}
OBJECTS = {
    "idAcheteur": ("acheteur", "id"),
    "nomAcheteur": ("acheteur", "nom"),
    "idAutoriteConcedante": ("autoriteConcedante", "id"),
    "nomAutoriteConcedante": ("autoriteConcedante", "nom"),
    "lieuExecutionCode": ("lieuExecution", "code"),
    "lieuExecutionTypeCode": ("lieuExecution", "typeCode"),
    "lieuExecutionNom": ("lieuExecution", "nom"),
}
RENAMED = {
    "marchesInnovant": "marcheInnovant",
    "montantSubventions": "montantSubventionPublique",
}


def record_of(row: dict[str, Any], regime: Regime) -> dict[str, Any]:
    """The inverse of row_of, for rows whose record had no null."""
    row = dict(row)
    del row["referenceUnique"]
    block = [row.pop("donneesMP"), row.pop("donneesCC")]
    record: dict[str, Any] = {}
    for key, value in (*row.items(), *next(filter(None, block)).items()):
        if value is None:
            continue
        if key in LISTS:
            name, inner = LISTS[key]
            record[name] = {inner: value if isinstance(value, list) else [value]}
        elif key in OBJECTS:
            name, inner = OBJECTS[key]
            record.setdefault(name, {})[inner] = value
        else:
            record[RENAMED.get(key, key)] = value
    return wrapped(record) if regime is Regime.R2022 else record


def wrapped(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: [{WRAPPERS[key]: wrapped(item)} for item in inner] if key in WRAPPERS else inner
        for key, inner in value.items()
    }


def official_examples(shared: Path) -> list[Path]:
    return sorted((shared / "official").glob("*/examples/json/*.json"))


def test_official_examples_come_back_whole(shared):
    names = []
    for path in official_examples(shared):
        for record, type_, regime in read_decp(path):
            names.append((path.name, type_, regime))
            assert record_of(row_of(record, type_, "R"), regime) == record
    assert len(names) > 15
    assert {(type_, regime) for _, type_, regime in names} == {
        (type_, regime) for type_ in ContractType for regime in Regime
    }


@pytest.mark.parametrize(
    ("name", "records", "concessions", "first", "last"),
    [
        ("real-aife-2019.json.gz", 4530, 22, date(2018, 3, 26), date(2020, 7, 12)),
        ("real-marches-publics.info-2019.json.gz", 4509, 10, date(2018, 10, 9), date(2019, 3, 7)),
    ],
)
def test_real_files(shared, name, records, concessions, first, last):
    path = shared / "data" / name
    rows = list(read_rows([path], DAY, LAST))
    assert len({row.reference for row in rows}) == len(rows) == records
    assert sum(row.row["donneesCC"] is not None for row in rows) == concessions
    assert (min(row.day for row in rows), max(row.day for row in rows)) == (first, last)
    assert rows == list(read_rows([path], LAST, LAST))
    for (record, _, regime), served in zip(read_decp(path), rows, strict=True):
        assert record_of(served.row, regime) == record
        assert served.row["source"] == record["source"]
        told = record.get("datePublicationDonnees")
        assert told is None or served.day.isoformat() == told[:10]


def test_generated_rows_come_back_whole():
    made = list(generate(400, 3, date(2023, 11, 1), date(2024, 2, 28), faulty=0, trapped=0))
    assert {one.regime for one in made} == set(Regime)
    for one in made:
        record = record_of(one.served.row, one.regime)
        if one.regime is Regime.R2019:
            # The service has no such key: the generator leaves it out of the row.
            record["_type"] = "Marché" if one.type is MP else "Contrat de concession"
        assert record == one.record


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*WRAPPERS, *WRAPPERS.values(), "id", "code", "technique", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)
FIELDS = sorted({*MARCHE_2022, *CONCESSION_2019, "uid", "donneesMP", "referenceUnique"})


@settings(max_examples=150)
@given(st.dictionaries(st.sampled_from(FIELDS), json_values), st.sampled_from(ContractType))
def test_any_record_has_a_row(record, type_):
    row = row_of(record, type_, "R")
    assert row["referenceUnique"] == "R"
    assert [row["donneesMP"] is None, row["donneesCC"] is None] == [type_ is CC, type_ is MP]
    assert row.get("uid") == record.get("uid")


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"marches": [{}]}, [(MP, Regime.R2019)]),
        ({"marches": [{"_type": "Contrat de concession"}]}, [(CC, Regime.R2019)]),
        ({"marches": [{"autoriteConcedante": {}}]}, [(CC, Regime.R2019)]),
        ({"marches": [{"concessionnaires": []}]}, [(CC, Regime.R2019)]),
        (
            {"marches": [{"_type": "Marché", "autoriteConcedante": {}}]},
            [(MP, Regime.R2019)],
        ),
        (
            {"marches": {"contrat-concession": [{}], "marche": [{}, {}]}},
            [(MP, Regime.R2022), (MP, Regime.R2022), (CC, Regime.R2022)],
        ),
        ({"marches": {"marche": {}, "contrat-concession": None}}, [(MP, Regime.R2022)]),
        ({"marches": {}}, []),
        ({"marches": []}, []),
    ],
)
def test_type_and_regime(tmp_path, content, expected):
    found = read_decp(write(tmp_path / "x.json", content))
    assert [(record.type, record.regime) for record in found] == expected


def test_gzip_byte_order_mark_and_nan(tmp_path):
    path = tmp_path / "x.json.gz"
    path.write_bytes(
        gzip.compress(b'\xef\xbb\xbf{"marches": [{"montant": NaN, "id": "1"}]}', mtime=0)
    )
    assert read_decp(path)[0].record == {"montant": None, "id": "1"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "not a JSON file in UTF-8: Expecting value: line 1 column 1 (char 0)"),
        (b"[" * 100_000, "not a JSON file in UTF-8: maximum recursion depth exceeded"),
        (
            b'{"marches": ["\xe9"]}',
            "not a JSON file in UTF-8: 'utf-8' codec can't decode byte 0xe9 in position 14",
        ),
        (
            gzip.compress(b'{"marches": []}' * 99, mtime=0)[:-20],
            "cannot be read: not a whole gzip file",
        ),
        (b"\x1f\x8bnonsense", "cannot be read: not a whole gzip file"),
        (
            b"[]",
            "not a DECP file: it has no list or object 'marches' (give a file of the format",
        ),
        (b'{"marches": [{}, null]}', "record 1 is a NoneType, not an object"),
    ],
)
def test_bad_files(tmp_path, content, message):
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataFileError) as caught:
        read_decp(path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("published", "served"),
    [
        (["2024-05-02", "2024-05-01+02:00"], ["2024-05-02", "2024-05-01"]),
        # Without a day of this century: spread from the first day of the file to its last.
        (
            ["2024-05-01", None, "0218-05-01", "2024-02-30", 20240101, "2024-05-09"],
            ["2024-05-01", "2024-05-01", "2024-05-03", "2024-05-05", "2024-05-07", "2024-05-09"],
        ),
        # No day at all: the days that are asked.
        ([None, "le 3 mars"], ["2025-01-01", "2025-01-16"]),
    ],
)
def test_days(tmp_path, published, served):
    records = [{"datePublicationDonnees": text} for text in published]
    rows = list(read_rows([write(tmp_path / "x.json", {"marches": records})], DAY, LAST))
    assert [row.day.isoformat() for row in rows] == served
    assert [row.row["datePublicationDonnees"] for row in rows] == published


def test_references_follow_the_name_and_the_position(tmp_path):
    (tmp_path / "other").mkdir()
    content = {"marches": [{"objet": "a"}, {"objet": "a"}]}
    paths = [write(tmp_path / name, content) for name in ("x.json", "y.json", "other/x.json")]
    found = [[row.reference for row in read_rows([path], DAY, LAST)] for path in paths]
    assert found[0] == found[2]
    assert len({*found[0], *found[1]}) == 4
    assert all(len(name) == 17 and name.startswith("AIFEDUME-d") for name in found[0])
    together = [row.reference for row in read_rows(paths, DAY, LAST)]
    assert together[:4] == found[0] + found[1]
    assert len(set(together)) == 6


def test_a_record_keeps_the_reference_it_brings(tmp_path):
    records = [{"referenceUnique": "AIFEDUME-aaaaaaaa", "dureeMois": n} for n in (1, 2)]
    rows = list(read_rows([write(tmp_path / "x.json", {"marches": records})], DAY, LAST))
    assert [(row.reference, row.row["referenceUnique"], row.row["dureeMois"]) for row in rows] == [
        ("AIFEDUME-aaaaaaaa", "AIFEDUME-aaaaaaaa", 1),
        ("AIFEDUME-aaaaaaaa", "AIFEDUME-aaaaaaaa", 2),
    ]


def test_reference_text():
    assert [reference_text("g", number) for number in (0, 35, 36, 36**7 - 1)] == [
        "AIFEDUME-g0000000",
        "AIFEDUME-g000000z",
        "AIFEDUME-g0000010",
        "AIFEDUME-gzzzzzzz",
    ]
