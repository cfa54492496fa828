"""Finds sound files in folders, and the instrument names of Hydrogen drum kits."""

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
    """Plans one record for every sound file in some folders, each with a unique id.

    The id is the path of the file in its folder, preceded by the name of the folder if there are several. The source is the
    first folder of that path. The location is (number of the folder, path, size, modification time).

    Args:
      paths: folders.
      family: returns the class of a file from the number of its folder, its path, and the names of its folders from the
        outermost on.

    Raises:
      ValueError: there are no sound files, or a folder cannot be opened.
    """
    records = []
    for root, name, file in find_sounds(paths):
        folders = [name, *file.path.split("/")[:-1]]
        records.append(
            Record(
                id=printable(f"{name}/{file.path}" if len(paths) > 1 else file.path),
                split="" if file.problem else UNSORTED, instrument="", family=printable(family(root, file.path, folders)),
                source=printable(folders[1] if len(folders) > 1 else name), pitch=-1, velocity=-1, preset="",
                location=(root, file.path, file.size, file.changed), left_out=file.problem,
            )
        )  # fmt: skip
    return with_unique_ids(records)


@dataclasses.dataclass(frozen=True)
class FolderFile:
    """File in a folder.

    Attributes:
      path: path in the folder, with / as separator.
      suffix: suffix of the name in lower case, such as ".wav".
      size: size in bytes.
      changed: modification time in seconds.
      problem: reason why the file cannot be read, or empty.
    """

    path: str
    suffix: str
    size: int = 0
    changed: int = 0
    problem: str = ""


def find_files(root: str, visited: set[tuple[int, int]]) -> Iterator[FolderFile]:
    """Yields all files in a folder and its subfolders by name, except hidden ones.

    Folders (device, inode) in `visited` are skipped; visited folders are added, which also ends loops of links.

    Raises:
      ValueError: the folder does not exist or cannot be opened.
    """
    if not os.path.isdir(root):
        state = "is a file; give its folder" if os.path.exists(root) else "no such folder"
        raise ValueError(f"{printable(root)}: {state}")
    try:
        os.scandir(root).close()
    except OSError as error:
        raise ValueError(f"{printable(root)}: the folder cannot be opened ({error.strerror})") from None
    pending = [(root, "")]
    while pending:
        full, path = pending.pop()
        suffix = os.path.splitext(path)[1].lower()
        try:
            state = os.stat(full)
            if stat.S_ISDIR(state.st_mode):
                if (state.st_dev, state.st_ino) not in visited:
                    visited.add((state.st_dev, state.st_ino))
                    names = [name for name in os.listdir(full) if not name.startswith(".") and name != "__MACOSX"]
                    before = path + "/" if path else ""
                    pending += [(os.path.join(full, name), before + name) for name in sorted(names, reverse=True)]
            elif stat.S_ISREG(state.st_mode):
                yield FolderFile(path, suffix, state.st_size, int(state.st_mtime))
            else:
                yield FolderFile(path, suffix, problem="unreadable (not a regular file)")
        except OSError as error:
            broken = os.path.islink(full) and not os.path.exists(full)
            reason = "broken link" if broken else error.strerror or str(error)
            # A folder that cannot be opened is reported, since it may contain sounds.
            suffix = ".wav" if os.path.isdir(full) else suffix
            yield FolderFile(path, suffix, problem=f"unreadable ({reason})")


def find_sounds(paths: Sequence[str]) -> list[tuple[int, str, FolderFile]]:
    """Returns (number of the folder, name of the folder, file) of each sound file.

    Files of unsupported formats are included with their problem.

    Raises:
      ValueError: there are no sound files, or a folder cannot be opened.
    """
    if not paths:
        raise ValueError("--path: missing; give a folder of sound files, or several separated by commas")
    sounds, others, visited = [], 0, set()
    for root, (path, name) in enumerate(zip(paths, folder_names(paths), strict=True)):
        for file in find_files(path, visited):
            if file.suffix in OTHER_AUDIO_SUFFIXES:
                problem = f"unreadable ({file.suffix} files are not supported; convert the file to wav or flac)"
                sounds.append((root, name, dataclasses.replace(file, problem=file.problem or problem)))
            elif file.suffix in AUDIO_SUFFIXES:
                sounds.append((root, name, file))
            else:
                others += file.suffix != ""
    if not sounds:
        raise ValueError(
            f"{', '.join(map(printable, paths))}: no sound files (got {others} other files, expected "
            f"{', '.join(AUDIO_SUFFIXES)})"
        )
    return sounds


def printable(name: str) -> str:
    r"""Returns a name with \x.. for bytes that are not UTF-8 and for control characters."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def folder_names(paths: Iterable[str]) -> list[str]:
    """Returns the names of folders, made distinct."""
    return distinct_names([os.path.basename(os.path.realpath(path)) or "root" for path in paths])


def distinct_names(names: Sequence[str]) -> list[str]:
    """Appends a number to names that occur more than once."""
    return [name if names.count(name) == 1 else f"{name}~{names[:i].count(name) + 1}" for i, name in enumerate(names)]


def with_unique_ids(records: list[Record]) -> list[Record]:
    """Appends a number to the ids of records that occur more than once."""
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


class HydrogenKits:
    """Instrument names from the drumkit.xml files of the Hydrogen drum machine."""

    def __init__(self, root: str):
        self._root = root
        self._kits: dict[str, dict[str, str]] = {}

    def name_of(self, path: str) -> str:
        """Returns the name of the instrument that a file belongs to, or ""."""
        folder, _, name = path.rpartition("/")
        if folder not in self._kits:
            self._kits[folder] = _read_kit(os.path.join(self._root, folder, "drumkit.xml"))
        return self._kits[folder].get(name, "")


def _read_kit(path: str) -> dict[str, str]:
    """Returns the instrument name of each file in a drumkit.xml, {} if there is none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(1 << 24)
    except OSError:
        return {}
    names: dict[str, str] = {}
    for instrument in re.findall(r"<instrument>(.*?)</instrument>", text, re.DOTALL):
        name = re.search(r"<name>(.*?)</name>", instrument, re.DOTALL)
        for file in re.findall(r"<filename>(.*?)</filename>", instrument, re.DOTALL) if name else ():
            names.setdefault(html.unescape(file).strip().replace("\\", "/").rsplit("/", 1)[-1], html.unescape(name[1]).strip())
    return names
