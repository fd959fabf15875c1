"""The benchmarks still run; what they measure is in docs/performance.md, never in a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from crawling import ROOT

from bench.__main__ import MAKERS


@pytest.mark.slow
def test_every_figure_can_be_measured_again(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "bench", "--once", "--scale", "0.005", "--out", tmp_path],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=600,
    )
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    measured = json.loads((tmp_path / "performance.json").read_bytes())
    assert {each["key"].partition(" ")[0] for each in measured} == MAKERS.keys()
    for each in measured:
        assert f"### {each['key']}. {each['title']}" in page
        assert each["base"] in each["figures"]
        assert all(figure > 0 for figures in each["figures"].values() for figure in figures)


def test_the_record_has_every_figure() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert all(f"\n### {key}" in page for key in MAKERS)
