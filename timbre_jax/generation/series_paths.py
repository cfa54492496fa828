"""Interpolation between latent series, and operators on single series.

All functions are pure and batched: they take and return `Latent` records [B, M, D]. Functions that move frames in time
(stretch, reverse, freeze, mixes) also move the level, which is the condition "loudness" or "gain_db" in dB. Functions that
change only values (scale, offset, smooth, noise, quantize) keep the level.

Sounds of different durations are aligned by stretching both to a common length, so that their onsets and their ends meet:
frame n of N + 1 is at the share n / N of each sound. Levels are mixed linearly in dB.

In discrete spaces a mix of code vectors is not a code vector. It can be decoded as it is ("vectors"), replaced by the nearest
codes ("codes", which jumps instead of gliding), or avoided by mixing the decoded waves ("crossfade").

The functions return numpy arrays, because series are small and JAX would compile every operation for every length.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from timbre_jax.generation.static_paths import along_arc
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent, count_real_frames, frame_mask


def stretch(latent: Latent, count: int) -> Latent:
    """Stretches the real length of series to a number of latents, linearly between frames.

    The first and last frame are kept. A series of one latent is repeated.

    Args:
      latent: series [B, M, D].
      count: number of latents of the result.

    Returns:
      Series [B, count, D] with a mask of 1 and without codes.

    Raises:
      ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"stretch: expected at least 1 latent (got {count})")
    last = count_real_frames(latent)[:, None] - 1
    position = last * (np.linspace(0.0, 1.0, count) if count > 1 else np.full(1, 0.5))
    low = np.floor(position).astype(np.int64)
    high, fraction = np.minimum(low + 1, last), position - low

    def resample(series: Array) -> np.ndarray:
        below, above = (_take_frames(series, order) for order in (low, high))
        weight = fraction.reshape(*fraction.shape, *(1,) * (below.ndim - 2))
        return (below + weight * (above - below)).astype(np.float32)

    mask = np.ones((len(last), count), np.float32)
    conditions = {name: resample(value) if np.ndim(value) > 1 else value for name, value in latent.conditions.items()}
    return latent.replace(values=resample(latent.values), mask=mask, conditions=conditions, codes=None)


def align(*latents: Latent, count: int | None = None) -> tuple[Latent, ...]:
    """Stretches series to a common number of latents, by default that of the longest."""
    longest = max(int(np.max(count_real_frames(latent))) for latent in latents)
    return tuple(stretch(latent, longest if count is None else count) for latent in latents)


def linear_shares(count: int) -> np.ndarray:
    """Returns shares [count] that rise linearly from 0 to 1: n / N for n = 0 .. N."""
    return np.linspace(0.0, 1.0, count, dtype=np.float32) if count > 1 else np.full(1, 0.5, np.float32)


def mix(start: Latent, end: Latent, share: Array | float) -> Latent:
    """Mixes two series of one length: (1 - share) start + share end, values and conditions.

    With share = `linear_shares(M)` this is z[n] = za[n] (1 - n / N) + zb[n] n / N, the formula of the companion page of Caillon
    et al. 2020 (acids-ircam.github.io/timbre_exploration).

    Args:
      start: series [B, M, D].
      end: series [B, M, D].
      share: share of `end`; a number, [M] or [B, M].

    Raises:
      ValueError: the series have different shapes.
    """
    share = np.asarray(share, np.float32)
    return weighted_sum((start, end), np.stack([1.0 - share, share]))


def mix_spherical(space: TimbreSpace, start: Latent, end: Latent, share: Array | float) -> Latent:
    """Mixes two series on arcs around the training mean (slerp, White 2016).

    Each latent moves on its own arc, in units of training deviations. In many dimensions, the middle of a line between two
    latents is nearer to the mean than any sound, and decodes to what all sounds have in common. On an arc, the distance from
    the mean changes linearly. Opposite, parallel and zero directions are mixed on the line, and levels as in `mix`.

    Args:
      space: space of the series.
      start: series [B, M, D].
      end: series [B, M, D].
      share: share of `end`; a number, [M] or [B, M].

    Raises:
      ValueError: the series have different shapes.
    """
    line = mix(start, end, share)
    mean, deviation = (np.asarray(space.statistics[name], np.float64) for name in ("latent_mean", "latent_std"))
    scale = np.where(deviation > 1e-9, deviation, 1.0)
    a, b = ((np.asarray(x.values, np.float64) - mean) / scale for x in (start, end))
    t = np.broadcast_to(np.asarray(share, np.float64), a.shape[:2])[..., None]
    return _with_values(line, mean + scale * along_arc(a, b, t))


