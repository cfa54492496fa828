"""Tests of Jacobian column norms for networks with custom gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.analysis.sensitivity import sensitivity
from timbre_jax.checkpoint import init_variables
from timbre_jax.models import make_model
from timbre_jax.representations import LogMel
from timbre_jax.space import TimbreSpace
from timbre_jax.types import Features

SMALL = {"latent_size": 4, "channels": (4,), "pools": ((2, 2),), "hidden": 8, "flows": 1}


@pytest.mark.parametrize("name", ["flow_vae", "variable_length_vae"])
def test_column_norms_equal_finite_differences(name):
    representation = LogMel(length=1024, n_fft=256, window_length=256, hop=64, n_mels=16, n_frames=0)
    model = make_model(name, feature_shape=representation.feature_shape, **SMALL)
    variables = init_variables(model, jax.random.key(0))
    statistics = {key: jnp.full(4, value) for key, value in (
        ("latent_mean", 0.0), ("latent_std", 0.5), ("latent_low", -2.0), ("latent_high", 2.0))}  # fmt: skip
    space = TimbreSpace(model=model, variables=variables, representation=representation, statistics=statistics)
    random = np.random.default_rng(0)
    values = random.uniform(size=(3, *representation.feature_shape)).astype(np.float32)
    features = Features(values=values, mask=np.ones(values.shape[:2], np.float32), rate=representation.rate)
    result = sensitivity(space, features)
    latent, step = space.encode(features), 1e-2
    for d in range(4):
        moved = [space.decode(latent.replace(values=latent.values.at[:, d].add(s))).values for s in (step, -step)]
        expected = np.sqrt(np.mean(np.square(np.asarray(moved[0] - moved[1]) / (2 * step)), axis=(1, 2)))
        np.testing.assert_allclose(result.norms[:, d], expected, rtol=0.02)
    np.testing.assert_allclose(result.scaled, 0.5 * result.norms)
