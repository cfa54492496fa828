"""Sample libraries: classes, copies, lengths, sample rates and unreadable files."""

import hashlib
import os
import re
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers.library import BROKEN, REASONS, build, columns_by_id, hit, report_rows, write, write_broken, write_library
from timbre_jax.data.importers.folder import FolderImporter
from timbre_jax.data.store import Store


def wave_of(store: Store, name: str) -> np.ndarray:
    split, known = columns_by_id(store)[name]
    return store.audio(split, [known["position"]])[0][: known["samples"]]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    return write_library(tmp_path_factory.mktemp("library") / "drums", 120)


@pytest.fixture(scope="module")
def store(library, tmp_path_factory) -> Store:
    return build(tmp_path_factory.mktemp("stores") / "drums", library)


def test_store_contains_all_files_with_class_split_and_level(library, store):
    assert (store.sample_rate, store.samples, store.variable) == (16000, 32000, False)
    assert [store.length(split) for split in ("train", "valid", "test")] == [96, 12, 12]
    for split, (train, other) in (("train", (32, 32)), ("valid", (4, 4)), ("test", (4, 4))):
        assert Counter(store.metadata(split)["family"].tolist()) == {"kick": train, "snare": other, "hat": other}
    known = columns_by_id(store)
    assert set(known) == {str(path.relative_to(library)) for path in library.rglob("*.wav")}
    _, row = known["kick/00000.wav"]
    assert (row["instrument"], row["source"]) == ("kick/00000.wav", "kick")
    assert (row["pitch"], row["velocity"], row["f0_hz"]) == (-1, -1, 0.0)
    for name, (split, row) in known.items():
        original, _ = soundfile.read(library / name)
        assert row["samples"] == pytest.approx(len(original) * 16 / 44.1, abs=2)
        assert store.lengths(split, [row["position"]]).tolist() == [row["samples"]]
        wave = store.audio(split, [row["position"]])[0]
        assert not wave[row["samples"] :].any()
        assert np.sqrt(np.mean(wave[: row["samples"]] ** 2)) == pytest.approx(np.sqrt(np.mean(original**2)), rel=0.1)


def test_equal_settings_give_equal_bytes_and_other_seeds_other_splits(library, store, tmp_path):
    def digests(of):
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in of.path.iterdir() if path.is_file()}

    assert digests(build(tmp_path / "again", library)) == digests(store)
    other = build(tmp_path / "other", library, seed=1)
    assert {name: split for name, (split, _) in columns_by_id(other).items()} != {
        name: split for name, (split, _) in columns_by_id(store).items()
    }
    assert [other.length(split) for split in other.splits] == [96, 12, 12]


def test_interrupted_split_resumes_without_loading_again(library, store, tmp_path, monkeypatch):
    out = tmp_path / "store"
    arrange, load = FolderImporter.arrange, FolderImporter.load

    def cut(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(FolderImporter, "arrange", cut)
    with pytest.raises(KeyboardInterrupt):
        build(out, library)
    assert not out.exists()
    monkeypatch.setattr(FolderImporter, "arrange", arrange)
    monkeypatch.setattr(FolderImporter, "load", lambda *_: pytest.fail("loaded again"))
    again = build(out, library)
    assert again.index["fingerprint"] == store.index["fingerprint"]
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in store.path.iterdir())
    monkeypatch.setattr(FolderImporter, "load", load)


def test_changed_files_change_the_fingerprint(tmp_path):
    folder = write_library(tmp_path / "drums", 6)
    store = build(tmp_path / "store", folder)
    assert build(tmp_path / "store", folder).index == store.index
    write(folder / "kick" / "00000.wav", hit(99))
    with pytest.raises(ValueError, match="with other settings or files"):
        build(tmp_path / "store", folder)
    # Files may be equal in name, size and time but not in their samples, for which features must not be mixed up.
    path, state = folder / "kick" / "00000.wav", os.stat(folder / "kick" / "00000.wav")
    one = build(tmp_path / "one", folder)
    write(path, hit(98))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    other = build(tmp_path / "other", folder)
    assert one.index["plan"] == other.index["plan"]
    assert one.index["fingerprint"] != other.index["fingerprint"]


