"""Phase from magnitudes alone by integrating its gradient, which a Gaussian window gives away."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.chunked_map import map_sounds
from timbre_jax.audio.stft import impulse_phase, window_samples
from timbre_jax.types import Array


@functools.lru_cache(maxsize=64)
def gaussian_width(window: str, length: int) -> float:
    """gamma in samples^2 of the Gaussian exp(-pi t^2 / gamma) that comes nearest to a window in the least squares.

    0.258 length^2 for a Hann window, 0.304 for Hamming, 0.179 for Blackman; Průša et al. 2017 give 0.256, 0.298, 0.180.
    """
    samples = window_samples(window, length).astype(np.float64)
    square = np.square(np.arange(length) - length / 2)

    def error(gamma):
        return float(np.sum(np.square(samples - np.exp(-math.pi * square / gamma))))

    low, high, golden = 1e-3 * length**2, 2.0 * length**2, 0.5 * (math.sqrt(5.0) - 1.0)
    for _ in range(80):
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if error(left) < error(right) else (left, high)
    return 0.5 * (low + high)


def phase_gradient(
    magnitudes: Array, *, hop: int, gamma: float, floor_db: float = -120.0, full_scale: Array | float | None = None
) -> tuple[Array, Array]:
    """The phase's change a hop and a bin in radians, [N, K] -> [N, K] twice; for phases with (-1)^k taken out.

    With s = log magnitude (under `floor_db` of `full_scale`, None being the sound's largest, raised to it), for frames centered
    on n * hop:

        d phase / dn = 2 pi hop k / n_fft + hop n_fft / gamma * ds/dk,    d phase / dk = -gamma / (hop n_fft) * ds/dn

    exact for a Gaussian window of width gamma (Portnoff 1979; Průša, Balazs, Søndergaard 2017, eq. 10-11), with central
    differences. Whole turns of the first are dropped.
    """
    bins = magnitudes.shape[-1]
    n_fft = 2 * (bins - 1)
    loudest = jnp.maximum(jnp.max(magnitudes), 1e-30) if full_scale is None else full_scale
    s = jnp.log(jnp.maximum(magnitudes / loudest, 10.0 ** (floor_db / 20.0)))
    padded = jnp.pad(s, 1, mode="edge")
    ratio = hop * n_fft / gamma
    own = 2.0 * np.pi * np.mod(hop * np.arange(bins) / n_fft, 1.0)
    across = jnp.asarray(own, jnp.float32) + np.float32(0.5 * ratio) * (padded[1:-1, 2:] - padded[1:-1, :-2])
    return across, np.float32(-0.5 / ratio) * (padded[2:, 1:-1] - padded[:-2, 1:-1])


@functools.partial(jax.jit, static_argnames=("hop", "window", "window_length"))
def integrate_phase(
    magnitudes: Array,
    *,
    hop: int,
    window: str = "hann",
    window_length: int | None = None,
    known: Array | None = None,
) -> Array:
    """Phases for magnitudes of a centered transform, [B, N, K] -> [B, N, K] radians (of `audio.stft.stft`).

    Phase gradient integration along the loudest way (Průša, Balazs, Søndergaard 2017, "A noniterative method for
    reconstruction of phase from STFT magnitude", PGHI), made for a device: instead of one heap over the whole plane, frames
    are done one after another from the loudest one both ways, as in its real-time form (Průša & Søndergaard 2016). Within
    a frame each bin takes its phase by the way that the heap would have found: from its own bin in the frame before, or
    along the frame from another bin, whichever way's faintest point is loudest. Which way that is depends on magnitudes
    alone, so all frames find it at once; only adding up goes from frame to frame. `tests/audio/test_phase.py` holds it
    against the heap.

    Args:
      known: [B, P, K] radians of the first P frames: these stay, and the others go on from the last of them.
    """
    bins = magnitudes.shape[-1]
    window_length = 2 * (bins - 1) if window_length is None else window_length
    gamma = gaussian_width(window, window_length)
    turned = impulse_phase(bins)

    def integrate(sound):
        wanted, begun = sound["magnitudes"], sound["known"]
        gradient = phase_gradient(wanted, hop=hop, gamma=gamma)
        if begun is not None:
            last = begun.shape[0] - 1
            return jnp.concatenate([begun, _walk(wanted, gradient, last, begun[-1] - turned)[last + 1 :] + turned])
        start = jnp.argmax(jnp.sum(jnp.square(wanted), axis=-1))
        return _walk(wanted, gradient, start, None, back=True) + turned

    return map_sounds(integrate, {"magnitudes": magnitudes, "known": known}, numbers=4 * magnitudes.shape[-2] * bins)


@functools.partial(jax.jit, static_argnames=("hop", "window"))
def continue_phase(
    magnitudes: Array, phase: Array, start: Array | int, *, hop: int, window: str = "hann", full_scale: float = 1.0
) -> Array:
    """Phases that go on, for a sound that is made as it comes: [B, N, K] magnitudes -> [B, N - 1, K] radians.

    `integrate_phase` from frame `start` onwards only (Průša & Søndergaard 2016, RTPGHI), where the phase is `phase` [B, K].
    The last frame is looked at and gets no phase yet: that is the look-ahead. So whole = block by block, when each block begins
    with the last frame that has a phase. What comes out for frames before `start` has no meaning.

    Args:
      start: int32 [], may be traced.
      full_scale: magnitudes 120 dB under it count as nothing; one number for all blocks.
    """
    bins = magnitudes.shape[-1]
    gamma = gaussian_width(window, 2 * (bins - 1))
    turned = impulse_phase(bins)

    def integrate(sound):
        wanted = sound["magnitudes"]
        gradient = phase_gradient(wanted, hop=hop, gamma=gamma, full_scale=full_scale)
        return _walk(wanted, gradient, start, sound["phase"] - turned)[:-1] + turned

    return map_sounds(integrate, {"magnitudes": magnitudes, "phase": phase}, numbers=4 * magnitudes.shape[-2] * bins)


def _walk(
    wanted: Array, gradient: tuple[Array, Array], start: Array | int, begun: Array | None, *, back: bool = False
) -> Array:
    """Phases [N, K] from frame `start` on, where they are `begun` [K] (None: integrated along it); `back` from it too."""
    across, along = gradient
    count, bins = wanted.shape
    frames = np.arange(count)[:, None]
    earlier = frames < start if back else np.zeros((count, 1), bool)

    def done_before(x):
        """The neighboring frame on the side of the start, which is done first."""
        return jnp.where(earlier, jnp.roll(x, -1, axis=0), jnp.roll(x, 1, axis=0))

    step = 0.5 * (across + done_before(across)) * jnp.where(earlier, -1.0, 1.0)
    climb = jnp.cumsum(jnp.pad(0.5 * (along[:, 1:] + along[:, :-1]), ((0, 0), (1, 0))), axis=-1)
    source = _best_entry(wanted, jnp.where(frames == start, -1.0, done_before(wanted)))
    change = climb - jnp.take_along_axis(climb - step, source, axis=-1)
    change = jnp.where(frames == start, climb if begun is None else begun, change)

    def add(before, inputs):
        change, source, first = inputs
        phase = change + jnp.where(first, 0.0, jnp.take(before, source))
        phase = phase - 2.0 * jnp.pi * jnp.round(phase * (0.5 / jnp.pi))
        return phase, phase

    inputs = (change, source, frames[:, 0] == start)
    rest = jnp.zeros(bins, jnp.float32)
    forth = jax.lax.scan(add, rest, inputs)[1]
    return jnp.where(earlier, jax.lax.scan(add, rest, inputs, reverse=True)[1], forth) if back else forth


def _best_entry(here: Array, before: Array) -> Array:
    """From which bin of the frame before each bin's phase comes, [N, K] magnitudes twice -> [N, K] int32.

    A way into bin k enters the frame at some bin j (as loud as j was before) and walks from bin to bin to k; it is as
    good as its faintest point, k itself not counted. So the best way from below into k is either its own entry or the
    best way into k - 1, walked on: one pass from bin to bin for all frames.
    """
    bins = here.shape[-1]
    # The way from above is the way from below through the frame turned round: one pass serves both. [K, 2 N]
    entries = jnp.concatenate([before, before[:, ::-1]]).T
    walked = jnp.concatenate([here, here[:, ::-1]]).T

    def step(way, inputs):
        best, source = way
        entry, own, loudness = inputs
        source = jnp.where(entry >= best, own, source)
        best = jnp.maximum(entry, best)
        return (jnp.minimum(best, loudness), source), (best, source)

    nowhere = (jnp.full(entries.shape[1], -2.0, entries.dtype), jnp.zeros(entries.shape[1], jnp.int32))
    inputs = (entries, jnp.arange(bins, dtype=jnp.int32), walked)
    _, (best, source) = jax.lax.scan(step, nowhere, inputs, unroll=2)
    (up, down), (from_below, from_above) = jnp.split(best.T, 2), jnp.split(source.T, 2)
    return jnp.where(up >= down[:, ::-1], from_below, bins - 1 - from_above[:, ::-1])
