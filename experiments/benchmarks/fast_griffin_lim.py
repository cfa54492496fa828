"""Sounds from magnitudes by fast Griffin-Lim, against librosa: `fast_griffin_lim`.

Both sides start from the magnitudes of 16 sounds in memory (2 s, 16 kHz, window 512, hop 128) and run 32 iterations with
momentum 0.99: ours on all sounds in one call, librosa.griffinlim on one sound after another. Both run in one process that is
pinned to one core, in turns, and the best round counts, without compilation. The second row is the spectral convergence of the
sounds to the given magnitudes in dB (lower is better).
"""

from __future__ import annotations

import functools

from experiments.benchmarks.timing import best_seconds, in_own_process, pin_to_one_core, rates_row, row

SOUNDS, SECONDS, RATE = 16, 2.0, 16000
WINDOW, HOP, ITERATIONS = 512, 128, 32
ROUNDS = 5


def noisy_tones():
    """Returns decaying tones from 60 to 2000 Hz with a noisy attack, [SOUNDS, T] float32."""
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
    """Returns the sounds [B, T] of magnitudes [B, N, K]."""
    import numpy as np

    from timbre_jax.audio.griffin_lim import fast_griffin_lim

    return np.asarray(fast_griffin_lim(magnitudes, hop=HOP, length=int(SECONDS * RATE), iterations=ITERATIONS))


def theirs(magnitudes):
    """Returns the sounds [B, T] of magnitudes [B, N, K] by librosa, from random phases."""
    import librosa
    import numpy as np

    length = int(SECONDS * RATE)
    settings = {"n_iter": ITERATIONS, "hop_length": HOP, "win_length": WINDOW, "momentum": 0.99, "random_state": 0}
    return np.stack([librosa.griffinlim(magnitude.T, length=length, **settings) for magnitude in magnitudes])


def _measure() -> dict:
    """Returns rates, convergence and device; pins the process to one core."""
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
    """Returns the rows of the benchmark."""
    measured = in_own_process(_measure)
    unit = f"sounds/s on {measured['device']} (theirs: librosa, one core)"
    return [
        rates_row("fast_griffin_lim", unit, **measured["rates"]),
        row("fast_griffin_lim/convergence", "dB", **measured["convergence"]),
    ]
