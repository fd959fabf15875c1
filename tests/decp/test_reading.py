"""The reader of DECP files against files of both regimes, in every shape they come in."""

from __future__ import annotations

import codecs
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dume_spider.decp import reading
from dume_spider.decp.reading import DecpFileError, FileRecord, read_records
from dume_spider.decp.regime import ContractType, Regime

GOLDEN = Path(__file__).parent / "golden"
MP, CC = ContractType.MARCHE, ContractType.CONCESSION


def in_lists(records: list[FileRecord]) -> Any:
    """The records as a file lists them, the names that only one regime has left aside."""
    return [(r.type, r.regime, r.path, r.record) for r in records]


@pytest.mark.parametrize("regime", list(Regime))
def test_json_gives_the_records_of_the_file(regime: Regime) -> None:
    content = json.loads((GOLDEN / f"{regime}.json").read_text(encoding="utf-8"))["marches"]
    found = list(read_records(GOLDEN / f"{regime}.json"))
    if regime is Regime.R2019:
        expected = [
            (CC if "autoriteConcedante" in record else MP, regime, f"marches.{number}", record)
            for number, record in enumerate(content)
        ]
    else:
        expected = [
            (type, regime, f"marches.{name}.{number}", record)
            for type, name in ((MP, "marche"), (CC, "contrat-concession"))
            for number, record in enumerate(content[name])
        ]
    assert in_lists(found) == expected


def as_in_xml(value: Any) -> Any:
    """What XML cannot tell: the type of a 2019 record, an empty list that is optional."""
    record = {k: v for k, v in value.items() if k != "_type"}
    if "considerationsSociales" in record and record.get("donneesExecution") == []:
        del record["donneesExecution"]
    return record


@pytest.mark.parametrize("regime", list(Regime))
def test_xml_gives_the_records_of_the_json(regime: Regime) -> None:
    of_json = list(read_records(GOLDEN / f"{regime}.json"))
    of_xml = list(read_records(GOLDEN / f"{regime}.xml"))
    assert in_lists(of_xml) == [(t, r, path, as_in_xml(v)) for t, r, v, path in of_json]


@pytest.mark.parametrize("suffix", ["json", "xml"])
def test_gzip_is_told_by_the_content(tmp_path: Path, suffix: str) -> None:
    plain = GOLDEN / f"2022.{suffix}"
    (tmp_path / "file").write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_records(tmp_path / "file")) == list(read_records(plain))


def read(tmp_path: Path, content: bytes | str) -> list[FileRecord]:
    path = tmp_path / "file"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return list(read_records(path))


_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    records=st.lists(_values, max_size=4),
    before=_values,
    after=_values,
    indent=st.sampled_from([None, 1]),
    step=st.integers(1, 40),
)
@settings(max_examples=100, suppress_health_check=list(HealthCheck))
def test_json_is_read_in_any_steps(
    tmp_path: Path, records: list, before: Any, after: Any, indent: int | None, step: int
) -> None:
    text = json.dumps({"a": before, "marches": records, "b": after}, indent=indent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "_STEP", step)
        patch.setattr(reading._Scanner._more, "__defaults__", (step,))
        found = read(tmp_path, text)
    assert [r.record for r in found] == records


@pytest.mark.parametrize(
    ("record", "type"),
    [
        ({}, MP),
        ({"_type": "Marché", "concessionnaires": []}, MP),
        ({"_type": "Contrat de concession"}, CC),
        ({"_type": "CONCESSION", "autoriteConcedante": {}}, CC),
        ({"concessionnaires": []}, CC),
        ("text", MP),
    ],
)
def test_type_of_a_2019_record(tmp_path: Path, record: Any, type: ContractType) -> None:
    (found,) = read(tmp_path, json.dumps({"marches": [record]}))
    assert found == (type, Regime.R2019, record, "marches.0")


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        '{"marches": 3}',
    ],
)
def test_no_decp_file_without_marches(tmp_path: Path, content: str) -> None:
    with pytest.raises(DecpFileError):
        read(tmp_path, content)


