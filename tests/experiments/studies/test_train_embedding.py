"""Tests of the training of an embedding."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.studies.train_embedding import EmbeddingTraining, _augmented, train_embedding
from timbre_jax.data.store import Store
from timbre_jax.metrics.embedding import load_embedding
from timbre_jax.metrics.embedding_network import read_network

pytestmark = pytest.mark.xdist_group("small_analysis")


@pytest.mark.slow
def test_embedding_learns_families_and_can_be_loaded(small_store, tmp_path, capsys):
    settings = EmbeddingTraining((small_store,), tmp_path / "own.npz", steps=80, batch_size=16, progress=False)
    path = train_embedding(settings)
    network, _, trained = read_network(path)
    assert network.classes == ("bass", "flute", "reed")
    assert trained["sounds"] == Store.open(small_store).length("train")
    printed = capsys.readouterr().out
    assert "store test, own: class" in printed
    share = float(printed.split("store test, own: class ")[1].split(" %")[0])
    assert share > 45
    assert load_embedding(str(path))(np.random.default_rng(0).normal(0, 0.1, (2, 8000)), 16000).shape == (2, 128)


def test_augmentation_keeps_silence_and_the_range():
    images = np.random.default_rng(0).uniform(0.1, 1, (8, 200, 64)).astype(np.float16)
    images[:, 60:] = 0
    changed = _augmented(images, np.random.default_rng(1))
    assert changed.shape == (8, 100, 64)
    assert changed.min() == 0.0
    assert changed.max() <= 1.0
    from_start = [i for i in range(8) if (changed[i, :60] > 0).any(1).all()]
    assert from_start
    assert (changed[from_start, 60:] == 0).all()


def test_stores_without_classes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got 0 classes"):
        train_embedding(EmbeddingTraining((), tmp_path / "own.npz"))
