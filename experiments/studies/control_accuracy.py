"""Measures how closely sounds follow descriptor curves: 20 target curves within the reach of the space.

  python experiments/studies/control_accuracy.py --workdir=run --out=control
  python experiments/studies/control_accuracy.py --workdir=run --out=control_sounds --start=sounds    # from held-out sounds
  python experiments/studies/control_accuracy.py --workdir=run --out=control --descriptor=rolloff --curves=40 --seed=1

Targets that no training has seen: sine, line and exponential at 0.5 and 2 Hz in turn, each between two values drawn from the
middle 80 % (in ratio) of what the space reaches, 1.5 times apart or more where there is room, and with a phase of its own.
Each is followed from the mean of the training set at its median level (--start=mean), or from a held-out sound whose level is
kept (--start=sounds). What the sound then has is measured on it, frame by frame, with the space's own window and hop; frames
within 50 dB of its loudest count.

  median_error   of a curve: the median over frames of |achieved / target - 1| in % (a dB difference for the loudness)
  correlation    of target and achieved over the frames
  uncontrolled   the same of the start, as it is, against the curve: what no control comes to
  nearest        discrete spaces: codes nearest to the target, without correction on the sound

Writes OUT/curves.csv (a row a curve), OUT/control.md and results.json (means over the curves with 95 % intervals over curves),
OUT/figure.png, and OUT/audio with a CSV beside each sound.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments.studies.study import Study, run_study, write_study
from timbre_jax.settings import setting

KINDS = tuple((kind, rate) for kind in ("sine", "line", "exponential") for rate in (0.5, 2.0))
INSIDE = 0.8
APART = 1.5
GOOD_CORRELATION = 0.9


def draw_curves(name: str, reach: tuple[float, float], *, number: int, seconds: float, seed: int) -> list:
    """Target curves (`generation.control.curves.Curve`) inside a range; the same for the same seed, whatever their number.

    Raises ValueError for a range that leaves no room.
    """
    from timbre_jax.generation.control.curves import shape
    from timbre_jax.generation.control_modes import middle

    low, high = middle(reach, INSIDE)
    if not low < high:
        raise ValueError(f"the space reaches {reach[0]:g} to {reach[1]:g} of {name}: there is no room for a curve")
    proportional = low > 0
    ends = np.log([low, high]) if proportional else np.array([low, high])
    least = min(np.log(APART) if proportional else 0.3 * (ends[1] - ends[0]), 0.7 * (ends[1] - ends[0]))
    made = []
    for i in range(number):
        generator = np.random.default_rng([seed, i])
        width = generator.uniform(least, ends[1] - ends[0])
        bottom = generator.uniform(ends[0], ends[1] - width)
        values = np.array([bottom, bottom + width])
        between = np.exp(values) if proportional else values
        kind, rate = KINDS[i % len(KINDS)]
        made.append(
            shape(kind, name, seconds=seconds, low=between[0], high=between[1], rate=rate, phase=float(generator.uniform()))
        )
    return made


@dataclasses.dataclass(frozen=True)
class ControlAccuracy(Study):
    """Settings of the study of descriptor control."""

    descriptor: str = setting("centroid", "Descriptor that the curves are of.")
    curves: int = setting(20, "Number of curves.", low=2)
    seconds: float = setting(4.0, "Duration of each sound, with --start=mean.", low=0.1)
    start: str = setting("mean", "Where each search begins: the training mean, or held-out sounds.", choices=("mean", "sounds"))
    store: str | None = setting(None, "Store of the sounds, with --start=sounds. Default: the run's own.")
    split: str = setting("test", "Split of the sounds, with --start=sounds.")


def control_accuracy(settings: ControlAccuracy):
    """Follows the curves, measures the sounds, and writes tables, a figure and the sounds.

    Returns:
      The summary `Table`.

    Raises:
      ValueError: the run is not of a series space, or the sounds are too few.
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
        from timbre_jax.generation.control.gradient_search import begin

        starts, ids = begin(run.space, seconds=settings.seconds), [""] * curves
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
    table = Table.from_records("curves", records, f"One row a curve; {where}.")
    summary, results = summarize(records, descriptor, where)
    write_study(out, "control", [summary, table], results)
    titles = [f"{kind} {rate:g} Hz" for kind, rate in (KINDS * curves)[:curves]]
    plots.save_png(control_figure(controlled, descriptor, titles), out / "figure.png")
    return summary


