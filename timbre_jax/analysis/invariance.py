"""Invariance of the latents of a series space to loudness and pitch, by fresh probes.

The loss of the adversary in training does not show that no other network can predict its target. Therefore a new network with
two dense layers is fitted to predict loudness or pitch of every frame from its latent (the mean of the posterior), and is
scored on recordings that it was not fitted to:

    R^2 = 1 - sum (prediction - truth)^2 / sum (truth - mean)^2

R^2 is 0 (or slightly negative) if the latents contain no information and 1 if they determine the target. Intervals are over
recordings.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.probe import ProbeSettings, probe, probe_label
from timbre_jax.audio.pitch import yin
from timbre_jax.checkpoint import load
from timbre_jax.data.features import cached_features
from timbre_jax.data.store import JoinedStore, Store, open_store
from timbre_jax.documents import read_config
from timbre_jax.inference.batched import map_batches
from timbre_jax.inference.pooled import level_name
from timbre_jax.metrics.bootstrap import sums_interval
from timbre_jax.metrics.table import Result, write_results
from timbre_jax.models.adversary.frame_regressor import quantile_table, to_uniform
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

AUDIBLE_DB = -70.0
"""RMS level below which a frame counts as silent."""
VOICED = 0.15
"""Largest aperiodicity (YIN) of a voiced frame."""


@dataclasses.dataclass(frozen=True)
class LatentFrames:
    """Latents of K frames of many sounds, without padding, with measurements of the sounds.

    Attributes:
      values: latents [K, D].
      loudness: [K] in dB; nan if the representation has no level condition.
      pitch: [K] in semitones (12 log2 of f0 in Hz); nan for unvoiced frames.
      recording: names [K] of the recordings.
      scored: [K], whether a frame is held out and scored; the other frames only serve to fit probes.
      errors: mean squared errors [S] of the reconstruction of the held-out sounds, in feature units.
      error_recording: names [S] of their recordings.
      measured: further conditions of the features [K] (`LogMel.measured`), by name.
      labels: labels [K] that the model was trained to remove (`FrameVAE.labels`), by name.
    """

    values: np.ndarray
    loudness: np.ndarray
    pitch: np.ndarray
    recording: np.ndarray
    scored: np.ndarray
    errors: np.ndarray
    error_recording: np.ndarray
    measured: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def latent_frames(
    space: TimbreSpace,
    store: Store | JoinedStore,
    *,
    scored: Sequence[str] = ("valid", "test"),
    fitted: Sequence[str] = ("train",),
    most_fitted: int = 128,
    batch_size: int = 16,
    progress: bool = False,
) -> LatentFrames:
    """Computes latents, loudness and pitch for the frames of the sounds in a store.

    Recordings are named by the `instrument` column of the store.

    Args:
      space: a series space.
      store: the store.
      scored: splits whose frames are scored; if the store has none of them, the fitted splits are scored.
      fitted: splits that only serve to fit probes.
      most_fitted: largest number of sounds from each fitted split, evenly spaced.
      batch_size: sounds at once.
      progress: whether to show progress bars.

    Raises:
      ValueError: the space is not a series space, or the store has none of the splits.
    """
    from tqdm import tqdm

    if space.kind != "series":
        raise ValueError(f"space: invariance needs a series space (got a {space.kind} space)")
    held_out = [split for split in scored if split in store.splits] or [split for split in fitted if split in store.splits]
    if not held_out:
        raise ValueError(
            f"{store}: must have one of the splits {', '.join((*scored, *fitted))} (got {', '.join(store.splits)})"
        )
    selections = [(split, np.arange(store.length(split))) for split in held_out]
    for split in fitted:
        if split in store.splits and split not in held_out:
            count = store.length(split)
            selections.append((split, np.unique(np.linspace(0, count - 1, min(count, most_fitted)).round().astype(int))))
    parts = []
    for split, positions in selections:
        is_scored = split in held_out
        columns = {name: values[positions] for name, values in store.metadata(split).items()}
        names, measure_frames = columns["instrument"], _frame_measurer(space, store, split)
        bar = functools.partial(tqdm, desc=f"invariance ({split})", unit="batch", disable=not progress)
        measured = map_batches(measure_frames, positions, batch_size=batch_size, progress=bar)
        inside = measured["mask"] > 0
        owner = np.nonzero(inside)[0]
        frames = {name: values[inside] for name, values in measured["frames"].items()}
        further = {name: values[inside] for name, values in measured["further"].items()}
        labels = {name: columns[name][owner].astype(str) for name, _ in space.model.labels}
        parts.append({
            **frames, "recording": names[owner], "scored": np.full(len(owner), is_scored), "measured": further,
            "labels": labels, "error_recording": names if is_scored else names[:0],
            "errors": measured["errors"] if is_scored else np.zeros(0),
        })  # fmt: skip
    return LatentFrames(**jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts))


def _frame_measurer(space: TimbreSpace, store: Store | JoinedStore, split: str) -> Callable[[np.ndarray], dict]:
    """Returns a function that measures the sounds at some positions of a split."""
    source = cached_features(store, split, space.representation, progress=False)
    representation, stride = space.representation, space.model.stride

    def measure_frames(positions: np.ndarray) -> dict:
        latent, errors = _encoded(space, source.read(positions))
        count = latent.values.shape[1]
        name = level_name(latent.conditions)
        loudness = latent.conditions[name] if name else np.full(latent.mask.shape, np.nan)
        waves = store.audio(split, positions, samples=representation.length or store.samples)
        f0, aperiodicity = (np.asarray(x) for x in _yin(jnp.asarray(waves), representation.sample_rate, representation.hop))
        measured = min(f0.shape[1], count * stride)
        pitch = np.full((len(f0), count * stride), np.nan)
        pitch[:, :measured] = np.where(aperiodicity < VOICED, 12.0 * np.log2(f0), np.nan)[:, :measured]
        # The mean is nan unless all frames of a latent are voiced.
        pitch = pitch.reshape(len(f0), count, stride).mean(-1)
        further = {key: value for key, value in latent.conditions.items() if key != name and value.shape == latent.mask.shape}
        frames = {"values": latent.values, "loudness": loudness, "pitch": pitch}
        return {"frames": frames, "mask": latent.mask, "further": further, "errors": errors}

    return measure_frames


@jax.jit
def _encoded(space: TimbreSpace, features: Features):
    latent = space.model.embed(space.variables, features)
    reconstruction = space.model.reconstruct(space.variables, features)
    squares = jnp.mean(jnp.square(reconstruction.values - features.values), -1) * features.mask
    return latent, jnp.sum(squares, 1) / jnp.maximum(jnp.sum(features.mask, 1), 1.0)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _yin(waves, sample_rate, hop):
    return yin(waves, sample_rate=sample_rate, hop=hop, f_min=60.0, f_max=min(2100.0, sample_rate / 4))


def measure_invariance(
    frames: LatentFrames, *, range_db: float | None = None, steps: int = 2000, seed: int = 0
) -> tuple[Result, ...]:
    """Returns R^2 of fresh probes for loudness and pitch, and the RMSE of the reconstruction.

    The results are named as follows; a probe without frames to fit has none.

    - "probe/loudness": level in dB of frames above `AUDIBLE_DB`.
    - "probe/loudness_rank": quantile of the level over all frames including silence (the target of the adversary in training).
    - "probe/pitch": pitch in semitones of voiced, audible frames.
    - "probe/NAME": any further measured condition of audible frames.
    - "label/NAME": balanced accuracy for a label that the model was trained to remove (`probe.probe_label`).
    - "reconstruction/rmse": root mean squared error of the reconstructed features.

    Args:
      frames: latents with measurements.
      range_db: range in dB of a feature unit, to give the RMSE in dB; None: in feature units.
      steps: optimizer steps of every probe.
      seed: random seed of probes and resampling.
    """
    with np.errstate(invalid="ignore"):
        audible = ~(frames.loudness <= AUDIBLE_DB)
    known = np.isfinite(frames.loudness)
    rank = np.full(len(known), np.nan)
    if known.any():
        table = quantile_table(frames.loudness[known & frames.scored])
        rank[known] = np.asarray(to_uniform(jnp.asarray(frames.loudness[known]), jnp.asarray(table)))
    targets = {
        "loudness": (np.where(audible, frames.loudness, np.nan), f"loudness in dB, frames above {AUDIBLE_DB:g} dB"),
        "loudness_rank": (rank, "quantile of the loudness, all frames"),
        "pitch": (np.where(audible, frames.pitch, np.nan), f"pitch in semitones, frames with an aperiodicity below {VOICED}"),
    }
    for name, curve in frames.measured.items():
        if name not in targets:
            targets[name] = (np.where(audible, curve, np.nan), f"{name}, frames above {AUDIBLE_DB:g} dB")
    rows, settings = [], ProbeSettings(steps=steps, seed=seed)
    for name, (target, definition) in targets.items():
        if len(np.unique(frames.recording[frames.scored & np.isfinite(target)])) < 2:
            continue
        result = probe(frames.values, target, frames.recording, scored=frames.scored, settings=settings)
        definition = (
            f"R^2 of a fresh two-layer probe on the latents: {definition}; {result.frames} frames of {result.r2.groups} "
            "held-out recordings"
        )
        rows.append(Result(f"probe/{name}", *result.r2.value_low_high(), 0.0, definition))
    for name, labels in frames.labels.items():
        try:
            rate, count = probe_label(frames.values, labels, frames.recording, scored=frames.scored, settings=settings)
        except ValueError:  # too few recordings for a probe
            continue
        definition = (
            f"balanced accuracy of a fresh two-layer probe of {name} on the latents, {count} labels, {rate.groups} held-out "
            "recordings; baseline: chance"
        )
        rows.append(Result(f"label/{name}", *rate.value_low_high(), 1.0 / count, definition))
    if len(frames.errors):
        rows.append(_rmse(frames, range_db, seed))
    return tuple(rows)


def _rmse(frames: LatentFrames, range_db: float | None, seed: int) -> Result:
    unit = range_db or 1.0
    errors = frames.errors.astype(np.float64)
    rmse = sums_interval(
        lambda total, count: unit * np.sqrt(total / count), errors, np.ones_like(errors), groups=frames.error_recording,
        seed=seed,
    )  # fmt: skip
    units = "dB" if range_db else "feature units"
    definition = (
        f"root mean squared error of the reconstructed features in {units}, {len(errors)} sounds of {rmse.groups} recordings"
    )
    return Result("reconstruction/rmse", *rmse.value_low_high(), None, definition)


def measure_run_invariance(workdir: str | os.PathLike, *, progress: bool = True) -> list[str]:
    """Measures the invariance of the best space of a run, and writes WORKDIR/invariance.json.

    A file that is newer than the best space is kept.

    Args:
      workdir: folder of the run.
      progress: whether to show progress bars.

    Returns:
      Lines to print; none for a static space.
    """
    space = load(workdir)
    if space.kind != "series":
        return []
    file = os.path.join(workdir, "invariance.json")
    best = max(os.path.getmtime(entry) for entry in os.scandir(os.path.join(workdir, "best")))
    if os.path.isfile(file) and os.path.getmtime(file) >= best:
        return [f"Invariance of the latents to loudness and pitch: see {file}."]
    try:
        frames = latent_frames(space, open_store(read_config(workdir)["config"]["data"]["store"]), progress=progress)
    except ValueError as error:
        return [f"Invariance of the latents to loudness and pitch was not measured: {error}"]
    results = measure_invariance(frames, range_db=space.representation.range_db)
    write_results(file, results)
    lines = ["Invariance of the latents to loudness and pitch, and error of the reconstruction:"]
    for result in results:
        interval = "" if result.low is None else f" ({result.low:.3f} to {result.high:.3f})"
        lines.append(f"  {result.name}: {result.value:.3f}{interval}. {result.definition}.")
    return lines
