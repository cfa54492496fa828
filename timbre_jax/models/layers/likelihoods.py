"""Likelihoods of features: what a decoder's raw output means, and what a reconstruction costs in nats.

A head is a linen module with two methods: `mean(raw)`, the expected features, and `nll(raw, values)`, -log p(values | raw)
of each sound, summed over its frames and features. Padding counts: a static space draws the whole picture, and silence after
a sound's end is part of it.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from timbre_jax.types import Array


def bernoulli_nll(logits: Array, values: Array) -> Array:
    """Binary cross-entropy of values [B, ...] in [0, 1] under logits of the same shape, summed to [B], in nats.

    -x log p - (1 - x) log(1 - p) with p = sigmoid(logits), in the form that does not overflow. For values that are not 0
    or 1 its minimum over p is their entropy, not 0.
    """
    terms = jnp.maximum(logits, 0.0) - logits * values + jnp.log1p(jnp.exp(-jnp.abs(logits)))
    return _total(terms)


def gaussian_nll(mean: Array, log_sigma: Array, values: Array) -> Array:
    """-log N(values; mean, sigma^2) of values [B, ...], summed to [B], in nats; `log_sigma` broadcasts against them."""
    squares = jnp.square((values - mean) * jnp.exp(-log_sigma))
    return _total(0.5 * (squares + math.log(2.0 * math.pi)) + log_sigma)


def _total(terms: Array) -> Array:
    return jnp.sum(terms, axis=tuple(range(1, terms.ndim)))


class Bernoulli(nn.Module):
    """Features in [0, 1] as probabilities: sigmoid and binary cross-entropy."""

    def mean(self, raw: Array) -> Array:
        return jax.nn.sigmoid(raw)

    def nll(self, raw: Array, values: Array) -> Array:
        return bernoulli_nll(raw, values)


class Gaussian(nn.Module):
    """Gaussian around the sigmoid of the raw output, with a learned standard deviation.

    With the standard deviation learned, the weight of the KL needs no tuning (sigma-VAE: Rybkin, Daniilidis & Levine 2021).

    Attributes:
      rows: 0 for one sigma, else F: one for each feature.
      smallest: of log sigma, so that a perfect fit cannot run away.
    """

    rows: int = 0
    smallest: float = -6.0

    def setup(self):
        self.log_sigma = self.param("log_sigma", nn.initializers.constant(-1.5), (self.rows,) if self.rows else ())

    def mean(self, raw: Array) -> Array:
        return jax.nn.sigmoid(raw)

    def nll(self, raw: Array, values: Array) -> Array:
        # A soft bound: its gradient never vanishes, as that of a clip would.
        log_sigma = self.smallest + jax.nn.softplus(self.log_sigma - self.smallest)
        return gaussian_nll(self.mean(raw), log_sigma, values)


def make_head(name: str, *, n_features: int) -> nn.Module:
    """The head of that name: "bernoulli", "gaussian" (one learned sigma) or "gaussian_rows" (one for each feature).

    Raises:
      ValueError: an unknown name.
    """
    heads = {"bernoulli": Bernoulli, "gaussian": Gaussian, "gaussian_rows": lambda: Gaussian(rows=n_features)}
    if name not in heads:
        raise ValueError(f"there is no likelihood {name!r}; there are {', '.join(heads)}")
    return heads[name]()
