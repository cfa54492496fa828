"""Table of the descriptors of codes, each decoded alone (Bitton, Esling & Harada 2020)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.descriptors import DESCRIPTORS, descriptor
from timbre_jax.generation.control.results import frame_settings, measure
from timbre_jax.inference.batched import map_batches
from timbre_jax.inference.pooled import latent_count
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

FRAMES = 10
"""Number of times that a code is repeated for its measurement."""
DEAD_SHARE = 0.02
"""A code is dead if its share of the training frames is below this part of an even share."""
CODE_DESCRIPTORS = tuple(name for name in DESCRIPTORS if name != "loudness")
"""Descriptors of codes: all but loudness, which depends on the gain condition and not on the code."""


@dataclasses.dataclass(frozen=True)
class CodeTable:
    """Codes of a discrete space with their measured descriptors.

    Attributes:
      codes: codes [C], or [C, Q] of Q residual codebooks.
      values: vectors [C, D] of the codes.
      means: mean [C] over the frames of each code, by descriptor; 0 if a code does not have the descriptor.
      spread: standard deviation [C] over the frames of each code, by descriptor.
      uses: number of uses [C] in sounds, or share of the training frames (`training_share`), or None.
    """

    codes: np.ndarray
    values: np.ndarray
    means: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    uses: np.ndarray | None = None

    def usable(self, *names: str) -> np.ndarray:
        """Returns the positions of the codes that are in use and have all descriptors."""
        good = np.ones(len(self.codes), bool) if self.uses is None or not self.uses.any() else self.uses > 0
        for name in names:
            values = self._means_of(name)
            good &= values > 0 if descriptor(name).proportional else np.isfinite(values)
        return np.flatnonzero(good)

    def order(self, name: str) -> np.ndarray:
        """Returns the positions of the usable codes in ascending order of a descriptor.

        Raises:
          ValueError: no code has the descriptor.
        """
        usable = self.usable(name)
        if not len(usable):
            raise ValueError(f"{name}: no code of this space has it; use another descriptor")
        return usable[np.argsort(self._means_of(name)[usable], kind="stable")]

    def reach(self, name: str) -> tuple[float, float]:
        """Returns the lowest and highest value of a descriptor that sounds can reach.

        These are the 1st and 99th percentile over the uses, or over the codes if no uses are known. Values beyond them
        belong to single, isolated codes.

        Raises:
          ValueError: no code has the descriptor.
        """
        order = self.order(name)
        weights = np.ones(len(order)) if self.uses is None else self.uses[order].astype(np.float64)
        share = np.cumsum(weights) / np.maximum(weights.sum(), 1e-30)
        low, high = (int(np.searchsorted(share, edge - 1e-9)) for edge in (0.01, 0.99))
        values = self._means_of(name)[order]
        return float(values[low]), float(values[min(high, len(order) - 1)])

    def table(self) -> Table:
        """Returns a table of codes with their uses and the mean and spread of descriptors."""
        records = [
            {"code": i, "share": None if self.uses is None else float(self.uses[i])}
            | {name: float(values[i]) for name, values in self.means.items()}
            | {f"{name}_spread": float(values[i]) for name, values in self.spread.items()}
            for i in range(len(self.codes))
        ]
        return Table.from_records("codes", records)

    def _means_of(self, name: str) -> np.ndarray:
        if name not in self.means:
            raise ValueError(f"codes: {name!r} was not measured, expected one of {', '.join(self.means)}")
        return self.means[name]


def training_share(space: TimbreSpace) -> np.ndarray | None:
    """Returns the share [K] of each code in the training frames, 0 for dead codes.

    With residual codebooks, these are the codes of the first codebook. The shares are moving averages over training; None if
    the model does not record them.
    """
    shares = space.model.codebook_shares(space.variables)
    if shares is None:
        return None
    share = np.asarray(shares[0])
    return np.where(share >= DEAD_SHARE / len(share), share, 0.0)


def codes_as_latent(space: TimbreSpace, codes: np.ndarray, *, gain_db: float | np.ndarray = 0.0) -> Latent:
    """Converts codes to a latent series.

    Args:
      space: discrete series space.
      codes: codes [B, M], or [B, M, Q] of residual codebooks.
      gain_db: gain condition in dB; a number, or [B, M].
    """
    indices = jnp.asarray(codes, jnp.int32)
    values = space.model.from_codes(space.variables, indices)
    shape = values.shape[:2]
    conditions = {"gain_db": jnp.broadcast_to(jnp.asarray(gain_db, jnp.float32), shape)}
    return Latent(values, jnp.ones(shape, jnp.float32), conditions, indices, space.latent_rate)


def code_table(
    space: TimbreSpace,
    *,
    names: Sequence[str] = CODE_DESCRIPTORS,
    uses: np.ndarray | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> CodeTable:
    """Decodes each code of a discrete space alone and measures its descriptors.

    A code is repeated `FRAMES` times with gain 1. Frames whose window extends beyond the ends of the sound do not count if at
    least two frames are left, because they measure the onset and not the code.

    Args:
      space: discrete series space.
      names: names of the descriptors.
      uses: number of uses or training share of each code, for the table; None if unknown.
      batch_size: codes that are decoded at once.
      progress: whether to show a progress bar.

    Raises:
      ValueError: the space has no codes, or a descriptor is not one of `CODE_DESCRIPTORS`.
    """
    from tqdm import tqdm

    if unknown := [name for name in names if name not in CODE_DESCRIPTORS]:
        raise ValueError(f"codes: expected descriptors among {', '.join(CODE_DESCRIPTORS)} (got {unknown[0]!r})")
    codes, frames = _all_codes(space), FRAMES * space.model.stride
    settings = frame_settings(space)
    edge = -(-settings["n_fft"] // (2 * settings["hop"]))
    inside = slice(edge, frames - edge) if frames - 2 * edge >= 2 else slice(None)

    def describe(repeated: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        values, _ = measure(space, np.asarray(space.render(codes_as_latent(space, repeated))), names, frames)
        values = {name: x[:, inside] for name, x in values.items()}
        return {name: _frame_mean(name, x) for name, x in values.items()}, {name: x.std(axis=1) for name, x in values.items()}

    bar = functools.partial(tqdm, desc="codes", unit=" batches", disable=not progress)
    means, spread = map_batches(describe, np.repeat(codes[:, None], FRAMES, axis=1), batch_size=batch_size, progress=bar)
    values = np.asarray(space.model.from_codes(space.variables, jnp.asarray(codes, jnp.int32)))
    return CodeTable(codes, values, means, spread, uses)


def _all_codes(space: TimbreSpace) -> np.ndarray:
    """Returns all codes [K], or [K, Q] with the shortest vectors in the residual codebooks."""
    space.check_kind("series", discrete=True)
    codebook = np.asarray(space.model.codebook(space.variables))
    if codebook.ndim == 2:
        return np.arange(len(codebook), dtype=np.int32)
    smallest = [int(np.argmin(np.square(vectors).sum(-1))) for vectors in codebook[1:]]
    first = np.arange(codebook.shape[1], dtype=np.int32)
    return np.stack([first, *(np.full_like(first, code) for code in smallest)], axis=-1)


def _frame_mean(name: str, values: np.ndarray) -> np.ndarray:
    """Averages over the frames [C, N] that have the descriptor; 0 if under half of them do."""
    valid = values > 0 if descriptor(name).proportional else np.isfinite(values)
    mean = np.sum(values * valid, axis=1) / np.maximum(valid.sum(axis=1), 1)
    return np.where(valid.mean(axis=1) >= 0.5, mean, 0.0)


def traversal(space: TimbreSpace, table: CodeTable, name: str, *, seconds: float = 8.0, gain_db: float = -20.0) -> Latent:
    """Returns a series of all usable codes in ascending order of a descriptor.

    Args:
      space: discrete series space.
      table: codes with the descriptor.
      name: name of the descriptor.
      seconds: duration of the series.
      gain_db: gain condition in dB.

    Raises:
      ValueError: no code has the descriptor.
    """
    order = table.order(name)
    places = np.linspace(0, len(order) - 1, latent_count(space, seconds)).round().astype(int)
    return codes_as_latent(space, table.codes[order[places]][None], gain_db=gain_db)
