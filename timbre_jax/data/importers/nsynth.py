"""NSynth as it is handed out: `examples.json` and `audio/*.wav`, as a folder or as the tar.gz as downloaded.

Engel et al. 2017, "Neural Audio Synthesis of Musical Notes with WaveNet Autoencoders"; license CC BY 4.0. An archive is read
as a stream, twice (what is there; the sounds), and never unpacked. FLAC files beside or instead of WAV are fine.
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
from timbre_jax.data.importers.base import FAMILIES, SAMPLE_RATE, SAMPLES, SECONDS, SOURCES, SPLITS, Loaded, Record
from timbre_jax.data.importers.options import NoteSettings
from timbre_jax.data.importers.splits import read_split_file, split_groups
from timbre_jax.settings import setting

FRACTIONS = (0.8, 0.1, 0.1)
LICENSE = "NSynth: CC BY 4.0, with credit to Engel et al. 2017"
_NAME = re.compile(
    rf"(?P<instrument>(?P<family>{'|'.join(FAMILIES)})_(?P<source>{'|'.join(SOURCES)})_\d+)-(?P<pitch>\d+)-(?P<velocity>\d+)"
)


@dataclasses.dataclass(frozen=True)
class Selection(NoteSettings):
    """Choice of the notes of an NSynth, in whatever form it comes.

    Raises:
      ValueError: an unknown family, or a value outside its limits.
    """

    split_file: str = setting(
        "", 'JSON {"train": [instruments], "valid": [..], "test": [..]}; others are left out. By default the splits that the '
        "files' names say.",
    )  # fmt: skip

    def described(self) -> dict[str, Any]:
        return {
            "paths": [os.path.basename(os.path.normpath(path)) for path in self.path],
            "splits": read_split_file(self.split_file) if self.split_file else "as the files say", **super().described(),
        }  # fmt: skip

    def select(self, records: list[Record]) -> list[Record]:
        """Gives every record its split, or the reason why it is not asked for."""
        named = read_split_file(self.split_file) if self.split_file else None
        if named is None and any(not record.split for record in records):
            families = {r.instrument: r.family for r in records if not r.split and not r.left_out}
            own = split_groups(families, fractions=FRACTIONS, seed=self.seed)
            records = [r if r.split or r.left_out else r._replace(split=own[r.instrument]) for r in records]
        result, asked = [], []
        for position, record in enumerate(records):
            split = record.split if named is None else named.get(record.instrument, "")
            reason = record.left_out or self._not_asked(record, split)
            result.append(record._replace(split="" if reason else split, left_out=reason))
            if not reason:
                asked.append(position)
        if 0 < self.number < len(asked):
            for position in sorted(set(asked) - self._draw(records, asked)):
                result[position] = result[position]._replace(split="", left_out="not asked for (beyond --number)")
        return result

    def _not_asked(self, record: Record, split: str) -> str:
        if not split:
            return "not asked for (instrument not in the split file)"
        if self.families and record.family not in self.families:
            return "not asked for (family)"
        if self.pitches and record.pitch not in self.pitches:
            return "not asked for (pitch)"
        if self.velocities and record.velocity not in self.velocities:
            return "not asked for (velocity)"
        return ""

    def _draw(self, records: list[Record], positions: list[int]) -> set[int]:
        """As many of the positions as `number` says, as evenly over instruments as they have notes."""
        piles: dict[str, list[int]] = {}
        for position in np.random.default_rng(self.seed).permutation(positions).tolist():
            piles.setdefault(records[position].instrument, []).append(position)
        chosen: set[int] = set()
        while len(chosen) < self.number:
            for pile in piles.values():
                if pile and len(chosen) < self.number:
                    chosen.add(pile.pop())
        return chosen


@dataclasses.dataclass(frozen=True)
class NSynthSource(Selection):
    """Notes of NSynth folders or archives: `Selection`.

    `path` names folders that hold examples.json and audio/, folders of such folders, or .tar.gz files. Without a
    `split_file`, a part is the split that its name says (nsynth-train, nsynth-valid, nsynth-test), and instruments of parts
    whose names say none are split 80/10/10 by family.
    """

    def describe(self) -> dict[str, Any]:
        return {"kind": "nsynth", "title": "NSynth", "license": LICENSE, **self.described()}

    def plan(self) -> list[Record]:
        if not self.path:
            raise ValueError("NSynth is needed with --path: its folder (examples.json, audio/) or its .tar.gz")
        records: list[Record] = []
        for part, path in enumerate(find_parts(self.path)):
            listed = _archive(path) if _is_archive(path) else _folder(path)
            split = _split_of_name(path)
            for record in listed:
                # One archive may hold several of NSynth's parts, each in its folder.
                own = split or _split_of_name(record.where.split("/")[0])
                records.append(record._replace(split=own, where=(part, record.where)))
        if not records:
            raise ValueError(f"{', '.join(self.path)}: no notes (audio/*.wav) in it")
        return self.select(records)

    def fetch(self, records: list[Record], wanted: Iterable[int]) -> Iterator[tuple[int, Any]]:
        parts = find_parts(self.path)
        by_part: dict[int, list[int]] = {}
        for position in wanted:
            by_part.setdefault(records[position].where[0], []).append(position)
        for part, positions in sorted(by_part.items()):
            if not _is_archive(parts[part]):
                yield from ((position, parts[part]) for position in positions)
                continue
            waiting = {records[position].where[1]: position for position in positions if records[position].where[1]}
            absent = [position for position in positions if not records[position].where[1]]
            for name, file in _members(parts[part]):
                position = waiting.pop(name, None)
                if position is not None:
                    yield position, file.read()
                if not waiting:
                    break
            yield from ((position, None) for position in sorted([*absent, *waiting.values()]))

    def load(self, record: Record, payload: Any) -> Loaded:
        name = record.where[1]
        if isinstance(payload, bytes):
            return read_note(io.BytesIO(payload), name=name)
        if payload is None or not name:
            raise AudioFileError(f"{record.id}: listed in examples.json, but there is no sound file of that name")
        return read_note(os.path.join(payload, name), name=name)


def read_note(file: str | BinaryIO, *, name: str) -> Loaded:
    """Reads at most 4 s of a sound as 16 kHz mono; what was done to it is in the remarks."""
    import soundfile

    remarks = []
    try:
        info = soundfile.info(file)
        if hasattr(file, "seek"):
            file.seek(0)
    except (RuntimeError, OSError):
        info = None  # read_wave says why
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
    return Loaded(np.ascontiguousarray(wave[:SAMPLES], np.float32), remarks=tuple(remarks))


def find_parts(paths: Iterable[str]) -> list[str]:
    """The NSynth folders and archives that the paths name, in order; a folder of parts counts for each of them.

    Raises:
      ValueError: a path that is not there, or holds no NSynth.
    """
    parts: list[str] = []
    for path in paths:
        if os.path.isfile(path):
            if not _is_archive(path):
                raise ValueError(f"{path}: not an NSynth folder and not a .tar.gz file")
            parts.append(path)
        elif not os.path.isdir(path):
            raise ValueError(f"{path}: no such folder or file")
        elif _is_part(path):
            parts.append(path)
        else:
            inner = sorted(os.path.join(path, name) for name in os.listdir(path))
            found = [entry for entry in inner if _is_archive(entry) or (os.path.isdir(entry) and _is_part(entry))]
            if not found:
                state = "is empty" if not inner else "holds no examples.json, no audio folder and no NSynth .tar.gz"
                raise ValueError(f"{path}: {state}; give the folder with examples.json and audio/, or the .tar.gz")
            parts += found
    return parts


def _is_part(path: str) -> bool:
    return os.path.isfile(os.path.join(path, "examples.json")) or os.path.isdir(os.path.join(path, "audio"))


def _is_archive(path: str) -> bool:
    return os.path.isfile(path) and path.endswith((".tar.gz", ".tgz", ".tar"))


def _split_of_name(path: str) -> str:
    name = os.path.basename(os.path.normpath(path)).lower()
    found = [split for split in SPLITS if re.search(rf"(^|[\W_]){split}([\W_]|$)", name)]
    return found[0] if found else ""


def _record(note: str, entry: Mapping[str, Any] | None, where: str) -> Record | None:
    """A record from its line in examples.json, or from NSynth's way of naming files; None where neither says it."""
    if entry is not None:
        try:
            names = (str(entry[f"instrument{part}_str"]) for part in ("", "_family", "_source"))
            return Record(note, "", *names, int(entry["pitch"]), int(entry["velocity"]), "", where)
        except (KeyError, TypeError, ValueError):
            pass
    match = _NAME.fullmatch(note)
    if not match:
        return None
    return Record(
        note, "", sys.intern(match["instrument"]), sys.intern(match["family"]), sys.intern(match["source"]),
        int(match["pitch"]), int(match["velocity"]), "", where,
    )  # fmt: skip


