"""Which window to ask next, and what the answers prove.

The planner is pure: it is given a query and the answers, and gives windows (values of
:class:`SearchQuery`). It does no I/O and knows no Scrapy.

How it works. A *lane* is a set of filters without dates (the query's own, the query's and
``typeDE=MP``, …) with the days that must be covered under those filters. Each lane is
covered by windows of consecutive days, sized by the density seen so far. An answer below
the cap *closes* its window: nothing is missing from it. A full one is split: by date down
to a day; a day that is still full is *refined*: handed over to lanes with one more filter,
first ``typeDE``, then an enumeration of the labels of one field (procedure, nature, CPV
code, buyer, winner: the field that is expected to need the fewest requests). Because a
lane holds days, not a day, a rare label is asked over many days at once.

What is proven. Dates and ``typeDE`` cover everything by construction. An enumeration does
not: a row whose label is null or unlisted is invisible to it. So it is cross-checked, by a
second enumeration of the same days on another field, and by every full answer met on the
way: each row that any answer has shown must have come back in a closed window of the first
enumeration, else it is a *stranger* and its window is incomplete. New labels met by the one
enumeration are asked by the other until neither learns anything.

How far the cross-check goes. Where procedures and natures, whose labels are listed, are
enough, the second enumeration costs about as much as the first: it is the one that sees the
largest share of the rows again, where a cell that stays full counts as the sample it shows.
Where labels had to be learnt from rows (CPV codes, buyers, winners), rows under a label
that nobody told are hidden, so the days in question are enumerated a second time in full,
by a field that the first did not use. What may still be missing is estimated; where that
is half a row or more, the window is incomplete, stranger or not.

The cap itself was only observed, and the service may change it. Under a higher one there are
some requests too many. Under a lower one each answer would look whole: where none has reached
the cap, a part of the longest answer is asked for at the end. If it has rows that the answer
had not, that one was cut, and all answers are judged anew by its length as the cap.

Lanes are worked level by level: all windows of a level are answered before the next level
is planned, so that it knows all its days and labels. Hence the planner may have nothing to
ask while answers are on their way.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache, reduce
from operator import or_
from typing import Any, Literal, NamedTuple

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.schema import record_schema, resolve
from dume_spider.dume.query import CAP, SearchQuery

State = Literal["complete", "probable", "incomplete"]

#: What became of a window that was asked.
WindowState = Literal["asked", "closed", "full", "failed"]

#: The fields whose labels can be enumerated. The first two have closed lists of labels.
FIELDS = ("procedure", "nature", "cpv_code", "acheteur_id", "titulaire_id")
#: Those without: only labels that were seen can be asked.
OPEN_FIELDS = FIELDS[2:]

#: Before the essential data existed hardly anything can have been published.
_FIRST_LIKELY_DAY = date(2018, 1, 1)
#: An open start is cut into days from here on; what is older is one piece, as is the far future.
_FIRST_DAY = date(1990, 1, 1)
_DAYS_AHEAD = 366

#: Windows are planned for this fill where a mean is all that is known (:func:`_cost`).
_FILL = 0.85
#: How much a full window is shunned: above 1 because it costs more than itself.
_CAUTION = 1.25
#: An answer as unlikely as this is no chance.
_SURPRISE = 0.97
#: Where rows are likely to be missing, a label seen elsewhere is tried for so many of them.
_WORTH_SEARCHING = 0.003
#: Full days so close belong to one window when they are named (over a week-end).
_GAP = 3
#: With this many rows expected to be missing, a window is not called probable any more.
_LIKELY_MISSING = 0.5
#: Shorter answers are not suspected of being cut.
_SHORTEST_CUT = 10
#: Quantile of the normal distribution for intervals of 95 %.
_Z95 = 1.96


#: Why what was published on the day of the run, or is to be, is not called complete.
NOT_OVER = "its days are not over: more may be published"


class RowFacts(NamedTuple):
    """What the planner needs to know of a row.

    ``key`` is the identity of a version (reference and hash of the raw row). The others
    are the raw values that the service's filters match, ``None`` where the row has none.
    """

    key: str
    reference: str | None = None
    type_de: ContractType | None = None
    procedure: str | None = None
    nature: str | None = None
    cpv_code: str | None = None
    acheteur_id: str | None = None
    titulaire_ids: tuple[str, ...] = ()

    def values(self, field: str) -> tuple[Any, ...]:
        """The values of the row that a filter on ``field`` can match: none, one or several."""
        if field == "titulaire_id":
            return self.titulaire_ids
        value = getattr(self, field)
        return () if not value else (value,)


class Estimate(NamedTuple):
    """An estimate of the rows that are missing, with its interval of 95 %.

    Capture and recapture (Chapman's estimator; the interval from Wilson's interval of the
    share of the second capture that the first had found): see :meth:`Planner._estimate` for
    the captures. It supposes that they find rows independently of each other: it is an
    estimate, not a count.
    """

    missing: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Unproven:
    """A window from which rows may be missing, and why.

    ``state`` is ``probable`` (enumerated, cross-checked, no stranger, less than half a row
    estimated missing; or asked before the day was over) or ``incomplete``.
    ``rows`` counts what was collected in it; ``estimate`` what may be missing from it,
    ``None`` where nothing allows an estimate.
    """

    window: SearchQuery
    state: Literal["probable", "incomplete"]
    why: str
    rows: int
    estimate: Estimate | None = None

    def as_dict(self) -> dict[str, Any]:
        """As in ``unproven`` of ``summary.json``."""
        estimate = self.estimate
        return {
            "filters": self.window.filters(),
            "state": self.state,
            "why": self.why,
            "rows": self.rows,
            "missing_estimate": estimate
            and {name: round(value, 1) for name, value in estimate._asdict().items()},
        }


@cache
def listed_labels(type_de: ContractType | None, field: str) -> tuple[str, ...]:
    """The labels that the regulation lists for a field, both regimes, in the schemas' order.

    ``type_de`` ``None`` stands for both types. Empty for the fields without a closed list.
    """
    if field not in ("procedure", "nature"):
        return ()
    labels: dict[str, None] = {}
    for each in ContractType if type_de is None else (type_de,):
        for regime in Regime:
            schema = record_schema(each, regime)
            node = resolve(schema["properties"][field], schema)
            labels.update(dict.fromkeys(node["enum"]))
    return tuple(labels)


class Planner:
    """Plans the windows of one query and judges what their answers prove.

    Args:
        query: what is asked for. Its dates may be open on either side; filters that it
            sets are kept in every window and are not used for splitting.
        today: the date of the run: more may be published on this day and later ones, which are
            expected to be empty.
        cap: the number of rows from which an answer may have been cut.
        known: rows of earlier harvests, read once, when a day turns out to need an enumeration:
            labels of theirs that no list has are asked too, and where rows are likely to be
            missing under labels that this harvest has not met, the likely ones of theirs.
        shard: ``(i, n)``: plan only the share ``i`` of ``1…n`` of the days. The days are
            dealt out in blocks by a rule that depends on the query and ``n`` alone, so the
            shares are disjoint and together the query, whatever each worker has learnt.

    Use: send the windows of :meth:`next`, give each answer to :meth:`answered` (in any
    order) or its failure to :meth:`failed`, and ask again, until :attr:`done`. An
    interrupted run is resumed by giving the answers that it had to :meth:`answered` of a new
    planner of the same query, before the first :meth:`next`: what they prove is not asked
    again. They may be any part of what was answered, in any order (in the order in which they
    came the rest is asked as it would have been). Which windows are given depends on the
    order of the answers and on nothing else.

    Raises ``ValueError`` for a query that ends before it starts, or a shard outside ``1…n``.
    """

    def __init__(
        self,
        query: SearchQuery,
        *,
        today: date,
        cap: int = CAP,
        known: Iterable[RowFacts] = (),
        shard: tuple[int, int] = (1, 1),
    ):
        self.query = query
        self.cap = cap
        self._days = _Days(query.date_start, query.date_end, today)
        self._own = self._days.shard(*shard)
        self._known = known
        #: All answers, as long as none has reached the cap.
        self._past: dict[SearchQuery, Sequence[RowFacts]] | None = {}
        self._begin()

    def _begin(self) -> None:
        """Know nothing of any answer."""
        self.done = False
        #: Every window asked or answered, with what became of it, in order.
        self.windows: dict[SearchQuery, WindowState] = {}
        self._profile = _Profile(self._days)
        self._rows: dict[str, _Row] = {}
        self._fresh: list[_Row] = []
        self._lanes: dict[SearchQuery, _Lane] = {}
        self._queue: deque[_Lane] = deque()
        self._in_flight: dict[SearchQuery, tuple[_Lane, int, int]] = {}
        self._failures: list[tuple[_Lane, int, int, str]] = []
        self._hints: dict[frozenset[tuple[str, Any]], int] = {}
        #: Filters that the service turned out not to honour ("dates" for both dates).
        self._ignored: set[str] = set()

        base = replace(self.query, date_start=None, date_end=None)
        self._root = self._new_lane(base, (), _prior(base), 0.25)
        if base.typed() == (base,):
            self._take(self._root, self._own, first=True)
        else:
            self._root.refined = self._own
            self._root.first = True

    # What is asked.

    def next(self, room: int) -> list[SearchQuery]:
        """The windows to ask now, at most ``room``.

        An empty list means that nothing is to be asked before more answers come, or,
        when :attr:`done`, at all.
        """
        windows: list[SearchQuery] = []
        while len(windows) < room and not self.done:
            planned = self._next_of_level()
            if planned is None:
                if self._in_flight or self._queue:
                    break
                if self._next_level():
                    continue
                cap, planned = self.cap, self._check_cap()
                self.done = planned is None and self.cap == cap
                if planned is None:
                    continue
            lane, low, high = planned
            window = self._window(lane, low, high)
            self._in_flight[window] = planned
            self.windows[window] = "asked"
            windows.append(window)
        return windows

    def _next_of_level(self) -> tuple[_Lane, int, int] | None:
        """The next window of the level's lanes, in turns so that each learns in between."""
        for _ in range(len(self._queue)):
            lane = self._queue.popleft()
            if self._void(lane):
                lane.todo = 0
            span = self._plan(lane)
            if lane.todo:
                self._queue.append(lane)
            if span is not None:
                return lane, *span
        return None

    def _plan(self, lane: _Lane) -> tuple[int, int] | None:
        """Take the lane's next window from its days to do; ``None``: it has to wait."""
        needed = self._streak_needed(lane)
        hints = self._hints.get(frozenset(lane.path), 0)
        while lane.todo:
            low = _lowest(lane.todo)
            # A split by type costs next to nothing and proves as much; an enumeration does not.
            likely = self._chance(lane, low, low) > (0.15 if needed == 1 else 0.5)
            heavy = lane.first and likely and lane.streak >= needed
            hinted = hints >> low & 1
            if hinted or (heavy and lane.skip):
                lane.skip -= not hinted
                lane.todo &= ~(1 << low)
                lane.refined |= 1 << low
                continue
            flying = sum(other is lane for other, _, _ in self._in_flight.values())
            if flying >= (1 if heavy else max(1.0, lane.rate.weight / 2)):
                return None
            high = self._best_end(lane, low)
            lane.todo &= ~_mask(low, high)
            return low, high
        return None

    def _streak_needed(self, lane: _Lane) -> int:
        """After how many full days in a row the next ones are handed over unasked."""
        return 1 if lane.cell.type_de is None and "type_de" not in self._ignored else 2

    def _best_end(self, lane: _Lane, low: int) -> int:
        """The last day of the window from ``low`` that is expected to close the most days.

        Only ends on days to do, within the shard's block and below any window known full.
        """
        last = min(
            (high - 1 for start, high in lane.full if start >= low),
            default=lane.todo.bit_length() - 1,
        )
        last = min(last, _highest_of_run(self._own, low))
        days = lane.todo & _mask(low, max(last, low))
        last = days.bit_length() - 1
        if last <= low or self._chance(lane, low, last) < 0.01:
            return last
        # While it is certain to fit, longer is better: no need to look at each day.
        sure = bisect_left(range(low, last), 0.01, key=lambda end: self._chance(lane, low, end))
        fits = days & _mask(low, max(low, low + sure - 1))
        best, most, gain = low, 0.0, sum(self._profile.exposure(*run) for run in _runs(fits))
        for high in _bits(days & ~fits | 1 << fits.bit_length() - 1):
            gain += 0.0 if fits >> high else self._profile.exposure(high, high)
            chance = self._chance(lane, low, high)
            if (1 - chance) ** _CAUTION * gain >= most:
                best, most = high, (1 - chance) ** _CAUTION * gain
            if chance > 0.99:
                break
        return best

    def _chance(self, lane: _Lane, low: int, high: int) -> float:
        """The probability that the window comes back full."""
        mean, variance = self._expected(lane, low, high)
        return _upper_tail(self.cap - 0.5, mean, variance)

    def _expected(self, lane: _Lane, low: int, high: int) -> tuple[float, float]:
        """Mean and variance of the number of rows of a window: chance, noise, ignorance."""
        rate, profile = lane.rate, self._profile
        exposure = profile.exposure(low, high)
        mean = rate.rows * exposure
        for start, end in lane.full:
            if start <= low and high <= end:  # a part of a window known to be full
                mean = max(mean, 1.08 * self.cap * exposure / profile.exposure(start, end))
        noise = profile.noise * rate.rows**2 * profile.squares(low, high)
        ignorance = mean**2 * (profile.noise + 0.1 / rate.weight) / rate.weight
        return mean, mean + noise + ignorance + 1e-9

    def _window(self, lane: _Lane, low: int, high: int) -> SearchQuery:
        start, end = self._days.dates(low, high)
        return replace(lane.cell, date_start=start, date_end=end)

    # What is learnt from answers.

    def answered(self, window: SearchQuery, rows: Sequence[RowFacts]) -> None:
        """Take the answer to a window: all its rows.

        Raises ``ValueError`` for a window that is no part of the query.
        """
        if len(rows) >= self.cap:
            self._past = None
        self._judge(window, rows)
        if self._past is not None:
            self._past[window] = rows

    def _check_cap(self) -> tuple[_Lane, int, int] | None:
        """The window that shows whether the longest answer was cut below the cap: that part of
        it which has a label of nearly half of its rows. Once it is answered, if there is a row
        that the longest answer has not, all answers are judged anew."""
        if not self._past:
            return None
        whole, rows = max(self._past.items(), key=lambda answer: len(answer[1]))
        counts = Counter(
            (field, label)
            for facts in rows
            for field in self._free_fields(whole)
            for label in facts.values(field)
        )
        shares = {label: count for label, count in counts.items() if count < len(rows)}
        if len(rows) < _SHORTEST_CUT or not shares:
            return None
        field, label = min(shares, key=lambda label: abs(shares[label] - len(rows) / 2))
        part = replace(whole, **{field: label})
        if part not in self.windows:
            return self._asked_before(part)
        known = {facts.key for facts in rows}
        if any(facts.key not in known for facts in self._past.get(part, ())):
            self._lower_cap(len(rows))
        return None

    def _lower_cap(self, cap: int) -> None:
        """Judge all answers anew by another cap."""
        past, self._past, self.cap = self._past, None, cap
        failures = {self._window(*span): error for *span, error in self._failures}
        self._begin()
        for window, rows in past.items():
            self._judge(window, rows)
        for window, error in failures.items():
            self._in_flight[window] = self._asked_before(window)
            self.failed(window, error)

    def _judge(self, window: SearchQuery, rows: Sequence[RowFacts]) -> None:
        """What an answer proves by the cap as it is known."""
        lane, low, high = self._in_flight.pop(window, None) or self._asked_before(window)
        lane.answers += 1
        full = len(rows) >= self.cap
        self.windows[window] = "full" if full else "closed"
        self._note_rows(lane, low, high, rows, full)
        self._learn_density(lane, low, high, len(rows), full)
        if full:
            self._split(lane, low, high)
            denied = (field for field, label in lane.path if _denied(rows, field, label))
            self._ignored.update(denied)
        else:
            lane.closed |= _mask(low, high)
            lane.full = [span for span in lane.full if _mask(*span) & ~lane.closed]
        lane.todo &= ~lane.settled

    def _split(self, lane: _Lane, low: int, high: int) -> None:
        """What follows from a full window: its days are to be asked otherwise."""
        days = _mask(low, high)
        if "dates" in self._ignored:
            lane.stuck |= days & lane.needed
        elif low == high:
            lane.refined |= days
        else:
            lane.full.append((low, high))
            if not lane.todo and lane.needed:
                self._queue.append(lane)
            lane.todo |= days & lane.needed & ~self._flying(lane)

    def _flying(self, lane: _Lane) -> int:
        """The days of the lane whose answers are on their way."""
        days = 0
        for other, low, high in self._in_flight.values():
            days |= _mask(low, high) if other is lane else 0
        return days

    def failed(self, window: SearchQuery, error: str) -> None:
        """Note that a window got no answer: it is named, and the run is incomplete."""
        lane, low, high = self._in_flight.pop(window)
        self.windows[window] = "failed"
        lane.failed |= _mask(low, high)
        self._failures.append((lane, low, high, error))

    def _asked_before(self, window: SearchQuery) -> tuple[_Lane, int, int]:
        """The lane and days of a window that another planner had asked (see the class)."""
        cell = replace(window, date_start=None, date_end=None)
        own = self.query.filters()
        path = tuple(
            (field, getattr(cell, field))
            for field in ("type_de", *FIELDS)
            if field not in own and getattr(cell, field) is not None
        )
        span = self._days.span(window)
        if span is None or replace(cell, **{field: None for field, _ in path}) != self._root.cell:
            raise ValueError(f"not a part of the query {own}: {window.filters()}")
        lane = self._lanes.get(cell) or self._new_lane(cell, path, 0.0, 0.0)
        if span[0] == span[1]:
            # A day that was asked under these filters had been handed over by all others.
            for part in range(1 << len(path)):
                some = frozenset(pair for i, pair in enumerate(path) if part >> i & 1)
                if len(some) < len(path):
                    self._hints[some] = self._hints.get(some, 0) | 1 << span[0]
        return lane, *span

    def _note_rows(
        self, lane: _Lane, low: int, high: int, rows: Sequence[RowFacts], full: bool
    ) -> None:
        typed = lane.cell.type_de is not None
        elsewhere = otherwise = 0
        for facts in rows:
            if facts.type_de is None and typed:
                facts = facts._replace(type_de=lane.cell.type_de)
            row = self._rows.get(facts.key)
            if row is None:
                row = self._rows[facts.key] = _Row(facts, low, high)
                self._fresh.append(row)
            elif row.low > high or row.high < low:
                elsewhere += 1
            else:
                row.low, row.high = max(row.low, low), min(row.high, high)
            if typed and facts.type_de != row.facts.type_de:
                # What was asked for by type is better known than what was not.
                otherwise += row.typed
                row.facts = facts
            row.typed |= typed
            lane.mark(row, full)
        # The same rows for days or types that exclude each other: the filter does nothing.
        if full and elsewhere >= max(2, len(rows) / 2):
            self._ignored.add("dates")
        if full and otherwise >= max(2, len(rows) / 2):
            self._ignored.add("type_de")

    def _learn_density(self, lane: _Lane, low: int, high: int, rows: int, full: bool) -> None:
        mean, variance = self._expected(lane, low, high) if lane.rate.weight else (0.0, 1.0)
        exposure = self._profile.exposure(low, high)
        if full:
            # Only a lower bound is known, which is no news where more was expected.
            news = 1 - _upper_tail(rows, mean, variance)
            guess = max(mean, rows) + 0.5 * news * math.sqrt(min(variance, rows**2))
            if news > _SURPRISE:
                # Other times have begun: what was learnt so far says little about them.
                lane.rate.weight = min(lane.rate.weight, 0.5)
            else:
                self._learn_noise(lane, low, high, mean, guess)
            if low == high:
                lane.streak += 1
                if (proofs := lane.streak - self._streak_needed(lane)) >= 0:
                    lane.skip = min(2 << proofs, 32)
                if lane.streak > 1:
                    lane.rate.weight = min(lane.rate.weight, 2.0)
            lane.rate.learn(guess / exposure, min(exposure, 1.0))
            return
        if mean >= self.cap / 2:
            lane.streak = lane.skip = 0
        self._learn_noise(lane, low, high, mean, rows)
        lane.rate.learn(rows / exposure, exposure)
        if lane.rate.weight >= 3:
            self._profile.learn(low, high, rows, lane.rate.rows)

    def _learn_noise(self, lane: _Lane, low: int, high: int, mean: float, rows: float) -> None:
        if lane.rate.weight >= 3 and mean >= 10:
            spread = lane.rate.rows**2 * self._profile.squares(low, high)
            self._profile.learn_noise(((rows - mean) ** 2 - mean) / spread)

    # Levels: lanes for the days that are still full.

    def _next_level(self) -> bool:
        """Hand the full days over to lanes with one more filter; ``False``: nothing is left."""
        if "dates" in self._ignored:
            return False
        self._count_labels()
        tried: set[SearchQuery] = set()
        # A lane that is enlisted may have days that an interrupted run had found full.
        while lanes := [
            lane
            for lane in self._lanes.values()
            if lane.first and lane.refined and lane.cell not in tried and not self._void(lane)
        ]:
            for lane in lanes:
                tried.add(lane.cell)
                if lane.split is None or lane.split in self._ignored:
                    lane.split = self._best_field(lane)
                if lane.split is not None:
                    self._hand_over(lane, lane.split, lane.refined, first=True)
                    lane.handed = lane.refined
        for top in self._tops():
            learners = self._learners(top)
            if not self._queue:
                if self._open(top.check) and top not in learners:
                    top.check = self._best_check(top, thorough=False)
                if self._open(top.search) and learners:
                    top.search = self._best_check(top, thorough=True)
            if top.check:
                self._hand_over_check(top, top.check, top.refined)
            if top.search:
                self._hand_over_check(top, top.search, self._learnt(top))
            if not self._queue:
                self._widen(top, learners)
        return bool(self._queue)

    def _open(self, check: tuple[str, ...] | None) -> bool:
        """Whether a cross-check is still to be chosen, or rests on a filter not honoured."""
        return check is None or not self._ignored.isdisjoint(check[:1])

    def _widen(self, top: _Lane, learners: list[_Lane]) -> None:
        """Where rows are likely to be missing from a lane that learns, ask for labels that were
        seen elsewhere under the same type, as long as each is worth it."""
        for lane in learners:
            if lane is top or lane.least is not None:
                continue
            estimate = self._estimate(top, lane.refined)
            if estimate is None or estimate.missing >= _LIKELY_MISSING:
                field = str(lane.split)
                asked = self._labels(lane, field)
                seen = sum(self._counts(top, field), Counter())
                total = sum(count for label, count in seen.items() if label not in asked)
                # Rows may be hidden under labels that nobody has seen: as many as seen once.
                total += sum(count == 1 for count in seen.values())
                hidden = estimate.missing if estimate else 1.0
                lane.top, lane.least = top, _WORTH_SEARCHING * total / hidden
                self._hand_over(lane, field, lane.refined, first=True)

    def _learnt(self, top: _Lane) -> int:
        """The days of an enumeration that need labels learnt from rows."""
        return _union(lane.refined for lane in self._learners(top))

    def _learners(self, top: _Lane) -> list[_Lane]:
        """The lanes of the first enumeration where labels begin to be learnt from rows."""
        return [
            lane
            for lane in self._lanes.values()
            if lane.first
            and lane.split in OPEN_FIELDS
            and not lane.learns
            and (lane is top or top.above(lane))
        ]

    def _tops(self) -> list[_Lane]:
        """The lanes whose days are enumerated, not only split by date and type."""
        return [
            lane
            for lane in self._lanes.values()
            if lane.first
            and lane.split in FIELDS
            and all(field == "type_de" for field, _ in lane.path)
            and not self._void(lane)
        ]

    def _void(self, lane: _Lane) -> bool:
        """Whether the lane rests on a filter that the service does not honour."""
        return bool(self._ignored) and any(field in self._ignored for field, _ in lane.path)

    def _hand_over(self, lane: _Lane, field: str, days: int, *, first: bool) -> None:
        """Have days of a lane covered by lanes of one more filter, one per label."""
        children = lane.children.setdefault(field, {})
        for label in self._labels(lane, field):
            child = children.get(label)
            if child is None:
                child = children[label] = self._child(lane, field, label)
            self._take(child, days, first=first)

    def _hand_over_check(self, lane: _Lane, fields: tuple[str, ...], days: int) -> None:
        """Split by the first field; what stays full there by the cheapest of the others."""
        self._hand_over(lane, fields[0], days, first=False)
        for child in lane.children[fields[0]].values():
            full = child.refined & days
            if full and len(fields) > 1:
                if child.check is None:
                    cheapest = self._cheapest(child, fields[1:])
                    others = (field for field in fields[1:] if field != cheapest)
                    child.check = (cheapest, *others) if cheapest else ()
                if child.check:
                    self._hand_over_check(child, child.check, full)

    def _child(self, lane: _Lane, field: str, label: Any) -> _Lane:
        """The lane with one more filter; its first guess is its share of the lane's rows."""
        cell = replace(lane.cell, **{field: label})
        seen, _ = self._counts(lane, field)
        # A lane without a single day below the cap is likely to be far above it.
        rows = lane.rate.rows * (1.5 if lane.streak > 2 else 1.0)
        rows = max(rows, sum(each.rate.rows for each in lane.children.get(lane.split, {}).values()))
        guess = rows * (seen[label] + 0.5) / (seen.total() + 1)
        child = self._lanes.get(cell) or self._new_lane(cell, (*lane.path, (field, label)), 0, 0)
        if not child.rate.weight:
            child.rate = _Rate(guess, 1.0)
        return child

    def _new_lane(
        self, cell: SearchQuery, path: tuple[tuple[str, Any], ...], rows: float, weight: float
    ) -> _Lane:
        lane = self._lanes[cell] = _Lane(cell, path, _Rate(rows, weight))
        return lane

    def _take(self, lane: _Lane, days: int, *, first: bool) -> None:
        """Give a lane days to cover, for the first or for the second enumeration."""
        if not (lane.first if first else lane.second):
            lane.enlist(first=first)
        todo = days & ~lane.needed & ~lane.settled
        lane.needed |= days
        if todo and not lane.todo:
            self._queue.append(lane)
        lane.todo |= todo

    def _count_labels(self) -> None:
        """Count the labels of new rows in the lanes that are split."""
        fresh, self._fresh = self._fresh, []
        for lane in self._lanes.values():
            if lane.refined and lane.counted == lane.refined:
                lane.count(fresh)

    def _counts(self, lane: _Lane, field: str) -> tuple[Counter[str], Counter[str]]:
        """How often each label was seen on the lane's full days, and on other days."""
        if lane.counted != lane.refined:
            self._count_labels()
            lane.counted = lane.refined
            lane.inside = {field: Counter() for field in ("type_de", *FIELDS)}
            lane.outside = {field: Counter() for field in ("type_de", *FIELDS)}
            lane.count(self._rows.values())
            self._known = tuple(self._known)
            lane.count(_Row(facts, -1, -1) for facts in self._known)
        return lane.inside[field], lane.outside[field]

    def _labels(self, lane: _Lane, field: str) -> Collection[Any]:
        """The labels to ask: those listed, those seen on the days in question; of a listed
        field also those seen on other days; of others those that the lane was widened to."""
        if field == "type_de":
            return tuple(ContractType)
        inside, outside = self._counts(lane, field)
        if field not in OPEN_FIELDS:
            listed = listed_labels(lane.cell.type_de, field)
            return dict.fromkeys((*listed, *inside, *outside))
        labels = dict.fromkeys(inside)
        if lane.least is not None and field == lane.split:
            for seen in self._counts(lane.top, field):
                labels.update((label, None) for label, count in seen.items() if count >= lane.least)
        return labels

    # Which field is enumerated.

    def _fields(self, lane: _Lane) -> list[str]:
        """The fields by which a lane can still be split."""
        return [field for field in self._free_fields(lane.cell) if self._labels(lane, field)]

    def _free_fields(self, cell: SearchQuery) -> list[str]:
        """The fields that can be added to these filters."""
        return [
            field
            for field in FIELDS
            if getattr(cell, field) is None
            and field not in self._ignored
            and (cell.type_de is not None or field not in ("acheteur_id", "titulaire_id"))
        ]

    def _best_field(self, lane: _Lane) -> str | None:
        """The field to split a lane's full days by; ``None`` when none is left."""
        if lane.cell.type_de is None and "type_de" not in self._ignored:
            return "type_de"
        fields = FIELDS
        if not any(field in OPEN_FIELDS for field, _ in lane.path):
            # One field to learn labels of is enough: the others are left for the cross-check.
            learnt = {
                other.split
                for other in self._lanes.values()
                if other.first and other.cell.type_de == lane.cell.type_de
            } & set(OPEN_FIELDS)
            if learnt:
                fields = tuple(f for f in FIELDS if f in learnt or f not in OPEN_FIELDS)
        return self._cheapest(lane, fields) or self._cheapest(lane, FIELDS)

    def _cheapest(self, lane: _Lane, among: tuple[str, ...]) -> str | None:
        """The field among some that splits a lane's full days with the fewest requests."""
        fields = [field for field in self._fields(lane) if field in among]
        per_day = max(lane.rate.rows, 1.2 * self.cap)
        rows = per_day * lane.refined.bit_count()
        costs = {
            field: self._cost(lane, field, per_day, tuple(fields), 3).of(rows)
            for field in self._begun(lane, fields) or fields
        }
        return min(costs, key=costs.__getitem__, default=None)

    def _best_check(self, top: _Lane, *, thorough: bool) -> tuple[str, ...]:
        """The second enumeration: its field, and those that may split its full days.

        Where the first uses a field without a closed list of labels, rows with a label that
        was not seen are hidden from it, and only all rows by fields that it does not use can
        show them: the ``thorough`` one, with the fewest requests. Else a sample is enough: the
        one that shows most rows for no more requests than the first.
        """
        below = [lane for lane in self._lanes.values() if lane.first and top.above(lane)]
        used = {top.split, *(lane.split for lane in below)}
        rows = sum(row.first for row in self._within(top, top.refined))
        per_day = max(rows / top.refined.bit_count(), 1.0)
        fields = tuple(field for field in self._fields(top) if field != top.split)
        unused = tuple(field for field in fields if field not in used)
        if thorough:
            fields = unused or fields
        plans: dict[tuple[str, ...], _Cost] = {}
        for field in self._begun(top, list(fields)) or fields:
            others = tuple(other for other in unused if other != field)
            deeper = [others] if thorough else [(), *((other,) for other in others)]
            for more in deeper:
                plans[field, *more] = self._cost(top, field, per_day, more, 2)
        if not thorough:
            budget = 1.2 * sum(lane.answers for lane in below if not lane.learns) + 5
            within = {plan: cost for plan, cost in plans.items() if cost.requests <= budget}
            if within:
                return max(within, key=lambda p: (round(within[p].shown, 2), -within[p].requests))
        return min(plans, key=lambda plan: plans[plan].of(rows), default=())

    def _begun(self, lane: _Lane, fields: list[str]) -> list[str]:
        """The field that an interrupted run had begun with, if any."""
        path = set(lane.path)
        for other in self._lanes.values() if self._hints else ():
            more = set(other.path) - path
            if not (other.first or other.second) and lane.above(other) and len(more) == 1:
                field, _ = more.pop()
                if field in fields:
                    return [field]
        return []

    def _cost(
        self, lane: _Lane, field: str, per_day: float, deeper: tuple[str, ...], depth: int
    ) -> _Cost:
        """What an enumeration of a lane's full days by a field is expected to need and show.

        ``per_day`` is the number of rows a day; ``deeper`` holds the fields by which days
        that stay full may be split again. Labels of different fields are taken as independent.
        """
        days = lane.refined.bit_count()
        labels = self._labels(lane, field)
        seen, _ = self._counts(lane, field)
        total = seen.total() + 0.3 * (len(labels) - len(seen)) or 1.0
        others = tuple(other for other in deeper if other != field)
        requests = shown = 0.0
        for label in labels:
            share = (seen[label] or 0.3) / total
            rows = per_day * share
            full = _upper_tail(self.cap - 0.5, rows, rows + self._profile.noise * rows**2 + 1e-9)
            if full < 0.02:
                requests += math.ceil(days / max(1.0, _FILL * self.cap // (rows + 1e-9)))
                shown += share
                continue
            parts = _Cost(0.0, min(1.0, self.cap / rows))
            if others and depth:
                costs = (self._cost(lane, other, rows, others, depth - 1) for other in others)
                parts = min(costs, key=lambda cost: cost.of(rows * days))
            requests += days + full * parts.requests
            shown += share * (1 - full + full * parts.shown)
        if field in OPEN_FIELDS:
            # The more rows, the more labels: Heaps' law, with an exponent of real files.
            unseen = max(1.0, per_day * days / (seen.total() or 1)) ** 0.6
            requests += len(seen) * (unseen - 1)
        return _Cost(requests, shown)

    # What is proven.

    def days_done(self) -> tuple[int, int]:
        """How many days are done with, for a display, and how many there are; all days beyond
        an open end count as one.

        Days that are split are asked many times, under one filter after the other: then this
        is the share of all that is answered of what is planned so far, in days. It goes back
        when a further level is planned.
        """
        asked = self._own.bit_count()
        if self.done:
            return asked, asked
        planned = settled = 0
        for lane in self._lanes.values():
            coming = lane.refined & ~lane.handed if lane.first else 0
            planned += lane.needed.bit_count() + coming.bit_count()
            settled += (lane.needed & lane.settled).bit_count()
        return (asked * settled // planned if planned else 0), asked

    @property
    def status(self) -> State:
        """``complete``, ``probable`` or ``incomplete``; the last until :attr:`done`."""
        states = {unproven.state for unproven in self.unproven}
        if not self.done or "incomplete" in states:
            return "incomplete"
        return "probable" if states else "complete"

    @property
    def unproven(self) -> list[Unproven]:
        """The windows from which rows may be missing; before :attr:`done` also what is to do."""
        found = [
            Unproven(self.query, "incomplete", f"the service does not honour {name}", 0)
            for name in sorted(self._ignored)
        ]
        #: Per lane without enough answers: the days and why.
        gaps: list[tuple[_Lane, int, str]] = []
        tops = self._tops()
        for lane, low, high, error in self._failures:
            gaps.append((lane, _mask(low, high), f"no answer: {error}"))
        for lane in self._lanes.values():
            if not lane.first or self._void(lane):
                continue
            if still_full := lane.stuck | (lane.refined & ~lane.handed if self.done else 0):
                gaps.append((lane, still_full, "still full, and no filter is left to split it by"))
            unasked = lane.todo | (0 if self.done else lane.refined & ~lane.handed)
            unasked |= self._flying(lane) & lane.needed
            if unasked:
                gaps.append((lane, unasked, "the run ended before it was asked"))
            if lane in tops and not self.done:
                gaps.append((lane, lane.refined, "the run ended before the cross-check"))
            elif lane in tops and (unchecked := self._unchecked(lane)):
                why = f"enumerated by {lane.split}, and no field is left for a cross-check"
                gaps.append((lane, unchecked, why))
        for lane, days, why in gaps:
            found += (
                Unproven(self._window(lane, *run), "incomplete", why, self._collected(lane, *run))
                for run in _runs(days)
            )
        if not self.done and not found:
            why = "the run ended before it was known whether an answer was cut"
            found.append(Unproven(self.query, "incomplete", why, len(self._rows)))
        strangers = self._strangers(gaps)
        for lane in dict.fromkeys((self._root, *tops)):
            found += self._judged(lane, strangers.get(lane.cell, []))
        if self.done:
            found += (
                Unproven(self._window(self._root, *run), "probable", NOT_OVER, rows)
                for run in _runs(self._own & self._days.not_over)
                for rows in (self._collected(self._root, *run),)
            )
        return found

    def _strangers(self, gaps: list[tuple[_Lane, int, str]]) -> dict[SearchQuery, list[_Row]]:
        """The rows that no closed window of the first enumeration holds and no gap explains,
        by the lane whose enumeration (or split by date and type) missed them."""
        strangers: dict[SearchQuery, list[_Row]] = {}
        tops = self._tops()
        for row in self._rows.values():
            if row.first:
                continue
            if any(row.of(lane, gap) for lane, gap, _ in gaps):
                continue
            lanes = (top for top in tops if row.of(top, top.refined))
            strangers.setdefault(next(lanes, self._root).cell, []).append(row)
        return strangers

    def _unchecked(self, top: _Lane) -> int:
        """The days of an enumeration that have no cross-check."""
        learnt = self._learnt(top)
        return (0 if top.search else learnt) | (0 if top.check else top.refined & ~learnt)

    def _judged(self, lane: _Lane, strangers: list[_Row]) -> Iterator[Unproven]:
        """What the two enumerations of a lane's full days prove."""
        enumerated = lane.split in FIELDS
        missed = _union(_mask(row.low, row.high) for row in strangers)
        for run in _runs(missed):
            here = [row for row in strangers if row.low <= run[1] and row.high >= run[0]]
            why = (
                f"{len(here)} rows that other answers showed, such as "
                f"{here[0].facts.reference or here[0].facts.key}, are in no part "
                f"of the split by {lane.split if enumerated else 'date and type_de'}"
            )
            rows = self._collected(lane, *run)
            estimate = self._estimate(lane, _mask(*run)) if enumerated else None
            yield Unproven(self._window(lane, *run), "incomplete", why, rows, estimate)
        if not enumerated or not self.done:
            return
        fields = dict.fromkeys((*(lane.check or ())[:1], *(lane.search or ())[:1]))
        for run in _runs(lane.refined & ~missed & ~self._unchecked(lane), _GAP):
            days = _mask(*run) & lane.refined
            again = [row.second for row in self._within(lane, days)]
            estimate = self._estimate(lane, days)
            doubt = estimate is None or estimate.missing >= _LIKELY_MISSING
            why = (
                f"full days, enumerated by {lane.split}; the cross-check by "
                f"{' and '.join(fields)} saw {sum(again)} of the {len(again)} rows again "
                f"and no other{', but unknown labels are likely' if doubt else ''}"
            )
            state: Literal["probable", "incomplete"] = "incomplete" if doubt else "probable"
            yield Unproven(self._window(lane, *run), state, why, len(again), estimate)

    def _estimate(self, top: _Lane, days: int) -> Estimate | None:
        """What the two enumerations of a lane may both have missed on some days.

        Rows without a label, or with one unlisted: from the rows of the first that the second
        saw again. Rows with a label not learnt: the rows that full answers showed anyway are
        the sample; those of which no other row told a label to either enumeration would have
        stayed hidden but for that answer. The larger of the two.
        """
        rows = list(self._within(top, days))
        plain = estimate_missing(
            sum(row.first for row in rows),
            sum(row.second for row in rows),
            sum(row.first and row.second for row in rows),
            len(rows),
        )
        learners = [lane for lane in self._learners(top) if lane.refined & days]
        if not learners:
            return plain
        searched = sample = reached = 0
        searched_by = (top.search or ())[:1]
        for row in rows:
            cells = [lane for lane in learners if row.of(lane, lane.refined)]
            if not row.sure:
                searched += 1
            elif cells:
                sample += 1
                reached += any(self._told(lane, str(lane.split), row) for lane in cells) or (
                    row.second and any(self._told(top, field, row) for field in searched_by)
                )
        learnt = estimate_missing(searched + reached, sample, reached, searched + sample)
        return max(plain, learnt) if plain and learnt else None

    def _told(self, lane: _Lane, field: str, row: _Row) -> bool:
        """Whether a lane asks for the row's label even if the row itself had not told it."""
        own, _ = self._counts(lane, field)
        wide = self._counts(lane.top, field)
        least = math.inf if lane.least is None else lane.least
        return any(
            field not in OPEN_FIELDS
            or own[label] > 1
            or sum(seen[label] for seen in wide) - 1 >= least
            for label in row.facts.values(field)
        )

    def _within(self, lane: _Lane, days: int) -> Iterator[_Row]:
        """The rows collected for a lane that may be of some days."""
        return (row for row in self._rows.values() if row.of(lane, days))

    def _collected(self, lane: _Lane, low: int, high: int) -> int:
        return sum(1 for _ in self._within(lane, _mask(low, high)))


def estimate_missing(first: int, second: int, both: int, collected: int) -> Estimate | None:
    """How many rows two captures of sizes ``first`` and ``second`` may have missed.

    ``both`` is the number of rows in both, ``collected`` the number of all rows collected.
    ``None`` when they have nothing in common: then nothing can be said.
    """
    if not both:
        return None
    chapman = (first + 1) * (second + 1) / (both + 1) - 1
    share, z2 = both / second, _Z95**2
    middle = (share + z2 / (2 * second)) / (1 + z2 / second)
    half = math.sqrt(share * (1 - share) / second + z2 / (4 * second**2))
    half *= _Z95 / (1 + z2 / second)
    bounds = (first / (middle + half), first / (middle - half))
    return Estimate(*(max(0.0, total - collected) for total in (chapman, *bounds)))


class _Cost(NamedTuple):
    """What an enumeration is expected to need, and the share of the rows that it shows."""

    requests: float
    shown: float

    def of(self, rows: float) -> float:
        """The requests, where a row that stays hidden weighs as much as one."""
        return self.requests + (1 - self.shown) * rows


class _Row:
    """A row collected: where it may lie, and which enumerations found it."""

    __slots__ = ("facts", "first", "high", "low", "second", "sure", "typed")

    def __init__(self, facts: RowFacts, low: int, high: int):
        self.facts = facts
        #: The days common to all windows that showed it.
        self.low = low
        self.high = high
        #: In a closed window of the splits by date and type or of the first enumeration.
        self.first = False
        #: In a window of one type.
        self.typed = False
        #: In any window of the second enumeration.
        self.second = False
        #: In a window of the first that needed no label learnt from rows, or full.
        self.sure = False

    def of(self, lane: _Lane, days: int) -> bool:
        """Whether the row has the lane's labels and may be of one of the days."""
        return bool(days & _mask(self.low, self.high)) and self.within(lane)

    def within(self, lane: _Lane) -> bool:
        """Whether the row has the labels that the lane asks for."""
        return all(label in self.facts.values(field) for field, label in lane.path)


class _Lane:
    """The days to cover under one set of filters. Sets of days are bit masks."""

    __slots__ = (
        "answers",
        "cell",
        "check",
        "children",
        "closed",
        "counted",
        "failed",
        "first",
        "full",
        "handed",
        "inside",
        "learns",
        "least",
        "needed",
        "outside",
        "path",
        "rate",
        "refined",
        "rows",
        "search",
        "second",
        "skip",
        "split",
        "streak",
        "stuck",
        "todo",
        "top",
    )

    def __init__(self, cell: SearchQuery, path: tuple[tuple[str, Any], ...], rate: _Rate):
        self.cell = cell
        #: The filters that the planner added to the query's, in order.
        self.path = path
        self.rate = rate
        #: Whether it serves the splits by date and type or the first enumeration; the second.
        self.first = self.second = False
        #: All days it was given; of these: not asked yet, closed, full down to the day
        #: (or handed over unasked), without answer, full without any way to split.
        self.needed = self.todo = self.closed = self.refined = self.failed = self.stuck = 0
        #: Windows of several days that were full.
        self.full: list[tuple[int, int]] = []
        #: The field that the refined days are split by, and those handed over.
        self.split: str | None = None
        self.handed = 0
        self.children: dict[str, dict[Any, _Lane]] = {}
        #: The fields of the second enumeration; ``None``: not chosen yet; (): there is none.
        self.check: tuple[str, ...] | None = None
        #: The same, of the days where labels are learnt.
        self.search: tuple[str, ...] | None = None
        #: Whether a window of the lane needs a label learnt from rows.
        self.learns = any(field in OPEN_FIELDS for field, _ in path)
        #: A lane whose labels are asked here too where it has seen them so many times.
        self.top = self
        self.least: float | None = None
        #: Labels seen on the refined days (the mask `counted`), and on other days.
        self.inside: dict[str, Counter[str]] = {}
        self.outside: dict[str, Counter[str]] = {}
        self.counted = 0
        #: Before it serves the first: rows of its answers, with whether the answer was full.
        self.rows: list[tuple[_Row, bool]] = []
        self.answers = 0
        #: Full days in a row, and how many more are handed over unasked before the next try.
        self.streak = self.skip = 0

    @property
    def settled(self) -> int:
        """The days that need no more requests in this lane."""
        return self.closed | self.refined | self.failed | self.stuck

    def above(self, other: _Lane) -> bool:
        """Whether the other lane has all filters of this one and more."""
        return set(self.path) < set(other.path)

    def mark(self, row: _Row, full: bool) -> None:
        """Note a row of an answer."""
        if not self.first:
            self.rows.append((row, full))
        self._mark(row, full)

    def _mark(self, row: _Row, full: bool) -> None:
        row.first |= self.first and not full
        row.sure |= self.first and (full or not self.learns)
        row.second |= self.second

    def enlist(self, *, first: bool) -> None:
        """Let the lane serve the first or the second enumeration, past answers included."""
        self.first |= first
        self.second |= not first
        for row, full in self.rows:
            self._mark(row, full)
        if self.first:
            self.rows.clear()

    def count(self, rows: Iterable[_Row]) -> None:
        """Count the labels of the rows that belong to the lane."""
        for row in rows:
            if row.within(self):
                here = row.low >= 0 and self.refined & _mask(row.low, row.high)
                for field, labels in (self.inside if here else self.outside).items():
                    for label in row.facts.values(field):
                        labels[label] += 1


class _Rate:
    """The rows of a lane on a day of weight 1: a mean that forgets, and how much it rests on."""

    __slots__ = ("rows", "weight")

    _MEMORY = 0.97

    def __init__(self, rows: float, weight: float):
        self.rows = rows
        self.weight = weight

    def learn(self, rows: float, exposure: float) -> None:
        """Take the mean number of rows over ``exposure`` days of weight 1."""
        kept = self._MEMORY**exposure
        weight = (1 - kept) / (1 - self._MEMORY)
        total = self.weight * kept + weight
        self.rows = (self.rows * self.weight * kept + rows * weight) / total
        self.weight = total


class _Profile:
    """What all lanes share: the weight of each day, and how much days vary."""

    #: How many days the first guess of a weekday's weight counts for.
    _GUESS = 12.0

    def __init__(self, days: _Days):
        self._days = days
        self._guess = [1.0] * 5 + [0.05] * 2
        self._weights = list(self._guess)
        self._sums = [self._GUESS * weight for weight in self._guess]
        self._counts = [self._GUESS] * 7
        self._lessons = 0
        #: The variance of a day's rows beyond chance, in squares of its mean.
        self.noise = 0.04
        self._noise_lessons = 10.0
        self._accumulate()

    def _accumulate(self) -> None:
        self._exposures, self._squares = [0.0], [0.0]
        for weekday, likely in self._days.calendar:
            weight = self._weights[weekday] * likely
            self._exposures.append(self._exposures[-1] + weight)
            self._squares.append(self._squares[-1] + weight**2)

    def exposure(self, low: int, high: int) -> float:
        """The days from ``low`` to ``high`` in days of weight 1."""
        return self._exposures[high + 1] - self._exposures[low]

    def squares(self, low: int, high: int) -> float:
        """The sum of the squares of their weights."""
        return self._squares[high + 1] - self._squares[low]

    def learn(self, low: int, high: int, rows: int, per_day: float) -> None:
        """Share the rows of a window out to its weekdays as they are weighted so far."""
        if high - low > 14 or per_day <= 0:
            return
        share = rows / per_day / self.exposure(low, high)
        for weekday, likely in self._days.calendar[low : high + 1]:
            self._sums[weekday] += share * self._weights[weekday] * likely
            self._counts[weekday] += likely
        self._lessons += 1
        if self._lessons % 8 == 0:
            self._weights = [
                max(rows / days, 1e-3) for rows, days in zip(self._sums, self._counts, strict=True)
            ]
            self._accumulate()

    def learn_noise(self, noise: float) -> None:
        """Take one measure of the noise."""
        count = self._noise_lessons = min(self._noise_lessons + 1, 60.0)
        self.noise += (min(noise, 1.5) - self.noise) / count
        self.noise = max(self.noise, 0.003)


class _Days:
    """The days of a query by number; open sides end in one number for all days beyond."""

    def __init__(self, start: date | None, end: date | None, today: date):
        if start and end and end < start:
            raise ValueError(f"the query ends on {end}, before it starts on {start}")
        self._open_start, self._open_end = start is None, end is None
        first = start or min(_FIRST_DAY, end or today) - timedelta(1)
        last = end or max(today, first) + timedelta(_DAYS_AHEAD + 1)
        self._first = first
        self._bounds = start, end
        self.size = (last - first).days + 1
        #: The days asked for by name that are not over, as a mask.
        self.not_over = 0
        if end and end >= today:
            self.not_over = _mask(max((today - first).days, 0), self.size - 1)
        #: Per day: its weekday from 0, and how likely a publication is then.
        self.calendar = [
            (day.weekday(), 1.0 if _FIRST_LIKELY_DAY <= day <= today else 0.01)
            for day in (first + timedelta(number) for number in range(self.size))
        ]

    def dates(self, low: int, high: int) -> tuple[date | None, date | None]:
        """The dates of a window, ``None`` on an open side."""
        start = None if self._open_start and not low else self._first + timedelta(low)
        last = self._open_end and high == self.size - 1
        return start, None if last else self._first + timedelta(high)

    def span(self, window: SearchQuery) -> tuple[int, int] | None:
        """The numbers of a window's first and last day; ``None`` if it is not inside."""
        start, end = window.date_start, window.date_end
        if (start is None and not self._open_start) or (end is None and not self._open_end):
            return None
        low = (start - self._first).days if start else 0
        high = (end - self._first).days if end else self.size - 1
        return (low, high) if 0 <= low <= high < self.size else None

    def shard(self, number: int, shards: int) -> int:
        """The days of one share, as a mask."""
        if not 1 <= number <= shards:
            raise ValueError(f"shard {number}/{shards} is not between 1 and {shards}")
        start, end = self._bounds
        days = (end - start).days + 1 if start and end else math.inf
        block = max(1, min(28, math.ceil(min(days, 1e6) / (4 * shards))))
        own = 0
        for day in range(self.size):
            beyond = self._open_end and day == self.size - 1
            turn = 0 if beyond else (self._first.toordinal() + day) // block % shards
            own |= (turn == number - 1) << day
        return own


def _prior(cell: SearchQuery) -> float:
    """A first guess of the rows a weekday has under some filters; one answer outweighs it."""
    rows = 60.0
    if cell.type_de is ContractType.CONCESSION:
        rows *= 0.06
    for field, share in (
        ("procedure", 0.3),
        ("nature", 0.5),
        ("cpv_code", 0.01),
        ("acheteur_id", 0.01),
        ("titulaire_id", 0.005),
        ("internal_id", 1e-4),
        ("reference", 1e-6),
    ):
        if getattr(cell, field) is not None:
            rows *= share
    return rows


def _denied(rows: Sequence[RowFacts], field: str, label: str) -> bool:
    """Whether most rows of a full answer have another label than the one asked for."""
    wanted = label.casefold()
    others = 0
    for facts in rows:
        values = [value.casefold() for value in facts.values(field)]
        if field == "cpv_code":  # may be asked with or without its check digit
            values, wanted = [value[:8] for value in values], wanted[:8]
        others += bool(values) and wanted not in values
    return others > len(rows) / 2


def _upper_tail(limit: float, mean: float, variance: float) -> float:
    """The probability that a positive variable (log-normal) exceeds a limit."""
    if mean <= 0:
        return 0.0
    spread = math.log1p(variance / mean**2)
    return 0.5 * math.erfc((math.log(limit / mean) + spread / 2) / math.sqrt(2 * spread))


def _mask(low: int, high: int) -> int:
    return ((1 << (high - low + 1)) - 1) << low


def _union(masks: Iterable[int]) -> int:
    return reduce(or_, masks, 0)


def _lowest(days: int) -> int:
    return (days & -days).bit_length() - 1


def _span(days: int) -> tuple[int, int]:
    """The first and the last day."""
    return _lowest(days), days.bit_length() - 1


def _bits(days: int) -> Iterator[int]:
    while days:
        yield _lowest(days)
        days &= days - 1


def _highest_of_run(days: int, low: int) -> int:
    """The last day of the unbroken run of days that starts with ``low``."""
    return low + _lowest(~(days >> low)) - 1


def _runs(days: int, gap: int = 1) -> list[tuple[int, int]]:
    """The runs of days, as first and last; those at most ``gap`` days apart are one."""
    runs: list[tuple[int, int]] = []
    while days:
        low = _lowest(days)
        high = _highest_of_run(days, low)
        if runs and low - runs[-1][1] <= gap:
            runs[-1] = runs[-1][0], high
        else:
            runs.append((low, high))
        days &= ~_mask(low, high)
    return runs
