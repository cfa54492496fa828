"""Feature ablation: what the decoder makes of a sound when only one latent is left on, or only one is switched off."""

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
    """The value [D] that a latent has when it is switched off: "mean" of the training set's latents, or "zero".

    The two rank latents differently: a latent with mean 3 and little spread matters a lot against 0, hardly against 3.
    """
    if baseline == "zero":
        return np.zeros(space.latent_size, np.float32)
    if baseline == "mean":
        return np.asarray(space.statistics["latent_mean"], np.float32)
    raise ValueError(f"baseline is one of {', '.join(BASELINES)}, not {baseline!r}")


def masked_latents(values: np.ndarray, baseline: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every note's latents [M, D] under every mask [K, D] (true: the latent is on; else at the baseline [D]).

    Returns latents [M * K, D], note by note, and the note [M * K] of each.
    """
    on = np.asarray(masks, bool)[None]
    mixed = np.where(on, np.asarray(values)[:, None, :], np.asarray(baseline)[None, None, :])
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
      features: of M sounds, in the space's representation.
      masks: [K, D], true for latents that are on.
      baseline: "mean" or "zero", see `baseline_values`.
      batch_size: sounds decoded at once; None: `default_batch`.

    Returns:
      MSE and SSIM [M, K].
    """
    notes = encode_features(space, features, batch_size=batch_size)
    values, rows = masked_latents(np.asarray(notes.values), baseline_values(space, baseline), masks)
    scores = score_latents(space, values, notes, features, rows=rows, batch_size=batch_size)
    return Scores(scores.mse.reshape(-1, len(masks)), scores.ssim.reshape(-1, len(masks)))


@dataclasses.dataclass(frozen=True)
class Ablation:
    """Scores of M notes under ablation of D latents. MSE and SSIM under the common definition (`metrics.reconstruction`).

    Attributes:
      baseline: where the latents that are off stand ("mean" or "zero").
      enabled: only latent d on: mse, ssim [M, D] each (the paper's fig. 5).
      disabled: only latent d off: mse, ssim [M, D] each.
      full, none: all on, all off: mse, ssim [M] each.
    """

    baseline: str
    enabled: Scores
    disabled: Scores
    full: Scores
    none: Scores

    def importance(self, *, kind: str = "disabled", measure: str = "mse") -> np.ndarray:
        """[M, D], larger is more important.

        "disabled": what switching latent d off costs (rise of MSE, fall of SSIM); "enabled": what switching d alone on
        brings.
        """
        pairs = {"disabled": (self.disabled, self.full), "enabled": (self.none, self.enabled)}
        if kind not in pairs or measure not in ("mse", "ssim"):
            raise ValueError(f"kind is disabled or enabled, measure is mse or ssim, not {kind!r}, {measure!r}")
        worse, better = (_column(getattr(scores, measure)) for scores in pairs[kind])
        return worse - better if measure == "mse" else better - worse

    def table(self, groups: np.ndarray | None = None) -> Table:
        """One row a latent and kind: mean MSE and SSIM with intervals over groups (instruments)."""
        rows = []
        parts = {"none": self.none, "all": self.full, "only {}": self.enabled, "all but {}": self.disabled}
        for name, scores in parts.items():
            mse, ssim = (mean_interval(_column(x), groups) for x in (scores.mse, scores.ssim))
            for d in range(_column(scores.mse).shape[1]):
                rows.append((self.baseline, name.format(d), *mse.value_low_high(d), *ssim.value_low_high(d)))
        columns = ("others_at", "enabled", "mse", "mse_low", "mse_high", "ssim", "ssim_low", "ssim_high")
        return Table(f"ablation_{self.baseline}", columns, tuple(rows), f"Latents that are off stand at their {self.baseline}.")


def ablation(
    space: TimbreSpace,
    features: Features,
    *,
    baseline: str = "mean",
    batch_size: int | None = None,
) -> Ablation:
    """Ablates every latent of every note.

    Args:
      space: a static space.
      features: of M notes, in the space's representation.
      baseline: "mean" or "zero", see `baseline_values`.
    """
    size = space.latent_size
    one = np.eye(size, dtype=bool)
    masks = np.concatenate([one, ~one, np.ones((1, size), bool), np.zeros((1, size), bool)])
    scores = masked_scores(space, features, masks, baseline=baseline, batch_size=batch_size)

    def part(where) -> Scores:
        return Scores(scores.mse[:, where], scores.ssim[:, where])

    return Ablation(baseline, part(slice(0, size)), part(slice(size, 2 * size)), part(-2), part(-1))


def _column(x: np.ndarray) -> np.ndarray:
    return x if x.ndim == 2 else x[:, None]
