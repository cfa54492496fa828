"""Probes: small networks that predict properties of held-out sounds from latents."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timbre_jax.metrics.bootstrap import Interval, sums_interval


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """Result of a probe.

    Attributes:
      r2: R^2 with its interval over recordings.
      predictions: [K], for scored frames from the probe that was not fitted to their recording; nan elsewhere.
      frames: number of scored frames.
    """

    r2: Interval
    predictions: np.ndarray
    frames: int


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
    """Settings of the fit of a probe and of its interval.

    Attributes:
      folds: number of fits; at most the number of scored recordings.
      hidden: units of the hidden layer.
      steps: steps of Adam.
      batch: frames in a step.
      learning_rate: initial learning rate of a cosine schedule.
      seed: random seed of folds, initial weights and batches.
      resamples: bootstrap resamples for the interval.
    """

    folds: int = 4
    hidden: int = 128
    steps: int = 2000
    batch: int = 1024
    learning_rate: float = 3e-3
    seed: int = 0
    resamples: int = 1000


def probe(
    values: np.ndarray,
    targets: np.ndarray,
    recordings: np.ndarray,
    *,
    scored: np.ndarray | None = None,
    settings: ProbeSettings = ProbeSettings(),
) -> ProbeResult:
    """Fits two-layer probes and returns their R^2 on recordings that they were not fitted to.

    The scored recordings are divided into folds; a probe that is fitted to all other recordings predicts each fold.

    Args:
      values: latents [K, D].
      targets: [K]; frames with a target or latent that is not finite are ignored.
      recordings: names or numbers [K] of the recordings, which are never split and which the interval resamples.
      scored: [K], frames that are scored; None: all. The other frames are part of every fit.
      settings: settings of fit and interval.

    Raises:
      ValueError: shapes that do not match, or fewer than two recordings with finite scored frames.
    """
    values, targets = np.asarray(values, np.float32), np.asarray(targets, np.float64)
    recordings, scored = np.asarray(recordings), np.ones(len(values), bool) if scored is None else np.asarray(scored, bool)
    if values.ndim != 2 or not targets.shape == recordings.shape == scored.shape == values.shape[:1]:
        raise ValueError(
            f"probe: needs latents [K, D] with targets, recordings and scored [K] (got {values.shape}, {targets.shape}, "
            f"{recordings.shape} and {scored.shape})"
        )
    finite = np.isfinite(targets) & np.isfinite(values).all(1)
    predictions = np.full(len(values), np.nan)
    for number, (rows, unseen) in enumerate(_folds(recordings, finite, scored, settings)):
        mean, deviation = targets[rows].mean(), targets[rows].std() + 1e-9
        order = np.random.default_rng([settings.seed, number]).integers(0, len(rows), size=(settings.steps, settings.batch))
        standardized = np.where(finite, (targets - mean) / deviation, 0.0).astype(np.float32)[:, None]
        outputs = _outputs(settings, number, values, standardized, rows, unseen, order, _squared_error)
        predictions[unseen] = outputs[:, 0] * deviation + mean
    rows = np.flatnonzero(np.isfinite(predictions))
    r2 = r2_interval(predictions[rows], targets[rows], recordings[rows], resamples=settings.resamples, seed=settings.seed)
    return ProbeResult(r2, predictions, len(rows))


def probe_label(
    values: np.ndarray,
    labels: np.ndarray,
    recordings: np.ndarray,
    *,
    scored: np.ndarray | None = None,
    settings: ProbeSettings = ProbeSettings(),
) -> tuple[Interval, int]:
    """Fits two-layer classifiers and returns their balanced accuracy on held-out recordings.

    The balanced accuracy is the mean of the accuracies of the labels; chance is 1 / number of labels. The fit balances the
    labels as well.

    Args:
      values: latents [K, D].
      labels: [K], str.
      recordings: names or numbers [K] of the recordings, which are never split and which the interval resamples.
      scored: [K], frames that are scored; None: all. The other frames are part of every fit.
      settings: settings of fit and interval.

    Returns:
      The balanced accuracy with its interval over recordings, and the number of labels.

    Raises:
      ValueError: fewer than two labels with at least two scored recordings each.
    """
    values, labels, recordings = np.asarray(values, np.float32), np.asarray(labels), np.asarray(recordings)
    scored = np.ones(len(values), bool) if scored is None else np.asarray(scored, bool)
    finite = np.isfinite(values).all(1)
    classes = [label for label in np.unique(labels).tolist() if len(np.unique(recordings[scored & (labels == label)])) > 1]
    if len(classes) < 2:
        raise ValueError(f"labels: a probe needs two labels with at least 2 scored recordings each (got {len(classes)})")
    number_of = {label: number for number, label in enumerate(classes)}
    numbers = np.array([number_of.get(label, -1) for label in labels.tolist()])
    finite &= numbers >= 0
    predicted, targets = np.full(len(values), -1), np.eye(len(classes), dtype=np.float32)[numbers]
    for number, (rows, unseen) in enumerate(_folds(recordings, finite, scored, settings)):
        weight = 1.0 / np.bincount(numbers[rows], minlength=len(classes))[numbers[rows]]
        generator, size = np.random.default_rng([settings.seed, number]), (settings.steps, settings.batch)
        order = generator.choice(len(rows), size=size, p=weight / weight.sum())
        outputs = _outputs(settings, number, values, targets, rows, unseen, order, optax.softmax_cross_entropy)
        predicted[unseen] = outputs.argmax(1)
    rows = np.flatnonzero(predicted >= 0)
    one_hot = np.eye(len(classes))[numbers[rows]]
    correct = one_hot * (predicted == numbers)[rows, None]

    def balanced_accuracy(correct: np.ndarray, total: np.ndarray) -> np.ndarray:
        return np.nanmean(correct / np.where(total > 0, total, np.nan), axis=1)

    options: dict[str, Any] = {"groups": recordings[rows], "resamples": settings.resamples, "seed": settings.seed}
    return sums_interval(balanced_accuracy, correct, one_hot, **options), len(classes)


def _folds(recordings, usable, scored, settings: ProbeSettings) -> list[tuple[np.ndarray, np.ndarray]]:
    """Divides scored recordings into folds; returns the frames to fit and to predict."""
    names = np.unique(recordings[usable & scored])
    if len(names) < 2:
        raise ValueError(f"recordings: a probe needs at least 2 with scored frames (got {len(names)})")
    order = np.random.default_rng(settings.seed).permutation(names).tolist()
    fold_of = dict(zip(order, np.arange(len(names)) % settings.folds, strict=True))
    fold = np.array([fold_of.get(name, -1) for name in recordings.tolist()])
    fold[~scored] = -1
    numbers = range(min(settings.folds, len(names)))
    return [(np.flatnonzero(usable & (fold != n)), np.flatnonzero(usable & (fold == n))) for n in numbers]


def r2_interval(
    predictions: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, resamples: int = 1000, seed: int = 0
) -> Interval:
    """Returns R^2 = 1 - sum (prediction - target)^2 / sum (target - mean)^2 with its interval.

    Args:
      predictions: [K].
      targets: [K]; R^2 is nan if all targets are equal.
      groups: [K], resampled for the interval; the mean is that of the resampled set.
      resamples: bootstrap resamples.
      seed: random seed of the resamples.
    """
    predictions, targets = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    # Centering keeps the digits of small differences when they are squared; R^2 does not change.
    centered = targets - targets.mean()
    terms = np.stack([np.ones_like(centered), centered, centered**2, (predictions - targets) ** 2], axis=1)

    def r2(sums: np.ndarray) -> np.ndarray:
        size, total, squares, errors = sums.T
        spread = squares - total**2 / size
        return 1.0 - errors / np.where(spread > 1e-12 * np.maximum(squares, 1e-30), spread, np.nan)

    return sums_interval(r2, terms, groups=groups, resamples=resamples, seed=seed)


def _outputs(settings: ProbeSettings, fold: int, values, targets, rows, unseen, order, cost) -> np.ndarray:
    """Fits a probe to frames `rows` in batches `order`; returns outputs for frames `unseen`."""
    key = jax.random.fold_in(jax.random.key(settings.seed), fold)
    center, spread = values[rows].mean(0), values[rows].std(0) + 1e-6
    inputs = np.where(np.isfinite(values).all(1)[:, None], (values - center) / spread, 0.0)
    weights = _fit(key, inputs, targets, rows[order], settings.hidden, settings.learning_rate, cost)
    return np.asarray(_predict(weights, inputs[unseen]))


def _squared_error(predictions, targets):
    return jnp.square(predictions - targets)


@functools.partial(jax.jit, static_argnames=("hidden", "learning_rate", "cost"))
def _fit(key, inputs, targets, order, hidden, learning_rate, cost):
    """Fits a dense-GELU-dense network by Adam over minibatches `order` [steps, batch]."""
    first, second = jax.random.split(key)
    width, outputs = inputs.shape[1], targets.shape[1]
    weights = {
        "first": jax.random.normal(first, (width, hidden)) * (2.0 / width) ** 0.5,
        "first_bias": jnp.zeros(hidden),
        "second": jax.random.normal(second, (hidden, outputs)) * 0.1 / hidden**0.5,
        "second_bias": jnp.zeros(outputs),
    }
    optimizer = optax.adamw(optax.cosine_decay_schedule(learning_rate, len(order)), weight_decay=1e-4)

    def step(carry, rows):
        weights, state = carry
        gradient = jax.grad(lambda w: jnp.mean(cost(_predict(w, inputs[rows]), targets[rows])))(weights)
        updates, state = optimizer.update(gradient, state, weights)
        return (optax.apply_updates(weights, updates), state), None

    return jax.lax.scan(step, (weights, optimizer.init(weights)), order)[0][0]


@jax.jit
def _predict(weights, inputs):
    return jax.nn.gelu(inputs @ weights["first"] + weights["first_bias"]) @ weights["second"] + weights["second_bias"]
