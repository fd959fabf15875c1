"""Each warning and error that the project logs has a code of docs/logs.md, and each code is seen.

Whatever the tests get to see of a log goes through :func:`check`, in this process through
:class:`Seen`. With the environment variable ``CODES_SEEN`` they write the codes into the file
that it names; as a program this module then says which of all were not seen (``.ci/run``).
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from dume_spider.codes import CODES, IN_TEXT

#: The loggers of the project, and that of Scrapy which writes what the LogFormatter makes.
_LINE = re.compile(r"^[^\[\n]*\[(?:dume_spider|scrapy\.core\.scraper)\b.*\] (?:WARNING|ERROR): .*$")

#: Where a code stands that was raised: at the beginning of a message, or of a command's word.
_RAISED = re.compile(
    rf"^(?:.*\b(?:WARNING|ERROR)\b[^\[\n]*: |scrapy \w+: )?{IN_TEXT.pattern}", re.MULTILINE
)


def has_code(text: str) -> bool:
    """Whether a message begins with a code that is known."""
    code = IN_TEXT.match(text)
    return code is not None and code[1] in CODES


def uncoded(lines: Iterable[str]) -> list[str]:
    """The warnings and errors in a log that have no known code."""
    found = filter(None, map(_LINE.match, lines))
    return [line[0] for line in found if not has_code(re.split("(?:WARNING|ERROR): ", line[0])[1])]


def check(log: str) -> None:
    """Fail if a log has a warning or an error without a code; note those that it has."""
    assert uncoded(log.splitlines()) == []
    note(log)


_noted: set[str] = set()


def note(text: str) -> None:
    """Write down the codes that are raised in a log, or in what a command says."""
    new = set(_RAISED.findall(text)) - _noted
    _noted.update(new)
    if new and (path := os.environ.get("CODES_SEEN")):
        # At once, and in one piece: several processes write into it.
        with Path(path).open("a", encoding="utf-8") as file:
            file.write("".join(f"{code}\n" for code in sorted(new)))


class Seen(logging.Handler):
    """Notes the codes that this process logs, and keeps the messages that have no known one."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.uncoded: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        note(text)
        if not has_code(text):
            self.uncoded.append(f"{record.name}: {text}")


def verdict(seen: set[str]) -> str:
    """Which codes were not seen, in a line."""
    missing = CODES.keys() - seen
    said = f"{len(CODES) - len(missing)} of {len(CODES)} codes seen"
    return said + (f"; raised by no test: {', '.join(sorted(missing))}" if missing else "")


def main(path: Path) -> int:
    """Say it of what the tests wrote into a file; the exit status."""
    seen = set(path.read_text(encoding="utf-8").split())
    print(verdict(seen))
    return int(not seen >= CODES.keys())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