def reencode(space: TimbreSpace, latent: Latent, *, rounds: int = 1) -> Latent:
    """Decodes and encodes a series, which moves it toward series of real sounds.

    Level and length are kept.

    Args:
      space: space of the series.
      latent: series [B, M, D].
      rounds: number of times that the series is decoded and encoded.
    """
    result, count = latent, np.shape(latent.values)[1]
    for _ in range(rounds):
        encoded = space.encode(space.decode(result))
        result = latent.replace(values=np.asarray(encoded.values)[:, :count], codes=None)
    return result


def mix_corners(corners: tuple[Latent, ...], position: Array) -> Latent:
    """Mixes four series of one length bilinearly.

    Args:
      corners: series [B, M, D] at (0, 0), (1, 0), (0, 1) and (1, 1).
      position: (x, y) [2], or [M, 2] for a position that moves.

    Raises:
      ValueError: there are not four series of one shape, or the position is not finite.
    """
    position = np.asarray(position, np.float32)
    if len(corners) != 4 or position.shape[-1] != 2 or position.ndim > 2:
        raise ValueError(f"plane: expected 4 series and positions [2] or [M, 2] (got {len(corners)} and {position.shape})")
    if not np.isfinite(position).all():
        raise ValueError("plane: positions must be finite (got NaN or infinity)")
    x, y = position[..., 0], position[..., 1]
    return weighted_sum(corners, np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]))


def weighted_sum(latents: tuple[Latent, ...], weights: Array) -> Latent:
    """Returns the weighted sum of K series of one length, without codes.

    Args:
      latents: series [B, M, D].
      weights: weights [K], [K, M] or [K, B, M] that sum to 1 over K.

    Raises:
      ValueError: the series have different shapes.
    """
    shapes = {np.shape(latent.values) for latent in latents}
    if len(shapes) != 1:
        text = " and ".join(str(shape) for shape in sorted(shapes))
        raise ValueError(f"mix: expected series of one shape [B, M, D] (got {text}); align them first")
    weights = np.asarray(weights, np.float32)
    batch, count = latents[0].values.shape[:2]
    shares = weights.reshape(len(latents), *(1,) * (3 - weights.ndim), *weights.shape[1:])
    shares = np.broadcast_to(shares, (len(latents), batch, count))

    def total(parts: list[np.ndarray]) -> np.ndarray:
        terms = (share.reshape(*share.shape, *(1,) * (x.ndim - 2)) * x for share, x in zip(shares, parts, strict=True))
        return sum(terms).astype(np.float32)

    def curve(latent: Latent, name: str) -> np.ndarray:
        value = np.asarray(latent.conditions[name])
        return np.broadcast_to(value[:, None] if value.ndim == 1 else value, (batch, count))

    names = set.intersection(*(set(latent.conditions) for latent in latents))
    return Latent(
        values=total([np.asarray(latent.values) for latent in latents]),
        mask=np.max([np.asarray(frame_mask(latent)) for latent in latents], axis=0),
        conditions={name: total([curve(latent, name) for latent in latents]) for name in sorted(names)},
        rate=latents[0].rate,
    )


def to_codes(space: TimbreSpace, latent: Latent) -> Latent:
    """Replaces the values of a series by the nearest code vectors, and adds their codes.

    With residual codebooks, each one approximates the remainder of those before it.

    Args:
      space: discrete space.
      latent: series [B, M, D].

    Raises:
      ValueError: the space is continuous.
    """
    space.check_kind("series", discrete=True)
    codebook = np.asarray(space.model.codebook(space.variables), np.float32)
    residual = codebook.ndim == 3
    rest, columns = np.array(latent.values, np.float32), []
    for vectors in codebook if residual else codebook[None]:
        distance = np.square(vectors).sum(-1) - 2.0 * (rest @ vectors.T)
        columns.append(distance.argmin(-1).astype(np.int32))
        rest -= vectors[columns[-1]]
    codes = np.stack(columns, axis=-1) if residual else columns[0]
    return latent.replace(values=np.asarray(space.model.from_codes(space.variables, codes)), codes=codes)


