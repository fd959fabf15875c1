"""From a row of the DUME service to a DECP record.

How the service names the fields of its rows is only half known. So the known names are data
(``fields.toml``, and the file of the setting ``DUME_FIELD_MAP``), and a key is also taken
for a field when it has the same words: whatever the case, accents, separators, singular or
plural, order and little words, nested or flat, at row level or in a block. Nothing is
guessed beyond that: what no field used is told as unknown, and :class:`MissingFields` makes
of it the message that says which name to add.

:func:`map_row` finds the fields; ``dume_spider.decp.repair`` fits their values.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher, get_close_matches
from functools import cache, lru_cache
from importlib import resources
from itertools import chain, islice, product
from pathlib import Path
from typing import Any, NamedTuple

from dume_spider.decp.regime import DECIDING_DATE, ContractType, Regime, regime_of
from dume_spider.decp.repair import (
    Ambiguous,
    Names,
    fields_of,
    fit,
    fit_date,
    fold,
    is_null,
)
from dume_spider.decp.verdict import Problem, Repair, quote, shortened
from dume_spider.exceptions import FieldMapError

#: How the types of contract are written: codes, the labels of ``_type``, of the search form.
_TYPE_WORDS = {
    fold(word): type
    for type, words in {
        ContractType.MARCHE: ("MP", "Marché", "Marché public", "Marchés publics"),
        ContractType.CONCESSION: ("CC", "Concession", "Contrat de concession"),
    }.items()
    for word in words
}

#: ``_type`` of a record of 2019.
_TYPE_LABEL = {
    ContractType.MARCHE: "Marché",
    ContractType.CONCESSION: "Contrat de concession",
}

#: No reference and no label that can be asked for is longer; PostgreSQL's indexes hold 2.7 kB.
LONGEST_LABEL = 200

#: The State's mark of test records in the feed of AIFE (seen in decp-arr2022).
_TEST_SOURCE = fold("AIFE_test")


@dataclass(frozen=True, slots=True)
class MappedRow:
    """What a row of the service says.

    Attributes:
        reference: the service's key of the row, or None with a problem ``reference``.
        type: marché or concession.
        regime: None when the deciding date is missing or not certain; then the only problem
            of the record's fields is that date.
        record: the DECP record, as far as it could be made. Its bounds, lengths and patterns
            have not been looked at: see ``dume_spider.decp.schema.problems``, whose
            problems ``dume_spider.decp.repair.join_problems`` puts with these.
        problems: why the record cannot be published.
        repairs: what was changed in its values.
        unknown: the keys that no field used, each with the kind of its value (``text``,
            ``list``, …), never with the value. List positions are left out.
    """

    reference: str | None
    type: ContractType
    regime: Regime | None
    record: dict[str, Any]
    problems: tuple[Problem, ...] = ()
    repairs: tuple[Repair, ...] = ()
    unknown: tuple[tuple[str, str], ...] = ()


def map_row(row: object, names: FieldNames, asked_type: ContractType | None = None) -> MappedRow:
    """Read one row of the service.

    Args:
        row: the row as JSON gave it; anything is taken, and no exception raised for it.
        names: the names of its fields.
        asked_type: the type that was asked for, used for a row that does not tell its own.

    The type is what the row's own key says, else the block it has (``donneesCC``), else
    ``asked_type``, else the type that more of its fields belong to, else marché.
    """
    fallback = asked_type or ContractType.MARCHE
    if not isinstance(row, dict):
        problem = Problem("", "row", f"the row is not an object but {_article(row)}")
        return MappedRow(None, fallback, None, {}, (problem,))
    try:
        return _map_row(row, names, asked_type)
    except RecursionError:
        problem = Problem("", "row", "the row is nested too deeply")
        return MappedRow(None, fallback, None, {}, (problem,))


def _map_row(row: dict[str, Any], names: FieldNames, asked_type: ContractType | None) -> MappedRow:
    shape, about, type = _look(row, names, asked_type)
    finder = _RowNames(names, type, row, shape)
    problems = []
    if about.reference is None:
        problems.append(Problem("", "reference", "the row has no reference"))
    if about.source is not None and fold(about.source) == _TEST_SOURCE:
        message = f"the row is a test: its source is {quote(about.source)}"
        problems.append(Problem("", "test", message))

    deciding = DECIDING_DATE[type]
    day = fit_date(finder.record.get(deciding), deciding, finder)
    if day is None:
        # Some regime has to be taken to tell what the date's own problem is.
        fitted = fit(row, type, Regime.R2022, finder)
        problems += [
            Problem(told.path, told.rule, f"{told.message}, so the regime cannot be told")
            for told in fitted.problems
            if told.path == deciding
        ]
        regime = None
    else:
        regime = regime_of(day)
        if regime is Regime.R2019:
            finder.record["_type"] = _TYPE_LABEL[type]
        fitted = fit(row, type, regime, finder)
        problems += fitted.problems
    return MappedRow(
        about.reference,
        type,
        regime,
        fitted.record,
        tuple(problems),
        fitted.repairs,
        tuple(finder.unknown.items()),
    )


def _look(
    row: dict[str, Any], names: FieldNames, asked_type: ContractType | None
) -> tuple[_Shape, _About, ContractType]:
    """The shape of a row, what it says of itself, and its type."""
    shape = _shape(row)
    about = names.about(row, shape)
    return shape, about, about.type or asked_type or names.likely_type(row, shape)


class RawFields(NamedTuple):
    """Some of a row as it came: ``fields`` is by DECP field, values unchanged."""

    reference: str | None
    type: ContractType
    fields: Mapping[str, Any]


def raw_fields(
    row: object, names: FieldNames, asked_type: ContractType | None, wanted: Container[str]
) -> RawFields | None:
    """The ``wanted`` fields of a row without any repair; ``None`` for what is no row.

    The other arguments are those of :func:`map_row`.
    """
    if not isinstance(row, dict):
        return None
    try:
        shape, about, type = _look(row, names, asked_type)
    except RecursionError:
        return None
    fields: dict[str, Any] = {}
    for found in names.table(type, "").resolve(shape).found:
        name = found.slot.name
        if name.partition(".")[0] in wanted and (value := _value(row, found)) is not None:
            _put(fields, name, value)
    return RawFields(about.reference, type, fields)


def _put(fields: dict[str, Any], name: str, value: Any) -> None:
    """Put the value of a slot, which may be a field of an object (``acheteur.id``)."""
    outer, _, inner = name.rpartition(".")
    (fields.setdefault(outer, {}) if outer else fields)[inner] = value


# ---------------------------------------------------------------------------- the table


_SECTIONS = ("row", "blocks", "common", "MP", "CC")
_ROW_KEYS = ("reference", "type", "source", "ignored")
_BLOCK_KEYS = ("MP", "CC", "common")

#: DECP field, or key of ``[row]`` and ``[blocks]`` → names, by section of the file.
_Sections = dict[str, dict[str, list[str]]]


def load_field_names(extra: Path | None = None) -> FieldNames:
    """The names of the service's fields: those of the package, after those of ``extra``.

    ``extra`` is a TOML file of the same form as ``dume_spider/dume/fields.toml``, with as
    few entries as one likes. Raises :class:`~dume_spider.exceptions.FieldMapError` when it
    cannot be read, is not TOML, or names an unknown field.
    """
    packaged = resources.files("dume_spider.dume").joinpath("fields.toml").read_bytes()
    sections = [_sections(packaged, "dume_spider/dume/fields.toml")]
    if extra is not None:
        try:
            content = Path(extra).read_bytes()
        except OSError as error:
            raise FieldMapError(f"DUME_FIELD_MAP: cannot read {extra}: {error.strerror}") from error
        sections.insert(0, _sections(content, str(extra)))
    return FieldNames(sections)


def _sections(content: bytes, path: str) -> _Sections:
    """The checked content of a file of field names."""
    try:
        sections = tomllib.loads(content.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise FieldMapError(f"DUME_FIELD_MAP: {path} is not a TOML file: {error}") from error
    fields = {type.value: _all_fields(type) for type in ContractType}
    allowed: dict[str, Iterable[str]] = {
        "row": _ROW_KEYS,
        "blocks": _BLOCK_KEYS,
        "common": {**fields["MP"], **fields["CC"]},
        **fields,
    }
    for section, table in sections.items():
        if section not in allowed:
            raise FieldMapError(
                f"DUME_FIELD_MAP: {path}: there is no section {section}; "
                f"sections are {', '.join(_SECTIONS)}"
            )
        if not isinstance(table, dict):
            raise FieldMapError(f"DUME_FIELD_MAP: {path}: {section} must be a table, [{section}]")
        for key, names in table.items():
            _check_entry(path, section, key, names, allowed[section])
    return sections


def _check_entry(path: str, section: str, key: str, names: Any, known: Iterable[str]) -> None:
    if key not in known:
        likely = get_close_matches(key, list(known), 1)
        hint = f"; did you mean {likely[0]}?" if likely else ""
        if isinstance(names, dict):
            hint = '; quote names that have a dot ("acheteur.id" = […])'
        raise FieldMapError(f"DUME_FIELD_MAP: {path}: [{section}] has no field {key}{hint}")
    if not isinstance(names, list) or not all(
        isinstance(name, str) and all(name.split(".")) for name in names
    ):
        raise FieldMapError(
            f"DUME_FIELD_MAP: {path}: [{section}] {key} must be a list of names, "
            f'such as ["{key.rpartition(".")[2]}"]'
        )


@cache
def _places(type: ContractType) -> dict[str, dict[str, bool]]:
    """The fields of both regimes that a row can give, by the place of their object."""
    places: dict[str, dict[str, bool]] = {}
    for regime in Regime:
        for where, fields in fields_of(type, regime).items():
            places.setdefault(where, {}).update(fields)
    # What `map_row` makes itself, and what only concerns files of 2019.
    del places[""]["_type"], places[""]["uid"]
    return places


def _all_fields(type: ContractType) -> dict[str, tuple[str, str]]:
    """Every field by its dotted name, with its place and its name there."""
    return {
        f"{where}.{name}".removeprefix("."): (where, name)
        for where, fields in _places(type).items()
        for name in fields
    }


# ---------------------------------------------------------------------------- words

_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_LITTLE_WORDS = frozenset({"de", "des", "du", "la", "le", "les", "d", "l", "en"})
#: No name of a field comes near it.
_LONGEST_KEY = 100
#: So many ways to read a key are tried.
_MOST_READINGS = 50


def _tokens(key: str) -> list[str]:
    """The words of a key as its capitals and separators show them, in lower case."""
    text = unicodedata.normalize("NFD", key.replace("œ", "oe").replace("Œ", "OE"))
    text = "".join(character for character in text if not unicodedata.combining(character))
    return [token.lower() for token in _TOKEN.findall(text)]


def _singular(word: str) -> str:
    """A word without its mark of the plural; used on both sides of every comparison."""
    return word[:-1] if len(word) > 2 and word[-1] in "sx" else word


class _Vocabulary:
    """The words of all known names, by which keys without separators are told apart."""

    def __init__(self, names: Iterable[str]) -> None:
        self.signature = lru_cache(maxsize=8192)(self._signature)
        names = tuple(names)
        words = {word for name in names for word in _tokens(name)} - _LITTLE_WORDS
        singular = {_singular(word) for word in words}
        self._known = words | singular | {f"{word}s" for word in singular}
        #: What the names mean, to choose between several ways to read a key.
        self._meanings = frozenset(_meaning(_tokens(name)) for name in names)

    def _signature(self, keys: tuple[str, ...]) -> frozenset[str]:
        """The words of a path of keys, in the singular, without the little ones."""
        return frozenset().union(*(self._key_signature(key) for key in keys))

    def _key_signature(self, key: str) -> frozenset[str]:
        if len(key) > _LONGEST_KEY:
            return frozenset((key,))
        readings = product(*(self._readings(token) for token in _tokens(key)))
        meanings = [
            _meaning(chain.from_iterable(parts)) for parts in islice(readings, _MOST_READINGS)
        ]
        return next((meaning for meaning in meanings if meaning in self._meanings), meanings[0])

    def _readings(self, token: str) -> list[list[str]]:
        """A token as known words written together, fewest first; as it is if it is none."""
        if token in self._known or _singular(token) in self._known:
            return [[token]]
        readings = list(islice(self._splits(token), _MOST_READINGS))
        return sorted(readings, key=len) or [[token]]

    def _splits(self, token: str) -> Iterator[list[str]]:
        """All the ways to read a token as known words, the longest first words first."""
        # From each position, the positions where a word ends and from where the rest is words.
        steps: list[list[int]] = [[] for _ in token]
        for start in reversed(range(len(token))):
            for end in range(len(token), start, -1):
                word = token[start:end]
                if (end == len(token) or steps[end]) and (
                    word in self._known or word in _LITTLE_WORDS
                ):
                    steps[start].append(end)

        def read(start: int) -> Iterator[list[str]]:
            if start == len(token):
                yield []
                return
            for end in steps[start]:
                for rest in read(end):
                    yield [token[start:end], *rest]

        return read(0)


def _meaning(words: Iterable[str]) -> frozenset[str]:
    """Words in the singular, without the little ones inside.

    No little word begins or ends a name: the DE of typeDE and idDE is none.
    """
    words = tuple(words)
    inside = range(1, len(words) - 1)
    return frozenset(
        word if word in _LITTLE_WORDS else _singular(word)
        for position, word in enumerate(words)
        if word not in _LITTLE_WORDS or position not in inside
    )


# ---------------------------------------------------------------------------- finding keys

#: A path of keys into a raw object; the position 0 stands for a list of one object.
_KeyPath = tuple[str | int, ...]
#: The keys of an object, each with the shape of the object it holds, if any.
_Shape = tuple[tuple[str | int, Any], ...]

_MOST_LEVELS = 6


def _shape(raw: Mapping[str, Any], levels: int = _MOST_LEVELS) -> _Shape:
    return tuple((key, _inner_shape(value, levels)) for key, value in raw.items())


def _inner_shape(value: Any, levels: int) -> _Shape | None:
    if isinstance(value, dict):
        return _shape(value, levels - 1) if value and levels else None
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        inner = _inner_shape(value[0], levels)
        return None if inner is None else ((0, inner),)
    return None


def _at(raw: Any, path: _KeyPath) -> Any:
    for key in path:
        raw = raw[key]
    return raw


def _shown(path: Iterable[str | int]) -> str:
    """A path of keys for a person, as it could stand in a file of field names."""
    keys = ".".join(key for key in path if isinstance(key, str))
    # A key may hold what no UTF-8 file can, and be longer than what a database can look up.
    return shortened(keys.encode("utf-8", "backslashreplace").decode())


#: What a row says beside the fields of its record, by the keys of ``[row]``.
_META = ("@reference", "@type", "@source")


class _Slot(NamedTuple):
    """A field that the keys of an object are looked up for."""

    #: Its name at its place (``acheteur.id``), or one of ``_META``.
    name: str
    is_list: bool


class _Found(NamedTuple):
    """Where objects of one shape have a field: under known names, and under variants."""

    slot: _Slot
    exact: tuple[_KeyPath, ...]
    variants: tuple[_KeyPath, ...]


class _Resolution(NamedTuple):
    """What the keys of all objects of one shape are."""

    found: tuple[_Found, ...]
    unknown: tuple[_KeyPath, ...]


class _Table:
    """What the keys of an object at one place of a row can mean.

    Args:
        vocabulary: the words of all known names.
        own: the words of the object's own name; idTitulaire is the id of a titulaire.
        enough: how many fields with names of their own (formePrix, not id or objet) make an
            unknown block one of the contract, whose id and objet are the contract's.
        in_list: the object is one of a list. An unknown block in it is the whole of it or of
            something else (what a modification has changed from), never a part.
    """

    def __init__(
        self,
        vocabulary: _Vocabulary,
        own: frozenset[str] = frozenset(),
        *,
        enough: int = 1,
        in_list: bool = False,
    ) -> None:
        self.signature = vocabulary.signature
        self.own = own
        self.enough = enough
        self.in_list = in_list
        self.slots: list[_Slot] = []
        #: Known names → the field, and how sure the name is (0 is the surest).
        self.exact: dict[tuple[str, ...], tuple[_Slot, int]] = {}
        self.by_signature: dict[frozenset[str], _Slot] = {}
        #: Keys whose objects keep their fields: the nom of an acheteur is no other's.
        self.owners: set[frozenset[str]] = set()
        #: Keys whose objects hold fields of the row itself.
        self.blocks: set[frozenset[str]] = set()
        #: Blocks of the other type, which are not looked into.
        self.closed: set[frozenset[str]] = set()
        self.ignored: set[frozenset[str]] = set()
        self._resolutions: dict[_Shape, _Resolution] = {}

    def add(self, slot: _Slot, names: Iterable[str]) -> None:
        """Make a field known under its names, the surest first."""
        self.slots.append(slot)
        for rank, name in enumerate(names):
            keys = tuple(name.split("."))
            self.exact.setdefault(keys, (slot, rank))
            self.by_signature.setdefault(self.signature(keys), slot)

    def resolve(self, shape: _Shape) -> _Resolution:
        """Where objects of a shape have the fields. The rows of a service have few shapes."""
        resolution = self._resolutions.get(shape)
        if resolution is None:
            resolution = _Search(self).resolution(shape)
            if _is_small(shape):
                if len(self._resolutions) >= _MOST_SHAPES:
                    self._resolutions.clear()
                self._resolutions[shape] = resolution
        return resolution

    def match(self, keys: tuple[str, ...]) -> _Match | None:
        """The field that a path of keys stands for."""
        if self.closed and self.signature(keys[:1]) in self.closed:
            return None
        # How many of the first keys may be blocks around the field.
        around = 0
        while around < len(keys) - 1 and not self._owns(keys[around]):
            around += 1
        foreign = [
            next((key for key in keys[:start] if not self._is_block(key)), None)
            for start in range(around + 1)
        ]
        for start, stranger in enumerate(foreign):
            if stranger is None and keys[start:] in self.exact:
                slot, rank = self.exact[keys[start:]]
                return _Match(slot, rank, None, False)
        for start, stranger in enumerate(foreign):
            words = self.signature(keys[start:])
            slot = self.by_signature.get(words) or self.by_signature.get(words - self.own)
            if slot is not None:
                return _Match(slot, None, stranger, len(words) > 1)
        return None

    def _owns(self, key: str) -> bool:
        """Whether the objects under a key keep their fields: donneesModification does, too."""
        words = self.signature((key,))
        return words in self.owners or words - self.signature(("donnees",)) in self.owners

    def _is_block(self, key: str) -> bool:
        return fold(key).startswith("donnees") or self.signature((key,)) in self.blocks

    def is_ignored(self, keys: tuple[str, ...]) -> bool:
        return any(self.signature(keys[start:]) in self.ignored for start in range(len(keys)))


#: Rows of garbage have shapes that are not worth remembering.
_MOST_SHAPES = 1024
_MOST_CHARACTERS = 10_000


def _is_small(shape: _Shape) -> bool:
    return len(repr(shape)) <= _MOST_CHARACTERS


class _Match(NamedTuple):
    slot: _Slot
    #: The rank of an exact name; None for a variant.
    rank: int | None
    #: The first unknown block around the field, if any.
    foreign: str | None
    #: Whether the name is the field's own and not one common word.
    specific: bool


class _Search:
    """One walk through the keys of a shape."""

    def __init__(self, table: _Table) -> None:
        self._table = table
        self._exact: dict[_Slot, list[tuple[int, int, _KeyPath]]] = {}
        self._variants: dict[_Slot, list[_KeyPath]] = {}
        self._unknown: list[_KeyPath] = []
        self._taken = 0
        #: Fields in an unknown block, and how many with names of their own each block has.
        self._doubtful: list[tuple[_Match, _KeyPath]] = []
        self._specific: Counter[str] = Counter()

    def resolution(self, shape: _Shape) -> _Resolution:
        self._walk(shape, ())
        has_own = bool(self._table.in_list and (self._exact or self._variants))
        # A block with fields that the contract has elsewhere is of something else, such as its
        # last avenant; and where the contract has a field, a null is what it says.
        others = {
            match.foreign
            for match, _ in self._doubtful
            if match.specific and match.slot in self._exact and match.slot.name not in _META
        }
        for match, path in self._doubtful:
            enough = match.specific or self._specific[match.foreign] >= self._table.enough
            is_other = has_own or match.foreign in others or match.slot in self._exact
            if enough and not is_other:
                self._variants.setdefault(match.slot, []).append(path)
            else:
                self._unknown.append(path)
        found = []
        for slot in self._table.slots:
            exact = tuple(path for *_, path in sorted(self._exact.get(slot, ()), key=_surest))
            variants = tuple(self._variants.get(slot, ()))
            if exact or variants:
                found.append(_Found(slot, exact, variants))
        return _Resolution(tuple(found), tuple(self._unknown))

    def _walk(self, shape: _Shape, path: _KeyPath) -> None:
        for key, inner in shape:
            here = (*path, key)
            if isinstance(key, int):
                self._walk_list(inner, here)
                continue
            keys = tuple(key for key in here if isinstance(key, str))
            match = self._table.match(keys)
            if match is not None and (inner is None or match.slot.is_list):
                self._take(match, here)
            elif inner is not None:
                self._walk(inner, here)
            elif not self._table.is_ignored(keys):
                self._unknown.append(here)

    def _walk_list(self, shape: _Shape, path: _KeyPath) -> None:
        """Walk through the one object of a list; told as a list if no field is in it."""
        taken, unknown = self._taken, len(self._unknown)
        self._walk(shape, path)
        if self._taken == taken:
            self._unknown[unknown:] = [path[:-1]]

    def _take(self, match: _Match, path: _KeyPath) -> None:
        if match.rank is not None:
            self._exact.setdefault(match.slot, []).append((match.rank, len(path), path))
        elif match.foreign is None:
            self._variants.setdefault(match.slot, []).append(path)
        elif 0 in path:
            # Several such objects would be of something else: lots, parties.
            self._unknown.append(path)
            return
        else:
            self._specific[match.foreign] += match.specific
            self._doubtful.append((match, path))
        self._taken += 1


def _surest(hit: tuple[int, int, _KeyPath]) -> tuple[int, int]:
    """Known names in their order, then what stands less deep."""
    return hit[:2]


# ---------------------------------------------------------------------------- rows


class _About(NamedTuple):
    """What a row says of itself."""

    reference: str | None
    source: str | None
    #: By its own key or its block.
    type: ContractType | None


class FieldNames:
    """The names of the service's fields, ready to be looked up. See :func:`load_field_names`."""

    def __init__(self, sections: Iterable[_Sections]) -> None:
        self._sections = tuple(sections)
        every = [
            name
            for table in self._sections
            for section in table.values()
            for names in section.values()
            for name in names
        ]
        for type in ContractType:
            every += _all_fields(type)
        self.vocabulary = _Vocabulary(every)
        self._blocks = {
            key: {self.vocabulary.signature((name,)) for name in self._listed("blocks", key)}
            for key in _BLOCK_KEYS
        }
        self._types_of_key = lru_cache(maxsize=1 << 12)(self._types_of_block)
        self._owners = {
            self.vocabulary.signature((name.partition(".")[0],))
            for type in ContractType
            for fields in _places(type).values()
            for name, is_list in fields.items()
            if is_list or "." in name
        }
        self._tables = {
            (type, where): self._table(type, where)
            for type in ContractType
            for where in _places(type)
        }
        self._about = self._about_table()

    def names_of(self, type: ContractType, field: str) -> list[str]:
        """The names of a field at its place, the surest first, its DECP name among them."""
        _, own = _all_fields(type)[field]
        return list(dict.fromkeys([*self._listed(type.value, field, "common"), own]))

    def table(self, type: ContractType, where: str) -> _Table | None:
        """The table of the objects at one place, None for those whose fields are found."""
        return self._tables.get((type, where))

    def is_list(self, type: ContractType, key: str) -> bool:
        """Whether a key may name a list of objects."""
        places = {place.rpartition(".")[2] for place in _places(type) if place}
        signature = self.vocabulary.signature
        return signature((key,)) in {signature((place,)) for place in places}

    def about(self, row: dict[str, Any], shape: _Shape) -> _About:
        """What a row says of itself."""
        values = {
            found.slot.name: _value(row, found)
            for found in self._about.resolve(shape).found
            if found.slot.name in _META
        }
        type, source = values.get("@type"), values.get("@source")
        return _About(
            _reference(values.get("@reference")),
            source if isinstance(source, str) else None,
            (_TYPE_WORDS.get(fold(type)) if isinstance(type, str) else None)
            or self._type_of_block(row),
        )

    def likely_type(self, row: dict[str, Any], shape: _Shape) -> ContractType:
        """The type that more of the fields belong to that a row has; marché if none does."""
        marche, concession = (_places(type)[""] for type in ContractType)
        balance = 0
        for found in self._about.resolve(shape).found:
            name = found.slot.name
            if name not in _META and not is_null(_value(row, found)):
                balance += (name in concession) - (name in marche)
        return ContractType.CONCESSION if balance > 0 else ContractType.MARCHE

    def _listed(self, section: str, key: str, *more: str) -> list[str]:
        """The names that the files list for a key, the user's file first."""
        return [
            name
            for table in self._sections
            for part in (section, *more)
            for name in table.get(part, {}).get(key, ())
        ]

    def _table(self, type: ContractType, where: str) -> _Table:
        signature = self.vocabulary.signature
        own = signature((where.rpartition(".")[2],))
        table = _Table(self.vocabulary, own, in_list=bool(where))
        table.owners = self._owners
        if not where:
            table.enough = 2
            (other,) = set(ContractType) - {type}
            table.blocks = self._blocks["common"] | self._blocks[type.value]
            table.closed = self._blocks[other.value]
            self._add_meta(table)
            table.ignored |= {
                signature(tuple(name.split(".")))
                for field, (place, _) in _all_fields(other).items()
                if not place and field not in _places(type)[""]
                for name in self.names_of(other, field)
            }
        for name, is_list in _places(type)[where].items():
            field = f"{where}.{name}".removeprefix(".")
            table.add(_Slot(name, is_list), self.names_of(type, field))
        return table

    def _about_table(self) -> _Table:
        table = _Table(self.vocabulary, enough=2)
        table.owners = self._owners
        table.blocks = set().union(*self._blocks.values())
        self._add_meta(table)
        for type in ContractType:
            for name, is_list in _places(type)[""].items():
                table.add(_Slot(name, is_list), self.names_of(type, name))
        return table

    def _add_meta(self, table: _Table) -> None:
        for slot in _META:
            table.add(_Slot(slot, False), self._listed("row", slot.removeprefix("@")))
        signature = self.vocabulary.signature
        table.ignored = set().union(
            *self._blocks.values(),
            (signature(tuple(name.split("."))) for name in self._listed("row", "ignored")),
        )

    def _type_of_block(self, row: dict[str, Any]) -> ContractType | None:
        types = {
            type
            for key, value in row.items()
            for type in self._types_of_key(key)
            if not is_null(value)
        }
        return types.pop() if len(types) == 1 else None

    def _types_of_block(self, key: str) -> tuple[ContractType, ...]:
        """The types whose block a key names."""
        signature = self.vocabulary.signature((key,))
        return tuple(type for type in ContractType if signature in self._blocks[type.value])


