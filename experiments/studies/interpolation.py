"""Measures the sounds between two sounds: brightness and bandwidth of 11 mixes, beside those of a plain crossfade.

  python experiments/studies/interpolation.py --workdir=run --out=interpolation
  python experiments/studies/interpolation.py --workdir=run --out=interpolation --interpolation=spherical --settle=1
  python experiments/studies/interpolation.py --workdir=run --out=interpolation --interpolation=even
  python experiments/studies/interpolation.py --workdir=run --out=interpolation --mixed_by=codes     # a discrete space

Caillon et al. 2020, figure 3, measured. Pairs of held-out sounds of different recordings (of different pitches and levels, as
they come), --seconds of each around the loudest frame; both are decoded, and 9 fixed mixes of their latents between them.
Descriptors are measured on the sound:

  spearman       rank correlation of brightness (mean spectral centroid, weighted by the frames' magnitudes) with the mix,
                 turned so that it is 1 where brightness rises or falls all the way from one end to the other
  overshoot      how far the largest bandwidth of the mixes lies above that of both ends, in % of the larger end; a crossfade
                 of two sounds has both their spectra at once and is wider than either
  deviation      largest distance of a mix's brightness from the straight line between the ends, in % of the ends' distance

--interpolation=even is told what is measured here (latent/even_path.py): its figures say what a sound designer gets, not how
the space lies.

A pair's ends differ where their decoded brightness does by 10 % or more; the others count for nothing.

Writes OUT/pairs.csv, OUT/summary.csv, OUT/interpolation.md, OUT/results.json, OUT/figure.png (one pair moving in time: its
centroid and bandwidth, the crossfade's beside it) and OUT/audio.
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

MIXES = 11
DIFFER = 0.10
LEAST_DB = -50.0
ENOUGH = 0.9


@dataclasses.dataclass(frozen=True)
class Interpolation(Study):
    """Settings of the study of interpolation."""

    store: str | None = setting(None, "Store of the sounds. Default: the one that the run was trained on.")
    split: str = setting("test", "Split of the sounds.")
    pairs: int = setting(40, "Number of pairs.", low=2)
    mixed_by: str = setting(
        "vectors", "Discrete spaces: mix as vectors between codes, or as nearest codes.", choices=("vectors", "codes")
    )
    interpolation: str = setting(
        "linear",
        "A straight line (the paper's), an arc, or the arc bent until brightness and bandwidth change evenly.",
        choices=("linear", "spherical", "even"),
    )
    settle: int = setting(0, "How often a mix is decoded and encoded again (series_paths.settled).", low=0)
    seconds: float = setting(2.0, "Seconds of each sound, around its loudest frame.", low=0.1)
    iterations: int | None = setting(
        None, "Iterations of the inverter, if the space has one: fewer are faster and hardly change descriptors.", low=1
    )


def measure_interpolation(settings: Interpolation):
    """Mixes pairs of held-out sounds, measures the mixes, and writes tables, a figure and sounds.

    Returns:
      The summary `Table`.

    Raises:
      ValueError: the run is not of a series space, codes of a continuous space, or no pair whose ends differ.
    """
    from tqdm import tqdm

    from timbre_jax.analysis.series import loudest_part
    from timbre_jax.data.store import Store
    from timbre_jax.evaluation.runs import default_store, open_run, read_notes
    from timbre_jax.generation.control.code_table import code_table, training_share
    from timbre_jax.generation.interpolation import EVEN
    from timbre_jax.metrics.table import Table
    from timbre_jax.report import plots

    run, out = open_run(settings.workdir, kind="series", why="an interpolation of series"), Path(settings.out)
    space, discrete = run.space, run.space.model.is_discrete
    if settings.mixed_by == "codes" and not discrete:
        raise ValueError("--mixed_by=codes needs a discrete space; this one is continuous")
    opened = Store.open(settings.store or default_store(run))
    notes = read_notes(run, opened, settings.split, progress=settings.progress)
    if settings.iterations is not None and space.representation.synthesis_iterations:
        space = space.replace(representation=dataclasses.replace(space.representation, iterations=settings.iterations))
    frames, codes = max(1, round(settings.seconds * space.representation.rate)), None
    if settings.interpolation == "even" and discrete:
        codes = code_table(space, names=EVEN, uses=training_share(space), progress=settings.progress)
    records, figure = [], None
    pairs = choose_pairs(notes, settings.pairs, seed=settings.seed)
    for number, pair in enumerate(tqdm(pairs, desc="pairs", disable=not settings.progress)):
        rows = np.array(pair)
        found = _pair(space, loudest_part(notes.part(rows).features, frames), settings, codes)
        ids, groups = (notes.labels[name][rows].tolist() for name in ("id", "instrument"))
        records.append({"pair": number, "from": ids[0], "to": ids[1], "groups": " + ".join(groups), **found["record"]})
        if figure is None and found["record"]["differ"]:
            figure = _figure(space, found, out)
    how = f"mixed by {settings.interpolation}, {settings.mixed_by}, settled {settings.settle} times"
    table = Table.from_records("pairs", records, "One row a pair; columns: interpolation.py --help.")
    summary, results = summarize(
        records, f"split “{settings.split}” of {opened.path.name}, run {run.name}, {how}", settings.seed
    )
    write_study(out, "interpolation", [summary, table], results)
    if figure is not None:
        plots.save_png(figure, out / "figure.png")
    return summary


def choose_pairs(notes, number: int, *, seed: int = 0) -> list[tuple[int, int]]:
    """Pairs of audible sounds of different recordings, each sound in as few pairs as can be.

    Raises:
      ValueError: fewer than two recordings with an audible sound.
    """
    rows = np.arange(len(notes.positions))
    waves = notes.audio(rows)
    loud = rows[10 * np.log10(np.maximum(np.mean(np.square(waves), axis=1), 1e-12)) > LEAST_DB]
    groups = notes.labels["instrument"]
    if len(np.unique(groups[loud])) < 2:
        raise ValueError("an interpolation needs audible sounds of at least two recordings")
    generator, found, seen = np.random.default_rng(seed), [], set()
    for _ in range(200 * number):
        order = generator.permutation(loud)
        for a, b in zip(order[::2].tolist(), order[1::2].tolist(), strict=False):
            if groups[a] != groups[b] and (a, b) not in seen:
                seen.add((a, b))
                found.append((a, b))
            if len(found) == number:
                return found
    return found


def _pair(space, features, settings: Interpolation, codes) -> dict:
    """Returns the sounds of a pair's mixes and their measures; `codes`: code table of a discrete space, for even paths."""
    import jax

    from timbre_jax.generation import interpolation as even_path
    from timbre_jax.generation import series_paths as paths

    latent = jax.tree.map(np.asarray, space.encode(features))
    a, b = (jax.tree.map(lambda x, i=i: x[i : i + 1], latent) for i in (0, 1))
    a, b = paths.align(a, b, count=latent.values.shape[1])
    shares = np.linspace(0.0, 1.0, MIXES)
    if settings.interpolation == "even":
        ends = jax.tree.map(lambda *x: np.concatenate(x), a, b)
        between = [mix.wave for mix in even_path.even_mixes(space, a, b, shares[1:-1], table=codes)]
        return _measured(space, (a, b), np.stack([*np.asarray(space.render(ends)), *between])[[0, *range(2, MIXES), 1]])
    batch = [jax.tree.map(lambda x: np.repeat(x, MIXES, axis=0), one) for one in (a, b)]
    share = np.repeat(shares[:, None], a.values.shape[1], axis=1)
    mixed = paths.mix_spherical(space, *batch, share) if settings.interpolation == "spherical" else paths.mix(*batch, share)
    mixed = paths.settled(space, mixed, rounds=settings.settle)
    if settings.mixed_by == "codes":
        mixed = paths.to_codes(space, mixed)
    return _measured(space, (a, b), np.asarray(space.render(mixed)))


