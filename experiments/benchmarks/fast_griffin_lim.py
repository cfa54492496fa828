"""`fast_griffin_lim`: sounds from magnitudes by fast Griffin-Lim, against librosa.griffinlim at the same iterations.

Both sides start from the same magnitudes of 16 sounds in memory (2 s, 16 kHz, window 512, hop 128) and do 32 iterations
with momentum 0.99: ours all sounds in one call, theirs one after another, as librosa would. Both run in one process pinned
to one core, in turns, and the best of the rounds counts: CPU seconds on a CPU, wall-clock seconds where ours runs on an
accelerator (theirs stays on its core). Compilation is not counted. The second row is how near the sounds' spectra come to
the given magnitudes (spectral convergence in dB, lower is better; no ratio).
"""

from __future__ import annotations

import functools

from experiments.benchmarks.timing import best_seconds, in_own_process, pin_to_one_core, rates_row, row

SOUNDS, SECONDS, RATE = 16, 2.0, 16000
WINDOW, HOP, ITERATIONS = 512, 128, 32
ROUNDS = 5


def noisy_tones():
    """[SOUNDS, T] float32: fading harmonic tones from 60 to 2000 Hz with a burst of noise at their attack."""
    import numpy as np

    random = np.random.default_rng(0)
    time_s = np.arange(int(SECONDS * RATE)) / RATE
    sounds = np.empty((SOUNDS, time_s.size), np.float32)
    for number, f0 in enumerate(np.geomspace(60.0, 2000.0, SOUNDS)):
        count = min(20, int(0.5 * RATE / f0))
        sines = [np.sin(2 * np.pi * n * f0 * time_s + random.uniform(0, 6.28)) / n for n in range(1, count + 1)]
        burst = random.standard_normal(time_s.size) * np.exp(-time_s / 0.03)
        sounds[number] = 0.2 * np.exp(-time_s / 0.7) * np.sum(sines, axis=0) + 0.1 * burst
    return sounds


def ours(magnitudes):
    """[B, N, K] to [B, T]."""
    import numpy as np

    from timbre_jax.audio.griffin_lim import fast_griffin_lim

    return np.asarray(fast_griffin_lim(magnitudes, hop=HOP, length=int(SECONDS * RATE), iterations=ITERATIONS))


def theirs(magnitudes):
    """[B, N, K] to [B, T], one sound after another; librosa's own phases, drawn at random, and momentum 0.99."""
    import librosa
    import numpy as np

    length = int(SECONDS * RATE)
    settings = {"n_iter": ITERATIONS, "hop_length": HOP, "win_length": WINDOW, "momentum": 0.99, "random_state": 0}
    return np.stack([librosa.griffinlim(magnitude.T, length=length, **settings) for magnitude in magnitudes])


def _measure() -> dict:
    """Returns the seconds and the convergence of both sides, and the device of ours; pins its process to one core."""
    device = pin_to_one_core()
    import numpy as np

    from timbre_jax.audio.distances import spectral_convergence
    from timbre_jax.audio.stft import stft

    sounds = noisy_tones()
    magnitudes = np.abs(np.asarray(stft(sounds, n_fft=WINDOW, hop=HOP)))
    sides = {"ours": ours, "theirs": theirs}
    distances = {name: spectral_convergence(side(magnitudes), sounds, n_fft=WINDOW, hop=HOP) for name, side in sides.items()}
    convergence = {name: float(np.mean(20.0 * np.log10(np.asarray(distance)))) for name, distance in distances.items()}
    seconds = best_seconds({name: functools.partial(side, magnitudes) for name, side in sides.items()}, rounds=ROUNDS)
    return {"rates": {name: SOUNDS / value for name, value in seconds.items()}, "convergence": convergence, "device": device}


def run() -> list[dict]:
    """Rows {name, ours, theirs, ratio, unit}."""
    found = in_own_process(_measure)
    unit = f"sounds/s on {found['device']} (theirs: librosa, one core)"
    return [
        rates_row("fast_griffin_lim", unit, **found["rates"]),
        row("fast_griffin_lim/convergence", "dB", **found["convergence"]),
    ]
