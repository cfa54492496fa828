"""The drum hits that a machine has: sample kits of its distribution, or else those of the default SoundFont bank."""

from __future__ import annotations

import os
from typing import Any

from timbre_jax.data.importers.drum_kits import KitSource
from timbre_jax.data.importers.folder import FolderSource

FOLDERS = ("/usr/share/hydrogen/data/drumkits", "/usr/share/sonic-pi/samples", "/usr/share/lmms/samples/drums")
"""Where Debian's hydrogen-drumkits, sonic-pi-samples and lmms-common lie."""


def drum_source(folders: tuple[str, ...] = FOLDERS, **library: Any) -> FolderSource | KitSource:
    """The hits of those folders that are there, with classes by words in their names; of the default bank where none is.

    Args:
      library: settings that `FolderSource` and `KitSource` share. Sounds without a class are not asked for.
    """
    there = tuple(folder for folder in folders if os.path.isdir(folder))
    library = {"unlabelled": False, **library}
    return FolderSource(paths=there, classes="words", **library) if there else KitSource(**library)
