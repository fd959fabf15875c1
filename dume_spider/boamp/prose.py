"""The free text in which national notices (FNSimple) state their awards.

At least eight layouts are in use. A value is taken only where a label or its own form says
what it is and nothing in the same passage says otherwise; everything else stays text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from itertools import pairwise

from dume_spider.boamp.award import is_siret
from dume_spider.decp.repair import clean, fold, number_of
from dume_spider.decp.verdict import quote

_BREAK = re.compile(r"<br\s*/?>|\r\n?", re.IGNORECASE)

#: A line that opens the passage of a lot: ``Lot n° 2 - Gros œuvre``, ``Lot 1 : …``.
_LOT_LINE = re.compile(
    r"\W{0,3}lot\s*(?:n\s*[°ºo]|num[ée]ro)?\s*:?\s*(?P<number>[0-9]+[a-z]?)\b\s*[-–:.]?\s*"
    r"(?P<rest>.*)",
    re.IGNORECASE,
)
_LOT = re.compile(
    r"\blots?\s*(?:n\s*[°ºo]|num[ée]ro)?\s*:?\s*(?P<number>[0-9]+[a-z]?)\b", re.IGNORECASE
)
#: Lots that share a passage.
_LOTS = re.compile(
    r"\blots\s*(?:n\s*[°ºo]s?)?\s*:?\s*[0-9]"
    r"|\blot\s*(?:n\s*[°ºo])?\s*:?\s*[0-9]+[a-z]?\s*(?:[,;/&]|et|à)\s*(?:lot\s*)?[0-9]"
    r"|\btous\s+les\s+lots|\bensemble\s+des\s+lots",
    re.IGNORECASE,
)

_NUMBER = (
    r"(?<![0-9.,])(?P<number>[0-9]{1,3}(?: [0-9]{3})+(?:[.,][0-9]{1,2})?|[0-9]+(?:[.,][0-9]{1,2})?)"
)
#: Not the end of a word, such as ``valeur``.
_CURRENCY = r"(?:€|(?<![^\W\d_])(?:euros?\b(?:\(s\))?|euro\(s\)|eur\b))"
_MONEY = re.compile(
    rf"{_NUMBER}\s*(?:(?P<currency>{_CURRENCY})\s*)?(?P<tax>h\.?\s?t\b|t\.?t\.?c\b)?",
    re.IGNORECASE,
)
_A_CURRENCY = re.compile(_CURRENCY, re.IGNORECASE)
_EXCLUDED = re.compile(r"\bh\.?\s?t\b|hors (?:tax|tva\b)", re.IGNORECASE)
_INCLUDED = re.compile(r"\bt\.?t\.?c\b|toutes taxes|\btva (?:in|com)", re.IGNORECASE)
#: What makes of an amount something else than the contract's.
_KINDS = (
    ("minimum", re.compile(r"\bmin(?:i|imum|imal|imale)?s?\b", re.IGNORECASE)),
    ("maximum", re.compile(r"\bmax(?:i|imum|imal|imale)?s?\b|plafond|jusqu'", re.IGNORECASE)),
    ("estimate", re.compile(r"estim|pr[ée]visionnel", re.IGNORECASE)),
)
#: An amount of this kind has no place among those of an award.
_PARTIAL = re.compile(
    r"annuel|mensuel|unitaire|tranche|option|variante|p[ée]nalit"
    r"|avance|bon de commande|toutes? lots|tous les lots|ensemble des lots"
    r"|(?:/|\b(?:par|au|du|le|la)\b|\bl')\s*(?:an|ann[ée]e|semestre|trimestre|mois|semaine"
    r"|jour|journ[ée]e|heure|h|unit[ée]|m[eè]tre|m[l23²³]|tonne|t|kg|km|litre|[km]wh|repas)\b",
    re.IGNORECASE,
)
#: The end of what stands before an amount that may begin with the number of something, or
#: that ends a range.
_NUMBERED = re.compile(
    r"(?:\blots?|\btranche|\bphase|n\s*[°ºo]|\bnum[ée]ro)\s*:?\s*$|[0-9]\s*(?:à|et)\s*$",
    re.IGNORECASE,
)
#: What follows an amount and says what it is, unless something before it does.
_FOLLOWING = re.compile(r"[\s(]*(?:min|max|plafond|estim)[^\W\d_]*", re.IGNORECASE)
#: What an amount has to have on its line to be the contract's.
_STATED = re.compile(r"montant|prix|valeur|attribu", re.IGNORECASE)
#: Words that say elsewhere in the text what its amounts are.
_CEILING = re.compile(
    r"\bmin(?:i|imum)s?\b|\bmax(?:i|imum)s?\b|plafond|estim|annuel|par an\b", re.IGNORECASE
)

_FRAMEWORK = re.compile(r"accords?[ -]cadres?|bons? de commande", re.IGNORECASE)

_DATE = r"(?P<date>[0-9]{1,2}[/.][0-9]{1,2}[/.](?:[0-9]{4}|[0-9]{2}))(?![0-9])"
_DATES = tuple(
    (kind, re.compile(label + _DATE, re.IGNORECASE))
    for kind, label in (
        ("decision", r"\bdate\s+d'attribution[^:\n0-9]{0,30}:\s*"),
        ("conclusion", r"\bdate\s+de\s+(?:conclusion|signature)[^:\n0-9]{0,30}:\s*"),
        ("notification", r"\bdate\s+de\s+notification[^:\n0-9]{0,30}:\s*"),
        ("notification", r"\bnotifi[ée]e?s?\s+le\s*:?\s*"),
    )
)

_OFFERS = re.compile(
    r"\bnombre\s+d'offres\s+re[çc]ues[^:\n0-9]{0,20}:\s*(?P<value>[0-9]{1,5})\b", re.IGNORECASE
)
_REFERENCE = re.compile(r"^\W{0,3}march[ée]\s+n\s*[°ºo]\s*:\s*(?P<value>\S.*)$", re.IGNORECASE)
_SUBCONTRACTING = re.compile(r"\bsous-traitance\s*:\s*(?P<value>oui|non)\b", re.IGNORECASE)
_WINNER = re.compile(
    r"\b(?:nom\s+(?:du\s+titulaire|de\s+l'attributaire)|titulaire|attributaire)s?"
    r"(?:\s+du\s+(?:march[ée]|lot))?\s*:\s*(?P<value>[^,;\n]+)",
    re.IGNORECASE,
)
#: ``Name, street, 95230 Town``: a line of its own, right behind the contract's number. Other
#: such lines are of courts and buyers.
_ADDRESS = re.compile(r"^\W{0,3}(?P<value>[^,;:]{2,}),[^:]*\b[0-9]{5}\s+[A-ZÀ-Ý].*$")
_SIRET = re.compile(r"(?<![0-9])[0-9]{3}[ .]?[0-9]{3}[ .]?[0-9]{3}[ .]?[0-9]{5}(?![0-9])")
_WORD = re.compile(r"[^\W_]+")
#: What no title of a lot has in it.
_AWARD = re.compile(r"attribu|notifi|titulaire|entreprise|infructueu|sans suite|[0-9]{5}", re.I)
#: The layout of a platform that puts all lots on one line: ``Lot 1 : Voirie Attribution :
#: attribué à 1 entreprise(s)  - TRAVAUX SA (SIRET) Notifié le … Montant : … euros  Lot 2 : …``.
_COUNTED = re.compile(
    r"attribué à (?P<count>[0-9]+) entreprise\(s\)(?P<winners>(?:\s+- [^()]+\([0-9]{14}\))+)"
)
_COUNTED_NAME = re.compile(r"- (?P<value>[^()]+?) \([0-9]{14}\)")
_COUNTED_PART = re.compile(r"(?<=\s)(?=Lot [0-9]+ : |Attribution : |Notifié le |Montant : )")
#: What stands in the place of a name that is not given.
_NOBODY = re.compile(r"(?:voir|cf|n[ée]ant|sans objet|confidentiel|non )\b|nc$|\W*$", re.I)
#: What may follow a name on its line: a number, with its label or without.
_TAIL = re.compile(r"\s*[-–(]?\s*(?:\b(?:siret|siren)\b|[0-9]{3} ?[0-9]{3} ?[0-9]{3}).*", re.I)
#: What says that a winner is several: groups of winners, not of buyers.
_GROUP = re.compile(
    r"\bmandataire\b(?!\s+(?:de|du|des)\s+(?!groupement))|\bco[- ]?traitan"
    r"|\bgroupement\s+(?:solidaire|conjoint|momentan|d'(?:entreprises|op[ée]rateurs))",
    re.IGNORECASE,
)
#: Lines with a number that is not a winner's.
_OTHERS = re.compile(r"acheteur|pouvoir adjudicateur|ma[iî]tre d'|tribunal|groupement de c", re.I)
_FAILED = re.compile(r"infructueu|sans\s+suite|non\s+attribu[ée]", re.IGNORECASE)


@dataclass(slots=True)
class Passage:
    """What a passage of the text states for certain; one lot, or the whole notice.

    ``amounts`` are (kind, number as written, currency, tax), ``dates`` (kind, ISO date),
    ``notes`` (rule, message). ``mixed``: the passage is about several lots that cannot be
    told apart, so that nothing else was read. ``failed``: it says that nothing was awarded.
    ``group``: the winner may be a group, of which ``names`` are not all.
    """

    text: str
    lot: str | None = None
    title: str | None = None
    mixed: bool = False
    group: bool = False
    failed: bool = False
    names: list[str] = field(default_factory=list)
    sirets: list[str] = field(default_factory=list)
    offers: str | None = None
    reference: str | None = None
    subcontracting: bool | None = None
    amounts: list[tuple[str, str, str | None, str | None]] = field(default_factory=list)
    dates: list[tuple[str, str]] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)


def passages(text: str, names: list[str], about: str = "") -> list[Passage]:
    """The passages of a text: one per lot if each opens with a line of its own, else one.

    Args:
        text: the text, with its line feeds.
        names: the winners that the index card of the notice lists.
        about: what the contract is called.

    The amounts of a framework agreement are often its ceilings or estimates: where the text
    or ``about`` speaks of one, only amounts that say themselves what they are are taken.
    """
    lines = _lines(text)
    split = _split(lines)
    elsewhere = [about, *(line for line in lines if not _moneys(line))]
    amounts_clear = not (
        any(map(_CEILING.search, elsewhere)) or any(map(_FRAMEWORK.search, [about, *lines]))
    )
    for passage, own in split:
        if not passage.mixed:
            _read(passage, own, names, len(split) == 1, amounts_clear)
    return [passage for passage, _ in split]


def _lines(text: str) -> list[str]:
    raw = _BREAK.sub("\n", unescape(text)).replace("\u2019", "'")
    if _COUNTED.search(raw):
        raw = _COUNTED_PART.sub("\n", raw)
    return [line for line in map(clean, raw.split("\n")) if line]


def _split(lines: list[str]) -> list[tuple[Passage, list[str]]]:
    """Passages with their lines. What stands before the first of several lots is nobody's."""
    whole = "\n".join(lines)
    heads = [(n, match) for n, line in enumerate(lines) if (match := _LOT_LINE.match(line))]
    numbers = [match["number"].lstrip("0") or "0" for _, match in heads]
    mentioned = {match["number"].lstrip("0") or "0" for match in _LOT.finditer(whole)}
    shared = bool(_LOTS.search(whole))
    if len(mentioned) == 1 and len(heads) == 0 and not shared:
        # One lot, named somewhere in the text.
        return [(Passage(whole, lot=mentioned.pop()), lines)]
    if shared or len(set(numbers)) != len(numbers) or mentioned != set(numbers):
        mixed = Passage(whole, mixed=True)
        mixed.notes.append(("prose-lots", "the text is about several lots, not one by one"))
        return [(mixed, lines)]
    if not heads:
        return [(Passage(whole), lines)]
    starts = [n for n, _ in heads] if len(heads) > 1 else [0]
    result = []
    for (_, match), number, (start, end) in zip(
        heads, numbers, pairwise([*starts, len(lines)]), strict=True
    ):
        own = lines[start:end]
        title = match["rest"].strip(" -–:.") or None
        if title and (_AWARD.search(title) or _moneys(title)):
            # The line goes on with the award itself.
            title = None
        result.append((Passage("\n".join(own), lot=number, title=title), own))
    return result


