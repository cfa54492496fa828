"""PEAQ, Basic version: the objective difference grade (ODG) of sounds against their originals.

ITU-R BS.1387-1 (2001), annex 2, in the reading of P. Kabal, "An Examination and Interpretation of ITU-R BS.1387:
Perceptual Evaluation of Audio Quality", TSP Lab Technical Report, McGill University (2003). Written from these texts and
checked against recorded values of two public programs (`tests/metrics/peaq/test_basic.py`).

The grade goes from 0.22 (no difference to be heard) to -3.98 (very annoying). It was made for codecs; on resynthesis,
where phases differ, it ranks but saturates. What it says depends on how sounds come to 48 kHz and 16 bits, and on what is
done where the bandwidth is undefined, so both are part of the definition: `PeaqSettings`, `peaq_definition`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

import timbre_jax.metrics.peaq.variables as variables
from timbre_jax.metrics.peaq.ear_model import FRAME, FULL_SCALE, HOP, RATE, ear_model, frames_of
from timbre_jax.metrics.peaq.patterns import patterns
from timbre_jax.metrics.peaq.variables import VARIABLES
from timbre_jax.settings import Settings, setting

# Five samples that together exceed this (16-bit scale) are where a sound begins or ends.
BOUNDARY_SUM, BOUNDARY_SAMPLES = 200.0, 5
# Range of each variable in the network's training, its weights [11, 3] and biases (BS.1387-1, tables 20 to 22).
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
    """Choices that the standard leaves open; they are part of the definition of any grade.

    Attributes:
      undefined_bandwidth: where no frame has a defined bandwidth (0 / 0 in the standard; all sound sampled at 16 kHz):
        "zero": both bandwidths are 0, as PQevalAudio says. "drop": both terms are left out of the network's sums.
        "nan": the grade is nan, as GstPEAQ says; also where a sound ends within half a second, before any frame counts for
        modulation: the other 0 / 0, which is 0 elsewhere.
      lag_window: "half" or "whole": the two readings of the error's harmonic structure, of PQevalAudio and of GstPEAQ
        (`peaq.variables.harmonic_structure`); grades of tonal sounds differ by up to 0.8.
      doubled: each sound is followed by itself once more before it is measured, as the thesis did.
      bits: samples are rounded to so many bits after resampling (0: not): the rounding's noise is the floor that
        bandwidths are measured against.
      resampler: quality of soxr that brings sounds to 48 kHz.
    """

    undefined_bandwidth: str = setting("zero", "Treatment of an undefined bandwidth.", choices=("zero", "drop", "nan"))
    lag_window: str = setting("half", "Window of the lags.", choices=("half", "whole"))
    doubled: bool = False
    bits: int = 16
    resampler: str = "VHQ"


PEAQ_PRESETS = {
    "pqevalaudio": PeaqSettings(),
    "gstpeaq": PeaqSettings(undefined_bandwidth="nan", lag_window="whole"),
    # GstPEAQ on each sound doubled with itself.
    "rebnord2022": PeaqSettings(undefined_bandwidth="nan", lag_window="whole", doubled=True),
}


@dataclasses.dataclass(frozen=True)
class PeaqResult:
    """Attributes:
    odg: [B] objective difference grade, 0.22 to -3.98.
    di: [B] distortion index: the same before its last squashing, for comparing sounds that are all bad.
    movs: the eleven model output variables by name (`peaq.variables.VARIABLES`), [B] each.
    frames: [B] how many frames counted (hop 1024 at 48 kHz).
    bandwidth_frames: [B] in how many of them the bandwidth is defined.
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
    """Grades of sounds against their originals. Float64 numpy on the host.

    Args:
      reference, test: [B, T] in [-1, 1], mono, aligned in time and level; silence after a shorter sound's end does
        not count: padded sounds of different lengths can share a batch. (Not where sounds are `doubled`: padding then lies
        between the two.)
      sample_rate: of both, in Hz.
      preset: a name of `PEAQ_PRESETS`.
      undefined_bandwidth: instead of the preset's.
      progress: wraps the iterable of batches, for a progress bar.

    Raises:
      ValueError: shapes that differ, samples that are not finite, or a name that is not known.
    """
    settings = peaq_settings(preset, undefined_bandwidth)
    reference, test = np.asarray(reference, np.float64), np.asarray(test, np.float64)
    if reference.shape != test.shape or reference.ndim != 2 or reference.size == 0:
        raise ValueError(f"peaq compares sounds [B, T] of one shape, not {reference.shape} and {test.shape}")
    if not (np.isfinite(reference).all() and np.isfinite(test).all()):
        raise ValueError("peaq: some samples are not finite")
    # Pairs of 16 s in all take about 150 MB.
    seconds = reference.shape[1] / sample_rate * (2 if settings.doubled else 1)
    batch_size = max(1, min(64, int(16.0 / seconds)))
    starts = range(0, len(reference), batch_size)
    parts = []
    for start in starts if progress is None else progress(starts):
        pair = [_prepare(waves[start : start + batch_size], sample_rate, settings) for waves in (reference, test)]
        parts.append(_measure(np.stack(pair), settings))
    values, frames, bandwidth_frames, settled = (np.concatenate(part) for part in zip(*parts, strict=True))
    di = distortion_index(values, bandwidth_frames > 0, settings.undefined_bandwidth)
    if settings.undefined_bandwidth == "nan":
        di = np.where(settled > 0, di, np.nan)
    return PeaqResult(grade(di), di, dict(zip(VARIABLES, values.T, strict=True)), frames, bandwidth_frames)


