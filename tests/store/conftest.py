"""A store on each engine: SQLite, and PostgreSQL from a server of the tests' own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import orjson
import pytest

from dume_spider.decp.regime import BUYER_FIELD, ContractType, Regime
from dume_spider.store.store import Candidate, Store

_numbers = count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def new_store_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], str]]:
    """A maker of URLs of stores that do not exist yet, on one engine."""
    if request.param == "sqlite":
        folder = tmp_path_factory.mktemp("store")
        yield lambda: f"sqlite:///{folder}/{next(_numbers)}.sqlite"
        return
    yield request.getfixturevalue("new_schema")


@pytest.fixture
def store_url(new_store_url: Callable[[], str]) -> str:
    """The URL of a store that does not exist yet."""
    return new_store_url()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A new store in which the run ``run`` has begun."""
    store = Store(store_url)
    store.begin_run("run", "dume", {}, datetime(2024, 3, 1, tzinfo=UTC))
    yield store
    store.close()


@pytest.fixture(scope="session")
def candidate() -> Callable[..., Candidate]:
    """A maker of candidates: a short 2022 record with modifications of the given ids."""

    def make(
        reference: str,
        modifications: Iterable[int] = (),
        *,
        day: str = "2024-03-05",
        type: ContractType = ContractType.MARCHE,
        regime: Regime = Regime.R2022,
        buyer: str = "21350238800019",
        source: str = "dume",
        raw: bytes | None = None,
        **fields: Any,
    ) -> Candidate:
        record = {BUYER_FIELD[type]: {"id": buyer}, "datePublicationDonnees": day, **fields}
        entries = [
            {"id": number, "datePublicationDonneesModification": "2024-04-01"}
            for number in modifications
        ]
        if entries and regime is Regime.R2022:
            record["modifications"] = [{"modification": entry} for entry in entries]
        elif regime is Regime.R2019:
            record["modifications"] = entries
        raw = raw or orjson.dumps({"referenceUnique": reference, "record": record})
        return Candidate.of(source, reference, type, regime, record, raw)

    return make
