"""What is installed: an egg, as scrapyd-deploy builds it, holds all that the code reads."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from crawling import ROOT

LOOK_INSIDE = """
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.decp.schema import record_schema
from dume_spider.boamp.notice import notice_schema
from dume_spider.dume.mapping import load_field_names
import dume_spider
assert ".egg" in dume_spider.__file__, dume_spider.__file__
assert record_schema(ContractType.MARCHE, Regime.R2022)["required"]
load_field_names()
assert notice_schema()["required"]
from scrapy.spiderloader import get_spider_loader
from scrapy.utils.project import get_project_settings
print(*get_spider_loader(get_project_settings()).list())
"""


@pytest.fixture(scope="module")
def egg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("egg")
    for name in ("setup.py", "pyproject.toml", "requirements.txt", "README.md", "scrapy.cfg"):
        shutil.copy(ROOT / name, work)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "dume_spider", work / "dume_spider", ignore=ignored)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_egg"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (egg,) = (work / "dist").glob("*.egg")
    return egg


def test_the_egg_holds_every_file_of_the_package_and_nothing_else(egg: Path) -> None:
    packed = {
        name
        for name in zipfile.ZipFile(egg).namelist()
        if name.startswith("dume_spider/") and "__pycache__" not in name and name[-1] != "/"
    }
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "dume_spider").rglob("*")
        if path.is_file() and path.suffix in (".py", ".json", ".toml", ".md")
    }
    assert packed == there


def test_the_egg_works_zipped(egg: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK_INSIDE],
        cwd=tmp_path,
        env={"PYTHONPATH": str(egg), "SCRAPY_SETTINGS_MODULE": "dume_spider.settings"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout.split() == ["boamp", "dume"]
