"""Stores are complete or absent, and interrupted runs resume to the same bytes."""

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

from tests.helpers.library import report_rows, write_library
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


def test_store_contains_every_planned_sound(store):
    assert store.splits == ("train", "valid", "test")
    assert [store.length(split) for split in store.splits] == [150, 20, 70]
    source = ListedSource()
    records = source.plan()
    for split, first in (("train", 0), ("valid", 150), ("test", 170)):
        known = store.metadata(split)
        numbers = [records[first + place].location for place in range(store.length(split))]
        assert known["id"].tolist() == [f"n{number:04d}" for number in numbers]
        assert known["index"].tolist() == numbers
        assert known["f0_hz"].tolist() == [100.0 + number for number in numbers]
        assert known["pitch"].dtype == np.int64
        places = [len(numbers) - 1, 0, 5, 5]
        expected = np.stack([source.load(records[first + place], None).wave for place in places])
        np.testing.assert_allclose(store.audio(split, places), expected, atol=1 / 65536 + 1e-7)
    assert sorted(p.name for p in store.path.iterdir()) == sorted(
        ["index.json", "records.csv", "doctor.csv", "doctor.md"]
        + [f"train-0000{n}-of-00003.array_record" for n in range(3)]
        + [f"test-0000{n}-of-00002.array_record" for n in range(2)]
        + ["valid-00000-of-00001.array_record"]
    )


def test_positions_out_of_range_are_rejected(store):
    with pytest.raises(StoreError, match=r"no split 'dev' \(the splits are train, valid, test\)"):
        store.audio("dev", [0])
    with pytest.raises(IndexError):
        store.audio("valid", [20])
    with pytest.raises(IndexError):
        store.audio("valid", [-1])


def test_bytes_do_not_depend_on_workers(store, tmp_path):
    assert contents(build(tmp_path / "store", workers=2).path) == contents(store.path)


def test_unreadable_and_duplicate_notes_are_left_out(tmp_path):
    # 149 is the last note of train and 150 the first of valid: the copy in train is left out.
    source = ListedSource(broken=(3, 200), copies=(11, 150))
    store = build(tmp_path / "store", source)
    left_out = {name: row["left_out"] for name, row in report_rows(store).items() if row["kept"] == "0"}
    assert left_out == {
        "n0003": "unreadable (RuntimeError: this note cannot be had)",
        "n0200": "unreadable (RuntimeError: this note cannot be had)",
        "n0011": "duplicate (the same samples as n0010)",
        "n0149": "duplicate (the same samples as n0150)",
    }
    assert store.index["doctor"]["left_out"] == {"unreadable": 2, "duplicate": 2}
    assert [store.length(split) for split in store.splits] == [147, 20, 69]
    # The positions of other notes follow.
    known = store.metadata("train")
    assert "n0149" not in known["id"]
    records = {record.id: record for record in source.plan()}
    for place in (2, 3, 9, 10, 146):
        wave = source.load(records[known["id"][place]], None).wave
        np.testing.assert_allclose(store.audio("train", [place])[0], wave, atol=1e-4)


def test_quality_check_leaves_out_sounds(tmp_path):
    def check(waves, pitches, f0):
        assert waves.shape == (64, 64000)
        return ["not harmonic (odd)" if hertz % 2 else "" for hertz in f0]

    store = build(tmp_path / "store", quality_check=check)
    assert store.length("train") == 75
    assert (store.metadata("train")["f0_hz"] % 2 == 0).all()
    with pytest.raises(ValueError, match=r"no sound is left \(240 silent\)") as error:
        build(tmp_path / "other", quality_check=lambda waves, pitches, f0: ["silent"] * len(waves))
    assert "doctor.csv" in str(error.value)
    assert not (tmp_path / "other").exists()


def test_interrupted_run_resumes_to_the_same_bytes(store, tmp_path):
    out = tmp_path / "store"
    calls = []
    for stop_at in (1, 2, 2, 3):  # batches until the interruption
        seen = []

        def check(waves, pitches, f0, seen=seen, stop_at=stop_at):
            seen.append(len(waves))
            if len(seen) > stop_at:
                raise KeyboardInterrupt
            return [""] * len(waves)

        try:
            build(out, quality_check=check)
        except KeyboardInterrupt:
            assert not out.exists()
            with pytest.raises(StoreError, match="no such store"):
                Store.open(out)
            with pytest.raises(StoreError, match="not a finished store"):
                Store.open(tmp_path / "store.partial")
        calls.append(len(seen))
    assert out.exists()
    assert calls == [2, 3, 3, 1]  # 6 shards of one batch; only interrupted ones are repeated
    assert contents(out) == contents(store.path)