def _records(files: dict[str, str], entries: dict[str, Record], complete: bool) -> list[Record]:
    """Joins sound files (note -> name) with examples.json's entries; sounds in their order, then entries without one."""
    records = []
    for note, name in files.items():
        record = entries.pop(note, None) or (None if complete else _record(note, None, name))
        if record is None:
            reason = "unreadable (not in examples.json)" if complete else "unreadable (its name is not one of NSynth's)"
            record = Record(note, "", "", "", "", -1, -1, "", name, reason)
        records.append(record._replace(where=name))
    return records + [record._replace(where="") for record in entries.values()]


def read_examples(file: BinaryIO, *, name: str) -> dict[str, Record]:
    """examples.json as note -> record, read entry by entry: the whole of NSynth's is 250 MB of text.

    Raises:
      ValueError: not such a file.
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
                stop = 0  # cut by the end of the block
            if stop:
                note = json.loads(start[1])
                record = _record(note, entry if isinstance(entry, dict) else None, "")
                if record is None:
                    raise ValueError(f"the entry {note!r} lacks pitch, velocity or instrument")
                records[note], place = record, stop
            elif not end:
                block = file.read(1 << 18)
                text, place, end = text[place:] + decode(block, not block), 0, not block
            elif text[place:].strip(" \t\r\n,{") == "}":
                return records
            else:
                raise ValueError("it ends too early")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name}: not NSynth's examples.json ({' '.join(str(error).split())[:120]})") from None


def _folder(path: str) -> Iterator[Record]:
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


def _archive(path: str) -> Iterator[Record]:
    files: dict[str, str] = {}
    entries, complete = {}, False
    for name, file in _members(path):
        note, suffix = os.path.splitext(os.path.basename(name))
        if os.path.basename(name) == "examples.json":
            entries |= read_examples(file, name=f"{path}:{name}")
            complete = True
        elif suffix.lower() in AUDIO_SUFFIXES and not files.get(note, "").lower().endswith(".wav"):
            files[note] = name
    yield from _records(files, entries, complete)


def _members(path: str) -> Iterator[tuple[str, BinaryIO]]:
    """The files of an archive, in its order. Raises ValueError where it is broken."""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                archive.members = []  # a stream's list of all members would grow with the number of notes
                if member.isfile() and not os.path.basename(member.name).startswith("._"):
                    file = archive.extractfile(member)
                    if file is not None:
                        yield member.name, file
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{path}: not a whole tar.gz archive ({text}); download it again") from None
