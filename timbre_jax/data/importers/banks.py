"""Shared parts of importers that render SoundFont banks, and names of banks and presets."""

from __future__ import annotations

import os
import re
from typing import Any

from timbre_jax.data.importers.folder_files import distinct_names
from timbre_jax.soundfont.banks import bank_digest, default_bank
from timbre_jax.soundfont.parser import Preset
from timbre_jax.soundfont.player import PLAYER_VERSION

_LICENSE = "that of the banks; TimGM6mb.sf2 is under GPL-2, so sounds rendered from it are not distributed with weights"


class BankMixin:
    """Mixin of importers that render the banks in `path`; if empty, the default bank."""

    path: tuple[str, ...]

    @property
    def banks(self) -> tuple[str, ...]:
        """Paths of the banks."""
        return self.path or (default_bank(),)

    @property
    def bank_names(self) -> list[str]:
        """File names of the banks without suffix, made distinct."""
        return distinct_names([os.path.splitext(os.path.basename(path))[0] for path in self.banks])

    @property
    def titles(self) -> str:
        """File names of the banks, separated by commas."""
        return ", ".join(map(os.path.basename, self.banks))

    def describe_banks(self) -> dict[str, Any]:
        """Returns license, digests and player version for the index of a store."""
        digests = {os.path.basename(path): bank_digest(path) for path in self.banks}
        return {"license": _LICENSE, "banks": digests, "player": PLAYER_VERSION}


def preset_name(bank_name: str, preset: Preset, *, with_bank: bool = False) -> str:
    """Returns BANK:PROGRAM-NAME, or BANK:NUMBER-PROGRAM-NAME if `with_bank` adds the number."""
    number = f"{preset.bank:03d}-" if with_bank else ""
    return f"{bank_name}:{number}{preset.program:03d}-{slug(preset.name)}"


def slug(name: str) -> str:
    """Returns a name in lower case, with a hyphen for each run of other characters."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"
