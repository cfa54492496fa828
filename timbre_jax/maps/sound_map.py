"""Map of a library: coordinates of its sounds, and the inverse from points to latents."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.analysis.projection import Projection, pca_map, tsne_map, umap_map
from timbre_jax.files import atomic_path
from timbre_jax.maps.inverse import InverseMap, KernelInverse, LinearInverse, kernel_inverse, linear_inverse, place, unit_square
from timbre_jax.maps.kernel import kernel_map
from timbre_jax.maps.settings import METHODS
from timbre_jax.space import TimbreSpace

FORMAT = 1
_INVERSES = {"kernel": KernelInverse, "linear": LinearInverse}


@dataclasses.dataclass(frozen=True)
class SoundMap:
    """Map of M sounds.

    Attributes:
      method: one of `METHODS`.
      coordinates: float32 [M, 2] in [0, 1], scaled along each axis.
      inverse: inverse from map points to latents.
      settings: settings of the method and names of run and space.
      explained: share of the variance of both axes, for PCA; None for other methods.
    """

    method: str
    coordinates: np.ndarray
    inverse: InverseMap
    settings: dict[str, Any]
    explained: np.ndarray | None = None

    def save(self, path: str | os.PathLike) -> Path:
        """Writes the map to an .npz file atomically, as arrays and a JSON text."""
        path = Path(path)
        kind = next(name for name, cls in _INVERSES.items() if isinstance(self.inverse, cls))
        about = {"format": FORMAT, "method": self.method, "inverse": kind, "settings": self.settings}
        arrays: dict[str, Any] = {f"inverse_{field}": np.asarray(getattr(self.inverse, field)) for field in _fields(kind)}
        if self.explained is not None:
            arrays["explained"] = self.explained
        with atomic_path(path) as partial:
            np.savez(partial, coordinates=self.coordinates, about=np.array(json.dumps(about)), **arrays)
        return path


def load_map(path: str | os.PathLike) -> SoundMap:
    """Loads a map of `SoundMap.save`.

    Raises:
      ValueError: the file is missing or damaged, is not a map, or has another format.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such map; create it with experiments/map.py")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays["about"]))
        if (version := about["format"]) == FORMAT:
            fields = {field: jnp.asarray(arrays[f"inverse_{field}"]) for field in _fields(about["inverse"])}
            inverse = _INVERSES[about["inverse"]](**fields)
            return SoundMap(about["method"], arrays["coordinates"], inverse, about["settings"], arrays.get("explained"))
    except (OSError, KeyError, TypeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a map, or damaged ({' '.join(str(error).split())[:80]}); create it again") from None
    raise ValueError(f"{path}: must have format {FORMAT} (got {version}); create it again with experiments/map.py")


def space_digest(space: TimbreSpace) -> str:
    """Returns a digest of model, representation and latent statistics of a space.

    A series space with held points (`inference.pooled.held_space`) has the same digest for all durations.
    """
    about = [repr(space.model.wrapped), repr(space.representation)]
    numbers = [np.asarray(space.statistics[name], np.float32).tobytes() for name in ("latent_mean", "latent_std")]
    return hashlib.sha256("".join(about).encode() + b"".join(numbers)).hexdigest()[:16]


def make_map(
    latents: np.ndarray,
    *,
    method: str = "kernel",
    settings: dict[str, Any] | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> SoundMap:
    """Creates a map of the latents of a static space.

    The map of "kernel" is fitted together with its inverse (`kernel_map`). The inverse of "umap" and "tsne" is a kernel
    regression with the width of `inverse.best_width`; "pca" has a linear inverse. Fewer than 5 sounds are placed by PCA, which
    `settings["placed_by"]` records.

    Args:
      latents: [M, D].
      method: "kernel", "umap", "tsne" or "pca".
      settings: settings of the method: neighborhood, perplexity, steps (kernel); neighbors, min_dist (umap); perplexity,
        iterations (tsne).
      seed: random seed.
      progress: called with the number of new steps, for "kernel".

    Raises:
      ValueError: an unknown method or setting, no sounds, or latents that are not finite.
    """
    latents = np.asarray(latents, np.float32)
    if method not in METHODS:
        raise ValueError(f"method: must be one of {', '.join(METHODS)} (got {method!r})")
    if latents.ndim != 2 or len(latents) == 0:
        raise ValueError(f"latents: must be [M, D] with at least one sound (got {latents.shape})")
    if not np.isfinite(latents).all():
        raise ValueError(f"latents: {np.count_nonzero(~np.isfinite(latents).all(1))} of {len(latents)} sounds are not finite")
    projection = _project(latents, method, dict(settings or {}), seed, progress)
    used: dict[str, Any] = dict(projection.settings)
    if projection.method != method:
        used["placed_by"] = projection.method
    coordinates, low, high = unit_square(projection.points)
    if method == "pca":
        directions, mean = projection.axes["directions"], projection.axes["mean"]
        inverse: InverseMap = linear_inverse(coordinates, low, high, directions, mean)
    else:
        widths = 1.0 / (high - low) if projection.method == "kernel" else None
        inverse = kernel_inverse(coordinates, latents, widths=widths)
    return SoundMap(method, coordinates, inverse, used, projection.explained)


def place_sounds(sound_map: SoundMap, latents: np.ndarray) -> np.ndarray:
    """Places other sounds on a map.

    On a PCA map they are projected and clipped; on other maps `inverse.place` searches for them.

    Args:
      sound_map: the map.
      latents: [Q, D].

    Returns:
      Map points [Q, 2] in [0, 1].
    """
    if isinstance(sound_map.inverse, LinearInverse):
        inverse = jax.tree.map(np.asarray, sound_map.inverse)
        along = (np.asarray(latents, np.float32) - inverse.mean) @ np.linalg.pinv(inverse.directions)
        return np.clip((along - inverse.low) / (inverse.high - inverse.low), 0.0, 1.0).astype(np.float32)
    return place(sound_map.inverse, latents)


def _project(latents, method, settings, seed, progress) -> Projection:
    known = {
        "kernel": ("neighborhood", "perplexity", "steps"),
        "umap": ("neighbors", "min_dist"),
        "tsne": ("perplexity", "iterations"),
        "pca": (),
    }[method]
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"{method}: has no setting {', '.join(unknown)}; it has {', '.join(known) or 'none'}")
    if method == "pca" or (len(latents) < 5 and method != "kernel"):
        return pca_map(latents)
    if method == "kernel":
        return kernel_map(latents, seed=seed, progress=progress, **settings)
    if method == "umap":
        return umap_map(latents, seed=seed, **settings)
    return tsne_map(latents, seed=seed, most=len(latents), **settings)


def _fields(kind: str) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(_INVERSES[kind]))
