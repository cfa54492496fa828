"""Descriptor control in continuous spaces by gradient search through the decoder."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timbre_jax.audio.descriptors import DESCRIPTORS, bin_frequencies, descriptor, power_scale
from timbre_jax.audio.level import safe_sqrt
from timbre_jax.audio.stft import stft
from timbre_jax.generation.control.curves import Curve, smooth_curve, to_error_scale
from timbre_jax.generation.control.results import (
    AUDIBLE_RANGE_DB,
    ControlResult,
    accuracy,
    frame_settings,
    measure,
    sample_targets,
    tolerance,
)
from timbre_jax.inference.pooled import hold_points, level_name
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent, frame_mask

SPECTRAL_DESCRIPTORS = tuple(name for name, entry in DESCRIPTORS.items() if entry.of_spectrum is not None)
"""Descriptors that can be computed from decoded spectra, which a search needs for its gradients."""
LEARNING_RATE = 0.05
LEVEL_STEP_DB = 20.0
"""Level change in dB of one unit of the search parameter "level"."""
LEVEL_RANGE_DB = (-70.0, 0.0)
"""Range of the level condition if loudness is searched."""
SMOOTHED_FRAMES = 5
"""Number of frames over which the bias of descriptors of decoded spectra is averaged."""


@functools.lru_cache(maxsize=8)
def _mel_to_bins(representation) -> np.ndarray:
    """Returns the matrix [F, K] from power of mel bands to power of frequency bins."""
    basis = np.asarray(representation.basis, np.float64)
    share = basis.sum(0)
    weights = (basis / np.maximum(basis.sum(1, keepdims=True), 1e-30)) / np.maximum(share, 1e-30)
    return np.where(share > 0, weights, 0.0).astype(np.float32)


def decoded_magnitudes(space: TimbreSpace, features: Features) -> tuple[Array, np.ndarray]:
    """Computes magnitude spectra of decoded features, differentiably.

    For mel bands, each bin gets the mean power density of its bands. Spectral lines within a band are lost, so descriptors of
    decoded spectra differ from those of the sound by a bias, which `control_latents` corrects.

    Args:
      space: series space.
      features: features [B, N, F].

    Returns:
      Magnitudes [B, N, K], and the frequencies [K] of the bins in Hz.

    Raises:
      ValueError: the features are neither mel bands nor samples.
    """
    representation: Any = space.representation
    if representation.is_mel:
        power = representation.features_to_mel(features) @ _mel_to_bins(representation)
        frequencies = bin_frequencies(representation.sample_rate, representation.n_fft)
        return safe_sqrt(jnp.where(power > 1e-20, power, 0.0)), frequencies
    if representation.name == "wave_frames":
        settings = frame_settings(space)
        spectra = stft(representation.synthesize(features), n_fft=settings["n_fft"], hop=settings["hop"])
        return jnp.abs(spectra)[:, : features.values.shape[1]], bin_frequencies(settings["sample_rate"], settings["n_fft"])
    raise ValueError(f"spectra of features: expected mel bands or samples (got the representation {representation.name!r})")


def decoded_descriptor(space: TimbreSpace, features: Features, name: str) -> Array:
    """Computes a descriptor [B, N] of decoded features on its error scale.

    Raises:
      ValueError: the descriptor cannot be computed from spectra.
    """
    magnitude, frequencies = decoded_magnitudes(space, features)
    of_spectrum = descriptor(name).of_spectrum
    if of_spectrum is None:
        raise ValueError(f"{name}: must be a descriptor of spectra, one of {', '.join(SPECTRAL_DESCRIPTORS)}")
    if name == "loudness":
        n_fft = 2 * (len(frequencies) - 1)
        return of_spectrum(magnitude, frequencies, scale=power_scale(n_fft))
    values = of_spectrum(magnitude, frequencies)
    return jnp.log(jnp.maximum(values, 1e-6)) if descriptor(name).proportional else values


def _to_latent(space: TimbreSpace, params: Mapping[str, Array], start: Latent) -> Latent:
    """Converts search parameters to latents, clipped to the range of the space."""
    statistics = space.statistics
    values = statistics["latent_mean"] + statistics["latent_std"] * params["shape"]
    latent = start.replace(values=jnp.clip(values, statistics["latent_low"], statistics["latent_high"]))
    name = level_name(start.conditions)
    if name is None or "level" not in params:
        return latent
    level = jnp.clip(start.conditions[name] + LEVEL_STEP_DB * params["level"], *LEVEL_RANGE_DB)
    return latent.replace(conditions={**start.conditions, name: level})


@functools.partial(jax.jit, static_argnames="names")
def _optimize(space, params, origin, start, targets, directions, counted, weights, rate, *, names, steps):
    """Minimizes the loss of `control_latents` with Adam, starting at `params`.

    The rows of the batch are independent. `steps` is traced, so that all numbers of steps share a compilation. A row with
    direction -1 or 1 has no target, and minimizes or maximizes the descriptor.
    """

    def loss(params):
        latent = _to_latent(space, params, start)
        features = space.model.apply(space.variables, latent, method="decode")
        total = 0.0
        for name in names:
            error = (decoded_descriptor(space, features, name) - targets[name]) / tolerance(name)
            distance = jnp.where(jnp.abs(error) < 4.0, jnp.square(error), 8.0 * jnp.abs(error) - 16.0)
            direction = directions[name][:, None]
            cost = jnp.where(direction == 0, distance, -4.0 * direction * error)
            total = total + jnp.sum(jnp.sum(cost * counted[name], 1) / jnp.maximum(jnp.sum(counted[name], 1), 1.0))
        for key, moved in params.items():
            moved = (moved - origin[key]).reshape(*moved.shape[:2], -1)
            roughness = jnp.sum(jnp.square(jnp.diff(moved, axis=1)), (1, 2)) / moved.shape[1]
            total = total + jnp.sum(weights["smoothness"] * roughness)
            total = total + weights["nearness"] * jnp.sum(jnp.sum(jnp.square(moved), (1, 2)) / moved.shape[1])
        return total

    optimizer = optax.adam(1.0)
    statistics = space.statistics
    low, high = (
        (statistics[name] - statistics["latent_mean"]) / statistics["latent_std"] for name in ("latent_low", "latent_high")
    )

    def step(i, carry):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        # pi / steps as one factor gives the same bits as a number of steps that is static.
        size = rate * 0.5 * (1.0 + jnp.cos(i * (jnp.pi * (1.0 / steps)))) + 0.05 * rate
        params = jax.tree.map(lambda p, u: p + size * u, params, updates)
        return {**params, "shape": jnp.clip(params["shape"], low, high)}, state

    params, _ = jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))
    features = space.model.apply(space.variables, _to_latent(space, params, start), method="decode")
    return params, {name: decoded_descriptor(space, features, name) for name in names}


def mean_start(space: TimbreSpace, *, seconds: float) -> Latent:
    """Returns the training mean, held for some seconds, as the start [1, M, D] of a search."""
    space.check_kind("series")
    return hold_points(space, space.statistics["latent_mean"][None], seconds=seconds)


def _check_search(space: TimbreSpace, start: Latent, names: Sequence[str]) -> None:
    space.check_kind("series", discrete=False)
    for name in names:
        if name not in SPECTRAL_DESCRIPTORS:
            descriptor(name)  # raises if the name is unknown
            raise ValueError(
                f"{name}: cannot be searched through the decoder, expected one of {', '.join(SPECTRAL_DESCRIPTORS)}"
            )
    if start.values.ndim != 3:
        raise ValueError(f"start: expected a series [1, M, D] (got {start.values.shape})")
    if "loudness" in names and level_name(start.conditions) is None:
        raise ValueError("loudness: cannot be controlled in this space, which has no level condition; use other descriptors")


def _repeat_start(start: Latent, count: int) -> Latent:
    """Repeats a start for each of `count` sounds."""
    if start.values.shape[0] not in (1, count):
        raise ValueError(f"start: expected 1 or {count} series, one for each sound (got {start.values.shape[0]})")
    if start.values.shape[0] == count:
        return start
    return jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x), count, axis=0), start)


def _prepare_search(space: TimbreSpace, start: Latent, names: Sequence[str], count: int) -> tuple[Latent, dict, Array]:
    """Returns the starts of `count` sounds, their parameters, and a mask [B, N] of frames.

    The mask covers the real frames, and only the audible ones if the level is kept.
    """
    _check_search(space, start, names)
    rows, stride = _repeat_start(start, count), space.model.stride
    origin = {"shape": (rows.values - space.statistics["latent_mean"]) / space.statistics["latent_std"]}
    counted = jnp.repeat(jnp.asarray(frame_mask(rows)), stride, axis=1)
    level = level_name(rows.conditions)
    if "loudness" in names:
        origin["level"] = jnp.zeros(rows.values.shape[:2])
    elif level is not None:
        curve = jnp.repeat(rows.conditions[level], stride, axis=1)
        counted = counted * (curve > jnp.max(curve, axis=1, keepdims=True) - AUDIBLE_RANGE_DB)
    return rows, origin, counted


def reachable_ranges(
    space: TimbreSpace, names: Sequence[str], start: Latent, *, steps: int = 100, nearness: float = 0.01,
    key: Array | None = None,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Measures the range of each descriptor that sounds can reach from a start.

    Two searches per descriptor move the latents within their range (1st to 99th percentile of the training set): one minimizes
    the descriptor, and one maximizes it. The values are medians over the audible frames of the two sounds.

    Args:
      space: continuous series space.
      names: names of the descriptors.
      start: series [1, M, D].
      steps: optimizer steps.
      nearness: weight of the distance from the start.
      key: random key of the decoder and the synthesis; None for a fixed key.

    Returns:
      (low, high) by descriptor.

    Raises:
      ValueError: the space is discrete or static, a descriptor cannot be computed from spectra, or the start is silent.
    """
    names = tuple(names)
    rows, origin, counted = _prepare_search(space, start, names, 2 * len(names))
    directions = {name: np.zeros(len(counted), np.float32) for name in names}
    own_frames = {name: np.zeros(counted.shape, np.float32) for name in names}
    for i, name in enumerate(names):
        directions[name][2 * i : 2 * i + 2] = -1.0, 1.0
        own_frames[name][2 * i : 2 * i + 2] = np.asarray(counted)[2 * i : 2 * i + 2]
    targets = {name: jnp.zeros(counted.shape) for name in names}
    weights = {"smoothness": jnp.float32(1.0), "nearness": jnp.float32(nearness)}
    params, _ = _optimize(
        space, origin, origin, rows, targets, directions, own_frames, weights, LEARNING_RATE, names=names, steps=steps,
    )  # fmt: skip
    waves = np.asarray(space.render(_to_latent(space, params, rows), key))
    values, audible = measure(space, waves, names, counted.shape[1])
    reach = {}
    for i, name in enumerate(names):
        if not audible[2 * i : 2 * i + 2].any(axis=1).all():
            raise ValueError("start: is silent, so that nothing can be controlled; use another sound, or none")
        ends = [float(np.median(values[name][row][audible[row]])) for row in (2 * i, 2 * i + 1)]
        reach[name] = (min(ends), max(ends))
    return reach


