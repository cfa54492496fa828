"""Conversion: sounds of other domains through a space; do level and timing stay?

  python experiments/studies/timbre_transfer.py --workdir=run --out=conversion --sounds=drums,notes,nsynth --number=20

--sounds: folders of sound files, or stores (their test split); as many of each. Every sound goes through the space as
`generate.py --mode=convert` sends it, and its level curve (RMS over 4 hops of 256 samples, dB, floored 60 dB under the loudest
frame) is held against that of the result: Pearson correlation and the lag of the largest cross-correlation. Two rows:
"by the decoder alone" (it is told the input's level curve) and "level matched" (what convert does by default).

Writes OUT/sounds.csv, OUT/summary.csv, OUT/conversion.md, OUT/results.json and OUT/audio.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments import command_line

ENOUGH = 0.9
HOP = 256
LONGEST = 10.0
"""Seconds of a sound that are taken."""


def measure_conversion(
    workdir: str | os.PathLike,
    out: str | os.PathLike,
    sounds: Sequence[str | os.PathLike],
    *,
    number: int = 20,
    seed: int = 0,
    progress: bool = True,
):
    """Measures and writes; what the flags of the same names say. Returns the summary `Table`.

    Raises:
      ValueError: one line.
    """
    from tqdm import tqdm

    from timbre_jax.evaluation.runs import open_run
    from timbre_jax.files import write_text
    from timbre_jax.generation.series_modes import match_level
    from timbre_jax.generation.sound_files import plain_name, write_sound
    from timbre_jax.inference.chunked import reconstruct_long
    from timbre_jax.metrics.level_curves import level_correlation
    from timbre_jax.metrics.table import Table, write_results

    if not sounds:
        raise ValueError("give --sounds=FOLDER_OR_STORE,...; see --help")
    run = open_run(workdir, kind="series", why="conversion")
    space, records = run.space, []
    chosen = choose_sounds([Path(path) for path in sounds], number, space.sample_rate, seed=seed)
    for place, (source, name, wave) in enumerate(tqdm(chosen, desc="sounds", disable=not progress)):
        decoded = reconstruct_long(space, wave)
        matched, most = match_level(decoded, wave, hop=space.representation.hop)
        records.append(
            {
                "sound": name, "source": source, "seconds": len(wave) / space.sample_rate,
                "decoder": level_correlation(decoded, wave, hop=HOP), "matched": level_correlation(matched, wave, hop=HOP),
                "lag_ms": lag_ms(decoded, wave, space.sample_rate), "largest_gain_db": most,
            }
        )  # fmt: skip
        title = f"{place:02d}_{plain_name(name)}"
        for what, sound in (("original", wave), ("decoder", decoded), ("matched", matched)):
            write_sound(Path(out) / "audio" / f"{title}_{what}.wav", sound, space.sample_rate)
    table = Table.from_records("sounds", records, "One row a sound; what the columns are: series_conversion.py --help.")
    summary, results = summarise(records, run.name, seed)
    table.write_csv(Path(out))
    summary.write_csv(Path(out))
    write_text(Path(out) / "conversion.md", f"{summary.markdown()}\n{summary.caption}\n")
    write_results(Path(out) / "results.json", results)
    return summary


def choose_sounds(paths: list[Path], number: int, rate: int, *, seed: int = 0) -> list[tuple[str, str, np.ndarray]]:
    """(source, name, wave [T] at `rate`) of `number` audible sounds, as many of each source.

    Raises:
      ValueError: a source without sounds.
    """
    from timbre_jax.audio.io import AudioFileError, read_wave, resample
    from timbre_jax.data.store import Store
    from timbre_jax.generation.sound_files import expand

    found = []
    for place, path in enumerate(paths):
        most = number // len(paths) + (place < number % len(paths))
        generator, taken = np.random.default_rng([seed, place]), 0
        if (path / "index.json").is_file():
            store = Store.open(path)
            split = "test" if "test" in store.splits else store.splits[0]
            ids, lengths = store.metadata(split)["id"], store.lengths(split, np.arange(store.length(split)))

            def read(i, store=store, split=split, ids=ids, lengths=lengths):
                wave = store.audio(split, [i])[0][: int(lengths[i])]
                return str(ids[i]), resample(wave, store.sample_rate, rate) if store.sample_rate != rate else wave

            count = store.length(split)
        else:
            folder = path / "audio" if (path / "audio").is_dir() else path
            files = expand([folder])
            count = len(files)

            def read(i, files=files):
                return files[i].stem, read_wave(files[i], sample_rate=rate, duration=LONGEST)[0]

        for i in generator.permutation(count).tolist():
            if taken == most:
                break
            try:
                name, wave = read(i)
            except AudioFileError:
                continue
            wave = np.asarray(wave, np.float32)[: round(LONGEST * rate)]
            if len(wave) > rate // 50 and np.sqrt(np.mean(np.square(wave))) > 1e-3:
                found.append((path.name, name, wave))
                taken += 1
        if most and not taken:
            raise ValueError(f"{path}: no audible sound")
    return found


def lag_ms(wave: np.ndarray, reference: np.ndarray, rate: int, *, hop: int = 32, most: float = 0.1) -> float:
    """Milliseconds that the level curve of a wave comes late (+) or early: its largest cross-correlation within `most` s."""
    from timbre_jax.metrics.level_curves import RANGE_DB, level_curve

    a, b = (level_curve(x, hop=hop) for x in (wave, reference))
    a, b = (np.maximum(x, x.max() - RANGE_DB) for x in (a, b))
    a, b = a - a.mean(), b - b.mean()
    reach = min(round(most * rate / hop), len(a) - 1)
    lags = np.arange(-reach, reach + 1)
    products = [np.dot(a[max(0, n) : len(a) + min(0, n)], b[max(0, -n) : len(b) - max(0, n)]) for n in lags]
    return float(1000.0 * lags[int(np.argmax(products))] * hop / rate)


def summarise(records: list[dict], name: str, seed: int):
    """The summary table and results. Sounds whose level does not move have no correlation and are left out."""
    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.table import Result, Table

    rows, results = [], []
    sources = np.array([record["source"] for record in records])
    for key, title in (("decoder", "by the decoder alone"), ("matched", "level matched")):
        values = np.array([record[key] for record in records])
        for source in ("all", *dict.fromkeys(sources.tolist())):
            inside = np.isfinite(values) & ((sources == source) | (source == "all"))
            if not inside.any():
                continue
            interval = mean_interval(values[inside], seed=seed)
            cells = tuple(float(x) for x in (interval.value, interval.low, interval.high))
            enough = int((values[inside] >= ENOUGH).sum())
            rows.append((title, source, int(inside.sum()), *cells, float(values[inside].min()), enough))
            where = f"{inside.sum()} sounds of {source}, run {name}, {title}"
            results.append(
                Result(f"conversion/{key}/{source}/correlation", *cells, None, f"correlation of level curves; {where}")
            )
            share = Result(
                f"conversion/{key}/{source}/enough",
                enough / int(inside.sum()),
                definition=f"share with {ENOUGH:g} or more; {where}",
            )
            results.append(share)
    lags = np.abs([record["lag_ms"] for record in records])
    caption = (
        f"Correlation of the level curves of input and output, run {name}; low, high: 95 %, bootstrap over sounds; enough: "
        f"{ENOUGH:g} or more. Median |lag| {np.median(lags):.1f} ms, largest {lags.max():.1f} ms."
    )
    columns = ("level", "sounds_of", "sounds", "correlation", "low", "high", "least", "enough")
    return Table("summary", columns, tuple(rows), caption), results


def _define_flags() -> None:
    flags.DEFINE_string("workdir", None, "The run, as experiments/train.py made it.")
    flags.DEFINE_string("out", None, "Folder for tables and sounds.")
    flags.DEFINE_list("sounds", [], "Folders of sound files, or stores, with commas.")
    flags.DEFINE_integer("number", 20, "Sounds in all.", lower_bound=1)
    flags.DEFINE_integer("seed", 0, "Of the choice of sounds and of resampling.")
    flags.DEFINE_bool("progress", True, "Show a bar.")


def main(_) -> int:
    command_line.use_compilation_cache()
    summary = command_line.call(measure_conversion)
    print(f"{summary.markdown()}\n{summary.caption}")
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
