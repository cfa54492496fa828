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
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.probe import ProbeSettings, probe, probe_label
from timbre_jax.audio.pitch import yin
from timbre_jax.data.features import cached_features
from timbre_jax.data.store import JoinedStore, Store
from timbre_jax.inference.pooled import level_name
from timbre_jax.metrics.bootstrap import group_ids, group_sums, resampled_interval
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
    jobs = [(split, np.arange(store.length(split)), True) for split in there]
    for split in fitted:
        if split in store.splits and split not in there:
            count = store.length(split)
            jobs.append((split, np.unique(np.linspace(0, count - 1, min(count, most_fitted)).round().astype(int)), False))
    frames: dict[str, list] = {name: [] for name in ("values", "loudness", "pitch", "recording", "judged")}
    measured: dict[str, list] = {}
    labels: dict[str, list] = {name: [] for name, _ in space.model.labels}
    errors: dict[str, list] = {"errors": [], "error_recording": []}
    with tqdm(total=sum(len(p) for _, p, _ in jobs), unit=" sounds", desc="invariance", disable=not progress) as bar:
        for split, positions, counts in jobs:
            columns = store.metadata(split)
            names = columns["instrument"]
            source = cached_features(store, split, space.representation, progress=False)
            for start in range(0, len(positions), batch_size):
                rows = positions[start : start + batch_size]
                # One shape, compiled once: the last batch is filled up with its last sound.
                filled = rows[np.minimum(np.arange(batch_size), len(rows) - 1)]
                features = source.read(filled)
                waves = store.audio(split, filled, samples=space.representation.length or store.samples)
                part, curves, mse = _measured(space, features, waves)
                heard = part.pop("mask")[: len(rows)] > 0
                for name, value in part.items():
                    frames[name].append(value[: len(rows)][heard])
                for name, value in curves.items():
                    measured.setdefault(name, []).append(value[: len(rows)][heard])
                for name, words in labels.items():
                    words.append(np.repeat(columns[name][rows].astype(str), heard.sum(1)))
                frames["recording"].append(np.repeat(names[rows], heard.sum(1)))
                frames["judged"].append(np.full(int(heard.sum()), counts))
                if counts:
                    errors["errors"].append(mse[: len(rows)])
                    errors["error_recording"].append(names[rows])
                bar.update(len(rows))
    joined = {name: np.concatenate(parts) for name, parts in {**frames, **errors}.items()}
    of_curves, of_labels = ({name: np.concatenate(parts) for name, parts in some.items()} for some in (measured, labels))
    return LatentFrames(**joined, measured=of_curves, labels=of_labels)


def _measured(
    space: TimbreSpace, features: Features, waves: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
    """Latents, mask, loudness and pitch [B, M, ...] of a batch, its further curves [B, M], and the reconstructions' squared
    errors [B]."""
    latent, mse = _encoded(space, features)
    count, stride = latent.values.shape[1], space.model.stride
    name = level_name(latent.conditions)
    loudness = np.asarray(latent.conditions[name]) if name else np.full(latent.mask.shape, np.nan)
    representation = space.representation
    f0, aperiodicity = (np.asarray(x) for x in _yin(jnp.asarray(waves), representation.sample_rate, representation.hop))
    voiced = aperiodicity < VOICED
    frames = min(f0.shape[1], count * stride)
    pitch = np.full((len(f0), count * stride), np.nan)
    pitch[:, :frames] = np.where(voiced, 12.0 * np.log2(f0), np.nan)[:, :frames]
    # A latent has a pitch where all of its frames have one.
    pitch = pitch.reshape(len(f0), count, stride).mean(-1)
    part = {"values": np.asarray(latent.values), "mask": np.asarray(latent.mask), "loudness": loudness, "pitch": pitch}
    others = {key: np.asarray(value) for key, value in latent.conditions.items() if key != name}
    return part, {key: value for key, value in others.items() if value.shape == part["mask"].shape}, np.asarray(mse)


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
    ids, count = group_ids(frames.error_recording, len(frames.errors))
    sums, sizes = group_sums(frames.errors.astype(np.float64), ids, count), np.bincount(ids, minlength=count)
    unit = range_db or 1.0
    found = resampled_interval(lambda n: unit * np.sqrt((n @ sums) / (n @ sizes)), count, resamples=1000, seed=seed)
    units = "dB" if range_db else "the features' units"
    definition = f"root mean squared error of the reconstructed features in {units}, {len(ids)} sounds of {count} recordings"
    return Result("reconstruction/rmse", *found.value_low_high(), None, definition)


def invariance_of(
    space: TimbreSpace, store: Store | JoinedStore, *, seed: int = 0, progress: bool = False
) -> tuple[Result, ...]:
    """`measure_invariance` of a space on a store's held-out recordings (splits "valid" and "test")."""
    frames = latent_frames(space, store, progress=progress)
    return measure_invariance(frames, range_db=space.representation.range_db, seed=seed)


def invariance_lines(results: Sequence[Result]) -> list[str]:
    """The results as lines to be read."""
    lines = []
    for result in results:
        interval = "" if result.low is None else f" ({result.low:.3f} to {result.high:.3f})"
        lines.append(f"{result.name}: {result.value:.3f}{interval}. {result.definition}.")
    return lines


def write_invariance(workdir: str | os.PathLike, results: Sequence[Result]) -> None:
    """WORKDIR/invariance.json."""
    write_results(os.path.join(workdir, "invariance.json"), results)
