"""Settings dataclasses whose fields carry their help text and limits.

A mode of generation, an importer or an analysis takes one frozen dataclass of settings. Programs make their flags from its
fields (`experiments/command_line.py`), so that signature, flag and documentation cannot drift apart.

    @dataclasses.dataclass(frozen=True)
    class Sweep(Settings):
        latent: int = setting(0, "Index of the latent.", low=0)
        steps: int = setting(9, "Number of sounds, both ends included.", low=2)
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any


def setting(
    default: Any = dataclasses.MISSING,
    help: str = "",
    *,
    choices: Sequence[str] = (),
    low: float | None = None,
    high: float | None = None,
    parse: Callable[[str], Any] | None = None,
    shown: str = "",
) -> Any:
    """Returns a dataclass field with its help text and limits.

    Args:
      default: the value if none is given; without one the setting is required.
      help: one sentence for `--help`, with the unit.
      choices: allowed values of a string.
      low: smallest allowed number.
      high: largest allowed number.
      parse: turns the text of a flag into the value; raises ValueError for text that it cannot read.
      shown: the default as text that `parse` reads, for `--help`.
    """
    metadata = {"help": help, "choices": tuple(choices), "low": low, "high": high, "parse": parse, "shown": shown}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base class of settings: checks the limits of every field when it is made.

    Raises:
      ValueError: a value outside its limits, as one line that names the field.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_field(field, getattr(self, field.name))


def check_field(field: dataclasses.Field, value: Any) -> None:
    """Raises a ValueError if a value lies outside the limits of its field; None is always allowed."""
    if value is None:
        return
    limits = field.metadata
    if (choices := limits.get("choices")) and value not in choices:
        raise ValueError(f"{field.name}={value}: must be one of {', '.join(choices)}")
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, bool) or not isinstance(part, int | float):
            continue
        if not math.isfinite(part):
            raise ValueError(f"{field.name}={part}: must be a finite number")
        if limits.get("low") is not None and part < limits["low"]:
            raise ValueError(f"{field.name}={part}: must be at least {limits['low']:g}")
        if limits.get("high") is not None and part > limits["high"]:
            raise ValueError(f"{field.name}={part}: must be at most {limits['high']:g}")


def field_types(kind: type) -> dict[str, type]:
    """Returns the type of every field of a settings dataclass, without its `| None`; a tuple of any kind is `tuple`."""
    found = {}
    for name, hint in typing.get_type_hints(kind).items():
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
        found[name] = typing.get_origin(hint) or hint
    return {field.name: found[field.name] for field in dataclasses.fields(kind)}
