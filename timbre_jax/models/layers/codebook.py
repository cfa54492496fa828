"""Vector quantization with moving averages (van den Oord et al. 2017, appendix A.1)."""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array

MAX_RESTARTS = 64
"""Largest number of codes restarted in one step."""


@flax.struct.dataclass
class Quantized:
    """Quantized encodings.

    Attributes:
      values: [..., D] sums of the nearest codebook vectors, with straight-through gradients to the encodings.
      codes: [..., Q] int32.
      commitment: [...] mean over D of (z - vector)^2, summed over the Q codebooks, with a gradient to z only.
    """

    values: Array
    codes: Array
    commitment: Array


class Codebook(nn.Module):
    """Residual vector quantizer of Q codebooks of K vectors [D].

    Each codebook codes the residual of those before it. The vectors are not parameters but moving averages of the encodings
    nearest to them,

        n_k <- decay n_k + (1 - decay) N_k,    s_k <- decay s_k + (1 - decay) S_k,    e_k = s_k / n_k,

    where N_k is the number and S_k the sum of the encodings of a batch whose nearest vector is e_k. The collection "codebook"
    contains e_k ("vectors"), n_k as a share of the counted frames ("share"), from which s_k follows, and the number of
    restarts so far ("restarts", [Q]).

    A code whose share falls below restart_threshold / K is restarted at an encoding of the batch, with a share of 1 / K. Random
    numbers of the examples select this encoding, so that the result depends neither on the order of the batch nor on the
    number of devices.

    Attributes:
      codes: number of vectors K.
      size: number of dimensions D.
      num_codebooks: number of residual codebooks Q.
      decay: decay of the moving averages.
      restart_threshold: see above; 0 disables restarts.
    """

    codes: int
    size: int
    num_codebooks: int = 1
    decay: float = 0.99
    restart_threshold: float = 0.02

    def setup(self):
        """Creates the layers."""
        shape = (self.num_codebooks, self.codes, self.size)
        self.vectors = self.variable("codebook", "vectors", lambda: jax.random.normal(self.make_rng("params"), shape))
        self.share = self.variable("codebook", "share", lambda: jnp.full(shape[:2], 1.0 / self.codes))
        self.restarts = self.variable("codebook", "restarts", jnp.zeros, (self.num_codebooks,))

    def __call__(self, z: Array) -> Quantized:
        """Quantizes encodings [..., D]."""
        residual, codes, commitment = z, [], 0.0
        for vectors in self.vectors.value:
            code = nearest(residual, vectors)
            error = residual - vectors[code]
            commitment = commitment + jnp.mean(jnp.square(error), axis=-1)
            residual, codes = error, [*codes, code]
        codes = jnp.stack(codes, -1)
        # z - stop_gradient(z) is exactly 0, so the values are those of the codebook.
        return Quantized(self.values(codes) + (z - jax.lax.stop_gradient(z)), codes, commitment)

    def values(self, codes: Array) -> Array:
        """Returns the values [..., D] of codes [..., Q]."""
        return lookup(self.vectors.value, codes)

    def update(self, z: Array, weight: Array, order: Array, *, axis_name: str | None = None) -> dict[str, Array]:
        """Updates the moving averages with a batch and restarts unused codes.

        Args:
          z: [P, D] encodings.
          weight: [P], 1 for encodings that count, 0 for others.
          order: [P] random numbers in [0, 1). Codes restart at the encodings with the largest ones.
          axis_name: axis of `pmap` that splits the batch, or None.

        Returns:
          The scalars "perplexity", exp of the entropy of the shares (mean over codebooks), and "restarts" of this step.
        """
        z = jax.lax.stop_gradient(z)
        if axis_name is not None:
            z, weight, order = (jax.lax.all_gather(x, axis_name, tiled=True) for x in (z, weight, order))
        counted = jnp.maximum(jnp.sum(weight), 1.0)
        chance, chosen = jax.lax.top_k(jnp.where(weight > 0, order, -1.0), min(MAX_RESTARTS, len(z)))
        residual, updates = z, []
        for vectors, share in zip(self.vectors.value, self.share.value, strict=True):
            code = nearest(residual, vectors)
            hits = jax.nn.one_hot(code, self.codes, dtype=z.dtype) * weight[:, None]
            sums = jnp.matmul(hits.T, residual, precision="highest")
            moved = moving_average(vectors, share, hits.sum(0) / counted, sums / counted, decay=self.decay)
            updates.append(_restart_codes(*moved, residual[chosen], chance >= 0, threshold=self.restart_threshold / self.codes))
            residual = residual - vectors[code]
        vectors, share, restarted = (jnp.stack(part) for part in zip(*updates, strict=True))
        self.vectors.value, self.share.value = vectors, share
        self.restarts.value = self.restarts.value + restarted
        return {"perplexity": jnp.mean(perplexity(share)), "restarts": jnp.sum(restarted)}


