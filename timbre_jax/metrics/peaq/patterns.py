"""Time-dependent patterns of PEAQ: smearing, level and pattern adaptation, modulation.

ITU-R BS.1387-1, annex 2, sections 2.1.8 and 3; Kabal 2003, sections 2.9 and 4. Float64 numpy: one pass over the frames, with
all pairs and bands of a frame in parallel.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.peaq.ear_model import FRAME_RATE, bands

# Number of bands below and above a band over which its correction factor is averaged.
BANDS_BELOW, BANDS_ABOVE = 3, 4


@dataclasses.dataclass(frozen=True)
class Patterns:
    """Smeared, adapted and modulation patterns of B pairs of N frames.

    Attributes:
      smeared: [2, B, N, 109] excitation of reference and test, smeared over time.
      adapted: [2, B, N, 109] excitation of both, adapted to each other in level and spectrum.
      modulation: [2, B, N, 109] modulation of the envelopes of both.
      loudness: [B, N, 109] average of E^0.3 of the reference.
    """

    smeared: np.ndarray
    adapted: np.ndarray
    modulation: np.ndarray
    loudness: np.ndarray


def patterns(unsmeared: np.ndarray) -> Patterns:
    """Computes the patterns of excitations; all filters start at 0.

    Smearing: BS.1387-1, annex 2, section 2.1.8; adaptation: section 3.1; modulation: section 3.2.

    Args:
      unsmeared: [2, B, N, 109] excitation of reference and test.
    """
    _, batch, count, band_count = unsmeared.shape
    smear, slow = _decay(0.030), _decay(0.050)
    averaging = _averaging_matrix(band_count)
    smeared, adapted, modulation = (np.empty_like(unsmeared) for _ in range(3))
    loudness = np.empty_like(unsmeared[0])
    compressed = unsmeared**0.3
    zeros = np.zeros((2, batch, band_count))
    filtered, level, correction, last, change, average = (zeros.copy() for _ in range(6))
    product, square = (np.zeros((batch, band_count)) for _ in range(2))
    for n in range(count):
        excitation = unsmeared[:, :, n]
        filtered = smear * filtered + (1.0 - smear) * excitation
        now = np.maximum(filtered, excitation)
        smeared[:, :, n] = now

        # Level adaptation attenuates the louder of the two sounds.
        level = slow * level + (1.0 - slow) * now
        common = np.sum(np.sqrt(level[0] * level[1]), axis=-1, keepdims=True)
        gain = np.square(common / np.sum(level[1], axis=-1, keepdims=True))
        matched = np.stack([now[0] / np.maximum(gain, 1.0), now[1] * np.minimum(gain, 1.0)])

        # Pattern adaptation attenuates the bands of one sound in which the other is weaker for a long time.
        product = slow * product + matched[0] * matched[1]
        square = slow * square + np.square(matched[0])
        ratio = product / square
        pair = np.stack([np.minimum(1.0, ratio), np.minimum(1.0, 1.0 / ratio)])
        correction = slow * correction + (1.0 - slow) * (pair @ averaging)
        adapted[:, :, n] = matched * correction

        root = compressed[:, :, n]
        change = slow * change + (1.0 - slow) * FRAME_RATE * np.abs(root - last)
        average = slow * average + (1.0 - slow) * root
        last = root
        modulation[:, :, n] = change / (1.0 + average / 0.3)
        loudness[:, n] = average[0]
    return Patterns(smeared, adapted, modulation, loudness)


def _decay(at_100_hz: float, shortest: float = 0.008) -> np.ndarray:
    """Returns the decay per frame of each band from the time constant in s at 100 Hz."""
    _, center, _ = bands()
    return np.exp(-1.0 / (FRAME_RATE * (shortest + 100.0 / center * (at_100_hz - shortest))))


def _averaging_matrix(count: int) -> np.ndarray:
    """Returns the matrix [109, 109] that averages over adjacent bands, fewer at the edges."""
    index = np.arange(count)
    distance = index[:, None] - index[None, :]
    near = ((distance >= -BANDS_BELOW) & (distance <= BANDS_ABOVE)).astype(np.float64)
    return near / near.sum(0)
