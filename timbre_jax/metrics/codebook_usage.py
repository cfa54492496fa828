"""Use of the codes of a discrete space: number of codes in use, and perplexity."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.bootstrap import Interval, sums_interval
from timbre_jax.metrics.table import Table
from timbre_jax.types import Latent

AUDIBLE_DB = -70.0
"""Codes of latents at or below this level are not counted."""


@dataclasses.dataclass(frozen=True)
class CodeUses:
    """Counts and perplexity of K codes in each of Q codebooks.

    Attributes:
      counts: [Q, K] occurrences of each code in all sounds.
      perplexity: exp of the entropy of the shares, [Q], with an interval over recordings: the number of equally frequent codes
        that would have the same entropy. Few latents bias it downward, even more in resamples, so the whole interval may be
        below the value.
      used: [Q] number of codes that occur.
      latents: number of counted latents.
    """

    counts: np.ndarray
    perplexity: Interval
    used: np.ndarray
    latents: int

    def table(self) -> Table:
        """Returns a table with one row for each codebook."""
        size = self.counts.shape[1]
        rows = tuple(
            (q, size, int(self.used[q]), *self.perplexity.value_low_high(q), self.latents) for q in range(len(self.counts))
        )
        caption = (
            "Use of the codes; higher is better. Perplexity: exp of the entropy of their shares "
            f"(95 % interval, bootstrap over recordings). Silent latents (below {AUDIBLE_DB:g} dB) are not counted."
        )
        return Table("codes", ("codebook", "codes", "used", "perplexity", "low", "high", "latents"), rows, caption)


def code_uses(latent: Latent, size: int, groups: np.ndarray | None = None, *, seed: int = 0) -> CodeUses:
    """Counts the codes of latent series in audible frames within the sounds.

    Args:
      latent: series with codes [B, N] or [B, N, Q]; frames with mask 0, or with the condition gain_db at most `AUDIBLE_DB`, do
        not count.
      size: number K of codes in a codebook.
      groups: [B] recordings, resampled whole for the interval; None: every sound is a recording of its own.
      seed: random seed of the resampling.

    Raises:
      ValueError: the latents have no codes.
    """
    if latent.codes is None:
        raise ValueError("latents: no codes, the space is continuous; use a discrete space")
    codes = np.asarray(latent.codes)
    codes = codes[..., None] if codes.ndim == 2 else codes
    counted = np.ones(codes.shape[:2], bool) if latent.mask is None else np.asarray(latent.mask) > 0
    if "gain_db" in latent.conditions:
        counted = counted & (np.asarray(latent.conditions["gain_db"]) > AUDIBLE_DB)
    codebooks = codes.shape[2]
    uses = np.zeros((len(codes), codebooks, size))
    for b, (series, inside) in enumerate(zip(codes, counted, strict=True)):
        for q in range(codebooks):
            uses[b, q] = np.bincount(series[inside, q], minlength=size)
    counts = uses.sum(0)
    interval = sums_interval(lambda sums: np.exp(_entropy(sums)), uses, groups=groups, resamples=300, seed=seed)
    return CodeUses(counts, interval, (counts > 0).sum(1), int(counted.sum()))


def _entropy(counts: np.ndarray) -> np.ndarray:
    """Returns the entropy in nats of counts over the last axis."""
    share = counts / np.maximum(counts.sum(-1, keepdims=True), 1e-30)
    return -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=-1)