def _measured(space, ends, waves: np.ndarray) -> dict:
    """Of the mixes' sounds [MIXES, T], the first and last of which are the ends."""
    from timbre_jax.generation import series_paths as paths

    shares = np.linspace(0.0, 1.0, MIXES)
    faded = np.stack([paths.crossfade(waves[0], waves[-1], share) for share in shares])
    ours, theirs = (_descriptors(x, space.sample_rate) for x in (waves, faded))
    bright, wide = ours["centroid"], ours["bandwidth"]
    differ = abs(bright[-1] - bright[0]) >= DIFFER * min(bright[0], bright[-1])
    record = {
        "centroid_from": bright[0], "centroid_to": bright[-1], "differ": bool(differ),
        "spearman": monotony(bright), "spearman_crossfade": monotony(theirs["centroid"]),
        "overshoot": overshoot(wide), "overshoot_crossfade": overshoot(theirs["bandwidth"]),
        "deviation": deviation(bright), "deviation_crossfade": deviation(theirs["centroid"]),
    }  # fmt: skip
    return {"record": record, "ends": ends, "waves": waves}


def monotony(values: np.ndarray) -> float:
    """Rank correlation of values at rising mixes with the mix, in the direction from the first to the last."""
    from scipy.stats import spearmanr

    if np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(np.arange(len(values)), values).statistic) * (1.0 if values[-1] >= values[0] else -1.0)


