"""Measures the quality of sounds that are reconstructed from spectrograms without a model.

  python experiments/studies/inversion.py --out=inversion.json
  python experiments/studies/inversion.py --nsynth=nsynth-test --out=inversion_nsynth.json
  python experiments/studies/inversion.py --sounds=hits --only=mel/librosa,mel/pghi_fast_griffin_lim/bands

Results: docs/results.md
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments.studies.inversion_sounds import Sounds, folder_sounds, mixed_sounds, store_sounds
from experiments.studies.study import mean_result, run_study
from timbre_jax.metrics.table import Result, Table, write_results
from timbre_jax.settings import Settings, setting

BATCH = 8
CQT_BINS, CQT_PER_OCTAVE = 168, 24
ROWS: dict[str, tuple[str, int, str]] = {
    "stft/no_phase": ("no_phase", 0, ""),
    "stft/griffin_lim": ("griffin_lim", 32, ""),
    "stft/librosa": ("librosa", 32, ""),
    "stft/fast_griffin_lim": ("fast_griffin_lim", 100, ""),
    "stft/pghi": ("pghi", 0, ""),
    "stft/pghi_fast_griffin_lim": ("pghi_fast_griffin_lim", 100, ""),
    "mel/true_phase": ("true_phase", 0, ""),
    "mel/griffin_lim": ("griffin_lim", 32, "magnitudes"),
    "mel/librosa": ("librosa", 32, ""),
    "mel/fast_griffin_lim": ("fast_griffin_lim", 100, "magnitudes"),
    "mel/pghi": ("pghi", 0, "magnitudes"),
    "mel/pghi_fast_griffin_lim": ("pghi_fast_griffin_lim", 100, "magnitudes"),
    "mel/pghi_fast_griffin_lim/bands": ("pghi_fast_griffin_lim", 100, "bands"),
    "mel/pghi_fast_griffin_lim/bands_500": ("pghi_fast_griffin_lim", 500, "bands"),
    "cqt/librosa": ("librosa", 32, ""),
}
"""Inverter, iterations and constraint (`LogMel.hold`) of each row, whose name begins with the representation.

The rows are those of Rebnord 2022, table 7.1, without its neural vocoders, and those of this library:

- stft: linear magnitudes. "no_phase" sets all phases to 0, the thesis' "no reconstruction".
- mel: the default LogMel (80 dB below the maximum of the sound). The inverter keeps the magnitudes of the non-negative least
  squares, or the mel bands ("bands", the default). "true_phase" combines these magnitudes with the phases of the original.
  "librosa" is its mel_to_audio with its defaults (32 iterations), from the same mel spectrogram.
- cqt: magnitudes of 168 bins, 24 an octave from C1, and librosa's griffinlim_cqt with its defaults, on the CPU.
"""


@dataclasses.dataclass(frozen=True)
class Inversion(Settings):
    """Settings of the study of inversion."""

    sounds: str = setting("mixed", "Folder of sound files, store, or 'mixed': hits and notes of the default bank, and NSynth.")
    nsynth: str = setting("", "With --sounds=mixed: NSynth as a folder or archive. Default: without NSynth.")
    number: int = setting(40, "Number of sounds.", low=3)
    seed: int = setting(0, "Random seed for the choice of sounds.", low=0)
    seconds: float = setting(2.0, "Duration of each sound in seconds; longer sounds are cut.", low=0.05)
    sample_rate: int = setting(16000, "Sample rate in Hz; a store has its own.", low=8000, high=48000)
    preset: str = setting("rebnord2022", "Windows and bands of the spectrograms.", choices=("rebnord2022", "samplevae"))
    only: tuple[str, ...] = setting((), f"Comma-separated rows. Default: all. Rows: {', '.join(ROWS)}.")
    out: str = setting("", "JSON file for the results.")


def measure_inversion(settings: Inversion) -> Table:
    """Inverts the spectrograms of sounds and measures the reconstructions.

    The columns are means over sounds with 95 % intervals, resampled over instruments: the objective difference grade (PEAQ
    Basic; 0 is imperceptible, -4 very annoying), the log-spectral distance and the spectral convergence in dB, and the seconds
    for a sound once compiled. At 16 kHz the bandwidth in PEAQ is undefined: `odg` counts it as 0, as PQevalAudio does, and
    `odg_drop` leaves it out.

    Args:
      settings: sounds and rows.

    Returns:
      The `Table`; the results are written to `settings.out` too.

    Raises:
      ValueError: if there are no sounds, or a row is unknown.
    """
    from timbre_jax.representations import LOG_MEL_PRESETS

    sounds = load_sounds(settings)
    representation = dataclasses.replace(
        LOG_MEL_PRESETS[settings.preset], sample_rate=sounds.sample_rate, length=sounds.waves.shape[1], n_frames=0
    )
    rows = results(measure(sounds, settings.only or tuple(ROWS), representation), sounds.groups)
    if settings.out:
        write_results(settings.out, rows)
    return summary(rows)


def restorer(name: str, representation: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Returns the function from waves to waves through the spectrogram of a row.

    Args:
      name: row of `ROWS`.
      representation: the `LogMel` whose settings all rows share.

    Returns:
      Function from waves [B, T] to reconstructions [B, T].
    """
    import jax
    import jax.numpy as jnp

    from timbre_jax.audio.phase import invert
    from timbre_jax.audio.stft import istft, stft

    kind = name.split("/")[0]
    inverter, iterations, hold = ROWS[name]
    if inverter == "librosa":
        restore = {"stft": _librosa_stft, "mel": _librosa_mel, "cqt": _librosa_cqt}[kind]
        return lambda waves: np.stack([restore(wave, representation) for wave in waves])
    shape = {"hop": representation.hop, "window": representation.window, "window_length": representation.window_length}
    length = representation.length

    @jax.jit
    def spectra(waves):
        return stft(waves, n_fft=representation.n_fft, **shape)[:, : representation.frames]

    if inverter == "no_phase":
        return lambda waves: istft(jnp.abs(spectra(waves)).astype(jnp.complex64), **shape, length=length)
    if inverter == "true_phase":

        def with_phase(waves):
            angle = jnp.angle(spectra(waves))
            magnitudes = representation.magnitudes(representation.analyze(waves))
            return istft(magnitudes * jnp.exp(1j * angle), **shape, length=length)

        return with_phase
    if kind == "stft":
        return lambda waves: invert(inverter, jnp.abs(spectra(waves)), **shape, length=length, iterations=iterations)
    changed = dataclasses.replace(representation, inverter=inverter, iterations=iterations, hold=hold)
    return lambda waves: changed.synthesize(changed.analyze(waves))


