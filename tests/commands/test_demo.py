from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from crawling import ROOT, lines
from logs import check


@pytest.mark.slow
def test_demo_tells_the_whole_story_and_where_everything_lies(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scrapy", "demo", "--folder", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    names = ("DECP files", "rejected rows", "run summary", "award notices", "report", "logs")
    places = dict(re.findall(rf"^({'|'.join(names)}) +(/.+)$", done.stdout, re.M))
    assert tuple(places) == names
    assert all(Path(place).exists() for place in places.values())
    for log in Path(places["logs"]).glob("*.log"):
        check(log.read_text(encoding="utf-8"))
    shown = " ".join(done.stdout.split())

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
    assert "every search is proven to hold nothing more" in shown
    assert f"{counts['written']:,}" in shown
    assert f"{summary['requests']['detail']:,} details" in shown

    notices = lines(Path(places["award notices"]))
    awards = [award for notice in notices for award in notice["awards"]]
    assert {notice["dateparution"] for notice in notices} == {"2026-03-10"}
    assert f"{len(notices):,} │ 0 rejected" in shown
    assert f"awards in them │ {len(awards):,} │" in shown

    # What the report compares: the notices are of buyers that contracts are of.
    sirets = {
        identifier["value"]
        for award in awards
        for buyer in award["buyers"]
        for identifier in buyer["identifiers"]
    }
    written = "".join(
        path.read_text(encoding="utf-8") for path in Path(places["DECP files"]).glob("*.json")
    )
    shared = {siret for siret in sirets if siret in written}
    assert shared
    assert sirets - shared

    (published,) = Path(places["logs"]).glob("runs/publish-*/summary.json")
    done_there = json.loads(published.read_text(encoding="utf-8"))["published"]
    assert sorted(each["file"] for each in done_there if each["action"] == "uploaded") == files
    assert "all is there, read back and compared" in shown
    assert all(name in shown for name in files)


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("given", "status", "line"),
    [
        (["--folder", "{}/file/sub"], 1, r"scrapy demo: \[DECP-03\] Not a directory: .*"),
        (["folder"], 2, r".*: error: unknown argument: folder \(see --help\)"),
    ],
)
def test_what_it_cannot_do_is_one_line(
    tmp_path: Path, given: list[str], status: int, line: str
) -> None:
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "scrapy", "demo", *(part.format(tmp_path) for part in given)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == status
    assert re.fullmatch(line, done.stderr.splitlines()[-1])
    assert "Traceback" not in done.stderr
