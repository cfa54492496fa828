"""Fresh probes: what a network that training never saw can read off latents, on recordings that it did not see either."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax

from timbre_jax.metrics.bootstrap import Interval, sums_interval


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """What a probe found.

    Attributes:
      r2: with its interval over recordings.
      predictions: [K] of the judged frames' targets, each by the probe that did not see its recording; nan elsewhere.
      frames: judged.
    """

    r2: Interval
    predictions: np.ndarray
    frames: int


@dataclasses.dataclass(frozen=True)
class ProbeSettings:
    """Settings of a probe's fit and of its interval.

    Attributes:
      folds: number of fits; at most the number of judged recordings.
      hidden: units of the hidden layer.
      steps: of Adam.
      batch: frames a step.
      learning_rate: at the first step; it falls by a cosine.
      seed: of folds, first weights and batches.
      draws: of the bootstrap.
    """

    folds: int = 4
    hidden: int = 128
    steps: int = 2000
    batch: int = 1024
    learning_rate: float = 3e-3
    seed: int = 0
    draws: int = 1000


def probe(
    values: np.ndarray,
    targets: np.ndarray,
    recordings: np.ndarray,
    *,
    judged: np.ndarray | None = None,
    settings: ProbeSettings = ProbeSettings(),
) -> ProbeResult:
    """Returns R^2 of fresh two-layer probes, each judged on recordings that it was not fitted to.

    The judged recordings are dealt into folds; the frames of each are predicted by a probe that was fitted to all others.

    Args:
      values: [K, D] latents.
      targets: [K]; frames where target or latents are not finite are left out.
      recordings: [K] names or numbers: what is never on both sides, and what the interval resamples.
      judged: [K] frames that count; None: all. The others are in every fit.
      settings: of fit and interval.

    Raises:
      ValueError: shapes that do not fit, or fewer than two recordings with finite judged frames.
    """
    values, targets = np.asarray(values, np.float32), np.asarray(targets, np.float64)
    recordings, judged = np.asarray(recordings), np.ones(len(values), bool) if judged is None else np.asarray(judged, bool)
    if values.ndim != 2 or not targets.shape == recordings.shape == judged.shape == values.shape[:1]:
        raise ValueError(
            f"a probe takes latents [K, D] and K targets, recordings and judged, not {values.shape}, {targets.shape}, "
            f"{recordings.shape} and {judged.shape}"
        )
    finite = np.isfinite(targets) & np.isfinite(values).all(1)
    predictions = np.full(len(values), np.nan)
    for number, (rows, unseen) in enumerate(_dealt(recordings, finite, judged, settings)):
        middle, size = targets[rows].mean(), targets[rows].std() + 1e-9
        order = np.random.default_rng([settings.seed, number]).integers(0, len(rows), size=(settings.steps, settings.batch))
        wanted = np.where(finite, (targets - middle) / size, 0.0).astype(np.float32)[:, None]
        given = _outputs(settings, number, values, wanted, rows, unseen, order, _squares)
        predictions[unseen] = given[:, 0] * size + middle
    rows = np.flatnonzero(np.isfinite(predictions))
    r2 = r2_interval(predictions[rows], targets[rows], recordings[rows], draws=settings.draws, seed=settings.seed)
    return ProbeResult(r2, predictions, len(rows))


def probe_label(
    values: np.ndarray,
    labels: np.ndarray,
    recordings: np.ndarray,
    *,
    judged: np.ndarray | None = None,
    settings: ProbeSettings = ProbeSettings(),
) -> tuple[Interval, int]:
    """Returns the balanced accuracy of fresh two-layer probes of a label, on recordings that they were not fitted to.

    It is the mean of the labels' own rates, among the labels that the judged recordings have: 1 / their number is chance. In
    the fit, too, every label weighs as much. Arguments as `probe`; labels [K] words.

    Returns:
      The rate with its interval over recordings, and the number of labels.

    Raises:
      ValueError: fewer than two labels with at least two judged recordings each.
    """
    values, labels, recordings = np.asarray(values, np.float32), np.asarray(labels), np.asarray(recordings)
    judged = np.ones(len(values), bool) if judged is None else np.asarray(judged, bool)
    finite = np.isfinite(values).all(1)
    words = [word for word in np.unique(labels).tolist() if len(np.unique(recordings[judged & (labels == word)])) > 1]
    if len(words) < 2:
        raise ValueError(f"a probe of labels needs two with at least 2 recordings to be judged on each, there are {len(words)}")
    number_of = {word: number for number, word in enumerate(words)}
    numbers = np.array([number_of.get(word, -1) for word in labels.tolist()])
    finite &= numbers >= 0
    found, wanted = np.full(len(values), -1), np.eye(len(words), dtype=np.float32)[numbers]
    for number, (rows, unseen) in enumerate(_dealt(recordings, finite, judged, settings)):
        weight = 1.0 / np.bincount(numbers[rows], minlength=len(words))[numbers[rows]]
        generator, size = np.random.default_rng([settings.seed, number]), (settings.steps, settings.batch)
        order = generator.choice(len(rows), size=size, p=weight / weight.sum())
        given = _outputs(settings, number, values, wanted, rows, unseen, order, optax.softmax_cross_entropy)
        found[unseen] = given.argmax(1)
    rows = np.flatnonzero(found >= 0)
    member = np.eye(len(words))[numbers[rows]]
    correct = member * (found == numbers)[rows, None]

    def balanced_accuracy(correct: np.ndarray, total: np.ndarray) -> np.ndarray:
        return np.nanmean(correct / np.where(total > 0, total, np.nan), axis=1)

    rate = sums_interval(balanced_accuracy, correct, member, groups=recordings[rows], draws=settings.draws, seed=settings.seed)
    return rate, len(words)


def _dealt(recordings, usable, judged, settings: ProbeSettings) -> list[tuple[np.ndarray, np.ndarray]]:
    """The judged recordings dealt into folds: of each, the frames to fit to and the frames to predict."""
    names = np.unique(recordings[usable & judged])
    if len(names) < 2:
        raise ValueError(f"a probe needs at least 2 recordings to be judged on, there are {len(names)}")
    order = np.random.default_rng(settings.seed).permutation(names).tolist()
    fold_of = dict(zip(order, np.arange(len(names)) % settings.folds, strict=True))
    fold = np.array([fold_of.get(name, -1) for name in recordings.tolist()])
    fold[~judged] = -1
    numbers = range(min(settings.folds, len(names)))
    return [(np.flatnonzero(usable & (fold != n)), np.flatnonzero(usable & (fold == n))) for n in numbers]


def r2_interval(
    predictions: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, draws: int = 1000, seed: int = 0
) -> Interval:
    """1 - sum (prediction - target)^2 / sum (target - mean)^2 with its bootstrap interval over groups, [K] each.

    The mean is that of the resampled set; nan where the targets are all one value.
    """
    predictions, targets = np.asarray(predictions, np.float64), np.asarray(targets, np.float64)
    # About the mean of all, so that squares of small differences keep their digits; R^2 is the same.
    centered = targets - targets.mean()
    terms = np.stack([np.ones_like(centered), centered, centered**2, (predictions - targets) ** 2], axis=1)

    def r2(sums: np.ndarray) -> np.ndarray:
        size, total, squares, errors = sums.T
        spread = squares - total**2 / size
        return 1.0 - errors / np.where(spread > 1e-12 * np.maximum(squares, 1e-30), spread, np.nan)

    return sums_interval(r2, terms, groups=groups, draws=draws, seed=seed)


def _outputs(settings: ProbeSettings, fold: int, values, wanted, rows, unseen, order, cost) -> np.ndarray:
    """Outputs for the frames `unseen` of a probe that was fitted to the frames `rows`, in minibatches `order` of them."""
    key = jax.random.fold_in(jax.random.key(settings.seed), fold)
    center, spread = values[rows].mean(0), values[rows].std(0) + 1e-6
    inputs = np.where(np.isfinite(values).all(1)[:, None], (values - center) / spread, 0.0)
    weights = _fit(key, inputs, wanted, rows[order], settings.hidden, settings.learning_rate, cost)
    return np.asarray(_predict(weights, inputs[unseen]))


def _squares(predictions, targets):
    return jnp.square(predictions - targets)


@functools.partial(jax.jit, static_argnames=("hidden", "learning_rate", "cost"))
def _fit(key, inputs, targets, order, hidden, learning_rate, cost):
    """Weights of a dense-GELU-dense network after Adam's steps over minibatches `order` [steps, batch]; targets [K, C]."""
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