@pytest.mark.parametrize(("suffix", "options"), [
    (".wav", {}), (".wav", {"subtype": "FLOAT"}), (".wav", {"subtype": "PCM_24"}), (".aiff", {}), (".flac", {}), (".ogg", {}),
    (".mp3", {}),
])  # fmt: skip
def test_all_formats_are_read(tmp_path, suffix, options):
    wave = hit(3, seconds=0.5)
    write(tmp_path / "in" / f"a{suffix}", np.stack([wave, 0.5 * wave], axis=1), **options)
    store = build(tmp_path / "store", tmp_path / "in", sample_rate=44100)
    stored = wave_of(store, f"a{suffix}")
    expected = 0.75 * wave
    assert np.corrcoef(stored[:8000], expected[: len(stored)][:8000])[0, 1] > (0.9 if suffix in (".ogg", ".mp3") else 0.9999)
    assert np.abs(stored).max() == pytest.approx(np.abs(expected).max(), rel=0.1)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_resampling_keeps_frequency_and_level(tmp_path, rate):
    write(tmp_path / "in" / "a.wav", (0.5 * np.sin(2 * np.pi * 1000 * np.arange(32000) / 32000)).astype(np.float32), 32000)
    store = build(tmp_path / "store", tmp_path / "in", sample_rate=rate, seconds=1.0)
    wave = wave_of(store, "a.wav")
    assert store.sample_rate == rate
    assert len(wave) == pytest.approx(rate, abs=rate * 0.001)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    assert np.argmax(spectrum) * rate / len(wave) == pytest.approx(1000, abs=1.5)
    assert np.sqrt(np.mean(wave[200:-200] ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.01)


def test_short_and_long_sounds_are_kept_cut_or_left_out(tmp_path):
    """Imports 1 ms to 41 s into stores of fixed and of variable length."""
    folder = tmp_path / "in"
    write(folder / "click.wav", hit(1, seconds=0.008))
    write(folder / "tiny.wav", hit(2, seconds=0.001))
    time = np.arange(41 * 8000) / 8000
    write(folder / "drone.wav", (0.3 * np.sin(2 * np.pi * 200 * time) * (1 + 0.5 * np.sin(time))).astype(np.float32), 8000)
    write(folder / "hit.wav", hit(3, seconds=1.0))
    fixed = build(tmp_path / "fixed", folder, seconds=2.0)
    rows = report_rows(fixed)
    assert {name for name, row in rows.items() if row["kept"] == "1"} == {"click.wav", "drone.wav", "hit.wav"}
    assert rows["tiny.wav"]["left_out"] == "too short (0.001 s)"
    assert "cut to 2 s (41.0 s)" in rows["drone.wav"]["remarks"]
    lengths = {name: int(row["samples"]) for name, (_, row) in columns_by_id(fixed).items()}
    assert lengths == {"click.wav": 128, "drone.wav": 32000, "hit.wav": pytest.approx(16000, abs=50)}
    assert fixed.audio("train", [0]).shape == (1, 32000)
    variable = build(tmp_path / "variable", folder, seconds=0.0, max_seconds=40.0, sample_rate=8000)
    lengths = {name: int(row["samples"]) for name, (_, row) in columns_by_id(variable).items()}
    assert lengths == {"click.wav": 64, "drone.wav": 320_000, "hit.wav": pytest.approx(8000, abs=50)}
    assert (variable.variable, variable.samples) == (True, 320_000)
    assert "cut to 40 s (41.0 s)" in report_rows(variable)["drone.wav"]["remarks"]
    size = sum(path.stat().st_size for path in variable.path.glob("*.array_record"))
    assert size < 1.5 * 2 * sum(lengths.values())  # padding would take three times as much


def test_trim_cuts_silence(tmp_path):
    wave = hit(4, seconds=0.3)
    late = np.concatenate([np.zeros(22050, np.float32), wave, np.zeros(44100, np.float32)])
    write(tmp_path / "in" / "late.wav", late)
    trimmed = build(tmp_path / "trimmed", tmp_path / "in")
    assert wave_of(trimmed, "late.wav").shape[0] == pytest.approx(0.302 * 16000, abs=20)
    assert "silence before the onset cut (0.498 s)" in report_rows(trimmed)["late.wav"]["remarks"]
    whole = build(tmp_path / "whole", tmp_path / "in", trim=False)
    assert wave_of(whole, "late.wav").shape[0] == pytest.approx(1.8 * 16000, abs=20)
    cut = build(tmp_path / "cut", tmp_path / "in", trim=False, sample_rate=44100, seconds=1.0)
    assert "cut to 1 s (1.8 s)" in report_rows(cut)["late.wav"]["remarks"]


def test_copies_stay_in_one_split(tmp_path):
    """Imports twenty hits with six copies of each under other names."""
    folder, generator = tmp_path / "in", np.random.default_rng(0)
    for number in range(20):
        wave = hit(number, seconds=0.2)
        write(folder / "a" / f"{number:02d}.wav", wave)
        (folder / "b").mkdir(exist_ok=True)
        shutil.copy(folder / "a" / f"{number:02d}.wav", folder / "b" / f"same {number}.wav")
        write(folder / "b" / f"quiet {number}.wav", 0.1 * wave, subtype="PCM_24")
        write(folder / "c" / f"late {number}.wav", np.concatenate([np.zeros(generator.integers(1, 5000)), wave]))
        write(folder / "c" / f"48k {number}.wav", soxr(wave, 48000), 48000)
        write(folder / "c" / f"22k {number}.wav", soxr(wave, 22050), 22050)
        write(folder / "c" / f"long {number}.wav", np.concatenate([0.7 * wave, np.zeros(9000)]))
    one = build(tmp_path / "one", folder)
    assert set(columns_by_id(one)) == {f"a/{number:02d}.wav" for number in range(20)}
    assert one.index["doctor"]["left_out"] == {"duplicate": 120}
    reasons = {name: row["left_out"] for name, row in report_rows(one).items()}
    assert reasons["b/same 3.wav"] == "duplicate (the same samples as a/03.wav)"
    assert reasons["b/quiet 3.wav"] == "duplicate (sounds like a/03.wav)"
    every = build(tmp_path / "all", folder, duplicates="all")
    known = columns_by_id(every)
    assert len(known) == 140
    for name, (split, row) in known.items():
        number = int(name.split("/")[1].split(".")[0].split()[-1])
        assert row["instrument"] == f"a/{number:02d}.wav"
        assert split == known[f"a/{number:02d}.wav"][0]
        assert "copies in several classes" in row["remarks"]
    exact = build(tmp_path / "exact", folder, duplicates="exact")
    assert not {name for name in columns_by_id(exact) if "same" in name}
    assert {f"b/quiet {number}.wav" for number in range(20)} <= set(columns_by_id(exact))


def soxr(wave, rate):
    from timbre_jax.audio.io import resample

    return resample(wave, 44100, rate)


def test_unreadable_files_are_reported_and_others_kept(tmp_path):
    folder = write_library(tmp_path / "lib", 12)
    for kind in BROKEN:
        write_broken(folder / "bad" / f"{kind}.wav", kind)
    (folder / "bad" / "really text.mp3").write_text("no")
    (folder / "notes.txt").write_text("mine")
    (folder / "kit.xml").write_text("<a/>")
    (folder / "bad" / "phone.m4a").write_bytes(b"no matter what")
    write(folder / ".hidden" / "a.wav", hit(50))
    write(folder / "kick" / "._00000.wav", hit(51))
    write(folder / "__MACOSX" / "a.wav", hit(52))
    os.symlink(folder, folder / "kick" / "loop")
    os.symlink("..", folder / "snare" / "up")
    os.symlink(folder / "nowhere.wav", folder / "bad" / "link.wav")
    os.mkfifo(folder / "bad" / "pipe.wav")
    (folder / "bad" / "folder.wav").mkdir()
    write(folder / "hat" / "same.wav", hit(60))
    write(folder / "hat" / "same.flac", hit(61))
    store = build(tmp_path / "store", folder)
    rows = report_rows(store)
    good = {str(path.relative_to(folder)) for name in ("kick", "snare", "hat") for path in (folder / name).glob("[!.]*.*")}
    assert {name for name, row in rows.items() if row["kept"] == "1"} == good
    assert len(good) == 14
    for kind in BROKEN:
        assert rows[f"bad/{kind}.wav"]["left_out"].split(" (")[0] == REASONS[kind]
        assert "\n" not in rows[f"bad/{kind}.wav"]["left_out"]
        assert rows[f"bad/{kind}.wav"]["split"] == ""
    assert rows["bad/link.wav"]["left_out"] == "unreadable (broken link)"
    assert rows["bad/pipe.wav"]["left_out"] == "unreadable (not a regular file)"
    assert rows["bad/really text.mp3"]["left_out"].startswith("unreadable (bad/really text.mp3: not a readable sound file (")
    assert rows["bad/phone.m4a"]["left_out"].startswith("unreadable (.m4a files are not supported")
    assert "io." not in rows["bad/really text.mp3"]["left_out"]
    assert not {"notes.txt", "kit.xml", ".hidden/a.wav", "kick/._00000.wav", "__MACOSX/a.wav"} & set(rows)
    assert (tmp_path / "store" / "doctor.md").read_text().startswith("# Quality report: sounds of lib\n")


def test_equal_paths_in_two_folders_get_distinct_ids(tmp_path):
    one, other, third = tmp_path / "x" / "kit", tmp_path / "y" / "kit", tmp_path / "more"
    for number, folder in enumerate((one, other, third)):
        write(folder / "kick" / "a.wav", hit(number))
        write(folder / "top.wav", hit(10 + number))
    store = build(tmp_path / "store", one, other, third)
    known = columns_by_id(store)
    assert set(known) == {f"{root}/{name}" for root in ("kit~1", "kit~2", "more") for name in ("kick/a.wav", "top.wav")}
    np.testing.assert_allclose(wave_of(store, "kit~2/kick/a.wav")[:50], soxr(hit(1), 16000)[:50], atol=1e-4)
    assert known["more/top.wav"][1]["family"] == known["more/top.wav"][1]["source"] == "more"
    # A folder in another folder counts once.
    inner = build(tmp_path / "inner", third, third / "kick")
    assert set(columns_by_id(inner)) == {"more/kick/a.wav", "more/top.wav"}


def test_classes_follow_from_folders_words_or_are_none(tmp_path):
    folder = tmp_path / "Kits"
    names = ("A/Kicks/Deep/x1.wav", "A/HatOpen-Hard.wav", "B/CB_02.wav", "B/unknown 7.wav", "loop_snare.wav", "Toms/9.wav")
    for number, name in enumerate(names):
        write(folder / name, hit(number))
    (folder / "B" / "drumkit.xml").write_text(
        "<drumkit_info><instrumentList><instrument><name>Crash &amp; Left</name><layer><filename>CB_02.wav</filename></layer>"
        "</instrument><instrument><id>2</id></instrument><instrument><name>Broken"
    )

    def labels(**settings):
        return [record.family for record in FolderImporter((str(folder),), **settings).plan()]

    order = [record.id for record in FolderImporter((str(folder),)).plan()]
    assert order == [names[1], names[0], names[2], names[3], names[5], names[4]]
    assert labels() == ["A", "Deep", "B", "B", "Toms", "Kits"]
    assert labels(classes="top_folder") == ["A", "A", "B", "B", "Toms", "Kits"]
    assert labels(classes="words") == ["hihat", "kick", "cymbal", "unlabeled", "tom", "unlabeled"]
    assert labels(classes="none") == ["unlabeled"] * 6
    table = tmp_path / "mine.txt"
    table.write_text("strange: unknown\ndeep: deep\n")
    assert labels(classes=str(table)) == ["unlabeled", "deep", "unlabeled", "strange", "unlabeled", "unlabeled"]
    records = FolderImporter((str(folder),), classes="words", unlabeled=False, families=("kick", "unlabeled")).plan()
    assert {record.id: record.left_out for record in records if not record.left_out or "class" not in record.left_out} == {
        names[0]: ""
    }
    assert [record.source for record in records] == ["A", "A", "B", "B", "Toms", "Kits"]
    with pytest.raises(ValueError, match=r"families=drum: .*\(the classes are cymbal, hihat, kick, tom, unlabeled\)"):
        FolderImporter((str(folder),), classes="words", families=("drum",)).plan()


def test_fractions_and_number_are_balanced_over_classes(library, tmp_path):
    store = build(tmp_path / "store", library, splits=(0.5, 0.0, 0.5), number=30)
    assert store.splits == ("train", "test")
    assert [store.length("train"), store.length("test")] == [15, 15]
    assert store.index["doctor"]["left_out"] == {"not selected": 90}
    families = Counter(row["family"] for _, row in columns_by_id(store).values())
    assert families == {"kick": 10, "snare": 10, "hat": 10}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": "worlds"}, "classes=worlds: must be folder, top_folder, words, none or a file"),
        ({"sample_rate": 7999}, "sample_rate=7999: must be from 8000 to 48000 Hz"),
        ({"sample_rate": 96000}, "sample_rate=96000"),
        ({"seconds": -1.0}, "seconds=-1: must be from 0 to 600"),
        ({"seconds": float("nan")}, "seconds=nan"),
        ({"seconds": 0.0, "max_seconds": 0.0}, "seconds=0: needs max_seconds above 0"),
        ({"seconds": 0.001}, "seconds=0.001: must be at least 0.002"),
        ({"splits": (0.8, 0.1)}, "splits=80,10: must be percentages of train, valid and test"),
        ({"splits": (0.8, 0.3, -0.1)}, "that sum to 100"),
        ({"splits": (0.0, 0.5, 0.5)}, "that sum to 100"),
        ({"duplicates": "some"}, "duplicates=some: must be one of one, exact, all"),
        ({"number": -1}, "number=-1"),
    ],
)
def test_invalid_settings_are_rejected(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        FolderImporter(("x",), **settings)
