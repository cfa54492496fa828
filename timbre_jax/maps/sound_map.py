"""A map of a library: where its sounds lie in the plane, and the way back from any point to a latent. Saved as arrays."""

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
    """M sounds in the plane.

    Attributes:
      method: of `METHODS`.
      coordinates: [M, 2] float32 in [0, 1], min-max over the sounds along each axis.
      inverse: points of the map to latents, and how far they are from the nearest sound.
      settings: how it was made: plain numbers and short texts.
      explained: PCA: share of variance of both axes; else None.
    """

    method: str
    coordinates: np.ndarray
    inverse: InverseMap
    settings: dict[str, Any]
    explained: np.ndarray | None = None

    def save(self, path: str | os.PathLike) -> Path:
        """Writes PATH (.npz): arrays and one JSON text, nothing pickled; whole or not at all."""
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
    """The map that `SoundMap.save` wrote.

    Raises:
      ValueError: no such file, not a map, damaged, or of another version. One line.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no map {path}; experiments/map.py makes one")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        about = json.loads(str(arrays["about"]))
        if (version := about["format"]) == FORMAT:
            fields = {field: jnp.asarray(arrays[f"inverse_{field}"]) for field in _fields(about["inverse"])}
            inverse = _INVERSES[about["inverse"]](**fields)
            return SoundMap(about["method"], arrays["coordinates"], inverse, about["settings"], arrays.get("explained"))
    except (OSError, KeyError, TypeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a map, or damaged ({' '.join(str(error).split())[:80]}); make it again") from None
    raise ValueError(f"{path}: a map of format {version}, format {FORMAT} is read; make it again")


def space_digest(space: TimbreSpace) -> str:
    """Tells spaces apart: of the settings of model and representation and the statistics of the training latents.

    However long a series space's points are held (`inference.pooled.held_space`), it is the same space.
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
    """A map of latents [M, D] of a static space.

    "kernel" is made together with its way back (`kernel_map`); "umap" and "tsne" get a kernel regression with the width
    that leaves the least error when each sound is left out; "pca" has its own. Too few sounds for a method (under 5) are
    placed by PCA, which `settings["placed_by"]` then says.

    Args:
      settings: of the method: perplexity, iterations (tsne); neighbors, min_dist (umap); neighborhood, perplexity, steps
        (kernel).
      progress: called with steps done (kernel only).

    Raises:
      ValueError: an unknown method or setting, no sounds, latents that are not finite.
    """
    latents = np.asarray(latents, np.float32)
    if method not in METHODS:
        raise ValueError(f"a map is made by one of {', '.join(METHODS)}, not {method!r}")
    if latents.ndim != 2 or len(latents) == 0:
        raise ValueError(f"a map needs latents [M, D] of at least one sound, not {latents.shape}")
    if not np.isfinite(latents).all():
        raise ValueError(f"the latents of {np.count_nonzero(~np.isfinite(latents).all(1))} sounds are not finite")
    projection = _project(latents, method, dict(settings or {}), seed, progress)
    made_by: dict[str, Any] = dict(projection.settings)
    if projection.method != method:
        made_by["placed_by"] = projection.method
    coordinates, low, high = unit_square(projection.points)
    if method == "pca":
        directions, mean = projection.axes["directions"], projection.axes["mean"]
        inverse: InverseMap = linear_inverse(coordinates, low, high, directions, mean)
    else:
        widths = 1.0 / (high - low) if projection.method == "kernel" else None
        inverse = kernel_inverse(coordinates, latents, widths=widths)
    return SoundMap(method, coordinates, inverse, made_by, projection.explained)


def place_sounds(made: SoundMap, latents: np.ndarray) -> np.ndarray:
    """Where sounds that the map has not seen belong on it: [Q, D] to [Q, 2] in [0, 1].

    On a PCA map their projection (outside the square it is moved to its border); else `inverse_map.place`.
    """
    if isinstance(made.inverse, LinearInverse):
        inverse = jax.tree.map(np.asarray, made.inverse)
        along = (np.asarray(latents, np.float32) - inverse.mean) @ np.linalg.pinv(inverse.directions)
        return np.clip((along - inverse.low) / (inverse.high - inverse.low), 0.0, 1.0).astype(np.float32)
    return place(made.inverse, latents)


def _project(latents, method, settings, seed, progress) -> Projection:
    known = {
        "kernel": ("neighborhood", "perplexity", "steps"),
        "umap": ("neighbors", "min_dist"),
        "tsne": ("perplexity", "iterations"),
        "pca": (),
    }[method]
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"a {method} map has no setting {', '.join(unknown)}; it has: {', '.join(known) or 'none'}")
    if method == "pca" or (len(latents) < 5 and method != "kernel"):
        return pca_map(latents)
    if method == "kernel":
        return kernel_map(latents, seed=seed, progress=progress, **settings)
    if method == "umap":
        return umap_map(latents, seed=seed, **settings)
    return tsne_map(latents, seed=seed, most=len(latents), **settings)


def _fields(kind: str) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(_INVERSES[kind]))
