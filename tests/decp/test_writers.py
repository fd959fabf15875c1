"""The writers: golden files, validity under the official files, and the same values in both."""

from __future__ import annotations

import io
import json
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest
from equality import key_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from dume_spider.decp.filename import FORMATS
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.schema import is_valid, record_schema, resolve
from dume_spider.decp.writers import WRITERS, JsonWriter, XmlWriter
from dume_spider.exceptions import OutputError

MP, CC = ContractType.MARCHE, ContractType.CONCESSION
GOLDEN = Path(__file__).parent / "golden"

MARCHE_2022 = {
    "id": "2025-T-017",
    "acheteur": {"id": "21690123100011"},
    "nature": "Marché",
    "objet": "Réfection de la toiture « école n° 4 » : lots 1 & 2, pente < 30 %",
    "codeCPV": "45261000",
    "techniques": {"technique": ["Accord-cadre", "Catalogue électronique"]},
    "modalitesExecution": {"modaliteExecution": ["Bons de commande"]},
    "idAccordCadre": "2024-AC-3",
    "marcheInnovant": False,
    "ccag": "Maitrise d'œuvre",
    "offresRecues": 3,
    "attributionAvance": True,
    "tauxAvance": 0.05,
    "typeGroupementOperateurs": "Solidaire",
    "sousTraitanceDeclaree": True,
    "actesSousTraitance": [
        {
            "acteSousTraitance": {
                "id": 1,
                "sousTraitant": {"typeIdentifiant": "TVA", "id": "DE123456788"},
                "dureeMois": 2,
                "dateNotification": "2025-03-03",
                "datePublicationDonnees": "2025-03-10",
                "montant": 15250.5,
                "variationPrix": "Ferme",
            }
        },
        {
            "acteSousTraitance": {
                "id": 2,
                "sousTraitant": {"typeIdentifiant": "SIRET", "id": "35600000000048"},
                "dureeMois": 1,
                "dateNotification": "2025-04-01",
                "datePublicationDonnees": "2025-04-02",
                "montant": 900,
                "variationPrix": "Révisable",
            }
        },
    ],
    "modificationsActesSousTraitance": [
        {
            "modificationActeSousTraitance": {
                "id": 1,
                "dureeMois": 3,
                "dateNotificationModificationSousTraitance": "2025-05-05",
                "montant": 16000,
                "datePublicationDonnees": "2025-05-12",
            }
        }
    ],
    "procedure": "Appel d'offres ouvert",
    "lieuExecution": {"code": "69001", "typeCode": "Code postal"},
    "dureeMois": 6,
    "dateNotification": "2025-02-03",
    "datePublicationDonnees": "2025-02-10",
    "montant": 1e16,
    "typesPrix": {"typePrix": ["Définitif ferme", "Définitif révisable"]},
    "formePrix": "Mixte",
    "origineUE": 0.5,
    "origineFrance": 1e-7,
    "titulaires": [
        {"titulaire": {"typeIdentifiant": "SIRET", "id": "35600000000048"}},
        {"titulaire": {"typeIdentifiant": "HORS-UE", "id": "CHEXEMPLE"}},
    ],
    "considerationsSociales": {"considerationSociale": ["Clause sociale", "Critère social"]},
    "considerationsEnvironnementales": {
        "considerationEnvironnementale": ["Pas de considération environnementale"]
    },
    "modifications": [
        {
            "modification": {
                "id": 1,
                "dateNotificationModification": "2025-06-02",
                "datePublicationDonneesModification": "2025-06-09",
                "dureeMois": 8,
                "montant": 129999.99,
                "titulaires": [{"titulaire": {"typeIdentifiant": "SIRET", "id": "35600000000048"}}],
            }
        },
        {
            "modification": {
                "id": 2,
                "dateNotificationModification": "2025-07-01",
                "datePublicationDonneesModification": "2025-07-02",
            }
        },
    ],
}

