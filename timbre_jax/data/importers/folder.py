"""Sample libraries: folders of sound files, each one sound, with a class from its folder, from words in its name, or none."""

from __future__ import annotations

import dataclasses
import hashlib
import html
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from timbre_jax.audio.io import AUDIO_SUFFIXES, OTHER_AUDIO_SUFFIXES, AudioFileError, read_wave, resample
from timbre_jax.data.importers.base import UNSORTED, Form, Loaded, Place, Record
from timbre_jax.data.importers.library import FRACTIONS, arrange_library, check_library, library_form, select_classes, trim
from timbre_jax.data.prepare.class_rules import UNLABELLED, Rule, class_of_names, read_rules
from timbre_jax.data.prepare.duplicates import mark

CLASSES = ("folder", "top_folder", "words", "none")
LEAD_SECONDS = 20.0
"""So much of a file before its onset is looked through; a sound that begins later counts as silent."""
LOADER_VERSION = 1  # raised when files come to be loaded differently, so that older stores are not taken for the same


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Sounds of folders, recursively: WAV, AIFF, FLAC, OGG and MP3 files, mixed to mono, at one rate, their level kept.

    Hidden files and folders are passed over, links followed (a folder that is reached twice counts once). A sound's id is its
    path below its folder, with the folder's name before it where there are several; its source is the first folder on that
    path: the kit. Copies of a sound stay on one side of the split.

    Attributes:
      paths: folders.
      classes: "folder" for the name of the folder that a file lies in, "top_folder" for the first on the way to it, "words" for
        words in its name or what a Hydrogen drumkit.xml beside it calls it, else in its folders' names, by the table of drum
        words; the path of such a table; or "none".
      labels: classes to keep; none means all.
      unlabelled: keep sounds without a class.
      sample_rate: in Hz, 8000 to 48000.
      seconds: the length that sounds are cut or padded to; 0 keeps their own up to `max_seconds`.
      trim: cut off what lies before the onset (`library.trim`), and digital silence at the end.
      duplicates: "one" of all copies of a sound, of those with the same samples ("exact"), or "all" are kept.
      fractions: shares of train, valid and test.
      number: how many sounds, drawn evenly over classes; 0 means all.
      seed: of the splits and that draw.

    Raises ValueError for settings that are out of range.
    """

    paths: tuple[str, ...] = ()
    classes: str = "folder"
    labels: tuple[str, ...] = ()
    unlabelled: bool = True
    sample_rate: int = 16000
    seconds: float = 2.0
    max_seconds: float = 40.0
    trim: bool = True
    duplicates: str = "one"
    fractions: tuple[float, ...] = FRACTIONS
    number: int = 0
    seed: int = 0

    def __post_init__(self):
        check_library(fractions=self.fractions, duplicates=self.duplicates, number=self.number)
        library_form(self.sample_rate, self.seconds, self.max_seconds)
        if self.classes not in CLASSES and not os.path.isfile(self.classes):
            raise ValueError(f"classes {self.classes!r}: one of {', '.join(CLASSES)} or a file of class words is needed")

    @property
    def form(self) -> Form:
        return library_form(self.sample_rate, self.seconds, self.max_seconds)

    def _rules(self) -> tuple[Rule, ...]:
        if self.classes in ("folder", "top_folder", "none"):
            return ()
        return read_rules(None if self.classes == "words" else self.classes)

    def describe(self) -> dict[str, Any]:
        rules = hashlib.sha256(repr(self._rules()).encode()).hexdigest()[:16] if self._rules() else ""
        return {
            "kind": "folder", "title": f"sounds of {', '.join(readable(name) for name in root_names(self.paths))}",
            "licence": "that of the files", "classes": os.path.basename(self.classes), "class_words": rules,
            "labels": list(self.labels), "unlabelled": self.unlabelled, "sample_rate": self.sample_rate,
            "seconds": self.seconds, "max_seconds": 0 if self.seconds else self.max_seconds, "trim": self.trim,
            "duplicates": self.duplicates, "fractions": list(self.fractions), "number": self.number, "seed": self.seed,
            "loader": LOADER_VERSION,
        }  # fmt: skip

    def plan(self) -> list[Record]:
        if not self.paths:
            raise ValueError("a folder of sounds is needed with --path: DIR, or several with commas")
        rules, several = self._rules(), len(self.paths) > 1
        kits = [KitNames(path) for path in self.paths]
        records = []
        for root, name, found in find_sounds(self.paths):
            folders = found.path.split("/")[:-1]
            label = self._label(found.path, [name, *folders], kits[root], rules)
            identity = readable(f"{name}/{found.path}" if several else found.path)
            records.append(
                Record(
                    id=identity, split="" if found.problem else UNSORTED, instrument="",
                    family=readable(label) or UNLABELLED, source=readable(folders[0] if folders else name), pitch=-1,
                    velocity=-1, preset="", where=(root, found.path, found.size, found.changed), left_out=found.problem,
                )
            )  # fmt: skip
        return select_classes(
            unique(records), labels=self.labels, unlabelled=self.unlabelled, number=self.number, seed=self.seed
        )

    def _label(self, path: str, folders: list[str], kits: KitNames, rules: tuple[Rule, ...]) -> str:
        if self.classes == "none":
            return ""
        if self.classes == "folder":
            return folders[-1]
        if self.classes == "top_folder":
            return folders[1] if len(folders) > 1 else folders[0]
        stem = os.path.splitext(path.rsplit("/", 1)[-1])[0]
        for names in ((stem, kits.name_of(path)), *((folder,) for folder in reversed(folders))):
            label = class_of_names(names, rules)
            if label is not None:
                return label
        return ""

    def fetch(self, records: list[Record], wanted: Iterable[int]) -> Iterator[tuple[int, Any]]:
        for position in wanted:
            yield position, None

    def load(self, record: Record, payload: Any) -> Loaded:
        root, path, _, _ = record.where
        form = self.form
        limit = form.samples / form.sample_rate
        try:
            # Opened here, as libsndfile does not take every name that the system has.
            with open(os.path.join(self.paths[root], path), "rb") as file:
                frames, channels = _header(file)
                wave, rate = read_wave(file, duration=limit + (LEAD_SECONDS if self.trim else 0.1), name=record.id)
        except OSError as error:
            raise AudioFileError(f"{record.id}: cannot be read ({error.strerror or error})") from None
        remarks = [f"mixed to mono ({channels} channels)"] if channels > 1 else []
        seconds = max(frames, len(wave)) / rate
        if self.trim:
            wave, before = trim(wave, rate)
            if before > 0.005:
                remarks.append(f"silence before the onset cut ({before:.3f} s)")
            seconds -= before
        if rate != form.sample_rate:
            wave = resample(wave[: round((limit + 0.1) * rate)], rate, form.sample_rate)
            remarks.append(f"resampled ({rate} Hz)")
        if len(wave) > form.samples:
            remarks.append(f"cut to {limit:g} s ({seconds:.1f} s)")
            wave = wave[: form.samples]
        wave = np.ascontiguousarray(wave, np.float32)
        return Loaded(wave, remarks=tuple(remarks), mark=mark(wave, form.sample_rate, rate))

    def arrange(self, rows: list[Mapping[str, Any]], read: Callable[[int], np.ndarray]) -> list[Place]:
        return arrange_library(
            rows, read, rate=self.sample_rate, fractions=self.fractions, seed=self.seed, duplicates=self.duplicates
        )


def _header(file) -> tuple[int, int]:
    """Frames and channels of an open sound file; (0, 1) where its header cannot be read: reading it says why."""
    import soundfile

    try:
        info = soundfile.info(file)
        return info.frames, info.channels
    except (RuntimeError, OSError):
        return 0, 1
    finally:
        file.seek(0)


# Files and their names. --------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """A file below a folder: its path there with / between, its suffix in lower case, or why it cannot be read."""

    path: str
    suffix: str
    size: int = 0
    changed: int = 0
    problem: str = ""


def find_files(root: str, visited: set[tuple[int, int]]) -> Iterator[FoundFile]:
    """All files below a folder in the order of their names; hidden ones are passed over.

    Args:
      visited: folders (device, inode) that are not gone into; those that are join them, which also ends loops of links.

    Raises:
      ValueError: no such folder, or it cannot be opened.
    """
    if not os.path.isdir(root):
        state = "is a file: give the folder that it is in" if os.path.exists(root) else "no such folder"
        raise ValueError(f"{readable(root)}: {state}")
    try:
        os.scandir(root).close()
    except OSError as error:
        raise ValueError(f"{readable(root)}: the folder cannot be opened ({error.strerror})") from None
    waiting = [(root, "")]
    while waiting:
        full, path = waiting.pop()
        suffix = os.path.splitext(path)[1].lower()
        try:
            state = os.stat(full)
            if stat.S_ISDIR(state.st_mode):
                if (state.st_dev, state.st_ino) not in visited:
                    visited.add((state.st_dev, state.st_ino))
                    names = [name for name in os.listdir(full) if not name.startswith(".") and name != "__MACOSX"]
                    before = path + "/" if path else ""
                    waiting += [(os.path.join(full, name), before + name) for name in sorted(names, reverse=True)]
            elif stat.S_ISREG(state.st_mode):
                yield FoundFile(path, suffix, state.st_size, int(state.st_mtime))
            else:
                yield FoundFile(path, suffix, problem="unreadable (no regular file)")
        except OSError as error:
            broken = os.path.islink(full) and not os.path.exists(full)
            reason = "a link that leads nowhere" if broken else error.strerror or str(error)
            # A folder that cannot be opened is in the report as well: there may have been sounds in it.
            suffix = ".wav" if os.path.isdir(full) else suffix
            yield FoundFile(path, suffix, problem=f"unreadable ({reason})")


def find_sounds(paths: Sequence[str]) -> list[tuple[int, str, FoundFile]]:
    """The sound files below some folders: (which folder, its name, the file); those of formats that are not read say so.

    Raises:
      ValueError: there are none, or a folder cannot be opened.
    """
    sounds, others, visited = [], 0, set()
    for root, (path, name) in enumerate(zip(paths, root_names(paths), strict=True)):
        for found in find_files(path, visited):
            if found.suffix in OTHER_AUDIO_SUFFIXES:
                problem = f"unreadable ({found.suffix} is a format that is not read: make wav or flac of it)"
                sounds.append((root, name, dataclasses.replace(found, problem=found.problem or problem)))
            elif found.suffix in AUDIO_SUFFIXES:
                sounds.append((root, name, found))
            else:
                others += found.suffix != ""
    if not sounds:
        state = f"other files only ({others})" if others else "no files"
        raise ValueError(f"{', '.join(map(readable, paths))}: {state}; sound files ({', '.join(AUDIO_SUFFIXES)}) are needed")
    return sounds


def readable(name: str) -> str:
    """A name without what is no text: bytes that are no UTF-8 and control characters as \\x.., one name for each."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def root_names(paths: Iterable[str]) -> list[str]:
    """The folders' own names; a number behind where two are the same."""
    names = [os.path.basename(os.path.realpath(path)) or "root" for path in paths]
    return [name if names.count(name) == 1 else f"{name}~{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def unique(records: list[Record]) -> list[Record]:
    """Different ids for records that would have the same: a number behind the later ones."""
    taken = {record.id for record in records}
    seen: set[str] = set()
    result = []
    for record in records:
        name, number = record.id, 1
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = f"{record.id}~{number}"
        seen.add(name)
        result.append(record._replace(id=name))
    return result


class KitNames:
    """What Hydrogen's drumkit.xml calls the files beside it."""

    def __init__(self, root: str):
        self._root = root
        self._kits: dict[str, dict[str, str]] = {}

    def name_of(self, path: str) -> str:
        """The instrument that a file belongs to, "" where no drumkit.xml says it."""
        folder, _, name = path.rpartition("/")
        if folder not in self._kits:
            self._kits[folder] = _read_kit(os.path.join(self._root, folder, "drumkit.xml"))
        return self._kits[folder].get(name, "")


def _read_kit(path: str) -> dict[str, str]:
    """File name -> instrument name; {} where there is no such file or it says nothing."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 24)
    except OSError:
        return {}
    names: dict[str, str] = {}
    for instrument in re.findall(r"<instrument>(.*?)</instrument>", text, re.DOTALL):
        called = re.search(r"<name>(.*?)</name>", instrument, re.DOTALL)
        for file in re.findall(r"<filename>(.*?)</filename>", instrument, re.DOTALL) if called else ():
            names.setdefault(
                html.unescape(file).strip().replace("\\", "/").rsplit("/", 1)[-1], html.unescape(called[1]).strip()
            )
    return names
