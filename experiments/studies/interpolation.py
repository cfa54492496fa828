"""Measures how brightness and bandwidth change along interpolations between two sounds.

  python experiments/studies/interpolation.py --workdir=runs/violin --out=interpolation
  python experiments/studies/interpolation.py --workdir=runs/violin --out=interpolation_even --interpolation=even
  python experiments/studies/interpolation.py --workdir=runs/discrete --out=interpolation_codes --mixed_by=codes

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

MIXES = 11
"""Mixes of a pair, with both ends."""

LEAST_DIFFERENCE = 0.10
"""Smallest relative difference in brightness between the ends of a pair that counts."""

AUDIBLE_DB = -50.0
"""Smallest RMS level of a sound."""

GOOD_CORRELATION = 0.9


@dataclasses.dataclass(frozen=True)
class Interpolation(Study):
    """Settings of the study of interpolation."""

    store: str | None = setting(None, "Store of the sounds. Default: the training store of the run.")
    split: str = setting("test", "Split of the sounds.")
    pairs: int = setting(40, "Number of pairs.", low=2)
    mixed_by: str = setting(
        "vectors",
        "In a discrete space: decode the vectors between codes, or the nearest codes.",
        choices=("vectors", "codes"),
    )
    interpolation: str = setting(
        "linear",
        "A straight line (as in the paper), an arc, or a path along which brightness and bandwidth change evenly.",
        choices=("linear", "spherical", "even"),
    )
    reencode_rounds: int = setting(0, "Number of times that a mix is decoded and encoded again.", low=0)
    seconds: float = setting(2.0, "Duration of the part of each sound around its loudest frame, in seconds.", low=0.1)
    iterations: int | None = setting(
        None, "Iterations of the inverter; fewer are faster and hardly change the descriptors. Default: as in the run.", low=1
    )


def measure_interpolation(settings: Interpolation):
    """Mixes pairs of held-out sounds, measures the mixes, and writes the results.

    Measures figure 3 of Caillon et al. 2020. The sounds of a pair come from different recordings, with their own pitches and
    levels. Both ends and 9 mixes of their latents between them are decoded, and descriptors are measured on the sounds. The
    same measures of a crossfade between the two decoded ends are the baseline. The measures of a pair are:

    - spearman: rank correlation of brightness (mean spectral centroid, weighted by the magnitude of each frame) with the mix; 1
      if brightness rises, or falls, all the way from one end to the other.
    - overshoot: excess of the largest bandwidth of the mixes over the bandwidths of both ends, in % of the larger end. A
      crossfade contains the spectra of both sounds and is wider than either.
    - deviation: largest distance of the brightness of a mix from the straight line between the ends, in % of the distance
      between the ends.

    Pairs whose ends differ in decoded brightness by less than `LEAST_DIFFERENCE` do not count. With interpolation="even" the
    path is computed from these measures (`generation.interpolation`), so its scores describe the resulting sounds and not the
    geometry of the space.

    Writes OUT/pairs.csv, OUT/summary.csv, OUT/interpolation.md, OUT/results.json, OUT/figure.png (centroid and bandwidth of a
    pair that moves in time, beside its crossfade) and OUT/audio.

    Args:
      settings: run, pairs and kind of interpolation.

    Returns:
      The summary `Table`.

    Raises:
      ValueError: if the run is not of a series space, codes are mixed in a continuous space, or the ends of no pair differ.
    """
    from tqdm import tqdm

    from timbre_jax.analysis.series import loudest_part
    from timbre_jax.data.store import Store
    from timbre_jax.evaluation.runs import default_store, open_run, read_notes
    from timbre_jax.generation.control.code_table import code_table, training_share
    from timbre_jax.generation.interpolation import EVEN_DESCRIPTORS
    from timbre_jax.metrics.table import Table
    from timbre_jax.report import plots

    run, out = open_run(settings.workdir, kind="series", why="an interpolation of series"), Path(settings.out)
    space, discrete = run.space, run.space.model.is_discrete
    if settings.mixed_by == "codes" and not discrete:
        raise ValueError(f"--mixed_by=codes: needs a discrete space; {settings.workdir} is continuous")
    opened = Store.open(settings.store or default_store(run))
    notes = read_notes(run, opened, settings.split, progress=settings.progress)
    if settings.iterations is not None and space.representation.synthesis_iterations:
        space = space.replace(representation=dataclasses.replace(space.representation, iterations=settings.iterations))
    frames, codes = max(1, round(settings.seconds * space.representation.rate)), None
    if settings.interpolation == "even" and discrete:
        codes = code_table(space, names=EVEN_DESCRIPTORS, uses=training_share(space), progress=settings.progress)
    records, figure = [], None
    pairs = choose_pairs(notes, settings.pairs, seed=settings.seed)
    for number, pair in enumerate(tqdm(pairs, desc="pairs", disable=not settings.progress)):
        rows = np.array(pair)
        mixed = _mix_pair(space, loudest_part(notes.part(rows).features, frames), settings, codes)
        ids, groups = (notes.labels[name][rows].tolist() for name in ("id", "instrument"))
        records.append({"pair": number, "from": ids[0], "to": ids[1], "groups": " + ".join(groups), **mixed["record"]})
        if figure is None and mixed["record"]["differ"]:
            figure = _write_moving_pair(space, mixed, out)
    path = f"{settings.interpolation} interpolation, mixed by {settings.mixed_by}, re-encoded {settings.reencode_rounds} times"
    table = Table.from_records("pairs", records, "One row for each pair. Columns: `measure_interpolation`.")
    summary, results = summarize(
        records, f"split “{settings.split}” of {opened.path.name}, run {run.name}, {path}", settings.seed
    )
    write_study(out, "interpolation", [summary, table], results)
    if figure is not None:
        plots.save_png(figure, out / "figure.png")
    return summary


def choose_pairs(notes, number: int, *, seed: int = 0) -> list[tuple[int, int]]:
    """Draws pairs of audible sounds of different recordings.

    Sounds recur as rarely as possible.

    Args:
      notes: sounds (`evaluation.runs.Notes`).
      number: number of pairs.
      seed: random seed.

    Returns:
      Rows of both sounds of each pair.

    Raises:
      ValueError: if fewer than two recordings have an audible sound.
    """
    rows = np.arange(len(notes.positions))
    waves = notes.audio(rows)
    audible = rows[10 * np.log10(np.maximum(np.mean(np.square(waves), axis=1), 1e-12)) > AUDIBLE_DB]
    groups = notes.labels["instrument"]
    if (recordings := len(np.unique(groups[audible]))) < 2:
        raise ValueError(f"split {notes.split!r}: must have audible sounds of at least 2 recordings (got {recordings})")
    generator, pairs = np.random.default_rng(seed), {}
    for _ in range(200 * number):
        order = generator.permutation(audible)
        for a, b in zip(order[::2].tolist(), order[1::2].tolist(), strict=False):
            if groups[a] != groups[b]:
                pairs[a, b] = None
            if len(pairs) == number:
                return list(pairs)
    return list(pairs)


def _mix_pair(space, features, settings: Interpolation, codes) -> dict:
    """Returns the sounds of the mixes of a pair and their measures; codes: code table or None."""
    import jax

    from timbre_jax.generation import interpolation as even_path
    from timbre_jax.generation import series_paths as paths
    from timbre_jax.inference.batched import take

    latent = jax.tree.map(np.asarray, space.encode(features))
    a, b = (take(latent, np.array([i])) for i in (0, 1))
    a, b = paths.align(a, b, count=latent.values.shape[1])
    shares = np.linspace(0.0, 1.0, MIXES)
    if settings.interpolation == "even":
        ends = jax.tree.map(lambda *x: np.concatenate(x), a, b)
        between = [mix.wave for mix in even_path.even_mixes(space, a, b, shares[1:-1], table=codes)]
        return _measure_mixes(space, (a, b), np.stack([*np.asarray(space.render(ends)), *between])[[0, *range(2, MIXES), 1]])
    batch = [take(one, np.zeros(MIXES, int)) for one in (a, b)]
    share = np.repeat(shares[:, None], a.values.shape[1], axis=1)
    mixed = paths.mix_spherical(space, *batch, share) if settings.interpolation == "spherical" else paths.mix(*batch, share)
    mixed = paths.reencode(space, mixed, rounds=settings.reencode_rounds)
    if settings.mixed_by == "codes":
        mixed = paths.to_codes(space, mixed)
    return _measure_mixes(space, (a, b), np.asarray(space.render(mixed)))


def _measure_mixes(space, ends, waves: np.ndarray) -> dict:
    """Measures the sounds of mixes [MIXES, T], of which the first and the last are the ends."""
    from timbre_jax.generation import series_paths as paths

    shares = np.linspace(0.0, 1.0, MIXES)
    faded = np.stack([paths.crossfade(waves[0], waves[-1], share) for share in shares])
    ours, theirs = (_mean_descriptors(x, space.sample_rate) for x in (waves, faded))
    bright, wide = ours["centroid"], ours["bandwidth"]
    differ = abs(bright[-1] - bright[0]) >= LEAST_DIFFERENCE * min(bright[0], bright[-1])
    record = {
        "centroid_from": bright[0], "centroid_to": bright[-1], "differ": bool(differ),
        "spearman": monotonicity(bright), "spearman_crossfade": monotonicity(theirs["centroid"]),
        "overshoot": overshoot(wide), "overshoot_crossfade": overshoot(theirs["bandwidth"]),
        "deviation": deviation(bright), "deviation_crossfade": deviation(theirs["centroid"]),
    }  # fmt: skip
    return {"record": record, "ends": ends, "waves": waves}


def monotonicity(values: np.ndarray) -> float:
    """Returns the rank correlation of values with the direction from the first to the last."""
    from scipy.stats import spearmanr

    if np.ptp(values) == 0:
        return 0.0
    return float(spearmanr(np.arange(len(values)), values).statistic) * (1.0 if values[-1] >= values[0] else -1.0)


def overshoot(values: np.ndarray) -> float:
    """Returns the excess of the largest value over both ends, in % of the larger end."""
    ends = max(values[0], values[-1])
    return float(100.0 * max(0.0, values.max() - ends) / ends) if ends > 0 else 0.0


def deviation(values: np.ndarray) -> float:
    """Returns the largest distance from the line between both ends, in % of their distance."""
    line = np.linspace(values[0], values[-1], len(values))
    reach = abs(values[-1] - values[0])
    return float(100.0 * np.abs(values - line).max() / reach) if reach > 0 else float("nan")


def _mean_descriptors(waves: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Returns mean centroid and bandwidth [S] of sounds in Hz, weighted by magnitude."""
    frames = _frame_descriptors(waves, rate)
    weight = frames["weight"] / np.maximum(frames["weight"].sum(1, keepdims=True), 1e-30)
    return {name: (frames[name] * weight).sum(1) for name in ("centroid", "bandwidth")}


