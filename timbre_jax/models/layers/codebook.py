"""Vector quantization with a codebook of moving averages: van den Oord, Vinyals & Kavukcuoglu 2017 (VQ-VAE), appendix A.1."""

from __future__ import annotations

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Array

MOST_RESTARTS = 64
"""Codes restarted in one step, at most."""


@flax.struct.dataclass
class Quantized:
    """Attributes:
    values: [..., D], sums of the nearest codes; gradients go straight through them to what was quantized.
    codes: [..., Q] int32.
    commitment: [...], mean over D of (z - code)^2, summed over the Q books; its gradient is that of z alone.
    """

    values: Array
    codes: Array
    commitment: Array


class Codebook(nn.Module):
    """Q codebooks of K vectors [D], each coding what those before left over (residual quantization where Q > 1).

    The vectors are no parameters: each is the moving average of what was nearest to it,

        n_k <- decay n_k + (1 - decay) N_k,    s_k <- decay s_k + (1 - decay) S_k,    e_k = s_k / n_k

    with N_k the number and S_k the sum of the encodings of a batch whose nearest vector is e_k. Kept are e_k ("vectors") and
    n_k as a share of the frames that count ("share"), from which s_k follows; in the collection "codebook", with the number of
    restarts so far ("restarts" [Q]).

    A code is dead when its share falls under restart_threshold / K. It is put on an encoding of the batch, and its share on 1 / K.
    Which encoding, decide numbers that belong to the examples, so that neither the order of a batch nor the number of devices
    matters.

    Attributes:
      codes: K. size: D. num_codebooks: Q.
      decay: of the averages. restart_threshold: 0 restarts nothing.
    """

    codes: int
    size: int
    num_codebooks: int = 1
    decay: float = 0.99
    restart_threshold: float = 0.02

    def setup(self):
        shape = (self.num_codebooks, self.codes, self.size)
        self.vectors = self.variable("codebook", "vectors", lambda: jax.random.normal(self.make_rng("params"), shape))
        self.share = self.variable("codebook", "share", lambda: jnp.full(shape[:2], 1.0 / self.codes))
        self.restarts = self.variable("codebook", "restarts", jnp.zeros, (self.num_codebooks,))

    def __call__(self, z: Array) -> Quantized:
        """Encodings [..., D] to the nearest codes."""
        rest, codes, commitment = z, [], 0.0
        for vectors in self.vectors.value:
            code = nearest(rest, vectors)
            found = vectors[code]
            commitment = commitment + jnp.mean(jnp.square(rest - found), axis=-1)
            rest, codes = rest - found, [*codes, code]
        codes = jnp.stack(codes, -1)
        # z - z is 0 exactly: the values are the codes' own.
        return Quantized(self.values(codes) + (z - jax.lax.stop_gradient(z)), codes, commitment)

    def values(self, codes: Array) -> Array:
        """Codes [..., Q] to vectors [..., D]."""
        return lookup(self.vectors.value, codes)

    def update(self, z: Array, weight: Array, order: Array, *, axis_name: str | None = None) -> dict[str, Array]:
        """Moves the averages by a batch, and restarts dead codes.

        Args:
          z: [P, D] encodings.
          weight: [P], 1 for those that count, 0 for the others.
          order: [P] random numbers in [0, 1): encodings of the largest are what codes are restarted on.
          axis_name: the axis of `pmap` over which the batch is split.

        Returns:
          Scalars: "perplexity", exp of the entropy of the shares (the mean of the books), and "restarts" of this step.
        """
        z = jax.lax.stop_gradient(z)
        if axis_name is not None:
            z, weight, order = (jax.lax.all_gather(x, axis_name, tiled=True) for x in (z, weight, order))
        counted = jnp.maximum(jnp.sum(weight), 1.0)
        chance, chosen = jax.lax.top_k(jnp.where(weight > 0, order, -1.0), min(MOST_RESTARTS, len(z)))
        rest, books = z, []
        for vectors, share in zip(self.vectors.value, self.share.value, strict=True):
            code = nearest(rest, vectors)
            hits = jax.nn.one_hot(code, self.codes, dtype=z.dtype) * weight[:, None]
            sums = jnp.matmul(hits.T, rest, precision="highest")
            moved = moving_average(vectors, share, hits.sum(0) / counted, sums / counted, decay=self.decay)
            books.append(_restarted(*moved, rest[chosen], chance >= 0, threshold=self.restart_threshold / self.codes))
            rest = rest - vectors[code]
        vectors, share, restarted = (jnp.stack(part) for part in zip(*books, strict=True))
        self.vectors.value, self.share.value = vectors, share
        self.restarts.value = self.restarts.value + restarted
        return {"perplexity": jnp.mean(perplexity(share)), "restarts": jnp.sum(restarted)}


