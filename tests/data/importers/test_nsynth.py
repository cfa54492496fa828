import json
import os
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers.notes import example_entry, note_wave, some_notes, tar_folder, write_nsynth
from timbre_jax.data.importers.nsynth import NSynthImporter, read_examples
from timbre_jax.data.prepare.build import build_store

NOTE_FORMAT = some_notes(("bass_synthetic_001", "flute_acoustic_002", "vocal_synthetic_003"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_nsynth(tmp_path_factory.mktemp("nsynth") / "nsynth-test", NOTE_FORMAT)


def load_all(source):
    records = source.plan()
    expected = [place for place, record in enumerate(records) if record.split]
    loaded = {}
    for place, payload in source.fetch(records, expected):
        try:
            loaded[records[place].id] = source.load(records[place], payload)
        except ValueError as error:
            loaded[records[place].id] = str(error)
    return records, loaded


def check(source, waves=None):
    waves = NOTE_FORMAT if waves is None else waves
    records, loaded = load_all(source)
    assert sorted(loaded) == sorted(waves)
    for name, wave in waves.items():
        np.testing.assert_allclose(loaded[name].wave, wave, atol=4e-5)
        assert loaded[name].remarks == ()
    for record in records:
        entry = example_entry(record.id)
        assert (record.instrument, record.family, record.source, record.pitch, record.velocity) == (
            entry["instrument_str"], entry["instrument_family_str"], entry["instrument_source_str"], entry["pitch"],
            entry["velocity"],
        )  # fmt: skip
    return records


def test_folder_is_read(folder):
    assert {record.split for record in check(NSynthImporter(path=(str(folder),)))} == {"test"}
    check(NSynthImporter(path=(str(folder.parent),)))  # folder of parts


@pytest.mark.parametrize("json_last", [False, True])
def test_archive_is_read_without_unpacking(folder, tmp_path, json_last):
    path = tar_folder(folder, tmp_path / "nsynth-valid.jsonwav.tar.gz", json_last=json_last)
    assert {record.split for record in check(NSynthImporter(path=(str(path),)))} == {"valid"}
    assert os.listdir(tmp_path) == [path.name]


def test_names_of_parts_are_their_splits(tmp_path):
    for number, split in enumerate(("train", "valid", "test")):
        write_nsynth(tmp_path / f"nsynth-{split}", some_notes((f"bass_synthetic_{number:03d}",)))
    tar_folder(tmp_path / "nsynth-test", tmp_path / "other-test.tar.gz")
    paths = tuple(str(tmp_path / f"nsynth-{split}") for split in ("train", "valid", "test"))
    assert Counter(r.split for r in NSynthImporter(path=paths).plan()) == {"train": 3, "valid": 3, "test": 3}
    mixed = (*paths[:2], str(tmp_path / "other-test.tar.gz"))
    _, loaded = load_all(NSynthImporter(path=mixed))
    assert len(loaded) == 9
    assert not [value for value in loaded.values() if isinstance(value, str)]


def test_wav_is_preferred_to_flac(tmp_path):
    folder = write_nsynth(tmp_path / "flac", NOTE_FORMAT, suffix=".flac")
    check(NSynthImporter(path=(str(folder),)))
    name = next(iter(NOTE_FORMAT))
    soundfile.write(folder / "audio" / f"{name}.wav", NOTE_FORMAT[name], 16000)
    assert len(check(NSynthImporter(path=(str(folder),)))) == len(NOTE_FORMAT)


def test_file_names_replace_a_missing_examples_json(tmp_path):
    folder = write_nsynth(tmp_path / "n", NOTE_FORMAT)
    (folder / "examples.json").unlink()
    soundfile.write(folder / "audio" / "my recording.wav", note_wave(60), 16000)
    records, loaded = load_all(NSynthImporter(path=(str(folder),)))
    assert sorted(loaded) == sorted(NOTE_FORMAT)
    assert {r.id: r.left_out for r in records if r.left_out} == {"my recording": "unreadable (not a name of NSynth)"}


def test_split_file_and_selection_leave_out_notes_with_reasons(folder, tmp_path):
    named = tmp_path / "split.json"
    named.write_text(json.dumps({"train": ["bass_synthetic_001"], "test": ["flute_acoustic_002"]}))
    records = NSynthImporter(path=(str(folder),), split_file=str(named)).plan()
    assert Counter((r.split, r.left_out) for r in records) == {
        ("train", ""): 3, ("test", ""): 3, ("", "not selected (instrument not in the split file)"): 3,
    }  # fmt: skip
    records = NSynthImporter(path=(str(folder),), families=("bass", "vocal"), pitches=(48, 60)).plan()
    assert Counter(r.left_out for r in records) == {
        "": 4, "not selected (family)": 3, "not selected (pitch)": 2,
    }  # fmt: skip
    records = NSynthImporter(path=(str(folder),), velocities=(25,)).plan()
    assert {r.left_out for r in records} == {"not selected (velocity)"}


def test_number_is_drawn_evenly_and_seeded(folder):
    def chosen(number, seed):
        records = NSynthImporter(path=(str(folder),), number=number, seed=seed).plan()
        return [record.id for record in records if record.split]

    four = chosen(4, 0)
    assert len(four) == 4
    assert set(Counter(name.rsplit("-", 2)[0] for name in four).values()) == {1, 2}
    assert chosen(4, 0) == four
    assert len({tuple(chosen(4, seed)) for seed in range(6)}) > 1
    assert len(chosen(0, 0)) == len(chosen(99, 0)) == 9


def test_splits_are_drawn_by_instrument_if_no_name_states_them(tmp_path):
    names = tuple(f"{family}_acoustic_{n:03d}" for family in ("bass", "flute") for n in range(10))
    folder = tmp_path / "sounds"
    (folder / "audio").mkdir(parents=True)
    (folder / "examples.json").write_text(json.dumps({f"{n}-060-100": example_entry(f"{n}-060-100") for n in names}))
    records = NSynthImporter(path=(str(folder),)).plan()
    assert Counter(record.split for record in records) == {"train": 16, "valid": 2, "test": 2}
    assert {record.family for record in records if record.split == "test"} == {"bass", "flute"}
    _, loaded = load_all(NSynthImporter(path=(str(folder),)))
    assert set(loaded.values()) == {f"{n}-060-100: no sound file (expected from examples.json)"
                                    for n in names}  # fmt: skip


def test_unusual_files_are_kept_with_a_remark_or_left_out_with_a_reason(tmp_path):
    """Covers stereo, other rates, 8 bits, wrong lengths, and files without sound."""
    name = "bass_synthetic_001-0{}-100"
    waves = {name.format(n): note_wave(60) for n in range(40, 51)}
    folder = write_nsynth(tmp_path / "odd", waves)
    audio = folder / "audio"

    def write(n, wave, rate=16000, **more):
        soundfile.write(audio / f"{name.format(n)}.wav", wave, rate, **more)

    write(40, np.stack([note_wave(60), np.zeros(64000)], axis=1))
    write(41, np.zeros(176400), 44100)
    write(42, note_wave(60), subtype="PCM_U8")
    write(43, np.tile(note_wave(60), 150))
    write(44, note_wave(60, length=30000))
    (audio / f"{name.format(45)}.wav").write_text("no sound")
    os.truncate(audio / f"{name.format(46)}.wav", 3000)
    bad = note_wave(60)
    bad[7] = np.nan
    write(47, bad, subtype="FLOAT")
    (audio / f"{name.format(48)}.wav").write_bytes(b"")
    write(49, np.zeros(0))
    (audio / f"{name.format(50)}.wav").unlink()
    (audio / f"{name.format(50)}.wav").mkdir()
    _, loaded = load_all(NSynthImporter(path=(str(folder),)))
    remarks = {n: loaded[name.format(n)].remarks for n in range(40, 45)}
    assert remarks == {
        40: ("mixed to mono (2 channels)",), 41: ("resampled (44100 Hz)",), 42: (), 43: ("cut to 4 s (600.0 s)",),
        44: ("padded to 4 s (1.88 s)",),
    }  # fmt: skip
    np.testing.assert_allclose(loaded[name.format(40)].wave, note_wave(60) / 2, atol=4e-5)
    assert loaded[name.format(41)].wave.shape == (64000,)
    np.testing.assert_allclose(loaded[name.format(42)].wave, note_wave(60), atol=8e-3)
    assert loaded[name.format(43)].wave.shape == (64000,)
    reasons = {
        45: "not a readable", 46: "cut short", 47: "NaN or infinite", 48: "not a readable", 49: "contains no samples",
        50: "is a folder",
    }  # fmt: skip
    for n, reason in reasons.items():
        assert reason in loaded[name.format(n)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none", "no such folder or file"),
        (lambda p: p, "is empty; give the folder with examples.json"),
        (lambda p: (p / "a.txt").write_text("x") and p, "contains no examples.json"),
        (lambda p: (p / "a.txt").write_text("x") and p / "a.txt", "not an NSynth folder or"),
        (lambda p: (p / "a.tar.gz").write_text("x") and p / "a.tar.gz", "damaged archive"),
        (lambda p: (p / "audio").mkdir() or p, "no notes"),
        (lambda p: (p / "examples.json").write_text("[1, 2]") and p, "not an examples.json of NSynth"),
        (lambda p: (p / "examples.json").write_text('{"a": {"pitch": 1}}') and p, "has no pitch, velocity or instrument"),
        (lambda p: (p / "examples.json").write_text('{"a": {"pit') and p, "not an examples.json of NSynth"),
    ],
)
def test_other_files_are_rejected(tmp_path, make, message):
    with pytest.raises(ValueError, match=message) as error:
        NSynthImporter(path=(str(make(tmp_path)),)).plan()
    assert "\n" not in str(error.value)


def test_damaged_archive_is_reported(folder, tmp_path):
    path = tar_folder(folder, tmp_path / "nsynth-test.tar.gz")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match=r"damaged archive .*download it again"):
        NSynthImporter(path=(str(path),)).plan()


