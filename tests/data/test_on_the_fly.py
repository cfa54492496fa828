"""Features on the fly are those that are cached, but for their rounding."""

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
def test_they_are_the_cached_ones(store, representation, tmp_path):
    cached = cached_features(store, "train", representation, directory=tmp_path, progress=False)
    source = AnalyzedSource(store, "train", representation)
    assert len(source) == len(cached) == 70
    places = [69, 0, 3, *range(10, 68)]  # more than are analyzed at once, and no whole number of times
    found, wanted = source.batch(places), cached.batch(places)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        assert (found[name].shape, found[name].dtype) == (values.shape, values.dtype), name
        np.testing.assert_allclose(found[name], values, atol=2e-5 * max(np.ptp(values), 1e-9), err_msg=name)
    np.testing.assert_array_equal(source[69]["values"], found["values"][0])


def test_joined_stores(store, tmp_path):
    other = build_store(ListedSource(counts=(("train", 5),), name="b"), tmp_path / "b", workers=1, progress=False)
    both = AnalyzedSource(open_store(f"{store.path},{other.path}"), "train", Blocks())
    assert both.batch([71])["index"].tolist() == [77]
    np.testing.assert_array_equal(both[71]["values"], AnalyzedSource(other, "train", Blocks())[1]["values"])
