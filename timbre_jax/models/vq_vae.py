"""A VQ-VAE of short windows of sound whose decoder shapes noise, or says magnitudes: `caillon2020_discrete`, `discrete_best`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.distances import multi_resolution_stft_distance
from timbre_jax.audio.level import FLOOR_DB, amplitude_to_db, db_to_amplitude
from timbre_jax.audio.noise import filtered_noise, filtered_noise_power
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.models.codebook import Codebook, fit_codebook, lookup
from timbre_jax.models.recurrent import GRU
from timbre_jax.records import Array, Features, Latent, Posterior
from timbre_jax.representation.wave_frames import centred_windows, window_power

FIT_FRAMES = 16384
"""Frames of the training set whose encodings the codebook begins from."""


class StridedEncoder(nn.Module):
    """Windows [..., window] to [..., size]: 1-D convolutions of stride 2, each leaky ReLU, and a dense layer."""

    channels: tuple[int, ...]
    kernel: int
    size: int

    @nn.compact
    def __call__(self, windows: Array) -> Array:
        x = windows.reshape(-1, windows.shape[-1], 1)
        for channels in self.channels:
            x = nn.leaky_relu(nn.Conv(channels, (self.kernel,), strides=2, padding="SAME")(x))
        return nn.Dense(self.size)(x.reshape(*windows.shape[:-1], -1))


class Dense(nn.Module):
    """`depth` dense layers of one width, each followed by layer normalisation and leaky ReLU."""

    width: int
    depth: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        for _ in range(self.depth):
            x = nn.leaky_relu(nn.LayerNorm()(nn.Dense(self.width)(x)))
        return x


class VQVAE(TimbreModel):
    """Vector-quantised timbre: Bitton, Esling & Harada 2020 (arXiv 2007.06349), the discrete model of Caillon et al. 2020.

    For `WaveFrames`: frame n is the Hann window of `window` samples centred on n * hop. It is brought to a level of 1, so that
    codes carry no level, and goes through `encoder` to a vector of `latent_size`; the nearest of the codebook's stands for it.
    The level goes beside the codes, in conditions["gain_db"] [B, M]. The decoder (dense layers, a GRU, dense layers) gives
    window / 2 + 1 magnitudes log(1 + sigmoid), which shape uniform noise (`audio.noise`).

    The magnitudes are scaled so that noise through them has a mean square of 1 (`filtered_noise_power`), and then by the gain:
    the level of what comes out is the gain, whatever the codes (ours: the paper says a gain, not what it is measured as; at
    gain 1 a magnitude of at most log 2 could not make a loud harmonic out of noise). Layer normalisation in the decoder's
    dense layers is ours as well.

    The loss of a sound is the multi-resolution STFT distance (`audio.distances`) of the decoded sound to the original plus
    `commitment` times the codebook's commitment loss. The prior over codes is uniform and no part of it: "kl" is the
    constant rate. In training a sound is a stretch of `train_frames` frames at a random place, another at every step.

    Silent frames (at the gain's floor) and frames outside the mask neither move the codebook nor count in its perplexity.

    Attributes:
      feature_shape: (N, hop). latent_size: D.
      window: samples. codes: K. books: Q residual codebooks. decay, restart: see `Codebook`. commitment: weight of its loss.
      channels, kernel: of the strided encoder.
      width, depth: of the decoder's dense layers (`depth` before and after the GRU) and its GRU.
      train_frames: 0 trains on whole sounds.
    """

    kind: ClassVar[str] = "series"
    draws: ClassVar[bool] = True
    uses_axis: ClassVar[bool] = True
    may_be_zero: ClassVar[tuple[str, ...]] = ("commitment", "restart", "train_frames")

    feature_shape: tuple[int, int] = (125, 512)
    latent_size: int = 128
    window: int = 2048
    codes: int = 1024
    books: int = 1
    decay: float = 0.99
    restart: float = 0.02
    commitment: float = 0.25
    channels: tuple[int, ...] = (32, 64, 64, 128, 128, 256, 256)
    kernel: int = 13
    width: int = 768
    depth: int = 4
    train_frames: int = 0

    @property
    def hop(self) -> int:
        """Samples a frame."""
        return self.feature_shape[1]

    @property
    def bins(self) -> int:
        """K magnitudes of a filter."""
        return self.window // 2 + 1

    def bit_rate(self, rate: float) -> float:
        """Bits a second of the codes, at `rate` latents a second; the gain beside them is not counted."""
        return rate * self.books * float(np.log2(self.codes))

    def setup(self):
        self.encoder = StridedEncoder(self.channels, self.kernel, self.latent_size)
        self.book = Codebook(self.codes, self.latent_size, self.books, self.decay, self.restart)
        self.before = Dense(self.width, self.depth)
        self.recurrent = GRU(self.width)
        self.after = Dense(self.width, self.depth)
        self.head = nn.Dense(self.bins)

    # Encoder

    def windows(self, features: Features) -> tuple[Array, Array]:
        """Hann windows at a level of 1, [B, N, window] (0 where silent), and their levels in dB, [B, N]."""
        waves = features.values.reshape(features.values.shape[0], -1)
        return self.levelled(centred_windows(waves, hop=self.hop, window=self.window))

    def levelled(self, windows: Array) -> tuple[Array, Array]:
        """Hann windows [..., window] of a sound brought to a level of 1, and their levels in dB [...]."""
        level = jnp.sqrt(window_power(windows, hop=self.hop))
        gain = amplitude_to_db(level)
        scale = jnp.where(gain > FLOOR_DB, 1.0 / jnp.where(gain > FLOOR_DB, level, 1.0), 0.0)
        return windows * scale[..., None], gain

    def encode(self, windows: Array) -> Array:
        """Windows at a level of 1 [B, N, window] to encodings [B, N, D], before they are quantised."""
        return self.encoder(windows)

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """The nearest codes: certain (log-variance -inf)."""
        windows, gain = self.windows(features)
        quantised = self.book(self.encode(windows))
        rest = {k: v for k, v in features.conditions.items() if k != "gain_db"}
        return Posterior(
            quantised.values,
            jnp.full_like(quantised.values, -jnp.inf),
            features.mask,
            {**rest, "gain_db": gain},
            features.rate,
            codes=_squeezed(quantised.codes),
        )

    # Decoder

    def spectra(self, values: Array, gain_db: Array, state: Array | None = None) -> tuple[Array, Array]:
        """Latents [B, M, D] and gains [B, M] in dB to filter magnitudes [B, N, K], and the state of the GRU after them.

        `state` [B, width]: after the frames before; None at the beginning.
        """
        x, state = self.recurrent(self.before(values), state)
        shape = jnp.log1p(jax.nn.sigmoid(self.head(self.after(x))))
        power = filtered_noise_power(shape, hop=self.hop)
        gain = db_to_amplitude(gain_db, floor_db=FLOOR_DB)
        return shape * (gain * jax.lax.rsqrt(jnp.maximum(power, 1e-20)))[..., None], state

    def decode(self, latent: Latent, *, train: bool = False, key: Array | None = None) -> Features:
        """Latents to sound, [B, N, hop]: noise through the decoded filters.

        `key`: of the noise, one (and then every sound has the same noise) or [B]; None is a fixed one.
        """
        key = jax.random.key(0) if key is None else key
        magnitudes, _ = self.spectra(latent.values, self.gain(latent))
        waves = filtered_noise(magnitudes, key, hop=self.hop)
        values = waves.reshape(waves.shape[0], -1, self.hop)
        mask = jnp.ones(values.shape[:2], values.dtype) if latent.mask is None else latent.mask
        return Features(values=values, mask=mask, conditions=latent.conditions, rate=latent.rate)

    def gain(self, latent: Latent) -> Array:
        """conditions["gain_db"] [B, M]; 0 dB where a latent has none."""
        return jnp.asarray(latent.conditions.get("gain_db", jnp.zeros(latent.values.shape[:2])), jnp.float32)

    # Codes

    def codebook(self, variables: Variables) -> Array:
        """The vectors, [K, D], or [Q, K, D] with residual codebooks."""
        vectors = variables["codebook"]["book"]["vectors"]
        return vectors[0] if self.books == 1 else vectors

    def from_codes(self, variables: Variables, codes: Array) -> Array:
        """Values [..., D] of codes [...], or [..., Q] with residual codebooks.

        Raises:
          ValueError: codes of another shape than the model's.
        """
        codes = jnp.asarray(codes, jnp.int32)
        if self.books > 1 and codes.shape[-1:] != (self.books,):
            raise ValueError(f"codes of this model are [..., {self.books}], a number for each codebook, not {codes.shape}")
        return lookup(variables["codebook"]["book"]["vectors"], codes[..., None] if self.books == 1 else codes)

    # Training

    def loss(
        self,
        features: Features,
        keys: Array,
        *,
        kl_weight: Array | float = 1.0,
        train: bool = False,
        axis_name: str | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Multi-resolution STFT distance + `commitment` * commitment loss, [B]; `kl_weight` does nothing."""
        noise_keys, order_keys, place_keys = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, 3))(keys), 1, 0)
        windows, gain = self.windows(features)
        target, mask = features.values, features.mask
        if train and 0 < self.train_frames < target.shape[1]:
            windows, gain, target, mask = _stretches(place_keys, self.train_frames, windows, gain, target, mask)
        encodings = self.encode(windows)
        quantised = self.book(encodings)
        weight = mask * (gain > FLOOR_DB)
        metrics = {}
        if train and self.is_mutable_collection("codebook"):
            order = jax.vmap(lambda key: jax.random.uniform(key, gain.shape[1:]))(order_keys)
            flat = encodings.reshape(-1, encodings.shape[-1])
            moved = self.book.update(flat, weight.reshape(-1), order.reshape(-1), axis_name=axis_name)
            metrics = {name: jnp.broadcast_to(value, gain.shape[:1]) for name, value in moved.items()}
        magnitudes, _ = self.spectra(quantised.values, gain)
        waves = filtered_noise(magnitudes, noise_keys, hop=self.hop)
        reconstruction = multi_resolution_stft_distance(waves, target.reshape(waves.shape))
        commitment = jnp.sum(quantised.commitment * weight, -1) / jnp.maximum(jnp.sum(weight, -1), 1.0)
        rate = jnp.full_like(reconstruction, gain.shape[1] * self.books * np.log(self.codes))
        metrics |= {"reconstruction": reconstruction, "commitment": commitment, "kl": rate}
        return reconstruction + self.commitment * commitment, metrics

    def initialise(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Variables whose codebook is fitted to encodings of training frames, features [b, N, hop] (`fit_codebook`)."""

        @jax.jit
        def encoded(features):
            windows, gain = self.apply(variables, features, method="windows")
            return self.apply(variables, windows, method="encode"), gain

        parts = []
        for features in batches():
            encodings, gain = (np.asarray(x) for x in encoded(features))
            parts.append(encodings[(gain > FLOOR_DB) & (np.asarray(features.mask) > 0)])
        frames = np.concatenate(parts)
        chosen = np.random.default_rng(0).permutation(len(frames))[:FIT_FRAMES]
        vectors = fit_codebook(frames[chosen], codes=self.codes, books=self.books)
        book = {**variables["codebook"]["book"], "vectors": jnp.asarray(vectors)}
        return {**variables, "codebook": {"book": book}}


def _squeezed(codes: Array) -> Array:
    """[..., Q] without its last axis where Q is 1."""
    return codes[..., 0] if codes.shape[-1] == 1 else codes


def _stretches(keys: Array, count: int, *arrays: Array) -> list[Array]:
    """`count` frames of every sound's arrays [B, N, ...], beginning at a random frame that its key decides."""
    total = arrays[0].shape[1]
    starts = jax.vmap(lambda key: jax.random.randint(key, (), 0, total - count + 1))(keys)
    return [jax.vmap(lambda x, start: jax.lax.dynamic_slice_in_dim(x, start, count))(x, starts) for x in arrays]
