"""Likelihood heads, which map the raw output of a decoder to a distribution.

A head is a linen module with two methods: `mean(raw)`, the expected features, and `nll(raw, values)`, the negative
log-likelihood of each sound in nats, summed over frames and features. Padding counts, because a static space decodes the whole
image, including the silence after the end of a sound.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from timbre_jax.types import Array


def bernoulli_nll(logits: Array, values: Array) -> Array:
    """Returns the binary cross-entropy of values and logits in nats, summed to [B].

    -x log p - (1 - x) log(1 - p) with p = sigmoid(logits), without overflow. For values other than 0 and 1 its minimum is
    their entropy, not 0.

    Args:
      logits: [B, ...].
      values: [B, ...] in [0, 1].
    """
    terms = jnp.maximum(logits, 0.0) - logits * values + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return _total(terms)


def gaussian_nll(mean: Array, log_sigma: Array, values: Array) -> Array:
    """Returns -log N(values; mean, sigma^2) in nats, summed to [B]; `log_sigma` may broadcast."""
    squares = jnp.square((values - mean) * jnp.exp(-log_sigma))
    return _total(0.5 * (squares + math.log(2.0 * math.pi)) + log_sigma)


def _total(terms: Array) -> Array:
    return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))


class Bernoulli(nn.Module):
    """Bernoulli likelihood of features in [0, 1]: sigmoid and binary cross-entropy."""

    def mean(self, raw: Array) -> Array:
        """Returns the expected features."""
        return jax.nn.sigmoid(raw)

    def nll(self, raw: Array, values: Array) -> Array:
        """Returns the negative log-likelihood of values in nats, [B]."""
        return bernoulli_nll(raw, values)


class Gaussian(nn.Module):
    """Gaussian likelihood with the sigmoid of the raw output as mean and a learned sigma.

    A learned standard deviation makes tuning the weight of the KL unnecessary (sigma-VAE: Rybkin, Daniilidis & Levine 2021).

    Attributes:
      rows: number of features F for one sigma each, or 0 for a common sigma.
      smallest: lower bound of log sigma, which keeps the likelihood of a perfect fit finite.
    """

    rows: int = 0
    smallest: float = -6.0

    def setup(self):
        """Creates the layers."""
        self.log_sigma = self.param("log_sigma", nn.initializers.constant(-1.5), (self.rows,) if self.rows else ())

    def mean(self, raw: Array) -> Array:
        """Returns the expected features."""
        return jax.nn.sigmoid(raw)

    def nll(self, raw: Array, values: Array) -> Array:
        """Returns the negative log-likelihood of values in nats, [B]."""
        # The gradient of a soft bound never vanishes, unlike that of clipping.
        log_sigma = self.smallest + jax.nn.softplus(self.log_sigma - self.smallest)
        return gaussian_nll(self.mean(raw), log_sigma, values)


def make_head(name: str, *, n_features: int) -> nn.Module:
    """Creates a likelihood head by name.

    Args:
      name: "bernoulli", "gaussian" (one learned sigma) or "gaussian_rows" (one learned sigma per feature).
      n_features: number of features F.

    Raises:
      ValueError: the name is unknown.
    """
    heads = {"bernoulli": Bernoulli, "gaussian": Gaussian, "gaussian_rows": lambda: Gaussian(rows=n_features)}
    if name not in heads:
        raise ValueError(f"likelihood {name!r}: unknown name (expected one of {', '.join(heads)})")
    return heads[name]()
