"""Best space of a run, stored in WORKDIR/best and read by `timbre_jax.load`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timbre_jax import checkpoint, documents
from timbre_jax.data.datasets import Sources
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.space import TimbreSpace
from timbre_jax.training.checkpointing.saver import Saver
from timbre_jax.training.checkpointing.spaces import make_space


class BestSpace:
    """Writer of the best space of a run, from the averaged parameters.

    Args:
      config: configuration of the run.
      workdir: folder of the run.
      model: model that the run trains.
      sources: training and validation set.
      saver: writer of the run's checkpoints.
    """

    def __init__(self, config: Any, workdir: Path, model: TimbreModel, sources: Sources, saver: Saver):
        self._train, self._directory, self._saver = config.train, workdir / "best", saver
        self._model, self._sources, self._count = model, sources, len(sources.train)

    def exists(self, step: int) -> bool:
        """Returns whether the space of a step exists."""
        return step in checkpoint.steps(self._directory)

    def save(self, variables: Variables, *, step: int, variables_step: int, scores: dict) -> None:
        """Starts writing a space, with statistics of `statistics_examples` training examples.

        Args:
          variables: variables of the model, with averaged parameters.
          step: step that the space is named after.
          variables_step: step at which the variables were computed.
          scores: validation scores at that step; {} if it was not evaluated.
        """
        variables, examples = checkpoint.to_host(variables), self._train.statistics_examples
        used = min(examples or self._count, self._count)
        information = {"step": variables_step, "metrics": scores, "statistics_examples": used}
        self._saver.save_best(step, self._space(variables, examples).replace(variables=variables), information)

    def complete_statistics(self, step: int) -> None:
        """Replaces the statistics of a written space by those of the whole training set.

        Raises:
          CheckpointError: the space could not be written.
        """
        self._saver.finish()
        path = checkpoint.step_path(self._directory, step)
        if checkpoint.read_document(path)["statistics_examples"] < self._count:
            space = self._space(checkpoint.load_space(path).variables)
            changes = {"statistics": documents.statistics_document(space.statistics), "statistics_examples": self._count}
            checkpoint.replace_document(path, changes)

    def _space(self, variables: Variables, examples: int = 0) -> TimbreSpace:
        """Returns a space with statistics over `examples` training examples; 0 is all."""
        representation, source, size = self._sources.representation, self._sources.train, self._train.batch_size
        return make_space(self._model, variables, representation, source, batch_size=size, examples=examples)
