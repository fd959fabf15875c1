"""How DECP data sets and their files are to appear on data.gouv.fr: the publication guide.

Source: the guide of publication of the essential data on data.gouv.fr. Where its text and the
portal differ, the portal is followed: ``filetype`` is ``file`` or ``remote`` there, and the
guide's ``xml`` or ``json`` stands in ``format``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, get_args

from dume_spider.decp.filename import FORMATS, Format

#: One data set per platform (files named by its SIRET) or per buyer (by the buyer's).
Structure = Literal["acheteur", "plateforme"]
STRUCTURES: tuple[Structure, ...] = get_args(Structure)

#: The guide asks for ``fr-lo``, which is version 1 of the Licence Ouverte; ``lov2`` is
#: version 2.0. The portal takes any other text for "not specified", without a word.
LICENSES = ("fr-lo", "lov2")

TAGS = ("données-essentielles", "commande-publique")

#: The ids of frequencies that the portal takes (udata 17).
FREQUENCIES = tuple(
    """
    continuous oneMinute fiveMinutes tenMinutes fifteenMinutes thirtyMinutes hourly bihourly
    trihourly twelveHours severalTimesADay threeTimesADay semidaily daily fiveTimesAWeek
    threeTimesAWeek semiweekly weekly biweekly threeTimesAMonth semimonthly monthly bimonthly
    quarterly threeTimesAYear semiannual annual biennial triennial quadrennial quinquennial
    decennial bidecennial tridecennial punctual irregular never notPlanned other unknown
    """.split()  # noqa: SIM905 - forty words
)

#: The type of a resource that holds data, as opposed to documentation.
RESOURCE_TYPE = "main"

#: The media types of a format; the first one is set where we can.
MEDIA_TYPES: Mapping[Format, tuple[str, ...]] = {
    "json": ("application/json",),
    "xml": ("application/xml", "text/xml"),
}

#: Characters of a title that the portal takes.
LONGEST_TITLE = 350

_TITLE = "Données essentielles des marchés publics - {name}"

_DESCRIPTION = """\
Données essentielles de la commande publique (marchés publics et contrats de concession) {of}, \
SIRET {siret}.

## Contexte

Tout acheteur public publie les données essentielles de ses contrats : objet, montant, durée, \
procédure, titulaires, modifications. C'est ce que demandent le code de la commande publique et \
les arrêtés du 22 décembre 2022 (contrats conclus depuis le 1er janvier 2024) ; avant eux, \
l'arrêté du 22 mars 2019.

## Contenu

Chaque ressource est un fichier au format réglementaire, nommé \
`DECP-{{SIRET}}-{{année}}-{{mois}}-{{jour}}-{{numéro}}.json` (ou `.xml`) : le SIRET est celui \
{whose}, la date celle de la publication, le numéro celui du fichier dans la journée. Un fichier \
contient les contrats nouveaux ou modifiés depuis le précédent ; le dernier état publié d'un \
contrat fait foi.

## Liens

