"""Raw values fitted to the format, by changes that are lossless and certain, and no others.

:func:`fit` walks the schema of a record and the raw value together. The shapes, labels and
required fields come from the packaged schema alone; what this module adds is how far a raw
value may be from them and still be understood. Each change is told as a
:class:`~dume_spider.decp.verdict.Repair`; what is not certain is left as it is and told as
a :class:`~dume_spider.decp.verdict.Problem`.

What is repaired was chosen for this project from the faults of real files: numbers, dates
and booleans written as text, labels in capitals or without accents, white space in SIRETs,
lists nested or missing, left-over HTML. The State's own pipeline makes no such repair.

Bounds, lengths and patterns are not looked at here: the schema judges them afterwards
(``dume_spider.decp.schema.problems``), and :func:`join_problems` puts both lists together.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import cache, lru_cache
from html import unescape
from html.entities import html5
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from stdnum import luhn

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.schema import record_schema, resolve
from dume_spider.decp.verdict import Problem, Repair, quote

#: Words that say that there is no value. Real files have them in any field.
NULL_WORDS = frozenset({"nc", "cdl", "mq", "nan", "null"})

# Longer texts than these words with some space around them are not cleaned to be compared.
_LONGEST_NULL = 16

#: Old or foreign spellings that stand for one label of the format, by field. Used only
#: where that label exists.
#: ``procedure``: the labels of schema 1.4, renamed in 1.5 (README of the format's official
#: repository); the AIFE feed writes the last of them with "public", as article 30 of decree
#: 2016-360 does.
#: ``typeIdentifiant``: the aliases that the State's pipeline accepts (decp-arr2022).
RENAMED_LABELS = {
    "procedure": {
        "Procédure concurrentielle avec négociation": "Procédure avec négociation",
        "Procédure négociée avec mise en concurrence préalable": "Procédure avec négociation",
        "Marché négocié sans publicité ni mise en concurrence préalable": (
            "Marché passé sans publicité ni mise en concurrence préalable"
        ),
        "Marché public négocié sans publicité ni mise en concurrence préalable": (
            "Marché passé sans publicité ni mise en concurrence préalable"
        ),
    },
    "typeIdentifiant": {"FRW": "FRWF", "TVA intracommunautaire": "TVA"},
}

_PARIS = ZoneInfo("Europe/Paris")

#: Whole floats below this are exact integers.
_EXACT_FLOATS = 2**53
#: JSON libraries, orjson among them, refuse integers beyond 64 bits.
_LARGEST_INTEGER = 2**63 - 1
#: A float holds any decimal number of so many digits; longer ones are no amounts anyway.
_EXACT_DIGITS = 15


# ---------------------------------------------------------------------------- names


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """Put by :class:`Names` in place of a value: two keys give the field different values."""

    keys: tuple[str, ...]


class Names:
    """How :func:`fit` finds the fields of the format in raw objects: by their exact names.

    ``dume_spider.dume.mapping`` has a tolerant one. ``where`` is the place of an object in
    the format, without list positions and wrappers: ``""`` is the record, then for example
    ``acheteur``, ``titulaires`` or ``modifications.titulaires``.
    """

    def fields(self, raw: dict[str, Any], where: str) -> Mapping[str, Any]:
        """The raw values of an object by the names of the format; unknown names are ignored."""
        return raw

    def same(self, key: str, name: str) -> bool:
        """Whether ``key`` is a spelling of ``name``."""
        return key == name

    def wraps(self, key: str, name: str) -> bool:
        """Whether ``key`` can stand around what is in a list, for its wrapper ``name``."""
        return key == name

    def unwrapped(self, raw: dict[str, Any], key: str, where: str) -> None:
        """Told that only ``raw[key]`` was taken of an object, as the wrapper of an item."""


EXACT_NAMES = Names()


# ---------------------------------------------------------------------------- result


class Fitted(NamedTuple):
    """A record with what could not be fitted and what was changed.

    ``record`` has only fields of the format, and holds whatever could be fitted even if
    there are problems; it can always be written as JSON.
    """

    record: dict[str, Any]
    problems: tuple[Problem, ...]
    repairs: tuple[Repair, ...]


def fit(
    raw: dict[str, Any], type: ContractType, regime: Regime, names: Names = EXACT_NAMES
) -> Fitted:
    """Fit the raw values of one contract to the format of its type and regime.

    Args:
        raw: the contract, a JSON object. It is not changed.
        type: its type of contract.
        regime: its regime; see :mod:`dume_spider.decp.regime`.
        names: how its fields are found.

    A fitted record that is valid is fitted again without any change.
    """
    job = _Job(names)
    record = _plan(type, regime).of_fields(names.fields(raw, ""), (), job)
    return Fitted(record, tuple(job.problems), tuple(job.repairs))


def join_problems(first: Iterable[Problem], second: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems of both, without those of ``second`` whose path ``first`` already names.

    So a missing field told by :func:`fit` and by the schema is told once, in the words of
    :func:`fit`.
    """
    first = tuple(first)
    told = {problem.path for problem in first}
    return first + tuple(problem for problem in second if problem.path not in told)