def peaq_settings(preset: str = "pqevalaudio", undefined_bandwidth: str | None = None) -> PeaqSettings:
    """The settings of a preset, with another policy where one is named.

    Raises:
      ValueError: an unknown preset or policy.
    """
    if preset not in PEAQ_PRESETS:
        raise ValueError(f"there is no PEAQ preset {preset!r}; there are: {', '.join(PEAQ_PRESETS)}")
    settings = PEAQ_PRESETS[preset]
    return settings if undefined_bandwidth is None else dataclasses.replace(settings, undefined_bandwidth=undefined_bandwidth)


def peaq_definition(preset: str = "pqevalaudio", undefined_bandwidth: str | None = None) -> str:
    """The sentence that has to stand beside a grade."""
    settings = peaq_settings(preset, undefined_bandwidth)
    policy = {
        "zero": "counts as 0", "drop": "is left out of the network",
        "nan": "gives nan, and so does a sound of which nothing counts for modulation",
    }[settings.undefined_bandwidth]  # fmt: skip
    return (
        f"ODG of PEAQ Basic (BS.1387-1; 0.22 no difference, -3.98 very annoying) at 48 kHz (soxr {settings.resampler}), "
        f"{settings.bits or 'no'} bits, lag window {settings.lag_window}, undefined bandwidth {policy}"
        f"{', each sound doubled with itself' * settings.doubled}"
    )


def distortion_index(values: np.ndarray, defined: np.ndarray, policy: str = "zero") -> np.ndarray:
    """The network's output [B] of variables [B, 11]; `defined` [B]: whether the bandwidths are (BS.1387-1, section 6)."""
    inputs = (values - LOWEST) / (HIGHEST - LOWEST)
    if policy == "drop":
        inputs[~defined, :2] = 0.0
    hidden = 1.0 / (1.0 + np.exp(-(inputs @ INPUT_WEIGHTS + INPUT_BIAS)))
    index = hidden @ OUTPUT_WEIGHTS + OUTPUT_BIAS
    return np.where(defined, index, np.nan) if policy == "nan" else index


def grade(index: np.ndarray) -> np.ndarray:
    """Objective difference grade of a distortion index (BS.1387-1, section 6)."""
    return GRADE_LOWEST + (GRADE_HIGHEST - GRADE_LOWEST) / (1.0 + np.exp(-index))


def _prepare(waves: np.ndarray, sample_rate: int, settings: PeaqSettings) -> np.ndarray:
    """Waves [B, T] at 48 kHz and 16-bit scale, [B, T']."""
    if settings.doubled:
        waves = np.concatenate([waves, waves], axis=-1)
    if sample_rate != RATE:
        import soxr

        waves = soxr.resample(waves.T, sample_rate, RATE, quality=settings.resampler).T
    if settings.bits:
        steps = 2.0 ** (settings.bits - 1)
        waves = np.clip(np.round(waves * steps), -steps, steps - 1) / steps
    return waves * FULL_SCALE


