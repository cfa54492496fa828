"""Results of Natsiou, O'Leary & Longo 2023, for comparison with another run.

The numbering of latents depends on the seed of a run: latent 2 of the paper does not correspond to latent 2 of another run.
Therefore statements are compared, not latents: the number of narrow distributions, the class separation of the latents in
descending order, and the agreement of the methods.
"""

from __future__ import annotations

import numpy as np

from timbre_jax.analysis.agreement import Agreement
from timbre_jax.analysis.statistics import BoxPlot, ClassStatistics
from timbre_jax.evaluation.published import NATSIOU_MSE, NATSIOU_SSIM
from timbre_jax.metrics.table import Table

MOST_IMPORTANT = (0, 1, 2, 5)
"""Most important latents according to section 4.1."""
LEAST_RESILIENT = (1, 2, 5)
"""Least resilient latents under perturbation (fig. 7: "features one, two, and five")."""
NARROW = (1, 2)
"""Latents with a narrow distribution (fig. 4: "the second and third attributes")."""
BEST_ALONE = (0, 1, 2)
"""Best latents when enabled alone (fig. 5: "the first three attributes")."""

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
"""Means and standard deviations of latents 0 to 7 by class (table 1 of the paper)."""


def separations(families: ClassStatistics) -> list[np.ndarray]:
    """Returns the class separation of the latents in the paper and this run, descending.

    The separation is the variance of the class means divided by the total variance. All classes have equal weight, because
    table 1 of the paper contains no counts. The shorter list is padded with nan.

    Args:
      families: statistics of the classes of this run.
    """
    paper = np.array(list(TABLE_1.values()))
    both = []
    for mean, deviation in ((paper[:, 0], paper[:, 1]), (families.mean, families.deviation)):
        between, within = mean.var(0), (deviation**2).mean(0)
        both.append(np.sort(between / np.maximum(between + within, 1e-12))[::-1])
    length = max(map(len, both))
    return [np.pad(each, (0, length - len(each)), constant_values=np.nan) for each in both]


def separation_table(families: ClassStatistics) -> Table:
    """Returns `separations` as a table."""
    pairs = enumerate(zip(*separations(families), strict=True))
    rows = tuple((f"{place + 1}.", *map(float, pair)) for place, pair in pairs)
    caption = "Share of a latent's variance between classes, from 0 to 1; higher separates the classes better."
    return Table("paper_separation", ("rank", "paper", "this run"), rows, caption)


def statement_table(
    *,
    box: BoxPlot,
    ranks: Agreement,
    best_alone: np.ndarray,
    least_resilient: np.ndarray,
    mse: float,
    ssim: float,
    mean_image_mse: float,
) -> Table:
    """Returns the statements of the paper beside the same statements about this run.

    Args:
      box: distribution of the latents of this run.
      ranks: agreement of all methods.
      best_alone: importances [D] by ablation with one latent enabled.
      least_resilient: importances [D] by perturbation in percent.
      mse: MSE of this run on the common scale.
      ssim: SSIM of this run on the common scale.
      mean_image_mse: MSE of the mean image on the same sounds.
    """
    size = len(box.median)
    iqr = box.interquartile_range
    typical = np.median(iqr)
    narrow = np.flatnonzero(iqr < 0.5 * typical)
    half = max(1, size // 2)

    def names(latents) -> str:
        return ", ".join(str(int(d)) for d in latents) if len(latents) else "none"

    def top(values: np.ndarray, number: int) -> np.ndarray:
        return np.sort(np.argsort(-values, kind="stable")[:number])

    offset = np.abs(box.mean) > 2 * box.deviation
    best, least = (names(top(values, min(3, size))) for values in (best_alone, least_resilient))
    rows = (
        ("Latents with a narrow distribution (fig. 4)", names(NARROW), names(narrow),
         "This run: interquartile range below half of the median latent's."),
        ("Best latents when enabled alone (fig. 5)", names(BEST_ALONE), best,
         "Gain of SSIM with the other latents at 0, as in the paper."),
        ("Least resilient to changes of 10 to 60 % (fig. 7)", names(LEAST_RESILIENT), least,
         "A percentage changes latents with a large mean the most."),
        ("Most important latents overall", names(MOST_IMPORTANT), names(np.sort(ranks.order()[:half])),
         f"This run: mean rank over {len(ranks.names)} measures."),
        ("Latents far from 0 in every class (table 1)", "2", names(np.flatnonzero(offset)),
         "This run: |mean| above 2 standard deviations; a sign of a weak KL term."),
        ("Agreement of the methods", "in words", f"{ranks.mean():.2f}",
         "This run: mean rank correlation of pairs of methods; 1 is perfect, 0 is none."),
        ("MSE of the reconstruction", f"{NATSIOU_MSE:g}", f"{mse:.4f} (mean image {mean_image_mse:.4f})",
         "Not comparable: the paper does not state which notes define the range of its features."),
        ("SSIM of the reconstruction", f"{NATSIOU_SSIM:g}", f"{ssim:.3f}",
         "Not comparable: the paper states neither window nor data range."),
    )  # fmt: skip
    return Table(
        "paper_statements",
        ("statement", "paper", "this run", "note"),
        rows,
        "Compare the statements, not the numbers of latents: each run numbers its latents in another order.",
    )
