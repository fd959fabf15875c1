"""The report in a headless Chromium.

Screenshots go to the folder of the environment variable ``SCREENSHOTS``, or else to the
temporary folder of the test run; a person should look at them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path

import orjson
import pytest
from browsing import DESKTOP, PHONE, Opened, chromium
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import insert, select

from dume_spider.decp.filename import FORMATS
from dume_spider.decp.folder import OutputFolder
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.verdict import Problem, Repair
from dume_spider.report.coverage import Scope, Verdict
from dume_spider.report.page import MONTHS, SCOPES, earlier, make_page, months
from dume_spider.sandbox.boamp_rows import generate_notices
from dume_spider.sandbox.generator import generate
from dume_spider.store import tables
from dume_spider.store.ledger import Found, Marks, Window, take_up
from dume_spider.store.reading import StoreReader
from dume_spider.store.store import Candidate, NoticeRow, RecordKeys, Rejection, Store

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
SECTIONS = [
    *("overview", "coverage", "days", "rejected", "repairs", "parties", "amounts", "cpv"),
    *("boamp", "files", "runs"),
]
MADE = datetime(2026, 4, 2, 8, 30, tzinfo=UTC)


def fill(url: str, folder: Path) -> None:
    """A store as a harvest of March leaves it, with hostile text wherever text can be."""
    store = Store(url)
    asked = {"url": "http://dume", "date_start": "2026-03-01", "date_end": "2026-03-31"}
    run = "dume-20260401T060000-abcdef"
    arguments = {"date_start": "2026-03-01", "date_end": "2026-03-31", "note": EVIL}
    started = datetime(2026, 4, 1, 6, tzinfo=UTC)
    harvest = take_up(store, asked, run=run, spider="dume", arguments=arguments, started=started)
    made = list(generate(400, 5, date(2026, 3, 1), date(2026, 3, 31), faulty=0))
    candidates, refused = [], []
    for number, each in enumerate(made):
        record = dict(each.record)
        raw = orjson.dumps(each.served.row)
        if number == 0:
            record["objet"] = EVIL
            record["montant" if each.type is ContractType.MARCHE else "valeurGlobale"] = 4e10
        if number % 20 == 3:
            reasons = (("enum", "procedure"), ("pattern", f"titulaires.0.{EVIL}"))
            rule, path = reasons[number % 40 == 3]
            problems = [Problem(path, rule, f"{EVIL} is not accepted")]
            raw = orjson.dumps(each.served.row | {"objet": EVIL})
            refused.append(Rejection("dume", EVIL, each.type, each.regime, problems, raw))
            continue
        repairs = [Repair("objet", "text", "a", "b")] if number % 30 == 0 else []
        warnings = [Problem("codeCPV", "cpv-division", "")] if number % 40 == 0 else []
        candidates.append(
            Candidate.of(
                "dume",
                each.served.reference,
                each.type,
                each.regime,
                record,
                raw,
                repairs=repairs,
                warnings=warnings,
            )
        )
    old = {
        "acheteur": {"id": "21350238800019", "nom": EVIL},
        "titulaires": [{"id": "1", "typeIdentifiant": "SIRET", "denominationSociale": EVIL}],
        "objet": EVIL,
        "montant": 52000.0,
        "dateNotification": "2023-12-01",
        "datePublicationDonnees": "2026-03-02",
    }
    # As many as make it the first of the buyers and of the titulaires.
    candidates += [
        Candidate.of(
            "dume", f"{EVIL}{n}", ContractType.MARCHE, Regime.R2019, old | {"id": str(n)}, b"{}"
        )
        for n in range(60)
    ]
    windows = [
        Window({"date_start": "2026-03-01", "date_end": "2026-03-20"}, "closed", []),
        Window({"date_start": "2026-03-21", "date_end": "2026-03-30"}, "full", []),
        Window(
            {"date_start": "2026-03-21", "date_end": "2026-03-30", "procedure": EVIL}, "closed", []
        ),
    ]
    harvest.save(candidates, refused, Marks(windows=windows, found=[Found(EVIL, None)]))
    unproven = [
        {
            "filters": {"date_start": "2026-03-21", "date_end": "2026-03-27"},
            "state": "probable",
            "why": f"enumerated by {EVIL}",
        },
        {
            "filters": {"date_start": "2026-03-30", "date_end": "2026-03-30"},
            "state": "incomplete",
            "why": "still full",
        },
    ]
    out = OutputFolder(folder / "decp")
    out.check()
    first = next(store.pending(run))
    keys = RecordKeys(first.regime, first.buyer)
    with out.new_files(first.buyer, date(2026, 4, 1), FORMATS, first.regime) as files:
        files.add(first.type, first.record)
        keys.add(first)
        store.place(run, [keys], folder=str(out.path), commit=partial(out.commit, [files]))
    notices = [
        NoticeRow.of(row["idweb"], row["dateparution"], row)
        for row in generate_notices(60, 1, date(2026, 3, 1), date(2026, 3, 31))
    ]
    store.keep(run, notices, ())
    with store.database.writing() as connection:
        line = {
            "run": 1,
            # Half past midnight in France, the day that the files are named by.
            "published": "2026-03-31T22:30:00+00:00",
            "bytes": 1,
            "portal": "https://portal/api/1",
        }
        placed = connection.execute(select(tables.files.c.name, tables.files.c.sha1)).all()
        another = (placed[0].name, "another")
        for (name, sha1), dataset, resource, url in (
            (placed[0], "decp-of-the-town", "r1", "https://portal/f/1"),
            (placed[0], EVIL, "r2", "javascript:alert(3)"),
            (another, "not-this-file", "r3", "https://portal/f/2"),
            ((placed[1].name, ""), "a-link", "r4", "https://portal/f/3"),
            # These had the file, until it was deleted and another content got its name, and
            # until a file of another name took its place.
            (placed[0], "deleted-since", "r5", "https://portal/f/4"),
            (another, "deleted-since", "r6", "https://portal/f/4"),
            (placed[0], "replaced-since", "r7", "https://portal/f/5"),
            (("another-name.json", "x"), "replaced-since", "r7", "https://portal/f/5"),
        ):
            file = {"name": name, "sha1": sha1, "dataset": dataset, "resource": resource}
            connection.execute(insert(tables.publications), line | file | {"url": url})
    counts = {"references": 460, "written": 440, "rejected": 20, "failed": 0}
    summary = {"arguments": arguments, "counts": counts, "unproven": unproven}
    store.end_run(run, "incomplete", summary)
    harvest.end()
    store.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    url = f"sqlite:///{folder / 'store.sqlite'}"
    fill(url, folder)
    reader = StoreReader(url)
    try:
        page = make_page(reader, made=MADE, place="store.sqlite")
    finally:
        reader.close()
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = os.environ.get("SCREENSHOTS")
    path = Path(folder) if folder else tmp_path_factory.mktemp("screenshots", numbered=False)
    path.mkdir(parents=True, exist_ok=True)
    return path


def test_it_needs_nothing_else_and_is_small(report: Path) -> None:
    text = report.read_text(encoding="utf-8")
    assert len(text.encode()) < 5_000_000
    assert not re.search(r"@import|url\(|<link|<iframe|<img|<[^>]* src=\"", text)


@pytest.mark.parametrize(
    ("device", "scheme"),
    [
        pytest.param(DESKTOP, "light", id="desktop-light"),
        pytest.param(PHONE, "dark", id="phone-dark"),
        pytest.param(DESKTOP, "dark", id="desktop-dark", marks=pytest.mark.slow),
        pytest.param(PHONE, "light", id="phone-light", marks=pytest.mark.slow),
    ],
)
def test_the_page(
    report: Path, browser: Browser, screenshots: Path, device: tuple[int, int], scheme: str
) -> None:
    opened = Opened.of(browser, report, device, scheme)
    page = opened.page
    for section in SECTIONS:
        title = page.locator(f"section#{section} > h2")
        assert title.count() == 1
        assert title.inner_text().strip()
    assert page.title() == "Public contracts: report of 2 April 2026"
    # What stands in data is text: no element came of it.
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 2
    assert EVIL in page.locator("#amounts .outliers").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") == device[0]
    shown = page.locator("svg.chart").filter(visible=True)
    assert shown.count() == 8
    assert all("narrow" in svg.get_attribute("class") for svg in shown.all()) == (device == PHONE)
    name = f"report-{'desktop' if device == DESKTOP else 'phone'}-{scheme}"
    page.screenshot(path=screenshots / f"{name}.png", full_page=True)
    page.locator('button[data-day="2026-03-21"]').click()
    page.screenshot(path=screenshots / f"{name}-day.png")
    assert page.title() == "Public contracts: report of 2 April 2026"
    assert opened.said == []
    assert opened.asked == [report.as_uri()]
    page.close()


def test_the_calendar(report: Path, browser: Browser) -> None:
    opened = Opened.of(browser, report, DESKTOP, "light")
    page, dialog = opened.page, opened.page.locator("dialog")
    states = {
        "2026-03-05": "complete",
        "2026-03-21": "probable",
        "2026-03-28": "complete",
        "2026-03-30": "incomplete",
        "2026-03-31": "not asked",
    }
    for day, state in states.items():
        button = page.locator(f'button[data-day="{day}"]')
        assert button.get_attribute("class") == f"day {state.replace(' ', '-')}"
        assert button.get_attribute("aria-label").endswith(f"March 2026: {state}")
    assert not dialog.is_visible()
    page.locator('button[data-day="2026-03-21"]').click()
    assert dialog.is_visible()
    heading = dialog.locator("h2").inner_text()
    assert heading == "Saturday, 21 March 2026: probable"
    assert f"Enumerated by {EVIL}" in dialog.inner_text()
    assert "Contracts published that day: " in dialog.inner_text()
    lines = [row.inner_text().split("\t") for row in dialog.locator("tbody tr").all()]
    span = "2026-03-21 to 2026-03-30"
    assert [line[:4] for line in lines] == [
        ["none", "cut", "0", span],
        [f"procedure={EVIL}", "whole", "0", span],
    ]
    # By keyboard: closed with Escape, the focus is where it was; the arrows move by day and week.
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert _focused(page) == "2026-03-21"
    for key, day in (("ArrowRight", 22), ("ArrowUp", 15), ("Home", 1), ("ArrowLeft", 1)):
        page.keyboard.press(key)
        assert _focused(page) == f"2026-03-{day:02}"
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert dialog.locator("h2").inner_text() == "Tuesday, 31 March 2026: not asked"
    assert "No harvest asked for this day." in dialog.inner_text()
    assert dialog.locator("tbody tr").count() == 0
    dialog.get_by_role("button", name="Close").click()
    assert not dialog.is_visible()
    # The calendar is one stop of the Tab key.
    assert page.locator('button.day[tabindex="0"]').count() == 1
    assert opened.said == []
    page.close()


def _focused(page: Page) -> str | None:
    return page.evaluate("document.activeElement.dataset.day")


@pytest.fixture(scope="module")
def year(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a year, one day of which is not proven."""
    folder = tmp_path_factory.mktemp("year")
    url, run = f"sqlite:///{folder / 'store.sqlite'}", "dume-20260401T060000-abcdef"
    days = {"date_start": "2025-01-01", "date_end": "2025-12-31"}
    store = Store(url)
    asked = {"url": "http://dume", **days}
    harvest = take_up(store, asked, run=run, spider="dume", arguments=days, started=MADE)
    harvest.save([], [], Marks(windows=[Window(days, "closed", [])]))
    day = {"date_start": "2025-03-12", "date_end": "2025-03-12"}
    unproven = [{"filters": day, "state": "incomplete", "why": "still full"}]
    store.end_run(run, "incomplete", {"unproven": unproven})
    harvest.end()
    store.close()
    reader = StoreReader(url)
    path = folder / "report.html"
    path.write_text(make_page(reader, made=MADE, place="store.sqlite"), encoding="utf-8")
    reader.close()
    return path


