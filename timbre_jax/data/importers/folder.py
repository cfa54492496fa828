"""Sample libraries: folders of sound files, each one sound, with a class from its folder, from words in its name, or none."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from timbre_jax.audio.io import AudioFileError, read_wave, resample
from timbre_jax.data.importers.base import Loaded, Record
from timbre_jax.data.importers.class_rules import UNLABELLED, Rule, class_of_names, read_rules
from timbre_jax.data.importers.duplicates import mark
from timbre_jax.data.importers.found_files import KitNames, file_records, readable, root_names
from timbre_jax.data.importers.library import OneShotSettings
from timbre_jax.settings import setting

CLASSES = ("folder", "top_folder", "words", "none")
LEAD_SECONDS = 20.0
"""So much of a file before its onset is looked through; a sound that begins later counts as silent."""
LOADER_VERSION = 1  # raised when files come to be loaded differently, so that older stores are not taken for the same


@dataclasses.dataclass(frozen=True)
class FolderSource(OneShotSettings):
    """Sounds of folders, recursively: WAV, AIFF, FLAC, OGG and MP3 files, mixed to mono, at one rate, their level kept.

    Hidden files and folders are passed over, links followed (a folder that is reached twice counts once). A sound's id is its
    path below its folder, with the folder's name before it where there are several; its source is the first folder on that
    path: the kit. Copies of a sound stay on one side of the split.

    Raises:
      ValueError: a value outside its limits, or classes that are neither a rule nor a file.
    """

    classes: str = setting(
        "folder", "Class of a sound: 'folder' (the name of its folder), 'top_folder' (of the first below --path), 'words' (by "
        "drum words in its name, such as kick, sd, HatOpen, and in a Hydrogen drumkit.xml), a FILE of such words in lines of "
        "CLASS: word, word (timbre_jax/data/importers/drum_words.txt is one), or 'none'.",
    )  # fmt: skip
    unlabeled: bool = setting(True, "Keep sounds without a class.")

    def __post_init__(self):
        super().__post_init__()
        if self.classes not in CLASSES and not os.path.isfile(self.classes):
            raise ValueError(f"classes {self.classes!r}: one of {', '.join(CLASSES)} or a file of class words is needed")

    def _rules(self) -> tuple[Rule, ...]:
        if self.classes in ("folder", "top_folder", "none"):
            return ()
        return read_rules(None if self.classes == "words" else self.classes)

    def describe(self) -> dict[str, Any]:
        rules = hashlib.sha256(repr(self._rules()).encode()).hexdigest()[:16] if self._rules() else ""
        return {
            "kind": "folder", "title": f"sounds of {', '.join(readable(name) for name in root_names(self.path))}",
            "license": "that of the files", "classes": os.path.basename(self.classes), "class_words": rules,
            "unlabeled": self.unlabeled, **self.described(), "loader": LOADER_VERSION,
        }  # fmt: skip

    def plan(self) -> list[Record]:
        rules, kits = self._rules(), [KitNames(path) for path in self.path]
        records = file_records(
            self.path, lambda root, path, folders: self._label(path, folders, kits[root], rules) or UNLABELLED
        )
        return self.select(records, unlabeled=self.unlabeled)

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

    def load(self, record: Record, payload: Any) -> Loaded:
        root, path, _, _ = record.where
        form = self.form
        limit = form.samples / form.sample_rate
        try:
            # Opened here, as libsndfile does not take every name that the system has.
            with open(os.path.join(self.path[root], path), "rb") as file:
                frames, channels = _header(file)
                wave, rate = read_wave(file, duration=limit + (LEAD_SECONDS if self.trim else 0.1), name=record.id)
        except OSError as error:
            raise AudioFileError(f"{record.id}: cannot be read ({error.strerror or error})") from None
        remarks = [f"mixed to mono ({channels} channels)"] if channels > 1 else []
        seconds = max(frames, len(wave)) / rate
        wave, before, cuts = self.trimmed(wave, rate)
        remarks, seconds = remarks + cuts, seconds - before
        if rate != form.sample_rate:
            wave = resample(wave[: round((limit + 0.1) * rate)], rate, form.sample_rate)
            remarks.append(f"resampled ({rate} Hz)")
        if len(wave) > form.samples:
            remarks.append(f"cut to {limit:g} s ({seconds:.1f} s)")
            wave = wave[: form.samples]
        wave = np.ascontiguousarray(wave, np.float32)
        return Loaded(wave, remarks=tuple(remarks), mark=mark(wave, form.sample_rate, rate))


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