def fields_of(type: ContractType, regime: Regime) -> dict[str, dict[str, bool]]:
    """The fields of the format: for each place of an object, its fields by dotted name.

    The value says whether the field holds a list. Nested single objects are part of the
    name: ``fields_of(…)[""]`` has ``acheteur.id``, and ``titulaires``, whose own fields are
    under ``fields_of(…)["titulaires"]``.
    """
    found: dict[str, dict[str, bool]] = {}
    _plan(type, regime).describe(found, "", "")
    return found


def fit_date(raw: Any, field: str, names: Names = EXACT_NAMES) -> date | None:
    """The day that the raw value of a date field stands for, as :func:`fit` reads it.

    None when it is missing or not certain.
    """
    value = _Date(field).fit(raw, (), _Job(names))
    return calendar_day(value) if isinstance(value, str) else None


def is_null(raw: Any) -> bool:
    """Whether a raw value says nothing: null, empty, blank, or a word such as ``NC``."""
    if not isinstance(raw, str):
        return _is_blank(raw)
    if len(raw) > _LONGEST_NULL:
        return raw.isspace()
    text = clean(raw)
    return not text or text.casefold() in NULL_WORDS


# ---------------------------------------------------------------------------- text

# Everything that `clean` may change but runs of plain spaces, which are quicker to find.
_SUSPECT = re.compile(
    "[\x00-\x1f\x7f-\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
    "\ud800-\udfff\ufffe\uffff&<]"
)
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_LINE_BREAK = re.compile(r"<br\s*/?>", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_NONCHARACTER = re.compile("[\ufffe\uffff]")
# The controls that `str.split` does not take for white space, each with what it becomes.
# Those from 0x80 on are printable characters of Windows-1252 read as Latin-1 (0x92 is an
# apostrophe); HTML reads them so too. The others become nothing.
_CONTROLS = dict.fromkeys((*range(0x09), *range(0x0E, 0x1C), *range(0x7F, 0x85)))
_CONTROLS |= {
    code: bytes([code]).decode("cp1252", "ignore") for code in range(0x80, 0xA0) if code != 0x85
}
#: Encoded so many times over, an entity is no accident.
_MOST_PASSES = 10


def clean(text: str) -> str:
    """A text as both JSON and XML can hold it, on one line, without encoded characters.

    Runs of white space become one space and outer ones go; other control characters go, or
    become the character of Windows-1252 that they were; complete HTML entities and ``<br>``
    are decoded. What no UTF-8 file can hold (half a surrogate pair, U+FFFE, U+FFFF) becomes
    U+FFFD, which says that something was lost there. Nothing is ever cut.
    """
    for _ in range(_MOST_PASSES):
        if not _SUSPECT.search(text) and "  " not in text and text == text.strip(" "):
            return text
        cleaned = _clean_once(text)
        if cleaned == text:
            return text
        text = cleaned
    return text


def _clean_once(text: str) -> str:
    text = _ENTITY.sub(_decoded, text)
    text = _LINE_BREAK.sub(" ", text)
    if _SURROGATE.search(text):
        # Halves that stand side by side are joined.
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    text = _NONCHARACTER.sub("\ufffd", text)
    text = text.translate(_CONTROLS)
    return " ".join(text.split())


def _decoded(entity: re.Match[str]) -> str:
    written = entity[0]
    if written[1] != "#":
        return html5.get(written[1:], written)
    character = unescape(written)
    return written if character in ("", "\ufffd") else character


_LIGATURES = str.maketrans({"œ": "oe", "æ": "ae"})
_FOLDED_AWAY = re.compile(r"[\s_\-\u2010-\u2013'`´\u2018\u2019\u02bc]")


@lru_cache(maxsize=4096)
def fold(text: str) -> str:
    """A label without case, accents, apostrophes, spaces, underscores and hyphens."""
    text = unicodedata.normalize("NFD", text.casefold())
    text = "".join(character for character in text if not unicodedata.combining(character))
    return _FOLDED_AWAY.sub("", text.translate(_LIGATURES))


# ---------------------------------------------------------------------------- numbers, dates

# Spaces stand between groups of three digits and nowhere else: "10 20" may be two numbers.
_DECIMAL = re.compile(r"([0-9]+|[0-9]{1,3}(?: [0-9]{3})+)(?:[.,]([0-9]+))?")


def number_of(text: str, *, currency: bool) -> int | float | None:
    """The number that a text, cleaned by :func:`clean`, stands for, if that is certain.

    Three decimals and more are not (``1.234`` may be a thousand), unless a zero comes
    before the mark (``0.125``).
    """
    if currency:
        text = text.removeprefix("€") if text.startswith("€") else text.removesuffix("€")
    match = _DECIMAL.fullmatch(text.strip())
    if match is None:
        return None
    whole, decimals = match[1].replace(" ", ""), match[2]
    if len(whole) + len(decimals or "") > _EXACT_DIGITS:
        return None
    if decimals is None:
        return int(whole)
    if len(decimals) > 2 and whole != "0":
        return None
    return _whole(float(f"{whole}.{decimals}"))


def _whole(number: float) -> int | float:
    """The number as an integer if it is one: ``12.0`` and ``12`` are one JSON number."""
    if number.is_integer() and abs(number) < _EXACT_FLOATS:
        return int(number)
    return number


_ISO_DATE = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?P<time>[T ][0-9:.,]+)?"
    r"(?P<zone>Z|[+-](?:[01][0-9]|2[0-3]):?[0-5][0-9]Z?)?"
)
_MIDNIGHT = re.compile(r"[T ]00:00(?::00(?:[.,]0+)?)?")


