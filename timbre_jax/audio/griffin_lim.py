"""Phase reconstruction by alternating projections (Griffin-Lim and fast Griffin-Lim)."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.chunked_map import map_sounds
from timbre_jax.audio.level import safe_sqrt
from timbre_jax.audio.stft import impulse_phase, istft, squared_magnitude, stft
from timbre_jax.types import Array


@functools.partial(jax.jit, static_argnames=("hop", "length", "window", "window_length", "iterations", "momentum"))
def fast_griffin_lim(
    magnitudes: Array,
    *,
    hop: int,
    length: int,
    window: str = "hann",
    window_length: int | None = None,
    iterations: int = 100,
    momentum: float = 0.99,
    phase: Array | None = None,
    key: Array | None = None,
    bands: Array | None = None,
    filters: Array | np.ndarray | None = None,
    known: Array | None = None,
) -> Array:
    """Reconstructs waves from magnitude spectra by fast Griffin-Lim.

    Perraudin, Balazs & Søndergaard 2013, algorithm 2. P1 projects on the spectra of real sounds (istft, then stft), and P2 on
    spectra of the given magnitudes. Each step computes t = P1 P2 c, then c = t + momentum (t - t of the previous step). The
    result is istft(P2 c).

    If only bands of the spectrum are known (a mel spectrogram), pass them as well. P2 then scales the power of the spectrum
    toward the bands by one step of Richardson 1972 and Lucy 1974: p <- p * filters^T(bands / filters p) / filters^T 1. The
    magnitudes are only the initial value, and P1 shapes the spectrum within the bands (after the bi-level consistency of
    Masuyama et al. 2023).

    Args:
      magnitudes: [B, N, K] of a centered transform (`audio.stft.stft`); n_fft = 2 * (K - 1).
      hop: samples between frames.
      length: number of samples of the result, at least (N - 1) * hop.
      window: a name of `audio.stft.COSINE_WINDOWS`.
      window_length: length of the window in samples; None: n_fft.
      iterations: number of steps; 0 keeps the initial phase.
      momentum: 0 is Griffin & Lim 1984; above 1 the iteration does not converge.
      phase: [B, N, K] initial phase in radians. None: random if a key is given, else that of an impulse in the middle of each
        frame.
      key: one key, split over the sounds, or [B] keys; None: deterministic.
      bands: [B, N, M] power, filters @ magnitudes^2.
      filters: [M, K]; required with `bands`.
      known: [B, P, K] complex spectra of the first P frames, which stay fixed: the end of the previous part if a long sound
        is reconstructed in parts.

    Returns:
      [B, length]. On a CPU, sounds are processed in chunks, so that working memory covers only a few sounds at once.

    Raises:
      ValueError: the frames exceed the length, or only one of bands and filters is given.
    """
    batch, count, bins = magnitudes.shape
    if length < (count - 1) * hop:
        raise ValueError(f"length={length}: must be at least {(count - 1) * hop} for {count} frames with hop {hop}")
    if (bands is None) != (filters is None):
        raise ValueError("bands and filters: pass both or neither")
    settings = {"hop": hop, "window": window, "window_length": window_length}
    faint, share = (None, None) if bands is None else _band_terms(bands, filters)
    filters = None if filters is None else jnp.asarray(filters, jnp.float32)

    def consistent(spectra):
        return stft(istft(spectra, **settings, length=length), n_fft=2 * (bins - 1), **settings)[:count]

    def restore(sound):
        def improve(_, state):
            spectra, last = state
            projected = consistent(_project_magnitudes(spectra, sound, filters, share))
            return projected + momentum * (projected - last), projected

        angle = _initial_phase(sound["magnitudes"], sound["phase"], sound["key"])
        spectra = _with_known(sound["magnitudes"] * jax.lax.complex(jnp.cos(angle), jnp.sin(angle)), sound["known"])
        if iterations:
            # The first step has no previous step, so it has no momentum.
            projected = consistent(spectra)
            spectra, _ = jax.lax.fori_loop(1, iterations, improve, (projected, projected))
            spectra = _project_magnitudes(spectra, sound, filters, share)
        return istft(spectra, **settings, length=length)

    if key is not None:
        key = key if key.ndim else jax.random.split(key, batch)
    sounds = {"magnitudes": magnitudes, "phase": phase, "key": key, "bands": bands, "faint": faint, "known": known}
    return map_sounds(restore, sounds, values_per_sound=count * bins)


def _band_terms(bands: Array, filters: Array | np.ndarray) -> tuple[Array, Array]:
    """Returns a power [B] far below the bands, and 1 / sum of the filters [K] at each bin."""
    total = jnp.sum(jnp.asarray(filters, jnp.float32), axis=0)
    share = jnp.where(total > 0, 1.0 / jnp.where(total > 0, total, 1.0), 0.0)
    return jnp.maximum(1e-12 * jnp.max(bands, axis=(1, 2)), 1e-30), share


def _initial_phase(magnitudes: Array, phase: Array | None, key: Array | None) -> Array:
    """Returns the initial phase [N, K]: the given one, a random one, or that of an impulse."""
    if phase is not None:
        return phase
    if key is not None:
        return jax.random.uniform(key, magnitudes.shape, jnp.float32, -jnp.pi, jnp.pi)
    # At phase 0 the energy of a frame would be at its edges, where the window is 0.
    return jnp.broadcast_to(impulse_phase(magnitudes.shape[-1]), magnitudes.shape)


def _with_known(spectra: Array, known: Array | None) -> Array:
    """Replaces the first frames of spectra [N, K] by the known ones [P, K]."""
    return spectra if known is None else jnp.concatenate([known, spectra[known.shape[0] :]])


def _project_magnitudes(spectra: Array, sound: dict, filters: Array | None, share: Array | None) -> Array:
    """Projects spectra [N, K] on the magnitudes, or scales them toward the bands."""
    power = squared_magnitude(spectra)
    if filters is None:
        scale = sound["magnitudes"] * jax.lax.rsqrt(jnp.maximum(power, 1e-30))
    else:
        ratio = sound["bands"] / (jnp.matmul(power, filters.T, precision="highest") + sound["faint"])
        scale = safe_sqrt(jnp.matmul(ratio, filters, precision="highest") * share)
    return _with_known(spectra * scale, sound["known"])


def griffin_lim(magnitudes: Array, **settings) -> Array:
    """Reconstructs waves from magnitude spectra by Griffin-Lim (Griffin & Lim 1984).

    Takes the arguments of `fast_griffin_lim` without `momentum`, which is 0.
    """
    return fast_griffin_lim(magnitudes, momentum=0.0, **settings)
