"""Infers the class of a sound from words in its names, by an editable table of rules."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from importlib import resources
from pathlib import Path
from typing import NamedTuple

UNLABELED = "unlabeled"
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+")
_MAX_PARTS = 3  # consecutive parts that can form a word


class Rule(NamedTuple):
    """Words that indicate a class, in lower case without spaces; * and ? are wildcards."""

    label: str
    words: tuple[str, ...]


def read_rules(path: str | os.PathLike | None = None) -> tuple[Rule, ...]:
    """Reads a table of class words, with lines of the form `CLASS: word, word`.

    Rules are tried from top to bottom. Text after # is a comment.

    Args:
      path: text file; None means the table of drum words that comes with the package, `drum_words.txt`.

    Raises:
      ValueError: the file cannot be read, or a line has another form.
    """
    if path is None:
        name = "drum_words.txt"
        text = resources.files("timbre_jax.data.importers").joinpath(name).read_text(encoding="utf-8")
    else:
        name = os.fspath(path)
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise ValueError(f"{name}: the table of class words cannot be read ({reason})") from None
    rules = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        label, colon, words = line.partition(":")
        parsed = tuple(word for word in (re.sub(r"[\s_-]+", "", part).lower() for part in words.split(",")) if word)
        if not colon or not label.strip() or not parsed:
            raise ValueError(f"{name}, line {number}: must have the form CLASS: word, word (got {line[:60]!r})")
        rules.append(Rule(label.strip(), parsed))
    if not rules:
        raise ValueError(f"{name}: no line of the form CLASS: word, word")
    return tuple(rules)


def name_words(name: str) -> set[str]:
    """Returns the words in a name in lower case: its parts, and two or three joined parts.

    Parts end at capitals, digits and other characters: "HiHatOpen_2" contains hi, hat, open, 2, hihat, hatopen, ...
    """
    parts = [part.lower() for part in _PARTS.findall(name)]
    return {
        "".join(parts[start : start + length])
        for length in range(1, _MAX_PARTS + 1)
        for start in range(len(parts) - length + 1)
    }


def class_of_names(names: Iterable[str], rules: Sequence[Rule]) -> str | None:
    """Returns the class of the first rule with a word in one of a sound's names.

    It is "" if the rule marks sounds without a class, and None if no rule matches.
    """
    words = set().union(*map(name_words, names))
    for rule in rules:
        for word in rule.words:
            if word in words or (("*" in word or "?" in word) and any(fnmatchcase(part, word) for part in words)):
                return "" if rule.label == UNLABELED else rule.label
    return None
