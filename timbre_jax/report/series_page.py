"""The page of an analysis of a space with a latent a frame: which pictures, tables and players, and what each says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.metrics.table import format_cell
from timbre_jax.report import page
from timbre_jax.report.players import player, player_rows
from timbre_jax.report.series_analysis import SeriesAnalysis, axis_correlation_table, code_rows

Sounds = Sequence[tuple[str, Mapping[str, np.ndarray]]]


def sections(
    analysis: SeriesAnalysis, images: Mapping[str, bytes], sounds: Sounds, sweeps: Sounds, sample_rate: int
) -> list[page.Section]:
    """The page's sections.

    Args:
      images: PNGs by name; "sound_0", "sound_1" ... belong to the sounds.
      sounds: (title, waves by what they are). sweeps: sounds along every axis, or through the codes.
    """
    found = [_summary(analysis), _sounds(analysis, images, sounds, sample_rate), _movement(analysis, images)]
    if analysis.codes is not None:
        found.append(_codes(analysis, images, sweeps, sample_rate))
    found.append(_axes(analysis, images, [] if analysis.codes is not None else sweeps, sample_rate))
    if analysis.explanations is not None:
        found.append(_importance(analysis, images))
    else:
        found.append(page.Section("Why no latent is explained", (page.note(analysis.why_not),)))
    found.append(_maps(images))
    return found


def _summary(analysis: SeriesAnalysis) -> page.Section:
    cards = []
    for measure in analysis.quality.measures:
        interval, _ = analysis.quality.interval("reconstruction", measure.name)
        without, _ = analysis.quality.interval("representation", measure.name)
        between = f"{format_cell(float(interval.low))} to {format_cell(float(interval.high))}"
        against = f"{between if np.isfinite(interval.low) else 'one recording, no interval'}. Without the model: "
        cards.append(
            (
                f"{measure.title} ({measure.better} is better)",
                format_cell(float(interval.value)),
                against + format_cell(float(without.value)),
            )
        )
    if analysis.codes is not None:
        uses = analysis.codes.uses
        size, perplexity = uses.counts.shape[1], np.asarray(uses.perplexity.value)
        told = " + ".join(f"{p:.0f}" for p in perplexity)
        cards.append(("Codes in use (perplexity)", told, f"Of {size}; {' + '.join(str(n) for n in uses.used)} occur"))
    for result in analysis.spoken:
        if result.name.startswith("probe/") and not result.name.endswith("_rank"):
            what = result.name.removeprefix("probe/")
            cards.append(
                (f"{what} told by the latents (R²)", format_cell(result.value), "0: they say nothing of it (a fresh probe)")
            )
    return page.Section(
        "In short",
        (
            page.numbers(cards),
            page.text(
                f"What was analysed: {analysis.notes}. Ranges are 95 % intervals from resampling whole recordings: "
                "excerpts of one recording are too alike to count one by one."
            ),
        ),
    )


def _sounds(analysis: SeriesAnalysis, images, sounds: Sounds, sample_rate: int) -> page.Section:
    blocks = [
        page.text(
            "**Original** is the recording, **representation** what analysis and synthesis leave of it, "
            "**reconstruction** what comes out of the latents. The curves below each: the first playable axes, then "
            "level and pitch; the reconstruction's beside the original's."
        )
    ]
    for number, (title, waves) in enumerate(sounds):
        blocks.append(page.subtitle(title))
        players = "".join(player(wave, sample_rate, what, large=True) for what, wave in waves.items())
        blocks.append(f'<div class="player-grid">{players}</div>')
        blocks.append(page.picture_of(images, f"sound_{number}", f"Spectrograms, axes, level and pitch of {title}"))
    blocks.append(page.table(analysis.quality.table(), folded=True))
    return page.Section("How sounds come back", tuple(blocks))


def _movement(analysis: SeriesAnalysis, images) -> page.Section:
    what = "the latents" if analysis.moving == "latent" else f"the first {len(analysis.statistics.mean)} playable axes"
    return page.Section(
        "How latents move",
        (
            page.text(
                f"First: where {what} of all frames lie. **Within**: how much of a latent's variance is movement within "
                "sounds; the rest sets one sound apart from another. **Memory**: how long a latent stays near where it "
                "is. **Speed**: how far it goes in a second."
            ),
            page.picture_of(images, "distribution", "Distribution of every latent over all frames"),
            page.picture_of(images, "movement", "Movement of every latent"),
            page.table(analysis.statistics.table(), folded=True),
        ),
    )


def _axes(analysis: SeriesAnalysis, images, sweeps: Sounds, sample_rate: int) -> page.Section:
    blocks = [
        page.text(
            "Playable axes are the latents turned so that the first varies most (PCA of the frames). The table: rank "
            "correlation of each axis with descriptors of the same frames. Grey numbers may be chance: no larger than "
            "what shuffled frames give, or with an interval over recordings that holds 0."
        ),
        page.picture_of(images, "correlation", "Rank correlation of playable axes with descriptors, frame by frame"),
        page.table(analysis.axes.table(), folded=True, title="Axes"),
    ]
    if analysis.correlations is not None:
        blocks.append(page.table(axis_correlation_table(analysis.correlations), folded=True, title="Correlations"))
    blocks += _sweeps(
        "A point held, one axis from low to high (1st to 99th percentile), the others at their mean:", sweeps, sample_rate
    )
    return page.Section("What the axes go along with", tuple(blocks))


def _sweeps(what: str, sweeps: Sounds, sample_rate: int) -> list[str]:
    """Players of sounds along a line, and what they are; nothing without any."""
    if not sweeps:
        return []
    return [page.text(what), player_rows([(name, list(waves.items())) for name, waves in sweeps], sample_rate)]


def _codes(analysis: SeriesAnalysis, images, sweeps: Sounds, sample_rate: int) -> page.Section:
    blocks = [
        page.text(
            "How often each code is used by the sounds analysed; and where the codes' vectors lie (PCA), coloured by "
            "what each sounds like when it is decoded alone, as large as it is often used."
        ),
        page.picture_of(images, "code_histogram", "Use of the codes"),
        page.picture_of(images, "code_centroid", "Codes coloured by spectral centroid"),
        page.picture_of(images, "code_f0", "Codes coloured by fundamental frequency"),
        page.table(analysis.codes.uses.table()),
        page.table(code_rows(analysis.codes), folded=True, title="Every code"),
    ]
    blocks += _sweeps("All used codes one after the other, a descriptor rising:", sweeps, sample_rate)
    return page.Section("Codes", tuple(blocks))


def _importance(analysis: SeriesAnalysis, images) -> page.Section:
    e = analysis.explanations
    order = ", ".join(f"latent {d}" for d in e.agreement.order()[:8])
    return page.Section(
        "Which latents matter",
        (
            page.text(
                f"**From the most to the least important, by the mean rank of all methods:** {order}. Each of "
                f"{len(e.groups)} sounds ({e.seconds:.2f} s around its loudest frame) is given one point, the mean of "
                "its latents, and keeps its level curve: so methods for sounds with one latent apply. One latent is "
                "switched off (put to its training mean), left on alone, or moved by its own deviation; or the gradient "
                "is followed. What is measured is the distance of the spectrogram to the original's."
            ),
            page.picture_of(images, "importance", "Importance of every latent by every method"),
            page.picture_of(images, "perturbation", "Fall of SSIM when a latent is moved by its own deviations"),
            page.table(e.agreement.rank_table(), folded=True, title="Ranks"),
            page.table(e.ablation.table(e.groups), folded=True, title="Ablation"),
            page.table(e.perturbation.table(e.groups), folded=True, title="Perturbation"),
            page.table(e.sensitivity.table(e.groups), folded=True, title="Gradients"),
            page.table(e.gradients.table(e.groups), folded=True, title="Integrated Gradients"),
        ),
    )


def _maps(images) -> page.Section:
    return page.Section(
        "Maps",
        (
            page.text(
                "Every dot is a sound, at the mean of its latents weighted by amplitude; near dots have similar "
                "latents. t-SNE keeps neighbours together; distances between its islands mean nothing."
            ),
            page.picture_of(images, "map_brightness", "Maps coloured by brightness"),
            page.picture_of(images, "map_family", "Maps coloured by class"),
        ),
    )
