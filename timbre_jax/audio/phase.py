"""Ways from magnitudes to sound, exchangeable by name.

Each is a function

    (magnitudes [B, N, K], *, hop, length, window, window_length, iterations, key, bands, filters, known)
        -> waves [B, length]

of centered spectra as `audio.stft.stft` makes them: frame n on sample n * hop, n_fft = 2 * (K - 1), N = 1 + length // hop
or one less. All are deterministic without a `key`. `bands` and `filters` are for where only bands of the magnitudes are
known (`fast_griffin_lim`); "pghi" alone does not iterate and ignores them. `known` [B, P, K]: spectra of the first P frames,
which stay as they are: what a long sound in parts goes on from.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import jax.numpy as jnp

from timbre_jax.audio.griffin_lim import fast_griffin_lim, griffin_lim
from timbre_jax.audio.phase_gradient import integrate_phase
from timbre_jax.types import Array


def pghi_fast_griffin_lim(
    magnitudes: Array,
    *,
    hop: int,
    length: int,
    window: str = "hann",
    window_length: int | None = None,
    key=None,
    known: Array | None = None,
    **settings,
) -> Array:
    """`fast_griffin_lim` that begins at the phase of `pghi`; nothing is drawn, `key` is not used."""
    del key
    angles = None if known is None else jnp.angle(known)
    phase = integrate_phase(magnitudes, hop=hop, window=window, window_length=window_length, known=angles)
    own = {"window": window, "window_length": window_length, "phase": phase, "known": known}
    return fast_griffin_lim(magnitudes, hop=hop, length=length, **own, **settings)


def pghi(magnitudes: Array, *, iterations: int = 0, **settings) -> Array:
    """Sounds of the given magnitudes with integrated phases (`integrate_phase`), [B, N, K] -> [B, length]; `iterations` is
    not used."""
    del iterations
    return pghi_fast_griffin_lim(magnitudes, iterations=0, **settings)


INVERTERS: MappingProxyType[str, Callable[..., Array]] = MappingProxyType(
    {
        "griffin_lim": griffin_lim,
        "fast_griffin_lim": fast_griffin_lim,
        "pghi": pghi,
        "pghi_fast_griffin_lim": pghi_fast_griffin_lim,
    }
)


def invert(name: str, magnitudes: Array, *, hop: int, length: int, iterations: int, **settings) -> Array:
    """By the inverter of that name. Raises ValueError for an unknown one, naming those there are."""
    if name not in INVERTERS:
        raise ValueError(f"no inverter named {name!r}; there are: {', '.join(INVERTERS)}")
    return INVERTERS[name](magnitudes, hop=hop, length=length, iterations=iterations, **settings)
