"""The page of an analysis: which pictures, tables and players, in which order, and what each says in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.table import format_cell
from timbre_jax.report import page
from timbre_jax.report.analysis import HARMONIC, Analysis, distance_table, score_table, shown, verdicts
from timbre_jax.report.players import player, player_rows

Sounds = Sequence[tuple[str, Mapping[str, np.ndarray]]]
"""Notes to listen to: (name of the note, waves [T] by what they are)."""


def sections(
    analysis: Analysis, images: Mapping[str, bytes], notes: Sounds, sweeps: Sounds, sample_rate: int
) -> list[page.Section]:
    """The page's sections.

    Args:
      images: PNGs of `analysis_figures.figures`.
      notes: sounds of some notes: "original", "representation", "reconstruction", "only 3", "all but 3".
      sweeps: sounds along every latent, by their values.
    """
    found = [_summary(analysis), _reconstruction(analysis, images)]
    if notes:
        found.append(_listening(notes, sample_rate))
    found.append(_distribution(analysis, images))
    if analysis.explanations is None:
        found.append(page.Section("Why no latent is explained", (page.note(analysis.why_not),)))
        return found
    found += [_importance(analysis, images), _ablation(analysis, images), _perturbation(analysis, images)]
    found.append(_directions(analysis, images, sweeps, sample_rate))
    found += [_known(analysis, images), _classes(analysis, images), _maps(analysis, images)]
    if analysis.pictures == HARMONIC:  # what the paper's verdicts are of
        found.append(_paper(analysis, images))
    return found


def _summary(analysis: Analysis) -> page.Section:
    quality, groups = analysis.quality, analysis.groups
    cards = []
    for measure, label in (("mse", "MSE of the reconstruction"), ("ssim", "SSIM of the reconstruction")):
        interval = mean_interval(getattr(quality.scores, measure), groups)
        against = "; ".join(f"{shown(n)} {format_cell(float(getattr(s, measure).mean()))}" for n, s in quality.floors.items())
        cards.append((label, format_cell(interval.value), f"{_range(interval)}. {against[:1].upper()}{against[1:]}"))
    if quality.families is not None:
        interval = mean_interval(quality.families.correct, groups)
        against = f"Always the commonest of the training notes: {100 * quality.families.floor:.0f} %"
        told = f"{100 * interval.value:.0f} %"
        cards.append(("Family told by 5 training notes", told, f"{_range(interval, percent=True)}. {against}"))
    if quality.distances:
        values = quality.distances["reconstruction"]
        interval = mean_interval(values, quality.distance_groups)
        cards.append(
            (
                "Spectral distance to the recording (dB)",
                format_cell(interval.value),
                f"{_range(interval)}. Without the model: {format_cell(float(quality.distances['representation'].mean()))}",
            )
        )
    blocks = [page.numbers(cards)]
    if analysis.explanations is not None:
        order = analysis.explanations.agreement.order()
        told = [f"latent {d}{_goes_with(analysis, int(d))}" for d in order[:8]]
        blocks.append(
            page.text(
                "**From the most to the least important, by the mean rank of all methods:** " + ", ".join(told) + ".",
                "In brackets: which of pitch, velocity and brightness goes along with it most closely, with the rank "
                "correlation; none where chance would do.",
            )
        )
    blocks.append(
        page.text(
            f"What was analysed: {analysis.notes}. Ranges, and the thin lines on bars, are 95 % intervals from resampling "
            "whole instruments: notes of one instrument are too alike to count one by one."
        )
    )
    return page.Section("In short", tuple(blocks))


def _goes_with(analysis: Analysis, latent: int) -> str:
    """The known property that a latent goes along with most closely, where that is more than chance."""
    spearman = analysis.correlations.get("spearman")
    if spearman is None:
        return ""
    strength = np.nan_to_num(np.abs(spearman.value[latent]))
    strength = np.where(spearman.beyond_chance()[latent], strength, 0.0)
    n = int(strength.argmax())
    if strength[n] == 0.0:
        return ""
    return f" ({spearman.names[n].removesuffix('_hz')} {spearman.value[latent, n]:+.2f})"


def _reconstruction(analysis: Analysis, images) -> page.Section:
    quality = analysis.quality
    shows = (
        "the fundamental frequency (bottom row) and the strengths of the first harmonics over time"
        if analysis.pictures == HARMONIC
        else f"its {analysis.pictures} over time, low frequencies at the bottom"
    )
    blocks = [
        page.text(
            f"Every note is squeezed into a few numbers and built again from them alone. The pictures show {shows}; left the "
            "original, right what came back."
        ),
        page.picture_of(images, "reconstructions", "Originals and reconstructions"),
        page.table(score_table(analysis)),
        page.text(
            f"Two floors, fitted to {quality.training_notes:,} training notes: the **mean image** always answers with "
            "their average; **PCA** is the linear method that serves them best with as many numbers. A score means "
            "little without them: MSE and SSIM move a lot with the normalisation."
            if quality.floors
            else "The run's training notes are not where they were, so there are no floors (mean image, PCA) to hold the "
            "scores against, and no families told by neighbours."
        ),
    ]
    if quality.distances:
        blocks.append(page.table(distance_table(quality)))
        blocks.append(
            page.text(
                "“Representation” is the note analysed and synthesised again without the model: what the representation "
                "itself loses (breath, hammers, noise, higher harmonics). A reconstruction can hardly come nearer."
            )
        )
    return page.Section("How well notes come back", tuple(blocks))


def _listening(notes: Sounds, sample_rate: int) -> page.Section:
    blocks = [
        page.text(
            "**Original** is the recording, **representation** what analysis and synthesis leave of it, "
            "**reconstruction** what comes out of the latents. Below: the same note with only one latent left on, and "
            "with one switched off (the others at, or it at, the mean of the training notes). Sounds that would clip are "
            "turned down."
        )
    ]
    for name, sounds in notes:
        main = [key for key in ("original", "representation", "reconstruction") if key in sounds]
        blocks.append(page.subtitle(name))
        blocks.append(
            '<div class="player-grid">' + "".join(player(sounds[key], sample_rate, key, large=True) for key in main) + "</div>"
        )
        rows = []
        for start, title in (("only ", "only latent …"), ("all but ", "all but latent …")):
            keys = [key for key in sounds if key.startswith(start)]
            if keys:
                rows.append((title, [(key.removeprefix(start), sounds[key]) for key in keys]))
        blocks.append(player_rows(rows, sample_rate, seconds=2.0))
    return page.Section("Listen", tuple(blocks))


def _distribution(analysis: Analysis, images) -> page.Section:
    active = int(analysis.active.sum())
    return page.Section(
        "The latents' values",
        (
            page.text(
                "The box holds the middle half of the notes, the line is their median; whiskers reach the outermost notes "
                f"within 1.5 box lengths. {active} of {len(analysis.active)} latents are active: their variance over the "
                "notes is above 0.01."
            ),
            page.picture_of(images, "distribution", "Box plot of every latent"),
            page.table(analysis.box.table(), folded=True),
        ),
    )


def _importance(analysis: Analysis, images) -> page.Section:
    e = analysis.explanations
    shapley = e.shapley["mse", "mean"]
    how = (
        "over all subsets of latents, exactly"
        if shapley.errors is None
        else "over sampled orders of the latents; the standard error of sampling is in the table"
    )
    return page.Section(
        "Which latents matter",
        (
            page.text(
                f"How much does the decoded picture ({analysis.pictures}) depend on a latent? The methods ask different "
                "things, so some disagreement is right:",
                "**Shapley** shares out how much the latents together improve the picture (once by MSE, once by SSIM), "
                f"{how}; a latent that is absent stands at its training mean. **SAGE** does so for the whole set, an "
                "unknown latent taking values from other notes. **Integrated Gradients** follows the straight line from the "
                "mean latent to the note's. **Gradient** is how much a small step, in standard deviations, moves the "
                "picture, for better or worse. **One off** is what it costs to put a single latent to its mean.",
            ),
            page.picture_of(images, "importance", "Importance of every latent"),
            page.picture_of(images, "agreement", "Rank correlation between methods"),
            page.text(
                f"Mean agreement between pairs of methods: {format_cell(e.agreement.mean())} (1 is perfect, 0 is none). It "
                "compares orders, so two latents of nearly the same importance may trade places. “One off” "
                "and “one on” are ablations, “10-60 %” and “+- deviations” perturbations, by their effect on MSE."
            ),
            page.table(e.agreement.rank_table(), folded=True, title="Ranks"),
            page.table(shapley.table(e.groups), folded=True, title="Shapley values"),
            page.table(e.sage.table(e.groups), folded=True, title="SAGE"),
            page.table(e.gradients.table(e.groups), folded=True, title="Integrated Gradients"),
            page.table(e.sensitivity.table(e.groups), folded=True, title="Gradients"),
        ),
    )


def _ablation(analysis: Analysis, images) -> page.Section:
    e = analysis.explanations
    return page.Section(
        "One latent at a time (ablation)",
        (
            page.text(
                "Left: all latents are switched off but one; higher means that this latent alone brings the note closer "
                "to the original. Right: only this one is switched off; lower means that it is missed. Lines: all "
                "latents on, all off. “Off” can mean the latent's mean over the training notes, or 0, as in the paper; by "
                "the latter, a latent that is far from 0 in every note looks important whether or not it tells notes apart."
            ),
            page.picture_of(images, "ablation", "SSIM with one latent on or off"),
            page.picture_of(
                images, "ablation_images", "One note with one latent on at a time, the others at 0 (the paper's fig. 6)"
            ),
            *(
                page.table(ablation.table(e.groups), folded=True, title=f"Off = {name}")
                for name, ablation in e.ablations.items()
            ),
        ),
    )


def _perturbation(analysis: Analysis, images) -> page.Section:
    e = analysis.explanations
    return page.Section(
        "How well it bears a push (perturbation)",
        (
            page.text(
                "One latent is moved and the note decoded again; the curve says how much of the likeness (SSIM) to the "
                "original is lost. A percentage moves a latent far from 0 much more than one around 0, so the right "
                "picture, in the latent's own spread, compares latents better. Below 0, the moved note is nearer to the "
                "original than the reconstruction was."
            ),
            page.picture_of(images, "perturbation", "Fall of SSIM when a latent is moved"),
            *(page.table(p.table(e.groups), folded=True, title=f"In {unit}") for unit, p in e.perturbations.items()),
        ),
    )


def _directions(analysis: Analysis, images, sweeps: Sounds, sample_rate: int) -> page.Section:
    blocks = []
    if analysis.explanations.directions is not None:
        blocks += [
            page.text(
                "From the mean of the training latents, one latent walks through its range (1st to 99th percentile) while "
                "the others stay; elsewhere in the space it may do something else. Measured on the decoded f0 and "
                "harmonics: flat curves mean that the latent changes none of these four there."
            ),
            page.picture_of(images, "directions", "Pitch, level, brightness and course in time along every latent"),
            page.table(analysis.explanations.directions.table(), folded=True),
        ]
    if sweeps:
        blocks.append(player_rows([(name, list(sounds.items())) for name, sounds in sweeps], sample_rate, seconds=1.5))
    return page.Section("What each latent does", tuple(blocks))


def _known(analysis: Analysis, images) -> page.Section:
    return page.Section(
        "What goes along with pitch, velocity and brightness",
        (
            page.text(
                "Rank correlation of every latent with what is known of the notes: 1 or -1 means that the latent rises "
                "or falls whenever it does. Grey numbers may be chance: no larger than what shuffled labels give, or with an "
                "interval over instruments that holds 0. Brightness is the spectral centroid of the recording."
            ),
            page.picture_of(images, "correlation", "Correlation of latents with pitch, velocity and brightness"),
            *(page.table(c.table(), folded=True, title=c.method) for c in analysis.correlations.values()),
        ),
    )


def _classes(analysis: Analysis, images) -> page.Section:
    family = analysis.classes["family"]
    return page.Section(
        "Instrument families",
        (
            page.text(
                "Where the families lie on every latent. Colours: how far a family's mean is from the mean of all notes."
            ),
            page.picture_of(images, "classes", "Mean and standard deviation of every latent in every family"),
            page.table(family.table(), folded=True),
            page.text(
                "The other way round: which families a range of a latent points to. Every bar holds as many "
                "notes (a fifth, where values are not equal), from the lowest values of that latent to the highest."
            ),
            page.picture_of(images, "ranges", "Share of families in ranges of every latent"),
            page.table(analysis.ranges.table(), folded=True),
            page.picture_of(images, "confusion", "Families named by the nearest training notes"),
        ),
    )


def _maps(analysis: Analysis, images) -> page.Section:
    return page.Section(
        "Maps",
        (
            page.text(
                "Every dot is a note; near dots have similar latents. PCA is a shadow of the space from its widest side; "
                "what lies behind another dot may be far from it. "
                "t-SNE keeps neighbours together; distances between its islands, and their sizes, mean nothing."
            ),
            page.picture_of(images, "map_family", "Maps coloured by family"),
            page.picture_of(images, "map_pitch", "Maps coloured by pitch"),
        ),
    )


def _paper(analysis: Analysis, images) -> page.Section:
    return page.Section(
        "The paper's verdicts beside ours",
        (
            page.text(
                "Natsiou, O'Leary and Longo (2023) looked at eight latents of a network of this kind. **Which latent "
                "gets which number is chance, run by run**: their latent 2 is not this run's latent 2. What can be "
                "compared is the kind of statement: how unequal the latents are, how tight the tightest, how far "
                "families lie apart."
            ),
            page.table(verdicts(analysis)),
            page.picture_of(images, "paper_separation", "Class separation in descending order, paper and here"),
            page.text(
                f"Classes are not the same either: the paper's test set has 1,324 notes of NSynth, here a family is "
                f"{_instruments(analysis)}. The fewer the instruments, the further apart families seem, whatever the model."
            ),
        ),
    )


def _instruments(analysis: Analysis) -> str:
    """How many instruments stand for a family, in words."""
    families, instruments = analysis.labels["family"], analysis.labels["instrument"]
    counts = [len(np.unique(instruments[families == family])) for family in np.unique(families)]
    low, high = min(counts), max(counts)
    return f"{low} instrument{'s' if low > 1 else ''}" if low == high else f"{low} to {high} instruments"


def _range(interval, *, percent: bool = False) -> str:
    if not np.isfinite(interval.low):
        return "One instrument, no interval"
    if percent:
        return f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %"
    return f"{format_cell(interval.low)} to {format_cell(interval.high)}"
