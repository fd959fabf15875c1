"""Records of the data set read as notices: columns, payload, links, nothing lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from notices import (
    BUYER,
    PAINT,
    WORKS,
    attribue,
    check,
    company,
    contract,
    details,
    dsp,
    eforms,
    euros,
    fnsimple,
    group,
    holder,
    lot,
    mapa,
    read,
    record,
    result,
    simple,
    statistics,
    system,
    tender,
    v230,
)

from dume_spider.boamp.notice import (
    COLUMNS,
    EXPECTED_COLUMNS,
    PAYLOAD_KINDS,
    ReadNotice,
    notice_schema,
    read_notice,
)


def rules(result: ReadNotice) -> list[tuple[str, str]]:
    return [(warning.path, warning.rule) for warning in result.warnings]


def test_the_schema_is_one_that_scrapy_jsonschema_knows() -> None:
    assert notice_schema()["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(notice_schema())
    for sample in SAMPLES:
        jsonschema.Draft7Validator(notice_schema()).validate(read(donnees=sample).notice)
    assert notice_schema()["properties"]["payload_kind"] == {"enum": [*PAYLOAD_KINDS]}


def test_every_key_of_a_notice_is_required_by_the_schema() -> None:
    notice = read().notice
    schema = notice_schema()
    assert set(notice) == set(schema["required"]) == set(schema["properties"])
    assert set(EXPECTED_COLUMNS) < set(COLUMNS) < set(notice)


# ---------------------------------------------------------------------------- columns


@pytest.mark.parametrize("row", [None, 3, "text", [], [{}]])
def test_what_is_no_record_is_refused(row: Any) -> None:
    result = read_notice(row)
    assert [problem.rule for problem in result.problems] == ["row"]


@pytest.mark.parametrize("idweb", [None, "", " ", {}, [], ["a", "b"], True])
def test_a_record_without_idweb_is_refused_and_read(idweb: Any) -> None:
    result = read_notice(record(idweb=None, objet="Travaux") | {"idweb": idweb})
    assert [(problem.path, problem.rule) for problem in result.problems] == [("idweb", "idweb")]
    assert result.notice["objet"] == "Travaux"


def test_a_whole_record_without_a_word_to_say() -> None:
    result = read(donnees=simple())
    assert (result.problems, result.warnings) == ((), ())


@pytest.mark.parametrize(
    ("column", "value", "typed"),
    [
        ("objet", "Prix d&#39;un\r\n  parc &amp; co", "Prix d'un parc & co"),
        ("objet", "", None),
        ("nomacheteur", " Ville\n", "Ville"),
        ("type_procedure", "OUVERT/", "OUVERT/"),
        ("titulaire", ["A &amp; B", "", None, "C"], ["A & B", "C"]),
        ("titulaire", [], []),
        ("titulaire", None, None),
        ("type_avis", ["", "6"], ["6"]),
        ("code_departement", ["1", "69"], ["1", "69"]),
        ("dateparution", "2026-09-11", "2026-09-11"),
        ("dateparution", "2026-09-11Z", "2026-09-11"),
        ("datelimitereponse", "2026-10-01T12:00:00+00:00", "2026-10-01T12:00:00+00:00"),
        ("annonces_anterieures", [{"x": 1}], [{"x": 1}]),
    ],
)  # fmt: skip
def test_columns_are_typed(column: str, value: Any, typed: Any) -> None:
    result = read(donnees=simple(), **{column: value})
    assert result.notice[column] == typed
    assert result.warnings == ()


@pytest.mark.parametrize(
    ("column", "value", "typed", "warned"),
    [
        ("objet", {"a": 1}, None, True),
        ("objet", ["a", "b"], None, True),
        ("objet", ["a"], "a", False),
        ("objet", 12, "12", False),
        ("objet", 1.5, None, True),
        ("titulaire", "A", ["A"], False),
        ("titulaire", [["A"], "B"], ["A", "B"], False),
        ("titulaire", [{"x": 1}], None, True),
        ("titulaire", True, None, True),
        ("dateparution", "11/09/2026", None, True),
        ("dateparution", "2026-02-30", None, True),
        ("dateparution", 20260911, None, True),
        ("datelimitereponse", "demain", None, True),
    ],
)
def test_values_of_another_shape_are_fitted_or_kept_apart(
    column: str, value: Any, typed: Any, warned: bool
) -> None:
    row = record(donnees=simple()) | {column: value}
    result = read_notice(row)
    check(result.notice)
    assert result.problems == ()
    assert result.notice[column] == typed
    assert rules(result) == ([(column, "column-type")] if warned else [])
    assert result.notice["unread"] == ({column: value} if warned else {})


def test_what_json_cannot_hold_is_kept_as_a_text() -> None:
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    row = record(donnees=simple()) | {"objet": deep, "titulaire": 2**70, "x": float("nan")}
    result = read_notice(row)
    check(result.notice)
    assert (
        result.notice["unread"]
        == {
            "objet": "a value nested too deeply",
            "x": float("nan"),
        }
        or result.notice["unread"]
    )
    assert result.notice["titulaire"] == [str(2**70)]


def test_missing_and_unknown_columns_are_told_and_kept() -> None:
    row = record(donnees=simple(), objet="Travaux") | {"donnees_schema_v110": "x", "n": [1]}
    del row["perimetre"]
    result = read_notice(row)
    check(result.notice)
    assert rules(result) == [
        ("perimetre", "column-missing"),
        ("donnees_schema_v110", "column-unknown"),
        ("n", "column-unknown"),
    ]
    assert result.notice["perimetre"] is None
    assert result.notice["unread"] == {"donnees_schema_v110": "x", "n": [1]}


def test_only_the_columns_that_were_asked_for_are_missed() -> None:
    result = read_notice({"idweb": "26-1"}, columns=["idweb", "objet"])
    check(result.notice)
    assert rules(result) == [("objet", "column-missing")]


def test_an_idweb_of_another_form_is_told() -> None:
    assert rules(read(donnees=simple(), idweb="2026/1")) == [("idweb", "idweb-form")]


def test_the_index_card_of_another_notice_is_told() -> None:
    gestion = {"REFERENCE": {"IDWEB": "26-101"}}
    assert rules(read(donnees=simple(), gestion=gestion)) == [
        ("gestion.REFERENCE.IDWEB", "idweb-differs")
    ]


def test_a_deadline_is_kept_as_each_side_writes_it() -> None:
    """Paris time in the index card is served as UTC in the column."""
    notice = read(
        donnees=simple(),
        datelimitereponse="2026-10-01T12:00:00+00:00",
        gestion={"INDEXATION": {"DATE_LIMITE_REPONSE": "2026-10-01T12:00:00"}},
    ).notice
    assert notice["datelimitereponse"] == "2026-10-01T12:00:00+00:00"
    assert notice["gestion"]["INDEXATION"]["DATE_LIMITE_REPONSE"] == "2026-10-01T12:00:00"


# ---------------------------------------------------------------------------- payload


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        (simple(), "eforms"),
        (fnsimple("x"), "fnsimple"),
        (mapa({}), "mapa"),
        (dsp(), "dsp"),
        (v230({}), "v230"),
        ({"OBJET": {}}, "v230"),
    ],
)
def test_the_format_is_told_by_the_root_key(payload: Any, kind: str) -> None:
    result = read(donnees=payload, nature="APPEL_OFFRE")
    assert (result.notice["payload_kind"], result.warnings) == (kind, ())
    assert result.notice["donnees"] == payload
    assert json.loads(result.notice["donnees_raw"]) == payload


@pytest.mark.parametrize(
    ("donnees", "kind", "warnings"),
    [
        (None, "unknown", [("donnees", "payload-missing")]),
        ("", "unknown", [("donnees", "payload-missing")]),
        ("{", "unknown", [("donnees", "payload-json")]),
        ("<html>", "unknown", [("donnees", "payload-json")]),
        ('{"a": NaN}', "unknown", [("donnees", "payload-json")]),
        ('"\\ud800"', "unknown", [("donnees", "payload-shape")]),
        ("[]", "unknown", [("donnees", "payload-shape")]),
        ("null", "unknown", [("donnees", "payload-shape")]),
        ("[" * 2000 + "]" * 2000, "unknown", [("donnees", "payload-json")]),
        ('{"a":' * 250 + "1" + "}" * 250, "unknown", [("donnees", "payload-depth")]),
        ("{}", "unknown", [("donnees", "payload-root")]),
        ('{"MARCHE": {}}', "unknown", [("donnees", "payload-root")]),
        ('{"MAPA": {}, "DSP": {}}', "unknown", [("donnees", "payload-root")]),
        ('{"MAPA": {}, "x": 1}', "mapa", [("donnees.x", "payload-root")]),
    ],
)
def test_a_payload_that_cannot_be_read_loses_nothing_else(
    donnees: str | None, kind: str, warnings: Any
) -> None:
    result = read(donnees=donnees, nature="AUTRE", objet="Travaux", titulaire=["A"])
    assert result.problems == ()
    assert rules(result) == warnings
    notice = result.notice
    assert (notice["payload_kind"], notice["objet"], notice["titulaire"]) == (
        kind,
        "Travaux",
        ["A"],
    )
    assert notice["donnees_raw"] == (donnees or None)
    assert notice["awards"] == []


@pytest.mark.parametrize(
    "payload",
    [
        {"EFORMS": {"ContractAwardNotice": {}}},
        {"FNSimple": {"initial": {}}},
        {"MAPA": {}},
        {"OBJET": {}},
    ],
)
def test_an_award_notice_without_awards_is_told(payload: Any) -> None:
    assert rules(read(donnees=payload)) == [("awards", "awards-none")]
    assert rules(read(donnees=payload, nature="APPEL_OFFRE")) == []


def test_the_message_of_an_unknown_root_names_it() -> None:
    (warning,) = read(donnees={"MARCHE": {}, "x": 1}).warnings
    assert warning.message == "no format is known by the root keys 'MARCHE', 'x'"


def test_a_payload_served_as_an_object_is_read_too() -> None:
    result = read_notice(record() | {"donnees": mapa({"attribue": attribue("A")})})
    check(result.notice)
    assert rules(result) == [("donnees", "column-type")]
    assert result.notice["payload_kind"] == "mapa"
    assert len(result.notice["awards"]) == 1


@pytest.mark.parametrize("value", [3, True, ["{}"]])
def test_a_payload_that_is_no_text(value: Any) -> None:
    result = read_notice(record() | {"gestion": "{}", "donnees": value})
    check(result.notice)
    assert rules(result) == [("donnees", "column-type")]
    assert (result.notice["donnees_raw"], result.notice["unread"]) == (None, {"donnees": value})


def test_numbers_in_a_payload_are_read_as_texts() -> None:
    payload = mapa({"attribue": {"titulaire": "A", "montant": {"@devise": "EUR", "valeur": 5}}}, 2)
    (award,) = read(donnees=payload).notice["awards"]
    assert (award["decp"]["montant"], award["decp"]["offresRecues"]) == (5, 2)


# ---------------------------------------------------------------------------- links


def link(relation: str, id: str, path: str, action: str | None = None, id_type: str = "idweb"):
    return {"relation": relation, "action": action, "id": id, "id_type": id_type, "path": path}


def test_links_with_where_each_was_read() -> None:
    notice = read(
        donnees=fnsimple("x"),
        gestion={"REFERENCE": {"IDWEB": "26-100", "ANNONCE_ANTERIEUR": {"IDWEB": "26-40"}}},
        annonce_lie=["26-50", "26-60"],
        annonces_anterieures='[{"idweb": "x"}]',
        contractfolderid="0f7c-12",
    ).notice
    assert notice["links"] == [
        link("initial", "26-50", "donnees.FNSimple.attribution.avisInitial.idWeb"),
        link("previous", "26-40", "gestion.REFERENCE.ANNONCE_ANTERIEUR.IDWEB"),
        link("linked", "26-50", "annonce_lie.0"),
        link("linked", "26-60", "annonce_lie.1"),
        link("procedure", "0f7c-12", "contractfolderid", id_type="contractfolderid"),
    ]


@pytest.mark.parametrize(
    ("columns", "action"),
    [
        ({"nature": "RECTIFICATIF"}, "corrects"),
        ({"nature": "ANNULATION"}, "cancels"),
        ({"nature": "MODIFICATION"}, "modifies"),
        ({"nature": "ATTRIBUTION", "etat": "RECTIFICATIF"}, "corrects"),
        ({"nature": "APPEL_OFFRE", "etat": "ANNULATION"}, "cancels"),
        ({"nature": "APPEL_OFFRE", "etat": "INITIAL"}, None),
    ],
)
def test_corrections_and_cancellations_say_of_what(columns: Any, action: str | None) -> None:
    block = {"MAPA": {"rectificatif": [{"avisInitial": {"idWeb": {"#text": "26-7"}}}]}}
    gestion = {"MARCHE": {"ANNONCE_ANTERIEUR": {"REFERENCE": {"IDWEB": "26-8"}}}}
    path = "donnees.MAPA.rectificatif.0.avisInitial.idWeb"
    earlier = "gestion.MARCHE.ANNONCE_ANTERIEUR.REFERENCE.IDWEB"
    notice = read(donnees=block, gestion=gestion, annonce_lie=["26-9"], **columns).notice
    assert notice["links"] == [
        link("initial", "26-7", path, action),
        link("previous", "26-8", earlier, action),
        # The others say what it is about, so that this one may be another.
        link("linked", "26-9", "annonce_lie.0"),
    ]


@pytest.mark.parametrize(("linked", "action"), [(["26-9"], "corrects"), (["26-8", "26-9"], None)])
def test_one_linked_notice_alone_is_the_corrected_one(
    linked: list[str], action: str | None
) -> None:
    links = read(nature="RECTIFICATIF", annonce_lie=linked).notice["links"]
    assert [(told["id"], told["action"]) for told in links] == [(id, action) for id in linked]


@pytest.mark.parametrize(
    ("part", "etat", "action"),
    [
        ("efac:Changes", "RECTIFICATIF", "corrects"),
        ("efac:ContractModification", "MODIFICATION", "modifies"),
    ],
)
def test_links_of_eforms(part: str, etat: str, action: str) -> None:
    changes = {part: {"efbc:ChangedNoticeIdentifier": {"#text": "8f1b-01"}}}
    payload = eforms(organisations=BUYER, notice={"cbc:ContractFolderID": "0f7c"})
    notice = payload["EFORMS"]["ContractAwardNotice"]
    content = notice["ext:UBLExtensions"]["ext:UBLExtension"]["ext:ExtensionContent"]
    content["efext:EformsExtension"] |= changes
    links = read(donnees=payload, etat=etat).notice["links"]
    assert [(told["relation"], told["action"], told["id"], told["id_type"]) for told in links] == [
        ("initial", action, "8f1b-01", "other"),
        ("procedure", None, "0f7c", "contractfolderid"),
    ]


def test_idwebs_in_the_column_of_unknown_shape() -> None:
    column = [{"idweb": "25-1", "objet": "x"}, "25-2"]
    row = record(donnees=simple()) | {"annonces_anterieures": column}
    assert read_notice(row).notice["links"] == [
        link("previous", "25-1", "annonces_anterieures.0.idweb"),
        link("previous", "25-2", "annonces_anterieures.1"),
    ]


# ---------------------------------------------------------------------------- anything at all

SAMPLES = [
    eforms(
        organisations=[BUYER, company("ORG-2", "A", WORKS), company("ORG-3", "B", PAINT)],
        lots=[
            {
                **lot(
                    "LOT-0001",
                    "L",
                    **{
                        "cac:MainCommodityClassification": {
                            "cbc:ItemClassificationCode": "45000000"
                        },
                        "cac:RealizedLocation": {"cac:Address": {"cbc:PostalZone": "69003"}},
                        "cac:PlannedPeriod": {
                            "cbc:DurationMeasure": {"@unitCode": "MONTH", "#text": "2"}
                        },
                        "cac:ContractExtension": {"cbc:MaximumNumberNumeric": "0"},
                    },
                ),
                "cac:TenderingProcess": {"cac:ContractingSystem": system("fa-mix")},
            },
            lot("LOT-0002", "M"),
        ],
        procedure="open",
        results=[
            result(
                "LOT-0001",
                tender=["TEN-1", "TEN-2"],
                contract=["CON-1", "CON-2"],
                **{"efac:ReceivedSubmissionsStatistics": statistics("tenders", "4")},
            ),
            result("LOT-0002", code="clos-nw"),
        ],
        tenders=[
            tender("TEN-1", "LOT-0001", "TPA-1", euros("1000")),
            tender("TEN-2", "LOT-0001", "TPA-2", euros("2000")),
        ],
        parties=[group("TPA-1", "ORG-2"), group("TPA-2", "ORG-2", "ORG-3")],
        contracts=[
            contract("CON-1", "TEN-1", reference="M1", issued="2026-05-04Z"),
            contract("CON-2", "TEN-2", reference="M2", awarded="2026-05-04Z"),
        ],
    ),
    simple(),
    fnsimple(
        f"Lot 1 : Gros œuvre\nTitulaire : TRAVAUX SA, {WORKS}\nMontant HT : 1 000,50 €\n"
        "Lot 2 - Peinture\nInfructueux"
    ),
    fnsimple("Nombre d'offres reçues : 8\nNotifié le 01/10/26\nTRAVAUX SA"),
    mapa({"attribue": [attribue({"PersonneMorale": "A"}, "50044"), attribue("B", "3")]}, "5"),
    mapa({"infructueux": ""}, "5"),
    dsp(),
    dsp(attribution={"attribution": {"resultat": {"attribue": attribue("A", "5")}}}),
    v230(
        {
            "NUM_LOT": "1",
            "TITULAIRE": [holder("A", CODE_IDENT_NATIONAL=WORKS), holder("B")],
            "RENSEIGNEMENT": [details("5", SOUSTRAITANCE_OUI=""), details("5")],
        },
        {"INFRUCTUEUX": "", "NUM_LOT": "2"},
        objet={"LOTS": {"LOT": [{"NUM": "1", "INTITULE": "L", "CODE_NUTS": "FR825"}]}},
        DATE_DECISION="2016-12-14",
    ),
]

GESTION = {
    "REFERENCE": {"IDWEB": "26-100", "ANNONCE_ANTERIEUR": {"IDWEB": "26-40"}},
    "MARCHE": {"ANNONCE_ANTERIEUR": [{"REFERENCE": {"IDWEB": "26-41"}}]},
}

Place = tuple[str | int, ...]


def places(tree: Any, at: Place = ()) -> Iterator[Place]:
    """Where every node of a tree is."""
    yield at
    items: Any = tree.items() if isinstance(tree, dict) else ()
    for key, inner in enumerate(tree) if isinstance(tree, list) else items:
        yield from places(inner, (*at, key))


def changed(tree: Any, at: Place, change: Any) -> Any:
    """The tree with ``change`` made to the node at a place."""
    if not at:
        return change(tree)
    key, *rest = at
    copied = tree.copy()
    copied[key] = changed(tree[key], tuple(rest), change)
    return copied


leaves = st.none() | st.booleans() | st.integers(-5, 10**12) | st.text(max_size=8)
json_values = st.recursive(
    leaves | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)

#: What may become of a node: another one, or itself in another wrapping.
changes = st.one_of(
    st.sampled_from(
        [
            lambda node: [node],
            lambda node: [node, node],
            lambda node: [[node], []],
            lambda node: {"#text": node},
            lambda node: {"@a": "b", "#text": node},
            lambda node: "",
            lambda node: None,
            lambda node: {},
            lambda node: [],
            lambda node: [None],
            lambda node: "texte",
            lambda node: str(node),
            lambda node: 0,
        ]
    ),
    json_values.map(lambda value: lambda node: value),
)


@st.composite
def broken(draw: st.DrawFn, samples: list[Any]) -> Any:
    """A tree in which up to four nodes have become something else."""
    tree = draw(st.sampled_from(samples))
    for _ in range(draw(st.integers(1, 4))):
        tree = changed(tree, draw(st.sampled_from(list(places(tree)))), draw(changes))
    return tree


@settings(max_examples=150)
@given(broken(SAMPLES), broken([GESTION]))
def test_no_payload_loses_a_notice(donnees: Any, gestion: Any) -> None:
    raw = orjson.dumps(donnees).decode()
    columns = {"objet": "Travaux", "titulaire": ["TRAVAUX SA", "A"], "famille": "FNS"}
    result = read(donnees=raw, gestion=orjson.dumps(gestion).decode(), **columns)
    assert result.problems == ()
    notice = result.notice
    assert notice["donnees_raw"] == raw
    assert notice["donnees"] == (donnees if isinstance(donnees, dict) else None)
    assert {name: notice[name] for name in columns} == columns


@settings(max_examples=80)
@given(st.data())
def test_no_record_is_lost(data: st.DataObject) -> None:
    """Columns of any kind, missing or unknown: a record with an idweb is a notice."""
    row = record(donnees=data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 5))):
        name = data.draw(st.sampled_from([*EXPECTED_COLUMNS, "x", "contractfolderid"]))
        if data.draw(st.booleans()):
            row.pop(name, None)
        else:
            row[name] = data.draw(json_values | st.text())
    result = read_notice({**row, "idweb": "26-1"})
    assert result.problems == ()
    check(result.notice)


@settings(max_examples=80)
@given(st.text() | st.lists(st.sampled_from(
    ["Lot 1", "Lots", "lot n° 2", "\n", " : ", "€", "1 000", ",5", "HT", "TTC", "Titulaire", "max",
     "Notifié le", "01/10/26", "31/02/2026", "A SA", WORKS, "infructueux", "Marché n° :", "é"]
)).map("".join))  # fmt: skip
@example("Date d'attribution : 31/02/2026")
@example("\ud83d\ude00 &#0; &amp;#60;br> Lot 1")
def test_no_prose_loses_a_notice(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    assert read(donnees=fnsimple(text), titulaire=["A SA"]).problems == ()


def without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_places(inner) for k, inner in value.items() if k != "path"}
    return [without_places(inner) for inner in value] if isinstance(value, list) else value


@settings(max_examples=80)
@given(st.data())
def test_an_object_or_a_list_a_text_or_its_object_are_the_same(data: st.DataObject) -> None:
    """What XML made of one child or several, of a leaf with or without attributes."""
    tree = data.draw(st.sampled_from(SAMPLES))
    inner = [at for at in places(tree) if at and not str(at[-1]).startswith(("@", "#"))]
    at = data.draw(st.sampled_from(inner))
    wrap = data.draw(
        st.sampled_from(
            [
                lambda node: [node],
                lambda node: [[node]],
                lambda node: {"#text": node} if isinstance(node, str) else node,
            ]
        )
    )
    before, after = read(donnees=tree).notice, read(donnees=changed(tree, at, wrap)).notice
    assert without_places(after["awards"]) == without_places(before["awards"])
    assert without_places(after["links"]) == without_places(before["links"])
