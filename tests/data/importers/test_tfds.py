"""A small NSynth is written by tensorflow-datasets itself, in its real on-disk form, and read without it."""

import importlib.util
import json
import os
import shutil
import struct

import numpy as np
import pytest
from timbre_jax.data.importers.protobuf import read_example

from timbre_jax.data.importers.base import FAMILIES, SOURCES
from timbre_jax.data.importers.tfds import TfdsSource, _masked_crc, find_prepared

INSTRUMENTS = [f"{FAMILIES[i % 11]}_{SOURCES[i % 3]}_{i:03d}" for i in range(1006)]
SPLITS = {"train": range(4), "valid": range(4, 5), "test": range(5, 8)}


def example(number: int) -> dict:
    wave = np.random.default_rng(number).uniform(-1, 1, 64000).astype(np.float32)
    return {"id": f"{INSTRUMENTS[number]}-{60 + number:03d}-100", "audio": wave, "pitch": 60 + number, "velocity": 100}


def check(records, source):
    """Everything that was written has to come back."""
    assert [r.split for r in records] == ["train"] * 4 + ["valid"] + ["test"] * 3
    for number, (position, payload) in enumerate(source.fetch(records, range(len(records)))):
        record, wanted = records[position], example(number)
        assert record.id == wanted["id"]
        assert record.instrument == INSTRUMENTS[number]
        assert (record.family, record.source) == (FAMILIES[number % 11], SOURCES[number % 3])
        assert (record.pitch, record.velocity) == (60 + number, 100)
        np.testing.assert_array_equal(source.load(record, payload).wave, wanted["audio"])


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow_datasets") is None or importlib.util.find_spec("tensorflow") is None,
    reason="tensorflow-datasets is not installed (requirements-tfds.txt)",
)
@pytest.mark.parametrize("file_format", ["tfrecord", "array_record"])
def test_what_tensorflow_datasets_writes(file_format, tmp_path):
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    import tensorflow_datasets as tfds

    builder = tfds.builder("nsynth/full", data_dir=tmp_path, file_format=file_format)
    names = builder.info.features["instrument"]
    names["label"].names = INSTRUMENTS
    names["family"].names, names["source"].names = list(FAMILIES), list(SOURCES)
    builder.info._metadata = tfds.core.MetadataDict(sample_rate=16000)
    os.makedirs(builder.data_dir, exist_ok=True)
    writer = tfds.core.SequentialWriter(builder.info, max_examples_per_shard=3, file_format=file_format)
    writer.initialize_splits(list(SPLITS))
    qualities = dict.fromkeys(builder.info.features["qualities"], False)
    for split, numbers in SPLITS.items():
        for number in numbers:
            labels = {"label": number, "family": number % 11, "source": number % 3}
            writer.add_examples({split: [{**example(number), "instrument": labels, "qualities": qualities}]})
    writer.close_all()
    source = TfdsSource(path=(str(tmp_path),))
    assert find_prepared(str(tmp_path)) == find_prepared(str(builder.data_dir))
    check(source.plan(), source)


# The same form written by hand, so that the reader is tested where TensorFlow is not. -------------------------------


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    out = b""
    while True:
        out += bytes([number & 0x7F | (0x80 if number > 0x7F else 0)])
        number >>= 7
        if not number:
            return out


def field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body


def feature(value) -> bytes:
    if isinstance(value, bytes):
        return field(1, field(1, value))
    if isinstance(value, np.ndarray):
        return field(2, field(1, value.astype("<f4").tobytes()))
    return field(3, field(1, b"".join(varint(v) for v in value)))


def serialise(features: dict) -> bytes:
    return field(1, b"".join(field(1, field(1, k.encode()) + field(2, feature(v))) for k, v in features.items()))


def write_by_hand(folder):
    """TFRecord shards under the names that a downloaded and prepared data set has."""
    folder.mkdir(parents=True)
    shards = {split: [list(numbers)[:3], list(numbers)[3:]] for split, numbers in SPLITS.items()}
    info = {"name": "nsynth", "fileFormat": "tfrecord", "splits": []}
    for split, parts in shards.items():
        parts = [part for part in parts if part]
        info["splits"].append({"name": split, "shardLengths": [str(len(part)) for part in parts]})
        for place, part in enumerate(parts):
            with open(folder / f"nsynth-{split}.tfrecord-{place:05d}-of-{len(parts):05d}", "wb") as file:
                for number in part:
                    wanted = example(number)
                    body = serialise(
                        {
                            "audio": wanted["audio"], "id": wanted["id"].encode(), "pitch": [wanted["pitch"]],
                            "velocity": [100], "instrument/label": [number], "instrument/family": [number % 11],
                            "instrument/source": [number % 3], "qualities/bright": [0],
                        }
                    )  # fmt: skip
                    head = struct.pack("<Q", len(body))
                    file.write(head + struct.pack("<I", _masked_crc(head)) + body + b"\0\0\0\0")
    (folder / "dataset_info.json").write_text(json.dumps(info))
    (folder / "instrument-label.labels.txt").write_text("\n".join(INSTRUMENTS))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds") / "nsynth" / "full" / "2.3.3"
    write_by_hand(folder)
    return folder


def test_masked_crc_of_a_known_length():
    # CRC-32C of 32 zero bytes is 8A9136AA (RFC 3720, B.4).
    assert _masked_crc(bytes(32)) == ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_protobuf_numbers():
    data = memoryview(serialise({"a": [0, 1, 300, -1, 2**40], "b": b"x", "c": np.array([1.5, -2.0])}))
    found = read_example(data, ("a", "b", "c"))
    assert found["a"].tolist() == [0, 1, 300, -1, 2**40]
    assert found["b"] == [b"x"]
    assert found["c"].tolist() == [1.5, -2.0]
    assert set(read_example(data, ("b",))) == {"b"}
    with pytest.raises(ValueError, match="too early"):
        read_example(data[:-3], ("c",))


def test_reads_shards_by_hand(prepared):
    source = TfdsSource(path=(str(prepared.parents[1]),))
    check(source.plan(), source)


def test_selection(prepared):
    records = TfdsSource(path=(str(prepared),), pitches=(61, 66)).plan()
    assert [r.id for r in records if r.split] == [example(1)["id"], example(6)["id"]]
    assert {r.left_out for r in records if not r.split} == {"not asked for (pitch)"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "dataset_info.json").unlink(), "no dataset_info.json"),
        (lambda folder: (folder / "dataset_info.json").write_text("{"), "not readable"),
        (lambda folder: (folder / "nsynth-test.tfrecord-00000-of-00001").unlink(), "is missing"),
        (lambda folder: os.truncate(folder / "nsynth-test.tfrecord-00000-of-00001", 300_000), "cut short"),
    ],
)
def test_damage_is_said(prepared, tmp_path, damage, message):
    folder = tmp_path / "copy"
    shutil.copytree(prepared, folder)
    damage(folder)
    with pytest.raises(ValueError, match=message) as error:
        TfdsSource(path=(str(folder),)).plan()
    assert "\n" not in str(error.value)
