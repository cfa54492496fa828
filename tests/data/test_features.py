import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.notes import ListedSource
from timbre_jax.data import features as features_module
from timbre_jax.data.features import FeatureSource, cached_features
from timbre_jax.data.importers.base import AudioFormat, LoadedSound
from timbre_jax.data.loader import make_pipeline
from timbre_jax.data.prepare.build import build_store
from timbre_jax.data.store import StoreError, open_store
from timbre_jax.representations import HarmonicTracks, Representation
from timbre_jax.types import Features


@dataclasses.dataclass(frozen=True)
class Blocks(Representation):
    """Fast representation with conditions and masks: levels of 40 blocks and their halves."""

    name = "blocks"
    sample_rate: int = 16000
    scale: float = 30.0
    broken: bool = False

    rate = 10.0

    def analyze(self, waves, lengths=None):
        blocks = jnp.reshape(waves, (waves.shape[0], 40, 2, 800))
        values = self.scale * jnp.mean(jnp.square(blocks), axis=-1) - 0.2
        values = values / 0 if self.broken else values
        level = jnp.max(jnp.abs(waves), axis=-1)
        mask = (jnp.arange(40) < 30 + 10 * (level[:, None] > 0.2)).astype(jnp.float32)
        return Features(values=values, mask=mask, conditions={"level": level, "curve": values[..., 0]}, rate=self.rate)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    source = ListedSource(counts=(("train", 90), ("test", 10)))
    return build_store(source, tmp_path_factory.mktemp("features") / "store", workers=1, shard_size=64, progress=False)


def cached(store, split="train", representation=None, **options):
    return cached_features(store, split, representation or Blocks(), progress=False, **{"batch_size": 16, **options})


def direct(store, split="train", representation=None):
    return (representation or Blocks()).analyze(store.audio(split, range(store.length(split))))


def same(actual, expected):
    spread = float(jnp.max(expected.values) - jnp.min(expected.values))
    np.testing.assert_allclose(actual.values, expected.values, atol=1e-5 * spread)
    np.testing.assert_array_equal(actual.mask, expected.mask)
    assert actual.conditions.keys() == expected.conditions.keys()
    for name in expected.conditions:
        np.testing.assert_allclose(actual.conditions[name], expected.conditions[name], rtol=1e-6)
    assert actual.rate == expected.rate


def test_cached_features_equal_analyzed_features(store):
    source = cached(store)
    expected = direct(store)
    same(source.read(), expected)
    assert len(source) == 90
    assert source.shape == (40, 2)
    places = [7, 89, 0, 7]
    read = source.read(places)
    np.testing.assert_array_equal(read.values, source.read().values[places])
    item = source[64]
    assert item["index"] == 64
    assert set(item) == {"values", "mask", "index", "level", "curve"}
    np.testing.assert_array_equal(item["values"], source.read([64]).values[0])
    assert cached(store, "test")[3]["index"] == 93
    batch = next(make_pipeline(source, batch_size=4, seed=0))
    assert batch["values"].shape == (4, 40, 2)
    assert batch["level"].shape == (4,)


def test_features_are_analyzed_once(store, monkeypatch):
    cached(store)
    monkeypatch.setattr(Blocks, "analyze", lambda *_: pytest.fail("analyzed again"))
    same_again = cached(store)
    assert len(same_again) == 90


@dataclasses.dataclass(frozen=True)
class WithInverter(Blocks):
    inverter: str = "slow"

    synthesis_fields = ("inverter",)


def test_only_analysis_settings_change_the_folder(store):
    folders = [cached(store, representation=WithInverter(inverter=name)).folder for name in ("slow", "quick")]
    assert folders[0] == folders[1]
    other = cached(store, representation=Blocks(scale=60.0))
    assert other.folder != cached(store).folder
    same(other.read(), direct(store, representation=Blocks(scale=60.0)))
    settings = json.loads((other.folder / "index.json").read_text())
    assert settings == {"name": "blocks", "settings": {"sample_rate": 16000, "scale": 60.0, "broken": False}}


def test_interrupted_analysis_resumes(store, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, "SHARD", 32)
    analyze, seen = Blocks.analyze, []

    def counted(self, waves, lengths=None):
        seen.append(len(waves))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return analyze(self, waves, lengths)

    monkeypatch.setattr(Blocks, "analyze", counted)
    with pytest.raises(KeyboardInterrupt):
        cached(store, directory=tmp_path)
    assert not list(tmp_path.glob("*/train.features.json"))
    source = cached(store, directory=tmp_path)
    assert len(seen) == 4 + 4  # 2 batches per shard, 3 shards, of which one was finished
    monkeypatch.setattr(Blocks, "analyze", analyze)
    same(source.read(), direct(store))


def test_features_that_are_not_finite_are_rejected(store):
    with pytest.raises(ValueError, match="features of sound n0000 are not finite"):
        cached(store, representation=Blocks(broken=True))


def test_invalid_arguments_are_rejected(store, tmp_path):
    with pytest.raises(ValueError, match=r"wrong sample rate \(got 16000 Hz, expected 44100 Hz"):
        cached(store, representation=Blocks(sample_rate=44100))
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="features cannot be written"):
        cached(store, directory=tmp_path / "file")
    with pytest.raises(IndexError):
        cached(store).read([90])
    with pytest.raises(StoreError, match="no split 'valid'"):
        cached(store, "valid")


