"""Phase from magnitudes by going back and forth between spectra of the right size and spectra of real sounds."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.chunked_map import map_sounds
from timbre_jax.audio.level import root
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
    """Sounds whose spectra have nearly the given magnitudes, [B, N, K] -> [B, length].

    Perraudin, Balazs, Søndergaard 2013, algorithm 2: with P1 the projection on spectra of real sounds (istft, stft) and
    P2 that on spectra of the given magnitudes, t = P1 P2 c; c = t + momentum (t - t of the step before). Momentum 0 is
    Griffin & Lim 1984; over 1 it does not settle. The result is istft(P2 c).

    Where only bands of the magnitudes are known (a mel spectrogram), give them too: then P2 does not hold the magnitudes
    but scales the spectrum's own power until its bands are right, p <- p * filters^T(bands / filters p) / filters^T 1 (one
    step of Richardson 1972, Lucy 1974). The spectra find their shape within the bands by what sounds can be; the given
    magnitudes are only the start. (The thought is that of Masuyama et al. 2023, "bi-level consistency".)

    Args:
      magnitudes: of a centered transform (`audio.stft.stft`): frame n on sample n * hop, n_fft = 2 * (K - 1).
      length: samples; at least (N - 1) * hop.
      phase: [B, N, K] radians to begin with. Without it, random from `key` (one key, split over the sounds, or [B] keys);
        without both, that of an impulse in the middle of each frame: deterministic.
      bands: [B, N, M] power. filters: [M, K], bands = filters @ magnitudes^2.
      known: [B, P, K] complex spectra of the first P frames, which are held on to: what went before, where a long sound is
        made in parts.

    Sounds are taken a few at a time on a CPU (`in_turns`), so memory beside the result is that of a few sounds.

    Raises ValueError where there are more frames than the length has, or bands without filters.
    """
    batch, count, bins = magnitudes.shape
    if length < (count - 1) * hop:
        raise ValueError(f"{count} frames with hop {hop} need a length of at least {(count - 1) * hop}, got {length}")
    if (bands is None) != (filters is None):
        raise ValueError("bands come with their filters, and filters with their bands")
    settings = {"hop": hop, "window": window, "window_length": window_length}
    faint, share = None, None
    if bands is not None:
        filters = jnp.asarray(filters, jnp.float32)
        total = jnp.sum(filters, axis=0)
        share = jnp.where(total > 0, 1.0 / jnp.where(total > 0, total, 1.0), 0.0)
        faint = jnp.maximum(1e-12 * jnp.max(bands, axis=(1, 2)), 1e-30)

    def real_sounds(spectra):
        return stft(istft(spectra, **settings, length=length), n_fft=2 * (bins - 1), **settings)[:count]

    def restore(sound):
        def improve(_, state):
            spectra, last = state
            found = real_sounds(_right_size(spectra, sound, filters, share))
            return found + momentum * (found - last), found

        angle = _first_angle(sound["magnitudes"], sound["phase"], sound["key"])
        spectra = _with_known(sound["magnitudes"] * jax.lax.complex(jnp.cos(angle), jnp.sin(angle)), sound["known"])
        if iterations:
            # The first step has no step before it.
            found = real_sounds(spectra)
            spectra, _ = jax.lax.fori_loop(1, iterations, improve, (found, found))
            spectra = _right_size(spectra, sound, filters, share)
        return istft(spectra, **settings, length=length)

    if key is not None:
        key = key if key.ndim else jax.random.split(key, batch)
    sounds = {"magnitudes": magnitudes, "phase": phase, "key": key, "bands": bands, "faint": faint, "known": known}
    return map_sounds(restore, sounds, numbers=count * bins)


def _first_angle(magnitudes: Array, phase: Array | None, key: Array | None) -> Array:
    """Returns the phase [N, K] to begin with: the given one, one drawn from the key, or that of an impulse in each frame."""
    if phase is not None:
        return phase
    if key is not None:
        return jax.random.uniform(key, magnitudes.shape, jnp.float32, -jnp.pi, jnp.pi)
    # At phase 0 a frame's energy would lie at its edges, where the window is 0, and be lost.
    return jnp.broadcast_to(impulse_phase(magnitudes.shape[-1]), magnitudes.shape)


def _with_known(spectra: Array, known: Array | None) -> Array:
    return spectra if known is None else jnp.concatenate([known, spectra[known.shape[0] :]])


def _right_size(spectra: Array, sound: dict, filters: Array | None, share: Array | None) -> Array:
    """Projects spectra [N, K] of a sound on those of its magnitudes, or scales them toward its bands; known frames stay."""
    power = squared_magnitude(spectra)
    if filters is None:
        scale = sound["magnitudes"] * jax.lax.rsqrt(jnp.maximum(power, 1e-30))
    else:
        ratio = sound["bands"] / (jnp.matmul(power, filters.T, precision="highest") + sound["faint"])
        scale = root(jnp.matmul(ratio, filters, precision="highest") * share)
    return _with_known(spectra * scale, sound["known"])


def griffin_lim(magnitudes: Array, **settings) -> Array:
    """`fast_griffin_lim` without momentum: Griffin & Lim 1984, "Signal estimation from modified STFT"."""
    return fast_griffin_lim(magnitudes, momentum=0.0, **settings)
