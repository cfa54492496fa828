"""Discrete control: the series of codes whose descriptors follow curves, measured on the sound and corrected."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from timbre_jax.generation.control.code_table import CodeTable, codes_as_latent
from timbre_jax.generation.control.curves import Curve, from_error_scale, smoothed, to_error_scale
from timbre_jax.generation.control.results import Controlled, measure, targets_of, tolerance
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent

CANDIDATES = 24
"""Codes that are considered for each frame: the nearest to the target."""
DEFAULT_GAIN_DB = -20.0
TRIED, APART, REACH = 15, 12, 5
"""A sweep: codes that are tried at each frame, frames between those that try at once, and frames about each that are heard."""


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
    usable = table.usable(*targets)
    if not len(usable):
        raise ValueError(f"no code of this space has a {' and a '.join(targets)}")
    cost = np.zeros(())
    for name, target in targets.items():
        own = to_error_scale(name, table.described[name][usable])
        cost = cost + np.square((to_error_scale(name, target)[:, None] - own[None]) / tolerance(name))
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


class _Measured(NamedTuple):
    """V sounds: series, waves [V, T], achieved curves and audible frames [V, N], errors [V, N] in tolerances, at most 20."""

    latent: Latent
    waves: np.ndarray
    achieved: dict[str, np.ndarray]
    heard: np.ndarray
    errors: np.ndarray


def control_codes(
    space: TimbreSpace,
    table: CodeTable,
    curves: Sequence[Curve],
    start: Latent,
    *,
    near: bool = True,
    smoothness: float = 0.1,
    nearness: float = 0.1,
    rounds: int = 6,
    sweeps: int = 1,
    key: Array | None = None,
) -> Controlled:
    """A sound whose descriptors follow curves, of codes chosen from a table.

    Codes in a row sound otherwise than each alone, so the choice is corrected on the sound, in two ways. Rounds: codes are
    chosen for the targets and decoded, the sound is measured, and the targets are moved by what it was off (averaged over
    neighboring frames); the best round is kept. Sweeps: at frames far apart from each other, other codes are tried out side by
    side and heard, and at each frame the one stays with which the sound about it comes nearest to the targets.

    Args:
      curves: one for each descriptor.
      start: a series [1, M, D] whose length and gain are kept.
      near: keep codes near to those of the start.
      rounds: 1 takes the codes without correction. sweeps: over all frames; 0 tries nothing out.
      key: of the decoder's noise.

    Raises ValueError for a space without codes, curves that have none, or a start that is no single series.
    """
    space.check_kind("series", discrete=True)
    if start.values.ndim != 3 or start.values.shape[0] != 1:
        raise ValueError(f"the start is one series [1, M, D], not {start.values.shape}")
    stride, count = space.model.stride, start.values.shape[1]
    reach = {curve.descriptor: table.reach(curve.descriptor) for curve in curves}
    target, remarks = targets_of(space, curves, count * stride, reach)
    close = np.asarray(start.values[0]) if near else None
    gain = np.broadcast_to(np.asarray(start.conditions.get("gain_db", DEFAULT_GAIN_DB)), start.values.shape[:2])[0]
    decode = functools.partial(_decode_and_measure, space, table, target, gain, key)
    wanted = {name: to_error_scale(name, curve) for name, curve in target.items()}
    best, chosen = np.inf, np.zeros(0, np.int64)
    for turn in range(max(1, rounds)):
        asked = {name: from_error_scale(name, curve).reshape(count, stride).mean(1) for name, curve in wanted.items()}
        tried = codes_for_curve(table, asked, smoothness=smoothness, near=close, nearness=nearness)
        sound = decode(tried[None])
        error = float(sound.errors[0].mean())
        if not turn or error < best:
            best, chosen = error, tried
        for name in target:
            off = to_error_scale(name, sound.achieved[name][0]) - to_error_scale(name, target[name])
            off = np.where(sound.heard[0], off, 0.0)
            limit = to_error_scale(name, np.array(reach[name]))
            wanted[name] = np.clip(wanted[name] - 0.7 * smoothed(off, 3), *limit)
    for sweep in range(sweeps if rounds > 1 else 0):
        chosen = _tried_out(decode, table, target, chosen, stride, seed=sweep)
    sound = decode(chosen[None])
    achieved, heard = {name: values[0] for name, values in sound.achieved.items()}, sound.heard[0]
    if not heard.any():
        remarks.append("the sound is silent: nothing can be measured")
    times = np.arange(count * stride) / float(space.representation.rate)
    return Controlled(sound.latent, sound.waves[0], space.sample_rate, times, target, achieved, heard, reach, tuple(remarks))


def _decode_and_measure(
    space: TimbreSpace, table: CodeTable, target: Mapping[str, np.ndarray], gain: np.ndarray, key: Array | None,
    chosen: np.ndarray,
) -> _Measured:  # fmt: skip
    """Decodes positions of a table [V, M] as sounds of one level curve and measures them against targets."""
    latent = codes_as_latent(space, table.codes[chosen], gain_db=gain[None])
    waves = np.asarray(space.render(latent, key))
    achieved, heard = measure(space, waves, list(target), len(next(iter(target.values()))))
    errors = sum(
        np.abs(to_error_scale(name, achieved[name]) - to_error_scale(name, curve)) / tolerance(name)
        for name, curve in target.items()
    )
    return _Measured(latent, waves, achieved, heard, np.minimum(np.where(heard, errors, 0.0), 20.0))


def _tried_out(
    decode: Callable[[np.ndarray], _Measured], table: CodeTable, target: Mapping[str, np.ndarray], chosen: np.ndarray,
    stride: int, *, seed: int,
) -> np.ndarray:  # fmt: skip
    """A sweep: positions [M] after every frame has tried `TRIED` other codes; never worse on the whole than before."""
    generator = np.random.default_rng(seed)
    count = len(chosen)
    usable = table.usable(*target)
    own = {name: to_error_scale(name, table.described[name][usable]) for name in target}
    errors = decode(chosen[None]).errors[0]
    for offset in generator.permutation(min(APART, count)).tolist():
        places = np.arange(offset, count, APART)
        variants = np.repeat(chosen[None], TRIED + 1, axis=0)
        for m in places:
            frames = slice(m * stride, (m + 1) * stride)
            # Around what the code there says now, moved by what the sound is off: half near it, half wider.
            width = np.where(np.arange(TRIED) % 2, 0.08, 0.25)
            cost = 0.0
            for name, curve in target.items():
                here = to_error_scale(name, table.described[name][chosen[m]])
                aim = 0.5 * (here + to_error_scale(name, curve[frames]).mean())
                drawn = aim + generator.standard_normal(TRIED) * width * np.ptp(own[name])
                cost = cost + np.abs(own[name][None] - drawn[:, None]) / tolerance(name)
            variants[1:, m] = usable[np.argmin(cost, axis=1)]
        found = decode(variants).errors
        moved = chosen.copy()
        for m in places:
            about = slice(max(0, (m - REACH) * stride), (m + REACH + 1) * stride)
            moved[m] = variants[int(np.argmin(found[:, about].sum(axis=1))), m]
        after = decode(moved[None]).errors[0]
        if after.mean() < errors.mean():
            chosen, errors = moved, after
    return chosen
