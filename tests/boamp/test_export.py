"""``scrapy export --source boamp``: notices of the store as files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import openpyxl
import orjson
import pytest
from crawling import ROOT
from pyarrow import parquet
from scrapy.cmdline import execute
from scrapy.settings import Settings

from dume_spider.boamp.notice import read_notice
from dume_spider.boamp.tables import NOTICE_COLUMNS, flat_rows
from dume_spider.sandbox.boamp_rows import generate_notices
from dume_spider.store.notices import NoticeRow
from dume_spider.store.store import Store

ROWS = list(generate_notices(30, 1, date(2026, 9, 7), date(2026, 9, 9)))


@pytest.fixture
def export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command on a store with notices; its status and what it says."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    store = Store(url)
    store.begin_run("one", "boamp", {}, datetime(2026, 9, 10, tzinfo=UTC))
    store.save("one", [NoticeRow.of(row["idweb"], row["dateparution"], row) for row in ROWS])
    store.begin_run("two", "boamp", {}, datetime(2026, 9, 11, tzinfo=UTC))
    changed = {**ROWS[0], "objet": "=changed"}
    store.save("two", [NoticeRow.of(changed["idweb"], changed["dateparution"], changed)])
    store.close()
    monkeypatch.chdir(ROOT)

    def run(*options: str) -> tuple[int, str, str]:
        settings = Settings({"COMMANDS_MODULE": "dume_spider.commands", "DECP_STORE_URL": url})
        folder = str(tmp_path / "out")
        command = ["scrapy", "export", "--source", "boamp", "--folder", folder, *options]
        with pytest.raises(SystemExit) as caught:
            execute(command, settings)
        out, err = capsys.readouterr()
        return caught.value.code, out.replace(f"{tmp_path}/", ""), err

    return run


def notices(*rows: dict[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(json.dumps(read_notice(row).notice)) for row in rows]


def test_every_format_of_everything(export: Callable[..., Any], tmp_path: Path) -> None:
    status, out, err = export("--format", "jsonl,csv,xlsx,parquet")
    assert (status, out, err) == (0, "30 notices in 4 files in out\n", "")
    files = {path.suffix: path for path in (tmp_path / "out").iterdir()}
    assert len({path.stem for path in files.values()}) == 1
    assert files[".csv"].name.startswith("boamp-20")
    expected = notices({**ROWS[0], "objet": "=changed"}, *ROWS[1:])
    assert [*map(orjson.loads, files[".jsonl"].read_bytes().splitlines())] == expected
    rows = [row for notice in expected for row in flat_rows(notice)]
    names = [column.name for column in NOTICE_COLUMNS]
    assert parquet.read_table(files[".parquet"]).to_pylist() == rows
    header, *lines = openpyxl.load_workbook(files[".xlsx"]).active.iter_rows(values_only=True)
    assert list(header) == names
    assert [dict(zip(names, line, strict=True)) for line in lines] == rows
    with files[".csv"].open(encoding="utf-8", newline="") as stream:
        table = list(csv.DictReader(stream))
    assert [row["idweb"] for row in table] == [row["idweb"] for row in rows]
    assert table[0]["objet"] == "'=changed"


def test_a_part_of_it(export: Callable[..., Any], tmp_path: Path) -> None:
    assert export("--run", "two")[1] == "1 notices in 1 file in out\n"
    day = [row for row in ROWS if row["dateparution"] == "2026-09-08"]
    assert export("--since", "2026-09-08", "--until", "2026-09-08")[1] == (
        f"{len(day)} notices in 1 file in out\n"
    )
    # None is overwritten.
    assert sorted(path.name[-8:] for path in (tmp_path / "out").iterdir()) == [
        "01.jsonl",
        "02.jsonl",
    ]


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (["--since", "2027-01-01"], 0, "Nothing to export: the store holds no such notice"),
        (
            ["--format", "json"],
            2,
            "error: --format json is not one of --source boamp; accepted: jsonl, csv, parquet, "
            "xlsx",
        ),
        (
            ["--regime", "2022"],
            2,
            "error: --buyer, --regime and --structure are of contracts; with --source boamp give "
            "--since, --until or --run",
        ),
        (["--run", "three"], 1, "knows no run 'three'"),
    ],
)
def test_what_is_said_of_the_rest(
    export: Callable[..., Any], tmp_path: Path, options: list[str], status: int, said: str
) -> None:
    code, out, err = export(*options)
    assert (code, out) == (status, "")
    assert said in err.splitlines()[-1]
    assert list(tmp_path.glob("out/*")) == []
