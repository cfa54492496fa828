"""Stores of any rate and length: what is read is padded, and lengths are real."""

import shutil

import numpy as np
import pytest

from tests.helpers.library import hit
from tests.helpers.notes import ListedSource
from timbre_jax.data.importers.base import Form, Loaded
from timbre_jax.data.prepare.build import build_store
from timbre_jax.data.store import JoinedStore, Store, StoreError, open_store


class Lengths(ListedSource):
    """Sound n has 100 + 10 n samples."""

    def load(self, record, payload):
        return Loaded(hit(record.where, rate=self.form.sample_rate, seconds=1.0)[: 100 + 10 * record.where])


def build(out, form, counts=(("train", 20), ("test", 5)), **options) -> Store:
    return build_store(Lengths(counts=counts, form=form), out, workers=1, shard_size=64, progress=False, **options)


VARIABLE = Form(22050, 300, variable=True, min_seconds=0.001)
FIXED = Form(8000, 200, min_seconds=0.001)


@pytest.fixture(scope="module")
def variable(tmp_path_factory):
    return build(tmp_path_factory.mktemp("variable") / "store", VARIABLE)


def test_variable_lengths(variable):
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


def test_joined(variable, tmp_path):
    other = build(tmp_path / "other", Form(22050, 120, min_seconds=0.001), counts=(("train", 3), ("test", 1)))
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


def test_columns_are_read_by_themselves(tmp_path, monkeypatch):
    """Some or all, piece by piece, of one store or several: the same values."""
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
        (lambda lines: lines[:-1], "4 lines of test, the index says otherwise"),
        (lambda lines: [lines[0], *lines[21:]], "0 lines of train, the index says otherwise"),
        (lambda lines: [*lines[:-1], lines[-1].rsplit(",", 1)[0]], "a line has not 16 columns"),
        (lambda lines: lines[1:], "not the columns that version 2 has"),
    ],
)
def test_damaged_records_are_said(variable, tmp_path, change, message):
    path = tmp_path / "store"
    shutil.copytree(variable.path, path)
    lines = (path / "records.csv").read_text().splitlines()
    (path / "records.csv").write_text("\n".join(change(lines)) + "\n")
    with pytest.raises(StoreError, match=message):
        Store.open(path).lengths("train")


def test_stores_of_different_rates_are_not_joined(variable, tmp_path):
    other = build(tmp_path / "other", FIXED, counts=(("train", 3), ("test", 1)))
    with pytest.raises(StoreError, match="cannot be joined") as error:
        open_store(f"{variable.path},{other.path}")
    assert f"{variable.path} has 22050 Hz, {other.path} 8000 Hz; make one again with --sample_rate" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("settings", [{"sample_rate": 7000}, {"sample_rate": 50000}, {"samples": 0}])
def test_forms_out_of_range(settings):
    with pytest.raises(ValueError, match="is needed"):
        Form(**settings)