@lru_cache(maxsize=8192)
def calendar_day(text: str) -> date | None:
    """The day that a text stands for, or None if it is not certain or not in the calendar.

    A zone behind a bare date is without effect. With a time, only midnight in Paris is
    certain: midnight elsewhere may be the day before.
    """
    match = _ISO_DATE.fullmatch(text)
    if match is None:
        return None
    try:
        day = date.fromisoformat(match[1])
    except ValueError:
        return None
    if match["time"] is None:
        return day
    if not _MIDNIGHT.fullmatch(match["time"]):
        return None
    return day if match["zone"] in (None, *_paris_zones(day)) else None


def _paris_zones(day: date) -> tuple[str, str]:
    """The two ways to write the offset of Paris at the start of ``day``."""
    zone = datetime.combine(day, time(), _PARIS).strftime("%z")
    return zone, f"{zone[:3]}:{zone[3:]}"


# ---------------------------------------------------------------------------- the walk

_Path = tuple[str | int, ...]

#: What a node gives instead of a value: there is none, or it was refused and told.
_ABSENT: Any = object()
_REFUSED: Any = object()


class _Job:
    """One record's problems and repairs while it is being fitted."""

    __slots__ = ("names", "problems", "repairs")

    def __init__(self, names: Names) -> None:
        self.names = names
        self.problems: list[Problem] = []
        self.repairs: list[Repair] = []

    def problem(self, path: _Path, rule: str, message: str) -> None:
        self.problems.append(Problem(".".join(map(str, path)), rule, message))

    def repair(self, path: _Path, rule: str, before: Any, after: Any) -> None:
        where = ".".join(map(str, path))
        self.repairs.append(Repair(where, rule, _storable(before), _storable(after)))

    def mark(self) -> tuple[int, int]:
        return len(self.problems), len(self.repairs)

    def rewind(self, mark: tuple[int, int]) -> None:
        del self.problems[mark[0] :]
        del self.repairs[mark[1] :]


def _storable(raw: Any) -> Any:
    """A raw value as any JSON library can write it, for the list of repairs."""
    if isinstance(raw, str):
        return raw.encode("utf-8", "backslashreplace").decode() if _SURROGATE.search(raw) else raw
    if isinstance(raw, list):
        return [_storable(item) for item in raw]
    if isinstance(raw, dict):
        return {_storable(key): _storable(value) for key, value in raw.items()}
    if isinstance(raw, float) and not math.isfinite(raw):
        return repr(raw)
    if isinstance(raw, int) and abs(raw) > _LARGEST_INTEGER:
        return repr(raw)
    return raw


def _is_blank(raw: Any) -> bool:
    """Whether there is no value anywhere in a raw value."""
    if raw is None:
        return True
    if isinstance(raw, str):
        return not raw or raw.isspace()
    if isinstance(raw, list):
        return all(_is_blank(item) for item in raw)
    if isinstance(raw, dict):
        return all(_is_blank(value) for value in raw.values())
    return False


