"""Flat tables: every column of both types and regimes, escaping, files in place."""

from __future__ import annotations

import csv
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from dume_spider.decp import tables
from dume_spider.decp.reading import read_records
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.tables import COLUMNS, Row, TableFiles, flat_rows
from dume_spider.exceptions import OutputError

GOLDEN = Path(__file__).parent / "golden"
DAY = date(2026, 11, 21)


def rows_of(regime: str, number: int) -> list[Row]:
    found = list(read_records(GOLDEN / f"{regime}.json"))[number]
    rows = flat_rows("dume", "R-1", found.type, found.regime, found.record)
    return [{k: v for k, v in row.items() if v is not None} for row in rows]


def test_marche_of_2022() -> None:
    first, second = rows_of("2022", 0)
    assert first == {
        "uid": "216901231000112025-T-017",
        "id": "2025-T-017",
        "source": "dume",
        "reference": "R-1",
        "type": "MP",
        "regime": "2022",
        "nature": "Marché",
        "acheteur_id": "21690123100011",
        "titulaire_id": "35600000000048",
        "titulaire_typeIdentifiant": "SIRET",
        "objet": "Réfection de la toiture « école n° 4 » : lots 1 & 2, pente < 30 %",
        "codeCPV": "45261000",
        "procedure": "Appel d'offres ouvert",
        "dureeMois": 6,
        "dateNotification": "2025-02-03",
        "datePublicationDonnees": "2025-02-10",
        "montant": 1e16,
        "formePrix": "Mixte",
        "typesPrix": "Définitif ferme, Définitif révisable",
        "techniques": "Accord-cadre, Catalogue électronique",
        "modalitesExecution": "Bons de commande",
        "idAccordCadre": "2024-AC-3",
        "marcheInnovant": False,
        "ccag": "Maitrise d'œuvre",
        "offresRecues": 3,
        "attributionAvance": True,
        "tauxAvance": 0.05,
        "typeGroupementOperateurs": "Solidaire",
        "sousTraitanceDeclaree": True,
        "origineUE": 0.5,
        "origineFrance": 1e-7,
        "lieuExecution_code": "69001",
        "lieuExecution_typeCode": "Code postal",
        "considerationsSociales": "Clause sociale, Critère social",
        "considerationsEnvironnementales": "Pas de considération environnementale",
        "modifications": 2,
        "modification_dureeMois": 8,
        "modification_montant": 129999.99,
        "actesSousTraitance": 2,
    }
    other = {"titulaire_id": "CHEXEMPLE", "titulaire_typeIdentifiant": "HORS-UE"}
    assert second == first | other


def test_concession_of_2019() -> None:
    (row,) = rows_of("2019", 2)
    assert row == {
        "uid": "21350238800019200103452112",
        "id": "200103452112",
        "source": "dume",
        "reference": "R-1",
        "type": "CC",
        "regime": "2019",
        "nature": "Concession de travaux",
        "acheteur_id": "21350238800019",
        "acheteur_nom": "Ville d'Exemple",
        "titulaire_id": "35600000000048",
        "titulaire_typeIdentifiant": "SIRET",
        "titulaire_nom": "Ponts B",
        "objet": "Construction et exploitation d'un pont",
        "procedure": "Procédure négociée restreinte",
        "dureeMois": 360,
        "datePublicationDonnees": "2001-02-22",
        "lieuExecution_code": "12145",
        "lieuExecution_typeCode": "Code commune",
        "lieuExecution_nom": "Millau",
        "dateSignature": "2001-02-21",
        "dateDebutExecution": "2001-03-01",
        "valeurGlobale": 27860000,
        "montantSubventionPublique": 2987000.5,
        "modifications": 1,
        "modification_dureeMois": 410,
        "modification_montant": 30000000,
        "actesSousTraitance": 0,
    }


def test_every_column_is_filled_by_some_golden_record() -> None:
    rows = [row for regime in Regime for number in range(4) for row in rows_of(regime, number)]
    assert {name for row in rows for name in row} == {column.name for column in COLUMNS}


