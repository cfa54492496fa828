"""How good a sound comes back from its spectrogram, without learning: representation by inverter.

  python experiments/studies/inversion.py --nsynth=FOLDER --out=inversion.json
  python experiments/studies/inversion.py --sounds=FOLDER_OR_STORE --only=mel/librosa,mel/pghi_fast_griffin_lim/bands

The rows are those of Rebnord 2022, table 7.1 (its neural vocoders aside), and this library's:

    stft/...   linear magnitudes; "no_phase" is the thesis' "no reconstruction": all phases 0.
    mel/...    the default LogMel (80 dB under the sound's own maximum) and back: an inverter on the magnitudes of the
               non-negative least squares, or holding the mel bands ("bands", the default); "true_phase" are those
               magnitudes with the original's phases; "librosa" is mel_to_audio as it comes (32 iterations), from the same mel.
    cqt/librosa  |cqt| of 168 bins (24 an octave from C1) and griffinlim_cqt as they come. On the host; for comparison only.

Columns, means over sounds with 95 % intervals (resampled over instruments): objective difference grade (PEAQ Basic; 0 is
perfect, -4 very annoying; `odg` counts the bandwidth, undefined at 16 kHz, as 0, as PQevalAudio does, `odg_drop` leaves it
out), log-spectral distance, spectral convergence in dB, and seconds a sound once compiled.

The sounds: --sounds=mixed draws --number of them from --seed, 2 s at 16 kHz: a third each drum hits and notes of the default
SoundFont bank and real notes of NSynth (--nsynth, its form: examples.json and audio/*; without it only the first two).
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
# name: inverter, iterations, hold. The first word of a row's name is the representation.
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


@dataclasses.dataclass(frozen=True)
class Inversion(Settings):
    """Settings of the study of inversion."""

    sounds: str = setting("mixed", "mixed, a folder of sound files, or a store.")
    nsynth: str = setting("", "Folder or archive in NSynth's form, for the mixed set.")
    number: int = setting(40, "Number of sounds.", low=3)
    seed: int = setting(0, "Random seed of the choice of sounds.", low=0)
    seconds: float = setting(2.0, "Seconds of each sound; longer ones are cut.", low=0.05)
    sample_rate: int = setting(16000, "Sample rate in Hz; a store has its own.", low=8000, high=48000)
    preset: str = setting("rebnord2022", "Windows and bands of the spectrograms.", choices=("rebnord2022", "samplevae"))
    only: tuple[str, ...] = setting((), f"Some of the rows, comma-separated: {', '.join(ROWS)}.")
    out: str = setting("", "JSON file for the results.")


def measure_inversion(settings: Inversion) -> Table:
    """Inverts spectrograms of sounds and returns the table for people.

    Raises:
      ValueError: no sounds, or an unknown row.
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
    """Waves [B, T] to waves [B, T] by way of the row's spectrogram. `representation`: the LogMel whose settings all share."""
    import jax
    import jax.numpy as jnp

    from timbre_jax.audio.phase import invert
    from timbre_jax.audio.stft import istft, stft

    kind = name.split("/")[0]
    inverter, iterations, hold = ROWS[name]
    if inverter == "librosa":
        one = {"stft": _librosa_stft, "mel": _librosa_mel, "cqt": _librosa_cqt}[kind]
        return lambda waves: np.stack([one(wave, representation) for wave in waves])
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
    import librosa

    shape = {"hop_length": representation.hop, "win_length": representation.window_length}
    magnitude = np.abs(librosa.stft(wave, n_fft=representation.n_fft, **shape))
    return librosa.griffinlim(magnitude, **shape, length=len(wave), random_state=0)


def _librosa_mel(wave: np.ndarray, representation: Any) -> np.ndarray:
    """From the same mel power as ours; librosa wants the centered transform's last frame too, which is silent here."""
    import librosa

    mel = np.asarray(representation.features_to_mel(representation.analyze(wave[None])))[0]
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
    import warnings

    import librosa

    settings = {"sr": representation.sample_rate, "hop_length": representation.hop, "bins_per_octave": CQT_PER_OCTAVE}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the lowest bins are longer than the sound
        magnitude = np.abs(librosa.cqt(wave, n_bins=CQT_BINS, **settings))
        return librosa.griffinlim_cqt(magnitude, **settings, length=len(wave), random_state=0)


