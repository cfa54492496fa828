"""Checkpoints on disk, and `load`: the only file that knows orbax.

A checkpoint is a folder with `arrays/` (orbax) and one JSON document beside it. It is written under another name and
renamed when it is whole, so a folder that has its name is complete; its document lists its files with sizes and
checksums (orbax keeps none), so that damage is found before anything is used. Nothing in it is code: a model and a
representation are names and settings that are looked up in the registries.

Arrays go through the host's memory both ways: one process writes a checkpoint, alone and from any thread, and each process
reads it by itself. So it does not matter on how many devices and processes it was made.
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
    model_name,
    model_settings,
    read_config,
    reason,
    statistics_document,
    with_format,
)
from timbre_jax.files import write_text
from timbre_jax.models import make_model
from timbre_jax.representations import make_representation, representation_settings
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

DOCUMENT = "document.json"
_ARRAYS = "arrays"
AT_ONCE = 1 << 28
"""Bytes that are copied at once while a checkpoint is written or read; one array is never cut."""


def write(path: str | os.PathLike, arrays: Any, document: dict) -> None:
    """Writes a pytree of arrays and a JSON document as the folder `path`, which appears whole or not at all.

    A folder that is already there is replaced. The process that calls it writes alone, and waits for no other.

    Args:
      arrays: whole on every device, or NumPy arrays (`to_host`) that nobody changes meanwhile.

    Raises:
      CheckpointError: it could not be written, for want of space for instance. What was there before is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
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
    """A pytree's arrays copied into NumPy arrays, which do not change with what becomes of the originals.

    Of several processes each gets the whole, from its own devices, which all have a copy. NumPy arrays stay what they are.
    `kept`: the originals stay as they are for as long as these are in use, so on a CPU nothing is copied.
    """

    def local(leaf):
        return leaf.addressable_data(0) if isinstance(leaf, jax.Array) else leaf

    tree = jax.tree.map(local, tree)
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array):
            leaf.copy_to_host_async()
    # On a CPU a view would see the memory that training goes on in.
    return jax.tree.map(lambda leaf: np.array(leaf) if isinstance(leaf, jax.Array) and not kept else np.asarray(leaf), tree)


def read_document(path: str | os.PathLike) -> dict:
    """The JSON document of a checkpoint folder, after checking that all its files are there in full.

    Raises:
      CheckpointError: a file is missing or cut short, or the folder is of another format.
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
        if file.stat().st_size != size:
            found = file.stat().st_size
            raise DamagedError(f"checkpoint {path}: {_ARRAYS}/{name} has {found} bytes instead of {size}; {_ADVICE}")
    return document


def verify(path: str | os.PathLike) -> dict:
    """The document of a checkpoint folder, after checking every byte of its files.

    Raises:
      DamagedError: they are not what was written. CheckpointError: the folder is of another format.
    """
    path = Path(path)
    document = read_document(path)
    for name, (_, checksum) in document["files"].items():
        if _checksum(path / _ARRAYS / name) != checksum:
            raise DamagedError(f"checkpoint {path}: {_ARRAYS}/{name} is damaged; {_ADVICE}")
    return document


def last_intact(directory: str | os.PathLike) -> tuple[int | None, list[str]]:
    """The step of a folder's newest checkpoint that is whole, None where there is none, and what is wrong with newer ones.

    Those are put aside, as STEP.damaged.

    Raises:
      CheckpointError: all are damaged, or one is of another format.
    """
    directory, told = Path(directory), []
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
            told.append(f"{str(error).removesuffix(f'; {_ADVICE}')}; it is now {aside.name}, and an older one is gone on from")
        else:
            return step, told
    return None, told


def read(path: str | os.PathLike, template: Any) -> tuple[Any, dict]:
    """Arrays, placed as the template says, and the document.

    Args:
      template: the pytree's structure with a `jax.ShapeDtypeStruct` for every leaf, whose sharding says where it goes (none:
        the first device).

    Raises:
      CheckpointError: damaged, of another format, or of other shapes than the template.
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
                f"checkpoint {path}: {name} is {leaf.dtype}{list(leaf.shape)}, but the settings ask for "
                f"{wanted.dtype}{list(wanted.shape)}; it belongs to another run"
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
    """Steps of the complete checkpoints in a folder, rising."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    return sorted(int(entry.name) for entry in directory.iterdir() if entry.name.isdigit())


def step_path(directory: str | os.PathLike, step: int) -> Path:
    """Where the checkpoint of a step lies: DIRECTORY/00001200."""
    return Path(directory) / f"{step:08d}"


def remove_all_but(directory: str | os.PathLike, keep: set[int]) -> None:
    """Removes the other steps' checkpoints, and what killed runs left half written."""
    directory = Path(directory)
    if not directory.is_dir():
        return
    for entry in directory.iterdir():
        stale = entry.name.startswith(".") and entry.name.endswith(".tmp")
        if stale or (entry.name.isdigit() and int(entry.name) not in keep):
            # Renamed first: a folder that is half removed must not look like a checkpoint.
            if not stale:
                entry = entry.rename(entry.with_name(f".{entry.name}.{uuid.uuid4().hex[:8]}.tmp"))
            shutil.rmtree(entry, ignore_errors=True)


