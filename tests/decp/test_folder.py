"""The output folder: whole sets, none overwritten, nothing left of what failed or was killed."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from contextlib import ExitStack
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from dume_spider.decp import folder as folder_module
from dume_spider.decp.folder import OutputFile, OutputFolder, output_error
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import OutputError, UncertainOutputError

SIRET = "21690123100011"
OTHER = "21350238800019"
DAY = date(2026, 3, 7)
MP, CC = ContractType.MARCHE, ContractType.CONCESSION
RECORD = b'{"id":"2025-T-017","objet":"\xc3\x89cole"}'
JSON = b'{"marches":{"marche":[\n' + RECORD + b"\n]}}\n"
XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<marches>\n'
    "<marche><id>2025-T-017</id><objet>École</objet></marche>\n</marches>\n"
).encode()
REPOSITORY = Path(__file__).resolve().parents[2]

PRELUDE = f"""
import sys
from datetime import date
from dume_spider.decp.folder import OutputFolder
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.exceptions import OutputError
MP, RECORD = ContractType.MARCHE, {RECORD!r}
folder = OutputFolder(sys.argv[1])
def new_files(formats=("json", "xml")):
    return folder.new_files({SIRET!r}, date(2026, 3, 7), formats, Regime.R2022)
"""


def start(script: str, path: Path, *arguments: str, **options) -> subprocess.Popen[str]:
    """Run the script, after the prelude, in another process."""
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + textwrap.dedent(script), str(path), *arguments],
        cwd=REPOSITORY,
        text=True,
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        **options,
    )


def output_of(script: str, path: Path, **options) -> str:
    process = start(script, path, **options)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return output


@pytest.fixture
def folder(tmp_path):
    folder = OutputFolder(tmp_path / "decp")
    folder.check()
    return folder


def write(folder: OutputFolder, formats=("json",), siret=SIRET, day=DAY) -> list[OutputFile]:
    with folder.new_files(siret, day, formats, Regime.R2022) as out:
        out.add(MP, RECORD)
        return out.commit()


def names(folder: OutputFolder | Path) -> list[str]:
    path = folder if isinstance(folder, Path) else folder.path
    return sorted(path.name for path in path.iterdir())


def described(name: str, data: bytes, records: int = 1) -> OutputFile:
    return OutputFile(name, records, len(data), hashlib.sha1(data).hexdigest())


# Sets


def test_a_set_shares_its_number_and_is_described(folder):
    assert write(folder, ("json", "xml")) == [
        described("DECP-21690123100011-2026-03-07-01.json", JSON),
        described("DECP-21690123100011-2026-03-07-01.xml", XML),
    ]
    assert names(folder) == [
        "DECP-21690123100011-2026-03-07-01.json",
        "DECP-21690123100011-2026-03-07-01.xml",
    ]
    assert (folder.path / "DECP-21690123100011-2026-03-07-01.json").read_bytes() == JSON
    assert (folder.path / "DECP-21690123100011-2026-03-07-01.xml").read_bytes() == XML


def test_numbers(folder):
    for name in ("-01.xml", "-03.json", "-03.json.bak"):
        (folder.path / f"DECP-{SIRET}-2026-03-07{name}").write_text("another's")
    assert [write(folder)[0].name for _ in range(2)] == [
        "DECP-21690123100011-2026-03-07-04.json",
        "DECP-21690123100011-2026-03-07-05.json",
    ]
    assert write(folder, siret=OTHER)[0].name == "DECP-21350238800019-2026-03-07-01.json"
    assert write(folder, day=date(2026, 3, 8))[0].name == "DECP-21690123100011-2026-03-08-01.json"
    (folder.path / f"DECP-{SIRET}-2026-03-07-99.json").touch()
    again = OutputFolder(folder.path)
    assert write(again)[0].name == "DECP-21690123100011-2026-03-07-100.json"


def test_both_types_and_the_2019_regime(folder):
    with folder.new_files(SIRET, DAY, ["json", "json"], Regime.R2019) as out:
        out.add(MP, RECORD)
        out.add(CC, RECORD)
        files = out.commit()
    data = b'{"marches":[\n' + RECORD + b",\n" + RECORD + b"\n]}\n"
    assert files == [described("DECP-21690123100011-2026-03-07-01.json", data, 2)]


def test_new_files_have_the_permissions_of_new_files(folder):
    (folder.path / "plain").touch()
    name = write(folder)[0].name
    assert (folder.path / name).stat().st_mode == (folder.path / "plain").stat().st_mode
    assert (folder.path / name).stat().st_nlink == 1


def test_nothing_is_seen_before_the_commit(folder):
    with folder.new_files(SIRET, DAY, ("json", "xml"), Regime.R2022) as out:
        out.add(MP, RECORD)
        assert [name[:6] for name in names(folder)] == [".decp-", ".decp-"]
        out.commit()
        assert len(names(folder)) == 2
        with pytest.raises(ValueError, match="the set of files is not open: committed, failed"):
            out.add(MP, RECORD)


@pytest.mark.parametrize("records", [0, 1])
def test_a_set_left_without_commit_leaves_nothing(folder, records):
    with folder.new_files(SIRET, DAY, ("json", "xml"), Regime.R2022) as out:
        for _ in range(records):
            out.add(MP, RECORD)
    assert names(folder) == []
    with pytest.raises(ValueError, match="the set of files is not open"):
        out.commit()


def test_a_set_without_records_is_refused(folder):
    new_files = folder.new_files(SIRET, DAY, ("json",), Regime.R2022)
    with new_files as out, pytest.raises(ValueError, match="a document without records"):
        out.commit()
    assert names(folder) == []


def test_a_record_that_xml_refuses_is_in_neither_file(folder):
    with folder.new_files(SIRET, DAY, ("json", "xml"), Regime.R2022) as out:
        out.add(MP, RECORD)
        with pytest.raises(OutputError, match="objet holds U\\+0007, no character of XML"):
            out.add(MP, b'{"objet":"\\u0007"}')
        assert out.commit() == [
            described("DECP-21690123100011-2026-03-07-01.json", JSON),
            described("DECP-21690123100011-2026-03-07-01.xml", XML),
        ]


@pytest.mark.parametrize(
    ("siret", "formats", "message"),
    [
        ("../21690123100", ("json",), "is not a SIRET of 14 digits"),
        (SIRET, ("csv",), "'csv' is not a format: json or xml"),
        (SIRET, (), "a set of files has at least one format"),
    ],
)
def test_bad_sets(folder, siret, formats, message):
    with pytest.raises(ValueError, match=message):
        folder.new_files(siret, DAY, formats, Regime.R2022)


# Names taken while a set is being written


def test_a_name_taken_in_the_meantime_is_not_overwritten(folder):
    """Another process took the XML name only: the JSON name is not used either."""
    announced = []

    def announce(sets):
        (files,) = sets
        announced.append([file.name for file in files])
        if len(announced) == 1:  # after the look at what is there, before the names are given
            (folder.path / files[1].name).write_text("another's")

    with folder.new_files(SIRET, DAY, ("json", "xml"), Regime.R2022) as out:
        out.add(MP, RECORD)
        (files,) = folder.commit([out], announce)
    assert announced == [
        ["DECP-21690123100011-2026-03-07-01.json", "DECP-21690123100011-2026-03-07-01.xml"],
        ["DECP-21690123100011-2026-03-07-02.json", "DECP-21690123100011-2026-03-07-02.xml"],
    ]
    assert files == [
        described("DECP-21690123100011-2026-03-07-02.json", JSON),
        described("DECP-21690123100011-2026-03-07-02.xml", XML),
    ]
    assert names(folder) == [
        "DECP-21690123100011-2026-03-07-01.xml",
        "DECP-21690123100011-2026-03-07-02.json",
        "DECP-21690123100011-2026-03-07-02.xml",
    ]
    assert (folder.path / "DECP-21690123100011-2026-03-07-01.xml").read_text() == "another's"


def test_a_commit_whose_announcement_fails_leaves_nothing(folder):
    def announce(files):
        raise RuntimeError("the store is gone")

    with folder.new_files(SIRET, DAY, ("json",), Regime.R2022) as out:
        out.add(MP, RECORD)
        with pytest.raises(RuntimeError, match="the store is gone"):
            folder.commit([out], announce)
    assert names(folder) == []


# Sets at once


@pytest.fixture
def sets(folder):
    """Three sets, two of them of the same SIRET."""
    with ExitStack() as stack:
        sets = [
            stack.enter_context(folder.new_files(siret, DAY, ("json", "xml"), Regime.R2022))
            for siret in (SIRET, OTHER, SIRET)
        ]
        for each in sets:
            each.add(MP, RECORD)
        yield sets


def in_both(*sets):
    """The names of sets, given by SIRET and number."""
    return [f"DECP-{siret}-2026-03-07-{n}.{end}" for siret, n in sets for end in ("json", "xml")]


def test_sets_at_once(folder, sets):
    announced = []
    done = folder.commit(sets, announced.append)
    assert announced == [done]
    of_all = in_both((SIRET, "01"), (OTHER, "01"), (SIRET, "02"))
    assert [file.name for files in done for file in files] == of_all
    assert names(folder) == sorted(of_all)
    assert all(folder.settle(files) for files in done)


def test_sets_at_once_of_which_one_name_is_taken(folder, sets):
    """The others keep their numbers."""
    announced = []

    def announce(planned):
        announced.append(planned)
        if len(announced) == 1:
            (folder.path / planned[1][1].name).write_text("another's")
        else:  # all was undone
            assert [n for n in names(folder) if n.startswith("D")] == [announced[0][1][1].name]

    done = folder.commit(sets, announce)
    assert len(announced) == 2
    assert announced[1] == done
    assert names(folder) == sorted(
        in_both((SIRET, "01"), (OTHER, "02"), (SIRET, "02")) + in_both((OTHER, "01"))[1:]
    )


def fail_after(monkeypatch, folder, name, calls, code):
    """Let a method of the folder fail after so many calls."""
    method = getattr(folder, name)
    left = iter(range(calls))

    def failing(*arguments):
        if next(left, None) is None:
            raise OSError(code, os.strerror(code))
        return method(*arguments)

    monkeypatch.setattr(folder, name, failing)


@pytest.mark.parametrize(("name", "calls"), [("put", 0), ("put", 3), ("put", 5), ("placed", 0)])
def test_sets_at_once_and_a_full_disk(folder, sets, monkeypatch, name, calls):
    fail_after(monkeypatch, folder, name, calls, errno.ENOSPC)
    with pytest.raises(OutputError, match="free some space"):
        folder.commit(sets)
    assert names(folder) == []


def test_what_cannot_be_taken_back_is_found_out_later(folder, sets, monkeypatch):
    announced = []
    fail_after(monkeypatch, folder, "put", 3, errno.ENOSPC)
    fail_after(monkeypatch, folder, "take_back", 0, errno.EIO)
    with pytest.raises(UncertainOutputError):
        folder.commit(sets, announced.extend)
    assert names(folder) == sorted(in_both((SIRET, "01")) + in_both((OTHER, "01"))[:1])
    assert [folder.settle(files) for files in announced] == [True, False, False]
    assert names(folder) == in_both((SIRET, "01"))


def test_without_hard_links(folder, monkeypatch):
    """On a file system that has none (the refusal is acted here) the same holds."""

    def refuse(path, target):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    test_a_name_taken_in_the_meantime_is_not_overwritten(folder)
    assert [file.name for file in write(folder)] == ["DECP-21690123100011-2026-03-07-03.json"]


def test_a_link_whose_answer_was_lost(folder, monkeypatch):
    """As on NFS: the request was done, is repeated, and then refused."""
    link = Path.hardlink_to

    def link_twice(path, target):
        link(path, target)
        link(path, target)

    monkeypatch.setattr(Path, "hardlink_to", link_twice)
    assert write(folder) == [described("DECP-21690123100011-2026-03-07-01.json", JSON)]
    assert names(folder) == ["DECP-21690123100011-2026-03-07-01.json"]


def test_a_name_that_is_a_link_to_nowhere(folder):
    (folder.path / "DECP-21690123100011-2026-03-07-01.json").symlink_to("nowhere")
    folder.last_number(SIRET, DAY)
    assert [file.name[-7:] for file in write(folder)] == ["02.json"]


def test_without_locks(folder, monkeypatch):
    """On a file system that has none (acted here), a day's rest makes a file abandoned."""

    def refuse(fd, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    old, new = (folder.path / f".decp-{digit * 16}.part" for digit in "ab")
    for path, hours in ((old, 25), (new, 23)):
        path.touch()
        os.utime(path, (time.time() - hours * 3600,) * 2)
    folder.check()
    assert names(folder) == [new.name]
    assert write(folder)[0].name == "DECP-21690123100011-2026-03-07-01.json"


def test_four_processes_write_fifty_sets_each(folder):
    script = """
        folder.check()
        print("ready", flush=True)
        input()
        for number in range(50):
            folder.check()  # which must not take the others' temporary files for abandoned
            with new_files() as out:
                out.add(MP, b'{"id":"%s-%d"}' % (sys.argv[2].encode(), number))
                print(out.commit()[0].name)
    """
    processes = [start(script, folder.path, str(number)) for number in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    written = []
    for process in processes:
        written += process.communicate(timeout=60)[0].split()
        assert process.returncode == 0
    expected = [f"DECP-{SIRET}-2026-03-07-{number:02}.json" for number in range(1, 201)]
    assert sorted(written) == sorted(expected)
    xml = [name.replace("json", "xml") for name in expected]
    assert names(folder) == sorted([*expected, *xml])
    ids = set()
    for name in expected:
        [record] = json.loads((folder.path / name).read_bytes())["marches"]["marche"]
        assert f"<id>{record['id']}</id>" in (
            (folder.path / name.replace("json", "xml")).read_text()
        )
        ids.add(record["id"])
    assert ids == {f"{process}-{number}" for process in range(4) for number in range(50)}


# Failures


def test_a_limit_on_file_size_met_while_writing(tmp_path):
    """What is written first stays, what failed leaves nothing, and the line says what to do."""
    script = """
        folder.check()
        with new_files() as out:
            out.add(MP, RECORD)
            out.commit()
        try:
            with new_files() as out:
                for _ in range(100_000):
                    out.add(MP, RECORD)
        except OutputError as error:
            print(error)
        try:
            out.commit()
        except ValueError as error:
            print(error)
    """
    limit = 200_000
    output = output_of(
        script,
        tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert output == (
        f"File too large: {tmp_path}/DECP-{SIRET}-2026-03-07-02.json; "
        "raise the limit on file size (ulimit -f) and run the same command again\n"
        "the set of files is not open: committed, failed or left\n"
    )
    assert names(tmp_path) == [
        f"DECP-{SIRET}-2026-03-07-01.json",
        f"DECP-{SIRET}-2026-03-07-01.xml",
    ]


def test_a_limit_on_file_size_met_at_the_end(tmp_path):
    """A set that fits in the buffer fails only when it is flushed, in the commit."""
    script = """
        with new_files() as out:
            for _ in range(3):
                out.add(MP, RECORD)
            try:
                out.commit()
            except OutputError as error:
                print(error)
    """
    output = output_of(
        script,
        tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert output.startswith(f"File too large: {tmp_path}/DECP-{SIRET}-2026-03-07-01.json; ")
    assert names(tmp_path) == []


def test_the_line_for_a_full_disk():
    with pytest.raises(OSError, match="No space left") as caught:
        Path("/dev/full").write_bytes(b"x")
    path = Path("data/decp/DECP-21690123100011-2026-03-07-01.json")
    assert str(output_error(path, caught.value)) == (
        "No space left on device: data/decp/DECP-21690123100011-2026-03-07-01.json; "
        "free some space and run the same command again"
    )


def test_the_line_for_any_other_failure():
    error = OSError(errno.EIO, os.strerror(errno.EIO))
    assert str(output_error(Path("decp"), error)) == (
        "Input/output error: decp; repair this and run the same command again"
    )


ELSEWHERE = "name a folder that can be written (DECP_FILES_URI, --folder)"


def test_check_of_a_folder_that_cannot_be(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError) as caught:
        OutputFolder(file).check()
    assert str(caught.value) == f"File exists: {file}; {ELSEWHERE}"
    with pytest.raises(OutputError) as caught:
        OutputFolder(file / "decp").check()
    assert str(caught.value) == f"Not a directory: {file}/decp; {ELSEWHERE}"
    assert names(tmp_path) == ["file"]


def test_check_of_a_folder_that_is_not_ours():
    """Root may write anywhere, so as root the process becomes another user."""
    script = """
        import os
        if os.getuid() == 0:
            os.setuid(65534)
        try:
            folder.check()
        except OutputError as error:
            print(error)
    """
    with TemporaryDirectory() as name:  # pytest's own are closed to other users
        path = Path(name)
        path.chmod(0o555)
        assert output_of(script, path) == f"Permission denied: {path}; {ELSEWHERE}\n"
        assert names(path) == []
        path.chmod(0o755)


def test_a_folder_that_is_not_there(tmp_path):
    folder = OutputFolder(tmp_path / "gone")
    with pytest.raises(OutputError) as caught:
        write(folder)
    name = "DECP-21690123100011-2026-03-07-01.json"
    assert str(caught.value) == f"No such file or directory: {tmp_path}/gone/{name}; {ELSEWHERE}"


def test_a_folder_removed_during_the_run(folder):
    with folder.new_files(SIRET, DAY, ("json",), Regime.R2022) as out:
        out.add(MP, RECORD)
        for path in folder.path.iterdir():
            path.unlink()
        folder.path.rmdir()
        with pytest.raises(OutputError, match=r"^No such file or directory: "):
            out.commit()


# Killed runs


def test_check_makes_the_folder_and_leaves_it_as_it_was(tmp_path):
    folder = OutputFolder(tmp_path / "a" / "b")
    folder.check()
    assert names(folder) == []
    write(folder)
    (folder.path / "notes.part").touch()
    (folder.path / ".decp-notes.part").touch()
    before = names(folder)
    folder.check()
    assert names(folder) == before


def test_temporaries_of_a_killed_run_are_removed_and_of_a_living_one_are_not(folder):
    process = start(
        """
        with new_files() as out:
            for _ in range(5000):
                out.add(MP, RECORD)
            print("writing", flush=True)
            input()
            print(out.commit()[0].name, flush=True)
            with new_files() as out:
                out.add(MP, RECORD)
                print("writing", flush=True)
                input()
        """,
        folder.path,
    )
    try:
        assert process.stdout.readline() == "writing\n"
        living = names(folder)
        assert len(living) == 2
        old = time.time() - 7 * 24 * 3600
        for name in living:  # age alone is no proof
            os.utime(folder.path / name, (old, old))
        folder.check()
        assert names(folder) == living
        process.stdin.write("\n")
        process.stdin.flush()
        name = process.stdout.readline().strip()
        assert len(json.loads((folder.path / name).read_bytes())["marches"]["marche"]) == 5000
        assert process.stdout.readline() == "writing\n"
        assert len(names(folder)) == 4
    finally:
        process.kill()
        process.communicate(timeout=60)
    assert len(names(folder)) == 4
    folder.check()
    assert names(folder) == [name, name.replace("json", "xml")]


def test_settle_a_set_that_is_in_place(folder, monkeypatch):
    announced, synced = [], []
    sync = folder_module._sync_folder
    monkeypatch.setattr(folder_module, "_sync_folder", lambda path: synced.append(sync(path)))
    with folder.new_files(SIRET, DAY, ("json", "xml"), Regime.R2022) as out:
        out.add(MP, RECORD)
        folder.commit([out], lambda sets: announced.extend(*sets))
    before = names(folder)
    assert len(synced) == 1
    assert folder.settle(announced) is True
    assert len(synced) == 2  # the run may have died before
    assert names(folder) == before


def test_settle_a_set_that_was_never_placed(folder):
    assert folder.settle([described("DECP-21690123100011-2026-03-07-01.json", JSON)]) is False
    assert folder.settle([]) is False


def test_settle_a_set_killed_between_two_formats(folder):
    """Killed for good: the process ends itself at the moment the second name is given."""
    process = start(
        """
        import os, signal
        from pathlib import Path
        link = Path.hardlink_to
        def killed(path, target):
            if path.suffix == ".xml":
                os.kill(os.getpid(), signal.SIGKILL)
            link(path, target)
        Path.hardlink_to = killed
        def announce(sets):
            for file in sets[0]:
                print(file.name, file.records, file.bytes, file.sha1, flush=True)
        with new_files() as out:
            out.add(MP, RECORD)
            folder.commit([out], announce)
        """,
        folder.path,
    )
    output, _ = process.communicate(timeout=60)
    assert process.returncode == -9
    announced = [
        OutputFile(name, int(records), int(size), sha1)
        for name, records, size, sha1 in map(str.split, output.splitlines())
    ]
    assert len(names(folder)) == 3
    assert folder.settle(announced) is False
    folder.check()
    assert names(folder) == []
    assert write(folder, ("json", "xml")) == announced


def test_settle_leaves_another_runs_file(folder):
    [file] = write(folder)
    other = OutputFile(file.name, 1, file.bytes, "0" * 40)
    shorter = OutputFile(file.name, 1, file.bytes - 1, file.sha1)
    assert folder.settle([other]) is False
    assert folder.settle([shorter]) is False
    assert names(folder) == [file.name]


@pytest.mark.parametrize(("after", "expected"), [(0, 3), (2, 3), (3, 4), (120, 121)])
def test_numbers_that_are_taken_elsewhere(folder: OutputFolder, after: int, expected: int) -> None:
    """A set comes after the last number in the folder and after the last one published."""
    for _ in range(2):
        with folder.new_files(SIRET, DAY, ["json"], Regime.R2022) as out:
            out.add(MP, RECORD)
            out.commit()
    with folder.new_files(SIRET, DAY, ["json"], Regime.R2022, after) as out:
        out.add(MP, RECORD)
        (file,) = out.commit()
    assert file.name == f"DECP-{SIRET}-{DAY}-{expected:02}.json"
