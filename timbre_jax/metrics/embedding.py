"""Embeddings that map waves to points [B, D], for distances between sets of sounds.

The library does not include the Inception network of FID or the VGGish network of FAD. "timbre" is a small network of this
library, trained to predict pitch and class (`experiments/studies/train_embedding.py`); "mel_statistics" needs no training. Any
function (waves [B, T], sample rate) -> [B, D] works. Distances under different embeddings are not comparable.
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
TIMBRE_NETWORK = Path(__file__).with_name("embedding_timbre.npz")
EMBEDDINGS = ("timbre", "mel_statistics")


def load_embedding(name: str = "timbre") -> Embedding:
    """Loads an embedding, a function that maps waves [B, T] and their rate in Hz to [B, D].

    Args:
      name: a name of `EMBEDDINGS`, or an .npz file that `experiments/studies/train_embedding.py` wrote.

    Raises:
      ValueError: the name is unknown, or the file is not an embedding.
    """
    return functools.partial(_embed, image_embedding(name))


def image_embedding(name: str = "timbre") -> Callable[[np.ndarray], np.ndarray]:
    """Loads an embedding as a function of the images [B, 200, 64] of `log_mel_images`.

    Args:
      name: name or file of the embedding, as for `load_embedding`.

    Raises:
      ValueError: the name is unknown, or the file is not an embedding.
    """
    if name == "mel_statistics":
        return _band_statistics
    if name != "timbre" and not name.endswith(".npz"):
        raise ValueError(f"embedding={name!r}: must be one of {', '.join(EMBEDDINGS)}, or an .npz file")
    return _load_network(_network_path(name))


def embedding_definition(name: str = "timbre") -> str:
    """Describes an embedding, for the definition of distances under it.

    Args:
      name: name or file of the embedding, as for `load_embedding`.
    """
    if name == "mel_statistics":
        return "mean and deviation over time of 64 log-mel bands (128 features, independent of level)"
    path = _network_path(name)
    settings, _, trained = read_network(path)
    return (
        f"embedding “{path.stem}” ({settings.features} features, independent of level; trained on "
        f"{trained.get('sounds', '?')} sounds)"
    )


@functools.cache
def _load_network(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Loads and compiles the embedding of a file; cached."""
    settings, params, _ = read_network(path)
    network = EmbeddingNetwork(settings)
    return jax.jit(lambda values: network.apply({"params": params}, values)[0])


def _network_path(name: str) -> Path:
    """Returns the path of an embedding network."""
    return TIMBRE_NETWORK if name == "timbre" else Path(name)


def _band_statistics(values: np.ndarray) -> np.ndarray:
    """Returns mean and deviation of each band over the audible frames, [B, N, F] -> [B, 2 F]."""
    values = np.asarray(values, np.float64)
    weight = (values.max(2, keepdims=True) > 0.0).astype(np.float64)
    count = np.maximum(weight.sum(1), 1.0)
    mean = (values * weight).sum(1) / count
    spread = (np.square(values - mean[:, None]) * weight).sum(1) / count
    return np.concatenate([mean, np.sqrt(spread)], axis=1)


def log_mel_images(waves: np.ndarray, sample_rate: int) -> np.ndarray:
    """Computes log-mel images [B, 200, 64] of the first 4 s of waves.

    Args:
      waves: [B, T] samples.
      sample_rate: sample rate in Hz; waves at other rates than 16 kHz are resampled.
    """
    return _embed(np.asarray, waves, sample_rate)


def _embed(function: Callable, waves: np.ndarray, sample_rate: int, *, batch_size: int = 32) -> np.ndarray:
    """Applies a function to the log-mel images of waves [B, T], in batches."""
    parts = [np.asarray(function(values))[:count] for values, count in _image_batches(waves, sample_rate, batch_size)]
    return np.concatenate(parts)


def _image_batches(waves: np.ndarray, sample_rate: int, batch_size: int) -> Iterable[tuple[jax.Array, int]]:
    """Yields batches of log-mel images, padded to one shape, and the number of sounds in each."""
    waves = np.asarray(waves, np.float32)
    if waves.ndim != 2 or len(waves) == 0:
        raise ValueError(f"waves: must be [B, T] with at least one sound (got {waves.shape})")
    if not np.isfinite(waves).all():
        raise ValueError("waves: all samples must be finite; remove sounds with NaN or infinity")
    for start in range(0, len(waves), batch_size):
        batch = waves[start : start + batch_size, : round(SECONDS * sample_rate)]
        batch = resample(batch.T, sample_rate, FRONT_END.sample_rate).T[:, : FRONT_END.length]
        padded = np.zeros((batch_size, FRONT_END.length), np.float32)
        padded[: len(batch), : batch.shape[1]] = batch
        yield FRONT_END.analyze(padded).values, len(batch)
