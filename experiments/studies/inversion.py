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
from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[2])  # the clone, not the program's folder

from experiments import command_line
from experiments.studies.inversion_sounds import Sounds, folder_sounds, mixed_sounds, store_sounds

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


def results(found: dict[str, dict[str, np.ndarray]], groups: Sequence[str]) -> list[Any]:
    """One `Result` a row and column; and each row's ODG less that of librosa's default from mel, where that is there."""
    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.table import Result

    rows = []

    def add(name: str, values: np.ndarray, definition: str) -> None:
        interval = mean_interval(values, np.asarray(groups))
        definition = f"{definition}; {len(values)} sounds of {interval.groups} groups"
        rows.append(Result(name, float(interval.value), float(interval.low), float(interval.high), None, definition))

    usual = found.get("mel/librosa")
    for name, columns in found.items():
        for column, values in columns.items():
            add(f"{name}/{column}", values, DEFINITIONS[column])
        if usual is not None and name.startswith("mel/") and name != "mel/librosa":
            for column in ("odg", "odg_drop"):
                definition = f"{DEFINITIONS[column]}: more than librosa's mel_to_audio, sound by sound"
                add(f"{name}/{column}_above_librosa", columns[column] - usual[column], definition)
    return rows


def summary(found: dict[str, dict[str, np.ndarray]], groups: Sequence[str]) -> Any:
    """The table for people: a line a row, "mean (low to high)"."""
    from timbre_jax.metrics.bootstrap import mean_interval
    from timbre_jax.metrics.table import Table

    def cell(values: np.ndarray, digits: int) -> str:
        interval = mean_interval(values, np.asarray(groups))
        return f"{interval.value:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"

    records, usual = [], found.get("mel/librosa")
    for name, columns in found.items():
        record = {"row": name} | {
            column: cell(columns[column], 2 if "odg" in column else 1)
            for column in ("odg", "odg_drop", "lsd_db", "convergence_db")
        }
        if usual is not None and name.startswith("mel/") and name != "mel/librosa":
            record |= {f"{column}_above_librosa": cell(columns[column] - usual[column], 2) for column in ("odg", "odg_drop")}
        records.append(record | {"seconds": f"{columns['seconds'].mean():.3f}"})
    return Table.from_records("inversion", records)


def load_sounds(sounds: str, *, number: int, seed: int, nsynth: str, sample_rate: int, seconds: float) -> Sounds:
    """The mixed set, or sounds of a folder or a store (at its own rate). Raises ValueError where there are none."""
    samples = max(1, round(seconds * sample_rate))
    if sounds == "mixed":
        return mixed_sounds(number=number, seed=seed, nsynth=nsynth, sample_rate=sample_rate, samples=samples)
    if os.path.isfile(os.path.join(sounds.split(",")[0], "index.json")):
        from timbre_jax.data.store import open_store

        samples = max(1, round(seconds * open_store(sounds).sample_rate))
        return store_sounds(sounds, number=number, seed=seed, samples=samples)
    if not os.path.isdir(sounds):
        raise ValueError(f"{sounds}: no folder and no store; --sounds is 'mixed', a folder of sound files, or a store")
    return folder_sounds(sounds, number=number, seed=seed, sample_rate=sample_rate, samples=samples)


def _define_flags() -> None:
    flags.DEFINE_string("sounds", "mixed", "mixed, a folder of sound files, or a store.")
    flags.DEFINE_string("nsynth", "", "Folder or archive in NSynth's form, for the mixed set.")
    flags.DEFINE_integer("number", 40, "How many sounds.", lower_bound=3)
    flags.DEFINE_integer("seed", 0, "Of the choice of sounds.")
    flags.DEFINE_float("seconds", 2.0, "Length of a sound; longer ones are cut.", lower_bound=0.05)
    flags.DEFINE_integer("sample_rate", 16000, "Hz; a store has its own.", lower_bound=8000, upper_bound=48000)
    flags.DEFINE_enum("preset", "rebnord2022", ["rebnord2022", "samplevae"], "Windows and bands of the spectrograms.")
    flags.DEFINE_list("only", [], f"Rows to make, with commas; all if empty. There are: {', '.join(ROWS)}.")
    flags.DEFINE_string("out", "", "File to write to: JSON, {name, value, low, high, baseline, definition}.")


def main(_: Sequence[str]) -> None:
    from timbre_jax.metrics.table import write_results
    from timbre_jax.representations import LOG_MEL_PRESETS

    values = flags.FLAGS
    command_line.use_compilation_cache()
    sounds = command_line.call(load_sounds)
    representation = dataclasses.replace(
        LOG_MEL_PRESETS[values.preset], sample_rate=sounds.sample_rate, length=sounds.waves.shape[1], n_frames=0
    )
    found = measure(sounds, values.only or list(ROWS), representation)
    print(summary(found, sounds.groups).markdown())
    if values.out:
        write_results(values.out, results(found, sounds.groups))


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
