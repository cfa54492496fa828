"""Detection of steps that make a training diverge."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass
class DivergenceDetector:
    """Detector of bad steps by their loss and gradient norm, on the host; its state is three numbers.

    A step is bad when its loss or its gradient norm is not finite, or, after `settle` good steps, when its loss lies above
    the running average by more than `factor` times the larger of the average's size and the running mean deviation. So for
    a loss above 0 and factor 3 the limit is four times the average; for a negative log-likelihood under 0 it still means
    something.

    Attributes:
      factor: as above; 0 looks only for what is not finite.
      settle: good steps before losses are compared.
      decay: of the running averages.
      average, deviation, count: running mean of the loss, of its distance from the mean, and how many good steps they saw.
    """

    factor: float = 3.0
    settle: int = 20
    decay: float = 0.98
    average: float = 0.0
    deviation: float = 0.0
    count: int = 0

    def judge(self, loss: float, grad_norm: float) -> str | None:
        """Returns why a step is bad, or None; good steps enter the running averages."""
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(grad_norm):
            return f"the gradient norm is {grad_norm}"
        if self.factor > 0 and self.count >= self.settle:
            limit = self.average + self.factor * max(abs(self.average), self.deviation)
            if loss > limit:
                return f"the loss is {loss:.6g}, above the limit {limit:.6g} (running average {self.average:.6g})"
        self.count += 1
        # The first steps count fully: the running average is the plain mean until the decay takes over.
        rate = max(1.0 - self.decay, 1.0 / self.count)
        self.deviation += rate * (abs(loss - self.average) - self.deviation) if self.count > 1 else 0.0
        self.average += rate * (loss - self.average)
        return None

    def state(self) -> dict:
        """Returns the running averages as JSON data."""
        return {"average": self.average, "deviation": self.deviation, "count": self.count}

    def restore(self, state: dict) -> None:
        """Restores what `state` returned."""
        self.average, self.deviation, self.count = state["average"], state["deviation"], state["count"]
