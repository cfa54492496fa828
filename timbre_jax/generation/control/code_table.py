"""What every code of a discrete space sounds like: each decoded alone and described (Bitton, Esling & Harada 2020)."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.descriptors import DESCRIPTORS, descriptor
from timbre_jax.generation.control.results import frame_settings, measure
from timbre_jax.inference.batched import map_batches
from timbre_jax.inference.pooled import frames_of
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

FRAMES = 10
CURVES = tuple(name for name in DESCRIPTORS if name != "loudness")
"""What codes are described by; their loudness is the gain's."""


@dataclasses.dataclass(frozen=True)
class CodeTable:
    """Codes and what they sound like.

    Attributes:
      codes: [C], or [C, Q] of Q residual codebooks. values: [C, D], their vectors.
      described: by descriptor, [C]: the mean over the frames of the code decoded alone; 0 where a descriptor has no value.
      spread: by descriptor, [C]: its standard deviation over these frames.
      uses: [C], how often each is used in sounds, or its share in training (`training_share`), or None.
    """

    codes: np.ndarray
    values: np.ndarray
    described: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    uses: np.ndarray | None = None

    def usable(self, *names: str) -> np.ndarray:
        """Returns the positions of the codes that have values of all descriptors and, if uses are known, are used."""
        good = np.ones(len(self.codes), bool) if self.uses is None or not self.uses.any() else self.uses > 0
        for name in names:
            values = self._of(name)
            good &= values > 0 if descriptor(name).proportional else np.isfinite(values)
        return np.flatnonzero(good)

    def order(self, name: str) -> np.ndarray:
        """Returns the positions of the usable codes in ascending order of a descriptor.

        Raises:
          ValueError: no code has a value of the descriptor.
        """
        usable = self.usable(name)
        if not len(usable):
            raise ValueError(f"no code of this space has a {name}")
        return usable[np.argsort(self._of(name)[usable], kind="stable")]

    def reach(self, name: str) -> tuple[float, float]:
        """Returns the lowest and highest value of a descriptor that sounds can reach.

        These are the 1st and 99th percentile over the frames of training (`uses`), or over the codes if no uses are known;
        values beyond belong to single codes, with no others near them.

        Raises:
          ValueError: no code has a value of the descriptor.
        """
        order = self.order(name)
        weights = np.ones(len(order)) if self.uses is None else self.uses[order].astype(np.float64)
        share = np.cumsum(weights) / np.maximum(weights.sum(), 1e-30)
        low, high = (int(np.searchsorted(share, edge - 1e-9)) for edge in (0.01, 0.99))
        values = self._of(name)[order]
        return float(values[low]), float(values[min(high, len(order) - 1)])

    def table(self) -> Table:
        """Returns one row for each code: share of training frames, and mean and spread of each descriptor."""
        records = [
            {"code": i, "share": None if self.uses is None else float(self.uses[i])}
            | {name: float(values[i]) for name, values in self.described.items()}
            | {f"{name}_spread": float(values[i]) for name, values in self.spread.items()}
            for i in range(len(self.codes))
        ]
        return Table.from_records("codes", records)

    def _of(self, name: str) -> np.ndarray:
        if name not in self.described:
            raise ValueError(f"the codes are not described by {name!r}, but by {', '.join(self.described)}")
        return self.described[name]


def _all_codes(space: TimbreSpace) -> np.ndarray:
    """Every code of a discrete space, [K]; of Q residual codebooks every code of the first, the rest as near to nothing as the
    other books have it, [K, Q].

    Raises ValueError for a space without codes.
    """
    space.check_kind("series", discrete=True)
    books = np.asarray(space.model.codebook(space.variables))
    if books.ndim == 2:
        return np.arange(len(books), dtype=np.int32)
    smallest = [int(np.argmin(np.square(book).sum(-1))) for book in books[1:]]
    first = np.arange(books.shape[1], dtype=np.int32)
    return np.stack([first, *(np.full_like(first, code) for code in smallest)], axis=-1)


def training_share(space: TimbreSpace, *, least: float = 0.02) -> np.ndarray | None:
    """Shares of frames [K] that the moving averages of training give the codes of a space, of residual codebooks the first's;
    0 where it is under `least` of an even share: such a code is dead. None where the codebook keeps none."""
    shares = space.model.codebook_shares(space.variables)
    if shares is None:
        return None
    share = np.asarray(shares[0])
    return np.where(share >= least / len(share), share, 0.0)


def codes_as_latent(space: TimbreSpace, codes: np.ndarray, *, gain_db: float | np.ndarray = 0.0) -> Latent:
    """Codes [B, M] or [B, M, Q] as a series that can be decoded; `gain_db` a number, or [B, M]."""
    given = jnp.asarray(codes, jnp.int32)
    values = space.model.from_codes(space.variables, given)
    shape = values.shape[:2]
    conditions = {"gain_db": jnp.broadcast_to(jnp.asarray(gain_db, jnp.float32), shape)}
    return Latent(values, jnp.ones(shape, jnp.float32), conditions, given, space.latent_rate)


def code_table(
    space: TimbreSpace,
    *,
    names: Sequence[str] = CURVES,
    uses: np.ndarray | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> CodeTable:
    """Decodes each code of a discrete space alone, `FRAMES` times in a row with gain 1, and measures its descriptors.

    Frames whose window extends beyond the ends of the sound do not count if at least two frames are left: they measure the
    onset and not the code.

    Args:
      space: a discrete series space.
      names: descriptors.
      uses: see `CodeTable`.
      batch_size: codes that are decoded at once.
      progress: whether to show a progress bar.

    Raises:
      ValueError: the space has no codes, or a descriptor that codes cannot have.
    """
    from tqdm import tqdm

    if unknown := [name for name in names if name not in CURVES]:
        raise ValueError(f"codes are not described by {unknown[0]!r}, but by {', '.join(CURVES)}")
    codes, frames = _all_codes(space), FRAMES * space.model.stride
    settings = frame_settings(space)
    edge = -(-settings["n_fft"] // (2 * settings["hop"]))
    inside = slice(edge, frames - edge) if frames - 2 * edge >= 2 else slice(None)

    def describe(held: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        values, _ = measure(space, np.asarray(space.render(codes_as_latent(space, held))), names, frames)
        values = {name: x[:, inside] for name, x in values.items()}
        return {name: _mean(name, x) for name, x in values.items()}, {name: x.std(axis=1) for name, x in values.items()}

    bar = functools.partial(tqdm, desc="codes", unit=" batches", disable=not progress)
    described, spread = map_batches(describe, np.repeat(codes[:, None], FRAMES, axis=1), batch_size=batch_size, progress=bar)
    values = np.asarray(space.model.from_codes(space.variables, jnp.asarray(codes, jnp.int32)))
    return CodeTable(codes, values, described, spread, uses)


def _mean(name: str, values: np.ndarray) -> np.ndarray:
    """[C, N] -> [C], of the frames that have a value; 0 where fewer than half have one."""
    there = values > 0 if descriptor(name).proportional else np.isfinite(values)
    mean = np.sum(values * there, axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(there.mean(axis=1) >= 0.5, mean, 0.0)


def traversal(space: TimbreSpace, table: CodeTable, name: str, *, seconds: float = 8.0, gain_db: float = -20.0) -> Latent:
    """All usable codes one after the other, a descriptor rising, in a sound of so many seconds."""
    order = table.order(name)
    places = np.linspace(0, len(order) - 1, frames_of(space, seconds)).round().astype(int)
    return codes_as_latent(space, table.codes[order[places]][None], gain_db=gain_db)