def _librosa_stft(wave: np.ndarray, representation: Any) -> np.ndarray:
    """Reconstructs a wave [T] from its magnitudes by librosa."""
    import librosa

    shape = {"hop_length": representation.hop, "win_length": representation.window_length}
    magnitude = np.abs(librosa.stft(wave, n_fft=representation.n_fft, **shape))
    return librosa.griffinlim(magnitude, **shape, length=len(wave), random_state=0)


def _librosa_mel(wave: np.ndarray, representation: Any) -> np.ndarray:
    """Reconstructs a wave [T] from its mel power by librosa."""
    import librosa

    mel = np.asarray(representation.features_to_mel(representation.analyze(wave[None])))[0]
    # librosa needs one more frame than LogMel has; it is silent here.
    missing = 1 + len(wave) // representation.hop - len(mel)
    return librosa.feature.inverse.mel_to_audio(
        np.pad(mel, ((0, missing), (0, 0))).T,
        sr=representation.sample_rate,
        n_fft=representation.n_fft,
        hop_length=representation.hop,
        win_length=representation.window_length,
        length=len(wave),
        fmin=representation.fmin,
        fmax=representation.fmax or None,
        htk=representation.scale == "htk",
    )


def _librosa_cqt(wave: np.ndarray, representation: Any) -> np.ndarray:
    """Reconstructs a wave [T] from its constant-Q magnitudes by librosa."""
    import warnings

    import librosa

    settings = {"sr": representation.sample_rate, "hop_length": representation.hop, "bins_per_octave": CQT_PER_OCTAVE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the lowest bins are longer than the sound
        magnitude = np.abs(librosa.cqt(wave, n_bins=CQT_BINS, **settings))
        return librosa.griffinlim_cqt(magnitude, **settings, length=len(wave), random_state=0)


def measure(sounds: Sounds, names: Sequence[str], representation: Any) -> dict[str, dict[str, np.ndarray]]:
    """Reconstructs sounds by the method of each row and scores them.

    Args:
      sounds: M sounds.
      names: rows of `ROWS`.
      representation: the `LogMel` whose settings all rows share.

    Returns:
      For each row the columns odg, odg_drop, lsd_db, convergence_db and seconds, [M] each; seconds are equal within a batch.

    Raises:
      ValueError: if a row is unknown, or the sounds do not have the sample rate and length of the representation.
    """
    from tqdm import tqdm

    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise ValueError(f"--only: unknown row {unknown[0]!r}; the rows are {', '.join(ROWS)}")
    shape, expected = (sounds.waves.shape[1], sounds.sample_rate), (representation.length, representation.sample_rate)
    if shape != expected:
        raise ValueError(f"sounds: got {shape[0]} samples at {shape[1]} Hz, expected {expected[0]} at {expected[1]} Hz")
    count = len(sounds.waves)
    filled = np.concatenate([sounds.waves, np.zeros((-count % BATCH, sounds.waves.shape[1]), np.float32)])
    scores = {}
    for name in tqdm(names, desc="rows", unit="row"):
        restore = restorer(name, representation)
        # Compiled functions take whole batches, librosa single sounds. A first call, outside the clock, compiles or warms up.
        step = 1 if ROWS[name][0] == "librosa" else BATCH
        waves = filled[: count if step == 1 else len(filled)]
        np.asarray(restore(waves[:step]))
        parts, seconds = [], []
        for start in range(0, len(waves), step):
            begin = time.perf_counter()
            parts.append(np.asarray(restore(waves[start : start + step])))
            seconds += [(time.perf_counter() - begin) / step] * step
        scores[name] = {**_compare(np.concatenate(parts)[:count], sounds), "seconds": np.array(seconds[:count])}
    return scores


def _compare(restored: np.ndarray, sounds: Sounds) -> dict[str, np.ndarray]:
    """Returns the scores [M] of reconstructions [M, T]."""
    from timbre_jax.metrics.peaq import distortion_index, grade, peaq_basic
    from timbre_jax.metrics.sound_pairs import pair_distances

    distances = pair_distances(restored, sounds.waves, sounds.sample_rate, ("lsd", "stft"))
    graded = peaq_basic(sounds.waves, restored, sounds.sample_rate)
    variables = np.stack(list(graded.movs.values()), axis=1)
    return {
        "odg": graded.odg,
        "odg_drop": grade(distortion_index(variables, graded.bandwidth_frames > 0, "drop")),
        "lsd_db": distances["lsd_db"],
        "convergence_db": 20.0 * np.log10(np.maximum(distances["convergence"], 1e-6)),
    }


DEFINITIONS = {
    "odg": "PEAQ Basic ODG, preset pqevalaudio",
    "odg_drop": "PEAQ Basic ODG without the bandwidth terms where they are undefined",
    "lsd_db": "log-spectral distance in dB (Hann 1024/256, levels below -80 dB raised to it)",
    "convergence_db": "spectral convergence in dB (Hann 1024/256)",
    "seconds": "wall-clock seconds for a sound, once compiled, on this machine",
}
DEFINITIONS |= {
    f"{name}_above_librosa": f"{DEFINITIONS[name]}: more than librosa's mel_to_audio, sound by sound"
    for name in ("odg", "odg_drop")
}


def results(scores: dict[str, dict[str, np.ndarray]], groups: Sequence[str]) -> list[Result]:
    """Returns a result for each row and column of `measure`.

    If librosa's row is among them, the other mel rows also have the difference of their grades to it.

    Args:
      scores: columns of each row.
      groups: [M], groups that are resampled as a whole.
    """
    rows, librosa = [], scores.get("mel/librosa")
    for name, columns in scores.items():
        if librosa is not None and name.startswith("mel/") and name != "mel/librosa":
            columns = columns | {f"{grade}_above_librosa": columns[grade] - librosa[grade] for grade in ("odg", "odg_drop")}
        for column, values in columns.items():
            definition = f"{DEFINITIONS[column]}; {len(values)} sounds of {len(set(groups))} groups"
            rows.append(mean_result(f"{name}/{column}", values, definition, groups=groups))
    return rows


def summary(rows: Sequence[Result]) -> Table:
    """Returns the table of results, a line for each row, with cells "mean (low to high)"."""
    records: dict[str, dict[str, str]] = {}
    for row in rows:
        name, _, column = row.name.rpartition("/")
        digits = 3 if column == "seconds" else 2 if "odg" in column else 1
        interval = "" if column == "seconds" else f" ({row.low:.{digits}f} to {row.high:.{digits}f})"
        records.setdefault(name, {"row": name})[column] = f"{row.value:.{digits}f}{interval}"
    caption = (
        "Means over sounds with 95 % intervals. Higher is better for odg and odg_drop, lower for lsd_db, convergence_db and "
        "seconds. Columns: `measure_inversion`."
    )
    return Table.from_records("inversion", list(records.values()), caption)


def load_sounds(settings: Inversion) -> Sounds:
    """Returns the mixed set, or sounds of a folder or of a store (at its own sample rate).

    Raises:
      ValueError: if the folder or store does not exist or has no sounds.
    """
    path, rate, options = settings.sounds, settings.sample_rate, {"number": settings.number, "seed": settings.seed}
    samples = max(1, round(settings.seconds * rate))
    if path == "mixed":
        return mixed_sounds(**options, nsynth=settings.nsynth, sample_rate=rate, samples=samples)
    if os.path.isfile(os.path.join(path.split(",")[0], "index.json")):
        return store_sounds(path, **options, seconds=settings.seconds)
    if not os.path.isdir(path):
        raise ValueError(f"--sounds={path}: neither a folder nor a store; give 'mixed', a folder of sound files, or a store")
    return folder_sounds(path, **options, sample_rate=rate, samples=samples)


if __name__ == "__main__":
    run_study(Inversion, measure_inversion, __doc__)
