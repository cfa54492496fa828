"""Descriptor control in discrete spaces: selection of codes that follow target curves."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from timbre_jax.generation.control.code_table import CodeTable, codes_as_latent
from timbre_jax.generation.control.curves import Curve, from_error_scale, smooth_curve, to_error_scale
from timbre_jax.generation.control.results import ControlResult, measure, sample_targets, tolerance
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent

CANDIDATES = 24
"""Number of codes that are considered for each latent, those of least cost."""
NEARNESS = 0.1
"""Default weight of the distance from the codes of the start."""
DEFAULT_GAIN_DB = -20.0
"""Gain in dB of a start without a gain condition."""
ALTERNATIVES = 15
"""Number of other codes that a sweep tries for each latent."""
SWEEP_SPACING = 12
"""Distance in latents between the latents that a sweep changes at the same time."""
SWEEP_REACH = 5
"""Number of latents on each side of a changed one in which a sweep compares the errors."""
LARGEST_ERROR = 20.0
"""Errors of a frame, in tolerances, are clipped to this value."""


def codes_for_curve(
    table: CodeTable,
    targets: Mapping[str, np.ndarray],
    *,
    smoothness: float = 0.1,
    near: np.ndarray | None = None,
    nearness: float = NEARNESS,
) -> np.ndarray:
    """Chooses codes that follow target curves, one for each latent.

    They are the path of least cost (Viterbi) through the `CANDIDATES` codes of least cost at each latent. The cost of a latent
    is the squared distance to its targets in units of `tolerance`, plus `smoothness` times the squared distance of successive
    vectors and `nearness` times that to `near`, both in units of the mean squared distance of two codes. With smoothness 0 and
    without `near`, the codes are the nearest ones, as in Bitton, Esling & Harada 2020.

    Args:
      table: codes with their descriptors.
      targets: target curves [M] by descriptor.
      smoothness: weight of the distance of successive vectors.
      near: vectors [M, D] of a sound that the codes stay near to; None to ignore.
      nearness: weight of the distance to `near`.

    Returns:
      Positions [M] in the table.

    Raises:
      ValueError: no code has all of the descriptors.
    """
    usable = table.usable(*targets)
    if not len(usable):
        raise ValueError(f"{', '.join(targets)}: no code of this space has all of them; use other descriptors")
    cost = np.zeros(())
    for name, target in targets.items():
        values = to_error_scale(name, table.means[name][usable])
        cost = cost + np.square((to_error_scale(name, target)[:, None] - values[None]) / tolerance(name))
    vectors = table.values[usable].astype(np.float64)
    unit = max(2.0 * float(np.var(vectors, axis=0).sum()), 1e-12)
    if near is not None:
        cost = cost + nearness * _squared_distances(near.astype(np.float64), vectors) / unit
    count = min(CANDIDATES, len(usable))
    chosen = np.argpartition(cost, count - 1, axis=1)[:, :count]
    local_costs = np.take_along_axis(cost, chosen, axis=1)
    backpointers = np.zeros(chosen.shape, np.int64)
    total_costs = local_costs[0]
    for m in range(1, len(chosen)):
        step = smoothness * _squared_distances(vectors[chosen[m - 1]], vectors[chosen[m]]) / unit
        path_costs = total_costs[:, None] + step
        backpointers[m] = np.argmin(path_costs, axis=0)
        total_costs = path_costs[backpointers[m], np.arange(count)] + local_costs[m]
    path = np.zeros(len(chosen), np.int64)
    path[-1] = int(np.argmin(total_costs))
    for m in range(len(chosen) - 1, 0, -1):
        path[m - 1] = backpointers[m, path[m]]
    return usable[chosen[np.arange(len(chosen)), path]]


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the squared distances [M, C] of vectors [M, D] and [C, D]."""
    return np.maximum(np.square(a).sum(1)[:, None] + np.square(b).sum(1)[None] - 2.0 * (a @ b.T), 0.0)


