"""Imports NSynth as published: folders or archives of `examples.json` and `audio/*.wav`.

Engel et al. 2017, "Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders"; license CC BY 4.0. An archive is read as
a stream, once to list its files and once to read its sounds, and never unpacked. FLAC files are read as well.
"""

from __future__ import annotations

import codecs
import dataclasses
import io
import json
import os
import re
import sys
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from timbre_jax.audio.io import AUDIO_SUFFIXES, AudioFileError, read_wave, resample
from timbre_jax.data.importers.base import FAMILIES, SAMPLE_RATE, SAMPLES, SECONDS, SOURCES, SPLITS, LoadedSound, Record
from timbre_jax.data.importers.options import NoteSettings
from timbre_jax.data.importers.splits import read_split_file, split_groups
from timbre_jax.settings import setting

FRACTIONS = (0.8, 0.1, 0.1)
LICENSE = "NSynth: CC BY 4.0, with credit to Engel et al. 2017"
_NAME = re.compile(
    rf"(?P<instrument>(?P<family>{'|'.join(FAMILIES)})_(?P<source>{'|'.join(SOURCES)})_\d+)-(?P<pitch>\d+)-(?P<velocity>\d+)"
)


@dataclasses.dataclass(frozen=True)
class NSynthSettings(NoteSettings):
    """Settings that select notes of NSynth, in any file format.

    Raises:
      ValueError: a family is unknown, or a value is out of range.
    """

    split_file: str = setting(
        "", 'JSON file {"train": [instruments], "valid": [...], "test": [...]}; other instruments are left out. Default: the '
        "splits that the names of the files state.",
    )  # fmt: skip

    def describe_settings(self) -> dict[str, Any]:
        """Returns these settings for the index of a store."""
        return {
            "paths": [os.path.basename(os.path.normpath(path)) for path in self.path],
            **super().describe_settings(),
            "splits": read_split_file(self.split_file) if self.split_file else "as the files say",
        }  # fmt: skip

    def select(self, records: list[Record]) -> list[Record]:
        """Returns the records with their splits, or with the reason why they are not selected."""
        named = read_split_file(self.split_file) if self.split_file else None
        if named is None and any(not record.split for record in records):
            families = {r.instrument: r.family for r in records if not r.split and not r.left_out}
            own = split_groups(families, fractions=FRACTIONS, seed=self.seed)
            records = [r if r.split or r.left_out else r._replace(split=own[r.instrument]) for r in records]
        result, selected = [], []
        for position, record in enumerate(records):
            split = record.split if named is None else named.get(record.instrument, "")
            reason = record.left_out or self._rejection(record, split)
            result.append(record._replace(split="" if reason else split, left_out=reason))
            if not reason:
                selected.append(position)
        if 0 < self.number < len(selected):
            for position in sorted(set(selected) - self._draw(records, selected)):
                result[position] = result[position]._replace(split="", left_out="not selected (beyond --number)")
        return result

    def _rejection(self, record: Record, split: str) -> str:
        """Returns the reason why a record is not selected, or ""."""
        if not split:
            return "not selected (instrument not in the split file)"
        if self.families and record.family not in self.families:
            return "not selected (family)"
        if self.pitches and record.pitch not in self.pitches:
            return "not selected (pitch)"
        if self.velocities and record.velocity not in self.velocities:
            return "not selected (velocity)"
        return ""

    def _draw(self, records: list[Record], positions: list[int]) -> set[int]:
        """Returns `number` of the positions, evenly over instruments."""
        of_instrument: dict[str, list[int]] = {}
        for position in np.random.default_rng(self.seed).permutation(positions).tolist():
            of_instrument.setdefault(records[position].instrument, []).append(position)
        chosen: set[int] = set()
        while len(chosen) < self.number:
            for remaining in of_instrument.values():
                if remaining and len(chosen) < self.number:
                    chosen.add(remaining.pop())
        return chosen


