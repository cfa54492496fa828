"""Synthetic sounds with exactly known pitch, amplitudes and envelopes.

They are computed in float64 and returned in float32.
"""

from __future__ import annotations

import numpy as np

RATE = 16000
LENGTH = 64000


def times(length: int = LENGTH, rate: int = RATE) -> np.ndarray:
    """Returns the times [length] of samples in seconds."""
    return np.arange(length) / rate


def sine(frequency: float, amplitude: float = 1.0, *, phase: float = 0.0, length: int = LENGTH) -> np.ndarray:
    """Returns a sine [length] float32; the phase is in radians."""
    return (amplitude * np.sin(2 * np.pi * frequency * times(length) + phase)).astype(np.float32)


def harmonic_tone(f0, amplitudes, *, phases=None, length: int = LENGTH, rate: int = RATE) -> np.ndarray:
    """Returns a sum of harmonics below the Nyquist frequency, [length] float32.

    Args:
      f0: Hz, a number or [length].
      amplitudes: linear amplitude of each harmonic, a number or [length].
      phases: radians; None means 0.
      length: samples.
      rate: sample rate in Hz.
    """
    turns = np.cumsum(np.broadcast_to(np.asarray(f0, np.float64), length)) / rate
    total = np.zeros(length)
    for n, amplitude in enumerate(amplitudes, start=1):
        phase = 0.0 if phases is None else phases[n - 1]
        audible = n * np.max(f0) < 0.5 * rate
        total += amplitude * np.sin(2 * np.pi * n * turns + phase) * audible
    return total.astype(np.float32)


def vibrato(f0: float, *, cents: float, rate_hz: float, length: int = LENGTH) -> np.ndarray:
    """Returns an f0 curve [length] in Hz with a vibrato of +-cents."""
    return f0 * 2.0 ** (cents / 1200 * np.sin(2 * np.pi * rate_hz * times(length)))


def held_then_released(*, held: float = 3.0, fade: float = 0.05, length: int = LENGTH) -> np.ndarray:
    """Returns the envelope [length] of a note: 20 ms attack, hold, and exponential release."""
    t = times(length)
    return np.minimum(1.0, t / 0.02) * np.exp(-np.maximum(0.0, t - held) / fade)


def noise(amplitude: float = 0.3, *, seed: int = 0, length: int = LENGTH) -> np.ndarray:
    """Returns white Gaussian noise [length] float32 of an RMS amplitude."""
    return (amplitude * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def cents(measured, true) -> np.ndarray:
    """Returns the interval between frequencies in cents."""
    return 1200.0 * np.log2(np.asarray(measured, np.float64) / np.asarray(true, np.float64))
