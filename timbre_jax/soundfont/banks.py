"""SoundFont banks by their paths: the default one, each read once, and digests of their files."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os

from timbre_jax.soundfont.parser import SoundFont, SoundFontError, read_soundfont

PERCUSSION_BANK = 128


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


def bank_digest(path: str) -> str:
    """SHA-256 of a bank's file."""
    return _hash(path, *_state(path))


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
