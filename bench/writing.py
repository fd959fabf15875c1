"""Writing files: JSON and XML against the bare libraries; a large export and report (f)."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import orjson
from lxml import etree

from bench.timing import ROOT, Comparison, python, run_child
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.writers import JsonWriter, XmlWriter
from dume_spider.dume.mapping import load_field_names, map_row
from dume_spider.sandbox.generator import generate
from dume_spider.store.store import Candidate, Store

BUYERS = 200


def comparisons(folder: Path, scale: float) -> list[Comparison]:
    """f: MB of the finished document a second, then the export of a store."""
    names = load_field_names(None)
    made = generate(max(50, int(6000 * scale)), 1, date(2024, 1, 1), date(2024, 12, 31), faulty=0)
    mapped = [map_row(each.served.row, names, None) for each in made]
    rows = [
        row
        for row in mapped
        if not row.problems and (row.type, row.regime) == (ContractType.MARCHE, Regime.R2022)
    ]
    encoded = [orjson.dumps(row.record) for row in rows]

    def rate(write: Callable[[io.BytesIO], None]) -> float:
        stream = io.BytesIO()
        started = time.perf_counter()
        write(stream)
        return stream.tell() / (time.perf_counter() - started) / 1e6

    def ours(writer: type[JsonWriter] | type[XmlWriter]) -> Callable[[io.BytesIO], None]:
        def write(stream: io.BytesIO) -> None:
            document = writer(stream, Regime.R2022)
            for record in encoded:
                document.add(ContractType.MARCHE, record)
            document.finish()

        return write

    def bare_json(stream: io.BytesIO) -> None:
        stream.write(orjson.dumps({"marches": {"marche": [row.record for row in rows]}}))

    def bare_xml(stream: io.BytesIO) -> None:
        with etree.xmlfile(stream, encoding="utf-8") as file, file.element("marches"):
            for row in rows:
                file.write(_element("marche", row.record))

    return [
        Comparison(
            "f (JSON)",
            f"A JSON file of {len(rows):,} records",
            "MB/s",
            {"orjson bare": lambda: rate(bare_json), "dume_spider": lambda: rate(ours(JsonWriter))},
            base="orjson bare",
        ),
        Comparison(
            "f (XML)",
            f"An XML file of {len(rows):,} records",
            "MB/s",
            {"lxml bare": lambda: rate(bare_xml), "dume_spider": lambda: rate(ours(XmlWriter))},
            base="lxml bare",
        ),
        _export(folder, [row.record for row in rows], max(1000, int(200_000 * scale))),
    ]


def _element(tag: str, value: object) -> etree._Element:
    """What a newcomer would write: names as tags, lists repeated."""
    node = etree.Element(tag)
    if isinstance(value, dict):
        for name, inner in value.items():
            for each in inner if isinstance(inner, list) else [inner]:
                node.append(_element(name, each))
    else:
        node.text = value if isinstance(value, str) else json.dumps(value)
    return node


def _export(folder: Path, records: list[dict], count: int) -> Comparison:
    """The seconds of ``scrapy export`` and ``scrapy report`` of a store of ``count`` records."""
    place = folder / "export"
    place.mkdir()
    (place / "scrapy.cfg").write_text((ROOT / "scrapy.cfg").read_text())
    url = f"sqlite:///{place / 'store.sqlite'}"
    store = Store(url)
    store.begin_run("bench", "bench", {}, datetime.now(UTC))
    buyers = sorted({record["acheteur"]["id"] for record in records})[:BUYERS]
    for first in range(0, count, 1000):
        store.save(
            "bench",
            [
                Candidate.of(
                    "bench",
                    f"R{number:08d}",
                    ContractType.MARCHE,
                    Regime.R2022,
                    records[number % len(records)]
                    | {
                        "id": f"{number:016d}",
                        "acheteur": {"id": buyers[number % len(buyers)]},
                    },
                    b"{}",
                )
                for number in range(first, min(first + 1000, count))
            ],
        )
    store.close()

    def seconds(*command: str) -> float:
        out = place / "out"
        child = run_child(
            python(
                *("-m", "scrapy", *command, "--folder", out),
                *("-s", f"DECP_STORE_URL={url}", "-s", "LOG_LEVEL=WARNING"),
            ),
            place,
        )
        shutil.rmtree(out)
        return child.seconds

    return Comparison(
        "f (export)",
        f"`scrapy export` and `scrapy report` of {count:,} records of {len(buyers)} buyers",
        "s",
        {
            name: lambda name=name: seconds("export", "--format", name)
            for name in ("json", "xml", "csv")
        }
        | {"report": lambda: seconds("report")},
        base="json",
        goal="the report in less than 60 s",
        repetitions=3,
    )
