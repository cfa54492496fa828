"""Measures timbre transfer: whether sounds of other domains keep their level and timing when a space converts them.

  python experiments/studies/timbre_transfer.py --workdir=run --out=conversion --sounds=drums,notes,nsynth --number=20

--sounds: folders of sound files, or stores (their test split); as many of each. Every sound goes through the space as
`generate.py --mode=convert` sends it, and its level curve (RMS over 4 hops of 256 samples, dB, floored 60 dB under the loudest
frame) is held against that of the result: Pearson correlation and the lag of the largest cross-correlation. Two rows:
"by the decoder alone" (it is told the input's level curve) and "level matched" (what convert does by default).

Writes OUT/sounds.csv, OUT/summary.csv, OUT/conversion.md, OUT/results.json and OUT/audio.
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

ENOUGH = 0.9
HOP = 256
LONGEST = 10.0
"""Seconds of a sound that are taken."""


@dataclasses.dataclass(frozen=True)
class TimbreTransfer(Study):
    """Settings of the study of timbre transfer."""

    sounds: tuple[str, ...] = setting((), "Folders of sound files, or stores, comma-separated.")
    number: int = setting(20, "Number of sounds in all.", low=1)


def measure_conversion(settings: TimbreTransfer):
    """Converts sounds, compares their level curves, and writes tables and the sounds.

    Returns:
      The summary `Table`.

    Raises:
      ValueError: the run is not of a series space, or there are no sounds.
    """
    from tqdm import tqdm

    from timbre_jax.evaluation.runs import open_run
    from timbre_jax.generation.series_modes import match_level
    from timbre_jax.generation.sound_files import plain_name, write_sound
    from timbre_jax.inference.chunked import reconstruct_long
    from timbre_jax.metrics.level_curves import level_correlation
    from timbre_jax.metrics.table import Table

    if not settings.sounds:
        raise ValueError("give --sounds=FOLDER_OR_STORE,...; see --help")
    run, out = open_run(settings.workdir, kind="series", why="conversion"), Path(settings.out)
    space, records = run.space, []
    chosen = choose_sounds([Path(path) for path in settings.sounds], settings.number, space.sample_rate, seed=settings.seed)
    for place, (source, name, wave) in enumerate(tqdm(chosen, desc="sounds", disable=not settings.progress)):
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
            write_sound(out / "audio" / f"{title}_{what}.wav", sound, space.sample_rate)
    table = Table.from_records("sounds", records, "One row a sound; columns: timbre_transfer.py --help.")
    summary, results = summarize(records, run.name, settings.seed)
    write_study(out, "conversion", [summary, table], results)
    return summary


def choose_sounds(paths: list[Path], number: int, rate: int, *, seed: int = 0) -> list[tuple[str, str, np.ndarray]]:
    """(source, name, wave [T] at `rate`) of `number` audible sounds, as many of each source.

    Raises:
      ValueError: a source without sounds.
    """
    from timbre_jax.audio.io import AudioFileError

    found = []
    for place, path in enumerate(paths):
        most = number // len(paths) + (place < number % len(paths))
        count, read = _store_reader(path, rate) if (path / "index.json").is_file() else _folder_reader(path, rate)
        taken = 0
        for i in np.random.default_rng([seed, place]).permutation(count).tolist():
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


def _store_reader(path: Path, rate: int):
    """Returns how many sounds the test split of a store has, and a function from an index to (name, wave at `rate`)."""
    from timbre_jax.audio.io import resample
    from timbre_jax.data.store import Store

    store = Store.open(path)
    split = "test" if "test" in store.splits else store.splits[0]
    ids, lengths = store.metadata(split)["id"], store.lengths(split, np.arange(store.length(split)))

    def read(i: int):
        wave = store.audio(split, [i])[0][: int(lengths[i])]
        return str(ids[i]), resample(wave, store.sample_rate, rate) if store.sample_rate != rate else wave

    return store.length(split), read


def _folder_reader(path: Path, rate: int):
    """Returns how many sound files a folder has, and a function from an index to (name, wave at `rate`)."""
    from timbre_jax.audio.io import read_wave
    from timbre_jax.generation.sound_files import expand_folders

    files = expand_folders([path / "audio" if (path / "audio").is_dir() else path])
    return len(files), lambda i: (files[i].stem, read_wave(files[i], sample_rate=rate, duration=LONGEST)[0])


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


def summarize(records: list[dict], name: str, seed: int):
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


if __name__ == "__main__":
    run_study(TimbreTransfer, measure_conversion, __doc__)
