"""The continuous model of Caillon et al. 2020: a 1-D convolutional VAE over frames, invariant to loudness."""

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
    scaled,
    standard_uniform,
)
from timbre_jax.models.adversary.gradient_reversal import reversal_strength, reverse_gradient
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.models.layers.class_heads import label_nll
from timbre_jax.models.layers.frame_conditions import delay_curves, pool_curves, repeat_curves
from timbre_jax.models.layers.frame_layers import FrameStack
from timbre_jax.models.layers.frame_likelihood import frame_nll
from timbre_jax.models.layers.straightness import band_moments, detour, following
from timbre_jax.types import Array, Features, Latent, Posterior, frame_mask, pad_frames

Stream = dict[str, Any]


class FrameVAE(TimbreModel):
    """One latent for every `stride` frames, made of their surroundings, and frames again.

    Encoder: convolutions over time of kernel 5, leaky ReLU then batch normalization between them, one of them with stride 2;
    with the paper's settings (which are the defaults) 128-256-256-512-512-512-128-32 channels, the last being mean and
    log-variance of 16 latents. The decoder is its mirror; it is told the conditions `given` (loudness) beside the latents.

    Likelihood: a Gaussian for every bin, log-variance between -10 and 0, where sigma^2 = exp(log_variance) everywhere (the
    paper's public code takes one number for log-sigma in one place and for log-variance in another).

    Invariance: for each of `invariant_to`, a regressor reads the latents' means through a reversal of gradients
    (`reverse_gradient`) of strength lambda * `adversary_weight`, lambda = 1 - exp(-progress / `reversal_time`). It learns to
    predict the condition, made uniform by its own distribution in the training set (`initialize` keeps its quantiles in the
    variables), or the label; the encoder learns latents from which it cannot. With () there is no regressor.

    Loss, in nats a frame: -log p(x | z) + kl_weight * KL - adversary_weight * (what the regressor's best prediction costs),
    sums over the frames within the mask over all frames N. Its value is what the encoder lowers; the regressor lowers its own
    part. Frames outside the mask count nowhere: not in the loss, not in batch statistics, not as neighbors.

    Four settings are ours; the paper's recipe has them at 0, 0, 1 and 1. `reader_weight` adds an adversary in closed form
    (`ExplainedVariance`): a reader of each latent by itself, always as good as least squares make it, and the encoder lowers
    -1/2 log(1 - R^2) of what it explains of the condition. With `relative_db` the encoder sees every frame's values
    less the frame's loudness, down to so many dB under it: gain does not reach the latents at all, and the adversary only has
    to find what else goes with loudness. `adversary_weight` and `regressor_rate` (how much faster the regressors learn) make
    the adversary strong enough for runs of some thousand steps.

    With `beta` (ours) bins are weighted by stop_gradient(sigma^(2 beta)), their mean kept at 1 in every sound (beta-NLL:
    Seitzer et al. 2022): a Gaussian that learns its variances else learns the means of unsure bins last. "reconstruction" is
    logged without the weights.

    With `straight_weight` (ours) the decoder also makes what lies between the latents of each sound of a batch and the next, at
    a share drawn for each: where the logarithms of its centroid and bandwidth leave the straight line between those of the
    ends, frame by frame, the squares are added, times the weight (`straight.detour`). A decoder is else only asked where
    sounds are, and half-way between two of them makes what it will.

    Series of any length: N that is no multiple of the stride is filled up with frames outside the mask, and `decode` gives
    stride * M frames.

    Attributes:
      channels: of the encoder between features and latents.
      strided: which convolution has the stride. stride: frames a latent.
      kernel: of all convolutions. causal: they look back only, so that a stream has no look-ahead.
      given: conditions [B, N] of the features that the decoder is told.
      invariant_to: conditions, or labels of the training's config.data.labels, to be removed from the latents.
      labels: set by training: ((name, (label, ...)), ...).
      regressor_convolutions, regressor_dense: channels of the regressors.
      reversal_time: see above, as a part of the run. The paper's is 100,000 steps.
      adversary_weight: nats of the regressor's against those of the likelihood of a frame.
      beta: see above; 0 is the plain likelihood.
      reader_weight: of the reader in closed form; 0 has none. reader_features, reader_memory: its random features, and how
        long its moments remember (`ExplainedVariance`).
      regressor_rate: factor of the regressors' learning rate.
      relative_db: see above; 0 shows the encoder the values as they are. Needs `level_range_db`, the dB that a unit of the
        features is (`LogMel.range_db`), and the condition loudness.
      straight_weight: see above; 0 is without. Needs `band_hz`, the bands' frequencies (`LogMel.band_hz`), and
        `level_range_db`.
    """

    kind: ClassVar[str] = "series"
    uses_progress: ClassVar[bool] = True
    uses_axis: ClassVar[bool] = True
    streaming: ClassVar[bool] = True
    labels_setting: ClassVar[str | None] = "labels"
    initializes_from_data: ClassVar[bool] = True
    nonnegative_fields: ClassVar[tuple[str, ...]] = (
        "strided", "adversary_weight", "beta", "reader_weight", "relative_db", "straight_weight", "band_hz",
    )  # fmt: skip

    feature_shape: tuple[int, int] = (375, 128)
    latent_size: int = 16
    channels: tuple[int, ...] = (256, 256, 512, 512, 512, 128)
    strided: int = 3
    stride: int = 2
    kernel: int = 5
    causal: bool = False
    given: tuple[str, ...] = ("loudness",)
    invariant_to: tuple[str, ...] = ("loudness",)
    labels: tuple[tuple[str, tuple[str, ...]], ...] = ()
    regressor_convolutions: tuple[int, ...] = (64, 256)
    regressor_dense: tuple[int, ...] = (64,)
    reversal_time: float = 0.1
    adversary_weight: float = 1.0
    beta: float = 0.0
    reader_weight: float = 0.0
    reader_features: int = 128
    reader_memory: float = 0.9
    regressor_rate: float = 1.0
    relative_db: float = 0.0
    level_range_db: float = 100.0
    straight_weight: float = 0.0
    band_hz: tuple[float, ...] = ()

    def _stacks(self) -> tuple[FrameStack, FrameStack]:
        """Encoder and decoder, unbound."""
        count = len(self.channels) + 1
        if self.straight_weight and len(self.band_hz) != self.feature_shape[1]:
            raise ValueError(
                f"model frame_vae: straight_weight needs band_hz, a frequency for each of the {self.feature_shape[1]} bands"
            )
        if not 0 <= self.strided < count:
            raise ValueError(
                f"model frame_vae has {count} convolutions: strided must lie in 0..{count - 1}, not {self.strided}"
            )
        if self.kernel < self.stride:
            raise ValueError(f"model frame_vae: kernel {self.kernel} is smaller than the stride {self.stride}")
        strides = tuple(self.stride if i == self.strided else 1 for i in range(count))
        settings = dict(kernel=self.kernel, causal=self.causal, parent=None)
        encoder = FrameStack((*self.channels, 2 * self.latent_size), strides=strides, **settings)
        backwards = (*reversed(self.channels), 2 * self.feature_shape[1])
        decoder = FrameStack(backwards, upsamples=strides[::-1], unit=self.stride, gain=0.1, **settings)
        return encoder, decoder

    def setup(self):
        self.encoder, self.decoder = (stack.clone(parent=self) for stack in self._stacks())
        labels = dict(self.labels)
        self.measured = tuple(dict.fromkeys((*self.given, *(name for name in self.invariant_to if name not in labels))))
        self.tables = {
            name: self.variable("quantiles", name, lambda: jnp.linspace(-1.0, 1.0, QUANTILES)) for name in self.measured
        }
        # Two outputs for a measured condition: mean and log-variance of the regressor, two targets of the reader (`_read`).
        widths = [len(labels.get(name, (0, 0))) for name in self.invariant_to]
        self.regressors = [FrameRegressor(width, self.regressor_convolutions, self.regressor_dense) for width in widths]
        read = widths if self.reader_weight else []
        self.readers = [ExplainedVariance(width, self.reader_features, self.reader_memory) for width in read]

    # There

    def posterior(self, features: Features, *, train: bool = False, axis_name: str | None = None) -> Posterior:
        features = self._whole(features)
        outputs, mask, _ = self.encoder(self._seen(features), features.mask, train=train, axis_name=axis_name)
        return self._posterior(outputs, mask, pool_curves(features, self.stride), features.rate)

    def _posterior(self, outputs: Array, mask: Array, conditions: Mapping[str, Array], rate: float) -> Posterior:
        mean, log_variance = jnp.split(outputs, 2, axis=-1)
        mean, log_variance = (x * mask[..., None] for x in (mean, jnp.clip(log_variance, -10.0, 4.0)))
        return Posterior(mean, log_variance, mask, conditions, rate / self.stride)

    def _seen(self, features: Features) -> Array:
        """What the encoder sees of features: [B, N, F]."""
        if not self.relative_db:
            return features.values
        if "loudness" not in features.conditions:
            # A new model is made from features without conditions.
            if self.is_initializing():
                return features.values
            raise ValueError(_missing("loudness", "relative_db", features.conditions))
        # Values are dB over the range, 1 being full scale: 0 dB under the frame's loudness becomes 1 again.
        level = jnp.maximum(features.conditions["loudness"][..., None], -self.level_range_db) / self.level_range_db
        reach = self.relative_db / self.level_range_db
        return jnp.maximum(features.values - (1.0 + level) + reach, 0.0) / reach

    def _whole(self, features: Features) -> Features:
        """Features filled up to a multiple of the stride, by frames outside the mask."""
        shape = features.values.shape
        if features.values.ndim != 3 or shape[2] != self.feature_shape[1] or shape[1] < 1:
            raise ValueError(
                f"features of this space are [B, N, {self.feature_shape[1]}] with at least one frame, not {list(shape)}"
            )
        return pad_frames(features, shape[1] + -shape[1] % self.stride)

    # And back

    def decode(self, latent: Latent, *, train: bool = False) -> Features:
        told = self._told(latent.values, latent.conditions)
        outputs, mask, _ = self.decoder(told, frame_mask(latent), train=train)
        return self._features(outputs, mask, latent.conditions, latent.rate)

    def _told(self, z: Array, conditions: Mapping[str, Array]) -> Array:
        """Latents [B, M, D] with the conditions of the decoder behind them; a condition that is missing is at its mean."""
        parts = [z]
        for name in self.given:
            value = conditions.get(name)
            if value is None:
                parts.append(jnp.zeros((*z.shape[:2], 1)))
                continue
            value = jnp.broadcast_to(value[:, None] if jnp.ndim(value) == 1 else value, z.shape[:2])
            parts.append(scaled(value, self.tables[name].value)[..., None])
        return jnp.concatenate(parts, axis=-1)

    def _features(self, outputs: Array, mask: Array, conditions: Mapping[str, Array], rate: float) -> Features:
        latents = outputs.shape[1] // self.stride
        values = jnp.clip(outputs[..., : self.feature_shape[1]], 0.0, 1.0) * mask[..., None]
        curves = repeat_curves(conditions, latents, self.stride)
        return Features(values=values, mask=mask, conditions=curves, rate=rate * self.stride)

    def reconstruct(self, variables: Variables, features: Features) -> Features:
        """Features -> `embed` -> decode, as many frames as there were."""
        again = super().reconstruct(variables, features)
        return features.replace(values=again.values[:, : features.values.shape[1]])

    # Training

    def learning_rates(self, params: Variables) -> Variables:
        """Factors of the learning rate, one for each of the parameters."""

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
        """See the class; one sample of z.

        "mse" is of the sampled reconstruction, within the mask; "NAME_error" the regressors' mean squared error, in units in
        which knowing nothing costs 1, or the part of wrong labels; "reversal" is lambda.
        """
        features = self._whole(features)
        count = features.values.shape[1]
        posterior = self.posterior(features, train=train, axis_name=axis_name)
        told = self._told(posterior.sample(keys).values, posterior.conditions)
        mask, mixed = posterior.mask, None
        if self.straight_weight:
            between, mixed = self._between(told, mask, keys, axis_name)
            told, mask = jnp.concatenate([told, between]), jnp.concatenate([mask, mixed[1]])
        outputs, _, _ = self.decoder(told, mask, train=train, axis_name=axis_name)
        outputs, between = outputs[: len(keys)], outputs[len(keys) :]
        nll, kl = frame_nll(outputs, features, self.beta), posterior.kl() / count
        metrics = {"reconstruction": nll.plain, "kl": kl, "mse": nll.mse}
        loss = nll.weighted + kl_weight * kl
        if mixed is not None:
            off = self._detour(nll.mean, between[..., : self.feature_shape[1]], *mixed, axis_name)
            loss = loss + self.straight_weight * off
            metrics["detour"] = off
        strength = reversal_strength(progress, self.reversal_time)
        latents = jnp.maximum(jnp.sum(posterior.mask, 1), 1.0)
        for name, regressor in zip(self.invariant_to, self.regressors, strict=True):
            guess = regressor(reverse_gradient(posterior.mean, strength), posterior.mask)
            cost, error = self._judged(name, guess, posterior, labels)
            cost = jnp.sum(cost * posterior.mask, 1) * (self.stride / count)
            # The regressor's gradient, and the encoder's reversed one, at the value of the encoder's side.
            loss = loss + self.adversary_weight * (cost - (1.0 + strength) * jax.lax.stop_gradient(cost))
            metrics[f"{name}_error"] = jnp.sum(error * posterior.mask, 1) / latents
        for name, reader in zip(self.invariant_to, self.readers, strict=False):
            targets, mask = self._read(name, posterior, labels)
            explained = reader(posterior.mean, mask, targets, train=train, axis_name=axis_name)
            loss = loss + self.reader_weight * strength * jnp.mean(-0.5 * jnp.log1p(-explained))
            metrics[f"{name}_read"] = jnp.broadcast_to(jnp.mean(explained), loss.shape)
        if self.invariant_to:
            metrics["reversal"] = jnp.broadcast_to(strength, loss.shape)
        return loss, metrics

    def _between(self, told: Array, mask: Array, keys: Array, axis_name: str | None) -> tuple[Array, tuple[Array, Array]]:
        """What the decoder is told somewhere between every sound and the next of the batch; how far [B], and where both are."""
        share = jax.vmap(lambda key: jax.random.uniform(jax.random.fold_in(key, 1), (), jnp.float32))(keys)
        other = following(told, axis_name)
        return told + share[:, None, None] * (other - told), (share, mask * following(mask, axis_name))

    def _detour(self, ends: Array, between: Array, share: Array, mask: Array, axis_name: str | None) -> Array:
        """Mean over frames of the squared detours of log centroid and log bandwidth, [B]; the ends stay where they are."""
        mask = jnp.repeat(mask, self.stride, axis=1)
        moments = [band_moments(x, self.band_hz, self.level_range_db) for x in (jax.lax.stop_gradient(ends), between)]
        total = sum(
            detour(jnp.stack([own, following(own, axis_name)]), made, share) for own, made in zip(*moments, strict=True)
        )
        return jnp.sum(total * mask, 1) / jnp.maximum(jnp.sum(mask, 1), 1.0)

    def _judged(self, name: str, guess: Array, posterior: Posterior, labels: Mapping[str, Array] | None):
        if name in dict(self.labels):
            if labels is None or name not in labels:
                raise ValueError(f"model frame_vae is to be invariant to the label {name!r}, which the batch does not have")
            return label_nll(guess, labels[name])
        if name not in posterior.conditions:
            raise ValueError(_missing(name, "invariant_to", posterior.conditions))
        return regression_nll(guess, standard_uniform(posterior.conditions[name], self.tables[name].value))

    def _read(self, name: str, posterior: Posterior, labels: Mapping[str, Array] | None) -> tuple[Array, Array]:
        """What the reader in closed form is to explain, [B, M, T], and the mask of the frames where it is known."""
        if name in dict(self.labels):
            known = (labels[name] >= 0).astype(jnp.float32)[:, None]
            classes = jax.nn.one_hot(labels[name], len(dict(self.labels)[name]))
            return jnp.broadcast_to(classes[:, None], (*posterior.mask.shape, classes.shape[-1])), posterior.mask * known
        value, table = posterior.conditions[name], self.tables[name].value
        # Both its place in its distribution and itself: a probe may be asked for either.
        return jnp.stack([standard_uniform(value, table), scaled(value, table)], axis=-1), posterior.mask

    def initialize(self, variables: Variables, batches: Callable[[], Iterable[Features]]) -> Variables:
        """Variables with the distribution of the measured conditions in the training features, frame by frame in the mask.

        Raises:
          ValueError: features without a condition that the settings name.
        """
        names = tuple(variables.get("quantiles", ()))
        found: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for batch in batches() if names else ():
            for name in names:
                if name not in batch.conditions:
                    raise ValueError(_missing(name, "given" if name in self.given else "invariant_to", batch.conditions))
                value = np.asarray(batch.conditions[name])
                found[name].append(np.broadcast_to(value.T, batch.mask.T.shape).T[np.asarray(batch.mask) > 0])
        tables = {name: jnp.asarray(quantile_table(np.concatenate(values))) for name, values in found.items()}
        return {**variables, "quantiles": tables} if names else dict(variables)

    # As a stream: see `timbre_jax.inference.streaming`

    @property
    def look_ahead(self) -> tuple[int, int]:
        """Latents that a stream of the encoder, and one of the decoder, comes later."""
        encoder, decoder = self._stacks()
        return encoder.delay, decoder.delay // self.stride

    def encoder_state(self, batch: int) -> Stream:
        """Of a stream of features that has not begun."""
        encoder = self._stacks()[0]
        waiting = {name: jnp.zeros((batch, encoder.delay)) for name in self.given}
        return {"layers": encoder.first_states(batch, self.feature_shape[1]), "conditions": waiting}

    def encode_block(self, state: Stream, features: Features) -> tuple[Stream, Latent]:
        """A block of features, a multiple of the stride long, to as many latents, `look_ahead` latents late."""
        outputs, mask, layers = self.encoder(self._seen(features), features.mask, state["layers"])
        curves, waiting = self._delayed(state["conditions"], pool_curves(features, self.stride), mask)
        latent = self._posterior(outputs, mask, curves, features.rate).mode()
        return {"layers": layers, "conditions": waiting}, latent

    def decoder_state(self, batch: int) -> Stream:
        """Of a stream of latents that has not begun."""
        decoder = self._stacks()[1]
        waiting = {name: jnp.zeros((batch, decoder.delay)) for name in self.given}
        return {"layers": decoder.first_states(batch, self.latent_size + len(self.given)), "conditions": waiting}

    def decode_block(self, state: Stream, latent: Latent, *, key: Array | None = None) -> tuple[Stream, Features]:
        """A block of latents to stride times as many frames, `look_ahead` latents late."""
        told = self._told(latent.values, latent.conditions)
        outputs, mask, layers = self.decoder(told, latent.mask, state["layers"])
        features = self._features(outputs, mask, latent.conditions, latent.rate)
        curves, waiting = self._delayed(state["conditions"], features.conditions, mask)
        return {"layers": layers, "conditions": waiting}, features.replace(conditions=curves)

    def _delayed(self, waiting: Mapping[str, Array], new: Mapping[str, Array], mask: Array):
        """Conditions as late as what the layers make, and those that wait; a missing one is at its mean."""
        return delay_curves(waiting, new, {name: self.tables[name].value.mean() for name in waiting}, mask.shape)

    def make_training_layers(self, features: Features) -> None:
        latents, mask = jnp.zeros((1, 1, self.latent_size)), jnp.ones((1, 1))
        for regressor in self.regressors:
            regressor(latents, mask)
        for reader in self.readers:
            reader(latents, mask, jnp.zeros((1, 1, reader.targets)))


def _missing(name: str, setting: str, conditions: Mapping[str, Array]) -> str:
    there = ", ".join(sorted(conditions)) or "none"
    return (
        f"model frame_vae: {setting} names {name!r}, but the features have no such condition (they have: {there}); loudness "
        "comes with config.representation.loudness=True, a label with config.data.labels"
    )
