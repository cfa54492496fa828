"""VQ-VAE with spectral context that decodes magnitudes and integrates phase."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import FLOOR_DB, db_to_amplitude
from timbre_jax.audio.phase_gradient import continue_phase
from timbre_jax.audio.stft import istft_inner, overlap_ratio, squared_magnitude, window_samples
from timbre_jax.models.layers.frame_layers import FrameStack
from timbre_jax.models.vq_vae import VQVAE
from timbre_jax.types import Array

_LOG_RANGE = math.log(1e4)
"""Range of log magnitudes in the encoder's input and the loss, 80 dB."""


class SpectralVQVAE(VQVAE):
    """`VQVAE` on spectra with context that decodes STFT magnitudes and integrates phases.

    Codes, gain and bit rate are those of `VQVAE`. The differences are ours:

    - The encoder takes the log spectrum of a window as input (80 dB below a sine of level 1). Convolutions over `kernel` frames
      let a code depend on its context.
    - The decoder consists of convolutions over frames, too.
    - It predicts the magnitudes of the STFT of the sound at the level of the gain. Their phases are integrated from frame to
      frame (`continue_phase`), so that nothing is random and tones remain tonal.

    The loss of magnitudes S of a sound with STFT magnitudes R is the multi-resolution distance at this one window:
    |S - R| / |R| over the whole sound plus the mean over bins of |ln S - ln R|, with magnitudes clipped at 80 dB below the
    maximum of the sound. Training does not synthesize sound. See the configuration `discrete_best`.

    Noise is reconstructed with smooth magnitudes, so it sounds less rough than the original.

    Attributes:
      channels: output channels of the encoder's convolutions before the one to D; the decoder mirrors them.
      kernel: frames of each convolution.
      width: not used by this model.
      depth: not used by this model.
    """

    stochastic_decoder: ClassVar[bool] = False

    channels: tuple[int, ...] = (512, 512)
    kernel: int = 3

    def setup_networks(self) -> None:
        """Creates the layers of encoder and decoder."""
        self.reading = nn.Dense(self.channels[0])
        self.encoder = self._encoder()
        self.decoder = self._decoder()

    def _encoder(self, **parent) -> FrameStack:
        return FrameStack((*self.channels, self.latent_size), kernel=self.kernel, **parent)

    def _decoder(self, **parent) -> FrameStack:
        return FrameStack((*reversed(self.channels), self.channels[0]), kernel=self.kernel, **parent)

    # Encoder

    def encoder_outputs(self, windows: Array, audible: Array, state: Any, **mode: Any) -> tuple[Array, Array, Any]:
        """Returns the same as `VQVAE.encoder_outputs`; inaudible frames count as padding."""
        spectrum = jnp.fft.rfft(windows)
        power = squared_magnitude(spectrum) / self.sine_power
        log_spectrum = 1.0 + 0.5 * jnp.log(jnp.maximum(power, 1e-8)) / _LOG_RANGE
        return self.encoder(nn.leaky_relu(self.reading(log_spectrum)), audible, state, **mode)

    @property
    def sine_power(self) -> float:
        """Squared magnitude |X|^2 at the peak of a sine of level 1."""
        return 0.5 * float(np.sum(window_samples("hann", self.window), dtype=np.float64)) ** 2

    @property
    def encoder_delay(self) -> int:
        """Look-ahead of the encoder in frames, beyond the window."""
        return self._encoder(parent=None).delay

    def initial_encoder_state(self, batch: int) -> Any:
        """Returns the state of the encoder's network before the first block."""
        return self._encoder(parent=None).initial_states(batch, self.channels[0])

    # Decoder

    def decoder_outputs(self, values: Array, mask: Array, state: Any, **mode: Any) -> tuple[Array, Any]:
        """Returns the input of `head`, [B, M, C], and the next state of the decoder."""
        x, _, state = self.decoder(values, mask, state, **mode)
        return nn.leaky_relu(x), state

    @property
    def decoder_delay(self) -> int:
        """Look-ahead of the decoder's network in frames."""
        return self._decoder(parent=None).delay

    def initial_decoder_state(self, batch: int) -> Any:
        """Returns the state of the decoder's network before the first block."""
        return self._decoder(parent=None).initial_states(batch, self.latent_size)

    def scale_filters(self, filters: Array, gain_db: Array) -> Array:
        """Scales magnitudes [B, N, K] to STFT windows of level `gain_db` [B, N] (Parseval)."""
        weight = np.full(self.bins, 2.0, np.float32)
        weight[[0, -1]] = 1.0
        power = jnp.sum(jnp.square(filters) * weight, axis=-1)
        # sum_k |X_k|^2 = n_fft sum_t (w x)^2, and the level is relative to sum_t w^2.
        unit_power = self.window * np.sum(np.square(window_samples("hann", self.window), dtype=np.float64))
        gain = db_to_amplitude(gain_db, floor_db=FLOOR_DB)
        return filters * (gain * np.float32(np.sqrt(unit_power)) * jax.lax.rsqrt(jnp.maximum(power, 1e-20)))[..., None]

    @property
    def neighbors(self) -> tuple[int, int]:
        """Number of neighbors as in `VQVAE`, with one more frame for the phase."""
        ratio = overlap_ratio(self.window, self.hop)
        return ratio // 2 - 1, ratio // 2 + 1

    def synthesize(self, frames: Array, first: Array | int, key: Array | None, state: Any) -> tuple[Array, Any]:
        """Synthesizes waves, starting from the phase of an impulse before the first frame."""
        before, after = self.neighbors
        known = before + after - 1  # frames of the block whose phase is known
        impulse = jnp.broadcast_to(np.float32(np.pi) * np.mod(np.arange(self.bins, dtype=np.float32), 2), frames[:, 0].shape)
        if state is None:
            phases = continue_phase(frames, impulse, 0, hop=self.hop)
        else:
            # The frame with index `first` is at `before`; the last frame with known phase is at known - 1.
            start = before - 1 - jnp.asarray(first) - (known - 1)
            initial = jnp.where(start >= 0, impulse, state[:, -1])
            later = continue_phase(frames[:, known - 1 :], initial, jnp.maximum(start, 0), hop=self.hop)
            phases = jnp.concatenate([state[:, :-1], later], axis=1)
            state = phases[:, phases.shape[1] - known :]
        magnitudes = frames[:, :-1]
        return istft_inner(magnitudes * jax.lax.complex(jnp.cos(phases), jnp.sin(phases)), hop=self.hop), state

    def initial_synthesis_state(self, batch: int) -> Any:
        """Returns the phases before the first block."""
        return jnp.zeros((batch, sum(self.neighbors) - 1, self.bins))

    # Training

    def distance(self, magnitudes: Array, windows: Array, gain: Array, target: Array, keys: Array) -> Array:
        """Returns the reconstruction loss [B] of magnitudes [B, N, K]."""
        spectrum = jnp.fft.rfft(windows) * db_to_amplitude(gain, floor_db=FLOOR_DB)[..., None]
        power = squared_magnitude(spectrum)
        reference = jnp.sqrt(jnp.maximum(power, 1e-24)) * (power > 0)
        error, size = (jnp.sum(jnp.square(x), axis=(-2, -1)) for x in (magnitudes - reference, reference))
        convergence = jnp.sqrt(jnp.maximum(error, 1e-30) / jnp.where(size > 0, size, 1.0)) * (error > 0)
        smallest = jnp.maximum(jnp.max(reference, axis=(-2, -1), keepdims=True) * math.exp(-_LOG_RANGE), 1e-10)
        logs = jnp.abs(jnp.log(jnp.maximum(magnitudes, smallest)) - jnp.log(jnp.maximum(reference, smallest)))
        return convergence + jnp.mean(logs, axis=(-2, -1))