def _is_structured(raw: Any) -> bool:
    return isinstance(raw, list | dict)


def _kind(raw: Any) -> str:
    """A JSON structure as it is called in a message; its content is not quoted."""
    if isinstance(raw, list):
        return f"a list of {len(raw)} values"
    return "an object"


class _Scalar:
    """A field with one value. Subclasses say what a text or a number becomes."""

    kind = ""
    #: The rule of the problem of a value that is not understood.
    rule = "type"

    def __init__(self, name: str, *, null_words: bool = True) -> None:
        self.name = name
        self.null_words = null_words

    def describe(self, found: dict[str, dict[str, bool]], where: str, name: str) -> None:
        found.setdefault(where, {})[name] = False

    def fit(self, raw: Any, path: _Path, job: _Job) -> Any:
        if isinstance(raw, list | dict):
            raw = self._single(raw, path, job)
        if raw is None or raw is _ABSENT:
            return _ABSENT
        if raw is _REFUSED:
            return _REFUSED
        if isinstance(raw, str):
            text = clean(raw)
            if not text:
                return _ABSENT
            if self.null_words and text.casefold() in NULL_WORDS:
                job.repair(path, "null", raw, None)
                return _ABSENT
            return self.of_text(text, raw, path, job)
        if isinstance(raw, bool):
            return self.of_boolean(raw, path, job)
        if isinstance(raw, int) and abs(raw) > _LARGEST_INTEGER:
            return self.refuse(_REFUSED, raw, path, job)
        if isinstance(raw, float) and not math.isfinite(raw):
            return self.refuse(_REFUSED, raw, path, job)
        return self.of_number(raw, path, job)

    def _single(self, raw: list[Any] | dict[str, Any], path: _Path, job: _Job) -> Any:
        """The one value of a list, or of an object that only repeats the field's name."""
        values: list[Any] = []
        pending: list[Any] = [raw]
        while pending:
            value = pending.pop()
            if isinstance(value, list):
                pending.extend(reversed(value))
            elif isinstance(value, dict) and len(value) == 1:
                ((key, inner),) = value.items()
                if job.names.same(key, self.name):
                    pending.append(inner)
                else:
                    values.append(value)
            elif value is not None and value not in values:
                values.append(value)
        if len(values) == 1 and not _is_structured(values[0]):
            job.repair(path, "flatten", raw, values[0])
            return values[0]
        if all(_is_blank(value) for value in values):
            return _ABSENT
        job.problem(path, self.rule, f"{_kind(raw)} is not {self.kind}")
        return _REFUSED

    def refuse(self, kept: Any, raw: Any, path: _Path, job: _Job) -> Any:
        """Tell that ``raw`` is not understood; ``kept`` stays in the record."""
        job.problem(path, self.rule, f"{quote(raw)} is not {self.kind}")
        return kept

    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        return self.refuse(text, raw, path, job)

    def of_number(self, raw: Any, path: _Path, job: _Job) -> Any:
        return self.refuse(raw, raw, path, job)

    def of_boolean(self, raw: bool, path: _Path, job: _Job) -> Any:
        return self.refuse(raw, raw, path, job)


class _Text(_Scalar):
    kind = "a text"

    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        if text != raw:
            job.repair(path, "text", raw, text)
        return text

    def of_number(self, raw: Any, path: _Path, job: _Job) -> Any:
        if not isinstance(raw, int):
            return self.refuse(raw, raw, path, job)
        job.repair(path, "text", raw, str(raw))
        return str(raw)


class _PartyId(_Text):
    """The identifier of a company: its repair has the name that its type gives it."""

    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        return text

    def of_number(self, raw: Any, path: _Path, job: _Job) -> Any:
        return str(raw) if isinstance(raw, int) else self.refuse(raw, raw, path, job)


class _Siret(_Text):
    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        siret = _compact_siret(text)
        if siret != raw:
            job.repair(path, "siret", raw, siret)
        return siret

    def of_number(self, raw: Any, path: _Path, job: _Job) -> Any:
        if not isinstance(raw, int):
            return self.refuse(raw, raw, path, job)
        job.repair(path, "siret", raw, str(raw))
        return str(raw)


_FOURTEEN_DIGITS = re.compile(r"[0-9]{14}")


def _compact_siret(text: str) -> str:
    """A SIRET without the spaces in it; any other text as it is."""
    compact = "".join(text.split())
    return compact if _FOURTEEN_DIGITS.fullmatch(compact) else text


