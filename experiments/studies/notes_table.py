"""Reproduction of the table of notes: stores, four trained models and their scores."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.config_flags import load_config
from timbre_jax.settings import Settings, setting

MODELS = ("mean_image", "pca8", "natsiou2023", "notes_best")


@dataclasses.dataclass(frozen=True)
class NotesTable(Settings):
    """Settings of the table of notes."""

    nsynth: str = setting("", "NSynth as a folder with examples.json and audio/, to train and score on real notes too.")
    split_file: str = setting("", 'With --nsynth: JSON file {"train": [instruments], "test": [instruments]}.')
    only: tuple[str, ...] = setting((), f"Comma-separated models. Default: all. Models: {', '.join(MODELS)}.")
    number: int = setting(10000, "Number of notes to render; 0 means all.", low=0)
    steps: int = setting(0, "Training steps of each model, for a quick trial; 0 means those of its configuration.", low=0)


def reproduce_notes(
    out: Path, settings: NotesTable, *, changes: Mapping[str, Any] | None = None, progress: bool = True
) -> tuple[Path, int]:
    """Renders notes, trains models on them and scores the models.

    The models are trained on notes of the default bank; with NSynth, also on these and its training half together. They are
    scored on the held-out instruments of the bank and, with NSynth, on the notes of its test half.

    Args:
      out: folder for stores, runs and scores. Finished work in it is not repeated.
      settings: models and notes.
      changes: values by dotted field, such as {"train.steps": 20}, for every configuration that has the field.
      progress: whether to show progress bars.

    Returns:
      The file of the table, and the signal that stopped the training, or 0.

    Raises:
      ValueError: if a model is unknown, no configuration has a field, or a folder is missing.
    """
    from timbre_jax.data.prepare.make_store import prepare
    from timbre_jax.evaluation.comparison import evaluate
    from timbre_jax.evaluation.settings import EvaluationSettings
    from timbre_jax.training.loop import train_and_evaluate

    models = settings.only or MODELS
    if unknown := sorted(set(models) - set(MODELS)):
        raise ValueError(f"--only: unknown model {unknown[0]!r}; the models are {', '.join(MODELS)}")
    if bool(settings.nsynth) != bool(settings.split_file):
        raise ValueError("--nsynth and --split_file: give both or neither")
    configs = {name: load_config(name) for name in models}
    for field, value in {**({"train.steps": settings.steps} if settings.steps else {}), **(changes or {})}.items():
        _set_field(configs, field, value)
    rendered, real = out / "stores" / "notes", out / "stores" / "nsynth"
    prepare(out=str(rendered), number=settings.number, progress=progress)
    trainings = {"": ()}
    if settings.nsynth:
        prepare(out=str(real), source="nsynth", path=(settings.nsynth,), split_file=settings.split_file, progress=progress)
        trainings["+nsynth"] = (str(real),)
    runs = []
    for name in models:
        for suffix, extra in trainings.items():
            config = copy.deepcopy(configs[name])
            config.data.store, config.data.extra_stores = str(rendered), extra
            workdir = out / "runs" / f"{name}{suffix}"
            print(f"== {workdir.name}", flush=True)
            result = train_and_evaluate(config, workdir, progress=progress)
            if result.status == "stopped":
                return workdir, result.signal
            runs.append(workdir)
    evaluation = EvaluationSettings(tuple(runs), store=str(rendered), more_stores=(real,) if settings.nsynth else ())
    evaluate(evaluation, progress=progress).write(out / "scores")
    return out / "scores" / "scores.md", 0


def _set_field(configs: Mapping[str, Any], field: str, value: Any) -> None:
    """Sets a field in every configuration that has it."""
    from timbre_jax.training.config import flatten

    owners = [config for config in configs.values() if field in flatten(config)]
    if not owners:
        raise ValueError(f"config.{field}: no such field in {', '.join(configs)}")
    for config in owners:
        config.update_from_flattened_dict({field: value})
