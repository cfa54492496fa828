"""Trainer of a run: its state and the work between steps."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path

import jax
from tqdm import tqdm

from timbre_jax import checkpoint
from timbre_jax.data.datasets import Sources
from timbre_jax.data.loader import make_pipeline
from timbre_jax.training.checkpointing.best import BestSpace
from timbre_jax.training.checkpointing.progress import Anchor, Result, RunCheckpoint, RunProgress, TrainingError, read_run
from timbre_jax.training.checkpointing.saver import Saver
from timbre_jax.training.checkpointing.schedule import CheckpointSchedule
from timbre_jax.training.distributed import processes
from timbre_jax.training.distributed.consensus import StepConsensus
from timbre_jax.training.distributed.sharding import make_placement
from timbre_jax.training.initialization import initial_state
from timbre_jax.training.metrics_log import MetricsLog
from timbre_jax.training.plateau import PlateauSchedule
from timbre_jax.training.programs import Programs
from timbre_jax.training.rollback import DivergenceDetector
from timbre_jax.training.setup import check_batch_size, total_steps
from timbre_jax.training.step import Batch
from timbre_jax.training.validation import mean_metrics


class Trainer:
    """Trainer of a run whose model is trained by gradient descent.

    The training loop (`loop.run_steps` or `sweeps.grid`) first calls `begin`. While the run is `running` it calls `next_batch`,
    takes a step, which changes `state`, and calls `record_step` and `after_step`. Finally it calls `end` and `close`.

    Args:
      config: complete configuration (`config.resolve`).
      workdir: folder of the run.
      model: model to train.
      sources: training and validation set.
      parallel: use of several devices, "jit" or "pmap".
      progress_bar: whether to show a progress bar.
      programs: compiled functions that are shared with other runs; by default the run makes its own.
    """

    def __init__(
        self,
        config,
        workdir: Path,
        model,
        sources: Sources,
        parallel: str,
        progress_bar: bool,
        programs: Programs | None = None,
    ):
        self.config, self.workdir, self.model, self.sources = config, workdir, model, sources
        self.placement = programs.placement if programs else make_placement(parallel)
        self.progress_bar = progress_bar
        train, optimizer = config.train, config.optimizer
        check_batch_size(config, sources, self.placement.mesh.size)
        self.steps_per_epoch = len(sources.train) // train.batch_size
        self.total_steps = total_steps(config, sources)
        self.eval_every = train.eval_every or self.steps_per_epoch
        plateau = {**optimizer.plateau.to_dict(), "learning_rate": optimizer.learning_rate}
        self.plateau = PlateauSchedule(**plateau) if optimizer.schedule == "plateau" else None
        self.programs = programs or Programs(config, model, sources.representation, self.placement, self.total_steps)
        self.train_step, self.eval_step = self.programs.train_step, self.programs.eval_step
        self.init_key, self.key, self.eval_key = jax.random.split(jax.random.key(config.seed), 3)
        self.progress = RunProgress()
        self.detector = DivergenceDetector(factor=train.rollback.factor)
        self.pending_metrics: list[tuple[int, int, dict]] = []
        self.is_main = processes.is_main()
        self.schedule = CheckpointSchedule(seconds=train.checkpoint_seconds, share=train.checkpoint_share)
        self.saver = Saver(workdir, self.schedule)
        self.best = BestSpace(config, workdir, model, sources, self.saver)
        self.consensus = StepConsensus()
        self.anchor: Anchor
        self.candidate: Anchor

    # Called by the training loop, in this order

    def begin(self) -> Result | None:
        """Makes the initial state or restores a checkpoint; returns the result of a completed run."""
        restored = self.restore()
        if not restored:
            self.initialize()
        progress = self.progress
        if restored and self.is_main and not self.best.exists(progress.best_step):
            self.restore_best()
        if restored and progress.status != "running" and not self.can_continue():
            self.saver.close()
            return self.result(progress.status)
        progress.status = "running"
        self.metrics_log = MetricsLog(self.workdir, step=progress.step, offset=progress.log_bytes, silent=not self.is_main)
        self.bar = tqdm(
            total=self.total_steps,
            initial=progress.step,
            unit="step",
            disable=not self.progress_bar,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self.schedule.start()
        self.last_saved_step = progress.step
        self.last_log_time = time.monotonic()
        return None

    @property
    def running(self) -> bool:
        """True while there are steps to take."""
        return self.progress.status == "running" and self.progress.step < self.total_steps

    @property
    def evaluation_due(self) -> bool:
        """True if the run is evaluated after the current step."""
        return self.progress.step % self.eval_every == 0 or self.progress.step == self.total_steps

    def next_batch(self) -> Batch:
        """Returns this process's part of the batch of the next step."""
        while True:
            batch = next(self.iterator)
            self.progress.position += 1
            if self.progress.position not in self.progress.skipped:
                return batch

    def record_step(self, metrics: dict) -> None:
        """Records a step without waiting for its metrics."""
        progress = self.progress
        progress.step += 1
        self.pending_metrics.append((progress.step, progress.position, metrics))
        self.bar.update(progress.step - self.bar.n)

    def after_step(self, signal: int = 0) -> Result | None:
        """Does the work that is due after a step: logs, evaluates, saves or rolls back.

        Args:
          signal: number of a received stop signal, or 0.

        Returns:
          The result if the run was stopped, else None.
        """
        train, progress = self.config.train, self.progress
        last = progress.step == self.total_steps
        log_due = progress.step % train.log_every == 0 or last
        anchor_due = train.rollback.every and progress.step % train.rollback.every == 0
        signal, due = self.consensus.agree(signal, self.checkpoint_due, progress.step, self.pending_metrics[-1:])
        if self.is_main and (problem := self.saver.problem()):
            self.log(f"{problem}; training continues, and the next checkpoint will be tried")
        if not (self.evaluation_due or log_due or anchor_due or due or signal):
            return None
        if bad_step := self.check_pending_steps():
            self.roll_back(*bad_step)
            return None
        if log_due:
            self.write_metrics()
        if self.evaluation_due and self.evaluate():
            progress.status = "converged"
        if anchor_due:
            self.anchor, self.candidate = self.candidate, self.make_anchor()
        if progress.status != "converged" and (due or signal):
            self.save()
            if signal:
                self.wait_until_saved()
                return self.result("stopped", signal)
        return None

    def end(self) -> Result:
        """Completes and saves the run after the last step."""
        if self.progress.status == "running":
            self.progress.status = "finished"
        if self.is_main:
            self.best.complete_statistics(self.progress.best_step)
        self.save()
        self.wait_until_saved()
        if self.is_main:
            self.saver.remove_other_spaces(self.progress.best_step)
        return self.result(self.progress.status)

    def close(self) -> None:
        """Waits for writes in progress and closes the files of the run."""
        self.saver.close()
        self.bar.close()
        self.metrics_log.close()

    # Start and resume

    def restore(self) -> bool:
        """Restores the last intact checkpoint; returns whether there was one."""
        directory, train = self.workdir / "checkpoints", self.config.train
        self.hyper = {"learning_rate": self.config.optimizer.learning_rate, "kl_weight": train.kl_weight}
        self.iterator = make_pipeline(
            self.sources.train,
            batch_size=train.batch_size // jax.process_count(),
            seed=self.config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        step, problems = processes.broadcast(checkpoint.last_intact(directory) if self.is_main else None)
        for problem in problems if self.is_main else ():
            self.log(problem)
        if step is None:
            return False
        saved = read_run(checkpoint.step_path(directory, step), self.programs.abstract(self.init_key, self.hyper))
        self.state = self.placement.replicate(saved.state)
        self.progress, self.anchor, self.candidate = saved.progress, saved.anchor, saved.candidate
        self.detector.restore(self.progress.detector)
        self.iterator.set_state(self.progress.iterator)
        if self.is_main:
            self.saver.resume({step: self.progress.best_step})
        return True

    def initialize(self) -> None:
        """Makes the initial state of a new run."""
        if self.progress_bar and self.is_main and self.model.initializes_from_data:
            tqdm.write("Initializing the model from the training set ...", file=sys.stderr)  # takes a minute or more
        state = initial_state(self.programs, self.model, self.sources, self.config.train, self.init_key, self.hyper)
        self.state = self.placement.replicate(state)
        self.anchor = self.candidate = self.make_anchor()
        if self.is_main:
            self.saver.resume({})

    def can_continue(self) -> bool:
        """Returns whether a completed run continues, because its steps or patience were increased."""
        progress, patience = self.progress, self.config.train.patience
        ended = self.plateau is not None and progress.evaluations_since_drop >= self.plateau.patience
        return progress.step < self.total_steps and not ended and not (patience and progress.evaluations_since_best >= patience)

    # Divergence

    def make_anchor(self) -> Anchor:
        """Returns a copy of the current state and its position in the data."""
        state = jax.tree.map(lambda x: x.copy(), self.placement.unreplicate(self.state))
        progress = self.progress
        return Anchor(state, progress.step, progress.position, self.iterator.get_state(), self.detector.state())

    def check_pending_steps(self) -> tuple[int, int, str] | None:
        """Fetches and checks the metrics of the steps since the last call.

        Only here does the host wait for the device. The result does not depend on how often this is called, because steps are
        checked in order and those after a bad step are discarded.

        Returns:
          The first bad step, its position in the data and the reason; None if all steps are good.
        """
        pending, self.pending_metrics = self.pending_metrics, []
        for (step, position, _), metrics in zip(pending, jax.device_get([m for *_, m in pending]), strict=True):
            metrics = {name: float(value) for name, value in metrics.items()}
            if reason := self.detector.check(metrics["loss"], metrics["grad_norm"]):
                return step, position, reason
            sums = self.progress.metric_sums
            sums["steps"] = sums.get("steps", 0) + 1
            for name, value in metrics.items():
                sums[name] = sums.get(name, 0.0) + value
        return None

    def roll_back(self, step: int, position: int, reason: str) -> None:
        """Restores the anchor, skips the batch of the bad step and reduces the learning rate.

        Raises:
          TrainingError: rollbacks are turned off, or their largest number is reached.
        """
        rollback, progress, anchor = self.config.train.rollback, self.progress, self.anchor
        if not rollback.every or len(progress.rollbacks) >= rollback.maximum:
            raise TrainingError(
                f"training diverged at step {step} ({reason}) after {len(progress.rollbacks)} rollbacks; the last checkpoint "
                "is kept; reduce config.optimizer.learning_rate or set config.optimizer.clip_norm"
            )
        progress.skipped = sorted({*progress.skipped, position})
        scale = rollback.learning_rate_scale ** (len(progress.rollbacks) + 1)
        record = {"anchor_step": anchor.step, "skipped_batch": position, "learning_rate_scale": scale, "reason": reason}
        progress.rollbacks.append({"step": step, **record})
        self.metrics_log.write("rollback", step, **record)
        state = jax.tree.map(lambda x: x.copy(), anchor.state)
        self.state = self.placement.replicate(state.with_hyper("learning_rate_scale", scale))
        if self.plateau:
            # Evaluations are not rolled back, so the learning rate that depends on them is not either.
            self.set_learning_rate(self.plateau.rate(progress.rate_drops))
        progress.step, progress.position, progress.metric_sums = anchor.step, anchor.position, {}
        self.iterator.set_state(anchor.iterator)
        self.detector.restore(anchor.detector)
        self.candidate = anchor

    def set_learning_rate(self, value: float) -> None:
        """Sets the peak learning rate of the next steps."""
        state = self.placement.unreplicate(self.state)
        self.state = self.placement.replicate(state.with_hyper("learning_rate", value))

    # Metrics

    def write_metrics(self) -> None:
        """Logs the mean metrics since the previous line of the log."""
        progress = self.progress
        sums, progress.metric_sums = progress.metric_sums, {}
        count = sums.pop("steps")
        now = time.monotonic()
        progress.seconds, self.last_log_time = progress.seconds + now - self.last_log_time, now
        means = {name: value / count for name, value in sums.items()}
        timing = {"seconds": round(progress.seconds, 3), "checkpoint_share": round(self.schedule.time_share(), 5)}
        self.metrics_log.write("train", progress.step, **means, epoch=progress.step / self.steps_per_epoch, **timing)
        self.bar.set_postfix_str(f"loss {means['loss']:.5g}", refresh=False)

    def evaluate(self) -> bool:
        """Evaluates and saves the averaged parameters; returns whether to stop early."""
        progress, train, scores = self.progress, self.config.train, self.scores()
        self.metrics_log.write("valid", progress.step, **scores)
        last = train.monitor == "last"
        value = scores["loss" if last else train.monitor]
        improved = math.isfinite(value) and (last or progress.best_value is None or value < progress.best_value)
        if improved:
            progress.best_step, progress.best_value, progress.evaluations_since_best = progress.step, value, 0
            self.save_best(scores)
        else:
            progress.evaluations_since_best += 1
        stop = False
        if self.plateau:
            drops = progress.rate_drops
            progress.rate_drops, progress.evaluations_since_drop, stop = self.plateau.update(
                drops, progress.evaluations_since_drop, improved
            )
            if progress.rate_drops > drops:
                self.set_learning_rate(self.plateau.rate(progress.rate_drops))
        return stop or (bool(train.patience) and progress.evaluations_since_best >= train.patience)

    def scores(self) -> dict[str, float]:
        """Returns the mean metrics of the averaged parameters on the validation set."""
        state, place = self.placement.unreplicate(self.state), self.placement.eval_batch
        variables, kl_weight = state.variables(average=True), state.hyper["kl_weight"]
        return mean_metrics(
            lambda batch: self.eval_step(variables, place(batch), self.eval_key, kl_weight),
            self.sources.valid,
            batch_size=self.config.train.batch_size,
        )

    # Checkpoints

    def save_best(self, scores: dict) -> None:
        """Starts writing the averaged parameters as the best space."""
        if self.is_main:
            variables = self.placement.unreplicate(self.state).variables(average=True)
            self.best.save(variables, step=self.progress.best_step, variables_step=self.progress.step, scores=scores)

    def restore_best(self) -> None:
        """Replaces a missing best space by the averaged parameters of the last checkpoint.

        The space keeps its name, so that the run continues unchanged; its document contains the actual step.
        """
        self.save_best({})
        self.saver.finish()
        if self.progress.status != "running":
            self.best.complete_statistics(self.progress.best_step)

    def checkpoint_due(self) -> bool:
        """Returns whether a checkpoint is due and none is being written."""
        every, step = self.config.train.checkpoint_every, self.progress.step
        by_steps = every > 0 and step // every > self.last_saved_step // every and self.schedule.is_affordable()
        return (self.schedule.is_due() or by_steps) and not self.saver.busy

    def save(self) -> None:
        """Starts writing a checkpoint, and a best space if the run has not been evaluated yet."""
        progress = self.progress
        self.saver.wait()
        self.last_saved_step = progress.step
        self.schedule.record_start()
        started = time.monotonic()
        if progress.best_value is None:
            progress.best_step = progress.step
            self.save_best({})
        if not self.is_main:
            return
        progress.iterator, progress.detector = self.iterator.get_state(), self.detector.state()
        progress.log_bytes = self.metrics_log.offset
        current = RunCheckpoint(progress, self.placement.unreplicate(self.state), self.anchor, self.candidate)
        arrays = current.arrays()
        self.schedule.record_wait(time.monotonic() - started)
        self.saver.save(progress.step, arrays, current.document(), best_step=progress.best_step)

    def wait_until_saved(self) -> None:
        """Waits until the last checkpoint is complete, on all processes."""
        if self.is_main:
            self.saver.finish()
        processes.barrier("saved")

    def log(self, text: str) -> None:
        """Prints a line above the progress bar."""
        tqdm.write(f"{self.workdir}: {text}", file=sys.stderr)

    def result(self, status: str, signal: int = 0) -> Result:
        """Returns the result of the run."""
        progress = self.progress
        value = float("nan") if progress.best_value is None else progress.best_value
        return Result(status, progress.step, progress.best_step, value, signal)
