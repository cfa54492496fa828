import dataclasses

import numpy as np
import pytest

from tests.helpers.notes import ListedSource
from tests.helpers.runs import SHAPE, examples
from timbre_jax.data.datasets import fit_ranges, open_sources
from timbre_jax.data.example_source import InMemory, ListedExamples, Rescaled, Subset, batches, evenly_spaced, in_memory
from timbre_jax.data.prepare.build import build_store
from timbre_jax.representations import make_representation
from timbre_jax.training.config import resolve


@dataclasses.dataclass(frozen=True)
class Mixed(ListedSource):
    """Notes of the families bass and organ in turns; all validation notes are bass."""

    def plan(self):
        notes = enumerate(super().plan())
        return [n._replace(family="organ") if i % 2 and n.split == "train" else n for i, n in notes]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    counts = {"a": (("train", 8), ("valid", 3)), "b": (("train", 4), ("test", 2))}
    for name, count in counts.items():
        build_store(Mixed(counts=count, name=name), folder / name, workers=1, progress=False)
    return folder


def opened(stores, **data):
    config = resolve({"data": {"store": str(stores / "a"), **data}})
    return open_sources(config, progress=False)


def test_training_uses_all_stores_and_validation_the_first(stores):
    one, both = opened(stores), opened(stores, extra_stores=(str(stores / "b"),), in_memory=True)
    assert (len(one.train), len(one.valid)) == (8, 3)
    assert (len(both.train), len(both.valid)) == (12, 3)
    indices = [int(both.train[i]["index"]) for i in range(12)]
    assert len({*indices, *(int(both.valid[i]["index"]) for i in range(3))}) == 15
    np.testing.assert_array_equal(both.train[3]["values"], one.train[3]["values"])
    assert one.fingerprint in both.fingerprint
    assert one.fingerprint != both.fingerprint


def test_families_and_max_examples_select_notes(stores):
    assert [len(part) for part in (opened(stores, families=("bass",)).train, opened(stores, max_examples=3).train)] == [4, 3]
    with pytest.raises(ValueError, match=r"unknown family 'drum' \(the families are bass, organ\)"):
        opened(stores, families=("drum",))
    with pytest.raises(ValueError, match="'valid' has no sounds of the families organ"):
        opened(stores, families=("organ",))
    with pytest.raises(ValueError, match=r"valid_split=dev: .* has no such split \(its splits are train, valid\)"):
        opened(stores, valid_split="dev")


@pytest.mark.parametrize("scale", ["log", "hz"])
def test_fitted_ranges_equal_normalization_by_the_data(scale):
    representation = make_representation("harmonic_tracks", n_frames=12, n_harmonics=3, length=4096, f0_scale=scale)
    rng = np.random.default_rng(0)
    f0, amplitude = rng.uniform(100, 900, (30, 12)), rng.uniform(-80, -10, (30, 12, 3))
    values = np.asarray(representation.normalize(f0.astype(np.float32), amplitude.astype(np.float32)))
    source = ListedExamples([{"values": v, "index": np.int32(i)} for i, v in enumerate(values)])
    fitted, low, high = fit_ranges(representation, source)
    np.testing.assert_allclose(fitted.f0_range, [f0.min(), f0.max()], rtol=1e-4)
    np.testing.assert_allclose(fitted.amplitude_range, [amplitude.min(), amplitude.max()], rtol=1e-4)
    rescaled = Rescaled(source, low, high)
    expected = np.asarray(fitted.normalize(f0.astype(np.float32), amplitude.astype(np.float32)))
    actual = np.stack([rescaled[i]["values"] for i in range(len(rescaled))])
    np.testing.assert_array_equal(rescaled.batch([3, 1])["values"], actual[[3, 1]])
    np.testing.assert_allclose(actual, expected, atol=1e-4)
    assert (actual.min(), actual.max()) == (0.0, 1.0)
    assert actual.dtype == np.float32


def test_on_the_fly_features_equal_cached_features(stores):
    cached, actual = opened(stores), opened(stores, features="on_the_fly")
    for name in ("train", "valid"):
        source, expected = getattr(actual, name), getattr(cached, name)
        assert len(source) == len(expected)
        np.testing.assert_allclose(source[1]["values"], expected[1]["values"], atol=2e-5)
    assert actual.fingerprint == cached.fingerprint
    with pytest.raises(ValueError, match=r"config.data.features='kept': must be one of cached, on_the_fly"):
        opened(stores, features="kept")


def test_large_source_is_not_kept_in_memory(monkeypatch):
    source = examples(300)
    whole = in_memory(source)
    assert isinstance(whole, InMemory)
    np.testing.assert_array_equal(whole.batch([299, 0])["values"], np.stack([source[299]["values"], source[0]["values"]]))
    size = sum(value.nbytes for value in source[0].values()) * len(source)
    monkeypatch.setattr("timbre_jax.data.example_source.MEMORY_LIMIT_BYTES", size)
    assert isinstance(in_memory(source), InMemory)
    monkeypatch.setattr("timbre_jax.data.example_source.MEMORY_LIMIT_BYTES", size - 1)
    assert in_memory(source) is source


def test_evenly_spaced_positions():
    assert list(evenly_spaced(10, 0)) == list(evenly_spaced(10, 10)) == list(evenly_spaced(10, 99)) == list(range(10))
    assert list(evenly_spaced(10, 4)) == [0, 3, 6, 9]


def test_constant_data_has_no_ranges():
    representation = make_representation("harmonic_tracks", n_frames=12, n_harmonics=3, length=4096)
    with pytest.raises(ValueError, match="are constant"):
        fit_ranges(representation, ListedExamples([{"values": np.full(SHAPE, 0.5, np.float32)}]))


def test_subset_and_memory_copy_return_the_same_examples():
    source = examples(10)
    chosen = Subset(source, [7, 2])
    assert len(chosen) == 2
    assert [int(chosen[i]["index"]) for i in range(2)] == [7, 2]
    kept = InMemory(chosen)
    np.testing.assert_array_equal(kept[1]["values"], source[2]["values"])
    for either in (chosen, kept):
        batch = either.batch(np.array([1, 0, 1]))
        assert batch["index"].tolist() == [2, 7, 2]
        assert batch["values"].shape == (3, *SHAPE)
    sizes = [len(batch["index"]) for batch in batches(source, 4)]
    assert sizes == [4, 4, 2]
    assert [int(i) for batch in batches(source, 4, [3, 1]) for i in batch["index"]] == [3, 1]
