"""Feeds as tables, read back by other libraries."""

from __future__ import annotations

import csv
import io
from datetime import date
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from crawling import ROOT
from openpyxl.worksheet.worksheet import Worksheet
from scrapy.cmdline import execute
from scrapy.settings import Settings

from dume_spider.boamp.notice import read_notice
from dume_spider.boamp.tables import NOTICE_COLUMNS, flat_rows
from dume_spider.decp import tables
from dume_spider.exporters import CsvFeedExporter, TableFeedExporter, XlsxFeedExporter
from dume_spider.items import NoticeItem
from dume_spider.sandbox.boamp_rows import generate_notices

DAY = date(2026, 9, 7)
FORMULAS = ("=1+1", "+33 1", "-5", "@SUM(A1)", "\t=1", "plain")


@pytest.fixture(scope="module")
def items() -> list[NoticeItem]:
    """Notices whose objects a spreadsheet could take for formulas."""
    rows = list(generate_notices(40, 1, DAY, DAY))
    for row, objet in zip(rows, FORMULAS, strict=False):
        row["objet"] = objet
    return [NoticeItem.of(read_notice(row), row) for row in rows]


def written(kind: type[TableFeedExporter], items: list[Any], before: bytes = b"") -> bytes:
    file = io.BytesIO()
    file.write(before)
    exporter = kind(file)
    exporter.start_exporting()
    for item in items:
        exporter.export_item(item)
    exporter.finish_exporting()
    return file.getvalue()


def sheet(content: bytes) -> Worksheet:
    return openpyxl.load_workbook(io.BytesIO(content)).active


def test_a_workbook_has_every_value_as_it_is(items: list[NoticeItem]) -> None:
    header, *lines = sheet(written(XlsxFeedExporter, items)).iter_rows()
    names = [cell.value for cell in header]
    assert names == [column.name for column in NOTICE_COLUMNS]
    expected = [row for item in items for row in flat_rows(dict(item))]
    found = [dict(zip(names, (cell.value for cell in line), strict=True)) for line in lines]
    assert found == expected
    # Text is text, whatever it begins with.
    for line, formula in zip(lines, FORMULAS, strict=False):
        (cell,) = [cell for cell in line if names[cell.column - 1] == "objet"]
        assert cell.value == dict(items[FORMULAS.index(formula)])["objet"]
        assert cell.data_type == "s"


def test_csv_has_no_formulas(items: list[NoticeItem]) -> None:
    lines = list(csv.DictReader(io.StringIO(written(CsvFeedExporter, items).decode())))
    expected = [row for item in items for row in flat_rows(dict(item))]
    assert len(lines) == len(expected)
    by_idweb = {line["idweb"]: line["objet"] for line in lines}
    assert [by_idweb[item["idweb"]] for item in items[:6]] == [
        "'=1+1",
        "'+33 1",
        "'-5",
        "'@SUM(A1)",
        "'=1",  # its tab is cleaned away
        "plain",
    ]


def test_csv_that_is_appended_to_has_one_header(items: list[NoticeItem]) -> None:
    first = written(CsvFeedExporter, items[:3])
    both = written(CsvFeedExporter, items[3:], before=first)
    assert both == written(CsvFeedExporter, items)


def test_contracts_have_their_own_columns() -> None:
    from dume_spider.decp.regime import ContractType, Regime
    from dume_spider.items import Origin, make_item

    item = make_item(
        Origin("dume", {}),
        reference="R",
        type_=ContractType.MARCHE,
        regime=Regime.R2022,
        record={"acheteur": {"id": "21"}, "id": "1", "objet": "=x", "titulaires": []},
    )
    header, line = sheet(written(XlsxFeedExporter, [item])).iter_rows(values_only=True)
    assert header == tuple(column.name for column in tables.COLUMNS)
    assert dict(zip(header, line, strict=True))["objet"] == "=x"


def test_without_items() -> None:
    assert written(CsvFeedExporter, []) == b""
    assert [*sheet(written(XlsxFeedExporter, [])).iter_rows(values_only=True)] == []


def test_a_sheet_that_is_full_goes_on_in_another(
    items: list[NoticeItem], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_LINES", 11)
    book = openpyxl.load_workbook(io.BytesIO(written(XlsxFeedExporter, items)))
    expected = [row["idweb"] for item in items for row in flat_rows(dict(item))]
    found = [row[0] for one in book for row in one.iter_rows(min_row=2, values_only=True)]
    assert found == expected
    assert {one.max_row for one in book.worksheets[:-1]} == {11}
    assert {one["A1"].value for one in book} == {"idweb"}


def test_a_workbook_is_not_appended_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notices.xlsx"
    path.write_bytes(b"a workbook")
    monkeypatch.chdir(ROOT)
    settings = Settings()
    settings.setmodule("dume_spider.settings")
    for uri in (str(path), f"{path}:xlsx"):
        with pytest.raises(SystemExit) as caught:
            execute(["scrapy", "crawl", "boamp", "-o", uri], settings)
        assert caught.value.code == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.endswith(
            f"error: -o appends, and nothing can be appended to the workbook {path}; give -O, "
            "or another name"
        )
    assert path.read_bytes() == b"a workbook"
