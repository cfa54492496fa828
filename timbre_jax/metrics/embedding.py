"""Embeddings of sounds for distances between sets: functions of waves to points [B, D].

The library does not include the Inception network of FID or the VGGish network of FAD. "timbre" is a small network of ours,
trained to predict pitch and class (`experiments/studies/train_embedding.py`); "mel_statistics" needs no training. Any function
(waves [B, T], sample rate) -> [B, D] works. Distances under different embeddings are not comparable.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path

import jax
import numpy as np

from timbre_jax.audio.io import resample
from timbre_jax.metrics.embedding_network import FRONT_END, SECONDS, EmbeddingNetwork, read_network

Embedding = Callable[[np.ndarray, int], np.ndarray]
SHIPPED = Path(__file__).with_name("embedding_timbre.npz")
EMBEDDINGS = ("timbre", "mel_statistics")


def load_embedding(name: str = "timbre") -> Embedding:
    """Returns an embedding: a function of waves [B, T] and their rate in Hz to points [B, D].

    Args:
      name: a name of `EMBEDDINGS`, or an .npz file that `experiments/studies/train_embedding.py` wrote.

    Raises:
      ValueError: neither is the case.
    """
    return functools.partial(_embed, image_embedding(name))


def image_embedding(name: str = "timbre") -> Callable[[np.ndarray], np.ndarray]:
    """Returns the embedding as a function of the images [B, 200, 64] of `log_mel_images`.

    Args:
      name: as for `load_embedding`.

    Raises:
      ValueError: as for `load_embedding`.
    """
    if name == "mel_statistics":
        return _statistics
    if name != "timbre" and not name.endswith(".npz"):
        raise ValueError(f"embedding={name!r}: must be one of {', '.join(EMBEDDINGS)}, or an .npz file")
    return _network(_path(name))


def embedding_definition(name: str = "timbre") -> str:
    """Returns the definition of an embedding, which belongs with every distance under it.

    Args:
      name: as for `load_embedding`.
    """
    if name == "mel_statistics":
        return "mean and deviation over time of 64 log-mel bands (128 features, independent of level)"
    path = _path(name)
    settings, _, trained = read_network(path)
    return (
        f"embedding “{path.stem}” ({settings.features} features, independent of level; trained on "
        f"{trained.get('sounds', '?')} sounds)"
    )


@functools.cache
def _network(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the compiled embedding of a file; the result is cached."""
    settings, params, _ = read_network(path)
    network = EmbeddingNetwork(settings)
    return jax.jit(lambda values: network.apply({"params": params}, values)[0])


def _path(name: str) -> Path:
    """Returns the file of an embedding network."""
    return SHIPPED if name == "timbre" else Path(name)


def _statistics(values: np.ndarray) -> np.ndarray:
    """Returns mean and deviation of each band over the audible frames, [B, N, F] -> [B, 2 F]."""
    values = np.asarray(values, np.float64)
    weight = (values.max(2, keepdims=True) > 0.0).astype(np.float64)
    count = np.maximum(weight.sum(1), 1.0)
    mean = (values * weight).sum(1) / count
    spread = (np.square(values - mean[:, None]) * weight).sum(1) / count
    return np.concatenate([mean, np.sqrt(spread)], axis=1)


def log_mel_images(waves: np.ndarray, sample_rate: int) -> np.ndarray:
    """Returns the log-mel images [B, 200, 64] of the first 4 s of waves.

    Args:
      waves: [B, T].
      sample_rate: Hz; waves at other rates than 16 kHz are resampled.
    """
    return _embed(np.asarray, waves, sample_rate)


def _embed(function: Callable, waves: np.ndarray, sample_rate: int, *, batch_size: int = 32) -> np.ndarray:
    """Applies a function to the images of waves [B, T], in batches."""
    parts = [np.asarray(function(values))[:count] for values, count in _images(waves, sample_rate, batch_size)]
    return np.concatenate(parts)


def _images(waves: np.ndarray, sample_rate: int, batch_size: int) -> Iterable[tuple[jax.Array, int]]:
    """Yields image batches of one shape, padded with silence, and their numbers of sounds."""
    waves = np.asarray(waves, np.float32)
    if waves.ndim != 2 or len(waves) == 0:
        raise ValueError(f"waves: must be [B, T] with at least one sound (got {waves.shape})")
    if not np.isfinite(waves).all():
        raise ValueError("waves: some samples are not finite")
    for start in range(0, len(waves), batch_size):
        some = waves[start : start + batch_size, : round(SECONDS * sample_rate)]
        some = resample(some.T, sample_rate, FRONT_END.sample_rate).T[:, : FRONT_END.length]
        full = np.zeros((batch_size, FRONT_END.length), np.float32)
        full[: len(some), : some.shape[1]] = some
        yield FRONT_END.analyze(full).values, len(some)
