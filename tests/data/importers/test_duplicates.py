"""Copies are found despite changes of level, rate and silence; other hits are not copies."""

import hashlib

import numpy as np
import pytest

from tests.helpers.library import hit
from timbre_jax.audio.io import resample
from timbre_jax.data.importers.duplicates import group_copies, is_same_sound, onset, signature

RATE = 44100


def padded(wave, before=0, after=0):
    return np.concatenate([np.zeros(before, np.float32), wave, np.zeros(after, np.float32)])


def resampled_back(wave, rate):
    """Resamples a wave to a rate and back, as in a copy that was stored at that rate."""
    return resample(resample(wave, RATE, rate), rate, RATE)


def groups(waves, file_rates=None, rate=RATE):
    file_rates = file_rates or [rate] * len(waves)
    signatures = [signature(wave, rate, own) for wave, own in zip(waves, file_rates, strict=True)]
    return group_copies(signatures, [hashlib.sha256(wave.tobytes()).hexdigest() for wave in waves], rate, waves.__getitem__)


CHANGES = {
    "quieter": lambda wave: 0.01 * wave,
    "turned over": lambda wave: -0.5 * wave,
    "later": lambda wave: padded(wave, 3000),
    "with silence behind": lambda wave: padded(wave, 0, 30000),
    "at 22,050 Hz": lambda wave: resampled_back(wave, 22050),
    "at 48,000 Hz": lambda wave: resampled_back(wave, 48000),
    "16 bit and quiet": lambda wave: np.rint(0.05 * wave * 32768) / np.float32(32768),
    "with noise 40 dB down": lambda wave: wave + 0.01 * np.std(wave) * np.random.default_rng(0).standard_normal(len(wave)),
}


@pytest.mark.parametrize("name", list(CHANGES))
def test_changed_copies_are_grouped(name):
    hits = [hit(seed) for seed in range(6)]
    copies = [CHANGES[name](wave).astype(np.float32) for wave in hits]
    assert groups([*hits, *copies]) == [[n, n + 6] for n in range(6)]


def test_copies_at_8_khz_are_grouped():
    hits = [hit(seed) for seed in range(4)]
    copies = [resampled_back(wave, 8000) for wave in hits]
    assert groups([*hits, *copies], [RATE] * 4 + [8000] * 4) == [[n, n + 4] for n in range(4)]
    at_8 = [resample(wave, RATE, 8000) for wave in hits]
    assert groups([*at_8, *(0.3 * wave for wave in at_8)], rate=8000) == [[n, n + 4] for n in range(4)]


def test_copies_of_copies_are_one_group():
    wave = hit(3)
    assert groups([wave, hit(4), padded(0.5 * wave, 200), 0.1 * wave, wave]) == [[0, 2, 3, 4], [1]]


def test_different_hits_are_not_copies():
    waves = [hit(seed) for seed in range(120)]
    assert groups(waves) == [[n] for n in range(120)]


def test_different_hits_of_one_drum_are_not_copies():
    """Changes the noise of a hit, and tunes it 2 % higher."""
    wave = hit(5, seconds=0.5)
    other = wave + 0.3 * hit(6, seconds=0.5)
    higher = resample(wave, RATE, round(RATE / 1.02))
    assert groups([wave, other, higher]) == [[0], [1], [2]]


def test_beginning_of_a_sound_is_not_a_copy():
    tone = (0.3 * np.sin(2 * np.pi * 220 * np.arange(5 * RATE) / RATE)).astype(np.float32)
    assert not is_same_sound(tone, tone[: 2 * RATE], RATE)
    assert is_same_sound(tone, padded(0.1 * tone, 500), RATE)


@pytest.mark.parametrize("length", [1, 40, 88, 353])
def test_clicks_have_finite_signatures_and_copies(length):
    """Sounds down to one sample have signatures that are finite, and copies."""
    waves = [hit(seed, seconds=length / RATE) if length > 1 else np.full(1, 0.5 + seed / 10, np.float32) for seed in range(3)]
    for wave in waves:
        assert np.isfinite(np.frombuffer(signature(wave, RATE, RATE)[1:], np.float16)).all()
        assert is_same_sound(wave, 0.2 * wave, RATE)
    # Clicks of one sample differ only in level.
    assert groups(waves) == ([[0, 1, 2]] if length == 1 else [[0], [1], [2]])


def test_onset_does_not_depend_on_level():
    wave = padded(hit(1), 777)
    assert abs(onset(wave) - 777) <= 2
    assert onset(0.001 * wave) == onset(wave)
    assert onset(np.zeros(10, np.float32)) == 0
    faint = wave.copy()
    faint[:777] = 0.004 * np.abs(wave).max()  # -48 dB
    assert onset(faint) == onset(wave)
