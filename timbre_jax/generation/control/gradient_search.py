"""Continuous control: a series of latents whose decoded spectra follow curves, found by gradients through the decoder."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timbre_jax.audio.descriptors import DESCRIPTORS, bin_frequencies, descriptor, power_scale
from timbre_jax.audio.level import root
from timbre_jax.audio.stft import stft
from timbre_jax.generation.control.curves import Curve, smoothed, to_error_scale
from timbre_jax.generation.control.results import (
    HEARD_DB,
    Controlled,
    accuracy,
    frame_settings,
    measure,
    targets_of,
    tolerance,
)
from timbre_jax.inference.pooled import held, level_name
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent, frame_mask

SEARCHED = tuple(name for name, entry in DESCRIPTORS.items() if entry.of_spectrum is not None)
"""Descriptors that decoded spectra say, so that gradients know the way."""
LEARNING_RATE = 0.05
LEVEL_STEP_DB = 20.0
LEVEL_RANGE_DB = (-70.0, 0.0)
"""Of the level that the decoder is told where loudness is searched."""
SMOOTHED_FRAMES = 5
"""Over so many frames the bias between decoded spectrum and sound is averaged."""
RANGE = ("latent_low", "latent_high")


# Descriptors of decoded features. ----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def _spread(bands) -> np.ndarray:
    """[F, K]: mel power of bands to power of bins, each bin the mean of the densities of its bands."""
    basis = np.asarray(bands.basis, np.float64)
    share = basis.sum(0)
    weights = (basis / np.maximum(basis.sum(1, keepdims=True), 1e-30)) / np.maximum(share, 1e-30)
    return np.where(share > 0, weights, 0.0).astype(np.float32)


def decoded_magnitudes(space: TimbreSpace, features: Features) -> tuple[Array, np.ndarray]:
    """Magnitude spectra [B, N, K] that features stand for, and the frequencies [K] of their bins, differentiable.

    Of mel bands: every bin has the mean power density of its bands. It knows nothing of lines within a band, so what is
    measured on the sound differs by a bias that `search` corrects.

    Raises ValueError for a representation that is neither mel bands nor samples.
    """
    representation: Any = space.representation
    if representation.is_mel:
        power = representation.features_to_mel(features) @ _spread(representation)
        frequencies = bin_frequencies(representation.sample_rate, representation.n_fft)
        return root(jnp.where(power > 1e-20, power, 0.0)), frequencies
    if representation.name == "wave_frames":
        settings = frame_settings(space)
        spectra = stft(representation.synthesize(features), n_fft=settings["n_fft"], hop=settings["hop"])
        return jnp.abs(spectra)[:, : features.values.shape[1]], bin_frequencies(settings["sample_rate"], settings["n_fft"])
    raise ValueError(f"no spectra are known of features of {representation.name!r}; mel bands or samples are needed")


def decoded_descriptor(space: TimbreSpace, features: Features, name: str) -> Array:
    """A descriptor of decoded features as it is compared (logarithm of ratios), [B, N]."""
    magnitude, frequencies = decoded_magnitudes(space, features)
    of_spectrum = descriptor(name).of_spectrum
    if of_spectrum is None:
        raise ValueError(f"{name} is not a descriptor of spectra")
    if name == "loudness":
        n_fft = 2 * (len(frequencies) - 1)
        return of_spectrum(magnitude, frequencies, scale=power_scale(n_fft))
    values = of_spectrum(magnitude, frequencies)
    return jnp.log(jnp.maximum(values, 1e-6)) if descriptor(name).proportional else values


# Search. -----------------------------------------------------------------------------------------------------------------


def _latent(space: TimbreSpace, params: Mapping[str, Array], start: Latent) -> Latent:
    """Parameters to latents within the space's range; the level too where it is searched."""
    statistics = space.statistics
    values = statistics["latent_mean"] + statistics["latent_std"] * params["shape"]
    latent = start.replace(values=jnp.clip(values, statistics["latent_low"], statistics["latent_high"]))
    name = level_name(start.conditions)
    if name is None or "level" not in params:
        return latent
    level = jnp.clip(start.conditions[name] + LEVEL_STEP_DB * params["level"], *LEVEL_RANGE_DB)
    return latent.replace(conditions={**start.conditions, name: level})


