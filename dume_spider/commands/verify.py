"""``scrapy verify``: whether DECP files, from anyone, could be published as they are."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any, ClassVar

from scrapy.commands import ScrapyCommand
from scrapy.exceptions import UsageError

from dume_spider.decp.verification import FileVerdict, most_common, verify_file
from dume_spider.exceptions import DumeSpiderError

if TYPE_CHECKING:
    from rich.text import Text


class Command(ScrapyCommand):
    """Verify files; exit status 0 when all are valid, 1 when one is not, 2 for bad usage."""

    requires_project = True
    requires_crawler_process = False
    default_settings: ClassVar[dict[str, Any]] = {"LOG_ENABLED": False}

    def syntax(self) -> str:
        return "[options] FILE..."

    def short_desc(self) -> str:
        return "Verify DECP files: by the schema of their regime, then by the State's rules"

    def long_desc(self) -> str:
        return (
            "Verify DECP files of either regime, JSON or XML (also .gz), from anyone: each "
            "record by its schema, then by the rules (setting DECP_RULES). Files of any size. "
            "Exit status: 0 all are valid, 1 one is not, 2 bad usage. "
            "Example: scrapy verify DECP-*.json"
        )

    def add_options(self, parser: argparse.ArgumentParser) -> None:
        super().add_options(parser)
        parser.add_argument(
            "--json", action="store_true", help="give the result as one JSON object"
        )

    def run(self, args: list[str], opts: argparse.Namespace) -> None:
        if not args:
            raise UsageError("give one file or more (see --help)", print_help=False)
        # Imported here: every command is imported by each call of scrapy.
        from dume_spider.pipelines.validation import read_severities
        from dume_spider.spiders.base import today

        try:
            severities = read_severities(self.settings)
        except DumeSpiderError as error:
            print(f"scrapy verify: {error.line}", file=sys.stderr)
            self.exitcode = 1
            return
        day = today()
        verdicts = []
        for file in args:
            verdict = verify_file(file, day=day, severities=severities)
            if opts.json:
                verdicts.append(verdict.as_dict())
            else:
                show(verdict)
            if not verdict.is_valid:
                self.exitcode = 1
        if opts.json:
            print_json({"valid": not self.exitcode, "files": verdicts})


def print_json(value: Any) -> None:
    """Print a value as JSON; half a surrogate pair, which no file can hold, as its escape."""
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    sys.stdout.buffer.flush()


def show(verdict: FileVerdict) -> None:
    """Print a verdict: one line, and a table if there is something to tell."""
    # Scrapy imports every command at each call: what draws tables waits until there is one.
    from rich.console import Console
    from rich.table import Table

    # Wide enough for paths and values where there is no terminal to fit.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    if verdict.problem:
        console.print(plain(verdict.problem), soft_wrap=True)
    if not verdict.records:
        return
    found = f"{verdict.records:,} records, format of {verdict.regime}"
    if verdict.invalid:
        found += f", {verdict.invalid:,} with errors"
    state = "valid" if verdict.is_valid else "not valid"
    console.print(plain(f"{verdict.file}: {state}: {found}"), soft_wrap=True)
    if not verdict.errors and not verdict.warnings:
        return
    table = Table(show_edge=False, pad_edge=False)
    for name in ("", "field", "rule"):
        table.add_column(name, overflow="fold")
    table.add_column("records", justify="right")
    table.add_column("first", overflow="fold", ratio=1)
    for severity, reasons in (("error", verdict.errors), ("warning", verdict.warnings)):
        for field, rule, reason in most_common(reasons):
            first = f"{reason.first.path}: {reason.first.message}"
            cells = (severity, field, rule, f"{reason.records:,}", first)
            table.add_row(*map(plain, cells))
    console.print(table)


def plain(text: str) -> Text:
    """A text of a file as it can be shown: no markup, nothing that a terminal would obey."""
    from rich.text import Text

    return Text("".join(c if c.isprintable() else repr(c)[1:-1] for c in text))
