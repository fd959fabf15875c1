from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from crawling import ROOT


def test_demo_harvests_a_month_and_says_where_everything_lies(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scrapy", "demo", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    places = dict(
        re.findall(r"^(DECP files|rejected rows|run summary|log) +(.+)$", done.stdout, re.M)
    )
    assert set(places) == {"DECP files", "rejected rows", "run summary", "log"}
    assert all(Path(place).exists() for place in places.values())
    summary = json.loads(Path(places["run summary"]).read_text(encoding="utf-8"))
    counts = summary["counts"]
    assert summary["status"] == "complete"
    assert summary["balanced"]
    assert counts["references"] == 1000
    assert counts["written"] > 900
    files = sorted(path.name for path in Path(places["DECP files"]).iterdir())
    assert files == sorted(file["name"] for file in summary["files"])
    assert {Path(name).suffix for name in files} == {".json", ".xml"}
    assert len(Path(places["rejected rows"]).read_bytes().splitlines()) == counts["rejected"]
    shown = " ".join(done.stdout.split())
    assert "every search is proven to hold nothing more" in shown
    assert f"{counts['written']:,}" in done.stdout
    assert f"{summary['requests']['detail']:,} details" in shown


def test_help_has_an_example() -> None:
    for command in ("demo", "crawl", "sandbox"):
        done = subprocess.run(
            [sys.executable, "-m", "scrapy", command, "--help"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert f"xample: scrapy {command}" in " ".join(done.stdout.split())
