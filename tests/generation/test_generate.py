"""Tests of `generate` in static spaces, with good and bad files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from tests.helpers.sounds import harmonic_tone, noise
from timbre_jax.audio.io import read_wave
from timbre_jax.audio.pitch import yin
from timbre_jax.generation.generate import generate
from timbre_jax.generation.settings import (
    Arithmetic,
    Average,
    Interpolate,
    Reconstruct,
    Sample,
    Sweep,
    Variations,
)
from timbre_jax.generation.sound_files import plain_name, without_audio_suffix
from timbre_jax.maps.generation_mode import MapPoints

pytestmark = pytest.mark.xdist_group("small_analysis")


def read_manifest(folder):
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def pitch_of(path) -> float:
    """Returns the median f0 in Hz over the first second."""
    wave, rate = read_wave(path)
    f0, _ = yin(wave[None, :rate], sample_rate=rate, hop=172, f_min=80.0, f_max=2100.0)
    return float(np.median(np.asarray(f0)[0, 5:-5]))


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Returns a folder with a short note in 44.1 kHz stereo and a long note in 8 kHz 8-bit."""
    folder = tmp_path_factory.mktemp("tones")
    low = harmonic_tone(220.0, [0.3, 0.15, 0.1, 0.05], length=2 * 44100, rate=44100)
    soundfile.write(folder / "low note.wav", np.stack([low, 0.5 * low], axis=1), 44100)
    high = harmonic_tone(523.25, [0.3, 0.1], length=6 * 8000, rate=8000)
    soundfile.write(folder / "höher.wav", high, 8000, subtype="PCM_U8")
    return folder


def test_reconstruct_reads_any_format_and_remarks_on_lengths(pca_run, tones, tmp_path):
    manifest = generate(pca_run, tmp_path, Reconstruct(files=[tones]))
    assert manifest == read_manifest(tmp_path)
    assert manifest["errors"] == []
    assert manifest["library"].startswith("timbre_jax ")
    sounds = {sound["file"]: sound for sound in manifest["sounds"]}
    assert sorted(sounds) == [
        "000_höher_original.wav", "000_höher_reconstruction.wav",
        "001_low_note_original.wav", "001_low_note_reconstruction.wav",
    ] or sorted(sounds) == [
        "000_low_note_original.wav", "000_low_note_reconstruction.wav",
        "001_höher_original.wav", "001_höher_reconstruction.wav",
    ]  # fmt: skip
    low = next(sound for name, sound in sounds.items() if "low_note_rec" in name)
    high = next(sound for name, sound in sounds.items() if "höher_rec" in name)
    assert low["remarks"][0] == "padded from 2.00 s to 4 s"
    assert high["remarks"][0] == "cut to the first 4 s"
    assert len(low["latent"]) == 3
    assert pitch_of(tmp_path / low["file"]) == pytest.approx(220, rel=0.06)
    wave, rate = read_wave(tmp_path / low["file"])
    assert rate == 16000
    # The reconstruction is silent after the end of the original.
    assert np.abs(wave[int(2.2 * rate) :]).max() < 1e-3
    assert np.abs(wave[: 2 * rate]).max() > 1e-3
    assert np.abs(read_wave(tmp_path / high["file"])[0]).max() > 0.02


def test_broken_files_are_listed_and_the_others_used(pca_run, tones, tmp_path):
    bad = tmp_path / "in"
    bad.mkdir()
    (bad / "text.wav").write_text("this is no sound")
    soundfile.write(bad / "empty.wav", np.zeros(0, np.float32), 16000)
    soundfile.write(bad / "nan.wav", np.full(100, np.nan, np.float32), 16000, subtype="FLOAT")
    soundfile.write(bad / "whole.wav", harmonic_tone(330.0, [0.3, 0.1]), 16000)
    (bad / "cut.wav").write_bytes((bad / "whole.wav").read_bytes()[:9000])
    soundfile.write(bad / "silence.wav", np.zeros(16000, np.float32), 16000)
    soundfile.write(bad / "noise.wav", noise(), 16000)
    soundfile.write(bad / "offset.wav", np.full(64000, 0.3, np.float32), 16000)
    (bad / "notes.txt").write_text("not a sound, and not meant")
    (bad / "folder.wav").mkdir()
    soundfile.write(bad / ("long name " * 22 + ".wav"), harmonic_tone(330.0, [0.3, 0.1]), 16000)
    manifest = generate(pca_run, tmp_path / "out", Reconstruct(files=[bad, bad / "missing.wav"]))
    errors = {error["file"].split("/")[-1]: error["error"] for error in manifest["errors"]}
    assert sorted(errors) == ["cut.wav", "empty.wav", "missing.wav", "nan.wav", "text.wav"]
    assert "no such file" in errors["missing.wav"]
    assert all("\n" not in line for line in errors.values())
    assert len(manifest["sounds"]) == 2 * 5
    remarks = {sound["file"]: " ".join(sound["remarks"]) for sound in manifest["sounds"]}
    assert any("silence" in name and "silent" in text for name, text in remarks.items())
    assert any("noise" in name and "not harmonic" in text for name, text in remarks.items())
    assert any("offset" in name and text.startswith("constant offset") for name, text in remarks.items())
    assert all(len(name.encode()) < 120 for name in remarks)
    assert all((tmp_path / "out" / name).is_file() for name in remarks)


