"""What is asked of the DUME service: the filters of its search form and its payload.

Source: the request that the search page of the DUME web site sends, as known from the
public client dume_api 0.1.0 (operation ``recupererDEV2``, fixed identifiers of the web
site). No official page documents this door.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any

from dume_spider.decp.regime import ContractType

#: An answer never holds more rows; one that holds as many may have been cut.
CAP = 100

#: Sent with every request; without it the service's behaviour is unknown.
API_VERSION_HEADERS = {"X-Api-Version": "2", "Content-Type": "application/json"}

_OPERATION = "recupererDEV2"

#: The name of the buyer's and of the winner's filter depends on the type of contract.
_PARTY_FILTERS = {
    ContractType.MARCHE: ("idAcheteur", "idTitulaire"),
    ContractType.CONCESSION: ("idAutoriteConcedante", "idConcessionnaire"),
}


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks: the platform and the requester that the service wants in every request.

    They come from the settings ``DUME_PLATFORM_ID``, ``DUME_PLATFORM_TECHNICAL_ID``,
    ``DUME_REQUESTER_ID`` and ``DUME_REQUESTER_NAME``, whose defaults are the placeholders
    that the public web site sends.
    """

    platform_id: str
    platform_technical_id: str
    requester_id: str
    requester_name: str


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """One search: every filter of the search form, ``None`` where it is not set.

    ``date_start`` and ``date_end`` bound the publication date, both days included.
    ``reference`` is the service's key of a record (``referenceUnique``), ``internal_id``
    the buyer's own number. ``nature`` and ``procedure`` are exact labels, ``cpv_code`` a
    full code. ``acheteur_id`` and ``titulaire_id`` are SIRETs; their name in the request
    follows the type, so a query that has one of them needs ``type_de`` (see :meth:`typed`).
    """

    date_start: date | None = None
    date_end: date | None = None
    type_de: ContractType | None = None
    procedure: str | None = None
    nature: str | None = None
    cpv_code: str | None = None
    acheteur_id: str | None = None
    titulaire_id: str | None = None
    internal_id: str | None = None
    reference: str | None = None

    def typed(self) -> tuple[SearchQuery, ...]:
        """The queries to send for this one: itself, or one per type of contract.

        The service has two names for the buyer's and for the winner's filter, one per
        type; without a type both are asked.
        """
        if self.type_de is None and (self.acheteur_id or self.titulaire_id):
            return self.by_type()
        return (self,)

    def by_type(self) -> tuple[SearchQuery, ...]:
        """This query once per type of contract. Only for a query without a type."""
        return tuple(replace(self, type_de=type_de) for type_de in ContractType)

    def filters(self) -> dict[str, str]:
        """The filters that are set, by their argument names, as text for a person."""
        return {
            field.name: str(value)
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }

    @classmethod
    def of_filters(cls, filters: Mapping[str, str]) -> SearchQuery:
        """The query that :meth:`filters` describes: plain values, as a request can keep them."""
        read: dict[str, Callable[[str], Any]] = {
            "date_start": date.fromisoformat,
            "date_end": date.fromisoformat,
            "type_de": ContractType,
        }
        return cls(**{name: read.get(name, str)(text) for name, text in filters.items()})

    def payload(self, requester: Requester) -> dict[str, Any]:
        """The JSON body of the request.

        Raises ``ValueError`` for a buyer or winner without a type: see :meth:`typed`.
        """
        body: dict[str, Any] = {
            "operation": _OPERATION,
            "plateforme": {
                "idPlateforme": requester.platform_id,
                "idTechniquePlateforme": requester.platform_technical_id,
            },
            "idDemandeur": requester.requester_id,
            "rsDemandeur": requester.requester_name,
        }
        acheteur_key = titulaire_key = ""
        if self.acheteur_id or self.titulaire_id:
            if self.type_de is None:
                raise ValueError("a query by acheteur or titulaire needs a type_de")
            acheteur_key, titulaire_key = _PARTY_FILTERS[self.type_de]
        named = {
            "dateDebutPublication": self.date_start and self.date_start.isoformat(),
            "dateFinPublication": self.date_end and self.date_end.isoformat(),
            "referenceUnique": self.reference,
            "id": self.internal_id,
            "typeDE": self.type_de and self.type_de.value,
            "nature": self.nature,
            "procedure": self.procedure,
            "codeCPV": self.cpv_code,
            acheteur_key: self.acheteur_id,
            titulaire_key: self.titulaire_id,
        }
        body.update({name: value for name, value in named.items() if value is not None})
        return body
