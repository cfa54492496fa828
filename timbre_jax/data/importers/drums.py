"""Imports drum hits of installed sample kits, or else of the default SoundFont bank."""

from __future__ import annotations

import dataclasses
import os

from timbre_jax.data.importers.drum_kits import DrumKitImporter
from timbre_jax.data.importers.folder import FolderImporter
from timbre_jax.data.importers.library import DUPLICATES, OneShotSettings
from timbre_jax.settings import setting

FOLDERS = ("/usr/share/hydrogen/data/drumkits", "/usr/share/sonic-pi/samples", "/usr/share/lmms/samples/drums")
"""Folders of the Debian packages hydrogen-drumkits, sonic-pi-samples and lmms-common."""


@dataclasses.dataclass(frozen=True)
class DrumSettings(OneShotSettings):
    """Settings of drum hits, shared by `FolderImporter` and `DrumKitImporter`.

    Raises:
      ValueError: a value is out of range, or a path is set.
    """

    max_seconds: float | None = setting(
        None, "Length in seconds that longer sounds are cut to if --seconds=0. Default: 40 for files, 10 for drum kits."
    )
    duplicates: str | None = setting(
        None, "Copies to keep, as for folder and kits. Default: one for files, exact for drum kits.", choices=DUPLICATES
    )

    def __post_init__(self):
        if self.path:
            raise ValueError("--path: not allowed with --source=drums, which finds installed sounds; use --source=folder")
        self.importer()  # checks the values

    def importer(self, folders: tuple[str, ...] = FOLDERS) -> FolderImporter | DrumKitImporter:
        """Returns an importer of the folders that exist, or of the default bank if none exists.

        Classes of files follow from words in their names. Sounds without a class are not selected.
        """
        existing = tuple(folder for folder in folders if os.path.isdir(folder))
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "path"}
        shared = {"unlabeled": False, **{name: value for name, value in shared.items() if value is not None}}
        return FolderImporter(path=existing, classes="words", **shared) if existing else DrumKitImporter(**shared)
