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
    """Returns the mean metrics of `make_eval_step` over all examples of a source.

    Args:
      evaluate: evaluation step of this process's part of a batch.
      source: validation set; processes evaluate different parts of each batch.
      batch_size: number of examples on all devices together.

    Returns:
      Floats; lists of them if `evaluate` returns an array for each metric.
    """
    local = batch_size // jax.process_count()
    sums: dict[str, Any] = {}
    for start in range(0, len(source), batch_size):
        # All processes take the same number of steps, so the last batch is padded with examples of weight 0.
        positions = start + jax.process_index() * local + np.arange(local)
        weight = (positions < len(source)).astype(np.float32)
        batch = {**source.batch(np.minimum(positions, len(source) - 1)), "weight": weight}
        for name, value in jax.device_get(evaluate(batch)).items():
            sums[name] = sums.get(name, 0.0) + np.asarray(value, np.float64)
    count = sums.pop("weight")
    return {name: (value / count).tolist() for name, value in sums.items()}