@functools.partial(jax.jit, static_argnames="names")
def _optimize(space, params, origin, start, targets, pulls, heard, weights, rate, *, names, steps):
    """Takes `steps` (traced: one compilation for all numbers) of Adam from params; see `search`. Rows are independent."""

    def loss(params):
        latent = _latent(space, params, start)
        features = space.model.apply(space.variables, latent, method="decode")
        total = 0.0
        for name in names:
            off = (decoded_descriptor(space, features, name) - targets[name]) / tolerance(name)
            # A row either has a target or is pulled as far as it goes; the square bends into a line far off.
            far = jnp.where(jnp.abs(off) < 4.0, jnp.square(off), 8.0 * jnp.abs(off) - 16.0)
            cost = jnp.where(pulls[name][:, None] == 0, far, -4.0 * pulls[name][:, None] * off)
            total = total + jnp.sum(jnp.sum(cost * heard[name], 1) / jnp.maximum(jnp.sum(heard[name], 1), 1.0))
        for key, moved in params.items():
            moved = (moved - origin[key]).reshape(*moved.shape[:2], -1)
            steps_ = jnp.sum(jnp.square(jnp.diff(moved, axis=1)), (1, 2)) / moved.shape[1]
            total = total + jnp.sum(weights["smoothness"] * steps_)
            total = total + weights["nearness"] * jnp.sum(jnp.sum(jnp.square(moved), (1, 2)) / moved.shape[1])
        return total

    optimizer = optax.adam(1.0)

    def step(i, carry):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        # pi / steps as one factor gives the same bits as a number of steps that is known when it compiles.
        size = rate * 0.5 * (1.0 + jnp.cos(i * (jnp.pi * (1.0 / steps)))) + 0.05 * rate
        params = jax.tree.map(lambda p, u: p + size * u, params, updates)
        low, high = ((space.statistics[k] - space.statistics["latent_mean"]) / space.statistics["latent_std"] for k in RANGE)
        return {**params, "shape": jnp.clip(params["shape"], low, high)}, state

    params, _ = jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))
    features = space.model.apply(space.variables, _latent(space, params, start), method="decode")
    return params, {name: decoded_descriptor(space, features, name) for name in names}


def begin(space: TimbreSpace, *, seconds: float, level_db: float | None = None) -> Latent:
    """Where a search begins without a sound: the mean of the training set's latents, held for so long, [1, M, D]."""
    space.check_kind("series")
    return held(space, space.statistics["latent_mean"][None], seconds=seconds, level_db=level_db)


def _check(space: TimbreSpace, start: Latent, names: Sequence[str]) -> None:
    space.check_kind("series", discrete=False)
    for name in names:
        if name not in SEARCHED:
            descriptor(name)
            raise ValueError(f"{name} cannot be searched for through the decoder; these can: {', '.join(SEARCHED)}")
    if start.values.ndim != 3:
        raise ValueError(f"the start is a series [1, M, D], not {start.values.shape}")
    if "loudness" in names and level_name(start.conditions) is None:
        raise ValueError("this space sets no level aside: its loudness cannot be controlled")


def _rows(latent: Latent, count: int) -> Latent:
    """One start for each of `count` sounds, or the one for all of them."""
    if latent.values.shape[0] not in (1, count):
        raise ValueError(f"there are {latent.values.shape[0]} starts for {count} sounds: 1, or one for each, is needed")
    if latent.values.shape[0] == count:
        return latent
    return jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x), count, axis=0), latent)


def _prepare(space: TimbreSpace, start: Latent, names: Sequence[str], count: int) -> tuple[Latent, dict, Array]:
    """Returns the starts of `count` sounds, their search parameters, and the frames [B, N] that count.

    These are the real frames, and if the level is kept only the audible ones.
    """
    _check(space, start, names)
    rows, stride = _rows(start, count), space.model.stride
    origin = {"shape": (rows.values - space.statistics["latent_mean"]) / space.statistics["latent_std"]}
    frames = jnp.repeat(jnp.asarray(frame_mask(rows)), stride, axis=1)
    level = level_name(rows.conditions)
    if "loudness" in names:
        origin["level"] = jnp.zeros(rows.values.shape[:2])
    elif level is not None:
        curve = jnp.repeat(rows.conditions[level], stride, axis=1)
        frames = frames * (curve > jnp.max(curve, axis=1, keepdims=True) - HEARD_DB)
    return rows, origin, frames


def reachable(
    space: TimbreSpace, names: Sequence[str], start: Latent, *, steps: int = 100, nearness: float = 0.01,
    key: Array | None = None,
) -> dict[str, tuple[float, float]]:  # fmt: skip
    """What a space reaches of descriptors from a start [1, M, D], each alone: (low, high), measured on sounds.

    Two searches a descriptor, as low and as high as the latents' range (1st to 99th percentile of the training set) lets it
    go; the medians over the frames that are heard.
    """
    names = tuple(names)
    rows, origin, counted = _prepare(space, start, names, 2 * len(names))
    count, frames = counted.shape
    pulls = {name: np.zeros(count, np.float32) for name in names}
    weighted = {name: np.zeros((count, frames), np.float32) for name in names}
    for i, name in enumerate(names):
        pulls[name][2 * i : 2 * i + 2] = -1.0, 1.0
        weighted[name][2 * i : 2 * i + 2] = np.asarray(counted)[2 * i : 2 * i + 2]
    targets = {name: jnp.zeros((count, frames)) for name in names}
    weights = {"smoothness": jnp.float32(1.0), "nearness": jnp.float32(nearness)}
    params, _ = _optimize(
        space, origin, origin, rows, targets, pulls, weighted, weights, LEARNING_RATE, names=names, steps=steps,
    )  # fmt: skip
    waves = np.asarray(space.render(_latent(space, params, rows), key))
    found, loud = measure(space, waves, names, frames)
    reach = {}
    for i, name in enumerate(names):
        if not loud[2 * i : 2 * i + 2].any(axis=1).all():
            raise ValueError("the start is silent: there is nothing to control; give another sound, or none")
        ends = [float(np.median(found[name][2 * i + k][loud[2 * i + k]])) for k in (0, 1)]
        reach[name] = (min(ends), max(ends))
    return reach


