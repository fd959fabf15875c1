"""The spiders as platforms run them: a job of each, against a replica."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NONE: Mapping[str, str] = {}


@dataclass(frozen=True)
class Job:
    """A job of a spider: its arguments, the options of its sandbox, and which setting gets
    which address of the sandbox's first line."""

    spider: str
    arguments: Mapping[str, str]
    sandbox: tuple[object, ...]
    addresses: Mapping[str, str]

    def settings(self, sandbox: Any, folder: Path) -> dict[str, str]:
        """The settings that a platform is given: everything absolute, below ``folder``."""
        return {
            **{setting: sandbox.ready[name] for setting, name in self.addresses.items()},
            "DECP_FILES_URI": str(folder / "decp"),
            "DECP_STORE_URL": f"sqlite:///{folder}/store.sqlite",
            "DECP_RUNS_DIR": str(folder / "runs"),
            "DOWNLOAD_DELAY": "0",
        }

    def command(self, sandbox: Any, folder: Path, settings: Mapping[str, str] = NONE) -> list[str]:
        """The command of ``scrapy crawl``, with further settings."""
        command = [sys.executable, "-m", "scrapy", "crawl", self.spider]
        for name, value in self.arguments.items():
            command += ["-a", f"{name}={value}"]
        for name, value in (self.settings(sandbox, folder) | settings).items():
            command += ["-s", f"{name}={value}"]
        return command

    @staticmethod
    def summary(folder: Path) -> dict[str, Any]:
        """The summary of the one run in ``folder``."""
        (path,) = (folder / "runs").glob("*/summary.json")
        return json.loads(path.read_text(encoding="utf-8"))


#: One line for each spider that platforms run.
JOBS = [
    Job(
        "dume",
        {"date_start": "2026-03-01", "date_end": "2026-03-10"},
        ("--records", 60, "--from", "2026-03-01", "--to", "2026-03-10"),
        {"DUME_API_URL": "dume"},
    ),
]
BY_SPIDER = {job.spider: job for job in JOBS}
