"""Figures of an analysis by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from timbre_jax.analysis import natsiou2023
from timbre_jax.analysis.record import (
    Analysis,
    Codes,
    Examples,
    Explanations,
    SeriesAnalysis,
    SoundCurves,
    StaticAnalysis,
)
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.report import plots
from timbre_jax.report.series_plots import code_histogram, code_scatter, series_figure
from timbre_jax.report.spectrogram import spectrogram_image

ROW_NAMES = ("f0", *(f"A{n}" for n in range(1, 8)))
DISABLED_AT = {"mean": "their mean", "zero": "0"}


def figures(analysis: Analysis, examples: Examples) -> dict:
    """Returns the matplotlib figures of an analysis by name."""
    if isinstance(analysis, SeriesAnalysis):
        return _series_figures(analysis, examples)
    assert isinstance(analysis, StaticAnalysis)
    return _static_figures(analysis, examples)


def _static_figures(analysis: StaticAnalysis, examples: Examples) -> dict:
    family, images = analysis.classes["family"], examples.images
    rows = ROW_NAMES if images["reconstructions"][0][1].shape[1] == len(ROW_NAMES) else None
    options = {"columns": 4, "rows_named": rows, "seconds": examples.seconds}
    drawn = {
        "reconstructions": plots.images(images["reconstructions"], **options),
        "distribution": plots.distribution(analysis.box),
    }
    if not analysis.active.any():
        return drawn
    drawn["classes"] = plots.heatmap(
        (family.mean - analysis.box.mean) / np.where(analysis.box.deviation > 0, analysis.box.deviation, np.inf),
        [f"{c} ({n})" for c, n in zip(family.classes, family.counts, strict=True)],
        _numbered(analysis.points.shape[1]),
        title="Mean ± standard deviation by family",
        text=np.char.add(np.char.mod("%.1f", family.mean), np.char.add("±", np.char.mod("%.1f", family.deviation))),
        limits=(-2, 2),
        label="deviations from the mean",
        xlabel="latent",
    )
    drawn["ranges"] = plots.ranges(analysis.ranges)
    if (spearman := analysis.correlations.get("spearman")) is not None:
        drawn["correlation"] = _correlation_heatmap(
            spearman, _numbered(len(spearman.value)), title="Rank correlation with known properties", xlabel="latent"
        )
    pca = analysis.maps["pca"]
    share = 0.0 if pca.explained is None else 100.0 * pca.explained.sum()
    maps = [(f"PCA ({share:.0f} % of the variance)", pca.points, pca.rows)]
    if "tsne" in analysis.maps:
        tsne = analysis.maps["tsne"]
        maps.append((f"t-SNE (perplexity {tsne.settings['perplexity']:.0f})", tsne.points, tsne.rows))
    drawn["map_family"] = plots.scatter(maps, analysis.labels["family"])
    pitch = analysis.labels["pitch"]
    if pitch.max() >= 0:  # -1 is unknown to the source
        drawn["map_pitch"] = plots.scatter(maps, analysis.labels["family"], colors=pitch, color_label="pitch (MIDI)")
    if (families := analysis.quality.families) is not None:
        share = families.confusion / np.maximum(families.confusion.sum(1, keepdims=True), 1)
        shown = families.confusion.sum(1) > 0
        drawn["confusion"] = plots.heatmap(
            100 * share[shown],
            families.classes[shown].tolist(),
            families.classes.tolist(),
            title="Family predicted by the 5 nearest training notes",
            text=np.char.mod("%.0f", 100 * share[shown]),
            limits=(0, 100),
            colors="Blues",
            label="% of the notes of a family",
        )
    if analysis.explanations is not None:
        drawn |= _explanation_figures(analysis.explanations)
        if analysis.is_harmonic:
            drawn["paper_separation"] = _separation_bars(analysis)
    if "ablations" in images:
        drawn["ablation_images"] = plots.images(images["ablations"], **options)
    return drawn


def _explanation_figures(explanations: Explanations) -> dict:
    panels: list[tuple] = []
    lines: list[tuple[int, float, str]] = []
    for baseline, ablation in explanations.ablations.items():
        for title, scores in (
            (f"One latent enabled, others at {DISABLED_AT[baseline]}", ablation.enabled),
            (f"One latent disabled, at {DISABLED_AT[baseline].replace('their', 'its')}", ablation.disabled),
        ):
            lines.append((len(panels), float(ablation.full.ssim.mean()), "all enabled"))
            lines.append((len(panels), float(ablation.none.ssim.mean()), "all disabled"))
            panels.append(_bar_panel(title, scores.ssim, explanations.groups))
    percent, deviation = explanations.perturbations["percent"], explanations.perturbations["deviation"]
    importance = {
        "Shapley values (MSE)": explanations.shapley["mse", "mean"].values,
        "Integrated Gradients (MSE)": explanations.gradients.values,
        "Gradient (features)": explanations.sensitivity.scaled,
        "Shapley values (SSIM)": explanations.shapley["ssim", "mean"].values,
        "Ablation, one disabled (MSE)": explanations.ablations["mean"].importance(kind="disabled"),
    }
    if explanations.sage is not None:
        importance["SAGE (MSE)"] = explanations.sage.shares
    drawn = {
        "ablation": plots.bars(panels, ylabel="SSIM", lines=lines, columns=2, colors=(plots.MAIN, plots.SECOND)),
        "perturbation": plots.curves(
            [
                ("Change in percent", "change (%)", *_with_zero(percent)),
                ("Change in standard deviations", "change (standard deviations)", *_with_zero(deviation)),
            ],
            ylabel="decrease of SSIM (%)",
        ),
        "importance": plots.bars([_bar_panel(title, values, explanations.groups) for title, values in importance.items()]),
        "ranks": _rank_heatmap(explanations),
        "agreement": plots.heatmap(
            explanations.agreement.matrix,
            explanations.agreement.names,
            explanations.agreement.names,
            title="Rank correlation between methods",
            limits=(-1, 1),
            label="rank correlation",
        ),
    }
    if explanations.directions is not None:
        share = np.linspace(0, 100, explanations.directions.positions.shape[1])
        titles = {
            "pitch_semitones": ("Pitch", "MIDI number"),
            "level_db": ("Level", "dB"),
            "brightness_harmonics": ("Brightness", "mean harmonic number"),
            "temporal_centroid_seconds": ("Temporal centroid", "seconds"),
        }
        drawn["directions"] = plots.curves(
            [(*titles[name], share, curve) for name, curve in explanations.directions.descriptors.items()],
            shared_xlabel="position in the range of the latent (%)",
        )
    return drawn


def _series_figures(analysis: SeriesAnalysis, examples: Examples) -> dict:
    s, explanations = analysis.statistics, analysis.explanations
    title, xlabel = {"latent": ("Latents", "latent"), "axis": ("Latent axes", "latent axis")}[analysis.moving]
    movement = (
        ("Variance within sounds", np.nan_to_num(s.within)),
        ("Memory (s)", np.nan_to_num(s.memory)),
        ("Speed (deviations/s)", s.speed),
    )
    drawn = {
        "distribution": plots.distribution(analysis.box, title=f"{title}, all frames", xlabel=xlabel),
        "movement": plots.bars([(name, values, None, None) for name, values in movement], xlabel=xlabel),
    }
    if (c := analysis.correlations.get("spearman")) is not None:
        axes = [f"{d} ({100 * analysis.axes.share[d]:.0f} %)" for d in range(len(c.value))]
        drawn["correlation"] = _correlation_heatmap(
            c, axes, title="Rank correlation with descriptors", xlabel="latent axis (share of the variance)"
        )
    if analysis.codes is not None:
        drawn |= _code_figures(analysis.codes)
    if explanations is not None:
        panels = [
            _bar_panel(
                "Ablation, one disabled (MSE)", explanations.ablations["mean"].importance(kind="disabled"), explanations.groups
            ),
            _bar_panel(
                "Ablation, one enabled (MSE)", explanations.ablations["mean"].importance(kind="enabled"), explanations.groups
            ),
            _bar_panel("Gradient (features)", explanations.sensitivity.scaled, explanations.groups),
            _bar_panel("Integrated Gradients (MSE)", explanations.gradients.values, explanations.groups),
        ]
        drawn["importance"] = plots.bars(panels, columns=2)
        drawn["ranks"] = _rank_heatmap(explanations)
        curves = (
            "Change in standard deviations",
            "change (standard deviations)",
            *_with_zero(explanations.perturbations["deviation"]),
        )
        drawn["perturbation"] = plots.curves([curves], ylabel="decrease of SSIM (%)")
    maps = [(name.upper() if name == "pca" else "t-SNE", m.points, m.rows) for name, m in analysis.maps.items()]
    bright, classes = analysis.labels["brightness_hz"], analysis.labels["family"]
    drawn["map_brightness"] = plots.scatter(maps, classes, colors=bright, color_label="brightness (Hz)")
    if 1 < len(np.unique(classes)) <= 18:
        drawn["map_family"] = plots.scatter(maps, classes)
    for number, ((_, waves), curve) in enumerate(zip(examples.sounds, examples.curves, strict=True)):
        drawn[f"sound_{number}"] = _sound_figure(waves, curve, examples.sample_rate)
    return drawn


def _code_figures(codes: Codes) -> dict:
    counts = codes.uses.counts[0]
    drawn = {"code_histogram": code_histogram(counts)}
    for name in ("centroid", "f0"):
        values = np.where(codes.table.means[name] > 0, codes.table.means[name], np.nan)
        if np.isfinite(values[counts > 0]).any():
            drawn[f"code_{name}"] = code_scatter(
                codes.plane,
                values,
                counts,
                label=f"{name} of the decoded code (Hz)",
                title=f"Codes, colored by {name}",
                explained=codes.explained,
            )
    return drawn


def _sound_figure(waves, curves: SoundCurves, sample_rate: int):
    """Draws spectrograms, latent axes, level and pitch of a sound and its reconstruction."""
    names = ("original", "reconstruction")
    pictures = [(name, spectrogram_image(waves[name], sample_rate, rows=96, columns=400)) for name in names]
    panels = [
        ("Latent axes", curves.axes.T, [f"axis {a}" for a in range(curves.axes.shape[1])]),
        ("Level (A-weighted dB)", curves.level, names),
        ("Pitch (Hz)", curves.pitch, names),
    ]
    return series_figure(panels, seconds=curves.seconds, pictures=pictures)


def _separation_bars(analysis: StaticAnalysis):
    """Draws the class separation of the latents in the paper and in this run."""
    paper, here = natsiou2023.separations(analysis.classes["family"])
    return plots.paired_bars(
        [f"{n + 1}." for n in range(len(paper))],
        [("paper, table 1", paper), ("this run", here)],
        ylabel="share of the variance",
        title="Class separation",
    )


def _correlation_heatmap(correlation, columns: Sequence[str], *, title: str, xlabel: str):
    return plots.heatmap(
        correlation.value.T,
        [name.removesuffix("_hz") for name in correlation.names],
        columns,
        title=title,
        limits=(-1, 1),
        label="Spearman",
        xlabel=xlabel,
        faint=~correlation.beyond_chance().T,
    )


def _rank_heatmap(explanations: Explanations):
    rank = explanations.agreement.rank
    return plots.heatmap(
        rank,
        explanations.agreement.names,
        _numbered(rank.shape[1]),
        title="Rank by importance",
        text=np.char.mod("%g", rank),
        limits=(1, rank.shape[1]),
        colors="Blues_r",
        xlabel="latent",
    )


def _bar_panel(title: str, values: np.ndarray, groups: np.ndarray) -> tuple:
    """Returns a panel of `plots.bars`: means of values [M, D] with their intervals."""
    interval = mean_interval(values, groups)
    return title, interval.value, interval.low, interval.high


def _with_zero(perturbation) -> tuple[np.ndarray, np.ndarray]:
    """Returns amounts and decreases of SSIM, with a decrease of 0 for the unchanged sound."""
    zero = int(np.searchsorted(perturbation.amounts, 0.0))
    return np.insert(perturbation.amounts, zero, 0.0), np.insert(perturbation.ssim_decrease(), zero, 0.0, axis=1)


def _numbered(count: int) -> list[str]:
    return [str(d) for d in range(count)]
