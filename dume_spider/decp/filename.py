"""Names of DECP files: ``DECP-{SIRET}-{yyyy}-{mm}-{dd}-{nn}.{json|xml}``.

Source: the publication guide of the essential data (SIRET of the buyer or of the platform,
date of publication, order number within the day). Past 99 the number has three digits,
which is this project's choice: the guide does not say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal, Self, get_args

#: The formats of a DECP file, which are also the extensions of its name.
Format = Literal["json", "xml"]

FORMATS: tuple[Format, ...] = get_args(Format)

_SIRET = re.compile("[0-9]{14}")
_NAME = re.compile(
    "decp-([0-9]{14})-([0-9]{4}-[0-9]{2}-[0-9]{2})-([0-9]{2}|[1-9][0-9]{2,})[.](json|xml)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True, slots=True)
class DecpFilename:
    """The parts of a name; its ``str`` is the name.

    ``siret`` is the buyer's or the platform's, 14 ASCII digits (nothing else may enter a
    name, whatever a service answered); ``number`` counts the files of the SIRET and day
    from 1. Raises :class:`ValueError` for any other value.
    """

    siret: str
    day: date
    number: int
    format: Format

    def __post_init__(self) -> None:
        if not _SIRET.fullmatch(self.siret):
            raise ValueError(f"{self.siret!r} is not a SIRET of 14 digits")
        if self.number < 1:
            raise ValueError(f"{self.number} is not a file number: they start at 1")
        if self.format not in FORMATS:
            raise ValueError(f"{self.format!r} is not a format: {' or '.join(FORMATS)}")

    def __str__(self) -> str:
        day = f"{self.day.year:04}-{self.day.month:02}-{self.day.day:02}"
        return f"DECP-{self.siret}-{day}-{self.number:02}.{self.format}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """Read a name, without a folder before it.

        Case is of no account: data.gouv.fr lower-cases the titles of uploaded files.
        Raises :class:`ValueError` with one sentence when it is not the name of a DECP file.
        """
        match = _NAME.fullmatch(name)
        if not match:
            raise ValueError(
                f"{name!r} is not the name of a DECP file: "
                "DECP-{SIRET}-{yyyy}-{mm}-{dd}-{nn}.json or .xml"
            )
        siret, day, number, format_ = match.groups()
        try:
            parsed = date.fromisoformat(day)
        except ValueError as error:
            raise ValueError(
                f"{name!r} is not the name of a DECP file: {day} is no date"
            ) from error
        if number == "00":
            raise ValueError(f"{name!r} is not the name of a DECP file: numbers start at 01")
        return cls(siret, parsed, int(number), format_.lower())


def decp_name(text: str | None) -> DecpFilename | None:
    """The name that a text is, if it is that of a DECP file."""
    try:
        return DecpFilename.parse(text or "")
    except ValueError:
        return None


def last_numbers(names: Iterable[str], day: date) -> dict[str, int]:
    """The highest number that each SIRET has on ``day``, over all formats.

    The next file goes past it: the JSON and the XML file of one set share their number, and
    one that is free below may have been published. Names that are not of DECP files are passed
    over: folders and data sets hold others too.
    """
    last: dict[str, int] = {}
    mark = f"-{day.isoformat()}-"
    for name in names:
        if mark not in name:  # spares the reading of years of files
            continue
        if parsed := decp_name(name):
            last[parsed.siret] = max(last.get(parsed.siret, 0), parsed.number)
    return last
