"""Closed-form adversary: the variance of a target that latents explain by least squares.

A regressor trained by gradient lags behind the encoder that evades it: after some hundred steps its predictions are useless,
while a newly trained one predicts the target again. Least squares has no such lag. For features phi(z) of the latents and a
target t, the best linear prediction from phi explains

    R^2 = cov(t, phi) cov(phi)^-1 cov(phi, t) / var(t).

The moments are running averages over batches, so that several hundred features do not fit the noise of one batch. The gradient
is that of the newest batch, scaled as if all remembered batches changed with it.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array


def regression_features(z: Array, count: int) -> Array:
    """Returns latents, their products and random features, [..., D + D (D + 1) / 2 + count].

    The random features are gelu(z . w + c) with fixed random w and c (Rahimi & Recht 2007). With enough of them, linear
    regression approximates any smooth function, like a network with one hidden layer.

    Args:
      z: [..., D] latents with a variance of about 1.
      count: number of random features.
    """
    size = z.shape[-1]
    rows, columns = np.triu_indices(size)
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(size, count)) * (1.5 / math.sqrt(size))
    offsets = generator.normal(size=count)
    random_features = jax.nn.gelu(z @ directions.astype(np.float32) + offsets.astype(np.float32))
    return jnp.concatenate([z, z[..., rows] * z[..., columns] * 0.5, random_features], axis=-1)


class ExplainedVariance(nn.Module):
    """R^2 of the least-squares prediction of targets from single latents.

    The collection "moments" keeps running averages over about 1 / (1 - memory) batches. In evaluation they are constant and
    determine the result.

    Attributes:
      targets: number of targets T.
      features: number of random features.
      memory: decay of the moments. A larger value keeps moments of outdated latents. A smaller one, or too many features for
        the number of frames, lets the regression fit noise, and the encoder loses other information.
      ridge: regularization of the covariance of the features, relative to its mean diagonal.
    """

    targets: int
    features: int = 128
    memory: float = 0.9
    ridge: float = 1e-3

    @nn.compact
    def __call__(self, z: Array, mask: Array, targets: Array, *, train: bool = False, axis_name: str | None = None) -> Array:
        """Returns R^2 of each target, [T] in 0..1.

        Args:
          z: [B, M, D] latents.
          mask: [B, M].
          targets: [B, M, T].
          train: whether to update the moments.
          axis_name: axis of `pmap` that splits the batch, or None.
        """
        size = z.shape[-1]
        width = size + size * (size + 1) // 2 + self.features + self.targets
        spread = self.variable("moments", "spread", jnp.ones, (size,))
        mean = self.variable("moments", "mean", jnp.zeros, (width,))
        second = self.variable("moments", "second", jnp.eye, width)
        count = self.variable("moments", "batches", jnp.zeros, ())
        moments = mean.value, second.value
        if train and not self.is_initializing():
            keep = jnp.minimum(self.memory, count.value / (count.value + 1.0))

            def average(total: Array) -> Array:
                frames = jnp.sum(mask)
                total, frames = (total, frames) if axis_name is None else jax.lax.psum((total, frames), axis_name)
                return total / jnp.maximum(frames, 1.0)

            def updated(old: Array, new: Array) -> Array:
                fixed = jax.lax.stop_gradient(new)
                # The gradient is that of the batch, undiminished by the running average.
                return keep * old + (1.0 - keep) * fixed + (new - fixed)

            squares = average(jnp.sum(jnp.square(z) * mask[..., None], axis=(0, 1)))
            spread.value = jax.lax.stop_gradient(keep * spread.value + (1.0 - keep) * squares)
            scale = jax.lax.rsqrt(jnp.maximum(spread.value, 1e-6))
            rows = jnp.concatenate([regression_features(z * scale, self.features), targets], axis=-1) * mask[..., None]
            squared = jnp.einsum("bmi,bmj->ij", rows, rows, precision="highest")
            moments = updated(mean.value, average(jnp.sum(rows, axis=(0, 1)))), updated(second.value, average(squared))
            mean.value, second.value = jax.lax.stop_gradient(moments)
            count.value += 1.0
        covariance = moments[1] - moments[0][:, None] * moments[0][None]
        inner, cross = covariance[: -self.targets, : -self.targets], covariance[: -self.targets, -self.targets :]
        # b^T A^-1 b = max over w of 2 w^T b - w^T A w, so its gradient is that of the right side at the best w, held constant.
        fixed = jax.lax.stop_gradient(inner)
        fixed = fixed + self.ridge * jnp.trace(fixed) / fixed.shape[0] * jnp.eye(fixed.shape[0])
        best = jax.scipy.linalg.solve(fixed, jax.lax.stop_gradient(cross), assume_a="pos")
        quadratic = jnp.einsum("it,ij,jt->t", best, inner, best, precision="highest")
        explained = 2.0 * jnp.sum(best * cross, axis=0) - quadratic
        variance = jax.lax.stop_gradient(jnp.diagonal(covariance)[-self.targets :])
        return jnp.clip(explained / jnp.maximum(variance, 1e-6), 0.0, 0.999)
