"""A streaming reader of DECP files from anyone: either regime, JSON or XML, gzip or not.

One record is in memory at a time, so a file may be of any size. What a file holds is told by
its content, never by its name.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lxml import etree

from dume_spider.decp.regime import (
    DECIDING_DATE,
    FIRST_DAY_OF_2022_REGIME,
    ContractType,
    Regime,
)
from dume_spider.decp.schema import record_schema, resolve
from dume_spider.decp.verdict import quote
from dume_spider.decp.writers import ITEM_TAGS, OTHER_TAGS, RECORD_NAME
from dume_spider.exceptions import DumeSpiderError

#: Characters of the longest record, or other value, that is read. A real one has some 2,000.
LONGEST_VALUE = 16 * 1024 * 1024
#: Characters read at once.
_STEP = 256 * 1024

_GZIP = b"\x1f\x8b"
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_ADVICE = "give a DECP file, JSON or XML, of the format of 2019 or 2022"


class DecpFileError(DumeSpiderError):
    """A file cannot be read, or is not a DECP file: the text says which file, where and why."""


class FileRecord(NamedTuple):
    """A record as it stands in a file.

    ``record`` is the JSON value, which may be anything that the list held; ``path`` is where
    it stands in the JSON form of the file (``marches.marche.0``), positions from 0.
    """

    type: ContractType
    regime: Regime
    record: Any
    path: str


def read_records(path: str | os.PathLike[str]) -> Iterator[FileRecord]:
    """The records of a DECP file, in its order; none if it has none.

    The regime is that of the whole file. In JSON its shape tells it (a list is of 2019, an
    object of lists is of 2022); XML, which has one shape for both, is of the regime of its
    first record: that whose fields it has, else that of its date. In the JSON of 2019 the
    type is told by ``_type``, else by the fields; elsewhere by the list or element.

    Raises :class:`DecpFileError`, perhaps after some records, when the file cannot be read,
    is broken or is not a DECP file.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            is_gzip = file.read(2) == _GZIP
            file.seek(0)
            if is_gzip:
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield from _read(path, unzipped)
            else:
                yield from _read(path, file)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DecpFileError(f"{path}: is not a whole gzip file; fetch it again") from error
    except UnicodeDecodeError as error:
        raise DecpFileError(f"{path}: is not text in UTF-8; convert it to UTF-8") from error
    except RecursionError as error:
        raise DecpFileError(f"{path}: is nested too deeply for a DECP file; {_ADVICE}") from error
    except IsADirectoryError as error:
        raise DecpFileError(f"{path}: is a folder; give files, such as {path}/*.json") from error
    except OSError as error:
        raise DecpFileError(f"{path}: cannot be read: {error.strerror or error}") from error


def _read(path: Path, file: Any) -> Iterator[FileRecord]:
    start = file.peek(_STEP)
    for bom in _BOMS:
        start = start.removeprefix(bom)
    mark = start.replace(b"\0", b"").lstrip()[:1]
    if mark == b"<":
        return _read_xml(path, file)
    if mark == b"{":
        return _read_json(path, file)
    if not start:
        raise DecpFileError(f"{path}: is empty; {_ADVICE}")
    raise DecpFileError(f"{path}: is neither a JSON object nor XML; {_ADVICE}")


# ---------------------------------------------------------------------------------- JSON


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not a number of JSON")


_decode = json.JSONDecoder(parse_constant=_refuse_constant).raw_decode
#: Characters of any part of a value that is understood as a whole, strings left aside.
_LONGEST_TOKEN = 32
_SPACE = re.compile(r"[ \t\n\r]*")


