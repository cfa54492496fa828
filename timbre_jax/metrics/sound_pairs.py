"""Distances between sounds and their originals, by the name of the metric."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.distances import (
    frame_mean,
    log_spectral_distance,
    multi_resolution_stft_distance,
    spectral_convergence,
)
from timbre_jax.inference.batched import map_batches
from timbre_jax.metrics.fingerprint import fingerprint_scores
from timbre_jax.metrics.level_curves import level_correlation
from timbre_jax.metrics.peaq import peaq_basic, peaq_definition
from timbre_jax.representations.log_mel import LogMel


@dataclasses.dataclass(frozen=True)
class PairMeasure:
    """Measure of pairs of sounds; each metric has one or more.

    Attributes:
      name: column of the measure, with its unit.
      title: heading in tables, with its unit.
      better: "low" or "high".
      definition: definition of its values, for captions.
    """

    name: str
    title: str
    better: str
    definition: str


_MEASURES = (
    ("lsd", "lsd_db", "LSD, dB", "low", "log-spectral distance (1024-point Hann frames, hop 256, 80 dB floor)"),
    ("stft", "mr_stft", "multi-resolution STFT", "low", "multi-resolution STFT distance (`audio.distances`, its defaults)"),
    ("stft", "convergence", "spectral convergence", "low", "spectral convergence (`audio.distances`, its defaults)"),
    ("mel", "mel_rmse_db", "log-mel, dB", "low",
     "root mean square error of log-mel spectrograms (80 bands from 60 Hz, 2048-point Hann frames, hop 512, "
     "floor 80 dB below the largest value of the reference)"),
    ("level", "level_correlation", "level curve", "high",
     "correlation of level curves (RMS over 1024 samples, hop 256, dB, floor 60 dB below the loudest frame)"),
    ("odg", "odg", "ODG", "high", ""),  # the definition depends on the preset
    ("fingerprint", "string_ratio", "fingerprint, %", "high",
     "Levenshtein ratio (0-100) of the base64 Chromaprints of the sounds, each repeated once"),
    ("fingerprint", "bit_agreement", "equal bits", "high", "share of equal bits of these fingerprints"),
)  # fmt: skip
PAIR_METRICS = ("lsd", "stft", "mel", "level", "odg", "fingerprint")
COUNTED_FRAMES = "means are over all frames of sounds of one length, padding included, and over the frames within other sounds"
"""Definition of the means over frames in `pair_distances`, for captions."""


def pair_measures(
    metrics: Sequence[str], *, peaq: str = "pqevalaudio", undefined_bandwidth: str | None = None
) -> list[PairMeasure]:
    """Returns the measures of metrics, in the order of `PAIR_METRICS`.

    Args:
      metrics: names of `PAIR_METRICS`.
      peaq: preset of the ODG (`metrics.peaq.PEAQ_PRESETS`).
      undefined_bandwidth: treatment of an undefined bandwidth in the ODG; None: that of the preset.
    """
    odg = peaq_definition(peaq, undefined_bandwidth)
    return [
        PairMeasure(name, title, better, definition or odg)
        for metric, name, title, better, definition in _MEASURES
        if metric in metrics
    ]


def pair_distances(
    waves: np.ndarray,
    reference: np.ndarray,
    sample_rate: int,
    metrics: Sequence[str],
    *,
    lengths: np.ndarray | None = None,
    peaq: str = "pqevalaudio",
    undefined_bandwidth: str | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> dict[str, np.ndarray]:
    """Measures distances between sounds and their originals.

    Args:
      waves: [M, T] samples.
      reference: [M, T] originals.
      sample_rate: sample rate of both in Hz.
      metrics: names of `PAIR_METRICS`.
      lengths: [M] in samples, for sounds of varying length. LSD, STFT distance, log-mel error and level correlation are then
        computed over the frames within each sound. (The ODG detects the end of a sound; spectral convergence and fingerprint
        always use all of T.) None: over all of T.
      peaq: preset of the ODG (`metrics.peaq.PEAQ_PRESETS`).
      undefined_bandwidth: treatment of an undefined bandwidth in the ODG; None: that of the preset.
      progress: wraps iterables, for a progress bar.

    Returns:
      Values [M] by the name of the measure (`pair_measures`). Undefined values are nan: the fingerprint of a sound that is too
      short, the correlation of a constant level, and the ODG without a bandwidth.

    Raises:
      ValueError: the shapes differ, or an optional program is not installed.
    """
    waves, reference = _check_pairs(waves, reference)
    distances: dict[str, np.ndarray] = {}
    if "lsd" in metrics:
        distances["lsd_db"] = spectral_distances(waves, reference, lengths=lengths)
    if "stft" in metrics:
        distances["mr_stft"] = _in_batches(_multi_resolution, waves, reference, lengths)
        distances["convergence"] = _in_batches(_convergence, waves, reference)
    if "mel" in metrics:
        bands = LogMel(
            sample_rate=sample_rate, length=waves.shape[1], n_fft=2048, window_length=2048, hop=512, n_mels=80, fmin=60.0,
            n_frames=0, reference="fixed",
        )  # fmt: skip
        distances["mel_rmse_db"] = _in_batches(partial(_mel_error, bands), waves, reference, lengths)
    if "level" in metrics:
        ends = [waves.shape[1]] * len(waves) if lengths is None else np.maximum(lengths, 1).tolist()
        distances["level_correlation"] = np.array(
            [level_correlation(a[:end], b[:end]) for a, b, end in zip(waves, reference, ends, strict=True)]
        )
    if "odg" in metrics:
        distances["odg"] = peaq_basic(
            reference, waves, sample_rate, preset=peaq, undefined_bandwidth=undefined_bandwidth, progress=progress
        ).odg
    if "fingerprint" in metrics:
        scores = fingerprint_scores(reference, waves, sample_rate, progress=progress)
        distances["string_ratio"], distances["bit_agreement"] = scores.string_ratio, scores.bit_agreement
    return distances


def spectral_distances(waves: np.ndarray, reference: np.ndarray, *, lengths: np.ndarray | None = None) -> np.ndarray:
    """Computes log-spectral distances between sounds and their originals in dB.

    These are those of `audio.distances.log_spectral_distance` with 1024-point Hann frames, hop 256 and a floor 80 dB below the
    largest bin of the original. They compare magnitudes, because resynthesis changes phase and noise.

    Args:
      waves: [M, T] samples.
      reference: [M, T] originals.
      lengths: [M] in samples; frames beyond them do not count. None: all frames count.

    Returns:
      [M] in dB.

    Raises:
      ValueError: the shapes differ.
    """
    return _in_batches(_log_spectral, *_check_pairs(waves, reference), lengths)


def _check_pairs(waves: np.ndarray, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Converts both to float32; raises a ValueError if their shapes differ."""
    waves, reference = np.asarray(waves, np.float32), np.asarray(reference, np.float32)
    if waves.shape != reference.shape:
        raise ValueError(f"waves and reference: must have one shape (got {waves.shape} and {reference.shape})")
    return waves, reference


def _in_batches(function: Callable, *arrays: np.ndarray | None) -> np.ndarray:
    """Applies a compiled function to batches of sounds."""
    return map_batches(function, *arrays, batch_size=16).astype(np.float64)


_log_spectral = jax.jit(lambda waves, reference, lengths: log_spectral_distance(waves, reference, lengths=lengths))
_multi_resolution = jax.jit(lambda waves, reference, lengths: multi_resolution_stft_distance(waves, reference, lengths=lengths))
_convergence = jax.jit(spectral_convergence)


@partial(jax.jit, static_argnums=0)
def _mel_error(bands: LogMel, waves, reference, lengths):
    """Computes the root mean square error [B] of log-mel spectrograms of [B, T] in dB."""
    wave_power, reference_power = (bands.mel_power(x) for x in (waves, reference))
    floor = jnp.maximum(jnp.max(reference_power, axis=(1, 2), keepdims=True) * 10.0 ** (-8.0), 1e-12)
    difference = jnp.log(jnp.maximum(wave_power, floor) / jnp.maximum(reference_power, floor)) * (10.0 / math.log(10.0))
    return jnp.sqrt(frame_mean(jnp.mean(jnp.square(difference), axis=2), lengths, hop=bands.hop))