def measure(sounds: Sounds, names: Sequence[str], representation: Any) -> dict[str, dict[str, np.ndarray]]:
    """Row -> {odg, odg_drop, lsd_db, convergence_db, seconds}, [M] each (seconds: one number a batch, repeated).

    Raises ValueError for an unknown row, or sounds of another rate or length than the representation's.
    """
    from tqdm import tqdm

    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise ValueError(f"no row {', '.join(unknown)}; there are: {', '.join(ROWS)}")
    expected = (representation.length, representation.sample_rate)
    if (sounds.waves.shape[1], sounds.sample_rate) != expected:
        raise ValueError(f"sounds of {sounds.waves.shape[1]} samples at {sounds.sample_rate} Hz, {expected} are asked for")
    count = len(sounds.waves)
    filled = np.concatenate([sounds.waves, np.zeros((-count % BATCH, sounds.waves.shape[1]), np.float32)])
    found = {}
    for name in tqdm(names, desc="rows", unit="row"):
        restore = restorer(name, representation)
        # Compiled ways run whole batches and once before the clock; librosa's are warm after a first sound.
        step = 1 if ROWS[name][0] == "librosa" else BATCH
        waves = filled[: count if step == 1 else len(filled)]
        np.asarray(restore(waves[:step]))
        parts, seconds = [], []
        for start in range(0, len(waves), step):
            begin = time.perf_counter()
            parts.append(np.asarray(restore(waves[start : start + step])))
            seconds += [(time.perf_counter() - begin) / step] * step
        found[name] = {**_compare(np.concatenate(parts)[:count], sounds), "seconds": np.array(seconds[:count])}
    return found


def _compare(restored: np.ndarray, sounds: Sounds) -> dict[str, np.ndarray]:
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
    "lsd_db": "log-spectral distance in dB (Hann 1024/256, floor -80 dB)",
    "convergence_db": "spectral convergence in dB (Hann 1024/256)",
    "seconds": "seconds a sound once compiled, wall clock on this machine",
}
DEFINITIONS |= {
    f"{name}_above_librosa": f"{DEFINITIONS[name]}: more than librosa's mel_to_audio, sound by sound"
    for name in ("odg", "odg_drop")
}


def results(found: dict[str, dict[str, np.ndarray]], groups: Sequence[str]) -> list[Result]:
    """One `Result` a row and column; and each row's ODG less that of librosa's default from mel, where that is there."""
    rows, usual = [], found.get("mel/librosa")
    for name, columns in found.items():
        if usual is not None and name.startswith("mel/") and name != "mel/librosa":
            columns = columns | {f"{grade}_above_librosa": columns[grade] - usual[grade] for grade in ("odg", "odg_drop")}
        for column, values in columns.items():
            definition = f"{DEFINITIONS[column]}; {len(values)} sounds of {len(set(groups))} groups"
            rows.append(mean_result(f"{name}/{column}", values, definition, groups=groups))
    return rows


def summary(rows: Sequence[Result]) -> Table:
    """The table for people: a line a row, "mean (low to high)"."""
    records: dict[str, dict[str, str]] = {}
    for row in rows:
        name, _, column = row.name.rpartition("/")
        digits = 3 if column == "seconds" else 2 if "odg" in column else 1
        interval = "" if column == "seconds" else f" ({row.low:.{digits}f} to {row.high:.{digits}f})"
        records.setdefault(name, {"row": name})[column] = f"{row.value:.{digits}f}{interval}"
    return Table.from_records("inversion", list(records.values()))


def load_sounds(settings: Inversion) -> Sounds:
    """The mixed set, or sounds of a folder or a store (at its own rate). Raises ValueError where there are none."""
    path, rate, options = settings.sounds, settings.sample_rate, {"number": settings.number, "seed": settings.seed}
    samples = max(1, round(settings.seconds * rate))
    if path == "mixed":
        return mixed_sounds(**options, nsynth=settings.nsynth, sample_rate=rate, samples=samples)
    if os.path.isfile(os.path.join(path.split(",")[0], "index.json")):
        return store_sounds(path, **options, seconds=settings.seconds)
    if not os.path.isdir(path):
        raise ValueError(f"{path}: no folder and no store; --sounds is 'mixed', a folder of sound files, or a store")
    return folder_sounds(path, **options, sample_rate=rate, samples=samples)


if __name__ == "__main__":
    run_study(Inversion, measure_inversion, __doc__)
