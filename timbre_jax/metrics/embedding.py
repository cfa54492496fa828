"""Embeddings of sounds for distances between sets: a function of waves to points [B, D].

The Inception network of FID and the VGGish of FAD are not part of this library. "timbre" is a small network of our own,
trained to name pitch and class (`studies/train_embedding.py`); "mel_statistics" needs no training. Any
function (waves [B, T], sample rate) -> [B, D] will do. Distances under different embeddings are not to be compared.
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
    """An embedding by its name in `EMBEDDINGS`, or of a file that `experiments/studies/train_embedding.py` wrote.

    Raises:
      ValueError: neither.
    """
    return functools.partial(_embed, image_embedding(name))


def image_embedding(name: str = "timbre") -> Callable[[np.ndarray], np.ndarray]:
    """The same as a function of the front end's images [B, 200, 64] (`log_mel_images`)."""
    if name == "mel_statistics":
        return _statistics
    if name != "timbre" and not name.endswith(".npz"):
        raise ValueError(f"there is no embedding {name!r}; there are {', '.join(EMBEDDINGS)}, or name an .npz file")
    return _network(_path(name))


def embedding_definition(name: str = "timbre") -> str:
    """The words that have to stand beside a distance under an embedding."""
    if name == "mel_statistics":
        return "mean and deviation over time of 64 log-mel bands (128 features, level-blind)"
    path = _path(name)
    settings, _, trained = read_network(path)
    return (
        f"embedding “{path.stem}” ({settings.features} features, level-blind; trained on {trained.get('sounds', '?')} sounds)"
    )


@functools.cache
def _network(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    settings, params, _ = read_network(path)
    network = EmbeddingNetwork(settings)
    return jax.jit(lambda values: network.apply({"params": params}, values)[0])


def _path(name: str) -> Path:
    return SHIPPED if name == "timbre" else Path(name)


def _statistics(values: np.ndarray) -> np.ndarray:
    """Mean and deviation of each band over the frames that sound, [B, N, F] -> [B, 2 F]."""
    values = np.asarray(values, np.float64)
    weight = (values.max(2, keepdims=True) > 0.0).astype(np.float64)
    count = np.maximum(weight.sum(1), 1.0)
    mean = (values * weight).sum(1) / count
    spread = (np.square(values - mean[:, None]) * weight).sum(1) / count
    return np.concatenate([mean, np.sqrt(spread)], axis=1)


def log_mel_images(waves: np.ndarray, sample_rate: int) -> np.ndarray:
    """The front end's images [B, 200, 64] of waves [B, T] at any rate; longer than 4 s: the first 4 s."""
    return _embed(np.asarray, waves, sample_rate)


def _embed(function: Callable, waves: np.ndarray, sample_rate: int, *, batch_size: int = 32) -> np.ndarray:
    parts = [np.asarray(function(values))[:count] for values, count in _images(waves, sample_rate, batch_size)]
    return np.concatenate(parts)


def _images(waves: np.ndarray, sample_rate: int, batch_size: int) -> Iterable[tuple[jax.Array, int]]:
    """Images of batches of one shape, the last filled up with silence, and how many of each are sounds."""
    waves = np.asarray(waves, np.float32)
    if waves.ndim != 2 or len(waves) == 0:
        raise ValueError(f"waves are [B, T] (sounds, samples), not {waves.shape}")
    if not np.isfinite(waves).all():
        raise ValueError("some samples are not finite")
    for start in range(0, len(waves), batch_size):
        some = waves[start : start + batch_size, : round(SECONDS * sample_rate)]
        if sample_rate != FRONT_END.sample_rate:
            some = resample(some.T, sample_rate, FRONT_END.sample_rate).T
        some = some[:, : FRONT_END.length]
        full = np.zeros((batch_size, FRONT_END.length), np.float32)
        full[: len(some), : some.shape[1]] = some
        yield FRONT_END.analyze(full).values, len(some)
