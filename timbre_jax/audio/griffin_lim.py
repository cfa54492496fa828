"""Phase from magnitudes by projecting back and forth between spectra of the right size and spectra of real sounds."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from timbre_jax.audio.stft import istft, stft
from timbre_jax.records import Array


def random_phase(key: Array | None, shape: tuple[int, ...]) -> Array:
    """Unit complex numbers [B, N, K] with a phase of their own for every bin; 1 without a key.

    `key` is one key, split over the sounds, or [B] keys, one for each.
    """
    if key is None:
        return jnp.ones(shape, jnp.complex64)
    keys = key if key.ndim else jax.random.split(key, shape[0])
    angle = jax.vmap(lambda k: jax.random.uniform(k, shape[1:], jnp.float32, -jnp.pi, jnp.pi))(keys)
    return jax.lax.complex(jnp.cos(angle), jnp.sin(angle))


@functools.partial(jax.jit, static_argnames=("hop", "window", "window_length", "length", "iterations", "momentum"))
def fast_griffin_lim(
    magnitudes: Array,
    *,
    hop: int,
    length: int,
    window: str = "hann",
    window_length: int | None = None,
    iterations: int = 100,
    momentum: float = 0.99,
    start: Array | None = None,
    key: Array | None = None,
) -> Array:
    """Sounds whose spectra have nearly the given magnitudes, [B, N, K] -> [B, length]."""
    settings = {"hop": hop, "window": window, "window_length": window_length}
    n_fft = 2 * (magnitudes.shape[-1] - 1)
    count = magnitudes.shape[-2]
    start = random_phase(key, magnitudes.shape) if start is None else start

    def consistent(spectra):
        waves = istft(spectra, **settings, length=(count - 1) * hop)
        return stft(waves, n_fft=n_fft, **settings)

    def with_magnitudes(spectra):
        size = jnp.square(spectra.real) + jnp.square(spectra.imag)
        gain = magnitudes * jax.lax.rsqrt(jnp.maximum(size, 1e-30))
        return spectra * gain

    def improve(_, state):
        spectra, last = state
        found = consistent(with_magnitudes(spectra))
        return found + momentum * (found - last), found

    first = magnitudes * start
    spectra, _ = jax.lax.fori_loop(0, iterations, improve, (first, jnp.zeros_like(first)))
    return istft(with_magnitudes(spectra), **settings, length=length)


def griffin_lim(magnitudes: Array, **settings) -> Array:
    """`fast_griffin_lim` without momentum (Griffin & Lim 1984)."""
    return fast_griffin_lim(magnitudes, momentum=0.0, **settings)