def _read(
    passage: Passage, lines: list[str], names: list[str], alone: bool, amounts_clear: bool
) -> None:
    whole = "\n".join(lines)
    offers = {match["value"] for match in _OFFERS.finditer(whole)}
    passage.offers = _only(passage, offers, "offers", "numbers of offers")
    references = {m["value"].strip() for line in lines if (m := _REFERENCE.match(line))}
    passage.reference = _only(passage, references, "reference", "contract numbers")
    answers = {match["value"].casefold() for match in _SUBCONTRACTING.finditer(whole)}
    if answer := _only(passage, answers, "subcontracting", "answers on sub-contracting"):
        passage.subcontracting = answer == "oui"
    _read_dates(passage, whole)
    _read_amounts(passage, lines, amounts_clear)
    passage.failed = bool(_FAILED.search(whole))
    passage.names = _names(lines, names, alone)
    # More names may be listed than the text tells (how they are written may differ).
    listed = len({_words(name) for name in names}) if alone else 0
    passage.group = bool(_GROUP.search(whole)) or listed > len(passage.names)
    if (
        passage.title
        and not passage.failed
        and not _names([line for line in lines if not _LOT_LINE.match(line)], names, False)
    ):
        # What stands behind the number of the lot may as well be who won it.
        passage.title = None
    passage.sirets = _sirets(lines, passage.names)


