"""One execution of a spider: what it found, what became of it, and the folder that says so.

Every record that enters leaves through exactly one door (written, unchanged, superseded,
rejected, failed), and each door is counted here. The spider, the pipelines and the
``run_summary`` extension share one :class:`Run`.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import orjson

from dume_spider.exceptions import OutputError
from dume_spider.store.ledger import Duplicate, RejectedRow
from dume_spider.store.store import Counts

Status = Literal["complete", "probable", "incomplete", "failed"]

#: The exit status of ``scrapy crawl`` for each status of a run.
EXIT_STATUS: dict[Status, int] = {"complete": 0, "probable": 0, "incomplete": 3, "failed": 1}

#: The counters that an interrupted run's summary takes over from the ledger.
TALLIES = ("requests", "warnings", "repairs", "unknown_keys")

#: So many duplicates are named in the summary; all are counted.
MOST_DUPLICATES = 1000

PARIS = ZoneInfo("Europe/Paris")


@lru_cache(maxsize=16)
def day_in_france(moment: datetime) -> date:
    """The date in France at a moment that has a zone."""
    return moment.astimezone(PARIS).date()


class Run:
    """What one execution of a spider does; it may be carried on by a later process.

    Args:
        spider: the name of the spider.
        arguments: its arguments as given, for the summary.
        folder: the folder of all runs (setting ``DECP_RUNS_DIR``); this run's own
            folder inside it is made by :meth:`open`.
        shard: its share of the work, such as ``2/8``, if it has one: its records are then
            owed at its end, and written when all shards are done.
    """

    def __init__(self, spider: str, arguments: Mapping[str, Any], folder: Path, *, shard: str = ""):
        self.started = datetime.now(UTC)
        self.spider = spider
        self.arguments = arguments
        self.id = f"{spider}-{self.started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self._folder = folder
        self.shard = shard
        self.rows = 0
        self.references = 0
        self.references_done = 0
        self.new = 0
        self.updated = 0
        self.unchanged = 0
        self.superseded = 0
        self.rejected = 0
        self.failed = 0
        self.written = 0
        #: Records of a shard that are written later, with those of the others.
        self.owed = 0
        self.requests: Counter[str] = Counter()
        self.unproven: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = []
        self.duplicates: list[dict[str, Any]] = []
        #: How many calls of data.gouv.fr were printed, where none is to be sent.
        self.planned: int | None = None
        #: What was done on data.gouv.fr.
        self.published: list[dict[str, str]] = []
        #: The run that published the files of this one, once it has ended.
        self.publication: Run | None = None
        #: The command that does what is missing, for the last line of the log.
        self.command = ""
        self.advice: list[str] = []
        self.rejected_rules: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.unknown_keys: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self.proof: Literal["complete", "probable", "incomplete"] = "incomplete"
        self.errors: list[str] = []
        self.finish_reason = ""
        #: Tallies that the ledger does not know yet, by (kind, name).
        self.untold: Counter[tuple[str, str]] = Counter()
        #: Failures that got no answer at all: asking again may help.
        self.unanswered = 0
        self._is_open = False

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return self._folder / self.id

    def take_up(self, id: str, started: datetime, rows: int, tallies: Mapping[str, Any]) -> None:
        """Carry on a run that an earlier process began.

        ``rows`` is how many rows have left through a door so far; ``tallies`` are what was
        counted besides, by the names of :data:`TALLIES`.
        """
        self.id = id
        self.started = started
        self.rows = rows
        for name in TALLIES:
            getattr(self, name).update(tallies.get(name, {}))

    @property
    def day(self) -> date:
        """The date of the run in France, which names its files."""
        return day_in_france(self.started)

    def open(self) -> None:
        """Make the run's folder. Raises :class:`OutputError` when it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "rejected.jsonl").touch()
        except OSError as error:
            raise OutputError(
                f"the folder of runs cannot be written: {error.strerror}: {error.filename}; "
                "give another one with DECP_RUNS_DIR"
            ) from error
        self._is_open = True

    def write_rejected(self, rows: Iterable[RejectedRow]) -> None:
        """Write ``rejected.jsonl``, whole or not at all, and count its reasons.

        Raises :class:`OutputError`.
        """
        self.rejected_rules.clear()
        path = self.folder / "rejected.jsonl"
        temporary = self.folder / ".rejected.jsonl"
        try:
            with temporary.open("wb") as file:
                for row in rows:
                    line = {
                        "reference": row.reference,
                        "errors": orjson.Fragment(row.problems),
                        "raw": orjson.Fragment(row.raw),
                    }
                    file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
                    problems = json.loads(row.problems)
                    for field, rule in {
                        (without_positions(p["path"]), p["rule"]) for p in problems
                    }:
                        self.rejected_rules[f"{field or 'record'}: {rule}"] += 1
            temporary.replace(path)
        except OSError as error:
            raise OutputError(
                f"the rejected rows cannot be written: {error.strerror}: {path}; the same "
                "command writes them again"
            ) from error

    def tally(self, kind: str, name: str) -> None:
        """Count one more in the counter ``kind`` (see :data:`TALLIES`)."""
        getattr(self, kind)[name] += 1
        self.untold[kind, name] += 1

    def take_counts(self, counts: Counts) -> None:
        """Take over what the store counted: exact also where another run took a record over."""
        self.new = counts.new
        self.updated = counts.updated
        self.unchanged = counts.unchanged
        self.superseded = counts.superseded
        self.rejected = counts.rejected
        self.written = counts.written
        self.owed = counts.owed if self.shard else 0

    def take_duplicates(self, duplicates: Sequence[Duplicate]) -> None:
        """Count the records that are a contract under a further reference, and name the first."""
        if duplicates:
            self.warnings["duplicate"] = len(duplicates)
        self.duplicates = [each._asdict() for each in duplicates[:MOST_DUPLICATES]]

    def fail_reference(
        self, reference: str | None, error: str, *, is_answered: bool = False
    ) -> None:
        """Name a reference that could not be collected.

        ``is_answered``: the service has said that there is nothing to collect.
        """
        self.failed += 1
        self.unanswered += not is_answered
        self.failures.append({"reference": reference, "error": error})

    def fail_window(self, filters: dict[str, str], error: str) -> None:
        """Name a search window that could not be answered."""
        self.unanswered += 1
        self.failures.append({"window": filters, "error": error})

    def advise(self, code: str, text: str) -> None:
        """Keep what a person should look at for the last lines of the log; ``code`` finds it in
        docs/logs.md."""
        line = f"[{code}] {text}"
        if line not in self.advice:
            self.advice.append(line)

    def fail(self, error: str) -> None:
        """Note an error of the run itself: its status is then ``failed``."""
        self.errors.append(error)

    @property
    def status(self) -> Status:
        """How far the run can be trusted; known once :attr:`finish_reason` is set."""
        if self.errors or not self.balanced:
            return "failed"
        if self.finish_reason != "finished" or self.failures:
            return "incomplete"
        return self.proof

    @property
    def exit_status(self) -> int:
        """The exit status of the command: that of the publication where all else is well."""
        status = EXIT_STATUS[self.status]
        if not status and self.publication is not None:
            return self.publication.exit_status
        return status

    @property
    def balanced(self) -> bool:
        """Whether all that entered has left through exactly one door."""
        to_files = self.written + self.owed
        doors = to_files + self.unchanged + self.superseded + self.rejected + self.failed
        return (
            self.rows == doors
            and to_files == self.new + self.updated
            and self.references == self.references_done
        )

    def summary(self) -> dict[str, Any]:
        """The content of ``summary.json``: the keys are a contract (docs/reference.md)."""
        return {
            "spider": self.spider,
            "run": self.id,
            "arguments": self.arguments,
            "started": self.started.isoformat(timespec="seconds"),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "finish_reason": self.finish_reason,
            "status": self.status,
            "balanced": self.balanced,
            "counts": {
                "rows": self.rows,
                "references": self.references,
                "new": self.new,
                "updated": self.updated,
                "unchanged": self.unchanged,
                "superseded": self.superseded,
                "rejected": self.rejected,
                "failed": self.failed,
                "written": self.written,
                **({"owed": self.owed} if self.shard else {}),
            },
            "requests": {
                **dict.fromkeys(("search", "detail", "retried"), 0),
                **self.requests,
            },
            "unproven": self.unproven,
            "failures": self.failures,
            "files": self.files,
            "published": self.published,
            "rejected_rules": dict(self.rejected_rules.most_common()),
            "duplicates": self.duplicates,
            "warnings": dict(self.warnings.most_common()),
            "repairs": dict(self.repairs.most_common()),
            "unknown_keys": dict(self.unknown_keys.most_common()),
            "errors": self.errors,
            "advice": self.advice,
        }

    def close(self) -> None:
        """Write ``summary.json``, whole or not at all. Raises :class:`OutputError`."""
        if not self._is_open:
            return  # the run ended before its folder could be made
        try:
            temporary = self.folder / ".summary.json"
            text = json.dumps(self.summary(), ensure_ascii=False, indent=2)
            temporary.write_text(text + "\n", encoding="utf-8")
            temporary.replace(self.folder / "summary.json")
        except OSError as error:
            raise OutputError(
                f"the summary of the run cannot be written: {error.strerror}: {self.folder}"
            ) from error


def without_positions(path: str) -> str:
    """A path without its list positions: ``titulaires.0.id`` becomes ``titulaires.id``."""
    return ".".join(part for part in path.split(".") if not part.isdigit())