@dataclasses.dataclass(frozen=True)
class NSynthImporter(NSynthSettings):
    """Importer of NSynth notes in folders or archives.

    `path` names folders with examples.json and audio/, folders of such folders, or .tar.gz files. Without a `split_file` the
    name of a part is its split (nsynth-train, nsynth-valid, nsynth-test); instruments of parts with other names are split
    80/10/10 by family.
    """

    def describe(self) -> dict[str, Any]:
        """Returns the settings for the index of a store."""
        return {"kind": "nsynth", "title": "NSynth", "license": LICENSE, **self.describe_settings()}

    def plan(self) -> list[Record]:
        """Returns one record per note."""
        if not self.path:
            raise ValueError("--path: missing; give a folder of NSynth (examples.json and audio/) or a .tar.gz archive")
        records: list[Record] = []
        for part, path in enumerate(find_parts(self.path)):
            listed = _archive_records(path) if _is_archive(path) else _folder_records(path)
            split = _split_of_name(path)
            for record in listed:
                # One archive may contain several parts of NSynth, each in its folder.
                own = split or _split_of_name(record.location.split("/")[0])
                records.append(record._replace(split=own, location=(part, record.location)))
        if not records:
            raise ValueError(f"{', '.join(self.path)}: no notes (expected audio/*.wav)")
        return self.select(records)

    def fetch(self, records: list[Record], positions: Iterable[int]) -> Iterator[tuple[int, Any]]:
        """Yields (position, payload): the bytes of a file from an archive, or its folder."""
        parts = find_parts(self.path)
        by_part: dict[int, list[int]] = {}
        for position in positions:
            by_part.setdefault(records[position].location[0], []).append(position)
        for part, members in sorted(by_part.items()):
            if not _is_archive(parts[part]):
                yield from ((position, parts[part]) for position in members)
                continue
            waiting = {records[position].location[1]: position for position in members if records[position].location[1]}
            absent = [position for position in members if not records[position].location[1]]
            for name, file in _archive_files(parts[part]):
                position = waiting.pop(name, None)
                if position is not None:
                    yield position, file.read()
                if not waiting:
                    break
            yield from ((position, None) for position in sorted([*absent, *waiting.values()]))

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Loads a note."""
        name = record.location[1]
        if isinstance(payload, bytes):
            return read_note(io.BytesIO(payload), name=name)
        if payload is None or not name:
            raise AudioFileError(f"{record.id}: no sound file (expected from examples.json)")
        return read_note(os.path.join(payload, name), name=name)


def read_note(file: str | BinaryIO, *, name: str) -> LoadedSound:
    """Reads up to 4 s of a sound file as 16 kHz mono, with remarks on all changes."""
    import soundfile

    remarks = []
    try:
        info = soundfile.info(file)
        if hasattr(file, "seek"):
            file.seek(0)
    except (RuntimeError, OSError):
        info = None  # read_wave raises the error
    wave, rate = read_wave(file, duration=SECONDS, name=name)
    if info is not None and info.channels > 1:
        remarks.append(f"mixed to mono ({info.channels} channels)")
    if info is not None and info.frames > round(SECONDS * rate):
        remarks.append(f"cut to 4 s ({info.frames / rate:.1f} s)")
    if rate != SAMPLE_RATE:
        wave = resample(wave, rate, SAMPLE_RATE)
        remarks.append(f"resampled ({rate} Hz)")
    if len(wave) < SAMPLES and info is not None and info.frames < round(SECONDS * rate):
        remarks.append(f"padded to 4 s ({len(wave) / SAMPLE_RATE:.2f} s)")
    return LoadedSound(np.ascontiguousarray(wave[:SAMPLES], np.float32), remarks=tuple(remarks))


def find_parts(paths: Iterable[str]) -> list[str]:
    """Returns the NSynth folders and archives in some paths, in order.

    Raises:
      ValueError: a path does not exist or does not contain NSynth.
    """
    parts: list[str] = []
    for path in paths:
        if os.path.isfile(path):
            if not _is_archive(path):
                raise ValueError(f"{path}: not an NSynth folder or a .tar.gz file")
            parts.append(path)
        elif not os.path.isdir(path):
            raise ValueError(f"{path}: no such folder or file")
        elif _is_part(path):
            parts.append(path)
        else:
            inner = sorted(os.path.join(path, name) for name in os.listdir(path))
            parts_inside = [entry for entry in inner if _is_archive(entry) or (os.path.isdir(entry) and _is_part(entry))]
            if not parts_inside:
                state = "is empty" if not inner else "contains no examples.json, audio folder or .tar.gz archive"
                raise ValueError(f"{path}: {state}; give the folder with examples.json and audio/, or the .tar.gz")
            parts += parts_inside
    return parts


def _is_part(path: str) -> bool:
    """Returns whether a folder contains notes of NSynth."""
    return os.path.isfile(os.path.join(path, "examples.json")) or os.path.isdir(os.path.join(path, "audio"))


def _is_archive(path: str) -> bool:
    """Returns whether a path is a tar archive."""
    return os.path.isfile(path) and path.endswith((".tar.gz", ".tgz", ".tar"))


def _split_of_name(path: str) -> str:
    """Returns the split that a file or folder name states, or ""."""
    name = os.path.basename(os.path.normpath(path)).lower()
    splits = [split for split in SPLITS if re.search(rf"(^|[\W_]){split}([\W_]|$)", name)]
    return splits[0] if splits else ""


def _record(note: str, entry: Mapping[str, Any] | None, location: str) -> Record | None:
    """Returns the record of a note from its entry in examples.json or from its name, or None."""
    if entry is not None:
        try:
            names = (str(entry[f"instrument{part}_str"]) for part in ("", "_family", "_source"))
            return Record(note, "", *names, int(entry["pitch"]), int(entry["velocity"]), "", location)
        except (KeyError, TypeError, ValueError):
            pass
    match = _NAME.fullmatch(note)
    if not match:
        return None
    return Record(
        note, "", sys.intern(match["instrument"]), sys.intern(match["family"]), sys.intern(match["source"]),
        int(match["pitch"]), int(match["velocity"]), "", location,
    )  # fmt: skip


def _records(files: dict[str, str], entries: dict[str, Record], complete: bool) -> list[Record]:
    """Returns the records of all files, then those of the entries that lack a file."""
    records = []
    for note, name in files.items():
        record = entries.pop(note, None) or (None if complete else _record(note, None, name))
        if record is None:
            reason = "unreadable (not in examples.json)" if complete else "unreadable (not a name of NSynth)"
            record = Record(note, "", "", "", "", -1, -1, "", name, reason)
        records.append(record._replace(location=name))
    return records + [record._replace(location="") for record in entries.values()]


def read_examples(file: BinaryIO, *, name: str) -> dict[str, Record]:
    """Reads examples.json entry by entry, since that of the whole NSynth is 250 MB of text.

    Args:
      file: open file.
      name: name of the file in errors.

    Returns:
      Records by note.

    Raises:
      ValueError: the file is not an examples.json of NSynth.
    """
    decoder, text, place = json.JSONDecoder(), "", 0
    decode = codecs.getincrementaldecoder("utf-8")().decode
    records: dict[str, Record] = {}
    pattern = re.compile(r'[\s,{]*("(?:[^"\\]|\\.)*")\s*:\s*')
    end = False
    try:
        while True:
            start = pattern.match(text, place)
            try:
                entry, stop = decoder.raw_decode(text, start.end()) if start else (None, 0)
            except ValueError:
                if end:
                    raise
                stop = 0  # the entry continues in the next block
            if stop:
                note = json.loads(start[1])
                record = _record(note, entry if isinstance(entry, dict) else None, "")
                if record is None:
                    raise ValueError(f"entry {note!r} has no pitch, velocity or instrument")
                records[note], place = record, stop
            elif not end:
                block = file.read(1 << 18)
                text, place, end = text[place:] + decode(block, not block), 0, not block
            elif text[place:].strip(" \t\r\n,{") == "}":
                return records
            else:
                raise ValueError("the file is cut short")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not an examples.json of NSynth ({' '.join(str(error).split())[:120]})") from None


def _folder_records(path: str) -> Iterator[Record]:
    """Yields the records of a folder."""
    folder = Path(path)
    files: dict[str, str] = {}
    audio = folder / "audio" if (folder / "audio").is_dir() else folder
    for entry in sorted(os.listdir(audio)):
        note, suffix = os.path.splitext(entry)
        if suffix.lower() in AUDIO_SUFFIXES and files.get(note, "").lower()[-4:] != ".wav":
            files[note] = os.path.join(audio.name, entry) if audio is not folder else entry
    entries, complete = {}, (folder / "examples.json").is_file()
    if complete:
        with open(folder / "examples.json", "rb") as file:
            entries = read_examples(file, name=str(folder / "examples.json"))
    yield from _records(files, entries, complete)


def _archive_records(path: str) -> Iterator[Record]:
    """Yields the records of an archive."""
    files: dict[str, str] = {}
    entries, complete = {}, False
    for name, file in _archive_files(path):
        note, suffix = os.path.splitext(os.path.basename(name))
        if os.path.basename(name) == "examples.json":
            entries |= read_examples(file, name=f"{path}:{name}")
            complete = True
        elif suffix.lower() in AUDIO_SUFFIXES and not files.get(note, "").lower().endswith(".wav"):
            files[note] = name
    yield from _records(files, entries, complete)


def _archive_files(path: str) -> Iterator[tuple[str, BinaryIO]]:
    """Yields name and file of an archive's members. Raises ValueError if it is damaged."""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                archive.members = []  # otherwise the list of members grows with the number of notes
                if member.isfile() and not os.path.basename(member.name).startswith("._"):
                    file = archive.extractfile(member)
                    if file is not None:
                        yield member.name, file
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{path}: damaged archive ({text}); download it again") from None
