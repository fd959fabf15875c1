"""What is decided of one reference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.verdict import Problem, Repair
from dume_spider.decp.version import Rank, merge
from dume_spider.store.doors import Candidate, Settled, Version, as_json, order, plain, settle

Make = Callable[..., Candidate]


def stored(candidate: Candidate) -> Version:
    """A candidate as the version that stood before the run."""
    return Version(
        number=1,
        type=candidate.type,
        regime=candidate.regime,
        buyer=candidate.buyer,
        published=candidate.published,
        fingerprint=candidate.received,
        received=candidate.received,
        rank=candidate.rank,
        fields=candidate.fields,
        record=candidate.record,
        own_record=candidate.record,
    )


def ids(settled: Settled | Version | None) -> Any:
    """The ids of the modifications of what was settled."""
    if settled is None:
        return None
    entries = orjson.loads(settled.record).get("modifications", [])
    return [entry["modification"]["id"] for entry in entries]


@pytest.mark.parametrize(
    ("base", "received", "expected"),
    [
        (None, [(1,)], [1]),
        (None, [(), (1,), (1, 2)], [1, 2]),
        # As new as the base: it takes its place, and takes over what only that has.
        ((1,), [(2,)], [1, 2]),
        ((1, 2), [(1, 2, 3)], [1, 2, 3]),
        # Older than the base: it counts for what it adds.
        ((1, 2), [(1,)], None),
        ((1, 2), [(3,)], [1, 2, 3]),
        ((1, 2), [(3,), (4, 5)], [1, 2, 3, 4, 5]),
        # Harvested at once or one by one, the same comes out.
        (None, [(1,), (2,), (3, 4)], [1, 2, 3, 4]),
    ],
)
def test_modifications(base: Any, received: Any, expected: Any, candidate: Make) -> None:
    stands = None if base is None else stored(candidate("A", base))
    for versions in permutations(received):
        assert ids(settle(stands, [candidate("A", v) for v in versions])) == expected


def test_the_base_itself_stands(candidate: Make) -> None:
    """Of two versions as new as each other, one wins today and tomorrow."""
    one, other = candidate("A", objet="x"), candidate("A", objet="y")
    best = max(one, other, key=order)
    for base in (None, stored(best)):
        for versions in ([one, other], [other, one]):
            settled = settle(base, versions)
            assert settled.fingerprint == best.received
            assert settled.record == best.record
    assert settle(stored(best), [one, other]).best == stored(best)
    # The other one alone is a correction.
    loser = min(one, other, key=order)
    assert settle(stored(best), [loser]).best is loser


def test_the_fuller_wins(candidate: Make) -> None:
    versions = [candidate("A", objet="x"), candidate("A", objet="x", ccag="y")]
    assert settle(None, versions).best.fields == 4


@pytest.mark.parametrize(
    "change", [{"regime": Regime.R2019}, {"type": ContractType.CONCESSION}], ids=str
)
def test_formats_are_not_merged(change: dict[str, Any], candidate: Make) -> None:
    base = stored(candidate("A", [1], **change))
    new = candidate("A", [2], objet="x")
    assert settle(base, [new]) == Settled(new, new.record, new.received)


VERSIONS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 4), max_size=3, unique=True).map(sorted),
        st.sampled_from(["2024-03-05", "2024-03-06"]),
        st.sampled_from("xy"),
    ),
    min_size=1,
    max_size=5,
)


@given(base=st.none() | VERSIONS.map(lambda found: found[0]), found=VERSIONS, data=st.data())
def test_no_order_of_arrival_counts(base: Any, found: Any, data: Any, candidate: Make) -> None:
    def make(version: Any) -> Candidate:
        numbers, day, objet = version
        return candidate("A", numbers, day=day, objet=objet)

    stands = None if base is None else stored(make(base))
    versions = [make(version) for version in found]
    settled = settle(stands, versions)
    again = settle(stands, data.draw(st.permutations(versions)))
    eligible = [
        c
        for c in versions
        if stands is None or c.rank >= stands.rank or c.received == stands.received
    ]
    older = [c for c in versions if c not in eligible]
    best = max(eligible, key=order, default=stands)
    # By definition: from the oldest to the newest, each takes over what it lacks.
    steps = [orjson.loads(v.record) for v in sorted(older, key=order)]
    others = [orjson.loads(v.record) for v in sorted(eligible, key=order) if v is not best]
    if stands is None:
        steps += [*others, orjson.loads(best.record)]
    elif best.received == stands.received:
        steps += [*others, orjson.loads(stands.record)]
    else:
        steps += [orjson.loads(stands.record), *others, orjson.loads(best.record)]
    record = steps[0]
    for step in steps[1:]:
        record = merge(record, step, ContractType.MARCHE, Regime.R2022)
    if not eligible and record == orjson.loads(stands.record):
        assert settled is again is None
        return
    assert (settled.record, settled.fingerprint) == (again.record, again.fingerprint)
    assert settled.best.received == best.received
    assert orjson.loads(settled.record) == record


def test_no_order_of_harvests_counts(candidate: Make) -> None:
    """From the newest to the oldest or the other way, one version a run: no modification is
    lost, and the newest says the rest."""
    found = [
        candidate("A", ids, day=f"2024-03-0{day}", objet=f"{day}")
        for day, ids in enumerate([(1,), (2,), (3, 4)], 1)
    ]
    for versions in permutations(found):
        base, known = None, set()
        for version in versions:
            settled = settle(base, [version], known)
            known.add(version.received)
            if settled is not None:
                own = getattr(settled.best, "own_record", settled.best.record)
                base = replace(
                    stored(settled.best),
                    record=settled.record,
                    own_record=own,
                    fingerprint=settled.fingerprint,
                )
        record = orjson.loads(base.record)
        assert (record["objet"], ids(settled or base)) == ("3", [1, 2, 3, 4])


def test_candidate() -> None:
    record = {
        "acheteur": {"id": "21350238800019"},
        "datePublicationDonnees": "2018-12-31+01:00",
        "montant": 12.0,
        "modifications": [{"datePublicationDonneesModification": "2019-02-01"}],
    }
    made = Candidate.of(
        "dume",
        "AIFEDUME-abcd0123",
        ContractType.MARCHE,
        Regime.R2019,
        record,
        b"{}",
        found="2019-02-01",
        repairs=[Repair("montant", "number", "12", 12)],
        warnings=[Problem("", "duplicate", "Réfection")],
    )
    assert made == Candidate(
        source="dume",
        reference="AIFEDUME-abcd0123",
        type=ContractType.MARCHE,
        regime=Regime.R2019,
        buyer="21350238800019",
        record=b'{"acheteur":{"id":"21350238800019"},"datePublicationDonnees":"2018-12-31+01:00",'
        b'"montant":12.0,"modifications":[{"datePublicationDonneesModification":"2019-02-01"}]}',
        raw=b"{}",
        published="2018-12-31",
        received=made.received,
        rank=Rank(1, "2019-02-01"),
        fields=4,
        found="2019-02-01",
        repairs='[{"path":"montant","rule":"number","before":"12","after":12}]',
        warnings='[{"path":"","rule":"duplicate","message":"Réfection"}]',
    )
    assert len(made.received) == 16


@pytest.mark.parametrize("reference", ["", "a\0b", "a\ud800b"])
def test_reference_that_cannot_be_kept(reference: str, candidate: Make) -> None:
    with pytest.raises(ValueError, match="a reference that cannot be kept: '"):
        candidate(reference, raw=b"{}")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("é", "é"), ("a\0b", "a\ufffdb"), ("a\ud800b", "a?b"), ("\U0001f600", "\U0001f600")],
)
def test_plain(text: str, expected: str) -> None:
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"a": "é"}], '[{"a":"é"}]'),
        # What orjson refuses: numbers beyond 64 bits, halves of surrogate pairs.
        ([10**30], "[1000000000000000000000000000000]"),
        (["\ud800"], '["\\ud800"]'),
    ],
)
def test_as_json(value: Any, expected: str) -> None:
    assert as_json(value) == expected
