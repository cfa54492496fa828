"""Features on the fly equal the cached ones up to rounding."""

import numpy as np
import pytest

from tests.data.test_features import Blocks
from tests.helpers.notes import ListedSource
from timbre_jax.data.features import cached_features
from timbre_jax.data.on_the_fly import AnalyzedSource
from timbre_jax.data.prepare.build import build_store
from timbre_jax.data.store import open_store
from timbre_jax.representations import LogMel


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    source = ListedSource(counts=(("train", 70), ("valid", 6)))
    return build_store(source, tmp_path_factory.mktemp("analyzed") / "store", workers=1, progress=False)


@pytest.mark.parametrize("representation", [Blocks(), LogMel(n_mels=16, n_frames=20, length=8000)])
def test_on_the_fly_features_equal_cached_features(store, representation, tmp_path):
    cached = cached_features(store, "train", representation, directory=tmp_path, progress=False)
    source = AnalyzedSource(store, "train", representation)
    assert len(source) == len(cached) == 70
    places = [69, 0, 3, *range(10, 68)]  # more than are analyzed at once, and not a multiple
    actual, expected = source.batch(places), cached.batch(places)
    assert actual.keys() == expected.keys()
    for name, values in expected.items():
        assert (actual[name].shape, actual[name].dtype) == (values.shape, values.dtype), name
        np.testing.assert_allclose(actual[name], values, atol=2e-5 * max(np.ptp(values), 1e-9), err_msg=name)
    np.testing.assert_array_equal(source[69]["values"], actual["values"][0])


def test_joined_stores_are_analyzed(store, tmp_path):
    other = build_store(ListedSource(counts=(("train", 5),), name="b"), tmp_path / "b", workers=1, progress=False)
    both = AnalyzedSource(open_store(f"{store.path},{other.path}"), "train", Blocks())
    assert both.batch([71])["index"].tolist() == [77]
    np.testing.assert_array_equal(both[71]["values"], AnalyzedSource(other, "train", Blocks())[1]["values"])
