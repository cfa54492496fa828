"""Bad input through the commands' own functions: a clear line each, and everything else is done all the same.

What the other files here ask already (a text file, silence, noise in prepare; unreadable files in generate; damaged
checkpoints in tests/test_checkpoint.py) is not asked again.
"""

from __future__ import annotations

import csv
import json
import resource
import shutil

import numpy as np
import pytest
import soundfile

import timbre_jax
from tests.helpers.evaluations import evaluate
from tests.helpers.notes import example_entry, note_name, note_wave, some_notes, write_nsynth
from tests.helpers.processes import run
from tests.helpers.runs import assert_same_run, small_config, small_sources
from tests.helpers.sounds import harmonic_tone
from timbre_jax.data.prepare.make_store import prepare
from timbre_jax.generation.generate import generate
from timbre_jax.generation.settings import Reconstruct, Sample
from timbre_jax.report.analyze_run import AnalysisSettings, analyze_run
from timbre_jax.training.loop import train_and_evaluate

pytestmark = pytest.mark.xdist_group("small_analysis")


def one_line(error) -> bool:
    return "\n" not in str(error.value) and len(str(error.value)) < 500


def write(path, wave, rate=16000, subtype="PCM_16"):
    soundfile.write(path, wave, rate, subtype=subtype)


def write_cut(path):
    write(path, note_wave(60))
    path.write_bytes(path.read_bytes()[:20000])


def with_nan():
    wave = note_wave(60)
    wave[100] = np.nan
    return wave


def tone(seconds, rate=16000):
    return harmonic_tone(261.6, [0.3, 0.1, 0.05], length=seconds * rate, rate=rate)


FILES = {
    "truncated": (write_cut, "cut short (its header promises 64000 samples, 9978 are present)", ""),
    "NaN": (lambda p: write(p, with_nan(), subtype="FLOAT"), "NaN or infinite in 1 of 64000 samples", ""),
    "no samples": (lambda p: write(p, np.zeros(0, np.float32)), "contains no samples", ""),
    "no bytes": (lambda p: p.write_bytes(b""), "not a readable sound file", ""),
    "a folder": (lambda p: p.mkdir(), "is a folder", ""),
    "stereo": (lambda p: write(p, np.stack([note_wave(60), note_wave(60, seed=1)], 1)), "", "mixed to mono (2 channels)"),
    "44.1 kHz": (lambda p: write(p, tone(4, 44100), 44100), "", "resampled (44100 Hz)"),
    "8 bit": (lambda p: write(p, note_wave(60, seed=2), subtype="PCM_U8"), "", ""),
    "ten minutes": (lambda p: write(p, tone(600)), "", "cut to 4 s (600.0 s)"),
}
"""What it is: how to write it, why it is left out ("": it is kept), what is remarked."""


def test_prepare_keeps_what_can_be_used_and_says_why_of_the_rest(tmp_path):
    folder = write_nsynth(tmp_path / "nsynth", some_notes(pitches=(48,)))
    entries = json.loads((folder / "examples.json").read_text())
    names = {what: note_name(f"reed_acoustic_{n:03d}", 60) for n, what in enumerate(FILES)}
    for what, (writer, _, _) in FILES.items():
        writer(folder / "audio" / f"{names[what]}.wav")
        entries[names[what]] = example_entry(names[what])
    (folder / "examples.json").write_text(json.dumps(entries))
    store = prepare(source="nsynth", path=[str(folder)], out=str(tmp_path / "store"), keep_all=True, workers=1, progress=False)
    with open(store.path / "doctor.csv", encoding="utf-8") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    for what, (_, reason, remark) in FILES.items():
        row = rows[names[what]]
        assert row["kept"] == ("0" if reason else "1"), what
        assert reason in row["left_out"], what
        assert row["left_out"].startswith("unreadable (") == bool(reason), what
        assert row["remarks"] == remark, what
    kept = [split for split in store.splits for _ in range(store.length(split))]
    assert len(kept) == 2 + sum(not reason for _, reason, _ in FILES.values())
    for split in store.splits:
        waves = store.audio(split, range(store.length(split)))
        assert waves.shape[1] == 64000
        assert (np.abs(waves).max(axis=1) > 0.05).all()


def test_generate_uses_what_it_can_and_remarks_on_it(pca_run, tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    write(folder / "offset.wav", np.full(64000, 0.3, np.float32))
    write(folder / "ten minutes.wav", tone(600))
    write(folder / "名前 ☃.wav", tone(4))
    (folder / "no bytes.wav").write_bytes(b"")
    (folder / "folder.wav").mkdir()
    (folder / "notes.txt").write_text("not meant")
    manifest = generate(pca_run, tmp_path / "out", Reconstruct(files=[folder]))
    assert [error["file"].split("/")[-1] for error in manifest["errors"]] == ["no bytes.wav"]
    remarks = {sound["file"][4:]: sound["remarks"] for sound in manifest["sounds"]}
    assert sorted(remarks) == sorted(
        f"{name}_{what}.wav" for name in ("offset", "ten_minutes", "名前") for what in ("original", "reconstruction")
    )
    assert remarks["offset_original.wav"] == ["constant offset: what comes out tells of the model, not of this file"]
    assert remarks["ten_minutes_original.wav"] == ["cut to the first 4 s"]
    assert remarks["名前_original.wav"] == []


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def change_json(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda s: (s / "index.json").unlink(), "no finished store"),
        (lambda s: cut(s / "index.json"), "not readable as JSON"),
        (lambda s: change_json(s / "index.json", version=9), "a store of version 9, version 2 is read"),
        (lambda s: change_json(s / "index.json", format="x"), "not the index of a store"),
        (lambda s: next(s.glob("test-*")).unlink(), r"test-00000-of-00001.array_record is missing; copy it again"),
        (lambda s: cut(next(s.glob("test-*"))), r"test-00000-of-00001.array_record: damaged or cut short .*make the store"),
        (lambda s: next(s.glob("test-*")).write_bytes(b"x" * 10), "array_record: damaged or cut short"),
        (lambda s: (s / "records.csv").write_text("a,b\n"), r"records.csv: not the columns"),
    ],
)
def test_a_damaged_store_is_one_line(pca_run, small_store, tmp_path, damage, message):
    store = shutil.copytree(small_store, tmp_path / "store", ignore=shutil.ignore_patterns("features"))
    damage(store)
    with pytest.raises(ValueError, match=message) as error:
        evaluate([pca_run], tmp_path / "out", store=store, sounds=0, progress=False)
    assert one_line(error)


