"""Tests of the benchmark `train_step/rebnord2022`."""

import jax
import numpy as np
import pytest

from experiments.benchmarks.train_step_rebnord2022 import pytorch_network
from timbre_jax.models import make_model
from timbre_jax.models.layers.likelihoods import bernoulli_nll
from timbre_jax.types import Features


def test_pytorch_network_gives_the_same_numbers():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; it is optional")
    model = make_model("flow_vae", feature_shape=(40, 36), latent_size=6, flows=2, channels=[4, 5, 3, 3], hidden=8)
    values = np.random.default_rng(0).uniform(size=(3, 40, 36)).astype(np.float32)
    features = Features(values=values, mask=np.ones((3, 40), np.float32))
    variables = jax.jit(model.init)(jax.random.key(0), features)
    posterior = model.apply(variables, features, method="posterior")
    z, log_det = posterior.flow.apply(posterior.variables, posterior.mean, posterior.context)
    raw = model.apply(variables, z, method="raw")
    kl = (0.5 * (np.square(z) - posterior.log_variance)).sum(1) - log_det
    with torch.no_grad():
        network = pytorch_network(jax.device_get(variables["params"]), model).eval()
        theirs = network(torch.tensor(values).transpose(1, 2)[:, None])
    np.testing.assert_allclose(raw.transpose(0, 2, 1), theirs[2], atol=1e-4)
    np.testing.assert_allclose(bernoulli_nll(raw, values), theirs[0], rtol=1e-4)
    np.testing.assert_allclose(kl, theirs[1], rtol=1e-4)