* [Format réglementaire et schémas](https://github.com/139bercy/format-commande-publique)
* [Le format sur schema.data.gouv.fr](https://schema.data.gouv.fr/139bercy/format-commande-publique/)
* [Documentation de la collecte](https://139bercy.github.io/decp-docs/)
"""

_OF: Mapping[Structure, tuple[str, str]] = {
    "acheteur": ("de l'acheteur {name}", "de l'acheteur"),
    "plateforme": ("publiées par la plateforme {name} pour ses acheteurs", "de la plateforme"),
}


@dataclass(frozen=True, slots=True)
class DecpDataset:
    """A data set of DECP files as the guide wants it.

    ``siret`` and ``name`` are those of the buyer or of the platform, by ``structure``;
    ``license`` and ``frequency`` are ids of the portal.
    """

    structure: Structure
    siret: str
    name: str
    license: str
    frequency: str

    @property
    def title(self) -> str:
        """The title that the guide gives, the same for both structures."""
        return _TITLE.format(name=self.name)

    @property
    def description(self) -> str:
        """What the data are and where their format is described; Markdown."""
        of, whose = _OF[self.structure]
        return _DESCRIPTION.format(of=of.format(name=self.name), siret=self.siret, whose=whose)

    @property
    def extras(self) -> dict[str, str]:
        """``siret`` for a buyer, nothing for a platform."""
        return {"siret": self.siret} if self.structure == "acheteur" else {}

    def is_meant_by(self, found: Mapping[str, Any]) -> bool:
        """Whether a data set of the same organization is this one, whatever was changed in it
        since: a buyer's has its SIRET, and the guide's tag or the title; any other has the
        title."""
        siret = (found["extras"] or {}).get("siret")
        has_title = found["title"] == self.title
        if siret is None:
            return has_title
        tags = {slug(tag) for tag in found["tags"] or ()}
        return self.extras.get("siret") == siret and (has_title or slug(TAGS[0]) in tags)

    def metadata(self) -> dict[str, Any]:
        """The fields of the data set, as the API takes them."""
        return {
            "title": self.title,
            "description": self.description,
            "tags": list(TAGS),
            "extras": self.extras,
            "license": self.license,
            "frequency": self.frequency,
        }


def resource_metadata(title: str, format: Format) -> dict[str, Any]:
    """The fields of a resource, as the API takes them: ``title`` is the name of its file.

    Of a file that the portal hosts it sets format and mime itself, and ignores ours.
    """
    return {
        "title": title,
        "type": RESOURCE_TYPE,
        "format": format,
        "mime": MEDIA_TYPES[format][0],
    }


def name_of(title: str) -> str:
    """The name in a title that is by the guide; empty if it is not."""
    start = _TITLE.format(name="")
    return title.removeprefix(start).strip() if title.startswith(start) else ""


def format_of(name: str) -> Format:
    """The format of a file by the end of its name. Raises ``ValueError`` if it is none."""
    end = PurePosixPath(name.lower()).suffix
    for format in FORMATS:
        if end == f".{format}":
            return format
    raise ValueError(f"{name!r} is no DECP file; accepted: {' or '.join(FORMATS)}")


def resource_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """In what a resource differs from the fields ``wanted``, as texts; empty if in nothing.

    ``checksum`` is compared as the portal gives it; a media type may be any of its format.
    """
    alike = MEDIA_TYPES.get(wanted.get("format"), ())
    return [
        _difference(name, found.get(name), value)
        for name, value in wanted.items()
        if found.get(name) != value and not (name == "mime" and found.get(name) in alike)
    ]


def dataset_differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """In what a data set differs from the fields ``wanted``, as texts; empty if in nothing.

    Further tags and extras are no difference, nor what the portal makes of the tags.
    """
    differences = []
    for name, value in wanted.items():
        there = found.get(name)
        if name == "tags":
            same = {slug(tag) for tag in value} <= {slug(tag) for tag in there or ()}
        elif name == "extras":
            same = value.items() <= (there or {}).items()
        elif name == "organization":
            same = (there or {}).get("id") == value
        elif name == "description":
            same = (there or "").split() == value.split()
        else:
            same = there == value
        if not same:
            differences.append(_difference(name, there, value))
    return differences


def with_tags(tags: Iterable[str]) -> list[str]:
    """Tags, with those of the guide that are missing."""
    known = list(tags)
    slugs = {slug(tag) for tag in known}
    return known + [tag for tag in TAGS if slug(tag) not in slugs]


def slug(tag: str) -> str:
    """A tag as the portal keeps it: lower case, without accents, words joined by hyphens."""
    plain = unicodedata.normalize("NFKD", tag).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")


def _difference(name: str, found: Any, wanted: Any) -> str:
    shown = [repr(value) if len(repr(value)) <= 80 else "…" for value in (found, wanted)]
    return f"{name} is {shown[0]} instead of {shown[1]}"
