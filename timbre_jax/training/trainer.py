"""One training run: its folder, its state, and what is done between steps."""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from timbre_jax import checkpoint
from timbre_jax.data.datasets import Sources, batches, spread
from timbre_jax.data.loader import make_pipeline
from timbre_jax.training.checkpointing.best import Best
from timbre_jax.training.checkpointing.progress import Anchor, Book, Result, TrainingError
from timbre_jax.training.checkpointing.saver import Saver
from timbre_jax.training.checkpointing.schedule import Pace
from timbre_jax.training.distributed import processes
from timbre_jax.training.distributed.consensus import Meeting
from timbre_jax.training.distributed.sharding import make_placement
from timbre_jax.training.evaluate import evaluate
from timbre_jax.training.metrics_log import MetricsLog
from timbre_jax.training.plateau import Plateau
from timbre_jax.training.rollback import Guard
from timbre_jax.training.step import Batch, batch_features, example_keys
from timbre_jax.training.sweeps.programs import Programs
from timbre_jax.types import Features


def total_steps(config, sources: Sources) -> int:
    """Of a run: those that it is given, or its epochs' worth. Raises a ValueError where that is none."""
    train = config.train
    epoch = len(sources.train) // train.batch_size
    total = train.steps or round(train.epochs * epoch)
    if total < 1 <= epoch:
        raise ValueError(f"config.train.epochs={train.epochs} are no step at all; an epoch has {epoch}")
    return total


