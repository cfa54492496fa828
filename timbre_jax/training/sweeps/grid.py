"""Trains many small runs in one process; runs with equal programs share one compilation.

Seeds, learning rates and KL weights are inputs of a program (`TrainState.hyper`). Runs that differ only in these, or in
settings that only the host reads (such as length, patience and checkpoint schedule), form a group and share a program. They
take their steps in lockstep, each in a slot of a device. When a run ends, the next one takes its slot. Every run has the same
folder as a run of `train_and_evaluate` and can be resumed alone or in any grid.

On a GPU all runs of a group are computed simultaneously with `vmap`, since a small model uses only a part of it. On a CPU every
device computes one run: with `vmap`, matrix products are hardly faster there, and convolutions with different weights for each
run are slower (measured by `experiments/benchmark.py --only=grid/natsiou2023`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from timbre_jax import checkpoint
from timbre_jax.data.batch_cache import BatchCache
from timbre_jax.data.datasets import Sources, open_sources
from timbre_jax.training.checkpointing.progress import Result
from timbre_jax.training.config import flatten
from timbre_jax.training.distributed.interrupt import StopSignals, locked
from timbre_jax.training.distributed.sharding import data_mesh, make_placement
from timbre_jax.training.programs import Programs, program_key
from timbre_jax.training.setup import build_model, check_config, fit_closed_form, total_steps, write_config
from timbre_jax.training.sweeps.vectorized_states import SingleState, VectorizedStates
from timbre_jax.training.trainer import Trainer

READ_AHEAD = 8
"""Largest difference in batches between pipelines in lockstep, which exceeds the length of their buffers."""

RUN_ERRORS = (ValueError, OSError)
"""Errors that end only one run of a grid, such as divergence, damaged files or a full disk."""


def train_grid(
    configs: Mapping[Path, Mapping[str, Any]],
    *,
    sources: Sources | None = None,
    parallel: str = "jit",
    at_once: int = 0,
    progress: bool = True,
) -> dict[Path, Result]:
    """Trains or resumes one run for each configuration.

    If each device computes one run, results are equal to the bit to those of `train_and_evaluate`. If it computes several, they
    differ by rounding; the noise is equal. A run that diverges ends as "failed" and the others continue. SIGTERM or Ctrl-C
    saves all active runs, and the same call resumes them.

    Args:
      configs: configuration of each run by its folder, see `train_and_evaluate`.
      sources: training and validation set of all runs; by default those of the configured stores.
      parallel: use of several devices by a single run, "jit" or "pmap".
      at_once: number of runs that a device computes simultaneously; 0 is all on an accelerator and one on a CPU.
      progress: whether to show a progress bar on stderr.

    Returns:
      The result of each run, in the order of `configs`. A run that did not start because of a signal is "stopped".

    Raises:
      ValueError: a configuration or folder has a problem, which is checked before any training; or there are several
        processes.
    """
    if jax.process_count() > 1:
        raise ValueError(
            "train_grid: supports only one process; start one for each part of the grid, for instance with launch/submit.py"
        )
    if at_once < 0:
        raise ValueError(f"at_once={at_once}: must be at least 0")
    resolved = {workdir: check_config(config, workdir) for workdir, config in configs.items()}
    opened: dict[str, Sources] = {}
    groups: dict[Hashable, list[_GridRun]] = {}
    for workdir, config in resolved.items():
        data_key = repr(sorted(flatten({"data": config.data, "representation": config.representation}).items()))
        if data_key not in opened:
            opened[data_key] = sources or open_sources(config, progress=progress)
        run = _GridRun(workdir, config, build_model(config, opened[data_key]), opened[data_key])
        groups.setdefault(run.key(), []).append(run)
    runs = [run for group in groups.values() for run in group]
    total = sum(run.total for run in runs)
    bar = tqdm(total=total, unit="step", disable=not progress, dynamic_ncols=True, smoothing=0.05)

    def update_bar() -> None:
        done = sum(run.result is not None for run in runs)
        bar.set_description(f"{done} of {len(runs)} runs done", refresh=False)
        bar.update(sum(run.steps_done for run in runs) - bar.n)

    with StopSignals() as stop, bar:
        for group in groups.values():
            if not stop.number:
                _train_group(group, parallel, at_once, stop, update_bar)
    results = {run.workdir: run.result or run.unstarted_result(stop.number) for run in runs}
    return {workdir: results[workdir] for workdir in configs}


class _GridRun:
    """Run of a grid: its settings, its trainer while it has a slot, and its result."""

    def __init__(self, workdir: Path, config: Any, model: Any, sources: Sources):
        self.workdir, self.config, self.model, self.sources = workdir, config, model, sources
        self.total = total_steps(config, sources) if model.trained_by == "gradient" else 1
        self.trainer: Any = None  # a `VectorizedTrainer` while it has a slot
        self.result: Result | None = None
        self._resources = contextlib.ExitStack()

    def key(self) -> Hashable:
        """Returns the key of the group; runs with equal keys share programs."""
        return id(self.sources), program_key(self.config, self.model, self.sources.representation, self.total)

    @property
    def steps_done(self) -> int:
        """Number of steps for the progress bar."""
        return self.total if self.result else self.trainer.progress.step if self.trainer else 0

    def begin(self, slots: VectorizedStates | SingleState, slot: int, programs: Programs) -> None:
        """Locks the folder and takes a slot; sets `result` instead if the run is already complete."""
        with self.isolated_failure():
            self._resources.enter_context(locked(self.workdir))
            write_config(self.workdir, self.config, self.model, self.sources)
            trainer = VectorizedTrainer(self, slots, slot, programs)
            self.result = trainer.begin()
            if self.result is None:
                self._resources.callback(trainer.close)
                self.trainer = trainer
                self._end_if_complete()  # it may have been stopped between its last step and its end
        if self.result is not None:
            self.release()

    def fit_closed_form(self) -> None:
        """Fits a model in closed form."""
        with self.isolated_failure(), locked(self.workdir):
            write_config(self.workdir, self.config, self.model, self.sources)
            self.result = fit_closed_form(self.config, self.workdir, self.model, self.sources)

    def unstarted_result(self, signal: int) -> Result:
        """Returns the result of a run that did not start because of a signal."""
        saved = checkpoint.steps(self.workdir / "checkpoints")
        return Result("stopped", saved[-1] if saved else 0, -1, float("nan"), signal)

    def after_step(self, signal: int) -> None:
        """Does the work that is due after a step, and ends the run after its last step."""
        with self.isolated_failure():
            self.result = self.trainer.after_step(signal)
            self._end_if_complete()

    def _end_if_complete(self) -> None:
        """Ends the run if it has taken all its steps."""
        if self.result is None and not self.trainer.running:
            self.result = self.trainer.end()

    @contextlib.contextmanager
    def isolated_failure(self):
        """Sets the result to "failed" if the block raises one of `RUN_ERRORS`."""
        try:
            yield
        except RUN_ERRORS as error:
            progress = self.trainer.progress if self.trainer else None
            step, best, value = (progress.step, progress.best_step, progress.best_value) if progress else (0, -1, None)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.result = Result("failed", step, best, float("nan") if value is None else value, error=reason)
            tqdm.write(f"{self.workdir} failed and the other runs continue: {reason}", file=sys.stderr)

    def release(self) -> None:
        """Releases the folder and the memory of the run."""
        with self.isolated_failure():
            self._resources.close()
        self.trainer = None


class VectorizedTrainer(Trainer):
    """Trainer whose state is in a slot beside the states of other runs."""

    def __init__(self, run: _GridRun, slots: VectorizedStates | SingleState, slot: int, programs: Programs):
        self._slots, self._slot = slots, slot
        self.shared_scores: dict[str, float] | None = None
        super().__init__(run.config, run.workdir, run.model, run.sources, "jit", False, programs)
        # All runs wait while one of them saves, so they share the allowed time.
        self.schedule.share_among(slots.width)

    def scores(self) -> dict[str, float]:
        """Returns `shared_scores`, computed for several runs together, or computes the scores."""
        shared_scores, self.shared_scores = self.shared_scores, None
        return super().scores() if shared_scores is None else shared_scores

    @property
    def state(self) -> Any:
        """Training state of this run."""
        return self._slots.take(self._slot)

    @state.setter
    def state(self, state: Any) -> None:
        self._slots.put(self._slot, state)


def _train_group(
    group: Sequence[_GridRun], parallel: str, at_once: int, stop: StopSignals, update_bar: Callable[[], None]
) -> None:
    """Trains all runs of a group."""
    if group[0].model.trained_by == "fit":
        for run in group:
            if not stop.number:
                run.fit_closed_form()
                update_bar()
        return
    slots, programs = _make_slots(group, parallel, at_once)
    _share_batches(group, slots.width)
    waiting, active = deque(group), {}
    try:
        while True:
            free = [slot for slot in range(slots.width) if slot not in active]
            while waiting and free and not stop.number:
                run = waiting.popleft()
                run.begin(slots, free[0], programs)
                if run.result is None:
                    active[free.pop(0)] = run
                update_bar()
            if not active:
                return
            _take_step(slots, active, stop.number)
            for slot in [slot for slot, run in active.items() if run.result is not None]:
                active.pop(slot).release()
            update_bar()
    finally:
        for run in active.values():
            run.release()


def _share_batches(group: Sequence[_GridRun], width: int) -> None:
    """Makes runs with equal seeds, which use the same batches, read each batch only once."""
    seeds = len({run.config.seed for run in group})
    if width > 1 and seeds < len(group):
        sources = group[0].sources
        shared = dataclasses.replace(sources, train=BatchCache(sources.train, keep=READ_AHEAD * min(seeds, width)))
        for run in group:
            run.sources = shared


def _make_slots(group: Sequence[_GridRun], parallel: str, at_once: int) -> tuple[VectorizedStates | SingleState, Programs]:
    """Returns the slots of a group and its programs."""
    devices = jax.devices()[: len(group)]
    runs_per_device = -(-len(group) // len(devices))
    width = min(at_once, runs_per_device) or (1 if devices[0].platform == "cpu" else runs_per_device)
    # A single run uses all devices, as without a grid.
    single = len(group) == 1 or len(devices) * width == 1 or parallel == "pmap"
    first = group[0]
    placement = make_placement(parallel, data_mesh(jax.devices() if single else devices[:1]))
    programs = Programs(first.config, first.model, first.sources.representation, placement, first.total)
    return (SingleState(programs) if single else VectorizedStates(programs, devices, width)), programs


def _take_step(slots: VectorizedStates | SingleState, active: Mapping[int, _GridRun], signal: int) -> None:
    """Takes a step of every active run and does the work that is due after it."""
    batches: list[Any] = [None] * slots.width
    keys: list[Any] = [None] * slots.width
    for slot, run in active.items():
        with run.isolated_failure():
            batches[slot], keys[slot] = run.trainer.next_batch(), run.trainer.key
    if all(batch is None for batch in batches):
        return
    metrics = slots.step(batches, keys)
    unfinished = {slot: run for slot, run in active.items() if run.result is None}
    for slot, run in unfinished.items():
        run.trainer.record_step(metrics[slot])
    if slots.width > 1:
        _score_together(slots, unfinished)
    for run in unfinished.values():
        run.after_step(signal)


def _score_together(slots: Any, unfinished: Mapping[int, _GridRun]) -> None:
    """Computes the scores of all runs together if more than half of them are due."""
    for run in unfinished.values():
        run.trainer.shared_scores = None  # discards scores of a step that was rolled back
    due = {slot: run.trainer for slot, run in unfinished.items() if run.trainer.evaluation_due}
    if 2 * len(due) > len(unfinished):
        first = next(iter(due.values()))
        keys = [due[slot].eval_key if slot in due else None for slot in range(slots.width)]
        scores = slots.scores(keys, first.sources.valid, batch_size=first.config.train.batch_size)
        for slot, trainer in due.items():
            trainer.shared_scores = scores[slot]