def search(
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
) -> list[Controlled]:
    """Sounds whose descriptors follow curves, each found by gradients through the decoder from one start.

    What is minimized over a series u of latents in training deviations (Adam), u0 being the start:

        mean over frames of sum_d h((decoded_d - target_d) / tolerance_d)
        + smoothness * mean |(u[m+1] - u0[m+1]) - (u[m] - u0[m])|^2 + nearness * mean |u - u0|^2

    with h the square, a line beyond 4; latents stay between the 1st and 99th percentile of the training set. Then the sound is
    made and measured; what it is off from the decoded spectra, averaged over neighboring frames, is taken from the target, and
    the search goes on. The best of the rounds is kept.

    Args:
      curves: for each sound, one curve for each descriptor; the same descriptors in all.
      start: [1, M, D], of a sound (`space.embed`), or `begin`: as long as the sounds will be; or one for each sound,
        [B, M, D]. Its level is kept, unless the loudness is one of the descriptors.
      reach: of each descriptor; None finds out (`reachable`), from the one start.
      steps: of the first round; later ones have 3/8 of them. rounds: renderings.
      key: of a decoder's noise or an inverter's phases.

    Raises ValueError for a space of another kind, a descriptor that no spectrum says, a silent start.
    """
    from tqdm import tqdm

    names = tuple(curve.descriptor for curve in curves[0]) if curves else ()
    rows, origin, counted = _prepare(space, start, names, len(curves))
    if any({curve.descriptor for curve in some} != set(names) for some in curves):
        raise ValueError("all sounds of a search have curves of the same descriptors")
    reach = reachable(space, names, start, nearness=nearness, key=key) if reach is None else reach
    frames = counted.shape[1]
    asked = [targets_of(space, some, frames, reach) for some in curves]
    target = {name: np.stack([values[name] for values, _ in asked]) for name in names}
    params, wanted = origin, {name: to_error_scale(name, curve) for name, curve in target.items()}
    pulls = {name: jnp.zeros(len(curves)) for name in names}
    weights = {"smoothness": jnp.float32(smoothness), "nearness": jnp.float32(nearness)}
    best: list[Any] = [None] * len(curves)
    for turn in tqdm(range(max(1, rounds)), desc="search", unit=" rounds", disable=not progress):
        aims = {name: jnp.asarray(x, jnp.float32) for name, x in wanted.items()}
        rate, taken = (LEARNING_RATE, steps) if not turn else (0.4 * LEARNING_RATE, max(1, 3 * steps // 8))
        params, decoded = _optimize(
            space, params, origin, rows, aims, pulls, dict.fromkeys(names, counted), weights, rate, names=names, steps=taken,
        )  # fmt: skip
        latent = _latent(space, params, rows)
        waves = np.asarray(space.render(latent, key))
        achieved, heard = measure(space, waves, names, frames)
        for row in range(len(curves)):
            ear = heard[row]
            errors = [accuracy(name, target[name][row][ear], achieved[name][row][ear])["mean_error"] for name in names]
            error = float(np.mean(errors)) if ear.any() else np.inf
            if best[row] is None or error < best[row][0]:
                kept = jax.tree.map(lambda x, row=row: x[row : row + 1], latent)
                best[row] = (error, kept, waves[row], {name: achieved[name][row] for name in names}, ear)
        for name in names:
            bias = np.where(heard, to_error_scale(name, achieved[name]) - np.asarray(decoded[name], np.float64), 0.0)
            wanted[name] = to_error_scale(name, target[name]) - smoothed(bias, SMOOTHED_FRAMES)
    times = np.arange(frames) / float(space.representation.rate)
    made = []
    for row, (_, latent, wave, achieved, ear) in enumerate(best):
        remarks = asked[row][1] + ([] if ear.any() else ["the sound is silent: nothing can be measured"])
        own = {name: target[name][row] for name in names}
        made.append(Controlled(latent, wave, space.sample_rate, times, own, achieved, ear, dict(reach), tuple(remarks)))
    return made
