"""``scrapy report`` as a person runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from crawling import ROOT
from logs import check

from dume_spider.commands.report import report
from dume_spider.decp.reading import read_records
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import OutputError, StoreError
from dume_spider.spiders.base import today
from dume_spider.store.store import Candidate, Store

GOLDEN = ROOT / "tests" / "decp" / "golden"

#: The command, and what it takes: seconds and the most memory of the process in kB.
_MEASURED = """
import resource, sys
from scrapy.cmdline import execute
try:
    execute(["scrapy", "report", *sys.argv[1:]])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@pytest.fixture
def scrapy_report(url: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(
        *arguments: str, store: str = url, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "scrapy", "report", *arguments]
        done = subprocess.run(
            [*command, "-s", f"DECP_STORE_URL={store}", "--folder", str(tmp_path / "out")],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=os.environ | environment,
        )
        check(done.stderr)
        return done

    return run


def contracts(page: Path) -> int:
    """The first figure of a report."""
    text = page.read_text(encoding="utf-8")
    return int(text.partition("<dt>contracts</dt><dd>")[2].partition("<")[0])


@pytest.mark.slow
def test_reports_follow_each_other(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    pages = [folder / f"report-{today()}-{number}.html" for number in ("01", "02", "03")]
    choices = [(None, ""), (None, "run-2022"), (date(2024, 4, 13), "")]
    for page, (since, run), expected in zip(pages, choices, (8, 4, 2), strict=True):
        assert report(url, folder, since, run) == page
        assert contracts(page) == expected
    assert sorted(folder.iterdir()) == pages


def test_open_it(scrapy_report: Callable, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n', encoding="utf-8")
    browser.chmod(0o755)
    done = scrapy_report("--open", "--since", "2024-04-13", BROWSER=f"{browser} %s")
    page = tmp_path / "out" / f"report-{today()}-01.html"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Report: {page}\n", "")
    assert (tmp_path / "opened").read_text(encoding="utf-8").strip() == page.as_uri()
    assert contracts(page) == 2


def test_an_error_is_one_line(scrapy_report: Callable, tmp_path: Path) -> None:
    done = scrapy_report("--run", "nobody")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"scrapy report: [DECP-02] the store {tmp_path / 'store.sqlite'} knows no run 'nobody'; "
        "runs are named as their folders in DECP_RUNS_DIR\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--since", "yesterday"], "'yesterday': not a date; accepted: YYYY-MM-DD"),
        (["more"], "unknown argument: more (see --help)"),
    ],
)
def test_a_bad_argument_is_one_line(
    scrapy_report: Callable, arguments: list[str], message: str
) -> None:
    done = scrapy_report(*arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_store_and_no_room(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    with pytest.raises(StoreError, match="there is no store "):
        report(f"sqlite:///{tmp_path / 'none.sqlite'}", folder, None, "")
    assert not folder.exists()
    folder.write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match=f"File exists: {folder}"):
        report(url, folder, None, "")


@pytest.mark.slow
def test_200_000_records_in_500_mb(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    store = Store(url)
    store.begin_run("run", "dume", {}, datetime(2026, 3, 1, tzinfo=UTC))
    (found, *_) = (r for r in read_records(GOLDEN / "2022.json") if r.type is ContractType.MARCHE)
    for first in range(0, 200_000, 1000):
        candidates = []
        for number in range(first, first + 1000):
            record = found.record | {
                "id": str(number),
                "acheteur": {"id": f"{number % 20_000:014}"},
                "titulaires": [{"titulaire": {"id": f"{number:014}", "typeIdentifiant": "SIRET"}}],
                "montant": 100 + number,
                "datePublicationDonnees": f"2026-{number % 12 + 1:02}-{number % 28 + 1:02}",
            }
            candidates.append(
                Candidate.of("dume", f"r{number}", found.type, Regime.R2022, record, b"{}")
            )
        store.save("run", candidates)
    store.close()
    done = subprocess.run(
        [sys.executable, "-c", _MEASURED, "-s", f"DECP_STORE_URL={url}"]
        + ["--folder", str(tmp_path / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (page,) = (tmp_path / "out").iterdir()
    assert "<dt>contracts</dt><dd>200,000<" in page.read_text(encoding="utf-8")
    assert int(done.stderr) < 500_000
    assert page.stat().st_size < 5_000_000
