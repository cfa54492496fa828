"""Parts of importers that render from SoundFont banks: which banks, and names for them and their presets."""

from __future__ import annotations

import os
import re
from typing import Any

from timbre_jax.data.importers.found_files import distinct_names
from timbre_jax.soundfont.banks import bank_digest, default_bank
from timbre_jax.soundfont.parser import Preset
from timbre_jax.soundfont.player import PLAYER_VERSION

_LICENSE = "that of the banks; TimGM6mb.sf2 is GPL-2: sounds rendered from it are not handed on with weights"


class OfBanks:
    """Mixin of importers that render from SoundFont banks: `path` names them, and none means the default bank."""

    path: tuple[str, ...]

    @property
    def banks(self) -> tuple[str, ...]:
        """Paths of the banks."""
        return self.path or (default_bank(),)

    @property
    def bank_names(self) -> list[str]:
        """File names without suffix; a number behind where two are the same."""
        return distinct_names([os.path.splitext(os.path.basename(path))[0] for path in self.banks])

    @property
    def titles(self) -> str:
        """Every bank's file name, commas between."""
        return ", ".join(map(os.path.basename, self.banks))

    def described_banks(self) -> dict[str, Any]:
        """Returns the banks for a store's index: their license, digests by name, and the player."""
        digests = {os.path.basename(path): bank_digest(path) for path in self.banks}
        return {"license": _LICENSE, "banks": digests, "player": PLAYER_VERSION}


def preset_name(bank_name: str, preset: Preset, *, with_bank: bool = False) -> str:
    """Returns BANK:PROGRAM-NAME, or BANK:NUMBER-PROGRAM-NAME with the preset's own bank number."""
    number = f"{preset.bank:03d}-" if with_bank else ""
    return f"{bank_name}:{number}{preset.program:03d}-{slug(preset.name)}"


def slug(name: str) -> str:
    """A name in lower case with hyphens for whatever is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"
