"""Objective difference grades (ODG) of sounds by PEAQ, Basic version.

ITU-R BS.1387-1 (2001), annex 2, in the reading of P. Kabal, "An Examination and Interpretation of ITU-R BS.1387: Perceptual
Evaluation of Audio Quality", TSP Lab Technical Report, McGill University (2003). Written from these texts and checked against
recorded values of two public programs (`tests/metrics/peaq/test_basic.py`).

The grade is from 0.22 (no audible difference) to -3.98 (very annoying). It was designed for codecs; for resynthesis, which
changes phase, it ranks sounds but saturates. It depends on the conversion to 48 kHz and 16 bits and on the treatment of an
undefined bandwidth, so both belong to the definition: `PeaqSettings`, `peaq_definition`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

import timbre_jax.metrics.peaq.variables as variables
from timbre_jax.metrics.peaq.ear_model import FRAME, FULL_SCALE, HOP, RATE, cut_frames, ear_model
from timbre_jax.metrics.peaq.patterns import patterns
from timbre_jax.metrics.peaq.variables import VARIABLES
from timbre_jax.settings import Settings, setting

# A sound starts and ends where the magnitudes of five samples sum to more than this (16-bit scale).
BOUNDARY_SUM, BOUNDARY_SAMPLES = 200.0, 5
# Range of each variable in the training of the network, weights [11, 3] and biases (BS.1387-1, annex 2, section 6.2).
LOWEST = np.array(
    [393.916656, 361.965332, -24.045116, 1.110661, -0.206623, 0.074318, 1.113683, 0.950345, 0.029985, 0.000101, 0.0]
)
HIGHEST = np.array([921.0, 881.131226, 16.212030, 107.137772, 2.886017, 13.933351, 63.257874, 1145.018555, 14.819740, 1.0, 1.0])
INPUT_WEIGHTS = np.array(
    [
        [-0.502657, 0.436333, 1.219602], [4.307481, 3.246017, 1.123743], [4.984241, -2.211189, -0.192096],
        [0.051056, -1.762424, 4.331315], [2.321580, 1.789971, -0.754560], [-5.303901, -3.452257, -10.814982],
        [2.730991, -6.111805, 1.519223], [0.624950, -1.331523, -5.955151], [3.102889, 0.871260, -5.922878],
        [-1.051468, -0.939882, -0.142913], [-1.804679, -0.503610, -0.620456],
    ]
)  # fmt: skip
INPUT_BIAS = np.array([-2.518254, 0.654841, -2.207228])
OUTPUT_WEIGHTS, OUTPUT_BIAS = np.array([-3.817048, 4.107138, 4.629582]), -0.307594
GRADE_LOWEST, GRADE_HIGHEST = -3.98, 0.22


@dataclasses.dataclass(frozen=True)
class PeaqSettings(Settings):
    """Settings of PEAQ that the standard leaves open, part of the definition of a grade.

    Attributes:
      undefined_bandwidth: treatment of sounds in which no frame has a defined bandwidth (0 / 0 in the standard; all sounds
        sampled at 16 kHz). "zero": both bandwidths are 0, as in PQevalAudio. "drop": both inputs of the network are left out.
        "nan": the grade is nan, as in GstPEAQ, also for sounds that end within half a second, before any frame counts for
        modulation.
      lag_window: "half" (PQevalAudio) or "whole" (GstPEAQ), see `peaq.variables.harmonic_structure`; grades of tonal sounds
        differ by up to 0.8.
      doubled: whether each sound is repeated once before it is measured, as in Rebnord 2022.
      bits: resolution of the samples after resampling; 0: not rounded. Bandwidths are measured against the rounding noise.
      resampler: quality of soxr for the conversion to 48 kHz.
    """

    undefined_bandwidth: str = setting("zero", "Treatment of an undefined bandwidth.", choices=("zero", "drop", "nan"))
    lag_window: str = setting("half", "Window of the autocorrelation over lags.", choices=("half", "whole"))
    doubled: bool = False
    bits: int = 16
    resampler: str = "VHQ"


PEAQ_PRESETS = {
    "pqevalaudio": PeaqSettings(),
    "gstpeaq": PeaqSettings(undefined_bandwidth="nan", lag_window="whole"),
    # The preset of GstPEAQ with each sound repeated once.
    "rebnord2022": PeaqSettings(undefined_bandwidth="nan", lag_window="whole", doubled=True),
}


@dataclasses.dataclass(frozen=True)
class PeaqResult:
    """Objective difference grades of B pairs of sounds.

    Attributes:
      odg: [B] objective difference grade, 0.22 to -3.98.
      di: [B] distortion index, the grade before its sigmoid; it does not saturate for bad sounds.
      movs: the eleven model output variables by name (`peaq.variables.VARIABLES`), [B] each.
      frames: [B] number of frames that count (hop 1024 at 48 kHz).
      bandwidth_frames: [B] number of these frames with a defined bandwidth.
    """

    odg: np.ndarray
    di: np.ndarray
    movs: dict[str, np.ndarray]
    frames: np.ndarray
    bandwidth_frames: np.ndarray


def peaq_basic(
    reference: np.ndarray,
    test: np.ndarray,
    sample_rate: int,
    *,
    preset: str = "pqevalaudio",
    undefined_bandwidth: str | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> PeaqResult:
    """Grades sounds against their originals by PEAQ Basic; float64 numpy on the host.

    Silence after the end of a sound does not count, so sounds of different lengths can be padded to one length (unless
    `doubled`).

    Args:
      reference: [B, T] in [-1, 1], mono.
      test: [B, T], aligned with the reference in time and level.
      sample_rate: sample rate of both in Hz.
      preset: a name of `PEAQ_PRESETS`.
      undefined_bandwidth: treatment of an undefined bandwidth; None: that of the preset.
      progress: wraps the iterable of batches, for a progress bar.

    Raises:
      ValueError: the shapes differ, samples are not finite, or a name is unknown.
    """
    settings = peaq_settings(preset, undefined_bandwidth)
    reference, test = np.asarray(reference, np.float64), np.asarray(test, np.float64)
    if reference.shape != test.shape or reference.ndim != 2 or reference.size == 0:
        raise ValueError(f"peaq: sounds must be [B, T] of one shape (got {reference.shape} and {test.shape})")
    if not (np.isfinite(reference).all() and np.isfinite(test).all()):
        raise ValueError("peaq: all samples must be finite; remove sounds with NaN or infinity")
    # A batch of 16 s of sound takes about 150 MB.
    seconds = reference.shape[1] / sample_rate * (2 if settings.doubled else 1)
    batch_size = max(1, min(64, int(16.0 / seconds)))
    starts = range(0, len(reference), batch_size)
    parts = []
    for start in starts if progress is None else progress(starts):
        pair = [_to_standard_scale(waves[start : start + batch_size], sample_rate, settings) for waves in (reference, test)]
        parts.append(_measure_variables(np.stack(pair), settings))
    values, frames, bandwidth_frames, settled = (np.concatenate(part) for part in zip(*parts, strict=True))
    di = distortion_index(values, bandwidth_frames > 0, settings.undefined_bandwidth)
    if settings.undefined_bandwidth == "nan":
        di = np.where(settled > 0, di, np.nan)
    return PeaqResult(grade(di), di, dict(zip(VARIABLES, values.T, strict=True)), frames, bandwidth_frames)


def peaq_settings(preset: str = "pqevalaudio", undefined_bandwidth: str | None = None) -> PeaqSettings:
    """Returns the settings of a preset.

    Args:
      preset: a name of `PEAQ_PRESETS`.
      undefined_bandwidth: treatment of an undefined bandwidth; None: that of the preset.

    Raises:
      ValueError: a name is unknown.
    """
    if preset not in PEAQ_PRESETS:
        raise ValueError(f"peaq={preset!r}: must be one of {', '.join(PEAQ_PRESETS)}")
    settings = PEAQ_PRESETS[preset]
    return settings if undefined_bandwidth is None else dataclasses.replace(settings, undefined_bandwidth=undefined_bandwidth)


def peaq_definition(preset: str = "pqevalaudio", undefined_bandwidth: str | None = None) -> str:
    """Returns the definition of the grades of a preset, for captions.

    Args:
      preset: a name of `PEAQ_PRESETS`.
      undefined_bandwidth: treatment of an undefined bandwidth; None: that of the preset.
    """
    settings = peaq_settings(preset, undefined_bandwidth)
    policy = {
        "zero": "counts as 0", "drop": "is left out of the network",
        "nan": "gives nan, and so does a sound without frames that count for modulation",
    }[settings.undefined_bandwidth]  # fmt: skip
    return (
        f"ODG of PEAQ Basic (BS.1387-1; 0.22 no difference, -3.98 very annoying) at 48 kHz (soxr {settings.resampler}), "
        f"{settings.bits or 'no'} bits, lag window {settings.lag_window}, undefined bandwidth {policy}"
        f"{', each sound repeated once' * settings.doubled}"
    )


def distortion_index(values: np.ndarray, defined: np.ndarray, policy: str = "zero") -> np.ndarray:
    """Computes the distortion index, the output of the neural network.

    BS.1387-1, annex 2, section 6.2.

    Args:
      values: [B, 11] model output variables.
      defined: [B] whether the bandwidths are defined.
      policy: treatment of an undefined bandwidth: "zero", "drop" or "nan".

    Returns:
      [B].
    """
    inputs = (values - LOWEST) / (HIGHEST - LOWEST)
    if policy == "drop":
        inputs[~defined, :2] = 0.0
    hidden = 1.0 / (1.0 + np.exp(-(inputs @ INPUT_WEIGHTS + INPUT_BIAS)))
    index = hidden @ OUTPUT_WEIGHTS + OUTPUT_BIAS
    return np.where(defined, index, np.nan) if policy == "nan" else index


def grade(index: np.ndarray) -> np.ndarray:
    """Converts a distortion index to the objective difference grade (BS.1387-1, section 6.2)."""
    return GRADE_LOWEST + (GRADE_HIGHEST - GRADE_LOWEST) / (1.0 + np.exp(-index))


def _to_standard_scale(waves: np.ndarray, sample_rate: int, settings: PeaqSettings) -> np.ndarray:
    """Converts waves [B, T] to 48 kHz and 16-bit scale, [B, T']."""
    if settings.doubled:
        waves = np.concatenate([waves, waves], axis=-1)
    if sample_rate != RATE:
        import soxr

        waves = soxr.resample(waves.T, sample_rate, RATE, quality=settings.resampler).T
    if settings.bits:
        steps = 2.0 ** (settings.bits - 1)
        waves = np.clip(np.round(waves * steps), -steps, steps - 1) / steps
    return waves * FULL_SCALE


def _measure_variables(waves: np.ndarray, settings: PeaqSettings) -> tuple[np.ndarray, ...]:
    """Computes the variables [B, 11] of pairs [2, B, T], and three numbers of frames.

    The numbers [B] are those of frames that count, that have a bandwidth, and that count for modulation.
    """
    begin, end = _boundaries(waves)
    first = begin // HOP
    count = np.maximum(1, (end - HOP) // HOP - first + 1)
    total = int(np.max(first + count))
    frames = cut_frames(waves, total)
    excitation = ear_model(frames)
    adapted = patterns(excitation.unsmeared)
    position = np.arange(total) - first[:, None]
    counted = (position >= 0) & (position < count[:, None])

    bandwidth, test_bandwidth = variables.bandwidths(excitation.power)
    defined = counted & (bandwidth >= 0)
    mean_ratio, largest_ratio = variables.noise_to_mask(excitation.noise, adapted.smeared[0])
    probability, steps = variables.detection(adapted.smeared)
    structure = variables.harmonic_structure(excitation.power, frames, lag_window=settings.lag_window)
    difference, weighted_difference, weight = variables.modulation_differences(adapted)
    loud = np.min(variables.loudness(adapted.smeared), axis=0) > variables.LOUD_SONE

    # Frames in the first half second of the file, not of the sound, do not count, because they initialize the filters.
    settled = np.maximum(0, variables.SETTLING_FRAMES - first)
    audible = counted & loud
    onset = np.where(audible.any(-1), np.argmax(audible, axis=-1) - first, count)
    late = counted & (position >= settled[:, None])
    sounding = counted & (position >= np.maximum(onset + variables.ONSET_FRAMES, settled)[:, None])
    detected = counted & (probability > 0.5)
    detected_steps = np.sum(np.where(detected, steps, 0.0), axis=-1)
    blocks = np.log10(np.maximum(detected_steps, 1e-300) / np.maximum(detected.sum(-1), 1))
    values = (
        variables.mean_where(bandwidth, defined),
        variables.mean_where(test_bandwidth, defined),
        10.0 * np.log10(variables.mean_where(mean_ratio, counted)),
        variables.windowed_mean(difference, late),
        np.where(detected.any(-1), np.where(detected_steps > 0.0, blocks, -0.5), 0.0),
        1000.0 * variables.mean_where(structure, counted & (structure >= 0.0)),
        variables.mean_where(difference, late, weight),
        variables.mean_where(weighted_difference, late, weight),
        np.sqrt(variables.mean_where(np.square(variables.noise_loudness(adapted)), sounding)),
        variables.filtered_maximum(probability, counted),
        variables.mean_where(largest_ratio > 10.0**0.15, counted),
    )
    return np.stack(values, axis=-1), counted.sum(-1), defined.sum(-1), late.sum(-1)


def _boundaries(waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first sample of each pair [2, B, T] and the one after its last, [B] each.

    They are those of the reference, or those of the test if the reference is silent; both are 0 if both sounds are silent.
    """
    length = waves.shape[-1]
    if length < max(FRAME, BOUNDARY_SAMPLES):
        waves = np.pad(waves, ((0, 0), (0, 0), (0, FRAME - length)))
    sums = np.lib.stride_tricks.sliding_window_view(np.abs(waves), BOUNDARY_SAMPLES, axis=-1).sum(-1)
    over = sums > BOUNDARY_SUM
    over = np.where(over[0].any(-1, keepdims=True), over[0], over[1])
    loud, last = over.any(-1), over.shape[-1] - 1 - np.argmax(over[:, ::-1], axis=-1)
    begin = np.where(loud, np.argmax(over, axis=-1) + (~over[:, 0]) * (BOUNDARY_SAMPLES - 1), 0)
    end = np.where(loud, last + np.where(over[:, -1] & (last == over.shape[-1] - 1), BOUNDARY_SAMPLES, 1), 0)
    return begin, end
