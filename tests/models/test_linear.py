import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.models import make_model
from timbre_jax.types import Features, Latent


def batches(x, size=13):
    return lambda: (x[start : start + size] for start in range(0, len(x), size))


def low_rank(count, shape, rank, seed=0, noise=0.01):
    rng = np.random.default_rng(seed)
    scale = 2.0 ** -np.arange(rank)
    x = (rng.normal(size=(count, rank)) * scale) @ rng.normal(size=(rank, shape[0] * shape[1]))
    return (3.0 + x + noise * rng.normal(size=x.shape)).reshape(count, *shape).astype(np.float32)


def as_features(x):
    return Features(values=jnp.asarray(x), mask=jnp.ones(x.shape[:2]))


@pytest.mark.parametrize("shape", [(30, 8), (80, 60)], ids=["covariance", "subspace"])
def test_pca_is_sklearns(shape):
    from sklearn.decomposition import PCA

    x = low_rank(200, shape, 12)
    model = make_model("pca", feature_shape=shape, latent_size=5)
    variables = model.fit(batches(x))
    theirs = PCA(5, svd_solver="full").fit(x.reshape(200, -1))
    components = np.asarray(variables["params"]["components"])
    cosines = np.abs((components * theirs.components_).sum(1))
    np.testing.assert_allclose(cosines, 1.0, atol=1e-5)
    # sklearn divides by n - 1, the statistics here by n.
    np.testing.assert_allclose(variables["params"]["scale"] ** 2, theirs.explained_variance_ * 199 / 200, rtol=1e-4)
    expected = theirs.inverse_transform(theirs.transform(x.reshape(200, -1))).reshape(x.shape)
    np.testing.assert_allclose(model.reconstruct(variables, as_features(x)).values, expected, atol=2e-4)


def test_pca_latents_are_white_on_the_training_set_and_come_back():
    x = low_rank(300, (6, 4), 24, noise=0)
    model = make_model("pca", feature_shape=(6, 4), latent_size=4)
    variables = model.fit(batches(x))
    z = np.asarray(model.embed(variables, as_features(x)).values)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(4), atol=1e-3)
    again = model.apply(variables, Latent(values=jnp.asarray(z)), method="decode")
    np.testing.assert_allclose(model.embed(variables, again).values, z, atol=1e-3)


def test_pca_of_too_few_sounds():
    with pytest.raises(ValueError, match="more than 3 sounds"):
        make_model("pca", feature_shape=(5, 4), latent_size=3).fit(batches(low_rank(3, (5, 4), 2)))


def test_mean_image_says_the_mean_whatever_it_hears():
    x = low_rank(20, (5, 4), 3)
    model = make_model("mean_image", feature_shape=(5, 4))
    variables = model.fit(batches(x))
    again = model.reconstruct(variables, as_features(x))
    np.testing.assert_allclose(again.values, np.broadcast_to(x.mean(0), x.shape), rtol=1e-6)
    np.testing.assert_array_equal(model.embed(variables, as_features(x)).values, 0)


def test_an_empty_training_set():
    with pytest.raises(ValueError, match="training split is empty"):
        make_model("mean_image", feature_shape=(5, 4)).fit(lambda: iter(()))