def control_latents(
    space: TimbreSpace,
    curves: Sequence[Sequence[Curve]],
    start: Latent,
    *,
    reach: Mapping[str, tuple[float, float]] | None = None,
    steps: int = 160,
    rounds: int = 4,
    smoothness: float = 1.0,
    nearness: float = 0.01,
    key: Array | None = None,
    progress: bool = False,
) -> list[ControlResult]:
    """Generates sounds whose descriptors follow target curves, by gradient search.

    The search moves u, the latents in training deviations from the training mean, away from the start u0. Adam minimizes

        mean over frames of sum_d h((decoded_d - target_d) / tolerance_d)
        + smoothness * mean |(u[m+1] - u0[m+1]) - (u[m] - u0[m])|^2 + nearness * mean |u - u0|^2

    where h is the square, extended as a straight line beyond 4. Latents stay between the 1st and 99th percentile of the
    training set. Each round then renders and measures the sounds, averages the difference between sound and decoded spectra
    over neighboring frames, subtracts it from the targets, and continues. The best round of each sound is kept.

    Args:
      space: continuous series space.
      curves: for each sound, one curve for each descriptor; all sounds have the same descriptors.
      start: one series [1, M, D] for all sounds, such as `space.embed` of a sound or `mean_start`, or one for each sound
        [B, M, D]. Sounds keep its length, and its level unless loudness is a descriptor.
      reach: lowest and highest value by descriptor; None measures them (`reachable_ranges`), which needs a single start.
      steps: optimizer steps of the first round; later rounds have 3/8 of them.
      rounds: number of rounds.
      smoothness: weight of the change of u - u0 from latent to latent.
      nearness: weight of the distance from the start.
      key: random key of the decoder and the synthesis; None for a fixed key.
      progress: whether to show a progress bar.

    Raises:
      ValueError: the space is discrete or static, a descriptor cannot be computed from spectra, the start is silent, or the
        numbers of curves and starts do not match.
    """
    from tqdm import tqdm

    names = tuple(curve.descriptor for curve in curves[0]) if curves else ()
    rows, origin, counted = _prepare_search(space, start, names, len(curves))
    if any({curve.descriptor for curve in sound} != set(names) for sound in curves):
        raise ValueError("curves: all sounds of a search must have curves of the same descriptors")
    reach = reachable_ranges(space, names, start, nearness=nearness, key=key) if reach is None else reach
    frames = counted.shape[1]
    sampled = [sample_targets(space, sound, frames, reach) for sound in curves]
    target = {name: np.stack([values[name] for values, _ in sampled]) for name in names}
    params, aims = origin, {name: to_error_scale(name, curve) for name, curve in target.items()}
    directions = {name: jnp.zeros(len(curves)) for name in names}
    weights = {"smoothness": jnp.float32(smoothness), "nearness": jnp.float32(nearness)}
    best: list[Any] = [None] * len(curves)
    for number in tqdm(range(max(1, rounds)), desc="search", unit=" rounds", disable=not progress):
        rate, round_steps = (LEARNING_RATE, steps) if not number else (0.4 * LEARNING_RATE, max(1, 3 * steps // 8))
        params, decoded = _optimize(
            space, params, origin, rows, {name: jnp.asarray(aim, jnp.float32) for name, aim in aims.items()}, directions,
            dict.fromkeys(names, counted), weights, rate, names=names, steps=round_steps,
        )  # fmt: skip
        latent = _to_latent(space, params, rows)
        waves = np.asarray(space.render(latent, key))
        achieved, audible = measure(space, waves, names, frames)
        _keep_best(best, target, latent, waves, achieved, audible)
        for name in names:
            bias = np.where(audible, to_error_scale(name, achieved[name]) - np.asarray(decoded[name], np.float64), 0.0)
            aims[name] = to_error_scale(name, target[name]) - smooth_curve(bias, SMOOTHED_FRAMES)
    times = np.arange(frames) / float(space.representation.rate)
    results = []
    for row, (_, latent, wave, achieved, inside) in enumerate(best):
        remarks = sampled[row][1] + ([] if inside.any() else ["the sound is silent: nothing can be measured"])
        targets = {name: target[name][row] for name in names}
        results.append(
            ControlResult(latent, wave, space.sample_rate, times, targets, achieved, inside, dict(reach), tuple(remarks))
        )
    return results


def _keep_best(best: list, target, latent: Latent, waves: np.ndarray, achieved, audible: np.ndarray) -> None:
    """Replaces the entries of `best` whose mean error is larger than that of this round."""
    for row, inside in enumerate(audible):
        errors = [accuracy(name, x[row][inside], achieved[name][row][inside])["mean_error"] for name, x in target.items()]
        error = float(np.mean(errors)) if inside.any() else np.inf
        if best[row] is None or error < best[row][0]:
            kept = jax.tree.map(lambda x, row=row: x[row : row + 1], latent)
            best[row] = (error, kept, waves[row], {name: x[row] for name, x in achieved.items()}, inside)
