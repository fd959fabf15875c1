"""The two regimes of the essential data, and which one a contract falls under.

Contracts notified (marchés) or signed (concessions) until 31 December 2023 follow the
format of 2019 (schema 1.5.0); those notified or concluded from 1 January 2024 on follow
the format of 2022 (schema 2.0.4). Source: README of the official repository of the
format, which states the dates of application of the arrêtés of 22 December 2022.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum


class ContractType(StrEnum):
    """The two kinds of contract, by the codes of the DUME service (``typeDE``)."""

    MARCHE = "MP"
    CONCESSION = "CC"

    # As keys they are their texts: by default an enumeration hashes its name, in Python.
    __hash__ = str.__hash__


class Regime(StrEnum):
    """The year of the arrêté that rules the format of a record."""

    R2019 = "2019"
    R2022 = "2022"

    __hash__ = str.__hash__


FIRST_DAY_OF_2022_REGIME = date(2024, 1, 1)

#: The field whose date decides the regime.
DECIDING_DATE = {
    ContractType.MARCHE: "dateNotification",
    ContractType.CONCESSION: "dateSignature",
}

#: The field that holds the buyer, whose SIRET names the file.
BUYER_FIELD = {
    ContractType.MARCHE: "acheteur",
    ContractType.CONCESSION: "autoriteConcedante",
}


def regime_of(day: date) -> Regime:
    """The regime of a contract notified or signed on ``day``."""
    return Regime.R2019 if day < FIRST_DAY_OF_2022_REGIME else Regime.R2022
