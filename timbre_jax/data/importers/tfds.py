"""NSynth as tensorflow-datasets prepares it, read by its own parser without TensorFlow.

A prepared data set is a folder with `dataset_info.json`, `features.json`, label names and shards of serialized
`tf.train.Example`s, as TFRecord (the default) or array_record files. Every configuration of `nsynth` (full, gansynth_subset,
gansynth_subset.f0_and_loudness) has the features that are read here. TensorFlow is needed only to prepare one.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from timbre_jax.audio.io import AudioFileError
from timbre_jax.data.array_records import open_records
from timbre_jax.data.importers.base import FAMILIES, SAMPLES, SOURCES, SPLITS, Importer, Loaded, Record
from timbre_jax.data.importers.nsynth import LICENSE, Selection
from timbre_jax.settings import setting

_INFO = "dataset_info.json"
_TITLE = {"kind": "tfds", "title": "NSynth (tensorflow-datasets)", "license": LICENSE}


@dataclasses.dataclass(frozen=True)
class TfdsSource(Selection):
    """Notes of an NSynth that tensorflow-datasets prepared: `Selection`.

    `path` names folders with dataset_info.json (such as ~/tensorflow_datasets/nsynth/full/2.3.3), or one above them that
    holds exactly one. The splits are those it was prepared with, unless a `split_file` says others.

    Raises:
      ValueError: both a path and a data set, or a value outside its limits.
    """

    dataset: str = setting(
        "", "Data set to download and prepare, unless it is in ~/tensorflow_datasets (or TFDS_DATA_DIR): nsynth/full, or "
        "nsynth/gansynth_subset. Preparing takes TensorFlow.",
    )  # fmt: skip

    def __post_init__(self):
        super().__post_init__()
        if self.path and self.dataset:
            raise ValueError("--path and --dataset: give one, the folder of a prepared data set or the name of one to prepare")

    def importer(self) -> TfdsSource:
        """Returns the importer of the prepared data set, which is downloaded and prepared if it is not there."""
        return dataclasses.replace(self, path=(str(prepare_dataset(self.dataset)),), dataset="") if self.dataset else self

    def describe(self) -> dict[str, Any]:
        return {**_TITLE, **self.described()}

    def plan(self) -> list[Record]:
        if not self.path:
            raise ValueError("a prepared NSynth is needed with --path, such as ~/tensorflow_datasets/nsynth/full/2.3.3")
        records: list[Record] = []
        for path in self.path:
            folder = find_prepared(path)
            names = {kind: _label_names(folder, kind) for kind in ("label", "family", "source")}
            for split, file in _shards(folder):
                for where, raw in _raw_examples(file):
                    records.append(_record(split, where, _parse(_notes_parser(), raw, where), names))
        if not records:
            raise ValueError(f"{', '.join(self.path)}: the prepared data set holds no notes")
        return self.select(records)

    def load(self, record: Record, payload: Any) -> Loaded:
        file, place, size = record.where
        try:
            example = _audio_parser(os.path.dirname(file)).parse_example(_read(file, place, size))
        except Exception as error:  # protobuf's own kind, and whatever the parser makes of it
            raise AudioFileError(f"{record.id}: not a readable example ({type(error).__name__})") from None
        return loaded_note(record, example.get("audio"))


@dataclasses.dataclass(frozen=True)
class DataSourceImporter(Selection):
    """Notes of data sources of tensorflow-datasets, or of any sequences of examples in NSynth's form.

    Attributes:
      data: split to its examples, such as `builder.as_data_source()`; each has id, audio, pitch, velocity and instrument
        (label, family, source), labels as numbers or as text.
    """

    data: Mapping[str, Sequence[Mapping[str, Any]]] = dataclasses.field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        return {**_TITLE, **self.described()}

    def plan(self) -> list[Record]:
        if unknown := sorted(set(self.data) - set(SPLITS)):
            raise ValueError(f"split {unknown[0]!r}; {', '.join(SPLITS)} are read")
        records = []
        for split, examples in self.data.items():
            names = _names_of(examples)
            records += [_record(split, (split, k), examples[k], names) for k in range(len(examples))]
        return self.select(records)

    def load(self, record: Record, payload: Any) -> Loaded:
        split, position = record.where
        return loaded_note(record, self.data[split][position].get("audio"))


def tfds_importer(data: Any, **selection: Any) -> Importer:
    """Returns the importer of a builder or of data sources of tensorflow-datasets.

    Args:
      data: a builder of a prepared data set, what its `as_data_source()` returns, or a data source of one split.
      selection: settings of `Selection`.
    """
    if hasattr(data, "as_data_source"):
        return TfdsSource(path=(str(data.data_dir),), **selection)
    if not isinstance(data, Mapping):
        data = {str(data.split).split("[")[0]: data}  # "train[:10%]" is of train
    return DataSourceImporter(data=data, **selection)


def prepare_dataset(name: str) -> Path:
    """Returns the folder of a data set, downloaded and prepared by tensorflow-datasets if it is not there.

    Raises:
      ValueError: it has to be prepared and TensorFlow is not installed, or there is no such data set.
    """
    folder = Path(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser() / name
    if there := sorted(folder.glob(f"*/{_INFO}")):
        return there[-1].parent
    if importlib.util.find_spec("tensorflow") is None:
        raise ValueError(
            f"--dataset={name}: not in {folder}, and preparing it takes TensorFlow; pip install tensorflow apache-beam, or "
            "prepare it on another machine and give its folder with --path"
        )
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name)
    except tfds.core.DatasetNotFoundError:
        raise ValueError(f"--dataset={name}: tensorflow-datasets has no such data set; try nsynth/full") from None
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_dir)


def loaded_note(record: Record, audio: np.ndarray | None) -> Loaded:
    """Returns an example's audio as it goes into the store. Raises `AudioFileError` for one without finite audio."""
    if audio is None:
        raise AudioFileError(f"{record.id}: the example has no audio")
    audio = np.asarray(audio)
    # Where the feature was declared with whole numbers it holds 16-bit samples.
    wave = audio.astype(np.float32) / np.float32(1.0 if audio.dtype.kind == "f" else 32768.0)
    if not np.isfinite(wave).all():
        raise AudioFileError(f"{record.id}: NaN or infinite in {np.count_nonzero(~np.isfinite(wave))} of {wave.size} samples")
    remarks = () if len(wave) == SAMPLES else (f"{'cut' if len(wave) > SAMPLES else 'padded'} to 4 s",)
    return Loaded(wave[:SAMPLES], remarks=remarks)


