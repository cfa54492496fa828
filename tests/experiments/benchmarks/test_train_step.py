"""Tests of the benchmark `train_step/natsiou2023`."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.train_step import usual_model
from tests.helpers.runs import examples
from timbre_jax.models import make_model
from timbre_jax.training.step import batch_features


def test_usual_network_gives_the_same_posterior_and_reconstruction():
    model, usual = make_model("conv_vae"), usual_model()
    values = jnp.tile(jnp.stack([example["values"] for example in examples(2)]), (1, 31, 2))
    features = batch_features({"values": values, "mask": jnp.ones(values.shape[:2])})
    variables = jax.jit(model.init)(jax.random.key(0), features)

    @jax.jit
    def both(variables):
        posterior = model.apply(variables, features, method="posterior")
        theirs = usual.apply(variables, values.transpose(0, 2, 1)[..., None], method=lambda m, x: m.encoder(x))
        picture = usual.apply(variables, posterior.mean, method=lambda m, z: m.decoder(z))
        return (posterior.mean, posterior.log_variance, model.apply(variables, posterior.mean, method="raw")), (
            *theirs,
            picture.transpose(0, 2, 1),
        )

    for ours, theirs in zip(*both(variables), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