def overshoot(values: np.ndarray) -> float:
    """How far the largest of values lies above both ends, in % of the larger end; 0 where none does."""
    ends = max(values[0], values[-1])
    return float(100.0 * max(0.0, values.max() - ends) / ends) if ends > 0 else 0.0


def deviation(values: np.ndarray) -> float:
    """Largest distance of values from the straight line between their ends, in % of the ends' distance."""
    line = np.linspace(values[0], values[-1], len(values))
    reach = abs(values[-1] - values[0])
    return float(100.0 * np.abs(values - line).max() / reach) if reach > 0 else float("nan")


def _descriptors(waves: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Mean centroid and bandwidth [S] of sounds in Hz, each frame weighted by its summed magnitude."""
    found = _frames(waves, rate)
    weight = found["weight"] / np.maximum(found["weight"].sum(1, keepdims=True), 1e-30)
    return {name: (found[name] * weight).sum(1) for name in ("centroid", "bandwidth")}


def _frames(waves: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    from timbre_jax.audio import descriptors

    magnitude = np.asarray(descriptors.magnitudes(np.asarray(waves, np.float32)))
    frequencies = descriptors.bin_frequencies(rate, descriptors.N_FFT)
    return {
        "centroid": np.asarray(descriptors.centroid(magnitude, frequencies), np.float64),
        "bandwidth": np.asarray(descriptors.bandwidth(magnitude, frequencies), np.float64),
        "weight": magnitude.sum(-1).astype(np.float64),
    }


def summarize(records: list[dict], where: str, seed: int):
    """Returns the summary table and results; `where`: sounds, run and kind of mix, for captions.

    Raises:
      ValueError: no pair's ends differ.
    """
    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.table import Result, Table

    kept = [record for record in records if record["differ"]]
    if not kept:
        raise ValueError(f"the ends of none of the {len(records)} pairs differ by {100 * DIFFER:.0f} % in brightness")
    groups = np.array([record["groups"] for record in kept])
    where = (
        f"{len(kept)} of {len(records)} pairs whose ends differ by {100 * DIFFER:.0f} %, {where}; "
        "floor: a plain crossfade of the two decoded ends"
    )
    rows, results = [], []
    measures = (
        (
            "spearman_enough",
            f"% of pairs with rank correlation {ENOUGH:g} or more",
            "spearman",
            lambda x: 100 * (x >= ENOUGH),
        ),
        ("spearman", "rank correlation of brightness with the mix", "spearman", lambda x: x),
        ("deviation", "distance from the straight line, % of the ends' distance", "deviation", lambda x: x),
        ("overshoot", "bandwidth above both ends, %", "overshoot", lambda x: x),
        (
            "overshoot_over_5",
            "% of pairs whose bandwidth overshoots by over 5 %",
            "overshoot",
            lambda x: 100 * (x > 5),
        ),
    )
    for key, title, column, change in measures:
        cells = []
        for suffix in ("", "_crossfade"):
            values = change(np.array([record[column + suffix] for record in kept], np.float64))
            interval = mean_interval(values, groups, seed=seed)
            cells.append(tuple(float(x) for x in (interval.value, interval.low, interval.high)))
        rows.append((title, *cells[0], *cells[1]))
        results.append(Result(f"interpolation/{key}", *cells[0], cells[1][0], f"{title}; {where}"))
    columns = ("what", "latents", "low", "high", "crossfade", "crossfade_low", "crossfade_high")
    return Table("summary", columns, tuple(rows), f"{where}. Brackets: 95 %, bootstrap over pairs of recordings."), results


def _figure(space, found: dict, out: Path):
    """One pair moving in time: z[n] = za[n] (1 - n / N) + zb[n] n / N, beside the crossfade; and its sounds."""
    from timbre_jax.generation import series_paths as paths
    from timbre_jax.generation.sound_files import write_sound
    from timbre_jax.report.series_plots import moving_figure

    a, b = found["ends"]
    share = paths.moving_share(a.values.shape[1])
    ends = found["waves"][[0, -1]]
    sounds = {
        "first": ends[0],
        "second": ends[1],
        "interpolated": np.asarray(space.render(paths.mix(a, b, share)))[0],
        "crossfade": paths.crossfade(*ends, share),
    }
    for name, wave in sounds.items():
        write_sound(out / "audio" / f"{name}.wav", wave, space.sample_rate)
    for i, wave in enumerate(found["waves"]):
        write_sound(out / "audio" / f"mix_{10 * i:03d}.wav", wave, space.sample_rate)
    curves = {name: _frames(wave[None], space.sample_rate) for name, wave in sounds.items()}
    return moving_figure(
        {name: {k: v[0] for k, v in curve.items()} for name, curve in curves.items()}, rate=space.sample_rate / 256
    )


if __name__ == "__main__":
    run_study(Interpolation, measure_interpolation, __doc__)
