"""Drum hits that a machine has: sample kits of its distribution, or else those of the default SoundFont bank."""

from __future__ import annotations

import dataclasses
import os

from timbre_jax.data.importers.drum_kits import DrumKitImporter
from timbre_jax.data.importers.folder import FolderImporter
from timbre_jax.data.importers.library import DUPLICATES, OneShotSettings
from timbre_jax.settings import setting

FOLDERS = ("/usr/share/hydrogen/data/drumkits", "/usr/share/sonic-pi/samples", "/usr/share/lmms/samples/drums")
"""Folders of Debian's hydrogen-drumkits, sonic-pi-samples and lmms-common."""


@dataclasses.dataclass(frozen=True)
class DrumSettings(OneShotSettings):
    """Settings that `FolderImporter` and `DrumKitImporter` share, for whichever of them finds drum hits on this machine.

    Raises:
      ValueError: a value outside its limits, or a path.
    """

    max_seconds: float | None = setting(
        None, "With --seconds=0, the length in seconds that longer sounds are cut to. Default: 40 for files, 10 for kits."
    )
    duplicates: str | None = setting(
        None, "Copies to keep, as for folder and kits. Default: one for files, exact for kits.", choices=DUPLICATES
    )

    def __post_init__(self):
        if self.path:
            raise ValueError("--source=drums finds its sounds itself; for those of --path there is --source=folder")
        self.importer()  # checks the values

    def importer(self, folders: tuple[str, ...] = FOLDERS) -> FolderImporter | DrumKitImporter:
        """Returns the importer of those folders that exist, with classes by words in their names; else of the default bank.

        Sounds without a class are not asked for.
        """
        there = tuple(folder for folder in folders if os.path.isdir(folder))
        shared = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "path"}
        shared = {"unlabeled": False, **{name: value for name, value in shared.items() if value is not None}}
        return FolderImporter(path=there, classes="words", **shared) if there else DrumKitImporter(**shared)
