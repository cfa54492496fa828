"""Help text of a program, with its flags in groups."""

from __future__ import annotations

import itertools
import sys
import textwrap
from collections.abc import Sequence

from absl import flags

WIDTH = 100
_GROUPS: dict[str, list[str]] = {}


def add(title: str, *names: str) -> None:
    """Adds flags to a group of the help text."""
    _GROUPS.setdefault(title, []).extend(names)


def is_requested(arguments: Sequence[str]) -> bool:
    """Returns whether --help is among the arguments before "--", which are for this program."""
    own = itertools.takewhile(lambda argument: argument != "--", arguments[1:])
    return any(argument in ("--help", "-help", "-h", "-?", "--helpshort") for argument in own)


def help_text(documentation: str) -> str:
    """Returns the docstring of a program with its flags inserted before the last paragraph.

    Flags that are in no group come first, under the title "Flags".
    """
    text, _, link = documentation.strip().rpartition("\n\n")
    grouped = {name for names in _GROUPS.values() for name in names}
    others = [flag.name for flag in flags.FLAGS.get_key_flags_for_module(sys.argv[0]) if flag.name not in grouped]
    groups = {"Flags": others, **_GROUPS}
    parts = ["\n".join([f"{title}:", *map(_flag_text, names)]) for title, names in groups.items() if names]
    return "\n\n".join([text, *parts, link])


def _flag_text(name: str) -> str:
    """Returns the help text of a flag, in lines of `WIDTH` characters."""
    flag = flags.FLAGS[name]
    text = " ".join(flag.help.split())
    if isinstance(flag.parser, flags.EnumParser):
        text, values = text.split(">: ", 1)[1], flag.parser.enum_values
        if not all(f"{value} (" in text for value in values):  # otherwise the text describes each value
            text = f"{text} One of {', '.join(values)}."
    shown = f"  --{'[no]' if flag.boolean else ''}{name}: {text}"
    return textwrap.fill(shown, WIDTH, subsequent_indent=" " * 6, break_long_words=False, break_on_hyphens=False)
