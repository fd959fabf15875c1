"""The faults of the replicas: the same for the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from dume_spider.sandbox.server import FAULTS, Faults


def draws(faults: Faults, count: int) -> list[str | None]:
    return [faults.draw() for _ in range(count)]


def test_faults_follow_the_seed():
    first = draws(Faults(1, 0.05), 4000)
    assert first == draws(Faults(1, 0.05), 4000)
    assert first != draws(Faults(2, 0.05), 4000)
    counts = Counter(first)
    assert counts.keys() == {None, *FAULTS}
    assert 150 < 4000 - counts[None] < 250


@pytest.mark.parametrize(
    ("rate", "down_after", "expected"),
    [
        (0.0, None, [None, None, None, None]),
        (0.0, 3, [None, None, "down", "down"]),
        (0.0, 1, ["down", "down", "down", "down"]),
    ],
)
def test_when_it_fails(rate, down_after, expected):
    assert draws(Faults(0, rate, down_after), 4) == expected


def test_everything_fails():
    assert None not in draws(Faults(0, 1.0), 500)
