"""Tests of sounds inside a page, as data URIs of 16-bit wav files."""

from __future__ import annotations

import base64
import io
import wave

import numpy as np
import pytest

from timbre_jax.report.players import wav_bytes, wav_uri


def test_wav_bytes_hold_clipped_samples():
    rate, sound = 8000, np.array([0.0, 0.5, -0.5, 2.0, -2.0], np.float32)
    with wave.open(io.BytesIO(wav_bytes(sound, rate))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, rate)
        samples = np.frombuffer(file.readframes(5), "<i2")
    assert samples.tolist() == [0, 16384, -16384, 32767, -32767]


def test_shortened_sound_fades_out():
    sound = np.ones(16000, np.float32)
    data = wav_bytes(sound, 16000, seconds=0.5)
    with wave.open(io.BytesIO(data)) as file:
        assert file.getnframes() == 8000
        samples = np.frombuffer(file.readframes(8000), "<i2")
    assert samples[7000] == 32767
    assert samples[-1] == 0


def test_data_uri_holds_its_sound():
    kind, data = wav_uri(np.full(10, 0.25, np.float32), 8000).split(";base64,")
    assert kind == "data:audio/wav"
    with wave.open(io.BytesIO(base64.b64decode(data))) as file:
        assert np.frombuffer(file.readframes(10), "<i2").tolist() == [8192] * 10
    with pytest.raises(ValueError, match="one finite channel"):
        wav_bytes(np.zeros((2, 10)), 8000)
    with pytest.raises(ValueError, match="one finite channel"):
        wav_bytes(np.array([np.nan]), 8000)
