"""Flat tables of contracts, in CSV, Parquet or XLSX: one line per contract and titulaire.

The columns have the names of the field's consolidated tabular files (``uid``,
``acheteur_id``, ``titulaire_id``, …) where those have such a column, else the format's.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, Self, get_args

import orjson

from dume_spider.decp.folder import Part, output_errors
from dume_spider.decp.regime import BUYER_FIELD, ContractType, Regime
from dume_spider.decp.schema import record_schema
from dume_spider.decp.version import modifications_of
from dume_spider.exceptions import OutputError

TableFormat = Literal["csv", "parquet", "xlsx"]
TABLE_FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)

#: Lines that a sheet of a workbook holds, at most.
MOST_LINES = 1_048_576

#: Lines of a row group of Parquet, which is written as a whole.
ROW_GROUP = 20_000

#: What a cell of a spreadsheet takes for a formula when it starts with it.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Column:
    """A column: ``kind`` is that of its values, ``meaning`` a text for the reference."""

    name: str
    kind: Literal["text", "integer", "number", "boolean"]
    meaning: str


_OWN = "as in the record"

COLUMNS = (
    Column("uid", "text", "`acheteur_id` and `id` together"),
    Column("id", "text", _OWN),
    Column("source", "text", "the service that the contract was collected from"),
    Column("reference", "text", "the service's key"),
    Column("type", "text", "`MP` (marché), `CC` (concession)"),
    Column("regime", "text", "`2019`, `2022`"),
    Column("nature", "text", _OWN),
    Column("acheteur_id", "text", "SIRET of the acheteur or autorité concédante"),
    Column("acheteur_nom", "text", "its name (2019)"),
    Column("titulaire_id", "text", "identifier of the titulaire or concessionnaire"),
    Column("titulaire_typeIdentifiant", "text", "what kind of identifier that is"),
    Column("titulaire_nom", "text", "its `denominationSociale` (2019)"),
    Column("objet", "text", _OWN),
    Column("codeCPV", "text", _OWN),
    Column("procedure", "text", _OWN),
    Column("dureeMois", "integer", _OWN),
    Column("dateNotification", "text", _OWN),
    Column("datePublicationDonnees", "text", _OWN),
    Column("montant", "number", "euros without tax (marchés)"),
    Column("formePrix", "text", _OWN),
    Column("typesPrix", "text", "labels, joined by a comma"),
    Column("techniques", "text", "labels, joined by a comma"),
    Column("modalitesExecution", "text", "labels, joined by a comma"),
    Column("idAccordCadre", "text", _OWN),
    Column("marcheInnovant", "boolean", _OWN),
    Column("ccag", "text", _OWN),
    Column("offresRecues", "integer", _OWN),
    Column("attributionAvance", "boolean", _OWN),
    Column("tauxAvance", "number", _OWN),
    Column("typeGroupementOperateurs", "text", _OWN),
    Column("sousTraitanceDeclaree", "boolean", _OWN),
    Column("origineUE", "number", _OWN),
    Column("origineFrance", "number", _OWN),
    Column("lieuExecution_code", "text", _OWN),
    Column("lieuExecution_typeCode", "text", _OWN),
    Column("lieuExecution_nom", "text", "2019"),
    Column("considerationsSociales", "text", "labels, joined by a comma"),
    Column("considerationsEnvironnementales", "text", "labels, joined by a comma"),
    Column("dateSignature", "text", "concessions"),
    Column("dateDebutExecution", "text", "concessions"),
    Column("valeurGlobale", "number", "euros without tax (concessions)"),
    Column("montantSubventionPublique", "number", "concessions"),
    Column("modifications", "integer", "how many; the other columns are of the first state"),
    Column("modification_dureeMois", "integer", "the last duration that a modification states"),
    Column("modification_montant", "number", "the last amount that a modification states"),
    Column("actesSousTraitance", "integer", "how many are listed"),
)

#: The field that holds the amount of a contract.
AMOUNT_FIELD = {ContractType.MARCHE: "montant", ContractType.CONCESSION: "valeurGlobale"}

#: Columns that are not the field of the same name.
_MADE = {"uid", "source", "reference", "type", "regime", "modifications", "actesSousTraitance"}
_NAMES = {column.name for column in COLUMNS} - _MADE


@cache
def _fields(type: ContractType, regime: Regime) -> list[str]:
    """The fields of a record that are columns as they are."""
    return [name for name in record_schema(type, regime)["properties"] if name in _NAMES]


Row = dict[str, Any]


class Sink(Protocol):
    """Where a table is written: a :class:`Part`, or an open binary file."""

    def write(self, data: bytes) -> object: ...


def columns_table(columns: Sequence[Column] = COLUMNS) -> str:
    """A table of columns as Markdown, for docs/reference.md; it ends with a line feed."""
    lines = ["| column | values | meaning |", "| --- | --- | --- |"]
    lines += [f"| `{column.name}` | {column.kind} | {column.meaning} |" for column in columns]
    return "\n".join(lines) + "\n"


def flat_rows(
    source: str, reference: str, type: ContractType, regime: Regime, record: dict[str, Any]
) -> Iterator[Row]:
    """The lines of a contract: one per titulaire or concessionnaire, one if it has none.

    A column that the record has no value for is absent or ``None``. ``record`` is valid under
    its schema.
    """
    buyer = record[BUYER_FIELD[type]]
    line: Row = {
        "uid": f"{buyer['id']}{record['id']}",
        "source": source,
        "reference": reference,
        "type": type.value,
        "regime": regime.value,
        "acheteur_id": buyer["id"],
        "acheteur_nom": _name(buyer.get("nom")),
    }
    for name in _fields(type, regime):
        value = record.get(name)
        line[name] = _labels(value) if isinstance(value, dict) else value
    place = record.get("lieuExecution")
    if isinstance(place, dict):
        line["lieuExecution_code"] = place.get("code")
        line["lieuExecution_typeCode"] = place.get("typeCode")
        line["lieuExecution_nom"] = _name(place.get("nom"))
    modifications = modifications_of(record, type, regime)
    line["modifications"] = len(modifications)
    line["actesSousTraitance"] = len(record.get("actesSousTraitance", ()))
    amount = AMOUNT_FIELD[type]
    for item in modifications:
        for name, target in (("dureeMois", "dureeMois"), (amount, "montant")):
            if name in item:
                line[f"modification_{target}"] = item[name]
    for holder in holders_of(record, type) or [{}]:
        yield line | {
            "titulaire_id": holder.get("id"),
            "titulaire_typeIdentifiant": holder.get("typeIdentifiant"),
            "titulaire_nom": _name(holder.get("denominationSociale")),
        }


def holders_of(record: dict[str, Any], type: ContractType) -> list[dict[str, Any]]:
    """The titulaires or concessionnaires of a valid record."""
    if type is ContractType.MARCHE:
        return _items(record["titulaires"], "titulaire")
    return _items(record["concessionnaires"], "concessionnaire")


def _items(items: Sequence[Any], wrapper: str) -> list[dict[str, Any]]:
    """The objects of a list, out of their wrapper (2022); the schemas let others pass."""
    bare = (item.get(wrapper, item) if isinstance(item, dict) else None for item in items)
    return [item for item in bare if isinstance(item, dict)]


def _name(value: Any) -> str | None:
    """A name, which the schema of 2022 does not know and lets be anything."""
    return value if isinstance(value, str) else None


def _labels(value: dict[str, Any]) -> str:
    (labels,) = [inner for inner in value.values() if isinstance(inner, list)]
    return ", ".join(labels)


class CsvTable:
    """CSV: UTF-8, commas, one header line; booleans are ``true`` and ``false``.

    Text that a spreadsheet would take for a formula (it starts with ``=``, ``+``, ``-``,
    ``@``, a tab or a carriage return) has an apostrophe before it.
    """

    def __init__(self, part: Sink, columns: Sequence[Column] = COLUMNS, *, header: bool = True):
        self._part = part
        self._names = [column.name for column in columns]
        self._text = io.StringIO(newline="")
        self._writer = csv.writer(self._text, lineterminator="\n")
        if header:
            self._writer.writerow(self._names)

    def add(self, row: Row) -> None:
        self._writer.writerow([_cell(row.get(name)) for name in self._names])
        if self._text.tell() > 1 << 16:
            self._flush()

    def finish(self) -> None:
        self._flush()

    def abandon(self) -> None:
        """Nothing is open but the part."""

    def _flush(self) -> None:
        self._part.write(self._text.getvalue().encode())
        self._text.seek(0)
        self._text.truncate()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if isinstance(value, bool):
        return "true" if value else "false"
    return value


class ParquetTable:
    """Parquet, by pyarrow, in row groups of :data:`ROW_GROUP` lines, compressed (zstd)."""

    def __init__(self, part: Sink, columns: Sequence[Column] = COLUMNS):
        pyarrow, parquet = _pyarrow()
        kinds = {
            "text": pyarrow.string(),
            "integer": pyarrow.int64(),
            "number": pyarrow.float64(),
            "boolean": pyarrow.bool_(),
        }
        self._pyarrow = pyarrow
        self._schema = pyarrow.schema([(c.name, kinds[c.kind]) for c in columns])
        self._sink = pyarrow.PythonFile(_Sink(part), mode="w")
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")
        self._rows: list[Row] = []

    def add(self, row: Row) -> None:
        self._rows.append(row)
        if len(self._rows) == ROW_GROUP:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._writer.close()

    def abandon(self) -> None:
        """Close the writer, which would otherwise do so when the part is closed."""
        with suppress(OSError):
            self._writer.close()

    def _flush(self) -> None:
        rows, self._rows = self._rows, []
        if not rows:
            return
        arrays = []
        for field in self._schema:
            values = [row.get(field.name) for row in rows]
            if field.type == self._pyarrow.float64():
                # Numbers of the format may be written without a fraction.
                values = [None if value is None else float(value) for value in values]
            try:
                arrays.append(self._pyarrow.array(values, type=field.type))
            except (self._pyarrow.ArrowInvalid, OverflowError) as error:
                raise OutputError(
                    f"the column {field.name} cannot be written as Parquet: {error}; export CSV "
                    "instead"
                ) from error
        self._writer.write_table(self._pyarrow.Table.from_arrays(arrays, schema=self._schema))


class XlsxTable:
    """A workbook, by XlsxWriter, its rows kept on disk until it is finished.

    Text is written as text: a spreadsheet takes none for a formula. A text longer than a cell
    holds (32,767 characters) is cut; a sheet that is full goes on in a further one.
    """

    def __init__(self, part: Sink, columns: Sequence[Column] = COLUMNS):
        # Imported here: every command is imported by each call of scrapy.
        import xlsxwriter

        self._columns = columns
        self._sink = _Sink(part)
        self._book = xlsxwriter.Workbook(self._sink, {"constant_memory": True})
        self._bold = self._book.add_format({"bold": True})
        self._begin_sheet()

    def add(self, row: Row) -> None:
        if self._lines == MOST_LINES:
            self._begin_sheet()
        for position, column in enumerate(self._columns):
            value = row.get(column.name)
            if isinstance(value, bool):
                self._sheet.write_boolean(self._lines, position, value)
            elif isinstance(value, int | float):
                self._sheet.write_number(self._lines, position, value)
            elif value is not None:
                self._sheet.write_string(self._lines, position, value)
        self._lines += 1

    def finish(self) -> None:
        self._book.close()

    def abandon(self) -> None:
        """Close a workbook that was not finished, for its temporary files, to nowhere."""
        if not self._book.fileclosed:
            self._sink.forget()
            self._book.close()

    def _begin_sheet(self) -> None:
        self._sheet = self._book.add_worksheet()
        self._sheet.freeze_panes(1, 0)
        for position, column in enumerate(self._columns):
            self._sheet.write_string(0, position, column.name, self._bold)
        self._lines = 1


class JsonLines:
    """JSON lines: values as they are, not rows of a table."""

    def __init__(self, part: Sink, columns: Sequence[Column] = ()):
        self._part = part

    def add(self, value: Any) -> None:
        self._part.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))

    def finish(self) -> None:
        """Nothing is held back."""

    def abandon(self) -> None:
        """Nothing is open but the part."""


class _Sink(io.RawIOBase):
    """A :class:`Sink` as the file object that libraries want; its owner closes it."""

    def __init__(self, part: Sink):
        self._part = part
        self._written = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._part.write(bytes(data))
        self._written += len(data)
        return len(data)

    def tell(self) -> int:
        return self._written

    def forget(self) -> None:
        """Let go of what is written from now on."""
        self._part = _Nowhere()


class _Nowhere:
    def write(self, data: bytes) -> None:
        """Keep nothing."""


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError as error:
        raise OutputError(
            "Parquet needs the package pyarrow: pip install pyarrow; or export csv"
        ) from error
    return pyarrow, parquet


_TABLES = {"csv": CsvTable, "parquet": ParquetTable, "xlsx": XlsxTable, "jsonl": JsonLines}


class TableFiles:
    """One table in one or more formats (also what it is made of, as ``jsonl``),
    ``{stem}-{yyyy}-{mm}-{dd}-{nn}.{format}`` in ``folder``.

    For use in a ``with`` block: :meth:`add` lines, then :meth:`commit`. Files are put in
    place whole under the first free number, and none is overwritten; left without
    ``commit``, nothing is left behind. What fails raises :class:`OutputError`.
    """

    def __init__(
        self,
        folder: Path,
        day: date,
        formats: Sequence[str],
        *,
        stem: str = "decp",
        columns: Sequence[Column] = COLUMNS,
    ):
        self._folder = folder
        self._stem = f"{stem}-{day.isoformat()}"
        self._columns = columns
        self._formats = formats
        self._parts: list[Part] = []
        self._tables: list[CsvTable | ParquetTable | XlsxTable | JsonLines] = []

    def __enter__(self) -> Self:
        try:
            with output_errors(self._folder):
                for format in self._formats:
                    self._parts.append(Part(self._folder))
                    self._tables.append(_TABLES[format](self._parts[-1], self._columns))
        except OutputError:
            self._discard()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._discard()

    def add(self, row: Row) -> None:
        """Write one line of the table in every format of tables."""
        self._add(row, [table for table in self._tables if not isinstance(table, JsonLines)])

    def add_whole(self, value: Any) -> None:
        """Write a line of JSON, if that is one of the formats."""
        self._add(value, [table for table in self._tables if isinstance(table, JsonLines)])

    def _add(self, value: Any, tables: Sequence[Any]) -> None:
        with output_errors(self._folder):
            for table in tables:
                table.add(value)

    def commit(self) -> list[Path]:
        """Put the files in place, durably; their paths, in the order of formats."""
        with output_errors(self._folder):
            for table, part in zip(self._tables, self._parts, strict=True):
                table.finish()
                part.sync()
            number = 1
            while (paths := self._place(number)) is None:
                number += 1
        return paths

    def _place(self, number: int) -> list[Path] | None:
        """Give the files their names; ``None``, and all undone, if one is taken."""
        stem = f"{self._stem}-{number:02}"
        if any((self._folder / f"{stem}.{format}").exists() for format in _TABLES):
            return None
        placed: list[tuple[Part, Path]] = []
        for format, part in zip(self._formats, self._parts, strict=True):
            path = self._folder / f"{stem}.{format}"
            if not part.link(path):
                for part_placed, path_placed in placed:
                    part_placed.unlink(path_placed)
                return None
            placed.append((part, path))
        return [path for _, path in placed]

    def _discard(self) -> None:
        for table in self._tables:
            table.abandon()
        for part in self._parts:
            part.discard()
