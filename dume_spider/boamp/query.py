"""What is asked of the BOAMP API (Opendatasoft Explore v2.1): ODSQL and parameters.

All ODSQL of the project is made here. A value of the user's or of the service's stands in it
as a :func:`literal`, never as it came.

Sources: the parameters are those of the OpenAPI description of Explore v2.1, the columns
those of the data set ``boamp``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote, urlencode

#: Rows of an answer, at most (documented).
PAGE = 100
#: ``offset + limit`` must not be above it (measured, the bound included).
MAX_ROWS = 10_000

#: What a light search asks for; the notices themselves come with the detail requests.
LIGHT_COLUMNS = ("idweb", "dateparution", "source_schema")
#: A unique ordering: ``dateparution`` alone has ties, and pages would overlap.
ORDER = "dateparution,idweb"

#: The nature that stands for no filter on it.
ALL = "all"

#: What stands for every value that is not listed, null included.
OTHER = "other"
#: Values of ``famille`` (seen); null and others are asked as :data:`OTHER`.
FAMILLES = ("JOUE", "FNS", "MAPA", "DSP", "DIVERS")
#: Values of ``code_departement``; those that are no department are asked as :data:`OTHER`.
DEPARTEMENTS = (
    *(f"{number:02}" for number in range(1, 20)),
    "2A",
    "2B",
    *(str(number) for number in range(21, 96)),
    *("971", "972", "973", "974", "975", "976", "977", "978", "984", "986", "987", "988"),
)

_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")


def literal(text: str) -> str:
    """A text as an ODSQL string: quoted, ``"`` and ``\\`` escaped.

    ODSQL has no way to write a line break: control characters become spaces.
    """
    escaped = _CONTROL.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def one_line(odsql: str) -> str:
    """Check ODSQL that a person wrote; line breaks become spaces.

    Raises ``ValueError`` unless its quotation marks and parentheses are closed: only so can it
    be joined to other conditions by ``and`` without changing what they mean.
    """
    text = _CONTROL.sub(" ", odsql).strip()
    if not text:
        raise ValueError("is empty; leave the argument out instead")
    depth, quote_mark, escaped = 0, "", False
    for character in text:
        if quote_mark:
            if escaped or character == "\\":
                escaped = not escaped
            elif character == quote_mark:
                quote_mark = ""
        elif character in "\"'`":
            quote_mark = character
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth < 0:
                break
    if quote_mark or depth:
        raise ValueError("has a quotation mark or a parenthesis that is not closed")
    return text


@dataclass(frozen=True, slots=True)
class NoticeQuery:
    """One search: every filter, ``None`` (or nothing) where it is not set.

    ``date_start`` and ``date_end`` bound ``dateparution``, both days included. ``nature`` and
    ``departement`` are exact values, ``keyword`` is looked for in the object and the payload,
    ``where`` is ODSQL of the user's, checked by :func:`one_line`.

    ``departements`` and ``familles`` are what the planner splits by: any of these values, or
    ``(OTHER,)`` for what :data:`DEPARTEMENTS` or :data:`FAMILLES` do not list, null included.
    """

    date_start: date | None = None
    date_end: date | None = None
    nature: str | None = None
    departement: str | None = None
    keyword: str | None = None
    where: str | None = None
    departements: tuple[str, ...] = ()
    familles: tuple[str, ...] = ()

    @property
    def is_narrow(self) -> bool:
        """Whether the filters are such that days without any notice are no surprise."""
        usual = self.nature in (None, "ATTRIBUTION")
        return not usual or bool(self.departement or self.keyword or self.where)

    @property
    def is_part_of_day(self) -> bool:
        """Whether it is a part of its days that the planner made."""
        return bool(self.departements or self.familles)

    def on(self, low: date, high: date) -> NoticeQuery:
        """The same query from one day to another, both included."""
        return replace(self, date_start=low, date_end=high)

    def filters(self) -> dict[str, str]:
        """The filters that are set, by name, as text for a person."""
        return {
            field.name: ",".join(value) if isinstance(value, tuple) else str(value)
            for field in fields(self)
            if (value := getattr(self, field.name))
        }

    @classmethod
    def of_filters(cls, filters: Mapping[str, str]) -> NoticeQuery:
        """The query that :meth:`filters` describes: plain values, as a request can keep them."""
        values: dict[str, Any] = dict(filters)
        for name in ("date_start", "date_end"):
            if name in values:
                values[name] = date.fromisoformat(values[name])
        for name in ("departements", "familles"):
            if name in values:
                values[name] = tuple(values[name].split(","))
        return cls(**values)

    def odsql(self) -> str:
        """The condition, for the parameter ``where``; empty when there is none."""
        conditions = []
        if self.date_start is not None:
            conditions.append(f"dateparution >= date'{self.date_start.isoformat()}'")
        if self.date_end is not None and self.date_end < date.max:
            after = self.date_end + timedelta(days=1)
            conditions.append(f"dateparution < date'{after.isoformat()}'")
        if self.nature is not None:
            conditions.append(f"nature = {literal(self.nature)}")
        if self.departement is not None:
            conditions.append(_among("code_departement", spellings([self.departement])))
        if self.departements:
            conditions.append(_part("code_departement", self.departements, DEPARTEMENTS))
        if self.familles:
            conditions.append(_part("famille", self.familles, FAMILLES))
        if self.keyword is not None:
            text = literal(self.keyword)
            conditions.append(f"(search(objet, {text}) or search(donnees, {text}))")
        if self.where is not None:
            # Last: whatever it is, no condition of ours comes after it.
            conditions.append(f"({self.where})")
        return " and ".join(conditions)

    def url(self, base: str, *, columns: Sequence[str], offset: int) -> str:
        """The address of a page of the search; without ``columns`` rows are whole."""
        parameters = {"where": self.odsql(), "order_by": ORDER, "limit": PAGE, "offset": offset}
        if columns:
            parameters["select"] = ",".join(columns)
        return _records(base, parameters)


def detail_url(base: str, idwebs: Sequence[str]) -> str:
    """The address of whole notices, :data:`PAGE` at most, by ``idweb``."""
    where = _among("idweb", idwebs)
    return _records(base, {"where": where, "order_by": ORDER, "limit": PAGE})


def dataset_url(base: str) -> str:
    """The address of the data set's own description, with its columns."""
    return f"{base.rstrip('/')}/catalog/datasets/boamp"


def spellings(departements: Iterable[str]) -> list[str]:
    """The codes as the data set may write them: they are not always padded with a zero."""
    return [
        each
        for code in departements
        for each in ((code, code[1]) if re.fullmatch("0[1-9]", code) else (code,))
    ]


def _part(column: str, values: tuple[str, ...], listed: tuple[str, ...]) -> str:
    if values != (OTHER,):
        return _among(column, spellings(values))
    # Both, whatever the service makes of a null in `not`.
    return f"({column} is null or not {_among(column, spellings(listed))})"


def _among(column: str, values: Sequence[str]) -> str:
    # Of ODSQL's `in` only ranges are known.
    conditions = " or ".join(f"{column} = {literal(value)}" for value in values)
    return conditions if len(values) == 1 else f"({conditions})"


def _records(base: str, parameters: Mapping[str, Any]) -> str:
    given = {name: value for name, value in parameters.items() if value != ""}
    return f"{dataset_url(base)}/records?{urlencode(given, quote_via=quote)}"
