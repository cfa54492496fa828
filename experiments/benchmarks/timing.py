"""Timing of functions, and rows of benchmarks."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


def row(name: str, unit: str, ours: float, theirs: float | None = None, ratio: float | None = None) -> dict[str, Any]:
    """Returns a row of a benchmark.

    Args:
      name: path-like name.
      unit: unit of both values.
      ours: value of this library.
      theirs: value of the other library, or None.
      ratio: above 1 if ours is better; None if the values are not compared.
    """
    return {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "unit": unit}


def rates_row(name: str, unit: str, ours: float, theirs: float | None = None) -> dict[str, Any]:
    """Returns a row of rates, whose ratio is ours to theirs."""
    return row(name, unit, ours, theirs, None if theirs is None else ours / theirs)


def step_clock() -> Callable[[], float]:
    """Returns the clock for benchmarks.

    It counts CPU seconds, which other work on the machine hardly changes, if this process computes on one core only, and
    wall-clock seconds otherwise.
    """
    import jax

    alone = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1
    return time.process_time if alone and jax.default_backend() == "cpu" else time.perf_counter


def best_seconds(functions: Mapping[T, Callable[[], Any]], *, rounds: int) -> dict[T, float]:
    """Returns the seconds of the fastest call of each function.

    The functions are called in turns, after a first call of each, which compiles.

    Args:
      functions: functions by name; their results are awaited.
      rounds: number of calls of each function.
    """
    import jax

    clock, best = step_clock(), dict.fromkeys(functions, float("inf"))
    for function in functions.values():
        jax.block_until_ready(function())
    for _ in range(rounds):
        for name, function in functions.items():
            start = clock()
            jax.block_until_ready(function())
            best[name] = min(best[name], clock() - start)
    return best


def pin_to_one_core() -> str:
    """Pins this process to one core, before JAX is used, and returns the name of the device."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax

    return "one core" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function in a new process, which has its own core and its own peak memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