class _Cpv(_Text):
    """A code of the CPV, whose first digit is lost where it was read as a number.

    Only the divisions 03 and 09 begin with a zero. Seven digits that begin with 3 or 9 are
    one of theirs (right for 94 of the 95 codes of real files that could be checked); any
    other seven digits may lack another digit.
    """

    rule = "cpv"
    kind = "a CPV code"

    def of_text(self, text: str, raw: Any, path: _Path, job: _Job) -> Any:
        code = text
        if re.fullmatch(r"[0-9]{7}", text):
            if text[0] not in "39":
                message = f"{quote(raw)} has 7 digits of 8, and which one is missing is not certain"
                job.problem(path, "cpv", message)
                return text
            code = f"0{text}"
        if code != raw:
            job.repair(path, "cpv", raw, code)
        return code

    def of_number(self, raw: Any, path: _Path, job: _Job) -> Any:
        if not isinstance(raw, int):
            return self.refuse(raw, raw, path, job)
        return self.of_text(str(raw), raw, path, job)


class _Date(_Scalar):
    kind = "a date written YYYY-MM-DD"
    rule = "date"

    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        day = calendar_day(text)
        if day is None:
            return self.refuse(text, raw, path, job)
        # Not strftime: it does not fill years to four digits on every system.
        if raw != (written := day.isoformat()):
            job.repair(path, "date", raw, written)
        return written


class _Number(_Scalar):
    kind = "a number"
    currency = True

    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        number = number_of(text, currency=self.currency)
        if number is None or not self.accepts(number):
            return self.refuse(text, raw, path, job)
        job.repair(path, "number", raw, number)
        return number

    def of_number(self, raw: Any, path: _Path, job: _Job) -> Any:
        if isinstance(raw, float):
            return _whole(raw)
        return raw if isinstance(raw, int) else self.refuse(_REFUSED, raw, path, job)

    def accepts(self, number: float) -> bool:
        return True


class _Integer(_Number):
    kind = "a whole number"
    currency = False

    def of_number(self, raw: Any, path: _Path, job: _Job) -> Any:
        number = super().of_number(raw, path, job)
        if isinstance(number, float):
            return self.refuse(number, raw, path, job)
        if isinstance(raw, float):
            job.repair(path, "number", raw, number)
        return number

    def accepts(self, number: float) -> bool:
        return isinstance(number, int)


_BOOLEANS = {"true": True, "false": False, "oui": True, "non": False, "1": True, "0": False}


class _Boolean(_Scalar):
    kind = "true or false"

    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        value = _BOOLEANS.get(text.casefold())
        if value is None:
            return self.refuse(text, raw, path, job)
        job.repair(path, "boolean", raw, value)
        return value

    def of_number(self, raw: Any, path: _Path, job: _Job) -> Any:
        if raw not in (0, 1):
            return self.refuse(raw, raw, path, job)
        job.repair(path, "boolean", raw, bool(raw))
        return bool(raw)

    def of_boolean(self, raw: bool, path: _Path, job: _Job) -> Any:
        return raw


class _Label(_Scalar):
    """One label of a closed list, matched when folded it is like exactly one of them."""

    rule = "enum"

    def __init__(self, name: str, labels: Iterable[str]) -> None:
        super().__init__(name)
        self.labels = tuple(labels)
        self.kind = f"one of: {', '.join(self.labels)}"
        self.by_fold: dict[str, str] = {}
        twice = set()
        for label in self.labels:
            if fold(label) in self.by_fold:
                twice.add(fold(label))
            self.by_fold[fold(label)] = label
        for folded in twice:
            del self.by_fold[folded]
        for old, label in RENAMED_LABELS.get(name, {}).items():
            if label in self.labels:
                self.by_fold.setdefault(fold(old), label)

    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        if raw in self.labels:
            return raw
        label = text if text in self.labels else self.by_fold.get(fold(text))
        if label is None:
            return self.refuse(text, raw, path, job)
        job.repair(path, "label", raw, label)
        return label


class _Nature(_Label):
    """The nature of a contract, where a label of the former regime waits for its record."""

    def __init__(self, name: str, labels: Iterable[str], former: Iterable[str]) -> None:
        super().__init__(name, labels)
        self.former = {fold(label) for label in former} - self.by_fold.keys()

    def of_text(self, text: str, raw: str, path: _Path, job: _Job) -> Any:
        return text if fold(text) in self.former else super().of_text(text, raw, path, job)


