"""The files of a harvest that several workers share: written once, when all shards are done."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from scrapy import Spider
from scrapy.crawler import Crawler

from dume_spider.extensions.run_summary import is_in_place
from dume_spider.pipelines.decp_files import OutputSettings, write_owed
from dume_spider.run import Run
from dume_spider.spiders.base import crawl_command
from dume_spider.storages import open_output
from dume_spider.store.ledger import Harvest, take_up
from dume_spider.store.publications import datasets_of
from dume_spider.store.shards import SharedHarvest, hand_over, shared_harvests
from dume_spider.store.store import Store

if TYPE_CHECKING:
    from scrapy.settings import BaseSettings

#: Seconds between two looks at the shards.
POLL = 1.0


def write_when_done(settings: BaseSettings, shards: int, *, say: Callable[[str], object]) -> Run:
    """Wait until all shards of the newest harvest that so many workers share are done, and
    write what they owe, and what older ones may still owe.

    It is a run of its own (spider ``export``), with its ``summary.json``: its counts are of
    what it writes, its status is the worst of the shards'. One that was killed is carried on.
    ``say`` is told, in a line, what is waited for, and where the files are still to be published.
    Raises :class:`DumeSpiderError`.
    """
    output_settings = OutputSettings.read(settings)
    crawler = Crawler(Spider, settings)
    output = open_output(output_settings.uri, crawler)
    run = Run("export", {"wait_for_shards": shards}, Path(settings["DECP_RUNS_DIR"]))
    with closing(Store(settings["DECP_STORE_URL"])) as store:
        newest = _wait(store, shards, say)
        output.check()
        store.recover(lambda place, files: is_in_place(place, files, crawler))
        harvest = take_up(
            store,
            {"shards": shards},
            run=run.id,
            spider=run.spider,
            arguments=run.arguments,
            started=run.started,
        )
        try:
            if harvest.is_resumed:
                run.take_up(harvest.run, harvest.started, 0, {})
            run.open()
            done = [each for each in shared_harvests(store, shards) if not each.missing]
            hand_over(store, [name for each in done for name in each.runs], run.id)
            write_owed(store, run, output_settings, output)
            _settle(store, run, harvest, newest)
            harvest.end()
            for dataset in datasets_of(store, run.id) if run.files else ():
                say(
                    f"not published yet: by the next harvest with PUBLISH_DATASET={dataset} that "
                    "ends well, such as one of the shards run again"
                )
        finally:
            harvest.let_go()
    return run


def _wait(store: Store, shards: int, say: Callable[[str], object]) -> SharedHarvest:
    said = ""
    while True:
        found = shared_harvests(store, shards)
        if found and not found[0].missing:
            return found[0]
        if found:
            numbers = ", ".join(map(str, found[0].missing))
            text = (
                f"waiting for shards {numbers} of {shards} of {found[0].asked}; one whose worker "
                "has died is to be run again"
            )
        else:
            text = f"waiting for the first of {shards} shards to begin in {store.database.name}"
        if text != said:
            say(text)
            said = text
        time.sleep(POLL)


def _settle(store: Store, run: Run, harvest: Harvest, shared: SharedHarvest) -> None:
    """Count what was written, and say what the shards could not get."""
    run.take_counts(store.counts_of(run.id))
    run.rows = run.new + run.updated + run.superseded
    run.files = [file._asdict() for file in harvest.files()]
    summaries = [shard.summary for _, shard in sorted(shared.shards.items())]
    for summary in summaries:
        run.unproven += summary["unproven"]
        run.failures += summary["failures"]
    run.proof = max((summary["status"] for summary in summaries), key=_WORSE.index)
    run.finish_reason = "finished"
    missing = [each for each in summaries if each["status"] == "incomplete"]
    run.command = "\n".join(
        [crawl_command(each["spider"], each["arguments"]) for each in missing]
        + [f"scrapy export --wait-for-shards {len(summaries)}"]
    )
    run.close()
    store.end_run(run.id, run.status, run.summary())


#: What a shard that is done can be, the best first.
_WORSE = ("complete", "probable", "incomplete")
