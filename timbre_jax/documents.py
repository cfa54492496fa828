"""JSON documents of runs and spaces: format, configuration, settings and statistics.

They contain no code: a model or representation is stored as its name in the registry and its settings.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

import numpy as np

from timbre_jax.files import disk_full_message, write_text
from timbre_jax.models import MODELS
from timbre_jax.models.base import TimbreModel
from timbre_jax.representations import representation_settings
from timbre_jax.representations.base import Representation
from timbre_jax.version import __version__

FORMAT = 1
"""Format of run folders and spaces; increased when older versions cannot read newer folders."""


class CheckpointError(ValueError):
    """Error of a run or checkpoint that is missing, damaged or written by another version."""


class DamagedError(CheckpointError):
    """Error of a checkpoint whose files are missing or have changed."""


def with_format(document: dict) -> dict:
    """Returns a document with the format and version of this library added."""
    return {"format": FORMAT, "library_version": __version__, **document}


def check_format(document: dict, path: str | os.PathLike) -> None:
    """Raises a `CheckpointError` if a document has another format than this version reads."""
    if document.get("format") != FORMAT:
        version = document.get("library_version", "an unknown version")
        raise CheckpointError(
            f"{path}: wrong format (got {document.get('format')}, expected {FORMAT}), written by timbre_jax {version}; use "
            f"that version instead of {__version__}, or train again in another folder"
        )


def read_config(workdir: str | os.PathLike) -> dict:
    """Reads a run's config.json.

    Raises:
      CheckpointError: the file is missing, damaged or has another format.
    """
    path = Path(workdir) / "config.json"
    try:
        document = json.loads(path.read_text())
        if not isinstance(document, dict):
            raise ValueError("not an object")
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: cannot be read ({reason(error)})") from None
    check_format(document, path)
    return document


def write_config(workdir: str | os.PathLike, document: dict) -> None:
    """Writes a run's config.json atomically and creates the folder if it does not exist.

    Raises:
      CheckpointError: the file could not be written.
    """
    path = Path(workdir) / "config.json"
    try:
        write_text(path, json.dumps(with_format(document), indent=2) + "\n", sync=True)
    except OSError as error:
        raise CheckpointError(f"{path}: could not be saved ({reason(error)})") from None


def model_document(model: TimbreModel) -> dict:
    """Returns the name and settings of a model, for `make_model(**document)`."""
    settings = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name not in ("parent", "name")}
    return {"name": next(name for name, kind in MODELS.items() if type(model) is kind), **settings}


def representation_document(representation: Representation) -> dict:
    """Returns name and settings of a representation, for `make_representation(**document)`."""
    return {"name": representation.name, **representation_settings(representation)}


def statistics_document(statistics) -> dict:
    """Returns statistics as JSON data that preserves float32 values exactly."""
    return {name: np.asarray(value, np.float32).tolist() for name, value in statistics.items()}


def reason(error: BaseException) -> str:
    """Returns the first line of an error's message, or what to do about a full disk."""
    text = str(error)
    if full := disk_full_message(error) or ("RESOURCE_EXHAUSTED" if "RESOURCE_EXHAUSTED" in text else ""):
        return f"{full}; free some space and run the same command again"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:160]
