"""``scrapy verify`` in child processes, and its verdicts on the real and official files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from crawling import ROOT
from logs import check

GOLDEN = ROOT / "tests" / "decp" / "golden"


def verify(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "scrapy", "verify", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=60,
        **options,
    )
    check(done.stderr)
    return done


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    """A valid file of one record of 2022, with a warning (acts after the contract only)."""
    records = json.loads((GOLDEN / "2022.json").read_text(encoding="utf-8"))["marches"]
    path = tmp_path / "valid.json"
    content = {"marches": {"marche": [records["marche"][1]]}}
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def test_valid_file(valid: Path) -> None:
    done = verify(valid)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{valid}: valid: 1 records, format of 2022\n")


def test_invalid_and_broken_files(valid: Path, tmp_path: Path) -> None:
    content = json.loads(valid.read_text())
    records = content["marches"]["marche"]
    records.append(dict(records[0], montant="12 €"))
    records.append(dict(records[0], acheteur={"id": "21690123100012"}))
    records.append("[bold]\x1b[31m")
    records.append(dict(records[0], **{"\x1b[2J[red]": 1}))
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(content))
    empty = tmp_path / "empty.json"
    empty.write_text('{"marches": {"marche": []}}')
    done = verify(valid, bad, empty)
    assert (done.returncode, done.stderr) == (1, "")
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert f"{bad}: not valid: 5 records, format of 2022, 4 with errors" in lines
    assert lines[-1] == f"{empty}: has no records; a DECP file without records is not published"
    table = [[cell.strip() for cell in line.split("│")] for line in lines if "│" in line]
    errors = [row for row in table if row[0] == "error"]
    assert errors == [
        ["error", "\\x1b[2J[red]", "additionalProperties", "1",
         "marches.marche.4.\\x1b[2J[red]: is not a field of this format"],
        ["error", "acheteur.id", "siret", "1",
         "marches.marche.2.acheteur.id: '21690123100012' is not a SIRET: its check sum is wrong"],
        ["error", "montant", "type", "1", "marches.marche.1.montant: '12 €' is not a number"],
        ["error", "record", "type", "1", "marches.marche.3: is not an object"],
    ]  # fmt: skip
    assert "\x1b" not in done.stdout


def test_json(valid: Path, tmp_path: Path) -> None:
    content = json.loads(valid.read_text())
    content["marches"]["marche"] *= 2
    content["marches"]["marche"][1] = dict(content["marches"]["marche"][1], objet="\ud800")
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(content))
    none = tmp_path / "none"
    done = verify("--json", valid, bad, none)
    assert done.returncode == 1
    result = json.loads(done.stdout)
    assert result["valid"] is False
    first, second, third = result["files"]
    assert {k: first[k] for k in ("valid", "problem", "regime", "records", "invalid")} == {
        "valid": True,
        "problem": None,
        "regime": "2022",
        "records": 1,
        "invalid": 0,
    }
    assert second["errors"] == [
        {
            "field": "objet",
            "rule": "json",
            "records": 1,
            "first": {
                "path": "marches.marche.1.objet",
                "message": "'\\ud800' holds half a surrogate pair, which is no text",
            },
        }
    ]
    assert third == {
        "file": str(none),
        "valid": False,
        "problem": f"{none}: cannot be read: No such file or directory",
        "regime": None,
        "records": 0,
        "invalid": 0,
        "errors": [],
        "warnings": [],
    }


@pytest.mark.slow
def test_rules_by_setting(valid: Path) -> None:
    content = json.loads(valid.read_text())
    content["marches"]["marche"][0]["acheteur"]["id"] = "21690123100012"
    valid.write_text(json.dumps(content))
    assert verify(valid).returncode == 1
    assert verify(valid, "-s", 'DECP_RULES={"siret": "warning"}').returncode == 0
    done = verify(valid, "-s", 'DECP_RULES={"sirets": "warning"}')
    assert done.returncode == 1
    assert done.stderr.startswith("scrapy verify: [DECP-01] unknown rule 'sirets'; the rules are: ")
    assert done.stderr.count("\n") == 1


def test_usage() -> None:
    assert verify().returncode == 2
    done = verify("--help")
    assert done.returncode == 0
    assert "scrapy verify DECP-*.json" in " ".join(done.stdout.split())
