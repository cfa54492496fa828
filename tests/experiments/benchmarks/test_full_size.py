"""Tests of the benchmarks at full size, on a small scale."""

import csv

import numpy as np
import pytest

from experiments.benchmarks import full_size
from experiments.benchmarks.configs import Tones
from experiments.benchmarks.synthetic_nsynth import FORMS, SPLITS, notes, write_nsynth
from timbre_jax.data.features import cached_features
from timbre_jax.data.importers.base import AudioFormat
from timbre_jax.data.importers.nsynth import NSynthImporter
from timbre_jax.data.importers.tfds import TfdsImporter
from timbre_jax.data.prepare.build import build_store
from timbre_jax.data.store import Store
from timbre_jax.representations import LogMel

COUNTS = {"train": 7, "valid": 2, "test": 2}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_synthetic_nsynth_is_imported(form, tmp_path):
    folder = write_nsynth(tmp_path / "nsynth", form, COUNTS)
    source = (TfdsImporter if form.endswith("record") else NSynthImporter)(path=(str(folder),))
    records = source.plan()
    waves = {}
    for position, payload in source.fetch(records, range(len(records))):
        record = records[position]
        waves[record.split, record.id] = source.load(record, payload).wave
    expected = {(split, name): wave / 32768 for split, count in COUNTS.items() for name, wave in notes(split, count)}
    assert waves.keys() == expected.keys()
    for key, wave in expected.items():
        np.testing.assert_array_equal(waves[key], wave.astype(np.float32), err_msg=str(key))


def test_full_size_has_the_splits_and_instruments_of_nsynth():
    from experiments.benchmarks.synthetic_nsynth import _name

    names = {split: {_name(split, place) for place in range(count)} for split, count in SPLITS.items()}
    assert {split: len(part) for split, part in names.items()} == SPLITS == {"train": 289205, "valid": 12678, "test": 4096}
    assert not names["valid"] & names["test"]
    instruments = {split: {name.rsplit("-", 2)[0] for name in part} for split, part in names.items()}
    assert not instruments["train"] & (instruments["valid"] | instruments["test"])
    assert len(set().union(*instruments.values())) == 1006


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_prepare_is_killed_and_resumed(form):
    speed, memory = full_size.run(f"{form}:4000")
    assert (speed["name"], memory["name"]) == (f"full_size/{form}", f"full_size/{form}/memory")
    assert speed["ours"] > 100
    assert 0.02 < memory["ours"] < 2.0


def test_store_is_repeated_with_its_features(tmp_path):
    audio_format, mel = AudioFormat(16000, 2000, min_seconds=0.01), LogMel(n_mels=4, n_frames=3, length=2000)
    small = build_store(
        Tones(audio_format, (("train", 70), ("valid", 5))), tmp_path / "small", workers=1, shard_size=64, progress=False
    )
    features = {split: cached_features(small, split, mel, progress=False) for split in ("train", "valid")}
    ranges = features["train"].ranges()
    large = Store.open(full_size.repeat_store(small.path, tmp_path / "large", mel, 150))
    assert (large.length("train"), large.length("valid")) == (210, 5)
    known = large.metadata("train")
    assert known["position"].tolist() == list(range(210))
    assert len(set(known["id"])) == 210
    places = [69, 70, 139, 209]
    np.testing.assert_array_equal(large.audio("train", places), small.audio("train", [69, 0, 69, 69]))
    again = cached_features(large, "train", mel, progress=False)
    assert len(again) == 210
    np.testing.assert_array_equal(again.read(places).values, features["train"].read([69, 0, 69, 69]).values)
    assert len(np.unique(again.index)) == 210
    np.testing.assert_array_equal(again.ranges()[0], ranges[0])
    with open(large.path / "records.csv", newline="") as file:
        assert {int(row["shard"]) for row in csv.DictReader(file) if row["split"] == "train"} == set(range(6))


def test_usage_of_a_process_includes_its_descendants():
    child = "import time; memory = bytearray(150_000_000); [None for _ in range(3_000_000)]; time.sleep(30)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    done = full_size.measure_usage(["-c", parent], stop_when=lambda memory: memory > 140e6, every=0.1)
    assert done.killed
    assert 140e6 < done.memory < 400e6
    assert 0.02 < done.cpu_seconds < 5
    assert not full_size.measure_usage(["-c", "pass"], every=0.05).killed
    with pytest.raises(ValueError, match=r"-c raise SystemExit.*: exit code 1 \(no way\)"):
        full_size.measure_usage(["-c", "raise SystemExit('no way')"], every=0.05)


def test_unknown_names_are_refused():
    for name in ("nothing", "folder:many", "folder:"):
        with pytest.raises(ValueError, match=f"full_size/{name}: unknown benchmark; the benchmarks are full_size/folder"):
            full_size.run(name)
