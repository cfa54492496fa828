"""How near a sound comes to a descriptor curve: 20 target curves inside what the space reaches, measured on the sound.

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

import os
import sys
from pathlib import Path

import numpy as np
from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments import command_line

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


def control_accuracy(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    *,
    descriptor: str = "centroid",
    curves: int = 20,
    seconds: float = 4.0,
    start: str = "mean",
    store: str | None = None,
    split: str = "test",
    seed: int = 0,
    progress: bool = True,
):
    """Measures and writes; what the flags of the same names say. Returns the summary `Table`.

    Raises:
      ValueError: one line.
    """
    from timbre_jax.evaluation.runs import open_run
    from timbre_jax.files import write_text
    from timbre_jax.generation.control.results import is_discrete
    from timbre_jax.generation.sound_files import write_sound
    from timbre_jax.metrics.table import Table, write_results
    from timbre_jax.report import plots
    from timbre_jax.report.control_figures import control_figure

    run, out = open_run(workdir, kind="series", why="descriptor control"), Path(out)
    if start == "sounds":
        starts, ids = held_out(run, store, split, curves, seed)
    else:
        from timbre_jax.generation.control.gradient_search import begin

        starts, ids = begin(run.space, seconds=seconds), [""] * curves
    follow = _follow_codes if is_discrete(run.space) else _follow_latents
    made, plain, uncontrolled = follow(run.space, descriptor, starts, curves, seed, progress)
    records = []
    for number, one in enumerate(made):
        own, kind = one.errors()[descriptor], KINDS[number % len(KINDS)]
        scale = 1.0 if _unit(descriptor) == "dB" else 100.0
        record = {
            "curve": number, "shape": kind[0], "hz": kind[1], "start": ids[number], "low": float(one.target[descriptor].min()),
            "high": float(one.target[descriptor].max()), "frames": int(one.heard.sum()),
            "median_error": scale * own["median_error"], "mean_error": scale * own["mean_error"],
            "correlation": own["correlation"], "uncontrolled_error": scale * uncontrolled[number]["median_error"],
        }  # fmt: skip
        if plain:
            before = plain[number].errors()[descriptor]
            record |= {"nearest_error": scale * before["median_error"], "nearest_correlation": before["correlation"]}
        records.append(record)
        name = f"control_{number:02d}_{kind[0]}_{kind[1]:g}hz"
        write_sound(out / "audio" / f"{name}.wav", one.wave, run.space.sample_rate)
        write_text(out / "audio" / f"{name}.csv", Table("curves", one.rows()[0], tuple(map(tuple, one.rows()[1]))).csv())
    where = (
        f"{curves} curves of {descriptor}, run {run.name} ({'discrete' if plain else 'continuous'}), start: "
        f"{'mean of the training set' if start == 'mean' else f'sounds of split “{split}”'}; the space reaches "
        f"{made[0].reach[descriptor][0]:.4g} to {made[0].reach[descriptor][1]:.4g} {_unit(descriptor)}; seed {seed}"
    )
    table = Table.from_records("curves", records, f"One row a curve; {where}.")
    table.write_csv(out)
    summary, results = summarise(records, descriptor, where)
    write_text(out / "control.md", f"{summary.markdown()}\n{summary.caption}\n\n{table.markdown()}\n{table.caption}\n")
    write_results(out / "results.json", results)
    titles = [f"{kind} {rate:g} Hz" for kind, rate in (KINDS * curves)[:curves]]
    plots.save_png(control_figure(made, descriptor, titles), out / "figure.png")
    return summary


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
        plain.append(control_codes(space, table, [curve], start=own, near=False, smoothness=0.0, rounds=1))
        made.append(control_codes(space, table, [curve], start=own, near=near))
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


def summarise(records: list[dict], name: str, where: str):
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
    caption = f"Means over curves with 95 % intervals over curves; floor: the start without control. {where}."
    return Table("control", ("measure", "value", "low", "high", "worst", "floor", "definition"), tuple(rows), caption), results


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The run, as experiments/train.py made it; a space with a latent a frame.")
    flags.DEFINE_string("out", None, "Folder for the tables, the figure and the sounds.")
    flags.DEFINE_string("descriptor", "centroid", "What the curves are of.")
    flags.DEFINE_integer("curves", 20, "How many.", lower_bound=2)
    flags.DEFINE_float("seconds", 4.0, "--start=mean: how long each sound is.", lower_bound=0.1)
    flags.DEFINE_enum("start", "mean", ("mean", "sounds"), "Where each search begins.")
    flags.DEFINE_string("store", None, "--start=sounds: of which store; by default the run's own.")
    flags.DEFINE_string("split", "test", "--start=sounds: of which split.")
    flags.DEFINE_integer("seed", 0, "Of the curves and the choice of sounds.")
    flags.DEFINE_boolean("progress", True, "Show bars.")


def main(_) -> int:
    command_line.use_compilation_cache()
    summary = command_line.call(control_accuracy)
    print(summary.markdown())
    print(summary.caption)
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
