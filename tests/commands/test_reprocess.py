"""``scrapy reprocess`` on stores that real crawls have filled."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from crawling import ROOT, Crawl, lines
from logs import check

from dume_spider.decp.reading import read_records
from dume_spider.decp.regime import ContractType
from dume_spider.reprocessing import ReprocessSpider
from dume_spider.sandbox.rows import row_of
from dume_spider.store.reading import StoreReader
from dume_spider.store.store import Candidate, Rejection, Store

GOLDEN = ROOT / "tests" / "decp" / "golden" / "2022.json"
DAY = {"date": "2026-03-02"}


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A row whose record is valid."""
    record = json.loads(GOLDEN.read_text(encoding="utf-8"))["marches"]["marche"][1]
    record |= {"id": f"2025-{number}", **changes}
    return row_of(record, ContractType.MARCHE, f"AIFEDUME-{number:08}")


@pytest.fixture
def harvest(serve: Callable[..., str], crawl: Callable[..., Crawl]) -> Callable[..., Crawl]:
    """Crawl a service that serves the given rows."""

    def run(*rows: dict[str, Any], **settings: str) -> Crawl:
        def service(asked: dict[str, Any]) -> tuple[int, bytes]:
            reference = asked.get("referenceUnique")
            found = [r for r in rows if reference in (None, r.get("referenceUnique"))]
            body = {"response": {"messageList": None, "donneesEssentielles": found}}
            return 200, json.dumps(body).encode()

        return crawl(serve(service), DAY | {"type_de": "MP"}, settings)

    return run


@pytest.fixture
def reprocess(tmp_path: Path) -> Callable[..., Crawl]:
    """Run ``scrapy reprocess`` on the store of the crawls; no service is there to be asked."""

    def run(*arguments: str, **settings: str) -> Crawl:
        given = {
            "DUME_API_URL": "http://127.0.0.1:9/none",
            "DECP_FILES_URI": str(tmp_path / "decp"),
            "DECP_STORE_URL": f"sqlite:///{tmp_path / 'store.sqlite'}",
            "DECP_RUNS_DIR": str(tmp_path / "runs"),
        }
        command = [sys.executable, "-W", "error", "-m", "scrapy", "reprocess", *arguments]
        for name, value in (given | settings).items():
            command += ["-s", f"{name}={value}"]
        before = set((tmp_path / "runs").glob("*"))
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=120,
        )
        check(done.stdout)
        new = set((tmp_path / "runs").glob("*")) - before
        return Crawl(done.returncode, done.stdout, tmp_path, new.pop() if new else None)

    return run


def doors(crawl: Crawl) -> dict[str, int]:
    """The counts that are not zero."""
    assert crawl.summary["balanced"]
    return {door: count for door, count in crawl.counts.items() if count}


@pytest.mark.slow
def test_rows_of_a_sandbox_stay_as_they_are(
    start_sandbox: Callable[..., Any], crawl: Callable[..., Crawl], reprocess: Callable[..., Crawl]
) -> None:
    sandbox = start_sandbox("--records", 650, "--from", "2026-03-01", "--to", "2026-03-20")
    harvested = crawl(sandbox.url, {"date_start": "2026-03-01", "date_end": "2026-03-20"})
    again = reprocess("--all")
    assert (again.status, again.summary["status"]) == (0, "complete"), again.output
    counts = harvested.counts
    assert counts["written"] > 500  # more than a page
    assert doors(again) == {
        "rows": counts["written"] + counts["rejected"],
        "references": again.counts["references"],
        "unchanged": counts["written"],
        "rejected": counts["rejected"],
    }
    assert again.summary["requests"] == {"search": 0, "detail": 0, "retried": 0}
    assert again.summary["files"] == []


@pytest.mark.slow
def test_a_better_field_map_accepts_what_was_rejected(
    harvest: Callable[..., Crawl], reprocess: Callable[..., Crawl], tmp_path: Path
) -> None:
    rows = [row(number) for number in range(3)]
    for number in (1, 2):
        rows[number]["donneesMP"]["cahierDesClauses"] = rows[number]["donneesMP"].pop("ccag")
    first = harvest(*rows)
    assert doors(first) == {"rows": 3, "references": 3, "new": 1, "rejected": 2, "written": 1}

    names = tmp_path / "names.toml"
    names.write_text('[MP]\nccag = ["cahierDesClauses"]\n', encoding="utf-8")
    feed = tmp_path / "feed.jsonl"
    done = reprocess("--rejected", "-O", str(feed), DUME_FIELD_MAP=str(names))
    assert done.status == 0, done.output
    assert doors(done) == {"rows": 2, "references": 2, "new": 2, "written": 2}
    assert done.summary["arguments"] == {"rows": "rejected"}
    assert sorted(item["record"]["id"] for item in lines(feed)) == ["2025-1", "2025-2"]
    (file,) = done.summary["files"]
    written = json.loads((tmp_path / "decp" / file["name"]).read_text(encoding="utf-8"))
    assert [r["id"] for r in written["marches"]["marche"]] == ["2025-1", "2025-2"]

    nothing = reprocess("--rejected", DUME_FIELD_MAP=str(names))
    assert (nothing.status, nothing.run) == (0, None)
    assert nothing.output.endswith("scrapy reprocess: the store has no such rows\n")


