"""When is a step bad? And the record of what was done about it."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass
class Guard:
    """Judges steps one after another by their loss and gradient norm, on the host; its memory is three numbers.

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
        """None for a good step, which is remembered; else why it is bad."""
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

    def memory(self) -> dict:
        """What it remembers, JSON-able."""
        return {"average": self.average, "deviation": self.deviation, "count": self.count}

    def recall(self, memory: dict) -> None:
        """Goes back to what `memory` gave."""
        self.average, self.deviation, self.count = memory["average"], memory["deviation"], memory["count"]