def find_prepared(path: str) -> Path:
    """Returns the folder with dataset_info.json: the path itself, or the only one under it. Raises ValueError."""
    if not os.path.isdir(path):
        raise ValueError(f"{path}: no such folder")
    if os.path.isfile(os.path.join(path, _INFO)):
        return Path(path)
    found = [file for depth in ("*", "*/*", "*/*/*") for file in sorted(Path(path).glob(f"{depth}/{_INFO}"))]
    if not found:
        raise ValueError(f"{path}: no {_INFO} in it; give the folder that tensorflow-datasets prepared")
    if len(found) > 1:
        raise ValueError(f"{path}: holds several data sets ({', '.join(str(f.parent) for f in found[:3])}); name one")
    return found[0].parent


def _shards(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields (split, file) of all shards, train first."""
    try:
        info = json.loads((folder / _INFO).read_text(encoding="utf-8"))
        splits = {split["name"]: split for split in info["splits"]}
        counts = {name: len(split.get("shardLengths", [])) for name, split in splits.items()}
        kind, dataset = info.get("fileFormat", "tfrecord"), info.get("name", "nsynth")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder / _INFO}: not readable ({type(error).__name__}: {error})") from None
    if kind not in ("tfrecord", "array_record"):
        raise ValueError(f"{folder}: prepared as {kind!r}; tfrecord and array_record are read")
    unknown = sorted(set(splits) - set(SPLITS))
    if unknown:
        raise ValueError(f"{folder}: split {unknown[0]!r}; {', '.join(SPLITS)} are read")
    for split in (name for name in SPLITS if name in splits):
        template = splits[split].get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        for number in range(counts[split]):
            values = {
                "DATASET": dataset, "SPLIT": split, "FILEFORMAT": kind, "SHARD_INDEX": f"{number:05d}",
                "NUM_SHARDS": f"{counts[split]:05d}", "SHARD_X_OF_Y": f"{number:05d}-of-{counts[split]:05d}",
            }  # fmt: skip
            name = template
            for key, value in values.items():
                name = name.replace("{" + key + "}", value)
            if not (folder / name).is_file():
                raise ValueError(f"{folder / name}: is missing; prepare the data set again")
            yield split, folder / name


def _label_names(folder: Path, kind: str) -> list[str]:
    """Returns the class names of instrument/label, family or source, as tfds writes them beside the data."""
    file = folder / f"instrument-{kind}.labels.txt"
    if not file.is_file():
        return list(FAMILIES) if kind == "family" else list(SOURCES) if kind == "source" else []
    return file.read_text(encoding="utf-8").split("\n")


def _names_of(examples: Any) -> dict[str, list[str]]:
    """Returns the class names that a data source states, else NSynth's."""
    names = {"label": [], "family": list(FAMILIES), "source": list(SOURCES)}
    info = getattr(examples, "dataset_info", None)  # of tfds' own data sources
    if info is not None:
        names |= {kind: info.features["instrument"][kind].names or names[kind] for kind in names}
    return names


# Examples. -------------------------------------------------------------------------------------------------------------


def _parser(specs: Mapping[str, tuple[tuple, Any]]):
    """Returns tensorflow-datasets' parser of some features: {name: (shape, dtype)}."""
    from tensorflow_datasets.core.example_parser import ExampleParserNp
    from tensorflow_datasets.core.features.feature import TensorInfo

    return ExampleParserNp({name: TensorInfo(shape=shape, dtype=dtype) for name, (shape, dtype) in specs.items()})


@functools.cache
def _notes_parser():
    numbers = ("pitch", "velocity", "instrument/label", "instrument/family", "instrument/source")
    return _parser({"id": ((), np.object_), **{name: ((), np.int64) for name in numbers}})


@functools.lru_cache(maxsize=16)
def _audio_parser(folder: str):
    """Returns the parser of the audio, of the type that features.json declares."""
    try:
        features = json.loads(Path(folder, "features.json").read_text(encoding="utf-8"))["featuresDict"]["features"]
        declared = features["audio"]["audio"]["dtype"]
    except (OSError, ValueError, KeyError, TypeError):
        declared = "float32"
    return _parser({"audio": ((None,), np.dtype(declared).type)})


def _parse(parser: Any, raw: bytes, where: tuple) -> Mapping[str, Any]:
    try:
        return parser.parse_example(raw)
    except Exception as error:  # protobuf's own kind, and whatever the parser makes of it
        raise ValueError(f"{where[0]}: example {where[1]} is broken or not NSynth's ({type(error).__name__})") from None


def _record(split: str, where: tuple, example: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> Record:
    flat = {**example, **{f"instrument/{key}": value for key, value in (example.get("instrument") or {}).items()}}

    def number(name: str) -> int:
        value = flat.get(name, -1)
        return int(value) if not isinstance(value, str | bytes) else -1

    def named(kind: str) -> str:
        value = flat.get(f"instrument/{kind}", -1)
        if isinstance(value, str | bytes):
            return _text(value)
        return names[kind][int(value)] if 0 <= int(value) < len(names[kind]) else ""

    note = _text(flat.get("id", b""))
    instrument = named("label") or note.rsplit("-", 2)[0]
    if not note or not instrument or number("pitch") < 0:
        raise ValueError(f"{where[0]}: example {where[1]} has no id, instrument or pitch; this is not NSynth")
    return Record(
        id=note, split=split, instrument=instrument, family=named("family"), source=named("source"),
        pitch=number("pitch"), velocity=number("velocity"), preset="", where=where,
    )  # fmt: skip


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _raw_examples(file: Path) -> Iterator[tuple[tuple[str, int, int], bytes]]:
    """Yields ((file, place, size), serialized example) of a shard; of array_record the place is a number and the size -1."""
    if ".array_record-" in file.name:
        reader = _array_reader(str(file))
        for number in range(reader.num_records()):
            yield (str(file), number, -1), reader.read([number])[0]
        return
    # grain reads TFRecord files as well, but importing it imports JAX: .8 s of every run, and 100 MB.
    end = file.stat().st_size
    with open(file, "rb") as handle:
        while head := handle.read(12):  # the length of the record and its check sum
            place, size = handle.tell(), int.from_bytes(head[:8], "little")
            if len(head) < 12 or place + size + 4 > end:
                raise ValueError(f"{file}: broken or cut short at byte {place - len(head)}; prepare the data set again")
            yield (str(file), place, size), handle.read(size)
            handle.seek(4, os.SEEK_CUR)  # the check sum of the record


def _read(file: str, place: int, size: int) -> bytes:
    if size < 0:
        return _array_reader(file).read([place])[0]
    with open(file, "rb") as handle:
        handle.seek(place)
        return handle.read(size)


_array_reader = functools.lru_cache(maxsize=16)(open_records)
