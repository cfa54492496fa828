"""Reproduces two tables of the README from nothing, notes and the nine models: stores, runs and scores, by one command.

  python experiments/reproduce.py --result=notes --out=reproduced
  python experiments/reproduce.py --result=notes --out=reproduced --nsynth=NSYNTH_FOLDER --split_file=split.json

notes: the mean image, PCA with 8 components, `natsiou2023` and `notes_best` trained on notes rendered from the default bank;
with --nsynth also on those and the folder's train half together. Scored on the instruments that the bank's split holds out
and, with --nsynth, on the real notes of the folder's test half (--split_file names both halves by instrument).

  python experiments/reproduce.py --result=library --path=DRUMKITS --fraction=0.04 --out=reproduced

library: the nine models of Rebnord 2022, 187,000 steps in all, on one library of sounds; --fraction trains each for a part of
its steps. OUT/library.md has our scores beside the thesis'.

Hours on two cores, nearly all for natsiou2023; --only takes some of the models. Stopped or killed, the same command goes
on where it was. OUT/scores/scores.md (notes) or OUT/library.md is the table, OUT/runs has the runs, OUT/stores the sounds.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line
from experiments.large_pages import use_large_pages
from experiments.studies.rebnord2022 import SCORES, library

MODELS = ("mean_image", "pca8", "natsiou2023", "notes_best")
NUMBER = 10000


def notes(
    out: Path,
    *,
    nsynth: str = "",
    split_file: str = "",
    models: Sequence[str] = MODELS,
    number: int = NUMBER,
    changes: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> tuple[Path, int]:
    """Makes the table of scores on notes.

    Args:
      out: folder for stores, runs and scores.
      nsynth, split_file: an NSynth folder and the JSON file that names its halves by instrument; none without.
      models: names of configurations.
      number: notes to render; 0 means all.
      changes: fields of the configurations by dotted name, {"train.steps": 20}, of those that have them: for a trial.
      progress: bars with the time left.

    Returns:
      Where the table is, and the signal that stopped the training, or 0.

    Raises:
      ValueError: an unknown model, a field that no configuration has, or no such folder.
    """
    import importlib

    from timbre_jax.data.prepare.make_store import prepare
    from timbre_jax.evaluation.comparison import evaluate
    from timbre_jax.evaluation.settings import EvaluationSettings
    from timbre_jax.training.loop import train_and_evaluate

    if unknown := sorted(set(models) - set(MODELS)):
        raise ValueError(f"--only has {unknown[0]!r}; there are {', '.join(MODELS)}")
    if bool(nsynth) != bool(split_file):
        raise ValueError("--nsynth and --split_file go together: the folder, and which of its instruments may be trained on")
    configs = {name: importlib.import_module(f"experiments.configs.{name}").get_config() for name in models}
    for field, value in (changes or {}).items():
        _change(configs, field, value)
    rendered, real = out / "stores" / "notes", out / "stores" / "nsynth"
    prepare(out=str(rendered), number=number, progress=progress)
    trainings = {"": ()}
    if nsynth:
        prepare(out=str(real), source="nsynth", path=(nsynth,), split_file=split_file, progress=progress)
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
    settings = EvaluationSettings(tuple(runs), store=str(rendered), more_stores=(real,) if nsynth else ())
    evaluate(settings, progress=progress).write(out / "scores")
    return out / "scores" / "scores.md", 0


def _change(configs: Mapping[str, Any], field: str, value: Any) -> None:
    from timbre_jax.training.config import flatten

    having = [config for config in configs.values() if field in flatten(config)]
    if not having:
        raise ValueError(f"none of {', '.join(configs)} has a field config.{field}")
    for config in having:
        config.update_from_flattened_dict({field: value})


def main(_) -> int:
    values = flags.FLAGS
    if not values.out:
        raise ValueError("give --out=DIR, the folder for stores, runs and tables")
    command_line.use_compilation_cache()
    out, changes = Path(values.out).expanduser(), {"train.steps": values.steps} if values.steps else None
    if values.result == "notes":
        where, signal = notes(
            out,
            nsynth=values.nsynth,
            split_file=values.split_file,
            models=values.only or MODELS,
            number=values.number,
            changes=changes,
            progress=values.progress,
        )
    else:
        where, signal = library(
            out,
            path=values.path,
            classes=values.classes,
            store=values.store,
            models=values.only or tuple(SCORES),
            fraction=values.fraction,
            changes=changes,
            progress=values.progress,
        )
    if signal:
        print(f"Stopped in {where} and saved. The same command goes on from there.")
        return 128 + signal
    print(where.read_text())
    print(f"The table is {where}.")
    return 0


if __name__ == "__main__":
    use_large_pages()
    flags.DEFINE_enum("result", "notes", ["notes", "library"], "Which result.")
    flags.DEFINE_list("path", [], "library: folders of sounds.")
    flags.DEFINE_string("classes", "words", "library: where a file's class comes from, as experiments/prepare.py takes it.")
    flags.DEFINE_string("store", "", "library: a store in place of --path.")
    flags.DEFINE_float("fraction", 1.0, "library: part of the thesis' steps that each model trains.")
    flags.DEFINE_string("out", "", "Folder for stores, runs and tables.")
    flags.DEFINE_string("nsynth", "", "NSynth as it is handed out: examples.json and audio/.")
    flags.DEFINE_string("split_file", "", 'JSON {"train": [instruments], "test": [instruments]} for --nsynth.')
    flags.DEFINE_list("only", [], f"Some of the models, comma-separated: {', '.join((*MODELS, *SCORES))}.")
    flags.DEFINE_integer("number", NUMBER, "Notes to render; the README's table has the default. 0 means all.", lower_bound=0)
    flags.DEFINE_integer("steps", 0, "For a quick trial: so many training steps of every model, instead of all.", lower_bound=0)
    flags.DEFINE_bool("progress", True, "Show bars with the time left.")
    command_line.run(main, __doc__)