def test_damaged_features_are_one_line_that_says_how_to_have_them_again(pca_run, small_store, tmp_path):
    store = shutil.copytree(small_store, tmp_path / "store", ignore=shutil.ignore_patterns("features"))
    table = evaluate([pca_run], tmp_path / "out", store=store, sounds=0, progress=False)
    file = next((store / "features").glob("*/test-*.features"))
    cut(file)
    with pytest.raises(ValueError, match=f"damaged or cut short .*delete {file.parent} to have") as error:
        evaluate([pca_run], tmp_path / "out", store=store, sounds=0, progress=False)
    assert one_line(error)
    shutil.rmtree(file.parent)  # as the message says
    again = evaluate([pca_run], tmp_path / "out", store=store, sounds=0, progress=False)
    assert again.column("mse") == table.column("mse")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "config.json").unlink(), "is not a run: it has no config.json"),
        (lambda r: cut(r / "config.json"), r"config.json cannot be read"),
        (lambda r: change_json(r / "config.json", format=9), "has format 9, written by timbre_jax"),
        (lambda r: shutil.rmtree(r / "best"), "has no checkpoint yet"),
        (lambda r: max(r.glob("best/*/arrays/**/d/*")).unlink(), "has lost its file arrays/"),
        (lambda r: cut(next(r.glob("best/*/document.json"))), r"document.json is damaged"),
    ],
)
@pytest.mark.parametrize("command", ["analyze", "generate"])
def test_a_damaged_run_is_one_line(pca_run, tmp_path, damage, message, command):
    workdir = shutil.copytree(pca_run, tmp_path / "run")
    damage(workdir)
    call = {
        "analyze": lambda *a: analyze_run(AnalysisSettings(*a, progress=False)),
        "generate": lambda *a: generate(*a, Sample()),
    }[command]
    with pytest.raises(ValueError, match=message) as error:
        call(workdir, tmp_path / "out")
    assert one_line(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_lost_space_comes_back_by_the_same_command(tmp_path):
    """Of a finished run, where nothing else would be left to do; and of one that goes on."""

    def train(workdir, steps):
        return train_and_evaluate(small_config(steps=steps), workdir, sources=small_sources(), progress=False)

    whole, workdir = tmp_path / "whole", tmp_path / "run"
    train(whole, 20)
    shutil.copytree(whole, workdir)
    space, result = timbre_jax.load(workdir), train(workdir, 20)
    shutil.rmtree(workdir / "best")
    with pytest.raises(ValueError, match="run its training command again"):
        timbre_jax.load(workdir)
    assert train(workdir, 20) == result
    again = timbre_jax.load(workdir)
    for name in ("latent_mean", "latent_std"):
        np.testing.assert_allclose(again.statistics[name], space.statistics[name], atol=1e-6)
    shutil.rmtree(workdir / "best")
    train(workdir, 40)
    train(whole, 40)
    assert_same_run(workdir, whole)


def test_a_full_disk_while_sounds_are_made(pca_run, tmp_path):
    """No file may grow beyond 50 kB, which is what a full disk does to large files; with room again all is done."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(ValueError, match=r"sample_000\.wav: could not be written .*full") as error:
            generate(pca_run, tmp_path, Sample(number=2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert one_line(error)
    assert not list(tmp_path.glob("*.wav"))
    assert len(generate(pca_run, tmp_path, Sample(number=2))["sounds"]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.json", "sample_000.wav", "sample_001.wav"]


BEST = "--config=notes_best"


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (("train", "--config=TMP/text.py", "--workdir=TMP/run"), "text.py is no configuration file: SyntaxError", 2),
        (("train", BEST, "--workdir=TMP/run", "--config.model.latent_size=0"), "latent_size must be more than 0, not 0", 1),
        (("train", BEST, "--workdir=TMP/run", "--config.augment.tilt_db=-1"), "tilt_db must not be negative, not -1", 1),
        (("train", BEST, "--workdir=TMP/run", "--config.augment.nyquist=1"), "no field config.augment.nyquist", 2),
        (("train", BEST, "--workdir=TMP/run", "--config.data.store=TMP"), "no finished store (it has no index.json)", 1),
        (("generate", "--workdir=TMP", "--out=TMP/text.py"), "text.py is a file; sounds need a folder", 1),
        (("generate", "--workdir=TMP", "--out=TMP/text.py/out"), "is not a run", 1),
        (("analyze", "--workdir=~/no-such-run", "--out=TMP/out"), "there is no run TMP/home/no-such-run", 1),
    ],
)
def test_a_wrong_command_is_one_line(arguments, message, code, tmp_path):
    (tmp_path / "text.py").write_text("this is a text\n")
    command, *options = (argument.replace("TMP", str(tmp_path)) for argument in arguments)
    done = run(f"experiments/{command}.py", *options, HOME=str(tmp_path / "home"))
    assert message.replace("TMP", str(tmp_path)) in done.stderr
    assert done.returncode == code
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.py"]
