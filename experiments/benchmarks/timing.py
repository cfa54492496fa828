"""Timing of functions in turns, and the rows of benchmarks."""

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
      unit: unit of both numbers.
      ours: figure of this library.
      theirs: figure of what it is compared with, if anything.
      ratio: above 1 if ours is better; None for rows that are not compared.
    """
    return {"name": name, "ours": ours, "theirs": theirs, "ratio": ratio, "unit": unit}


def rates_row(name: str, unit: str, ours: float, theirs: float | None = None) -> dict[str, Any]:
    """Returns a row of two rates, of which the higher is better."""
    return row(name, unit, ours, theirs, None if theirs is None else ours / theirs)


def step_clock() -> Callable[[], float]:
    """Returns a clock: CPU seconds if this process may use one core only and no accelerator, else wall-clock seconds.

    Other work on the machine hardly changes CPU seconds.
    """
    import jax

    alone = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) == 1
    return time.process_time if alone and jax.default_backend() == "cpu" else time.perf_counter


def best_seconds(functions: Mapping[T, Callable[[], Any]], *, rounds: int) -> dict[T, float]:
    """Returns the seconds of the best round of each function; they are called in turns, after a first call that compiles."""
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
    """Pins this process to one core, before JAX starts its threads; returns the name of what JAX then computes on."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    import jax

    return "one core" if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


def in_own_process(function: Callable[..., T], *arguments: Any) -> T:
    """Calls a function in a new process, of which the pin to a core or the peak memory is its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
