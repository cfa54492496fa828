"""The pictures of an analysis, from its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.analysis import natsiou2023
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.report import plots
from timbre_jax.report.analysis import HARMONIC, Analysis, Explanations

ROW_NAMES = ("f0", *(f"A{n}" for n in range(1, 8)))


def figures(
    analysis: Analysis, pictures: Mapping[str, Sequence[tuple[str, np.ndarray]]], *, seconds: float | None = None
) -> dict:
    """All pictures of the page by their file names.

    Args:
      pictures: feature images on the common scale: "reconstructions" (pairs) and "ablations" of one note.
      seconds: how long the sounds are.
    """
    size = analysis.latents.shape[1]
    latents = [str(d) for d in range(size)]
    family, found = analysis.classes["family"], {}
    rows = ROW_NAMES if next(iter(pictures.values()))[0][1].shape[1] == len(ROW_NAMES) else None
    found["reconstructions"] = plots.images(pictures["reconstructions"], columns=4, rows_named=rows, seconds=seconds)
    found["distribution"] = plots.distribution(analysis.box)
    if not analysis.active.any():
        return found
    found["classes"] = plots.heatmap(
        (family.mean - analysis.box.mean) / np.where(analysis.box.deviation > 0, analysis.box.deviation, np.inf),
        [f"{c} ({n})" for c, n in zip(family.classes, family.counts, strict=True)],
        latents,
        title="Mean ± std of every latent in every family",
        text=np.char.add(np.char.mod("%.1f", family.mean), np.char.add("±", np.char.mod("%.1f", family.deviation))),
        limits=(-2, 2),
        label="deviations from the mean of all",
        xlabel="latent",
    )
    found["ranges"] = plots.ranges(analysis.ranges)
    if (spearman := analysis.correlations.get("spearman")) is not None:
        found["correlation"] = plots.heatmap(
            spearman.value.T,
            [name.removesuffix("_hz") for name in spearman.names],
            latents,
            title="Rank correlation with what is known of the notes",
            limits=(-1, 1),
            label="Spearman",
            xlabel="latent",
            faint=~spearman.beyond_chance().T,
        )
    pca = analysis.maps["pca"]
    maps = [(f"PCA ({100 * pca.explained.sum():.0f} % of the variance)", pca.points, pca.rows)]
    if "tsne" in analysis.maps:
        tsne = analysis.maps["tsne"]
        maps.append((f"t-SNE (perplexity {tsne.settings['perplexity']:.0f})", tsne.points, tsne.rows))
    found["map_family"] = plots.scatter(maps, analysis.labels["family"])
    pitch = analysis.labels["pitch"]
    if pitch.max() >= 0:  # -1: the source does not know it
        found["map_pitch"] = plots.scatter(maps, analysis.labels["family"], colours=pitch, colour_label="pitch (MIDI)")
    if (families := analysis.quality.families) is not None:
        share = families.confusion / np.maximum(families.confusion.sum(1, keepdims=True), 1)
        shown = families.confusion.sum(1) > 0
        found["confusion"] = plots.heatmap(
            100 * share[shown],
            families.classes[shown].tolist(),
            families.classes.tolist(),
            title="Family by the 5 nearest training notes",
            text=np.char.mod("%.0f", 100 * share[shown]),
            limits=(0, 100),
            colours="Blues",
            label="% of the family's notes",
        )
    if analysis.explanations is not None:
        found |= _explanation_figures(analysis.explanations)
    if analysis.explanations is not None and analysis.pictures == HARMONIC:
        theirs = natsiou2023.equal_weight_separation(natsiou2023.table_1())
        ours = np.nan_to_num(natsiou2023.equal_weight_separation(family))
        length = max(len(theirs), len(ours))
        padded = [np.pad(np.sort(x)[::-1], (0, length - len(x)), constant_values=np.nan) for x in (theirs, ours)]
        found["paper_separation"] = plots.paired_bars(
            [f"{n + 1}." for n in range(length)],
            [("paper, table 1", padded[0]), ("here", padded[1])],
            ylabel="share of the variance",
            title="Share of each latent's variance between classes, descending",
        )
    if "ablations" in pictures:
        found["ablation_images"] = plots.images(pictures["ablations"], columns=4, rows_named=rows, seconds=seconds)
    return found


def _explanation_figures(e: Explanations) -> dict:
    found = {}
    panels, lines = [], []
    for baseline, ablation in e.ablations.items():
        for kind, scores in (("only this latent on", ablation.enabled), ("only this latent off", ablation.disabled)):
            interval = mean_interval(scores.ssim, e.groups)
            lines.append((len(panels), float(ablation.full.ssim.mean()), "all on"))
            lines.append((len(panels), float(ablation.none.ssim.mean()), "all off"))
            panels.append((f"{kind}; off = {baseline}", interval.value, interval.low, interval.high))
    found["ablation"] = plots.bars(
        panels, ylabel="SSIM to the original", lines=lines, columns=2, colours=(plots.MAIN, plots.SECOND)
    )
    percent, deviation = e.perturbations["percent"], e.perturbations["deviation"]
    found["perturbation"] = plots.curves(
        [
            (
                "Moved by a percentage (as in the paper)",
                "% of its value",
                *_with_zero(percent.amounts, percent.ssim_decrease()),
            ),
            (
                "Moved by its own spread",
                "standard deviations",
                *_with_zero(deviation.amounts, deviation.ssim_decrease()),
            ),
        ],
        ylabel="fall of SSIM in %",
    )
    bars = []
    for title, values in (
        ("Shapley, v = -MSE", e.shapley["mse", "mean"].values),
        ("SAGE", e.sage.shares),
        ("Integrated Gradients", e.gradients.values),
        ("Gradient x deviation", e.sensitivity.scaled),
        ("Shapley, v = SSIM", e.shapley["ssim", "mean"].values),
        ("One off (rise of MSE)", e.ablations["mean"].importance(kind="disabled")),
    ):
        interval = mean_interval(values, e.groups)
        bars.append((title, interval.value, interval.low, interval.high))
    found["importance"] = plots.bars(bars)
    found["agreement"] = plots.heatmap(
        e.agreement.matrix,
        e.agreement.names,
        e.agreement.names,
        title="Do the methods agree?",
        limits=(-1, 1),
        label="rank correlation",
    )
    if e.directions is not None:
        place = e.directions.positions
        share = np.linspace(0, 100, place.shape[1])
        titles = {
            "pitch_semitones": ("Pitch", "MIDI number"),
            "level_db": ("Level", "dB"),
            "brightness_harmonics": ("Brightness", "mean harmonic"),
            "temporal_centroid_seconds": ("Centre in time: plucked to held", "seconds"),
        }
        found["directions"] = plots.curves(
            [(titles[name][0], titles[name][1], share, q) for name, q in e.directions.qualities.items()],
            shared_xlabel="position in the latent's range (%)",
        )
    return found


def _with_zero(amounts: np.ndarray, curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With the untouched note, whose fall is 0 by definition, at its place."""
    place = int(np.searchsorted(amounts, 0.0))
    return np.insert(amounts, place, 0.0), np.insert(curves, place, 0.0, axis=1)