def test_only_broken_files_are_an_error_with_a_manifest(pca_run, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"text\.wav"):
        generate(pca_run, tmp_path / "out", Reconstruct(files=[tmp_path / "text.wav"]))
    assert len(read_manifest(tmp_path / "out")["errors"]) == 1


def test_interpolation_moves_the_pitch(pca_run, tones, tmp_path):
    files = [tones / "low note.wav", tones / "höher.wav"]
    manifest = generate(pca_run, tmp_path, Interpolate(files=files, steps=3))
    names = [sound["file"] for sound in manifest["sounds"]]
    assert names[1] == "interpolation_001_low_note_to_höher_050.wav"
    latents = np.array([sound["latent"] for sound in manifest["sounds"]])
    np.testing.assert_allclose(latents[1], latents[[0, 2]].mean(0), atol=1e-5)
    first, middle, last = (pitch_of(tmp_path / name) for name in names)
    assert first < middle < last
    assert first == pytest.approx(220, rel=0.06)


def test_even_interpolation_needs_a_series_space(pca_run, tones, tmp_path):
    with pytest.raises(ValueError, match="use linear or spherical in this static space"):
        generate(pca_run, tmp_path, Interpolate(files=[tones / "low note.wav", tones / "höher.wav"], interpolation="even"))


def test_a_sweep_starts_from_the_mean_or_a_file(pca_run, tones, tmp_path):
    manifest = generate(pca_run, tmp_path, Sweep(latent=1, steps=3))
    latents = np.array([sound["latent"] for sound in manifest["sounds"]])
    assert (np.diff(latents[:, 1]) > 0).all()
    assert np.ptp(latents[:, [0, 2]], axis=0).max() == 0
    assert manifest["sounds"][0]["file"].startswith("sweep_latent_1_mean_000_at_-")
    assert manifest["sounds"][0]["made_from"]["start"] == "mean of the training set"
    other = generate(pca_run, tmp_path / "b", Sweep(latent=1, steps=2, files=[tones / "höher.wav"]))
    assert "höher" in other["sounds"][0]["file"]


def test_samples_are_reproducible_for_any_number(pca_run, tmp_path):
    one = generate(pca_run, tmp_path / "a", Sample(number=2, seed=3))
    more = generate(pca_run, tmp_path / "b", Sample(number=3, seed=3))
    other = generate(pca_run, tmp_path / "c", Sample(number=2, seed=4, draw_from="prior", spread=0.5))
    assert [s["latent"] for s in one["sounds"]] == [s["latent"] for s in more["sounds"]][:2]
    assert one["sounds"][0]["latent"] != other["sounds"][0]["latent"]
    assert other["settings"] == {"number": 2, "draw_from": "prior", "spread": 0.5, "seed": 4}
    assert (tmp_path / "a" / "sample_001.wav").read_bytes() == (tmp_path / "b" / "sample_001.wav").read_bytes()


def test_variations_are_around_their_file_and_reproducible(pca_run, tones, tmp_path):
    files = [tones / "low note.wav"]
    near = generate(pca_run, tmp_path / "a", Variations(files=files, number=4, spread=0.1))
    far = generate(pca_run, tmp_path / "b", Variations(files=files, number=2, spread=1.0))
    own = generate(pca_run, tmp_path / "c", Variations(files=files, number=1, spread=0.0))["sounds"][0]
    again = generate(pca_run, tmp_path / "d", Variations(files=files, number=2, spread=0.1))
    assert [s["file"] for s in near["sounds"]][:2] == ["000_low_note_variation_000.wav", "000_low_note_variation_001.wav"]
    assert [s["latent"] for s in near["sounds"]][:2] == [s["latent"] for s in again["sounds"]]
    offsets = [np.subtract(m["sounds"][1]["latent"], own["latent"]) for m in (near, far)]
    np.testing.assert_allclose(offsets[1], 10 * offsets[0], rtol=1e-3, atol=1e-5)
    assert np.abs(offsets[0]).max() > 0
    # The default spread of variations is 0.3.
    usual = generate(pca_run, tmp_path / "e", Variations(files=files, number=2))
    np.testing.assert_allclose(np.subtract(usual["sounds"][1]["latent"], own["latent"]), 0.3 * offsets[1], rtol=1e-3, atol=1e-5)


