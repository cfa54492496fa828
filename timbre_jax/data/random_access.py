"""What is read by position: for grain one at a time, for our own pipeline several at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class RandomAccess:
    """len() and [i] of what has `index` [n] and reads several positions by `batch`, {name: [n, ...]}."""

    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, position: int) -> dict[str, np.ndarray]:
        return {name: values[0] for name, values in self.batch([position]).items()}

    def batch(self, positions: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """What [i] says of several positions at once, [n, ...] each."""
        raise NotImplementedError

    def _checked(self, positions: Sequence[int] | np.ndarray) -> np.ndarray:
        """The positions as int64 [n]. Raises IndexError for one that is not there."""
        positions = np.asarray(positions, np.int64).reshape(-1)
        if len(positions) and not (positions.min() >= 0 and positions.max() < len(self)):
            raise IndexError(f"position {positions.min()}..{positions.max()} of {len(self)} features")
        return positions
