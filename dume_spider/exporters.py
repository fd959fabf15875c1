"""Feeds that are tables: ``-O x.csv`` and ``-O x.xlsx``.

A notice is one line per award, a contract one per titulaire, with the columns of
``scrapy export`` (docs/reference.md). What kind of items a feed has is known from its first one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import IO, Any

from scrapy.exporters import BaseItemExporter

from dume_spider.boamp.tables import NOTICE_COLUMNS
from dume_spider.boamp.tables import flat_rows as rows_of_notice
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.tables import COLUMNS, Column, CsvTable, Row, XlsxTable, flat_rows
from dume_spider.items import NoticeItem, StoredItem


class TableFeedExporter(BaseItemExporter):
    """Writes items as the lines of a table that the subclass begins."""

    def __init__(self, file: IO[bytes], **kwargs: Any):
        super().__init__(dont_fail=True, **kwargs)
        self._file = file
        self._table: CsvTable | XlsxTable | None = None

    def begin(self, columns: Sequence[Column]) -> CsvTable | XlsxTable:
        """The table of these columns; there are none when there is no item."""
        raise NotImplementedError

    def export_item(self, item: StoredItem) -> None:
        if self._table is None:
            self._table = self.begin(NOTICE_COLUMNS if isinstance(item, NoticeItem) else COLUMNS)
        for row in _rows(item):
            self._table.add(row)

    def finish_exporting(self) -> None:
        if self._table is None:
            self._table = self.begin(())
        self._table.finish()


class CsvFeedExporter(TableFeedExporter):
    """CSV; text that a spreadsheet would take for a formula has an apostrophe before it."""

    def begin(self, columns: Sequence[Column]) -> CsvTable:
        # Appended to a file (-o), the header is there already.
        return CsvTable(self._file, columns, header=bool(columns) and not self._file.tell())


class XlsxFeedExporter(TableFeedExporter):
    """A workbook, in which every text is a text."""

    def begin(self, columns: Sequence[Column]) -> XlsxTable:
        return XlsxTable(self._file, columns)


def _rows(item: StoredItem) -> Iterator[Row]:
    if isinstance(item, NoticeItem):
        return rows_of_notice(dict(item))
    return flat_rows(
        item.origin.source,
        item["reference"],
        ContractType(item["type"]),
        Regime(item["regime"]),
        item["record"],
    )