def nearest(z: Array, vectors: Array) -> Array:
    """Returns the index of the vector [K, D] nearest to each z [..., D], int32 [...]."""
    half = 0.5 * jnp.sum(jnp.square(vectors), axis=-1)
    return jnp.argmax(jnp.matmul(z, vectors.T, precision="highest") - half, axis=-1).astype(jnp.int32)


def lookup(vectors: Array, codes: Array) -> Array:
    """Returns the sums over codebooks [..., D] of the vectors [Q, K, D] of codes [..., Q]."""
    return sum(vectors[q][codes[..., q]] for q in range(len(vectors)))


def moving_average(vectors: Array, share: Array, hits: Array, sums: Array, *, decay: float) -> tuple[Array, Array]:
    """Returns the vectors [K, D] and shares [K] after one update.

    Args:
      vectors: [K, D] before the update.
      share: [K] before the update.
      hits: [K] shares of the encodings of the batch per code.
      sums: [K, D] sums of these encodings, divided by their total number.
      decay: decay of the moving averages.
    """
    before, now = decay * share, decay * share + (1.0 - decay) * hits
    weight = jnp.where(now > 0, 1.0 / jnp.where(now > 0, now, 1.0), 0.0)
    moved = (before[:, None] * vectors + (1.0 - decay) * sums) * weight[:, None]
    # Without rounding errors for codes that no encoding is nearest to.
    return jnp.where(hits[:, None] > 0, moved, vectors), now


def _restart_codes(vectors, share, candidates, valid, *, threshold):
    """Restarts codes below the threshold at the valid [R] candidates [R, D], in order."""
    dead = share < threshold
    rank = jnp.cumsum(dead) - 1
    candidate = jnp.clip(rank, 0, len(candidates) - 1)
    restarted = dead & (rank < len(candidates)) & valid[candidate]
    vectors = jnp.where(restarted[:, None], candidates[candidate], vectors)
    return vectors, jnp.where(restarted, 1.0 / len(share), share), jnp.sum(restarted).astype(jnp.float32)


def perplexity(counts: Array) -> Array:
    """Returns exp of the entropy of counts or shares [..., K], 0 if all are 0."""
    total = jnp.sum(counts, axis=-1, keepdims=True)
    p = counts / jnp.where(total > 0, total, 1.0)
    entropy = -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1.0)), axis=-1)
    return jnp.where(total[..., 0] > 0, jnp.exp(entropy), 0.0)


def fit_codebook(encodings: np.ndarray, *, codes: int, num_codebooks: int = 1, rounds: int = 10, seed: int = 0) -> np.ndarray:
    """Fits codebooks to encodings by k-means (Lloyd 1982), one codebook after the other.

    Initial centers are random encodings; a center without encodings is replaced by another random one. If there are fewer
    encodings than codes, some are used twice with small offsets.

    Args:
      encodings: [P, D].
      codes: number of vectors K per codebook.
      num_codebooks: number of residual codebooks Q.
      rounds: number of iterations of k-means.
      seed: random seed.

    Returns:
      The codebooks [Q, K, D], float32.

    Raises:
      ValueError: there are no encodings.
    """
    residual = np.asarray(encodings, np.float32)
    if len(residual) == 0:
        raise ValueError("codebook: needs encodings to start from (got none); the training set contains only silence")
    generator, nearest_codes, codebooks = np.random.default_rng(seed), jax.jit(nearest), []

    def random_encodings(count: int) -> np.ndarray:
        rows = generator.choice(len(residual), count, replace=len(residual) < count)
        spread = 1e-2 * residual.std(0) if len(residual) < codes else 0.0
        return residual[rows] + spread * generator.normal(size=(count, residual.shape[1]))

    for _ in range(num_codebooks):
        vectors = random_encodings(codes).astype(np.float32)
        for _ in range(rounds):
            code = np.asarray(nearest_codes(residual, vectors))
            hits, sums = np.bincount(code, minlength=codes), np.zeros_like(vectors)
            np.add.at(sums, code, residual)
            vectors = sums / np.maximum(hits, 1)[:, None]
            if (empty := hits == 0).any():
                vectors[empty] = random_encodings(int(empty.sum()))
        codebooks.append(vectors)
        residual = residual - vectors[np.asarray(nearest_codes(residual, vectors))]
    return np.stack(codebooks).astype(np.float32)