CONCESSION_2022 = {
    "id": "DSP-9",
    "autoriteConcedante": {"id": "21350238800019"},
    "nature": "Délégation de service public",
    "objet": "Exploitation du camping",
    "procedure": "Procédure négociée ouverte",
    "dureeMois": 120,
    "dateSignature": "2024-04-02",
    "datePublicationDonnees": "2024-04-12",
    "dateDebutExecution": "2024-05-01",
    "valeurGlobale": 1250000.5,
    "montantSubventionPublique": 0,
    "donneesExecution": [
        {
            "donneesAnnuelles": {
                "datePublicationDonneesExecution": "2025-04-18",
                "depensesInvestissement": 15000,
                "tarifs": [
                    {"tarif": {"intituleTarif": "Nuitée, adulte", "tarif": 9.1}},
                    {"tarif": {"intituleTarif": "Nuitée, enfant", "tarif": 0}},
                ],
            }
        }
    ],
    "concessionnaires": [{"concessionnaire": {"typeIdentifiant": "SIRET", "id": "35600000000048"}}],
    "considerationsSociales": {"considerationSociale": ["Concession réservée"]},
    "considerationsEnvironnementales": {
        "considerationEnvironnementale": ["Clause environnementale", "Critère environnemental"]
    },
    "modifications": [
        {
            "modification": {
                "id": 1,
                "dateSignatureModification": "2025-01-19",
                "datePublicationDonneesModification": "2025-01-20",
                "dureeMois": 132,
                "valeurGlobale": 1300000,
            }
        }
    ],
}

MARCHE_2019 = {
    "_type": "Marché",
    "id": "2019000111202",
    "acheteur": {"nom": "Ville d'Exemple", "id": "21690123100011"},  # the XSD wants id first
    "nature": "Accord-cadre",
    "objet": "Entretien des jardins & squares",
    "codeCPV": "77313000-7",
    "procedure": "Marché passé sans publicité ni mise en concurrence préalable",
    "lieuExecution": {"code": "69123", "typeCode": "Code commune", "nom": "Lyon"},
    "dureeMois": 24,
    "dateNotification": "2019-08-13",
    "datePublicationDonnees": "2019-08-19",
    "montant": 127000.0,
    "formePrix": "Ferme et actualisable",
    "titulaires": [
        {"typeIdentifiant": "SIRET", "id": "35600000000048", "denominationSociale": "Jardins A"},
        {"typeIdentifiant": "UE", "id": "BE0123456749", "denominationSociale": "<B> & fils"},
    ],
    "modifications": [
        {
            "objetModification": "Nouveau titulaire",
            "dateNotificationModification": "2020-01-06",
            "datePublicationDonneesModification": "2020-01-19",
            "dureeMois": 36,
            "montant": 130000.25,
            "titulaires": [
                {
                    "typeIdentifiant": "SIRET",
                    "id": "35600000000048",
                    "denominationSociale": "Jardins A",
                }
            ],
        }
    ],
}

CONCESSION_2019 = {
    "_type": "Contrat de concession",
    "id": "200103452112",
    "autoriteConcedante": {"id": "21350238800019", "nom": "Ville d'Exemple"},
    "nature": "Concession de travaux",
    "objet": "Construction et exploitation d'un pont",
    "procedure": "Procédure négociée restreinte",
    "lieuExecution": {"code": "12145", "typeCode": "Code commune", "nom": "Millau"},
    "dureeMois": 360,
    "dateSignature": "2001-02-21",
    "datePublicationDonnees": "2001-02-22",
    "dateDebutExecution": "2001-03-01",
    "valeurGlobale": 27860000,
    "montantSubventionPublique": 2987000.5,
    "donneesExecution": [
        {
            "datePublicationDonneesExecution": "2002-03-30",
            "depensesInvestissement": 658000,
            "tarifs": [
                {"intituleTarif": "Passage, voiture", "tarif": 9.1},
                {"intituleTarif": "Passage, camion", "tarif": 14.4},
            ],
        }
    ],
    "concessionnaires": [
        {"typeIdentifiant": "SIRET", "id": "35600000000048", "denominationSociale": "Ponts B"}
    ],
    "modifications": [
        {
            "objetModification": "Allongement",
            "dateSignatureModification": "2002-01-06",
            "datePublicationDonneesModification": "2002-01-19",
            "dureeMois": 410,
            "valeurGlobale": 30000000,
        }
    ],
}


def without(record: dict[str, Any], *names: str, **changes: Any) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in names} | changes