class _List:
    """A list of labels or of objects, each in its ``wrapper`` if the format has one.

    ``around`` are the keys that may stand around the list or its items in a raw value.
    """

    def __init__(
        self,
        where: str,
        item: _Label | _Object,
        wrapper: str | None,
        around: tuple[str, ...],
        *,
        unique: bool,
        keep_empty: bool,
    ) -> None:
        self.where = where
        self.item = item
        self.wrapper = wrapper
        self.around = around
        self.unique = unique
        #: Required and allowed to be empty: then an absent list and an empty one say the
        #: same, that nothing has been published (modifications, execution data of 2019).
        self.keep_empty = keep_empty
        self.of_objects = isinstance(item, _Object)

    def describe(self, found: dict[str, dict[str, bool]], where: str, name: str) -> None:
        found.setdefault(where, {})[name] = True
        if isinstance(self.item, _Object):
            self.item.describe(found, f"{where}.{name}".removeprefix("."), "")

    def fit(self, raw: Any, path: _Path, job: _Job) -> Any:
        items, deepest = self._flat(raw, job)
        if deepest > 1 or (deepest == 1 and self.of_objects and isinstance(raw, dict)):
            job.repair(path, "flatten", raw, items)
        elif deepest == 0 and self.of_objects and any(isinstance(item, dict) for item in items):
            job.repair(path, "wrap", raw, items)
        fitted: list[Any] = []
        seen: set[str] = set()
        for item in items:
            mark = job.mark()
            at = (*path, len(fitted))
            value = self.item.fit(item, at if self.wrapper is None else (*at, self.wrapper), job)
            if value is _ABSENT:
                if _is_structured(item):
                    job.repair(at, "null", item, None)
                continue
            refused = value is _REFUSED
            if refused:
                value = None
            if self.wrapper is not None:
                value = {self.wrapper: value}
            if self.unique and len(items) > 1 and not refused:
                same = json.dumps(value, sort_keys=True)
                if same in seen:
                    job.rewind(mark)
                    job.repair(at, "duplicate", value, None)
                    continue
                seen.add(same)
            fitted.append(value)
        return fitted if fitted or self.keep_empty else _ABSENT

    def _flat(self, raw: Any, job: _Job) -> tuple[list[Any], int]:
        """The items in order, out of their wrappers, and how many lists the deepest was in."""
        items: list[Any] = []
        deepest = 0
        pending = [(raw, 0)]
        while pending:
            value, depth = pending.pop()
            if isinstance(value, list):
                pending.extend((inner, depth + 1) for inner in reversed(value))
                continue
            if value is None or value == {} or (isinstance(value, str) and not clean(value)):
                continue
            if isinstance(value, dict):
                inner = self._unwrapped(value, job)
                if inner is not value:
                    pending.append((inner, depth))
                    continue
            items.append(value)
            deepest = max(deepest, depth)
        return items, deepest

    def _unwrapped(self, value: dict[str, Any], job: _Job) -> Any:
        """What a wrapper holds; ``value`` itself if it is no wrapper."""
        for key, inner in value.items():
            if not any(job.names.wraps(key, around) for around in self.around):
                continue
            if isinstance(self.item, _Object) and self._is_of_item(key, value, job.names):
                continue
            if len(value) > 1:
                job.names.unwrapped(value, key, self.where)
            return inner
        return value

    def _is_of_item(self, key: str, value: dict[str, Any], names: Names) -> bool:
        """Whether ``value`` is an item itself: what is under ``key`` is not all of it."""
        if not _may_hold_items(value[key]):
            # A tarif has a tarif of its own.
            return len(value) > 1 or self.item.has(key, names)
        return len(value) > 1 and any(self.item.has(other, names) for other in value)


def _may_hold_items(raw: Any) -> bool:
    return isinstance(raw, dict) or (
        isinstance(raw, list) and (not raw or any(_is_structured(item) for item in raw))
    )


class _Holder:
    """An object whose only field is a list of labels: ``{"technique": [...]}``."""

    def __init__(self, key: str, labels: _List) -> None:
        self.key = key
        self.labels = labels

    def describe(self, found: dict[str, dict[str, bool]], where: str, name: str) -> None:
        self.labels.describe(found, where, name)

    def fit(self, raw: Any, path: _Path, job: _Job) -> Any:
        labels = self.labels.fit(raw, (*path, self.key), job)
        return _ABSENT if labels is _ABSENT else {self.key: labels}


_Node = Any  # _Scalar | _List | _Holder | _Object: whatever has fit and describe