ADVICE = "give a DECP file, JSON or XML, of the format of 2019 or 2022"
REPAIR = "correct it or fetch it again"


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", f"is empty; {ADVICE}"),
        (b"\n\n", f"is neither a JSON object nor XML; {ADVICE}"),
        (b"id;objet\n", f"is neither a JSON object nor XML; {ADVICE}"),
        (b'[{"id": 1}]', f"is neither a JSON object nor XML; {ADVICE}"),
        (b"{}", f"is not a DECP file: it has no 'marches'; {ADVICE}"),
        (
            b'{"marches": 1}',
            f"'marches' is neither a list (2019) nor an object (2022); {ADVICE}",
        ),
        (
            b'{"marches": {"marche": {"id": 1}}}',
            f"'marches.marche' is not a list of records; {ADVICE}",
        ),
        (b'{"marches": [', f"is broken at line 1: it ends in the middle; {REPAIR}"),
        (
            b'{"marches": [{"id": "a',
            f"is broken at line 1: it ends in the middle; {REPAIR}",
        ),
        (b'{"marches": [{"id":', f"is broken at line 1: it ends in the middle; {REPAIR}"),
        (
            b'{"marches": [\n{"id": 1}\n{"id": 2}]}',
            f"is broken at line 3: there is '{{' where , or ] must be; {REPAIR}",
        ),
        (
            b'{"marches": [\n\n{"id": x}]}',
            f"is broken at line 3: expecting value; {REPAIR}",
        ),
        (
            b'{"marches": [\n{"montant": NaN}]}',
            f"is broken at line 2: NaN is not a number of JSON; {REPAIR}",
        ),
        (
            b'{"marches": [], "marches": []}',
            f"is broken at line 1: it has 'marches' twice; {REPAIR}",
        ),
        (
            b'{"marches": {"marche": [],\n"marche": []}}',
            f"is broken at line 2: it has 'marches.marche' twice; {REPAIR}",
        ),
        (
            b'{"marches": []}\n{}',
            f"is broken at line 2: something follows the end of the object; {REPAIR}",
        ),
        (b'{"marches": ["\xe9"]}', "is not text in UTF-8; convert it to UTF-8"),
        (b'{"marches": ' + b"[" * 100_000, f"is nested too deeply for a DECP file; {ADVICE}"),
        (
            b"<html><body/></html>",
            f"is not a DECP file: its element is 'html', not 'marches'; {ADVICE}",
        ),
        (
            b"<marches>\n<lot/></marches>",
            "line 2: 'lot' is no record; accepted: marche, contrat-concession",
        ),
        (
            # Without the time, which would be in the name of the test.
            gzip.compress(b'{"marches": []}', mtime=0)[:-9],
            "is not a whole gzip file; fetch it again",
        ),
    ],
)
def test_what_is_no_decp_file(tmp_path: Path, content: bytes, error: str) -> None:
    with pytest.raises(DecpFileError) as raised:
        read(tmp_path, content)
    assert str(raised.value).removeprefix(f"{tmp_path / 'file'}: ") == error


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """JSON has none (RFC 8259), and Python's json, by which the State reads, raises for it; XML
    may have one."""
    (tmp_path / "file").write_bytes(codecs.BOM_UTF8 + b'{"marches": [{"id": 1}]}')
    records = read_records(tmp_path / "file")
    assert next(records).record == {"id": 1}
    with pytest.raises(DecpFileError, match=r"starts with a byte order mark \(BOM\), which JSON"):
        next(records)
    assert len(read(tmp_path, codecs.BOM_UTF8 + b"<marches><marche/></marches>")) == 1


@pytest.mark.parametrize("content", [b"<marches><marche>", b"<marches><marche></marches>"])
def test_broken_xml_is_one_line(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(DecpFileError, match=r"^[^\n]* is broken: [^\n]+; correct it [^\n]+$"):
        read(tmp_path, content)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DecpFileError, match=r"cannot be read: No such file or directory$"):
        list(read_records(tmp_path / "none"))
    with pytest.raises(DecpFileError, match=r": is a folder; give files, such as [^\n]+/\*.json$"):
        list(read_records(tmp_path))


def test_records_before_the_break_are_given(tmp_path: Path) -> None:
    (tmp_path / "file").write_text('{"marches": [{"id": 1}, {"id": 2}, {"id"')
    records = read_records(tmp_path / "file")
    assert [next(records).record["id"], next(records).record["id"]] == [1, 2]
    with pytest.raises(DecpFileError):
        next(records)


def xml_record(tmp_path: Path, fields: str, name: str = "marche") -> FileRecord:
    (found,) = read(tmp_path, f"<marches><{name}>{fields}</{name}></marches>")
    return found


NEW = "<techniques><technique>Concours</technique></techniques>"


