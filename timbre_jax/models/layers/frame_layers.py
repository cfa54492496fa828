"""Layers over frames with equal results for a whole series and a stream of blocks.

The input of a layer is 0 at frames outside the mask and beyond both ends. This holds at every layer, not only the first, so
that neither the padding of a batch nor the division into blocks influences the result.

In a stream, a layer keeps the last inputs that its next outputs need (`state`), and its outputs are delayed by its look-ahead:
a block of n input frames yields n / stride * upsample output frames, of which the first belong to frames before the block.
Frames before the first one have mask 0; at the end, frames with mask 0 flush the stream.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from timbre_jax.types import Array

State = Any
"""State of a layer between blocks: {"inputs": [B, S, C], "mask": [B, D]}."""


class FrameConv(nn.Module):
    """Convolution of frames and their mask, [B, N, C] to [B, N / stride * upsample, K].

    With stride s, output m depends on inputs s m - left to s m + s - 1 + right. With `upsample`, each input frame yields that
    many output frames (a transposed convolution, computed as channels that become frames). The padding is symmetric at stride
    1, or on the left only (right = 0) if causal.

    Attributes:
      features: number of output channels K.
      kernel: kernel size in frames, at least `stride`.
      stride: input frames per output frame; 1 if `upsample` is not.
      upsample: output frames per input frame; 1 if `stride` is not.
      causal: whether the padding is on the left only.
      extra_delay: additional delay of a stream in input frames, which aligns it with the stride of a later layer.
      init_scale: factor of the initial weights.
    """

    features: int
    kernel: int = 5
    stride: int = 1
    upsample: int = 1
    causal: bool = False
    extra_delay: int = 0
    init_scale: float = 1.0

    @property
    def left(self) -> int:
        """Number of inputs before those of an output's own stride."""
        whole = self.kernel - self.stride
        return whole if self.causal else min((self.kernel - 1) // 2, whole)

    @property
    def right(self) -> int:
        """Number of inputs after those of an output's own stride, the look-ahead of the layer."""
        return self.kernel - self.stride - self.left

    @nn.compact
    def __call__(self, x: Array, mask: Array, state: State | None = None) -> tuple[Array, Array, State | None]:
        """Returns outputs, their mask and the next state.

        Args:
          x: [B, N, C], N a multiple of `stride`.
          mask: [B, N].
          state: state of a stream, or None if x is the whole series.
        """
        x = x * mask[..., None]
        if state is None:
            padded, output_mask = jnp.pad(x, ((0, 0), (self.left, self.right), (0, 0))), mask
        else:
            padded = jnp.concatenate([state["inputs"], x], axis=1)
            output_mask = jnp.concatenate([state["mask"], mask], axis=1)
            kept = state["inputs"].shape[1], state["mask"].shape[1]
            # `extra_delay` keeps more inputs than the outputs of this block need.
            state = {"inputs": padded[:, padded.shape[1] - kept[0] :], "mask": output_mask[:, output_mask.shape[1] - kept[1] :]}
            padded = padded[:, : self.kernel - self.stride + x.shape[1]]
            output_mask = output_mask[:, : x.shape[1]]
        y = self._convolve(padded)
        if self.stride > 1:
            output_mask = jnp.max(output_mask.reshape(output_mask.shape[0], -1, self.stride), axis=-1)
        if self.upsample > 1:
            y = y.reshape(y.shape[0], -1, self.features)
            output_mask = jnp.repeat(output_mask, self.upsample, axis=1)
        return y, output_mask, state

    def _convolve(self, padded: Array) -> Array:
        channels, out = padded.shape[-1], self.features * self.upsample
        shape = (self.kernel, channels, out)
        initial = nn.initializers.variance_scaling(self.init_scale**2, "fan_in", "truncated_normal")
        kernel = self.param("kernel", initial, shape)
        bias = self.param("bias", nn.initializers.zeros, (out,))
        if self.stride > 1:
            # Moving the stride to channels gives a convolution of stride 1, whose gradient is fast on every backend.
            reach = -(-self.kernel // self.stride)
            missing = reach * self.stride - self.kernel
            kernel = jnp.pad(kernel, ((0, missing), (0, 0), (0, 0))).reshape(reach, self.stride * channels, out)
            padded = jnp.pad(padded, ((0, 0), (0, missing), (0, 0)))
            padded = padded.reshape(padded.shape[0], -1, self.stride * channels)
        dimensions = ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(padded, kernel, (1,), "VALID", dimension_numbers=dimensions) + bias

    def initial_state(self, batch: int, channels: int) -> State:
        """Returns the state before the first block of a stream."""
        size = self.kernel - self.stride + self.extra_delay
        return {
            "inputs": jnp.zeros((batch, size, channels), jnp.float32),
            "mask": jnp.zeros((batch, self.right + self.extra_delay), jnp.float32),
        }


class MaskedBatchNorm(nn.Module):
    """Batch normalization (Ioffe & Szegedy 2015) of [B, N, C] over the frames within the mask.

    In training it uses mean and variance of the batch over all devices, else their running averages in the collection
    "batch_stats". A batch without frames keeps the averages.

    Attributes:
      momentum: decay of the running averages, new = momentum * old + (1 - momentum) * batch.
      epsilon: added to the variance.
      affine: whether to apply a learned scale and bias.
    """

    momentum: float = 0.95
    epsilon: float = 1e-5
    affine: bool = True

    @nn.compact
    def __call__(
        self,
        x: Array,
        mask: Array,
        *,
        train: bool = False,
        axis_name: str | None = None,
        renormalize: Array | float = 0.0,
    ) -> Array:
        """Returns the normalized frames.

        Args:
          x: [B, N, C].
          mask: [B, N].
          train: whether to use and update the statistics of the batch.
          axis_name: axis of `pmap` that splits the batch, or None.
          renormalize: interpolates in training between batch normalization (0) and batch renormalization without limits (1,
            Ioffe 2017): the output is normalized by the running averages, as in evaluation, with the gradient of batch
            normalization. For batches of few, similar frames.
        """
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_variance = self.variable("batch_stats", "variance", jnp.ones, (channels,))
        scale = self.param("scale", nn.initializers.ones, (channels,)) if self.affine else 1.0
        bias = self.param("bias", nn.initializers.zeros, (channels,)) if self.affine else 0.0
        mean, variance = running_mean.value, running_variance.value
        running = mean, variance
        if train:
            weight = mask[..., None]
            # Sums around the running mean keep the precision of the variance under a large offset.
            centered = (x - running_mean.value) * weight
            sums = (jnp.sum(weight), jnp.sum(centered, (0, 1)), jnp.sum(jnp.square(centered), (0, 1)))
            if axis_name is not None:
                sums = jax.lax.psum(sums, axis_name)
            count = jnp.maximum(sums[0], 1.0)
            offset = sums[1] / count
            mean = running_mean.value + offset
            variance = jnp.maximum(sums[2] / count - jnp.square(offset), 0.0)
            if not self.is_initializing():
                rate = jnp.where(sums[0] > 0, 1.0 - self.momentum, 0.0)
                running_mean.value += rate * (mean - running_mean.value)
                running_variance.value += rate * (variance - running_variance.value)
        normalized = (x - mean) * jax.lax.rsqrt(variance + self.epsilon)
        if train and not (isinstance(renormalize, float) and renormalize == 0.0):
            deviation = jnp.sqrt(running[1] + self.epsilon)
            size = jax.lax.stop_gradient(jnp.sqrt(variance + self.epsilon) / deviation)
            shift = jax.lax.stop_gradient((mean - running[0]) / deviation)
            normalized = normalized * (1.0 + renormalize * (size - 1.0)) + renormalize * shift
        return normalized * scale + bias


class FrameStack(nn.Module):
    """Stack of `FrameConv` layers with leaky ReLU and batch normalization between them.

    Attributes:
      features: output channels of each convolution.
      strides: stride of each convolution; () for 1.
      upsamples: upsampling of each convolution; () for 1.
      kernel: kernel size of all convolutions.
      causal: whether the convolutions use past frames only.
      slope: slope of the leaky ReLU below 0.
      delay_multiple: output frames of which the delay of a stream must be a multiple.
      init_scale: factor of the initial weights of the last convolution.
    """

    features: tuple[int, ...]
    strides: tuple[int, ...] = ()
    upsamples: tuple[int, ...] = ()
    kernel: int = 5
    causal: bool = False
    slope: float = 0.2
    delay_multiple: int = 1
    init_scale: float = 1.0

    def _plan(self) -> tuple[list[dict[str, Any]], int]:
        """Returns the settings of every layer and the delay of a stream in output frames."""
        count, layers, delay = len(self.features), [], 0
        strides, upsamples = self.strides or (1,) * count, self.upsamples or (1,) * count
        for i, (features, stride, upsample) in enumerate(zip(self.features, strides, upsamples, strict=True)):
            settings = dict(features=features, kernel=self.kernel, stride=stride, upsample=upsample, causal=self.causal)
            delay += FrameConv(**settings, parent=None).right
            last = i == count - 1
            extra = -delay % max(stride, self.delay_multiple if last else 1)
            layers.append({**settings, "extra_delay": extra, "init_scale": self.init_scale if last else 1.0})
            delay = (delay + extra) // stride * upsample
        return layers, delay

    @property
    def delay(self) -> int:
        """Delay of a stream in output frames, the look-ahead of the stack."""
        return self._plan()[1]

    def setup(self):
        """Creates the layers."""
        self.convolutions = [FrameConv(**settings) for settings in self._plan()[0]]
        self.norms = [MaskedBatchNorm() for _ in self.features[:-1]]

    def __call__(
        self,
        x: Array,
        mask: Array,
        states: list[State] | None = None,
        *,
        train: bool = False,
        axis_name: str | None = None,
    ) -> tuple[Array, Array, list[State] | None]:
        """Returns outputs, their mask and the next states, see `FrameConv`."""
        after = []
        for i, convolution in enumerate(self.convolutions):
            x, mask, state = convolution(x, mask, None if states is None else states[i])
            after.append(state)
            if i < len(self.norms):
                x = self.norms[i](nn.leaky_relu(x, self.slope), mask, train=train, axis_name=axis_name)
        return x, mask, None if states is None else after

    def initial_states(self, batch: int, channels: int) -> list[State]:
        """Returns the states before the first block of a stream of [B, N, channels]."""
        inputs = (channels, *self.features[:-1])
        layers = [FrameConv(**settings, parent=None) for settings in self._plan()[0]]
        return [layer.initial_state(batch, c) for layer, c in zip(layers, inputs, strict=True)]
