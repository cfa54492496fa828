"""An adversary in closed form: how much of a target a reader of the latents could explain, by least squares with a memory.

A regressor that learns by gradient runs behind the encoder that evades it: after some hundred steps it knows nothing, and a
fresh one finds everything again. Least squares has no such lag. For features phi(z) of the latents and a target t,

    R^2 = cov(t, phi) cov(phi)^-1 cov(phi, t) / var(t)

is what the best linear reader of phi explains. Its moments are running averages over the last batches, so that a few hundred
features do not explain noise; the gradient goes through the newest batch, as if all that is remembered moved with it.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array


def reader_features(z: Array, count: int) -> Array:
    """Latents [..., D] of variance about 1 to [..., D + D (D + 1) / 2 + count]: themselves, their products, and random ones.

    The last are gelu(z . w + c) with fixed random w and c (Rahimi & Recht 2007): with enough of them a linear reader is as good
    as a network of one hidden layer on what changes smoothly.
    """
    size = z.shape[-1]
    rows, columns = np.triu_indices(size)
    generator = np.random.default_rng(0)
    directions = generator.normal(size=(size, count)) * (1.5 / math.sqrt(size))
    offsets = generator.normal(size=count)
    drawn = jax.nn.gelu(z @ directions.astype(np.float32) + offsets.astype(np.float32))
    return jnp.concatenate([z, z[..., rows] * z[..., columns] * 0.5, drawn], axis=-1)


class ExplainedVariance(nn.Module):
    """R^2 of targets [B, M, T] from latents [B, M, D], each frame by itself, over the frames within the mask.

    Moments are in the collection "moments", of the latest 1 / (1 - memory) batches or so; in evaluation they stay as they are,
    and the result is theirs.

    Attributes:
      targets: T.
      features: random ones beside the latents and their products.
      memory: 0.9 remembers ten batches. Longer, and the encoder evades what it was some time ago; shorter, or with too many
        features for the frames of the memory, and it explains noise, for which the encoder gives up what is not the target's.
      ridge: added to the features' covariance, as a part of its mean diagonal.
    """

    targets: int
    features: int = 128
    memory: float = 0.9
    ridge: float = 1e-3

    @nn.compact
    def __call__(self, z: Array, mask: Array, targets: Array, *, train: bool = False, axis_name: str | None = None) -> Array:
        """[T], between 0 and 1."""
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
                count = jnp.sum(mask)
                total, count = (total, count) if axis_name is None else jax.lax.psum((total, count), axis_name)
                return total / jnp.maximum(count, 1.0)

            def mixed(old: Array, new: Array) -> Array:
                fixed = jax.lax.stop_gradient(new)
                # The gradient of a batch is that of all that is remembered.
                return keep * old + (1.0 - keep) * fixed + (new - fixed)

            squares = average(jnp.sum(jnp.square(z) * mask[..., None], axis=(0, 1)))
            spread.value = jax.lax.stop_gradient(keep * spread.value + (1.0 - keep) * squares)
            scale = jax.lax.rsqrt(jnp.maximum(spread.value, 1e-6))
            rows = jnp.concatenate([reader_features(z * scale, self.features), targets], axis=-1) * mask[..., None]
            squared = jnp.einsum("bmi,bmj->ij", rows, rows, precision="highest")
            moments = mixed(mean.value, average(jnp.sum(rows, axis=(0, 1)))), mixed(second.value, average(squared))
            mean.value, second.value = jax.lax.stop_gradient(moments)
            count.value += 1.0
        covariance = moments[1] - moments[0][:, None] * moments[0][None]
        inner, cross = covariance[: -self.targets, : -self.targets], covariance[: -self.targets, -self.targets :]
        # b^T A^-1 b = max over w of 2 w^T b - w^T A w: at the best w its gradient is that of the right side, w held.
        fixed = jax.lax.stop_gradient(inner)
        fixed = fixed + self.ridge * jnp.trace(fixed) / fixed.shape[0] * jnp.eye(fixed.shape[0])
        best = jax.scipy.linalg.solve(fixed, jax.lax.stop_gradient(cross), assume_a="pos")
        quadratic = jnp.einsum("it,ij,jt->t", best, inner, best, precision="highest")
        explained = 2.0 * jnp.sum(best * cross, axis=0) - quadratic
        variance = jax.lax.stop_gradient(jnp.diagonal(covariance)[-self.targets :])
        return jnp.clip(explained / jnp.maximum(variance, 1e-6), 0.0, 0.999)
