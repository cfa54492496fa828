"""What every code of a discrete space sounds like: each decoded alone and described (Bitton, Esling & Harada 2020)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.descriptors import DESCRIPTORS, descriptor
from timbre_jax.generation.control.results import frame_settings, measure, need_series
from timbre_jax.inference.pooled import frames_of, latent_rate
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Array, Latent

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
      uses: [C], how often each was found in sounds (`count_uses`), or its share in training (`training_share`), or None.
    """

    codes: np.ndarray
    values: np.ndarray
    described: Mapping[str, np.ndarray]
    spread: Mapping[str, np.ndarray]
    uses: np.ndarray | None = None

    def usable(self, name: str) -> np.ndarray:
        """Positions of the codes that have a value of the descriptor, and are used where that is known."""
        values = self._of(name)
        good = np.isfinite(values) & ((values > 0) if descriptor(name).proportional else True)
        if self.uses is not None and self.uses.any():
            good &= self.uses > 0
        return np.flatnonzero(good)

    def order(self, name: str) -> np.ndarray:
        """Positions of the usable codes, the descriptor rising."""
        usable = self.usable(name)
        return usable[np.argsort(self._of(name)[usable], kind="stable")]

    def reach(self, name: str) -> tuple[float, float]:
        """What can be reached, low and high: 1st and 99th percentile over the frames of training (`uses`), or over the codes
        where no uses are known. Beyond lie single codes, with nothing between them.

        Raises ValueError where no code has one.
        """
        order = self.order(name)
        if not len(order):
            raise ValueError(f"no code of this space has a {name}")
        weights = np.ones(len(order)) if self.uses is None else self.uses[order].astype(np.float64)
        share = np.cumsum(weights) / np.maximum(weights.sum(), 1e-30)
        low, high = (int(np.searchsorted(share, edge - 1e-9)) for edge in (0.01, 0.99))
        values = self._of(name)[order]
        return float(values[low]), float(values[min(high, len(order) - 1)])

    def histogram(self, name: str, *, bins: int = 20) -> tuple[np.ndarray, np.ndarray]:
        """(counts [bins], edges [bins + 1]) of the usable codes over a descriptor."""
        return np.histogram(self._of(name)[self.usable(name)], bins=bins)

    def scatter(self, x: str, y: str) -> Table:
        """The usable codes as points of two descriptors: code, x, y, uses."""
        both = np.intersect1d(self.usable(x), self.usable(y))
        names = [" ".join(map(str, np.atleast_1d(self.codes[i]).tolist())) for i in both]
        uses = [None if self.uses is None else float(self.uses[i]) for i in both]
        rows = zip(names, self._of(x)[both].tolist(), self._of(y)[both].tolist(), uses, strict=True)
        return Table(
            "codes", ("code", x, y, "uses"), tuple(rows), f"Codes decoded alone ({FRAMES} frames, gain 1): {x} and {y}."
        )

    def _of(self, name: str) -> np.ndarray:
        if name not in self.described:
            raise ValueError(f"the codes are not described by {name!r}, but by {', '.join(self.described)}")
        return self.described[name]


def all_codes(space: TimbreSpace) -> np.ndarray:
    """Every code of a discrete space, [K]; of Q residual codebooks every code of the first, the rest as near to nothing as the
    other books have it, [K, Q].

    Raises ValueError for a space without codes.
    """
    need_series(space, discrete=True)
    books = np.asarray(space.model.codebook(space.variables))
    if books.ndim == 2:
        return np.arange(len(books), dtype=np.int32)
    smallest = [int(np.argmin(np.square(book).sum(-1))) for book in books[1:]]
    first = np.arange(books.shape[1], dtype=np.int32)
    return np.stack([first, *(np.full_like(first, code) for code in smallest)], axis=-1)


