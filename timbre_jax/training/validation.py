"""Mean metrics of a model on a validation set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from timbre_jax.data.example_source import ExampleSource, batches
from timbre_jax.models.base import Variables
from timbre_jax.types import Array


def mean_metrics(
    eval_step: Callable,
    variables: Variables,
    source: ExampleSource,
    *,
    batch_size: int,
    key: Array,
    kl_weight: Array,
    place: Callable[[Mapping[str, np.ndarray]], Mapping[str, Array]],
) -> dict[str, Any]:
    """Returns the means of the metrics of `make_eval_step` over every example of a source, each counted once.

    Args:
      eval_step: compiled.
      variables: of the model.
      source: validation set; several processes share each batch.
      batch_size: examples on all devices together.
      key: of the noise.
      kl_weight: weight of the KL divergence in the loss.
      place: puts this process's part of a batch where `eval_step` wants it.

    Returns:
      Floats; lists of them if `eval_step` gives an array for each metric.
    """
    local = batch_size // jax.process_count()
    sums: dict[str, Any] = {}
    for start in range(0, len(source), batch_size):
        # Every process runs equally often; the source's last example pads the last batch, with weight 0.
        positions = start + jax.process_index() * local + np.arange(local)
        chosen = positions[positions < len(source)]
        batch = next(batches(source, local, chosen if len(chosen) else [len(source) - 1]))
        weight = (positions < len(source)).astype(np.float32)
        rows = np.minimum(np.arange(local), len(batch["index"]) - 1)
        batch = {name: value[rows] for name, value in batch.items()}
        totals = eval_step(variables, place({**batch, "weight": weight}), key, kl_weight)
        for name, value in jax.device_get(totals).items():
            sums[name] = sums.get(name, 0.0) + np.asarray(value, np.float64)
    count = sums.pop("weight")
    return {name: (value / count).tolist() for name, value in sums.items()}
