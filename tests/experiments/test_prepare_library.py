"""Tests of the program that prepares stores, with sample libraries and drum kits."""

import os
import signal
import time
from collections import Counter

import pytest

from tests.helpers.library import doctor_of, hit, write, write_broken, write_library
from tests.helpers.processes import run, start
from timbre_jax.data.importers.library import parse_fractions
from timbre_jax.data.prepare.make_store import prepare
from timbre_jax.data.store import Store

PREPARE = ("-m", "experiments.prepare")


def test_library_with_broken_files_is_prepared_by_two_processes(tmp_path):
    folder = write_library(tmp_path / "my drums", 400, broken=0.02)
    arguments = ["--source=folder", f"--path={folder}", f"--out={tmp_path / 'store'}"]
    ran = run(*PREPARE, *arguments, "--workers=2")
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0].endswith("store: 314 train, 39 valid, 39 test")
    assert lines[1] == "16000 Hz, 0.050 to 0.15 s, 0.10 s on average; padded to 2 s"
    assert lines[2] == "3 classes: hat 131, kick 131, snare 130"
    assert lines[3] == "kept 392 of 400 sounds; left out: 6 unreadable, 1 constant offset, 1 silent"
    assert "400/400" in ran.stderr  # progress bar
    store = Store.open(tmp_path / "store")
    rows = doctor_of(store)
    assert len(rows) == 400
    assert Counter(row["kept"] for row in rows.values()) == {"1": 392, "0": 8}
    before = (store.path / "index.json").stat().st_mtime_ns
    again = run(*PREPARE, *arguments)
    assert again.returncode == 0
    assert again.stdout == ran.stdout
    assert (store.path / "index.json").stat().st_mtime_ns == before
    other = run(*PREPARE, *arguments, "--seconds=0")
    assert other.returncode == 1
    assert "with other settings or files" in other.stderr


@pytest.mark.slow
def test_ten_thousand_files_give_the_same_store_after_three_kills(tmp_path):
    folder = write_library(tmp_path / "lib", 10_000, broken=0.02)
    whole = prepare(source="folder", path=[str(folder)], out=str(tmp_path / "whole"), workers=2, progress=False)
    assert whole.index["doctor"]["notes"] == 10_000
    left_out = whole.index["doctor"]["left_out"]
    assert {reason: left_out[reason] for reason in ("unreadable", "silent", "constant offset")} == {
        "unreadable": 134, "silent": 33, "constant offset": 33,
    }  # fmt: skip
    arguments = ["--source=folder", f"--path={folder}", f"--out={tmp_path / 'store'}", "--workers=2", "--progress=false"]
    for seconds in (8, 12, 16):
        process = start(*PREPARE, *arguments)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    ran = run(*PREPARE, *arguments)
    assert ran.returncode == 0, ran.stderr
    store = Store.open(tmp_path / "store")
    assert store.index == whole.index
    assert (store.path / "records.csv").read_text() == (whole.path / "records.csv").read_text()


def test_classes_come_from_drum_words_or_from_a_file(tmp_path):
    names = ("PearlKick-Soft", "sd_02", "HatOpen", "mystery 1", "mystery 2")
    for number, name in enumerate(names):
        write(tmp_path / "kits" / "A" / f"{name}.wav", hit(number))
    (tmp_path / "mine.txt").write_text("odd: mystery\n")
    base = {"source": "folder", "path": [str(tmp_path / "kits")], "workers": 1, "progress": False}

    def families(store):
        return Counter(family for split in store.splits for family in store.metadata(split)["family"].tolist())

    words = prepare(out=str(tmp_path / "words"), classes="words", **base)
    assert families(words) == {"kick": 1, "snare": 1, "hihat": 1, "unlabeled": 2}
    mine = prepare(out=str(tmp_path / "mine"), classes=str(tmp_path / "mine.txt"), unlabeled=False, **base)
    assert families(mine) == {"odd": 2}
    some = prepare(out=str(tmp_path / "some"), classes="words", families=["kick", "hihat"], **base)
    assert families(some) == {"kick": 1, "hihat": 1}


def test_drum_kits_of_the_default_bank_are_rendered(tmp_path):
    ran = run(
        *PREPARE, "--source=kits", f"--out={tmp_path / 's'}", "--number=40", "--velocities=100", "--workers=1", "--seconds=0.5"
    )
    assert ran.returncode == 0, ran.stderr
    store = Store.open(tmp_path / "s")
    assert store.samples == 8000
    kept = sum(store.length(split) for split in store.splits)
    assert kept >= 25
    assert f"kept {kept} of " in ran.stdout
    assert {100} == set(store.metadata("train")["velocity"].tolist())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--source=folder",), "--path: missing; give a folder"),
        (("--source=folder", "--path={}/none"), "none: no such folder"),
        (("--source=folder", "--path={}/text"), "no sound files (got 1 other files"),
        (("--source=folder", "--path={}/broken"), "no sound is left (1 unreadable)"),
        (("--source=folder", "--path={}/lib", "--classes=wrods"), "--classes=wrods: must be folder"),
        (
            ("--source=folder", "--path={}/lib", "--families=tuba"),
            "no sound has this class (the classes are hat, kick, snare)",
        ),
        (("--source=folder", "--path={}/lib", "--splits=80,20"), "must be percentages of train, valid and test"),
        (("--source=folder", "--path={}/lib", "--splits=most"), "--splits=most: must be"),
        (("--source=folder", "--path={}/lib", "--seconds=-1"), "--seconds=-1: must be from 0 to 600"),
        (("--source=folder", "--path={}/lib", "--pitches=40"), "--pitches is for --source=soundfont or phrases or nsynth"),
        (("--source=folder", "--path={}/lib", "--keep_all"), "--keep_all is for"),
        (("--seconds=1",), "--seconds is for --source=folder or kits or drums or recordings or phrases, not for soundfont"),
        (("--source=kits", "--classes=words"), "--classes is for --source=folder"),
        (("--source=drums", "--path={}/lib"), "--path: not allowed with --source=drums"),
        (("--source=kits", "--path={}/lib"), "is a folder; give the .sf2 file"),
    ],
)
def test_wrong_input_is_a_one_line_error(tmp_path, arguments, message):
    write_library(tmp_path / "lib", 3)
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("words")
    write_broken(tmp_path / "broken" / "a.wav", "text")
    ran = run(*PREPARE, f"--out={tmp_path / 's'}", *(argument.format(tmp_path) for argument in arguments))
    assert ran.returncode == 1
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert "Traceback" not in ran.stderr
    assert not os.path.exists(tmp_path / "s")


def test_shares_are_read_from_percent():
    assert parse_fractions("80,10,10") == (0.8, 0.1, 0.1)
    with pytest.raises(ValueError, match="percentages of train, valid and test"):
        parse_fractions("80;10")