def _frame_descriptors(waves: np.ndarray, rate: int) -> dict[str, np.ndarray]:
    """Returns centroid, bandwidth (Hz) and magnitude of each frame, [S, N] each."""
    from timbre_jax.audio import descriptors

    magnitude = np.asarray(descriptors.magnitudes(np.asarray(waves, np.float32)))
    frequencies = descriptors.bin_frequencies(rate, descriptors.N_FFT)
    return {
        "centroid": np.asarray(descriptors.centroid(magnitude, frequencies), np.float64),
        "bandwidth": np.asarray(descriptors.bandwidth(magnitude, frequencies), np.float64),
        "weight": magnitude.sum(-1).astype(np.float64),
    }


def summarize(records: list[dict], where: str, seed: int):
    """Returns the summary table and the results.

    Args:
      records: measures of each pair.
      where: sounds, run and interpolation, for captions.
      seed: random seed of the intervals.

    Raises:
      ValueError: if the ends of no pair differ.
    """
    from timbre_jax.metrics.table import Table

    kept = [record for record in records if record["differ"]]
    if not kept:
        raise ValueError(f"pairs: got none of {len(records)} whose ends differ by {100 * LEAST_DIFFERENCE:.0f} % in brightness")
    groups = np.array([record["groups"] for record in kept])
    where = (
        f"{len(kept)} of {len(records)} pairs whose ends differ by {100 * LEAST_DIFFERENCE:.0f} %, {where}; "
        "baseline: a crossfade of the two decoded ends"
    )
    rows, results = [], []

    def percent_good(values: np.ndarray) -> np.ndarray:
        return 100 * (values >= GOOD_CORRELATION)

    measures = (
        ("spearman_enough", f"% of pairs with rank correlation {GOOD_CORRELATION:g} or more", "spearman", percent_good),
        ("spearman", "rank correlation of brightness with the mix", "spearman", lambda x: x),
        ("deviation", "distance from the straight line, % of the ends' distance", "deviation", lambda x: x),
        ("overshoot", "bandwidth above both ends, %", "overshoot", lambda x: x),
        ("overshoot_over_5", "% of pairs whose bandwidth overshoots by over 5 %", "overshoot", lambda x: 100 * (x > 5)),
    )
    for key, title, column, change in measures:
        values, faded = (
            change(np.array([record[name] for record in kept], np.float64)) for name in (column, f"{column}_crossfade")
        )
        crossfade = mean_result("crossfade", faded, title, groups=groups, seed=seed)
        name, definition = f"interpolation/{key}", f"{title}; {where}"
        result = mean_result(name, values, definition, groups=groups, baseline=crossfade.value, seed=seed)
        rows.append((title, *(x for one in (result, crossfade) for x in (one.value, one.low, one.high))))
        results.append(result)
    better = (
        "Higher is better for rank correlations, lower for the others. Low and high: 95 % interval, bootstrap over pairs of "
        "recordings."
    )
    columns = ("measure", "latents", "low", "high", "crossfade", "crossfade_low", "crossfade_high")
    return Table("summary", columns, tuple(rows), f"{where}. {better}"), results