def test_a_year_is_a_line_per_month_on_a_phone(
    year: Path, browser: Browser, screenshots: Path
) -> None:
    opened = Opened.of(browser, year, PHONE, "light")
    page = opened.page
    months, days = page.locator(".month"), page.locator("button.day").filter(visible=True)
    assert (months.count(), days.count()) == (12, 0)
    lines = [month.inner_text().split("\n") for month in months.all()[1:3]]
    assert lines == [
        ["February 2025", "28 complete"],
        ["March 2025", "30 complete", "1 incomplete"],
    ]
    assert page.locator(".calendar").bounding_box()["height"] < 600
    page.screenshot(path=screenshots / "year-phone.png", full_page=True)
    # By keyboard: the line of a month opens it, Tab goes on into it, the arrows to its neighbours.
    months.nth(2).locator("summary").press("Enter")
    assert days.count() == 31
    expect(page.locator('[data-day="2025-03-01"]')).to_have_attribute("tabindex", "0")
    page.keyboard.press("Tab")
    assert _focused(page) == "2025-03-01"
    page.keyboard.press("ArrowLeft")
    assert _focused(page) == "2025-02-28"
    assert days.count() == 31 + 28
    page.keyboard.press("Enter")
    assert page.locator("dialog h2").inner_text() == "Friday, 28 February 2025: complete"
    page.keyboard.press("Escape")
    # Turned on its side, or on paper, all of it is there.
    page.set_viewport_size({"width": 1280, "height": 800})
    expect(page.locator(".folds")).to_have_count(0)
    assert days.count() == 365
    assert opened.said == []
    page.close()


