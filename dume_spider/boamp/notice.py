"""From a record of the BOAMP data set to a notice: typed columns, payload, links, awards.

A record is flat; two of its columns are texts that hold JSON, ``gestion`` (the index card)
and ``donnees`` (the payload, of one of five formats). What cannot be read is told as a
warning and kept as it came: a notice is refused only when it has no ``idweb``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any, Literal, get_args

import orjson

from dume_spider.boamp.awards import awards_of
from dume_spider.boamp.tree import EFORMS_EXTENSION, Node, eforms_notices
from dume_spider.decp.repair import calendar_day, clean
from dume_spider.decp.verdict import Problem, quote
from dume_spider.json_answer import loads

PayloadKind = Literal["eforms", "fnsimple", "mapa", "dsp", "v230", "unknown"]
PAYLOAD_KINDS: tuple[PayloadKind, ...] = get_args(PayloadKind)

#: The formats that have one root key of their own.
_ROOTS: dict[str, PayloadKind] = {
    "EFORMS": "eforms",
    "FNSimple": "fnsimple",
    "MAPA": "mapa",
    "DSP": "dsp",
}
#: The format v230 (2015-2023) has no root: these keys stand side by side.
_V230_KEYS = frozenset({"IDENTITE", "OBJET", "PROCEDURE", "ATTRIBUTION"})


@cache
def notice_schema() -> dict[str, Any]:
    """The JSON schema (draft-07) of an accepted notice, this project's own.

    The dictionary is shared by all callers: read it, change a copy.
    """
    path = resources.files("dume_spider.boamp") / "schemas" / "notice.json"
    return json.loads(path.read_bytes())


#: What a notice has beside the columns of the data set.
_OWN = {"gestion_raw", "donnees_raw", "payload_kind", "links", "awards", "unread"}

#: The columns of the data set that have a place of their own in a notice, and their types,
#: which are definitions of the schema.
COLUMNS: dict[str, str] = {"idweb": "text"} | {
    name: node["$ref"].removeprefix("#/definitions/")
    for name, node in notice_schema()["properties"].items()
    if name not in _OWN and name != "idweb"
}

#: Columns that the data set has or had, but not at all times.
_OPTIONAL = {"contractfolderid", "sousnature_categorise", "sousnature_categorise_libelle"}

#: The columns of August 2026, which every whole record has.
EXPECTED_COLUMNS = tuple(name for name in COLUMNS if name not in _OPTIONAL)

_IDWEB = re.compile(r"[0-9]{2}-[0-9]+")

_FOLDER = "contractfolderid"

#: What a notice of this ``nature`` or ``etat`` does to the one that it is about.
_ACTIONS = {"RECTIFICATIF": "corrects", "ANNULATION": "cancels", "MODIFICATION": "modifies"}

#: The deepest payload that is decoded: orjson writes 254 levels, items wrap it in a few more.
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class ReadNotice:
    """What a record of the data set says.

    Attributes:
        notice: the notice, ready for JSON; with no ``problems`` it is valid under
            :func:`notice_schema`.
        problems: why it cannot be accepted (rules ``row``, ``idweb``).
        warnings: what could not be read or is not as it is known to be. Paths are those of
            the notice. Rules: ``column-missing``, ``column-unknown``, ``column-type``,
            ``idweb-form``, ``idweb-differs``, ``payload-missing``, ``payload-json``,
            ``payload-depth``, ``payload-shape``, ``payload-root``, ``awards-none``.
    """

    notice: dict[str, Any]
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


def read_notice(row: Mapping[str, Any], columns: Collection[str] = EXPECTED_COLUMNS) -> ReadNotice:
    """Read one record of the data set.

    Args:
        row: the record as JSON gave it; anything is taken, and no exception raised for it.
        columns: the columns that were asked for, each of which is missed if it is not there.

    The notice has every column of the data set by its name (null when it is not there), and:

    * ``gestion``, ``donnees``: decoded; ``gestion_raw``, ``donnees_raw``: the texts;
    * ``payload_kind``: the format of ``donnees``;
    * ``links``: other notices and the procedure: ``relation`` (``linked``, ``previous``,
      ``initial``, ``procedure``), ``action`` (what this notice does to that one:
      ``corrects``, ``cancels``, ``modifies``, or null), ``id``, ``id_type`` (``idweb``,
      ``contractfolderid``, ``other``) and ``path``, where it was read;
    * ``awards``: see :func:`dume_spider.boamp.awards.awards_of`;
    * ``unread``: unknown columns, and values of an unexpected shape, as they came.
    """
    if not isinstance(row, Mapping):
        problem = Problem("", "row", f"the record is not an object but {_shown(row)}")
        return ReadNotice({}, (problem,))
    reader = _Reader(row, frozenset(columns))
    notice = reader.notice
    problems = ()
    if notice["idweb"] is None:
        problems = (Problem("idweb", "idweb", "the record has no idweb"),)
    elif not _IDWEB.fullmatch(notice["idweb"]):
        message = f"{quote(notice['idweb'])} is not two digits, a dash and digits"
        reader.warn("idweb", "idweb-form", message)
    kind = _kind(notice["donnees"], reader)
    notice["payload_kind"] = kind
    payload = Node(notice["donnees"], "donnees")
    notice["links"] = list(_links(notice, payload))
    notice["awards"] = awards_of(kind, payload, notice)
    if notice["nature"] == "ATTRIBUTION" and kind != "unknown" and not notice["awards"]:
        reader.warn("awards", "awards-none", "an award notice in which no award is found")
    stated = Node(notice["gestion"], "gestion").one("REFERENCE", "IDWEB")
    if stated and stated.text and notice["idweb"] and stated.text != notice["idweb"]:
        message = f"{quote(stated.text)} is not the idweb of the record"
        reader.warn(stated.path, "idweb-differs", message)
    return ReadNotice(notice, problems, tuple(reader.warnings))


class _Reader:
    """One record's columns, typed, with what is said of them."""

    def __init__(self, row: Mapping[str, Any], columns: frozenset[str]):
        self.warnings: list[Problem] = []
        self._row = row
        self._unread: dict[str, Any] = {}
        self.notice: dict[str, Any] = {}
        for name in COLUMNS:
            if name not in row and name in columns:
                self.warn(name, "column-missing", "the record has no such column")
        for name, type in COLUMNS.items():
            if type == "packed":
                self.notice[name], self.notice[f"{name}_raw"] = self._unpacked(name)
            else:
                self.notice[name] = self._typed(name, _READERS[type])
        for name, value in row.items():
            if name not in COLUMNS:
                name = clean(str(name))
                self.warn(name, "column-unknown", "no column of this name is known")
                self._unread[name] = _kept(value)
        self.notice["unread"] = self._unread

    def warn(self, path: str, rule: str, message: str) -> None:
        self.warnings.append(Problem(path, rule, message))

    def _typed(self, name: str, read: Callable[[Any], Any]) -> Any:
        value = self._row.get(name)
        if value is None:
            return None
        try:
            return read(value)
        except (ValueError, TypeError):
            self.warn(name, "column-type", f"{_shown(value)} is not of the column's type")
            self._unread[name] = _kept(value)
            return None

    def _unpacked(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """What a column holds as JSON, and its text."""
        value = self._row.get(name)
        if isinstance(value, str) and value.strip():
            raw = value.encode("utf-8", "backslashreplace").decode()
        elif isinstance(value, Mapping):
            # Served as an object: its text is made here.
            try:
                raw = orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()
            except orjson.JSONEncodeError:
                raw = str(_kept(value))
            self.warn(name, "column-type", "is an object, not a text that holds one")
        elif value is None or isinstance(value, str):
            if name in self._row:
                self.warn(name, "payload-missing", "is empty")
            return None, None
        else:
            self.warn(name, "column-type", f"{_shown(value)} is not a text that holds JSON")
            self._unread[name] = _kept(value)
            return None, None
        try:
            decoded = loads(raw.encode())
        except orjson.JSONDecodeError as error:
            self.warn(name, "payload-json", f"is not JSON: {error}")
            return None, raw
        if not isinstance(decoded, dict):
            self.warn(name, "payload-shape", f"is not an object but {quote(decoded)}")
            return None, raw
        wrapped: Any = decoded
        for _ in range(_DEEPEST):
            wrapped = [wrapped]
        try:
            orjson.dumps(wrapped)
        except orjson.JSONEncodeError:
            self.warn(name, "payload-depth", "is nested too deeply to be written again")
            return None, raw
        return decoded, raw


def _text(value: Any) -> str | None:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise TypeError
    return clean(value) or None


def _list(value: Any) -> list[str]:
    """A list of texts, without the empty ones; a single text is a list of one."""
    items = value if isinstance(value, list) else [value]
    return [text for item in items if item is not None and (text := _text(item)) is not None]


def _date(value: Any) -> str | None:
    if (text := _text(value)) is None:
        return None
    day = calendar_day(text)
    if day is None:
        raise ValueError
    return day.isoformat()


def _time(value: Any) -> str | None:
    """A date with a time, as it is written: Paris time may be served as UTC."""
    if (text := _text(value)) is not None:
        datetime.fromisoformat(text)
    return text


def _writable(value: Any) -> Any:
    """The value itself, if it is JSON that can be written."""
    wrapped = [[[[value]]]]
    try:
        written = orjson.dumps(wrapped)
    except orjson.JSONEncodeError as error:
        raise ValueError from error
    # orjson writes NaN as null.
    if orjson.loads(written) != wrapped:
        raise ValueError
    return value


#: How a value becomes one of the column's type; they raise ValueError or TypeError.
_READERS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "list": _list,
    "day": _date,
    "time": _time,
    "any": _writable,
}


