"""One execution of a spider: what it found, what became of it, and the folder that says so.

Every record that enters leaves through exactly one door (written, unchanged, superseded,
rejected, failed), and each door is counted here. The spider, the pipelines and the
``run_summary`` extension share one :class:`Run`.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO, Literal
from zoneinfo import ZoneInfo

import orjson

from dume_spider.decp.verdict import Problem, Repair
from dume_spider.exceptions import OutputError
from dume_spider.store.store import Counts

Status = Literal["complete", "probable", "incomplete", "failed"]

#: The exit status of ``scrapy crawl`` for each status of a run.
EXIT_STATUS: dict[Status, int] = {"complete": 0, "probable": 0, "incomplete": 3, "failed": 1}

PARIS = ZoneInfo("Europe/Paris")


class Run:
    """What one execution of a spider does.

    Args:
        spider: the name of the spider.
        arguments: its arguments as given, for the summary.
        folder: the folder of all runs (setting ``DECP_RUNS_DIR``); this run's own
            folder inside it is made by :meth:`open`.
    """

    def __init__(self, spider: str, arguments: dict[str, str], folder: Path):
        self.started = datetime.now(UTC)
        self.spider = spider
        self.arguments = arguments
        self.id = f"{spider}-{self.started:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        self.folder = folder / self.id
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
        self.requests: Counter[str] = Counter()
        self.unproven: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self.files: list[dict[str, Any]] = []
        self.advice: list[str] = []
        self.rejected_rules: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self.unknown_keys: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self.proof: Literal["complete", "probable", "incomplete"] = "incomplete"
        self.errors: list[str] = []
        self.finish_reason = ""
        self._rejected_file: BinaryIO | None = None

    @property
    def day(self) -> date:
        """The date of the run in France, which names its files."""
        return self.started.astimezone(PARIS).date()

    def open(self) -> None:
        """Make the run's folder and start ``rejected.jsonl``.

        Raises :class:`OutputError` when the folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True)
            self._rejected_file = (self.folder / "rejected.jsonl").open("wb")
        except OSError as error:
            raise OutputError(
                f"the folder of runs cannot be written: {error.strerror}: {error.filename}; "
                "give another one with DECP_RUNS_DIR"
            ) from error

    def keep_rejected(self, reference: str | None, problems: Sequence[Problem], raw: bytes) -> None:
        """Keep a row that cannot be published in ``rejected.jsonl``, with its reasons.

        ``raw`` is the row as JSON. Raises :class:`OutputError` when it cannot be kept.
        """
        line = {
            "reference": reference,
            "errors": [problem.as_dict() for problem in problems],
            "raw": orjson.Fragment(raw),
        }
        assert self._rejected_file is not None  # noqa: S101 (opened before the first request)
        try:
            self._rejected_file.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            self._rejected_file.flush()
        except OSError as error:
            raise OutputError(
                f"a rejected row cannot be kept: {error.strerror}: {self._rejected_file.name}"
            ) from error
        for field, rule in {(without_positions(p.path), p.rule) for p in problems}:
            self.rejected_rules[f"{field or 'record'}: {rule}"] += 1

    def note(self, repairs: Sequence[Repair], warnings: Sequence[Problem]) -> None:
        """Count what was repaired in an accepted record, and what the rules only note."""
        for repair in repairs:
            self.repairs[f"{without_positions(repair.path)}: {repair.rule}"] += 1
        for warning in warnings:
            self.warnings[warning.rule] += 1

    def take_counts(self, counts: Counts) -> None:
        """Take over what the store counted: exact also where another run took a record over."""
        self.new = counts.new
        self.updated = counts.updated
        self.unchanged = counts.unchanged
        self.superseded = counts.superseded
        self.rejected = counts.rejected
        self.written = counts.written

    def fail_reference(self, reference: str | None, error: str) -> None:
        """Name a reference that could not be collected; the next run asks for it again."""
        self.failed += 1
        self.failures.append({"reference": reference, "error": error})

    def fail_window(self, filters: dict[str, str], error: str) -> None:
        """Name a search window that could not be answered."""
        self.failures.append({"window": filters, "error": error})

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
    def balanced(self) -> bool:
        """Whether all that entered has left through exactly one door."""
        doors = self.written + self.unchanged + self.superseded + self.rejected + self.failed
        return (
            self.rows == doors
            and self.written == self.new + self.updated
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
            },
            "requests": {kind: self.requests[kind] for kind in ("search", "detail", "retried")},
            "unproven": self.unproven,
            "failures": self.failures,
            "files": self.files,
            "rejected_rules": dict(self.rejected_rules.most_common()),
            "warnings": dict(self.warnings.most_common()),
            "repairs": dict(self.repairs.most_common()),
            "unknown_keys": dict(self.unknown_keys.most_common()),
            "errors": self.errors,
            "advice": self.advice,
        }

    def close(self) -> None:
        """Write ``summary.json``, whole or not at all. Raises :class:`OutputError`."""
        if self._rejected_file is None:
            return  # the run ended before its folder could be made
        try:
            self._rejected_file.close()
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
