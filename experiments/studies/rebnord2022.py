"""Reproduces the nine models of Rebnord 2022 (table 7.2) on one library, with their scores beside the thesis' (table 7.3)."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timbre_jax.files import write_text
from timbre_jax.settings import Settings, setting

SCORES = {
    "8_dim": (0, 141.6, -3.742, 47.1),
    "64_dim": (4, 133.7, -3.687, 47.0),
    "256_dim": (4, 121.8, -3.682, 47.2),
    "0_flow": (5, 123.6, -3.688, 47.1),
    "20_flow": (3, 121.0, -3.668, 46.9),
    "beta": (11, 163.0, -3.836, 46.4),
    "no_dropout": (3, 140.0, -3.713, 46.9),
    "underfit": (4, 167.3, -3.801, 46.8),
    "overfit": (2, 122.5, -3.645, 47.2),
}
"""Scores of the thesis (table 7.3): NDB of 50 bins, Frechet inception distance, ODG, fingerprint similarity in percent."""

METRICS = ("lsd", "stft", "odg", "ndb", "frechet", "kernel")


@dataclasses.dataclass(frozen=True)
class LibraryTable(Settings):
    """Settings of the table of the nine models."""

    path: tuple[str, ...] = setting((), "Folders of sounds.")
    classes: str = setting("words", "Where a file's class comes from, as experiments/prepare.py takes it.")
    store: str = setting("", "A store instead of --path.")
    only: tuple[str, ...] = setting((), f"Some of the models, comma-separated: {', '.join(SCORES)}.")
    fraction: float = setting(1.0, "Part of the thesis' steps that each model trains, above 0.", high=1.0)
    steps: int = setting(0, "For a quick trial: training steps of every model; 0 means all.", low=0)
    sounds: int = setting(64, "Sounds of the test split that are compared as sounds.", low=1)


def reproduce_library(
    out: Path, settings: LibraryTable, *, changes: Mapping[str, Any] | None = None, progress: bool = True
) -> tuple[Path, int]:
    """Trains the models on the same sounds, scores them on the same sounds, and writes one table.

    Args:
      out: folder for store, runs and scores; what is finished in it is not made again.
      settings: which models, sounds and steps.
      changes: fields of every configuration by dotted name.
      progress: whether to show bars with the time left.

    Returns:
      The file with the table, and the signal that stopped the training, or 0.

    Raises:
      ValueError: an unknown model, no or two sources of sounds, or a fraction out of range.
    """
    from timbre_jax.data.prepare.make_store import prepare
    from timbre_jax.evaluation.comparison import evaluate
    from timbre_jax.evaluation.settings import EvaluationSettings
    from timbre_jax.training.sweeps.grid import train_grid

    configs = _configs(out, settings, changes or {})
    store = next(iter(configs.values())).data.store
    if settings.path:
        prepare(out=store, source="folder", path=settings.path, classes=settings.classes, unlabeled=False, progress=progress)
    runs: dict[str, Path] = {}
    for name in configs:
        # With as many steps, "overfit" is "64_dim"; with few, "underfit" is too.
        twin = next((other for other in runs if _what_counts(configs[other]) == _what_counts(configs[name])), None)
        if twin:
            print(f"== {name}: the same as {twin}", flush=True)
        runs[name] = runs[twin] if twin else out / "runs" / name
    # Models that differ only in KL weight and length share one program.
    ended = train_grid({run: configs[name] for name, run in runs.items() if run.name == name}, progress=progress)
    if stopped := next((run for run, result in ended.items() if result.signal), None):
        return stopped, ended[stopped].signal
    for name, run in runs.items():
        if ended[run].status == "failed":
            print(f"error: {name} failed and is left out: {ended[run].error}", file=sys.stderr, flush=True)
    runs = {name: run for name, run in runs.items() if ended[run].status != "failed"}
    if not runs:
        raise ValueError("all models failed; see above")
    trained = list(dict.fromkeys(runs.values()))
    asked = EvaluationSettings(tuple(trained), store=store, sounds=settings.sounds, metrics=_metrics())
    evaluate(asked, progress=progress).write(out / "scores")
    results, names = {name: ended[run] for name, run in runs.items()}, {name: run.name for name, run in runs.items()}
    table = beside_the_thesis(out / "scores" / "results.json", Path(store).resolve().name, results, runs=names)
    table.write_csv(out)
    return write_text(out / "library.md", f"{table.markdown()}\n{table.caption}\n"), 0


def _configs(out: Path, settings: LibraryTable, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the resolved configuration of each model."""
    from experiments.configs.rebnord2022 import MODELS, get_config
    from timbre_jax.training.config import resolve

    models = settings.only or tuple(MODELS)
    if unknown := sorted(set(models) - set(MODELS)):
        raise ValueError(f"--only has {unknown[0]!r}; there are {', '.join(MODELS)}")
    if bool(settings.path) == bool(settings.store):
        raise ValueError("give the library either as --path=FOLDER,... or as --store=STORE")
    if settings.fraction <= 0:
        raise ValueError(f"--fraction={settings.fraction:g}: must be above 0")
    configs = {}
    for name in models:
        config = get_config(name)
        config.train.steps = settings.steps or max(1, round(settings.fraction * MODELS[name][-1]))
        config.update_from_flattened_dict(dict(changes))
        config.data.store = settings.store or str(out / "stores" / "library")
        configs[name] = resolve(config)
    return configs