#: Every construct of the format once, and a record of each type reduced to what is required.
RECORDS = {
    Regime.R2022: [
        (MP, MARCHE_2022),
        (
            MP,
            without(
                MARCHE_2022,
                "idAccordCadre",
                "tauxAvance",
                "origineUE",
                "origineFrance",
                "actesSousTraitance",
                "modificationsActesSousTraitance",
                "modifications",
                id="2025-T-018",
                montant=129999.99,
            ),
        ),
        (CC, CONCESSION_2022),
        (CC, without(CONCESSION_2022, "modifications", id="DSP-10", donneesExecution=[])),
    ],
    Regime.R2019: [
        (MP, MARCHE_2019),
        (MP, without(MARCHE_2019, "_type", id="2019000111300", modifications=[])),
        (CC, CONCESSION_2019),
        (CC, CONCESSION_2019 | {"id": "200103452113", "modifications": [], "donneesExecution": []}),
    ],
}


def document(format: str, regime: Regime, records: list[tuple[ContractType, dict]]) -> bytes:
    """The whole document of some records."""
    stream = io.BytesIO()
    writer = WRITERS[format](stream, regime)
    for type, record in records:
        writer.add(type, json.dumps(record, ensure_ascii=False).encode())
    writer.finish()
    return stream.getvalue()


@pytest.fixture(scope="session")
def xsd(shared):
    """The official XSD of each regime."""
    official = shared / "official"
    return {
        Regime.R2019: etree.XMLSchema(etree.parse(official / "1.5.0/marches-1.5.0.xsd")),
        Regime.R2022: etree.XMLSchema(etree.parse(official / "2.0.4/decp-2.0.2.xsd")),
    }


def faults(schema: etree.XMLSchema, data: bytes) -> list[str]:
    schema.validate(etree.fromstring(data))
    return [entry.message for entry in schema.error_log]


# Golden files


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("regime", Regime)
def test_golden_file(regime, format):
    stream = io.BytesIO()
    writer = WRITERS[format](stream, regime)
    for type, record in RECORDS[regime]:
        writer.add(type, orjson.dumps(record))  # the bytes that the store keeps
    writer.finish()
    assert stream.getvalue() == (GOLDEN / f"{regime}.{format}").read_bytes()


@pytest.mark.parametrize(
    ("regime", "schema"),
    [
        (Regime.R2019, "1.5.0/marches-1.5.0.schema.json"),
        (Regime.R2022, "2.0.4/decp-2.0.4.schema.json"),
    ],
)
def test_golden_json_is_valid_under_the_official_schema(regime, schema, shared):
    official = json.loads((shared / "official" / schema).read_bytes())
    cls = jsonschema.validators.validator_for(official)
    document = json.loads((GOLDEN / f"{regime}.json").read_bytes())
    assert [error.message for error in cls(official).iter_errors(document)] == []
    assert document == (
        {"marches": [record for _, record in RECORDS[regime]]}
        if regime is Regime.R2019
        else {
            "marches": {
                "marche": [record for type, record in RECORDS[regime] if type is MP],
                "contrat-concession": [record for type, record in RECORDS[regime] if type is CC],
            }
        }
    )


@pytest.mark.parametrize("regime", Regime)
def test_golden_xml_is_valid_under_the_official_xsd(regime, xsd):
    assert faults(xsd[regime], (GOLDEN / f"{regime}.xml").read_bytes()) == []


# The frame around the records


@pytest.mark.parametrize(
    ("regime", "types", "text"),
    [
        (Regime.R2022, [MP], '{"marches":{"marche":[\n{0}\n]}}\n'),
        (Regime.R2022, [CC], '{"marches":{"contrat-concession":[\n{0}\n]}}\n'),
        (Regime.R2022, [CC, CC], '{"marches":{"contrat-concession":[\n{0},\n{1}\n]}}\n'),
        (
            Regime.R2022,
            [MP, MP, CC],
            '{"marches":{"marche":[\n{0},\n{1}\n],"contrat-concession":[\n{2}\n]}}\n',
        ),
        (Regime.R2019, [MP], '{"marches":[\n{0}\n]}\n'),
        (Regime.R2019, [MP, CC, CC], '{"marches":[\n{0},\n{1},\n{2}\n]}\n'),
    ],
)
def test_json_frame(regime, types, text):
    stream = io.BytesIO()
    writer = JsonWriter(stream, regime)
    for number, type in enumerate(types):
        writer.add(type, b"{%d}" % number)
    writer.finish()
    assert stream.getvalue().decode() == text


