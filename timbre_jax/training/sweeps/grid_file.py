"""The runs of a sweep, read from a grid file: of experiments/sweep.py in one process, of launch/submit.py as jobs."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

LONGEST = 120
"""Characters of a run's name; file systems allow 255 bytes, and logs add to it."""


def read_grid(path: str | Path) -> list[dict[str, Any]]:
    """What each run of a sweep changes: {"train.kl_weight": 4.0, "seed": 1}, in the file's order. Takes JSON itself as well.

    The file is JSON, which keeps numbers, texts and lists apart, and is data: it can be read again when a sweep is resumed, and
    runs no code. An object is a grid: every combination of its lists, the last field fastest. A list is its parts, one after
    another: single runs or grids.

      {"train.kl_weight": [0.5, 1, 2, 4], "seed": [0, 1, 2, 3]}                  16 runs
      [{"model.latent_size": 8}, {"model.latent_size": 16, "seed": [0, 1]}]      3 runs

    A value that is a list itself (a tuple in the configuration) stands in a list: {"model.channels": [[16, 16], [32, 32]]}.

    Raises:
      ValueError: not such a file, no run in it, or one of them twice.
    """
    path = str(path)
    try:
        text = path if path.lstrip().startswith(("{", "[")) else Path(path).read_text(encoding="utf-8")
        grid = json.loads(text, object_pairs_hook=lambda pairs: _object(pairs, path))
    except OSError as error:
        raise ValueError(f"--grid={path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--grid={path} is no JSON ({error}); see --help for how a grid looks") from None
    runs = list(_runs(grid, path))
    if not runs:
        raise ValueError(f"--grid={path} has no run in it")
    for i, run in enumerate(runs):
        if run in runs[:i]:
            raise ValueError(f"--grid={path} has a run twice: {json.dumps(run)}")
    return runs


def run_names(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """A folder's name for each: "kl_weight=4+seed=1", with a field's last part where it says which field is meant.

    Raises:
      ValueError: two have the same name.
    """
    short = short_fields(runs)
    names = ["+".join(f"{short[field]}={_text(value)}" for field, value in run.items()) for run in runs]
    for i, name in enumerate(names):
        if len(name) > LONGEST:
            names[i] = f"{name[: LONGEST - 5]}~{i:04d}"
    if again := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"two runs of the sweep would be named {again[0]!r}: their values must differ in letters or digits")
    return names


def short_fields(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Of each field that the runs change its last part, where no other has the same, for names and columns."""
    fields = list(dict.fromkeys(field for run in runs for field in run))
    last = [field.rpartition(".")[2] for field in fields]
    return {field: short if last.count(short) == 1 else field for field, short in zip(fields, last, strict=True)}


def field_value(config: Mapping[str, Any], field: str, value: Any) -> Any:
    """Returns a value, from text or JSON, as the type that a field of a configuration has.

    Args:
      config: nested configuration.
      field: dotted name of the field, "model.latent_size".
      value: text or a JSON value.

    Raises:
      ValueError: the field does not exist, or the value is of another type.
    """
    holder = config
    for part in field.split("."):
        if not hasattr(holder, "keys") or part not in holder:
            raise ValueError(f"config.{field}: no such field to sweep over; see the configuration file")
        holder = holder[part]
    if isinstance(value, list | tuple) and isinstance(holder, tuple):
        return tuple(value)
    if isinstance(value, type(holder)) and isinstance(value, bool) == isinstance(holder, bool):
        return value
    try:
        if isinstance(holder, bool | tuple) or isinstance(value, bool) or hasattr(holder, "keys"):
            raise ValueError
        if isinstance(value, float) and isinstance(holder, int) and not value.is_integer():
            raise ValueError
        kind: Any = type(holder)
        return kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"config.{field}={value!r}: must be {type(holder).__name__}, like {holder!r}") from None


def _object(pairs: Iterable[tuple[str, Any]], path) -> dict:
    pairs = list(pairs)
    names = [name for name, _ in pairs]
    if again := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"--grid={path} has the field {again[0]!r} twice in one grid: put all its values into one list")
    return dict(pairs)


def _runs(grid: Any, path) -> Iterable[dict[str, Any]]:
    if isinstance(grid, list):
        for part in grid:
            yield from _runs(part, path)
    elif isinstance(grid, dict):
        values = [value if isinstance(value, list) else [value] for value in grid.values()]
        for combination in itertools.product(*values):
            for field, value in zip(grid, combination, strict=True):
                if isinstance(value, dict) or value is None:
                    raise ValueError(
                        f"--grid={path}: {field} cannot be {json.dumps(value)}; fields are written model.latent_size"
                    )
            yield dict(zip(grid, combination, strict=True))
    else:
        raise ValueError(f"--grid={path}: a grid is {{field: [values]}} or a list of such, not {json.dumps(grid)}")


def _text(value: Any) -> str:
    """A value as part of a file's name."""
    if isinstance(value, list | tuple):
        return "-".join(map(_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e6 else repr(value)
    # Of a path its end: two that differ only before it are told by `run_names`.
    return re.sub(r"[^\w.+=-]+", "_", str(value).rstrip("/").rpartition("/")[2]).strip("_") or "none"
