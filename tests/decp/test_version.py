"""Ranks, fingerprints and merging of versions."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.version import Rank, fingerprint, merge, rank

MP, CC = ContractType.MARCHE, ContractType.CONCESSION
R2019, R2022 = Regime.R2019, Regime.R2022
KINDS = [(type, regime) for type in ContractType for regime in Regime]


def modification(number: int, day: str = "2024-05-01", **more: Any) -> dict[str, Any]:
    return {
        "modification": {
            "id": number,
            "dateNotificationModification": day,
            "datePublicationDonneesModification": day,
            **more,
        }
    }


def old_modification(day: str, objet: str, **more: Any) -> dict[str, Any]:
    return {
        "dateNotificationModification": day,
        "datePublicationDonneesModification": day,
        "objetModification": objet,
        **more,
    }


def act(number: int, day: str = "2024-06-01") -> dict[str, Any]:
    return {"acteSousTraitance": {"id": number, "datePublicationDonnees": day}}


def modified_act(number: int, day: str) -> dict[str, Any]:
    return {
        "modificationActeSousTraitance": {
            "id": number,
            "dateNotificationModificationSousTraitance": day,
            "datePublicationDonnees": day,
        }
    }


def year(day: str, spent: int = 1) -> dict[str, Any]:
    return {
        "donneesAnnuelles": {
            "datePublicationDonneesExecution": day,
            "depensesInvestissement": spent,
        }
    }


def old_year(day: str) -> dict[str, Any]:
    return year(day)["donneesAnnuelles"]


PUBLISHED = {"datePublicationDonnees": "2024-03-05"}


@pytest.mark.parametrize(
    ("type", "regime", "record", "expected"),
    [
        (MP, R2022, {}, Rank(0, "")),
        (MP, R2022, PUBLISHED, Rank(0, "2024-03-05")),
        (MP, R2022, PUBLISHED | {"modifications": [modification(1)]}, Rank(1, "2024-05-01")),
        (
            MP,
            R2022,
            PUBLISHED
            | {
                "modifications": [modification(1), modification(2, "2024-07-01")],
                "actesSousTraitance": [act(1, "2024-08-01")],
                "modificationsActesSousTraitance": [modified_act(1, "2024-09-01")],
            },
            Rank(4, "2024-09-01"),
        ),
        # A concession has no acts; what is not of the format is not counted.
        (CC, R2022, PUBLISHED | {"actesSousTraitance": [act(1)]}, Rank(0, "2024-03-05")),
        (
            CC,
            R2022,
            PUBLISHED | {"donneesExecution": [year("2025-03-01")], "modifications": []},
            Rank(1, "2025-03-01"),
        ),
        (
            CC,
            R2019,
            PUBLISHED | {"donneesExecution": [old_year("2025-03-01"), old_year("2024-03-01")]},
            Rank(2, "2025-03-01"),
        ),
        (
            MP,
            R2019,
            # A zone after the date is valid in 1.5.0.
            {
                "datePublicationDonnees": "2018-12-31+01:00",
                "modifications": [old_modification("2018-02-01", "x")],
            },
            Rank(1, "2018-12-31"),
        ),
        # The schema lets entries pass that are not objects.
        (
            MP,
            R2022,
            PUBLISHED | {"modifications": ["x", {"modification": 3}]},
            Rank(2, "2024-03-05"),
        ),
    ],
)
def test_rank(type: ContractType, regime: Regime, record: dict[str, Any], expected: Rank) -> None:
    assert rank(record, type, regime) == expected


def test_rank_order() -> None:
    assert Rank(0, "") < Rank(0, "2024-01-01") < Rank(0, "2024-01-02") < Rank(1, "2019-01-01")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=5)
    # Beyond 2**53 a float is not one integer any more: such amounts are not compared as equal.
    | st.floats(-(2.0**53), 2.0**53),
    lambda children: (
        st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.text(max_size=5), JSON, max_size=5)


def canonical(value: Any) -> str:
    """What the fingerprint stands for, by other means."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{k!r}:{canonical(value[k])}" for k in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return repr(value)


@given(OBJECTS, OBJECTS)
def test_fingerprint_tells_values_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (canonical(one) == canonical(other))


