"""Tests of the records of features, latents and posteriors."""

import jax
import jax.numpy as jnp
import numpy as np

from timbre_jax.types import Posterior


def test_posterior_samples_have_the_standard_deviation_of_the_log_variance():
    posterior = Posterior(mean=jnp.full((4, 3), 1.0), log_variance=jnp.full((4, 3), np.log(4.0)))
    keys = jax.random.split(jax.random.key(0), 4)
    noise = jnp.stack([jax.random.normal(key, (3,)) for key in keys])
    np.testing.assert_allclose(posterior.sample(keys).values, 1.0 + 2.0 * noise, rtol=1e-6)
    np.testing.assert_array_equal(posterior.mode().values, 1.0)
    np.testing.assert_allclose(posterior.kl(), 3 * 0.5 * (1.0 + 4.0 - 1.0 - np.log(4.0)), rtol=1e-6)
