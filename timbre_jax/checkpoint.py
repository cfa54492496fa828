"""Checkpoints on disk: writes and loads them; the only file that calls orbax.

A checkpoint is a folder with `arrays/` (orbax) and one JSON document beside it. It is written under another name and renamed
when it is complete, so a folder with its final name is complete. The document lists the files with sizes and checksums, since
orbax reads changed bytes without an error; damage is found before anything is used. Nothing in it is code (`documents`).

Arrays go through the host's memory both ways: one process writes a checkpoint, alone and from any thread, and each process
reads it by itself. So the number of devices and processes that wrote it does not matter.
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
AT_ONCE = 1 << 28
"""Bytes that are copied at once while a checkpoint is written or read; one array is never split."""


def write(path: str | os.PathLike, arrays: Any, document: dict) -> None:
    """Writes a pytree of arrays and a JSON document as a folder, which appears complete or not at all.

    An existing folder is replaced. The calling process writes alone and waits for no other.

    Args:
      path: folder to write.
      arrays: replicated on every device, or NumPy arrays (`to_host`) that nothing changes meanwhile.
      document: JSON data.

    Raises:
      CheckpointError: the folder could not be written, for instance on a full disk. What existed before is unchanged.
    """
    path = Path(path)
    temporary = _hidden(path)
    try:
        temporary.mkdir(parents=True)
        _save_arrays(temporary / _ARRAYS, to_host(arrays))
        document = {**with_format(document), "files": _files(temporary / _ARRAYS)}
        write_text(temporary / DOCUMENT, json.dumps(document), sync=True)
        _replace(temporary, path)
    except Exception as error:
        _remove(temporary)
        raise CheckpointError(f"could not save {path}: {reason(error)}") from error


def to_host(tree: Any, *, kept: bool = False) -> Any:
    """Copies a pytree's arrays into NumPy arrays, which do not change with the originals.

    Each of several processes gets everything, from its own devices, which all have a copy. NumPy arrays are returned as they
    are.

    Args:
      tree: arrays, replicated on every device.
      kept: whether the originals do not change while the copies are in use, so that on a CPU nothing is copied.
    """

    def local(leaf):
        return leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf

    tree = jax.tree.map(local, tree)
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    # On a CPU a view would share the memory that training continues in.
    return jax.tree.map(lambda leaf: np.array(leaf) if isinstance(leaf, jax.Array) and not kept else np.asarray(leaf), tree)


def read_document(path: str | os.PathLike) -> dict:
    """Reads the JSON document of a checkpoint folder and checks that its files have their sizes.

    Raises:
      CheckpointError: a file is missing or truncated, or the folder has another format.
    """
    path = Path(path)
    try:
        document = json.loads((path / DOCUMENT).read_text())
        files = dict(document["files"])
    except FileNotFoundError:
        raise DamagedError(f"checkpoint {path} has lost its {DOCUMENT}; {_ADVICE}") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise DamagedError(f"checkpoint {path}: {DOCUMENT} is damaged ({reason(error)}); {_ADVICE}") from None
    check_format(document, path)
    for name, (size, _) in files.items():
        file = path / _ARRAYS / name
        if not file.is_file():
            raise DamagedError(f"checkpoint {path} has lost its file {_ARRAYS}/{name}; {_ADVICE}")
        if (bytes_found := file.stat().st_size) != size:
            raise DamagedError(f"checkpoint {path}: {_ARRAYS}/{name} has {bytes_found} bytes instead of {size}; {_ADVICE}")
    return document


def verify(path: str | os.PathLike) -> dict:
    """Reads the JSON document of a checkpoint folder and checks every byte of its files.

    Raises:
      DamagedError: the files are not what was written.
      CheckpointError: the folder has another format.
    """
    path = Path(path)
    document = read_document(path)
    for name, (_, checksum) in document["files"].items():
        if _checksum(path / _ARRAYS / name) != checksum:
            raise DamagedError(f"checkpoint {path}: {_ARRAYS}/{name} is damaged; {_ADVICE}")
    return document


def last_intact(directory: str | os.PathLike) -> tuple[int | None, list[str]]:
    """Finds the newest intact checkpoint of a folder and renames newer, damaged ones to STEP.damaged.

    Returns:
      Its step, None if there is no checkpoint, and a line about each damaged one.

    Raises:
      CheckpointError: all are damaged, or one has another format.
    """
    directory, problems = Path(directory), []
    for step in reversed(steps(directory)):
        path = step_path(directory, step)
        try:
            verify(path)
        except DamagedError as error:
            if not steps(directory)[0] < step:
                raise
            aside = path.with_name(f"{path.name}.damaged")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            problem = str(error).removesuffix(f"; {_ADVICE}")
            problems.append(f"{problem}; it was renamed to {aside.name}, and training resumes from an older one")
        else:
            return step, problems
    return None, problems


def read(path: str | os.PathLike, template: Any) -> tuple[Any, dict]:
    """Reads the arrays of a checkpoint folder and its document.

    Args:
      path: the folder.
      template: structure of the pytree with a `jax.ShapeDtypeStruct` for every leaf, whose sharding places it (none: on the
        first device).

    Raises:
      CheckpointError: the folder is damaged, or has another format or other shapes than the template.
    """
    path = Path(path)
    document = verify(path)
    try:
        arrays = _load_arrays(path / _ARRAYS, template)
    except Exception as error:
        raise CheckpointError(f"checkpoint {path} cannot be read ({reason(error)}); {_ADVICE}") from error
    found, expected = jax.tree.leaves_with_path(arrays), jax.tree.leaves(template)
    for (where, leaf), wanted in zip(found, expected, strict=True):
        if leaf.shape != wanted.shape or leaf.dtype != wanted.dtype:
            name = jax.tree_util.keystr(where)
            raise CheckpointError(
                f"checkpoint {path}: {name} is {leaf.dtype}{list(leaf.shape)}, expected "
                f"{wanted.dtype}{list(wanted.shape)} from the settings; it belongs to another run"
            )
    return arrays, document


def replace_document(path: str | os.PathLike, changes: dict) -> None:
    """Changes fields of a checkpoint's document, atomically."""
    path = Path(path)
    document = {**read_document(path), **changes}
    try:
        write_text(path / DOCUMENT, json.dumps(document), sync=True)
    except OSError as error:
        raise CheckpointError(f"could not save {path}: {reason(error)}") from error


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
    """Removes the checkpoints of other steps, and the incomplete ones of killed runs."""
    directory = Path(directory)
    if not directory.is_dir():
        return
    for entry in directory.iterdir():
        if entry.name.startswith(".") and entry.name.endswith(".tmp"):
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name.isdigit() and int(entry.name) not in keep:
            # Renamed first, so that a partly removed folder does not look like a checkpoint.
            shutil.rmtree(entry.rename(_hidden(entry)), ignore_errors=True)