def _kept(value: Any) -> Any:
    """The value itself, or as a text what JSON cannot hold."""
    try:
        return _writable(value)
    except ValueError:
        try:
            return clean(repr(value))
        except RecursionError:
            return _shown(value)


def _shown(value: Any) -> str:
    """A value as it is quoted in a message, however deep it is."""
    try:
        return quote(value)
    except RecursionError:
        return "a value nested too deeply"


def _kind(donnees: dict[str, Any] | None, reader: _Reader) -> PayloadKind:
    """The format of the payload, by its root key."""
    if donnees is None:
        return "unknown"
    known = [root for root in _ROOTS if root in donnees]
    if len(known) == 1:
        for name in donnees:
            if name not in _ROOTS:
                reader.warn(f"donnees.{clean(name)}", "payload-root", "stands beside the root key")
        return _ROOTS[known[0]]
    if not known and _V230_KEYS & donnees.keys():
        return "v230"
    keys = ", ".join(quote(name) for name in list(donnees)[:5]) or "none"
    reader.warn("donnees", "payload-root", f"no format is known by the root keys {keys}")
    return "unknown"


def _links(notice: dict[str, Any], payload: Node) -> Iterator[dict[str, Any]]:
    """The links of a notice, in the order of how sure it is what they mean."""
    action = _ACTIONS.get(notice["nature"] or "") or _ACTIONS.get(notice["etat"] or "")
    about = [("initial", node) for node in _initial(payload)]
    about += [("previous", node) for node in _previous(notice)]
    linked = [Node(id, f"annonce_lie.{n}") for n, id in enumerate(notice["annonce_lie"] or ())]
    for relation, node in about:
        yield _link(relation, action, node)
    # A correction that says elsewhere what it corrects may be linked to others, too.
    sure = action if not about and len({node.text for node in linked}) == 1 else None
    for node in linked:
        yield _link("linked", sure, node)
    for node in _folders(notice, payload):
        yield _link("procedure", None, node)