def save_space(path: str | os.PathLike, space: TimbreSpace, information: dict | None = None) -> None:
    """Writes a space as the folder `path`: variables as arrays; settings and statistics in the readable document."""
    document = {
        "model": {"name": model_name(space.model), **model_settings(space.model)},
        "representation": {"name": space.representation.name, **representation_settings(space.representation)},
        "statistics": statistics_document(space.statistics),
        **(information or {}),
    }
    write(path, space.variables, document)


def load_space(path: str | os.PathLike) -> TimbreSpace:
    """The space that `save_space` wrote.

    Raises:
      CheckpointError: damaged, of another version, or with a model or representation that this version does not know.
    """
    document = read_document(path)
    try:
        representation = make_representation(**document["representation"])
        model = make_model(**document["model"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} was saved by timbre_jax {document['library_version']}: {reason(error)}") from None
    variables, document = read(path, jax.eval_shape(lambda: init_variables(model, jax.random.key(0))))
    statistics = {name: jnp.asarray(np.asarray(value, np.float32)) for name, value in document["statistics"].items()}
    return TimbreSpace(variables=variables, statistics=statistics, model=model, representation=representation)


def load(workdir: str | os.PathLike) -> TimbreSpace:
    """The best space of a run so far: averaged parameters at the best evaluation, with their statistics.

    Also takes the folder of a single space, as `save_space` wrote it.

    Raises:
      CheckpointError: not a run, no checkpoint yet, damaged, or of another version. One line.
    """
    workdir = Path(workdir)
    if not workdir.is_dir():
        raise CheckpointError(f"there is no run {workdir}: no such folder")
    if (workdir / DOCUMENT).is_file() or (workdir / _ARRAYS).is_dir():
        return load_space(workdir)
    if not (workdir / "config.json").is_file():
        raise CheckpointError(f"{workdir} is not a run: it has no config.json (experiments/train.py --workdir makes one)")
    read_config(workdir)
    # A run in progress replaces its best space now and then; whoever reads just then looks again.
    for attempt in range(3):
        best = steps(workdir / "best")
        if not best:
            raise CheckpointError(f"the run {workdir} has no checkpoint yet; run its training command again to go on")
        try:
            return load_space(step_path(workdir / "best", best[-1]))
        except CheckpointError:
            if attempt == 2 or steps(workdir / "best") == best:
                raise
            time.sleep(0.2)
    raise AssertionError("unreachable")


def init_variables(model, key) -> dict:
    """A model's variables, as its `init` makes them."""
    frames = (1, *model.feature_shape)
    features = Features(values=jnp.zeros(frames, jnp.float32), mask=jnp.ones(frames[:2], jnp.float32))
    return dict(model.init(key, features))


_ADVICE = "remove this folder to go on from an older checkpoint, if there is one"


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
    """Orbax would wait for all processes of a run; this one writes and reads by itself, and with little more memory than the
    arrays have: three states of a large model are gigabytes, of which orbax would make two copies more."""
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
    context.memory.deepcopy_host_arrays = False  # what is written is nobody else's (`to_host`)
    return context


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """What goes wrong comes as an exception; orbax also logs it, with a traceback for every one of its threads."""
    logger = logging.getLogger("absl")
    before, logger.disabled = logger.disabled, True
    yield
    # Not after an exception: the threads go on complaining for a while.
    logger.disabled = before


def _files(directory: Path) -> dict[str, tuple[int, int]]:
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    return {f.relative_to(directory).as_posix(): (f.stat().st_size, _checksum(f)) for f in files}


def _checksum(file: Path) -> int:
    """Piece by piece: a file may have gigabytes."""
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


def _replace(temporary: Path, path: Path) -> None:
    if path.exists():
        old = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        path.rename(old)
        temporary.rename(path)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(path)