def test_cached_harmonic_tracks_equal_analyzed_ones(store):
    representation = HarmonicTracks(length=16000, n_frames=92)
    source = cached(store, "test", representation, batch_size=10)
    same(source.read(), direct(store, "test", representation))


def test_damaged_files_are_reported(store, tmp_path):
    source = cached(store, directory=tmp_path)
    (file,) = source.folder.glob("train-*.features")
    whole = bytearray(file.read_bytes())
    whole[len(whole) // 2] ^= 1
    file.write_bytes(whole)
    again = cached(store, directory=tmp_path)
    assert len(again.batch([0, 89])["index"]) == 2
    with pytest.raises(StoreError, match=r"record 45 has a wrong checksum.*delete .* to analyze the sounds again"):
        again.read()
    file.write_bytes(whole[: len(whole) // 3])
    with pytest.raises(StoreError, match="record 89 is beyond the end"):
        cached(store, directory=tmp_path).batch([89])
    file.unlink()
    with pytest.raises(StoreError, match="missing; delete"):
        cached(store, directory=tmp_path)[0]


def test_ranges_are_computed_once(store, tmp_path, monkeypatch):
    source = cached(store, directory=tmp_path)
    values = source.read().values
    low, high = source.ranges()
    assert (low.shape, low.dtype) == (source.shape[1:], np.float32)
    np.testing.assert_array_equal(low, values.min((0, 1)))
    np.testing.assert_array_equal(high, values.max((0, 1)))
    (kept,) = tmp_path.glob("*/train.ranges.json")
    monkeypatch.setattr(FeatureSource, "batch", lambda *_: pytest.fail("read again"))
    for one, again in zip((low, high), cached(store, directory=tmp_path).ranges(), strict=True):
        np.testing.assert_array_equal(one, again)
    monkeypatch.undo()
    kept.write_text(kept.read_text()[:20])  # damaged files are computed again
    np.testing.assert_array_equal(cached(store, directory=tmp_path).ranges()[1], high)
    assert json.loads(kept.read_text())["high"] == high.tolist()


def test_features_of_joined_stores_are_concatenated(store, tmp_path):
    other = build_store(ListedSource(counts=(("train", 20), ("valid", 5)), name="b"), tmp_path / "b", workers=1, progress=False)
    both = open_store(f"{store.path},{other.path}")
    assert [both.length(split) for split in both.splits] == [110, 10, 5]
    source, places = cached(both), [0, 100, 89, 90]
    assert source.index.tolist() == [*range(90), *range(100, 120)]
    np.testing.assert_array_equal(source.read(places).values[[1, 3]], cached(other).read([10, 0]).values)
    np.testing.assert_array_equal(source.read(places).values[0], source[0]["values"])
    np.testing.assert_array_equal(source.ranges()[0], source.read().values.min((0, 1)))
    assert source[100]["index"] == 110
    assert len(cached(both, "valid")) == 5


@dataclasses.dataclass(frozen=True)
class Frames(Representation):
    """Levels of frames of 100 samples, masked by the real lengths."""

    name = "frames"
    sample_rate: int = 16000
    length: int = 1000

    rate = 160.0

    def analyze(self, waves, lengths=None):
        assert waves.shape[1] == self.length
        values = jnp.max(jnp.abs(jnp.reshape(waves, (waves.shape[0], -1, 100))), axis=-1, keepdims=True)
        mask = (jnp.arange(values.shape[1]) * 100 < lengths[:, None]).astype(jnp.float32)
        return Features(values=values, mask=mask, conditions={}, rate=self.rate)


@dataclasses.dataclass(frozen=True)
class Variable(ListedSource):
    """Sound n is noise of 100 (n + 1) samples."""

    def load(self, record, payload):
        return LoadedSound(
            np.random.default_rng(record.location).uniform(-1, 1, 100 * (record.location + 1)).astype(np.float32)
        )


@pytest.mark.parametrize("length", [1000, 2500])
def test_masks_follow_real_lengths(tmp_path, monkeypatch, length):
    """Analyzes sounds of 100 to 2000 samples, cut or padded, in small batches if long."""
    source = Variable(counts=(("train", 20),), audio_format=AudioFormat(16000, 4000, variable=True, min_seconds=0.001))
    store = build_store(source, tmp_path / "store", workers=1, shard_size=64, progress=False)
    assert store.samples == 2000
    monkeypatch.setattr(features_module, "MAX_SAMPLES", 3 * length)
    shapes, analyze = set(), Frames.analyze
    monkeypatch.setattr(Frames, "analyze", lambda self, waves, real=None: shapes.add(waves.shape) or analyze(self, waves, real))
    features = cached(store, representation=Frames(length=length)).read()
    assert shapes == {(3, length)}
    frames = np.minimum(np.arange(1, 21), length // 100)
    np.testing.assert_array_equal(features.mask.sum(axis=1), frames)
    assert features.values.shape == (20, length // 100, 1)
    np.testing.assert_allclose(
        features.values[4, :5, 0], np.abs(store.audio("train", [4])[0, :500].reshape(5, 100)).max(axis=1), atol=1e-4
    )
    assert not features.values[4, 5:].any()
