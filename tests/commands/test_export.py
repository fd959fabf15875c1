"""``scrapy export`` from a store of golden records, the files read back."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from crawling import ROOT
from logs import check

from dume_spider.decp.reading import read_records
from dume_spider.decp.verification import verify_file
from dume_spider.spiders.base import today
from dume_spider.store.doors import Door
from dume_spider.store.publications import Publication, Publications
from dume_spider.store.store import Store

GOLDEN = ROOT / "tests" / "decp" / "golden"
BUYER, OTHER = "21690123100011", "21350238800019"


@pytest.fixture
def export(url: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, store: str = url) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "scrapy", "export", *arguments]
        done = subprocess.run(
            [*command, "-s", f"DECP_STORE_URL={store}", "--folder", str(tmp_path / "out")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        check(done.stderr)
        return done

    return run


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "out").iterdir())


def ids(folder: Path, pattern: str) -> list[str]:
    return [r.record["id"] for path in sorted(folder.glob(pattern)) for r in read_records(path)]


@pytest.mark.slow
def test_all_formats(export: Callable, tmp_path: Path) -> None:
    done = export("--format", "json,xml,csv")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"8 contracts in 9 files in {tmp_path / 'out'}\n"
    decp = [
        f"DECP-{siret}-{today()}-{number}.{suffix}"
        for siret in (OTHER, BUYER)
        for number in ("01", "02")
        for suffix in ("json", "xml")
    ]
    assert names(tmp_path) == [*decp, f"decp-{today()}-01.csv"]
    golden = ids(GOLDEN, "*.json")
    assert sorted(ids(tmp_path / "out", "*.json")) == sorted(golden)
    assert sorted(ids(tmp_path / "out", "*.xml")) == sorted(golden)
    for path in (tmp_path / "out").glob("DECP*"):
        verdict = verify_file(path, day=today())
        assert not verdict.problem
        # The golden records break two rules on purpose, and no schema.
        assert {rule for _, rule in verdict.errors} <= {"montant-max", "date-years"}
    with (tmp_path / "out" / f"decp-{today()}-01.csv").open(encoding="utf-8", newline="") as file:
        lines = [(line["id"], line["titulaire_id"]) for line in csv.DictReader(file)]
    assert len(lines) == 12
    assert {id for id, _ in lines} == set(golden)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--regime", "2019", "--buyer", BUYER], {"2019000111202", "2019000111300"}),
        (["--since", "2024-04-12", "--until", "2024-04-12"], {"DSP-9", "DSP-10"}),
        (["--run", "run-2022", "--until", "2024-12-31"], {"DSP-9", "DSP-10"}),
    ],
)
def test_filters(
    export: Callable, tmp_path: Path, arguments: list[str], expected: set[str]
) -> None:
    assert export(*arguments).returncode == 0
    assert set(ids(tmp_path / "out", "*.json")) == expected


def test_nothing_is_overwritten_and_the_store_stays(export: Callable, tmp_path: Path) -> None:
    for _ in range(2):
        assert export("--run", "run-2022", "--format", "json,csv").returncode == 0
    assert len(names(tmp_path)) == 6
    store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    assert store.counts_of("run-2022").owed == 4
    store.close()


def test_plateforme(export: Callable, tmp_path: Path) -> None:
    done = export("--structure", "plateforme", "-s", f"DECP_PLATFORM_SIRET={BUYER}")
    assert done.returncode == 0
    first, second = (tmp_path / "out" / name for name in names(tmp_path))
    assert [r["id"] for r in json.loads(first.read_text(encoding="utf-8"))["marches"]] == [
        "2019000111202",
        "2019000111300",
        "200103452112",
        "200103452113",
    ]
    assert json.loads(second.read_text(encoding="utf-8"))["marches"].keys() == {
        "marche",
        "contrat-concession",
    }


def test_parquet(export: Callable, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow")
    assert export("--format", "parquet").returncode == 0
    (name,) = names(tmp_path)
    assert parquet.read_table(tmp_path / "out" / name).num_rows == 12


def test_nothing_to_export_is_said(export: Callable, tmp_path: Path) -> None:
    done = export("--since", "2030-01-01")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Nothing to export: the store holds no such contract\n"
    done = export("--source", "boamp")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == "Nothing to export: the store holds no such notice\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "status", "line"),
    [
        (["--run", "nope"], 1, "scrapy export: [DECP-02] the store "),
        (
            ["--structure", "plateforme"],
            1,
            "scrapy export: [DECP-01] DECP_PLATFORM_SIRET='': not a SIRET",
        ),
        (["--format", "json,pdf"], 2, "__main__.py: error: argument --format: 'pdf': not a "),
        (["--buyer", "123"], 2, "__main__.py: error: argument --buyer: '123': not a SIRET; "),
        (["--since", "1/1/26"], 2, "__main__.py: error: argument --since: '1/1/26': not a d"),
        (
            ["--since", "2026-02-01", "--until", "2026-01-31"],
            2,
            "__main__.py: error: --until 2026-01-31 is before --since 2026-02-01",
        ),
    ],
)
def test_errors_are_one_line(
    export: Callable, arguments: list[str], status: int, line: str
) -> None:
    done = export(*arguments)
    assert done.returncode == status
    assert "Traceback" not in done.stderr
    assert (done.stderr or done.stdout).splitlines()[-1].startswith(line), done.stderr


def test_a_folder_that_cannot_be_made(export: Callable, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    done = export()
    assert done.returncode == 1
    assert done.stderr.startswith("scrapy export: [DECP-03] File exists: ")
    assert done.stderr.count("\n") == 1


def test_a_missing_store_is_not_made(export: Callable, tmp_path: Path) -> None:
    done = export(store=f"sqlite:///{tmp_path / 'none.sqlite'}")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert not (tmp_path / "none.sqlite").exists()


def test_help_has_an_example(export: Callable) -> None:
    assert "Example: scrapy export --since" in " ".join(export("--help").stdout.split())


def test_published_numbers_are_not_given_again(url: str, export: Callable, tmp_path: Path) -> None:
    """Published, a file of the same name would take the place of the first."""
    store = Store(url)
    store.begin_run("publish", "publish", {}, datetime(2026, 3, 1, tzinfo=UTC))
    published = Publication(f"DECP-{BUYER}-{today()}-04.json", "0" * 40, 1, "d", "r", "u")
    Publications(store, "https://www.data.gouv.fr/api/1").note("publish", published, Door.NEW)
    store.close()
    assert export("--buyer", BUYER, "--regime", "2022").returncode == 0
    assert names(tmp_path) == [f"DECP-{BUYER}-{today()}-05.json"]
