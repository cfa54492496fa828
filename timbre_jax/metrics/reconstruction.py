"""Reconstruction scores (MSE and SSIM) under one definition for all models.

MSE and SSIM depend on the normalization of the features, so scores under the normalization of each model are not comparable.
Features of a harmonic representation are therefore denormalized to Hz and dB and normalized again on a common scale: log f0
from 80 to 2100 Hz and the first 7 harmonics from -100 to 0 dB, each to [0, 1] (the defaults of `HarmonicTracks`). Samples
(`WaveFrames`) are scored by their log-mel spectrogram (`LOG_MEL_BANDS` bands, `LOG_MEL_RANGE_DB` below full scale, the same
frames), so that sounds that differ only in phase score alike. Features of other representations are scored in their own units,
which `score_definition` states.

MSE is the mean over rows and over the frames within the sound. SSIM is that of Wang et al. 2004, with uniform 7 x 7 windows
entirely inside the image and data range 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.distances import mse, ssim
from timbre_jax.inference.batched import decode_features, encode_features, map_batches, position_batches, take
from timbre_jax.representations import representation_settings
from timbre_jax.representations.base import Representation
from timbre_jax.representations.harmonic_tracks import HarmonicTracks
from timbre_jax.representations.log_mel import LogMel
from timbre_jax.representations.wave_frames import WaveFrames
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent

COMMON_HARMONICS = 7
COMMON_F0_RANGE = (80.0, 2100.0)
COMMON_AMPLITUDE_RANGE = (-100.0, 0.0)
SSIM_WINDOW = 7
LOG_MEL_BANDS, LOG_MEL_RANGE_DB = 80, 100.0


def score_definition(representation: Representation) -> str:
    """Returns the definition of the scores of a representation."""
    window = f"SSIM: uniform {SSIM_WINDOW}x{SSIM_WINDOW} window, valid, data range 1; MSE over frames within the sound"
    if isinstance(representation, HarmonicTracks):
        low, high = COMMON_F0_RANGE
        lowest_db, highest_db = COMMON_AMPLITUDE_RANGE
        rows = 1 + min(COMMON_HARMONICS, representation.feature_shape[1] - 1)
        return (
            f"{rows} rows on one scale for every model: log f0 {low:g}-{high:g} Hz and the first {rows - 1} harmonics "
            f"{lowest_db:g}..{highest_db:g} dB, each to [0, 1]; {window}"
        )
    if isinstance(representation, WaveFrames):
        mel = _comparison_mel(representation, 1)
        return (
            f"log-mel of the samples ({mel.n_mels} bands from {mel.fmin:g} Hz, windows of {mel.n_fft}, hop {mel.hop}, "
            f"{mel.range_db:g} dB below full scale to [0, 1]); {window}"
        )
    settings: dict = representation_settings(representation) if dataclasses.is_dataclass(representation) else {}
    # Settings of the synthesis do not affect the features.
    named = "".join(f", {name} {value}" for name, value in settings.items() if name not in representation.synthesis_fields)
    return f"features of {representation.name}{named} in their own units, not comparable with others; {window}"


def common_values(representation: Representation, values: Array) -> Array:
    """Converts features to the common scale; differentiable.

    Args:
      representation: representation of the features.
      values: [B, N, F] images.

    Returns:
      [B, N, 1 + min(H, 7)] for harmonic tracks, [B, N, `LOG_MEL_BANDS`] for samples; other features are returned unchanged.
    """
    if isinstance(representation, WaveFrames):
        waves = values.reshape(values.shape[0], -1)
        return _comparison_mel(representation, values.shape[1]).analyze(waves).values
    if not isinstance(representation, HarmonicTracks):
        return values
    f0, amplitude = representation.denormalize(values)
    low, high = COMMON_F0_RANGE
    lowest_db, highest_db = COMMON_AMPLITUDE_RANGE
    # Decoders without a sigmoid may exceed the range; a limit of 1 Hz keeps the logarithm finite.
    pitch = jnp.log(jnp.maximum(f0, 1.0) / low) / np.log(high / low)
    level = (amplitude[..., :COMMON_HARMONICS] - lowest_db) / (highest_db - lowest_db)
    return jnp.clip(jnp.concatenate([pitch[..., None], level], axis=-1), 0.0, 1.0).astype(values.dtype)


def pair_scores(values: Array, target: Array, mask: Array) -> tuple[Array, Array]:
    """Computes MSE and SSIM of pairs of images on one scale.

    For SSIM, masked frames are set to zero in both images, and windows entirely outside the sound do not count. Images with
    fewer than 7 rows or frames get the largest odd window that fits.

    Args:
      values: [B, N, F] images.
      target: [B, N, F] images.
      mask: [B, N] mask; frames with 0 do not count.

    Returns:
      (MSE [B], SSIM [B]).
    """
    smallest = min(SSIM_WINDOW, *values.shape[1:])
    window = smallest - 1 + smallest % 2
    weight = mask[..., None]
    similarity = ssim(values * weight, target * weight, window=window, data_range=1.0)
    windows = mask.shape[1] - window + 1
    starts = jnp.arange(windows)[:, None] + jnp.arange(window)[None, :]
    inside = jnp.sum(jnp.max(mask[:, starts], axis=-1), axis=-1)
    similarity = (similarity * windows - (windows - inside)) / jnp.maximum(inside, 1.0)
    return mse(values, target, mask=mask), similarity


@dataclasses.dataclass(frozen=True)
class Scores:
    """Reconstruction scores of M sounds.

    Attributes:
      mse: [M] float64.
      ssim: [M] float64.
    """

    mse: np.ndarray
    ssim: np.ndarray

    def means(self) -> tuple[float, float]:
        """Returns MSE and SSIM averaged over the sounds."""
        return float(self.mse.mean()), float(self.ssim.mean())


def score_latents(
    space: TimbreSpace,
    values: Array | np.ndarray,
    notes: Latent,
    target: Features,
    *,
    rows: np.ndarray | None = None,
    common_target: bool = False,
    batch_size: int | None = None,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> Scores:
    """Decodes latents and scores them against the notes that they represent.

    The scoring is compiled once for a space.

    Args:
      space: a static space.
      values: [V, D] latents to decode.
      notes: latents of M notes; their masks and conditions are decoded with the values.
      target: features of the M notes, in the representation of the space or, with `common_target`, on the common scale.
      rows: [V] int, note of each row of values; None: V = M, in order.
      common_target: whether the target is on the common scale.
      batch_size: number of latents decoded at once; None: `inference.batched.default_batch_size`.
      progress: wraps the iterable of batches, for a progress bar.

    Raises:
      ValueError: `rows` and `values` differ in length.
    """
    values = np.asarray(values, np.float32)
    rows = np.arange(len(values)) if rows is None else np.asarray(rows)
    if len(rows) != len(values):
        raise ValueError(f"rows: must have one entry for each latent (got {len(rows)} for {len(values)})")
    notes = jax.tree.map(np.asarray, notes)
    images, mask = np.asarray(target.values), np.asarray(target.mask)
    parts = []
    for batch in position_batches(len(values), batch_size, progress):
        row = rows[batch]
        latent = dataclasses.replace(take(notes, row), values=values[batch])
        parts.append(_decode_and_score(space, latent, images[row], mask[row], common_target))
    scores = np.concatenate([np.asarray(jnp.stack(part), np.float64) for part in parts], axis=1)[:, : len(values)]
    return Scores(*scores)


def reconstruction_scores(space: TimbreSpace, features: Features, *, target: Features | None = None) -> Scores:
    """Scores the reconstruction of notes under the common definition.

    Args:
      space: encodes and decodes the notes.
      features: [M, N, F] features of the notes in the representation of the space.
      target: features of the same notes on the common scale, so that the scores include the error of values that the ranges
        of the space clip. None: computed from `features`.
    """
    if space.kind == "series":
        latent = encode_features(space, features, kind="series")
        decoded = decode_features(space, latent, frames=np.shape(features.values)[1])
        target = common_features(space.representation, features) if target is None else target
        return image_scores(common_features(space.representation, decoded).values, target)
    notes = encode_features(space, features)
    images = features if target is None else target
    return score_latents(space, notes.values, notes, images, common_target=target is not None)


def common_features(representation: Representation, features: Features) -> Features:
    """Converts features to the common scale, as numpy arrays."""
    values = np.asarray(features.values)
    if not isinstance(representation, HarmonicTracks | WaveFrames):
        return dataclasses.replace(features, values=values)
    common = map_batches(lambda batch: _common_values(representation, batch), values, batch_size=64)
    return dataclasses.replace(features, values=common)


def image_scores(values: Array | np.ndarray, target: Features) -> Scores:
    """Scores images [M, N, F] against their targets, both on the common scale."""
    mse, ssim = map_batches(_pair_scores, values, target.values, target.mask)
    return Scores(mse.astype(np.float64), ssim.astype(np.float64))


def _comparison_mel(representation: WaveFrames, frames: int) -> LogMel:
    """Returns the log-mel representation by which samples are scored."""
    window = representation.window
    return LogMel(
        sample_rate=representation.sample_rate,
        length=frames * representation.hop,
        n_fft=window,
        window_length=window,
        hop=representation.hop,
        n_mels=min(LOG_MEL_BANDS, window // 16),
        fmin=60.0,
        n_frames=0,
        range_db=LOG_MEL_RANGE_DB,
        reference="fixed",
    )


@partial(jax.jit, static_argnums=0)
def _common_values(representation, values):
    """Compiles `common_values`."""
    return common_values(representation, values)


@jax.jit
def _pair_scores(values, target, mask):
    """Compiles `pair_scores`."""
    return pair_scores(values, target, mask)


@partial(jax.jit, static_argnames="common_target")
def _decode_and_score(space: TimbreSpace, latent: Latent, target: Array, mask: Array, common_target: bool):
    """Decodes a batch of latents and returns MSE [B] and SSIM [B]."""
    decoded: Any = space.model.apply(space.variables, latent, method="decode")
    target = target if common_target else common_values(space.representation, target)
    return pair_scores(common_values(space.representation, decoded.values), target, mask)