def test_average_and_arithmetic_combine_latents(pca_run, tones, tmp_path):
    files = [tones / "low note.wav", tones / "höher.wav"]
    ends = generate(pca_run, tmp_path / "a", Interpolate(files=files, steps=2))
    a, b = (np.array(sound["latent"]) for sound in ends["sounds"])
    average = generate(pca_run, tmp_path / "b", Average(files=files))["sounds"][0]
    np.testing.assert_allclose(average["latent"], (a + b) / 2, atol=1e-5)
    assert average["file"] == "average_low_note_plus_höher.wav"
    # a + b - a is b.
    back = generate(pca_run, tmp_path / "c", Arithmetic(files=[*files, files[0]], weights=["1", "1", "-1"]))["sounds"][0]
    np.testing.assert_allclose(back["latent"], b, atol=1e-5)
    assert [term["weight"] for term in back["made_from"]["terms"]] == [1, 1, -1]
    assert back["file"] == "arithmetic_low_note_plus_höher_minus_low_note.wav"
    assert (tmp_path / "c" / back["file"]).is_file()
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(ValueError, match=r"text\.wav"):
        generate(pca_run, tmp_path / "d", Average(files=[files[0], tmp_path / "text.wav", files[1]]))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (Arithmetic, {"files": ["a.wav", "b.wav"], "weights": [1]}, "one number for each of the 2 files"),
        (Arithmetic, {"files": ["a.wav"], "weights": ["one"]}, "expected numbers"),
        (Arithmetic, {"files": ["a.wav"], "weights": ["nan"]}, "a finite number"),
        (Average, {"files": ["a.wav"]}, r"at least 2 files \(got 1\)"),
        (MapPoints, {"at": "0,0"}, "needs --map"),
        (Reconstruct, {}, "no files; give --files"),
        (Sweep, {"latent": 3}, "must be a latent of the space, 0 to 2"),
        (Interpolate, {"files": ["a.wav"]}, r"expected 2 files \(got 1\)"),
        (Sweep, {"files": ["a.wav", "b.wav"]}, r"expected 1 file or none \(got 2\)"),
    ],
)
def test_wrong_settings_are_refused(pca_run, tmp_path, kind, arguments, message):
    with pytest.raises(ValueError, match=message):
        generate(pca_run, tmp_path / "out", kind(**arguments))
    assert not (tmp_path / "out").exists()


def test_sounds_of_an_earlier_call_keep_their_provenance(pca_run, tmp_path):
    first = generate(pca_run, tmp_path, Sample(number=3))
    second = generate(pca_run, tmp_path, Sample(number=1, seed=5))
    assert "earlier" not in first
    assert second == read_manifest(tmp_path)
    assert [sound["file"] for sound in second["earlier"]] == ["sample_001.wav", "sample_002.wav"]
    assert second["earlier"][0]["latent"] == first["sounds"][1]["latent"]
    assert second["earlier"][0]["settings"]["seed"] == 0
    (tmp_path / "sample_001.wav").unlink()
    third = generate(pca_run, tmp_path, Sweep(latent=0, steps=2))
    assert [sound["file"] for sound in third["earlier"]] == ["sample_000.wav", "sample_002.wav"]
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(ValueError, match="not a manifest of sounds; use another --out"):
        generate(pca_run, tmp_path, Sample(number=1))


def test_an_empty_folder_is_refused(pca_run, tmp_path):
    with pytest.raises(ValueError, match="no sound file in this folder"):
        generate(pca_run, tmp_path / "out", Reconstruct(files=[tmp_path]))


def test_names_are_safe_in_file_names():
    assert plain_name("..%c") == "c"
    assert len(plain_name("é" * 200).encode()) <= 60
    assert plain_name("???") == "sound"
    assert plain_name("sine:0.5") == "sine_0.5"


@pytest.mark.parametrize(
    ("name", "expected"), [("kit/hit 0.5.WAV", "kit/hit 0.5"), ("Std. Kit-036-100", "Std. Kit-036-100"), ("a", "a")]
)
def test_only_suffixes_of_sound_files_are_removed(name, expected):
    assert without_audio_suffix(name) == expected
