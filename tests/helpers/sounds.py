"""Synthetic sounds whose pitch, amplitudes and course in time are known exactly. numpy float64 inside, float32 out."""

from __future__ import annotations

import numpy as np

RATE = 16000
LENGTH = 64000


def times(length: int = LENGTH, rate: int = RATE) -> np.ndarray:
    """[length] seconds."""
    return np.arange(length) / rate


def sine(frequency: float, amplitude: float = 1.0, *, phase: float = 0.0, length: int = LENGTH) -> np.ndarray:
    """[length] float32; phase in radians."""
    return (amplitude * np.sin(2 * np.pi * frequency * times(length) + phase)).astype(np.float32)


def harmonic_tone(f0, amplitudes, *, phases=None, length: int = LENGTH, rate: int = RATE) -> np.ndarray:
    """Sum of harmonics below half the sample rate, [length] float32.

    f0: Hz, a number or [length]. amplitudes: linear, each harmonic's number or [length]. phases: radians, 0 if None.
    """
    turns = np.cumsum(np.broadcast_to(np.asarray(f0, np.float64), length)) / rate
    total = np.zeros(length)
    for n, amplitude in enumerate(amplitudes, start=1):
        phase = 0.0 if phases is None else phases[n - 1]
        audible = n * np.max(f0) < 0.5 * rate
        total += amplitude * np.sin(2 * np.pi * n * turns + phase) * audible
    return total.astype(np.float32)


def vibrato(f0: float, *, cents: float, rate_hz: float, length: int = LENGTH) -> np.ndarray:
    """[length] Hz: f0 swinging by +-cents."""
    return f0 * 2.0 ** (cents / 1200 * np.sin(2 * np.pi * rate_hz * times(length)))


def held_then_released(*, held: float = 3.0, fade: float = 0.05, length: int = LENGTH) -> np.ndarray:
    """[length] envelope of a note: 20 ms attack, held, then fading with time constant `fade` (s)."""
    t = times(length)
    return np.minimum(1.0, t / 0.02) * np.exp(-np.maximum(0.0, t - held) / fade)


def noise(amplitude: float = 0.3, *, seed: int = 0, length: int = LENGTH) -> np.ndarray:
    """White Gaussian noise of the given RMS, [length] float32."""
    return (amplitude * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def cents(measured, true) -> np.ndarray:
    """Distance of two frequencies in cents."""
    return 1200.0 * np.log2(np.asarray(measured, np.float64) / np.asarray(true, np.float64))
