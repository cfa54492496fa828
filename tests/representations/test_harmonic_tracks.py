"""Tests of HarmonicTracks: known notes, unvoiced frames, synthesis and quality."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import sounds
from timbre_jax.representations import HarmonicTracks, make_representation
from timbre_jax.types import Features

TRACKS = HarmonicTracks()
F0S = np.geomspace(82.0, 2050.0, 5)
BATCH = 8  # two chunks of the analysis on a CPU, so one compiled program serves every test


@pytest.fixture(scope="module")
def notes():
    """Returns waves [8, 64000]: five released notes, noise, silence and a note with vibrato."""
    envelope = sounds.held_then_released()
    harmonic = [envelope * sounds.harmonic_tone(f0, 0.3 / np.arange(1.0, 8.0), phases=np.arange(7.0)) for f0 in F0S]
    vibrato_note = sounds.harmonic_tone(sounds.vibrato(300.0, cents=50.0, rate_hz=5.0), [0.3, 0.1, 0.05])
    waves = [*harmonic, sounds.noise(), np.zeros(sounds.LENGTH), vibrato_note]
    return np.stack(waves).astype(np.float32)


@pytest.fixture(scope="module")
def tracks(notes):
    return jax.tree.map(np.asarray, TRACKS.track(notes))


HELD = slice(6, 270)  # frames between attack and note-off


def test_tracks_equal_those_of_known_notes(tracks):
    assert np.abs(sounds.cents(tracks.f0[:5, HELD], F0S[:, None])).max() < 2.0
    for f0, amplitude_db in zip(F0S, tracks.amplitude_db[:5, HELD], strict=True):
        orders = np.arange(1, 8)
        below = orders * f0 < 8000
        expected = 20 * np.log10(0.3 / orders[below])
        np.testing.assert_allclose(amplitude_db[:, below], np.broadcast_to(expected, amplitude_db[:, below].shape), atol=0.3)
        assert np.all(amplitude_db[:, ~below] == -100.0)


def test_released_frames_hold_f0_and_fall_to_the_floor(tracks):
    released = slice(330, 372)
    assert not tracks.voiced[:5, released].any()
    assert np.abs(sounds.cents(tracks.f0[:5, released], F0S[:, None])).max() < 30.0
    assert tracks.amplitude_db[:5, -1].max() < -95.0


def test_silence_and_noise_are_finite_and_unvoiced(tracks):
    assert not tracks.voiced[5:7].any()
    assert np.all(tracks.amplitude_db[6] == -100.0)
    assert np.all(tracks.f0[6] == 80.0)
    assert np.ptp(tracks.f0[5]) == 0.0
    assert all(np.all(np.isfinite(x)) for x in (tracks.f0, tracks.amplitude_db, tracks.level_db))


def test_vibrato_is_followed(tracks):
    centers = np.arange(372) * TRACKS.hop
    true = sounds.vibrato(300.0, cents=50.0, rate_hz=5.0)[centers]
    assert np.abs(sounds.cents(tracks.f0[7, 6:-6], true[6:-6])).max() < 10.0


def test_synthesis_keeps_f0_and_amplitudes(notes):
    """Checks f0 within 10 cents and amplitudes within 1 dB on every audible frame."""
    first = TRACKS.analyze(notes)
    assert first.values.shape == (BATCH, 372, 8)
    assert first.values.dtype == jnp.float32
    assert first.rate == pytest.approx(16000 / 172)
    again = TRACKS.analyze(TRACKS.synthesize(first))
    (f0, db), (f0_again, db_again) = TRACKS.denormalize(first.values), TRACKS.denormalize(again.values)
    harmonic = np.r_[:5, 7]
    assert np.abs(sounds.cents(f0_again[harmonic, HELD], f0[harmonic, HELD])).max() < 10.0
    error = np.abs(np.asarray(db_again - db))[harmonic, HELD]
    assert error[np.asarray(db)[harmonic, HELD] > -70.0].max() < 1.0


def test_synthesis_keeps_the_level(notes):
    wave = np.asarray(TRACKS.synthesize(TRACKS.analyze(notes)))
    assert wave.shape == notes.shape
    middle = slice(8000, 40000)
    level = lambda x: 20 * np.log10(np.sqrt(np.mean(np.square(x[:5, middle]), axis=1)))  # noqa: E731
    np.testing.assert_allclose(level(wave), level(notes), atol=0.2)
    assert np.abs(wave[6]).max() == 0.0  # silence stays silence


def test_features_of_a_note_do_not_depend_on_its_batch(notes):
    """Changes size and order of the batch; 5 notes are a chunk and a remainder."""
    together = np.asarray(TRACKS.analyze(notes).values)
    np.testing.assert_allclose(TRACKS.analyze(notes[:5]).values, together[:5], atol=2e-5)
    np.testing.assert_allclose(TRACKS.analyze(notes[::-1].copy()).values, together[::-1], atol=2e-5)


def test_mask_follows_lengths_and_sounds_are_cut_or_padded(notes):
    mask = np.asarray(TRACKS.analyze(notes, np.array([64000] * 6 + [0, 1720])).mask)
    np.testing.assert_array_equal(mask.sum(axis=1), [372] * 6 + [0, 10])
    short, long = notes[:, :20000], np.pad(notes, ((0, 0), (0, 500)), constant_values=0.5)
    expected = np.where(np.arange(64000) < 20000, notes, 0.0).astype(np.float32)
    np.testing.assert_array_equal(TRACKS.analyze(short).values, TRACKS.analyze(expected).values)
    np.testing.assert_array_equal(TRACKS.analyze(long).values, TRACKS.analyze(notes).values)
    with pytest.raises(ValueError, match=r"\[B, T\]"):
        TRACKS.analyze(notes[0])
    with pytest.raises(ValueError, match="int16"):
        TRACKS.analyze((notes * 32767).astype(np.int16))


def test_masked_frames_are_silent(notes):
    features = TRACKS.analyze(notes)
    features = Features(features.values, features.mask.at[:, 100:].set(0.0), rate=features.rate)
    wave = np.asarray(TRACKS.synthesize(features))
    assert np.abs(wave[:, 101 * 172 :]).max() == 0.0
    assert np.abs(wave[0, : 99 * 172]).max() > 0.1


def test_all_harmonics_below_half_the_sample_rate(notes):
    every = HarmonicTracks(n_harmonics=0)
    assert every.feature_shape == (372, 101)
    few = np.asarray(TRACKS.analyze(notes).values)
    many = np.asarray(every.analyze(notes).values)
    np.testing.assert_allclose(many[..., :8], few, atol=1e-5)
    orders = np.arange(1, 101)
    for f0, row in zip(F0S, many[:5, 100, 1:], strict=True):
        assert np.all(row[orders * f0 > 8000 * 1.01] == 0.0)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["log", "hz"]),
    st.lists(st.floats(0.0, 1.0, width=32), min_size=8, max_size=8),
    st.floats(60.0, 200.0),
    st.floats(-110.0, -60.0),
)
def test_normalize_is_the_inverse_of_denormalize(scale, row, lowest, quietest):
    representation = HarmonicTracks(f0_scale=scale, f0_range=(lowest, 2200.0), amplitude_range=(quietest, 3.0))
    values = np.asarray(row, np.float32).reshape(1, 1, 8)
    f0, db = representation.denormalize(jnp.asarray(values))
    assert lowest * 0.999 <= float(f0[0, 0]) <= 2200.0 * 1.001
    np.testing.assert_allclose(representation.normalize(f0, db), values, atol=1e-5)


def test_quality_distinguishes_unsuitable_sounds(notes):
    waves = notes.copy()
    waves[1] = sounds.sine(3000.0, 0.5)  # above the range
    waves[2] = 0.5  # a constant
    waves[3] = np.where(sounds.times() < 1.5, sounds.sine(300.0, 0.5), sounds.sine(440.0, 0.5))  # changes its note
    waves[4] *= 1 + 0.9 * np.sin(2 * np.pi * 6 * sounds.times())  # tremolo
    q = {name: np.asarray(value) for name, value in TRACKS.quality(waves).items()}
    assert all(value.shape == (BATCH,) for value in q.values())
    assert q["harmonic"][0] > 0.95
    assert q["f0"][0] == pytest.approx(F0S[0], rel=1e-3)
    assert q["f0_spread"][0] < 5.0
    assert q["level_unsteadiness"][0] < 1.5
    assert q["f0"][1] == pytest.approx(3000.0, rel=1e-3)
    assert q["harmonic"][1] == 0.0
    assert q["offset"][2] == pytest.approx(0.5)
    assert q["harmonic"][2] < 0.1
    assert q["f0_jumps"][3] > 0.3
    assert q["level_unsteadiness"][4] > 4.0
    assert q["aperiodicity"][5] > 0.5
    assert q["harmonic"][5] < 0.1
    assert q["heard"][6] == 0.0
    assert np.isnan(q["f0"][6])
    assert q["level_db"][6] == -120.0
    assert q["f0_spread"][7] == pytest.approx(50 / np.sqrt(2), abs=4.0)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"f0_scale": "mel"}, "mel"),
        ({"f0_range": (2000.0, 80.0)}, "f0_range"),
        ({"n_frames": 400}, "n_frames"),
        ({"n_harmonics": -1}, "n_harmonics"),
        ({"harmonics": 7}, "harmonics"),
    ],
)
def test_wrong_settings_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_representation("harmonic_tracks", **wrong)


def test_compiled_analysis_stays_on_the_device_in_bounded_memory(notes):
    """Checks that the memory grows with the batch only by inputs and outputs."""
    lowered = jax.jit(lambda waves: TRACKS.analyze(waves).values).lower
    small, large = (lowered(jax.ShapeDtypeStruct((size, 64000), jnp.float32)).compile() for size in (8, 32))
    assert "callback" not in large.as_text()
    per_note = (large.memory_analysis().temp_size_in_bytes - small.memory_analysis().temp_size_in_bytes) / 24
    if jax.default_backend() == "cpu":
        assert per_note < 1e6


def test_real_notes_have_the_f0_of_their_key():
    """Checks f0 within 50 cents of the key, up to octaves."""
    import soundfile

    folder = Path(os.environ.get("TIMBRE_TEST_DATA", "")) / "nsynth"
    if not (folder / "examples.json").is_file():
        pytest.skip("TIMBRE_TEST_DATA with nsynth/ is not set")
    examples = json.loads((folder / "examples.json").read_text())
    names = [name for name in sorted(examples) if 40 <= examples[name]["pitch"] <= 96][::9][:96]
    waves = np.stack([soundfile.read(folder / "audio" / f"{name}.flac", dtype="float32")[0] for name in names])
    quality = TRACKS.quality(waves)
    key = np.array([examples[name]["pitch"] for name in names])
    off = sounds.cents(quality["f0"], 440.0 * 2.0 ** ((key - 69) / 12))
    kept = np.asarray(quality["harmonic"]) > 0.5
    folded = off - 1200 * np.round(off / 1200)
    assert kept.mean() > 0.9
    assert np.mean(np.abs(folded[kept]) < 50.0) > 0.97
