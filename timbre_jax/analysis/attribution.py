"""Attribution of the reconstruction to the latents: Shapley values, and Integrated Gradients.

Both share a value function out among the latents: v = - MSE of the decoded sound to the original, or v = SSIM, under
the common definition (`metrics.reconstruction`). A latent that is absent stands at a baseline: its training mean, or 0. The
shares of a note sum to v(all latents) - v(none).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.ablation import baseline_values, masked_scores
from timbre_jax.analysis.decoding import decoded_images
from timbre_jax.inference.batched import encode_features, map_batches
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.reconstruction import Scores, common_values, pair_scores, score_latents
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Features, Latent

EXACT_UP_TO = 12
"""Latents up to which all 2^D subsets are decoded (4,096 of them)."""
MEASURES = ("mse", "ssim")


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Shares of v(all) - v(none) that the latents get, note by note.

    Attributes:
      method: "shapley", "shapley_sampled" or "integrated_gradients".
      measure: "mse" (v = - MSE) or "ssim" (v = SSIM).
      baseline: where an absent latent stands, "mean" or "zero".
      values: [M, D]; positive: the latent brings the sound closer to the original.
      full, none: v [M] with all latents and with none.
      errors: [M, D] standard errors of the sampling; None where nothing was sampled.
    """

    method: str
    measure: str
    baseline: str
    values: np.ndarray
    full: np.ndarray
    none: np.ndarray
    errors: np.ndarray | None = None

    def residual(self) -> np.ndarray:
        """[M]: sum of the shares minus (v(all) - v(none)): 0 but for rounding, or for the steps of an integral."""
        return self.values.sum(1) - (self.full - self.none)

    def table(self, groups: np.ndarray | None = None) -> Table:
        """One row a latent: mean share with its interval over groups (instruments)."""
        mean = mean_interval(self.values, groups)
        total = float((self.full - self.none).mean())
        error = None if self.errors is None else np.sqrt((self.errors**2).sum(0)) / len(self.errors)
        shares = 100.0 * np.asarray(mean.value)
        rows = tuple(
            (
                d,
                *mean.value_low_high(d),
                float(shares[d]) / total if total else None,
                None if error is None else float(error[d]),
            )
            for d in range(self.values.shape[1])
        )
        columns = ("latent", "share", "low", "high", "percent_of_total", "sampling_error")
        caption = (
            f"v = {'- MSE' if self.measure == 'mse' else 'SSIM'}; absent latents at their {self.baseline}; v(all) - "
            f"v(none) = {total:.5g}."
        )
        return Table(f"{self.method}_{self.measure}_{self.baseline}", columns, rows, caption)


def subset_masks(size: int) -> np.ndarray:
    """All subsets of `size` latents, bool [2^size, size]: row s has latent d on where bit d of s is set."""
    return (np.arange(1 << size)[:, None] >> np.arange(size)[None, :] & 1).astype(bool)


def shapley_values(values: np.ndarray) -> np.ndarray:
    """Exact Shapley values [..., D] of a game's value for every subset [..., 2^D], in the order of `subset_masks`.

    phi_d = sum over S without d of |S|! (D - |S| - 1)! / D! (v(S + d) - v(S)) (Shapley 1953).

    Raises:
      ValueError: the number of values is not a power of two.
    """
    values = np.asarray(values, np.float64)
    size = values.shape[-1].bit_length() - 1
    if values.shape[-1] != 1 << size:
        raise ValueError(f"a game of D players has 2^D values, not {values.shape[-1]}")
    members = subset_masks(size)
    order = members.sum(1)
    factorial = np.array([math.factorial(n) for n in range(size + 1)], np.float64)
    weights = np.zeros((size, 1 << size))
    for d in range(size):
        without = np.flatnonzero(~members[:, d])
        weight = factorial[order[without]] * factorial[size - order[without] - 1] / factorial[size]
        weights[d, without] = -weight
        weights[d, without + (1 << d)] = weight
    return values @ weights.T


def subset_scores(
    space: TimbreSpace,
    features: Features,
    *,
    baseline: str = "mean",
    batch_size: int | None = None,
    progress: Callable | None = None,
) -> Scores:
    """MSE and SSIM [M, 2^D] of every note with every subset of its latents on.

    Raises:
      ValueError: more than 12 latents.
    """
    if space.latent_size > EXACT_UP_TO:
        raise ValueError(f"all subsets of {space.latent_size} latents are too many: at most {EXACT_UP_TO}; sample instead")
    masks = subset_masks(space.latent_size)
    return masked_scores(space, features, masks, baseline=baseline, batch_size=batch_size, progress=progress)


