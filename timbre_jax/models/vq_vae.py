"""A VQ-VAE of short windows of sound whose decoder shapes noise: `caillon2020_discrete`."""

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
from timbre_jax.models.layers.codebook import Codebook, fit_codebook, lookup
from timbre_jax.models.layers.frame_context import first_context, with_neighbors
from timbre_jax.models.layers.frame_layers import MaskedBatchNorm
from timbre_jax.models.layers.recurrent import GRU
from timbre_jax.types import Array, Features, Latent, Posterior, frame_mask

Stream = dict[str, Any]

FIT_FRAMES = 16384
"""Frames of the training set whose encodings the codebook begins from."""


class VQVAE(TimbreModel):
    """Vector-quantized timbre: Bitton, Esling & Harada 2020 (arXiv 2007.06349), the discrete model of Caillon et al. 2020.

    For `WaveFrames`: frame n is the Hann window of `window` samples centered on n * hop. It is brought to a level of 1, so that
    codes carry no level, and goes through `encoder` to a vector of `latent_size`; the nearest of the codebook's stands for it.
    The level goes beside the codes, in conditions["gain_db"] [B, M]. The decoder (dense layers, a GRU, dense layers) gives
    window / 2 + 1 magnitudes log(1 + sigmoid), which shape uniform noise (`audio.noise`).

    The magnitudes are scaled so that noise through them has a mean square of 1 (`filtered_noise_power`), and then by the gain:
    the level of what comes out is the gain, whatever the codes (ours: the paper says a gain, not what it is measured as; at
    gain 1 a magnitude of at most log 2 could not make a loud harmonic out of noise). Layer normalization in the decoder's
    dense layers is ours as well.

    The loss of a sound is the multi-resolution STFT distance (`audio.distances`) of the decoded sound to the original plus
    `commitment` times the codebook's commitment loss. The prior over codes is uniform and no part of it: "kl" is the
    constant rate. In training a sound is a stretch of `train_frames` frames at a random place, another at every step.

    A codebook that is there from the first step collapses to a few codes: the decoder does not listen to it yet, and the
    commitment loss is lowest where all encodings are alike. So (ours) the encodings are batch-normalized; in the first
    `warm_up` of a run the decoder hears them as they are while the codebook only follows, and as much again later it hears
    codes alone, of encodings that are normalized as they will be after training (the stretches of a batch are few and alike: by
    their own mean and variance they would be spread over the whole book, later over a part of it).

    Silent frames (at the gain's floor) and frames outside the mask neither move the codebook nor count in its perplexity. What
    a batch pads sounds with changes nothing of them (`with_neighbors`).

    As a stream: the encoder waits for half a window, the decoder for the frames that a hop lies under.

    Attributes:
      feature_shape: (N, hop). latent_size: D.
      window: samples. codes: K. num_codebooks: Q, residual. decay, restart: see `Codebook`. commitment: weight of its loss.
      warm_up: as a part of the run, see above; 0 has none.
      channels, kernel: of the strided encoder.
      width, depth: of the decoder's dense layers (`depth` before and after the GRU) and its GRU.
      train_frames: 0 trains on whole sounds.
    """

    kind: ClassVar[str] = "series"
    stochastic_decoder: ClassVar[bool] = True
    uses_axis: ClassVar[bool] = True
    uses_progress: ClassVar[bool] = True
    streaming: ClassVar[bool] = True
    initializes_from_data: ClassVar[bool] = True
    nonnegative_fields: ClassVar[tuple[str, ...]] = ("commitment", "restart", "train_frames", "warm_up")

    feature_shape: tuple[int, int] = (125, 512)
    latent_size: int = 128
    window: int = 2048
    codes: int = 1024
    num_codebooks: int = 1
    decay: float = 0.99
    restart: float = 0.1
    commitment: float = 0.25
    warm_up: float = 0.15
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

    def setup(self):
        self.norm = MaskedBatchNorm(affine=False)
        self.book = Codebook(self.codes, self.latent_size, self.num_codebooks, self.decay, self.restart)
        self.head = nn.Dense(self.bins)
        self.setup_networks()

    def setup_networks(self) -> None:
        """Makes the layers before `norm` and `head`."""
        self.encoder = window_layers.StridedEncoder(self.channels, self.kernel, self.latent_size)
        self.before = window_layers.DenseStack(self.width, self.depth)
        self.recurrent = GRU(self.width)
        self.after = window_layers.DenseStack(self.width, self.depth)

    # Encoder

    def windows(self, features: Features) -> tuple[Array, Array]:
        """Returns the windows [B, N, window] of features at a level of 1 (0 where silent), and their levels [B, N] in dB."""
        waves = features.values.reshape(features.values.shape[0], -1)
        windows = window_layers.centered_windows(waves, hop=self.hop, window=self.window)
        return window_layers.leveled_windows(windows, hop=self.hop)

    def encode(
        self,
        windows: Array,
        heard: Array,
        state: Any = None,
        *,
        train: bool = False,
        axis_name: str | None = None,
        renormalize: Array | float = 0.0,
    ) -> tuple[Array, Any]:
        """Windows at a level of 1 [B, N, window] to encodings [B, N, D], before they are quantized, and the encoder's state.

        `heard` [B, N] is 1 where there is a sound. `state`: of a stream, whose encodings come `encoder_delay` frames late.
        `renormalize`: in training, how far encodings are those of evaluation (`MaskedBatchNorm`).
        """
        mode: dict[str, Any] = {"train": train, "axis_name": axis_name}
        x, mask, state = self.encoder_outputs(windows, heard, state, **mode)
        return self.norm(x, mask, renormalize=renormalize, **mode), state

    def encoder_outputs(self, windows: Array, heard: Array, state: Any, **mode: Any) -> tuple[Array, Array, Any]:
        """Encodings before they are normalized, their mask, and the encoder's state."""
        return self.encoder(windows), heard, state

    @property
    def encoder_delay(self) -> int:
        """Frames after its own that an encoding is made of, beyond the window."""
        return 0

    def posterior(self, features: Features, *, train: bool = False) -> Posterior:
        """The nearest codes: certain (log-variance -inf)."""
        windows, gain = self.windows(features)
        encodings, _ = self.encode(windows, features.mask * (gain > FLOOR_DB))
        return self._posterior(encodings, gain, features.mask, features)

    def _posterior(self, encodings: Array, gain: Array, mask: Array, features: Features) -> Posterior:
        quantized = self.book(encodings)
        certain = jnp.full_like(quantized.values, -jnp.inf)
        conditions = {**features.conditions, "gain_db": gain}
        codes = quantized.codes[..., 0] if self.num_codebooks == 1 else quantized.codes
        return Posterior(quantized.values, certain, mask, conditions, features.rate, codes=codes)

    # Decoder

    def shapes(
        self, values: Array, mask: Array, state: Any = None, *, train: bool = False, axis_name: str | None = None
    ) -> tuple[Array, Any]:
        """Latents [B, M, D] to magnitudes [B, M, K] of no level yet, and the state after them (None before the beginning).

        In a stream they come `decoder_delay` frames late.
        """
        x, state = self.decoder_outputs(values, mask, state, train=train, axis_name=axis_name)
        return jnp.log1p(jax.nn.sigmoid(self.head(x))), state

    def decoder_outputs(self, values: Array, mask: Array, state: Any, **mode: Any) -> tuple[Array, Any]:
        """What the magnitudes are made of by `head`, [B, M, C], and the decoder's state."""
        x, state = self.recurrent(self.before(values), state)
        return self.after(x), state

    @property
    def decoder_delay(self) -> int:
        """Frames after its own that a frame's magnitudes are made of."""
        return 0

    def scaled(self, shapes: Array, gain_db: Array) -> Array:
        """Magnitudes [B, N, K] at the level `gain_db` [B, N]."""
        power = filtered_noise_power(shapes, hop=self.hop)
        gain = db_to_amplitude(gain_db, floor_db=FLOOR_DB)
        return shapes * (gain * jax.lax.rsqrt(jnp.maximum(power, 1e-20)))[..., None]

    def decode(self, latent: Latent, *, train: bool = False, key: Array | None = None) -> Features:
        """Latents to sound, [B, N, hop]: noise through the decoded filters.

        `key`: of the noise, one (and then every sound has the same noise) or [B]; None is a fixed one.
        """
        frames = self.scaled(self.shapes(latent.values, frame_mask(latent))[0], self.gain(latent))
        joined, mask, _ = with_neighbors(frames, latent.mask, before=self.reach[0], after=self.reach[1])
        waves, _ = self.sound(joined, 0, key, None)
        return Features(values=waves.reshape(*mask.shape, self.hop), mask=mask, conditions=latent.conditions, rate=latent.rate)

    @property
    def reach(self) -> tuple[int, int]:
        """Frames before and after a hop's own whose magnitudes it is made of."""
        ratio = overlap_ratio(self.window, self.hop)
        return ratio // 2 - 1, ratio // 2

    def sound(self, joined: Array, first: Array | int, key: Array | None, state: Any) -> tuple[Array, Any]:
        """Frames with their neighbors (`reach`) to waves [B, N * hop] that begin at frame number `first`."""
        key = jax.random.key(0) if key is None else key
        return filtered_noise(joined, key, hop=self.hop, first=first, context=True), state

    def gain(self, latent: Latent) -> Array:
        """conditions["gain_db"] [B, M]; 0 dB where a latent has none."""
        return jnp.asarray(latent.conditions.get("gain_db", jnp.zeros(latent.values.shape[:2])), jnp.float32)

    # As a stream (`timbre_jax.inference.streaming`)

    @property
    def look_ahead(self) -> tuple[int, int]:
        """Latents that a stream of the encoder, and one of the decoder, comes later: half a window each, and the networks'."""
        return overlap_ratio(self.window, self.hop) // 2 - 1 + self.encoder_delay, self.reach[1] + self.decoder_delay

    def encoder_state(self, batch: int) -> Stream:
        """Of a stream of features that has not begun."""
        ratio, late = overlap_ratio(self.window, self.hop), self.look_ahead[0]
        return {
            "hops": jnp.zeros((batch, ratio - 1, self.hop)),
            "mask": jnp.zeros((batch, late)),
            "gain": jnp.full((batch, self.encoder_delay), FLOOR_DB),
            "network": self.first_encoder(batch),
        }

    def first_encoder(self, batch: int) -> Any:
        """The encoder's own state before the beginning."""
        return None

    def encode_block(self, state: Stream, features: Features) -> tuple[Stream, Latent]:
        """A block of features to as many latents, `look_ahead` latents late."""
        count, late = features.values.shape[1], self.look_ahead[0]
        hops = jnp.concatenate([state["hops"], features.values], axis=1)
        waves = hops.reshape(hops.shape[0], -1)
        windows = frame(waves, self.window, self.hop) * window_samples("hann", self.window)
        windows, gain = window_layers.leveled_windows(windows, hop=self.hop)
        mask = jnp.concatenate([state["mask"], features.mask], axis=1)
        entering = mask[:, self.encoder_delay : self.encoder_delay + count]
        encodings, network = self.encode(windows, entering * (gain > FLOOR_DB), state["network"])
        gain = jnp.concatenate([state["gain"], gain], axis=1)
        posterior = self._posterior(encodings, gain[:, :count], mask[:, :count], features.replace(conditions={}))
        kept = {"hops": hops[:, count:], "mask": mask[:, mask.shape[1] - late :], "gain": gain[:, count:], "network": network}
        return kept, posterior.mode()

    def decoder_state(self, batch: int) -> Stream:
        """Of a stream of latents that has not begun."""
        (before, after), late = self.reach, self.decoder_delay
        return {
            "network": self.first_decoder(batch),
            "gain": jnp.zeros((batch, late + after)),
            "mask": jnp.zeros((batch, late)),
            "frames": first_context(batch, self.bins, before=before, after=after, late=late),
            "sound": self.first_sound(batch),
        }

    def first_decoder(self, batch: int) -> Any:
        """The decoder's own state before the beginning."""
        return jnp.zeros((batch, self.width))

    def first_sound(self, batch: int) -> Any:
        """What the sound goes on from before the beginning."""
        return None

    def decode_block(self, state: Stream, latent: Latent, *, key: Array | None = None) -> tuple[Stream, Features]:
        """A block of latents to as many frames, `look_ahead` latents late."""
        count, (before, after) = latent.values.shape[1], self.reach
        shapes, network = self.shapes(latent.values, latent.mask, state["network"])
        mask = jnp.concatenate([state["mask"], latent.mask], axis=1)
        gain = jnp.concatenate([state["gain"], self.gain(latent)], axis=1)
        frames = self.scaled(shapes, gain[:, after : after + count])
        joined, inside, context = with_neighbors(frames, mask[:, :count], state["frames"], before=before, after=after)
        waves, sound = self.sound(joined, state["frames"].number[0] - after, key, state["sound"])
        values, conditions = waves.reshape(*inside.shape, self.hop), {"gain_db": gain[:, :count]}
        kept = {"network": network, "gain": gain[:, count:], "mask": mask[:, count:], "frames": context, "sound": sound}
        return kept, Features(values=values, mask=inside, conditions=conditions, rate=latent.rate)

    # Codes

    def codebook(self, variables: Variables) -> Array:
        """Returns the vectors, [K, D], or [Q, K, D] with residual codebooks."""
        vectors = variables["codebook"]["book"]["vectors"]
        return vectors[0] if self.num_codebooks == 1 else vectors

    def from_codes(self, variables: Variables, codes: Array) -> Array:
        """Values [..., D] of codes [...], or [..., Q] with residual codebooks.

        Raises:
          ValueError: codes of another shape than the model's.
        """
        codes = jnp.asarray(codes, jnp.int32)
        if self.num_codebooks > 1 and codes.shape[-1:] != (self.num_codebooks,):
            raise ValueError(f"codes: must be [..., {self.num_codebooks}], one per codebook (got {codes.shape})")
        return lookup(variables["codebook"]["book"]["vectors"], codes[..., None] if self.num_codebooks == 1 else codes)

    def codebook_shares(self, variables: Variables) -> Array:
        """Returns each code's share of the training frames, [Q, K]."""
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
        """Multi-resolution STFT distance + `commitment` * commitment loss, [B], and what is logged; see `TimbreModel.loss`.

        Args:
          kl_weight: does nothing: the prior is uniform and fixed.
          axis_name: of `pmap`, over which the batch is split; the codebook and the normalization see all of it.
          progress: of the run, 0..1, for `warm_up`.
        """
        noise_keys, order_keys, place_keys = jnp.moveaxis(jax.vmap(lambda key: jax.random.split(key, 3))(keys), 1, 0)
        windows, gain = self.windows(features)
        target, mask = features.values, features.mask
        if train and 0 < self.train_frames < target.shape[1]:
            windows, gain, target, mask = window_layers.random_stretches(
                place_keys, self.train_frames, windows, gain, target, mask
            )
        weight = mask * (gain > FLOOR_DB)
        part = jnp.clip((progress - self.warm_up) / self.warm_up, 0.0, 1.0) if train and self.warm_up else 1.0
        encodings, _ = self.encode(windows, weight, train=train, axis_name=axis_name, renormalize=part)
        quantized = self.book(encodings)
        metrics = {}
        if train and self.is_mutable_collection("codebook"):
            order = jax.vmap(lambda key: jax.random.uniform(key, gain.shape[1:], jnp.float32))(order_keys)
            flat = encodings.reshape(-1, encodings.shape[-1])
            moved = self.book.update(flat, weight.reshape(-1), order.reshape(-1), axis_name=axis_name)
            metrics = {name: jnp.broadcast_to(value, gain.shape[:1]) for name, value in moved.items()}
        values = encodings + part * (quantized.values - encodings)
        shapes, _ = self.shapes(values, mask, train=train, axis_name=axis_name)
        reconstruction = self.distance(self.scaled(shapes, gain), windows, gain, target, noise_keys)
        commitment = jnp.sum(quantized.commitment * weight, -1) / jnp.maximum(jnp.sum(weight, -1), 1.0)
        rate = jnp.full_like(reconstruction, gain.shape[1] * self.num_codebooks * np.log(self.codes))
        metrics |= {"reconstruction": reconstruction, "commitment": commitment, "kl": rate}
        return reconstruction + part * self.commitment * commitment, metrics

    def distance(self, magnitudes: Array, windows: Array, gain: Array, target: Array, keys: Array) -> Array:
        """What the loss says of magnitudes [B, N, K] where the sound is `target` [B, N, hop], [B]."""
        waves = filtered_noise(magnitudes, keys, hop=self.hop)
        return multi_resolution_stft_distance(waves, target.reshape(waves.shape))

    def initialize(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Returns variables that begin where the training frames are, features [b, N, hop], so that nothing collapses.

        The running averages of the normalization are those of the encodings, the codebook is fitted to them (`fit_codebook`),
        and the head's bias is the mean spectrum.

        Raises:
          ValueError: the training set is silent.
        """
        encodings, spectrum = self._first_frames(variables, batches())
        # The running averages are still 0 and 1: these are the encoder's own outputs.
        mean, variance = encodings.mean(0), encodings.var(0)
        frames = (encodings - mean) / np.sqrt(variance + 1e-5)
        vectors = fit_codebook(frames, codes=self.codes, num_codebooks=self.num_codebooks)
        # log(1 + sigmoid(bias)) is the mean spectrum, its largest bin at half of what there can be.
        shape = np.expm1(0.5 * np.log(2.0) * np.maximum(spectrum / spectrum.max(), 1e-4))
        head = {**variables["params"]["head"], "bias": jnp.asarray(np.log(shape / (1.0 - shape)), jnp.float32)}
        norm = {"mean": jnp.asarray(mean), "variance": jnp.asarray(variance)}
        return {
            **variables,
            "params": {**variables["params"], "head": head},
            "codebook": {"book": {**variables["codebook"]["book"], "vectors": jnp.asarray(vectors)}},
            "batch_stats": {**variables["batch_stats"], "norm": norm},
        }

    def _first_frames(self, variables: Variables, batches: Iterable[Features]) -> tuple[np.ndarray, np.ndarray]:
        """Returns encodings [P, D] of the first frames that sound, P up to `FIT_FRAMES`, and the sum of their spectra [K]."""

        @jax.jit
        def encoded(features):
            windows, gain = self.apply(variables, features, method="windows")
            spectrum = jnp.abs(jnp.fft.rfft(windows))
            heard = (gain > FLOOR_DB) & (features.mask > 0)
            return self.apply(variables, windows, heard, method="encode")[0], spectrum, heard

        parts, spectra, count = [], 0.0, 0
        for features in batches:
            encodings, spectrum, heard = (np.asarray(x) for x in encoded(features))
            parts.append(encodings[heard])
            spectra, count = spectra + spectrum[heard].sum(0, dtype=np.float64), count + int(heard.sum())
            if count >= FIT_FRAMES:
                break
        if count == 0:
            raise ValueError("model 'vq_vae' cannot begin: the training set has only silence")
        return np.concatenate(parts)[:FIT_FRAMES], spectra