def test_json_records_pass_untouched():
    record = b'{"montant": 1.50e+2,"objet":"\\u00e9 \xc3\xa9"  ,"id":"a/b"}'
    stream = io.BytesIO()
    JsonWriter(stream, Regime.R2022).add(MP, record)
    assert stream.getvalue() == b'{"marches":{"marche":[\n' + record


def test_a_json_record_is_one_line():
    with pytest.raises(ValueError, match=r"^a record of a JSON file is given on one line$"):
        JsonWriter(io.BytesIO(), Regime.R2022).add(MP, b'{\n"id":"1"}')


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("regime", Regime)
def test_misuse(regime, format):
    record = {type: orjson.dumps(record) for type, record in RECORDS[regime]}
    stream = io.BytesIO()
    writer = WRITERS[format](stream, regime)
    with pytest.raises(ValueError, match=r"^a document without records is not written$"):
        writer.finish()
    assert stream.getvalue() == b""
    writer.add(CC, record[CC])
    written = stream.getvalue()
    with pytest.raises(ValueError, match=r"^all marchés are added before the first concession$"):
        writer.add(MP, record[MP])
    assert stream.getvalue() == written
    writer.finish()
    with pytest.raises(ValueError, match=r"^a record cannot be added to a finished document$"):
        writer.add(CC, record[CC])
    with pytest.raises(ValueError, match=r"^the document is finished already$"):
        writer.finish()


@pytest.mark.parametrize("format", FORMATS)
def test_a_full_disk_is_not_hidden(format):
    with Path("/dev/full").open("wb", buffering=0) as stream:
        writer = WRITERS[format](stream, Regime.R2022)
        with pytest.raises(OSError, match="No space left on device"):
            writer.add(MP, orjson.dumps(MARCHE_2022))


class Count:
    """A stream that only counts."""

    size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)


@pytest.mark.parametrize("format", FORMATS)
def test_memory_is_constant(format):
    record = orjson.dumps(MARCHE_2022)
    stream = Count()
    writer = WRITERS[format](stream, Regime.R2022)
    writer.add(MP, record)
    tracemalloc.start()
    for _ in range(2000):
        writer.add(MP, record)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert stream.size > 2000 * len(record)
    assert peak < 100_000


# Values in XML


def xml_record(text: str) -> str:
    """The XML of a marché of 2022, given as JSON text."""
    return XmlWriter(io.BytesIO(), Regime.R2022).encode(MP, text.encode()).decode()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("1", "1"),
        ("123456.78", "123456.78"),
        ("12.0", "12"),
        ("12.50", "12.5"),
        ("100.0", "100"),
        ("1e16", "10000000000000000"),
        ("1e22", "10000000000000000000000"),
        ("1E+2", "100"),
        ("1.5e3", "1500"),
        ("1e-7", "0.0000001"),
        ("-2.5e-3", "-0.0025"),
        ("0.0", "0"),
        ("0e5", "0"),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ("0.1234567890123456789", "0.1234567890123456789"),
        ("1.7976931348623157e308", "17976931348623157" + "0" * 292),
    ],
)
def test_numbers_in_xml(number, text):
    assert xml_record(f'{{"montant":{number}}}') == f"<marche><montant>{text}</montant></marche>"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999999999"])
