"""Descriptions of spaces and sets of sounds for reports."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from timbre_jax.models import MODELS
from timbre_jax.space import TimbreSpace


def plain_words(name: str) -> str:
    """Returns a registry name in words: "pca_8" becomes "PCA 8", "dense_vae" "dense VAE"."""
    words = name.replace("_", " ").split(" ")
    return " ".join({"pca": "PCA", "vae": "VAE", "vq": "VQ"}.get(word, word) for word in words)


def describe_space(space: TimbreSpace) -> tuple[str, str]:
    """Returns the registry name of the model of a space, and a description of the space."""
    kind = type(space.model)
    name = next((name for name, model in MODELS.items() if model is kind), kind.__name__)
    per_frame = " per frame" if space.kind == "series" else ""
    text = f"{plain_words(name)} with {space.latent_size} latents{per_frame} on {plain_words(space.representation.name)}"
    return name, text[:1].upper() + text[1:]


def describe_sounds(labels: Mapping[str, np.ndarray], noun: str, group: str) -> str:
    """Returns the number of sounds and of their groups, such as "18 notes of 3 instruments"."""
    count = len(np.unique(labels["instrument"]))
    return f"{len(labels['instrument'])} {noun} of {count} {group}{'s' if count > 1 else ''}"


def distinct_labels(values: np.ndarray) -> list[str]:
    """Returns numbers with just enough decimals to differ; equal numbers are enumerated."""
    for digits in range(1, 7):
        labels = [f"{value:+.{digits}f}" for value in values]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{number}: {value:+.1g}" for number, value in enumerate(values, 1)]
