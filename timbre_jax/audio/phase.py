"""Ways from magnitudes to sound, exchangeable by name.

Each is a function `(magnitudes [B, N, K], *, hop, length, window, window_length, iterations, key) -> waves [B, length]`
of centred spectra as `audio.stft.stft` makes them (frame n centred on sample n * hop; n_fft = 2 * (K - 1)).
"""

from __future__ import annotations

from timbre_jax.audio.griffin_lim import fast_griffin_lim, griffin_lim
from timbre_jax.records import Array

INVERTERS = {"griffin_lim": griffin_lim, "fast_griffin_lim": fast_griffin_lim}


def invert(name: str, magnitudes: Array, *, hop: int, length: int, iterations: int, **settings) -> Array:
    """The inverter of that name. Raises ValueError for an unknown name."""
    if name not in INVERTERS:
        raise ValueError(f"no inverter named {name!r}; there are: {', '.join(INVERTERS)}")
    return INVERTERS[name](magnitudes, hop=hop, length=length, iterations=iterations, **settings)
