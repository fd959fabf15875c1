"""Several processes on one store, and processes that are killed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dume_spider.decp.regime import Regime
from dume_spider.store.placing import PlannedFile
from dume_spider.store.store import Candidate, Door, RecordKeys, Store

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = 150
BUYERS = 10

#: A harvest of its own process: all references in an order of its own, each in two versions
#: that come apart, then one file for each buyer. It may kill itself on the way.
HARVEST = '''
import json, os, random, signal, sys
from datetime import UTC, date, datetime
from contextlib import ExitStack
from itertools import groupby, islice

from dume_spider.decp.folder import OutputFolder
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.store.store import Candidate, RecordKeys, Store

url, path, run, references, buyers, point = sys.argv[1:7]
left = int(sys.argv[7])

def pass_by(name):
    """The process ends here, as by a power cut, when its time has come."""
    global left
    if name == point:
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

def candidate(number, modifications):
    record = {
        "id": str(number),
        "acheteur": {"id": f"{number % int(buyers):014}"},
        "datePublicationDonnees": "2024-03-05",
        "modifications": [
            {"modification": {"id": n + 1, "datePublicationDonneesModification": "2024-04-01"}}
            for n in range(modifications)
        ],
    }
    reference = f"R{number}"
    raw = json.dumps({"reference": reference, "modifications": modifications}).encode()
    return Candidate.of("dume", reference, ContractType.MARCHE, Regime.R2022, record, raw)

class Folder(OutputFolder):
    def put(self, part, name):
        pass_by("put")
        return super().put(part, name)

folder = Folder(path)
folder.check()
store = Store(url)
store.recover(lambda _, files: folder.settle(files))
store.begin_run(run, "dume", {}, datetime.now(UTC))
versions = [candidate(n, modifications) for n in range(int(references)) for modifications in (1, 2)]
random.Random(run).shuffle(versions)
for start in range(0, len(versions), 20):
    store.save(run, versions[start : start + 20])
    pass_by("saved")

def write(sets):
    keys, out = [], []
    with ExitStack() as stack:
        for (regime, buyer), records in sets:
            keys.append(RecordKeys(regime, buyer))
            files = folder.new_files(buyer, date(2024, 3, 6), ("json", "xml"), regime)
            out.append(stack.enter_context(files))
            for record in records:
                files.add(record.type, record.record)
                keys[-1].add(record)
        def commit(announce):
            def announced(files):
                announce(files)
                pass_by("announced")
            folder.commit(out, announced)
            pass_by("in place")
        placed = not out or store.place(run, keys, folder=path, commit=commit)
    pass_by("placed")
    return placed and len(out)

while True:
    sets = groupby(store.pending(run), lambda r: (r.regime, r.buyer))
    # Some at once.
    while written := write(islice(sets, 3)):
        pass
    if written is not False:
        break
print(json.dumps(store.counts_of(run)._asdict()))
store.close()
'''


def start(url: str, folder: Path, run: str, point: str = "never", after: int = 0) -> Any:
    arguments = [url, folder, run, REFERENCES, BUYERS, point, after]
    return subprocess.Popen(
        [sys.executable, "-c", HARVEST, *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def end(process: Any) -> Any:
    """The counts that a harvest ends with; ``None`` if it was killed."""
    output, _ = process.communicate(timeout=120)
    if process.returncode == -9:
        return None
    assert process.returncode == 0
    return json.loads(output)


def check_files(folder: Path) -> None:
    """Every reference stands in one file, once, in its last version; nothing else is there."""
    assert sorted({path.suffix for path in folder.iterdir()}) == [".json", ".xml"]
    found: Counter[int] = Counter()
    for path in folder.glob("*.json"):
        xml = path.with_suffix(".xml").read_text(encoding="utf-8")
        for record in json.loads(path.read_text(encoding="utf-8"))["marches"]["marche"]:
            assert len(record["modifications"]) == 2
            assert f"<id>{record['id']}</id>" in xml
            found[int(record["id"])] += 1
    assert found == Counter(range(REFERENCES))


@pytest.mark.slow
def test_two_at_once(store_url: str, tmp_path: Path) -> None:
    """What one has not written when the other receives it, the other writes."""
    folder = tmp_path / "decp"
    processes = [start(store_url, folder, run) for run in ("one", "two")]
    counts = [end(process) for process in processes]
    check_files(folder)
    for of_run in counts:
        rows = sum(of_run[door] for door in Door)
        assert rows == 2 * REFERENCES
        assert of_run["new"] + of_run["updated"] == of_run["written"]
        assert of_run["owed"] == 0
    assert sum(of_run["written"] for of_run in counts) == REFERENCES
    # And once more, alone: nothing is new.
    again = end(start(store_url, folder, "three"))
    assert (again["unchanged"], again["written"]) == (REFERENCES, 0)
    check_files(folder)


#: Where the harvests of :func:`test_killed` end, after having passed there so many times.
KILLS = [
    *(("saved", 9), ("announced", 0), ("put", 1), ("put", 5)),
    *(("in place", 0), ("placed", 0), ("put", 2), ("announced", 0)),
]


@pytest.mark.slow
def test_killed(store_url: str, tmp_path: Path) -> None:
    """kill -9, each time the same command again: the files of an undisturbed run."""
    folder = tmp_path / "decp"
    for number, (point, after) in enumerate(KILLS):
        assert end(start(store_url, folder, f"run {number}", point, after)) is None
    counts = end(start(store_url, folder, "last"))
    check_files(folder)
    assert counts["new"] + counts["unchanged"] == REFERENCES
    assert counts["new"] == counts["written"]


@pytest.fixture
def other(store: Store, store_url: str) -> Iterator[Store]:
    """The store, opened again, with a run ``other``."""
    opened = Store(store_url)
    opened.begin_run("other", "dume", {}, datetime(2024, 3, 1, tzinfo=UTC))
    yield opened
    opened.close()


def test_while_files_are_put_in_place(
    store: Store, other: Store, store_url: str, candidate: Callable[..., Candidate]
) -> None:
    """Meanwhile, SQLite makes others wait; PostgreSQL lets them go on."""
    store.save("run", [candidate("A", objet="a")])
    keys = RecordKeys(Regime.R2022, "1" * 14)
    for record in store.pending("run"):
        keys.add(record)
    file = PlannedFile("1.json", 1, 10, "a" * 40)
    announced, saved = threading.Event(), threading.Event()
    order = []

    def commit(announce: Any) -> None:
        announce([[file]])
        announced.set()
        # On SQLite the other one cannot end before this does: it is not waited for long.
        saved.wait(0.3 if "sqlite" in store_url else 30)
        order.append("in place")

    def save() -> None:
        announced.wait()
        other.save("other", [candidate("B", objet="b"), candidate("A", objet="a")])
        order.append("saved")
        saved.set()

    thread = threading.Thread(target=save)
    thread.start()
    try:
        assert store.place("run", [keys], folder="/", commit=commit)
    finally:
        thread.join()
    expected = ["in place", "saved"]
    assert order == (expected if "sqlite" in store_url else expected[::-1])
    assert other.counts_of("other")[:3] == (1, 0, 1)


def test_others_do_not_take_a_living_run_for_killed(
    store: Store, other: Store, candidate: Callable[..., Candidate]
) -> None:
    """A run that begins while another one puts its files in place leaves them alone."""
    store.save("run", [candidate("A")])
    keys = RecordKeys(Regime.R2022, "1" * 14)
    for record in store.pending("run"):
        keys.add(record)
    file = PlannedFile("1.json", 1, 10, "a" * 40)
    recovered = []

    def recover() -> None:
        recovered.append(other.recover(lambda folder, files: pytest.fail("it lives")))

    thread = threading.Thread(target=recover)

    def commit(announce: Any) -> None:
        announce([[file]])
        thread.start()
        thread.join(0.3)

    assert store.place("run", [keys], folder="/", commit=commit)
    thread.join()
    assert recovered == [0]
    assert store.counts_of("run").written == 1


#: Saves and writes ever more records; says how much memory is resident, in MB, on the way.
MUCH = """
import os, sys
from datetime import UTC, datetime
from dume_spider.decp.regime import ContractType, Regime
from dume_spider.store.placing import PlannedFile
from dume_spider.store.store import Candidate, RecordKeys, Store

