"""A store is made whole or not at all, goes on where it was killed, and ends the same."""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.library import doctor_of, write_library
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
    left_out = {name: row["left_out"] for name, row in doctor_of(store).items() if row["kept"] == "0"}
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


SCRIPT = """
import sys
from tests.helpers.notes import ListedSource
from timbre_jax.data.prepare.build import build_store
if __name__ == "__main__":
    build_store(ListedSource(delay={delay}), sys.argv[1], workers={workers}, shard_size=64, progress=False)
"""
SMALL_FILES = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, resource.RLIM_INFINITY))
"""


def start(folder, out, *, delay=0.0, workers=2, before="") -> subprocess.Popen:
    """Makes a store in another process."""
    script = folder / "make.py"
    script.write_text(before + SCRIPT.format(delay=delay, workers=workers))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, script, out], cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def test_a_disk_that_does_not_take_it(store, tmp_path):
    """The system refuses files over 3 MB, in the middle of the first shard; afterwards the same command goes on."""
    out = tmp_path / "store"
    process = start(tmp_path, out, workers=1, before=SMALL_FILES)
    said = process.communicate()[1].strip().splitlines()[-1]
    assert process.returncode == 1
    assert said.startswith("ValueError: ")
    assert "File too large" in said
    assert "; make room" in said
    assert not out.exists()
    build(out)
    assert contents(out) == contents(store.path)


@pytest.mark.slow
def test_killed_at_random_moments(store, tmp_path):
    """kill -9 of the whole command twenty times over; what is left is never a store, and the end is the same."""
    out, generator, kills, finished = tmp_path / "store", random.Random(5), 0, 0
    while kills < 20:
        process = start(tmp_path, out, delay=0.004)
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
            shutil.rmtree(out)
        if out.exists():
            assert Store.open(out).length("train") == 150
            assert {n: d for n, d in contents(out).items() if "preparing" not in n and n != ".lock"} == contents(store.path)
            build(out, overwrite=True)
            shutil.rmtree(out)
    assert contents(build(out).path) == contents(store.path)


@pytest.mark.slow
def test_no_process_is_left_behind(tmp_path):
    process = start(tmp_path, tmp_path / "store", delay=0.5)
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


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("{}", "not the index of a store"),
        ("{", "not readable as JSON"),
        ('{"format": "timbre_jax store", "version": 99}', "a store of version 99, version 2 is read"),
    ],
)
def test_opening_what_is_no_store(tmp_path, index, message):
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(StoreError, match=message):
        Store.open(tmp_path)


def test_a_missing_shard_is_said(tmp_path):
    store = build(tmp_path / "store", ListedSource(counts=(("train", 3),)))
    (store.path / "train-00000-of-00001.array_record").unlink()
    with pytest.raises(StoreError, match=r"train-00000-of-00001\.array_record is missing"):
        Store.open(store.path)


LOAD = """
import sys
from timbre_jax.data.importers.{module} import {source}
from timbre_jax.data.prepare import build
source = {source}(number=1, path=tuple(sys.argv[1:]))
verdict = build._load_sound(source, next(record for record in source.plan() if not record.left_out), None)
assert verdict.pcm is not None, verdict
assert "jax" not in sys.modules and "librosa" not in sys.modules
"""


@pytest.mark.parametrize(("module", "source"), [("soundfont", "SoundFontSource"), ("folder", "FolderSource")])
def test_loading_does_not_import_jax(module, source, tmp_path):
    paths = [str(write_library(tmp_path / "drums", 1))] if module == "folder" else []
    code = LOAD.format(module=module, source=source)
    ran = subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
