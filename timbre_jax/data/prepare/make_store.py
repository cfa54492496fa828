"""Makes a store from the settings of an importer."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from timbre_jax.data.importers.drum_kits import DrumKitImporter
from timbre_jax.data.importers.drums import DrumSettings
from timbre_jax.data.importers.folder import FolderImporter
from timbre_jax.data.importers.nsynth import NSynthImporter
from timbre_jax.data.importers.options import ImporterSettings
from timbre_jax.data.importers.phrases import PhraseImporter
from timbre_jax.data.importers.recordings import RecordingImporter
from timbre_jax.data.importers.soundfont import SoundFontImporter
from timbre_jax.data.importers.tfds import TfdsImporter
from timbre_jax.data.prepare.build import build_store
from timbre_jax.data.store import Store
from timbre_jax.settings import Settings, setting

IMPORTERS: dict[str, type[ImporterSettings]] = {
    "soundfont": SoundFontImporter, "folder": FolderImporter, "kits": DrumKitImporter, "drums": DrumSettings,
    "recordings": RecordingImporter, "phrases": PhraseImporter, "nsynth": NSynthImporter, "tfds": TfdsImporter,
}  # fmt: skip
"""Settings of every importer by the name of its source."""


@dataclasses.dataclass(frozen=True)
class StoreSettings(Settings):
    """Settings of a store that do not depend on its importer."""

    out: str = setting("", "Folder of the new store. Required.")
    workers: int = setting(0, "Number of loading processes; 0 means one per core, 1 loads in the main process.", low=0)
    overwrite: bool = setting(False, "Replace a store, or unfinished work, that has other settings.")
    progress: bool = setting(True, "Show a progress bar.")


def make_store(sounds: ImporterSettings, target: StoreSettings) -> Store:
    """Makes a store and opens it; a finished store with the same settings is opened as it is.

    Args:
      sounds: settings of the importer, one of `IMPORTERS`.
      target: settings of the store.

    Raises:
      ValueError: the settings or the sounds are not usable; the message is one line.
    """
    if not target.out:
        raise ValueError("--out: missing; give the folder of the new store, see --help")
    quality_check, check_settings = None, {"keep_all": True}
    if not sounds.keep_all:
        from timbre_jax.data.prepare.quality import harmonic_check

        quality_check, check_settings = harmonic_check()
    return build_store(
        sounds.importer(), target.out, quality_check=quality_check, check_settings=check_settings,
        workers=target.workers or None, overwrite=target.overwrite, progress=target.progress,
    )  # fmt: skip


def prepare(*, source: str = "soundfont", **settings: Any) -> Store:
    """Makes a store from settings given by name: `make_store` for scripts.

    Args:
      source: name of the importer, a key of `IMPORTERS`.
      settings: fields of `StoreSettings` and of the settings of the importer; None means the default.

    Raises:
      ValueError: the source or a setting is unknown, or `make_store` fails.
    """
    if source not in IMPORTERS:
        raise ValueError(f"source={source}: must be one of {', '.join(IMPORTERS)}")
    values = {StoreSettings: {}, IMPORTERS[source]: {}}
    for name, value in settings.items():
        kind = next((kind for kind in values if name in kind.__dataclass_fields__), None)
        if kind is None and any(name in other.__dataclass_fields__ for other in IMPORTERS.values()):
            raise ValueError(f"{name}: not a setting of source={source}")
        if kind is None:
            raise TypeError(f"prepare() has no setting {name!r}")
        if value is not None:
            values[kind][name] = tuple(value) if isinstance(value, list) else value
    target, sounds = values.values()
    if "path" in sounds:
        sounds["path"] = tuple(os.path.expanduser(path) for path in sounds["path"])
    return make_store(IMPORTERS[source](**sounds), StoreSettings(**target))
