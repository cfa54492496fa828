"""Reproduction of the nine models of Rebnord 2022 (tables 7.2 and 7.3) on one library."""

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
"""Scores in the thesis (table 7.3): NDB of 50 bins, Fréchet inception distance, ODG, fingerprint similarity in percent."""

METRICS = ("lsd", "stft", "odg", "ndb", "frechet", "kernel")


@dataclasses.dataclass(frozen=True)
class LibraryTable(Settings):
    """Settings of the table of the nine models."""

    path: tuple[str, ...] = setting((), "Comma-separated folders of sounds.")
    classes: str = setting("words", "Source of the classes, as for experiments/prepare.py.")
    store: str = setting("", "Store to use instead of --path.")
    only: tuple[str, ...] = setting((), f"Comma-separated models. Default: all. Models: {', '.join(SCORES)}.")
    fraction: float = setting(1.0, "Fraction of the thesis' training steps, above 0.", high=1.0)
    steps: int = setting(0, "Training steps of each model, for a quick trial; 0 means the fraction.", low=0)
    sounds: int = setting(64, "Number of sounds of the test split whose sound is compared.", low=1)


def reproduce_library(
    out: Path, settings: LibraryTable, *, changes: Mapping[str, Any] | None = None, progress: bool = True
) -> tuple[Path, int]:
    """Trains the models on one library, scores them on the same sounds, and writes one table.

    All nine models take 187,000 training steps together.

    Args:
      out: folder for the store, the runs and the scores. Finished work in it is not repeated.
      settings: models, sounds and steps.
      changes: values by dotted field, for every configuration.
      progress: whether to show progress bars.

    Returns:
      The file of the table, and the signal that stopped the training, or 0.

    Raises:
      ValueError: if a model is unknown, path and store are both given or both missing, or the fraction is 0.
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
        # With equal steps, "overfit" is the same as "64_dim"; with few steps, so is "underfit".
        duplicate = next((other for other in runs if _training_config(configs[other]) == _training_config(configs[name])), None)
        if duplicate:
            print(f"== {name}: the same as {duplicate}", flush=True)
        runs[name] = runs[duplicate] if duplicate else out / "runs" / name
    # Models that differ only in KL weight and number of steps share one compiled program.
    ended = train_grid({run: configs[name] for name, run in runs.items() if run.name == name}, progress=progress)
    if stopped := next((run for run, result in ended.items() if result.signal), None):
        return stopped, ended[stopped].signal
    for name, run in runs.items():
        if ended[run].status == "failed":
            print(f"error: {name}: training failed, left out of the table ({ended[run].error})", file=sys.stderr, flush=True)
    runs = {name: run for name, run in runs.items() if ended[run].status != "failed"}
    if not runs:
        raise ValueError("training failed for all models; see the errors above")
    trained = list(dict.fromkeys(runs.values()))
    evaluation = EvaluationSettings(tuple(trained), store=store, sounds=settings.sounds, metrics=_metrics())
    evaluate(evaluation, progress=progress).write(out / "scores")
    results, names = {name: ended[run] for name, run in runs.items()}, {name: run.name for name, run in runs.items()}
    table = comparison_table(out / "scores" / "results.json", Path(store).resolve().name, results, runs=names)
    table.write_csv(out)
    return write_text(out / "library.md", f"{table.markdown()}\n{table.caption}\n"), 0


def _configs(out: Path, settings: LibraryTable, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the resolved configuration of each model."""
    from experiments.configs.rebnord2022 import MODELS, get_config
    from timbre_jax.training.config import resolve

    models = settings.only or tuple(MODELS)
    if unknown := sorted(set(models) - set(MODELS)):
        raise ValueError(f"--only: unknown model {unknown[0]!r}; the models are {', '.join(MODELS)}")
    if bool(settings.path) == bool(settings.store):
        raise ValueError("--path and --store: give the library by one of them")
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
    """Returns the metrics, with fingerprints if their optional packages are installed."""
    from timbre_jax.metrics.fingerprint import check_available

    try:
        check_available()
    except ValueError:
        return METRICS
    return (*METRICS, "fingerprint")


def _training_config(config: Any) -> Any:
    """Returns the configuration, with a constant learning rate if plateaus cannot occur."""
    same, optimizer, train = copy.deepcopy(config), config.optimizer, config.train
    if optimizer.schedule == "plateau" and train.steps <= optimizer.plateau.patience * train.eval_every:
        same.optimizer.schedule = "constant"
    return same


def comparison_table(scores: Path, store: str, results: Mapping[str, Any], *, runs: Mapping[str, str] | None = None):
    """Returns the table of our scores and the thesis' scores of each model.

    Args:
      scores: results.json of experiments/evaluate.py.
      store: name of the store in that file.
      results: result of the training of each model.
      runs: name of the run of each model, if models share runs.
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
        if row.low is None:
            return f"{row.value:.4g}"
        return f"{row.value:.4g} ({row.low:.4g}{'–' if row.low >= 0 else ' to '}{row.high:.4g})"

    records = []
    for name, result in results.items():
        latents, flows, kl_weight, dropout, steps = MODELS[name]
        ndb, fid, odg, fingerprint = SCORES[name]
        ours = {label: cell((runs or {}).get(name, name), metric) for label, metric in _COLUMNS.items()}
        records.append({
            "model": name, "latents": latents, "flows": flows, "KL weight": kl_weight, "dropout": dropout, "steps": result.step,
            **ours, "thesis: steps": steps, "thesis: NDB": ndb, "thesis: FID": fid, "thesis: ODG": odg,
            "thesis: fingerprint": fingerprint,
        })  # fmt: skip
    baselines = dict.fromkeys(name.split("/")[1] for name in values if name.startswith(f"{store}/<"))
    records += [{"model": name} | {label: cell(name, metric) for label, metric in _COLUMNS.items()} for name in baselines]
    less = any(result.step < MODELS[name][-1] for name, result in results.items())
    caption = (
        "The models of Rebnord 2022 (tables 7.2 and 7.3), trained on one library and scored on the same sounds of its test "
        "split (definitions and baselines: scores/scores.md). The thesis' scores are of another library (10,275 hits), of "
        "Inception features and of sounds that were concatenated with themselves, so only the order of models is comparable."
    )
    if less:
        caption += " Our models were trained for fewer steps than those of the thesis (columns steps)."
    return Table.from_records("library", records, caption)


_COLUMNS = {
    "MSE": "mse", "LSD, dB": "lsd_db", "ODG": "odg", "NDB of 50": "ndb", "Fréchet": "frechet", "kernel": "kernel",
    "fingerprint": "string_ratio",
}  # fmt: skip
