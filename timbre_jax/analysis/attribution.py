"""Attribution of reconstruction quality to latents: Shapley values, Integrated Gradients.

Both methods divide the value v(all latents) - v(no latents) among the latents, where v is -MSE or SSIM of the decoded sound
to the original on the common scale of `metrics.reconstruction`. An absent latent is set to a baseline: its training mean or 0.
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
"""Largest number of latents for which all 2^D subsets are decoded (4,096 of them)."""
MEASURES = ("mse", "ssim")


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Shares of v(all latents) - v(no latents) by latent, for M sounds.

    Attributes:
      method: "shapley", "shapley_sampled" or "integrated_gradients".
      measure: "mse" (v = -MSE) or "ssim" (v = SSIM).
      baseline: value of an absent latent, "mean" or "zero".
      values: shares [M, D]; a positive share means that the latent brings the sound closer to the original.
      full: v [M] with all latents.
      none: v [M] without latents.
      errors: standard errors [M, D] of the sampling; None for an exact method.
    """

    method: str
    measure: str
    baseline: str
    values: np.ndarray
    full: np.ndarray
    none: np.ndarray
    errors: np.ndarray | None = None

    def residual(self) -> np.ndarray:
        """Returns the error [M] of rounding or quadrature: sum of shares - (v(all) - v(none))."""
        return self.values.sum(1) - (self.full - self.none)

    def table(self, groups: np.ndarray | None = None) -> Table:
        """Returns the mean share of every latent with its interval over groups [M] (instruments)."""
        total = float((self.full - self.none).mean())
        errors = None if self.errors is None else np.sqrt((self.errors**2).sum(0)) / len(self.errors)
        caption = (
            f"Share of each latent in the improvement of {self.measure.upper()} from no latents to all latents ({total:.4g}); "
            f"higher is more important. Absent latents are set to {'their mean' if self.baseline == 'mean' else '0'}."
        )
        return share_table(f"{self.method}_{self.measure}_{self.baseline}", self.values, total, errors, groups, caption)


def share_table(
    name: str, shares: np.ndarray, total: float, errors: np.ndarray | None, groups: np.ndarray | None, caption: str
) -> Table:
    """Returns a table of shares with a row for each latent.

    Args:
      name: name of the table.
      shares: [M, D].
      total: value that is 100 %.
      errors: standard errors of sampling [D], or None.
      groups: [M], resampled for the intervals.
      caption: caption of the table.
    """
    mean = mean_interval(shares, groups)
    rows = []
    for d in range(shares.shape[1]):
        share, low, high = mean.value_low_high(d)
        percent = 100.0 * share / total if total else None
        rows.append((d, share, low, high, percent, None if errors is None else float(errors[d])))
    columns = ("latent", "share", "low", "high", "percent_of_total", "sampling_error")
    return Table(name, columns, tuple(rows), caption)


def subset_masks(size: int) -> np.ndarray:
    """Returns all subsets of latents, bool [2^size, size]; bit d of a row is latent d."""
    return (np.arange(1 << size)[:, None] >> np.arange(size)[None, :] & 1).astype(bool)


