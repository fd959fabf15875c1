"""Validation alone: ours against the libraries, on valid records (e)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

from bench.timing import Comparison
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.schema import problems, record_schema
from dume_spider.dume.mapping import load_field_names, map_row
from dume_spider.sandbox.generator import generate


def comparisons(folder: Path, scale: float) -> list[Comparison]:
    """e: microseconds a record."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import fastjsonschema
        import jsonschema
        import jsonschema_rs

    kinds = {(type, regime) for type in ContractType for regime in Regime}
    schemas = {kind: record_schema(*kind) for kind in kinds}
    bare = {kind: jsonschema_rs.Draft7Validator(schema) for kind, schema in schemas.items()}
    slow = {kind: jsonschema.Draft7Validator(schema) for kind, schema in schemas.items()}
    fast = {kind: fastjsonschema.compile(schema) for kind, schema in schemas.items()}
    names = load_field_names(None)
    made = generate(max(50, int(4000 * scale)), 1, date(2023, 1, 1), date(2024, 12, 31), faulty=0)
    mapped = [map_row(each.served.row, names, None) for each in made]
    cases = [(row.record, (row.type, row.regime)) for row in mapped if not row.problems]

    def timed(check: Callable[[dict[str, Any], Any], object], share: int = 1) -> float:
        some = cases[::share]
        started = time.perf_counter()
        for record, kind in some:
            check(record, kind)
        return (time.perf_counter() - started) / len(some) * 1e6

    return [
        Comparison(
            "e",
            "Validation of a valid record",
            "µs a record",
            {
                "jsonschema-rs bare": lambda: timed(lambda r, kind: bare[kind].is_valid(r)),
                "dume_spider": lambda: timed(lambda r, kind: problems(r, *kind)),
                "fastjsonschema": lambda: timed(lambda r, kind: fast[kind](r), 4),
                "jsonschema": lambda: timed(lambda r, kind: slow[kind].is_valid(r), 20),
            },
            base="jsonschema-rs bare",
            goal="dume_spider at most 2.5 times jsonschema-rs bare",
        )
    ]
