"""Ways through a series space: between two sounds of any lengths, in the plane of four, and operators on a series.

All are pure functions of `Latent` records [B, M, D], batched. What moves in time takes the level along (the conditions
"loudness" or "gain_db", in dB): stretch, reverse, freeze, mixes. What changes values alone (scale, offset, smooth, noise,
quantize) leaves the level as it is.

Two sounds of different lengths are aligned by stretching both to a common length, end to end: frame n of N + 1 is n / N of
each sound, so their attacks meet and their ends meet. A mix of two levels is linear in dB.

Discrete spaces: a mix of code vectors is no code vector. It can be decoded as it is ("vectors"), be put to the nearest codes
first ("codes": jumps, where vectors glide), or both sounds are decoded and their waves are faded ("crossfade").

numpy in and out: a series is small, and jax would compile every step anew for every length.
"""

from __future__ import annotations

from functools import partial

import jax
import numpy as np

from timbre_jax.generation.static_paths import along_arc
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent, frame_mask, real_frames


def stretch(latent: Latent, count: int) -> Latent:
    """Every series' real length brought to `count` latents, linearly between frames, its first and last kept.

    Values and conditions; codes are lost where they would lie between frames. Of one latent: `count` times the same. The
    mask is whole afterwards.

    Raises:
      ValueError: count under 1.
    """
    if count < 1:
        raise ValueError(f"a series has at least 1 latent, not {count}")
    last = real_frames(latent)[:, None] - 1
    place = last * (np.linspace(0.0, 1.0, count) if count > 1 else np.full(1, 0.5))
    low = np.floor(place).astype(np.int64)
    high, between = np.minimum(low + 1, last), place - low

    def at(series: Array) -> np.ndarray:
        below, above = (_taken(series, order) for order in (low, high))
        weight = between.reshape(*between.shape, *(1,) * (below.ndim - 2))
        return (below + weight * (above - below)).astype(np.float32)

    whole = np.ones((len(last), count), np.float32)
    conditions = {name: at(value) if np.ndim(value) > 1 else value for name, value in latent.conditions.items()}
    return latent.replace(values=at(latent.values), mask=whole, conditions=conditions, codes=None)


def align(*latents: Latent, count: int | None = None) -> tuple[Latent, ...]:
    """Series stretched to one length: `count`, or that of the longest."""
    longest = max(int(np.max(real_frames(latent))) for latent in latents)
    return tuple(stretch(latent, longest if count is None else count) for latent in latents)


def moving_share(count: int) -> np.ndarray:
    """n / N for n = 0..N, N = count - 1: from the first sound to the second in the time of the series (Caillon et al. 2020)."""
    return np.linspace(0.0, 1.0, count, dtype=np.float32) if count > 1 else np.full(1, 0.5, np.float32)


def mix(start: Latent, end: Latent, share: Array | float) -> Latent:
    """(1 - share) start + share end, values and conditions, of series of one length [B, M, D].

    With share = `moving_share(M)` this is z[n] = za[n] (1 - n / N) + zb[n] n / N of Caillon et al. 2020. A level is mixed in
    dB.

    Args:
      share: one number (a fixed mix), [M] (moves in time) or [B, M].

    Raises:
      ValueError: shapes that differ: `align` the series first.
    """
    share = np.asarray(share, np.float32)
    return weigh((start, end), np.stack([1.0 - share, share]))


def mix_spherical(space: TimbreSpace, start: Latent, end: Latent, share: Array | float) -> Latent:
    """As `mix`, but latent after latent along the arc around the training mean, in training deviations (White 2016, slerp).

    The middle of a line between two latents of many dimensions lies nearer to the mean than any sound does, and decodes to
    the breath that all sounds share; on the arc the distance from the mean goes evenly from the one to the other. Opposite,
    parallel and zero directions fall back to the line. Levels are mixed as in `mix`.
    """
    line = mix(start, end, share)
    mean, deviation = (np.asarray(space.statistics[name], np.float64) for name in ("latent_mean", "latent_std"))
    scale = np.where(deviation > 1e-9, deviation, 1.0)
    a, b = ((np.asarray(x.values, np.float64) - mean) / scale for x in (start, end))
    t = np.broadcast_to(np.asarray(share, np.float64), a.shape[:2])[..., None]
    return _changed(line, mean + scale * along_arc(a, b, t))


