"""What Natsiou, O'Leary & Longo 2023 report of their latents, as data, and what of it can be set beside another run.

Which latent gets which number is an accident of a run's seed: "latent 2" of the paper is no more our latent 2 than our
latent 5. So nothing is compared by number. What can be compared is of the kind "how unequal are the latents", "how
tight are the tightest", "how far do classes lie apart, latent after latent in descending order", "do the methods
agree".
"""

from __future__ import annotations

import numpy as np

from timbre_jax.analysis.agreement import Agreement
from timbre_jax.analysis.statistics import BoxPlot, ClassStatistics
from timbre_jax.evaluation.published import NATSIOU_MSE, NATSIOU_SSIM
from timbre_jax.metrics.table import Table

MOST_IMPORTANT = (0, 1, 2, 5)
"""By most of its analyzes (section 4.1)."""
LEAST_RESILIENT = (1, 2, 5)
"""By perturbation, fig. 7. The text counts "features one, two, and five" by their number."""
TIGHT = (1, 2)
"""By the box plot, fig. 4: "the second and third attributes"."""
BEST_ALONE = (0, 1, 2)
"""By ablation, fig. 5: "the first three attributes"."""

TABLE_1: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "guitar": ((0.23, -0.39, 3.32, 0.04, 0.3, 0.41, -0.84, 0.14), (0.56, 0.74, 0.24, 0.58, 0.74, 0.72, 1.05, 0.69)),
    "keyboard": ((-0.26, -0.34, 3.26, -0.17, 0.29, 0.75, -0.31, -0.12), (0.84, 0.76, 0.24, 0.86, 0.96, 0.73, 0.91, 0.91)),
    "vocal": ((-2.49, 0.54, 2.71, -0.12, -0.3, -0.73, 0.16, -1.16), (1.59, 0.89, 0.61, 0.68, 0.67, 1.03, 1.05, 1.39)),
    "organ": ((-0.56, 0.32, 3.09, 0.05, 0.06, -0.18, 0.15, -0.03), (1.37, 0.96, 0.65, 0.56, 1.06, 0.77, 1.44, 1.12)),
    "bass": ((-1.11, 0.31, 2.77, -0.38, -0.3, -0.25, -0.31, -0.53), (0.97, 1.48, 0.72, 1.09, 1.19, 1.43, 0.82, 1.01)),
    "brass": ((-0.55, 0.29, 2.98, 0.11, -0.88, 0.21, 0.11, -0.81), (0.78, 0.85, 0.41, 0.62, 1.01, 0.96, 0.9, 0.89)),
    "flute": ((-0.34, 1.01, 3.81, 0.0, 0.4, 0.06, -0.69, -0.13), (0.73, 1.09, 0.86, 0.38, 1.07, 0.45, 0.67, 0.94)),
    "reed": ((-0.1, 0.35, 3.14, 0.12, -0.76, -0.39, -0.07, -0.42), (0.83, 0.78, 0.36, 0.73, 1.02, 1.2, 0.83, 0.87)),
    "string": ((-0.92, 0.14, 3.02, 0.36, -0.65, -0.45, -0.17, 0.04), (0.8, 1.39, 0.22, 0.7, 0.83, 0.73, 0.77, 1.06)),
}
"""Means, then standard deviations, of latents 0-7 in every class (its table 1)."""


def separations(families: ClassStatistics) -> list[np.ndarray]:
    """Returns the paper's and this run's class separation of the latents, each descending; nan where a run has fewer latents.

    It is the variance of the class means over the total variance, with every class weighing the same, because the paper's
    table 1 gives no counts.
    """
    paper = np.array(list(TABLE_1.values()))
    found = []
    for mean, deviation in ((paper[:, 0], paper[:, 1]), (families.mean, families.deviation)):
        between, within = mean.var(0), (deviation**2).mean(0)
        found.append(np.sort(between / np.maximum(between + within, 1e-12))[::-1])
    length = max(map(len, found))
    return [np.pad(each, (0, length - len(each)), constant_values=np.nan) for each in found]


def separation_table(families: ClassStatistics) -> Table:
    """Class separation of the latents in descending order, the paper's beside ours (table 1)."""
    pairs = enumerate(zip(*separations(families), strict=True))
    rows = tuple((f"{place + 1}.", *map(float, pair)) for place, pair in pairs)
    caption = "Share of a latent's variance that lies between classes."
    return Table("paper_separation", ("latent_by_separation", "paper", "here"), rows, caption)


def verdict_table(
    *,
    box: BoxPlot,
    ranks: Agreement,
    best_alone: np.ndarray,
    least_resilient: np.ndarray,
    mse: float,
    ssim: float,
    mean_image_mse: float,
) -> Table:
    """The paper's statements with the same statement about this run. Numbers of latents are each run's own.

    Args:
      box: of this run's latents.
      ranks: of all methods' importances.
      best_alone, least_resilient: [D] importances by "one enabled" ablation and by percentual perturbation.
      mse, ssim, mean_image_mse: this run's scores under the common definition.
    """
    size = len(box.median)
    iqr = box.interquartile_range
    typical = np.median(iqr)
    tight = np.flatnonzero(iqr < 0.5 * typical)
    half = max(1, size // 2)

    def names(latents) -> str:
        return ", ".join(str(int(d)) for d in latents) if len(latents) else "none"

    def top(values: np.ndarray, number: int) -> np.ndarray:
        return np.sort(np.argsort(-values, kind="stable")[:number])

    offset = np.abs(box.mean) > 2 * box.deviation
    best, least = (names(top(values, min(3, size))) for values in (best_alone, least_resilient))
    rows = (
        ("Some latents hold tight values (fig. 4)", names(TIGHT), names(tight),
         "Here: interquartile range under half of the median latent's."),
        ("Best with one latent enabled (fig. 5)", names(BEST_ALONE), best,
         "Gain of SSIM over no latent, the others at 0, as in the paper."),
        ("Least resilient to 10-60 % (fig. 7)", names(LEAST_RESILIENT), least,
         "A percentage moves a latent far from 0 the most, whatever it means."),
        ("Most important, taken together", names(MOST_IMPORTANT), names(np.sort(ranks.order()[:half])),
         f"Here: mean rank of {len(ranks.names)} methods."),
        ("Latents that lie far from 0 in every class (table 1)", "2", names(np.flatnonzero(offset)),
         "Here: |mean| above 2 standard deviations. It tells of a weak KL term, not of timbre."),
        ("Methods agree", "said in words", f"{ranks.mean():.2f}",
         "Here: mean rank correlation between pairs of methods; 1 is perfect, 0 is none."),
        ("MSE of the representation", f"{NATSIOU_MSE:g}", f"{mse:.4f} (mean image {mean_image_mse:.4f})",
         "Not comparable: the paper's is min-max normalized on its own data, f0 probably in Hz."),
        ("SSIM of the representation", f"{NATSIOU_SSIM:g}", f"{ssim:.3f}",
         "Not comparable: the paper states neither window nor data range, and both change it a lot."),
    )  # fmt: skip
    return Table(
        "paper_verdicts",
        ("statement", "paper", "here", "how to read it"),
        rows,
        "Latents are numbered by chance in every run: compare the kind of statement, never the numbers.",
    )
