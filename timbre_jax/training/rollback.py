"""Detection of training steps at which the loss diverges."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass
class DivergenceDetector:
    """Detector of bad steps from their loss and gradient norm.

    A step is bad if its loss or gradient norm is not finite. After `warmup_steps` good steps it is also bad if its loss exceeds
    the running average by more than `factor` times the larger of the average's absolute value and the running mean deviation.
    For a positive loss and factor 3 the limit is four times the average; the rule also holds for a negative log-likelihood
    below 0.

    Attributes:
      factor: see above; 0 checks only that values are finite.
      warmup_steps: number of good steps before losses are compared.
      decay: decay of the running averages.
      average: running average of the loss.
      deviation: running average of the absolute difference between loss and average.
      count: number of good steps so far.
    """

    factor: float = 3.0
    warmup_steps: int = 20
    decay: float = 0.98
    average: float = 0.0
    deviation: float = 0.0
    count: int = 0

    def check(self, loss: float, grad_norm: float) -> str | None:
        """Returns why a step is bad, or updates the running averages and returns None."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(grad_norm):
            return f"the gradient norm is {grad_norm}"
        if self.factor > 0 and self.count >= self.warmup_steps:
            limit = self.average + self.factor * max(abs(self.average), self.deviation)
            if loss > limit:
                return f"the loss is {loss:.6g}, above the limit {limit:.6g} (running average {self.average:.6g})"
        self.count += 1
        # The first steps have equal weights, so that the running average starts as a plain mean.
        rate = max(1.0 - self.decay, 1.0 / self.count)
        self.deviation += rate * (abs(loss - self.average) - self.deviation) if self.count > 1 else 0.0
        self.average += rate * (loss - self.average)
        return None

    def state(self) -> dict:
        """Returns the running averages as JSON data."""
        return {"average": self.average, "deviation": self.deviation, "count": self.count}

    def restore(self, state: dict) -> None:
        """Restores the running averages from the output of `state`."""
        self.average, self.deviation, self.count = state["average"], state["deviation"], state["count"]
