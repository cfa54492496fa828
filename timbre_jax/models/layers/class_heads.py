"""Class heads: names of classes predicted from a model's hidden layer, several kinds of class at once."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from timbre_jax.types import Array

Classes = tuple[tuple[str, tuple[str, ...]], ...]
"""(("family", ("kick", "snare")), ...): what is predicted, and its labels in the order of the probabilities."""


class ClassHeads(nn.Module):
    """One dense layer for each kind of class: hidden [B, C] to logits {name: [B, K]}.

    Attributes:
      classes: see `Classes`.
    """

    classes: Classes

    @nn.compact
    def __call__(self, hidden: Array) -> dict[str, Array]:
        return {name: nn.Dense(len(labels), name=f"class_{name}")(hidden) for name, labels in self.classes}


def label_nll(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Cross-entropy of logits [B, ..., K] with labels [B] in nats, and whether the likeliest is wrong (1); [B, ...] each.

    Sounds without a label (-1) cost nothing and are not wrong.
    """
    labels = jnp.broadcast_to(labels.reshape(-1, *(1,) * (logits.ndim - 2)), logits.shape[:-1])
    known = (labels >= 0).astype(logits.dtype)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return nll * known, (jnp.argmax(logits, -1) != labels).astype(logits.dtype) * known


def class_losses(logits: Mapping[str, Array], labels: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Cross-entropy of each sound in nats, summed over the kinds of class, and its accuracy for each kind, [B] each.

    Args:
      logits: {name: [B, K]}.
      labels: {name: [B] int32}; -1 where a sound has none: it costs nothing and counts as neither right nor wrong (its
        accuracy is the mean of those that have one, 0 in a batch without).
    """
    total, metrics = jnp.float32(0.0), {}
    for name, value in logits.items():
        known = labels[name] >= 0
        nll, wrong = label_nll(value, labels[name])
        total = total + nll
        share = jnp.mean(known - wrong) / jnp.maximum(jnp.mean(known), 1e-6)
        metrics[f"accuracy_{name}"] = jnp.where(known, 1.0 - wrong, share)
    return total, metrics