def control_codes(
    space: TimbreSpace,
    table: CodeTable,
    curves: Sequence[Curve],
    start: Latent,
    *,
    smoothness: float = 0.1,
    nearness: float = NEARNESS,
    rounds: int = 6,
    sweeps: int = 1,
    key: Array | None = None,
) -> ControlResult:
    """Generates a sound from codes, whose descriptors follow target curves.

    A code in a series sounds different from the same code alone, so the choice is corrected on the decoded sound in two ways.
    Rounds choose codes for the targets, decode and measure them, and move the targets by the measured errors, averaged over
    neighboring frames; the best round is kept. Sweeps then try other codes at latents that are far apart, all at once, and
    keep at each latent the code with the smallest errors around it.

    Args:
      space: discrete series space.
      table: codes of the space with their descriptors.
      curves: one curve for each descriptor.
      start: series [1, M, D] whose length and gain are kept.
      smoothness: weight of the distance of successive vectors.
      nearness: weight of the distance from the vectors of the start; 0 ignores them.
      rounds: number of rounds; 1 uses the codes without correction.
      sweeps: number of sweeps over all latents, if there are several rounds.
      key: random key of the decoder; None for a fixed key.

    Raises:
      ValueError: the space has no codes, no code has the descriptors, two curves are of one descriptor, or the start is not a
        single series.
    """
    space.check_kind("series", discrete=True)
    if start.values.ndim != 3 or start.values.shape[0] != 1:
        raise ValueError(f"start: expected one series [1, M, D] (got {start.values.shape})")
    stride, count = space.model.stride, start.values.shape[1]
    reach = {curve.descriptor: table.reach(curve.descriptor) for curve in curves}
    target, remarks = sample_targets(space, curves, count * stride, reach)
    near = np.asarray(start.values[0]) if nearness else None
    gain = np.broadcast_to(np.asarray(start.conditions.get("gain_db", DEFAULT_GAIN_DB)), start.values.shape[:2])[0]
    decode = functools.partial(_decode_and_measure, space, table, target, gain, key)
    aims = {name: to_error_scale(name, curve) for name, curve in target.items()}
    best, chosen = np.inf, np.zeros(0, np.int64)
    for number in range(max(1, rounds)):
        latent_aims = {name: from_error_scale(name, aim).reshape(count, stride).mean(1) for name, aim in aims.items()}
        candidate = codes_for_curve(table, latent_aims, smoothness=smoothness, near=near, nearness=nearness)
        sound = decode(candidate[None])
        error = float(sound.errors[0].mean())
        if not number or error < best:
            best, chosen = error, candidate
        for name in target:
            bias = to_error_scale(name, sound.achieved[name][0]) - to_error_scale(name, target[name])
            bias = np.where(sound.audible[0], bias, 0.0)
            limits = to_error_scale(name, np.array(reach[name]))
            aims[name] = np.clip(aims[name] - 0.7 * smooth_curve(bias, 3), *limits)
    for sweep in range(sweeps if rounds > 1 else 0):
        chosen = _try_alternatives(decode, table, target, chosen, stride, seed=sweep)
    sound = decode(chosen[None])
    achieved, audible = {name: values[0] for name, values in sound.achieved.items()}, sound.audible[0]
    if not audible.any():
        remarks.append("the sound is silent: nothing can be measured")
    times = np.arange(count * stride) / float(space.representation.rate)
    return ControlResult(
        sound.latent, sound.waves[0], space.sample_rate, times, target, achieved, audible, reach, tuple(remarks)
    )


class _MeasuredSounds(NamedTuple):
    """Sounds of V series: waves [V, T]; curves, audibility and errors in tolerances [V, N]."""

    latent: Latent
    waves: np.ndarray
    achieved: dict[str, np.ndarray]
    audible: np.ndarray
    errors: np.ndarray


def _decode_and_measure(
    space: TimbreSpace, table: CodeTable, target: Mapping[str, np.ndarray], gain: np.ndarray, key: Array | None,
    chosen: np.ndarray,
) -> _MeasuredSounds:  # fmt: skip
    """Decodes the codes at positions [V, M] of a table with one gain curve, and measures them."""
    latent = codes_as_latent(space, table.codes[chosen], gain_db=gain[None])
    waves = np.asarray(space.render(latent, key))
    achieved, audible = measure(space, waves, list(target), len(next(iter(target.values()))))
    errors = sum(
        np.abs(to_error_scale(name, achieved[name]) - to_error_scale(name, curve)) / tolerance(name)
        for name, curve in target.items()
    )
    return _MeasuredSounds(latent, waves, achieved, audible, np.minimum(np.where(audible, errors, 0.0), LARGEST_ERROR))


def _try_alternatives(
    decode: Callable[[np.ndarray], _MeasuredSounds], table: CodeTable, target: Mapping[str, np.ndarray], chosen: np.ndarray,
    stride: int, *, seed: int,
) -> np.ndarray:  # fmt: skip
    """Tries other codes at all latents, and returns positions [M] with no larger mean error."""
    generator = np.random.default_rng(seed)
    count = len(chosen)
    usable = table.usable(*target)
    values = {name: to_error_scale(name, table.means[name][usable]) for name in target}
    errors = decode(chosen[None]).errors[0]
    for offset in generator.permutation(min(SWEEP_SPACING, count)).tolist():
        places = np.arange(offset, count, SWEEP_SPACING)
        variants = np.repeat(chosen[None], ALTERNATIVES + 1, axis=0)
        for m in places:
            frames = slice(m * stride, (m + 1) * stride)
            # Aims are drawn around the middle between the present code and the target: half of them with a small spread, half
            # with a large one.
            width = np.where(np.arange(ALTERNATIVES) % 2, 0.08, 0.25)
            cost = 0.0
            for name, curve in target.items():
                present = to_error_scale(name, table.means[name][chosen[m]])
                center = 0.5 * (present + to_error_scale(name, curve[frames]).mean())
                drawn = center + generator.standard_normal(ALTERNATIVES) * width * np.ptp(values[name])
                cost = cost + np.abs(values[name][None] - drawn[:, None]) / tolerance(name)
            variants[1:, m] = usable[np.argmin(cost, axis=1)]
        variant_errors = decode(variants).errors
        moved = chosen.copy()
        for m in places:
            around = slice(max(0, (m - SWEEP_REACH) * stride), (m + SWEEP_REACH + 1) * stride)
            moved[m] = variants[int(np.argmin(variant_errors[:, around].sum(axis=1))), m]
        moved_errors = decode(moved[None]).errors[0]
        if moved_errors.mean() < errors.mean():
            chosen, errors = moved, moved_errors
    return chosen
