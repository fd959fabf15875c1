"""What a report counts, read from the store in a stream: memory does not grow with the records.

What does grow is small: one line per buyer, titulaire and day, and eight bytes per amount.
"""

from __future__ import annotations

import heapq
import math
import statistics
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from dume_spider.decp.regime import BUYER_FIELD, ContractType
from dume_spider.decp.tables import AMOUNT_FIELD, holders_of
from dume_spider.report.cpv import DIVISIONS
from dume_spider.run import without_positions
from dume_spider.store.reading import RefusedRow, StoreReader, SurveyedRecord

#: Outliers that are named on either side, and rejected rows that are shown per reason.
NAMED, EXAMPLES = 10, 3
#: Bins of a factor of ten.
BINS = 4
#: Outliers are so many interquartile ranges (of logarithms) away from the quartiles: what
#: Tukey calls "far out".
FAR_OUT = 3.0


@dataclass(slots=True)
class Party:
    """A buyer or titulaire: its contracts, the sum of their amounts, the last name seen."""

    id: str
    contracts: int = 0
    amount: float = 0.0
    name: str = ""

    def add(self, amount: float | None, name: Any) -> None:
        self.contracts += 1
        self.amount += amount or 0.0
        if isinstance(name, str) and name.strip():
            self.name = " ".join(name.split())

    @property
    def label(self) -> str:
        """Its name, or else its identifier."""
        return self.name or self.id


class Contract(NamedTuple):
    """A contract that is named because of its amount."""

    amount: float
    reference: str
    type: str
    buyer: str
    objet: str


@dataclass(slots=True)
class Amounts:
    """The amounts above 0, and the most extreme contracts; ``nothing``: how many are 0."""

    values: dict[str, array[float]] = field(
        default_factory=lambda: {kind.value: array("d") for kind in ContractType}
    )
    nothing: int = 0
    absent: int = 0
    _high: list[tuple[float, int, Contract]] = field(default_factory=list)
    _low: list[tuple[float, int, Contract]] = field(default_factory=list)

    def add(self, amount: float | None, number: int, record: SurveyedRecord, objet: Any) -> None:
        if amount is None:
            self.absent += 1
            return
        if amount <= 0:
            self.nothing += 1
            return
        self.values[record.type].append(amount)
        for heap, key in ((self._high, amount), (self._low, -amount)):
            if len(heap) < NAMED or key > heap[0][0]:
                named = Contract(amount, record.reference, record.type, record.buyer, str(objet))
                push = heapq.heappush if len(heap) < NAMED else heapq.heapreplace
                push(heap, (key, number, named))

    def quartiles(self) -> tuple[float, float, float] | None:
        """The quartiles of all amounts; ``None`` for fewer than four."""
        every = sorted(value for values in self.values.values() for value in values)
        if len(every) < 4:
            return None
        first, median, third = statistics.quantiles(every, method="inclusive")
        return first, median, third

    def fences(self) -> tuple[float, float] | None:
        """The amounts below and above which one is an outlier; ``None`` where most are alike."""
        quartiles = self.quartiles()
        if quartiles is None or quartiles[0] == quartiles[2]:
            return None
        first, third = math.log10(quartiles[0]), math.log10(quartiles[2])
        reach = FAR_OUT * (third - first)
        return 10 ** (first - reach), 10 ** min(third + reach, 300.0)

    def outliers(self) -> tuple[list[Contract], list[Contract], int]:
        """The highest and the lowest outliers, the most extreme first, and how many there are."""
        fences = self.fences()
        if fences is None:
            return [], [], 0
        low, high = fences
        count = sum(not low <= value <= high for values in self.values.values() for value in values)
        highest = [named for _, _, named in sorted(self._high, reverse=True) if named.amount > high]
        lowest = [named for _, _, named in sorted(self._low, reverse=True) if named.amount < low]
        return highest, lowest, count

    def histogram(self) -> list[tuple[float, float, dict[str, int]]]:
        """Amounts (the lower included) on a log axis, and how many lie between, by type."""
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for kind, values in self.values.items():
            for value in values:
                counts[math.floor(math.log10(value) * BINS)][kind] += 1
        return [
            (10 ** (number / BINS), 10 ** ((number + 1) / BINS), dict(counts[number]))
            for number in sorted(counts)
        ]


class Refused(NamedTuple):
    """A rejected row by the key of its rejection, and what is said of it."""

    id: int
    reference: str | None
    message: str


