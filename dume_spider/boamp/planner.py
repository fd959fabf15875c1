"""Which page to ask next, and what the answers prove.

The planner is pure: it is given a query and the answers, and gives pages. It does no I/O and
knows no Scrapy.

How it works. The days of the query are covered by windows of consecutive days, sized by the
density seen so far. The first page of a window says how many rows it has (``total_count``),
then its other pages are asked. A window of more rows than pages can reach is split: by date
down to a day, a day by ``code_departement``, then by ``famille``; values that are not listed,
null included, are a part of their own.

What is proven. A window is *complete* when one pass over its pages gave as many distinct
``idweb`` as its ``total_count``, which did not move. A pass that fell short is done again, a
few times. A window that was split is complete when its parts are, and they hold together as
many distinct ``idweb`` as the whole had; else its count is asked once more. *Probable* is a
window whose count kept moving while all that was counted at last was collected, and one whose
day is not over. All else is *incomplete*, and named: also days on which nothing at all was
published, since an empty answer is rarely the truth.

What a count cannot show is a row that is added and another that is withdrawn, both between two
pages of one pass.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any, Literal, NamedTuple

from dume_spider.boamp.query import (
    DEPARTEMENTS,
    FAMILLES,
    MAX_ROWS,
    OTHER,
    PAGE,
    NoticeQuery,
)
from dume_spider.dume.planner import NOT_OVER

State = Literal["complete", "probable", "incomplete"]

#: Before these days nothing was published online: an open start means from here on.
FIRST_DAY = date(1990, 1, 1)

#: Rows that a window of several days is planned for: what a kill loses is at most the
#: searches of one window, and half a page is wasted on each.
TARGET = 2_000
#: Notices a day before anything is known (seen: 105 to 414).
_DENSITY = 250.0
#: What earlier windows weigh beside the last one.
_MEMORY = 0.5
#: The longest window; days without rows tell nothing about those after them.
_LONGEST = 366
#: Shares are dealt out in blocks of so many days.
_BLOCK = 7
#: Passes over the pages of a window whose count moves.
PASSES = 4

_DAY = timedelta(days=1)


class Page(NamedTuple):
    """A page to ask: ``offset`` rows into a window, in its pass number ``attempt`` (from 1)."""

    window: NoticeQuery
    offset: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Unproven:
    """A window from which rows may be missing, and why.

    ``rows`` is how many distinct notices were collected in it, ``total`` how many it had when
    it was counted last, ``None`` where that says nothing.
    """

    window: NoticeQuery
    state: Literal["probable", "incomplete"]
    why: str
    rows: int
    total: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """As in ``unproven`` of ``summary.json``."""
        missing = None if self.total is None else max(self.total - self.rows, 0)
        return {
            "filters": self.window.filters(),
            "state": self.state,
            "why": self.why,
            "rows": self.rows,
            "missing_estimate": missing
            and {name: float(missing) for name in ("missing", "low", "high")},
        }


class Closed(NamedTuple):
    """A window that is complete, with the keys of its rows: it need not be asked again."""

    window: NoticeQuery
    idwebs: frozenset[str]


@dataclass(eq=False, slots=True)
class _Whole:
    """A window that was split: what its parts have given so far."""

    window: NoticeQuery
    total: int
    parent: _Whole | None
    parts: int = 0
    is_proven: bool = True
    idwebs: set[str] = field(default_factory=set)


@dataclass(eq=False, slots=True)
class _Pass:
    """A window whose pages are being asked.

    ``todo`` are offsets; ``idwebs`` those of this pass, ``all`` those of every pass.
    ``is_cut``: it has more rows than can be reached.
    """

    window: NoticeQuery
    parent: _Whole | None
    attempt: int = 0
    total: int | None = None
    todo: deque[int] = field(default_factory=deque)
    flying: int = 0
    has_moved: bool = False
    is_cut: bool = False
    error: str = ""
    idwebs: set[str] = field(default_factory=set)
    all: set[str] = field(default_factory=set)

    def begin(self) -> None:
        self.attempt += 1
        self.total = None
        self.todo = deque([0])
        self.flying = 0
        self.has_moved = False
        self.idwebs = set()


class Planner:
    """Plans the pages of one query and judges what their answers prove.

    Args:
        query: what is asked for; it has both dates.
        today: the date of the run: the day that is not over yet.
        known: windows that an earlier process has closed; they are not asked again.
        shard: ``(i, n)``: plan only the share ``i`` of ``1…n`` of the days, dealt out by a
            rule that depends on ``n`` alone.

    Use: send the pages of :meth:`next`, give each answer to :meth:`answered` (in any order) or
    its failure to :meth:`failed`, and ask again, until :attr:`done`. Raises ``ValueError`` for
    a query that ends before it starts.
    """

    def __init__(
        self,
        query: NoticeQuery,
        *,
        today: date,
        known: Iterable[Closed] = (),
        shard: tuple[int, int] = (1, 1),
    ):
        if query.date_start is None or query.date_end is None or query.date_end < query.date_start:
            raise ValueError(f"not a range of days: {query.filters()}")
        self.query = query
        self.unproven: list[Unproven] = []
        self._today = today
        self._shard = shard
        self._known: dict[NoticeQuery, frozenset[str]] = {}
        self._rows = 0.0
        self._days = 0.0
        self._open: dict[NoticeQuery, _Pass] = {}
        self._ready: deque[_Pass] = deque()
        self._recounts: dict[NoticeQuery, _Whole] = {}
        self._counting: deque[NoticeQuery] = deque()
        #: Days without any notice.
        self._empty: set[date] = set()
        self._is_failed = False
        self.days_asked = 0
        self.days_done = 0
        closed: set[date] = set()
        for window, idwebs in known:
            if window.is_part_of_day:
                self._known[window] = idwebs
                continue
            closed.update(_days(window))
            if not idwebs:
                self._empty.update(_days(window))
        self._todo = deque(self._spans(closed))

    def _spans(self, closed: set[date]) -> Iterator[tuple[date, date]]:
        """The days to ask, as long runs as possible; today stands apart, since it moves."""
        low = high = None
        for day in self._days_of_share():
            self.days_asked += 1
            if day in closed:
                self.days_done += 1
                continue
            if low is not None and (day - high != _DAY or day == self._today):
                yield low, high
                low = None
            low, high = low or day, day
        if low is not None:
            yield low, high

    def _days_of_share(self) -> Iterator[date]:
        share, shares = self._shard
        return (day for day in _days(self.query) if day.toordinal() // _BLOCK % shares == share - 1)

    # What is asked.

    @property
    def done(self) -> bool:
        """Whether nothing is left to ask or to wait for."""
        return not (self._open or self._ready or self._todo or self._recounts)

    def next(self, room: int) -> list[Page]:
        """The pages to ask now, at most ``room``.

        An empty list means that nothing is to be asked before more answers come, or, when
        :attr:`done`, at all.
        """
        pages: list[Page] = []
        while len(pages) < room and (page := self._next_page()) is not None:
            pages.append(page)
        return pages

    def _next_page(self) -> Page | None:
        if self._counting:
            return Page(self._counting.popleft(), 0, 0)
        while True:
            for each in self._open.values():
                if each.todo:
                    each.flying += 1
                    return Page(each.window, each.todo.popleft(), each.attempt)
            if self._ready:
                each = self._ready.popleft()
            elif self._todo and not self._is_learning:
                each = _Pass(self._next_window(), None)
            else:
                return None
            self._open[each.window] = each
            each.begin()

    @property
    def _is_learning(self) -> bool:
        """Whether a count is awaited that tells how long the next window is to be."""
        return any(
            each.total is None and not each.window.is_part_of_day for each in self._open.values()
        )

    def _next_window(self) -> NoticeQuery:
        low, high = self._todo.popleft()
        density = (self._rows + _DENSITY / 8) / (self._days + 1 / 8)
        days = max(1, min(int(TARGET / density), _LONGEST))
        end = min(high, low + (days - 1) * _DAY)
        if end < high:
            self._todo.appendleft((end + _DAY, high))
        return self.query.on(low, end)

    # What is learnt from answers.

    def answered(self, page: Page, total: int, idwebs: Iterable[str]) -> list[Closed]:
        """Take the answer to a page; the windows that are complete by it.

        ``total`` is its ``total_count``, ``idwebs`` the keys of its rows.
        """
        if page.attempt == 0:
            self._recounted(self._recounts.pop(page.window), total, set(idwebs))
            return []
        each = self._open.get(page.window)
        if each is None or each.attempt != page.attempt:
            return []  # of a pass that was given up
        each.flying -= 1
        each.idwebs.update(idwebs)
        if each.total is None:
            each.total = total
            self._counted(each)
        elif total != each.total:
            if each.attempt == PASSES:
                # The last pass goes on to the end, wherever that is now.
                each.todo.extend(_offsets(each.total, total))
            each.total = total
            each.has_moved = True
        return self._judge(each)

    def failed(self, page: Page, error: str) -> list[Closed]:
        """Note that a page got no answer: its window is not proven in this run."""
        self._is_failed = True
        if page.attempt == 0:
            self._whole_done(self._recounts.pop(page.window), is_proven=False)
            return []
        each = self._open.get(page.window)
        if each is None or each.attempt != page.attempt:
            return []
        each.flying -= 1
        each.error = error
        return self._judge(each)

    def _counted(self, each: _Pass) -> None:
        """Take the first count of a pass: it says which pages there are, or to split."""
        window, total = each.window, each.total
        if each.attempt == 1 and not window.is_part_of_day:
            days = (window.date_end - window.date_start).days + 1
            self._rows = self._rows * _MEMORY + total
            self._days = self._days * _MEMORY + days
        each.is_cut = total > MAX_ROWS
        if each.is_cut and (parts := _parts(window, total)):
            del self._open[window]
            self._split(each, parts)
            return
        each.todo.extend(_offsets(1, total))

    def _split(self, each: _Pass, parts: list[NoticeQuery]) -> None:
        whole = _Whole(each.window, each.total, each.parent, len(parts))
        whole.idwebs |= each.all | each.idwebs
        passes = []
        for part in parts:
            if part in self._known:
                self._part_done(whole, self._known[part], is_proven=True)
            else:
                passes.append(_Pass(part, whole))
        self._ready.extendleft(reversed(passes))

    def _judge(self, each: _Pass) -> list[Closed]:
        """What a pass has proven, once it is over."""
        if self._open.get(each.window) is not each:
            return []  # split
        may_retry = each.attempt < PASSES and not each.error
        if each.has_moved and may_retry:
            # Whatever the other pages give: it will be asked again.
            self._again(each)
            return []
        if each.todo or each.flying:
            return []
        is_whole = not each.error and not each.has_moved and len(each.idwebs) == each.total
        if not is_whole and not each.is_cut and may_retry:
            self._again(each)
            return []
        each.all |= each.idwebs
        window = each.window
        del self._open[window]
        is_over = window.date_end < self._today
        if not each.error and not is_whole:
            self._name(each)
        elif is_whole and not is_over:
            rows = len(each.idwebs)
            self.unproven.append(Unproven(window, "probable", NOT_OVER, rows, each.total))
        if is_whole and not each.total and not window.is_part_of_day:
            self._empty.update(_days(window))
        if is_whole:
            # Of one pass: a row of an earlier one may have been withdrawn.
            self._leaf_done(each, each.idwebs, is_proven=True)
        else:
            self._leaf_done(each, each.all, is_proven=False)
        return [Closed(window, frozenset(each.idwebs))] if is_whole and is_over else []

    def _again(self, each: _Pass) -> None:
        each.all |= each.idwebs
        each.begin()

    def _name(self, each: _Pass) -> None:
        rows, total = len(each.all), each.total
        state: Literal["probable", "incomplete"] = "incomplete"
        if each.is_cut:
            why = f"a part of a day that holds {total} rows, of which pages reach {MAX_ROWS}"
        elif rows >= total:
            state = "probable"
            why = f"its count kept moving; all {total} rows that it had last were collected"
        else:
            why = f"it holds {total} rows; {PASSES} passes over its pages gave {rows}"
        self.unproven.append(Unproven(each.window, state, why, rows, total))

    def _leaf_done(self, each: _Pass, idwebs: set[str], *, is_proven: bool) -> None:
        window = each.window
        if not window.is_part_of_day:
            self.days_done += (window.date_end - window.date_start).days + 1
        if each.parent is not None:
            self._part_done(each.parent, idwebs, is_proven=is_proven)

    def _part_done(self, whole: _Whole, idwebs: Iterable[str], *, is_proven: bool) -> None:
        whole.idwebs.update(idwebs)
        whole.is_proven &= is_proven
        whole.parts -= 1
        if whole.parts:
            return
        if whole.is_proven and len(whole.idwebs) != whole.total:
            self._recounts[whole.window] = whole
            self._counting.append(whole.window)
            return
        self._whole_done(whole, is_proven=whole.is_proven)

    def _recounted(self, whole: _Whole, total: int, idwebs: set[str]) -> None:
        """Compare the parts of a window with its count of now: it has moved, or they have."""
        rows = len(whole.idwebs)
        strangers = len(idwebs - whole.idwebs)
        is_proven = rows == total and not strangers
        if rows < total or strangers:
            why = f"its parts hold {rows} of its {max(total, rows + strangers)} rows"
            self.unproven.append(Unproven(whole.window, "incomplete", why, rows, total))
        elif rows > total:
            why = f"its parts held {rows} rows in all, more than it has now: some were withdrawn"
            self.unproven.append(Unproven(whole.window, "probable", why, rows, total))
        self._whole_done(whole, is_proven=is_proven)

    def _whole_done(self, whole: _Whole, *, is_proven: bool) -> None:
        window = whole.window
        if not window.is_part_of_day and window.date_start == window.date_end:
            self.days_done += 1
        if whole.parent is not None:
            self._part_done(whole.parent, whole.idwebs, is_proven=is_proven)

    # What is proven.

    def silences(self, least: int = 2) -> list[tuple[date, date]]:
        """Runs of days without any notice, with ``least`` working days or more that are over."""
        runs: list[list[date]] = []
        for day in sorted(self._empty):
            if runs and day - runs[-1][-1] == _DAY:
                runs[-1].append(day)
            else:
                runs.append([day])
        return [
            (run[0], run[-1])
            for run in runs
            if sum(day.weekday() < 5 and day < self._today for day in run) >= least
        ]

    def judgement(self) -> list[Unproven]:
        """All windows from which rows may be missing, silences included."""
        if self.query.is_narrow:
            return list(self.unproven)
        why = "nothing was published on several working days: that is rarely true"
        beginning = self._beginning()
        silent = [
            Unproven(self.query.on(low, high), "incomplete", why, 0)
            for low, high in self.silences()
            if low >= beginning
        ]
        return [*self.unproven, *silent]

    def _beginning(self) -> date:
        """The day from which there are notices: where all are asked for, that of the first."""
        start = self.query.date_start
        if start != FIRST_DAY:
            return start
        return next((day for day in self._days_of_share() if day not in self._empty), start)

    @property
    def status(self) -> State:
        """How far all answers together can be trusted."""
        found = self.judgement()
        if not self.done or self._is_failed or any(u.state == "incomplete" for u in found):
            return "incomplete"
        return "probable" if found else "complete"


def _days(window: NoticeQuery) -> Iterator[date]:
    low, high = window.date_start.toordinal(), window.date_end.toordinal()
    return map(date.fromordinal, range(low, high + 1))


def _offsets(known: int, total: int) -> range:
    """The offsets of the pages that ``total`` rows have beyond those of ``known`` rows."""
    return range(-(-known // PAGE) * PAGE, min(total, MAX_ROWS), PAGE)


def _parts(window: NoticeQuery, total: int) -> list[NoticeQuery]:
    """The parts of a window that together hold all of it; none when it cannot be split."""
    low, high = window.date_start, window.date_end
    days = (high - low).days + 1
    if days > 1:
        count = min(-(-total // TARGET), days)
        cuts = [low + (days * part // count) * _DAY for part in range(count + 1)]
        return [window.on(a, b - _DAY) for a, b in pairwise(cuts)]
    if not window.familles:
        # Of one department asked for, a split by department gives nothing.
        if not window.departements and not window.departement:
            return [*_halves(window, DEPARTEMENTS), replace(window, departements=(OTHER,))]
        if len(window.departements) > 1:
            return _halves(window, window.departements)
        return [replace(window, familles=(famille,)) for famille in (*FAMILLES, OTHER)]
    return []


def _halves(window: NoticeQuery, departements: tuple[str, ...]) -> list[NoticeQuery]:
    middle = len(departements) // 2
    return [
        replace(window, departements=half)
        for half in (departements[:middle], departements[middle:])
    ]
