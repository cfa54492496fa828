"""The page of an analysis: which pictures, tables and players, in which order, and what each says in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from timbre_jax.latent import natsiou2023
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.table import format_cell
from timbre_jax.report import page, plots
from timbre_jax.report.analysis import Analysis, Explanations, distance_table, score_table, shown, verdicts
from timbre_jax.report.players import player, player_rows

Sounds = Sequence[tuple[str, Mapping[str, np.ndarray]]]
"""Notes to listen to: (name of the note, waves [T] by what they are)."""

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
            spearman.names,
            latents,
            title="Rank correlation with what is known of the notes",
            limits=(-1, 1),
            label="Spearman",
            xlabel="latent",
            faint=np.abs(spearman.value.T) < spearman.floor.T,
        )
    pca = analysis.maps["pca"]
    maps = [(f"PCA ({100 * pca.explained.sum():.0f} % of the variance)", pca.points, pca.rows)]
    if "tsne" in analysis.maps:
        tsne = analysis.maps["tsne"]
        maps.append((f"t-SNE (perplexity {tsne.settings['perplexity']:.0f})", tsne.points, tsne.rows))
    found["map_family"] = plots.scatter(maps, analysis.labels["family"])
    pitch = analysis.labels["pitch"]
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
        theirs = natsiou2023.equal_weight_separation(natsiou2023.table_1())
        ours = np.nan_to_num(natsiou2023.equal_weight_separation(family))
        length = max(len(theirs), len(ours))
        padded = [np.pad(np.sort(x)[::-1], (0, length - len(x)), constant_values=np.nan) for x in (theirs, ours)]
        found["paper_separation"] = plots.paired_bars(
            [f"{n + 1}." for n in range(length)],
            [("paper, table 1", padded[0]), ("here", padded[1])],
            ylabel="variance between classes",
            title="How far classes lie apart, latents in descending order",
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


def sections(
    analysis: Analysis, images: Mapping[str, bytes], notes: Sounds, sweeps: Sounds, sample_rate: int
) -> list[page.Section]:
    """The page's sections.

    Args:
      images: PNGs of `figures`.
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
    found += [_known(analysis, images), _classes(analysis, images), _maps(analysis, images), _paper(analysis, images)]
    return found


def _summary(analysis: Analysis) -> page.Section:
    quality, groups = analysis.quality, analysis.groups
    cards = []
    floors = {name: scores for name, scores in quality.floors.items()}
    for measure, label in (("mse", "MSE of the reconstruction"), ("ssim", "SSIM of the reconstruction")):
        interval = mean_interval(getattr(quality.scores, measure), groups)
        against = "; ".join(f"{shown(n)} {format_cell(float(getattr(s, measure).mean()))}" for n, s in floors.items())
        cards.append((label, format_cell(interval.value), f"{_range(interval)}. {against}"))
    if quality.families is not None:
        interval = mean_interval(quality.families.correct, groups)
        cards.append(
            ("Family told by 5 neighbours", f"{100 * interval.value:.0f} %", f"{_range(interval, 100)} %. Always "
                                                                             "the commonest: "
                                                                             f"{100 * quality.families.floor:.0f} %")
        )  # fmt: skip
    if quality.distances:
        values = quality.distances["reconstruction"]
        interval = mean_interval(values, quality.distance_groups)
        cards.append(
            (
                "Distance of the sound (dB)",
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
                "In brackets: the known property that goes along with it most closely, with its rank correlation.",
            )
        )
    blocks.append(
        page.text(
            f"What was analysed: {analysis.notes}. Bars and brackets are 95 % intervals from resampling whole "
            "instruments: notes of one instrument are too alike to count one by one."
        )
    )
    return page.Section("In short", tuple(blocks))


def _goes_with(analysis: Analysis, latent: int) -> str:
    """The known property that a latent goes along with most closely, where that is more than chance."""
    spearman = analysis.correlations.get("spearman")
    if spearman is None:
        return ""
    strength = np.nan_to_num(np.abs(spearman.value[latent]))
    n = int(strength.argmax())
    if strength[n] <= np.nan_to_num(spearman.floor[latent, n]):
        return ""
    return f" ({spearman.names[n].replace('_hz', '')} {spearman.value[latent, n]:+.2f})"


def _reconstruction(analysis: Analysis, images) -> page.Section:
    blocks = [
        page.text(
            "Every note is squeezed into a few numbers and built again from them alone. The pictures show the "
            "fundamental frequency (bottom row) and the strengths of the first harmonics over time; left the original, "
            "right what came back."
        ),
        _picture(images, "reconstructions", "Originals and reconstructions"),
        page.table(score_table(analysis)),
        page.text(
            "The **mean image** always answers with the average note; **PCA** is the best any straight-line method of "
            "the same size can do on the training set. A score means little without them: MSE and SSIM move a lot with "
            "the normalisation."
        ),
    ]
    if analysis.quality.distances:
        blocks.append(page.table(distance_table(analysis.quality)))
        blocks.append(
            page.text(
                "“Representation” is the note analysed and synthesised again without the model: what the representation "
                "itself loses (breath, hammers, noise, higher harmonics)."
            )
        )
    return page.Section("How well notes come back", tuple(blocks))


