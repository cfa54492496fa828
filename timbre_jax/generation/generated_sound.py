"""Records of the sounds that the modes of generation yield."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.metrics.table import Table
from timbre_jax.types import Latent


@dataclasses.dataclass(frozen=True)
class GeneratedSound:
    """Generated sound with its provenance, for the manifest.

    Attributes:
      name: file name, with .wav.
      wave: samples [T] float32.
      made_from: files, weights, random seeds or positions that the sound was generated from, as JSON values.
      latent: latent [D] of a static space, or series [1, M, D]; None for a sound that was not decoded.
      remarks: sentences about parts that were cut, padded or clipped.
      details: further entries of the sound in the manifest, as JSON values.
      tables: tables to write with the sound, by file name.
    """

    name: str
    wave: np.ndarray
    made_from: Mapping[str, Any]
    latent: np.ndarray | Latent | None = None
    remarks: tuple[str, ...] = ()
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tables: Mapping[str, Table] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class SkippedInput:
    """Input file that a mode could not use, and skipped.

    Attributes:
      path: path of the file.
      error: reason, in one line.
    """

    path: Path
    error: str


Generated = Iterator[GeneratedSound | SkippedInput]
"""Return type of the functions of the modes."""
