"""Streaming writers of DECP files: one document of one regime, in JSON or in XML.

A record goes in as UTF-8 JSON bytes, one DECP record valid under the packaged schema of
its regime, and out at once: memory does not grow with the number of records. Each record
stands on a line of its own in both formats, so that two files can be compared by line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, BinaryIO

from dume_spider.decp.filename import Format
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.schema import record_schema, resolve
from dume_spider.exceptions import OutputError

#: The name of a record's list in the JSON of 2022, and of its element in XML.
RECORD_NAME = {
    ContractType.MARCHE: "marche",
    ContractType.CONCESSION: "contrat-concession",
}


class Writer:
    """What the formats have in common: the order of the records, the open and closed ends.

    ``stream`` is anything that takes bytes; the caller opens and closes it, and what its
    ``write`` raises passes through. Misuse raises :class:`ValueError`: a marché after a
    concession (a file lists all marchés first), a document without records, a record
    added after :meth:`finish`.
    """

    def __init__(self, stream: BinaryIO, regime: Regime):
        self.stream = stream
        self.regime = regime
        self._last: ContractType | None = None
        self._finished = False

    def add(self, type: ContractType, record: bytes) -> None:
        """Write one record; what it raises is said at :meth:`encode` and in the class."""
        self.append(type, self.encode(type, record))

    def encode(self, type: ContractType, record: bytes) -> bytes:
        """The record as it stands in the document, without writing it.

        Apart from :meth:`append`, so that a record which one format refuses is written in
        no other format of the same set either.
        """
        raise NotImplementedError

    def append(self, type: ContractType, encoded: bytes) -> None:
        """Write one record that :meth:`encode` gave."""
        if self._finished:
            raise ValueError("a record cannot be added to a finished document")
        if self._last is ContractType.CONCESSION and type is ContractType.MARCHE:
            raise ValueError("all marchés are added before the first concession")
        self.stream.write(self._lead(type) + encoded)
        self._last = type

    def finish(self) -> None:
        """Close the document, which must hold a record; the stream stays open."""
        if self._finished:
            raise ValueError("the document is finished already")
        if self._last is None:
            raise ValueError("a document without records is not written")
        self.stream.write(self._tail())
        self._finished = True

    def _lead(self, type: ContractType) -> bytes:
        """What stands between the last record (or the start) and one of this type."""
        raise NotImplementedError

    def _tail(self) -> bytes:
        """What closes the document."""
        raise NotImplementedError


class JsonWriter(Writer):
    """JSON: ``{"marches": {"marche": […], "contrat-concession": […]}}`` in 2022, in which a
    list without records is left out; ``{"marches": […]}`` in 2019.

    The bytes of a record go to the file untouched: one line, without a final line feed.
    """

    def encode(self, type: ContractType, record: bytes) -> bytes:
        """The record as given; raises :class:`ValueError` if it spans several lines."""
        if b"\n" in record:
            raise ValueError("a record of a JSON file is given on one line")
        return record

    def _lead(self, type: ContractType) -> bytes:
        if self.regime is Regime.R2019:
            return b",\n" if self._last else b'{"marches":[\n'
        if self._last is type:
            return b",\n"
        start = b"\n]," if self._last else b'{"marches":{'
        return start + f'"{RECORD_NAME[type]}":[\n'.encode()

    def _tail(self) -> bytes:
        return b"\n]}\n" if self.regime is Regime.R2019 else b"\n]}}\n"


class XmlWriter(Writer):
    """XML of the XSDs: 1.5.0 for the regime of 2019, 2.0.2 for that of 2022.

    What differs from the JSON is said at :func:`_element`. Elements stand in the order of
    the packaged schema, whatever the order of a record's keys.
    """

    def encode(self, type: ContractType, record: bytes) -> bytes:
        """The record's element.

        Raises :class:`OutputError` naming the record and the field when XML cannot hold a
        value (a control character) or the format has no place for it (an unknown key, a
        null), :class:`ValueError` when ``record`` is not JSON.
        """
        value = _read_json(record.decode("utf-8"))
        try:
            return _record_element(type, self.regime)(value).encode("utf-8")
        except _UnwritableError as error:
            name = value.get("id") if isinstance(value, dict) else None
            raise OutputError(
                f"record {name!r} cannot be written as XML: {error}; "
                "correct the record or write JSON only (DECP_FORMATS=json)"
            ) from error

    def _lead(self, type: ContractType) -> bytes:
        if self._last:
            return b"\n"
        return b'<?xml version="1.0" encoding="UTF-8"?>\n<marches>\n'

    def _tail(self) -> bytes:
        return b"\n</marches>\n"


WRITERS: dict[Format, type[Writer]] = {"json": JsonWriter, "xml": XmlWriter}


# Reading a record: numbers stay text, because XML wants the decimals that the JSON shows,
# and no exponent, which xs:decimal does not know.


def _decimal(text: str) -> str:
    """A JSON number with a fraction or an exponent, in full and without idle zeros.

    ``1e16`` gives ``10000000000000000``, ``1e-7`` ``0.0000001``, ``12.0`` ``12`` (which an
    integer field may hold in the JSON, but xs:integer not).
    """
    if "e" in text or "E" in text:
        number = Decimal(text)
        if abs(number.adjusted()) > 400:  # beyond any float: a line of a billion zeros
            raise ValueError(f"the number {text} is out of all bounds")
        text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no JSON number")


_read_json = json.JSONDecoder(
    parse_float=_decimal, parse_int=str, parse_constant=_no_constant
).decode


# Elements. A packaged schema is compiled once to nested functions, one a field.

#: From a JSON value to its markup, tags included.
_Render = Callable[[Any], str]

#: JSON names an item of this list otherwise than the XSD 2.0.2 names its element.
OTHER_TAGS = {"modificationActeSousTraitance": "modificationActesSousTraitance"}

#: The element of an item where the JSON of 2019 lists the items directly.
ITEM_TAGS = {
    "titulaires": "titulaire",
    "concessionnaires": "concessionnaire",
    "modifications": "modification",
    "donneesExecution": "donneesAnnuelles",
    "tarifs": "tarif",
}

#: A key of 2019 records that tells the type, as the element's own name does in XML.
_TYPE_KEY = "_type"

#: What cannot stand in an element as it is: markup, a carriage return (readers make it a
#: line feed), and all that is no character of XML 1.0.
_SPECIAL = re.compile("[&<>\r]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


class _UnwritableError(Exception):
    """A value has no place in the XML; the text says which and why."""


@cache
def _record_element(type: ContractType, regime: Regime) -> _Render:
    root = record_schema(type, regime)
    return _element(RECORD_NAME[type], root, root, path="", required=True)


def _element(
    name: str, node: dict[str, Any], root: dict[str, Any], *, path: str, required: bool
) -> _Render:
    """How the field ``name``, of which ``node`` is the schema, is written.

    * An object is an element with one element for each field.
    * A list of objects is an element with one element for each item: its name is the only
      key of the item in 2022 (``[{"titulaire": {…}}]``), that of ``ITEM_TAGS`` in 2019.
      Without items it is empty where the field is required (``modifications`` in 2019) and
      left out elsewhere (``donneesExecution`` in 2022, which the XSD wants with items).
    * A list of labels is an element repeated (``<technique>…</technique>``), as its parent
      (``techniques``) is the list's element.
    * Anything else is text: booleans ``true`` and ``false``, numbers in full.
    """
    node = resolve(node, root)
    tag = OTHER_TAGS.get(name, name)
    if "properties" in node:
        return _enclosed(tag, _fields(node, root, path))
    if "items" not in node:
        return _enclosed(tag, _leaf(path))
    item = resolve(node["items"], root)
    if "properties" not in item:
        return _items(_enclosed(tag, _leaf(path)), path)
    if len(item["properties"]) == 1:
        items = _items(_fields(item, root, path), path)
    else:
        items = _items(_element(ITEM_TAGS[name], item, root, path=path, required=True), path)
    enclosed = _enclosed(tag, items)
    return enclosed if required else lambda value: "" if value == [] else enclosed(value)


def _enclosed(tag: str, content: _Render) -> _Render:
    start, end = f"<{tag}>", f"</{tag}>"
    return lambda value: start + content(value) + end


def _fields(node: dict[str, Any], root: dict[str, Any], path: str) -> _Render:
    required = node.get("required", ())
    unwritten = set() if path else {_TYPE_KEY}
    fields = [
        (
            name,
            _element(
                name,
                child,
                root,
                path=f"{path}.{name}" if path else name,
                required=name in required,
            ),
        )
        for name, child in node["properties"].items()
        if name not in unwritten
    ]
    known = unwritten.union(node["properties"])

    def render(value: Any) -> str:
        if type(value) is not dict:
            raise _UnwritableError(f"{path or 'the record'} is not an object")
        if not value.keys() <= known:
            unknown = ", ".join(sorted(value.keys() - known))
            raise _UnwritableError(f"{path or 'the record'} has no field {unknown} in the format")
        return "".join([field(value[name]) for name, field in fields if name in value])

    return render


def _items(item: _Render, path: str) -> _Render:
    def render(value: Any) -> str:
        if type(value) is not list:
            raise _UnwritableError(f"{path} is not a list")
        return "".join(map(item, value))

    return render


def _leaf(path: str) -> _Render:
    def render(value: Any) -> str:
        if type(value) is str:
            return _SPECIAL.sub(escape, value) if _SPECIAL.search(value) else value
        if type(value) is bool:
            return "true" if value else "false"
        raise _UnwritableError(f"{path} is neither text, a number nor a boolean")

    def escape(match: re.Match[str]) -> str:
        character = match[0]
        if character not in _ESCAPES:
            raise _UnwritableError(f"{path} holds U+{ord(character):04X}, no character of XML")
        return _ESCAPES[character]

    return render
