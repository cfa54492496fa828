"""Learning-rate schedule that reduces the rate when the validation score stops improving."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class PlateauSchedule:
    """Schedule that multiplies the learning rate by `factor` on every plateau.

    A plateau is `patience` evaluations in a row without improvement. Training ends instead when the rate would drop below
    `minimum`. The defaults are those of Rebnord 2022, section 7.2.1.

    Attributes:
      learning_rate: initial learning rate.
      patience: number of evaluations without improvement before a drop.
      factor: ratio of the learning rates after and before a drop.
      minimum: smallest learning rate.
    """

    learning_rate: float
    patience: int = 5
    factor: float = 0.2
    minimum: float = 1e-5

    def rate(self, drops: int) -> float:
        """Returns the learning rate after a number of drops."""
        return self.learning_rate * self.factor**drops

    def update(self, drops: int, waited: int, improved: bool) -> tuple[int, int, bool]:
        """Updates the state of the schedule after an evaluation.

        Args:
          drops: number of drops so far.
          waited: number of evaluations without improvement since the last drop.
          improved: whether this evaluation is the best so far.

        Returns:
          `drops` and `waited` after the evaluation, and whether training ends.
        """
        waited = 0 if improved else waited + 1
        if waited < self.patience:
            return drops, waited, False
        if self.rate(drops + 1) < self.minimum:
            return drops, waited, True
        return drops + 1, 0, False