class _Scanner:
    """A walk through JSON text that is never in memory as a whole."""

    def __init__(self, path: Path, stream: io.TextIOBase):
        self._path = path
        self._stream = stream
        self._text = ""
        self._at = 0
        self._line = 1
        self._ended = False

    def _more(self, size: int = _STEP) -> bool:
        """Read on; what is behind is forgotten. ``False`` at the end."""
        self._line += self._text.count("\n", 0, self._at)
        added = self._stream.read(size)
        self._text = self._text[self._at :] + added
        self._at = 0
        self._ended = not added
        return bool(added)

    def peek(self) -> str:
        """The next character that is not white space; empty at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, characters: str) -> str:
        """Go past the next character, which must be one of ``characters``."""
        found = self.peek()
        if not found:
            raise self.error("it ends in the middle")
        if found not in characters:
            accepted = " or ".join(characters)
            raise self.error(f"there is {found!r} where {accepted} must be")
        self._at += 1
        return found

    def value(self) -> Any:
        """Go past the next value, and give it."""
        if not self.peek():
            raise self.error("it ends in the middle")
        size = _STEP
        while True:
            try:
                value, end = _decode(self._text, self._at)
                # A number may go on behind the end of the text: "1e+" is read as far as "1".
                if end + 3 <= len(self._text) or self._ended:
                    self._at = end
                    return value
            except json.JSONDecodeError as error:
                self._check(error)
            except ValueError as error:
                raise self.error(str(error)) from error
            self._more(size)
            size *= 2  # so that a long value is not read over and over

    def _check(self, error: json.JSONDecodeError) -> None:
        """Raise what is wrong with a value, unless it may be right once more of it is read."""
        cut = error.msg.startswith("Unterminated") or error.pos + _LONGEST_TOKEN > len(self._text)
        if cut and not self._ended:
            if len(self._text) - self._at > LONGEST_VALUE:
                raise self.error(f"a value is longer than {LONGEST_VALUE:,} characters") from error
            return
        if error.msg.startswith("Unterminated") or error.pos >= len(self._text.rstrip()):
            self._at = len(self._text)
            raise self.error("it ends in the middle") from error
        self._at = error.pos
        raise self.error(error.msg[:1].lower() + error.msg[1:]) from error

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; the caller goes past each value."""
        self.take("{")
        if self.peek() == "}":
            self.take("}")
            return
        while True:
            if self.peek() != '"':
                self.take('"')
            key = self.value()
            self.take(":")
            yield key
            if self.take(",}") == "}":
                return

    def items(self) -> Iterator[Any]:
        """The values of the list that comes next."""
        self.take("[")
        if self.peek() == "]":
            self.take("]")
            return
        while True:
            yield self.value()
            if self.take(",]") == "]":
                return

    def end(self) -> None:
        """Make sure that nothing follows."""
        if self.peek():
            raise self.error("something follows the end of the object")

    def error(self, reason: str) -> DecpFileError:
        line = self._line + self._text.count("\n", 0, self._at)
        return DecpFileError(
            f"{self._path}: is broken at line {line}: {reason}; correct it or fetch it again"
        )


_LISTS = {name: type for type, name in RECORD_NAME.items()}


def _read_json(path: Path, file: Any) -> Iterator[FileRecord]:
    marked = file.peek(_STEP).startswith(codecs.BOM_UTF8)
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    try:
        yield from _read_document(path, _Scanner(path, text))
    finally:
        text.detach()  # the file is the caller's to close
    if marked:
        raise DecpFileError(
            f"{path}: starts with a byte order mark (BOM), which JSON must not have and the "
            "State's pipeline does not read; save it as UTF-8 without BOM"
        )


def _read_document(path: Path, scanner: _Scanner) -> Iterator[FileRecord]:
    known = False
    for key in scanner.members():
        if key != "marches":
            scanner.value()
            continue
        if known:
            raise scanner.error("it has 'marches' twice")
        known = True
        if scanner.peek() == "[":
            for number, record in enumerate(scanner.items()):
                yield FileRecord(type_of(record), Regime.R2019, record, f"marches.{number}")
        elif scanner.peek() == "{":
            yield from _read_lists(path, scanner)
        else:
            raise DecpFileError(
                f"{path}: 'marches' is neither a list (2019) nor an object (2022); {_ADVICE}"
            )
    scanner.end()
    if not known:
        raise DecpFileError(f"{path}: is not a DECP file: it has no 'marches'; {_ADVICE}")


def _read_lists(path: Path, scanner: _Scanner) -> Iterator[FileRecord]:
    known = set()
    for key in scanner.members():
        if key not in _LISTS:
            scanner.value()
            continue
        if key in known:
            raise scanner.error(f"it has 'marches.{key}' twice")
        known.add(key)
        if scanner.peek() != "[":
            raise DecpFileError(f"{path}: 'marches.{key}' is not a list of records; {_ADVICE}")
        for number, record in enumerate(scanner.items()):
            yield FileRecord(_LISTS[key], Regime.R2022, record, f"marches.{key}.{number}")


