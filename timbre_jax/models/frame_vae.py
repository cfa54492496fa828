"""Convolutional VAE with per-frame latents (continuous model of Caillon et al. 2020)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.models.adversary.explained_variance import ExplainedVariance
from timbre_jax.models.adversary.frame_regressor import (
    QUANTILES,
    FrameRegressor,
    quantile_table,
    regression_nll,
    standardize,
    to_standard_uniform,
)
from timbre_jax.models.adversary.gradient_reversal import reversal_strength, reverse_gradient
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.models.layers.class_heads import label_nll
from timbre_jax.models.layers.frame_conditions import delay_curves, missing_condition_message, pool_curves, repeat_curves
from timbre_jax.models.layers.frame_layers import FrameStack
from timbre_jax.models.layers.frame_likelihood import frame_nll
from timbre_jax.models.layers.straightness import log_band_moments, next_in_batch, squared_detour
from timbre_jax.types import Array, Features, Latent, Posterior, frame_mask, pad_frames

Stream = dict[str, Any]


class FrameVAE(TimbreModel):
    """VAE with per-frame latents, from which adversaries remove conditions or labels.

    The encoder is a stack of convolutions over time with leaky ReLU and batch normalization; one of them has a stride. The
    decoder mirrors it and also takes the conditions `decoder_conditions` (loudness) as input. The likelihood is a Gaussian per
    bin with a predicted log-variance in [-10, 0]. Caillon et al. 2020 do not detail the architecture. The defaults are those of
    their public code (acids-ircam/wavae at f73cf0a, "wavae" below), where the adversary is off by default. wavae samples z with
    the log-variance as log-sigma; here it is a log-variance everywhere.

    Adversary: for each entry of `invariant_to`, a regressor predicts the condition, transformed to a uniform distribution by
    its quantiles in the training set (`initialize`), or the label from the means of the latents. Gradient reversal
    (`reverse_gradient`) of strength lambda * `adversary_weight`, lambda = 1 - exp(-progress / `reversal_time_constant`), trains
    the encoder to prevent this.

    The loss in nats per frame is -log p(x | z) + kl_weight * KL - adversary_weight * (negative log-likelihood of the
    regressors), summed over the frames within the mask and divided by all frames N. Its value is what the encoder minimizes;
    the regressors minimize their own part. Frames outside the mask count neither in the loss nor in batch statistics nor as
    neighbors. wavae takes means, not sums; over 128 bins, 16 latents and 2 frames per latent, its weights .1 and 1 correspond
    to a `kl_weight` of 1.6 and an `adversary_weight` of 128 here.

    Ours, disabled in the default settings:

    - `reader_weight` adds a second adversary in closed form, the reader (`ExplainedVariance`): the best least-squares
      prediction of the condition from each latent. The encoder also minimizes lambda * -1/2 log(1 - R^2) of this prediction.
    - `relative_range_db` replaces the values at the encoder's input by values relative to the loudness of the frame, so that
      gain cannot influence the latents and the adversaries only remove what correlates with loudness.
    - `regressor_rate` multiplies the learning rate of the regressors, for runs of only some thousand steps.
    - `beta` weights each bin by stop_gradient(sigma^(2 beta)) with a mean weight of 1 per sound (beta-NLL: Seitzer et al.
      2022). Without it, a Gaussian with learned variances learns uncertain means last. The metric "reconstruction" is
      unweighted.
    - `straightness_weight` penalizes detours in brightness between sounds: the decoder also decodes a random point between each
      sound of the batch and the next, and the loss adds the squared deviation of its log centroid and log bandwidth from the
      straight line between those of both sounds, frame by frame.

    If N is not a multiple of the stride, frames outside the mask are appended; `decode` returns stride * M frames for M
    latents.

    Attributes:
      channels: output channels of the encoder's convolutions, without the last one (2 * latent_size).
      strided_layer: index of the convolution with the stride.
      stride: frames per latent.
      kernel: kernel size of all convolutions.
      causal: whether convolutions use past frames only, so that a stream has no look-ahead.
      decoder_conditions: conditions [B, N] that the decoder takes as input.
      invariant_to: conditions, or label sets of `config.data.labels`, to remove from the latents.
      labels: label sets, ((name, (label, ...)), ...); set by training.
      regressor_convolutions: channels of the regressors' convolutions.
      regressor_dense: units of the regressors' hidden dense layers.
      reversal_time_constant: time constant of lambda as a fraction of the run (wavae: 100,000 steps).
      adversary_weight: weight of the regressors' likelihood relative to that of a frame.
      beta: exponent of the variance weighting, 0..1; 0 for the plain likelihood.
      reader_weight: weight of the closed-form adversary; 0 disables it.
      reader_features: number of random features of the closed-form adversary.
      reader_memory: decay of its running moments, see `ExplainedVariance`.
      regressor_rate: factor of the regressors' learning rate.
      relative_range_db: range in dB below the loudness of a frame at the encoder's input; 0 for absolute values.
      level_range_db: dB per unit of the features (`LogMel.range_db`), for `relative_range_db` and `straightness_weight`.
      straightness_weight: weight of the detours; 0 disables them. Needs `band_hz`.
      band_hz: center frequency of each band in Hz (`LogMel.band_hz`).
    """

    kind: ClassVar[str] = "series"
    uses_progress: ClassVar[bool] = True
    uses_axis: ClassVar[bool] = True
    streaming: ClassVar[bool] = True
    labels_setting: ClassVar[str | None] = "labels"
    initializes_from_data: ClassVar[bool] = True
    nonnegative_fields: ClassVar[tuple[str, ...]] = (
        "strided_layer", "adversary_weight", "beta", "reader_weight", "relative_range_db", "straightness_weight", "band_hz",
    )  # fmt: skip

    feature_shape: tuple[int, int] = (375, 128)
    latent_size: int = 16
    channels: tuple[int, ...] = (256, 256, 512, 512, 512, 128)
    strided_layer: int = 3
    stride: int = 2
    kernel: int = 5
    causal: bool = False
    decoder_conditions: tuple[str, ...] = ("loudness",)
    invariant_to: tuple[str, ...] = ("loudness",)
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    regressor_convolutions: tuple[int, ...] = (64, 256)
    regressor_dense: tuple[int, ...] = (64,)
    reversal_time_constant: float = 0.1
    adversary_weight: float = 1.0
    beta: float = 0.0
    reader_weight: float = 0.0
    reader_features: int = 128
    reader_memory: float = 0.9
    regressor_rate: float = 1.0
    relative_range_db: float = 0.0
    level_range_db: float = 100.0
    straightness_weight: float = 0.0
    band_hz: tuple[float, ...] = ()

    def _stacks(self) -> tuple[FrameStack, FrameStack]:
        """Returns encoder and decoder, unbound."""
        count = len(self.channels) + 1
        if self.straightness_weight and len(self.band_hz) != self.feature_shape[1]:
            raise ValueError(
                "model 'frame_vae': straightness_weight needs band_hz, one frequency per band "
                f"(got {len(self.band_hz)}, expected {self.feature_shape[1]})"
            )
        if not 0 <= self.strided_layer < count:
            raise ValueError(
                f"model 'frame_vae': strided_layer must be in 0..{count - 1}, one of {count} convolutions "
                f"(got {self.strided_layer})"
            )
        if self.kernel < self.stride:
            raise ValueError(f"model 'frame_vae': kernel must be at least the stride {self.stride} (got {self.kernel})")
        strides = tuple(self.stride if i == self.strided_layer else 1 for i in range(count))
        settings = dict(kernel=self.kernel, causal=self.causal, parent=None)
        encoder = FrameStack((*self.channels, 2 * self.latent_size), strides=strides, **settings)
        mirrored = (*reversed(self.channels), 2 * self.feature_shape[1])
        decoder = FrameStack(mirrored, upsamples=strides[::-1], delay_multiple=self.stride, init_scale=0.1, **settings)
        return encoder, decoder

    def setup(self):
        """Creates the layers."""
        self.encoder, self.decoder = (stack.clone(parent=self) for stack in self._stacks())
        labels = dict(self.labels)
        self.measured = tuple(
            dict.fromkeys((*self.decoder_conditions, *(name for name in self.invariant_to if name not in labels)))
        )
        self.tables = {
            name: self.variable("quantiles", name, lambda: jnp.linspace(-1.0, 1.0, QUANTILES)) for name in self.measured
        }
        # A measured condition has two outputs (mean and log-variance) of its regressor and two targets of its reader.
        widths = [len(labels.get(name, (0, 0))) for name in self.invariant_to]
        self.regressors = [FrameRegressor(width, self.regressor_convolutions, self.regressor_dense) for width in widths]
        targets = widths if self.reader_weight else []
        self.readers = [ExplainedVariance(count, self.reader_features, self.reader_memory) for count in targets]

    # Encoder

    def posterior(self, features: Features, *, train: bool = False, axis_name: str | None = None) -> Posterior:
        """Returns the posterior q(z | x) of features [B, N, F]."""
        features = self._pad_to_stride(features)
        outputs, mask, _ = self.encoder(self._encoder_inputs(features), features.mask, train=train, axis_name=axis_name)
        return self._posterior(outputs, mask, pool_curves(features, self.stride), features.rate)

    def _posterior(self, outputs: Array, mask: Array, conditions: Mapping[str, Array], rate: float) -> Posterior:
        mean, log_variance = jnp.split(outputs, 2, axis=-1)
        mean, log_variance = (x * mask[..., None] for x in (mean, jnp.clip(log_variance, -10.0, 4.0)))
        return Posterior(mean, log_variance, mask, conditions, rate / self.stride)

    def _encoder_inputs(self, features: Features) -> Array:
        """Returns the input of the encoder, [B, N, F]."""
        if not self.relative_range_db:
            return features.values
        if "loudness" not in features.conditions:
            # `init` calls the model with features without conditions.
            if self.is_initializing():
                return features.values
            raise ValueError(missing_condition_message("loudness", "relative_range_db", features.conditions))
        # A value of 1 is full scale; in the result it is the loudness of the frame.
        level = jnp.maximum(features.conditions["loudness"][..., None], -self.level_range_db) / self.level_range_db
        scale = self.relative_range_db / self.level_range_db
        return jnp.maximum(features.values - (1.0 + level) + scale, 0.0) / scale

    def _pad_to_stride(self, features: Features) -> Features:
        """Pads features to a multiple of the stride with frames outside the mask."""
        shape = features.values.shape
        if features.values.ndim != 3 or shape[2] != self.feature_shape[1] or shape[1] < 1:
            raise ValueError(
                f"features: must have shape [B, N, {self.feature_shape[1]}] with at least one frame (got {list(shape)})"
            )
        return pad_frames(features, shape[1] + -shape[1] % self.stride)

    # Decoder

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        """Returns the mean of p(x | z), features [B, N, F]."""
        inputs = self._decoder_inputs(latent.values, latent.conditions)
        outputs, mask, _ = self.decoder(inputs, frame_mask(latent), train=train)
        return self._features(outputs, mask, latent.conditions, latent.rate)

    def _decoder_inputs(self, z: Array, conditions: Mapping[str, Array]) -> Array:
        """Returns latents [B, M, D] with conditions appended; missing ones are at their mean."""
        parts = [z]
        for name in self.decoder_conditions:
            value = conditions.get(name)
            if value is None:
                parts.append(jnp.zeros((*z.shape[:2], 1)))
                continue
            value = jnp.broadcast_to(value[:, None] if jnp.ndim(value) == 1 else value, z.shape[:2])
            parts.append(standardize(value, self.tables[name].value)[..., None])
        return jnp.concatenate(parts, axis=-1)

    def _features(self, outputs: Array, mask: Array, conditions: Mapping[str, Array], rate: float) -> Features:
        latents = outputs.shape[1] // self.stride
        values = jnp.clip(outputs[..., : self.feature_shape[1]], 0.0, 1.0) * mask[..., None]
        curves = repeat_curves(conditions, latents, self.stride)
        return Features(values=values, mask=mask, conditions=curves, rate=rate * self.stride)

    def reconstruct(self, variables: Variables, features: Features) -> Features:
        """Returns the decoded embedding of features, without the frames that fill up the stride."""
        reconstruction = super().reconstruct(variables, features)
        return features.replace(values=reconstruction.values[:, : features.values.shape[1]])

    # Training

    def learning_rates(self, params: Variables) -> Variables:
        """Returns factors of the learning rate, `regressor_rate` for the regressors, else 1."""

        def factor(path, leaf):
            return self.regressor_rate if path[0].key.startswith("regressors_") else 1.0

        return jax.tree_util.tree_map_with_path(factor, params)

    def loss(
        self,
        features: Features,
        keys: Array,
        *,
        kl_weight: Array | float = 1.0,
        train: bool = False,
        progress: Array | float = 1.0,
        labels: Mapping[str, Array] | None = None,
        axis_name: str | None = None,
    ) -> tuple[Array, dict[str, Array]]:
        """Returns the loss of one sample of z per sound, see the class and `TimbreModel.loss`.

        Metrics: "mse" of the sampled reconstruction within the mask; "NAME_error", the mean squared error of a regressor, 1 for
        the best constant prediction, or the share of wrong labels; "NAME_read", the R^2 of a reader; "reversal", lambda;
        "detour". `labels` is {name: [B] int32}, -1 for unlabeled sounds.
        """
        features = self._pad_to_stride(features)
        count = features.values.shape[1]
        posterior = self.posterior(features, train=train, axis_name=axis_name)
        inputs = self._decoder_inputs(posterior.sample(keys).values, posterior.conditions)
        mask, mixture = posterior.mask, None
        if self.straightness_weight:
            mixed_inputs, mixture = self._mix_with_next(inputs, mask, keys, axis_name)
            inputs, mask = jnp.concatenate([inputs, mixed_inputs]), jnp.concatenate([mask, mixture[1]])
        outputs, _, _ = self.decoder(inputs, mask, train=train, axis_name=axis_name)
        outputs, mixed_outputs = outputs[: len(keys)], outputs[len(keys) :]
        nll, kl = frame_nll(outputs, features, self.beta), posterior.kl() / count
        metrics = {"reconstruction": nll.plain, "kl": kl, "mse": nll.mse}
        loss = nll.weighted + kl_weight * kl
        if mixture is not None:
            metrics["detour"] = self._detour(nll.mean, mixed_outputs[..., : self.feature_shape[1]], *mixture, axis_name)
            loss = loss + self.straightness_weight * metrics["detour"]
        strength = reversal_strength(progress, self.reversal_time_constant)
        latents = jnp.maximum(jnp.sum(posterior.mask, 1), 1.0)
        for name, regressor in zip(self.invariant_to, self.regressors, strict=True):
            outputs = regressor(reverse_gradient(posterior.mean, strength), posterior.mask)
            cost, error = self._regressor_nll(name, outputs, posterior, labels)
            cost = jnp.sum(cost * posterior.mask, 1) * (self.stride / count)
            # This has the gradients of both sides and the value that the encoder minimizes.
            loss = loss + self.adversary_weight * (cost - (1.0 + strength) * jax.lax.stop_gradient(cost))
            metrics[f"{name}_error"] = jnp.sum(error * posterior.mask, 1) / latents
        for name, reader in zip(self.invariant_to, self.readers, strict=False):
            targets, mask = self._reader_targets(name, posterior, labels)
            explained = reader(posterior.mean, mask, targets, train=train, axis_name=axis_name)
            loss = loss + self.reader_weight * strength * jnp.mean(-0.5 * jnp.log1p(-explained))
            metrics[f"{name}_read"] = jnp.broadcast_to(jnp.mean(explained), loss.shape)
        if self.invariant_to:
            metrics["reversal"] = jnp.broadcast_to(strength, loss.shape)
        return loss, metrics

    def _mix_with_next(
        self, inputs: Array, mask: Array, keys: Array, axis_name: str | None
    ) -> tuple[Array, tuple[Array, Array]]:
        """Returns decoder inputs between each sound and the next, and share and mask of the mix."""
        share = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), (), jnp.float32))(keys)
        other = next_in_batch(inputs, axis_name)
        return inputs + share[:, None, None] * (other - inputs), (share, mask * next_in_batch(mask, axis_name))

    def _detour(self, ends: Array, mixed: Array, share: Array, mask: Array, axis_name: str | None) -> Array:
        """Returns the mean squared detour of log centroid and log bandwidth, [B]."""
        mask = jnp.repeat(mask, self.stride, axis=1)
        moments = [log_band_moments(x, self.band_hz, self.level_range_db) for x in (jax.lax.stop_gradient(ends), mixed)]
        total = sum(
            squared_detour(jnp.stack([own, next_in_batch(own, axis_name)]), between, share)
            for own, between in zip(*moments, strict=True)
        )
        return jnp.sum(total * mask, 1) / jnp.maximum(jnp.sum(mask, 1), 1.0)

    def _regressor_nll(self, name: str, outputs: Array, posterior: Posterior, labels: Mapping[str, Array] | None):
        """Returns negative log-likelihood and error of a regressor's outputs, [B, M] each."""
        if name in dict(self.labels):
            if labels is None or name not in labels:
                raise ValueError(f"model 'frame_vae': invariant_to names the label {name!r}, which the batch does not have")
            return label_nll(outputs, labels[name])
        if name not in posterior.conditions:
            raise ValueError(missing_condition_message(name, "invariant_to", posterior.conditions))
        return regression_nll(outputs, to_standard_uniform(posterior.conditions[name], self.tables[name].value))

    def _reader_targets(self, name: str, posterior: Posterior, labels: Mapping[str, Array] | None) -> tuple[Array, Array]:
        """Returns the targets of a reader [B, M, T] and the mask of frames with known targets."""
        if name in dict(self.labels):
            known = (labels[name] >= 0).astype(jnp.float32)[:, None]
            classes = jax.nn.one_hot(labels[name], len(dict(self.labels)[name]))
            return jnp.broadcast_to(classes[:, None], (*posterior.mask.shape, classes.shape[-1])), posterior.mask * known
        value, table = posterior.conditions[name], self.tables[name].value
        # Both the uniform and the original value, because a probe may predict either.
        return jnp.stack([to_standard_uniform(value, table), standardize(value, table)], axis=-1), posterior.mask

    def initialize(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Returns variables with the quantiles of the conditions in the training set.

        Raises:
          ValueError: the features lack a condition that the settings name.
        """
        names = tuple(variables.get("quantiles", ()))
        values: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for batch in batches() if names else ():
            for name in names:
                if name not in batch.conditions:
                    setting = "decoder_conditions" if name in self.decoder_conditions else "invariant_to"
                    raise ValueError(missing_condition_message(name, setting, batch.conditions))
                value = np.asarray(batch.conditions[name])
                values[name].append(np.broadcast_to(value.T, batch.mask.T.shape).T[np.asarray(batch.mask) > 0])
        tables = {name: jnp.asarray(quantile_table(np.concatenate(parts))) for name, parts in values.items()}
        return {**variables, "quantiles": tables} if names else dict(variables)

    # Streaming (see `timbre_jax.inference.streaming`)

    @property
    def look_ahead(self) -> tuple[int, int]:
        """Look-ahead of the streaming encoder and decoder, in latents."""
        encoder, decoder = self._stacks()
        return encoder.delay, decoder.delay // self.stride

    def encoder_state(self, batch: int) -> Stream:
        """Returns the state of the streaming encoder before the first block."""
        encoder = self._stacks()[0]
        waiting = {name: jnp.zeros((batch, encoder.delay)) for name in self.decoder_conditions}
        return {"layers": encoder.initial_states(batch, self.feature_shape[1]), "conditions": waiting}

    def encode_block(self, state: Stream, features: Features) -> tuple[Stream, Latent]:
        """Encodes a block of features (a multiple of the stride), delayed by the look-ahead."""
        outputs, mask, layers = self.encoder(self._encoder_inputs(features), features.mask, state["layers"])
        curves, waiting = self._delayed(state["conditions"], pool_curves(features, self.stride), mask)
        latent = self._posterior(outputs, mask, curves, features.rate).mode()
        return {"layers": layers, "conditions": waiting}, latent

    def decoder_state(self, batch: int) -> Stream:
        """Returns the state of the streaming decoder before the first block."""
        decoder = self._stacks()[1]
        waiting = {name: jnp.zeros((batch, decoder.delay)) for name in self.decoder_conditions}
        return {"layers": decoder.initial_states(batch, self.latent_size + len(self.decoder_conditions)), "conditions": waiting}

    def decode_block(self, state: Stream, latent: Latent, *, key: Array | None = None) -> tuple[Stream, Features]:
        """Decodes a block of latents to `stride` frames each, delayed by the look-ahead."""
        inputs = self._decoder_inputs(latent.values, latent.conditions)
        outputs, mask, layers = self.decoder(inputs, latent.mask, state["layers"])
        features = self._features(outputs, mask, latent.conditions, latent.rate)
        curves, waiting = self._delayed(state["conditions"], features.conditions, mask)
        return {"layers": layers, "conditions": waiting}, features.replace(conditions=curves)

    def _delayed(self, waiting: Mapping[str, Array], new: Mapping[str, Array], mask: Array):
        """Delays conditions like the output of the layers; missing ones are at their mean."""
        return delay_curves(waiting, new, {name: self.tables[name].value.mean() for name in waiting}, mask.shape)

    def make_training_layers(self, features: Features) -> None:
        """Calls the layers that only `loss` uses."""
        latents, mask = jnp.zeros((1, 1, self.latent_size)), jnp.ones((1, 1))
        for regressor in self.regressors:
            regressor(latents, mask)
        for reader in self.readers:
            reader(latents, mask, jnp.zeros((1, 1, reader.targets)))