def count_uses(codes: np.ndarray, found: Iterable[np.ndarray]) -> np.ndarray:
    """How often each of `codes` [C] or [C, Q] is among found codes [..., M] or [..., M, Q], [C]."""
    codes = np.asarray(codes)
    place = {tuple(np.atleast_1d(code).tolist()): i for i, code in enumerate(codes)}
    uses = np.zeros(len(codes), np.int64)
    for some in found:
        flat = np.asarray(some).reshape(-1, 1 if codes.ndim == 1 else codes.shape[1])
        distinct, counts = np.unique(flat, axis=0, return_counts=True)
        for code, count in zip(distinct.tolist(), counts.tolist(), strict=True):
            if tuple(code) in place:
                uses[place[tuple(code)]] += count
    return uses


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
    return Latent(values, jnp.ones(shape, jnp.float32), conditions, given, latent_rate(space))


def code_table(
    space: TimbreSpace,
    *,
    names: Sequence[str] = CURVES,
    codes: np.ndarray | None = None,
    uses: np.ndarray | None = None,
    frames: int = FRAMES,
    batch_size: int = 64,
    progress: bool = False,
) -> CodeTable:
    """Decodes each code alone, `frames` times in a row with gain 1, and describes what is heard.

    Frames whose window reaches beyond the ends do not count, where at least two are left: there the beginning is heard, not
    the code.

    Args:
      names: descriptors. codes: None takes `all_codes`. uses: see `CodeTable`.

    Raises ValueError for a space without codes.
    """
    from tqdm import tqdm

    codes = all_codes(space) if codes is None else np.asarray(codes)
    need_series(space, discrete=True)
    count, long = len(codes), frames * space.model.stride
    settings = frame_settings(space)
    edge = -(-settings["n_fft"] // (2 * settings["hop"]))
    edge = edge if long - 2 * edge >= 2 else 0
    held = np.repeat(codes[:, None], frames, axis=1)
    parts: list[tuple[dict, dict]] = []
    for start in tqdm(range(0, count, batch_size), desc="codes", unit=" batches", disable=not progress):
        some = held[start : start + batch_size]
        padded = np.concatenate([some, np.repeat(some[:1], batch_size - len(some), axis=0)])  # one shape, compiled once
        waves = np.asarray(space.render(codes_as_latent(space, padded)))
        found, _ = measure(space, waves, names, long)
        found = {name: x[:, edge : long - edge] for name, x in found.items()}
        parts.append(
            (
                {name: _mean(x, descriptor(name).proportional)[: len(some)] for name, x in found.items()},
                {name: x.std(axis=1)[: len(some)] for name, x in found.items()},
            )
        )
    described, spread = ({name: np.concatenate([part[k][name] for part in parts]) for name in names} for k in (0, 1))
    values = np.asarray(space.model.from_codes(space.variables, jnp.asarray(codes, jnp.int32)))
    return CodeTable(codes, values, described, spread, uses)


def _mean(values: np.ndarray, proportional: bool) -> np.ndarray:
    """[C, N] -> [C], of the frames that have a value; 0 where fewer than half have one."""
    there = values > 0 if proportional else np.isfinite(values)
    mean = np.sum(values * there, axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(there.mean(axis=1) >= 0.5, mean, 0.0)


def traversal(space: TimbreSpace, table: CodeTable, name: str, *, seconds: float = 8.0, gain_db: float = -20.0) -> Latent:
    """All usable codes one after the other, a descriptor rising, in a sound of so many seconds."""
    order = table.order(name)
    if not len(order):
        raise ValueError(f"no code of this space has a {name}")
    places = np.linspace(0, len(order) - 1, frames_of(space, seconds)).round().astype(int)
    return codes_as_latent(space, table.codes[order[places]][None], gain_db=gain_db)


def sound(space: TimbreSpace, latent: Latent, key: Array | None = None) -> np.ndarray:
    """What series sound like, [B, T] float32."""
    return np.asarray(jax.device_get(space.render(latent, key)), np.float32)
