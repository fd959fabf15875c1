"""The commands in README.md and docs/: run here as they stand, or named with who runs them.

Those of a code block are run, in an empty folder, with the addresses of replicas in the
environment; those inside a sentence are read by the parsers of the commands only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from boamp_service import served
from crawling import ROOT
from logs import check
from portals import Portal
from publishing import make_file, resources
from scrapy.commands import ScrapyCommand
from scrapy.settings import Settings
from scrapy.spiderloader import SpiderLoader
from scrapy.utils.misc import load_object

from dume_spider.commands.sandbox import _EPILOG
from dume_spider.sandbox.boamp_rows import generate_notices
from dume_spider.spiders.base import today

PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
SETTINGS = Settings()
SETTINGS.setmodule("dume_spider.settings")
SPIDERS = SpiderLoader.from_settings(SETTINGS)

HERE = Path(__file__).name
CI = ".ci/run, as it stands: it needs a package index"
SCRAPYD = "test_scrapyd.py"
#: By the page and the beginning of a command (or of what is none), who runs it.
RUN_BY = {
    ("README.md", "python3 -m venv .venv && "): CI,
    ("README.md", ".venv/bin/scrapy crawl dume -a date=2024-03-01"): HERE,
    ("README.md", ".venv/bin/scrapy crawl boamp -a date="): HERE,
    ("docs/deployment.md", "30 5 * * * cd /srv/dume/dume_spider"): HERE,
    ("docs/deployment.md", "python3 -m venv /srv/dume/venv"): "nobody: a set-up of the machine",
    ("docs/deployment.md", "/srv/dume/venv/bin/pip install "): "nobody: a set-up of the machine",
    ("docs/deployment.md", "[scrapyd]"): SCRAPYD,
    ("docs/deployment.md", "bind_address = "): SCRAPYD,
    ("docs/deployment.md", "jobs_to_keep = "): SCRAPYD,
    ("docs/deployment.md", "cd /srv/dume"): SCRAPYD,
    ("docs/deployment.md", "export DECP_"): SCRAPYD,
    ("docs/deployment.md", "export DATAGOUV_API_KEY="): SCRAPYD,
    ("docs/deployment.md", "venv/bin/scrapyd"): SCRAPYD,
    ("docs/deployment.md", "/srv/dume/venv/bin/scrapyd-deploy"): SCRAPYD,
    ("docs/deployment.md", "30 5 * * * curl "): SCRAPYD,
    ("docs/deployment.md", "45 5 * * * curl "): SCRAPYD,
    ("docs/deployment.md", "30 7 * * * curl "): SCRAPYD,
    ("docs/deployment.md", "for i in 1 2 3 4; do"): "test_deployment.py",
    ("docs/deployment.md", "  scrapy crawl dume -a date_start="): "test_deployment.py",
    ("docs/deployment.md", "done"): "test_deployment.py",
    ("docs/deployment.md", "scrapy export --wait-for-shards 4"): "test_deployment.py",
    ("docs/deployment.md", "pip install shub"): "nobody: it needs an account",
    ("docs/deployment.md", "shub deploy PROJECT-ID"): "nobody: it needs an account",
    ("docs/deployment.md", "project.jobs.run("): "nobody: it needs an account",
    ("docs/deployment.md", "scrapy crawl dume -a date=2026-03-01 -s SCHEDULER="): "test_redis.py",
    (
        "docs/deployment.md",
        "docker ",
    ): ".ci/container.py carries the Dockerfile out, without docker",
    ("docs/performance.md", ".venv/bin/python -m bench"): "test_bench.py",
    ("docs/logs.md", "grep "): HERE,
    ("docs/logs.md", "Counts: "): "nobody: a log",
    ("docs/logs.md", "Files: "): "nobody: a log",
    ("docs/reference.md", "scrapy crawl publish -a create=true "): HERE,
    ("docs/reference.md", "scrapy sandbox --dume-port "): HERE,
    ("docs/reference.md", "export DUME_API_URL="): HERE,
    ("docs/reference.md", "scrapy crawl dume -a date="): HERE,
    ("docs/reference.md", "scrapy report --open"): HERE,
}


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page: str) -> list[str]:
    """The lines of the page's code blocks, those that end with a backslash joined."""
    found: list[str] = []
    for block in re.findall(r"(?<=\n\n)((?:    .*\n)+)", text_of(page)):
        joined = re.sub(r" *\\\n *", " ", textwrap.dedent(block))
        found += joined.splitlines()
    return found


def command(page: str, start: str) -> str:
    """The one command that begins so."""
    (found,) = [line for line in commands(page) if line.startswith(start)]
    return found


@pytest.mark.parametrize("page", PAGES)
def test_it_is_known_who_runs_each_command(page: str) -> None:
    for line in commands(page):
        runners = {
            by for (of, start), by in RUN_BY.items() if of == page and line.startswith(start)
        }
        assert len(runners) == 1, line
        (by,) = runners
        if by.endswith(".py"):
            assert len(list((ROOT / "tests").rglob(by))) == 1, by
    for of, start in RUN_BY:
        if of == page:
            assert any(line.startswith(start) for line in commands(page)), start


