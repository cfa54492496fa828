"""The best space of a run so far, in WORKDIR/best, which `timbre_jax.load` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from timbre_jax import checkpoint
from timbre_jax.data.datasets import Sources
from timbre_jax.models.base import TimbreModel, Variables
from timbre_jax.training.checkpointing.saver import Saver
from timbre_jax.training.checkpointing.spaces import make_space


class Best:
    """Makes spaces of a run's averaged parameters, and has them written.

    Args:
      config: of the run. workdir: its folder.
      model, sources: what it trains, on what.
      saver: of the run.
    """

    def __init__(self, config: Any, workdir: Path, model: TimbreModel, sources: Sources, saver: Saver):
        self._train, self._directory, self._saver = config.train, workdir / "best", saver
        self._model, self._sources = model, sources

    def there(self, step: int) -> bool:
        """Whether a step's space is there."""
        return step in checkpoint.steps(self._directory)

    def keep(self, variables: Variables, *, step: int, of_step: int, scores: dict) -> None:
        """Begins to write a space under the name of a step, with statistics of a part of the training set.

        Args:
          variables: the averaged parameters and the rest.
          step: that it is named after. of_step: that the variables are of.
          scores: of its evaluation, {} where there was none.
        """
        variables, source, examples = checkpoint.to_host(variables), self._sources.train, self._train.statistics_examples
        space = make_space(
            self._model,
            variables,
            self._sources.representation,
            source,
            batch_size=self._train.batch_size,
            examples=examples,
        )
        used = min(len(source), examples or len(source))
        information = {"step": of_step, "metrics": scores, "statistics_examples": used}
        self._saver.save_best(step, space.replace(variables=variables), information)

    def finish(self, step: int) -> None:
        """Statistics of a step's space over the whole training set, once it is written.

        Raises:
          CheckpointError: it could not be.
        """
        self._saver.finish()
        path, source = checkpoint.step_path(self._directory, step), self._sources.train
        if checkpoint.read_document(path)["statistics_examples"] < len(source):
            space = checkpoint.load_space(path)
            space = make_space(
                self._model, space.variables, self._sources.representation, source, batch_size=self._train.batch_size
            )
            changes = {"statistics": checkpoint.statistics_document(space.statistics)}
            checkpoint.replace_document(path, {**changes, "statistics_examples": len(source)})
