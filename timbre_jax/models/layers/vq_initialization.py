"""Initialization of VQ-VAEs from training frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.audio.level import FLOOR_DB
from timbre_jax.models.layers.codebook import fit_codebook
from timbre_jax.types import Features

FIT_FRAMES = 16384
"""Number of training frames to which the codebook is fitted."""


def fit_to_frames(model: Any, variables: Any, batches: Iterable[Features]) -> Any:
    """Fits normalization, codebook and output bias of a VQ-VAE to training frames.

    The normalization starts with the mean and variance of the encodings, the codebook with a fit to them (`fit_codebook`), and
    the bias of the head with the mean spectrum. This prevents the codebook from collapsing.

    Args:
      model: an unbound `VQVAE`.
      variables: its variables after `init`.
      batches: training features [B, N, hop], of which the first `FIT_FRAMES` audible frames are used.

    Returns:
      The new variables.

    Raises:
      ValueError: the training set is silent.
    """
    encodings, spectrum = _encode_frames(model, variables, batches)
    # The running averages are still 0 and 1, so these are the outputs of the encoder.
    mean, variance = encodings.mean(0), encodings.var(0)
    frames = (encodings - mean) / np.sqrt(variance + 1e-5)
    vectors = fit_codebook(frames, codes=model.codes, num_codebooks=model.num_codebooks)
    # log(1 + sigmoid(bias)) becomes the mean spectrum, with the largest bin at half the possible maximum.
    shape = np.expm1(0.5 * np.log(2.0) * np.maximum(spectrum / spectrum.max(), 1e-4))
    head = {**variables["params"]["head"], "bias": jnp.asarray(np.log(shape / (1.0 - shape)), jnp.float32)}
    norm = {"mean": jnp.asarray(mean), "variance": jnp.asarray(variance)}
    return {
        **variables,
        "params": {**variables["params"], "head": head},
        "codebook": {"book": {**variables["codebook"]["book"], "vectors": jnp.asarray(vectors)}},
        "batch_stats": {**variables["batch_stats"], "norm": norm},
    }


def _encode_frames(model: Any, variables: Any, batches: Iterable[Features]) -> tuple[np.ndarray, np.ndarray]:
    """Returns encodings [P, D] of audible frames and the sum of their spectra [K]."""

    @jax.jit
    def encode_batch(features):
        windows, gain = model.apply(variables, features, method="windows")
        spectrum = jnp.abs(jnp.fft.rfft(windows))
        audible = (gain > FLOOR_DB) & (features.mask > 0)
        return model.apply(variables, windows, audible, method="encode")[0], spectrum, audible

    parts, spectra, count = [], 0.0, 0
    for features in batches:
        encodings, spectrum, audible = (np.asarray(x) for x in encode_batch(features))
        parts.append(encodings[audible])
        spectra, count = spectra + spectrum[audible].sum(0, dtype=np.float64), count + int(audible.sum())
        if count >= FIT_FRAMES:
            break
    if count == 0:
        raise ValueError("model 'vq_vae': needs audible training frames to initialize from (got only silence)")
    return np.concatenate(parts)[:FIT_FRAMES], spectra