def test_ci_runs_the_set_up_of_the_readme() -> None:
    (pattern,) = re.findall(r"sed -n 's/(.*)/\\1/p' README.md", (ROOT / ".ci/run").read_text())
    read = re.compile(pattern.replace(r"\(", "(").replace(r"\)", ")"), re.MULTILINE)
    starts = [start for (page, start), by in RUN_BY.items() if (page, by) == ("README.md", CI)]
    lines = [line for line in commands("README.md") if line.startswith(tuple(starts))]
    assert read.findall(text_of("README.md")) == lines
    assert len(lines) == 2


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command as it stands in a page, in an empty folder."""
    programs = tmp_path / ".venv" / "bin"
    programs.parent.mkdir()
    programs.symlink_to(Path(sys.executable).parent)

    def run(line: str, status: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ
            | {
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT),
                "PYTHONWARNINGS": "error",
                "SCRAPY_SETTINGS_MODULE": "dume_spider.settings",
            }
            | environment,
        )
        assert done.returncode == status, done.stderr
        check(done.stderr)
        return done

    return run


def summary_in(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("data/runs/*/summary.json")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_harvest_of_the_readme_and_the_look_into_its_log(
    start_sandbox: Callable[..., Any], shell: Callable[..., Any], tmp_path: Path
) -> None:
    line = command("README.md", ".venv/bin/scrapy crawl dume")
    day = re.findall(r"date=(\S+)", line)[0]
    sandbox = start_sandbox("--records", 20, "--from", day, "--to", day)
    done = shell(line, DUME_API_URL=sandbox.url)
    summary = summary_in(tmp_path)
    assert (summary["status"], summary["counts"]["references"]) == ("complete", 20)
    assert {path.name for path in (tmp_path / "data/decp").iterdir()} == {
        each["name"] for each in summary["files"]
    }
    counts, files, last = done.stderr.splitlines()[-3:]
    assert "INFO: Counts: " in counts
    assert f"INFO: Files: {len(summary['files'])} in data/decp: DECP-" in files
    assert last.endswith(
        f"INFO: Run {summary['run']} is complete: data/runs/{summary['run']}/summary.json"
    )

    # Of a log that has something to show: the service is gone.
    lost = shell(f"{line} -s RETRY_TIMES=0", 3, DUME_API_URL="http://127.0.0.1:9/")
    (tmp_path / "run.log").write_text(lost.stderr, encoding="utf-8")
    lines, codes = (each for each in commands("docs/logs.md") if each.startswith("grep "))
    assert [each.split("] ")[1] for each in shell(lines).stdout.splitlines()] == [
        "WARNING: [DUME-02",
        "WARNING: [DECP-11",
    ]
    assert shell(codes).stdout.split() == ["1", "[DECP-11]", "1", "[DUME-02]"]
    # The last line ends with the command that does what is missing.
    again = lost.stderr.splitlines()[-1].rpartition(", with the same settings: ")[2]
    assert f".venv/bin/{again}" == line
    assert "is complete" in shell(again, DUME_API_URL=sandbox.url).stderr


@pytest.mark.slow
def test_the_notices_of_the_readme(shell: Callable[..., Any], tmp_path: Path) -> None:
    line = command("README.md", ".venv/bin/scrapy crawl boamp")
    day = date.fromisoformat(re.findall(r"date=(\S+)", line)[0])
    rows = [{**row, "nature": "ATTRIBUTION"} for row in generate_notices(9, 1, day, day)]
    with served(rows) as service:
        shell(line, BOAMP_API_URL=service.url, DOWNLOAD_DELAY="0")
    assert len((tmp_path / "notices.jsonl").read_bytes().splitlines()) == 9
    assert summary_in(tmp_path)["status"] == "complete"


def publication_of_the_help() -> str:
    """The command in the help of ``scrapy sandbox``, for a buyer without a data set."""
    (line,) = re.findall(r"scrapy crawl publish .*?/api/1", _EPILOG)
    address = "http://127.0.0.1:8200/api/1"
    return line.replace(f" -s DATAGOUV_API_URL={address}", "").replace("SIRET", "21690123100011")


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [command("docs/reference.md", "scrapy crawl publish"), publication_of_the_help()],
    ids=["reference", "help"],
)
def test_a_publication_as_it_is_told(
    line: str, portal_of: Callable[[str], Portal], shell: Callable[..., Any], tmp_path: Path
) -> None:
    portal = portal_of("replica")
    siret = re.findall(r"siret=(\d+)", line)[0]
    organization = re.findall(r"organization=(\w+)", line)[0]
    made = [make_file(tmp_path / "data" / "decp", number, siret=siret) for number in (1, 2)]
    shell(
        line.replace(organization, portal.organization),
        DATAGOUV_API_URL=portal.url,
        DATAGOUV_API_KEY=portal.keys["owner"],
        DOWNLOAD_DELAY="0",
    )
    published = summary_in(tmp_path)["published"]
    assert published[0]["action"] == "created"
    assert resources(portal, published[0]["dataset"]).keys() == {path.name for path in made}


@pytest.mark.slow
def test_the_trial_of_the_reference(
    start_sandbox: Callable[..., Any], shell: Callable[..., Any], tmp_path: Path
) -> None:
    starts = ("scrapy sandbox", "export DUME_API_URL=", "scrapy crawl dume", "scrapy report")
    serving, address, harvest, report = (command("docs/reference.md", each) for each in starts)
    _, _, *options = shlex.split(serving)
    options[options.index("--dume-port") + 1] = "0"
    port = urlsplit(start_sandbox(*options).url).port
    shell(f"{address.replace(':8100/', f':{port}/')}; {harvest} -s DOWNLOAD_DELAY=0")
    summary = summary_in(tmp_path)
    assert summary["status"] == "complete"
    assert summary["counts"]["written"] > 10
    shell(report.removesuffix(" --open"))
    assert len(list(tmp_path.glob("data/report/*.html"))) == 1


@pytest.mark.slow
def test_the_crontab(
    start_sandbox: Callable[..., Any], shell: Callable[..., Any], tmp_path: Path
) -> None:
    line = command("docs/deployment.md", "30 5 * * * cd ").split(" * * * ")[1]
    # As cron reads it: a percent sign that is not escaped ends the command.
    assert re.search(r"(?<!\\)%", line) is None
    line = line.replace("\\%", "%").replace("/srv/dume/dume_spider", ".")
    line = line.replace("/srv/dume", str(tmp_path))
    (tmp_path / "log").mkdir()
    yesterday = today() - timedelta(days=1)
    sandbox = start_sandbox("--records", 5, "--from", yesterday, "--to", yesterday)
    done = shell(line, DUME_API_URL=sandbox.url)
    assert (done.stdout, done.stderr) == ("", "")
    assert summary_in(tmp_path)["counts"]["references"] == 5
    # Cron mails what is printed: nothing above, here what went wrong.
    mailed = shell(line, DECP_RULES="{")
    assert "[DECP-01] DECP_RULES" in mailed.stdout + mailed.stderr
    lost = shell(
        line.replace("crawl dume", "crawl dume -s RETRY_TIMES=0"),
        DUME_API_URL="http://127.0.0.1:9/",
    ).stdout.splitlines()
    assert "[DUME-02]" in lost[-2]
    # A night may have passed since the first.
    days = {yesterday, today() - timedelta(days=1)}
    assert any(f"scrapy crawl dume -a date={day}" in lost[-1] for day in days)


def inline(page: str) -> list[str]:
    """The commands inside sentences and tables: ``scrapy`` with more than one word."""
    spans = re.findall(r"`([^`]+)`", re.sub(r"^    .*$", "", text_of(page), flags=re.MULTILINE))
    found = [" ".join(span.split()) for span in spans]
    return [span for span in found if re.match(r"scrapy \w+(?! *:)", span) and "[" not in span]


@pytest.mark.parametrize(
    "line", sorted({line for page in PAGES for line in inline(page)}), ids=lambda line: line
)
def test_commands_inside_sentences_name_what_exists(line: str) -> None:
    """Not run: the command, its options, the spider, its arguments, the settings."""
    _, name, *words = shlex.split(line.replace("…", ""))
    command = load_object(f"dume_spider.commands.{name}.Command")()
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--help", action="store_true")
    command.settings = SETTINGS.copy()
    command.add_options(parser)
    if words[-1:] == ["--run"]:
        words.append("RUN")  # named as an option, without its value
    if "--wait-for-shards" in words:
        words = [re.sub("^N$", "4", word) for word in words]
        words += ["4"] if words[-1] == "--wait-for-shards" else []
    options, positional = parser.parse_known_args(words)
    assert [word for word in positional if word.startswith("-")] == []
    for setting in options.set:
        assert setting.partition("=")[0] in SETTINGS, setting
    if name == "crawl" and positional:
        (spider,) = positional
        arguments = SPIDERS.load(spider).arguments
        assert {each.partition("=")[0] for each in options.spargs} <= arguments.keys()


def test_some_commands_are_found() -> None:
    assert len({line for page in PAGES for line in inline(page)}) > 15
    assert len([line for page in PAGES for line in commands(page)]) > 25


@pytest.mark.parametrize("name", ["demo", "export", "reprocess", "report", "sandbox", "verify"])
def test_no_option_is_taken_for_a_heading_of_the_help(name: str) -> None:
    """Scrapy makes one of every line of it that ends in a colon, wherever it was wrapped."""
    command = load_object(f"dume_spider.commands.{name}.Command")()
    command.settings = SETTINGS
    parser, scrapys = argparse.ArgumentParser(), argparse.ArgumentParser(conflict_handler="resolve")
    command.add_options(parser)
    ScrapyCommand.add_options(command, scrapys)
    known = {each.dest for each in scrapys._actions}
    texts = [each.help for each in parser._actions if each.dest not in known]
    assert [text for text in texts if ": " in text] == []