def test_invalid_settings_are_rejected():
    with pytest.raises(ValueError, match="families=drums: must be one of bass"):
        NSynthImporter(families=("drums",))
    with pytest.raises(ValueError, match="pitches=200: must be MIDI numbers"):
        NSynthImporter(pitches=(60, 200))
    with pytest.raises(ValueError, match="--path: missing"):
        NSynthImporter().plan()


@pytest.mark.parametrize("indent", [None, 1])
def test_examples_json_is_read_across_blocks(tmp_path, indent):
    """Covers entries across blocks, escapes, and names in other alphabets."""
    names = [f"bass_synthetic_{n:03d}-{p:03d}-100" for n in range(40) for p in range(30)]
    entries = {name: {**example_entry(name), "comment": 'ü "quoted" \\ {}[],:' * (n % 7)} for n, name in enumerate(names)}
    path = tmp_path / "examples.json"
    path.write_text(json.dumps(entries, indent=indent, ensure_ascii=False), encoding="utf-8")
    assert path.stat().st_size > 2 << 18
    with open(path, "rb") as file:
        records = read_examples(file, name="examples.json")
    assert list(records) == names
    assert all(records[name].pitch == entries[name]["pitch"] for name in names)


REAL = Path(os.environ.get("TIMBRE_TEST_DATA", "/nowhere")) / "nsynth"


