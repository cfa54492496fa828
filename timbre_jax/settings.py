"""Settings dataclasses whose fields have help texts and limits.

Each mode of generation and each importer has a frozen dataclass of settings. Programs define flags from the fields
(`experiments/command_line.py`), so parameters, flags and their documentation agree.

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
    """Returns a dataclass field with a help text and limits.

    Args:
      default: default value; without one the setting is required.
      help: one sentence for `--help`, with the unit.
      choices: allowed values of a string.
      low: smallest allowed number.
      high: largest allowed number.
      parse: function from the text of a flag to the value; raises a ValueError for invalid text.
      shown: the default in the syntax of `parse`, for `--help`.
    """
    metadata = {"help": help, "choices": tuple(choices), "low": low, "high": high, "parse": parse, "shown": shown}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Settings:
    """Base class of settings, which checks the limits of all fields of a new instance.

    Raises:
      ValueError: a value is outside its limits.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_field(field, getattr(self, field.name))


def check_field(field: dataclasses.Field, value: Any) -> None:
    """Raises a ValueError if a value other than None is outside the limits of its field."""
    if value is None:
        return
    limits = field.metadata
    if (choices := limits.get("choices")) and value not in choices:
        raise ValueError(f"{field.name}={value}: must be one of {', '.join(choices)}")
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        if not math.isfinite(number):
            raise ValueError(f"{field.name}={number}: must be a finite number")
        if limits.get("low") is not None and number < limits["low"]:
            raise ValueError(f"{field.name}={number}: must be at least {limits['low']:g}")
        if limits.get("high") is not None and number > limits["high"]:
            raise ValueError(f"{field.name}={number}: must be at most {limits['high']:g}")


def field_types(kind: type) -> dict[str, type]:
    """Returns the type of every field, without `| None` and type arguments."""
    all_types = {}
    for name, hint in typing.get_type_hints(kind).items():
        if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
            hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
        all_types[name] = typing.get_origin(hint) or hint
    return {field.name: all_types[field.name] for field in dataclasses.fields(kind)}
