"""Tests of reading, resampling and writing of sound files, and of errors of bad files."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.helpers.sounds import sine
from timbre_jax.audio.io import AudioFileError, read_wave, resample, write_wave
from timbre_jax.files import write_text

WAVE = 0.5 * sine(440, length=8000)


@pytest.mark.parametrize(
    ("suffix", "subtype", "error"),
    [
        (".wav", "PCM_16", 4e-5), (".wav", "PCM_24", 1e-6), (".wav", "FLOAT", 0), (".wav", "PCM_U8", 8e-3),
        (".flac", "PCM_16", 4e-5), (".aiff", "PCM_16", 4e-5), (".ogg", "VORBIS", 0.1),
    ],
)  # fmt: skip
def test_written_files_are_read_back(tmp_path, suffix, subtype, error):
    path = write_wave(tmp_path / f"a{suffix}", WAVE, 16000, subtype=subtype)
    wave, rate = read_wave(path)
    assert (wave.shape, wave.dtype, rate) == (WAVE.shape, np.float32, 16000)
    np.testing.assert_allclose(wave, WAVE, atol=error)
    assert list(tmp_path.iterdir()) == [path]  # no temporary file remains


@pytest.mark.parametrize("length", [1, 100, (1 << 18) - 1, 1 << 18, 3 * (1 << 18) + 7])
def test_reading_in_blocks_equals_reading_at_once(tmp_path, length):
    """Compares with soundfile and soxr on the whole file, bit for bit."""
    both = np.random.default_rng(length).uniform(-1, 1, (length, 2)).astype(np.float32)
    path = write_wave(tmp_path / "a.wav", both, 48000, subtype="FLOAT")
    np.testing.assert_array_equal(read_wave(path, mono=False)[0], both)
    np.testing.assert_array_equal(read_wave(path)[0], both.mean(axis=1))
    if length > 1:
        np.testing.assert_array_equal(read_wave(path, sample_rate=16000)[0], resample(both.mean(axis=1), 48000, 16000))
        np.testing.assert_array_equal(read_wave(path, sample_rate=44100, mono=False)[0], resample(both, 48000, 44100))


def test_reading_averages_channels_resamples_and_stops_after_the_duration(tmp_path):
    path = tmp_path / "a.wav"
    both = np.stack([sine(440, 0.5), sine(440, 0.25)], axis=1)
    write_wave(path, both, 16000, subtype="FLOAT")
    assert read_wave(path, mono=False)[0].shape == (64000, 2)
    assert read_wave(path, duration=0.5)[0].shape == (8000,)
    wave, rate = read_wave(path, sample_rate=44100)
    assert rate == 44100
    assert len(wave) == 4 * 44100
    # The same sine at the higher rate; the filter rings at both ends.
    expected = 0.375 * np.sin(2 * np.pi * 440 * np.arange(4 * 44100) / 44100)
    np.testing.assert_allclose(wave[2000:-2000], expected[2000:-2000], atol=1e-3)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(read_wave(file)[0], read_wave(path)[0])
    np.testing.assert_array_equal(read_wave(io.BytesIO(path.read_bytes()))[0], read_wave(path)[0])


def test_resampling_removes_frequencies_above_nyquist():
    wave = sine(6000, 0.5) + sine(1000, 0.5)
    down = resample(wave, 16000, 8000)
    spectrum = np.abs(np.fft.rfft(down[1000:-1000] * np.hanning(len(down) - 2000)))
    hertz = np.fft.rfftfreq(len(down) - 2000, 1 / 8000)
    assert abs(hertz[spectrum.argmax()] - 1000) < 1
    assert spectrum[hertz > 1100].max() < 1e-4 * spectrum.max()


def broken(kind, path):
    """Writes one of the kinds of bad files that people have."""
    if kind == "folder":
        path.mkdir()
    elif kind in ("text", "no bytes"):
        path.write_text("this is a shopping list\n" * 20 if kind == "text" else "")
    elif kind in (sizes := {"truncated": 5000, "header only": 44, "cut header": 20}):
        soundfile.write(path, WAVE, 16000)
        path.write_bytes(path.read_bytes()[: sizes[kind]])
    elif kind in ("no samples", "nan"):
        soundfile.write(path, np.where(np.arange(8000) == 100, np.nan, WAVE)[: 8000 * (kind == "nan")], 16000, subtype="FLOAT")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"), ("folder", "is a folder"), ("text", "not a readable sound file"),
        ("no bytes", "not a readable sound file"),
        ("truncated", r"cut short \(its header promises 8000 samples, 2478 are present\)"), ("header only", "cut short"),
        ("cut header", "not a readable sound file"), ("no samples", "contains no samples"),
        ("nan", "NaN or infinite in 1 of "),
    ],
)  # fmt: skip
def test_bad_files_raise_one_line_errors(tmp_path, kind, message):
    path = tmp_path / "ä sound ☃.wav"
    broken(kind, path)
    with pytest.raises(AudioFileError, match=message) as error:
        read_wave(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_truncated_file_is_readable_up_to_its_end(tmp_path):
    path = tmp_path / "a.wav"
    broken("truncated", path)
    assert read_wave(path, duration=0.1)[0].shape == (1600,)


def test_header_without_length_is_read_to_the_end(tmp_path):
    """Reads a file of a program that writes WAV to a pipe."""
    path = tmp_path / "a.wav"
    soundfile.write(path, WAVE, 16000)
    raw = bytearray(path.read_bytes())
    place = raw.index(b"data")
    raw[place + 4 : place + 8] = b"\xff\xff\xff\xff"
    raw[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    assert len(read_wave(path)[0]) == 8000


def test_reading_the_start_of_a_long_file_takes_little_memory(tmp_path):
    path = tmp_path / "long.wav"
    with soundfile.SoundFile(path, "w", 16000, 1) as file:
        for _ in range(600):
            file.write(sine(440, 0.1, length=16000))
    wave, _ = read_wave(path, duration=4.0)
    assert wave.shape == (64000,)
    assert wave.base is None or wave.base.nbytes < 1e6


@pytest.mark.parametrize(
    ("name", "wave", "message"),
    [
        ("a.xyz", WAVE, "unknown suffix"),
        ("a.wav", np.array([0, np.inf]), "NaN or infinite in 1 of 2 samples"),
        ("a.wav", np.zeros(0), "cannot be written"),
        ("a.wav", np.zeros((2, 2, 2)), "cannot be written"),
    ],
)
def test_invalid_waves_and_suffixes_are_rejected(tmp_path, name, wave, message):
    with pytest.raises(AudioFileError, match=message):
        write_wave(tmp_path / name, wave, 16000)
    assert not list(tmp_path.iterdir())


def test_unwritable_paths_are_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AudioFileError, match="could not be written"):
        write_wave(tmp_path / "file" / "a.wav", WAVE, 16000)
    with pytest.raises(AudioFileError, match="could not be written"):
        write_wave(tmp_path / ("long" * 100 + ".wav"), WAVE, 16000)
    long = tmp_path / ("ü" * 120 + ".wav")  # 244 bytes, just below the limit of file systems
    assert len(read_wave(write_wave(long, WAVE, 16000))[0]) == 8000


FULL = """
import resource, signal, sys
import numpy as np
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
from timbre_jax.audio.io import AudioFileError, write_wave
try:
    write_wave(sys.argv[1], np.zeros(160000, np.float32), 16000)
