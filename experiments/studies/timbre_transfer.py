"""Measures how closely converted sounds keep the level and timing of their originals.

  python experiments/studies/timbre_transfer.py --workdir=runs/violin --out=transfer --sounds=hits,notes
  python experiments/studies/timbre_transfer.py --workdir=runs/violin --out=transfer_voice --sounds=~/recordings --number=10
  python experiments/studies/timbre_transfer.py --workdir=runs/discrete --out=transfer_discrete --sounds=hits --seed=1

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

GOOD_CORRELATION = 0.9
HOP = 256
LONGEST = 10.0
"""Seconds at the beginning of a sound that are converted."""


@dataclasses.dataclass(frozen=True)
class TimbreTransfer(Study):
    """Settings of the study of timbre transfer."""

    sounds: tuple[str, ...] = setting((), "Comma-separated folders of sound files, or stores (of their test split). Required.")
    number: int = setting(20, "Number of sounds in all, the same number from each folder or store.", low=1)


def measure_conversion(settings: TimbreTransfer):
    """Converts sounds and compares their level curves with those of the originals.

    Each sound is converted as `generate.py --mode=convert` converts it. Its level curve (RMS over 4 hops of 256 samples, in dB,
    limited to 60 dB below the loudest frame) is compared with that of the result: Pearson correlation, and the lag of the
    largest cross-correlation. "decoder" is the sound of the decoder, which is conditioned on the level curve of the input;
    "matched" is that sound with its level matched to the input, as the mode returns it by default.

    Writes OUT/sounds.csv, OUT/summary.csv, OUT/conversion.md, OUT/results.json and OUT/audio.

    Args:
      settings: run and sounds.

    Returns:
      The summary `Table`.

    Raises:
      ValueError: if the run is not of a series space, or there are no sounds.
    """
    from tqdm import tqdm

    from timbre_jax.evaluation.runs import open_run
    from timbre_jax.generation.series_modes import match_level
    from timbre_jax.generation.sound_files import plain_name, write_sound
    from timbre_jax.inference.chunked import reconstruct_long
    from timbre_jax.metrics.level_curves import level_correlation
    from timbre_jax.metrics.table import Table

    if not settings.sounds:
        raise ValueError("--sounds: missing; give folders of sound files, or stores")
    run, out = open_run(settings.workdir, kind="series", why="conversion"), Path(settings.out)
    space, records = run.space, []
    chosen = choose_sounds([Path(path) for path in settings.sounds], settings.number, space.sample_rate, seed=settings.seed)
    for place, (source, name, wave) in enumerate(tqdm(chosen, desc="sounds", disable=not settings.progress)):
        decoded = reconstruct_long(space, wave)
        matched, largest_gain = match_level(decoded, wave, hop=space.representation.hop)
        records.append(
            {
                "sound": name, "source": source, "seconds": len(wave) / space.sample_rate,
                "decoder": level_correlation(decoded, wave, hop=HOP), "matched": level_correlation(matched, wave, hop=HOP),
                "lag_ms": lag_ms(decoded, wave, space.sample_rate), "largest_gain_db": largest_gain,
            }
        )  # fmt: skip
        title = f"{place:02d}_{plain_name(name)}"
        for version, sound in (("original", wave), ("decoder", decoded), ("matched", matched)):
            write_sound(out / "audio" / f"{title}_{version}.wav", sound, space.sample_rate)
    table = Table.from_records("sounds", records, "One row for each sound. Columns: `measure_conversion`.")
    summary, results = summarize(records, run.name, settings.seed)
    write_study(out, "conversion", [summary, table], results)
    return summary


def choose_sounds(paths: list[Path], number: int, rate: int, *, seed: int = 0) -> list[tuple[str, str, np.ndarray]]:
    """Draws audible sounds, the same number from each source.

    Args:
      paths: folders of sound files, or stores.
      number: number of sounds.
      rate: sample rate of the waves in Hz.
      seed: random seed.

    Returns:
      The name of the source, the name of the sound, and the wave [T] of each sound.

    Raises:
      ValueError: if a source has no audible sound.
    """
    from timbre_jax.audio.io import AudioFileError

    sounds = []
    for place, path in enumerate(paths):
        start = len(sounds)
        end = start + number // len(paths) + (place < number % len(paths))
        count, read = _store_reader(path, rate) if (path / "index.json").is_file() else _folder_reader(path, rate)
        for i in np.random.default_rng([seed, place]).permutation(count).tolist():
            if len(sounds) == end:
                break
            try:
                name, wave = read(i)
            except AudioFileError:
                continue
            wave = np.asarray(wave, np.float32)[: round(LONGEST * rate)]
            if len(wave) > rate // 50 and np.sqrt(np.mean(np.square(wave))) > 1e-3:
                sounds.append((path.name, name, wave))
        if start == len(sounds) < end:
            raise ValueError(f"{path}: no audible sound")
    return sounds


def _store_reader(path: Path, rate: int):
    """Returns the size of a store's test split, and a function from index to name and wave."""
    from timbre_jax.audio.io import resample
    from timbre_jax.data.store import Store

    store = Store.open(path)
    split = "test" if "test" in store.splits else store.splits[0]
    ids, lengths = store.metadata(split)["id"], store.lengths(split, np.arange(store.length(split)))

    def read(i: int):
        wave = store.audio(split, [i])[0][: int(lengths[i])]
        return str(ids[i]), resample(wave, store.sample_rate, rate)

    return store.length(split), read


