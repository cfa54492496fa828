"""Opens SoundFont banks by path, with a cache and digests, and locates the default bank."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os

from timbre_jax.soundfont.parser import SoundFont, SoundFontError, read_soundfont

PERCUSSION_BANK = 128


def default_bank() -> str:
    """Returns the path of TimGM6mb.sf2 in the installed `pretty_midi`.

    The bank is licensed under GPL-2; it is read there and not copied.
    """
    spec = importlib.util.find_spec("pretty_midi")
    path = os.path.join(os.path.dirname(spec.origin), "TimGM6mb.sf2") if spec and spec.origin else ""
    if not os.path.isfile(path):
        raise SoundFontError("default bank: not installed; run pip install pretty_midi, or give a bank with --path=FILE.sf2")
    return path


def open_bank(path: str) -> SoundFont:
    """Returns the bank of a path, which is read again only if the file changes."""
    return _read_bank(path, *_file_state(path))


def bank_digest(path: str) -> str:
    """Returns the SHA-256 of a bank's file."""
    return _hash_file(path, *_file_state(path))


def _file_state(path: str) -> tuple[int, int]:
    """Returns modification time and size of a file; zeros if it cannot be opened."""
    try:
        state = os.stat(path)
    except OSError:
        return 0, 0  # reading it raises the error
    return state.st_mtime_ns, state.st_size


@functools.lru_cache(maxsize=8)
def _read_bank(path: str, changed: int, size: int) -> SoundFont:
    """Reads a bank; cached by the state of the file."""
    return read_soundfont(path)


@functools.lru_cache(maxsize=8)
def _hash_file(path: str, changed: int, size: int) -> str:
    """Hashes a file; cached by the state of the file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