def type_of(record: Any) -> ContractType:
    """The type of a record of 2019: by ``_type``, else by the fields of a concession."""
    if isinstance(record, dict):
        named = record.get("_type")
        if named == "Contrat de concession":
            return ContractType.CONCESSION
        if named != "Marché" and ("autoriteConcedante" in record or "concessionnaires" in record):
            return ContractType.CONCESSION
    return ContractType.MARCHE


# ----------------------------------------------------------------------------------- XML


def _read_xml(path: Path, file: BinaryIO) -> Iterator[FileRecord]:
    # No entity is resolved, nothing is fetched, and libxml2's limits on sizes stay on.
    events = etree.iterparse(
        file,
        events=("start", "end"),
        remove_comments=True,
        remove_pis=True,
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
    )
    regime: Regime | None = None
    numbers = dict.fromkeys(ContractType, 0)
    depth = 0
    try:
        for event, element in events:
            if event == "start":
                depth += 1
                if depth == 1 and _name(element) != "marches":
                    raise DecpFileError(
                        f"{path}: is not a DECP file: its element is "
                        f"{quote(_name(element))}, not 'marches'; {_ADVICE}"
                    )
                continue
            depth -= 1
            if depth != 1:
                continue
            type = _LISTS.get(_name(element))
            if type is None:
                raise DecpFileError(
                    f"{path}: line {element.sourceline}: {quote(_name(element))} is no record; "
                    f"accepted: {', '.join(_LISTS)}"
                )
            regime = regime or _regime_of(element, type)
            number = numbers[type]
            numbers[type] += 1
            record = _from_xml(type, regime)(element)
            # What was read is let go of, in the root too.
            parent = element.getparent()
            element.clear()
            while element.getprevious() is not None:
                del parent[0]
            if regime is Regime.R2019:
                yield FileRecord(type, regime, record, f"marches.{sum(numbers.values()) - 1}")
            else:
                yield FileRecord(type, regime, record, f"marches.{RECORD_NAME[type]}.{number}")
    except _EntityError as error:
        raise DecpFileError(
            f"{path}: uses the entity {error}, and no entity is resolved; write its text instead"
        ) from error
    except etree.XMLSyntaxError as error:
        reason = " ".join(str(error.msg or "it ends in the middle").split())
        raise DecpFileError(f"{path}: is broken: {reason}; correct it or fetch it again") from error


class _EntityError(Exception):
    """An element holds a reference to an entity, which is not resolved."""


def _name(element: Any) -> str:
    """The name of an element; in a name space, of which the format has none, ``{space}name``."""
    if element.tag is etree.Entity:
        raise _EntityError(element.text)
    return element.tag


def _text(element: Any) -> str:
    return "".join(element.itertext())


#: The attributes that the XSDs allow: they say where the XSD is.
_LOCATIONS = {
    f"{{http://www.w3.org/2001/XMLSchema-instance}}{name}"
    for name in ("schemaLocation", "noNamespaceSchemaLocation")
}


def _extras(element: Any, *, of_list: bool = False) -> dict[str, str]:
    """What JSON cannot say of an element, under keys that no format has.

    Attributes are ``@name``, text among elements (in a list, any text) ``#text``: so does the
    State's pipeline (xmltodict) name them before the schema refuses them.
    """
    extras = {f"@{name}": text for name, text in element.items() if name not in _LOCATIONS}
    if len(element) or of_list:
        text = "".join(filter(None, (element.text, *(child.tail for child in element)))).strip()
        if text:
            extras["#text"] = text
    return extras


def _regime_of(element: Any, type: ContractType) -> Regime:
    """The regime that a record in XML is written in."""
    fields = {_name(child): child for child in element}
    of_2019 = record_schema(type, Regime.R2019)["properties"].keys()
    of_2022 = record_schema(type, Regime.R2022)["properties"].keys()
    if fields.keys() & (of_2022 - of_2019):
        return Regime.R2022
    named = ("acheteur", "autoriteConcedante", "lieuExecution")
    if fields.keys() & (of_2019 - of_2022) or any(
        _name(child) == "nom" for name in named if name in fields for child in fields[name]
    ):
        return Regime.R2019
    deciding = fields.get(DECIDING_DATE[type])
    day = _text(deciding).strip()[:10] if deciding is not None else ""
    is_old = bool(day) and day < FIRST_DAY_OF_2022_REGIME.isoformat() and _is_day(day)
    return Regime.R2019 if is_old else Regime.R2022


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


#: From an element to its JSON value.
_Convert = Callable[[Any], Any]

