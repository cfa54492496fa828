"""What `analyze` does with a space that has a latent a frame: sounds, movement, axes, codes, held points; page and files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from timbre_jax.evaluation.runs import Notes, Run, even_choice
from timbre_jax.inference.batched import take
from timbre_jax.report.series_analysis import Codes, HeldExplanations, SeriesAnalysis, SoundQuality
from timbre_jax.types import Features, Latent

MEASURES = ("lsd", "stft", "mel", "level")
DESCRIBED = ("centroid", "bandwidth", "flatness", "rolloff", "loudness", "f0", "harmonicity")
FRAMES_CORRELATED = 4000
AXES_SHOWN = 8
MOST_SHOWN = 40
"""Latents; of a space with more, the movement of the first playable axes is shown."""
HELD_FRAMES = 64
"""Frames of each sound that methods with hundreds of variants look at."""
STEPS = 5


def analyse_series(
    run: Run, notes: Notes, *, described: str, explained: int, sounds: int, seed: int, done: Callable[[str], None]
) -> SeriesAnalysis:
    """Everything that is asked of the space; `sounds` recordings are compared with what comes back."""
    import jax

    from timbre_jax.analysis.projection import pca_map, tsne_map
    from timbre_jax.analysis.series_statistics import series_statistics
    from timbre_jax.analysis.statistics import box_plot
    from timbre_jax.generation.axes import fit_axes
    from timbre_jax.generation.control.results import is_discrete
    from timbre_jax.inference.batched import encode_features
    from timbre_jax.inference.pooled import points
    from timbre_jax.inference.rendering import fit_length, resynthesize
    from timbre_jax.metrics.sound_pairs import pair_distances, pair_measures
    from timbre_jax.report.analysis import shown

    space, groups = run.space, notes.labels["instrument"]
    done("latents")
    latent = encode_features(space, notes.features, kind="series", batch_size=8)
    frames, owner = real_latents(latent)
    axes = fit_axes(frames)
    done("sounds come back")
    rows = even_choice(groups, sounds, seed=seed)
    made = resynthesize(run.space, notes.part(rows).features)
    recorded = notes.audio(rows)
    length = min(recorded.shape[1], made["reconstruction"].shape[1])
    ends = notes.varying_lengths(rows, most=length)
    pairs = {
        what: pair_distances(fit_length(wave, length), recorded[:, :length], space.sample_rate, MEASURES, lengths=ends)
        for what, wave in made.items()
    }
    quality = SoundQuality(pair_measures(MEASURES), pairs, groups[rows])
    done("descriptors")
    values, heard = frame_descriptors(run, notes, latent.values.shape[1])
    inside = np.asarray(latent.mask) > 0
    correlations = _correlations(np.asarray(axes.to_axes(frames)), values, heard, inside, groups[owner], seed)
    mean = np.asarray(points(jax.tree.map(np.asarray, latent)), np.float64)
    weight = heard & inside
    bright = (values["centroid"] * weight).sum(1) / np.maximum(weight.sum(1), 1)
    labels = {**notes.labels, "brightness_hz": bright}
    done("codes" if is_discrete(space) else "held points")
    codes, explanations, why_not = None, None, ""
    if is_discrete(space):
        codes = _codes(run, notes, latent, seed)
        why_not = (
            f"The {space.latent_size} latents of this space are coordinates of code vectors: one of them alone is never moved, "
            "codes are. What the codes are and do is above; `generate --mode=control` puts them to use."
        )
    elif frames.std(0).max() < 1e-6:
        why_not = "No latent moves: the space says the same whatever it hears (posterior collapse); nothing can be explained."
    else:
        explanations = _explanations(run, notes, explained=explained, seed=seed, done=done)
    done("maps")
    maps = {"pca": pca_map(mean)} | ({"tsne": tsne_map(mean, seed=seed)} if len(mean) >= 5 and np.ptp(mean) > 0 else {})
    moving, series = "latent", latent
    if space.latent_size > MOST_SHOWN:
        turned = np.asarray(axes.to_axes(latent.values), np.float32)[..., : 2 * AXES_SHOWN]
        moving, series = "axis", latent.replace(values=turned)
    model = f"{shown(run.model)} with {space.latent_size} latents a frame on {shown(space.representation.name)}"
    return SeriesAnalysis(
        name=run.name, model=model[:1].upper() + model[1:], notes=described, quality=quality,
        statistics=series_statistics(series), box=box_plot(real_latents(series)[0]), axes=axes,
        correlations=correlations, points=mean, labels=labels, maps=maps, explanations=explanations, why_not=why_not,
        codes=codes, moving=moving, spoken=_probe(run),
    )  # fmt: skip


def real_latents(latent: Latent) -> tuple[np.ndarray, np.ndarray]:
    """Latents [K, D] within the sounds' real lengths, one after another, and the sound [K] of each."""
    inside = np.asarray(latent.mask) > 0
    return np.asarray(latent.values, np.float64)[inside], np.nonzero(inside)[0]


