"""Grid files, which define sweeps for experiments/sweep.py and launch/submit.py."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

MAX_NAME_LENGTH = 120
"""Largest number of characters in a run's name; file systems allow 255 bytes, and log files add to the name."""


def read_grid(path: str | Path) -> list[dict[str, Any]]:
    """Reads the changes of every run of a sweep from a grid file.

    A JSON object is a grid of all combinations of its lists, in which the last field changes fastest. A JSON list is a sequence
    of runs and grids:

      {"train.kl_weight": [0.5, 1, 2, 4], "seed": [0, 1, 2, 3]}                  16 runs
      [{"model.latent_size": 8}, {"model.latent_size": 16, "seed": [0, 1]}]      3 runs

    A value that is a list itself (a tuple in the configuration) must be in a list: {"model.channels": [[16, 16], [32, 32]]}.

    Args:
      path: JSON file, or JSON text.

    Returns:
      The changes of each run in order, such as {"train.kl_weight": 4.0, "seed": 1}.

    Raises:
      ValueError: the file cannot be read, has no run or repeats a run.
    """
    path = str(path)
    try:
        text = path if path.lstrip().startswith(("{", "[")) else Path(path).read_text(encoding="utf-8")
        grid = json.loads(text, object_pairs_hook=lambda pairs: _unique_fields(pairs, path))
    except OSError as error:
        raise ValueError(f"--grid={path}: {error.strerror}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--grid={path}: not JSON ({error}); see --help for examples") from None
    runs = list(_runs(grid, path))
    if not runs:
        raise ValueError(f"--grid={path}: has no runs")
    for i, run in enumerate(runs):
        if run in runs[:i]:
            raise ValueError(f"--grid={path}: has a run twice: {json.dumps(run)}")
    return runs


def run_names(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns a folder name for each run, such as "kl_weight=4+seed=1".

    Args:
      runs: changes of each run by field.

    Raises:
      ValueError: two runs have the same name.
    """
    short = short_fields(runs)
    names = ["+".join(f"{short[field]}={_name_text(value)}" for field, value in run.items()) for run in runs]
    for i, name in enumerate(names):
        if len(name) > MAX_NAME_LENGTH:
            names[i] = f"{name[: MAX_NAME_LENGTH - 5]}~{i:04d}"
    if repeated := [name for i, name in enumerate(names) if name in names[:i]]:
        raise ValueError(f"sweep: two runs have the name {repeated[0]!r}; their values must differ in letters or digits")
    return names


def short_fields(runs: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Returns a short name for each changed field: its last part if that is unique."""
    fields = list(dict.fromkeys(field for run in runs for field in run))
    last = [field.rpartition(".")[2] for field in fields]
    return {field: short if last.count(short) == 1 else field for field, short in zip(fields, last, strict=True)}


def field_value(config: Mapping[str, Any], field: str, value: Any) -> Any:
    """Returns a value converted to the type of a field of a configuration.

    Args:
      config: nested configuration.
      field: dotted name of the field, such as "model.latent_size".
      value: text or a JSON value.

    Raises:
      ValueError: the field does not exist, or the value has another type.
    """
    current = config
    for part in field.split("."):
        if not hasattr(current, "keys") or part not in current:
            raise ValueError(f"config.{field}: no such field")
        current = current[part]
    if isinstance(value, list | tuple) and isinstance(current, tuple):
        return tuple(value)
    if isinstance(value, type(current)) and isinstance(value, bool) == isinstance(current, bool):
        return value
    try:
        if isinstance(current, bool | tuple) or isinstance(value, bool) or hasattr(current, "keys"):
            raise ValueError
        if isinstance(value, float) and isinstance(current, int) and not value.is_integer():
            raise ValueError
        kind: Any = type(current)
        return kind(value)
    except (TypeError, ValueError):
        raise ValueError(f"config.{field}={value!r}: must be {type(current).__name__}, like {current!r}") from None


def _unique_fields(pairs: Iterable[tuple[str, Any]], path) -> dict:
    """Returns the fields of a JSON object. Raises a ValueError for a repeated field."""
    pairs = list(pairs)
    names = [name for name, _ in pairs]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"--grid={path}: has the field {repeated[0]!r} twice in one grid; put all its values into one list")
    return dict(pairs)


def _runs(grid: Any, path) -> Iterable[dict[str, Any]]:
    """Yields the changes of every run of a grid, or of a list of runs and grids."""
    if isinstance(grid, list):
        for part in grid:
            yield from _runs(part, path)
    elif isinstance(grid, dict):
        values = [value if isinstance(value, list) else [value] for value in grid.values()]
        for combination in itertools.product(*values):
            for field, value in zip(grid, combination, strict=True):
                if isinstance(value, dict) or value is None:
                    raise ValueError(
                        f"--grid={path}: {field} cannot be {json.dumps(value)}; write nested fields as model.latent_size"
                    )
            yield dict(zip(grid, combination, strict=True))
    else:
        raise ValueError(f"--grid={path}: must be {{field: [values]}} or a list of such objects (got {json.dumps(grid)})")


def _name_text(value: Any) -> str:
    """Returns a value as part of a file name."""
    if isinstance(value, list | tuple):
        return "-".join(map(_name_text, value))
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e6 else repr(value)
    # The last part of a path; `run_names` refuses runs that differ only in other parts.
    return re.sub(r"[^\w.+=-]+", "_", str(value).rstrip("/").rpartition("/")[2]).strip("_") or "none"