def test_the_last_modification_is_told_by_its_id_or_date_not_by_its_place() -> None:
    later = {"id": 2, "montant": 900, "dureeMois": 9}
    earlier = {"id": 1, "montant": 500, "dureeMois": 5}
    record = next(iter(read_records(GOLDEN / "2022.json"))).record
    record["modifications"] = [{"modification": later}, {"modification": earlier}]
    row, *_ = flat_rows("dume", "R", ContractType.MARCHE, Regime.R2022, record)
    assert (row["modification_montant"], row["modification_dureeMois"]) == (900, 9)

    later = {"dateNotificationModification": "2020-10-01", "montant": 900}
    earlier = {"dateNotificationModification": "2020-09-01", "montant": 500, "dureeMois": 5}
    record = next(iter(read_records(GOLDEN / "2019.json"))).record
    record["modifications"] = [later, earlier, "no object"]
    row, *_ = flat_rows("dume", "R", ContractType.MARCHE, Regime.R2019, record)
    assert (row["modification_montant"], row["modification_dureeMois"]) == (900, 5)
    assert row["modifications"] == 2


def test_keys_of_no_format_do_not_enter() -> None:
    record = json.loads((GOLDEN / "2019.json").read_text(encoding="utf-8"))["marches"][0]
    record |= {"titulaire_id": {}, "techniques": ["x"], "source": "y", "uid": "z"}
    record["titulaires"] = ["not an object"]
    record["acheteur"]["nom"] = {"a": 1}
    (row,) = flat_rows("dume", "R", ContractType.MARCHE, Regime.R2019, record)
    assert (row["titulaire_id"], row.get("techniques"), row["source"]) == (None, None, "dume")
    assert (row["uid"], row["acheteur_nom"]) == (row["acheteur_id"] + row["id"], None)


def write(folder: Path, rows: list[Row], *formats: Any) -> list[Path]:
    with TableFiles(folder, DAY, formats) as table:
        for row in rows:
            table.add(row)
        return table.commit()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_formula_is_harmless_in_csv(tmp_path: Path, start: str) -> None:
    objet = f'{start}HYPERLINK("http://x")'
    (path,) = write(tmp_path, [{"objet": objet, "montant": -1.5, "dureeMois": 1}], "csv")
    (line,) = read_csv(path)
    assert (line["objet"], line["montant"], line["dureeMois"]) == (f"'{objet}", "-1.5", "1")


def test_csv_keeps_any_text(tmp_path: Path) -> None:
    texts = ['a "b", c;\nd\r\ne', "é — ’", "1-2", " =x", ""]
    (path,) = write(tmp_path, [{"objet": text} for text in texts], "csv")
    assert [line["objet"] for line in read_csv(path)] == texts


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "decp-2026-11-21-02.parquet").write_bytes(b"mine")
    names = [write(tmp_path, [{}], "csv")[0].name for _ in range(2)]
    assert names == ["decp-2026-11-21-01.csv", "decp-2026-11-21-03.csv"]
    assert len(list(tmp_path.iterdir())) == 3


def test_nothing_is_left_without_commit(tmp_path: Path) -> None:
    with TableFiles(tmp_path, DAY, ("csv",)) as table:
        table.add({"objet": "x"})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(OutputError, match="Parquet needs the package pyarrow: pip install"):
        write(tmp_path, [{}], "csv", "parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch) -> None:
    def full(self, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tables.Part, "write", full)
    with pytest.raises(OutputError, match=r"No space left on device: .*; free some space"):
        write(tmp_path, [{}], "csv")
    assert list(tmp_path.iterdir()) == []


class TestParquet:
    @pytest.fixture(autouse=True)
    def parquet(self):
        pytest.importorskip("pyarrow", reason="needs pyarrow (pip install pyarrow)")
        from pyarrow import parquet

        return parquet

    def test_values_and_types(self, tmp_path: Path, monkeypatch, parquet) -> None:
        monkeypatch.setattr(tables, "ROW_GROUP", 2)
        rows = [row for regime in Regime for n in range(4) for row in rows_of(regime, n)]
        as_csv, path = write(tmp_path, [*rows, {"objet": "=1"}], "csv", "parquet")
        table = parquet.read_table(path)
        assert table.column_names == [column.name for column in COLUMNS]
        found = [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()]
        assert found == [*rows, {"objet": "=1"}]
        assert len(read_csv(as_csv)) == len(rows) + 1
        kinds = {str(table.schema.field(column.name).type): column.kind for column in COLUMNS}
        assert kinds == {
            "string": "text",
            "int64": "integer",
            "double": "number",
            "bool": "boolean",
        }

    def test_a_number_that_does_not_fit(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="the column dureeMois cannot be written as Parq"):
            write(tmp_path, [{"dureeMois": 10**30}], "parquet")
        assert list(tmp_path.iterdir()) == []