def frame_descriptors(run: Run, notes: Notes, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Descriptors of the recordings at the latents' rate, {name: [M, count]}, and which latents are heard [M, count]."""
    from timbre_jax.generation.control.results import measure
    from timbre_jax.inference.batched import batches_of

    space, parts = run.space, []
    stride = space.model.stride
    for rows in batches_of(len(notes.positions), 16):
        found, _ = measure(space, notes.audio(rows), DESCRIBED, count * stride)
        parts.append({name: x[:, ::stride] for name, x in found.items()})
    values = {name: np.concatenate([part[name] for part in parts])[: len(notes.positions)] for name in DESCRIBED}
    level = values["loudness"]
    return values, (level > level.max(1, keepdims=True) - 50.0) & (level > -80.0)


def _correlations(axes: np.ndarray, values, heard, inside, groups, seed: int):
    """Of the first axes [K, D] with descriptors, over the frames that are heard; pitch where it is known."""
    from timbre_jax.analysis.correlation import correlation

    flat = {name: x[inside] for name, x in values.items()}
    good = heard[inside] & (flat["f0"] > 0) if (flat["f0"] > 0).mean() > 0.2 else heard[inside]
    names = [name for name in DESCRIBED if np.ptp(flat[name][good]) > 0] if good.any() else []
    if not (flat["f0"] > 0).mean() > 0.2:
        names = [name for name in names if name not in ("f0", "harmonicity")]
    rows = np.flatnonzero(good)
    if len(rows) < 20 or not names:
        return None
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), FRAMES_CORRELATED)).round().astype(int)]
    labels = {name: flat[name][rows] for name in names}
    return correlation(axes[rows, :AXES_SHOWN], labels, groups[rows], permutations=60, draws=300, seed=seed)


def _codes(run: Run, notes: Notes, latent: Latent, seed: int) -> Codes:
    from timbre_jax.generation.control.code_table import code_table
    from timbre_jax.metrics.codebook_usage import code_uses

    book = np.asarray(run.space.model.codebook(run.space.variables), np.float64)
    first = book if book.ndim == 2 else book[0]
    uses = code_uses(latent, first.shape[0], notes.labels["instrument"], seed=seed)
    table = code_table(run.space, names=("centroid", "bandwidth", "flatness", "rolloff", "f0"), uses=uses.counts[0])
    centred = first - first.mean(0)
    _, sizes, directions = np.linalg.svd(centred, full_matrices=False)
    share = float(np.square(sizes[:2]).sum() / max(np.square(sizes).sum(), 1e-30))
    return Codes(uses, table, centred @ directions[:2].T, share)


