"""Level curves of sounds of any length, and their correlation."""

from __future__ import annotations

import numpy as np

from timbre_jax.audio.level import FLOOR_DB

HOP = 256
RANGE_DB = 60.0
"""Levels farther than this below the loudest frame do not affect correlations."""


def level_curve(wave: np.ndarray, *, hop: int = HOP) -> np.ndarray:
    """Computes the RMS level of windows of 4 hops, as `audio.level.frame_level`.

    It uses numpy, because JAX would compile a program for each length. Window n is centered on sample n * hop. A constant 1
    has 0 dB; the wave is zero beyond its ends.

    Args:
      wave: [..., T] samples.
      hop: samples between frames.

    Returns:
      [..., 1 + T // hop] in dB, at least -100.
    """
    wave = np.asarray(wave, np.float64)
    count = 1 + wave.shape[-1] // hop
    padded = np.zeros((*wave.shape[:-1], (count + 3) * hop))
    padded[..., 2 * hop : 2 * hop + wave.shape[-1]] = wave
    energy = np.square(padded).reshape(*wave.shape[:-1], count + 3, hop).sum(-1)
    power = sum(energy[..., k : k + count] for k in range(4)) / (4 * hop)
    return np.maximum(10.0 * np.log10(np.maximum(power, 1e-30)), FLOOR_DB)


def curve_correlation(levels: np.ndarray, reference: np.ndarray, *, range_db: float = RANGE_DB) -> float:
    """Returns Pearson's correlation of two level curves.

    Levels are clipped at `range_db` below the loudest frame of each curve, so that the level of silence has no effect.

    Args:
      levels: [N] levels in dB.
      reference: [N] levels in dB.
      range_db: range below the loudest frame in dB.

    Returns:
      In [-1, 1]; nan if a curve is constant.

    Raises:
      ValueError: the shapes differ.
    """
    levels, reference = (np.asarray(x, np.float64) for x in (levels, reference))
    if levels.shape != reference.shape or levels.ndim != 1:
        raise ValueError(f"level curves: must be of one length [N] (got {levels.shape} and {reference.shape})")
    a, b = (np.maximum(x, x.max() - range_db) for x in (levels, reference))
    if min(np.ptp(a), np.ptp(b)) < 1e-6:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def level_correlation(wave: np.ndarray, reference: np.ndarray, *, hop: int = HOP) -> float:
    """Returns the `curve_correlation` of two sounds, over the length of the shorter one.

    Args:
      wave: [T] samples.
      reference: [T'] samples.
      hop: samples between frames.
    """
    length = min(len(wave), len(reference))
    return curve_correlation(*(level_curve(np.asarray(x)[:length], hop=hop) for x in (wave, reference)))
