"""`config/NAME`: how fast each configuration of experiments/configs trains, and how much of the machine it uses.

Each in a process of its own, on as many cores and devices as that may use, on sounds that are made for it in a temporary
folder: a store, its cached features, the pipeline and the compiled step are those of experiments/train.py. One step at a time
is waited for, and the best counts: CPU seconds where the process may use one core only (`taskset -c 0`), which other work on
the machine hardly changes, else wall-clock seconds. The columns:

  steps/s, examples/s
  GFLOP/step   what the model calculates in a step (experiments/benchmarks/arithmetic.py), gradients included
  GFLOP/s      that, by the time of a step
  % of peak    of the best float32 matrix product of the same process: at its beginning, right before the steps, right after
  pipeline %   time that the pipeline takes for a batch with nothing beside it, by that of a step; in training it runs ahead
  compile s    of the step, without the compilation cache
  memory GB    of the process at its most, or of the device where it says

For models that are fitted in closed form examples/s is of the whole fitting and the other columns are empty.
"""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.benchmarks.timing import in_own_process, row, step_clock
from experiments.config_flags import config_names, load_config

STEPS, SECONDS, BATCHES = 5, 6.0, 16
"""Steps to time at least, and for how long; batches of the pipeline to time."""

COLUMNS = ("steps/s", "examples/s", "GFLOP/step", "GFLOP/s", "% of peak", "pipeline %", "compile s", "memory GB")


def run(only: str = "") -> list[dict]:
    """The rows of all configurations, or of one (a variant after a colon, `rebnord2022:8_dim`)."""
    rows = []
    for name in [only] if only else config_names():
        columns = in_own_process(measure, name)
        rows += [row(f"config/{name}/{column}", column, columns[column]) for column in COLUMNS if column in columns]
    return rows


def measure(name: str) -> dict[str, float]:
    """The columns of a configuration; in a process of its own, since memory is that of the process at its most."""
    import jax

    jax.config.update("jax_enable_compilation_cache", False)
    from timbre_jax.training.config import resolve

    with tempfile.TemporaryDirectory(prefix="timbre_benchmark_") as folder:
        config = resolve(load_config(name))
        config.data.store = str(make_store(config, Path(folder) / "store"))
        return measure_training(config, Path(folder) / "run")


def measure_training(
    config: Mapping[str, Any], workdir: Path, *, steps: int = STEPS, seconds: float = SECONDS
) -> dict[str, float]:
    """The columns of a resolved configuration on its own store, trained for some steps in `workdir`."""
    import jax

    from experiments.benchmarks.arithmetic import count_flops, measure_peak
    from timbre_jax.data.datasets import open_sources
    from timbre_jax.training.profiling import peak_memory
    from timbre_jax.training.setup import build_model, fit, write_config
    from timbre_jax.training.trainer import Trainer

    peak, clock, sources = measure_peak(), step_clock(), open_sources(config, progress=False)
    model = build_model(config, sources)
    workdir.mkdir(parents=True)
    write_config(workdir, config, model, sources)
    if model.trained_by == "fit":
        start = clock()
        fit(config, workdir, model, sources)
        return {"examples/s": len(sources.train) / (clock() - start), "memory GB": _memory(peak_memory())}
    run = Trainer(config, workdir, model, sources, "jit", False)
    run.begin()
    try:
        batch = run.placement.train_batch(run.next_batch())
        flops = count_flops(run.train_step, run.state, batch, run.key)
        start = clock()
        compiled = run.train_step.lower(run.state, batch, run.key).compile()
        compile_seconds = clock() - start
        peak, step = max(peak, measure_peak()), float("inf")
        run.state, _ = jax.block_until_ready(compiled(run.state, batch, run.key))
        until, count = time.perf_counter() + seconds, 0
        while count < steps or time.perf_counter() < until:
            batch = run.placement.train_batch(run.next_batch())
            start = clock()
            run.state, _ = jax.block_until_ready(compiled(run.state, batch, run.key))
            step, count = min(step, clock() - start), count + 1
        peak = max(peak, measure_peak())
        pipeline = _pipeline_seconds(run)
    finally:
        run.close()
    return {
        "steps/s": 1 / step,
        "examples/s": config["train"]["batch_size"] / step,
        "GFLOP/step": flops / 1e9,
        "GFLOP/s": flops / step / 1e9,
        "% of peak": 100 * flops / step / peak,
        "pipeline %": 100 * pipeline / step,
        "compile s": compile_seconds,
        "memory GB": _memory(peak_memory()),
    }


def _pipeline_seconds(run: Any) -> float:
    """Seconds of a batch, from the disk to the device, when nothing else is done."""
    import jax

    clock = step_clock()

    def take() -> None:
        jax.block_until_ready(run.placement.train_batch(run.next_batch()))

    for _ in range(8):  # what had been read ahead
        take()
    start = clock()
    for _ in range(BATCHES):
        take()
    return (clock() - start) / BATCHES


def _memory(memory: Any) -> float:
    return max(memory.devices.values(), default=memory.process) / 1e9


# Sounds for it. --------------------------------------------------------------------------------------------------------


def make_store(config: Mapping[str, Any], path: Path, *, sounds: int = 0) -> Path:
    """A store of made-up sounds with the rate and lengths that a configuration's representation wants; returns its path.

    `sounds` to train on; 0 is two batches of them, and no fewer than 64.
    """
    from timbre_jax.data.datasets import base_representation
    from timbre_jax.data.importers.base import Form
    from timbre_jax.data.prepare.build import build_store

    representation = base_representation(config)
    own = representation.length
    variable = config["model"]["name"] == "variable_length_vae"
    form = Form(representation.sample_rate, own or 4 * representation.sample_rate, variable=variable)
    count = sounds or max(64, 2 * config["train"]["batch_size"])
    build_store(Tones(form, (("train", count), ("valid", 8))), path, workers=1, progress=False)
    return path


@dataclasses.dataclass(frozen=True)
class Tones:
    """A source of harmonic tones with a little noise, 82 to 780 Hz, fading; of many lengths where the form is `variable`.

    Held-out tones have pitches between those to train on, so that none is left out as a copy.
    """

    form: Any
    counts: tuple[tuple[str, int], ...]

    def describe(self) -> dict[str, Any]:
        return {"kind": "tones", "title": "made-up tones", "license": "none", "counts": [list(count) for count in self.counts]}

    def plan(self) -> list:
        from timbre_jax.data.importers.base import Record

        records: list[Record] = []
        for split, count in self.counts:
            for _ in range(count):
                number = len(records)
                instrument = f"{split}_{number % 8}"
                pitch = 40 + 2 * (number % 20) + (split != "train")
                records.append(Record(f"tone_{number:06d}", split, instrument, "bass", "synthetic", pitch, 100, "", number))
        return records

    def fetch(self, records, wanted):
        yield from ((position, None) for position in wanted)

    def load(self, record, payload):
        import numpy as np

        from timbre_jax.data.importers.base import Loaded

        random = np.random.default_rng(record.where)
        rate, samples = self.form.sample_rate, self.form.samples
        if self.form.variable:
            samples = round(samples * float(random.uniform(0.05, 1.0)))
        time_s = np.arange(samples) / rate
        phases = 2 * np.pi * 440.0 * 2.0 ** ((record.pitch - 69) / 12) * time_s
        wave = sum(np.sin(n * phases + random.uniform(0, 6.28)) / n for n in range(1, 8))
        wave = 0.1 * np.exp(-time_s / random.uniform(0.3, 3.0)) * wave + 1e-3 * random.standard_normal(samples)
        return Loaded(wave.astype(np.float32))