class Run:
    """One run of a model that is trained by gradient: a folder, and all that changes while it is trained.

    Whoever drives it (`loop`, `sweeps.grid`) calls `begin`; then, while it is `running`, `next_batch`, a step of his
    that gives the next `state` and metrics, `took` and `look_after`; and at last `end` and `close`.
    """

    def __init__(
        self,
        config,
        workdir: Path,
        model,
        sources: Sources,
        parallel: str,
        progress: bool,
        programs: Programs | None = None,
    ):
        self.config, self.workdir, self.model, self.sources = config, workdir, model, sources
        self.placement = programs.placement if programs else make_placement(parallel)
        self.progress = progress
        train, optimizer = config.train, config.optimizer
        self._check_sizes()
        self.epoch = len(sources.train) // train.batch_size
        self.total = total_steps(config, sources)
        self.eval_every = train.eval_every or self.epoch
        plateau = {**optimizer.plateau.to_dict(), "learning_rate": optimizer.learning_rate}
        self.plateau = Plateau(**plateau) if optimizer.schedule == "plateau" else None
        self.programs = programs or Programs(config, model, sources.representation, self.placement, self.total)
        self.train_step, self.eval_step = self.programs.train_step, self.programs.eval_step
        init_key, self.key, self.eval_key = jax.random.split(jax.random.key(config.seed), 3)
        self.init_key = init_key
        self.book = Book()
        self.guard = Guard(factor=train.rollback.factor)
        self.pending: list[tuple[int, int, dict]] = []
        self.main = processes.is_main()
        self.pace = Pace(seconds=train.checkpoint_seconds, share=train.checkpoint_share)
        self.saver = Saver(workdir, self.pace)
        self.best = Best(config, workdir, model, sources, self.saver)
        self.meeting = Meeting()

    def _check_sizes(self) -> None:
        size, devices = self.config.train.batch_size, self.placement.mesh.size
        parts = self.config.train.accumulate
        if size % (devices * parts):
            times = f" times config.train.accumulate={parts}" if parts > 1 else ""
            raise ValueError(f"config.train.batch_size={size} cannot be cut into {devices} devices{times}: use a multiple")
        if len(self.sources.train) < size:
            raise ValueError(
                f"the training set has {len(self.sources.train)} sounds, fewer than config.train.batch_size={size}: use more "
                "sounds or smaller batches"
            )

    # What its driver calls, in order

    def begin(self) -> Result | None:
        """Makes the state, or takes it up from the last checkpoint. The result, where there is nothing left to do."""
        resumed = self.start()
        book = self.book
        if resumed and self.main and not self.best.there(book.best_step):
            self.restore_best()
        if resumed and book.status != "running" and not self.may_go_on():
            self.saver.close()
            return self.result(book.status)
        book.status = "running"
        self.log = MetricsLog(self.workdir, step=book.step, offset=book.offset, silent=not self.main)
        self.bar = tqdm(
            total=self.total,
            initial=book.step,
            unit="step",
            disable=not self.progress,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self.pace.begin()
        self.saved_step = book.step
        self.clock = time.monotonic()
        return None

    @property
    def running(self) -> bool:
        """Whether there are steps to take."""
        return self.book.status == "running" and self.book.step < self.total

    def next_batch(self) -> Batch:
        """This process' part of the batch of the next step."""
        while True:
            batch = next(self.iterator)
            self.book.position += 1
            if self.book.position not in self.book.skipped:
                return batch

    def took(self, metrics: dict) -> None:
        """One step more, with these metrics; they are not waited for."""
        book = self.book
        book.step += 1
        self.pending.append((book.step, book.position, metrics))
        self.bar.update(book.step - self.bar.n)

    def look_after(self, signal: int = 0) -> Result | None:
        """After a step, where it is time: judges the steps taken, writes the log, evaluates, saves.

        `signal`: that asks to stop, or 0. The result, once it has stopped.
        """
        train, book = self.config.train, self.book
        last = book.step == self.total
        evaluating = book.step % self.eval_every == 0 or last
        logging = book.step % train.log_every == 0 or last
        anchoring = train.rollback.every and book.step % train.rollback.every == 0
        signal, due = self.meeting.agree(signal, self.wants_saving, book.step, self.pending[-1:])
        if self.main and (problem := self.saver.problem()):
            self.tell(f"{problem}; training goes on, and it is tried again")
        if not (evaluating or logging or anchoring or due or signal):
            return None
        if bad := self.settle():
            self.roll_back(*bad)
            return None
        if logging:
            self.write_log()
        if evaluating and self.evaluate():
            book.status = "converged"
        if anchoring:
            self.anchor, self.candidate = self.candidate, self.take_anchor()
        if book.status != "converged" and (due or signal):
            self.save()
            if signal:
                self.saved()
                return self.result("stopped", signal)
        return None

    def end(self) -> Result:
        """After the last step."""
        if self.book.status == "running":
            self.book.status = "finished"
        if self.main:
            self.best.finish(self.book.best_step)
        self.save()
        self.saved()
        if self.main:
            self.saver.tidy(self.book.best_step)
        return self.result(self.book.status)

    def close(self) -> None:
        """However it ended. What is being written will be whole."""
        self.saver.close()
        self.bar.close()
        self.log.close()

    # Beginning

    def start(self) -> bool:
        """The state before the first step, or of the last checkpoint; whether it was the latter."""
        directory = self.workdir / "checkpoints"
        hyper = {"learning_rate": self.config.optimizer.learning_rate, "kl_weight": self.config.train.kl_weight}

        self.iterator = make_pipeline(
            self.sources.train,
            batch_size=self.config.train.batch_size // jax.process_count(),
            seed=self.config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        step, told = processes.share(checkpoint.last_intact(directory) if self.main else None)
        for problem in told if self.main else ():
            self.tell(problem)
        if step is not None:
            template = self.programs.abstract(self.init_key, hyper)
            arrays, document = checkpoint.read(
                checkpoint.step_path(directory, step),
                {"state": template, "anchor": template, "candidate": template},
            )
            self.state = self.placement.spread(arrays["state"])
            self.book = Book(**document["book"])
            self.guard.recall(self.book.guard)
            self.iterator.set_state(self.book.iterator)
            self.anchor = Anchor(state=arrays["anchor"], **document["anchor"])
            self.candidate = Anchor(state=arrays["candidate"], **document["candidate"])
            if self.main:
                self.saver.resume(step, self.book.best_step)
            return True
        state = self.programs.create(self.init_key, hyper)
        if self.model.initializes_from_data:
            # Every process by itself; what comes of it is the main one's, should machines differ in rounding.
            variables = self.model.initialize(jax.device_get(state.variables()), self.first_features)
            variables = jax.device_put(processes.same(variables), self.placement.replicated)
            params = variables.pop("params")
            state = state.replace(params=params, average=jax.tree.map(lambda x: x.copy(), params), mutable=variables)
        self.state = self.placement.spread(self.programs.kept(state))
        self.anchor = self.candidate = self.take_anchor()
        if self.main:
            self.saver.resume(None, None)
        return False

    def first_features(self) -> Iterator[Features]:
        """What a model is initialised from: the training set, then augmented readings of it.

        The same at every call: a model reads them several times. No more than `initialise_examples` in all readings, evenly
        spread.
        """
        train, key = self.config.train, jax.random.fold_in(self.init_key, 1)
        augment = self.programs.augment and jax.jit(self.programs.augment)
        readings = train.initialise_readings if augment else 1
        positions = spread(len(self.sources.train), -(-train.initialise_examples // readings))
        for reading in range(readings):
            for batch in batches(self.sources.train, train.batch_size, positions):
                features = batch_features(batch)
                if reading:
                    keys = example_keys(jax.random.fold_in(key, reading), batch["index"])[:, 0]
                    features = features.replace(values=np.asarray(augment(keys, batch["values"], batch["mask"])))
                yield features

    def may_go_on(self) -> bool:
        """Whether a run that had ended has been given more steps or patience."""
        book, patience = self.book, self.config.train.patience
        over = self.plateau is not None and book.idle >= self.plateau.patience
        return book.step < self.total and not over and not (patience and book.waiting >= patience)

    def take_anchor(self) -> Anchor:
        """A copy of where training is."""
        state = jax.tree.map(lambda x: x.copy(), self.placement.single(self.state))
        book = self.book
        return Anchor(state, book.step, book.position, self.iterator.get_state(), self.guard.memory())

    # Bad steps

    def settle(self) -> tuple[int, int, str] | None:
        """Fetches and judges the steps since the last time: the first bad one (step, position, reason), or None.

        The device is waited for here and not at every step. When it is done does not matter to the outcome: steps are
        judged in order, and what follows a bad one is thrown away.
        """
        pending, self.pending = self.pending, []
        for (step, position, _), metrics in zip(pending, jax.device_get([m for *_, m in pending]), strict=True):
            metrics = {name: float(value) for name, value in metrics.items()}
            if reason := self.guard.judge(metrics["loss"], metrics["grad_norm"]):
                return step, position, reason
            window = self.book.window
            window["steps"] = window.get("steps", 0) + 1
            for name, value in metrics.items():
                window[name] = window.get(name, 0.0) + value
        return None

    def roll_back(self, step: int, position: int, reason: str) -> None:
        """Goes back to the anchor; the batch that went bad is left out from now on, and steps are smaller."""
        rollback, book, anchor = self.config.train.rollback, self.book, self.anchor
        if not rollback.every or len(book.recoveries) >= rollback.maximum:
            raise TrainingError(
                f"training went bad at step {step} ({reason}) after {len(book.recoveries)} recoveries; the last checkpoint is "
                "kept. Try a smaller config.optimizer.learning_rate or a config.optimizer.clip_norm"
            )
        book.skipped = sorted({*book.skipped, position})
        scale = rollback.learning_rate_scale ** (len(book.recoveries) + 1)
        recovery = {
            "step": step,
            "anchor_step": anchor.step,
            "skipped_batch": position,
            "learning_rate_scale": scale,
            "reason": reason,
        }
        book.recoveries.append(recovery)
        self.log.write("rollback", step, **{k: v for k, v in recovery.items() if k != "step"})
        state = jax.tree.map(lambda x: x.copy(), anchor.state)
        scale_array = jax.device_put(np.float32(scale), self.placement.replicated)
        self.state = self.placement.spread(state.replace(hyper={**state.hyper, "learning_rate_scale": scale_array}))
        if self.plateau:
            # Evaluations are not forgotten, so neither is what they said.
            self.set_learning_rate(self.plateau.rate(book.falls))
        book.step, book.position, book.window = anchor.step, anchor.position, {}
        self.iterator.set_state(anchor.iterator)
        self.guard.recall(anchor.guard)
        self.candidate = anchor

    # Scores

    def write_log(self) -> None:
        """A line of the means since the last line."""
        book = self.book
        window, book.window = book.window, {}
        count = window.pop("steps")
        now = time.monotonic()
        book.seconds, self.clock = book.seconds + now - self.clock, now
        means = {name: value / count for name, value in window.items()}
        timing = {"seconds": round(book.seconds, 3), "checkpoint_share": round(self.pace.share(), 5)}
        self.log.write("train", book.step, **means, epoch=book.step / self.epoch, **timing)
        self.bar.set_postfix_str(f"loss {means['loss']:.5g}", refresh=False)

    def evaluate(self) -> bool:
        """Scores the averaged parameters on the validation set, keeps them if they are the best: whether to stop early."""
        book, scores = self.book, self.scores()
        self.log.write("valid", book.step, **scores)
        last = self.config.train.monitor == "last"
        value = scores["loss" if last else self.config.train.monitor]
        better = math.isfinite(value) and (last or book.best_value is None or value < book.best_value)
        if better:
            book.best_step, book.best_value, book.waiting = book.step, value, 0
            self.save_best(scores)
        else:
            book.waiting += 1
        over = False
        if self.plateau:
            falls = book.falls
            book.falls, book.idle, over = self.plateau.judge(book.falls, book.idle, better)
            if book.falls > falls:
                self.set_learning_rate(self.plateau.rate(book.falls))
        return over or (bool(self.config.train.patience) and book.waiting >= self.config.train.patience)

    def scores(self) -> dict[str, float]:
        """Of the averaged parameters on the validation set."""
        state = self.placement.single(self.state)
        return evaluate(
            self.eval_step,
            state.variables(average=True),
            self.sources.valid,
            batch_size=self.config.train.batch_size,
            key=self.eval_key,
            kl_weight=state.hyper["kl_weight"],
            place=self.placement.eval_batch,
        )

    def set_learning_rate(self, value: float) -> None:
        """From the next step on."""
        state = self.placement.single(self.state)
        rate = jax.device_put(np.float32(value), self.placement.replicated)
        self.state = self.placement.spread(state.replace(hyper={**state.hyper, "learning_rate": rate}))

    def save_best(self, scores: dict) -> None:
        """Keeps the averaged parameters as a space. The one that the last checkpoint knows stays until the next."""
        if self.main:
            variables = self.placement.single(self.state).variables(average=True)
            self.best.keep(variables, step=self.book.best_step, of_step=self.book.step, scores=scores)

    def restore_best(self) -> None:
        """In place of a best space that was damaged and removed: the last checkpoint's averaged parameters.

        Under the same name, so that all else goes on as it would have; the space's document says of which step it is.
        """
        self.save_best({})
        self.saver.finish()
        if self.book.status != "running":
            self.best.finish(self.book.best_step)

    # Ends

    def wants_saving(self) -> bool:
        """Whether a checkpoint is due, by the clock or by the number of steps, and the last one is written."""
        every, step = self.config.train.checkpoint_every, self.book.step
        by_steps = every > 0 and step // every > self.saved_step // every and self.pace.affordable()
        return (self.pace.due() or by_steps) and not self.saver.busy

    def save(self) -> None:
        """Begins to write a checkpoint. A run that has not been evaluated gets a space to load all the same."""
        book = self.book
        self.saver.wait()
        self.saved_step = book.step
        self.pace.saving()
        begun = time.monotonic()
        if book.best_value is None:
            book.best_step = book.step
            self.save_best({})
        if not self.main:
            return
        book.iterator, book.guard, book.offset = self.iterator.get_state(), self.guard.memory(), self.log.offset
        # Steps never touch an anchor's arrays, only copies of them.
        anchors = {"anchor": self.anchor.state, "candidate": self.candidate.state}
        arrays = checkpoint.to_host({"state": self.placement.single(self.state)}) | checkpoint.to_host(anchors, kept=True)
        self.pace.blocked(time.monotonic() - begun)
        document = {
            "book": dataclasses.asdict(book),
            "anchor": self.anchor.place(),
            "candidate": self.candidate.place(),
        }
        self.saver.save(book.step, arrays, document, best_step=book.best_step)

    def saved(self) -> None:
        """Waits until the last checkpoint is whole, for all processes."""
        if self.main:
            self.saver.finish()
        processes.barrier("saved")

    def tell(self, text: str) -> None:
        """A line for the user, beside the bar."""
        tqdm.write(f"{self.workdir}: {text}", file=sys.stderr)

    def result(self, status: str, signal: int = 0) -> Result:
        """What the caller is told."""
        book = self.book
        value = float("nan") if book.best_value is None else book.best_value
        return Result(status, book.step, book.best_step, value, signal)
