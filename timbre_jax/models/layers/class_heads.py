"""Class heads that predict several label sets, and the cross-entropy of labels."""

from __future__ import annotations

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from timbre_jax.types import Array

Classes = tuple[tuple[str, tuple[str, ...]], ...]
"""Label sets as (("family", ("kick", "snare")), ...), with labels in the order of the probabilities."""


class ClassHeads(nn.Module):
    """One dense layer per label set that maps a hidden layer [B, C] to logits {name: [B, K]}.

    Attributes:
      classes: label sets, see `Classes`.
    """

    classes: Classes

    @nn.compact
    def __call__(self, hidden: Array) -> dict[str, Array]:
        """Returns logits {name: [B, K]} of a hidden layer [B, C]."""
        return {name: nn.Dense(len(labels), name=f"class_{name}")(hidden) for name, labels in self.classes}


def label_nll(logits: Array, labels: Array) -> tuple[Array, Array]:
    """Returns cross-entropy in nats and classification error (0 or 1), [B, ...] each.

    Args:
      logits: [B, ..., K].
      labels: [B] int32; both results are 0 for unlabeled sounds (-1).
    """
    labels = jnp.broadcast_to(labels.reshape(-1, *(1,) * (logits.ndim - 2)), logits.shape[:-1])
    known = (labels >= 0).astype(logits.dtype)
    nll = -jnp.take_along_axis(jax.nn.log_softmax(logits), jnp.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    return nll * known, (jnp.argmax(logits, -1) != labels).astype(logits.dtype) * known


def class_losses(logits: Mapping[str, Array], labels: Mapping[str, Array]) -> tuple[Array, dict[str, Array]]:
    """Returns the cross-entropy in nats, summed over label sets, and accuracies, [B] each.

    Args:
      logits: {name: [B, K]}.
      labels: {name: [B] int32}. Unlabeled sounds (-1) have a cross-entropy of 0 and the mean accuracy of the labeled ones.

    Returns:
      The cross-entropy, and {"accuracy_NAME": ...} of every label set.
    """
    total, metrics = jnp.float32(0.0), {}
    for name, value in logits.items():
        known = labels[name] >= 0
        nll, wrong = label_nll(value, labels[name])
        total = total + nll
        share = jnp.mean(known - wrong) / jnp.maximum(jnp.mean(known), 1e-6)
        metrics[f"accuracy_{name}"] = jnp.where(known, 1.0 - wrong, share)
    return total, metrics
