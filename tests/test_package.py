"""What is installed: an egg, as scrapyd-deploy builds it, holds all that the code reads."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

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
from dume_spider.report.page import make_environment
make_environment().get_template("report.html")
from scrapy.spiderloader import get_spider_loader
from scrapy.utils.project import get_project_settings
print(*get_spider_loader(get_project_settings()).list())
"""


SECRET = "sentinel-of-a-secret"


@pytest.fixture(scope="module")
def built(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an egg and a wheel, built from a fresh clone in which somebody works."""
    work = tmp_path_factory.mktemp("package") / "dume_spider"
    shutil.copytree(clone, work)
    for name in (".env", "data/store.sqlite", "scrapyd.conf", "tests/key.json"):
        path = work / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(SECRET, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_egg", "bdist_wheel"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DATAGOUV_API_KEY": SECRET, "DECP_STORE_URL": SECRET},
    )
    assert done.returncode == 0, done.stderr
    return work / "dist"


@pytest.fixture(scope="module")
def egg(built: Path) -> Path:
    (egg,) = built.glob("*.egg")
    return egg


def tracked(clone: Path) -> set[str]:
    """The files of the package that are in the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "dume_spider"], cwd=clone, capture_output=True, text=True, check=True
    )
    return set(listed.stdout.split())


METADATA = {
    "egg": {
        "EGG-INFO/PKG-INFO",
        "EGG-INFO/SOURCES.txt",
        "EGG-INFO/dependency_links.txt",
        "EGG-INFO/entry_points.txt",
        "EGG-INFO/requires.txt",
        "EGG-INFO/top_level.txt",
        "EGG-INFO/zip-safe",
    },
    "whl": {
        "dume_spider-0.1.0.dist-info/METADATA",
        "dume_spider-0.1.0.dist-info/RECORD",
        "dume_spider-0.1.0.dist-info/WHEEL",
        "dume_spider-0.1.0.dist-info/entry_points.txt",
        "dume_spider-0.1.0.dist-info/top_level.txt",
    },
}


@pytest.mark.parametrize("kind", ["egg", "whl"])
def test_what_is_built_holds_every_file_of_the_package_and_nothing_else(
    built: Path, clone: Path, kind: str
) -> None:
    (path,) = built.glob(f"*.{kind}")
    with zipfile.ZipFile(path) as archive:
        files = {
            name: archive.read(name)
            for name in archive.namelist()
            if "__pycache__" not in name and name[-1] != "/"
        }
    assert set(files) == tracked(clone) | METADATA[kind]
    for name in files.keys() & tracked(clone):
        assert files[name] == (clone / name).read_bytes(), name
    assert not [name for name, data in files.items() if SECRET.encode() in data]


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
    assert done.stdout.split() == ["boamp", "dume", "publish"]
