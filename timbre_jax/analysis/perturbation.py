"""Perturbation: how far the decoded sound goes from the original when one latent is moved by a known amount."""

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
    """Scores of M notes with latent d moved by amount a, under the common definition (`metrics.reconstruction`).

    Attributes:
      unit: "percent" (z_d * (1 + a / 100)) or "deviation" (z_d + a * training standard deviation of d).
      amounts: [A].
      full: mse, ssim [M] of the untouched reconstruction.
      moved: mse, ssim [M, D, A].
    """

    unit: str
    amounts: np.ndarray
    full: Scores
    moved: Scores

    def ssim_decrease(self) -> np.ndarray:
        """[D, A]: by how many percent the mean SSIM to the original falls (Natsiou et al. 2023, fig. 7)."""
        return 100.0 * (1.0 - self.moved.ssim.mean(0) / self.full.ssim.mean())

    def importance(self, *, measure: str = "mse") -> np.ndarray:
        """[M, D]: rise of MSE (or fall of SSIM) averaged over the amounts; larger is less resilient."""
        if measure == "mse":
            return (self.moved.mse - self.full.mse[:, None, None]).mean(-1)
        return (self.full.ssim[:, None, None] - self.moved.ssim).mean(-1)

    def table(self, groups: np.ndarray | None = None) -> Table:
        """One row a latent and amount, with intervals over groups (instruments) of the SSIM."""
        decrease = self.ssim_decrease()
        interval = mean_interval(self.moved.ssim, groups)
        mse = self.moved.mse.mean(0)
        rows = tuple(
            (d, float(amount), float(mse[d, a]), *interval.value_low_high(d, a), float(decrease[d, a]))
            for d in range(decrease.shape[0])
            for a, amount in enumerate(self.amounts)
        )
        columns = ("latent", self.unit, "mse", "ssim", "ssim_low", "ssim_high", "ssim_decrease_percent")
        return Table(f"perturbation_{self.unit}", columns, rows, "One latent moved, the others as they are.")


def perturbation(
    space: TimbreSpace,
    features: Features,
    *,
    unit: str = "percent",
    amounts: tuple[float, ...] | None = None,
    batch_size: int | None = None,
) -> Perturbation:
    """Moves every latent of every note by every amount.

    The paper changes a latent by 10 to 60 %, which depends on where a latent's zero happens to lie: a latent with mean
    0 and one with mean 3 are moved by very different amounts. "deviation" moves every latent by the same share of its
    own spread.

    Args:
      space: a static space.
      features: of M notes, in the space's representation.
      unit: "percent" (default amounts 10..60) or "deviation" (default -2, -1, 1, 2).
    """
    defaults = {"percent": PERCENTAGES, "deviation": DEVIATIONS}
    if unit not in defaults:
        raise ValueError(f"unit is percent or deviation, not {unit!r}")
    by = np.asarray(defaults[unit] if amounts is None else amounts, np.float64)
    notes = encode_features(space, features, batch_size=batch_size)
    untouched = np.asarray(notes.values)
    count, size = untouched.shape
    if unit == "percent":
        step = untouched[:, :, None] * by / 100.0
    else:
        deviation = np.asarray(space.statistics["latent_std"], np.float64)
        step = np.broadcast_to(deviation[None, :, None] * by, (count, size, len(by)))
    # [M, D, A, D]: only the perturbed dimension moves. The last row of each note is the untouched one.
    moved = untouched[:, None, None, :] + step[..., None] * np.eye(size)[:, None, :]
    values = np.concatenate([moved.reshape(count, -1, size), untouched[:, None, :]], axis=1)
    rows = np.repeat(np.arange(count), values.shape[1])
    scores = score_latents(space, values.reshape(-1, size), notes, features, rows=rows, batch_size=batch_size)
    mse, ssim = scores.mse.reshape(count, -1), scores.ssim.reshape(count, -1)
    shape = (count, size, len(by))
    return Perturbation(
        unit, by, Scores(mse[:, -1], ssim[:, -1]), Scores(mse[:, :-1].reshape(shape), ssim[:, :-1].reshape(shape))
    )
