"""Notices of the store as files: whole (JSON lines), or as a table with one line per award."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import chain
from pathlib import Path

import orjson

from dume_spider.boamp.notice import read_notice
from dume_spider.boamp.tables import NOTICE_COLUMNS, flat_rows
from dume_spider.decp.folder import OutputFolder
from dume_spider.decp.tables import TableFiles
from dume_spider.store.reading import NoticeLine

STEM = "boamp"


def export_notices(
    notices: Iterator[NoticeLine], folder: Path, day: date, formats: Sequence[str]
) -> tuple[int, list[str]]:
    """Write notices; how many, and the names of the files.

    The files are ``boamp-{day}-{nn}.{format}``, all of one number. Each notice is read from its
    row by the rules of today. Raises :class:`OutputError`.
    """
    first = next(notices, None)
    if first is None:
        return 0, []
    out = OutputFolder(folder)
    out.check()
    count = 0
    with TableFiles(folder, day, formats, stem=STEM, columns=NOTICE_COLUMNS) as files:
        for line in chain([first], notices):
            count += 1
            notice = read_notice(orjson.loads(line.raw), ()).notice
            files.add_whole(notice)
            if formats != ("jsonl",):
                for row in flat_rows(notice):
                    files.add(row)
        return count, [path.name for path in files.commit()]