def test_finished_store_is_opened(store):
    before = contents(store.path)
    again = build(store.path, quality_check=lambda *_: pytest.fail("loaded again"))
    assert contents(again.path) == before


def test_damaged_shard_is_written_again(store, tmp_path):
    out = tmp_path / "store"

    def check(waves, pitches, f0, seen=[]):  # noqa: B006
        seen.append(1)
        if len(seen) > 4:
            raise KeyboardInterrupt
        return [""] * len(waves)

    with pytest.raises(KeyboardInterrupt):
        build(out, quality_check=check)
    shard = next((tmp_path / "store.partial").glob("train-00001*"))
    os.truncate(shard, 70_000)
    build(out)
    assert contents(out) == contents(store.path)


def test_folder_with_other_settings_is_refused(store, tmp_path):
    other = ListedSource(name="other")
    with pytest.raises(ValueError, match="contains a store with other settings or files; use another --out or add --overwrite"):
        build(store.path, other)
    out = tmp_path / "store"
    with pytest.raises(KeyboardInterrupt):
        build(out, quality_check=_interrupt)
    with pytest.raises(ValueError, match="unfinished work with other settings"):
        build(out, other)
    assert build(out, other, overwrite=True).index["settings"]["source"]["name"] == "other"
    assert build(out, ListedSource(name="third"), overwrite=True).index["settings"]["source"]["name"] == "third"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep me")
    for overwrite in (False, True):
        with pytest.raises(ValueError, match="exists and is not a store"):
            build(tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep me"


def _interrupt(*_):
    raise KeyboardInterrupt


def test_second_run_in_one_folder_is_refused(tmp_path):
    def check(waves, pitches, f0):
        with pytest.raises(ValueError, match="in use by another prepare"):
            build(tmp_path / "store")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "store", quality_check=check)


def test_empty_selection_is_rejected(tmp_path):
    with pytest.raises(ValueError, match="the settings select no sound"):
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


def test_full_disk_is_reported_and_the_run_resumes(store, tmp_path):
    """Limits files to 3 MB, which ends the run within the first shard."""
    out = tmp_path / "store"
    process = start(tmp_path, out, workers=1, before=SMALL_FILES)
    said = process.communicate()[1].strip().splitlines()[-1]
    assert process.returncode == 1
    assert said.startswith("ValueError: ")
    assert "File too large" in said
    assert "; free disk space" in said
    assert not out.exists()
    build(out)
    assert contents(out) == contents(store.path)


@pytest.mark.slow
def test_killed_runs_leave_no_store_and_resume(store, tmp_path):
    """Kills the command twenty times at random moments."""
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
def test_loading_processes_end_with_a_killed_run(tmp_path):
    process = start(tmp_path, tmp_path / "store", delay=0.5)
    children: list[int] = []
    deadline = time.time() + 30
    while len(children) < 3 and time.time() < deadline:  # two loading processes and the resource tracker
        time.sleep(0.1)
        listed = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        children = [int(line) for line in listed.stdout.split()]
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
        ('{"format": "timbre_jax store", "version": 99}', r"unknown version of the store \(got 99, expected 2\)"),
    ],
)
def test_invalid_index_is_rejected(tmp_path, index, message):
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(StoreError, match=message):
        Store.open(tmp_path)


def test_missing_shard_is_reported(tmp_path):
    store = build(tmp_path / "store", ListedSource(counts=(("train", 3),)))
    (store.path / "train-00000-of-00001.array_record").unlink()
    with pytest.raises(StoreError, match=r"train-00000-of-00001\.array_record is missing"):
        Store.open(store.path)


LOAD = """
import sys
from timbre_jax.data.importers.{module} import {source}
from timbre_jax.data.prepare import build
source = {source}(number=1, path=tuple(sys.argv[1:]))
result = build._load_sound(source, next(record for record in source.plan() if not record.left_out), None)
assert result.pcm is not None, result
assert "jax" not in sys.modules and "librosa" not in sys.modules
"""


@pytest.mark.parametrize(("module", "source"), [("soundfont", "SoundFontImporter"), ("folder", "FolderImporter")])
def test_loading_does_not_import_jax(module, source, tmp_path):
    paths = [str(write_library(tmp_path / "drums", 1))] if module == "folder" else []
    code = LOAD.format(module=module, source=source)
    ran = subprocess.run([sys.executable, "-c", code, *paths], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
