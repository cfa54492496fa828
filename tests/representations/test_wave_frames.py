import jax.numpy as jnp
import numpy as np
import pytest

from timbre_jax.representations import make_representation


def test_samples_are_restored():
    representation = make_representation("wave_frames", length=5000, hop=256, window=1024)
    waves = np.random.default_rng(0).normal(size=(2, 5000)).astype(np.float32) * np.array([[0.1], [0.5]], np.float32)
    features = representation.analyze(jnp.asarray(waves))
    assert features.values.shape == (2, *representation.feature_shape) == (2, 20, 256)
    np.testing.assert_array_equal(representation.synthesize(features), waves)


def test_mask_follows_lengths_and_waves_are_padded_to_whole_hops():
    representation = make_representation("wave_frames", length=1000, hop=256, window=1024)
    features = representation.analyze(jnp.zeros((2, 700)), jnp.asarray([700, 257]))
    np.testing.assert_array_equal(features.mask, [[1, 1, 1, 0], [1, 1, 0, 0]])
    assert representation.synthesize(features).shape == (2, 1000)
    longer = make_representation("wave_frames", length=0, hop=256, window=1024)
    assert longer.analyze(jnp.zeros((1, 1))).values.shape == (1, 1, 256)
    assert longer.synthesize(longer.analyze(jnp.ones((1, 300)))).shape == (1, 512)


def test_settings_are_checked():
    representation = make_representation("wave_frames", hop=128, window=512)
    assert representation.rate == 125.0
    with pytest.raises(ValueError, match=r"window a multiple of 2 hops \(got hop=300"):
        make_representation("wave_frames", hop=300)
    with pytest.raises(ValueError, match="floats"):
        representation.analyze(jnp.zeros((1, 100), jnp.int16))
