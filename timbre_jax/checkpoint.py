"""Writes and reads checkpoints; only this module calls Orbax.

A checkpoint is a folder with `arrays/` (Orbax) and a JSON document. It is written under a temporary name and renamed when it is
complete, so a folder with its final name is complete. The document lists sizes and checksums of the files, which are checked
before use, because Orbax reads changed bytes without an error. A checkpoint contains no code (see `documents`).

Arrays are copied through the memory of the host. One process writes a checkpoint, from any thread, and every process reads all
of it, so a run can be resumed on another number of devices and processes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.documents import (
    CheckpointError,
    DamagedError,
    check_format,
    model_document,
    read_config,
    reason,
    representation_document,
    statistics_document,
    with_format,
)
from timbre_jax.files import write_text
from timbre_jax.models import make_model
from timbre_jax.representations import make_representation
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

DOCUMENT = "document.json"
_ARRAYS = "arrays"
CONCURRENT_BYTES = 1 << 28
"""Largest number of bytes that are written or read concurrently; single arrays can be larger."""


def write(path: str | os.PathLike, arrays: Any, document: dict) -> None:
    """Writes a pytree of arrays and a JSON document to a folder, atomically.

    An existing folder is replaced. The calling process does not wait for other processes.

    Args:
      path: folder to write.
      arrays: pytree of arrays that are replicated on every device, or of NumPy arrays that do not change meanwhile.
      document: JSON data.

    Raises:
      CheckpointError: the folder could not be written, for instance on a full disk. An existing folder is unchanged.
    """
    path = Path(path)
    temporary = _temporary_name(path)
    try:
        temporary.mkdir(parents=True)
        _save_arrays(temporary / _ARRAYS, to_host(arrays))
        document = {**with_format(document), "files": _checksums(temporary / _ARRAYS)}
        write_text(temporary / DOCUMENT, json.dumps(document), sync=True)
        _replace_folder(temporary, path)
    except Exception as error:
        _remove_folder(temporary)
        raise CheckpointError(f"{path}: could not be saved ({reason(error)})") from error


def to_host(tree: Any, *, copy: bool = True) -> Any:
    """Returns a pytree's arrays as NumPy arrays, on every process.

    Args:
      tree: pytree of arrays that are replicated on every device, or of NumPy arrays.
      copy: whether the result is independent of the originals; without a copy it may share their memory on a CPU.
    """

    def local(leaf):
        return leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf

    tree = jax.tree.map(local, tree)
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    return jax.tree.map(lambda leaf: np.array(leaf) if isinstance(leaf, jax.Array) and copy else np.asarray(leaf), tree)


def read_document(path: str | os.PathLike) -> dict:
    """Reads the JSON document of a checkpoint and checks the sizes of its files.

    Raises:
      CheckpointError: a file is missing or truncated, or the checkpoint has another format.
    """
    path = Path(path)
    try:
        document = json.loads((path / DOCUMENT).read_text())
        files = dict(document["files"])
    except FileNotFoundError:
        raise DamagedError(f"checkpoint {path}: {DOCUMENT} is missing; {_ADVICE}") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DamagedError(f"checkpoint {path}: {DOCUMENT} is damaged ({reason(error)}); {_ADVICE}") from None
    check_format(document, path)
    for name, (size, _) in files.items():
        file = path / _ARRAYS / name
        if not file.is_file():
            raise DamagedError(f"checkpoint {path}: {_ARRAYS}/{name} is missing; {_ADVICE}")
        if (actual := file.stat().st_size) != size:
            raise DamagedError(
                f"checkpoint {path}: {_ARRAYS}/{name} has a wrong size (got {actual} bytes, expected {size}); {_ADVICE}"
            )
    return document


def verify(path: str | os.PathLike) -> dict:
    """Reads the JSON document of a checkpoint and checks the sizes and checksums of its files.

    Raises:
      DamagedError: a file is missing or has changed.
      CheckpointError: the checkpoint has another format.
    """
    path = Path(path)
    document = read_document(path)
    for name, (_, checksum) in document["files"].items():
        if _checksum(path / _ARRAYS / name) != checksum:
            raise DamagedError(f"checkpoint {path}: {_ARRAYS}/{name} is damaged; {_ADVICE}")
    return document


def last_intact(directory: str | os.PathLike) -> tuple[int | None, list[str]]:
    """Returns the newest intact checkpoint and renames newer, damaged ones to STEP.damaged.

    Returns:
      The step, or None if there is no checkpoint, and a message about each damaged checkpoint.

    Raises:
      CheckpointError: all checkpoints are damaged, or one has another format.
    """
    directory, problems = Path(directory), []
    for step in reversed(steps(directory)):
        path = step_path(directory, step)
        try:
            verify(path)
        except DamagedError as error:
            if step == steps(directory)[0]:
                raise
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            problem = str(error).removesuffix(f"; {_ADVICE}")
            problems.append(f"{problem}; it was renamed to {aside.name}, and training resumes from an older checkpoint")
        else:
            return step, problems
    return None, problems


def read(path: str | os.PathLike, template: Any) -> tuple[Any, dict]:
    """Reads the arrays and the document of a checkpoint.

    Args:
      path: folder of the checkpoint.
      template: pytree of `jax.ShapeDtypeStruct` with the structure of the arrays. Arrays are placed by its shardings; those
        without a sharding, on the first device.

    Raises:
      CheckpointError: the checkpoint is damaged, or has another format or other shapes than the template.
    """
    path = Path(path)
    document = verify(path)
    try:
        arrays = _load_arrays(path / _ARRAYS, template)
    except Exception as error:
        raise CheckpointError(f"checkpoint {path}: cannot be read ({reason(error)}); {_ADVICE}") from error
    for (where, leaf), expected in zip(jax.tree.leaves_with_path(arrays), jax.tree.leaves(template), strict=True):
        if leaf.shape != expected.shape or leaf.dtype != expected.dtype:
            name = jax.tree_util.keystr(where)
            raise CheckpointError(
                f"checkpoint {path}: {name} does not match the settings (got {leaf.dtype}{list(leaf.shape)}, expected "
                f"{expected.dtype}{list(expected.shape)}); it belongs to another run"
            )
    return arrays, document


def replace_document(path: str | os.PathLike, changes: dict) -> None:
    """Changes fields of a checkpoint's document atomically."""
    path = Path(path)
    document = {**read_document(path), **changes}
    try:
        write_text(path / DOCUMENT, json.dumps(document), sync=True)
    except OSError as error:
        raise CheckpointError(f"{path}: could not be saved ({reason(error)})") from error


