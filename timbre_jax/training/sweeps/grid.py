"""Training of many small runs in one process; runs that compute the same share a program that is compiled once.

Seeds, learning rates and KL weights are inputs of a program (`TrainState.hyper`). Runs that differ in nothing else, apart from
what only the host reads (lengths, patience, plateaus, when to log and save), share a program and form a group. They take their
steps in lockstep, in the slots of the devices; when one ends, the next takes its slot. Each leaves the folder that
`train_and_evaluate` would leave, and can be resumed alone or in any grid.

On a GPU all runs of a group are computed at once (`vmap`), since small models leave most of it idle. On a CPU each device
computes one run at a time: at once, networks of matrix products are hardly faster there, and convolutions with weights of their
own for every run are slower (`experiments/benchmark.py --only=grid/natsiou2023` measures both).
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
from timbre_jax.training.setup import build_model, check_config, fit, total_steps, write_config
from timbre_jax.training.sweeps.vectorized_states import SingleState, VectorizedStates
from timbre_jax.training.trainer import Trainer

READ_AHEAD = 8
"""Largest distance in batches of pipelines in lockstep: more than they read ahead."""

FAILURES = (ValueError, OSError)
"""Errors that end one run of a grid and not the others: divergence, damaged files, a full disk."""


def train_grid(
    members: Mapping[Path, Mapping[str, Any]],
    *,
    sources: Sources | None = None,
    parallel: str = "jit",
    at_once: int = 0,
    progress: bool = True,
) -> dict[Path, Result]:
    """Trains every configuration in its folder, or resumes the run in it.

    A run computed alone on its device has the numbers of `train_and_evaluate`, to the bit; several at once differ by rounding
    and what grows from it. All randomness is the same. A run that diverges ends as "failed" and the others continue. SIGTERM
    or Ctrl-C saves all active runs; the same call resumes them.

    Args:
      members: {folder: configuration}, see `train_and_evaluate`.
      sources: features for all of them, in place of those of the configured stores.
      parallel: "jit", or "pmap" for a run that is computed on several devices.
      at_once: runs that a device computes at once; 0 is all on an accelerator, one on a CPU.
      progress: whether to show a bar with the time left, on stderr.

    Returns:
      How each run ended, in the order of `members`; one that did not start because of a signal is "stopped" where it was.

    Raises:
      ValueError: a configuration or folder has a problem, before anything is trained; or there are several processes.
    """
    if jax.process_count() > 1:
        raise ValueError(
            "a grid is trained by one process: start one for each part of the grid (launch/submit.py has job arrays)"
        )
    if at_once < 0:
        raise ValueError(f"at_once must be at least 1, or 0 for what the machine is best at, not {at_once}")
    configs = {workdir: check_config(config, workdir) for workdir, config in members.items()}
    opened: dict[str, Sources] = {}
    groups: dict[Hashable, list[_Member]] = {}
    for workdir, config in configs.items():
        where = repr(sorted(flatten({"data": config.data, "representation": config.representation}).items()))
        if where not in opened:
            opened[where] = sources or open_sources(config, progress=progress)
        member = _Member(workdir, config, build_model(config, opened[where]), opened[where])
        groups.setdefault(member.key(), []).append(member)
    every = [member for group in groups.values() for member in group]
    total = sum(member.total for member in every)
    bar = tqdm(total=total, unit="step", disable=not progress, dynamic_ncols=True, smoothing=0.05)

    def show() -> None:
        done = sum(member.result is not None for member in every)
        bar.set_description(f"{done} of {len(every)} runs done", refresh=False)
        bar.update(sum(member.taken for member in every) - bar.n)

    with StopSignals() as stop, bar:
        for group in groups.values():
            if not stop.number:
                _train_group(group, parallel, at_once, stop, show)
    results = {member.workdir: member.result or member.not_begun(stop.number) for member in every}
    return {workdir: results[workdir] for workdir in configs}


class _Member:
    """Run of a grid: its settings, and its trainer while it has a slot."""

    def __init__(self, workdir: Path, config: Any, model: Any, sources: Sources):
        self.workdir, self.config, self.model, self.sources = workdir, config, model, sources
        self.total = total_steps(config, sources) if model.trained_by == "gradient" else 1
        self.run: Any = None  # a `VectorizedTrainer` while it has a slot
        self.result: Result | None = None
        self._held = contextlib.ExitStack()

    def key(self) -> Hashable:
        """Returns the key of its group."""
        return id(self.sources), program_key(self.config, self.model, self.sources.representation, self.total)

    @property
    def taken(self) -> int:
        """Steps that are done, for the bar."""
        return self.total if self.result else self.run.progress.step if self.run else 0

    def begin(self, slots: VectorizedStates | SingleState, slot: int, programs: Programs) -> None:
        """Locks the folder and takes a slot. If nothing is left to do, there is a `result`."""
        with self.watched():
            self._held.enter_context(locked(self.workdir))
            write_config(self.workdir, self.config, self.model, self.sources)
            run = VectorizedTrainer(self, slots, slot, programs)
            self.result = run.begin()
            if self.result is None:
                self._held.callback(run.close)
                self.run = run
        if self.result is not None:
            self.release()

    def fit(self) -> None:
        """Fits a model that learns in closed form."""
        with self.watched(), locked(self.workdir):
            write_config(self.workdir, self.config, self.model, self.sources)
            self.result = fit(self.config, self.workdir, self.model, self.sources)

    def not_begun(self, signal: int) -> Result:
        """Returns the result of a run that starts only when the grid is resumed."""
        saved = checkpoint.steps(self.workdir / "checkpoints")
        return Result("stopped", saved[-1] if saved else 0, -1, float("nan"), signal)

    def after_step(self, signal: int) -> None:
        """Does what is due after a step, and ends the run after the last one."""
        with self.watched():
            self.result = self.run.after_step(signal)
            if self.result is None and not self.run.running:
                self.result = self.run.end()

    @contextlib.contextmanager
    def watched(self):
        """Ends this run alone if the block raises one of `FAILURES`."""
        try:
            yield
        except FAILURES as error:
            progress = self.run.progress if self.run else None
            step, best, value = (progress.step, progress.best_step, progress.best_value) if progress else (0, -1, None)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.result = Result("failed", step, best, float("nan") if value is None else value, error=reason)
            tqdm.write(f"{self.workdir} failed, the others continue: {reason}", file=sys.stderr)

    def release(self) -> None:
        """Releases the folder and the memory."""
        with self.watched():
            self._held.close()
        self.run = None


class VectorizedTrainer(Trainer):
    """Run whose state is one of several on the device."""

    def __init__(self, member: _Member, slots: VectorizedStates | SingleState, slot: int, programs: Programs):
        self._slots, self._slot = slots, slot
        self.ready: dict[str, float] | None = None
        super().__init__(member.config, member.workdir, member.model, member.sources, "jit", False, programs)
        # All runs wait while one saves, so together they may spend the time of one.
        self.schedule.share_among(slots.width)

    def scores(self) -> dict[str, float]:
        """Returns the scores that were computed together with those of other runs (`ready`), or computes them."""
        ready, self.ready = self.ready, None
        return super().scores() if ready is None else ready

    @property
    def state(self) -> Any:
        """State of this run."""
        return self._slots.take(self._slot)

    @state.setter
    def state(self, state: Any) -> None:
        self._slots.put(self._slot, state)


def _train_group(group: Sequence[_Member], parallel: str, at_once: int, stop: StopSignals, show: Callable[[], None]) -> None:
    """Trains the runs of a group."""
    if group[0].model.trained_by == "fit":
        for member in group:
            if not stop.number:
                member.fit()
                show()
        return
    slots, programs = _make_slots(group, parallel, at_once)
    _share_batches(group, slots.width)
    waiting, active = deque(group), {}
    try:
        while True:
            free = [slot for slot in range(slots.width) if slot not in active]
            while waiting and free and not stop.number:
                member = waiting.popleft()
                member.begin(slots, free[0], programs)
                if member.result is None:
                    active[free.pop(0)] = member
                show()
            if not active:
                return
            _take_step(slots, active, stop.number)
            for slot in [slot for slot, member in active.items() if member.result is not None]:
                active.pop(slot).release()
            show()
    finally:
        for member in active.values():
            member.release()


def _share_batches(group: Sequence[_Member], width: int) -> None:
    """Makes runs of one seed, which take the same batches, read them once."""
    orders = len({member.config.seed for member in group})
    if width > 1 and orders < len(group):
        sources = group[0].sources
        shared = dataclasses.replace(sources, train=BatchCache(sources.train, keep=READ_AHEAD * min(orders, width)))
        for member in group:
            member.sources = shared


def _make_slots(group: Sequence[_Member], parallel: str, at_once: int) -> tuple[VectorizedStates | SingleState, Programs]:
    """Returns the slots in which the runs of a group are computed, and their programs."""
    devices = jax.devices()[: len(group)]
    most = -(-len(group) // len(devices))
    each = min(at_once, most) or (1 if devices[0].platform == "cpu" else most)
    # All devices share a run by itself, as without a grid.
    alone = len(group) == 1 or len(devices) * each == 1 or parallel == "pmap"
    first = group[0]
    placement = make_placement(parallel, data_mesh(jax.devices() if alone else devices[:1]))
    programs = Programs(first.config, first.model, first.sources.representation, placement, first.total)
    return (SingleState(programs) if alone else VectorizedStates(programs, devices, each)), programs


def _take_step(slots: VectorizedStates | SingleState, active: Mapping[int, _Member], signal: int) -> None:
    """Takes a step of every run that has a slot, and does what is due after it."""
    batches: list[Any] = [None] * slots.width
    keys: list[Any] = [None] * slots.width
    for slot, member in active.items():
        with member.watched():
            batches[slot], keys[slot] = member.run.next_batch(), member.run.key
    if all(batch is None for batch in batches):
        return
    metrics = slots.step(batches, keys)
    going = {slot: member for slot, member in active.items() if member.result is None}
    for slot, member in going.items():
        member.run.record_step(metrics[slot])
    if slots.width > 1:
        _score_together(slots, going)
    for member in going.values():
        member.after_step(signal)


def _score_together(slots: Any, going: Mapping[int, _Member]) -> None:
    """Computes the scores of all runs together if most of them are due."""
    for member in going.values():
        member.run.ready = None  # of a step that was rolled back
    due = {slot: member.run for slot, member in going.items() if member.run.evaluates}
    if 2 * len(due) > len(going):
        first = next(iter(due.values()))
        keys = [due[slot].eval_key if slot in due else None for slot in range(slots.width)]
        scores = slots.scores(keys, first.sources.valid, batch_size=first.config.train.batch_size)
        for slot, run in due.items():
            run.ready = scores[slot]