def _write_moving_pair(space, mixed: dict, out: Path):
    """Writes the sounds of a pair that moves in time and returns its figure.

    The moving latents are z[n] = za[n] (1 - n / N) + zb[n] n / N, as on the companion page of Caillon et al. 2020.
    """
    from timbre_jax.generation import series_paths as paths
    from timbre_jax.generation.sound_files import write_sound
    from timbre_jax.report.series_plots import moving_figure

    a, b = mixed["ends"]
    share = paths.linear_shares(a.values.shape[1])
    ends = mixed["waves"][[0, -1]]
    sounds = {
        "first": ends[0],
        "second": ends[1],
        "interpolated": np.asarray(space.render(paths.mix(a, b, share)))[0],
        "crossfade": paths.crossfade(*ends, share),
    }
    for name, wave in sounds.items():
        write_sound(out / "audio" / f"{name}.wav", wave, space.sample_rate)
    for i, wave in enumerate(mixed["waves"]):
        write_sound(out / "audio" / f"mix_{10 * i:03d}.wav", wave, space.sample_rate)
    curves = {name: _frame_descriptors(wave[None], space.sample_rate) for name, wave in sounds.items()}
    return moving_figure(
        {name: {k: v[0] for k, v in curve.items()} for name, curve in curves.items()}, rate=space.sample_rate / 256
    )


if __name__ == "__main__":
    run_study(Interpolation, measure_interpolation, __doc__)