@dataclass(slots=True)
class Refusals:
    """A reason of rejection: the field, the rule, and how many rows."""

    field: str
    rule: str
    rows: int = 0
    _firsts: list[Refused] = field(default_factory=list)
    _others: list[Refused] = field(default_factory=list)

    def add(self, row: Refused) -> None:
        """Count a row."""
        self.rows += 1
        is_other = any(first.reference == row.reference for first in self._firsts)
        kept = self._others if is_other else self._firsts
        if len(kept) < EXAMPLES:
            kept.append(row)

    @property
    def examples(self) -> list[Refused]:
        """The first rows, those of different references first."""
        return (self._firsts + self._others)[:EXAMPLES]


@dataclass(slots=True)
class Survey:
    """What the records of a store are, counted."""

    records: int = 0
    types: Counter[str] = field(default_factory=Counter)
    regimes: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    #: By date of publication (empty: none) and type.
    days: Counter[tuple[str, str]] = field(default_factory=Counter)
    amount: float = 0.0
    amounts: Amounts = field(default_factory=Amounts)
    buyers: dict[str, Party] = field(default_factory=dict)
    titulaires: dict[tuple[str, str], Party] = field(default_factory=dict)
    #: By division: contracts and the sum of their amounts; empty: no or no known code.
    cpv: Counter[str] = field(default_factory=Counter)
    cpv_amounts: Counter[str] = field(default_factory=Counter)
    #: By field and rule.
    repairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    repaired: int = 0
    #: By rule.
    warnings: Counter[str] = field(default_factory=Counter)

    def add(self, surveyed: SurveyedRecord) -> None:
        """Count a record."""
        type = ContractType(surveyed.type)
        record = orjson.loads(surveyed.record)
        self.records += 1
        self.types[type.value] += 1
        self.regimes[surveyed.regime] += 1
        self.sources[surveyed.source] += 1
        self.days[surveyed.published, type.value] += 1
        amount = _number(record.get(AMOUNT_FIELD[type]))
        self.amount += amount or 0.0
        self.amounts.add(amount, self.records, surveyed, record.get("objet"))
        buyer = self.buyers.setdefault(surveyed.buyer, Party(surveyed.buyer))
        buyer.add(amount, record[BUYER_FIELD[type]].get("nom"))
        # One that is listed twice has the contract once.
        for key, holder in {_key(holder): holder for holder in holders_of(record, type)}.items():
            party = self.titulaires.setdefault(key, Party(key[1]))
            party.add(amount, holder.get("denominationSociale"))
        division = str(record.get("codeCPV") or "")[:2]
        division = division if division in DIVISIONS else ""
        self.cpv[division] += 1
        self.cpv_amounts[division] += amount or 0.0
        if surveyed.repairs:
            self.repaired += 1
            found = {
                (without_positions(repair["path"]) or "record", repair["rule"])
                for repair in orjson.loads(surveyed.repairs)
            }
            self.repairs.update(found)
        if surveyed.warnings:
            self.warnings.update({warning["rule"] for warning in orjson.loads(surveyed.warnings)})

    def top_buyers(self, most: int) -> list[Party]:
        """The buyers of the most contracts."""
        return _top(self.buyers.values(), most)

    def top_titulaires(self, most: int) -> list[Party]:
        """The titulaires (and concessionnaires) of the most contracts."""
        return _top(self.titulaires.values(), most)


def survey(reader: StoreReader, *, since: str = "", run: str = "") -> Survey:
    """Count the current records of a store. Raises :class:`StoreError`."""
    counted = Survey()
    for record in reader.survey(since=since, run=run):
        counted.add(record)
    return counted


def refusals(reader: StoreReader, *, since: str = "", run: str = "") -> tuple[list[Refusals], int]:
    """The reasons of rejection, the most frequent first, and how many rows are rejected."""
    reasons: dict[tuple[str, str], Refusals] = {}
    rows = 0
    for row in reader.refusals(since=since, run=run):
        rows += 1
        for field_name, rule, message in _reasons(row):
            reason = reasons.setdefault((field_name, rule), Refusals(field_name, rule))
            reason.add(Refused(row.id, row.reference, message))
    return sorted(reasons.values(), key=lambda r: (-r.rows, r.field, r.rule)), rows


def _reasons(row: RefusedRow) -> Iterator[tuple[str, str, str]]:
    """The reasons of a row, each field and rule once, with the first message."""
    seen: set[tuple[str, str]] = set()
    for problem in orjson.loads(row.problems):
        key = (without_positions(problem["path"]) or "record", problem["rule"])
        if key not in seen:
            seen.add(key)
            yield *key, problem["message"]


def _top(parties: Iterable[Party], most: int) -> list[Party]:
    return heapq.nsmallest(most, parties, key=lambda p: (-p.contracts, -p.amount, p.id))


def _key(holder: dict[str, Any]) -> tuple[str, str]:
    return str(holder.get("typeIdentifiant") or ""), str(holder.get("id") or "")


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
