"""Imports sample libraries: folders of sound files with classes from their names."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from typing import Any

import numpy as np

from timbre_jax.audio.io import AudioFileError, read_wave, resample
from timbre_jax.data.importers.base import LoadedSound, Record
from timbre_jax.data.importers.class_rules import UNLABELED, Rule, class_of_names, read_rules
from timbre_jax.data.importers.duplicates import signature
from timbre_jax.data.importers.folder_files import HydrogenKits, file_records, folder_names, printable
from timbre_jax.data.importers.library import OneShotSettings
from timbre_jax.settings import setting

CLASSES = ("folder", "top_folder", "words", "none")
LEAD_SECONDS = 20.0
"""Longest silence before the onset that is searched; a sound that starts later counts as silent."""
LOADER_VERSION = 1  # increased when the loaded samples change, so that older stores are made again


@dataclasses.dataclass(frozen=True)
class FolderImporter(OneShotSettings):
    """Importer of WAV, AIFF, FLAC, OGG and MP3 files in folders and their subfolders.

    Files are mixed to mono and resampled; their level is kept. Hidden files and folders are skipped, links are followed, and a
    folder that is reached twice counts once. The id of a sound is its path in its folder, preceded by the name of the folder if
    there are several; its source is the first folder of that path, the kit. Copies of a sound stay in one split.

    Raises:
      ValueError: a value is out of range, or `classes` is neither a rule nor a file.
    """

    classes: str = setting(
        "folder", "Class of a sound: folder (the name of its folder), top_folder (the first folder below --path), words (drum "
        "words in its file name, such as kick, sd or HatOpen, or in a Hydrogen drumkit.xml), none, or a FILE of class words: "
        "lines of CLASS: word, word, as in timbre_jax/data/importers/drum_words.txt.",
    )  # fmt: skip
    unlabeled: bool = setting(True, "Keep sounds without a class.")

    def __post_init__(self):
        super().__post_init__()
        if self.classes not in CLASSES and not os.path.isfile(self.classes):
            raise ValueError(f"classes={self.classes}: must be {', '.join(CLASSES)} or a file of class words")

    def _rules(self) -> tuple[Rule, ...]:
        """Returns the rules of class words; () if classes do not depend on words."""
        if self.classes in ("folder", "top_folder", "none"):
            return ()
        return read_rules(None if self.classes == "words" else self.classes)

    def describe(self) -> dict[str, Any]:
        """Returns the settings for the index of a store."""
        rules = hashlib.sha256(repr(self._rules()).encode()).hexdigest()[:16] if self._rules() else ""
        return {
            "kind": "folder", "title": f"sounds of {', '.join(printable(name) for name in folder_names(self.path))}",
            "license": "that of the files", "classes": os.path.basename(self.classes), "class_words": rules,
            "unlabeled": self.unlabeled, **self.describe_settings(), "loader": LOADER_VERSION,
        }  # fmt: skip

    def plan(self) -> list[Record]:
        """Returns one record per sound file."""
        rules, kits = self._rules(), [HydrogenKits(path) for path in self.path]
        records = file_records(
            self.path, lambda root, path, folders: self._label(path, folders, kits[root], rules) or UNLABELED
        )
        return self.select(records, unlabeled=self.unlabeled)

    def _label(self, path: str, folders: list[str], kits: HydrogenKits, rules: tuple[Rule, ...]) -> str:
        """Returns the class of a file, or ""."""
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

    def load(self, record: Record, payload: Any) -> LoadedSound:
        """Loads a sound file."""
        root, path, _, _ = record.location
        target = self.audio_format
        limit = target.samples / target.sample_rate
        try:
            # Opened here, since libsndfile does not accept all file names.
            with open(os.path.join(self.path[root], path), "rb") as file:
                frames, channels = _header(file)
                wave, rate = read_wave(file, duration=limit + (LEAD_SECONDS if self.trim else 0.1), name=record.id)
        except OSError as error:
            raise AudioFileError(f"{record.id}: cannot be read ({error.strerror or error})") from None
        remarks = [f"mixed to mono ({channels} channels)"] if channels > 1 else []
        seconds = max(frames, len(wave)) / rate
        wave, before, cuts = self.apply_trim(wave, rate)
        remarks, seconds = remarks + cuts, seconds - before
        if rate != target.sample_rate:
            wave = resample(wave[: round((limit + 0.1) * rate)], rate, target.sample_rate)
            remarks.append(f"resampled ({rate} Hz)")
        if len(wave) > target.samples:
            remarks.append(f"cut to {limit:g} s ({seconds:.1f} s)")
            wave = wave[: target.samples]
        wave = np.ascontiguousarray(wave, np.float32)
        return LoadedSound(wave, remarks=tuple(remarks), signature=signature(wave, target.sample_rate, rate))


def _header(file) -> tuple[int, int]:
    """Returns numbers of frames and channels of an open sound file; (0, 1) if unreadable."""
    import soundfile

    try:
        info = soundfile.info(file)
        return info.frames, info.channels
    except (RuntimeError, OSError):
        return 0, 1
    finally:
        file.seek(0)