def shapley_values(values: np.ndarray) -> np.ndarray:
    """Returns the exact Shapley values [..., D] of a game (Shapley 1953).

        phi_d = sum over S without d of |S|! (D - |S| - 1)! / D! (v(S + d) - v(S))

    Args:
      values: value of every subset [..., 2^D], in the order of `subset_masks`.

    Raises:
      ValueError: the number of values is not a power of two.
    """
    values = np.asarray(values, np.float64)
    size = values.shape[-1].bit_length() - 1
    if values.shape[-1] != 1 << size:
        raise ValueError(f"values: a game of D players must have 2^D values (got {values.shape[-1]})")
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
    """Draws random orders of the latents, each with its reverse, which lowers the variance.

    Args:
      generator: source of randomness.
      count: number of sounds M.
      pairs: pairs of orders for each sound.
      size: number of latents D.

    Returns:
      The position of every latent in each order [M, pairs, 2, D], and the latents present after 0 to D steps, bool
      [M, pairs, 2, D + 1, D].
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
    """Returns the Shapley values of the reconstruction of every sound, by measure.

    Up to 12 latents, the values are exact: all 2^D subsets are decoded. For more latents, antithetic permutations are sampled
    (Castro et al. 2009, Mitchell et al. 2022), with standard errors over the pairs; the shares still sum to v(all) - v(none).

    Args:
      space: a static space.
      features: features of M sounds in the representation of the space.
      baseline: value of absent latents, "mean" or "zero", see `ablation.baseline_values`.
      measures: "mse", "ssim" or both; all are computed from the same decoded sounds.
      permutations: number of random orders for each sound, including the reversed ones; used for more than 12 latents.
      seed: random seed of the orders.
      batch_size: sounds decoded at once; None: `inference.batched.default_batch_size`.

    Raises:
      ValueError: another measure or baseline.
    """
    if unknown := set(measures) - set(MEASURES):
        raise ValueError(f"measures: must be among {', '.join(MEASURES)} (got {sorted(unknown)[0]!r})")
    if space.latent_size <= EXACT_UP_TO:
        masks = subset_masks(space.latent_size)
        games = _value_functions(masked_scores(space, features, masks, baseline=baseline, batch_size=batch_size))
        return {
            name: Attribution("shapley", name, baseline, shapley_values(games[name]), games[name][:, -1], games[name][:, 0])
            for name in measures
        }
    latent = encode_features(space, features, batch_size=batch_size)
    count, size = latent.values.shape
    pairs = max(1, permutations // 2)
    rank, present = antithetic_orders(np.random.default_rng(seed), count, pairs, size)
    values = np.where(present, latent.values[:, None, None, None, :], baseline_values(space, baseline)).reshape(-1, size)
    rows = np.repeat(np.arange(count), len(values) // count)
    games = _value_functions(score_latents(space, values, latent, features, rows=rows, batch_size=batch_size))
    attributions = {}
    for name in measures:
        v = games[name].reshape(count, pairs, 2, size + 1)
        gain = np.take_along_axis(np.diff(v, axis=-1), rank, axis=-1).mean(2)
        error = gain.std(1, ddof=1) / math.sqrt(pairs) if pairs > 1 else np.full((count, size), np.nan)
        attributions[name] = Attribution("shapley_sampled", name, baseline, gain.mean(1), v[:, 0, 0, -1], v[:, 0, 0, 0], error)
    return attributions


def _value_functions(scores: Scores) -> dict[str, np.ndarray]:
    """Returns the value function v by measure; higher is better."""
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
    """Returns Integrated Gradients of v from the baseline to the latent of every sound.

        IG_d = (z_d - b_d) * integral over a in [0, 1] of dv/dz_d at b + a (z - b)

    Sundararajan et al. 2017, eq. 1, by Gauss-Legendre quadrature. `Attribution.residual` is the error of the quadrature: a
    smooth decoder needs few nodes, a decoder with kinks needs more.

    Args:
      space: a static space.
      features: features of M sounds in the representation of the space.
      baseline: start of the path, "mean" or "zero", see `ablation.baseline_values`.
      measure: "mse" (v = -MSE) or "ssim" (v = SSIM).
      steps: nodes of the quadrature.
      batch_size: sounds decoded at once; None: `inference.batched.default_batch_size`.

    Raises:
      ValueError: another measure or baseline.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure: must be one of {', '.join(MEASURES)} (got {measure!r})")
    latent = encode_features(space, features, batch_size=batch_size)
    base = baseline_values(space, baseline)
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    nodes, weights = (nodes + 1.0) / 2.0, weights / 2.0

    def shares_of(batch: Latent, target: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        path = np.asarray(batch.values) - base
        total, ends = np.zeros_like(path, np.float64), []
        for node, weight in zip([0.0, 1.0, *nodes], [0.0, 0.0, *weights], strict=True):
            point = batch.replace(values=(base + np.float32(node) * path).astype(np.float32))
            value, gradient = _value_and_gradient(space, point, target, mask, jnp.int32(MEASURES.index(measure)))
            total += weight * np.asarray(gradient, np.float64)
            ends.append(np.asarray(value, np.float64))
        return path * total, ends[1], ends[0]

    shares, full, none = map_batches(shares_of, latent, features.values, features.mask, batch_size=batch_size)
    return Attribution("integrated_gradients", measure, baseline, shares, full, none)


@jax.jit
def _value_and_gradient(space: TimbreSpace, latent: Latent, target: Array, mask: Array, measure: Array):
    common_target = common_values(space.representation, target)

    def total(values: Array):
        mse, ssim = pair_scores(decoded_images(space, latent.replace(values=values)), common_target, mask)
        value = jnp.where(measure == 0, -mse, ssim)
        # The decoder treats sounds independently, so the gradient of the sum contains the gradient of each sound.
        return jnp.sum(value), value

    (_, value), gradient = jax.value_and_grad(total, has_aux=True)(latent.values)
    return value, gradient
