"""Small runs: examples in memory, small networks, and comparisons of finished runs."""

from __future__ import annotations

import json
import os
import signal
import warnings
from pathlib import Path

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from timbre_jax import checkpoint
from timbre_jax.data.datasets import Sources
from timbre_jax.data.example_source import ExampleSource, ListedExamples
from timbre_jax.representations import make_representation

SHAPE = (12, 4)


def examples(count: int, *, seed: int = 0, first_index: int = 0) -> ListedExamples:
    """Returns features [12, 4] near a three-dimensional surface, which a model can learn."""
    weights = np.random.default_rng(99).normal(size=(3, SHAPE[0] * SHAPE[1]))
    z = np.random.default_rng(seed).normal(size=(count, 3))
    values = (1.0 / (1.0 + np.exp(-1.5 * (z @ weights)))).reshape(count, *SHAPE).astype(np.float32)
    mask = np.ones(SHAPE[0], np.float32)
    return ListedExamples({"values": v, "mask": mask, "index": np.int32(first_index + i)} for i, v in enumerate(values))


def small_sources(*, train: int = 96, valid: int = 20) -> Sources:
    """Returns a training and a validation set with the representation of their shape."""
    representation = make_representation("harmonic_tracks", n_frames=SHAPE[0], n_harmonics=SHAPE[1] - 1, length=4096)
    return Sources(examples(train), examples(valid, seed=1, first_index=train), representation)


def with_loudness(source: ListedExamples) -> ListedExamples:
    """Returns examples with the frame means as loudness; half of every third one is padding."""
    changed = ListedExamples()
    for number, example in enumerate(source):
        mask = np.ones(SHAPE[0], np.float32)
        mask[SHAPE[0] // 2 if number % 3 == 2 else SHAPE[0] :] = 0.0
        loudness = (100.0 * example["values"].mean(1) - 100.0).astype(np.float32)
        changed.append({**example, "mask": mask, "loudness": loudness})
    return changed


class StoppingSource(ExampleSource):
    """Source that sends this process a SIGTERM when a number of its examples have been read."""

    def __init__(self, source: ExampleSource, reads: int):
        self._source, self._left = source, reads

    def __len__(self):
        return len(self._source)

    def __getitem__(self, i):
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._source[i]


def small_config(*, model: dict | None = None, optimizer: dict | None = None, **train) -> dict:
    """Returns the configuration of a small network and 40 steps of 16 sounds."""
    defaults = {
        "batch_size": 16,
        "steps": 40,
        "eval_every": 10,
        "log_every": 5,
        "average_decay": 0.9,
        "rollback": {"every": 10, "maximum": 5},
    }
    return {
        "model": model or {"name": "conv_vae", "latent_size": 3, "channels": (4,)},
        "optimizer": {"learning_rate": 3e-3, "schedule": "constant", "warmup_steps": 5, **(optimizer or {})},
        "train": {**defaults, **train},
    }


def metric_lines(workdir: Path) -> list[dict]:
    """Returns the lines of metrics.jsonl without measured times."""
    lines = [json.loads(line) for line in (Path(workdir) / "metrics.jsonl").read_text().splitlines()]
    timing = ("seconds", "checkpoint_share")
    return [{name: value for name, value in line.items() if name not in timing} for line in lines]


def last_checkpoint(workdir: Path) -> tuple[dict[str, np.ndarray], dict]:
    """Returns the arrays of the last checkpoint by name, and its document without times."""
    directory = Path(workdir) / "checkpoints"
    path = checkpoint.step_path(directory, checkpoint.steps(directory)[-1])
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        described = ocp.pytree_metadata((path / "arrays").absolute()).metadata
    template = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device), described)
    arrays, _ = checkpoint.read(path, template)
    document = checkpoint.read_document(path)
    progress = {name: value for name, value in document["progress"].items() if name not in ("seconds", "log_bytes")}
    named = {jax.tree_util.keystr(where): np.asarray(leaf) for where, leaf in jax.tree.leaves_with_path(arrays)}
    return named, {"progress": progress, "anchor": document["anchor"], "candidate": document["candidate"]}


def assert_close_runs(a: Path, b: Path, *, rtol: float = 2e-3, atol: float = 2e-3) -> None:
    """Asserts that two runs took the same batches and differ only by rounding."""
    (arrays_a, document_a), (arrays_b, document_b) = last_checkpoint(a), last_checkpoint(b)
    assert arrays_a.keys() == arrays_b.keys()
    for name, array in arrays_a.items():
        assert array.shape == arrays_b[name].shape
        np.testing.assert_allclose(array, arrays_b[name], rtol=rtol, atol=atol, err_msg=name)
    for name in ("position", "skipped", "best_step", "evaluations_since_best"):
        assert document_a["progress"][name] == document_b["progress"][name]
    for line_a, line_b in zip(metric_lines(a), metric_lines(b), strict=True):
        assert [line_a[name] for name in ("event", "step")] == [line_b[name] for name in ("event", "step")]
        np.testing.assert_allclose(line_a["loss"], line_b["loss"], rtol=1e-4)


def assert_same_run(a: Path, b: Path) -> None:
    """Asserts that two runs are equal to the bit in checkpoints, logs and best spaces."""
    (arrays_a, document_a), (arrays_b, document_b) = last_checkpoint(a), last_checkpoint(b)
    assert arrays_a.keys() == arrays_b.keys()
    for name, array in arrays_a.items():
        np.testing.assert_array_equal(array, arrays_b[name], err_msg=name)
    assert document_a == document_b
    assert metric_lines(a) == metric_lines(b)
    space_a, space_b = checkpoint.load(a), checkpoint.load(b)
    for leaf_a, leaf_b in zip(jax.tree.leaves(space_a), jax.tree.leaves(space_b), strict=True):
        np.testing.assert_array_equal(leaf_a, leaf_b)