def shapley(
    space: TimbreSpace,
    features: Features,
    *,
    baseline: str = "mean",
    measures: tuple[str, ...] = MEASURES,
    permutations: int = 16,
    seed: int = 0,
    batch_size: int | None = None,
    progress: Callable | None = None,
) -> dict[str, Attribution]:
    """Shapley values of every note's reconstruction, one `Attribution` a measure, from one set of decoded sounds.

    Exact over all 2^D subsets up to 12 latents. Above, `permutations` random orders a note, each with its reverse
    (antithetic pairs; Castro et al. 2009, Mitchell et al. 2022), with standard errors over the pairs; the sum stays
    exact.
    """
    if unknown := set(measures) - set(MEASURES):
        raise ValueError(f"measures are {', '.join(MEASURES)}, not {sorted(unknown)[0]!r}")
    options: dict[str, Any] = {"baseline": baseline, "batch_size": batch_size, "progress": progress}
    if space.latent_size <= EXACT_UP_TO:
        scores = subset_scores(space, features, **options)
        games = {"mse": -scores.mse, "ssim": scores.ssim}
        return {
            name: Attribution("shapley", name, baseline, shapley_values(games[name]), games[name][:, -1], games[name][:, 0])
            for name in measures
        }
    return _sampled(space, features, measures, max(2, permutations), seed, **options)


def _sampled(space, features, measures, permutations, seed, *, baseline, batch_size, progress) -> dict[str, Attribution]:
    notes = encode_features(space, features, batch_size=batch_size)
    count, size = notes.values.shape
    generator = np.random.default_rng(seed)
    pairs = permutations // 2
    orders = generator.permuted(np.broadcast_to(np.arange(size), (count, pairs, size)), axis=-1)
    orders = np.stack([orders, orders[..., ::-1]], axis=2)
    # rank[..., d]: when latent d enters; after step t the latents with rank < t are on.
    rank = np.argsort(orders, axis=-1)
    on = rank[..., None, :] < np.arange(size + 1)[:, None]
    base = baseline_values(space, baseline)
    values = np.where(on, notes.values[:, None, None, None, :], base).reshape(-1, size)
    rows = np.repeat(np.arange(count), values.shape[0] // count)
    scores = score_latents(space, values, notes, features, rows=rows, batch_size=batch_size, progress=progress)
    out = {}
    for name in measures:
        v = (-scores.mse if name == "mse" else scores.ssim).reshape(count, pairs, 2, size + 1)
        gain = np.take_along_axis(np.diff(v, axis=-1), rank, axis=-1).mean(2)
        error = gain.std(1, ddof=1) / math.sqrt(pairs) if pairs > 1 else np.full((count, size), np.nan)
        out[name] = Attribution("shapley_sampled", name, baseline, gain.mean(1), v[:, 0, 0, -1], v[:, 0, 0, 0], error)
    return out


def integrated_gradients(
    space: TimbreSpace,
    features: Features,
    *,
    baseline: str = "mean",
    measure: str = "mse",
    steps: int = 32,
    batch_size: int | None = None,
    progress: Callable | None = None,
) -> Attribution:
    """Integrated Gradients of v along the straight line from the baseline to every note's latent.

    IG_d = (z_d - b_d) * integral over a in [0, 1] of dv/dz_d at b + a (z - b) (Sundararajan et al. 2017, eq. 1), by
    Gauss-Legendre quadrature with `steps` nodes. `residual()` says how far the sum is from v(z) - v(b): a smooth
    decoder needs few steps, one with kinks more.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure is one of {', '.join(MEASURES)}, not {measure!r}")
    notes = encode_features(space, features, batch_size=batch_size)
    base = baseline_values(space, baseline)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    nodes, weights = (nodes + 1.0) / 2.0, weights / 2.0

    def shares_of(some: Latent, wanted: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        path = np.asarray(some.values) - base
        total, ends = np.zeros_like(path, np.float64), []
        for node, weight in zip([0.0, 1.0, *nodes], [0.0, 0.0, *weights], strict=True):
            at = some.replace(values=(base + np.float32(node) * path).astype(np.float32))
            value, gradient = _value_and_gradient(space, at, wanted, mask, jnp.int32(MEASURES.index(measure)))
            total += weight * np.asarray(gradient, np.float64)
            ends.append(np.asarray(value, np.float64))
        return path * total, ends[1], ends[0]

    options: dict[str, Any] = {"batch_size": batch_size, "progress": progress}
    shares, full, none = map_batches(shares_of, notes, features.values, features.mask, **options)
    return Attribution("integrated_gradients", measure, baseline, shares, full, none)


@jax.jit
def _value_and_gradient(space: TimbreSpace, notes: Latent, target: Array, mask: Array, measure: Array):
    wanted = common_values(space.representation, target)

    def total(values: Array):
        mse, ssim = pair_scores(decoded_images(space, notes.replace(values=values)), wanted, mask)
        value = jnp.where(measure == 0, -mse, ssim)
        # Sounds do not touch each other in a decoder, so the gradient of the sum is every sound's own.
        return jnp.sum(value), value

    (_, value), gradient = jax.value_and_grad(total, has_aux=True)(notes.values)
    return value, gradient