except AudioFileError as error:
    print(error)
"""


@pytest.mark.parametrize("suffix", [".wav", ".aiff"])
def test_full_disk_is_reported_and_leaves_no_file(tmp_path, suffix):
    """Limits files to 50 kB."""
    path = tmp_path / f"a{suffix}"
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", FULL, str(path)], cwd=root, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(f"{path}: could not be written")
    assert not list(tmp_path.iterdir())


def test_failed_write_keeps_the_old_file(tmp_path):
    path = write_wave(tmp_path / "a.wav", WAVE, 16000)
    with pytest.raises(AudioFileError):
        write_wave(path, np.array([np.nan]), 16000)
    assert len(read_wave(path)[0]) == 8000


def test_file_name_that_is_not_valid_text_can_be_read(tmp_path):
    """Reads a name of bytes that are not UTF-8; the name survives in JSON."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    with open(path, "wb") as file:
        soundfile.write(file, WAVE, 16000, format="WAV")
    wave, rate = read_wave(path)
    assert (len(wave), rate) == (len(WAVE), 16000)
    with pytest.raises(AudioFileError, match="no such file"):
        read_wave(path.with_name(path.name + "x"))
    file = write_text(tmp_path / "about.json", json.dumps({"file": str(path)}, ensure_ascii=False))
    assert json.loads(file.read_text(encoding="utf-8"))["file"] == str(path)
