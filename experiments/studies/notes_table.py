"""Reproduces the README's table of notes: stores, four trained models and their scores."""

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

    nsynth: str = setting("", "NSynth as it is distributed: a folder with examples.json and audio/.")
    split_file: str = setting("", 'JSON {"train": [instruments], "test": [instruments]} for --nsynth.')
    only: tuple[str, ...] = setting((), f"Some of the models, comma-separated: {', '.join(MODELS)}.")
    number: int = setting(10000, "Notes to render; 0 means all.", low=0)
    steps: int = setting(0, "For a quick trial: training steps of every model; 0 means all.", low=0)


def reproduce_notes(
    out: Path, settings: NotesTable, *, changes: Mapping[str, Any] | None = None, progress: bool = True
) -> tuple[Path, int]:
    """Renders notes, trains the models on them, and scores them.

    Args:
      out: folder for stores, runs and scores.
      settings: which models and notes.
      changes: fields of the configurations by dotted name, such as {"train.steps": 20}; each changes those that have it.
      progress: whether to show bars with the time left.

    Returns:
      The file with the table, and the signal that stopped the training, or 0.

    Raises:
      ValueError: an unknown model, a field that no configuration has, or a missing folder.
    """
    from timbre_jax.data.prepare.make_store import prepare
    from timbre_jax.evaluation.comparison import evaluate
    from timbre_jax.evaluation.settings import EvaluationSettings
    from timbre_jax.training.loop import train_and_evaluate

    models = settings.only or MODELS
    if unknown := sorted(set(models) - set(MODELS)):
        raise ValueError(f"--only has {unknown[0]!r}; there are {', '.join(MODELS)}")
    if bool(settings.nsynth) != bool(settings.split_file):
        raise ValueError("--nsynth and --split_file go together: the folder, and which of its instruments may be trained on")
    configs = {name: load_config(name) for name in models}
    for field, value in {**({"train.steps": settings.steps} if settings.steps else {}), **(changes or {})}.items():
        _change(configs, field, value)
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
    asked = EvaluationSettings(tuple(runs), store=str(rendered), more_stores=(real,) if settings.nsynth else ())
    evaluate(asked, progress=progress).write(out / "scores")
    return out / "scores" / "scores.md", 0


def _change(configs: Mapping[str, Any], field: str, value: Any) -> None:
    """Sets a field in every configuration that has it."""
    from timbre_jax.training.config import flatten

    having = [config for config in configs.values() if field in flatten(config)]
    if not having:
        raise ValueError(f"none of {', '.join(configs)} has a field config.{field}")
    for config in having:
        config.update_from_flattened_dict({field: value})