@given(OBJECTS, st.randoms(use_true_random=False))
def test_fingerprint_knows_no_order_and_no_point(record: dict[str, Any], random: Any) -> None:
    def shaken(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shaken(value[key]) for key in keys}
        if isinstance(value, list):
            return [shaken(item) for item in value]
        if isinstance(value, int) and not isinstance(value, bool) and random.random() < 0.5:
            return float(value)
        return value

    assert fingerprint(shaken(record)) == fingerprint(record)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"montant": 1200.0}, {"montant": 1200}, True),
        ({"montant": 1e3}, {"montant": 1000}, True),
        ({"montant": 1e16}, {"montant": 10.0**16}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"montant": 1200.5}, {"montant": 1200}, False),
        ({"objet": "lot 1.0"}, {"objet": "lot 1"}, False),
        ({"objet": "2e étage"}, {"objet": "2e Étage"}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": None}, {}, False),
        ({"a": ["x", "y"]}, {"a": ["y", "x"]}, False),
    ],
)
def test_fingerprint(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert (fingerprint(one) == fingerprint(other)) is same


def test_fingerprint_is_stable() -> None:
    """It is kept in stores: if this fails, every stored record looks changed."""
    record = {"objet": "Réfection", "montant": 1.5, "dureeMois": 12.0, "titulaires": []}
    assert fingerprint(record).hex() == "6a8bee4132293e05e39c4f2c6534b8f0"


@pytest.mark.parametrize(
    ("type", "regime", "old", "new", "expected"),
    [
        (MP, R2022, {}, {}, {}),
        # The fields are the newer one's, also those that it has no more.
        (MP, R2022, {"objet": "a", "ccag": "x"}, {"objet": "b"}, {"objet": "b"}),
        (
            MP,
            R2022,
            {"modifications": [modification(1), modification(3)]},
            {"modifications": [modification(2)]},
            {"modifications": [modification(1), modification(2), modification(3)]},
        ),
        # Of one id, the newer entry stands; ids are sorted as numbers.
        (
            MP,
            R2022,
            {"modifications": [modification(10, montant=1), modification(9)]},
            {"modifications": [modification(10, montant=2)]},
            {"modifications": [modification(9), modification(10, montant=2)]},
        ),
        (MP, R2022, {"modifications": [modification(1)]}, {}, {"modifications": [modification(1)]}),
        # Nothing is lacking: the newer one's order is left alone.
        (
            MP,
            R2022,
            {"modifications": [modification(1)]},
            {"modifications": [modification(2), modification(1)]},
            {"modifications": [modification(2), modification(1)]},
        ),
        (
            MP,
            R2022,
            {
                "actesSousTraitance": [act(1)],
                "modificationsActesSousTraitance": [modified_act(1, "2024-07-01")],
            },
            {
                "actesSousTraitance": [act(2)],
                "modificationsActesSousTraitance": [modified_act(1, "2024-06-15")],
            },
            {
                "actesSousTraitance": [act(1), act(2)],
                # One act modified twice.
                "modificationsActesSousTraitance": [
                    modified_act(1, "2024-06-15"),
                    modified_act(1, "2024-07-01"),
                ],
            },
        ),
        (
            CC,
            R2022,
            {"donneesExecution": [year("2024-01-01"), year("2025-01-01", 5)]},
            {"donneesExecution": [year("2025-01-01", 6), year("2026-01-01")]},
            {
                "donneesExecution": [
                    year("2024-01-01"),
                    year("2025-01-01", 6),
                    year("2026-01-01"),
                ]
            },
        ),
        (
            MP,
            R2019,
            {
                "modifications": [
                    old_modification("2019-02-01", "durée", dureeMois=3),
                    old_modification("2019-01-01", "montant"),
                ]
            },
            {
                "modifications": [
                    old_modification("2019-02-01", "durée", dureeMois=4),
                    old_modification("2019-02-01", "titulaire"),
                ]
            },
            {
                "modifications": [
                    old_modification("2019-01-01", "montant"),
                    old_modification("2019-02-01", "durée", dureeMois=4),
                    old_modification("2019-02-01", "titulaire"),
                ]
            },
        ),
        (
            CC,
            R2019,
            {"modifications": [], "donneesExecution": [old_year("2019-01-01")]},
            {"modifications": []},
            {"modifications": [], "donneesExecution": [old_year("2019-01-01")]},
        ),
        # Odd entries that the schema lets pass do not disturb.
        (
            MP,
            R2022,
            {"modifications": ["x", {"modification": {"id": "1"}}]},
            {"modifications": [modification(1)]},
            {"modifications": ["x", modification(1), {"modification": {"id": "1"}}]},
        ),
    ],
)
def test_merge(
    type: ContractType,
    regime: Regime,
    old: dict[str, Any],
    new: dict[str, Any],
    expected: dict[str, Any],
) -> None:
    before = copy.deepcopy((old, new))
    assert merge(old, new, type, regime) == expected
    assert (old, new) == before


ENTRIES = st.lists(
    st.tuples(st.integers(1, 6), st.integers(0, 2)), unique_by=lambda entry: entry[0], max_size=4
)


@given(ENTRIES, ENTRIES)
def test_merge_loses_no_modification(old: list[Any], new: list[Any]) -> None:
    def record(entries: list[Any]) -> dict[str, Any]:
        return {"modifications": [modification(id, montant=amount) for id, amount in entries]}

    merged = merge(record(old), record(new), MP, R2022)
    expected = dict(old) | dict(new)
    got = {
        entry["modification"]["id"]: entry["modification"]["montant"]
        for entry in merged["modifications"]
    }
    assert got == expected
    assert len(merged["modifications"]) == len(expected)
    assert merge(record(new), merged, MP, R2022) is merged
    assert merge(record(old), merged, MP, R2022) is merged


@pytest.mark.parametrize(("type", "regime"), KINDS)
def test_merge_with_itself(type: ContractType, regime: Regime, shared: Path) -> None:
    """Every official example, merged with itself, stays as it is."""
    version = {R2019: "1.5.0", R2022: "2.0.4"}[regime]
    found = 0
    for path in sorted((shared / "official" / version / "examples" / "json").glob("*.json")):
        marches = json.loads(path.read_text(encoding="utf-8"))["marches"]
        if regime is R2022:
            records = marches.get({MP: "marche", CC: "contrat-concession"}[type], [])
        else:
            records = [r for r in marches if ("acheteur" in r) is (type is MP)]
        for record in records:
            found += 1
            assert merge(record, record, type, regime) is record
            assert rank(record, type, regime).latest == max(
                value[:10] for name, value in _pairs(record) if name.startswith("datePublication")
            )
    assert found


def _pairs(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [pair for k, v in value.items() for pair in [(k, v), *_pairs(v)]]
    if isinstance(value, list):
        return [pair for item in value for pair in _pairs(item)]
    return []