class _Object:
    """An object of named fields."""

    def __init__(
        self, where: str, properties: Mapping[str, _Node], required: Iterable[str]
    ) -> None:
        self.where = where
        self.properties = tuple(properties.items())
        self.required = tuple(required)
        #: Lists that are there even when the raw object has none.
        self.always = frozenset(
            key for key, node in self.properties if isinstance(node, _List) and node.keep_empty
        )

    def has(self, key: str, names: Names) -> bool:
        return any(names.same(key, name) for name, _ in self.properties)

    def describe(self, found: dict[str, dict[str, bool]], where: str, name: str) -> None:
        prefix = f"{name}." if name else ""
        for key, node in self.properties:
            node.describe(found, where, prefix + key)

    def fit(self, raw: Any, path: _Path, job: _Job) -> Any:
        if isinstance(raw, dict):
            if _is_blank(raw):
                return _ABSENT
            return self.of_fields(job.names.fields(raw, self.where), path, job)
        if isinstance(raw, list):
            values = [item for item in raw if not _is_blank(item)]
            if not values:
                return _ABSENT
            if len(values) == 1 and isinstance(values[0], dict):
                job.repair(path, "flatten", raw, values[0])
                return self.fit(values[0], path, job)
            job.problem(path, "type", f"{_kind(raw)} is not an object")
            return _REFUSED
        if is_null(raw):
            if not _is_blank(raw):
                job.repair(path, "null", raw, None)
            return _ABSENT
        return self.of_scalar(raw, path, job)

    def of_scalar(self, raw: Any, path: _Path, job: _Job) -> Any:
        job.problem(path, "type", f"{quote(raw)} is not an object")
        return _REFUSED

    def of_fields(self, fields: Mapping[str, Any], path: _Path, job: _Job) -> dict[str, Any]:
        values: dict[str, Any] = {}
        refused: set[str] = set()
        for key, node in self.members(fields):
            raw = fields.get(key)
            if raw is None and key not in self.always:
                continue
            if isinstance(raw, Ambiguous):
                keys = " and ".join(raw.keys)
                message = f"is given two different values, by the keys {keys}"
                job.problem((*path, key), "ambiguous", message)
                refused.add(key)
                continue
            value = node.fit(raw, (*path, key), job)
            if value is _REFUSED:
                refused.add(key)
            elif value is not _ABSENT:
                values[key] = value
        values = self.finished(values, refused, fields, path, job)
        for key in self.required:
            if key not in values and key not in refused:
                job.problem((*path, key), "required", "is missing")
        return values

    def members(self, fields: Mapping[str, Any]) -> tuple[tuple[str, _Node], ...]:
        return self.properties

    def finished(
        self,
        values: dict[str, Any],
        refused: set[str],
        fields: Mapping[str, Any],
        path: _Path,
        job: _Job,
    ) -> dict[str, Any]:
        """The values after what one field says about another."""
        return values


class _Party(_Object):
    """A company with an identifier and its type: titulaire, concessionnaire, sous-traitant."""

    def of_scalar(self, raw: Any, path: _Path, job: _Job) -> Any:
        if isinstance(raw, str | int) and not isinstance(raw, bool):
            return self.of_fields({"id": raw}, path, job)
        return super().of_scalar(raw, path, job)

    def finished(
        self,
        values: dict[str, Any],
        refused: set[str],
        fields: Mapping[str, Any],
        path: _Path,
        job: _Job,
    ) -> dict[str, Any]:
        identifier = values.get("id")
        if not isinstance(identifier, str):
            return values
        raw, rule = fields["id"], "text"
        siret = _compact_siret(identifier)
        untyped = "typeIdentifiant" not in values and "typeIdentifiant" not in refused
        if untyped and _FOURTEEN_DIGITS.fullmatch(siret) and luhn.is_valid(siret):
            # As many digits as only a SIRET has, and the right check sum.
            values = {"typeIdentifiant": "SIRET", **values}
            job.repair((*path, "typeIdentifiant"), "id-type", None, "SIRET")
        if values.get("typeIdentifiant") == "SIRET":
            values["id"] = siret
            rule = "siret"
        if not _is_structured(raw) and values["id"] != raw:
            job.repair((*path, "id"), rule, raw, values["id"])
        return values


class _Place(_Object):
    """A place: where its code is a country's, ``NC`` is New Caledonia and ``MQ`` Martinique."""

    def __init__(
        self, where: str, properties: Mapping[str, _Node], required: Iterable[str]
    ) -> None:
        super().__init__(where, properties, required)
        self._of_country = tuple(
            (key, _Text(key, null_words=False) if key == "code" else node)
            for key, node in self.properties
        )

    def members(self, fields: Mapping[str, Any]) -> tuple[tuple[str, _Node], ...]:
        kind = fields.get("typeCode")
        if isinstance(kind, str) and fold(clean(kind)) == "codepays":
            return self._of_country
        return self.properties


