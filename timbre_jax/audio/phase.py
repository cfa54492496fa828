"""Inverters by name: algorithms that reconstruct waves from magnitude spectra.

An inverter is a function

    (magnitudes [B, N, K], *, hop, length, window, window_length, iterations, key, bands, filters, known)
        -> waves [B, length]

of centered spectra, as `audio.stft.stft` returns them: n_fft = 2 * (K - 1), and N = 1 + length // hop or one less. Without a
`key` it is deterministic. `bands` and `filters` apply if only bands of the spectrum are known (`fast_griffin_lim`); "pghi"
ignores them. `known` [B, P, K] are spectra of the first P frames, which stay fixed, for a long sound in parts.
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
    """Reconstructs waves by `fast_griffin_lim`, starting at the phase of `integrate_phase`.

    Args:
      magnitudes: [B, N, K] of a centered transform.
      hop: samples between frames.
      length: number of samples of the result.
      window: a name of `audio.stft.COSINE_WINDOWS`.
      window_length: length of the window in samples; None: n_fft.
      key: unused; the result is deterministic.
      known: [B, P, K] complex spectra of the first P frames, which stay fixed.
      **settings: further arguments of `fast_griffin_lim`.

    Returns:
      [B, length].
    """
    del key
    angles = None if known is None else jnp.angle(known)
    phase = integrate_phase(magnitudes, hop=hop, window=window, window_length=window_length, known=angles)
    own = {"window": window, "window_length": window_length, "phase": phase, "known": known}
    return fast_griffin_lim(magnitudes, hop=hop, length=length, **own, **settings)


def pghi(magnitudes: Array, *, iterations: int = 0, **settings) -> Array:
    """Reconstructs waves with the phase of `integrate_phase`, without iterations.

    Args:
      magnitudes: [B, N, K] of a centered transform.
      iterations: unused.
      **settings: arguments of `pghi_fast_griffin_lim`.

    Returns:
      [B, length].
    """
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
    """Reconstructs waves from magnitude spectra by a named inverter.

    Args:
      name: a name of `INVERTERS`.
      magnitudes: [B, N, K] of a centered transform.
      hop: samples between frames.
      length: number of samples of the result.
      iterations: number of steps, if the inverter iterates.
      **settings: further arguments of the inverter.

    Returns:
      [B, length].

    Raises:
      ValueError: the name is unknown.
    """
    if name not in INVERTERS:
        raise ValueError(f"inverter={name!r}: must be one of {', '.join(INVERTERS)}")
    return INVERTERS[name](magnitudes, hop=hop, length=length, iterations=iterations, **settings)
