"""Each warning and error that the project logs has a code of docs/logs.md."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable

from dume_spider.codes import CODES, IN_TEXT

#: The loggers of the project, and that of Scrapy which writes what the LogFormatter makes.
_LINE = re.compile(r"^[^\[\n]*\[(?:dume_spider|scrapy\.core\.scraper)\b.*\] (?:WARNING|ERROR): .*$")


def has_code(text: str) -> bool:
    """Whether a message begins with a code that is known."""
    code = IN_TEXT.match(text)
    return code is not None and code[1] in CODES


def uncoded(lines: Iterable[str]) -> list[str]:
    """The warnings and errors in a log that have no known code."""
    found = filter(None, map(_LINE.match, lines))
    return [line[0] for line in found if not has_code(re.split("(?:WARNING|ERROR): ", line[0])[1])]


class Uncoded(logging.Handler):
    """Keeps the messages of this process that have no known code."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not has_code(text := record.getMessage()):
            self.messages.append(f"{record.name}: {text}")
