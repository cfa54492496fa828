"""Tests of the program that prepares stores, with notes."""

import hashlib
import random
import signal
import subprocess
import time

import numpy as np
import pytest
import soundfile

from tests.helpers.library import report_rows
from tests.helpers.notes import note_name, note_wave, some_notes, write_nsynth
from tests.helpers.processes import run, start
from tests.helpers.soundfont import one_preset, sine_sample
from timbre_jax.data.importers.options import parse_midi_numbers
from timbre_jax.data.prepare.make_store import prepare
from timbre_jax.data.prepare.summary import describe_store
from timbre_jax.data.store import Store

PREPARE = ("-m", "experiments.prepare")


def test_midi_numbers_are_read_from_ranges_and_lists():
    assert parse_midi_numbers("40-43,60, 62") == (40, 41, 42, 43, 60, 62)
    for text in ("4o", "40-", "-3", "a-b", "96-40"):
        with pytest.raises(ValueError, match="must be a MIDI number"):
            parse_midi_numbers(text)


def test_bad_notes_are_left_out_with_their_reason_and_good_notes_are_kept(tmp_path):
    good = some_notes(("bass_synthetic_001", "vocal_acoustic_777"), pitches=(45, 57, 81))
    generator = np.random.default_rng(0)
    bad = {
        "silent": np.zeros(64000, np.float32),
        "constant offset": np.full(64000, 0.2, np.float32),
        "not harmonic": generator.normal(0, 0.1, 64000).astype(np.float32),
        "too short": note_wave(60, length=2000),
        "unreadable": note_wave(60),
        "duplicate": good[note_name("bass_synthetic_001", 57)],
    }
    names = {reason: note_name(f"reed_acoustic_{n:03d}", 57) for n, reason in enumerate(bad)}
    low = note_name("bass_synthetic_001", 30)
    waves = {**good, **{names[reason]: wave for reason, wave in bad.items()}, low: note_wave(30)}
    missing = note_name("bass_synthetic_001", 99)
    folder = write_nsynth(tmp_path / "nsynth-test ünï ☃", waves, extra=[missing])
    (folder / "audio" / f"{names['unreadable']}.wav").write_text("a text file")
    stereo = note_name("flute_acoustic_009", 60)
    soundfile.write(folder / "audio" / f"{'x' * 240}.wav", note_wave(60), 16000)
    soundfile.write(folder / "audio" / f"{stereo}.wav", np.stack([note_wave(60, seed=5)] * 2, axis=1), 16000)
    store = prepare(source="nsynth", path=[str(folder)], out=str(tmp_path / "store"), workers=1, progress=False)
    rows = report_rows(store)
    assert {row["id"] for row in rows.values() if row["kept"] == "1"} == set(good)
    for reason, name in names.items():
        assert rows[name]["left_out"].split(" (")[0] == reason
    assert rows[low]["left_out"] == "pitch out of range (46 Hz)"
    assert rows[missing]["left_out"].startswith("unreadable (")
    assert "no sound file" in rows[missing]["left_out"]
    for unlisted in ("x" * 240, stereo):
        assert rows[unlisted]["left_out"] == "unreadable (not in examples.json)"
    assert store.index["doctor"]["kept"] == len(good) == store.length("test")
    known = store.metadata("test")
    for place, name in enumerate(known["id"]):
        np.testing.assert_allclose(store.audio("test", [place])[0], good[name], atol=6e-5)
    page = (store.path / "doctor.md").read_text()
    assert f"{len(good)} of {len(rows)} sounds kept" in page


@pytest.mark.parametrize("held_out", ["bass_synthetic_001", "flute_acoustic_002"])
def test_instruments_in_two_splits_cause_a_warning(tmp_path, held_out):
    # As in gansynth_subset of tensorflow-datasets.
    write_nsynth(tmp_path / "nsynth-train", some_notes(("bass_synthetic_001", "reed_acoustic_003"), pitches=(45, 57)))
    write_nsynth(tmp_path / "nsynth-test", some_notes((held_out,), pitches=(50,)))
    store = prepare(
        out=str(tmp_path / "store"), source="nsynth", path=[str(tmp_path)], keep_all=True, workers=1, progress=False
    )
    assert (store.length("train"), store.length("test")) == (4, 1)
    warnings = [line for line in describe_store(store).splitlines() if line.startswith("warning")]
    assert [line.split(",")[0] for line in warnings] == (
        ["warning: 1 instruments are both in train and held-out"] if held_out == "bass_synthetic_001" else []
    )


