"""Scores of a model on a validation set."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from timbre_jax.models.base import Variables
from timbre_jax.records import Array
from timbre_jax.training.data import Source, batches
from timbre_jax.training.sharding import JitPlacement


def evaluate(
    eval_step: Callable,
    variables: Variables,
    source: Source,
    *,
    batch_size: int,
    key: Array,
    kl_weight: Array,
    placement: JitPlacement,
) -> dict[str, float]:
    """Means of the metrics of `make_eval_step` over every example of a source, each counted once.

    `eval_step` is compiled by the placement; `batch_size` counts all devices. Several processes share each batch.
    """
    local = batch_size // jax.process_count()
    sums: dict[str, float] = {}
    for start in range(0, len(source), batch_size):
        # Every process runs as often as the others; the source's last example fills the last batch up, with weight 0.
        positions = start + jax.process_index() * local + np.arange(local)
        chosen = positions[positions < len(source)]
        batch = next(batches(source, local, chosen if len(chosen) else [len(source) - 1]))
        weight = (positions < len(source)).astype(np.float32)
        rows = np.minimum(np.arange(local), len(batch["index"]) - 1)
        batch = {name: value[rows] for name, value in batch.items()}
        totals = eval_step(variables, placement.eval_batch({**batch, "weight": weight}), key, kl_weight)
        for name, value in jax.device_get(totals).items():
            sums[name] = sums.get(name, 0.0) + float(value)
    count = sums.pop("weight")
    return {name: value / count for name, value in sums.items()}
