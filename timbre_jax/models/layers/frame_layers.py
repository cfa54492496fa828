"""Layers over frames in time that give the same numbers for a whole series and for one that comes block by block.

A layer's input counts as 0 at frames outside the mask and beyond both ends, at every layer and not only at the first: so the
padding that a batch needs changes nothing, and neither does where a stream is cut.

As a stream, a layer keeps the last inputs that its next outputs still need (`state`), and its outputs come as many frames later
as it looks ahead: a block of n input frames gives n / stride * upsample output frames whose first ones belong to frames before
the block. Frames before the first have mask 0; at the end, frames with mask 0 are fed until all is out.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from timbre_jax.types import Array

State = Any
"""{"inputs" [B, S, C], "mask" [B, D]}: what a layer keeps between blocks."""


class FrameConv(nn.Module):
    """Convolution over frames, [B, N, C] to [B, N / stride * upsample, K], and the mask along with it.

    With stride s, output m is made of the inputs from s m - left to s m + s - 1 + right; with `upsample`, every input frame
    gives that many output frames (a transposed convolution, as channels that become frames). Causal is right = 0; else as many
    inputs lie before as after an output of stride 1.

    Attributes:
      features: K.
      kernel: inputs that an output of stride 1 is made of; at least `stride`.
      stride, upsample: one of them is 1.
      causal: pad on the left only.
      wait: further input frames that a stream's outputs come later, so that a later stride meets the right frames.
      gain: of the first weights.
    """

    features: int
    kernel: int = 5
    stride: int = 1
    upsample: int = 1
    causal: bool = False
    wait: int = 0
    gain: float = 1.0

    @property
    def left(self) -> int:
        """Inputs before those of an output's own stride."""
        whole = self.kernel - self.stride
        return whole if self.causal else min((self.kernel - 1) // 2, whole)

    @property
    def right(self) -> int:
        """Inputs after those of an output's own stride: how far the layer looks ahead."""
        return self.kernel - self.stride - self.left

    @nn.compact
    def __call__(self, x: Array, mask: Array, state: State | None = None) -> tuple[Array, Array, State | None]:
        """Outputs, their mask, and the state after them.

        Args:
          x: [B, n, C], n a multiple of `stride`. mask: [B, n].
          state: of the stream; None where x is the whole series.
        """
        x = x * mask[..., None]
        if state is None:
            padded, ahead = jnp.pad(x, ((0, 0), (self.left, self.right), (0, 0))), mask
        else:
            padded = jnp.concatenate([state["inputs"], x], axis=1)
            ahead = jnp.concatenate([state["mask"], mask], axis=1)
            kept = state["inputs"].shape[1], state["mask"].shape[1]
            # At stride s the last inputs that were kept only because of `wait` are not read yet.
            state = {"inputs": padded[:, padded.shape[1] - kept[0] :], "mask": ahead[:, ahead.shape[1] - kept[1] :]}
            padded = padded[:, : self.kernel - self.stride + x.shape[1]]
            ahead = ahead[:, : x.shape[1]]
        y = self._convolve(padded)
        if self.stride > 1:
            ahead = jnp.max(ahead.reshape(ahead.shape[0], -1, self.stride), axis=-1)
        if self.upsample > 1:
            y = y.reshape(y.shape[0], -1, self.features)
            ahead = jnp.repeat(ahead, self.upsample, axis=1)
        return y, ahead, state

    def _convolve(self, padded: Array) -> Array:
        channels, out = padded.shape[-1], self.features * self.upsample
        shape = (self.kernel, channels, out)
        initial = nn.initializers.variance_scaling(self.gain**2, "fan_in", "truncated_normal")
        kernel = self.param("kernel", initial, shape)
        bias = self.param("bias", nn.initializers.zeros, (out,))
        if self.stride > 1:
            # Strides become channels: a convolution of stride 1, whose gradient XLA does quickly on every backend.
            reach = -(-self.kernel // self.stride)
            missing = reach * self.stride - self.kernel
            kernel = jnp.pad(kernel, ((0, missing), (0, 0), (0, 0))).reshape(reach, self.stride * channels, out)
            padded = jnp.pad(padded, ((0, 0), (0, missing), (0, 0)))
            padded = padded.reshape(padded.shape[0], -1, self.stride * channels)
        dimensions = ("NWC", "WIO", "NWC")
        return jax.lax.conv_general_dilated(padded, kernel, (1,), "VALID", dimension_numbers=dimensions) + bias

    def first_state(self, batch: int, channels: int) -> State:
        """The state of a stream that has not begun: before the first frame there is nothing."""
        size = self.kernel - self.stride + self.wait
        return {
            "inputs": jnp.zeros((batch, size, channels), jnp.float32),
            "mask": jnp.zeros((batch, self.right + self.wait), jnp.float32),
        }


class MaskedBatchNorm(nn.Module):
    """Batch normalization (Ioffe & Szegedy 2015) over the frames within the mask, [B, N, C].

    In training mean and variance of the batch's frames, of all devices together; else their running averages, which are in the
    collection "batch_stats". A batch without any frame keeps the averages.

    Attributes:
      momentum: of the running averages: new = momentum * old + (1 - momentum) * batch.
      epsilon: added to the variance.
      affine: whether a learned scale and bias follow.
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
        """Normalized x.

        Args:
          renormalize: 1: in training too, what comes out is normalized by the running averages, so that whatever comes after
            sees there what it will see later; the gradient is that of the batch's mean and variance (batch renormalization,
            Ioffe 2017, without its limits). For batches of few frames that are much alike. Between 0 and 1: part of the way.
        """
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (channels,))
        running_variance = self.variable("batch_stats", "variance", jnp.ones, (channels,))
        scale = self.param("scale", nn.initializers.ones, (channels,)) if self.affine else 1.0
        bias = self.param("bias", nn.initializers.zeros, (channels,)) if self.affine else 0.0
        mean, variance = running_mean.value, running_variance.value
        before = mean, variance
        if train:
            weight = mask[..., None]
            # Around the running mean, so that a large offset does not take the variance's digits.
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
            deviation = jnp.sqrt(before[1] + self.epsilon)
            size = jax.lax.stop_gradient(jnp.sqrt(variance + self.epsilon) / deviation)
            shift = jax.lax.stop_gradient((mean - before[0]) / deviation)
            normalized = normalized * (1.0 + renormalize * (size - 1.0)) + renormalize * shift
        return normalized * scale + bias


class FrameStack(nn.Module):
    """Convolutions with leaky ReLU, then batch normalization, between them; nothing after the last.

    Attributes:
      features: channels after each convolution.
      strides, upsamples: of each; () is 1 everywhere.
      kernel, causal: of all.
      slope: of the leaky ReLU below 0.
      unit: output frames that a stream's whole delay has to be a multiple of.
      gain: of the last convolution's first weights.
    """

    features: tuple[int, ...]
    strides: tuple[int, ...] = ()
    upsamples: tuple[int, ...] = ()
    kernel: int = 5
    causal: bool = False
    slope: float = 0.2
    unit: int = 1
    gain: float = 1.0

    def _plan(self) -> tuple[list[dict[str, Any]], int]:
        """Settings of every layer, and the output frames that a stream comes later."""
        count, layers, delay = len(self.features), [], 0
        strides, upsamples = self.strides or (1,) * count, self.upsamples or (1,) * count
        for i, (features, stride, upsample) in enumerate(zip(self.features, strides, upsamples, strict=True)):
            settings = dict(features=features, kernel=self.kernel, stride=stride, upsample=upsample, causal=self.causal)
            delay += FrameConv(**settings, parent=None).right
            wait = -delay % max(stride, self.unit if i == count - 1 else 1)
            layers.append({**settings, "wait": wait, "gain": self.gain if i == count - 1 else 1.0})
            delay = (delay + wait) // stride * upsample
        return layers, delay

    @property
    def delay(self) -> int:
        """Output frames that a stream comes later than its input: its look-ahead."""
        return self._plan()[1]

    def setup(self):
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
        """Outputs [B, n', K], their mask [B, n'], and the states after them; as `FrameConv`."""
        after = []
        for i, convolution in enumerate(self.convolutions):
            x, mask, state = convolution(x, mask, None if states is None else states[i])
            after.append(state)
            if i < len(self.norms):
                x = self.norms[i](nn.leaky_relu(x, self.slope), mask, train=train, axis_name=axis_name)
        return x, mask, None if states is None else after

    def first_states(self, batch: int, channels: int) -> list[State]:
        """The states of a stream that has not begun, for inputs of that many channels."""
        inputs = (channels, *self.features[:-1])
        layers = [FrameConv(**settings, parent=None) for settings in self._plan()[0]]
        return [layer.first_state(batch, c) for layer, c in zip(layers, inputs, strict=True)]