def _explanations(run: Run, notes: Notes, *, explained: int, seed: int, done) -> HeldExplanations:
    from timbre_jax.analysis.ablation import ablation
    from timbre_jax.analysis.attribution import integrated_gradients
    from timbre_jax.analysis.perturbation import perturbation
    from timbre_jax.analysis.sensitivity import sensitivity
    from timbre_jax.inference.pooled import held_space

    rows = even_choice(notes.labels["instrument"], min(explained, max(8, 256 // run.space.latent_size)), seed=seed)
    features = loudest_part(take(notes.features, rows), HELD_FRAMES)
    space = held_space(run.space)
    found = {}
    for name, method in (
        ("ablation", lambda: ablation(space, features)),
        ("perturbation", lambda: perturbation(space, features, unit="deviation", amounts=(-2.0, -1.0, 1.0, 2.0))),
        ("sensitivity", lambda: sensitivity(space, features)),
        ("gradients", lambda: integrated_gradients(space, features, steps=8)),
    ):
        done(name)
        found[name] = method()
    seconds = features.values.shape[1] / run.space.representation.rate
    return HeldExplanations(groups=notes.labels["instrument"][rows], seconds=seconds, **found)


def loudest_part(features: Features, count: int) -> Features:
    """`count` frames of each sound around its loudest (or all, where there are no more), as numpy."""
    import jax

    from timbre_jax.inference.pooled import level_name

    there = features.values.shape[1]
    if there <= count:
        return jax.tree.map(np.asarray, features)
    name = level_name(features.conditions)
    level = np.asarray(features.conditions[name]) if name else np.abs(features.values).mean(-1)
    first = np.clip(level.argmax(1) - count // 4, 0, there - count)
    rows = np.arange(len(first))[:, None], first[:, None] + np.arange(count)
    return jax.tree.map(lambda x: np.asarray(x)[rows] if np.ndim(x) > 1 and x.shape[1] == there else np.asarray(x), features)


def _probe(run: Run):
    """What the invariance probe said at the end of training, where it did."""
    from timbre_jax.metrics.table import read_results

    try:
        return tuple(read_results(run.workdir / "invariance.json"))
    except (OSError, ValueError, TypeError):
        return ()


# What is heard and seen


def sounds_of(run: Run, notes: Notes, number: int) -> list[tuple[str, dict[str, np.ndarray]]]:
    """A few recordings with what comes back of them."""
    from timbre_jax.inference.rendering import resynthesize, without_clipping

    rows = even_choice(notes.labels["instrument"], number)
    if not len(rows):
        return []
    made, recorded = resynthesize(run.space, notes.part(rows).features), notes.audio(rows)
    lengths = notes.lengths(rows)
    found = []
    for i, row in enumerate(rows):
        waves = {
            "original": recorded[i],
            "representation": made["representation"][i],
            "reconstruction": made["reconstruction"][i],
        }
        found.append(
            (str(notes.labels["id"][row]), {name: without_clipping(wave[: lengths[i]]) for name, wave in waves.items()})
        )
    return found


def sweeps_of(run: Run, analysis: SeriesAnalysis) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Points held along each of the first axes; of a discrete space all used codes, a descriptor rising."""
    from experiments.analyze import distinct_labels
    from timbre_jax.generation.control.code_table import traversal
    from timbre_jax.inference.pooled import held
    from timbre_jax.inference.rendering import without_clipping

    space, found = run.space, []
    if analysis.codes is not None:
        for name in ("centroid", "f0"):
            if len(analysis.codes.table.usable(name)) > 1:
                wave = np.asarray(space.render(traversal(space, analysis.codes.table, name, seconds=4.0)))[0]
                found.append((name, {"low to high": without_clipping(wave)}))
        return found
    axes = analysis.axes
    count = min(AXES_SHOWN, len(axes.deviation))
    places = np.linspace(0.0, 1.0, STEPS)
    sliders = np.repeat(np.asarray(axes.to_sliders(axes.mean))[None, None], count, 0).repeat(STEPS, 1)
    for a in range(count):
        sliders[a, :, a] = places
    points = np.asarray(axes.from_sliders(sliders.reshape(count * STEPS, -1)))
    waves = np.concatenate([np.asarray(space.render(held(space, part, seconds=0.8))) for part in np.split(points, count)])
    waves = without_clipping(waves).reshape(count, STEPS, -1)
    for a in range(count):
        labels = distinct_labels(np.asarray(axes.low[a] + places * (axes.high[a] - axes.low[a])))
        found.append((f"axis {a}", dict(zip(labels, waves[a], strict=True))))
    return found


def figures(run: Run, analysis: SeriesAnalysis, sounds) -> dict:
    """All pictures of the page by their file names."""
    from timbre_jax.report import plots
    from timbre_jax.report.series_figures import code_histogram, code_scatter

    s = analysis.statistics
    plural = {"latent": "Latents", "axis": "Playable axes"}[analysis.moving]
    found = {
        "distribution": plots.distribution(analysis.box, title=f"{plural}, all frames"),
        "movement": plots.bars(
            [("Variance within sounds", np.nan_to_num(s.within), None, None),
             ("Memory (s)", np.nan_to_num(s.memory), None, None), ("Speed (deviations a second)", s.speed, None, None)],
        ),
    }  # fmt: skip
    if (c := analysis.correlations) is not None:
        axes = [f"{d} ({100 * analysis.axes.share[d]:.0f} %)" for d in range(len(c.value))]
        found["correlation"] = plots.heatmap(
            c.value.T, list(c.names), axes, title="Rank correlation, frame by frame", limits=(-1, 1), label="Spearman",
            xlabel="playable axis (share of the variance)", faint=~c.beyond_chance().T,
        )  # fmt: skip
    if (codes := analysis.codes) is not None:
        counts = codes.uses.counts[0]
        found["code_histogram"] = code_histogram(counts)
        for name in ("centroid", "f0"):
            values = np.where(codes.table.described[name] > 0, codes.table.described[name], np.nan)
            if np.isfinite(values[counts > 0]).any():
                found[f"code_{name}"] = code_scatter(
                    codes.plane, values, counts, label=f"{name} of the code alone (Hz)", title=f"Codes by {name}",
                    explained=codes.explained,
                )  # fmt: skip
    if (e := analysis.explanations) is not None:
        from timbre_jax.metrics.bootstrap import mean_interval

        panels = []
        for title, values in (
            ("One off (rise of MSE)", e.ablation.importance(kind="disabled")),
            ("One on (fall of MSE)", e.ablation.importance(kind="enabled")),
            ("Gradient x deviation", e.sensitivity.scaled), ("Integrated Gradients", e.gradients.values),
        ):  # fmt: skip
            interval = mean_interval(values, e.groups)
            panels.append((title, interval.value, interval.low, interval.high))
        found["importance"] = plots.bars(panels, columns=2)
        amounts = np.insert(e.perturbation.amounts, 2, 0.0)
        curves = np.insert(e.perturbation.ssim_decrease(), 2, 0.0, axis=1)
        found["perturbation"] = plots.curves(
            [("Moved by its own deviation", "deviations", amounts, curves)], ylabel="fall of SSIM in %"
        )
    maps = [(name.upper() if name == "pca" else "t-SNE", m.points, m.rows) for name, m in analysis.maps.items()]
    bright, classes = analysis.labels["brightness_hz"], analysis.labels["family"]
    found["map_brightness"] = plots.scatter(maps, classes, colours=bright, colour_label="brightness (Hz)")
    if 1 < len(np.unique(classes)) <= 18:
        found["map_family"] = plots.scatter(maps, classes)
    for number, (title, waves) in enumerate(sounds):
        found[f"sound_{number}"] = _sound_figure(run, analysis, title, waves)
    return found


def _sound_figure(run: Run, analysis: SeriesAnalysis, title: str, waves):
    """Spectrograms of a sound and of what came back, its first axes over time, level and pitch of both."""
    from timbre_jax.generation.control.results import measure
    from timbre_jax.inference.chunked import embed_long
    from timbre_jax.report.series_figures import series_figure
    from timbre_jax.report.spectrogram import spectrogram_image

    space, wave = run.space, waves["original"]
    latent = embed_long(space, wave)
    axes = np.asarray(analysis.axes.to_axes(np.asarray(latent.values[0])))[:, :4]
    count = -(-len(wave) // space.representation.hop)
    length = min(len(wave), len(waves["reconstruction"]))
    both = np.stack([wave[:length], waves["reconstruction"][:length]])
    found, _ = measure(space, both, ("f0", "loudness"), count)
    pitch = np.where(found["f0"] > 0, found["f0"], np.nan)
    names = ("original", "reconstruction")
    pictures = [(name, spectrogram_image(waves[name], space.sample_rate, rows=96, columns=400)) for name in names]
    panels = [
        ("Playable axes", axes.T, [f"axis {a}" for a in range(axes.shape[1])]),
        ("Level (A-weighted dB)", found["loudness"], names),
        ("Pitch (Hz)", pitch, names),
    ]
    return series_figure(panels, seconds=len(wave) / space.sample_rate, pictures=pictures)


def write_sounds(folder: Path, sounds, sweeps, rate: int) -> None:
    """The players' sounds as files."""
    from timbre_jax.generation.sound_files import plain_name, write_sound

    for number, (title, waves) in enumerate(sounds):
        for what, wave in waves.items():
            write_sound(folder / f"{number:02d}_{plain_name(title)}_{what}.wav", wave, rate)
    for title, waves in sweeps:
        for step, wave in enumerate(waves.values()):
            write_sound(folder / f"sweep_{plain_name(title)}_{step}.wav", wave, rate)
