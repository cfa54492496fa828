"""A store is made whole or not at all, goes on where it was killed, and ends the same."""

import csv
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.notes import ListedSource
from timbre_jax.data.prepare.build import build_store
from timbre_jax.data.store import Store, StoreError

ROOT = Path(__file__).parents[3]


def build(out, source=None, **options):
    options = {"workers": 1, "shard_size": 64, "progress": False, **options}
    return build_store(source or ListedSource(), out, **options)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    return build(tmp_path_factory.mktemp("whole") / "store")


def test_what_is_in_it(store):
    assert store.splits == ("train", "valid", "test")
    assert [store.length(split) for split in store.splits] == [150, 20, 70]
    source = ListedSource()
    records = source.plan()
    for split, first in (("train", 0), ("valid", 150), ("test", 170)):
        known = store.metadata(split)
        numbers = [records[first + place].where for place in range(store.length(split))]
        assert known["id"].tolist() == [f"n{number:04d}" for number in numbers]
        assert known["index"].tolist() == numbers
        assert known["f0_hz"].tolist() == [100.0 + number for number in numbers]
        assert known["pitch"].dtype == np.int64
        places = [len(numbers) - 1, 0, 5, 5]
        wanted = np.stack([source.load(records[first + place], None).wave for place in places])
        np.testing.assert_allclose(store.audio(split, places), wanted, atol=1 / 65536 + 1e-7)
        item = store.source(split)[7]
        assert item["index"] == numbers[7]
        np.testing.assert_array_equal(item["audio"], store.audio(split, [7])[0])
    assert sum(len(batch) for batch in store.batches("train", 64)) == 150
    assert sorted(p.name for p in store.path.iterdir()) == sorted(
        ["index.json", "records.csv", "doctor.csv", "doctor.md"]
        + [f"train-0000{n}-of-00003.array_record" for n in range(3)]
        + [f"test-0000{n}-of-00002.array_record" for n in range(2)]
        + ["valid-00000-of-00001.array_record"]
    )


def test_wrong_places(store):
    with pytest.raises(StoreError, match="no split 'dev'; there are train, valid, test"):
        store.audio("dev", [0])
    with pytest.raises(IndexError):
        store.audio("valid", [20])
    with pytest.raises(IndexError):
        store.audio("valid", [-1])


def test_processes_do_not_change_the_bytes(store, tmp_path):
    assert contents(build(tmp_path / "store", workers=2).path) == contents(store.path)


def test_notes_that_cannot_be_had_and_notes_that_are_there_twice(tmp_path):
    # 149 is the last of train and 150 the first of valid: the copy nearer to training goes.
    source = ListedSource(broken=(3, 200), twice=(11, 150))
    store = build(tmp_path / "store", source)
    with open(store.path / "doctor.csv", encoding="utf-8") as file:
        left_out = {row["id"]: row["left_out"] for row in csv.DictReader(file) if row["kept"] == "0"}
    assert left_out == {
        "n0003": "unreadable (RuntimeError: this note cannot be had)",
        "n0200": "unreadable (RuntimeError: this note cannot be had)",
        "n0011": "duplicate (the same samples as n0010)",
        "n0149": "duplicate (the same samples as n0150)",
    }
    assert store.index["doctor"]["left_out"] == {"unreadable": 2, "duplicate": 2}
    assert [store.length(split) for split in store.splits] == [147, 20, 69]
    # What remains is still in its place.
    known = store.metadata("train")
    assert "n0149" not in known["id"]
    records = {record.id: record for record in source.plan()}
    for place in (2, 3, 9, 10, 146):
        wave = source.load(records[known["id"][place]], None).wave
        np.testing.assert_allclose(store.audio("train", [place])[0], wave, atol=1e-4)


def test_a_judge_leaves_out(tmp_path):
    def judge(waves, pitches, f0):
        assert waves.shape == (64, 64000)
        return ["not harmonic (odd)" if hertz % 2 else "" for hertz in f0]

    store = build(tmp_path / "store", judge=judge)
    assert store.length("train") == 75
    assert (store.metadata("train")["f0_hz"] % 2 == 0).all()
    with pytest.raises(ValueError, match="no sound is left: 240 silent") as error:
        build(tmp_path / "other", judge=lambda waves, pitches, f0: ["silent"] * len(waves))
    assert "doctor.csv" in str(error.value)
    assert not (tmp_path / "other").exists()


def test_interrupted_it_goes_on_and_ends_the_same(store, tmp_path):
    out = tmp_path / "store"
    calls = []
    for stop_at in (1, 2, 2, 3):  # batches until the "power cut"
        seen = []

        def judge(waves, pitches, f0, seen=seen, stop_at=stop_at):
            seen.append(len(waves))
            if len(seen) > stop_at:
                raise KeyboardInterrupt
            return [""] * len(waves)

        try:
            build(out, judge=judge)
        except KeyboardInterrupt:
            assert not out.exists()
            with pytest.raises(StoreError, match="no such store"):
                Store.open(out)
            with pytest.raises(StoreError, match="no finished store"):
                Store.open(tmp_path / "store.partial")
        calls.append(len(seen))
    assert out.exists()
    assert calls == [2, 3, 3, 1]  # 6 shards of one batch each; none is made twice but the one that was cut off
    assert contents(out) == contents(store.path)