def _only(passage: Passage, values: set[str], rule: str, what: str) -> str | None:
    if len(values) > 1:
        passage.notes.append((rule, f"the text has several {what}"))
    return values.pop() if len(values) == 1 else None


def _read_dates(passage: Passage, whole: str) -> None:
    told: dict[str, set[str]] = {}
    for kind, pattern in _DATES:
        for match in pattern.finditer(whole):
            day, month, year = re.split("[/.]", match["date"])
            year = year if len(year) == 4 else f"20{year}"
            told.setdefault(kind, set()).add(f"{year}-{month.zfill(2)}-{day.zfill(2)}")
    for kind, days in told.items():
        if day := _only(passage, days, "date", f"dates of {kind}"):
            passage.dates.append((kind, day))


def _moneys(line: str) -> list[re.Match[str]]:
    """The amounts of money in a line: numbers with a currency, or with HT or TTC."""
    return [match for match in _MONEY.finditer(line) if match["currency"] or match["tax"]]


def _read_amounts(passage: Passage, lines: list[str], clear: bool) -> None:
    amounts = []
    for line in lines:
        moneys = _moneys(line)
        if len(_A_CURRENCY.findall(line)) > sum(1 for match in moneys if match["currency"]):
            passage.notes.append(("amount", f"an amount in {quote(line)} cannot be read"))
            clear = False
        end = 0
        for position, match in enumerate(moneys):
            label = line[end : match.start()]
            # What follows the last amount is about it; between two it is about the next.
            rest = line[match.end() :] if position == len(moneys) - 1 else ""
            end = match.end()
            about = f"{label} {rest}"
            kinds = [kind for kind, words in _KINDS if words.search(about)]
            following = None if rest or kinds else _FOLLOWING.match(line, end)
            if following:
                end = following.end()
            if len(kinds) > 1 or following or _PARTIAL.search(about) or _NUMBERED.search(label):
                passage.notes.append(("amount", f"what {quote(match[0])} is cannot be told"))
                clear = False
                continue
            if not kinds and not _STATED.search(line):
                passage.notes.append(("amount", f"what {quote(match[0])} is cannot be told"))
                continue
            taxed = f"{label} {match['tax'] or ''} {rest}"
            excluded, included = _EXCLUDED.search(taxed), _INCLUDED.search(taxed)
            tax = "excluded" if excluded else "included" if included else None
            if excluded and included:
                tax = None
            currency = "EUR" if match["currency"] else None
            amounts.append((kinds[0] if kinds else "contract", match["number"], currency, tax))
    amounts = list(dict.fromkeys(amounts))
    contract = [amount for amount in amounts if amount[0] == "contract"]
    taxes = [tax for *_, tax in contract]
    if contract and (
        not clear or len(set(taxes)) != len(taxes) or (len(taxes) > 1 and None in taxes)
    ):
        passage.notes.append(("amount", "which amount is the contract's cannot be told"))
        amounts = [amount for amount in amounts if amount[0] != "contract"]
    passage.amounts = [
        amount for amount in amounts if number_of(amount[1], currency=False) is not None
    ]