def _measure(waves: np.ndarray, settings: PeaqSettings) -> tuple[np.ndarray, ...]:
    """Of reference and test [2, B, T]: variables [B, 11], and how many frames count, have a bandwidth, and count for
    modulation, [B] each."""
    begin, end = _boundaries(waves)
    first = begin // HOP
    count = np.maximum(1, (end - HOP) // HOP - first + 1)
    total = int(np.max(first + count))
    frames = frames_of(waves, total)
    excitation = ear_model(frames)
    seen = patterns(excitation.unsmeared)
    position = np.arange(total) - first[:, None]
    counted = (position >= 0) & (position < count[:, None])

    bandwidth, test_bandwidth = variables.bandwidths(excitation.power)
    defined = counted & (bandwidth >= 0)
    mean_ratio, largest_ratio = variables.noise_to_mask(excitation.noise, seen.smeared[0])
    probability, steps = variables.detection(seen.smeared)
    structure = variables.harmonic_structure(excitation.power, frames, lag_window=settings.lag_window)
    difference, weighted_difference, weight = variables.modulation_differences(seen)
    loud = np.min(variables.loudness(seen.smeared), axis=0) > variables.LOUD_SONE

    # Half a second from the first sample of the file, not of the sound: what lies before warms the memories up.
    settled = np.maximum(0, variables.SETTLING_FRAMES - first)
    heard = counted & loud
    onset = np.where(heard.any(-1), np.argmax(heard, axis=-1) - first, count)
    late = counted & (position >= settled[:, None])
    sounding = counted & (position >= np.maximum(onset + variables.ONSET_FRAMES, settled)[:, None])
    found = counted & (probability > 0.5)
    found_steps = np.sum(np.where(found, steps, 0.0), axis=-1)
    blocks = np.log10(np.maximum(found_steps, 1e-300) / np.maximum(found.sum(-1), 1))
    values = (
        variables.mean_where(bandwidth, defined),
        variables.mean_where(test_bandwidth, defined),
        10.0 * np.log10(variables.mean_where(mean_ratio, counted)),
        variables.windowed_mean(difference, late),
        np.where(found.any(-1), np.where(found_steps > 0.0, blocks, -0.5), 0.0),
        1000.0 * variables.mean_where(structure, counted & (structure >= 0.0)),
        variables.mean_where(difference, late, weight),
        variables.mean_where(weighted_difference, late, weight),
        np.sqrt(variables.mean_where(np.square(variables.noise_loudness(seen)), sounding)),
        variables.filtered_maximum(probability, counted),
        variables.mean_where(largest_ratio > 10.0**0.15, counted),
    )
    return np.stack(values, axis=-1), counted.sum(-1), defined.sum(-1), late.sum(-1)


def _boundaries(waves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First sample of each pair's sound, and the one after its last, [B] each: of the reference [2, B, T], or where that is
    silent of the test; nothing and nothing where both are."""
    length = waves.shape[-1]
    if length < max(FRAME, BOUNDARY_SAMPLES):
        waves = np.pad(waves, ((0, 0), (0, 0), (0, FRAME - length)))
    sums = np.lib.stride_tricks.sliding_window_view(np.abs(waves), BOUNDARY_SAMPLES, axis=-1).sum(-1)
    over = sums > BOUNDARY_SUM
    over = np.where(over[0].any(-1, keepdims=True), over[0], over[1])
    any_, last = over.any(-1), over.shape[-1] - 1 - np.argmax(over[:, ::-1], axis=-1)
    begin = np.where(any_, np.argmax(over, axis=-1) + (~over[:, 0]) * (BOUNDARY_SAMPLES - 1), 0)
    end = np.where(any_, last + np.where(over[:, -1] & (last == over.shape[-1] - 1), BOUNDARY_SAMPLES, 1), 0)
    return begin, end
