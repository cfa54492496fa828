"""Tests of Chromaprint similarity, if the optional programs are installed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.sounds import harmonic_tone, noise
from timbre_jax.metrics import fingerprint
from timbre_jax.metrics.fingerprint import Fingerprint, FingerprintMissing, bit_agreement, fingerprint_scores, fingerprints


def available() -> bool:
    try:
        fingerprint.check_available()
    except FingerprintMissing:
        return False
    return True


NEEDED = pytest.mark.skipif(not available(), reason=f"Chromaprint is not installed: {fingerprint.INSTALL_COMMAND}")
RATE, LENGTH = 16000, 32000


def melody(*frequencies: float) -> np.ndarray:
    step = LENGTH // len(frequencies)
    return np.concatenate([harmonic_tone(f, [0.3, 0.2, 0.1], length=step) for f in frequencies])


@NEEDED
def test_similarity_is_highest_for_equal_sounds():
    sounds = np.stack([melody(220, 330, 440, 262), melody(523, 392, 294, 587)])
    same = fingerprint_scores(sounds, sounds, RATE)
    assert (same.string_ratio == 100).all()
    assert (same.bit_agreement == 1).all()
    near = fingerprint_scores(sounds, sounds + noise(0.02, length=LENGTH), RATE)
    far = fingerprint_scores(sounds, sounds[::-1], RATE)
    assert (near.bit_agreement > far.bit_agreement).all()
    assert (far.bit_agreement < 0.9).all()
    assert (far.string_ratio < 70).all()
    assert (far.string_ratio > 10).all()


@NEEDED
def test_short_sounds_score_nan_unless_doubled():
    sound = melody(220, 440)[None]
    assert len(fingerprints(sound, RATE, doubled=False)[0].bits) == 0
    short = fingerprint_scores(sound, sound, RATE, doubled=False)
    assert np.isnan(short.string_ratio).all()
    assert np.isnan(short.bit_agreement).all()
    assert len(fingerprints(sound, RATE)[0].bits) > 5


def test_bit_agreement_counts_equal_bits():
    a, b = (Fingerprint("", np.array(bits, np.uint32)) for bits in ([0xFFFFFFFF, 0], [0xFFFF0000, 0, 7]))
    assert bit_agreement(a, b) == 0.75


def test_missing_programs_are_reported_with_install_command(monkeypatch):
    monkeypatch.setattr(fingerprint.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(fingerprint.shutil, "which", lambda name: None)
    fingerprint._ffmpeg_path.cache_clear()
    try:
        assert not available()
        with pytest.raises(FingerprintMissing, match="pip install imageio-ffmpeg rapidfuzz"):
            fingerprint_scores(np.zeros((1, LENGTH)), np.zeros((1, LENGTH)), RATE)
    finally:
        fingerprint._ffmpeg_path.cache_clear()


def test_different_shapes_are_rejected():
    with pytest.raises(ValueError, match="of one shape"):
        fingerprint_scores(np.zeros((1, 10)), np.zeros((2, 10)), RATE)