@pytest.mark.parametrize(
    ("fields", "regime"),
    [
        (NEW, "2022"),
        ("<acheteur><id>1</id><nom>A</nom></acheteur>", "2019"),
        ("<lieuExecution><nom>A</nom></lieuExecution>", "2019"),
        ("<dateNotification>2023-12-31</dateNotification>", "2019"),
        ("<dateNotification>2024-01-01</dateNotification>", "2022"),
        ("<dateNotification>1 mai</dateNotification>", "2022"),
        ("<id>1</id>", "2022"),
    ],
)
def test_regime_of_xml(tmp_path: Path, fields: str, regime: str) -> None:
    assert xml_record(tmp_path, fields).regime == regime


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("<montant> 10.50\n</montant>", {"montant": 10.5}),
        ("<montant>10</montant>", {"montant": 10}),
        ("<montant>1e5</montant>", {"montant": "1e5"}),
        ("<montant/>", {"montant": ""}),
        ("<dureeMois>12.0</dureeMois>", {"dureeMois": "12.0"}),
        ("<dureeMois>012</dureeMois>", {"dureeMois": 12}),
        ("<marcheInnovant>oui</marcheInnovant>", {"marcheInnovant": True}),
        ("<marcheInnovant>0</marcheInnovant>", {"marcheInnovant": False}),
        ("<marcheInnovant>peut-être</marcheInnovant>", {"marcheInnovant": "peut-être"}),
        ("<codeCPV> 45000000 </codeCPV>", {"codeCPV": "45000000"}),
        ("<objet> a &amp; b<!-- c --> </objet>", {"objet": " a & b "}),
        ("<nature> Marché</nature>", {"nature": " Marché"}),
        ("<nature>A</nature><nature>B</nature>", {"nature": ["A", "B"]}),
        ("<objet><b>x</b></objet>", {"objet": {"b": "x"}}),
        ("<lot>1</lot>", {"lot": "1"}),
        ("<acheteur>12</acheteur>", {"acheteur": "12"}),
        ("<titulaires/>", {"titulaires": []}),
        # What only XML can hold, under the names that xmltodict gives it.
        ('<montant devise="EUR">10</montant>', {"montant": {"@devise": "EUR", "#text": "10"}}),
        ('<acheteur a="1"/>', {"acheteur": {"@a": "1"}}),
        ('<acheteur a="1">x</acheteur>', {"acheteur": {"@a": "1", "#text": "x"}}),
        ("<acheteur>x<id>1</id> y</acheteur>", {"acheteur": {"#text": "x y", "id": "1"}}),
        ("<titulaires>x</titulaires>", {"titulaires": [{"#text": "x"}]}),
        ('<titulaires nb="0"/>', {"titulaires": [{"@nb": "0"}]}),
        ("x<id>1</id>", {"#text": "x", "id": "1"}),
        (
            "<objet><b c='1'>x</b>y</objet>",
            {"objet": {"#text": "y", "b": {"@c": "1", "#text": "x"}}},
        ),
        (
            '<id xmlns:i="http://www.w3.org/2001/XMLSchema-instance" '
            'i:noNamespaceSchemaLocation="decp.xsd">1</id>',
            {"id": "1"},
        ),
        (
            "<titulaires><autre><id>1</id></autre></titulaires>",
            {"titulaires": [{"autre": {"id": "1"}}]},
        ),
        ("<techniques/>", {"techniques": {}}),
    ],
)
def test_values_of_xml(tmp_path: Path, fields: str, expected: dict[str, Any]) -> None:
    extra = "" if "techniques" in fields else NEW
    record = dict(xml_record(tmp_path, fields + extra).record)
    if extra:
        assert record.pop("techniques") == {"technique": ["Concours"]}
    assert record == expected


def test_the_format_has_no_name_spaces(tmp_path: Path) -> None:
    """The XSDs have none, and the State's pipeline finds no record under such names."""
    text = '<d:marches xmlns:d="urn:x"><d:marche><d:id>1</d:id></d:marche></d:marches>'
    with pytest.raises(DecpFileError, match=r"its element is '\{urn:x\}marches', not 'marches'"):
        read(tmp_path, text)
    text = '<marches xmlns:d="urn:x"><marche><d:id>1</d:id></marche></marches>'
    assert [r.record for r in read(tmp_path, text)] == [{"{urn:x}id": "1"}]


def test_entities_are_not_resolved(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    text = (
        f'<!DOCTYPE marches [<!ENTITY e SYSTEM "file://{tmp_path / "secret"}">]>'
        "<marches><marche><id>a&e;b</id></marche></marches>"
    )
    with pytest.raises(DecpFileError, match="uses the entity &e;, and no entity is resolved"):
        read(tmp_path, text)


def test_an_explosion_of_entities_ends_in_one_line(tmp_path: Path) -> None:
    entities = "".join(
        f'<!ENTITY e{n} "{f"&e{n - 1};" * 50 if n else "x" * 50}">' for n in range(9)
    )
    text = f"<!DOCTYPE marches [{entities}]><marches><marche><id>&e8;</id></marche></marches>"
    with pytest.raises(DecpFileError, match=r"^[^\n]+$"):
        read(tmp_path, text)


def test_a_value_without_an_end_is_given_up(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_VALUE", 1 << 20)
    with pytest.raises(DecpFileError, match="a value is longer than 1,048,576 char"):
        read(tmp_path, '{"marches": ["' + "x" * (5 << 20))
