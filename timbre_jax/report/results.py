"""Rows of `results.json`. Scripts may rely on their names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from timbre_jax.analysis.record import Analysis, Explanations, SeriesAnalysis, StaticAnalysis
from timbre_jax.metrics.bootstrap import Interval, mean_interval
from timbre_jax.metrics.sound_pairs import COUNTED_FRAMES
from timbre_jax.metrics.table import Result


def results(analysis: Analysis) -> list[Result]:
    """Returns all numbers of an analysis with their definitions."""
    if isinstance(analysis, SeriesAnalysis):
        return list(_series_results(analysis))
    assert isinstance(analysis, StaticAnalysis)
    return list(_static_results(analysis))


def _static_results(analysis: StaticAnalysis) -> Iterator[Result]:
    where = analysis.description
    yield from _quality_results(analysis)
    yield Result(
        "latents/active",
        float(analysis.active.sum()),
        definition=f"active latents (variance above 0.01, Burda et al. 2016), of {len(analysis.active)}; {where}",
    )
    for correlation in analysis.correlations.values():
        for n, label in enumerate(correlation.names):
            text = f"{correlation.method} correlation; baseline: 95th percentile of |correlation| for shuffled {label}; {where}"
            for d in range(len(correlation.value)):
                yield Result(f"correlation/{correlation.method}/{label}/latent_{d}", *correlation.cell(d, n), text)
    for label, statistics in analysis.classes.items():
        text = f"share of the variance of the latent between classes of {label} (eta squared); {where}"
        for d, value in enumerate(statistics.separation):
            yield Result(f"separation/{label}/latent_{d}", float(value), definition=text)
    if analysis.explanations is not None:
        yield from _explanation_results(analysis.explanations, where)


def _quality_results(analysis: StaticAnalysis) -> Iterator[Result]:
    quality, groups, where = analysis.quality, analysis.groups, analysis.description
    mean_image = quality.baselines.get("mean_image")
    for measure in ("mse", "ssim"):
        baseline = None if mean_image is None else float(getattr(mean_image, measure).mean())
        text = f"{measure.upper()} of the reconstruction, {quality.definition}; baseline: mean image of the training set"
        yield _result(
            f"reconstruction/{measure}", mean_interval(getattr(quality.scores, measure), groups), text, where, baseline
        )
        for name, scores in quality.baselines.items():
            text = (
                f"{measure.upper()} of {name}, fitted on this scale to {quality.training_notes} training notes, "
                f"{quality.definition}"
            )
            yield _result(f"baseline/{name}/{measure}", mean_interval(getattr(scores, measure), groups), text, where)
    if quality.families is not None:
        text = (
            f"kNN accuracy of the family from the 5 nearest of {quality.training_notes} training latents (distances in "
            "training standard deviations); baseline: most frequent family of the training notes"
        )
        interval = mean_interval(quality.families.correct, groups)
        yield _result("family/knn_accuracy", interval, text, where, quality.families.baseline)
    for name, values in quality.distances.items():
        has_baseline = "mean_image" in quality.distances and name != "mean_image"
        text = (
            f"log-spectral distance in dB of the sound ({name}) to the recording, 1024-point Hann frames, hop 256, levels "
            f"below -80 dB are raised to it; {COUNTED_FRAMES}; {len(values)} notes; baseline: mean of the training features"
        )
        interval = mean_interval(values, quality.distance_groups)
        baseline = float(quality.distances["mean_image"].mean()) if has_baseline else None
        yield _result(f"sound/{name}/log_spectral_distance", interval, text, where, baseline)


def _explanation_results(explanations: Explanations, description: str) -> Iterator[Result]:
    number = len(explanations.groups)
    where = f"{number} of the notes, drawn evenly over instruments, within the ranges of the representation; {description}"

    def per_latent(name: str, values: np.ndarray, definition: str) -> Iterator[Result]:
        interval = mean_interval(values, explanations.groups)
        for d in range(values.shape[1]):
            yield Result(f"{name}/latent_{d}", *interval.value_low_high(d), None, f"{definition}; {where}")

    for baseline, ablation in explanations.ablations.items():
        for measure in ("mse", "ssim"):
            only, without = getattr(ablation.enabled, measure), getattr(ablation.disabled, measure)
            text = f"{measure.upper()} with only this latent enabled, the others at their {baseline}"
            yield from per_latent(f"ablation/{baseline}/only/{measure}", only, text)
            text = f"{measure.upper()} with this latent disabled, at its {baseline}"
            yield from per_latent(f"ablation/{baseline}/without/{measure}", without, text)
    for unit, perturbation in explanations.perturbations.items():
        over = f"mean over {', '.join(f'{a:g}' for a in perturbation.amounts)} {unit}"
        fall, rise = perturbation.importance(measure="ssim"), perturbation.importance()
        yield from per_latent(f"perturbation/{unit}/ssim_fall", fall, f"decrease of SSIM, {over}")
        yield from per_latent(f"perturbation/{unit}/mse_rise", rise, f"increase of MSE, {over}")
    text = "root mean square change of the features for one training standard deviation, by the Jacobian"
    yield from per_latent("sensitivity", explanations.sensitivity.scaled, text)
    for (measure, baseline), attribution in explanations.shapley.items():
        text = f"Shapley share of v = {'-MSE' if measure == 'mse' else 'SSIM'}, absent latents at their {baseline}, " + (
            "over all subsets" if attribution.errors is None else "over sampled permutations"
        )
        yield from per_latent(f"shapley/{measure}/{baseline}", attribution.values, text)
    gradients = explanations.gradients
    yield from per_latent(
        "integrated_gradients/mse/mean", gradients.values, "Integrated Gradients of v = -MSE from the mean latent"
    )
    if explanations.sage is not None:
        samples = explanations.sage.background
        text = (
            f"SAGE: decrease of the expected MSE, unknown latents sampled from the analyzed notes ({samples} samples averaged, "
            f"so that shares are up to 1/{samples} too large)"
        )
        yield from per_latent("sage", explanations.sage.shares, text)
    yield Result(
        "integrated_gradients/mse/mean/residual",
        float(np.abs(gradients.residual()).mean() / max(np.abs(gradients.full - gradients.none).mean(), 1e-12)),
        definition="error of the quadrature: mean |sum of shares - difference| / mean |difference|",
    )
    text = f"mean rank correlation between the importances of {len(explanations.agreement.names)} methods"
    yield Result("agreement", explanations.agreement.mean(), definition=text)


def _series_results(analysis: SeriesAnalysis) -> Iterator[Result]:
    where = analysis.description
    for measure in analysis.quality.measures:
        for sound in analysis.quality.pairs:
            interval, count = analysis.quality.interval(sound, measure.name)
            yield _result(f"sound/{sound}/{measure.name}", interval, f"{measure.definition}; {sound}, {count} sounds", where)
    statistics = analysis.statistics
    for d in range(len(statistics.mean)):
        for name, text in (
            ("within", "share of the variance within sounds"),
            ("memory", "seconds until the autocorrelation falls below 1/e"),
            ("speed", "mean absolute change per second in standard deviations"),
        ):
            value = float(getattr(statistics, name)[d])
            yield Result(f"series/{name}/{analysis.moving}_{d}", value, definition=f"{text}; {where}")
    for c in analysis.correlations.values():
        for n, name in enumerate(c.names):
            text = f"{c.method} correlation of a latent axis with {name}; baseline: shuffled frames; {where}"
            for d in range(len(c.value)):
                yield Result(f"correlation/{name}/axis_{d}", *c.cell(d, n), text)
    if analysis.codes is not None:
        uses = analysis.codes.uses
        text = f"perplexity: exp of the entropy of the shares of {uses.counts.shape[1]} codes; baseline: one code; {where}"
        for q in range(len(uses.counts)):
            yield Result(f"codes/perplexity/codebook_{q}", *uses.perplexity.value_low_high(q), 1.0, text)
    if (explanations := analysis.explanations) is not None:
        held = f"{len(explanations.groups)} sounds of {explanations.seconds:.2f} s with held latents; {where}"
        for method, values in explanations.importances.items():
            for d, value in enumerate(values):
                name = method.lower().replace(", ", "/").replace(" ", "_")
                yield Result(f"importance/{name}/latent_{d}", float(value), definition=f"importance by {method}; {held}")


def _result(name: str, interval: Interval, definition: str, where: str, baseline: float | None = None) -> Result:
    return Result(name, *interval.value_low_high(), baseline, f"{definition}; {where}")