def test_what_is_no_number_in_xml(number):
    with pytest.raises(ValueError, match=r"is no JSON number$|is out of all bounds$"):
        xml_record(f'{{"montant":{number}}}')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        (" deux  espaces ", " deux  espaces "),
        ("Bar & Grill <b>1</b> ]]>", "Bar &amp; Grill &lt;b&gt;1&lt;/b&gt; ]]&gt;"),
        ("&amp; déjà", "&amp;amp; déjà"),
        ('l\'"œuvre"', 'l\'"œuvre"'),
        ("a\tb\nc\r\nd", "a\tb\nc&#13;\nd"),
        ("\x7f\x85\u2028\ufffd\U0001f600", "\x7f\x85\u2028\ufffd\U0001f600"),
        (True, "true"),
        (False, "false"),
    ],
)
def test_text_and_booleans_in_xml(value, text):
    # json.dumps escapes what is not ASCII, so the record is read from escapes too.
    markup = xml_record(json.dumps({"objet": value}))
    assert markup == f"<marche><objet>{text}</objet></marche>"
    if isinstance(value, str):
        assert etree.fromstring(markup).findtext("objet") == value


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"objet": "a\x01b"}, "objet holds U+0001, no character of XML"),
        ({"objet": "a\x00"}, "objet holds U+0000, no character of XML"),
        ({"objet": "\ud800"}, "objet holds U+D800, no character of XML"),
        ({"objet": "\uffff"}, "objet holds U+FFFF, no character of XML"),
        (
            {"titulaires": [{"titulaire": {"typeIdentifiant": "SIRET", "id": "\x0c"}}]},
            "titulaires.titulaire.id holds U+000C, no character of XML",
        ),
        ({"objet": None}, "objet is neither text, a number nor a boolean"),
        ({"objet": ["a"]}, "objet is neither text, a number nor a boolean"),
        ({"titulaires": ["abc"]}, "titulaires is not an object"),
        ({"titulaires": {}}, "titulaires is not a list"),
        ({"techniques": {"technique": "Concours"}}, "techniques.technique is not a list"),
        ({"uid": "1"}, "the record has no field uid in the format"),
        (
            {"acheteur": {"id": "21690123100011", "nom": "Lyon", "_type": "x"}},
            "acheteur has no field _type, nom in the format",
        ),
    ],
)
def test_what_xml_cannot_hold_is_refused(change, reason):
    with pytest.raises(OutputError) as caught:
        xml_record(json.dumps(MARCHE_2022 | change))
    assert str(caught.value) == (
        f"record '2025-T-017' cannot be written as XML: {reason}; "
        "correct the record or write JSON only (DECP_FORMATS=json)"
    )


def test_what_is_no_record():
    with pytest.raises(OutputError, match=r"record None .*: the record is not an object;"):
        xml_record("[]")
    with pytest.raises(ValueError, match="Expecting"):
        xml_record('{"id":')


# XML read back, by code that shares nothing with the writer


def read(element: etree._Element, node: dict, root: dict) -> Any:
    """The JSON value of an element, numbers as decimals."""
    node = resolve(node, root)
    if "properties" in node:
        return read_fields(element, node, root)
    kind = node.get("type")
    text = element.text or ""
    assert len(element) == 0
    if kind == "boolean":
        return {"true": True, "false": False}[text]
    return Decimal(text) if kind in ("number", "integer") else text


def read_fields(element: etree._Element, node: dict, root: dict) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for child in element:
        assert not (element.text or "").strip()
        assert not (child.tail or "").strip()
        field = resolve(node["properties"][child.tag], root)
        if "items" not in field:
            assert child.tag not in value
            value[child.tag] = read(child, field, root)
            continue
        item = resolve(field["items"], root)
        if "properties" not in item:
            value.setdefault(child.tag, []).append(read(child, item, root))
            continue
        assert child.tag not in value
        assert {grandchild.tag for grandchild in child} <= {singular(child.tag)}
        if len(item["properties"]) > 1:
            value[child.tag] = [read(grandchild, item, root) for grandchild in child]
        else:
            [(key, inner)] = item["properties"].items()
            value[child.tag] = [{key: read(grandchild, inner, root)} for grandchild in child]
    return value


def singular(tag: str) -> str:
    """The element of one item, as in the XSDs."""
    return {
        "donneesExecution": "donneesAnnuelles",
        "actesSousTraitance": "acteSousTraitance",
        "modificationsActesSousTraitance": "modificationActesSousTraitance",
    }.get(tag, tag.removesuffix("s"))


NAMES = {"marche": MP, "contrat-concession": CC}


def read_document(data: bytes, regime: Regime) -> list[tuple[ContractType, dict[str, Any]]]:
    root = etree.fromstring(data)
    assert root.tag == "marches"
    return [
        (type, read(element, schema, schema))
        for element in root
        for type in [NAMES[element.tag]]
        for schema in [record_schema(type, regime)]
    ]


#: What XML can hold; the rest is left to the tests above.
ALPHABET = st.characters(
    codec="utf-8",
    exclude_characters="\ufffe\uffff" + "".join(map(chr, {*range(32)} - {9, 10, 13})),
)


