"""Discrete control: the series of codes whose descriptors follow curves, measured on the sound and corrected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.latent.code_table import CodeTable, codes_as_latent, sound
from timbre_jax.latent.control import Controlled, accuracy, compared, measure, need_series, targets_of, tolerance
from timbre_jax.latent.curves import Curve, smoothed
from timbre_jax.latent.series import latent_rate
from timbre_jax.records import Array, Latent
from timbre_jax.space import TimbreSpace

CANDIDATES = 24
"""Codes that are considered for each frame: the nearest to the target."""
DEFAULT_GAIN_DB = -20.0


def codes_for_curve(
    table: CodeTable,
    targets: Mapping[str, np.ndarray],
    *,
    smoothness: float = 0.1,
    near: np.ndarray | None = None,
    nearness: float = 0.1,
) -> np.ndarray:
    """Positions in a table of the codes that follow target curves, [M].

    The path of least cost (Viterbi) through the `CANDIDATES` codes nearest to the target of each frame. A frame costs the
    squared distance to its targets in units of `control.tolerance`, `smoothness` times the squared distance between
    successive vectors and `nearness` times that to `near`, in units of the mean squared distance of two codes.
    With smoothness 0 and without `near` these are the nearest codes, as in Bitton, Esling & Harada 2020.

    Args:
      targets: by descriptor, [M].
      near: [M, D], vectors of a sound that the codes shall stay near to; None: no such thing.

    Raises ValueError where no code has the descriptors.
    """
    usable = table.usable(next(iter(targets)))
    for name in targets:
        usable = np.intersect1d(usable, table.usable(name))
    if not len(usable):
        raise ValueError(f"no code of this space has a {' and a '.join(targets)}")
    cost = 0.0
    for name, target in targets.items():
        own = compared(name, table.described[name][usable])
        cost = cost + np.square((compared(name, target)[:, None] - own[None]) / tolerance(name))
    vectors = table.values[usable].astype(np.float64)
    unit = max(2.0 * float(np.var(vectors, axis=0).sum()), 1e-12)
    if near is not None:
        cost = cost + nearness * _squares(near.astype(np.float64), vectors) / unit
    count = min(CANDIDATES, len(usable))
    chosen = np.argpartition(cost, count - 1, axis=1)[:, :count]
    local = np.take_along_axis(cost, chosen, axis=1)
    back = np.zeros(chosen.shape, np.int64)
    total = local[0]
    for m in range(1, len(chosen)):
        step = smoothness * _squares(vectors[chosen[m - 1]], vectors[chosen[m]]) / unit
        through = total[:, None] + step
        back[m] = np.argmin(through, axis=0)
        total = through[back[m], np.arange(count)] + local[m]
    path = np.zeros(len(chosen), np.int64)
    path[-1] = int(np.argmin(total))
    for m in range(len(chosen) - 1, 0, -1):
        path[m - 1] = back[m, path[m]]
    return usable[chosen[np.arange(len(chosen)), path]]


def _squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Squared distances of [M, D] and [C, D], [M, C]."""
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2.0 * (a @ b.T), 0.0)


def control_codes(
    space: TimbreSpace,
    table: CodeTable,
    curves: Sequence[Curve],
    *,
    seconds: float | None = None,
    start: Latent | None = None,
    near: bool = True,
    gain_db: float = DEFAULT_GAIN_DB,
    smoothness: float = 0.1,
    nearness: float = 0.1,
    rounds: int = 6,
    key: Array | None = None,
) -> Controlled:
    """A sound whose descriptors follow curves, of codes chosen from a table.

    Each round chooses codes for the targets, decodes them, measures the sound, and moves the targets by what it was off
    (averaged over neighbouring frames: codes in a row sound otherwise than each alone). The best round is kept.

    Args:
      curves: one for each descriptor.
      seconds: how long the sound is; None: as `start`, else as the longest curve.
      start: a series [1, M, D] whose gain is kept; None: constant `gain_db`.
      near: keep codes near to those of the start.
      rounds: 1 takes the nearest codes without correction.
      key: of the decoder's noise.

    Raises ValueError for a space without codes, curves that have none, or a start that is no single series.
    """
    need_series(space, discrete=True)
    stride = int(getattr(space.model, "stride", 1))
    if start is not None and (start.values.ndim != 3 or start.values.shape[0] != 1):
        raise ValueError(f"the start is one series [1, M, D], not {start.values.shape}")
    rate = latent_rate(space)
    if start is not None and seconds is None:
        count = start.values.shape[1]
    else:
        count = max(1, round((max(curve.seconds for curve in curves) if seconds is None else seconds) * rate))
    reach = {curve.descriptor: table.reach(curve.descriptor) for curve in curves}
    target, remarks = targets_of(space, curves, count * stride, reach)
    close, gain = None, np.full(count, gain_db, np.float32)
    if start is not None:
        place = np.minimum(np.arange(count), start.values.shape[1] - 1)
        close = np.asarray(start.values)[0, place] if near else None
        if "gain_db" in start.conditions:
            gain = np.broadcast_to(np.asarray(start.conditions["gain_db"]), start.values.shape[:2])[0, place]
    wanted = {name: compared(name, curve) for name, curve in target.items()}
    best = None
    for _ in range(max(1, rounds)):
        asked = {name: _back(name, curve).reshape(count, stride).mean(1) for name, curve in wanted.items()}
        chosen = codes_for_curve(table, asked, smoothness=smoothness, near=close, nearness=nearness)
        latent = codes_as_latent(space, table.codes[chosen][None], gain_db=gain[None])
        wave = sound(space, latent, key)
        achieved, heard = measure(space, wave, list(target), count * stride)
        achieved, heard = {name: values[0] for name, values in achieved.items()}, heard[0]
        error = (
            np.mean([accuracy(n, target[n][heard], achieved[n][heard])["mean_error"] for n in target])
            if heard.any()
            else np.inf
        )
        if best is None or error < best[0]:
            best = (error, latent, wave[0], achieved, heard)
        for name in target:
            off = np.where(heard, compared(name, achieved[name]) - compared(name, target[name]), 0.0)
            limit = compared(name, np.array(reach[name]))
            wanted[name] = np.clip(wanted[name] - 0.7 * smoothed(off, 3), *limit)
    _, latent, wave, achieved, heard = best
    if not heard.any():
        remarks.append("the sound is silent: nothing can be measured")
    times = np.arange(count * stride) / float(space.representation.rate)
    return Controlled(latent, wave, space.sample_rate, times, target, achieved, heard, reach, tuple(remarks))


def _back(name: str, values: np.ndarray) -> np.ndarray:
    """The inverse of `compared`."""
    from timbre_jax.audio.descriptors import descriptor

    return np.exp(values) if descriptor(name).proportional else values