def test_a_year_on_paper_from_a_phone(year: Path, browser: Browser) -> None:
    page = Opened.of(browser, year, PHONE, "light").page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("button.day").filter(visible=True).count() == 365
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("button.day").filter(visible=True).count() == 0
    page.close()


def test_a_year_is_one_stop_of_the_tab_key_on_a_desktop(year: Path, browser: Browser) -> None:
    page = Opened.of(browser, year, DESKTOP, "light").page
    stops = page.locator(".calendar :is(button, summary)").evaluate_all(
        "all => all.filter(each => each.tabIndex === 0).map(each => each.dataset.day)"
    )
    assert stops == ["2025-12-31"]
    # What looks like a heading is not folded by a click.
    page.mouse.click(*_middle(page, ".month summary"))
    assert page.locator("button.day").filter(visible=True).count() == 365
    page.close()


def _middle(page: Page, selector: str) -> tuple[float, float]:
    box = page.locator(selector).first.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_files_name_where_they_are_published(report: Path, browser: Browser) -> None:
    page = Opened.of(browser, report, DESKTOP, "light").page
    cells = page.locator("#files tbody tr td:nth-child(4)")
    texts = [" ".join(text.split()) for text in cells.all_inner_texts()]
    assert texts == [f"{EVIL} 2026-04-01, decp-of-the-town 2026-04-01", "a-link 2026-04-01"]
    links = [link.get_attribute("href") for link in page.locator("#files a").all()]
    assert links == ["https://portal/f/1", "https://portal/f/3"]
    page.close()


