"""Recordings cut into excerpts, for any length, sample rate and number of channels."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import soundfile

from tests.helpers.library import columns_by_id, report_rows
from timbre_jax.audio.io import AudioFileError, read_wave
from timbre_jax.data.importers.recordings import RecordingImporter, read_excerpt
from timbre_jax.data.prepare.build import build_store


def melody(seconds: float, rate: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    times = np.arange(round(seconds * rate)) / rate
    pitch = np.interp(times, np.arange(int(seconds) + 2), generator.uniform(200, 900, int(seconds) + 2))
    return 0.3 * np.sin(2 * np.pi * np.cumsum(pitch) / rate) + 0.01 * generator.standard_normal(len(times))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("recordings")
    (path / "a").mkdir()
    (path / "b").mkdir()
    wide = melody(7.0, 96000, 1)
    soundfile.write(path / "a/stereo96.wav", np.stack([wide, 0.5 * wide], axis=1), 96000, subtype="PCM_24")
    soundfile.write(path / "a/take.flac", melody(5.0, 44100, 2), 44100)
    soundfile.write(path / "a/take again.ogg", 0.5 * melody(5.0, 44100, 2), 44100)
    soundfile.write(path / "a/other.aiff", melody(2.0, 22050, 3), 22050)
    soundfile.write(path / "a/voice.mp3", melody(4.0, 48000, 4), 48000)
    soundfile.write(path / "b/short.wav", melody(1.0, 24000, 5)[:480], 24000)
    quiet = melody(6.0, 24000, 6)
    quiet[2 * 24000 :] *= 1e-3  # about -75 dB
    soundfile.write(path / "b/quiet.wav", quiet, 24000, subtype="FLOAT")
    broken = melody(4.0, 24000, 7)
    broken[70000] = np.nan
    soundfile.write(path / "b/nan.wav", broken, 24000, subtype="FLOAT")
    soundfile.write(path / "b/cut.wav", melody(4.0, 24000, 8), 24000)
    whole = (path / "b/cut.wav").read_bytes()
    (path / "b/cut.wav").write_bytes(whole[: len(whole) // 2])
    (path / "b/text.wav").write_text("no sound")
    (path / "b/empty.wav").write_bytes(b"")
    (path / "b/notes.txt").write_text("of the session")
    return path


@pytest.fixture(scope="module")
def store(folder, tmp_path_factory):
    source = RecordingImporter((str(folder),), seconds=2.0, sample_rate=24000)
    return build_store(source, tmp_path_factory.mktemp("stores") / "made", workers=1, progress=False)


@pytest.fixture(scope="module")
def doctor(store):
    return report_rows(store)


def test_recordings_are_cut_and_the_rest_keeps_its_length(store, doctor):
    kept = [name for name, row in doctor.items() if row["kept"] == "1"]
    assert sum(name.startswith("a/stereo96.wav#") for name in kept) == 4
    assert sum(name.startswith("a/other.aiff#") for name in kept) == 1
    known = columns_by_id(store)
    assert known["a/stereo96.wav#0003"][1]["samples"] == 24000
    assert known["b/short.wav#0000"][1]["samples"] == 480
    assert store.samples == 48000
    assert set(store.metadata("train")["pitch"].tolist()) == {-1}
    assert "mixed to mono (2 channels); resampled (96000 Hz)" in doctor["a/stereo96.wav#0000"]["remarks"]


def test_unusable_excerpts_are_reported_and_others_kept(doctor):
    assert "near silent (-7" in doctor["b/quiet.wav#0001"]["left_out"]
    assert doctor["b/quiet.wav#0000"]["kept"] == "1"
    assert "NaN or infinite in 1 of" in doctor["b/nan.wav#0001"]["left_out"]
    assert doctor["b/nan.wav#0000"]["kept"] == "1"
    assert doctor["b/text.wav"]["left_out"].startswith("unreadable (b/text.wav: not a readable sound file")
    assert doctor["b/empty.wav"]["left_out"].startswith("unreadable")
    assert "from a file cut short (its header promises 96000 samples, 479" in doctor["b/cut.wav#0000"]["remarks"]


def test_recordings_and_their_copies_stay_in_one_split(store, doctor):
    pairs = {(row["instrument"], split) for split, row in columns_by_id(store).values()}
    assert len(pairs) == len({instrument for instrument, _ in pairs})
    assert {split for _, split in pairs} == {"train", "valid", "test"}
    copies = [row for name, row in doctor.items() if name.startswith("a/take.flac#")]
    assert [row["left_out"] for row in copies] == [f"duplicate (sounds like a/take again.ogg#{i:04d})" for i in range(3)]
    assert {row["instrument"] for row in copies} == {"a/take again.ogg"}


@pytest.mark.parametrize("name", ["a/stereo96.wav", "a/take.flac", "a/other.aiff", "a/voice.mp3"])
def test_excerpt_equals_part_of_the_whole_file(folder, name):
    """Differs by -80 dB at most: the resampling filter extends 50 ms beyond the excerpt."""
    whole, _ = read_wave(folder / name, sample_rate=24000)
    for start in (0, 24000, 30000):
        part, _, _ = read_excerpt(str(folder / name), start, 12000, 24000, name=name)
        np.testing.assert_allclose(part, whole[start : start + 12000], atol=1e-4)


def test_excerpt_of_a_long_file_takes_little_memory(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 48000, 2) as file:
        for second in range(120):
            file.write(np.full((48000, 2), 0.001 * second))
    tracemalloc.start()
    part, rate, channels = read_excerpt(str(path), 100 * 16000, 16000, 16000, name="long")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(part[2000:-2000], 0.1, atol=1e-3)
    assert (rate, channels) == (48000, 2)
    assert peak < 8 << 20  # the file is 46 MB as float32


def test_invalid_settings_are_rejected(folder):
    with pytest.raises(ValueError, match="seconds=0: must be above 0"):
        RecordingImporter((str(folder),), seconds=0.0)
    with pytest.raises(ValueError, match="silence_db=3"):
        RecordingImporter((str(folder),), silence_db=3.0)
    with pytest.raises(ValueError, match="no such folder"):
        RecordingImporter((str(folder / "none"),)).plan()
    with pytest.raises(ValueError, match="--path: missing"):
        RecordingImporter(()).plan()
    with pytest.raises(AudioFileError, match="gone"):
        read_excerpt(str(folder / "gone.wav"), 0, 10, 24000, name="gone")
