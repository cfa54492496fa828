"""Runs of a grid, against the same runs one after another: `grid/natsiou2023`.

`grid/natsiou2023/at_once=N`: steps per second of N runs that are vectorized by `vmap`, against one run at a time, which is the
program of `train_and_evaluate` and the choice of `train_grid` on a CPU; without compilation. On an accelerator also all sixteen
runs (4 seeds x 4 KL weights). `grid/rebnord2022:0_flow/at_once=N`: the same for a network that uses XLA's own convolutions, in
batches of 16. The features are arrays in memory; both sides run in turns, and the best round counts.

`grid/natsiou2023/whole`: runs per hour from the call to the finished folders, with compilation, of `train_grid` against
`train_and_evaluate` one after another, for four runs of four steps.
"""

from __future__ import annotations

import functools
import tempfile
import time
from pathlib import Path

from experiments.benchmarks.timing import best_seconds, rates_row

SEEDS, KL_WEIGHTS, ROUNDS = (0, 1, 2, 3), (0.25, 0.5, 1.0, 2.0), 3
RUNS_AT_ONCE = 4
CONVOLUTION_RUNS, SMALL_BATCH = 2, 16


def run() -> list[dict]:
    """Returns the rows of the benchmark."""
    import jax

    from experiments.configs import rebnord2022
    from timbre_jax.training.config import resolve

    name, runs = "grid/natsiou2023", len(SEEDS) * len(KL_WEIGHTS)
    widths = [1, RUNS_AT_ONCE, *([] if jax.default_backend() == "cpu" else [runs])]
    seconds = _step_seconds(_config(steps=100), widths)
    rates = {width: width / seconds[width] for width in widths}
    rows = [rates_row(f"{name}/at_once={width}", "steps/s", rates[width], rates[1]) for width in widths[1:]]
    other = rebnord2022.get_config("0_flow")
    other.train.batch_size = SMALL_BATCH
    seconds = _step_seconds(resolve(other), [1, CONVOLUTION_RUNS])
    rate = CONVOLUTION_RUNS / seconds[CONVOLUTION_RUNS]
    rows.append(rates_row(f"grid/rebnord2022:0_flow/at_once={CONVOLUTION_RUNS}", "steps/s", rate, 1 / seconds[1]))
    return [*rows, _whole_runs_row(f"{name}/whole")]


def _config(steps: int):
    """Returns the configuration natsiou2023 for a number of steps."""
    from experiments.configs.natsiou2023 import get_config
    from timbre_jax.training.config import resolve

    config = get_config()
    config.representation.fit_ranges = False
    config.train.update(steps=steps, epochs=0.0)
    return resolve(config)


def _sources(config, count: int):
    """Returns features of noise, which take the same time as any others."""
    import numpy as np

    from timbre_jax.data.datasets import Sources, base_representation
    from timbre_jax.data.example_source import ListedExamples

    representation = base_representation(config)
    values = np.random.default_rng(0).uniform(size=(count, *representation.feature_shape)).astype(np.float32)
    examples = [{"values": v, "mask": np.ones(len(v), np.float32), "index": np.int32(i)} for i, v in enumerate(values)]
    return Sources(ListedExamples(examples), ListedExamples(examples[:32]), representation)


def _step_seconds(config, widths) -> dict[int, float]:
    """Returns the seconds of the best step by the number of runs at once."""
    import jax

    from timbre_jax.training.distributed.sharding import data_mesh, make_placement
    from timbre_jax.training.programs import Programs
    from timbre_jax.training.setup import build_model
    from timbre_jax.training.sweeps.vectorized_states import SingleState, VectorizedStates

    sources = _sources(config, config.train.batch_size)
    devices = jax.devices()[:1]
    placement = make_placement("jit", data_mesh(devices))
    programs = Programs(config, build_model(config, sources), sources.representation, placement, 100)
    batch, key = sources.train.batch(range(config.train.batch_size)), jax.random.key(0)
    states = {}
    for width in widths:
        states[width] = SingleState(programs) if width == 1 else VectorizedStates(programs, devices, width)
        for slot in range(width):
            hyper = {"learning_rate": 1e-3, "kl_weight": KL_WEIGHTS[slot % len(KL_WEIGHTS)]}
            states[width].put(slot, programs.create(jax.random.key(slot), hyper))
    return best_seconds({width: functools.partial(_step_losses, states[width], batch, key) for width in widths}, rounds=ROUNDS)


def _step_losses(states, batch, key) -> list[float]:
    """Takes a step of every run and returns their losses."""
    import jax

    return jax.device_get([metrics["loss"] for metrics in states.step([batch] * states.width, [key] * states.width)])


def _whole_runs_row(name: str) -> dict:
    """Returns the row of whole runs, with compilation."""
    from timbre_jax.training.loop import train_and_evaluate
    from timbre_jax.training.sweeps.grid import train_grid

    config = _config(steps=4)
    sources = _sources(config, config.train.batch_size)
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        members = {}
        for kl_weight in KL_WEIGHTS:
            changed = config.copy_and_resolve_references()
            changed.train.kl_weight = kl_weight
            members[f"{kl_weight}"] = changed
        start = time.perf_counter()
        for run, changed in members.items():
            train_and_evaluate(changed, Path(folder, "alone", run), sources=sources, progress=False)
        seconds["theirs"] = time.perf_counter() - start
        start = time.perf_counter()
        train_grid({Path(folder, "grid", run): c for run, c in members.items()}, sources=sources, progress=False)
        seconds["ours"] = time.perf_counter() - start
    return rates_row(name, "runs/h", *(3600 * len(members) / seconds[side] for side in ("ours", "theirs")))
