"""The spiders as platforms run them: a job of each, against replicas."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from portals import Portal
from publishing import new_siret, resources

NONE: Mapping[str, str] = {}
DAYS = {"date_start": "2026-03-01", "date_end": "2026-03-10"}
KEY = "DATAGOUV_API_KEY"
RECORDS, NOTICES = 60, 40
#: The platform whose files are published.
SIRET = new_siret()
#: What every job needs: ``scrapy sandbox`` with these options.
SANDBOX = (
    *("--from", DAYS["date_start"], "--to", DAYS["date_end"], "--records", RECORDS),
    *("--boamp-port", 0, "--boamp-records", NOTICES, "--datagouv-port", 0),
)
#: Which setting gets which address of the sandbox's first line.
ADDRESSES = {"DUME_API_URL": "dume", "BOAMP_API_URL": "boamp", "DATAGOUV_API_URL": "datagouv"}


@dataclass(frozen=True)
class Job:
    """A job of a spider.

    ``{folder}`` and ``{organization}`` in its arguments stand for the job's folder and for the
    organization of the sandbox that publishes. ``after`` is a job that has to run before, in
    the same folder. Of those that yield items, ``keys`` are some that each item has, and
    ``key`` is the one that tells them apart.
    """

    spider: str
    given: Mapping[str, str]
    further: Mapping[str, str] = field(default_factory=dict)
    after: Job | None = None
    key: str = ""
    keys: frozenset[str] = frozenset()

    def arguments(self, sandbox: Any, folder: Path) -> dict[str, str]:
        """Its arguments, as a platform is given them."""
        known = {"folder": folder, "organization": portal(sandbox).organization}
        return {name: text.format(**known) for name, text in self.given.items()}

    def settings(self, sandbox: Any, folder: Path) -> dict[str, str]:
        """The settings that a platform is given: everything absolute, below ``folder``."""
        return {
            **{setting: sandbox.ready[name] for setting, name in ADDRESSES.items()},
            "DECP_FILES_URI": str(folder / "decp"),
            "DECP_STORE_URL": f"sqlite:///{folder}/store.sqlite",
            "DECP_RUNS_DIR": str(folder / "runs"),
            "DOWNLOAD_DELAY": "0",
            **self.further,
        }

    def command(self, sandbox: Any, folder: Path, settings: Mapping[str, str] = NONE) -> list[str]:
        """The command of ``scrapy crawl``, with further settings."""
        command = [sys.executable, "-m", "scrapy", "crawl", self.spider]
        for name, value in self.arguments(sandbox, folder).items():
            command += ["-a", f"{name}={value}"]
        for name, value in (self.settings(sandbox, folder) | settings).items():
            command += ["-s", f"{name}={value}"]
        return command

    def steps(self) -> Iterator[Job]:
        """The jobs to run, in their order; the last is this one."""
        if self.after is not None:
            yield from self.after.steps()
        yield self

    def summary(self, folder: Path) -> dict[str, Any]:
        """The summary of its one run in ``folder``."""
        (path,) = (folder / "runs").glob(f"{self.spider}-*/summary.json")
        return json.loads(path.read_text(encoding="utf-8"))


def portal(sandbox: Any) -> Portal:
    """The portal of the sandbox."""
    known = {name: sandbox.ready[f"datagouv_{name}"] for name in _KNOWN}
    return Portal("replica", sandbox.ready["datagouv"], further=NotImplemented, **known)


_KNOWN = ("keys", "organization", "other_organization")


def check_published(sandbox: Any, summary: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Hold what a publication says and what the portal has against ``files``, sha1 by name."""
    (dataset,) = {each["dataset"] for each in summary["published"]}
    assert files
    assert {
        title: each["checksum"]["value"]
        for title, each in resources(portal(sandbox), dataset).items()
    } == files
    published = {each["file"]: each["sha1"] for each in summary["published"] if each["file"]}
    assert published == files


def look_for_key(key: str, folder: Path, text: str = "") -> None:
    """Fail if a key stands in ``text``, or in a file in ``folder``."""
    assert key not in text
    for path in folder.rglob("*"):
        if path.is_file():
            assert key.encode() not in path.read_bytes(), path


DUME = Job(
    "dume",
    DAYS,
    # Files of one SIRET, as a data set has them.
    {"DECP_STRUCTURE": "plateforme", "DECP_PLATFORM_SIRET": SIRET},
    key="reference",
    keys=frozenset({"reference", "type", "regime", "record"}),
)
BOAMP = Job(
    "boamp",
    DAYS | {"nature": "all"},
    key="idweb",
    keys=frozenset({"idweb", "dateparution", "donnees", "donnees_raw", "links", "awards"}),
)
PUBLISH = Job(
    "publish",
    {
        "files": "{folder}/decp/*.json",
        "create": "true",
        "structure": "plateforme",
        "siret": SIRET,
        "structure_name": "Essai",
        "organization": "{organization}",
    },
    after=DUME,
)
#: One job of each spider that platforms run.
JOBS = [DUME, BOAMP, PUBLISH]