def crossfade(start: Array, end: Array, share: Array | float) -> np.ndarray:
    """Mixes waves [B, T] without a model: (1 - share) start + share end.

    Args:
      start: waves [B, T].
      end: waves [B, T].
      share: share of `end`; a number, or [S] at even times over the duration of the sounds.
    """
    share = np.asarray(share, np.float64)
    if share.ndim:
        share = np.interp(np.linspace(0.0, 1.0, np.shape(start)[-1]), np.linspace(0.0, 1.0, len(share)), share)
    return ((1.0 - share) * start + share * end).astype(np.float32)


def scale(latent: Latent, factor: Array | float, *, center: Array | float = 0.0) -> Latent:
    """Scales the values of a series by a factor (a number, [D] or [M, D]) around a center."""
    return _with_values(latent, center + factor * (np.asarray(latent.values) - center))


def offset(latent: Latent, amount: Array | float) -> Latent:
    """Adds an amount to the values of a series: a number, [D] or [M, D]."""
    return _with_values(latent, np.asarray(latent.values) + amount)


def quantize(latent: Latent, step: Array | float, *, center: Array | float = 0.0) -> Latent:
    """Rounds the values of a series to a grid through a center.

    Args:
      latent: series [B, M, D].
      step: distance of the grid points; a number, [D] or [M, D]. Values with a step of 0 stay unchanged.
      center: a point of the grid.
    """
    step, values = np.asarray(step, np.float32), np.asarray(latent.values)
    safe = np.where(step > 0, step, 1.0)
    return _with_values(latent, np.where(step > 0, center + safe * np.round((values - center) / safe), values))


def noise(latent: Latent, amount: Array | float, *, key: Array) -> Latent:
    """Adds normal noise to the values of a series.

    Args:
      latent: series [B, M, D].
      amount: standard deviation; a number, [D] or [M, D].
      key: one key, or keys [B]. The noise of a frame depends only on the key of its sound and its position.
    """
    batch, count, size = latent.values.shape
    keys = key if key.ndim else jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(batch))
    blocks = [np.asarray(_normal_block(keys, block, size)) for block in range(-(-count // _BLOCK))]
    return _with_values(latent, np.asarray(latent.values) + amount * np.concatenate(blocks, axis=1)[:, :count])


_BLOCK = 64
"""Number of frames of noise that are drawn at once."""


@partial(jax.jit, static_argnums=2)
def _normal_block(keys: Array, block: Array, size: int) -> Array:
    """Draws noise [B, 64, D] for a block of frames; series of all lengths share its program."""
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, block), (_BLOCK, size), np.float32))(keys)


def smooth(latent: Latent, frames: float) -> Latent:
    """Averages the values of a series over time with Gaussian weights, within the real length.

    The weights are normalized at the ends, so that a constant series stays unchanged.

    Args:
      latent: series [B, M, D].
      frames: standard deviation of the Gaussian in latents; 0 for none.
    """
    if frames <= 0:
        return latent
    from scipy.ndimage import gaussian_filter1d

    def filtered(series: np.ndarray) -> np.ndarray:
        return gaussian_filter1d(series.astype(np.float64), frames, axis=1, mode="constant", truncate=4.0)

    values, mask = np.asarray(latent.values), np.asarray(frame_mask(latent))[..., None]
    weight = filtered(mask)
    return _with_values(latent, np.where(mask > 0, filtered(values * mask) / np.where(weight > 0, weight, 1.0), values))


def reverse(latent: Latent) -> Latent:
    """Reverses the frames within the real length of series: values, level and codes."""
    order, lengths = np.arange(latent.values.shape[1])[None, :], count_real_frames(latent)[:, None]
    return _rearrange(latent, np.where(order < lengths, lengths - 1 - order, order))


def freeze(latent: Latent, count: int) -> Latent:
    """Repeats the first frame of series `count` times: values, level and codes."""
    return _rearrange(latent, np.zeros((latent.values.shape[0], count), np.int64))


def _rearrange(latent: Latent, order: np.ndarray) -> Latent:
    """Returns the frames of series at positions [B, M'], in their order."""
    return jax.tree.map(lambda x: _take_frames(x, order) if np.ndim(x) > 1 else x, latent)


def _take_frames(series: Array, order: np.ndarray) -> np.ndarray:
    """Returns series[b, order[b, n]], [B, M', ...]."""
    return np.asarray(series)[np.arange(len(order))[:, None], order]


def _with_values(latent: Latent, values: Array) -> Latent:
    return latent.replace(values=np.asarray(values, np.float32), codes=None)
