"""Attribution of the reconstruction to the latents: Shapley values, and Integrated Gradients.

Both share a value function out among the latents: v = - MSE of the decoded sound to the original, or v = SSIM, under
the common definition (`metrics.reconstruction`). A latent that is absent stands at a baseline: its training mean, or 0. The
shares of a note sum to v(all latents) - v(none).
"""

from __future__ import annotations

import dataclasses
import math

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
        total = float((self.full - self.none).mean())
        errors = None if self.errors is None else np.sqrt((self.errors**2).sum(0)) / len(self.errors)
        caption = (
            f"v = {'- MSE' if self.measure == 'mse' else 'SSIM'}; absent latents at their {self.baseline}; v(all) - "
            f"v(none) = {total:.5g}."
        )
        return share_table(f"{self.method}_{self.measure}_{self.baseline}", self.values, total, errors, groups, caption)


def share_table(
    name: str, shares: np.ndarray, total: float, errors: np.ndarray | None, groups: np.ndarray | None, caption: str
) -> Table:
    """Returns one row a latent: the mean over notes of shares [M, D] with its interval, its percentage, its error [D]."""
    mean = mean_interval(shares, groups)
    rows = []
    for d in range(shares.shape[1]):
        share, low, high = mean.value_low_high(d)
        percent = 100.0 * share / total if total else None
        rows.append((d, share, low, high, percent, None if errors is None else float(errors[d])))
    columns = ("latent", "share", "low", "high", "percent_of_total", "sampling_error")
    return Table(name, columns, tuple(rows), caption)


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


def antithetic_orders(generator: np.random.Generator, count: int, pairs: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws orders in which the latents of each note enter, each followed by its reverse, which lowers the error.

    Returns:
      The place of every latent in each order, [count, pairs, 2, size], and the latents that have entered after 0 to `size`
      steps, bool [count, pairs, 2, size + 1, size].
    """
    orders = generator.permuted(np.broadcast_to(np.arange(size), (count, pairs, size)), axis=-1)
    rank = np.argsort(np.stack([orders, orders[..., ::-1]], axis=2), axis=-1)
    return rank, rank[..., None, :] < np.arange(size + 1)[:, None]


def shapley(
    space: TimbreSpace,
    features: Features,
    *,
    baseline: str = "mean",
    measures: tuple[str, ...] = MEASURES,
    permutations: int = 16,
    seed: int = 0,
    batch_size: int | None = None,
) -> dict[str, Attribution]:
    """Shapley values of every note's reconstruction, one `Attribution` a measure, from one set of decoded sounds.

    Exact over all 2^D subsets up to 12 latents. Above, `permutations` random orders a note, each with its reverse
    (antithetic pairs; Castro et al. 2009, Mitchell et al. 2022), with standard errors over the pairs; the sum stays
    exact.
    """
    if unknown := set(measures) - set(MEASURES):
        raise ValueError(f"measures are {', '.join(MEASURES)}, not {sorted(unknown)[0]!r}")
    if space.latent_size <= EXACT_UP_TO:
        masks = subset_masks(space.latent_size)
        games = _values(masked_scores(space, features, masks, baseline=baseline, batch_size=batch_size))
        return {
            name: Attribution("shapley", name, baseline, shapley_values(games[name]), games[name][:, -1], games[name][:, 0])
            for name in measures
        }
    notes = encode_features(space, features, batch_size=batch_size)
    count, size = notes.values.shape
    pairs = max(1, permutations // 2)
    rank, on = antithetic_orders(np.random.default_rng(seed), count, pairs, size)
    values = np.where(on, notes.values[:, None, None, None, :], baseline_values(space, baseline)).reshape(-1, size)
    rows = np.repeat(np.arange(count), len(values) // count)
    games = _values(score_latents(space, values, notes, features, rows=rows, batch_size=batch_size))
    found = {}
    for name in measures:
        v = games[name].reshape(count, pairs, 2, size + 1)
        gain = np.take_along_axis(np.diff(v, axis=-1), rank, axis=-1).mean(2)
        error = gain.std(1, ddof=1) / math.sqrt(pairs) if pairs > 1 else np.full((count, size), np.nan)
        found[name] = Attribution("shapley_sampled", name, baseline, gain.mean(1), v[:, 0, 0, -1], v[:, 0, 0, 0], error)
    return found


def _values(scores: Scores) -> dict[str, np.ndarray]:
    """Returns the value function v of scores by measure: higher is better."""
    return {"mse": -scores.mse, "ssim": scores.ssim}


def integrated_gradients(
    space: TimbreSpace,
    features: Features,
    *,
    baseline: str = "mean",
    measure: str = "mse",
    steps: int = 32,
    batch_size: int | None = None,
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

    shares, full, none = map_batches(shares_of, notes, features.values, features.mask, batch_size=batch_size)
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