#: JSON's name of a list item whose element has another name, in its own list only.
_JSON_NAMES = {tag: name for name, tag in OTHER_TAGS.items()}

_BOOLEANS = {
    **dict.fromkeys(("true", "1", "oui"), True),
    **dict.fromkeys(("false", "0", "non"), False),
}
_INTEGER = re.compile(r"[+-]?[0-9]{1,300}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]{1,300}(?:\.[0-9]{0,300})?|\.[0-9]{1,300})")


@cache
def _from_xml(type: ContractType, regime: Regime) -> _Convert:
    root = record_schema(type, regime)
    return _converter(RECORD_NAME[type], root, root)


def _converter(name: str, node: dict[str, Any], root: dict[str, Any]) -> _Convert:
    """How an element becomes the JSON value of the field ``name``: the writers' way back.

    What has no place in the schema is kept as it is (text, or an object of elements), so
    that the schema refuses it in the words it has for JSON.
    """
    node = resolve(node, root)
    if "properties" in node:
        return _object(node, root)
    if "items" not in node:
        return _leaf(node)
    item = resolve(node["items"], root)
    if "properties" not in item:
        return _leaf(item)  # the element is one item: see _object
    if len(item["properties"]) == 1:
        return _wrapped_items(item, root)
    return _items(ITEM_TAGS[name], _object(item, root))


def _object(node: dict[str, Any], root: dict[str, Any]) -> _Convert:
    fields = {
        name: _converter(name, child, root) for name, child in node.get("properties", {}).items()
    }
    repeated = {
        name
        for name, child in node.get("properties", {}).items()
        if _is_plain_list(resolve(child, root), root)
    }

    def convert(element: Any) -> Any:
        value: dict[str, Any] = _extras(element)
        for child in element:
            name = _name(child)
            field = fields.get(name, _as_it_is)(child)
            if name in repeated:
                value.setdefault(name, []).append(field)
            elif name in value:
                # JSON has a key once: twice is a list, which the schema refuses here.
                value[name] = [value[name], field]
            else:
                value[name] = field
        return value if len(element) or not _text(element).strip() else _as_it_is(element)

    return convert


def _is_plain_list(node: dict[str, Any], root: dict[str, Any]) -> bool:
    return "items" in node and "properties" not in resolve(node["items"], root)


def _wrapped_items(item: dict[str, Any], root: dict[str, Any]) -> _Convert:
    """The items of a list of 2022, each in an object whose only key is its element's name."""
    (wrapper,) = item["properties"]
    convert = _converter(wrapper, item["properties"][wrapper], root)

    def items(element: Any) -> Any:
        found = []
        for child in element:
            name = _name(child)
            if _JSON_NAMES.get(name) == wrapper:
                name = wrapper
            found.append({name: convert(child) if name == wrapper else _as_it_is(child)})
        return _with_extras(found, element)

    return items


def _items(tag: str, convert: _Convert) -> _Convert:
    """The items of a list of 2019, which holds the objects themselves."""

    def items(element: Any) -> Any:
        found = [
            convert(child) if _name(child) == tag else {_name(child): _as_it_is(child)}
            for child in element
        ]
        return _with_extras(found, element)

    return items


def _with_extras(items: list[Any], element: Any) -> list[Any]:
    """The items of a list, and what else its element has as one more."""
    extras = _extras(element, of_list=True)
    return [*items, extras] if extras else items


def _as_it_is(element: Any) -> Any:
    extras = _extras(element)
    if len(element):
        return {**extras, **{_name(child): _as_it_is(child) for child in element}}
    return {**extras, "#text": _text(element)} if extras else _text(element)


def _leaf(node: dict[str, Any]) -> _Convert:
    """Text by its type in the schema; text that is not of the type stays text.

    White space around numbers, booleans, dates and codes is of no account, as the XSD's
    types have it; in free texts and labels it is.
    """
    kind = node.get("type")
    trimmed = kind != "string" or "pattern" in node

    def convert(element: Any) -> Any:
        if len(element) or element.attrib:
            value = _as_it_is(element)
            if not isinstance(value, str):
                return value
        text = _text(element)
        short = text.strip(" \t\r\n")
        if kind == "boolean":
            return _BOOLEANS.get(short, text)
        if kind in ("integer", "number") and _INTEGER.fullmatch(short):
            return int(short)
        if kind == "number" and _DECIMAL.fullmatch(short):
            return float(short)
        return short if trimmed and "enum" not in node else text

    return convert
