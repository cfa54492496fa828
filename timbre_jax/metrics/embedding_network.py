"""Network of the embedding "timbre", and its file format."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from timbre_jax.files import atomic_path
from timbre_jax.representations.log_mel import LogMel
from timbre_jax.types import Array

SECONDS = 4.0
FRONT_END = LogMel(sample_rate=16000, length=64000, n_fft=1024, window_length=1024, hop=320, n_mels=64, n_frames=200)
"""64 bands of the first 4 s at 16 kHz, every 20 ms, in dB relative to the maximum of the sound: level is not embedded."""


@dataclasses.dataclass(frozen=True)
class EmbeddingSettings:
    """Settings of the embedding network.

    Attributes:
      features: size of the embedding.
      channels: channels of the four convolutions.
      classes: names of the classes of the training sounds, in the order of the class head.
    """

    features: int = 128
    channels: tuple[int, ...] = (24, 48, 96, 96)
    classes: tuple[str, ...] = ()


class EmbeddingNetwork(nn.Module):
    """Network that maps log-mel images [B, N, 64] to an embedding [B, D] and to class logits.

    It consists of four convolutions (the first three halve time and frequency), the mean and the maximum over frames, and one
    dense layer whose output is the embedding. Heads predict logits of 128 pitches and of the classes. Frames after the last
    audible one (within 80 dB of the maximum) are masked, so that padding has no effect.

    Attributes:
      settings: sizes of the layers.
    """

    settings: EmbeddingSettings

    @nn.compact
    def __call__(self, values: Array) -> tuple[Array, Array, Array]:
        """Returns the embedding [B, D], logits of pitches [B, 128] and logits of classes [B, C]."""
        audible = jnp.max(values, axis=2) > 0.0
        # The mask includes all frames up to the last audible one, so that silence within a sound counts.
        until = jnp.flip(jax.lax.cummax(jnp.flip(audible.astype(jnp.float32), 1), axis=1), 1)
        x = values[..., None] * until[:, :, None, None]
        mask = until
        for i, channels in enumerate(self.settings.channels):
            stride = 2 if i < 3 else 1
            size = 5 if i == 0 else 3
            x = nn.relu(nn.Conv(channels, (size, size), (stride, stride), name=f"conv_{i}")(x))
            mask = mask[:, ::stride]
            x = x * mask[:, :, None, None]
        x = x.reshape(*x.shape[:2], -1)
        mean = jnp.sum(x, 1) / jnp.maximum(jnp.sum(mask, 1), 1.0)[:, None]
        embedding = nn.Dense(self.settings.features, name="embedding")(jnp.concatenate([mean, jnp.max(x, 1)], -1))
        hidden = nn.relu(embedding)
        return (
            embedding,
            nn.Dense(128, name="pitch")(hidden),
            nn.Dense(max(1, len(self.settings.classes)), name="class")(hidden),
        )


def write_network(path: str | os.PathLike, settings: EmbeddingSettings, params, trained: dict) -> Path:
    """Writes an embedding network atomically, as an .npz file of float16 arrays.

    Args:
      path: path of the .npz file.
      settings: sizes of the layers.
      params: parameters of `EmbeddingNetwork`.
      trained: description of the training sounds, as JSON values.

    Returns:
      The path.
    """
    path = Path(path)
    document = json.dumps({"settings": dataclasses.asdict(settings), "trained": trained})
    arrays: dict[str, Any] = {name: np.asarray(value, np.float16) for name, value in flatten_dict(params, sep="/").items()}
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, document=np.array(document), **arrays)
    return path


def read_network(path: str | os.PathLike) -> tuple[EmbeddingSettings, dict, dict]:
    """Reads an embedding network from a file of `write_network`.

    Args:
      path: path of the .npz file.

    Returns:
      (settings, parameters, description of the training sounds).

    Raises:
      ValueError: the file is missing or is not an embedding network.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            document = json.loads(str(file["document"]))
            arrays = {name: np.asarray(file[name], np.float32) for name in file.files if name != "document"}
        settings: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in document["settings"].items()}
        return EmbeddingSettings(**settings), unflatten_dict(arrays, sep="/"), document["trained"]
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file, expected an embedding (.npz)") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path}: not an embedding that experiments/studies/train_embedding.py wrote ({' '.join(str(error).split())[:100]})"
        ) from None