def save_space(path: str | os.PathLike, space: TimbreSpace, information: dict | None = None) -> None:
    """Writes a space as a folder: variables as arrays, settings and statistics in the document."""
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
      CheckpointError: it is damaged, of another version, or of a model or representation that this version does not have.
    """
    document = read_document(path)
    try:
        representation = make_representation(**document["representation"])
        model = make_model(**document["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path} was saved by timbre_jax {document['library_version']} and cannot be loaded: {reason(error)}"
        ) from None
    variables, document = read(path, jax.eval_shape(lambda: init_variables(model, jax.random.key(0))))
    statistics = {name: jnp.asarray(np.asarray(value, np.float32)) for name, value in document["statistics"].items()}
    return TimbreSpace(variables=variables, statistics=statistics, model=model, representation=representation)


def load(workdir: str | os.PathLike) -> TimbreSpace:
    """Loads the best space of a run so far: averaged parameters at the best evaluation, with their statistics.

    Args:
      workdir: folder of the run, or of a single space that `save_space` wrote.

    Raises:
      CheckpointError: the folder is not a run, has no checkpoint yet, is damaged or of another version. One line.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise CheckpointError(f"there is no run {workdir}: no such folder")
    if (workdir / DOCUMENT).is_file() or (workdir / _ARRAYS).is_dir():
        return load_space(workdir)
    if not (workdir / "config.json").is_file():
        raise CheckpointError(f"{workdir} is not a run: it has no config.json (experiments/train.py --workdir makes one)")
    read_config(workdir)
    while True:
        best = steps(workdir / "best")
        if not best:
            raise CheckpointError(f"the run {workdir} has no checkpoint yet; run its training command again to resume it")
        try:
            return load_space(step_path(workdir / "best", best[-1]))
        except CheckpointError:  # a run in progress may have replaced its best space meanwhile
            if steps(workdir / "best") == best:
                raise


