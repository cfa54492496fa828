"""A learning rate that falls when evaluations stop getting better."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Plateau:
    """After `patience` evaluations in a row that bring nothing, the learning rate is multiplied by `factor`; where it would
    fall below `minimum`, training ends (Rebnord 2022, section 7.2.1: 5, 1/5, 1e-5).

    Attributes:
      learning_rate: at the start.
    """

    learning_rate: float
    patience: int = 5
    factor: float = 0.2
    minimum: float = 1e-5

    def rate(self, falls: int) -> float:
        """The learning rate after so many falls."""
        return self.learning_rate * self.factor**falls

    def judge(self, falls: int, waiting: int, better: bool) -> tuple[int, int, bool]:
        """One evaluation: (falls, evaluations that brought nothing since the last that did or fall, whether it is over)."""
        waiting = 0 if better else waiting + 1
        if waiting < self.patience:
            return falls, waiting, False
        if self.rate(falls + 1) < self.minimum:
            return falls, waiting, True
        return falls + 1, 0, False
