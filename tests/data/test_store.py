"""Stores of any sample rate and length: padding, real lengths, columns and damage."""

import shutil

import numpy as np
import pytest

from tests.helpers.library import hit
from tests.helpers.notes import ListedSource
from timbre_jax.data.importers.base import AudioFormat, LoadedSound
from timbre_jax.data.prepare.build import build_store
from timbre_jax.data.store import JoinedStore, Store, StoreError, open_store


class Lengths(ListedSource):
    """Sound n has 100 + 10 n samples."""

    def load(self, record, payload):
        return LoadedSound(hit(record.location, rate=self.audio_format.sample_rate, seconds=1.0)[: 100 + 10 * record.location])


def build(out, audio_format, counts=(("train", 20), ("test", 5)), **options) -> Store:
    return build_store(
        Lengths(counts=counts, audio_format=audio_format), out, workers=1, shard_size=64, progress=False, **options
    )


VARIABLE = AudioFormat(22050, 300, variable=True, min_seconds=0.001)
FIXED = AudioFormat(8000, 200, min_seconds=0.001)


@pytest.fixture(scope="module")
def variable(tmp_path_factory):
    return build(tmp_path_factory.mktemp("variable") / "store", VARIABLE)


def test_variable_store_keeps_real_lengths(variable):
    assert (variable.sample_rate, variable.variable, variable.samples) == (22050, True, 300)
    assert variable.lengths("train").tolist() == [min(100 + 10 * n, 300) for n in range(20)]
    assert variable.lengths("train").dtype == np.int32
    assert variable.lengths("test", [4, 0]).tolist() == [300, 300]
    audio = variable.audio("train", [7, 0, 19])
    assert audio.shape == (3, 300)
    for row, number in enumerate((7, 0, 19)):
        length = min(100 + 10 * number, 300)
        np.testing.assert_allclose(audio[row, :length], hit(number, rate=22050, seconds=1.0)[:length], atol=1 / 65000)
        assert not audio[row, length:].any()
    assert variable.audio("train", [7], samples=50).shape == (1, 50)
    np.testing.assert_array_equal(variable.audio("train", [7], samples=500)[0, :300], audio[0])


def test_joined_store_concatenates_splits(variable, tmp_path):
    other = build(tmp_path / "other", AudioFormat(22050, 120, min_seconds=0.001), counts=(("train", 3), ("test", 1)))
    joined = open_store(f"{variable.path},{other.path}")
    assert isinstance(joined, JoinedStore)
    assert joined.splits == ("train", "test")
    assert (joined.sample_rate, joined.samples, joined.variable) == (22050, 300, True)
    assert joined.lengths("train").tolist()[-4:] == [290, 100, 110, 120]
    assert joined.lengths("train", [20, 0]).tolist() == [100, 100]
    audio = joined.audio("train", [22, 1])
    np.testing.assert_array_equal(audio[0, :120], other.audio("train", [2])[0])
    assert not audio[0, 120:].any()
    assert joined.audio("train", [0, 22], samples=40).shape == (2, 40)


def test_columns_read_in_pieces_equal_all_columns(tmp_path, monkeypatch):
    store = build(tmp_path / "store", VARIABLE)
    whole = store.metadata("train")
    monkeypatch.setattr("timbre_jax.data.store._ROWS", 7)
    again = Store.open(store.path)
    assert list(again.metadata("test", ("samples", "id"))) == ["samples", "id"]
    for name, values in again.metadata("train").items():
        assert (values.dtype.kind, values.tolist()) == (whole[name].dtype.kind, whole[name].tolist()), name
    joined = JoinedStore([store, again])
    assert joined.metadata("test", ("index", "pitch"))["index"].tolist() == [*range(20, 25), *range(45, 50)]
    assert joined.metadata("train")["position"].tolist() == list(range(40))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], r"wrong number of lines of test \(got 4, expected 5\)"),
        (lambda lines: [lines[0], *lines[21:]], r"wrong number of lines of train \(got 0, expected 20\)"),
        (lambda lines: [*lines[:-1], lines[-1].rsplit(",", 1)[0]], "a line does not have 16 columns"),
        (lambda lines: lines[1:], "its columns are not those of version 2"),
    ],
)
def test_damaged_records_are_reported(variable, tmp_path, change, message):
    path = tmp_path / "store"
    shutil.copytree(variable.path, path)
    lines = (path / "records.csv").read_text().splitlines()
    (path / "records.csv").write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(StoreError, match=message):
        Store.open(path).lengths("train")


def test_stores_with_different_sample_rates_are_not_joined(variable, tmp_path):
    other = build(tmp_path / "other", FIXED, counts=(("train", 3), ("test", 1)))
    with pytest.raises(StoreError, match="cannot be joined") as error:
        open_store(f"{variable.path},{other.path}")
    assert f"{other.path}: cannot be joined (got 8000 Hz, expected 22050 Hz as in {variable.path})" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"sample_rate": 7000}, {"sample_rate": 50000}, {"samples": 0}])
def test_audio_formats_out_of_range_are_rejected(settings):
    with pytest.raises(ValueError, match="must be"):
        AudioFormat(**settings)