def settled(space: TimbreSpace, latent: Latent, *, rounds: int = 1) -> Latent:
    """The series as the space itself would hear it: encode(decode(z)), `rounds` times; level and length stay.

    What lies between sounds moves toward what sounds like one; and so, a little, do sounds.
    """
    values, there = latent, np.shape(latent.values)[1]
    for _ in range(rounds):
        heard = space.encode(space.decode(values))
        values = latent.replace(values=np.asarray(heard.values)[:, :there], codes=None)
    return values


def plane(corners: tuple[Latent, ...], position: Array) -> Latent:
    """Bilinear mix of four series of one length [B, M, D]: at (0, 0), (1, 0), (0, 1) and (1, 1).

    Args:
      position: (x, y) [2], or [M, 2] where it moves.

    Raises:
      ValueError: other than four corners, or a position that is not finite.
    """
    position = np.asarray(position, np.float32)
    if len(corners) != 4 or position.shape[-1] != 2 or position.ndim > 2:
        raise ValueError(f"a plane lies between 4 series at positions [2] or [M, 2], not {len(corners)} at {position.shape}")
    if not np.isfinite(position).all():
        raise ValueError("a position in the plane is not finite")
    x, y = position[..., 0], position[..., 1]
    return weigh(corners, np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y]))


def weigh(latents: tuple[Latent, ...], weights: Array) -> Latent:
    """sum_k weights[k] latents[k] of K series of one length; weights [K], [K, M] or [K, B, M] sum to 1. Codes are lost."""
    shapes = {np.shape(latent.values) for latent in latents}
    if len(shapes) != 1:
        told = " and ".join(str(shape) for shape in sorted(shapes))
        raise ValueError(f"series that are mixed have one shape [B, M, D], not {told}: align them first")
    weights = np.asarray(weights, np.float32)
    batch, count = latents[0].values.shape[:2]
    share = weights.reshape(len(latents), *(1,) * (3 - weights.ndim), *weights.shape[1:])
    share = np.broadcast_to(share, (len(latents), batch, count))

    def total(parts: list[np.ndarray]) -> np.ndarray:
        added = sum(s.reshape(*s.shape, *(1,) * (part.ndim - 2)) * part for s, part in zip(share, parts, strict=True))
        return added.astype(np.float32)

    names = set.intersection(*(set(latent.conditions) for latent in latents))
    conditions = {
        name: total([np.broadcast_to(_series(latent.conditions[name]), (batch, count)) for latent in latents])
        for name in sorted(names)
    }
    return Latent(
        values=total([np.asarray(latent.values) for latent in latents]),
        mask=np.max([np.asarray(frame_mask(latent)) for latent in latents], axis=0),
        conditions=conditions,
        rate=latents[0].rate,
    )


def _series(value: Array) -> np.ndarray:
    value = np.asarray(value)
    return value[:, None] if value.ndim == 1 else value


def _taken(series: Array, order: np.ndarray) -> np.ndarray:
    """series[b, order[b, n]] [B, M', ...]."""
    return np.asarray(series)[np.arange(len(order))[:, None], order]


def to_codes(space: TimbreSpace, latent: Latent) -> Latent:
    """A series whose values are the nearest code vectors, with their codes: what a discrete space can say of it.

    With several (residual) codebooks [Q, K, D], one after the other, each of what is left.

    Raises:
      ValueError: the space has no codebook.
    """
    if not space.model.is_discrete:
        raise ValueError("this space has no codebook: its latents are continuous")
    book = np.asarray(space.model.codebook(space.variables), np.float32)
    several = book.ndim == 3
    rest, codes = np.array(latent.values, np.float32), []
    for vectors in book if several else book[None]:
        distance = np.square(vectors).sum(-1) - 2.0 * (rest @ vectors.T)
        codes.append(distance.argmin(-1).astype(np.int32))
        rest -= vectors[codes[-1]]
    found = np.stack(codes, axis=-1) if several else codes[0]
    return latent.replace(values=np.asarray(space.model.from_codes(space.variables, found)), codes=found)