def _value(raw: dict[str, Any], found: _Found) -> Any:
    """The value of a field: the surest that is not null.

    If all are, a word such as ``NC``, so that it is seen to be dropped, or else None.
    """
    word = None
    for path in found.exact:
        value = _at(raw, path)
        if not is_null(value):
            return value
        word = word or value
    values = [(value, path) for path in found.variants if not is_null(value := _at(raw, path))]
    if not values:
        words = (word, *(_at(raw, path) for path in found.variants))
        return next((word for word in words if isinstance(word, str) and word.strip()), None)
    if any(value != values[0][0] for value, _ in values):
        return Ambiguous(tuple(_shown(path) for _, path in values))
    return values[0][0]


def _reference(raw: Any) -> str | None:
    """A reference as text; None for what cannot be one."""
    if isinstance(raw, int) and not isinstance(raw, bool):
        return str(raw)
    if not isinstance(raw, str):
        return None
    text = raw.strip()
    # One that has lost a character is not the service's key, nor is one that no index can hold.
    is_key = 0 < len(text) <= LONGEST_LABEL and text.isprintable() and "\ufffd" not in text
    return text if is_key else None


class _RowNames(Names):
    """The tolerant names of one row, which remember what they could not use.

    ``record`` has the values of the row by the fields of its record.
    """

    def __init__(
        self, names: FieldNames, type: ContractType, row: dict[str, Any], shape: _Shape
    ) -> None:
        self._names = names
        self._type = type
        #: The keys under which the list at a place was found.
        self._keys: dict[str, tuple[str | int, ...]] = {"": ()}
        self.unknown: dict[str, str] = {}
        self.record = self._find(row, "", shape)

    def fields(self, raw: dict[str, Any], where: str) -> Mapping[str, Any]:
        return self.record if not where else self._find(raw, where, _shape(raw))

    def same(self, key: str, name: str) -> bool:
        if key == name:
            return True
        signature = self._names.vocabulary.signature
        return signature((key,)) == signature((name,))

    def wraps(self, key: str, name: str) -> bool:
        if key == name:
            return True
        # What is around is known: {"considerationsSociales": {"sociales": […]}} is enough.
        signature = self._names.vocabulary.signature
        return bool(words := signature((key,))) and words <= signature((name,))

    def unwrapped(self, raw: dict[str, Any], key: str, where: str) -> None:
        for other, value in raw.items():
            if other != key:
                self._tell_unknown(where, (other,), value)

    def _find(self, raw: dict[str, Any], where: str, shape: _Shape) -> dict[str, Any]:
        table = self._names.table(self._type, where)
        if table is None:
            # The fields of a single object were found with those of the object around it.
            return raw
        resolution = table.resolve(shape)
        fields: dict[str, Any] = {}
        for found in resolution.found:
            value = _value(raw, found)
            if value is None:
                continue
            _put(fields, found.slot.name, value)
            if found.slot.is_list:
                keys = (*self._keys.get(where, (where,)), *(found.exact or found.variants)[0])
                inner = found.slot.name.rpartition(".")[2]
                self._keys[f"{where}.{inner}".removeprefix(".")] = keys
        for path in resolution.unknown:
            self._tell_unknown(where, path, _at(raw, path))
        return fields

    def _tell_unknown(self, where: str, path: _KeyPath, value: Any) -> None:
        shown = _shown((*self._keys.get(where, (where,)), *path))
        if self.unknown.get(shown, "null") == "null":
            self.unknown[shown] = _KINDS.get(type(value), "object")