def _names(lines: list[str], listed: list[str], alone: bool) -> list[str]:
    """The winners: by a label, their count or an address, else those that are listed."""
    told = [match["value"] for line in lines for match in _WINNER.finditer(line)]
    told = told or list(_counted(lines)) or list(_addressed(lines))
    told = [text for text in told if not _NOBODY.match(text)]
    if told:
        # An address may follow the name.
        names = [_listed_in(text, listed) or [_TAIL.sub("", text).strip(" -–.")] for text in told]
        return list(dict.fromkeys(name for found in names for name in found if name))
    whole = "\n".join(lines)
    named = _listed_in(whole, listed)
    return list(listed) if not named and alone and not _FAILED.search(whole) else named


def _counted(lines: list[str]) -> Iterator[str]:
    """The names behind their number, if they are as many."""
    for line in lines:
        if match := _COUNTED.search(line):
            names = _COUNTED_NAME.findall(match["winners"])
            if len(names) == int(match["count"]):
                yield from names


def _addressed(lines: list[str]) -> Iterator[str]:
    """The names in the lines with an address that follow a contract's number."""
    behind = False
    for line in lines:
        match = _ADDRESS.match(line) if behind else None
        behind = bool(match or _REFERENCE.match(line))
        if match:
            yield match["value"]


def _sirets(lines: list[str], names: list[str]) -> list[str]:
    """The SIRETs from the line on that first has the name of a winner."""
    sirets: list[str] = []
    named = False
    for line in lines:
        named = named or any(_words(name) in _words(line) for name in names)
        if named and not _OTHERS.search(line):
            sirets += ("".join(filter(str.isdigit, text)) for text in _SIRET.findall(line))
    return list(dict.fromkeys(filter(is_siret, sirets)))


def _listed_in(text: str, listed: list[str]) -> list[str]:
    """The listed names that a text has in it, word by word; shorter ones are words, too."""
    words = _words(text)
    return [name for name in listed if len(_words(name)) > 4 and _words(name) in words]


def _words(text: str) -> str:
    return f" {' '.join(map(fold, _WORD.findall(text)))} "