def _metrics() -> tuple[str, ...]:
    """Returns the metrics, with fingerprints if their optional programs are installed."""
    from timbre_jax.metrics.fingerprint import check_available

    try:
        check_available()
    except ValueError:
        return METRICS
    return (*METRICS, "fingerprint")


def _what_counts(config: Any) -> Any:
    """Returns a configuration with a constant learning rate if it has too few steps for one that falls on plateaus."""
    same, optimizer, train = copy.deepcopy(config), config.optimizer, config.train
    if optimizer.schedule == "plateau" and train.steps <= optimizer.plateau.patience * train.eval_every:
        same.optimizer.schedule = "constant"
    return same


def beside_the_thesis(scores: Path, store: str, results: Mapping[str, Any], *, runs: Mapping[str, str] | None = None):
    """Returns the table of our scores of each model and the thesis'.

    Args:
      scores: results.json of experiments/evaluate.py.
      store: name of the store in it.
      results: result of each model's training.
      runs: name of each model's run, if two models share one.
    """
    from experiments.configs.rebnord2022 import MODELS
    from timbre_jax.metrics.table import Table, read_results

    values = {row.name: row for row in read_results(scores)}

    def cell(name: str, metric: str) -> str | None:
        row = values.get(f"{store}/{name}/{metric}")
        if row is None:
            return None
        if metric == "ndb":
            return f"{row.value:.0f} (by chance {row.baseline:.1f})"
        return f"{row.value:.4g}" if row.low is None else f"{row.value:.4g} ({row.low:.4g}–{row.high:.4g})"

    records = []
    for name, result in results.items():
        latents, flows, kl_weight, dropout, steps = MODELS[name]
        ndb, fid, odg, fingerprint = SCORES[name]
        ours = {label: cell((runs or {}).get(name, name), metric) for label, metric in _SHOWN.items()}
        records.append({
            "model": name, "latents": latents, "flows": flows, "KL weight": kl_weight, "dropout": dropout, "steps": result.step,
            **ours, "thesis: steps": steps, "thesis: NDB": ndb, "thesis: FID": fid, "thesis: ODG": odg,
            "thesis: fingerprint": fingerprint,
        })  # fmt: skip
    # Without these, nobody knows what a figure is worth.
    floors = dict.fromkeys(name.split("/")[1] for name in values if name.startswith(f"{store}/<"))
    records += [{"model": name} | {label: cell(name, metric) for label, metric in _SHOWN.items()} for name in floors]
    less = any(result.step < MODELS[name][-1] for name, result in results.items())
    caption = (
        "Rebnord 2022, tables 7.2 and 7.3, beside the same models here: all trained on the same sounds, all scored on the same "
        "sounds of the test split (definitions and floors in scores/scores.md); the thesis' own figures are of another library "
        "(10,275 hits), of Inception features, and of sounds doubled with themselves, so only the order can be compared."
    )
    if less:
        caption += " Trained for fewer steps than the thesis' (columns steps)."
    return Table.from_records("library", records, caption)


_SHOWN = {
    "MSE": "mse", "LSD, dB": "lsd_db", "ODG": "odg", "NDB of 50": "ndb", "Fréchet": "frechet", "kernel": "kernel",
    "fingerprint": "string_ratio",
}  # fmt: skip