def init_variables(model, key) -> dict:
    """Returns a model's variables, as its `init` makes them: compiled, so that only what they depend on is computed."""
    frames = (1, *model.feature_shape)
    features = Features(values=jnp.zeros(frames, jnp.float32), mask=jnp.ones(frames[:2], jnp.float32))
    return dict(jax.jit(model.init)(key, features))


_ADVICE = "remove this folder to resume from an older checkpoint, if there is one"


def _save_arrays(path: Path, arrays: Any) -> None:
    from orbax.checkpoint import v1 as ocp

    with _quiet(), _alone(arrays):
        ocp.save(path.absolute(), arrays)


def _load_arrays(path: Path, template: Any) -> Any:
    from orbax.checkpoint import v1 as ocp

    device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    with _quiet(), _alone(template):
        arrays = ocp.load(path.absolute(), jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), template))

    def placed(array, leaf):
        sharding = getattr(leaf, "sharding", None) or device
        return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])

    return jax.tree.map(placed, arrays, template)


def _alone(arrays: Any) -> contextlib.AbstractContextManager:
    """Returns a context in which this process saves and loads by itself, with little more memory than the arrays have.

    By default orbax waits for all processes, and makes two more copies of the arrays, gigabytes for a large model.
    """
    from orbax.checkpoint import v1 as ocp

    if jax.process_count() > 1:
        # Orbax 0.12 asks even processes that are not among the active ones whether they write to the same folder.
        from orbax.checkpoint.experimental.v1._src.saving import execution

        execution._check_directory_consistency = lambda _: None
    context = ocp.Context()
    context.multiprocessing.primary_host = jax.process_index()
    context.multiprocessing.active_processes = {jax.process_index()}
    largest = max((leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(arrays)), default=0)
    context.memory.write_concurrent_bytes = context.memory.read_concurrent_bytes = max(AT_ONCE, largest)
    context.memory.deepcopy_host_arrays = False  # `to_host` has made copies
    return context


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences orbax, which logs every exception that it raises, with a traceback for each of its threads."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    yield
    # Not after an exception: the threads continue to log for a while.
    logger.disabled = before


def _files(directory: Path) -> dict[str, tuple[int, int]]:
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    return {f.relative_to(directory).as_posix(): (f.stat().st_size, _checksum(f)) for f in files}


def _checksum(file: Path) -> int:
    """Computes a checksum in pieces, because a file may have gigabytes."""
    checksum = 0
    with open(file, "rb") as opened:
        while piece := opened.read(1 << 22):
            checksum = zlib.crc32(piece, checksum)
    return checksum


def _remove(directory: Path) -> None:
    """Removes a folder that orbax's threads may still be writing to."""
    for _ in range(20):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.05)


def _hidden(path: Path) -> Path:
    """Returns an unused name beside a checkpoint for its incomplete or outdated folder."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")


def _replace(temporary: Path, path: Path) -> None:
    outdated = path.rename(_hidden(path)) if path.exists() else None
    temporary.rename(path)
    if outdated:
        shutil.rmtree(outdated, ignore_errors=True)
