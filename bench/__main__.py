"""``python -m bench``: measure everything side by side, write the record of the figures."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from bench import harvest, items, planning, startup, validation, writing
from bench.timing import ROOT, as_markdown

#: In the order of the record.
MAKERS = {
    "a": harvest.whole,
    "b": harvest.lists,
    "c": planning.comparisons,
    "d": items.comparisons,
    "e": validation.comparisons,
    "f": writing.comparisons,
    "g": items.memory,
    "h": startup.comparisons,
}
PACKAGES = ("scrapy", "sqlalchemy", "jsonschema-rs", "orjson", "lxml", "dume-api")

TEXT = """# Speed and memory

{note}

Measured on {days} with {machine}, Python {python}, {packages}. Figures differ from machine to
machine and from hour to hour: what counts are the ratios, of sides measured in turns in one
run. Their spread is given with them. Every repetition is in performance.json.

To redo them: the test set-up of the README, then

    .venv/bin/python -m bench

It takes twenty minutes. `--only d,e` redoes some of them and leaves the others as they are;
`--scale 0.1` (less data) and `--once` (no repetitions) are for a look, with `--out` elsewhere.

{tables}"""

NOTE = "What the project costs in time and memory, beside what people use today."


def main() -> None:
    """Measure what is asked for and write the record."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", default=",".join(MAKERS), help="such as d,e (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the data (default: 1)")
    parser.add_argument("--once", action="store_true", help="one repetition of each, for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "docs", help="folder of the record")
    given = parser.parse_args()
    if unknown := set(given.only.split(",")) - MAKERS.keys():
        parser.error(f"--only {given.only}: {min(unknown)!r} is not one of {', '.join(MAKERS)}")
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "performance.json"
    record = json.loads(path.read_bytes()) if path.exists() else []
    for key in given.only.split(","):
        record = [each for each in record if each["key"].partition(" ")[0] != key]
        with tempfile.TemporaryDirectory() as folder:
            for comparison in MAKERS[key](Path(folder), given.scale):
                if given.once:
                    comparison.repetitions = 1
                comparison.run(lambda line: print(line, file=sys.stderr, flush=True))
                record.append(comparison.as_dict())
                print(as_markdown(record[-1]), flush=True)
    order = [*MAKERS]
    record.sort(key=lambda each: order.index(each["key"].partition(" ")[0]))
    text = TEXT.format(
        note=NOTE,
        days=", ".join(sorted({each["day"] for each in record})),
        machine=f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()})",
        python=platform.python_version(),
        packages=", ".join(f"{name} {version(name)}" for name in PACKAGES),
        tables="\n".join(map(as_markdown, record)),
    )
    (given.out / "performance.md").write_text(text, encoding="utf-8")
    path.write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