@pytest.mark.slow
def test_a_row_without_a_known_reference_is_closed_too(
    harvest: Callable[..., Crawl], reprocess: Callable[..., Crawl], tmp_path: Path
) -> None:
    nameless = row(1)
    nameless["cleNouvelle"] = nameless.pop("referenceUnique")
    assert doors(harvest(row(0), nameless))["rejected"] == 1
    names = tmp_path / "names.toml"
    names.write_text('[row]\nreference = ["cleNouvelle"]\n', encoding="utf-8")
    assert doors(reprocess("--rejected", DUME_FIELD_MAP=str(names)))["new"] == 1
    reader = StoreReader(f"sqlite:///{tmp_path / 'store.sqlite'}")
    assert list(reader.rejected_rows("dume")) == []
    reader.close()


@pytest.mark.slow
def test_a_record_that_changes_is_updated(
    harvest: Callable[..., Crawl], reprocess: Callable[..., Crawl], tmp_path: Path
) -> None:
    changed = row(1)
    del changed["donneesMP"]["idAccordCadre"]
    changed["donneesMP"]["accordCadreLie"] = "2024-AC-9"
    assert doors(harvest(row(0), changed))["new"] == 2
    names = tmp_path / "names.toml"
    names.write_text('[MP]\nidAccordCadre = ["accordCadreLie"]\n', encoding="utf-8")
    done = reprocess("--all", DUME_FIELD_MAP=str(names))
    assert doors(done) == {"rows": 2, "references": 2, "updated": 1, "unchanged": 1, "written": 1}
    (file,) = done.summary["files"]
    assert file["name"].endswith("-02.json")
    written = json.loads((tmp_path / "decp" / file["name"]).read_text(encoding="utf-8"))
    (record,) = written["marches"]["marche"]
    assert record["idAccordCadre"] == "2024-AC-9"


@pytest.mark.slow
def test_only_the_current_version_is_processed(
    harvest: Callable[..., Crawl], reprocess: Callable[..., Crawl]
) -> None:
    # A correction without a new date: nothing but the order of arrival tells the newer one.
    for montant in (100_000, 300_000, 200_000):
        harvest(row(0, montant=montant))
    assert doors(reprocess("--all")) == {"rows": 1, "references": 1, "unchanged": 1}


@pytest.mark.slow
def test_rows_of_a_run(harvest: Callable[..., Crawl], reprocess: Callable[..., Crawl]) -> None:
    bad = row(3, montant=0)
    first = harvest(row(0), row(1), bad)
    harvest(row(1, montant=200_000), row(2))
    done = reprocess("--run", first.run.name)
    assert doors(done) == {"rows": 2, "references": 2, "unchanged": 1, "rejected": 1}
    rejected = reprocess("--rejected", "--run", first.run.name)
    assert rejected.run is None  # the run before was the last to meet it
    unknown = reprocess("--run", "nope")
    assert (unknown.status, unknown.run) == (1, None)
    assert "knows no run 'nope'" in unknown.output.splitlines()[-1]


@pytest.mark.slow
def test_stricter_rules_reject_and_keep_what_is_published(
    harvest: Callable[..., Crawl], reprocess: Callable[..., Crawl]
) -> None:
    harvest(row(0, objet="<b>Travaux</b> du pont"))
    done = reprocess("--all", DECP_RULES='{"text-html": "error"}')
    assert (done.status, doors(done)) == (0, {"rows": 1, "references": 1, "rejected": 1})
    assert [line["errors"][0]["rule"] for line in done.rejected] == ["text-html"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "settings", "status", "line"),
    [
        (["--all"], {}, 1, "scrapy reprocess: [DECP-02] there is no store "),
        (
            ["--all"],
            {"DECP_RULES": "x"},
            1,
            "scrapy reprocess: [DECP-01] DECP_RULES='x': not a JSON obj",
        ),
        (
            ["--all"],
            {"DECP_FORMATS": "pdf"},
            1,
            "scrapy reprocess: [DECP-01] DECP_FORMATS='pdf': not kn",
        ),
        (["--all"], {"DUME_FIELD_MAP": "none.toml"}, 1, "scrapy reprocess: "),
        ([], {}, 2, "__main__.py: error: which rows? give --all, --rejected or --run RUN"),
        (["--all", "--rejected"], {}, 2, "__main__.py: error: --all does not go with"),
        (["--all", "x"], {}, 2, "__main__.py: error: unknown argument: x (see --help)"),
    ],
)
def test_what_cannot_start_is_one_line(
    reprocess: Callable[..., Crawl],
    arguments: list[str],
    settings: dict[str, str],
    status: int,
    line: str,
) -> None:
    done = reprocess(*arguments, **settings)
    assert (done.status, done.run) == (status, None)
    assert done.output.splitlines()[-1].startswith(line), done.output
    assert "Traceback" not in done.output


def test_help_has_an_example(reprocess: Callable[..., Crawl]) -> None:
    done = reprocess("--help")
    assert "Example: scrapy reprocess --rejected" in " ".join(done.output.split())


def test_a_row_that_is_rejected_meanwhile_is_not_taken_again(tmp_path: Path) -> None:
    """The pipelines may be done with the accepted rows before the rejected ones are read."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    store = Store(url)
    store.begin_run("run", "dume", {}, datetime(2026, 3, 2, tzinfo=UTC))
    record = next(read_records(GOLDEN))
    raw = b'{"referenceUnique":"R"}'
    store.save(
        "run",
        [Candidate.of("dume", "R", record.type, record.regime, record.record, raw)],
    )
    store.reject("run", [Rejection("dume", "S", None, None, [], b"{}")])
    spider = ReprocessSpider()
    spider.values = {"rows": "all"}
    with closing(StoreReader(url)) as reader:
        rows = spider.rows(reader)
        assert next(rows).raw == raw
        store.reject("run", [Rejection("dume", "R", None, None, [], raw)])
        assert [row.raw for row in rows] == [b"{}"]
    store.close()
