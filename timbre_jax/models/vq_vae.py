"""VQ-VAE of short windows whose decoder filters noise."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.distances import multi_resolution_stft_distance
from timbre_jax.audio.level import FLOOR_DB, db_to_amplitude
from timbre_jax.audio.noise import filtered_noise, filtered_noise_power
from timbre_jax.audio.stft import frame, overlap_ratio, window_samples
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.models.layers import window_layers
from timbre_jax.models.layers.codebook import Codebook, lookup
from timbre_jax.models.layers.frame_context import add_neighbors, initial_context
from timbre_jax.models.layers.frame_layers import MaskedBatchNorm
from timbre_jax.models.layers.recurrent import GRU
from timbre_jax.models.layers.vq_initialization import fit_to_frames
from timbre_jax.types import Array, Features, Latent, Posterior, frame_mask

Stream = dict[str, Any]


class VQVAE(TimbreModel):
    """VQ-VAE of windows whose decoder filters noise (Bitton, Esling & Harada 2020).

    The discrete model of Caillon et al. 2020 (arXiv 2007.06349), for `WaveFrames`. Frame n is the Hann window of `window`
    samples centered on sample n * hop, scaled to a level of 1 so that codes do not contain the level. The encoder maps it to a
    vector of `latent_size`, which the codebook quantizes. conditions["gain_db"] [B, M] contains the level. The decoder (dense
    layers, a GRU, dense layers) predicts window / 2 + 1 magnitudes log(1 + sigmoid), which filter uniform noise
    (`audio.noise`).

    The magnitudes are scaled so that filtered noise has a mean square of 1 (`filtered_noise_power`), and then by the gain, so
    that the gain is the level of the output for any codes. This is ours: the paper does not define its gain, and at gain 1 a
    magnitude of at most log 2 could not form a loud harmonic from noise. Layer normalization in the decoder is ours, too.

    The loss of a sound is the multi-resolution STFT distance (`audio.distances`) between decoded and original sound plus
    `commitment_weight` times the commitment loss. The prior over codes is uniform and fixed, so that "kl" is the constant rate.
    Each training step uses a random crop of `train_frames` frames per sound.

    A codebook in use from the first step collapses to a few codes, because the decoder does not depend on it yet and identical
    encodings minimize the commitment loss. So the encodings are batch-normalized and the codebook is introduced gradually
    (ours). In the first `warm_up_fraction` of a run, the decoder's input is the encodings, which the codebook follows. Over the
    next `warm_up_fraction`, quantized encodings gradually replace them, and the normalization changes to that of evaluation
    (`MaskedBatchNorm`): normalized by its own statistics, a batch of few, similar crops would spread over the whole codebook.

    Silent frames (with the gain at its floor) and frames outside the mask neither update the codebook nor count in its
    perplexity. Padding does not influence the output (`add_neighbors`). As a stream, the encoder waits for half a window and
    the decoder for the frames that overlap a hop.

    Attributes:
      feature_shape: (N, hop), frames and samples per frame.
      latent_size: number of dimensions D of a codebook vector.
      window: samples of a window.
      codes: number of codes K per codebook.
      num_codebooks: number of residual codebooks Q.
      decay: decay of the codebook's moving averages.
      restart_threshold: threshold for restarting unused codes, see `Codebook`; 0 disables restarts.
      commitment_weight: weight of the commitment loss.
      warm_up_fraction: see above, a fraction of the run; 0 disables the warm-up.
      channels: output channels of the encoder's convolutions.
      kernel: kernel size of the encoder's convolutions.
      width: units of the decoder's GRU and dense layers.
      depth: number of dense layers before and after the GRU.
      train_frames: frames per sound in a training step; 0 for all.
    """

    kind: ClassVar[str] = "series"
    stochastic_decoder: ClassVar[bool] = True
    uses_axis: ClassVar[bool] = True
    uses_progress: ClassVar[bool] = True
    streaming: ClassVar[bool] = True
    initializes_from_data: ClassVar[bool] = True
    nonnegative_fields: ClassVar[tuple[str, ...]] = (
        "commitment_weight", "restart_threshold", "train_frames", "warm_up_fraction",
    )  # fmt: skip

    feature_shape: tuple[int, int] = (125, 512)
    latent_size: int = 128
    window: int = 2048
    codes: int = 1024
    num_codebooks: int = 1
    decay: float = 0.99
    restart_threshold: float = 0.1
    commitment_weight: float = 0.25
    warm_up_fraction: float = 0.15
    channels: tuple[int, ...] = (32, 64, 64, 128, 128, 256, 256)
    kernel: int = 13
    width: int = 768
    depth: int = 4
    train_frames: int = 0

    @property
    def hop(self) -> int:
        """Samples per frame."""
        return self.feature_shape[1]

    @property
    def bins(self) -> int:
        """Number of STFT bins of a frame."""
        return self.window // 2 + 1

    def setup(self):
        """Creates the layers."""
        self.norm = MaskedBatchNorm(affine=False)
        self.book = Codebook(self.codes, self.latent_size, self.num_codebooks, self.decay, self.restart_threshold)
        self.head = nn.Dense(self.bins)
        self.setup_networks()

    def setup_networks(self) -> None:
        """Creates the layers of encoder and decoder before `norm` and `head`."""
        self.encoder = window_layers.StridedEncoder(self.channels, self.kernel, self.latent_size)
        self.before = window_layers.DenseStack(self.width, self.depth)
        self.recurrent = GRU(self.width)
        self.after = window_layers.DenseStack(self.width, self.depth)

    # Encoder

    def windows(self, features: Features) -> tuple[Array, Array]:
        """Returns windows [B, N, window] scaled to a level of 1 and their levels [B, N] in dB."""
        waves = features.values.reshape(features.values.shape[0], -1)
        windows = window_layers.centered_windows(waves, hop=self.hop, window=self.window)
        return window_layers.leveled_windows(windows, hop=self.hop)

    def encode(
        self,
        windows: Array,
        audible: Array,
        state: Any = None,
        *,
        train: bool = False,
        axis_name: str | None = None,
        renormalize: Array | float = 0.0,
    ) -> tuple[Array, Any]:
        """Returns the normalized encodings [B, N, D] of windows and the next state of the encoder.

        Args:
          windows: [B, N, window] at a level of 1.
          audible: [B, N], 1 for audible frames within the mask, else 0.
          state: state of a stream, whose encodings are delayed by `encoder_delay` frames; None for a whole series.
          train: whether normalization is in training mode.
          axis_name: axis of `pmap` that splits the batch, or None.
          renormalize: see `MaskedBatchNorm`.
        """
        mode: dict[str, Any] = {"train": train, "axis_name": axis_name}
        x, mask, state = self.encoder_outputs(windows, audible, state, **mode)
        return self.norm(x, mask, renormalize=renormalize, **mode), state

    def encoder_outputs(self, windows: Array, audible: Array, state: Any, **mode: Any) -> tuple[Array, Array, Any]:
        """Returns encodings before normalization, their mask and the next state of the encoder."""
        return self.encoder(windows), audible, state

    @property
    def encoder_delay(self) -> int:
        """Look-ahead of the encoder in frames, beyond the window."""
        return 0

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """Returns the quantized encodings, with a log-variance of -inf."""
        windows, gain = self.windows(features)
        encodings, _ = self.encode(windows, features.mask * (gain > FLOOR_DB))
        return self._posterior(encodings, gain, features.mask, features)

    def _posterior(self, encodings: Array, gain: Array, mask: Array, features: Features) -> Posterior:
        quantized = self.book(encodings)
        log_variance = jnp.full_like(quantized.values, -jnp.inf)
        conditions = {**features.conditions, "gain_db": gain}
        codes = quantized.codes[..., 0] if self.num_codebooks == 1 else quantized.codes
        return Posterior(quantized.values, log_variance, mask, conditions, features.rate, codes=codes)

    # Decoder

    def decode_filters(
        self, values: Array, mask: Array, state: Any = None, *, train: bool = False, axis_name: str | None = None
    ) -> tuple[Array, Any]:
        """Returns unscaled magnitudes [B, M, K] of latents and the next state of the decoder.

        Args:
          values: [B, M, D] latents.
          mask: [B, M].
          state: state of a stream, whose output is delayed by `decoder_delay` frames; None for a whole series.
          train: whether layers are in training mode.
          axis_name: axis of `pmap` that splits the batch, or None.
        """
        x, state = self.decoder_outputs(values, mask, state, train=train, axis_name=axis_name)
        return jnp.log1p(jax.nn.sigmoid(self.head(x))), state

    def decoder_outputs(self, values: Array, mask: Array, state: Any, **mode: Any) -> tuple[Array, Any]:
        """Returns the input of `head`, [B, M, C], and the next state of the decoder."""
        x, state = self.recurrent(self.before(values), state)
        return self.after(x), state

    @property
    def decoder_delay(self) -> int:
        """Look-ahead of the decoder's network in frames."""
        return 0

    def scale_filters(self, filters: Array, gain_db: Array) -> Array:
        """Scales magnitudes [B, N, K] to the level `gain_db` [B, N]."""
        power = filtered_noise_power(filters, hop=self.hop)
        gain = db_to_amplitude(gain_db, floor_db=FLOOR_DB)
        return filters * (gain * jax.lax.rsqrt(jnp.maximum(power, 1e-20)))[..., None]

    def decode(self, latent: Latent, *, train: bool = False, key: Array | None = None) -> Features:
        """Decodes latents to sound [B, N, hop].

        Args:
          latent: latents with the gain in conditions["gain_db"].
          train: see `TimbreModel.decode`.
          key: key of the noise, one per sound [B] or one for all; None for a fixed key.
        """
        frames = self.scale_filters(self.decode_filters(latent.values, frame_mask(latent))[0], self.gain_db(latent))
        frames, mask, _ = add_neighbors(frames, latent.mask, before=self.neighbors[0], after=self.neighbors[1])
        waves, _ = self.synthesize(frames, 0, key, None)
        return Features(values=waves.reshape(*mask.shape, self.hop), mask=mask, conditions=latent.conditions, rate=latent.rate)

    @property
    def neighbors(self) -> tuple[int, int]:
        """Number of frames before and after its own on which a hop of sound depends."""
        ratio = overlap_ratio(self.window, self.hop)
        return ratio // 2 - 1, ratio // 2

    def synthesize(self, frames: Array, first: Array | int, key: Array | None, state: Any) -> tuple[Array, Any]:
        """Synthesizes waves [B, N * hop] from magnitudes and returns the next state.

        Args:
          frames: [B, before + N + after, K] scaled magnitudes.
          first: index of the first of the N frames in the series.
          key: key of the noise, or None for a fixed one.
          state: state of a stream, or None for a whole series.
        """
        key = jax.random.key(0) if key is None else key
        return filtered_noise(frames, key, hop=self.hop, first=first, context=True), state

    def gain_db(self, latent: Latent) -> Array:
        """Returns conditions["gain_db"] [B, M], 0 dB if missing."""
        return jnp.asarray(latent.conditions.get("gain_db", jnp.zeros(latent.values.shape[:2])), jnp.float32)

    # Streaming (see `timbre_jax.inference.streaming`)

    @property
    def look_ahead(self) -> tuple[int, int]:
        """Look-ahead of encoder and decoder in latents: half a window and that of the network."""
        return overlap_ratio(self.window, self.hop) // 2 - 1 + self.encoder_delay, self.neighbors[1] + self.decoder_delay

    def encoder_state(self, batch: int) -> Stream:
        """Returns the state of the streaming encoder before the first block."""
        ratio, delay = overlap_ratio(self.window, self.hop), self.look_ahead[0]
        return {
            "hops": jnp.zeros((batch, ratio - 1, self.hop)),
            "mask": jnp.zeros((batch, delay)),
            "gain": jnp.full((batch, self.encoder_delay), FLOOR_DB),
            "network": self.initial_encoder_state(batch),
        }

    def initial_encoder_state(self, batch: int) -> Any:
        """Returns the state of the encoder's network before the first block."""
        return None

    def encode_block(self, state: Stream, features: Features) -> tuple[Stream, Latent]:
        """Encodes a block of features, delayed by the look-ahead."""
        count, delay = features.values.shape[1], self.look_ahead[0]
        hops = jnp.concatenate([state["hops"], features.values], axis=1)
        waves = hops.reshape(hops.shape[0], -1)
        windows = frame(waves, self.window, self.hop) * window_samples("hann", self.window)
        windows, gain = window_layers.leveled_windows(windows, hop=self.hop)
        mask = jnp.concatenate([state["mask"], features.mask], axis=1)
        entering = mask[:, self.encoder_delay : self.encoder_delay + count]
        encodings, network = self.encode(windows, entering * (gain > FLOOR_DB), state["network"])
        gain = jnp.concatenate([state["gain"], gain], axis=1)
        posterior = self._posterior(encodings, gain[:, :count], mask[:, :count], features.replace(conditions={}))
        state = {"hops": hops[:, count:], "mask": mask[:, mask.shape[1] - delay :], "gain": gain[:, count:], "network": network}
        return state, posterior.mode()

    def decoder_state(self, batch: int) -> Stream:
        """Returns the state of the streaming decoder before the first block."""
        (before, after), delay = self.neighbors, self.decoder_delay
        return {
            "network": self.initial_decoder_state(batch),
            "gain": jnp.zeros((batch, delay + after)),
            "mask": jnp.zeros((batch, delay)),
            "frames": initial_context(batch, self.bins, before=before, after=after, delay=delay),
            "synthesis": self.initial_synthesis_state(batch),
        }

    def initial_decoder_state(self, batch: int) -> Any:
        """Returns the state of the decoder's network before the first block."""
        return jnp.zeros((batch, self.width))

    def initial_synthesis_state(self, batch: int) -> Any:
        """Returns the state of `synthesize` before the first block."""
        return None

    def decode_block(self, state: Stream, latent: Latent, *, key: Array | None = None) -> tuple[Stream, Features]:
        """Decodes a block of latents, delayed by the look-ahead."""
        count, (before, after) = latent.values.shape[1], self.neighbors
        filters, network = self.decode_filters(latent.values, latent.mask, state["network"])
        mask = jnp.concatenate([state["mask"], latent.mask], axis=1)
        gain = jnp.concatenate([state["gain"], self.gain_db(latent)], axis=1)
        frames = self.scale_filters(filters, gain[:, after : after + count])
        frames, inside, context = add_neighbors(frames, mask[:, :count], state["frames"], before=before, after=after)
        waves, synthesis = self.synthesize(frames, state["frames"].number[0] - after, key, state["synthesis"])
        values, conditions = waves.reshape(*inside.shape, self.hop), {"gain_db": gain[:, :count]}
        state = {
            "network": network,
            "gain": gain[:, count:],
            "mask": mask[:, count:],
            "frames": context,
            "synthesis": synthesis,
        }
        return state, Features(values=values, mask=inside, conditions=conditions, rate=latent.rate)

    # Codes

    def codebook(self, variables: Variables) -> Array:
        """Returns the codebook vectors, [K, D], or [Q, K, D] with residual codebooks."""
        vectors = variables["codebook"]["book"]["vectors"]
        return vectors[0] if self.num_codebooks == 1 else vectors

    def from_codes(self, variables: Variables, codes: Array) -> Array:
        """Returns the latent values [..., D] of codes [...], or [..., Q] with residual codebooks.

        Raises:
          ValueError: the last axis does not have one code per codebook.
        """
        codes = jnp.asarray(codes, jnp.int32)
        if self.num_codebooks > 1 and codes.shape[-1:] != (self.num_codebooks,):
            raise ValueError(f"codes: must be [..., {self.num_codebooks}], one per codebook (got {codes.shape})")
        return lookup(variables["codebook"]["book"]["vectors"], codes[..., None] if self.num_codebooks == 1 else codes)

    def codebook_shares(self, variables: Variables) -> Array:
        """Returns the share of training frames per code, [Q, K]."""
        return variables["codebook"]["book"]["share"]

    # Training

    def loss(
        self,
        features: Features,
        keys: Array,
        *,
        kl_weight: Array | float = 1.0,
        train: bool = False,
        axis_name: str | None = None,
        progress: Array | float = 1.0,
    ) -> tuple[Array, dict[str, Array]]:
        """Returns STFT distance + `commitment_weight` * commitment loss; ignores `kl_weight`."""
        noise_keys, order_keys, crop_keys = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, 3))(keys), 1, 0)
        windows, gain = self.windows(features)
        target, mask = features.values, features.mask
        if train and 0 < self.train_frames < target.shape[1]:
            windows, gain, target, mask = window_layers.random_crops(crop_keys, self.train_frames, windows, gain, target, mask)
        weight = mask * (gain > FLOOR_DB)
        warm_up = self.warm_up_fraction if train else 0.0
        part = jnp.clip((progress - warm_up) / warm_up, 0.0, 1.0) if warm_up else 1.0
        encodings, _ = self.encode(windows, weight, train=train, axis_name=axis_name, renormalize=part)
        quantized = self.book(encodings)
        metrics = {}
        if train and self.is_mutable_collection("codebook"):
            order = jax.vmap(lambda key: jax.random.uniform(key, gain.shape[1:], jnp.float32))(order_keys)
            flat = encodings.reshape(-1, encodings.shape[-1])
            statistics = self.book.update(flat, weight.reshape(-1), order.reshape(-1), axis_name=axis_name)
            metrics = {name: jnp.broadcast_to(value, gain.shape[:1]) for name, value in statistics.items()}
        values = encodings + part * (quantized.values - encodings)
        filters, _ = self.decode_filters(values, mask, train=train, axis_name=axis_name)
        reconstruction = self.distance(self.scale_filters(filters, gain), windows, gain, target, noise_keys)
        commitment = jnp.sum(quantized.commitment * weight, -1) / jnp.maximum(jnp.sum(weight, -1), 1.0)
        rate = jnp.full_like(reconstruction, gain.shape[1] * self.num_codebooks * np.log(self.codes))
        metrics |= {"reconstruction": reconstruction, "commitment": commitment, "kl": rate}
        return reconstruction + part * self.commitment_weight * commitment, metrics

    def distance(self, magnitudes: Array, windows: Array, gain: Array, target: Array, keys: Array) -> Array:
        """Returns the reconstruction loss [B] of magnitudes [B, N, K] for a target [B, N, hop]."""
        waves = filtered_noise(magnitudes, keys, hop=self.hop)
        return multi_resolution_stft_distance(waves, target.reshape(waves.shape))

    def initialize(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Returns variables fitted to the training features, see `fit_to_frames`."""
        return fit_to_frames(self, variables, batches())