def test_rejected_rows_have_examples_and_their_source(report: Path, browser: Browser) -> None:
    page = Opened.of(browser, report, DESKTOP, "light").page
    reasons = page.locator("#rejected details.reason")
    assert reasons.count() == 2
    for reason in reasons.all():
        reason.locator("> summary").click()
        assert reason.locator("article").count() == 3
        source = reason.locator("article details").first
        source.locator("summary").click()
        assert EVIL in source.locator("pre").inner_text()
    page.close()


def test_a_screen_reader_and_a_keyboard_get_everything(report: Path, browser: Browser) -> None:
    page = Opened.of(browser, report, DESKTOP, "light").page
    for svg in page.locator("svg.chart").all():
        assert svg.get_attribute("role") == "img"
        assert len(svg.get_attribute("aria-label")) > 20
    # Behind each figure stands a table with heads that say what they are of.
    assert page.locator("figure ~ details table, figure ~ .scroll table").count() >= 8
    assert page.locator("thead th:not([scope=col])").count() == 0
    # What scrolls can be reached by keyboard, and has a name.
    for part in page.locator(".scroll, pre").all():
        assert part.get_attribute("tabindex") == "0"
        assert part.get_attribute("aria-label")
    names = page.evaluate(
        "[...document.querySelectorAll('button')].filter(b => !b.textContent.trim()).length"
    )
    assert names == 0
    page.close()