def test_finished_work_is_not_done_again(store):
    before = contents(store.path)
    again = build(store.path, judge=lambda *_: pytest.fail("loaded again"))
    assert contents(again.path) == before


def test_a_damaged_shard_is_made_again(store, tmp_path):
    out = tmp_path / "store"

    def judge(waves, pitches, f0, seen=[]):  # noqa: B006
        seen.append(1)
        if len(seen) > 4:
            raise KeyboardInterrupt
        return [""] * len(waves)

    with pytest.raises(KeyboardInterrupt):
        build(out, judge=judge)
    shard = next((tmp_path / "store.partial").glob("train-00001*"))
    os.truncate(shard, 70_000)
    build(out)
    assert contents(out) == contents(store.path)


def test_other_settings_are_refused(store, tmp_path):
    other = ListedSource(name="other")
    with pytest.raises(ValueError, match="holds a store of other settings or files; name another --out or add --overwrite"):
        build(store.path, other)
    out = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        build(out, judge=_interrupt)
    with pytest.raises(ValueError, match="unfinished work of other settings"):
        build(out, other)
    assert build(out, other, overwrite=True).index["settings"]["source"]["name"] == "other"
    assert build(out, ListedSource(name="third"), overwrite=True).index["settings"]["source"]["name"] == "third"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="is there already and is no store"):
            build(tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep me"


def _interrupt(*_):
    raise KeyboardInterrupt


def test_two_at_once_are_refused(tmp_path):
    def judge(waves, pitches, f0):
        with pytest.raises(ValueError, match="another prepare is writing here"):
            build(tmp_path / "store")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "store", judge=judge)


def test_nothing_asked_for(tmp_path):
    with pytest.raises(ValueError, match="no sound of the source is asked for"):
        build(tmp_path / "store", ListedSource(counts=()))


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
from tests.helpers.notes import ListedSource
from timbre_jax.data.prepare.build import build_store
try:
    build_store(ListedSource(), sys.argv[1], workers=1, shard_size=64, progress=False)
except ValueError as error:
    print("said:", error)
"""


def test_a_disk_that_does_not_take_it(store, tmp_path):
    """The system refuses files over 3 MB, in the middle of the first shard; afterwards the same command goes on."""
    out = tmp_path / "store"
    ran = subprocess.run([sys.executable, "-c", FULL, str(out)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    said = ran.stdout.strip()
    assert said.startswith("said:")
    assert "File too large" in said
    assert "make room" in said
    assert "\n" not in said
    assert not out.exists()
    build(out)
    assert contents(out) == contents(store.path)


KILLED = """
import sys
from tests.helpers.notes import ListedSource
from timbre_jax.data.prepare.build import build_store
if __name__ == "__main__":
    build_store(ListedSource(delay=0.004), sys.argv[1], workers=2, shard_size=64, progress=False)
"""


@pytest.mark.slow
def test_killed_at_random_moments(store, tmp_path):
    """kill -9 of the whole command twenty times over; what is left is never a store, and the end is the same."""
    script = tmp_path / "make.py"
    script.write_text(KILLED)
    out, generator, kills, finished = tmp_path / "store", random.Random(5), 0, 0
    while kills < 20:
        process = subprocess.Popen(
            [sys.executable, str(script), str(out)], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        try:
            process.wait(timeout=generator.uniform(0.2, 2.5))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
            finished += 1
            assert contents(out) == contents(store.path)
            for file in out.iterdir():
                file.unlink()
            out.rmdir()
        if out.exists():
            assert Store.open(out).length("train") == 150
            assert {n: d for n, d in contents(out).items() if "preparing" not in n and n != ".lock"} == contents(store.path)
            build(out, overwrite=True)
            subprocess.run(["rm", "-r", str(out)], check=True)
    assert contents(build(out).path) == contents(store.path)


@pytest.mark.slow
def test_no_process_is_left_behind(tmp_path):
    script = tmp_path / "make.py"
    script.write_text(KILLED.replace("0.004", "0.5"))
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "store")], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    children: list[int] = []
    deadline = time.time() + 30
    while len(children) < 3 and time.time() < deadline:  # two loading processes and the resource tracker
        time.sleep(0.1)
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        children = [int(line) for line in found.stdout.split()]
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(children) >= 3
    deadline = time.time() + 15
    while any(os.path.exists(f"/proc/{child}") for child in children) and time.time() < deadline:
        time.sleep(0.2)
    assert not [child for child in children if os.path.exists(f"/proc/{child}")]


def test_opening_what_is_no_store(tmp_path):
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(StoreError, match="not the index of a store"):
        Store.open(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(StoreError, match="not readable as JSON"):
        Store.open(tmp_path)
    (tmp_path / "index.json").write_text('{"format": "timbre_jax store", "version": 99}')
    with pytest.raises(StoreError, match="a store of version 99, version 2 is read"):
        Store.open(tmp_path)


def test_a_missing_shard_is_said(tmp_path):
    store = build(tmp_path / "store", ListedSource(counts=(("train", 3),)))
    (store.path / "train-00000-of-00001.array_record").unlink()
    with pytest.raises(StoreError, match=r"train-00000-of-00001\.array_record is missing"):
        Store.open(store.path)
