"""Classes of sounds from words in their names, by a table that a person can read and write."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import NamedTuple

UNLABELLED = "unlabeled"
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_LONGEST = 3  # parts in a row that are read as one word


class Rule(NamedTuple):
    """Words that tell a class: lower case without spaces, where * and ? stand for any letters and one."""

    label: str
    words: tuple[str, ...]


def read_rules(path: str | os.PathLike | None = None) -> tuple[Rule, ...]:
    """Reads a table of words: lines of `CLASS: word, word`, tried from top to bottom; # begins a comment.

    Args:
      path: a text file; None means the table of drum words that comes with the package, `drum_words.txt`.

    Raises:
      ValueError: the file cannot be read, or a line is no such line.
    """
    if path is None:
        name = "drum_words.txt"
        text = resources.files("timbre_jax.data.importers").joinpath(name).read_text(encoding="utf-8")
    else:
        name = os.fspath(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise ValueError(f"{name}: the table of class words cannot be read ({reason})") from None
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        label, colon, words = line.partition(":")
        found = tuple(word for word in (re.sub(r"[\s_-]+", "", part).lower() for part in words.split(",")) if word)
        if not colon or not label.strip() or not found:
            raise ValueError(f"{name}, line {number}: {line[:60]!r} is not of the form CLASS: word, word")
        rules.append(Rule(label.strip(), found))
    if not rules:
        raise ValueError(f"{name}: holds no line of the form CLASS: word, word")
    return tuple(rules)


def spoken_words(name: str) -> set[str]:
    """The words in a name: its parts, and up to three of them in a row as one, in lower case.

    Parts end at capitals, digits and whatever is no letter: "HiHatOpen_2" has hi, hat, open, 2, hihat, hatopen, ...
    """
    parts = [part.lower() for part in _PARTS.findall(name)]
    return {
        "".join(parts[start : start + length]) for length in range(1, _LONGEST + 1) for start in range(len(parts) - length + 1)
    }


def class_of_names(names: Iterable[str], rules: Sequence[Rule]) -> str | None:
    """The class of the first rule that has a word in one of the names of a sound.

    "" where that is no class, None where there is no such rule.
    """
    words = set().union(*map(spoken_words, names))
    for rule in rules:
        for word in rule.words:
            if word in words or (("*" in word or "?" in word) and any(fnmatchcase(spoken, word) for spoken in words)):
                return "" if rule.label == UNLABELLED else rule.label
    return None