def _record(number: int, start: str, descriptor: str, result, uncontrolled: dict, nearest) -> dict:
    """Returns the row of a curve: its shape and the errors of the sound that followed it."""
    errors, (shape, rate) = result.errors()[descriptor], KINDS[number % len(KINDS)]
    scale = 1.0 if _unit(descriptor) == "dB" else 100.0
    target = result.target[descriptor]
    record = {
        "curve": number, "shape": shape, "hz": rate, "start": start, "low": float(target.min()), "high": float(target.max()),
        "frames": int(result.heard.sum()), "median_error": scale * errors["median_error"],
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

    shape, rate = KINDS[number % len(KINDS)]
    name = f"control_{number:02d}_{shape}_{rate:g}hz"
    write_sound(folder / f"{name}.wav", result.wave, sample_rate)
    write_text(folder / f"{name}.csv", result.table().csv())


def _unit(name: str) -> str:
    from timbre_jax.audio.descriptors import descriptor

    return descriptor(name).unit


def held_out(run, store: str | None, split: str, number: int, seed: int):
    """Series [number, M, D] of held-out sounds, most of whose frames are audible, and their ids.

    Raises ValueError where there are too few.
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
    heard = np.mean(level > np.maximum(level.max(axis=1, keepdims=True) - 40.0, -60.0), axis=1)
    rows = np.flatnonzero(heard > 0.8)
    if len(rows) < number:
        raise ValueError(
            f"split {split!r} has {len(rows)} sounds that are heard nearly throughout: fewer than --curves={number}"
        )
    rows = np.sort(np.random.default_rng(seed).choice(rows, number, replace=False))
    latent = run.space.encode(notes.part(rows).features)
    return jax.tree.map(np.asarray, latent), notes.labels["id"][rows].tolist()


def _row(latent, row: int):
    import jax

    count = latent.values.shape[0]
    return latent if count == 1 else jax.tree.map(lambda x: x[row : row + 1], latent)


def _follow_latents(space, name: str, starts, number: int, seed: int, progress: bool):
    from timbre_jax.generation.control import gradient_search

    seconds = starts.values.shape[1] / starts.rate
    # What is reached from the mean: one range for all, at the median level of the starts.
    reach = gradient_search.reachable(space, (name,), gradient_search.begin(space, seconds=seconds))
    curves = [[curve] for curve in draw_curves(name, reach[name], number=number, seconds=seconds, seed=seed)]
    made = gradient_search.search(space, curves, starts, reach=reach, progress=progress)
    return made, [], _uncontrolled(space, name, starts, made)


def _follow_codes(space, name: str, starts, number: int, seed: int, progress: bool):
    from tqdm import tqdm

    from timbre_jax.generation.control.code_control import control_codes
    from timbre_jax.generation.control.code_table import code_table, training_share

    seconds, near = starts.values.shape[1] / starts.rate, starts.values.shape[0] > 1
    table = code_table(space, names=(name,), uses=training_share(space), progress=progress)
    curves = draw_curves(name, table.reach(name), number=number, seconds=seconds, seed=seed)
    made, plain = [], []
    for row, curve in enumerate(tqdm(curves, desc="curves", disable=not progress)):
        own = _row(starts, row)
        plain.append(control_codes(space, table, [curve], own, near=False, smoothness=0.0, rounds=1))
        made.append(control_codes(space, table, [curve], own, near=near))
    return made, plain, _uncontrolled(space, name, starts, made)


def _uncontrolled(space, name: str, starts, made) -> list[dict]:
    """Accuracy of the starts themselves."""
    from timbre_jax.generation.control.results import accuracy, measure

    found = []
    for row, one in enumerate(made):
        if row == 0 or starts.values.shape[0] > 1:
            achieved, heard = measure(space, np.asarray(space.render(_row(starts, row))), (name,), len(one.times))
        found.append(accuracy(name, one.target[name][heard[0]], achieved[name][0][heard[0]]))
    return found


def summarize(records: list[dict], name: str, where: str):
    """The summary table and results: means over curves with their intervals."""
    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.table import Result, Table

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
    for column, definition, floor in measures:
        values = np.array([record[column] for record in records], np.float64)
        if "correlation" in column:
            if not np.isfinite(values).all():
                definition = f"{definition} (0 where nothing is heard or moves)"
            values = np.nan_to_num(values)
        else:  # of a sound in which nothing is heard there is no error: such a curve is left out, and said to be
            values = values[np.isfinite(values)]
        if not len(values):
            continue
        if len(values) < len(records):
            definition = f"{definition}, of {len(values)} of {len(records)} curves: in the others nothing is heard"
        interval = mean_interval(values)
        bases = np.array([record[floor] for record in records], np.float64) if floor else np.array([np.nan])
        base = float(np.nanmean(bases)) if np.isfinite(bases).any() else None
        worst = float(values.min() if "correlation" in column else values.max())
        rows.append((column, float(interval.value), float(interval.low), float(interval.high), worst, base, definition))
        results.append(
            Result(f"control/{name}/{column}", interval.value, interval.low, interval.high, base, f"{definition}. {where}")
        )
    good = np.array([record["correlation"] >= GOOD_CORRELATION for record in records], np.float64)
    interval = mean_interval(100 * good)
    told = f"% of curves with a correlation of {GOOD_CORRELATION:g} or more"
    rows.append(("correlation_good", float(interval.value), float(interval.low), float(interval.high), None, None, told))
    results.append(
        Result(f"control/{name}/correlation_good", interval.value, interval.low, interval.high, None, f"{told}. {where}")
    )
    caption = f"Means over curves with 95 % intervals over curves; baseline: the start without control. {where}."
    columns = ("measure", "value", "low", "high", "worst", "baseline", "definition")
    return Table("control", columns, tuple(rows), caption), results


if __name__ == "__main__":
    run_study(ControlAccuracy, control_accuracy, __doc__)