def values(node: dict, root: dict) -> st.SearchStrategy[Any]:
    """Valid values of a schema: what the real validators accept, no more than XML can hold."""
    node = resolve(node, root)
    if "properties" in node:
        fields = {name: values(child, root) for name, child in node["properties"].items()}
        required = set(node.get("required", ()))
        return st.fixed_dictionaries(
            {name: field for name, field in fields.items() if name in required},
            optional={name: field for name, field in fields.items() if name not in required},
        )
    if "items" in node:
        return st.lists(
            values(node["items"], root),
            min_size=node.get("minItems", 0),
            max_size=2,
            unique_by=key_of,
        )
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "pattern" in node:
        if r"\d{4}" in node["pattern"]:
            return st.dates().map(str)
        return st.from_regex(
            node["pattern"].strip("^$"),
            fullmatch=True,
            alphabet=st.characters(min_codepoint=32, max_codepoint=0x2FF),
        )
    low = node.get("minimum", -1e15)
    high = node.get("maximum", 1e24)
    if node["type"] == "boolean":
        return st.booleans()
    if node["type"] == "integer":
        whole = st.integers(int(low), int(high))
        # 4.0 is an integer in draft-07, not in the draft-04 of 2019.
        return whole if "draft-04" in root["$schema"] else whole | whole.map(float)
    if node["type"] == "number":
        return st.floats(low, high) | st.integers(int(low), int(high))
    assert node["type"] == "string"
    return st.text(
        ALPHABET, min_size=node.get("minLength", 0), max_size=min(node.get("maxLength", 40), 40)
    )


def documents(regime: Regime) -> st.SearchStrategy[list[tuple[ContractType, dict]]]:
    def records(type: ContractType) -> st.SearchStrategy[list[tuple[ContractType, dict]]]:
        schema = record_schema(type, regime)
        return st.lists(values(schema, schema).map(lambda record: (type, record)), max_size=2)

    return st.tuples(records(MP), records(CC)).map(lambda both: both[0] + both[1]).filter(bool)


def as_read(type: ContractType, record: dict, regime: Regime) -> tuple[ContractType, dict]:
    """A record as XML holds it: numbers as decimals, without what XML does not write."""
    exact = json.loads(json.dumps(record), parse_float=Decimal, parse_int=Decimal)
    if regime is Regime.R2022 and exact.get("donneesExecution") == []:
        del exact["donneesExecution"]
    exact.pop("_type", None)
    return type, exact


@pytest.mark.parametrize("regime", Regime)
def test_golden_files_hold_the_same_values_in_both_formats(regime):
    assert read_document((GOLDEN / f"{regime}.xml").read_bytes(), regime) == [
        as_read(type, record, regime) for type, record in RECORDS[regime]
    ]


@pytest.mark.parametrize("regime", Regime)
@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
@given(data=st.data())
def test_any_valid_record_is_valid_xml_with_the_same_values(regime, data, xsd_if_any):
    records = data.draw(documents(regime))
    assert all(is_valid(record, type, regime) for type, record in records)
    xml = document("xml", regime, records)
    assert read_document(xml, regime) == [as_read(type, record, regime) for type, record in records]
    if xsd_if_any:
        assert faults(xsd_if_any[regime], xml) == []


@pytest.fixture(scope="session")
def xsd_if_any(request):
    """The XSDs, or nothing where the folder of official files is absent."""
    try:
        return request.getfixturevalue("xsd")
    except pytest.skip.Exception:
        return None


def tree(element: etree._Element) -> tuple[str, str, list]:
    """An element without regard to order and indentation; ``25.0`` is the number ``25``."""
    text = (element.text or "").strip()
    if "." in text and text.replace(".", "", 1).isdigit():
        text = f"{Decimal(text).normalize():f}"
    return element.tag, text, sorted(map(tree, element))


@pytest.mark.parametrize(
    "name", ["Marche.xml", "Contrat-concession.xml", "Contrat-concession-modification.xml"]
)
def test_official_xml_examples_keep_their_structure(name, shared):
    """Read to JSON and written again, an official example has the same elements."""
    source = (shared / "official/2.0.4/examples/xml" / name).read_bytes()
    source = source.replace(b">oui<", b">true<").replace(b">non<", b">false<")
    records = read_document(source, Regime.R2022)
    written = document("xml", Regime.R2022, json.loads(json.dumps(records, default=float)))
    assert tree(etree.fromstring(written)) == tree(etree.fromstring(source))
