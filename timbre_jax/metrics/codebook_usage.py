"""Use of the codes of a discrete space: how many codes sounds use, and how evenly, with intervals over recordings."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.metrics.bootstrap import Interval, sums_interval
from timbre_jax.metrics.table import Table
from timbre_jax.types import Latent

AUDIBLE_DB = -70.0
"""Codes of latents with a lower level are not counted."""


@dataclasses.dataclass(frozen=True)
class CodeUses:
    """Use of K codes in each of Q codebooks.

    Attributes:
      counts: [Q, K] over all sounds.
      perplexity: exp of the entropy of the shares, [Q] each: as many codes used all alike would be as uncertain; biased
        downwards where there are few latents, and more so in the interval's resamples, so that it may lie under the value.
      used: [Q], codes that occur. latents: how many were counted.
    """

    counts: np.ndarray
    perplexity: Interval
    used: np.ndarray
    latents: int

    def table(self) -> Table:
        """Returns a table with a row for each codebook."""
        size = self.counts.shape[1]
        rows = tuple(
            (q, size, int(self.used[q]), *self.perplexity.value_low_high(q), self.latents) for q in range(len(self.counts))
        )
        caption = (
            "Codes that sounds use; perplexity: exp of the entropy of their shares (95 %, bootstrap over recordings). Silent "
            f"latents (under {AUDIBLE_DB:g} dB) are not counted."
        )
        return Table("codes", ("codebook", "codes", "used", "perplexity", "low", "high", "latents"), rows, caption)


def code_uses(latent: Latent, size: int, groups: np.ndarray | None = None, *, seed: int = 0) -> CodeUses:
    """Counts the codes of series [B, M] or [B, M, Q], within the sounds and above silence.

    Args:
      size: K. groups: recordings [B]; None: every sound is one.

    Raises:
      ValueError: latents without codes.
    """
    if latent.codes is None:
        raise ValueError("these latents have no codes: the space is continuous")
    codes = np.asarray(latent.codes)
    codes = codes[..., None] if codes.ndim == 2 else codes
    counted = np.ones(codes.shape[:2], bool) if latent.mask is None else np.asarray(latent.mask) > 0
    if "gain_db" in latent.conditions:
        counted = counted & (np.asarray(latent.conditions["gain_db"]) > AUDIBLE_DB)
    books = codes.shape[2]
    each = np.zeros((len(codes), books, size))
    for b, (some, inside) in enumerate(zip(codes, counted, strict=True)):
        for q in range(books):
            each[b, q] = np.bincount(some[inside, q], minlength=size)
    counts = each.sum(0)
    interval = sums_interval(lambda sums: np.exp(_entropy(sums)), each, groups=groups, draws=300, seed=seed)
    return CodeUses(counts, interval, (counts > 0).sum(1), int(counted.sum()))


def _entropy(counts: np.ndarray) -> np.ndarray:
    share = counts / np.maximum(counts.sum(-1, keepdims=True), 1e-30)
    return -np.sum(share * np.log(np.where(share > 0, share, 1.0)), axis=-1)
