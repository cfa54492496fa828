"""Measures how closely sounds follow target curves of a descriptor.

  python experiments/studies/control_accuracy.py --workdir=runs/violin --out=control
  python experiments/studies/control_accuracy.py --workdir=runs/violin --out=control_sounds --start=sounds
  python experiments/studies/control_accuracy.py --workdir=runs/violin --out=rolloff --descriptor=rolloff --curves=40 --seed=1

Results: docs/results.md
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments.studies.study import Study, mean_result, run_study, write_study
from timbre_jax.settings import setting

SHAPES = tuple((shape, hz) for shape in ("sine", "line", "exponential") for hz in (0.5, 2.0))
"""Shape and frequency in Hz of the target curves, in turns."""

RANGE_SHARE = 0.8
"""Part of the reachable range, in its middle, that curves are drawn in."""

LEAST_RATIO = 1.5
"""Smallest ratio of the highest to the lowest value of a curve, if the range has room for it."""

GOOD_CORRELATION = 0.9


def draw_curves(name: str, reach: tuple[float, float], *, number: int, seconds: float, seed: int) -> list:
    """Draws target curves within a range, at random.

    The first curves do not depend on their number.

    Args:
      name: descriptor.
      reach: lowest and highest value of the descriptor that the space reaches.
      number: number of curves.
      seconds: duration of the curves.
      seed: random seed.

    Returns:
      Curves (`generation.control.curves.Curve`).

    Raises:
      ValueError: if the range is empty.
    """
    from timbre_jax.generation.control.curves import make_curve
    from timbre_jax.generation.control_modes import middle_of_range

    low, high = middle_of_range(reach, RANGE_SHARE)
    if not low < high:
        raise ValueError(
            f"{name}: the range that the space reaches is empty (got {reach[0]:g} to {reach[1]:g}); control another descriptor"
        )
    logarithmic = low > 0
    ends = np.log([low, high]) if logarithmic else np.array([low, high])
    least = min(np.log(LEAST_RATIO) if logarithmic else 0.3 * (ends[1] - ends[0]), 0.7 * (ends[1] - ends[0]))
    curves = []
    for i in range(number):
        generator = np.random.default_rng([seed, i])
        width = generator.uniform(least, ends[1] - ends[0])
        bottom = generator.uniform(ends[0], ends[1] - width)
        values = np.array([bottom, bottom + width])
        bottom, top = np.exp(values) if logarithmic else values
        kind, rate = SHAPES[i % len(SHAPES)]
        phase = float(generator.uniform())
        curves.append(make_curve(kind, name, seconds=seconds, low=bottom, high=top, rate=rate, phase=phase))
    return curves


@dataclasses.dataclass(frozen=True)
class ControlAccuracy(Study):
    """Settings of the study of descriptor control."""

    descriptor: str = setting("centroid", "Descriptor that the sounds follow.")
    curves: int = setting(20, "Number of target curves.", low=2)
    start: str = setting("mean", "Sounds to control: the training mean, or held-out sounds.", choices=("mean", "sounds"))
    seconds: float = setting(4.0, "With --start=mean: duration of each sound in seconds.", low=0.1)
    store: str | None = setting(None, "With --start=sounds: store of the sounds. Default: the training store of the run.")
    split: str = setting("test", "With --start=sounds: split of the sounds.")


def control_accuracy(settings: ControlAccuracy):
    """Controls a descriptor with target curves, measures the sounds, and writes the results.

    The target curves (`draw_curves`) take the shapes of `SHAPES` in turns. Each is followed from the mean of the training set
    at its median level, or from a held-out sound whose level is kept. The descriptor is then measured on the sound, frame by
    frame, with the window and hop of the space; frames within 50 dB of the loudest frame count. The measures of a curve are:

    - median_error, mean_error: over frames, of |achieved / target - 1| in %, or of the difference in dB for the loudness.
    - correlation: of the achieved and the target curve over frames.
    - uncontrolled_error: median error of the start without control, the baseline.
    - nearest_error, nearest_correlation: in a discrete space, of the codes nearest to the target, uncorrected.

    Writes OUT/curves.csv (a row for each curve), OUT/control.md and OUT/results.json (means over curves), OUT/figure.png, and
    OUT/audio with a CSV file beside each sound.

    Args:
      settings: run and curves.

    Returns:
      The summary `Table`.

    Raises:
      ValueError: if the run is not of a series space, or there are too few sounds.
    """
    from timbre_jax.evaluation.runs import open_run
    from timbre_jax.metrics.table import Table
    from timbre_jax.report import plots
    from timbre_jax.report.series_plots import control_figure

    run, out = open_run(settings.workdir, kind="series", why="descriptor control"), Path(settings.out)
    descriptor, curves = settings.descriptor, settings.curves
    if settings.start == "sounds":
        starts, ids = held_out(run, settings.store, settings.split, curves, settings.seed)
    else:
        from timbre_jax.generation.control.gradient_search import mean_start

        starts, ids = mean_start(run.space, seconds=settings.seconds), [""] * curves
    follow = _follow_codes if run.space.model.is_discrete else _follow_latents
    controlled, plain, uncontrolled = follow(run.space, descriptor, starts, curves, settings.seed, settings.progress)
    records = []
    for number, result in enumerate(controlled):
        nearest = plain[number] if plain else None
        records.append(_record(number, ids[number], descriptor, result, uncontrolled[number], nearest))
        _write_curve(out / "audio", number, result, run.space.sample_rate)
    low, high = controlled[0].reach[descriptor]
    start = "mean of the training set" if settings.start == "mean" else f"sounds of split “{settings.split}”"
    where = (
        f"{curves} curves of {descriptor}, run {run.name} ({'discrete' if plain else 'continuous'}), start: {start}; the space "
        f"reaches {low:.4g} to {high:.4g} {_unit(descriptor)}; seed {settings.seed}"
    )
    table = Table.from_records("curves", records, f"One row for each curve; {where}.")
    summary, results = summarize(records, descriptor, where)
    write_study(out, "control", [summary, table], results)
    titles = [f"{shape} {hz:g} Hz" for shape, hz in (SHAPES * curves)[:curves]]
    plots.save_png(control_figure(controlled, descriptor, titles), out / "figure.png")
    return summary


def _record(number: int, start: str, descriptor: str, result, uncontrolled: dict, nearest) -> dict:
    """Returns the row of a curve: its shape and the errors of the controlled sound."""
    errors, (shape, hz) = result.errors()[descriptor], SHAPES[number % len(SHAPES)]
    scale = 1.0 if _unit(descriptor) == "dB" else 100.0
    target = result.target[descriptor]
    record = {
        "curve": number, "shape": shape, "hz": hz, "start": start, "low": float(target.min()), "high": float(target.max()),
        "frames": int(result.audible.sum()), "median_error": scale * errors["median_error"],
        "mean_error": scale * errors["mean_error"], "correlation": errors["correlation"],
        "uncontrolled_error": scale * uncontrolled["median_error"],
    }  # fmt: skip
    if nearest is not None:
        before = nearest.errors()[descriptor]
        record |= {"nearest_error": scale * before["median_error"], "nearest_correlation": before["correlation"]}
    return record


def _write_curve(folder: Path, number: int, result, sample_rate: int) -> None:
    """Writes a controlled sound and its curves."""
    from timbre_jax.files import write_text
    from timbre_jax.generation.sound_files import write_sound

    shape, hz = SHAPES[number % len(SHAPES)]
    name = f"control_{number:02d}_{shape}_{hz:g}hz"
    write_sound(folder / f"{name}.wav", result.wave, sample_rate)
    write_text(folder / f"{name}.csv", result.table().csv())


def _unit(name: str) -> str:
    """Returns the unit of a descriptor."""
    from timbre_jax.audio.descriptors import descriptor

    return descriptor(name).unit


def held_out(run, store: str | None, split: str, number: int, seed: int):
    """Returns the latent series of held-out sounds that are mostly audible, and their ids.

    Raises:
      ValueError: if there are too few such sounds.
    """
    import jax

    from timbre_jax.data.store import Store
    from timbre_jax.evaluation.runs import default_store, read_notes

    opened = Store.open(store or default_store(run))
    notes = read_notes(run, opened, split, progress=False)
    waves = notes.audio(np.arange(len(notes.positions)))
    window = run.space.sample_rate // 20
    blocks = waves[:, : waves.shape[1] // window * window].reshape(len(waves), -1, window)
    level = 10 * np.log10(np.maximum(np.mean(np.square(blocks), axis=2), 1e-12))
    audible = np.mean(level > np.maximum(level.max(axis=1, keepdims=True) - 40.0, -60.0), axis=1)
    rows = np.flatnonzero(audible > 0.8)
    if len(rows) < number:
        raise ValueError(f"--curves={number}: split {split!r} has only {len(rows)} sounds that are audible nearly throughout")
    rows = np.sort(np.random.default_rng(seed).choice(rows, number, replace=False))
    latent = run.space.encode(notes.part(rows).features)
    return jax.tree.map(np.asarray, latent), notes.labels["id"][rows].tolist()


def _series_at(latents, row: int):
    """Returns one series of several, or the only series."""
    from timbre_jax.inference.batched import take

    return latents if len(latents.values) == 1 else take(latents, np.array([row]))


def _follow_latents(space, name: str, starts, number: int, seed: int, progress: bool):
    """Returns controlled sounds of a continuous space, [], and the accuracies without control."""
    from timbre_jax.generation.control import gradient_search

    seconds = starts.values.shape[1] / starts.rate
    # One range for all curves: what the mean reaches at the median level of the starts.
    reach = gradient_search.reachable_ranges(space, (name,), gradient_search.mean_start(space, seconds=seconds))
    curves = [[curve] for curve in draw_curves(name, reach[name], number=number, seconds=seconds, seed=seed)]
    controlled = gradient_search.control_latents(space, curves, starts, reach=reach, progress=progress)
    return controlled, [], _uncontrolled(space, name, starts, controlled)


def _follow_codes(space, name: str, starts, number: int, seed: int, progress: bool):
    """Returns controlled sounds, sounds of the nearest codes, and accuracies without control."""
    from tqdm import tqdm

    from timbre_jax.generation.control.code_control import NEARNESS, control_codes
    from timbre_jax.generation.control.code_table import code_table, training_share

    seconds, near = starts.values.shape[1] / starts.rate, starts.values.shape[0] > 1
    table = code_table(space, names=(name,), uses=training_share(space), progress=progress)
    curves = draw_curves(name, table.reach(name), number=number, seconds=seconds, seed=seed)
    controlled, nearest = [], []
    for row, curve in enumerate(tqdm(curves, desc="curves", disable=not progress)):
        start = _series_at(starts, row)
        nearest.append(control_codes(space, table, [curve], start, nearness=0.0, smoothness=0.0, rounds=1))
        controlled.append(control_codes(space, table, [curve], start, nearness=NEARNESS if near else 0.0))
    return controlled, nearest, _uncontrolled(space, name, starts, controlled)


def _uncontrolled(space, name: str, starts, controlled) -> list[dict]:
    """Returns the accuracy of the starts, without control, for each curve."""
    from timbre_jax.generation.control.results import accuracy, measure

    accuracies = []
    for row, result in enumerate(controlled):
        if row == 0 or starts.values.shape[0] > 1:
            achieved, audible = measure(space, np.asarray(space.render(_series_at(starts, row))), (name,), len(result.times))
        accuracies.append(accuracy(name, result.target[name][audible[0]], achieved[name][0][audible[0]]))
    return accuracies


def summarize(records: list[dict], name: str, where: str):
    """Returns the summary table and the results: means over curves with their intervals."""
    from timbre_jax.metrics.table import Table

    unit = "dB" if _unit(name) == "dB" else "%"
    measures = [
        ("median_error", f"median over frames of the error, {unit}; mean over curves", "uncontrolled_error"),
        ("mean_error", f"mean over frames of the error, {unit}; mean over curves", None),
        ("correlation", "of target and achieved; mean over curves", None),
    ]
    if "nearest_error" in records[0]:
        measures += [
            ("nearest_error", f"median error, {unit}, of the nearest codes without correction; mean over curves", None),
            ("nearest_correlation", "of the nearest codes without correction; mean over curves", None),
        ]
    rows, results = [], []

    def add(column: str, values: np.ndarray, definition: str, worst=None, baseline=None) -> None:
        result = mean_result(f"control/{name}/{column}", values, f"{definition}. {where}", baseline=baseline)
        rows.append((column, result.value, result.low, result.high, worst, baseline, definition))
        results.append(result)

    for column, definition, baseline_column in measures:
        values = np.array([record[column] for record in records], np.float64)
        if "correlation" in column:
            if not np.isfinite(values).all():
                definition = f"{definition} (0 for curves that are silent or constant)"
            values = np.nan_to_num(values)
        else:  # the error of a silent sound is undefined
            values = values[np.isfinite(values)]
        if not len(values):
            continue
        if len(values) < len(records):
            definition = f"{definition}, of {len(values)} of {len(records)} curves; the other sounds are silent"
        bases = np.array([record[baseline_column] for record in records], np.float64) if baseline_column else np.array([np.nan])
        base = float(np.nanmean(bases)) if np.isfinite(bases).any() else None
        worst = float(values.min() if "correlation" in column else values.max())
        add(column, values, definition, worst, base)
    good = np.array([record["correlation"] >= GOOD_CORRELATION for record in records], np.float64)
    add("correlation_good", 100 * good, f"% of curves with a correlation of {GOOD_CORRELATION:g} or more")
    caption = (
        "Means over curves with 95 % intervals over curves; errors: lower is better, correlations: higher is better. Baseline: "
        f"the start without control. {where}."
    )
    columns = ("measure", "value", "low", "high", "worst", "baseline", "definition")
    return Table("control", columns, tuple(rows), caption), results


if __name__ == "__main__":
    run_study(ControlAccuracy, control_accuracy, __doc__)
