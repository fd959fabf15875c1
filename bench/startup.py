"""The start of ``scrapy crawl``, imports included (h)."""

from __future__ import annotations

from pathlib import Path

from bench.timing import ROOT, Comparison, python, run_child

#: What `scrapy startproject` gives, as far as imports go: a spider that asks for nothing.
EMPTY = {
    "scrapy.cfg": "[settings]\ndefault = empty.settings\n",
    "empty/__init__.py": "",
    "empty/settings.py": (
        'BOT_NAME = "empty"\nSPIDER_MODULES = ["empty.spiders"]\nLOG_LEVEL = "WARNING"\n'
        "TELNETCONSOLE_ENABLED = False\nREMOTE_CONTROL_ENABLED = False\n"
    ),
    "empty/spiders/__init__.py": "",
    "empty/spiders/nothing.py": (
        "import scrapy\n\n\nclass Nothing(scrapy.Spider):\n    name = 'nothing'\n\n"
        "    async def start(self):\n        return\n        yield\n"
    ),
}


def comparisons(folder: Path, scale: float) -> list[Comparison]:
    """h: seconds from the command to its end, for a spider that asks for nothing."""
    place = folder / "empty-project"
    for name, text in EMPTY.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    ours = folder / "our-project"
    ours.mkdir()
    (ours / "scrapy.cfg").write_text((ROOT / "scrapy.cfg").read_text())

    def empty() -> float:
        return run_child(
            python("-m", "scrapy", "crawl", "nothing"), place, PYTHONPATH=str(place)
        ).seconds

    def dume() -> float:
        # The second share of a single day holds no window: nothing is asked.
        return run_child(
            python(
                *("-m", "scrapy", "crawl", "dume", "-s", "LOG_LEVEL=CRITICAL"),
                *("-a", "date=2024-01-07", "-a", "shard=2/2"),
            ),
            ours,
        ).seconds

    return [
        Comparison(
            "h",
            "Start of `scrapy crawl`, with nothing to ask",
            "s",
            {"an empty Scrapy project": empty, "dume_spider": dume},
            base="an empty Scrapy project",
            goal="dume_spider at most 1.5 times an empty Scrapy project",
            repetitions=9,
        )
    ]
