"""ODSQL conditions, as far as the spider and its users write them: read and evaluated.

``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``is null``, ``is not null``, ``like``,
``search(column, …, text)``, ``and``, ``or``, ``not``, parentheses; texts in either quotation
mark with ``\\`` before what would end them, ``date'…'``, numbers, ``true``, ``false``. A column
that holds several values matches if one of them does; null matches nothing but ``is null``.
There is no ``not in`` and no ``not like`` (seen), and ``in`` is not known for texts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Protocol


class OdsqlError(ValueError):
    """A condition that the service would refuse, with its message."""


class Row(Protocol):
    """What a condition is asked of: the value of a column, ``None`` when it has none."""

    def value(self, column: str) -> Any: ...


Test = Callable[[Row], bool]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that was read.

    ``test`` says whether a row fulfils it; ``needs`` maps columns to the only values with
    which a row can (of ``=``), so that an index can be used.
    """

    test: Test
    needs: dict[str, tuple[Any, ...]]


_TOKEN = re.compile(
    r"""\s*(?:
        (?P<date>date(?P<dq>['"])(?P<day>[0-9T:.+Z-]*)(?P=dq))
      | (?P<text>"(?:[^"\\\r\n]|\\.)*"|'(?:[^'\\\r\n]|\\.)*')
      | (?P<number>-?[0-9]+(?:\.[0-9]+)?)
      | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<mark><=|>=|!=|<|>|=|\(|\)|,|\*)
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_COMPARE = {"=": eq, "!=": ne, "<": lt, "<=": le, ">": gt, ">=": ge}
_KEYWORDS = ("and", "or", "not", "in", "is", "null", "like", "true", "false")


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    value: Any
    at: int


def parse(text: str, columns: Collection[str]) -> Condition:
    """Read a condition on these columns. Raises :class:`OdsqlError`."""
    reader = _Reader(text, columns)
    condition = reader.either()
    reader.end()
    return condition


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise OdsqlError(_unexpected(text[at], at, text))
        kind = next(name for name in ("date", "text", "number", "word", "mark") if match[name])
        value: Any = match[kind]
        if kind == "date":
            value = match["day"]
        elif kind == "text":
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        elif kind == "number":
            value = float(value) if "." in value else int(value)
        yield _Token(kind, value, match.start(kind))
        at = match.end()


def _unexpected(what: Any, at: int, text: str) -> str:
    return (
        f"unexpected {what} at position {at} in {text}. Clause(s) containing the error(s): where."
    )


class _Reader:
    def __init__(self, text: str, columns: Collection[str]):
        self._text = text
        self._columns = columns
        self._tokens = [*_tokens(text), _Token("end", "end of query", len(text))]
        self._next = 0

    # Grammar, from what binds least to what binds most.

    def either(self) -> Condition:
        parts = [self._both()]
        while self._take("or"):
            parts.append(self._both())
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        shared = set.intersection(*(set(part.needs) for part in parts))
        needs = {name: tuple(v for part in parts for v in part.needs[name]) for name in shared}
        return Condition(lambda row: any(test(row) for test in tests), needs)

    def _both(self) -> Condition:
        parts = [self._single()]
        while self._take("and"):
            parts.append(self._single())
        if len(parts) == 1:
            return parts[0]
        tests = [part.test for part in parts]
        needs = {name: values for part in parts for name, values in part.needs.items()}
        return Condition(lambda row: all(test(row) for test in tests), needs)

    def _single(self) -> Condition:
        if self._take("not"):
            inner = self._single().test
            return Condition(lambda row: not inner(row), {})
        if self._take("("):
            inner = self.either()
            self._expect(")")
            return inner
        if self._word == "search":
            return Condition(self._search(), {})
        return self._comparison()

    def _comparison(self) -> Condition:
        token = self._step()
        if token.kind != "word" or token.value.lower() in _KEYWORDS:
            left = self._constant(token)
            compare = self._operator()
            right = self._constant(self._step())
            truth = type(left) is type(right) and compare(left, right)
            return Condition(lambda row: truth, {})
        column = self._column(token)
        if self._take("is"):
            wants_null = not self._take("not")
            self._expect("null")
            return Condition(lambda row: (not _values(row, column)) is wants_null, {})
        if self._take("like"):
            words = _words(self._text_of(self._step()))
            return Condition(lambda row: _holds(_values(row, column), words), {})
        compare = self._operator()
        constant = self._constant(self._step())
        needs = {column: (constant,)} if compare is eq else {}
        return Condition(
            lambda row: any(
                type(value) is type(constant) and compare(value, constant)
                for value in _values(row, column)
            ),
            needs,
        )

    def _search(self) -> Test:
        self._step()
        self._expect("(")
        columns = []
        while self._peek.kind == "word":
            columns.append(self._column(self._step()))
            self._expect(",")
        words = _words(self._text_of(self._step()))
        self._expect(")")
        if not columns:
            columns = [*self._columns]
        return lambda row: _holds([v for name in columns for v in _values(row, name)], words)

    # Tokens.

    @property
    def _peek(self) -> _Token:
        return self._tokens[self._next]

    @property
    def _word(self) -> Any:
        """The next word or mark, in lower case."""
        token = self._peek
        return token.value.lower() if token.kind in ("word", "mark") else None

    def _step(self) -> _Token:
        token = self._peek
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _take(self, word: str) -> bool:
        if self._word != word:
            return False
        self._step()
        return True

    def _expect(self, word: str) -> None:
        if not self._take(word):
            raise self._error(self._peek)

    def end(self) -> None:
        if self._peek.kind != "end":
            raise self._error(self._peek)

    def _error(self, token: _Token) -> OdsqlError:
        return OdsqlError(_unexpected(token.value, token.at, self._text))

    def _operator(self) -> Callable[[Any, Any], bool]:
        token = self._step()
        if token.kind != "mark" or token.value not in _COMPARE:
            raise self._error(token)
        return _COMPARE[token.value]

    def _column(self, token: _Token) -> str:
        if token.value not in self._columns:
            raise OdsqlError(
                f"Unknown field: {token.value}. Clause(s) containing the error(s): where."
            )
        return token.value

    def _constant(self, token: _Token) -> Any:
        if token.kind in ("date", "text", "number"):
            return token.value
        if token.kind == "word" and token.value.lower() in ("true", "false"):
            return token.value.lower() == "true"
        raise self._error(token)

    def _text_of(self, token: _Token) -> str:
        if token.kind != "text":
            raise self._error(token)
        return token.value


def _values(row: Row, column: str) -> list[Any]:
    value = row.value(column)
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _holds(values: list[Any], words: list[str]) -> bool:
    """Whether every word is in one of the texts; a text without words matches nothing."""
    texts = " ".join(map(str, values)).casefold()
    return bool(words) and all(word in texts for word in words)