class _Record(_Object):
    """A whole record."""

    def finished(
        self,
        values: dict[str, Any],
        refused: set[str],
        fields: Mapping[str, Any],
        path: _Path,
        job: _Job,
    ) -> dict[str, Any]:
        """Tell a nature of the former regime, where the format has no such nature any more.

        Accord-cadre and Marché subséquent are now a technique and a link to one: such a
        contract is a Marché if the record says so itself.
        """
        nature = values.get("nature")
        node = dict(self.properties)["nature"]
        if not isinstance(node, _Nature) or not isinstance(nature, str):
            return values
        if fold(nature) not in node.former:
            return values
        techniques = values.get("techniques", {}).get("technique", ())
        if "Accord-cadre" in techniques or "idAccordCadre" in values:
            values["nature"] = "Marché"
            job.repair((*path, "nature"), "label", fields["nature"], "Marché")
        else:
            job.problem(
                (*path, "nature"),
                "enum",
                f"{quote(nature)} is a nature of the 2019 regime, and the record has neither "
                "the technique Accord-cadre nor an idAccordCadre",
            )
        return values


# ---------------------------------------------------------------------------- the plan


@cache
def _plan(type: ContractType, regime: Regime) -> _Record:
    """The schema of a record as the nodes that fit its values."""
    return _Compiler(type, regime).record


_BY_DEFINITION = {"date": _Date, "siret": _Siret}
_BY_TYPE = {"string": _Text, "number": _Number, "integer": _Integer, "boolean": _Boolean}


class _Compiler:
    """Makes the nodes out of one record's schema."""

    def __init__(self, type: ContractType, regime: Regime) -> None:
        self.root = record_schema(type, regime)
        #: The key that wraps the items of each list, by place. The JSON of 2019 has no
        #: wrappers, but its XML has, and they are left over where one was made of the other.
        self.wrappers: dict[str, str] = {}
        if regime is Regime.R2019:
            self.wrappers = _Compiler(type, Regime.R2022).wrappers
        properties = self._properties(self.root, "")
        if regime is Regime.R2022:
            former = record_schema(type, Regime.R2019)
            labels = resolve(former["properties"]["nature"], former)["enum"]
            properties["nature"] = _Nature("nature", properties["nature"].labels, labels)
        self.record = _Record("", properties, self.root["required"])

    def _properties(self, schema: dict[str, Any], where: str) -> dict[str, _Node]:
        required = schema.get("required", ())
        return {
            name: self._node(child, name, f"{where}.{name}".removeprefix("."), name in required)
            for name, child in schema["properties"].items()
        }

    def _node(self, schema: dict[str, Any], name: str, where: str, required: bool) -> _Node:
        schema = resolve(schema, self.root)
        for definition, kind in _BY_DEFINITION.items():
            if schema is self.root["definitions"].get(definition):
                return kind(name)
        if "enum" in schema:
            return _Label(name, schema["enum"])
        if "properties" in schema:
            return self._holder(schema, name) or self._object(schema, where)
        if schema["type"] == "array":
            return self._list(schema, name, where, required)
        return _Cpv(name) if name == "codeCPV" else _BY_TYPE[schema["type"]](name)

    def _holder(self, schema: dict[str, Any], name: str) -> _Holder | None:
        key, child = next(iter(schema["properties"].items()))
        child = resolve(child, self.root)
        if child.get("type") != "array" or "enum" not in child["items"]:
            return None
        labels = _Label(key, child["items"]["enum"])
        unique = child.get("uniqueItems", False)
        return _Holder(key, _List(name, labels, None, (name, key), unique=unique, keep_empty=False))

    def _object(self, schema: dict[str, Any], where: str) -> _Object:
        children = self._properties(schema, where)
        required = schema.get("required", ())
        if {"typeIdentifiant", "id"} <= children.keys():
            return _Party(where, children | {"id": _PartyId("id")}, required)
        if {"code", "typeCode"} <= children.keys():
            return _Place(where, children, required)
        return _Object(where, children, required)

    def _list(self, schema: dict[str, Any], name: str, where: str, required: bool) -> _List:
        items = resolve(schema["items"], self.root)
        wrapper = None
        if len(items["properties"]) == 1:
            ((wrapper, inner),) = items["properties"].items()
            items = resolve(inner, self.root)
            self.wrappers[where] = wrapper
        around = (name, self.wrappers[where]) if where in self.wrappers else (name,)
        return _List(
            where,
            self._object(items, where),
            wrapper,
            around,
            unique=schema.get("uniqueItems", False),
            keep_empty=required and not schema.get("minItems", 0),
        )
