"""Generated contracts: right by construction, of the shape of real life, damaged as told."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import date
from itertools import pairwise

import jsonschema_rs
import pytest
from stdnum.eu import vat
from stdnum.fr import siret

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.rules import check
from dume_spider.decp.schema import problems, record_schema, resolve
from dume_spider.dume.mapping import load_field_names, map_row
from dume_spider.sandbox import generator
from dume_spider.sandbox.generator import DAMAGES, TRAPS, Made, generate
from dume_spider.sandbox.rows import row_of

MP, CC = ContractType.MARCHE, ContractType.CONCESSION
YEAR = date(2025, 1, 1), date(2025, 12, 31)
#: Notified before and after the change of regime.
BOTH = date(2023, 9, 1), date(2024, 3, 31)
#: The rules refuse dates in the future of the day of the check.
AFTER = date(2026, 1, 1)


@pytest.fixture(scope="module")
def year() -> list[Made]:
    return list(generate(6000, 1, *YEAR))


@pytest.fixture(scope="module")
def both() -> list[Made]:
    return list(generate(3000, 2, *BOTH))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_rows(year):
    assert list(generate(6000, 1, *YEAR)) == year
    other = list(generate(6000, 2, *YEAR))
    assert not {made.served.reference for made in other[:50]} & {
        made.served.reference for made in year[:50]
    }


@pytest.mark.parametrize("records", [0, 1, 2, 37])
def test_number_of_references(records):
    made = list(generate(records, 0, *YEAR))
    assert len({one.served.reference for one in made}) == records


def test_references_are_unique_and_their_rows_together(year):
    references = [made.served.reference for made in year]
    assert len(set(references)) == 6000
    changes = sum(before != after for before, after in pairwise(references))
    assert changes == 5999
    assert all(made.served.row["referenceUnique"] == made.served.reference for made in year)


def test_records_are_valid_under_the_project_s_schemas(year, both):
    for made in year + both:
        assert problems(made.record, made.type, made.regime) == []


def test_records_are_valid_under_the_official_schemas(shared, year, both):
    files = {
        Regime.R2019: ("1.5.0/marches-1.5.0.schema.json", jsonschema_rs.Draft4Validator),
        Regime.R2022: ("2.0.4/decp-2.0.4.schema.json", jsonschema_rs.Draft7Validator),
    }
    validators = {}
    for regime, (name, draft) in files.items():
        official = json.loads((shared / "official" / name).read_bytes())
        for type_, key in ((MP, "marche"), (CC, "contrat-concession")):
            validators[type_, regime] = draft(
                {"$ref": f"#/definitions/{key}", "definitions": official["definitions"]}
            )
    counts = Counter()
    for made in year + both:
        validators[made.type, made.regime].validate(made.record)
        counts[made.type, made.regime] += 1
    assert all(counts[key] > 50 for key in validators), counts


def test_regimes(year, both):
    assert {made.regime for made in year} == {Regime.R2022}
    assert {made.regime for made in both} == set(Regime)
    for made in year + both:
        decided = made.record["dateSignature" if made.type is CC else "dateNotification"]
        assert made.regime == (Regime.R2022 if decided >= "2024-01-01" else Regime.R2019)


def bare(items):
    return [next(iter(item.values())) if len(item) == 1 else item for item in items or ()]


def test_dates_are_in_order(year, both):
    for made in year + both:
        record, day = made.record, made.served.day.isoformat()
        signed = "dateSignature" if made.type is CC else "dateNotification"
        changed = f"{signed}Modification"
        told = [record[signed], record["datePublicationDonnees"]]
        for change in bare(record.get("modifications")):
            told.append(change["datePublicationDonneesModification"])
            assert record[signed] <= change[changed] <= told[-1]
        assert told == sorted(told)
        # Served under the day of the latest publication that the row tells of.
        assert told[-1] == day
        if made.type is CC:
            assert record[signed] <= record["dateDebutExecution"] <= told[1]
        for act in bare(record.get("actesSousTraitance")):
            assert record[signed] <= act["dateNotification"] <= act["datePublicationDonnees"] <= day


def test_days_of_the_range(year):
    assert {made.served.day.year for made in year} == {2025}
    rows = Counter(made.served.day.weekday() > 4 for made in year)
    assert 0 < rows[True] < 0.01 * rows[False]
    weekdays = Counter(made.served.day for made in year if made.served.day.weekday() < 5)
    assert len(weekdays) == 261
    mean = rows[False] / 261
    assert mean / 3 < min(weekdays.values()) < max(weekdays.values()) < 2 * mean


@pytest.mark.parametrize("day", [date(2024, 1, 1), date(2025, 6, 7)], ids=["first", "a Saturday"])
def test_a_range_of_one_day(day):
    made = list(generate(300, 0, day, day))
    assert {one.served.day for one in made} == {day}
    assert len({one.served.reference for one in made}) == len(made) == 300


def test_versions(year):
    versions = defaultdict(list)
    for made in year:
        versions[made.served.reference].append(made)
    several = [rows for rows in versions.values() if len(rows) > 1]
    assert 0.02 < len(several) / 6000 < 0.05
    assert {len(rows) for rows in several} == {2, 3}
    for rows in several:
        days = [made.served.day for made in rows]
        assert days == sorted(set(days))
        lists = [made.record.get("modifications", []) for made in rows]
        assert [len(one) for one in lists] == list(range(len(rows)))
        for before, after in pairwise(lists):
            assert after[: len(before)] == before
        without = [{**made.record, "modifications": None} for made in rows]
        assert all(one == without[0] for one in without)
        assert len({(made.damage, made.trap) for made in rows}) == 1


def share(year, condition) -> float:
    return sum(1 for made in year if condition(made)) / len(year)


def test_shares(year):
    marches = [made for made in year if made.type is MP]
    concessions = [made for made in year if made.type is CC]
    assert 0.05 < len(concessions) / len(year) < 0.075
    modified = {made.served.reference for made in year if made.record.get("modifications")}
    assert 0.085 < len(modified) / 6000 < 0.115
    assert 0.02 < share(marches, lambda made: "actesSousTraitance" in made.record) < 0.04
    assert any("modificationsActesSousTraitance" in made.record for made in marches)
    assert 0.2 < share(concessions, lambda made: "donneesExecution" in made.record) < 0.4
    assert 0.02 < share(year, lambda made: made.damage) < 0.04
    assert 0.04 < share(year, lambda made: made.trap) < 0.06
    assert 0.55 < share(marches, lambda made: made.record["procedure"] == "Procédure adaptée") < 0.7
    assert 0.85 < share(marches, lambda made: len(made.record["titulaires"]) == 1) < 0.95


def test_some_are_in_the_head_and_many_in_the_tail(year):
    """Buyers and CPV codes: the first has 2 to 8 % of the rows, as in real files."""
    marches = [made.record for made in year if made.type is MP]
    for values, least in (
        (Counter(record["acheteur"]["id"] for record in marches), 280),
        (Counter(record["codeCPV"] for record in marches), 100),
    ):
        ranked = [count for _, count in values.most_common()]
        assert least <= len(ranked)
        assert 0.02 < ranked[0] / len(marches) < 0.08
        assert ranked[0] > 4 * ranked[len(ranked) // 2]
    assert len({record["acheteur"]["id"] for record in marches}) <= 300


def test_identifiers(year, both):
    kinds = set()
    for made in year + both:
        record = made.record
        buyer = record.get("acheteur") or record["autoriteConcedante"]
        assert siret.validate(buyer["id"]) == buyer["id"]
        for party in bare(record.get("titulaires") or record.get("concessionnaires")):
            kinds.add(party["typeIdentifiant"])
            if party["typeIdentifiant"] == "SIRET":
                assert siret.validate(party["id"]) == party["id"]
            elif party["typeIdentifiant"] == "TVA":
                assert vat.validate(party["id"]) == party["id"]
    assert kinds >= {"SIRET", "TVA", "HORS-UE"}


def test_records_break_no_rule_of_the_state(year, both):
    """Not even a rule that only warns."""
    for made in year + both:
        verdict = check(made.record, made.type, made.regime, day=AFTER)
        assert (verdict.errors, verdict.warnings) == ((), ())


def label_lists(type_: ContractType, regime: Regime) -> set[str]:
    """Every label of a schema, found without the help of the generator."""
    root = record_schema(type_, regime)
    found: set[str] = set()

    def walk(node):
        node = resolve(node, root)
        found.update(node.get("enum", ()))
        for inner in (*node.get("properties", {}).values(), node.get("items")):
            if inner:
                walk(inner)

    walk(root)
    return found


def texts(value) -> set[str]:
    if isinstance(value, dict):
        return set().union(*map(texts, value.values()))
    if isinstance(value, list):
        return set().union(*map(texts, value))
    return {value} if isinstance(value, str) else set()


@pytest.mark.slow
def test_all_labels_of_the_2022_regime():
    many = list(generate(12_000, 5, *YEAR, faulty=0, trapped=0))
    for type_ in ContractType:
        seen = set().union(*(texts(made.record) for made in many if made.type is type_))
        assert label_lists(type_, Regime.R2022) <= seen


def test_the_weights_are_of_labels_of_the_schemas():
    known = set().union(*(label_lists(t, r) for t in ContractType for r in Regime))
    assert set(generator._COMMON) <= known


def test_objects_have_what_xml_and_csv_stumble_over(year):
    objets = "".join(made.record["objet"] for made in year)
    assert all(character in objets for character in "éœ&\"'«<,")
    assert any("\n" in made.served.row.get("objet", "") for made in year if made.trap)


def test_optional_fields_are_null_or_absent(year):
    kinds = Counter()
    for made in year:
        if made.type is MP and "idAccordCadre" not in made.record:
            kinds["idAccordCadre" in made.served.row["donneesMP"]] += 1
    assert min(kinds.values()) > 1000


def flat(row):
    block = row.get("donneesMP") or row["donneesCC"]
    return {**row, **block, "donneesMP": None, "donneesCC": None}


def test_rows_that_are_neither_damaged_nor_disguised(year, both):
    for made in year + both:
        if made.damage is None and made.trap is None:
            true = flat(row_of(made.record, made.type, made.served.reference))
            true.pop("_type", None)
            told = flat(made.served.row)
            assert told.items() <= true.items()
            assert all(true[name] is None for name in true.keys() - told.keys())


#: Damage -> the keys of a row that it changes (any of them).
CHANGED = {
    "missing-field": {"id", "objet", "nature", "procedure", "dureeMois", "datePublicationDonnees"},
    "amount-zero": {"montant", "valeurGlobale"},
    "siret-length": {"idAcheteur", "idAutoriteConcedante"},
    "siret-checksum": {"idAcheteur", "idAutoriteConcedante"},
    "unknown-label": {"procedure"},
    "lost-accents": {"procedure"},
    "date-in-words": {"dateNotification", "dateSignature"},
    "absurd-year": {"dateNotification", "dateSignature"},
    "null-winners": {"titulaires", "concessionnaires"},
    "test-record": {"id", "source", "montant", "valeurGlobale"},
}


@pytest.fixture(scope="module")
def damaged() -> list[Made]:
    return [
        *generate(1500, 7, *YEAR, faulty=1),
        *generate(1500, 8, date(2022, 1, 1), date(2022, 12, 31), faulty=1),
    ]


def test_damages_change_what_they_say(damaged):
    seen = set()
    for made in damaged:
        true, told = flat(row_of(made.record, made.type, "R")), flat(made.served.row)
        changed = {name for name in {*true, *told} if true.get(name) != told.get(name)}
        assert changed - {"referenceUnique", "_type"} <= CHANGED[made.damage]
        assert changed & CHANGED[made.damage]
        seen.add((made.damage, made.type, made.regime))
    assert seen == {(d, t, r) for d in DAMAGES for t in ContractType for r in Regime}


@pytest.mark.slow
def test_damages_cannot_be_repaired(damaged):
    """Mapping, schema or a rule of the State refuses each of them."""
    names = load_field_names()
    for made in damaged:
        mapped = map_row(made.served.row, names)
        assert (
            mapped.problems
            or problems(mapped.record, mapped.type, mapped.regime)
            or check(mapped.record, mapped.type, mapped.regime, day=AFTER).errors
        ), made


def test_repairs_see_through_the_traps():
    """The record comes back from each disguise, and from rows without one."""
    names = load_field_names()
    made = [
        *generate(1500, 9, *YEAR, faulty=0, trapped=0.9),
        *generate(1500, 10, date(2022, 1, 1), date(2022, 12, 31), faulty=0, trapped=0.9),
    ]
    for one in made:
        mapped = map_row(one.served.row, names)
        assert (mapped.type, mapped.regime, mapped.problems) == (one.type, one.regime, ())
        assert mapped.record == one.record, one.trap
    assert {one.trap for one in made} == {None, *TRAPS}
