"""Harmonic tracks of notes, against librosa file by file: `harmonic_features`.

Both sides start from the same 64 notes in memory (4 s, 16 kHz) and return f0 and the amplitudes of seven harmonics in dB for
372 frames. Both run in one process that is pinned to one core, in turns, and the best round counts, without compilation.

Theirs is librosa.yin (80 to 2100 Hz, hop 172, its default frame of 2048 samples), librosa.stft (Blackman 690, FFT 1024, hop
172), and peaks near n * f0 in vectorized numpy, without our 3 % rule and without our refinement of f0.
"""

from __future__ import annotations

from experiments.benchmarks.timing import best_seconds, in_own_process, pin_to_one_core, rates_row

NOTES = 64
ROUNDS = 5
HARMONICS = 7
HOP, WINDOW, FFT, RATE, FRAMES = 172, 690, 1024, 16000, 372
YIN_FRAME = 2048


def synthetic_notes():
    """Returns harmonic notes from 80 to 2100 Hz, held for 3 s, [64, 64000] float32."""
    import numpy as np

    random = np.random.default_rng(0)
    time_s = np.arange(4 * RATE) / RATE
    notes = np.empty((NOTES, time_s.size), np.float32)
    for row, f0 in enumerate(np.geomspace(81.0, 2080.0, NOTES)):
        envelope = np.minimum(1.0, time_s / 0.02) * np.exp(-np.maximum(0.0, time_s - 3.0) / 0.1)
        count = min(20, int(0.5 * RATE / f0))
        sines = [np.sin(2 * np.pi * n * f0 * time_s + random.uniform(0, 6.28)) / n for n in range(1, count + 1)]
        notes[row] = 0.2 * envelope * np.sum(sines, axis=0) + 1e-4 * random.standard_normal(time_s.size)
    return notes


def librosa_features(wave):
    """Returns f0 [N] in Hz and amplitudes [N, H] in dB of a note by librosa."""
    import librosa
    import numpy as np

    f0 = librosa.yin(wave, fmin=80.0, fmax=2100.0, sr=RATE, hop_length=HOP, frame_length=YIN_FRAME)[:FRAMES]
    spectra = librosa.stft(wave, n_fft=FFT, hop_length=HOP, win_length=WINDOW, window="blackman")
    magnitude = np.abs(spectra).T[:FRAMES]
    target = f0[:, None] * np.arange(1, HARMONICS + 1) * (FFT / RATE)
    nearest = np.clip(np.round(target), 1, FFT // 2 - 1).astype(int)
    bins = np.clip(nearest[..., None] + np.arange(-4, 5), 1, FFT // 2 - 1)
    allowed = np.abs(bins - target[..., None]) <= np.minimum(4.0, 0.5 * f0 * FFT / RATE)[:, None, None]
    rows = np.arange(FRAMES)[:, None]
    around = np.where(allowed, magnitude[rows[..., None], bins], 0.0)
    best = np.clip(nearest - 4 + np.argmax(around, axis=-1), 1, FFT // 2 - 1)
    left, middle, right = (np.log(np.maximum(magnitude[rows, best + k], 1e-10)) for k in (-1, 0, 1))
    bend = np.minimum(left - 2 * middle + right, -1e-6)
    offset = np.clip(0.5 * (left - right) / bend, -0.5, 0.5)
    gain = 0.5 * WINDOW * 0.42
    amplitude = 20 / np.log(10) * (middle - 0.25 * (left - right) * offset - np.log(gain))
    return f0, np.where(target < FFT / 2, np.maximum(amplitude, -100.0), -100.0)


def _measure() -> dict:
    """Returns the row; pins the process to one core."""
    device = pin_to_one_core()
    from timbre_jax.representations import HarmonicTracks

    notes, representation = synthetic_notes(), HarmonicTracks(n_harmonics=HARMONICS)
    sides = {
        "ours": lambda: representation.analyze(notes).values,
        "theirs": lambda: [librosa_features(note) for note in notes],
    }
    rates = {name: NOTES / seconds for name, seconds in best_seconds(sides, rounds=ROUNDS).items()}
    return rates_row("harmonic_features", f"notes/s on {device} (theirs: librosa, one core)", **rates)


def run() -> list[dict]:
    """Returns the row of the benchmark."""
    return [in_own_process(_measure)]
