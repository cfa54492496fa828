"""Data sets that tensorflow-datasets wrote (`tfds_fixture/`), read without TensorFlow."""

import importlib.util
import os
import shutil
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.data.importers.tfds_fixture.write import FORMATS, INSTRUMENTS, SPLITS, example, write
from timbre_jax.data.importers import tfds
from timbre_jax.data.importers.base import FAMILIES, SOURCES
from timbre_jax.data.importers.tfds import DataSourceImporter, TfdsImporter, find_prepared, prepare_dataset, tfds_importer
from timbre_jax.data.prepare.make_store import prepare

WITH_TENSORFLOW = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed (requirements-tfds.txt)"
)


def check(records, source):
    """Checks that records and sounds are those that were written."""
    assert [r.split for r in records] == ["train"] * 4 + ["valid"] + ["test"] * 3
    for number, (position, payload) in enumerate(source.fetch(records, range(len(records)))):
        record, expected = records[position], example(number)
        assert record.id == expected["id"]
        assert record.instrument == INSTRUMENTS[number]
        assert (record.family, record.source) == (FAMILIES[number % 11], SOURCES[number % 3])
        assert (record.pitch, record.velocity) == (60 + number, 100)
        np.testing.assert_array_equal(source.load(record, payload).wave, expected["audio"])


def unpacked(folder, file_format):
    with tarfile.open(Path(__file__).parent / "tfds_fixture" / f"{file_format}.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module", params=FORMATS)
def written(request, tmp_path_factory):
    """Returns the committed data set in each file format."""
    return unpacked(tmp_path_factory.mktemp("tfds"), request.param)


def test_prepared_data_set_is_read_without_tensorflow(written):
    source = TfdsImporter(path=(str(written),))
    assert find_prepared(str(written)) == written / "nsynth" / "full" / "2.3.3"
    check(source.plan(), source)
    assert "tensorflow" not in sys.modules or importlib.util.find_spec("tensorflow") is not None


def test_store_contains_the_notes_of_a_prepared_data_set(written, tmp_path):
    store = prepare(source="tfds", path=[str(written)], out=str(tmp_path / "store"), keep_all=True, workers=1, progress=False)
    assert [store.length(split) for split in ("train", "valid", "test")] == [4, 1, 3]
    np.testing.assert_allclose(store.audio("test", [2])[0], example(7)["audio"], atol=1 / 32768)


@WITH_TENSORFLOW
@pytest.mark.parametrize("file_format", FORMATS)
def test_data_set_written_by_installed_tensorflow_datasets_is_read(file_format, tmp_path):
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    folder = write(tmp_path, file_format)
    source = TfdsImporter(path=(str(tmp_path),))
    assert find_prepared(str(tmp_path)) == find_prepared(str(folder))
    check(source.plan(), source)


@WITH_TENSORFLOW
def test_builder_and_data_sources_are_read(tmp_path):
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow_datasets

    builder = tensorflow_datasets.builder_from_directory(write(tmp_path, "array_record"))
    for source in (tfds_importer(builder), tfds_importer(builder.as_data_source())):
        check(source.plan(), source)
    one = tfds_importer(builder.as_data_source("test"), pitches=(66,))
    assert [(r.split, r.id) for r in one.plan() if r.split] == [("test", example(6)["id"])]


@pytest.mark.parametrize("labels", ["numbers", "text"])
def test_examples_in_memory_are_read(labels):
    """Passes sequences of examples as data sources of tensorflow-datasets are."""

    def named(number):
        expected = example(number)
        words = {"label": INSTRUMENTS[number], "family": FAMILIES[number % 11], "source": SOURCES[number % 3]}
        return {**expected, "instrument": words} if labels == "text" else expected

    data = {split: [named(number) for number in numbers] for split, numbers in SPLITS.items()}
    source = tfds_importer(data)
    assert isinstance(source, DataSourceImporter)
    if labels == "text":
        check(source.plan(), source)
    else:  # without names of the numbers, the id states the instrument
        assert [record.instrument for record in source.plan()] == INSTRUMENTS[:8]
    with pytest.raises(ValueError, match="unknown split 'dev', must be one of train, valid, test"):
        tfds_importer({"dev": []}).plan()


def test_data_set_is_opened_by_name(written, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(written))
    check((source := TfdsImporter(dataset="nsynth/full").importer()).plan(), source)
    monkeypatch.setattr(tfds.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"gansynth_subset: .*; run pip install tensorflow apache-beam") as error:
        prepare_dataset("nsynth/gansynth_subset")
    assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="--path and --dataset: only one is allowed"):
        TfdsImporter(path=("x",), dataset="nsynth/full")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return find_prepared(str(unpacked(tmp_path_factory.mktemp("tfrecord"), "tfrecord")))


def test_selection_leaves_out_notes(prepared):
    records = TfdsImporter(path=(str(prepared),), pitches=(61, 66)).plan()
    assert [r.id for r in records if r.split] == [example(1)["id"], example(6)["id"]]
    assert {r.left_out for r in records if not r.split} == {"not selected (pitch)"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "dataset_info.json").unlink(), "no dataset_info.json"),
        (lambda folder: (folder / "dataset_info.json").write_text("{"), "damaged"),
        (lambda folder: (folder / "nsynth-test.tfrecord-00000").unlink(), "missing; prepare"),
        (lambda folder: os.truncate(folder / "nsynth-test.tfrecord-00000", 300_000), "cut short"),
    ],
)
def test_damaged_data_set_is_reported(prepared, tmp_path, damage, message):
    folder = tmp_path / "copy"
    shutil.copytree(prepared, folder)
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        TfdsImporter(path=(str(folder),)).plan()
    assert "\n" not in str(error.value)
