"""Explains a trained space: everything this library can ask its latents, in one page and in files to work on.

  python experiments/analyze.py --workdir=runs/notes --out=analysis
  python experiments/analyze.py --workdir=runs/notes --out=analysis_real --store=nsynth --split=test --number=0

Writes OUT/report.html (one self-contained page), OUT/tables/*.csv, OUT/plots/*.png, OUT/audio/*.wav (original,
reconstruction and each ablation of a few notes; a sweep of every latent) and OUT/results.json, a list of {name, value,
low, high, floor, definition} with stable names.

Of a space with a latent a frame (timbre_jax/analysis/series.py): sounds with their curves, movement of the latents, playable
axes and what they go along with frame by frame, codes, and the questions above to points that are held.

Scores, maps and statistics use --number notes of the split, even over its instruments; methods that decode hundreds of
variants of every note use --explained of them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line

TRAINING_NOTES = 4000
DISTANCE_NOTES = 48
LEAST_NOTES = 5


def analyze(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    *,
    store: str | os.PathLike | None = None,
    split: str = "test",
    number: int = 500,
    explained: int = 64,
    players: int = 3,
    seed: int = 0,
    progress: bool = True,
):
    """Analyses a run and writes everything; what the flags of the same names say.

    Returns:
      `timbre_jax.report.analysis.Analysis`, or `timbre_jax.report.series_analysis.SeriesAnalysis`: all results as plain data.

    Raises:
      ValueError: one line that says what is wrong.
    """
    from tqdm import tqdm

    from timbre_jax.data.store import Store
    from timbre_jax.evaluation.runs import default_store, open_run, read_notes, trained_on, training_notes
    from timbre_jax.metrics.table import write_results
    from timbre_jax.report import analysis_figures, analysis_page, page, plots
    from timbre_jax.report.analysis import results, tables

    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; a report needs a folder")
    run = open_run(workdir)
    opened = Store.open(store or default_store(run))
    notes = read_notes(run, opened, split, number=number, seed=seed, progress=progress)
    if len(notes.positions) < LEAST_NOTES:
        raise ValueError(
            f"an analysis needs at least {LEAST_NOTES} notes, split {split!r} of {opened.path} gives {len(notes.positions)}"
        )
    if run.space.kind == "series":
        return _analyze_series(run, opened, notes, out, explained=explained, players=players, seed=seed, progress=progress)
    training = training_notes(run, number=TRAINING_NOTES, progress=progress)

    with tqdm(total=14, desc="analyses", unit="step", disable=not progress) as bar:

        def done(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        seen = trained_on(run, opened, split)
        analysis = _analysis(run, notes, training, seen=seen, explained=explained, seed=seed, done=done)
        done("sounds")
        chosen = _listening_rows(notes, players)
        note_sounds, sweeps = _sounds(run, notes, analysis, chosen)
        done("pictures")
        seconds = run.space.representation.length / run.space.sample_rate or None
        drawn = analysis_figures.figures(analysis, _pictures(run, notes, analysis), seconds=seconds)
        images = {name: plots.save_png(figure, out / "plots" / f"{name}.png") for name, figure in drawn.items()}
        done("page")
        for table in tables(analysis):
            table.write_csv(out / "tables")
        _write_sounds(out / "audio", note_sounds, sweeps, run.space.sample_rate)
        write_results(out / "results.json", results(analysis))
        document = page.page(
            f"The timbre space “{run.name}”",
            f"{analysis.model}. {analysis.notes}.",
            analysis_page.sections(analysis, images, note_sounds, sweeps, run.space.sample_rate),
            footer=_footer(run, opened, split, number, explained, seed),
        )
        page.write_page(out / "report.html", document)
        done("done")
    return analysis


def _analyze_series(run, store, notes, out: Path, *, explained: int, players: int, seed: int, progress: bool):
    from tqdm import tqdm

    from timbre_jax.analysis import series
    from timbre_jax.evaluation.runs import trained_on
    from timbre_jax.metrics.table import write_results
    from timbre_jax.report import page, plots, series_page
    from timbre_jax.report.series_analysis import results, tables

    with tqdm(desc="analyses", unit="step", disable=not progress) as bar:

        def done(what: str) -> None:
            bar.set_postfix_str(what)
            bar.update()

        described = _described(notes, "sounds", "recording", seen=trained_on(run, store, notes.split))
        analysis = series.analyse_series(
            run, notes, described=described, explained=explained, sounds=DISTANCE_NOTES, seed=seed, done=done
        )
        done("sounds")
        sounds, sweeps = series.sounds_of(run, notes, players), series.sweeps_of(run, analysis)
        done("pictures")
        drawn = series.figures(run, analysis, sounds)
        images = {name: plots.save_png(figure, out / "plots" / f"{name}.png") for name, figure in drawn.items()}
        done("page")
        for table in tables(analysis):
            table.write_csv(out / "tables")
        series.write_sounds(out / "audio", sounds, sweeps, run.space.sample_rate)
        write_results(out / "results.json", results(analysis))
        document = page.page(
            f"The timbre space “{run.name}”",
            f"{analysis.model}. {analysis.notes}.",
            series_page.sections(analysis, images, sounds, sweeps, run.space.sample_rate),
            footer=_footer(run, store, notes.split, len(notes.positions), explained, seed),
        )
        page.write_page(out / "report.html", document)
        done("done")
    return analysis


def _described(notes, what: str, group: str, *, seen: bool) -> str:
    """What was analysed, in words."""
    count = len(np.unique(notes.labels["instrument"]))
    return (
        f"{len(notes.positions)} {what} of {count} {group}{'s' if count > 1 else ''}, split “{notes.split}” of "
        f"{notes.store.path.name}{', which the run was trained on' if seen else ''}"
    )


def _analysis(run, notes, training, *, seen: bool, explained: int, seed: int, done):
    from timbre_jax.analysis.correlation import correlation
    from timbre_jax.analysis.projection import pca_map, tsne_map
    from timbre_jax.analysis.statistics import active_latents, box_plot, class_statistics, range_classes
    from timbre_jax.inference.batched import encode_features
    from timbre_jax.report.analysis import HARMONIC, Analysis, shown

    latents = np.asarray(encode_features(run.space, notes.features).values, np.float64)
    active = active_latents(latents)
    done("scores")
    quality = _quality(run, notes, training, seen=seen)
    done("statistics")
    labels = {**notes.labels, "brightness_hz": _brightness(notes)}
    families = labels["family"]
    classes = {name: class_statistics(latents, labels[name]) for name in ("family", "instrument", "source")}
    # A label of -1 is one that the source does not know.
    known = [name for name in ("pitch", "velocity", "brightness_hz") if labels[name].min() >= 0]
    numeric = {name: labels[name] for name in known if np.ptp(labels[name]) > 0}
    correlations = {
        method: correlation(latents, numeric, labels["instrument"], method=method, seed=seed)
        for method in ("spearman", "pearson")
        if numeric
    }
    done("maps")
    maps = {"pca": pca_map(latents)}
    if active.any() and len(latents) >= 5:
        maps["tsne"] = tsne_map(latents, seed=seed)
    why_not, explanations = "", None
    if active.any():
        explanations = _explanations(run, notes, latents, explained=explained, seed=seed, done=done)
    else:
        why_not = (
            f"All {len(active)} latents of this space have the same value for every note ({run.model}): it says the same "
            "whatever it hears, so no direction of it can be explained. The mean image is made so; a VAE gets there when "
            "its KL weight is too high (posterior collapse)."
        )
    model = f"{shown(run.model)} with {run.space.latent_size} latents on {shown(run.space.representation.name)}"
    described = _described(notes, "notes", "instrument", seen=seen)
    return Analysis(
        name=run.name,
        model=model[:1].upper() + model[1:],
        notes=described,
        latents=latents,
        labels=labels,
        quality=quality,
        box=box_plot(latents),
        active=active,
        classes=classes,
        ranges=range_classes(latents, families),
        correlations=correlations,
        maps=maps,
        explanations=explanations,
        why_not=why_not,
        pictures=HARMONIC if run.space.representation.is_harmonic else "spectrogram",
    )


def _quality(run, notes, training, *, seen: bool):
    from timbre_jax.evaluation.baselines import baseline_scores
    from timbre_jax.evaluation.resynthesis import sound_distances
    from timbre_jax.inference.batched import encode_features
    from timbre_jax.metrics.knn import neighbour_accuracy
    from timbre_jax.metrics.reconstruction import reconstruction_scores, score_definition
    from timbre_jax.report.analysis import Quality

    scores = reconstruction_scores(run.space, notes.features, target=notes.target)
    floors, families, mean_image = {}, None, None
    if training is not None:
        floors = baseline_scores(training.target, notes.target, latent_size=run.space.latent_size)
        mean_image = np.asarray(training.features.values).mean(0)
        if not seen:  # The nearest training note of a training note is that note.
            known, found = (encode_features(run.space, x.features).values for x in (training, notes))
            families = neighbour_accuracy(known, training.labels["family"], found, notes.labels["family"])
    distances, rows = sound_distances(run, notes, number=DISTANCE_NOTES, mean_image=mean_image)
    return Quality(
        score_definition(run.space.representation),
        scores,
        floors,
        families,
        distances,
        notes.labels["instrument"][rows],
        training_notes=0 if training is None else len(training.positions),
    )


def _explanations(run, notes, latents, *, explained: int, seed: int, done):
    from timbre_jax.analysis.ablation import BASELINES, ablation
    from timbre_jax.analysis.attribution import EXACT_UP_TO, integrated_gradients, shapley
    from timbre_jax.analysis.direction import direction_effects
    from timbre_jax.analysis.perturbation import perturbation
    from timbre_jax.analysis.sage import sage
    from timbre_jax.analysis.sensitivity import sensitivity
    from timbre_jax.evaluation.runs import even_choice
    from timbre_jax.inference.batched import take
    from timbre_jax.report.analysis import Explanations

    if run.space.latent_size > EXACT_UP_TO:
        # Subsets are sampled then, and every note takes D + 1 decoded sounds an order.
        explained = min(explained, max(8, 512 // run.space.latent_size))
    rows = even_choice(notes.labels["instrument"], explained, seed=seed)
    features, space = take(notes.features, rows), run.space
    done("ablation")
    ablations = {baseline: ablation(space, features, baseline=baseline) for baseline in BASELINES}
    done("perturbation")
    perturbations = {unit: perturbation(space, features, unit=unit) for unit in ("percent", "deviation")}
    done("sensitivity")
    gradient = sensitivity(space, features)
    done("Shapley values")
    shares = {(measure, "mean"): attribution for measure, attribution in shapley(space, features, seed=seed).items()}
    done("SAGE")
    globally = sage(space, features, background=latents, draws=8, orders=1, seed=seed)
    done("Integrated Gradients")
    integrated = integrated_gradients(space, features)
    done("directions")
    harmonic = space.representation.is_harmonic
    return Explanations(
        groups=notes.labels["instrument"][rows],
        ablations=ablations,
        perturbations=perturbations,
        sensitivity=gradient,
        shapley=shares,
        sage=globally,
        gradients=integrated,
        directions=direction_effects(space) if harmonic else None,
    )


def _brightness(notes) -> np.ndarray:
    """Spectral centroid of every recording in Hz [M]."""
    import jax

    from timbre_jax.audio.descriptors import brightness
    from timbre_jax.inference.batched import batches_of

    measure = jax.jit(lambda waves: brightness(waves, sample_rate=notes.store.sample_rate))
    parts = [np.asarray(measure(notes.audio(batch))) for batch in batches_of(len(notes.positions), 64)]
    return np.concatenate(parts)[: len(notes.positions)].astype(np.float64)


def _listening_rows(notes, number: int) -> np.ndarray:
    """Notes to listen to: of as many families as there are, near the middle of the keyboard, not the softest."""
    labels = notes.labels
    order = np.lexsort((np.abs(labels["pitch"] - 60), -np.minimum(labels["velocity"], 75)))
    _, first = np.unique(labels["family"][order], return_index=True)
    firsts = np.sort(first)
    rest = np.setdiff1d(np.arange(len(order)), firsts)
    return order[np.concatenate([firsts, rest])][:number]


def _sounds(run, notes, analysis, rows):
    """Waves of the chosen notes and of the sweeps: [(title, {what: wave [T]})] twice."""
    from timbre_jax.analysis.ablation import baseline_values, masked_latents
    from timbre_jax.generation.static_paths import sweep
    from timbre_jax.inference.rendering import render_values, synthesize_features, without_clipping

    space = run.space
    size = space.latent_size
    note_sounds, sweeps = [], []
    if len(rows):
        recorded = notes.audio(rows)
        latent = analysis.latents[rows].astype(np.float32)
        explained = analysis.explanations is not None and size <= 16
        masks = np.concatenate(
            [np.ones((1, size), bool), *((np.eye(size, dtype=bool), ~np.eye(size, dtype=bool)) if explained else ())]
        )
        values, _ = masked_latents(latent, baseline_values(space, "mean"), masks)
        waves = without_clipping(render_values(space, values)).reshape(len(rows), len(masks), -1)
        names = ["reconstruction"] + (
            [f"only {d}" for d in range(size)] + [f"all but {d}" for d in range(size)] if explained else []
        )
        part = notes.part(rows)
        again = without_clipping(synthesize_features(space, part.features))
        for i, row in enumerate(rows):
            title = f"{notes.labels['id'][row]} ({notes.labels['family'][row]})"
            sounds = {"original": recorded[i], "representation": again[i]}
            note_sounds.append((title, sounds | dict(zip(names, waves[i], strict=True))))
    if analysis.explanations is not None and size <= 16:
        middle = np.asarray(space.statistics["latent_mean"], np.float32)
        steps = 5
        points = np.concatenate([np.asarray(sweep(space, middle, d, steps=steps)) for d in range(size)])
        waves = without_clipping(render_values(space, points)).reshape(size, steps, -1)
        for d in range(size):
            labels = distinct_labels(points[d * steps : (d + 1) * steps, d])
            sweeps.append((f"latent {d}", dict(zip(labels, waves[d], strict=True))))
    return note_sounds, sweeps


def distinct_labels(values: np.ndarray) -> list[str]:
    """Numbers with as few decimals as tell them apart (at least one); by their place too where they are equal."""
    for digits in range(1, 7):
        labels = [f"{value:+.{digits}f}" for value in values]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{place + 1}: {value:+.1g}" for place, value in enumerate(values)]


def _pictures(run, notes, analysis) -> dict:
    """Feature images on the common scale, for the page."""
    from timbre_jax.analysis.ablation import baseline_values, masked_latents
    from timbre_jax.inference.batched import decode_values
    from timbre_jax.metrics.reconstruction import common_features
    from timbre_jax.types import Features

    space = run.space

    def shown(values: np.ndarray) -> np.ndarray:
        decoded = decode_values(space, space.latent(values))
        features = Features(values=decoded, mask=np.ones(decoded.shape[:2], np.float32))
        return common_features(space.representation, features).values

    rows = _listening_rows(notes, 6)
    images = shown(analysis.latents[rows])
    pairs = []
    for i, row in enumerate(rows):
        pitch = notes.labels["pitch"][row]
        name = f"{notes.labels['family'][row]} {pitch}" if pitch >= 0 else str(notes.labels["family"][row])
        pairs += [
            (f"{name}: original", np.asarray(notes.target.values[row])),
            (f"{name}: reconstruction", images[i]),
        ]
    found = {"reconstructions": pairs}
    if analysis.explanations is not None:
        one = analysis.latents[rows[:1]]
        size = space.latent_size
        values, _ = masked_latents(one, baseline_values(space, "zero"), np.eye(size, dtype=bool)[:16])
        found["ablations"] = pairs[:2] + [(f"only latent {d}", image) for d, image in enumerate(shown(values))]
    return found


def _write_sounds(folder: Path, notes, sweeps, sample_rate: int) -> None:
    from timbre_jax.audio.io import write_wave
    from timbre_jax.generation.sound_files import plain_name

    def name(*parts: str) -> Path:
        return folder / ("_".join(plain_name(part, most=80) for part in parts) + ".wav")

    for number, (title, sounds) in enumerate(notes):
        for what, wave in sounds.items():
            write_wave(name(f"{number:02d}", title.split(" (")[0], what), wave, sample_rate)
    for title, sounds in sweeps:
        for step, wave in enumerate(sounds.values()):
            write_wave(name("sweep", title, str(step)), wave, sample_rate)


def _footer(run, store, split, number, explained, seed) -> str:
    import timbre_jax

    return (
        f"Made by timbre_jax {timbre_jax.__version__} from the run “{run.name}” and the split “{split}” of "
        f"{store.path.name} (--number={number} --explained={explained} --seed={seed}). Notes: "
        f"{store.index.get('licence') or 'no licence stated'}."
    )


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The run, as experiments/train.py made it.")
    flags.DEFINE_string("out", None, "Folder for the report and its files.")
    flags.DEFINE_string("store", None, "Store whose notes are analysed; by default the one the run was trained on.")
    flags.DEFINE_string("split", "test", "Split of the store.")
    flags.DEFINE_integer("number", 500, "Notes to analyse, even over instruments; 0 means all.", lower_bound=0)
    flags.DEFINE_integer(
        "explained", 64, "Of these, notes for the methods that decode hundreds of variants of each.", lower_bound=2
    )
    flags.DEFINE_integer("players", 3, "Notes to listen to, with every ablation.", lower_bound=0)
    flags.DEFINE_integer("seed", 0, "Of the choice of notes, resampling, t-SNE and sampling.")
    flags.DEFINE_bool("progress", True, "Show a bar with the time left.")


def main(_) -> int:
    command_line.use_compilation_cache()
    command_line.call(analyze)
    print(f"report: {Path(flags.FLAGS.out) / 'report.html'}")
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
