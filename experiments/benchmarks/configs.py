"""Training speed of each configuration, and its use of the machine: `config/NAME`.

Each configuration is measured in its own process, on the cores and devices that this process may use. The sounds are
synthesized into a temporary store; the store, its cached features, the pipeline and the compiled step are those of
experiments/train.py. The time of a step is the fastest of several: in CPU seconds if the process may use one core
only (`taskset -c 0`), which other work on the machine hardly changes, else in wall-clock seconds. The columns:

  steps/s, examples/s
  GFLOP/step   arithmetic of the model in a step (experiments/benchmarks/arithmetic.py), with its gradients
  GFLOP/s      GFLOP/step divided by the time of a step
  % of peak    GFLOP/s in % of the fastest float32 matrix product of the same process, measured before and after the steps
  pipeline %   time of the pipeline for a batch, alone, in % of the time of a step; in training it runs in parallel
  compile s    time to compile the step without the compilation cache
  memory GB    largest memory of the process, or of the device if it reports it

For models that are fitted in closed form, examples/s is that of the whole fit, and the other columns are empty.
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
"""Smallest number of steps to time, seconds to time them for, and batches of the pipeline to time."""

COLUMNS = ("steps/s", "examples/s", "GFLOP/step", "GFLOP/s", "% of peak", "pipeline %", "compile s", "memory GB")


def run(only: str = "") -> list[dict]:
    """Measures all configurations, or one, NAME or NAME:VARIANT, and returns their rows."""
    rows = []
    for name in [only] if only else config_names():
        columns = in_own_process(measure, name)
        rows += [row(f"config/{name}/{column}", column, columns[column]) for column in COLUMNS if column in columns]
    return rows


def measure(name: str) -> dict[str, float]:
    """Returns the columns of a configuration; run it in its own process for its peak memory."""
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
    """Returns the columns of a configuration after training it for some steps.

    Args:
      config: resolved configuration with its store.
      workdir: folder of the run, which must not exist.
      steps: smallest number of steps to time.
      seconds: time to spend on steps.
    """
    import jax

    from experiments.benchmarks.arithmetic import count_flops, measure_peak
    from timbre_jax.data.datasets import open_sources
    from timbre_jax.training.profiling import peak_memory
    from timbre_jax.training.setup import build_model, fit_closed_form, write_config
    from timbre_jax.training.trainer import Trainer

    peak, clock, sources = measure_peak(), step_clock(), open_sources(config, progress=False)
    model = build_model(config, sources)
    workdir.mkdir(parents=True)
    write_config(workdir, config, model, sources)
    if model.trained_by == "fit":
        start = clock()
        fit_closed_form(config, workdir, model, sources)
        return {"examples/s": len(sources.train) / (clock() - start), "memory GB": _peak_memory_gb(peak_memory())}
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
        "memory GB": _peak_memory_gb(peak_memory()),
    }


def _pipeline_seconds(run: Any) -> float:
    """Returns the seconds for a batch from the disk to the device, with no other work."""
    import jax

    clock = step_clock()

    def take() -> None:
        jax.block_until_ready(run.placement.train_batch(run.next_batch()))

    for _ in range(8):  # batches that were prefetched
        take()
    start = clock()
    for _ in range(BATCHES):
        take()
    return (clock() - start) / BATCHES


def _peak_memory_gb(memory: Any) -> float:
    """Returns the peak memory of the device in GB, or of the process."""
    return max(memory.devices.values(), default=memory.process) / 1e9


def make_store(config: Mapping[str, Any], path: Path, *, sounds: int = 0) -> Path:
    """Makes a store of synthetic sounds for the representation of a configuration.

    Args:
      config: resolved configuration.
      path: folder of the store.
      sounds: number of sounds to train on; 0 means two batches, and at least 64.

    Returns:
      The folder.
    """
    from timbre_jax.data.datasets import base_representation
    from timbre_jax.data.importers.base import AudioFormat
    from timbre_jax.data.prepare.build import build_store

    representation = base_representation(config)
    own = representation.length
    variable = config["model"]["name"] == "variable_length_vae"
    audio_format = AudioFormat(representation.sample_rate, own or 4 * representation.sample_rate, variable=variable)
    count = sounds or max(64, 2 * config["train"]["batch_size"])
    build_store(Tones(audio_format, (("train", count), ("valid", 8))), path, workers=1, progress=False)
    return path


@dataclasses.dataclass(frozen=True)
class Tones:
    """Importer of decaying harmonic tones with a little noise, from 82 to 780 Hz.

    Held-out tones have pitches between those of the training tones, so that none is a near-duplicate.

    Attributes:
      audio_format: sample rate and length; if the length is variable, lengths are drawn at random.
      counts: number of tones of each split.
    """

    audio_format: Any
    counts: tuple[tuple[str, int], ...]

    def describe(self) -> dict[str, Any]:
        """Returns the settings, as an importer does."""
        return {
            "kind": "tones",
            "title": "synthetic tones",
            "license": "none",
            "counts": [list(count) for count in self.counts],
        }

    def plan(self) -> list:
        """Returns the records of all tones."""
        from timbre_jax.data.importers.base import Record

        records: list[Record] = []
        for split, count in self.counts:
            for _ in range(count):
                number = len(records)
                instrument = f"{split}_{number % 8}"
                pitch = 40 + 2 * (number % 20) + (split != "train")
                records.append(Record(f"tone_{number:06d}", split, instrument, "bass", "synthetic", pitch, 100, "", number))
        return records

    def fetch(self, records, positions):
        """Yields positions without a payload."""
        yield from ((position, None) for position in positions)

    def load(self, record, payload):
        """Returns the tone of a record."""
        import numpy as np

        from timbre_jax.data.importers.base import LoadedSound

        random = np.random.default_rng(record.location)
        rate, samples = self.audio_format.sample_rate, self.audio_format.samples
        if self.audio_format.variable:
            samples = round(samples * float(random.uniform(0.05, 1.0)))
        time_s = np.arange(samples) / rate
        phases = 2 * np.pi * 440.0 * 2.0 ** ((record.pitch - 69) / 12) * time_s
        wave = sum(np.sin(n * phases + random.uniform(0, 6.28)) / n for n in range(1, 8))
        wave = 0.1 * np.exp(-time_s / random.uniform(0.3, 3.0)) * wave + 1e-3 * random.standard_normal(samples)
        return LoadedSound(wave.astype(np.float32))
