"""Sound files below folders: which there are, their names as text, and what Hydrogen's drumkit.xml calls them."""

from __future__ import annotations

import dataclasses
import html
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

from timbre_jax.audio.io import AUDIO_SUFFIXES, OTHER_AUDIO_SUFFIXES
from timbre_jax.data.importers.base import UNSORTED, Record


def file_records(paths: Sequence[str], family: Callable[[int, str, list[str]], str]) -> list[Record]:
    """Plans one record for every sound file below some folders, each with an id of its own.

    A record's id is the file's path below its folder, with the folder's name before it if there are several; its source is the
    first folder on that path. `where` is (number of the folder, path, size, time of change).

    Args:
      paths: the folders.
      family: (number of the folder, path of the file, names of its folders from the outermost) to the file's class.

    Raises:
      ValueError: there are no sound files, or a folder cannot be opened.
    """
    records = []
    for root, name, found in find_sounds(paths):
        folders = [name, *found.path.split("/")[:-1]]
        records.append(
            Record(
                id=readable(f"{name}/{found.path}" if len(paths) > 1 else found.path),
                split="" if found.problem else UNSORTED, instrument="", family=readable(family(root, found.path, folders)),
                source=readable(folders[1] if len(folders) > 1 else name), pitch=-1, velocity=-1, preset="",
                where=(root, found.path, found.size, found.changed), left_out=found.problem,
            )
        )  # fmt: skip
    return unique(records)


@dataclasses.dataclass(frozen=True)
class FoundFile:
    """A file below a folder: its path there with / between, its suffix in lower case, or why it cannot be read."""

    path: str
    suffix: str
    size: int = 0
    changed: int = 0
    problem: str = ""


def find_files(root: str, visited: set[tuple[int, int]]) -> Iterator[FoundFile]:
    """All files below a folder in the order of their names; hidden ones are passed over.

    Args:
      visited: folders (device, inode) that are not gone into; those that are join them, which also ends loops of links.

    Raises:
      ValueError: no such folder, or it cannot be opened.
    """
    if not os.path.isdir(root):
        state = "is a file: give the folder that it is in" if os.path.exists(root) else "no such folder"
        raise ValueError(f"{readable(root)}: {state}")
    try:
        os.scandir(root).close()
    except OSError as error:
        raise ValueError(f"{readable(root)}: the folder cannot be opened ({error.strerror})") from None
    waiting = [(root, "")]
    while waiting:
        full, path = waiting.pop()
        suffix = os.path.splitext(path)[1].lower()
        try:
            state = os.stat(full)
            if stat.S_ISDIR(state.st_mode):
                if (state.st_dev, state.st_ino) not in visited:
                    visited.add((state.st_dev, state.st_ino))
                    names = [name for name in os.listdir(full) if not name.startswith(".") and name != "__MACOSX"]
                    before = path + "/" if path else ""
                    waiting += [(os.path.join(full, name), before + name) for name in sorted(names, reverse=True)]
            elif stat.S_ISREG(state.st_mode):
                yield FoundFile(path, suffix, state.st_size, int(state.st_mtime))
            else:
                yield FoundFile(path, suffix, problem="unreadable (no regular file)")
        except OSError as error:
            broken = os.path.islink(full) and not os.path.exists(full)
            reason = "a link that leads nowhere" if broken else error.strerror or str(error)
            # A folder that cannot be opened is in the report as well: there may have been sounds in it.
            suffix = ".wav" if os.path.isdir(full) else suffix
            yield FoundFile(path, suffix, problem=f"unreadable ({reason})")


def find_sounds(paths: Sequence[str]) -> list[tuple[int, str, FoundFile]]:
    """The sound files below some folders: (which folder, its name, the file); those of formats that are not read say so.

    Raises:
      ValueError: there are none, or a folder cannot be opened.
    """
    if not paths:
        raise ValueError("a folder of sounds is needed with --path: DIR, or several with commas")
    sounds, others, visited = [], 0, set()
    for root, (path, name) in enumerate(zip(paths, root_names(paths), strict=True)):
        for found in find_files(path, visited):
            if found.suffix in OTHER_AUDIO_SUFFIXES:
                problem = f"unreadable ({found.suffix} is a format that is not read: make wav or flac of it)"
                sounds.append((root, name, dataclasses.replace(found, problem=found.problem or problem)))
            elif found.suffix in AUDIO_SUFFIXES:
                sounds.append((root, name, found))
            else:
                others += found.suffix != ""
    if not sounds:
        state = f"other files only ({others})" if others else "no files"
        raise ValueError(f"{', '.join(map(readable, paths))}: {state}; sound files ({', '.join(AUDIO_SUFFIXES)}) are needed")
    return sounds


def readable(name: str) -> str:
    """A name without what is no text: bytes that are no UTF-8 and control characters as \\x.., one name for each."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def root_names(paths: Iterable[str]) -> list[str]:
    """The folders' own names, made distinct."""
    return distinct_names([os.path.basename(os.path.realpath(path)) or "root" for path in paths])


def distinct_names(names: Sequence[str]) -> list[str]:
    """Names with a number behind where two are the same."""
    return [name if names.count(name) == 1 else f"{name}~{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def unique(records: list[Record]) -> list[Record]:
    """Different ids for records that would have the same: a number behind the later ones."""
    taken = {record.id for record in records}
    seen: set[str] = set()
    result = []
    for record in records:
        name, number = record.id, 1
        while name in seen or (number > 1 and name in taken):
            number += 1
            name = f"{record.id}~{number}"
        seen.add(name)
        result.append(record._replace(id=name))
    return result


class KitNames:
    """Names that Hydrogen's drumkit.xml gives to the files beside it."""

    def __init__(self, root: str):
        self._root = root
        self._kits: dict[str, dict[str, str]] = {}

    def name_of(self, path: str) -> str:
        """The instrument that a file belongs to, "" where no drumkit.xml says it."""
        folder, _, name = path.rpartition("/")
        if folder not in self._kits:
            self._kits[folder] = _read_kit(os.path.join(self._root, folder, "drumkit.xml"))
        return self._kits[folder].get(name, "")


def _read_kit(path: str) -> dict[str, str]:
    """File name -> instrument name; {} where there is no such file or it says nothing."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 24)
    except OSError:
        return {}
    names: dict[str, str] = {}
    for instrument in re.findall(r"<instrument>(.*?)</instrument>", text, re.DOTALL):
        called = re.search(r"<name>(.*?)</name>", instrument, re.DOTALL)
        for file in re.findall(r"<filename>(.*?)</filename>", instrument, re.DOTALL) if called else ():
            names.setdefault(
                html.unescape(file).strip().replace("\\", "/").rsplit("/", 1)[-1], html.unescape(called[1]).strip()
            )
    return names