@pytest.mark.skipif(not REAL.is_dir(), reason="real NSynth notes are not there (TIMBRE_TEST_DATA)")
def test_real_notes_equal_their_files():
    source = NSynthImporter(path=(str(REAL),), split_file=str(REAL / "split.json"))
    records = source.plan()
    entries = json.loads((REAL / "examples.json").read_text())
    assert len(records) == len(entries) == 1256
    splits = json.loads((REAL / "split.json").read_text())
    for record in records:
        assert record.instrument in splits[record.split]
        assert record.pitch == entries[record.id]["pitch"]
        assert record.family == entries[record.id]["instrument_family_str"]
    for place, payload in source.fetch(records, [0, 700, 1255]):
        wave, _ = soundfile.read(REAL / "audio" / f"{records[place].id}.flac")
        np.testing.assert_allclose(source.load(records[place], payload).wave, wave, atol=1e-7)


def test_notes_missing_from_an_archive_are_reported(tmp_path):
    folder = write_nsynth(tmp_path / "nsynth-test", NOTE_FORMAT)
    absent = sorted(NOTE_FORMAT)[1:4]
    for name in absent:
        (folder / "audio" / f"{name}.wav").unlink()
    path = tar_folder(folder, tmp_path / "nsynth-test.tar.gz")
    source = NSynthImporter(path=(str(path),))
    _, loaded = load_all(source)
    assert sorted(loaded) == sorted(NOTE_FORMAT)
    assert all("no sound file" in loaded[name] for name in absent)
    store = build_store(source, tmp_path / "store", workers=1, shard_size=64, progress=False)
    assert store.length("test") == len(NOTE_FORMAT) - len(absent)


def test_archive_may_have_any_order(tmp_path):
    """Contains FLAC files of all notes and WAV of one, which comes last and is preferred."""
    folder = write_nsynth(tmp_path / "nsynth-test", NOTE_FORMAT, suffix=".flac")
    first = sorted(NOTE_FORMAT)[0]
    path = tmp_path / "nsynth-test.tar"
    with tarfile.open(path, "w") as archive:
        archive.add(folder / "examples.json", "nsynth-test/examples.json")
        for name in sorted(NOTE_FORMAT)[1:]:
            archive.add(folder / "audio" / f"{name}.flac", f"nsynth-test/audio/{name}.flac")
        archive.add(folder / "audio" / f"{first}.flac", f"nsynth-test/audio/{first}.flac")
        soundfile.write(tmp_path / "wave.wav", NOTE_FORMAT[first], 16000)
        archive.add(tmp_path / "wave.wav", f"nsynth-test/audio/{first}.wav")
    source = NSynthImporter(path=(str(path),))
    assert [record.location[1].rsplit(".")[-1] for record in source.plan() if record.id == first] == ["wav"]
    store = build_store(source, tmp_path / "store", workers=1, shard_size=64, progress=False)
    assert store.length("test") == len(NOTE_FORMAT)


def test_one_archive_may_contain_all_parts(tmp_path):
    path = tmp_path / "nsynth.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for number, split in enumerate(("train", "valid", "test")):
            folder = write_nsynth(tmp_path / f"nsynth-{split}", some_notes((f"bass_synthetic_{number:03d}",)))
            archive.add(folder, folder.name)
    records = NSynthImporter(path=(str(path),)).plan()
    assert Counter(record.split for record in records) == {"train": 3, "valid": 3, "test": 3}