def test_most_rendered_notes_are_kept_and_have_the_pitch_of_the_player(tmp_path):
    from timbre_jax.representations import HarmonicTracks

    store = prepare(out=str(tmp_path / "store"), number=64, workers=1, progress=False)
    assert store.index["doctor"]["notes"] == 64
    assert store.length("train") >= 38
    assert store.index["doctor"]["kept"] >= 54
    tracks = HarmonicTracks()
    known = store.metadata("train")
    count = min(store.length("train"), 64)
    waves = np.zeros((64, 64000), np.float32)
    waves[:count] = store.audio("train", range(count))
    quality = tracks.quality(waves)
    cents = 1200 * np.log2(np.asarray(quality["f0"])[:count] / known["f0_hz"][:count])
    steady = known["pitch_moves"][:count] == 0
    assert steady.mean() > 0.7
    assert np.mean(np.abs(cents[steady]) < 10) > 0.9


def test_program_makes_a_store_once_and_refuses_other_settings(tmp_path):
    bank = one_preset(tmp_path / "tone.sf2", sample=sine_sample(seconds=0.2))
    arguments = [f"--path={bank}", f"--out={tmp_path / 'store'}", "--pitches=60-63,72", "--velocities=100", "--number=0"]
    ran = run(*PREPARE, *arguments, "--keep_all")
    assert ran.returncode == 0, ran.stderr
    assert "kept 5 of 5 sounds" in ran.stdout
    assert f"Wrote {tmp_path / 'store'}\n" in ran.stdout
    assert "Next:\n  python experiments/train.py --config=notes_best --workdir=runs/store" in ran.stdout
    assert "5/5" in ran.stderr  # progress bar
    store = Store.open(tmp_path / "store")
    split = store.splits[0]
    assert store.metadata(split)["pitch"].tolist() == [60, 61, 62, 63, 72]
    before = (store.path / "index.json").stat().st_mtime_ns
    again = run(*PREPARE, *arguments, "--keep_all")
    assert again.returncode == 0
    assert (store.path / "index.json").stat().st_mtime_ns == before
    other = run(*PREPARE, *arguments, "--keep_all", "--velocities=90")
    assert other.returncode == 1
    assert "with other settings or files" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--out: missing"),
        (("--out={}/s", "--path={}/none.sf2"), "no such file"),
        (("--out={}/s", "--path={}/sf3.sf2"), "got SF3"),
        (("--out={}/s", "--source=nsynth", "--path={}/none"), "no such folder or file"),
        (("--out={}/s", "--source=nsynth", "--path={}/empty"), "is empty"),
        (("--out={}/s", "--source=nsynth"), "--path: missing"),
        (("--out={}/s", "--source=tfds", "--path={}/empty"), "no dataset_info.json"),
        (("--out={}/s", "--pitches=40-9x"), "must be a MIDI number"),
        (("--out={}/s", "--pitches=all"), "--pitches=all: only allowed for nsynth and tfds"),
        (("--out={}/s", "--families=drums"), "--families=drums: must be one of"),
        (("--out={}/file/s",), "Not a directory"),
    ],
)
def test_wrong_input_is_a_one_line_error(tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    one_preset(tmp_path / "sf3.sf2", sample=sine_sample(kind=0x11))
    ran = run(*PREPARE, *(argument.format(tmp_path) for argument in arguments))
    assert ran.returncode == 1
    assert message in ran.stderr
    assert len(ran.stderr.strip().splitlines()) == 1
    assert "Traceback" not in ran.stderr + ran.stdout
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_store_is_the_same_to_the_bit_after_kills_at_random_moments(tmp_path):
    arguments = ["--number=900", "--keep_all", "--noprogress", "--workers=2"]

    def contents(folder):
        return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir()) if f.is_file()}

    assert run(*PREPARE, *arguments, f"--out={tmp_path / 'whole'}").returncode == 0
    generator, kills, out = random.Random(1), 0, tmp_path / "killed"
    for _ in range(20):
        process = start(*PREPARE, *arguments, f"--out={out}")
        try:
            assert process.wait(timeout=generator.uniform(0.5, 6.0)) == 0
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        if out.exists():
            break
    assert kills >= 2
    assert run(*PREPARE, *arguments, f"--out={out}").returncode == 0
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("workers", [1, 2])
def test_ctrl_c_stops_and_says_how_to_resume(tmp_path, workers):
    bank = one_preset(tmp_path / "tone.sf2", sample=sine_sample(seconds=0.2))
    arguments = [f"--path={bank}", f"--out={tmp_path / 'store'}", "--number=0", "--pitches=40-96", "--keep_all"]
    process = start(*PREPARE, *arguments, "--velocities=1-127", f"--workers={workers}")
    while not list(tmp_path.glob("store.partial/.*.tmp*")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, shown = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command resumes the work" in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "store").exists()