#: Text and the colour behind it, as WCAG 2 reckons their contrast.
_CONTRAST = """
() => {
  const channel = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const read = (text) => text.match(/[0-9.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = read(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const poor = new Set();
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || element.closest("script, style") || !element.checkVisibility()) continue;
    const isDrawn = element.closest("svg");
    const style = getComputedStyle(element);
    const one = light(read(isDrawn ? style.fill : style.color)), other = light(behind(element));
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) poor.add(`${element.outerHTML.slice(0, 80)} ${ratio.toFixed(2)}`);
  }
  return [...poor];
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(report: Path, browser: Browser, scheme: str) -> None:
    page = Opened.of(browser, report, DESKTOP, scheme).page
    assert page.evaluate(_CONTRAST) == []
    page.close()


@pytest.mark.slow
def test_it_prints(report: Path, browser: Browser) -> None:
    page = Opened.of(browser, report, DESKTOP, "dark").page
    page.emulate_media(media="print")
    assert not page.locator("nav").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.pdf().startswith(b"%PDF")
    page.close()


def test_an_empty_store_has_every_section(tmp_path: Path, browser: Browser) -> None:
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    Store(url).close()
    reader = StoreReader(url)
    path = tmp_path / "report.html"
    path.write_text(make_page(reader, made=MADE, place="store.sqlite"), encoding="utf-8")
    reader.close()
    opened = Opened.of(browser, path, PHONE, "light")
    for section in SECTIONS:
        assert opened.page.locator(f"section#{section}").is_visible()
    assert opened.page.locator("svg, figure").count() == 0
    assert opened.page.locator(".none").filter(visible=True).count() >= 8
    assert opened.said == []
    opened.page.close()


def test_a_run_of_notices(tmp_path: Path) -> None:
    """Its page has no contracts, says so, and has what there is of one in the singular."""
    url, run = f"sqlite:///{tmp_path / 'store.sqlite'}", "boamp-20260403T060000-abcdef"
    day = {"date_start": "2026-03-10", "date_end": "2026-03-10"}
    store = Store(url)
    asked = {"url": "http://boamp", **day}
    harvest = take_up(store, asked, run=run, spider="boamp", arguments={}, started=MADE)
    (row,) = generate_notices(1, 1, date(2026, 3, 10), date(2026, 3, 10))
    notice = NoticeRow.of(row["idweb"], row["dateparution"], row)
    harvest.save([notice], [], Marks(windows=[Window(day, "closed", [])]))
    store.end_run(run, "complete", {})
    harvest.end()
    store.close()
    reader = StoreReader(url)
    page = make_page(reader, made=MADE, place="store.sqlite", run=run)
    whole = make_page(reader, made=MADE, place="store.sqlite")
    reader.close()
    # Nobody is accused of missing contracts where none were looked for.
    assert "There are no contracts here to compare them with." in whole
    assert "likely to be missing" not in whole
    assert "<svg" not in whole
    assert '"contracts": false' in whole
    assert "1 day asked: 1 complete, 0 probable, 0 incomplete; 1 search answered." in page
    assert "This run received 1 notice. Notices are compared" in page
    assert "No acheteur or autorité concédante." in page
    assert "<dt>contracts</dt><dd>0</dd>" in page


def test_harvests_by_buyer_do_not_drive_the_calendar_of_all_contracts_away(tmp_path: Path) -> None:
    """They are what docs/logs.md advises for days that stay incomplete."""
    url = f"sqlite:///{tmp_path / 'store.sqlite'}"
    store = Store(url)
    every = {"date_start": "2026-03-01", "date_end": "2026-03-09"}
    one = {"date_start": "2026-03-02", "date_end": "2026-03-02"}
    asks = [every, *(one | {"acheteur_id": f"buyer {number}"} for number in range(SCOPES + 1))]
    for number, asked in enumerate(asks):
        run = f"run {number}"
        harvest = take_up(store, asked, run=run, spider="dume", arguments={}, started=MADE)
        harvest.save([], [], Marks(windows=[Window(asked, "closed", [])]))
        unproven = {"filters": asked, "state": "incomplete", "why": "still full"}
        store.end_run(run, "incomplete", {"unproven": [unproven] if number in (0, 1) else []})
        harvest.end()
    store.close()
    reader = StoreReader(url)
    page = make_page(reader, made=MADE, place="store.sqlite")
    reader.close()
    assert page.count('<div class="calendar"') == SCOPES
    assert page.index("<h3>dume: all contracts</h3>") < page.index("<h3>dume: acheteur_id=")
    assert (
        "dume: acheteur_id=buyer 1 (1 day); dume: acheteur_id=buyer 0 (1 day, 1 incomplete)" in page
    )


def test_a_run_of_the_night_is_of_the_day_that_its_files_are_named_by(tmp_path: Path) -> None:
    """Runs are noted in UTC, where a run at half past midnight in France began the day before."""
    url, run, name = f"sqlite:///{tmp_path / 'store.sqlite'}", "dume-night", "night-file.json"
    store = Store(url)
    started = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    store.begin_run(run, "dume", {}, started)
    store.reject(run, [Rejection("dume", "r", None, None, [Problem("id", "required", "")], b"{}")])
    with store.database.writing() as connection:
        placed = {"regime": "2022", "buyer": "b", "records": 1, "placed": True, "run": 1}
        number = connection.execute(insert(tables.file_sets), placed).inserted_primary_key[0]
        file = {"file_set": number, "position": 0, "folder": "f", "sha1": "s", "bytes": 7}
        connection.execute(insert(tables.files), file | {"name": name})
    store.end_run(run, "complete", {})
    store.close()
    made = datetime(2026, 11, 23, 6, tzinfo=UTC)
    reader = StoreReader(url)
    same, next = (
        make_page(reader, made=made, place="s", since=day)
        for day in (date(2026, 11, 22), date(2026, 11, 23))
    )
    reader.close()
    for text in (name, "<dt>rejected rows</dt><dd>1<", "<dt>files</dt><dd>1<", run):
        assert text in same
        assert text not in next


def test_the_months_of_the_calendar() -> None:
    def verdict(state: str) -> Verdict:
        return Verdict(state, "", "run")

    scope = Scope("dume", {})
    scope.days = {date(2026, 1, 31): verdict("complete"), date(2026, 2, 1): verdict("probable")}
    assert [(month.title, month.before) for month in months(scope)] == [
        ("January 2026", ""),
        ("February 2026", ""),
    ]
    first, second = months(scope)
    assert [len(month.cells) for month in (first, second)] == [31, 28]
    assert first.cells[-1] == (date(2026, 1, 31), "complete")
    assert first.cells[0] == (date(2026, 1, 1), "not asked")
    scope.days[date(2026, 4, 30)] = scope.days[date(2027, 1, 1)] = verdict("complete")
    assert [month.before for month in months(scope)] == [
        "",
        "",
        "March 2026",
        "May 2026 to December 2026",
    ]
    assert earlier(scope) == ""
    for year in range(2020, 2025):
        for month in range(1, 13):
            scope.days[date(year, month, 3)] = verdict("incomplete" if year == 2020 else "complete")
    assert len(list(months(scope))) == MONTHS
    assert earlier(scope) == "before May 2020: 4 incomplete"
