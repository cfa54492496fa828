"""SoundFont banks as sources read them: the default one, each read once, and names and digests for what is written down."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re

from timbre_jax.soundfont.parser import SoundFont, SoundFontError, read_soundfont

PLAYER_VERSION = 1  # raised when the player comes to sound different, so that older stores are not taken for the same
PERCUSSION_BANK = 128
LICENSE = "that of the banks; TimGM6mb.sf2 is GPL-2: sounds rendered from it are not handed on with weights"


def default_bank() -> str:
    """Path of TimGM6mb.sf2 inside the installed `pretty_midi` (GPL-2: used where it lies, not passed on)."""
    found = importlib.util.find_spec("pretty_midi")
    path = os.path.join(os.path.dirname(found.origin), "TimGM6mb.sf2") if found and found.origin else ""
    if not os.path.isfile(path):
        raise SoundFontError("the default bank is not there: `pip install pretty_midi`, or name one with --path=FILE.sf2")
    return path


def open_bank(path: str) -> SoundFont:
    """The bank of a path, read once for as long as the file stays the same."""
    return _read(path, *_state(path))


def bank_names(paths: tuple[str, ...]) -> list[str]:
    """File names without suffix; a number behind where two are the same."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    return [stem if stems.count(stem) == 1 else f"{stem}~{stems[:i].count(stem) + 1}" for i, stem in enumerate(stems)]


def bank_digest(path: str) -> str:
    """SHA-256 of a bank's file."""
    return _hash(path, *_state(path))


class OfBanks:
    """Mixin of importers that render from SoundFont banks: `path` names them, and none means the default bank."""

    path: tuple[str, ...]

    @property
    def banks(self) -> tuple[str, ...]:
        return self.path or (default_bank(),)

    @property
    def titles(self) -> str:
        """Every bank's file name, commas between."""
        return ", ".join(os.path.basename(path) for path in self.banks)

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every bank's file, by its name."""
        return {os.path.basename(path): bank_digest(path) for path in self.banks}


def slug(name: str) -> str:
    """A name in lower case with hyphens for whatever is no letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "unnamed"


def _state(path: str) -> tuple[int, int]:
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0  # reading it says what is wrong
    return state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=8)
def _read(path: str, changed: int, size: int) -> SoundFont:
    return read_soundfont(path)


@functools.lru_cache(maxsize=8)
def _hash(path: str, changed: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