def _link(relation: str, action: str | None, node: Node) -> dict[str, Any]:
    id = node.text
    if relation == "procedure":
        id_type = "contractfolderid"
    else:
        id_type = "idweb" if _IDWEB.fullmatch(id or "") else "other"
    return {
        "relation": relation,
        "action": action,
        "id": id,
        "id_type": id_type,
        "path": node.path,
    }


def _initial(payload: Node) -> Iterator[Node]:
    """The notice that the payload itself is about."""
    for root in _ROOTS:
        for format in payload.all(root):
            for block in format.names:
                yield from _told(format.all(block, "avisInitial", "idWeb"))
    for notice in eforms_notices(payload):
        # BT-758, the notice that this one changes or cancels, and BT-1501, the one whose
        # contract it modifies.
        for change in ("efac:Changes", "efac:ContractModification"):
            yield from _told(notice.all(*EFORMS_EXTENSION, change, "efbc:ChangedNoticeIdentifier"))


def _previous(notice: dict[str, Any]) -> Iterator[Node]:
    """The earlier notices by the index card and by the column of unknown shape."""
    for card in Node(notice["gestion"], "gestion").all("REFERENCE", "ANNONCE_ANTERIEUR"):
        yield from _told(card.all("IDWEB"))
    # As in the XML of 2015-2019.
    for card in Node(notice["gestion"], "gestion").all("MARCHE", "ANNONCE_ANTERIEUR"):
        yield from _told(card.all("REFERENCE", "IDWEB"))
    yield from _idwebs(notice["annonces_anterieures"], "annonces_anterieures")


def _idwebs(value: Any, path: str) -> Iterator[Node]:
    """Every idweb among the texts of a value of unknown shape."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _idwebs(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _idwebs(inner, f"{path}.{position}")
    elif isinstance(value, str) and _IDWEB.fullmatch(value.strip()):
        yield Node(value, path)


def _folders(notice: dict[str, Any], payload: Node) -> Iterator[Node]:
    """The eForms folder, which all notices of one procedure share."""
    yield from _told([Node(notice[_FOLDER], _FOLDER)])
    for document in eforms_notices(payload):
        yield from _told(document.all("cbc:ContractFolderID"))


def _told(nodes: list[Node]) -> list[Node]:
    return [node for node in nodes if node.text is not None]