def _folder_reader(path: Path, rate: int):
    """Returns the number of files in a folder, and a function from index to name and wave."""
    from timbre_jax.audio.io import read_wave
    from timbre_jax.generation.sound_files import expand_folders

    files = expand_folders([path / "audio" if (path / "audio").is_dir() else path])
    return len(files), lambda i: (files[i].stem, read_wave(files[i], sample_rate=rate, duration=LONGEST)[0])


def lag_ms(wave: np.ndarray, reference: np.ndarray, rate: int, *, hop: int = 32, largest_seconds: float = 0.1) -> float:
    """Returns the delay of the level curve of a wave against a reference, in ms.

    Args:
      wave: [T].
      reference: [T].
      rate: sample rate in Hz.
      hop: samples between values of the level curves, the resolution of the result.
      largest_seconds: largest delay, in either direction.

    Returns:
      The delay with the largest cross-correlation; positive if the wave is late.
    """
    from timbre_jax.metrics.level_curves import RANGE_DB, level_curve

    a, b = (level_curve(x, hop=hop) for x in (wave, reference))
    a, b = (np.maximum(x, x.max() - RANGE_DB) for x in (a, b))
    a, b = a - a.mean(), b - b.mean()
    largest = min(round(largest_seconds * rate / hop), len(a) - 1)
    lags = np.arange(-largest, largest + 1)
    products = [np.dot(a[max(0, n) : len(a) + min(0, n)], b[max(0, -n) : len(b) - max(0, n)]) for n in lags]
    return float(1000.0 * lags[int(np.argmax(products))] * hop / rate)


def summarize(records: list[dict], name: str, seed: int):
    """Returns the summary table and the results.

    Sounds of constant level have no correlation and are left out.

    Args:
      records: measures of each sound.
      name: name of the run.
      seed: random seed of the intervals.
    """
    from timbre_jax.metrics.table import Result, Table

    rows, results = [], []
    sources = np.array([record["source"] for record in records])
    for key, title in (("decoder", "by the decoder alone"), ("matched", "level matched")):
        values = np.array([record[key] for record in records])
        for source in ("all", *dict.fromkeys(sources.tolist())):
            inside = np.isfinite(values) & ((sources == source) | (source == "all"))
            if not inside.any():
                continue
            kept, prefix = values[inside], f"conversion/{key}/{source}"
            good, where = int((kept >= GOOD_CORRELATION).sum()), f"{len(kept)} sounds of {source}, run {name}, {title}"
            mean = mean_result(f"{prefix}/correlation", kept, f"correlation of level curves; {where}", seed=seed)
            rows.append((title, source, len(kept), mean.value, mean.low, mean.high, float(kept.min()), good))
            share = f"share with a correlation of {GOOD_CORRELATION:g} or more; {where}"
            results += [mean, Result(f"{prefix}/enough", good / len(kept), definition=share)]
    lags = np.abs([record["lag_ms"] for record in records])
    caption = (
        f"Correlation of the level curves of input and output, run {name} (higher is better). Low and high: 95 % interval, "
        f"bootstrap over sounds; enough: sounds with {GOOD_CORRELATION:g} or more. Median |lag| {np.median(lags):.1f} ms, "
        f"largest {lags.max():.1f} ms."
    )
    columns = ("level", "sounds_of", "sounds", "correlation", "low", "high", "least", "enough")
    return Table("summary", columns, tuple(rows), caption), results


if __name__ == "__main__":
    run_study(TimbreTransfer, measure_conversion, __doc__)
