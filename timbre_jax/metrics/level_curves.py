"""Level over time, of sounds of any length: their curves, and how alike two of them are. numpy; nothing is compiled."""

from __future__ import annotations

import numpy as np

from timbre_jax.audio.level import FLOOR_DB

HOP = 256
RANGE_DB = 60.0
"""How far under a sound's loudest frame levels are told apart."""


def level_curve(wave: np.ndarray, *, hop: int = HOP) -> np.ndarray:
    """RMS level in dB of the windows of 4 hops centered on n * hop, wave [..., T] -> [..., 1 + T // hop]; at least -100 dB.

    As `audio.level.frame_level`: a constant 1 is 0 dB, beyond the ends of the wave there is silence.
    """
    wave = np.asarray(wave, np.float64)
    count = 1 + wave.shape[-1] // hop
    padded = np.zeros((*wave.shape[:-1], (count + 3) * hop))
    padded[..., 2 * hop : 2 * hop + wave.shape[-1]] = wave
    energy = np.square(padded).reshape(*wave.shape[:-1], count + 3, hop).sum(-1)
    power = sum(energy[..., k : k + count] for k in range(4)) / (4 * hop)
    return np.maximum(10.0 * np.log10(np.maximum(power, 1e-30)), FLOOR_DB)


def curve_correlation(levels: np.ndarray, reference: np.ndarray, *, range_db: float = RANGE_DB) -> float:
    """Pearson correlation of two level curves [N] in dB; nan where one of them does not move.

    Each is floored `range_db` under its own loudest frame: how silent silence is does not count.
    """
    levels, reference = (np.asarray(x, np.float64) for x in (levels, reference))
    if levels.shape != reference.shape or levels.ndim != 1:
        raise ValueError(f"level curves are of one length [N], not {levels.shape} and {reference.shape}")
    a, b = (np.maximum(x, x.max() - range_db) for x in (levels, reference))
    if min(np.ptp(a), np.ptp(b)) < 1e-6:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def level_correlation(wave: np.ndarray, reference: np.ndarray, *, hop: int = HOP) -> float:
    """`curve_correlation` of the level curves of two sounds [T]; a longer one is cut."""
    length = min(len(wave), len(reference))
    return curve_correlation(*(level_curve(np.asarray(x)[:length], hop=hop) for x in (wave, reference)))
