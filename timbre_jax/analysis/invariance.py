"""How much of a sound's loudness and pitch can be read off the latents of a series space: by a probe that training never saw.

An adversary that was fooled proves nothing of what another could find. So a fresh network of two dense layers learns to
predict loudness, or pitch, of every frame from its latent alone (the posterior's mean), and is judged on recordings that it did
not see:

    R^2 = 1 - sum (prediction - truth)^2 / sum (truth - mean)^2

which is 0 (or a little under) where the latents say nothing and 1 where they say all. Intervals are over recordings.
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
from timbre_jax.models.adversary.frame_regressor import quantile_table, uniform
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

AUDIBLE_DB = -70.0
"""Frames whose RMS lies lower have no timbre, and no loudness, to speak of."""
VOICED = 0.15
"""Largest aperiodicity (YIN) of a frame whose pitch counts."""


@dataclasses.dataclass(frozen=True)
class LatentFrames:
    """The latents of many sounds, frame by frame within their real length, and what was measured of the sound there.

    Attributes:
      values: [K, D].
      loudness: [K] dB; nan where the space sets no level aside.
      pitch: [K] semitones (12 log2 of f0 in Hz); nan where the frame is not voiced.
      recording: [K] names.
      judged: [K], whether the frame is held out: the others only serve to fit probes.
      errors: [S] mean squared error of every held-out sound's reconstruction, in the features' units, within its length.
      error_recording: [S] names.
      measured: [K] of every further condition that the features carry (`LogMel.measured`), by name.
      labels: [K] words of every label that the model was to remove (`FrameVAE.labels`), by name.
    """

    values: np.ndarray
    loudness: np.ndarray
    pitch: np.ndarray
    recording: np.ndarray
    judged: np.ndarray
    errors: np.ndarray
    error_recording: np.ndarray
    measured: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    labels: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


def latent_frames(
    space: TimbreSpace,
    store: Store | JoinedStore,
    *,
    judged: Sequence[str] = ("valid", "test"),
    fitted: Sequence[str] = ("train",),
    most_fitted: int = 128,
    batch_size: int = 16,
    progress: bool = False,
) -> LatentFrames:
    """Latents of a store's sounds with their loudness and pitch, frame by frame.

    Args:
      judged, fitted: splits, those that the store has; a recording is what its column `instrument` says. Where none of
        `judged` is there, the fitted ones are judged.
      most_fitted: sounds of the fitted splits, evenly spread.

    Raises:
      ValueError: the space is no series, or none of the splits is there.
    """
    from tqdm import tqdm

    if space.kind != "series":
        raise ValueError(f"invariance is measured frame by frame, in a series space; this one is {space.kind}")
    there = [split for split in judged if split in store.splits] or [split for split in fitted if split in store.splits]
    if not there:
        raise ValueError(f"{store} has none of the splits {', '.join((*judged, *fitted))}")
    jobs = [(split, np.arange(store.length(split))) for split in there]
    for split in fitted:
        if split in store.splits and split not in there:
            count = store.length(split)
            jobs.append((split, np.unique(np.linspace(0, count - 1, min(count, most_fitted)).round().astype(int))))
    parts = []
    for split, positions in jobs:
        is_judged = split in there
        columns = {name: values[positions] for name, values in store.metadata(split).items()}
        names, describe = columns["instrument"], _describer(space, store, split)
        bar = functools.partial(tqdm, desc=f"invariance ({split})", unit="batch", disable=not progress)
        measured = map_batches(describe, positions, batch_size=batch_size, progress=bar)
        inside = measured["mask"] > 0
        owner = np.nonzero(inside)[0]
        frames = {name: values[inside] for name, values in measured["frames"].items()}
        further = {name: values[inside] for name, values in measured["further"].items()}
        labels = {name: columns[name][owner].astype(str) for name, _ in space.model.labels}
        parts.append({
            **frames, "recording": names[owner], "judged": np.full(len(owner), is_judged), "measured": further,
            "labels": labels, "error_recording": names if is_judged else names[:0],
            "errors": measured["errors"] if is_judged else np.zeros(0),
        })  # fmt: skip
    return LatentFrames(**jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts))


def _describer(space: TimbreSpace, store: Store | JoinedStore, split: str) -> Callable[[np.ndarray], dict]:
    """Returns a function that measures the sounds at positions [B] of a split: latents, loudness, pitch, squared errors."""
    source = cached_features(store, split, space.representation, progress=False)
    representation, stride = space.representation, space.model.stride

    def describe(positions: np.ndarray) -> dict:
        latent, errors = _encoded(space, source.read(positions))
        count = latent.values.shape[1]
        name = level_name(latent.conditions)
        loudness = latent.conditions[name] if name else np.full(latent.mask.shape, np.nan)
        waves = store.audio(split, positions, samples=representation.length or store.samples)
        f0, aperiodicity = (np.asarray(x) for x in _yin(jnp.asarray(waves), representation.sample_rate, representation.hop))
        frames = min(f0.shape[1], count * stride)
        pitch = np.full((len(f0), count * stride), np.nan)
        pitch[:, :frames] = np.where(aperiodicity < VOICED, 12.0 * np.log2(f0), np.nan)[:, :frames]
        # A latent has a pitch where all of its frames have one.
        pitch = pitch.reshape(len(f0), count, stride).mean(-1)
        further = {key: value for key, value in latent.conditions.items() if key != name and value.shape == latent.mask.shape}
        frames = {"values": latent.values, "loudness": loudness, "pitch": pitch}
        return {"frames": frames, "mask": latent.mask, "further": further, "errors": errors}

    return describe


@jax.jit
def _encoded(space: TimbreSpace, features: Features):
    latent = space.model.embed(space.variables, features)
    again = space.model.reconstruct(space.variables, features)
    squares = jnp.mean(jnp.square(again.values - features.values), -1) * features.mask
    return latent, jnp.sum(squares, 1) / jnp.maximum(jnp.sum(features.mask, 1), 1.0)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _yin(waves, sample_rate, hop):
    return yin(waves, sample_rate=sample_rate, hop=hop, f_min=60.0, f_max=min(2100.0, sample_rate / 4))


def measure_invariance(
    frames: LatentFrames, *, range_db: float | None = None, steps: int = 2000, seed: int = 0
) -> tuple[Result, ...]:
    """R^2 of fresh probes for loudness and pitch, and what the reconstruction's error is: rows of `invariance.json`.

    "probe/loudness": dB, over frames louder than `AUDIBLE_DB`; "probe/loudness_rank": its place in its distribution, over all
    frames, silence too (what the regressor of the training is to predict); "probe/pitch": semitones, voiced audible frames;
    "probe/NAME" of every further measured condition, audible frames; "label/NAME" of every label that the model was to remove:
    how often a probe names it (`probe_label`). A probe that cannot be (no such frames) has no row.

    Args:
      range_db: dB that a unit of the features is, to give the reconstruction's RMSE in dB.
      steps: of every probe.
    """
    with np.errstate(invalid="ignore"):
        audible = ~(frames.loudness <= AUDIBLE_DB)
    known = np.isfinite(frames.loudness)
    rank = np.full(len(known), np.nan)
    if known.any():
        table = quantile_table(frames.loudness[known & frames.judged])
        rank[known] = np.asarray(uniform(jnp.asarray(frames.loudness[known]), jnp.asarray(table)))
    targets = {
        "loudness": (np.where(audible, frames.loudness, np.nan), f"loudness in dB, frames over {AUDIBLE_DB:g} dB"),
        "loudness_rank": (rank, "loudness' place in its distribution, all frames"),
        "pitch": (np.where(audible, frames.pitch, np.nan), f"pitch in semitones, frames with an aperiodicity under {VOICED}"),
    }
    for name, curve in frames.measured.items():
        if name not in targets:
            targets[name] = (np.where(audible, curve, np.nan), f"{name}, frames over {AUDIBLE_DB:g} dB")
    rows, settings = [], ProbeSettings(steps=steps, seed=seed)
    for name, (target, definition) in targets.items():
        if len(np.unique(frames.recording[frames.judged & np.isfinite(target)])) < 2:
            continue
        found = probe(frames.values, target, frames.recording, judged=frames.judged, settings=settings)
        definition = (
            f"R^2 of a fresh two-layer probe on the latents: {definition}; {found.frames} frames of {found.r2.groups} "
            "recordings that it did not see"
        )
        rows.append(Result(f"probe/{name}", *found.r2.value_low_high(), 0.0, definition))
    for name, words in frames.labels.items():
        try:
            rate, count = probe_label(frames.values, words, frames.recording, judged=frames.judged, settings=settings)
        except ValueError:  # of too few recordings: nothing can be said
            continue
        definition = (
            f"part of the frames whose {name} a fresh two-layer probe names from the latents, mean over {count} labels; "
            f"{rate.groups} recordings that it did not see; baseline: chance"
        )
        rows.append(Result(f"label/{name}", *rate.value_low_high(), 1.0 / count, definition))
    if len(frames.errors):
        rows.append(_rmse(frames, range_db, seed))
    return tuple(rows)


def _rmse(frames: LatentFrames, range_db: float | None, seed: int) -> Result:
    unit = range_db or 1.0
    errors = frames.errors.astype(np.float64)
    found = sums_interval(
        lambda total, count: unit * np.sqrt(total / count), errors, np.ones_like(errors), groups=frames.error_recording,
        seed=seed,
    )  # fmt: skip
    units = "dB" if range_db else "the features' units"
    definition = (
        f"root mean squared error of the reconstructed features in {units}, {len(errors)} sounds of {found.groups} recordings"
    )
    return Result("reconstruction/rmse", *found.value_low_high(), None, definition)


def measure_run_invariance(workdir: str | os.PathLike, *, progress: bool = True) -> list[str]:
    """Measures how much loudness and pitch a probe reads from the latents of a run, and writes WORKDIR/invariance.json.

    A file that is newer than the run's best space is left as it is.

    Args:
      workdir: folder of the run.
      progress: whether to show a bar with the time left.

    Returns:
      Lines to print; none for a space that is not a series space.
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
        return [f"Invariance of the latents to loudness and pitch could not be measured: {error}"]
    results = measure_invariance(frames, range_db=space.representation.range_db)
    write_results(file, results)
    lines = ["Invariance of the latents to loudness and pitch, and error of the reconstruction:"]
    for result in results:
        interval = "" if result.low is None else f" ({result.low:.3f} to {result.high:.3f})"
        lines.append(f"  {result.name}: {result.value:.3f}{interval}. {result.definition}.")
    return lines
