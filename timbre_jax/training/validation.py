"""Mean metrics of a model on a validation set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from timbre_jax.data.example_source import ExampleSource
from timbre_jax.types import Array


def mean_metrics(
    evaluate: Callable[[Mapping[str, np.ndarray]], Mapping[str, Array]], source: ExampleSource, *, batch_size: int
) -> dict[str, Any]:
    """Returns the means of the metrics of `make_eval_step` over every example of a source, each counted once.

    Args:
      evaluate: evaluation step on this process's part of a batch.
      source: validation set; several processes share each batch.
      batch_size: examples on all devices together.

    Returns:
      Floats; lists of them if `evaluate` returns an array for each metric.
    """
    local = batch_size // jax.process_count()
    sums: dict[str, Any] = {}
    for start in range(0, len(source), batch_size):
        # Every process runs equally often; the source's last example pads the last batch, with weight 0.
        positions = start + jax.process_index() * local + np.arange(local)
        weight = (positions < len(source)).astype(np.float32)
        batch = {**source.batch(np.minimum(positions, len(source) - 1)), "weight": weight}
        for name, value in jax.device_get(evaluate(batch)).items():
            sums[name] = sums.get(name, 0.0) + np.asarray(value, np.float64)
    count = sums.pop("weight")
    return {name: (value / count).tolist() for name, value in sums.items()}
