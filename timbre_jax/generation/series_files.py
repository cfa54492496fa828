"""Files of latent series: NAME_series.npz for programs, NAME_series.csv for spreadsheets."""

from __future__ import annotations

import csv
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.files import atomic_path, write_text
from timbre_jax.inference.pooled import level_name
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Latent

SERIES_SUFFIXES = (".npz", ".csv")


def write_series(path: Path, latent: Latent) -> list[str]:
    """Writes a series next to its sound, and returns the names of the files.

    The npz has the arrays "values" [M, D] and "rate" [], and the level [M] and "codes" [M] or [M, Q] if the series has them.
    The CSV has the columns seconds, level, codes and latents.

    Args:
      path: path of the sound, NAME.wav.
      latent: series [1, M, D].
    """
    stem = path.with_suffix("").name + "_series"
    values, rate = np.asarray(latent.values[0], np.float32), float(latent.rate)
    level = level_name(latent.conditions)
    arrays: dict[str, Any] = {"values": values, "rate": np.float64(rate)}
    columns, lines = ["seconds"], [np.arange(len(values)) / rate]
    if level is not None:
        curve = np.broadcast_to(np.asarray(latent.conditions[level], np.float32), (1, len(values)))[0]
        arrays[level] = curve
        columns, lines = [*columns, level], [*lines, curve]
    if latent.codes is not None:
        arrays["codes"] = np.asarray(latent.codes[0], np.int32)
        codes = arrays["codes"].reshape(len(values), -1)
        columns += ["code"] if codes.shape[1] == 1 else [f"code_{q}" for q in range(codes.shape[1])]
        lines += list(codes.T)
    with atomic_path(path.with_name(f"{stem}.npz")) as temporary:
        np.savez(temporary, **arrays)
    columns += [f"latent_{d}" for d in range(values.shape[1])]
    rows = tuple(zip(*(line.tolist() for line in (*lines, *values.T)), strict=True))
    write_text(path.with_name(f"{stem}.csv"), Table("series", tuple(columns), rows).csv())
    return [f"{stem}.npz", f"{stem}.csv"]


def read_series(path: Path, space: TimbreSpace) -> Latent:
    """Reads a series [1, M, D] from an npz or CSV file in the form of `write_series`.

    Args:
      path: npz or CSV file; a CSV needs the columns latent_0, latent_1 ..., and may have a level.
      space: space of the series.

    Raises:
      ValueError: the file is not a series, has another number of latents than the space, or has numbers that are not finite.
    """
    try:
        values, level = _read_npz(path) if path.suffix.lower() == ".npz" else _read_csv(path)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (OSError, KeyError, TypeError, AttributeError, EOFError, ValueError, zipfile.BadZipFile) as error:
        # Examples are a row that is too short, an array instead of an archive, and an empty file.
        raise ValueError(f"{path}: not a series of latents ({' '.join(str(error).split())})") from None
    if level is not None and level.shape != values.shape[:1]:
        raise ValueError(f"{path}: expected one level for each latent of {values.shape} (got {level.shape})")
    if values.ndim != 2 or not len(values) or values.shape[1] != space.latent_size:
        raise ValueError(
            f"{path}: expected a series [M, {space.latent_size}] of this space with M at least 1 (got {values.shape})"
        )
    latent = space.latent(values[None])
    name = level_name(latent.conditions)
    conditions = dict(latent.conditions)
    if level is not None and name is not None:
        conditions[name] = level[None]
    if not all(np.isfinite(np.asarray(x)).all() for x in (values, *conditions.values())):
        raise ValueError(f"{path}: all numbers must be finite; remove NaN and infinity")
    return latent.replace(conditions=conditions, mask=np.ones((1, len(values)), np.float32), rate=space.latent_rate)


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with np.load(path, allow_pickle=False) as arrays:
        name = level_name(arrays.files)
        return np.asarray(arrays["values"], np.float32), None if name is None else np.asarray(arrays[name], np.float32)


def _read_csv(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        raise ValueError("no rows")
    size = sum(str(name).startswith("latent_") for name in rows[0])
    values = np.array([[float(row[f"latent_{d}"]) for d in range(size)] for row in rows], np.float32)
    name = level_name(rows[0])
    return values.reshape(len(rows), size), None if name is None else np.array([float(row[name]) for row in rows], np.float32)
