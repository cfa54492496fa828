"""Perturbation: scores of sounds decoded with one latent changed by known amounts."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.inference.batched import encode_features
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.reconstruction import Scores, score_latents
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

PERCENTAGES = (10.0, 20.0, 30.0, 40.0, 50.0, 60.0)
DEVIATIONS = (-2.0, -1.0, 1.0, 2.0)


@dataclasses.dataclass(frozen=True)
class Perturbation:
    """Scores of M sounds with latent d changed by A amounts.

    MSE and SSIM are on the common scale of `metrics.reconstruction`.

    Attributes:
      unit: "percent" (z_d * (1 + a / 100)) or "deviation" (z_d + a * training standard deviation of d).
      amounts: [A].
      full: scores [M] of the unchanged reconstruction.
      moved: scores [M, D, A] of the changed ones.
    """

    unit: str
    amounts: np.ndarray
    full: Scores
    moved: Scores

    def ssim_decrease(self) -> np.ndarray:
        """Returns the decrease [D, A] of the mean SSIM in percent (Natsiou et al. 2023, fig. 7)."""
        return 100.0 * (1.0 - self.moved.ssim.mean(0) / self.full.ssim.mean())

    def importance(self, *, measure: str = "mse") -> np.ndarray:
        """Returns the rise of MSE (or fall of SSIM) averaged over the amounts, [M, D]."""
        if measure == "mse":
            return (self.moved.mse - self.full.mse[:, None, None]).mean(-1)
        return (self.full.ssim[:, None, None] - self.moved.ssim).mean(-1)

    def table(self, groups: np.ndarray | None = None) -> Table:
        """Returns scores for every latent and amount; intervals of SSIM are over groups [M]."""
        decrease = self.ssim_decrease()
        interval = mean_interval(self.moved.ssim, groups)
        mse = self.moved.mse.mean(0)
        rows = tuple(
            (d, float(amount), float(mse[d, a]), *interval.value_low_high(d, a), float(decrease[d, a]))
            for d in range(decrease.shape[0])
            for a, amount in enumerate(self.amounts)
        )
        columns = ("latent", self.unit, "mse", "ssim", "ssim_low", "ssim_high", "ssim_decrease_percent")
        caption = "Scores with one latent changed. Lower MSE and higher SSIM are better: the change does less harm."
        return Table(f"perturbation_{self.unit}", columns, rows, caption)


def perturbation(
    space: TimbreSpace,
    features: Features,
    *,
    unit: str = "percent",
    amounts: tuple[float, ...] | None = None,
    batch_size: int | None = None,
) -> Perturbation:
    """Scores every sound with each latent changed by each amount.

    Natsiou et al. 2023 change latents by 10 to 60 percent, which moves a latent with mean 3 much further than one with mean 0;
    "deviation" moves every latent in units of its own standard deviation.

    Args:
      space: a static space.
      features: features of M sounds in the representation of the space.
      unit: "percent" or "deviation".
      amounts: amounts in that unit; None: 10 to 60 percent, or -2, -1, 1 and 2 deviations.
      batch_size: sounds decoded at once; None: `inference.batched.default_batch_size`.

    Raises:
      ValueError: another unit.
    """
    defaults = {"percent": PERCENTAGES, "deviation": DEVIATIONS}
    if unit not in defaults:
        raise ValueError(f"unit: must be percent or deviation (got {unit!r})")
    steps = np.asarray(defaults[unit] if amounts is None else amounts, np.float64)
    latent = encode_features(space, features, batch_size=batch_size)
    original = np.asarray(latent.values)
    count, size = original.shape
    if unit == "percent":
        change = original[:, :, None] * steps / 100.0
    else:
        deviation = np.asarray(space.statistics["latent_std"], np.float64)
        change = np.broadcast_to(deviation[None, :, None] * steps, (count, size, len(steps)))
    # [M, D, A, D]: only latent d changes. The unchanged latent follows as the last row of each sound.
    moved = original[:, None, None, :] + change[..., None] * np.eye(size)[:, None, :]
    values = np.concatenate([moved.reshape(count, -1, size), original[:, None, :]], axis=1)
    rows = np.repeat(np.arange(count), values.shape[1])
    scores = score_latents(space, values.reshape(-1, size), latent, features, rows=rows, batch_size=batch_size)
    mse, ssim = scores.mse.reshape(count, -1), scores.ssim.reshape(count, -1)
    full, shape = Scores(mse[:, -1], ssim[:, -1]), (count, size, len(steps))
    return Perturbation(unit, steps, full, Scores(mse[:, :-1].reshape(shape), ssim[:, :-1].reshape(shape)))