def steps(directory: str | os.PathLike) -> list[int]:
    """Returns the steps of the complete checkpoints in a folder, in ascending order."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def step_path(directory: str | os.PathLike, step: int) -> Path:
    """Returns the folder of a step's checkpoint: DIRECTORY/00001200."""
    return Path(directory) / f"{step:08d}"


def remove_all_but(directory: str | os.PathLike, keep: set[int]) -> None:
    """Removes incomplete checkpoints and those of other steps than `keep`."""
    directory = Path(directory)
    if not directory.is_dir():
        return
    for entry in directory.iterdir():
        if entry.name.startswith(".") and entry.name.endswith(".tmp"):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.isdigit() and int(entry.name) not in keep:
            # Renamed first, so that a partially removed folder is not taken for a checkpoint.
            shutil.rmtree(entry.rename(_temporary_name(entry)), ignore_errors=True)


def save_space(path: str | os.PathLike, space: TimbreSpace, information: dict | None = None) -> None:
    """Writes a space to a folder, with further JSON data in its document."""
    document = {
        "model": model_document(space.model),
        "representation": representation_document(space.representation),
        "statistics": statistics_document(space.statistics),
        **(information or {}),
    }
    write(path, space.variables, document)


def load_space(path: str | os.PathLike) -> TimbreSpace:
    """Loads a space that `save_space` wrote.

    Raises:
      CheckpointError: the folder is damaged, or this version does not have its format, model or representation.
    """
    document = read_document(path)
    try:
        representation = make_representation(**document["representation"])
        model = make_model(**document["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: cannot be loaded ({reason(error)}); it was saved by timbre_jax {document['library_version']}"
        ) from None
    variables, document = read(path, jax.eval_shape(lambda: init_variables(model, jax.random.key(0))))
    statistics = {name: jnp.asarray(np.asarray(value, np.float32)) for name, value in document["statistics"].items()}
    return TimbreSpace(variables=variables, statistics=statistics, model=model, representation=representation)


def load(workdir: str | os.PathLike) -> TimbreSpace:
    """Loads the best space of a run: the averaged parameters at the best evaluation so far.

    Args:
      workdir: folder of a run, which may be in progress, or of a space that `save_space` wrote.

    Raises:
      CheckpointError: the folder is not a run, has no checkpoint yet, is damaged or was written by another version.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise CheckpointError(f"{workdir}: no such folder; expected the folder of a run")
    if (workdir / DOCUMENT).is_file() or (workdir / _ARRAYS).is_dir():
        return load_space(workdir)
    if not (workdir / "config.json").is_file():
        raise CheckpointError(f"{workdir}: not a run (no config.json, which experiments/train.py --workdir writes)")
    read_config(workdir)
    while True:
        best = steps(workdir / "best")
        if not best:
            raise CheckpointError(f"{workdir}: this run has no checkpoint yet; give its training command again to resume it")
        try:
            return load_space(step_path(workdir / "best", best[-1]))
        except CheckpointError:  # a run in progress may have replaced its best space meanwhile
            if steps(workdir / "best") == best:
                raise


def init_variables(model, key) -> dict:
    """Returns the initial variables of a model.

    Compiled, so that results of `init` other than the variables are not computed.
    """
    frames = (1, *model.feature_shape)
    features = Features(values=jnp.zeros(frames, jnp.float32), mask=jnp.ones(frames[:2], jnp.float32))
    return dict(jax.jit(model.init)(key, features))


_ADVICE = "remove this folder to resume from an older checkpoint, if there is one"


def _save_arrays(path: Path, arrays: Any) -> None:
    from orbax.checkpoint import v1 as ocp

    with _silent_orbax(), _single_process(arrays):
        ocp.save(path.absolute(), arrays)


def _load_arrays(path: Path, template: Any) -> Any:
    from orbax.checkpoint import v1 as ocp

    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _silent_orbax(), _single_process(template):
        arrays = ocp.load(path.absolute(), jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), template))

    def placed(array, leaf):
        sharding = getattr(leaf, "sharding", None) or device
        return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])

    return jax.tree.map(placed, arrays, template)


def _single_process(arrays: Any) -> contextlib.AbstractContextManager:
    """Returns an Orbax context in which this process saves and loads without other processes.

    By default Orbax waits for all processes and makes two copies of the arrays, gigabytes for a large model.
    """
    from orbax.checkpoint import v1 as ocp

    if jax.process_count() > 1:
        # Orbax 0.12 checks across all processes, also inactive ones, that they write to the same folder.
        from orbax.checkpoint.experimental.v1._src.saving import execution

        execution._check_directory_consistency = lambda _: None
    context = ocp.Context()
    context.multiprocessing.primary_host = jax.process_index()
    context.multiprocessing.active_processes = {jax.process_index()}
    largest = max((leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays)), default=0)
    context.memory.write_concurrent_bytes = context.memory.read_concurrent_bytes = max(CONCURRENT_BYTES, largest)
    context.memory.deepcopy_host_arrays = False  # `to_host` has copied them
    return context


@contextlib.contextmanager
def _silent_orbax() -> Iterator[None]:
    """Silences Orbax, which logs a traceback for each of its threads before an exception."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    yield
    # Skipped after an exception, because the threads continue to log for a while.
    logger.disabled = before


def _checksums(directory: Path) -> dict[str, tuple[int, int]]:
    """Returns the size and checksum of every file of a folder by its relative path."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    return {f.relative_to(directory).as_posix(): (f.stat().st_size, _checksum(f)) for f in files}


def _checksum(file: Path) -> int:
    """Computes the CRC-32 of a file in pieces, since it may be larger than memory."""
    checksum = 0
    with open(file, "rb") as opened:
        while piece := opened.read(1 << 22):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _remove_folder(directory: Path) -> None:
    """Removes a folder to which threads of Orbax may still be writing."""
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.05)


def _temporary_name(path: Path) -> Path:
    """Returns an unused name beside a checkpoint for its incomplete or outdated folder."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _replace_folder(temporary: Path, path: Path) -> None:
    """Renames a complete folder to its final name and removes the folder that had it."""
    outdated = path.rename(_temporary_name(path)) if path.exists() else None
    temporary.rename(path)
    if outdated:
        shutil.rmtree(outdated, ignore_errors=True)