def nearest(z: Array, vectors: Array) -> Array:
    """Number of the vector [K, D] nearest to each z [..., D], int32 [...]; the first of equals."""
    half = 0.5 * jnp.sum(jnp.square(vectors), axis=-1)
    return jnp.argmax(jnp.matmul(z, vectors.T, precision="highest") - half, axis=-1).astype(jnp.int32)


def lookup(vectors: Array, codes: Array) -> Array:
    """Sums over the books of vectors [Q, K, D] at codes [..., Q] -> [..., D]."""
    return sum(vectors[q][codes[..., q]] for q in range(len(vectors)))


def moving_average(vectors: Array, share: Array, hits: Array, sums: Array, *, decay: float) -> tuple[Array, Array]:
    """Vectors [K, D] and shares [K] after hits [K] and sums [K, D] of a batch, both over the number of its encodings."""
    before, now = decay * share, decay * share + (1.0 - decay) * hits
    weight = jnp.where(now > 0, 1.0 / jnp.where(now > 0, now, 1.0), 0.0)
    moved = (before[:, None] * vectors + (1.0 - decay) * sums) * weight[:, None]
    # A code that nothing was near stays where it is, to the bit.
    return jnp.where(hits[:, None] > 0, moved, vectors), now


def _restarted(vectors, share, candidates, valid, *, threshold):
    """Dead codes put on candidates [R, D] in turn, as far as these are valid [R]."""
    dead = share < threshold
    turn = jnp.cumsum(dead) - 1
    place = jnp.clip(turn, 0, len(candidates) - 1)
    again = dead & (turn < len(candidates)) & valid[place]
    vectors = jnp.where(again[:, None], candidates[place], vectors)
    return vectors, jnp.where(again, 1.0 / len(share), share), jnp.sum(again).astype(jnp.float32)


def perplexity(counts: Array) -> Array:
    """exp of the entropy of counts or shares [..., K] -> [...]: how many codes are in use, were all used alike. 0 of none."""
    total = jnp.sum(counts, axis=-1, keepdims=True)
    p = counts / jnp.where(total > 0, total, 1.0)
    entropy = -jnp.sum(p * jnp.log(jnp.where(p > 0, p, 1.0)), axis=-1)
    return jnp.where(total[..., 0] > 0, jnp.exp(entropy), 0.0)


def fit_codebook(encodings: np.ndarray, *, codes: int, num_codebooks: int = 1, rounds: int = 10, seed: int = 0) -> np.ndarray:
    """Codebooks [Q, K, D] of encodings [P, D]: k-means (Lloyd 1982) from encodings drawn at random, book after book.

    A center that nothing is nearest to is drawn again. With less encodings than codes some are drawn twice, a little moved.

    Raises:
      ValueError: no encodings.
    """
    rest = np.asarray(encodings, np.float32)
    if len(rest) == 0:
        raise ValueError("a codebook cannot begin with no encodings: the training set has only silence")
    generator, find, result = np.random.default_rng(seed), jax.jit(nearest), []

    def drawn(count: int) -> np.ndarray:
        rows = generator.choice(len(rest), count, replace=len(rest) < count)
        spread = 1e-2 * rest.std(0) if len(rest) < codes else 0.0
        return rest[rows] + spread * generator.normal(size=(count, rest.shape[1]))

    for _ in range(num_codebooks):
        vectors = drawn(codes).astype(np.float32)
        for _ in range(rounds):
            code = np.asarray(find(rest, vectors))
            hits, sums = np.bincount(code, minlength=codes), np.zeros_like(vectors)
            np.add.at(sums, code, rest)
            vectors = sums / np.maximum(hits, 1)[:, None]
            if (empty := hits == 0).any():
                vectors[empty] = drawn(int(empty.sum()))
        result.append(vectors)
        rest = rest - vectors[np.asarray(find(rest, vectors))]
    return np.stack(result).astype(np.float32)
