"""Feature ablation: scores of sounds decoded with a single latent enabled or disabled."""

from __future__ import annotations

import dataclasses

import numpy as np

from timbre_jax.inference.batched import encode_features
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.reconstruction import Scores, score_latents
from timbre_jax.metrics.table import Table
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

BASELINES = ("mean", "zero")


def baseline_values(space: TimbreSpace, baseline: str) -> np.ndarray:
    """Returns the values [D] of disabled latents.

    The baseline decides the ranking: a latent with mean 3 and a small spread matters a lot against 0 and hardly against 3.

    Args:
      space: a static space.
      baseline: "mean" for the mean of the training latents, or "zero".

    Raises:
      ValueError: another baseline.
    """
    if baseline == "zero":
        return np.zeros(space.latent_size, np.float32)
    if baseline == "mean":
        return np.asarray(space.statistics["latent_mean"], np.float32)
    raise ValueError(f"baseline: must be one of {', '.join(BASELINES)} (got {baseline!r})")


def masked_latents(values: np.ndarray, baseline: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Replaces disabled latents by a baseline, for every sound and every mask.

    Args:
      values: latents [M, D].
      baseline: [D].
      masks: [K, D], true for enabled latents.

    Returns:
      Latents [M * K, D], sound by sound, and the index [M * K] of the sound of each.
    """
    enabled = np.asarray(masks, bool)[None]
    mixed = np.where(enabled, np.asarray(values)[:, None, :], np.asarray(baseline)[None, None, :])
    return mixed.reshape(-1, values.shape[1]).astype(np.float32), np.repeat(np.arange(len(values)), len(masks))


def masked_scores(
    space: TimbreSpace,
    features: Features,
    masks: np.ndarray,
    *,
    baseline: str,
    batch_size: int | None = None,
) -> Scores:
    """Scores every sound under every mask.

    Args:
      space: a static space.
      features: features of M sounds in the representation of the space.
      masks: [K, D], true for enabled latents.
      baseline: "mean" or "zero", see `baseline_values`.
      batch_size: sounds decoded at once; None: `inference.batched.default_batch_size`.

    Returns:
      MSE and SSIM, [M, K] each.
    """
    latent = encode_features(space, features, batch_size=batch_size)
    values, rows = masked_latents(np.asarray(latent.values), baseline_values(space, baseline), masks)
    scores = score_latents(space, values, latent, features, rows=rows, batch_size=batch_size)
    return Scores(scores.mse.reshape(-1, len(masks)), scores.ssim.reshape(-1, len(masks)))


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Scores of M sounds under ablation of D latents (Natsiou et al. 2023, fig. 5).

    MSE and SSIM are on the common scale of `metrics.reconstruction`.

    Attributes:
      baseline: value of disabled latents, "mean" or "zero".
      enabled: scores with only latent d enabled, [M, D] each.
      disabled: scores with only latent d disabled, [M, D] each.
      full: scores with all latents, [M] each.
      none: scores without latents, [M] each.
    """

    baseline: str
    enabled: Scores
    disabled: Scores
    full: Scores
    none: Scores

    def importance(self, *, kind: str = "disabled", measure: str = "mse") -> np.ndarray:
        """Returns the importance [M, D] of every latent for every sound; larger is more important.

        Args:
          kind: "disabled" for the loss if latent d is disabled; "enabled" for the gain if it alone is enabled.
          measure: "mse" or "ssim", the score that rises or falls.

        Raises:
          ValueError: another kind or measure.
        """
        pairs = {"disabled": (self.disabled, self.full), "enabled": (self.none, self.enabled)}
        if kind not in pairs or measure not in ("mse", "ssim"):
            raise ValueError(
                f"importance: must be of kind disabled or enabled and measure mse or ssim (got {kind!r}, {measure!r})"
            )
        worse, better = (_column(getattr(scores, measure)) for scores in pairs[kind])
        return worse - better if measure == "mse" else better - worse

    def table(self, groups: np.ndarray | None = None) -> Table:
        """Returns mean MSE and SSIM for every latent enabled or disabled, with intervals."""
        rows = []
        parts = {"none": self.none, "all": self.full, "only {}": self.enabled, "all but {}": self.disabled}
        for name, scores in parts.items():
            mse, ssim = (mean_interval(_column(x), groups) for x in (scores.mse, scores.ssim))
            for d in range(_column(scores.mse).shape[1]):
                rows.append((self.baseline, name.format(d), *mse.value_low_high(d), *ssim.value_low_high(d)))
        columns = ("disabled_at", "enabled", "mse", "mse_low", "mse_high", "ssim", "ssim_low", "ssim_high")
        value = "their training mean" if self.baseline == "mean" else "0"
        caption = f"Disabled latents are set to {value}. Lower MSE and higher SSIM are better."
        return Table(f"ablation_{self.baseline}", columns, tuple(rows), caption)


def ablation(
    space: TimbreSpace,
    features: Features,
    *,
    baseline: str = "mean",
    batch_size: int | None = None,
) -> Ablation:
    """Scores every sound with each latent enabled alone, or disabled alone.

    Args:
      space: a static space.
      features: features of M sounds in the representation of the space.
      baseline: value of disabled latents, "mean" or "zero", see `baseline_values`.
      batch_size: sounds decoded at once; None: `inference.batched.default_batch_size`.
    """
    size = space.latent_size
    one = np.eye(size, dtype=bool)
    masks = np.concatenate([one, ~one, np.ones((1, size), bool), np.zeros((1, size), bool)])
    scores = masked_scores(space, features, masks, baseline=baseline, batch_size=batch_size)

    def part(columns) -> Scores:
        return Scores(scores.mse[:, columns], scores.ssim[:, columns])

    return Ablation(baseline, part(slice(0, size)), part(slice(size, 2 * size)), part(-2), part(-1))


def _column(x: np.ndarray) -> np.ndarray:
    return x if x.ndim == 2 else x[:, None]