store = Store(sys.argv[1])
store.begin_run("run", "dume", {}, datetime.now(UTC))

def candidate(number):
    record = {"acheteur": {"id": "1" * 14}, "objet": f"{number} " * 200}
    reference = f"R{number * 7919 % 1_000_003}"
    raw = os.urandom(1500).hex().encode()
    return Candidate.of("dume", reference, ContractType.MARCHE, Regime.R2022, record, raw)

def work(numbers):
    for start in range(numbers.start, numbers.stop, 500):
        store.save("run", [candidate(number) for number in range(start, start + 500)])
    keys = RecordKeys(Regime.R2022, "1" * 14)
    for record in store.pending("run"):
        keys.add(record)
    file = PlannedFile(f"{start}.json", len(keys), 1, "0" * 40)
    store.place("run", [keys], folder="/", commit=lambda announce: announce([[file]]))
    with open("/proc/self/statm") as memory:
        print(int(memory.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20)

work(range(0, 2500))
work(range(2500, 12500))
store.close()
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc (Linux)")
def test_memory_does_not_grow(store_url: str) -> None:
    """10,000 records, some 40 MB of JSON, after the first 2,500."""
    done = subprocess.run(
        [sys.executable, "-c", MUCH, store_url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = map(int, done.stdout.split())
    assert many - few < 15
