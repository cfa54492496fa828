"""Tests of embeddings: invariances, the network of the library, and invalid files."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.notes import note_wave
from timbre_jax.metrics.embedding import EMBEDDINGS, TIMBRE_NETWORK, embedding_definition, load_embedding
from timbre_jax.metrics.embedding_network import read_network
from timbre_jax.metrics.knn import nearest_neighbors
from timbre_jax.metrics.set_distances import MAXIMUM_FEATURES, kernel_distance


@pytest.fixture(scope="module")
def waves():
    return np.stack([note_wave(pitch, seed=pitch, length=24000) for pitch in (48, 55, 60, 67, 72)])


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_embedding_is_robust_to_level_padding_and_rate(name, waves):
    embed = load_embedding(name)
    points = embed(waves, 16000)
    assert points.shape[0] == len(waves)
    assert points.shape[1] <= MAXIMUM_FEATURES
    np.testing.assert_allclose(embed(0.25 * waves, 16000), points, atol=2e-3)
    np.testing.assert_allclose(embed(np.pad(waves, ((0, 0), (0, 30000))), 16000), points, rtol=0.1, atol=0.1 * points.std())
    twice = np.stack([np.interp(np.arange(48000) / 2, np.arange(24000), wave) for wave in waves])
    near = nearest_neighbors(points, embed(twice, 32000), k=1).indices[:, 0]
    assert (near == np.arange(len(waves))).all()
    assert embedding_definition(name)


def test_pitch_shift_moves_embedding_more_than_noise(waves):
    embed = load_embedding("timbre")
    noisy = waves + 0.001 * np.random.default_rng(0).normal(size=waves.shape)
    points, other = (
        embed(waves, 16000),
        embed(np.stack([note_wave(p + 1, seed=p, length=24000) for p in (48, 55, 60, 67, 72)]), 16000),
    )
    assert (np.linalg.norm(embed(noisy, 16000) - points, axis=1) < np.linalg.norm(other - points, axis=1)).all()


def test_shipped_network_is_small_and_describes_its_training():
    assert TIMBRE_NETWORK.stat().st_size < 5e6
    settings, params, trained = read_network(TIMBRE_NETWORK)
    assert settings.features <= MAXIMUM_FEATURES
    assert set(params) >= {"embedding", "pitch", "class"}
    assert trained["stores"]
    assert not any("TimGM6mb" in title for title in trained["stores"])
    assert trained["sounds"] > 1000


def test_kernel_distance_separates_notes_from_noise(waves):
    embed = load_embedding("timbre")
    low = np.stack([note_wave(pitch, seed=1, length=16000) for pitch in range(48, 60)])
    more = np.stack([note_wave(pitch, seed=2, length=16000) for pitch in range(48, 60)])
    noise = np.random.default_rng(0).normal(0, 0.1, (12, 16000))
    points = embed(low, 16000)
    assert kernel_distance(points, embed(more, 16000)).value < kernel_distance(points, embed(noise, 16000)).value


def test_invalid_embeddings_and_waves_are_rejected(tmp_path):
    with pytest.raises(ValueError, match="embedding='vggish': must be one of timbre, mel_statistics"):
        load_embedding("vggish")
    with pytest.raises(ValueError, match="no such file, expected an embedding"):
        load_embedding(str(tmp_path / "none.npz"))
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(ValueError, match="not an embedding that"):
        load_embedding(str(tmp_path / "other.npz"))
    whole = (tmp_path / "other.npz").read_bytes()
    for name, part in (("cut.npz", whole[: len(whole) // 2]), ("empty.npz", b"")):
        (tmp_path / name).write_bytes(part)
        with pytest.raises(ValueError, match="not an embedding that"):
            load_embedding(str(tmp_path / name))
    with pytest.raises(ValueError, match=r"waves: must be \[B, T\]"):
        load_embedding("mel_statistics")(np.zeros(5), 16000)
    with pytest.raises(ValueError, match="must be finite"):
        load_embedding("mel_statistics")(np.full((1, 5), np.nan), 16000)