def _listening(notes: Sounds, sample_rate: int) -> page.Section:
    blocks = [
        page.text(
            "**Original** is the recording, **representation** what analysis and synthesis leave of it, "
            "**reconstruction** what comes out of the latents. Below: the same note with only one latent left on, and "
            "with one switched off (the others at, or it at, the mean of the training notes)."
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
                "The box holds the middle half of the notes, the line its median; whiskers reach 1.5 box lengths. "
                f"{active} of {len(analysis.active)} latents are active (their value differs between notes)."
            ),
            _picture(images, "distribution", "Box plot of every latent"),
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
                "Six ways to ask how much the sound depends on a latent. They ask different things, so some disagreement "
                "is right:",
                f"**Shapley** shares out how much the latents together improve the picture, fairly and {how}; a latent "
                "that is absent stands at its training mean. **SAGE** does so for the whole set, an unknown latent "
                "taking values from other notes. **Integrated Gradients** follows the straight line from the mean latent "
                "to the note's. **Gradient** is how much a small step of a standard deviation moves the picture, for "
                "better or worse. **One off** is what it costs to put a single latent to its mean.",
            ),
            _picture(images, "importance", "Importance of every latent by six methods"),
            _picture(images, "agreement", "Rank correlation between methods"),
            page.text(
                f"Mean agreement between pairs of methods: {e.agreement.mean():.2f} (1 is perfect, 0 is none). “One off” "
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
                "to the original. Right: only this one is switched off; lower means that it is missed. “Off” can mean 0, "
                "as in the paper, or the latent's usual value: a latent that is far from 0 in every note looks important "
                "only by the first."
            ),
            _picture(images, "ablation", "SSIM with one latent on or off"),
            _picture(images, "ablation_images", "One note with one latent on at a time, the others at 0 (the paper's fig. 6)"),
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
                "picture, in the latent's own spread, is the fairer one."
            ),
            _picture(images, "perturbation", "Fall of SSIM when a latent is moved"),
            *(page.table(p.table(e.groups), folded=True, title=f"In {unit}") for unit, p in e.perturbations.items()),
        ),
    )


def _directions(analysis: Analysis, images, sweeps: Sounds, sample_rate: int) -> page.Section:
    blocks = []
    if analysis.explanations.directions is not None:
        blocks += [
            page.text(
                "From the average note, one latent walks through its range (1st to 99th percentile) while the others "
                "stay. The curves say what a listener would notice; flat curves mean that the latent does something "
                "else, or nothing there."
            ),
            _picture(images, "directions", "Pitch, level, brightness and course in time along every latent"),
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
                "or falls whenever it does. Grey numbers are no larger than what shuffled labels give."
            ),
            _picture(images, "correlation", "Correlation of latents with pitch, velocity and brightness"),
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
            _picture(images, "classes", "Mean and standard deviation of every latent in every family"),
            page.table(family.table(), folded=True),
            page.text(
                "The other way round: which families a range of a latent points to. Every bar holds a fifth of the "
                "notes, from the lowest values of that latent to the highest."
            ),
            _picture(images, "ranges", "Share of families in ranges of every latent"),
            page.table(analysis.ranges.table(), folded=True),
            _picture(images, "confusion", "Families named by the nearest training notes"),
        ),
    )


def _maps(analysis: Analysis, images) -> page.Section:
    return page.Section(
        "Maps",
        (
            page.text(
                "Every dot is a note; near dots have similar latents. PCA is a shadow of the space from its widest side. "
                "t-SNE keeps neighbours together; distances between its islands, and their sizes, mean nothing."
            ),
            _picture(images, "map_family", "Maps coloured by family"),
            _picture(images, "map_pitch", "Maps coloured by pitch"),
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
            _picture(images, "paper_separation", "Class separation in descending order, paper and here"),
            page.text(
                f"The paper's classes hold 1,324 notes of many instruments; here a family is {_instruments(analysis)}. "
                "The fewer the instruments, the further apart families seem, whatever the model."
            ),
        ),
    )


def _picture(images: Mapping[str, bytes], name: str, alt: str) -> str:
    return page.picture(images[name], alt=alt, caption=alt) if name in images else ""


def _instruments(analysis: Analysis) -> str:
    """How many instruments stand for a family, in words."""
    families, instruments = analysis.labels["family"], analysis.labels["instrument"]
    counts = [len(np.unique(instruments[families == family])) for family in np.unique(families)]
    low, high = min(counts), max(counts)
    return f"{low} instrument{'s' if low > 1 else ''}" if low == high else f"{low} to {high} instruments"


def _with_zero(amounts: np.ndarray, curves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With the untouched note, whose fall is 0 by definition, at its place."""
    place = int(np.searchsorted(amounts, 0.0))
    return np.insert(amounts, place, 0.0), np.insert(curves, place, 0.0, axis=1)


def _range(interval, scale: float = 1.0) -> str:
    if not np.isfinite(interval.low):
        return "one instrument, no interval"
    return (
        f"{format_cell(scale * interval.low)} to {format_cell(scale * interval.high)}"
        if scale == 1
        else f"{scale * interval.low:.0f} to {scale * interval.high:.0f}"
    )
