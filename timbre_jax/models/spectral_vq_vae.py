"""A VQ-VAE that hears spectra in their surroundings and finds phases in place of drawing noise: `discrete_best`."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import FLOOR_DB, db_to_amplitude
from timbre_jax.audio.phase_gradient import continue_phase
from timbre_jax.audio.stft import istft_inner, overlap_ratio, window_samples
from timbre_jax.models.layers.frame_layers import FrameStack
from timbre_jax.models.vq_vae import VQVAE
from timbre_jax.types import Array

_RANGE = math.log(1e4)
"""Of the logarithm of magnitudes that the encoder sees and the loss compares: 80 dB."""


class SpectralVQVAE(VQVAE):
    """`VQVAE` with the same codes, gain and bits a second, and three things of our own:

    - the encoder sees the logarithm of the window's spectrum (80 dB under a sine of level 1), and convolutions over
      `kernel` frames, so that a code is of a frame in its surroundings;
    - the decoder is convolutions over frames too, of the codes before and after;
    - what it gives is the magnitudes of the sound's own STFT, at the level that the gain says, and their phases are
      integrated from frame to frame (`continue_phase`): nothing is drawn, tones are tones.

    The loss of magnitudes S against the sound's R is that of the multi-resolution distance at the one window that both are
    of: |S - R| / |R| over the whole sound plus the mean over bins of |ln S - ln R|, magnitudes under -80 dB of the sound's
    largest raised to it. No sound is made in training.

    Noise comes out as phase reconstruction makes it of smooth magnitudes: less rough than it was.

    Attributes:
      channels: widths of the encoder's convolutions over frames, before the one to D; the decoder's are the same, turned round.
      kernel: frames of each convolution.
      width, depth: not used.
    """

    stochastic_decoder: ClassVar[bool] = False

    channels: tuple[int, ...] = (512, 512)
    kernel: int = 3

    def setup_networks(self) -> None:
        self.reading = nn.Dense(self.channels[0])
        self.encoder = self._encoder()
        self.decoder = self._decoder()

    def _encoder(self, **parent) -> FrameStack:
        return FrameStack((*self.channels, self.latent_size), kernel=self.kernel, **parent)

    def _decoder(self, **parent) -> FrameStack:
        return FrameStack((*reversed(self.channels), self.channels[0]), kernel=self.kernel, **parent)

    # Encoder

    def encoder_outputs(self, windows: Array, heard: Array, state: Any, **mode: Any) -> tuple[Array, Array, Any]:
        """As `VQVAE.encoder_outputs`; frames that are not heard count as nothing, as neighbors too."""
        spectrum = jnp.fft.rfft(windows)
        power = (jnp.square(spectrum.real) + jnp.square(spectrum.imag)) / self.sine_power
        seen = 1.0 + 0.5 * jnp.log(jnp.maximum(power, 1e-8)) / _RANGE
        return self.encoder(nn.leaky_relu(self.reading(seen)), heard, state, **mode)

    @property
    def sine_power(self) -> float:
        """|X|^2 at the peak of a sine of level 1."""
        return 0.5 * float(np.sum(window_samples("hann", self.window), dtype=np.float64)) ** 2

    @property
    def encoder_delay(self) -> int:
        return self._encoder(parent=None).delay

    def first_encoder(self, batch: int) -> Any:
        return self._encoder(parent=None).first_states(batch, self.channels[0])

    # Decoder

    def decoder_outputs(self, values: Array, mask: Array, state: Any, **mode: Any) -> tuple[Array, Any]:
        x, _, state = self.decoder(values, mask, state, **mode)
        return nn.leaky_relu(x), state

    @property
    def decoder_delay(self) -> int:
        return self._decoder(parent=None).delay

    def first_decoder(self, batch: int) -> Any:
        return self._decoder(parent=None).first_states(batch, self.latent_size)

    def scaled(self, shapes: Array, gain_db: Array) -> Array:
        """Magnitudes [B, N, K] of an STFT whose windows have the level `gain_db` [B, N] (Parseval)."""
        weight = np.full(self.bins, 2.0, np.float32)
        weight[[0, -1]] = 1.0
        power = jnp.sum(jnp.square(shapes) * weight, axis=-1)
        # sum_k |X_k|^2 = n_fft sum_t (w x)^2, and the level is relative to sum_t w^2.
        wanted = self.window * np.sum(np.square(window_samples("hann", self.window), dtype=np.float64))
        gain = db_to_amplitude(gain_db, floor_db=FLOOR_DB)
        return shapes * (gain * np.float32(np.sqrt(wanted)) * jax.lax.rsqrt(jnp.maximum(power, 1e-20)))[..., None]

    @property
    def reach(self) -> tuple[int, int]:
        """One frame more than noise needs: a phase looks at the frame after."""
        ratio = overlap_ratio(self.window, self.hop)
        return ratio // 2 - 1, ratio // 2 + 1

    def sound(self, joined: Array, first: Array | int, key: Array | None, state: Any) -> tuple[Array, Any]:
        """Frames with their neighbors to waves [B, N * hop]; the frame before the first has the phase of an impulse."""
        before, after = self.reach
        kept = before + after - 1  # frames of the block that have a phase already
        impulse = jnp.broadcast_to(np.float32(np.pi) * np.mod(np.arange(self.bins, dtype=np.float32), 2), joined[:, 0].shape)
        if state is None:
            phases = continue_phase(joined, impulse, 0, hop=self.hop)
        else:
            # Frame number `first` is the joined one at `before`; the last frame that has a phase is at kept - 1.
            start = before - 1 - jnp.asarray(first) - (kept - 1)
            begun = jnp.where(start >= 0, impulse, state[:, -1])
            later = continue_phase(joined[:, kept - 1 :], begun, jnp.maximum(start, 0), hop=self.hop)
            phases = jnp.concatenate([state[:, :-1], later], axis=1)
            state = phases[:, phases.shape[1] - kept :]
        magnitudes = joined[:, :-1]
        return istft_inner(magnitudes * jax.lax.complex(jnp.cos(phases), jnp.sin(phases)), hop=self.hop), state

    def first_sound(self, batch: int) -> Any:
        return jnp.zeros((batch, sum(self.reach) - 1, self.bins))

    # Training

    def distance(self, magnitudes: Array, windows: Array, gain: Array, target: Array, keys: Array) -> Array:
        spectrum = jnp.fft.rfft(windows) * db_to_amplitude(gain, floor_db=FLOOR_DB)[..., None]
        power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
        wanted = jnp.sqrt(jnp.maximum(power, 1e-24)) * (power > 0)
        error, size = (jnp.sum(jnp.square(x), axis=(-2, -1)) for x in (magnitudes - wanted, wanted))
        convergence = jnp.sqrt(jnp.maximum(error, 1e-30) / jnp.where(size > 0, size, 1.0)) * (error > 0)
        smallest = jnp.maximum(jnp.max(wanted, axis=(-2, -1), keepdims=True) * math.exp(-_RANGE), 1e-10)
        logs = jnp.abs(jnp.log(jnp.maximum(magnitudes, smallest)) - jnp.log(jnp.maximum(wanted, smallest)))
        return convergence + jnp.mean(logs, axis=(-2, -1))