def crossfade(start: Array, end: Array, share: Array | float) -> np.ndarray:
    """Waves (1 - share) start + share end [B, T]; no model is needed. share: a number, or [S] over the sounds' time."""
    share = np.asarray(share, np.float64)
    if share.ndim:
        share = np.interp(np.linspace(0.0, 1.0, np.shape(start)[-1]), np.linspace(0.0, 1.0, len(share)), share)
    return ((1.0 - share) * start + share * end).astype(np.float32)


def scale(latent: Latent, factor: Array | float, *, center: Array | float = 0.0) -> Latent:
    """center + factor (z - center). Factor and center: numbers, [D] or [M, D]."""
    return _changed(latent, center + factor * (np.asarray(latent.values) - center))


def offset(latent: Latent, amount: Array | float) -> Latent:
    """z + amount: a number, [D] or [M, D]."""
    return _changed(latent, np.asarray(latent.values) + amount)


def quantize(latent: Latent, step: Array | float, *, center: Array | float = 0.0) -> Latent:
    """Values on a grid of `step` (a number, [D] or [M, D]) through `center`; a step of 0 leaves them. For codes: `to_codes`."""
    step, values = np.asarray(step, np.float32), np.asarray(latent.values)
    safe = np.where(step > 0, step, 1.0)
    return _changed(latent, np.where(step > 0, center + safe * np.round((values - center) / safe), values))


def noise(latent: Latent, amount: Array | float, *, key: Array) -> Latent:
    """Adds normal noise to the values of a series.

    Args:
      latent: series [B, M, D].
      amount: standard deviation; a number, [D] or [M, D].
      key: one key, or keys [B]. The noise of a frame depends on the key of its sound and on its position alone.
    """
    batch, count, size = latent.values.shape
    keys = key if key.ndim else jax.vmap(lambda i: jax.random.fold_in(key, i))(np.arange(batch))
    blocks = [np.asarray(_normal(keys, block, size)) for block in range(-(-count // _BLOCK))]
    return _changed(latent, np.asarray(latent.values) + amount * np.concatenate(blocks, axis=1)[:, :count])


_BLOCK = 64


@partial(jax.jit, static_argnums=2)
def _normal(keys: Array, block: Array, size: int) -> Array:
    """Noise [B, 64, D] of frames 64 block..: one compilation for any number of frames."""
    return jax.vmap(lambda key: jax.random.normal(jax.random.fold_in(key, block), (_BLOCK, size), np.float32))(keys)


def smooth(latent: Latent, frames: float) -> Latent:
    """Values averaged over time with a Gaussian of standard deviation `frames`, within the real length alone; 0: as they are.

    Weights are made to sum to 1 at the ends, so that a constant stays one.
    """
    if frames <= 0:
        return latent
    from scipy.ndimage import gaussian_filter1d

    def along(series: np.ndarray) -> np.ndarray:
        return gaussian_filter1d(series.astype(np.float64), frames, axis=1, mode="constant", truncate=4.0)

    values, mask = np.asarray(latent.values), np.asarray(frame_mask(latent))[..., None]
    total = along(mask)
    return _changed(latent, np.where(mask > 0, along(values * mask) / np.where(total > 0, total, 1.0), values))


def reverse(latent: Latent) -> Latent:
    """Reverses the frames within the real length: values, level and codes. Frames behind it stay."""
    order, lengths = np.arange(latent.values.shape[1])[None, :], real_frames(latent)[:, None]
    return _rearranged(latent, np.where(order < lengths, lengths - 1 - order, order))


def freeze(latent: Latent, count: int) -> Latent:
    """Holds the first frame for `count` frames: values, level and codes."""
    return _rearranged(latent, np.zeros((latent.values.shape[0], count), np.int64))


def _rearranged(latent: Latent, order: np.ndarray) -> Latent:
    """Returns the frames of a series in the order [B, M'] of positions."""
    return jax.tree.map(lambda x: _taken(x, order) if np.ndim(x) > 1 else x, latent)


def _changed(latent: Latent, values: Array) -> Latent:
    return latent.replace(values=np.asarray(values, np.float32), codes=None)
