"""`train_and_evaluate`: a run from beginning to end, and from wherever it was stopped to the end."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from timbre_jax import checkpoint
from timbre_jax.data.augment import make_augment
from timbre_jax.data.pipeline import make_pipeline
from timbre_jax.models import make_model
from timbre_jax.records import Features
from timbre_jax.training.book import Anchor, Book, Result, TrainingError
from timbre_jax.training.config import check_same, resolve
from timbre_jax.training.data import Sources, base_representation, batches, open_sources
from timbre_jax.training.evaluate import evaluate
from timbre_jax.training.fit import build_model, fit, saved_config, write_config
from timbre_jax.training.guard import Guard
from timbre_jax.training.interrupt import StopSignals, locked
from timbre_jax.training.log import MetricsLog
from timbre_jax.training.plateau import Plateau
from timbre_jax.training.sharding import make_placement
from timbre_jax.training.spaces import make_space
from timbre_jax.training.state import create_state, make_optimizer, make_schedule
from timbre_jax.training.step import batch_features, example_keys, make_eval_step, make_train_step


def train_and_evaluate(
    config: Mapping[str, Any],
    workdir: str | os.PathLike,
    *,
    sources: Sources | None = None,
    parallel: str = "jit",
    progress: bool = True,
) -> Result:
    """Trains the configuration's model in a folder, or goes on with what lies there.

    WORKDIR/config.json is the whole configuration; metrics.jsonl one JSON object a line; tensorboard/ the same for
    TensorBoard; best/ the space that `timbre_jax.load` reads; checkpoints/ what a stopped run goes on from. A resumed run takes
    the same steps, to the bit, as one that was never stopped.

    Models that learn in closed form (PCA, mean image) are fitted, and leave the same files but for checkpoints/.

    Args:
      config: fields over the defaults of `default_config`.
      workdir: the run's folder.
      sources: features in place of those of the configuration's stores.
      parallel: "jit" or "pmap".
      progress: a bar with the time left, on stderr.

    Raises:
      ValueError: in the configuration, the store or the folder. One line; nothing that was there is lost.
    """
    config, workdir = resolve(config), Path(workdir)
    if before := saved_config(workdir):
        check_same(before["config"], config, workdir)
    elif workdir.exists() and not workdir.is_dir():
        raise ValueError(f"--workdir={workdir} is a file; a run needs a folder")
    # Wrong settings are told before features are made, which takes long.
    kind = make_model(**config["model"]).trained_by
    make_augment(representation=base_representation(config), **config["augment"])
    if kind == "gradient" and not (config.train.steps or config.train.epochs):
        raise ValueError("config.train.steps and config.train.epochs are both 0: say how long to train")
    sources = sources or open_sources(config, progress=progress)
    model = build_model(config, sources)
    with locked(workdir):
        write_config(workdir, config, model, sources)
        if model.trained_by == "fit":
            return fit(config, workdir, model, sources)
        with StopSignals() as stop:
            return _Run(config, workdir, model, sources, parallel, progress).train(stop)


class _Run:
    """One run of a model that is trained by gradient."""

    def __init__(self, config, workdir: Path, model, sources: Sources, parallel: str, progress: bool):
        self.config, self.workdir, self.model, self.sources = config, workdir, model, sources
        self.placement = make_placement(parallel)
        self.progress = progress
        train, optimizer = config.train, config.optimizer
        self._check_sizes()
        self.epoch = len(sources.train) // train.batch_size
        self.total = train.steps or round(train.epochs * self.epoch)
        if self.total < 1:
            raise ValueError(f"config.train.epochs={train.epochs} are no step at all; an epoch has {self.epoch}")
        self.eval_every = train.eval_every or self.epoch
        self.schedule = make_schedule(
            optimizer.schedule,
            warmup_steps=optimizer.warmup_steps,
            total_steps=self.total,
            final_fraction=optimizer.final_fraction,
        )
        self.optimizer = make_optimizer(
            optimizer.name, b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.eps, weight_decay=optimizer.weight_decay
        )
        plateau = {**optimizer.plateau.to_dict(), "learning_rate": optimizer.learning_rate}
        self.plateau = Plateau(**plateau) if optimizer.schedule == "plateau" else None
        self.augment = make_augment(representation=sources.representation, **config.augment)
        step = make_train_step(
            model,
            self.optimizer,
            schedule=self.schedule,
            clip=optimizer.clip_norm,
            average_decay=train.average_decay,
            augment=self.augment,
            axis_name=self.placement.axis_name,
            total_steps=self.total,
            crop_frames=train.crop_frames if model.kind == "series" else 0,
        )
        self.train_step = self.placement.compile_train(step)
        self.eval_step = self.placement.compile_eval(make_eval_step(model))
        init_key, self.key, self.eval_key = jax.random.split(jax.random.key(config.seed), 3)
        self.init_key = init_key
        self.book = Book()
        self.guard = Guard(factor=train.rollback.factor)
        self.pending: list[tuple[int, int, dict]] = []

    def _check_sizes(self) -> None:
        size, devices = self.config.train.batch_size, self.placement.mesh.size
        if size % devices:
            raise ValueError(f"config.train.batch_size={size} cannot be cut into {devices} devices: use a multiple")
        if len(self.sources.train) < size:
            raise ValueError(
                f"the training set has {len(self.sources.train)} sounds, fewer than config.train.batch_size={size}: use more "
                "sounds or smaller batches"
            )

    def train(self, stop: StopSignals) -> Result:
        """The loop. Reads from top to bottom; everything it calls is below, in order."""
        config, book = self.config.train, self.book
        resumed = self.start()
        book = self.book
        if resumed and book.best_step not in checkpoint.steps(self.workdir / "best"):
            self.restore_best()
        if resumed and book.status != "running" and not self.may_go_on():
            return self.result(book.status)
        book.status = "running"
        log = self.log = MetricsLog(self.workdir, step=book.step, offset=book.offset)
        bar = tqdm(
            total=self.total,
            initial=book.step,
            unit="step",
            disable=not self.progress,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        self.clock = saved_at = time.monotonic()
        try:
            while book.step < self.total:
                batch = next(self.iterator)
                book.position += 1
                if book.position in book.skipped:
                    continue
                self.state, metrics = self.train_step(self.state, self.placement.train_batch(batch), self.key)
                book.step += 1
                self.pending.append((book.step, book.position, metrics))
                bar.update(book.step - bar.n)

                evaluating = book.step % self.eval_every == 0 or book.step == self.total
                logging = book.step % config.log_every == 0 or book.step == self.total
                anchoring = config.rollback.every and book.step % config.rollback.every == 0
                due = book.step % config.checkpoint_every == 0 if config.checkpoint_every else False
                # Clocks of several processes differ, and all have to save the same step.
                due = due or (time.monotonic() - saved_at > config.checkpoint_seconds and jax.process_count() == 1)
                if not (evaluating or logging or anchoring or due or stop.number):
                    continue

                if bad := self.settle():
                    self.roll_back(*bad)
                    continue
                if logging:
                    self.write_log(bar)
                if evaluating and self.evaluate():
                    book.status = "converged"
                if anchoring:
                    self.anchor, self.candidate = self.candidate, self.take_anchor()
                if book.status == "converged":
                    break
                if due or stop.number:
                    self.save()
                    saved_at = time.monotonic()
                    if stop.number:
                        return self.result("stopped", stop.number)
            if book.status == "running":
                book.status = "finished"
            self.finish()
            self.save()
            return self.result(book.status)
        finally:
            bar.close()
            log.close()

    # Beginning

    def start(self) -> bool:
        """The state before the first step, or of the last checkpoint; whether it was the latter."""
        directory = self.workdir / "checkpoints"
        hyper = {"learning_rate": self.config.optimizer.learning_rate, "kl_weight": self.config.train.kl_weight}

        def create(key):
            return create_state(self.model, self.optimizer, key, hyper=hyper)

        self.iterator = make_pipeline(
            self.sources.train,
            batch_size=self.config.train.batch_size // jax.process_count(),
            seed=self.config.seed,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        steps = checkpoint.steps(directory)
        if steps:
            template = self.placement.template(jax.eval_shape(create, self.init_key))
            arrays, document = checkpoint.read(
                checkpoint.step_path(directory, steps[-1]),
                {"state": template, "anchor": template, "candidate": template},
            )
            self.state = self.placement.spread(arrays["state"])
            self.book = Book(**document["book"])
            self.guard.recall(self.book.guard)
            self.iterator.set_state(self.book.iterator)
            self.anchor = Anchor(state=arrays["anchor"], **document["anchor"])
            self.candidate = Anchor(state=arrays["candidate"], **document["candidate"])
            checkpoint.remove_all_but(directory, set(steps[-2:]))
            checkpoint.remove_all_but(self.workdir / "best", {self.book.best_step})
            return True
        state = self.placement.create(create, self.init_key)
        if hasattr(self.model, "initialise"):
            variables = self.model.initialise(state.variables(), self.first_features)
            params = variables.pop("params")
            state = state.replace(params=params, average=jax.tree.map(lambda x: x.copy(), params), mutable=variables)
            state = jax.device_put(state, self.placement.replicated)
        self.state = self.placement.spread(state)
        self.anchor = self.candidate = self.take_anchor()
        checkpoint.remove_all_but(self.workdir / "best", set())
        return False

    def first_features(self) -> Iterator[Features]:
        """What a model is initialised from: the training set, then augmented readings of it.

        The same at every call: a model reads them several times.
        """
        key = jax.random.fold_in(self.init_key, 1)
        augment = self.augment and jax.jit(self.augment)
        for reading in range(self.config.train.initialise_readings if augment else 1):
            for batch in batches(self.sources.train, self.config.train.batch_size):
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

    def write_log(self, bar) -> None:
        """A line of the means since the last line."""
        book = self.book
        window, book.window = book.window, {}
        count = window.pop("steps")
        now = time.monotonic()
        book.seconds, self.clock = book.seconds + now - self.clock, now
        means = {name: value / count for name, value in window.items()}
        self.log.write("train", book.step, **means, epoch=book.step / self.epoch, seconds=round(book.seconds, 3))
        bar.set_postfix_str(f"loss {means['loss']:.5g}", refresh=False)

    def evaluate(self) -> bool:
        """Scores the averaged parameters on the validation set, keeps them if they are the best: whether to stop early."""
        book, state = self.book, self.placement.single(self.state)
        scores = evaluate(
            self.eval_step,
            state.variables(average=True),
            self.sources.valid,
            batch_size=self.config.train.batch_size,
            key=self.eval_key,
            kl_weight=state.hyper["kl_weight"],
            placement=self.placement,
        )
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

    def set_learning_rate(self, value: float) -> None:
        """From the next step on."""
        state = self.placement.single(self.state)
        rate = jax.device_put(np.float32(value), self.placement.replicated)
        self.state = self.placement.spread(state.replace(hyper={**state.hyper, "learning_rate": rate}))

    def save_best(self, scores: dict) -> None:
        """Keeps the averaged parameters as a space. The one that the last checkpoint knows stays until the next."""
        train = self.config.train
        variables = self.placement.single(self.state).variables(average=True)
        space = make_space(
            self.model,
            variables,
            self.sources.representation,
            self.sources.train,
            batch_size=train.batch_size,
            examples=train.statistics_examples,
        )
        examples = min(len(self.sources.train), train.statistics_examples or len(self.sources.train))
        information = {"step": self.book.step, "metrics": scores, "statistics_examples": examples}
        checkpoint.save_space(checkpoint.step_path(self.workdir / "best", self.book.best_step), space, information)

    def restore_best(self) -> None:
        """In place of a best space that was damaged and removed: the last checkpoint's averaged parameters.

        Under the same name, so that all else goes on as it would have; the space's document says of which step it is.
        """
        self.save_best({})
        if self.book.status != "running":
            self.finish()

    # Ends

    def save(self) -> None:
        """A checkpoint; it and the one before stay. A run that has not been evaluated gets a space to load all the same."""
        book, directory = self.book, self.workdir / "checkpoints"
        if book.best_value is None:
            book.best_step = book.step
            self.save_best({})
        book.iterator, book.guard, book.offset = self.iterator.get_state(), self.guard.memory(), self.log.offset
        arrays = {
            "state": self.placement.single(self.state),
            "anchor": self.anchor.state,
            "candidate": self.candidate.state,
        }
        document = {
            "book": dataclasses.asdict(book),
            "anchor": self.anchor.place(),
            "candidate": self.candidate.place(),
        }
        checkpoint.write(checkpoint.step_path(directory, book.step), arrays, document)
        checkpoint.remove_all_but(directory, set(checkpoint.steps(directory)[-2:]))
        checkpoint.remove_all_but(self.workdir / "best", {book.best_step})

    def finish(self) -> None:
        """Statistics of the best space over the whole training set."""
        path = checkpoint.step_path(self.workdir / "best", self.book.best_step)
        if checkpoint.read_document(path)["statistics_examples"] < len(self.sources.train):
            space = checkpoint.load_space(path)
            space = make_space(
                self.model,
                space.variables,
                self.sources.representation,
                self.sources.train,
                batch_size=self.config.train.batch_size,
            )
            changes = {"statistics": checkpoint.statistics_document(space.statistics)}
            checkpoint.replace_document(path, {**changes, "statistics_examples": len(self.sources.train)})

    def result(self, status: str, signal: int = 0) -> Result:
        """What the caller is told."""
        book = self.book
        value = float("nan") if book.best_value is None else book.best_value
        return Result(status, book.step, book.best_step, value, signal)