_KINDS = {
    type(None): "null",
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "list",
    dict: "object",
}


def _article(value: object) -> str:
    kind = _KINDS.get(type(value), "something else")
    return {"null": "null", "integer": "an integer"}.get(kind, f"a {kind}")


# ---------------------------------------------------------------------------- advice

#: Rows are counted by type and regime.
_Kind = tuple[ContractType, Regime | None]

#: An advice needs so many rows, and the field missing in more than half of them.
_FEWEST_ROWS = 5
_LIKENESS = 0.5
_MOST_SHOWN = 8
_MOST_CANDIDATES = 3
#: So many different unknown keys are remembered for one kind of row.
_MOST_KEYS = 1000


class MissingFields:
    """Notices a required field that most rows of a run lack, and says which name to add.

    That is what a field looks like whose name in the service nobody knows yet.
    """

    def __init__(self, names: FieldNames) -> None:
        self._names = names
        self._rows: Counter[_Kind] = Counter()
        self._missing: dict[_Kind, Counter[str]] = {}
        self._unknown: dict[_Kind, dict[str, str]] = {}

    def add(self, mapped: MappedRow) -> None:
        """Count one row."""
        kind = (mapped.type, mapped.regime)
        self._rows[kind] += 1
        missing = {
            _field(problem.path, mapped.regime)
            for problem in mapped.problems
            if problem.rule == "required"
        }
        self._missing.setdefault(kind, Counter()).update(missing)
        unknown = self._unknown.setdefault(kind, {})
        for key, sample in mapped.unknown:
            if unknown.get(key, "null") == "null" and (key in unknown or len(unknown) < _MOST_KEYS):
                unknown[key] = sample

    def advice(self) -> list[str]:
        """One line for each required field that more than half of the rows lack.

        Per type and regime, from five rows on: the field, the unknown keys, the likeliest
        of them, and the line to put in the file of ``DUME_FIELD_MAP``.
        """
        return [
            self._line(kind, field, count)
            for kind in sorted(self._rows, key=str)
            if self._rows[kind] >= _FEWEST_ROWS
            for field, count in sorted(self._missing[kind].items())
            if count * 2 > self._rows[kind]
        ]

    def _line(self, kind: _Kind, field: str, count: int) -> str:
        type, regime = kind
        rows = f"{type.value} rows" if regime is None else f"{type.value} rows of {regime.value}"
        line = f"{field} is missing in {count} of {self._rows[kind]} {rows}. "
        unknown = self._unknown[kind]
        if not unknown:
            return f"{line}All their keys are known: the service seems not to send it."
        shown = [f"{key} ({sample})" for key, sample in sorted(unknown.items())[:_MOST_SHOWN]]
        if len(unknown) > _MOST_SHOWN:
            shown.append(f"and {len(unknown) - _MOST_SHOWN} more")
        line += f"Unknown keys: {', '.join(shown)}. "
        candidates = sorted(
            candidate
            for leaf in _leaves(type, regime, field)
            for key in unknown
            if (candidate := self._candidate(type, leaf, key)) is not None
        )
        if not candidates:
            return f"{line}None is like it."
        likeliest = ", ".join([*dict.fromkeys(key for _, key, *_ in candidates)][:_MOST_CANDIDATES])
        _, _, leaf, name = candidates[0]
        leaf = f'"{leaf}"' if "." in leaf else leaf
        return (
            f"{line}Likeliest: {likeliest}. If the first is it, put this line in the file of "
            f'the setting DUME_FIELD_MAP: {type.value}.{leaf} = ["{name}"]'
        )

    def _candidate(
        self, type: ContractType, leaf: str, key: str
    ) -> tuple[float, str, str, str] | None:
        """How unlike a field an unknown key is, with the name that it would have there.

        None when it is not like it at all, or not in the list that the field is in. In the
        same list, a key need not be like the field.
        """
        signature = self._names.vocabulary.signature
        keys = tuple(key.split("."))
        place = _all_fields(type)[leaf][0]
        lists = [n for n, one in enumerate(keys[:-1]) if self._names.is_list(type, one)]
        if lists:
            of_list = signature((place.rpartition(".")[2],))
            if signature((keys[lists[-1]],)) != of_list:
                return None
            keys = keys[lists[-1] + 1 :]
        elif place:
            return None
        likeness = max(
            SequenceMatcher(
                None, _spelt(signature(keys[start:])), _spelt(signature((name,)))
            ).ratio()
            for start in range(len(keys))
            for name in self._names.names_of(type, leaf)
        )
        if not place and likeness < _LIKENESS:
            return None
        return 1 - likeness, key, leaf, ".".join(keys)


def _field(path: str, regime: Regime | None) -> str:
    """The field that a path of a record leads to, without list positions and wrappers."""
    parts: list[str] = []
    steps = iter(path.split("."))
    for step in steps:
        if not step.isdigit():
            parts.append(step)
        elif regime is Regime.R2022:
            next(steps, None)
    return ".".join(parts)


def _leaves(type: ContractType, regime: Regime | None, field: str) -> list[str]:
    """The fields with a value of their own: ``acheteur.id`` for ``acheteur``."""
    known = fields_of(type, regime or Regime.R2022)
    return [
        leaf
        for leaf, (place, name) in _all_fields(type).items()
        if name in known.get(place, ())
        and (leaf == field or (leaf.startswith(f"{field}.") and not place.startswith(field)))
    ]


def _spelt(words: frozenset[str]) -> str:
    return "".join(sorted(words))
