"""One table over several runs: how well each gives back held-out notes, on the same notes under the same definition.

  python experiments/evaluate.py --workdir=runs/mean_image,runs/pca8,runs/natsiou,runs/best --out=scores --store=notes
  python experiments/evaluate.py --workdir=runs/pca8,runs/best --out=scores --store=notes --more_stores=nsynth_test

A row a run and store: MSE and SSIM with 95 % intervals (bootstrap over instruments), MSE against the reference run (the
PCA among them, unless --reference names another), accuracy of the family by the 5 nearest training latents,
log-spectral distance of the sound. Floors are runs too: name the mean image and PCA beside the others
(experiments/configs/mean_image.py, pca8.py).

  python experiments/evaluate.py --workdir=runs/beta,runs/best --out=scores --store=hits --metrics=lsd,stft,odg,ndb,kernel

--metrics compares sounds too: pair by pair (lsd, stft, mel, level, odg, fingerprint) and as sets (ndb, frechet, kernel), with a
row for every floor and for the representation's ceiling, and a table by class (evaluation/audio_scores.py says which).
Without it, runs of harmonic notes are scored as above, spaces with a latent a frame by lsd,stft,mel,level, and others by
lsd,stft,odg,ndb,kernel. Of discrete spaces a table says how codes are used; family_knn goes by the mean of a sound's latents,
weighted by amplitude.

Writes OUT/scores.md, OUT/scores.csv and OUT/results.json, a list of {name, value, low, high, floor, definition}; where sounds
are compared also sounds.csv, classes.csv and, against the reference run sound by sound, paired.csv; of discrete spaces
codes.csv.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import flags

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # the clone, not the program's folder

from experiments import command_line

TRAINING_NOTES = 10000
LIBRARY_METRICS = ("lsd", "stft", "odg", "ndb", "kernel")
SERIES_METRICS = ("lsd", "stft", "mel", "level")
COLUMNS = (
    "store", "run", "model", "latents", "notes", "instruments", "mse", "mse_low", "mse_high", "ssim", "ssim_low",
    "ssim_high", "mse_vs_reference_percent", "vs_low", "vs_high", "family_knn", "knn_low", "knn_high", "knn_floor",
    "sound_db", "sound_low", "sound_high", "representation_db",
)  # fmt: skip


def evaluate(
    workdirs: Sequence[str | os.PathLike],
    out: str | os.PathLike,
    *,
    store: str | os.PathLike | None = None,
    more_stores: Sequence[str | os.PathLike] = (),
    split: str = "test",
    number: int = 0,
    sounds: int = 64,
    families: Sequence[str] | None = None,
    reference: str | None = None,
    metrics: Sequence[str] | None = None,
    known: int = 1000,
    bins: int = 50,
    embedding: str = "timbre",
    peaq: str = "pqevalaudio",
    undefined_bandwidth: str | None = None,
    seed: int = 0,
    progress: bool = True,
):
    """Scores runs and writes the table; what the flags of the same names say. Returns the `Table`.

    Raises:
      ValueError: one line that says what is wrong.
    """
    from tqdm import tqdm

    from timbre_jax.data.store import Store
    from timbre_jax.evaluation.audio_scores import SoundScorer, SoundSettings, sound_tables, sounds_markdown
    from timbre_jax.evaluation.paired import paired_table
    from timbre_jax.evaluation.runs import default_store, open_run, read_notes
    from timbre_jax.files import write_text
    from timbre_jax.metrics.sound_pairs import COUNTED
    from timbre_jax.metrics.table import Table, write_results

    if not workdirs:
        raise ValueError("no runs to score: give --workdir=A,B")
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out={out} is a file; a table needs a folder")
    runs = [open_run(workdir) for workdir in workdirs]
    names = _names([run.workdir for run in runs], "run")
    reference_name = _reference(runs, names, reference)
    families = _families(runs, names) if families is None else tuple(families)
    stores = [Store.open(path) for path in (store or default_store(runs[0]), *more_stores)]
    store_names = _names([opened.path for opened in stores], "store")
    _same_rate(runs, names, stores)
    if metrics is None:
        metrics = () if all(run.space.representation.name == "harmonic_tracks" for run in runs) else LIBRARY_METRICS
        metrics = SERIES_METRICS if any(run.space.kind == "series" for run in runs) else metrics
    of_sounds = SoundSettings(
        tuple(metrics) if sounds else (), number=sounds, known=known, split=runs[0].config["data"]["train_split"],
        bins=bins, embedding=embedding, peaq=peaq, undefined_bandwidth=undefined_bandwidth, seed=seed,
    )  # fmt: skip
    latents = {name: _known(run, progress) for name, run in zip(names, runs, strict=True)}
    measured, heard = [], []
    with tqdm(total=len(stores) * len(runs), desc="runs", disable=not progress) as bar:
        for store_name, opened in zip(store_names, stores, strict=True):
            scorer = None
            for name, run in zip(names, runs, strict=True):
                bar.set_postfix_str(name)
                notes = read_notes(run, opened, split, number=number, families=families, seed=seed, progress=progress)
                made = None
                if of_sounds.metrics:
                    if scorer is None:
                        scorer = SoundScorer(store_name, opened, notes, runs, of_sounds, families=families, progress=progress)
                        heard += scorer.floors()
                    made = scorer.made(name, run, notes)
                    heard += scorer.rows(name, run, made)
                entry = _measure(run, opened, notes, sounds, made, latents[name], seed)
                measured.append({"name": name, "store": store_name, **entry})
                bar.update()
    rows, results = _rows(measured, reference_name, seed)
    caption = (
        f"{_definition(measured)}. Split “{split}”; brackets are 95 % intervals, bootstrap over instruments. "
        f"Reference: {reference_name or 'none'}. family_knn: share of notes whose family the 5 nearest training latents "
        "name; its floor always says the most frequent family of the training notes. sound_db: log-spectral distance to "
        f"the recording (1024-point Hann frames, hop 256, 80 dB floor; {COUNTED}); representation_db: the same without the "
        "model."
    )
    table = Table("scores", COLUMNS, tuple(rows), caption)
    table.write_csv(out)
    text = markdown(table)
    if heard:
        of_all, of_classes, more = sound_tables(heard, of_sounds)
        of_all.write_csv(out)
        of_classes.write_csv(out)
        text += f"\n{sounds_markdown(of_all)}\n{of_classes.markdown()}"
        results += more
        if reference_name and of_sounds.of_pairs:
            paired, more = paired_table(heard, of_sounds, reference_name, seed=seed)
            paired.write_csv(out)
            text += f"\n{paired.markdown()}\n{paired.caption}\n"
            results += more
    if (codes := _codes_table(measured)) is not None:
        codes[0].write_csv(out)
        text += f"\n{codes[0].markdown()}\n{codes[0].caption}\n"
        results += codes[1]
    write_text(out / "scores.md", text)
    write_results(out / "results.json", results)
    return table


def markdown(table) -> str:
    """The table for people: value and interval in one cell, columns without any value left out."""
    from timbre_jax.analysis import natsiou2023
    from timbre_jax.metrics.table import Table, format_cell

    records = [dict(zip(table.columns, row, strict=True)) for row in table.rows]

    def cell(record: dict, value: str, low: str, high: str, scale: float = 1.0) -> str | None:
        if record[value] is None or np.isnan(record[value]):
            return None
        shown = [format_cell(None if record[k] is None else scale * record[k]) for k in (value, low, high)]
        return f"{shown[0]} ({shown[1]}–{shown[2]})" if shown[1] != "–" else shown[0]

    rows = []
    for record in records:
        rows.append(
            {
                "notes": f"{record['store']} ({record['notes']} of {record['instruments']})",
                "run": record["run"],
                "latents": record["latents"],
                "MSE": cell(record, "mse", "mse_low", "mse_high"),
                "SSIM": cell(record, "ssim", "ssim_low", "ssim_high"),
                "MSE against reference, %": cell(record, "mse_vs_reference_percent", "vs_low", "vs_high"),
                "family kNN, %": cell(record, "family_knn", "knn_low", "knn_high", 100.0),
                "its floor, %": None if record["knn_floor"] is None else format_cell(100 * record["knn_floor"]),
                "sound, dB": cell(record, "sound_db", "sound_low", "sound_high"),
                "without model, "
                "dB": None if record["representation_db"] is None else format_cell(record["representation_db"]),
            }
        )  # fmt: skip
    rows = [{key: value for key, value in row.items() if any(r[key] is not None for r in rows)} for row in rows]
    text = table.caption
    if "log f0" in text:
        paper = f"Natsiou et al. 2023 report MSE {natsiou2023.MSE:g} and SSIM {natsiou2023.SSIM:g} on NSynth's test notes."
        text += f"\n\n{paper} Not comparable: {natsiou2023.WHY_NOT_COMPARABLE}"
    return f"{Table.from_records('scores', rows).markdown()}\n{text}\n"


def _known(run, progress: bool):
    """Latents [P, D] and families [P] of the run's training notes, or None where they are no longer there."""
    from timbre_jax.evaluation.resynthesis import sound_points
    from timbre_jax.evaluation.runs import training_notes

    notes = training_notes(run, number=TRAINING_NOTES, progress=progress)
    return None if notes is None else (sound_points(run.space, notes.features), notes.labels["family"])


def _definition(measured: list[dict]) -> str:
    """What the scores are, and of which runs where they are not the same for all."""
    runs: dict[str, list[str]] = {}
    for entry in measured:
        runs.setdefault(entry["definition"], []).append(entry["name"])
    if len(runs) == 1:
        return next(iter(runs))
    return "MSE and SSIM of different definitions are not to be compared: " + "; ".join(
        f"{', '.join(dict.fromkeys(names))}: {definition}" for definition, names in runs.items()
    )


def _same_rate(runs, names, stores) -> None:
    rates = {name: run.space.sample_rate for name, run in zip(names, runs, strict=True)}
    if len(set(rates.values())) > 1:
        told = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
        raise ValueError(
            f"the runs work at different rates ({told}): score those of one rate at a time, with a store of that rate"
        )
    rate = next(iter(rates.values()))
    for store in stores:
        if store.sample_rate != rate:
            raise ValueError(
                f"{store.path} holds sounds at {store.sample_rate} Hz, the runs work at {rate} Hz: give a store of that rate "
                "(experiments/prepare.py --sample_rate)"
            )


def _measure(run, store, notes, sounds, made, known, seed) -> dict:
    from timbre_jax.evaluation.resynthesis import sound_distances, sound_points
    from timbre_jax.evaluation.runs import trained_on
    from timbre_jax.metrics.neighbours import neighbour_accuracy
    from timbre_jax.metrics.reconstruction import reconstruction_scores, score_definition

    scores = reconstruction_scores(run.space, notes.features, target=notes.target)
    accuracy, seen = None, trained_on(run, store, notes.split)
    if known is not None and not seen:  # The nearest training note of a training note is that note.
        found = sound_points(run.space, notes.features)
        accuracy = neighbour_accuracy(*known, found, notes.labels["family"])
    distances, rows = (
        sound_distances(run.space, notes, number=sounds, made=made, seed=seed) if sounds else ({}, np.array([], int))
    )
    return {
        "run": run,
        "seen": seen,
        "definition": score_definition(run.space.representation),
        "groups": notes.labels["instrument"],
        "scores": scores,
        "accuracy": accuracy,
        "distances": distances,
        "distance_groups": notes.labels["instrument"][rows],
        "split": notes.split,
        "uses": _code_uses(run, notes, seed),
    }


def _code_uses(run, notes, seed: int):
    """Of a discrete space: how its codes are used; else None."""
    from timbre_jax.inference.batched import encode_features
    from timbre_jax.metrics.codebook_usage import code_uses

    if not callable(getattr(run.space.model, "codebook", None)):
        return None
    latent = encode_features(run.space, notes.features, kind="series")
    size = np.shape(run.space.model.codebook(run.space.variables))[-2]
    return code_uses(latent, size, notes.labels["instrument"], seed=seed)


def _codes_table(measured: list[dict]):
    """A row a discrete run, store and codebook, and its results; None where no run is discrete."""
    from timbre_jax.metrics.table import Result, Table

    records, results, caption = [], [], ""
    for entry in measured:
        if (uses := entry["uses"]) is None:
            continue
        table = uses.table()
        caption = table.caption
        for row in table.rows:
            record = dict(zip(table.columns, row, strict=True))
            records.append({"store": entry["store"], "run": entry["name"], **record})
            name = f"{entry['store']}/{entry['name']}/codebook_{record['codebook']}"
            where = f"of {record['codes']} codes, {record['latents']} latents of split “{entry['split']}”"
            three = (record["perplexity"], record["low"], record["high"])
            results.append(
                Result(f"{name}/perplexity", *three, 1.0, f"exp of the entropy of the codes' shares {where}; floor: one code")
            )
            results.append(Result(f"{name}/used", record["used"], None, None, 1.0, f"codes that occur, {where}"))
    return (Table.from_records("codes", records, caption), results) if records else None


def _rows(measured: list[dict], reference: str | None, seed: int):
    from timbre_jax.metrics.bootstrap import mean_interval, ratio_interval
    from timbre_jax.metrics.table import Result

    rows, results = [], []
    for entry in measured:
        groups, scores, accuracy = entry["groups"], entry["scores"], entry["accuracy"]
        same = [other for other in measured if all(other[key] == entry[key] for key in ("store", "definition"))]
        floor = next((other for other in same if other["run"].model == "mean_image"), None)
        mse, ssim = (mean_interval(x, groups, seed=seed) for x in (scores.mse, scores.ssim))
        set_ = f"{len(groups)} notes of {len(np.unique(groups))} instruments, split “{entry['split']}” of {entry['store']}"
        set_ += ", which the run was trained on" if entry["seen"] else ""
        prefix = f"{entry['store']}/{entry['name']}"

        def add(what, interval, below, definition, prefix=prefix, set_=set_):
            results.append(Result(f"{prefix}/{what}", *_three(interval), below, f"{definition}; {set_}"))

        for what, interval in (("mse", mse), ("ssim", ssim)):
            below = None if floor is None else float(getattr(floor["scores"], what).mean())
            add(
                what,
                interval,
                below,
                f"{what.upper()}, {entry['definition']}; floor: mean image, where it is among the runs",
            )
        against = sound = (None, None, None)
        base = next((other["scores"] for other in same if other["name"] == reference), None)
        if base is not None and reference != entry["name"]:
            ratio = ratio_interval(scores.mse, base.mse, groups, seed=seed)
            against = tuple(100.0 * (x - 1.0) for x in _three(ratio))
            add("mse_ratio", ratio, None, f"MSE over that of {reference}, resampled together")
        told = (None, None, None, None)
        if accuracy is not None:
            interval = mean_interval(accuracy.correct, groups, seed=seed)
            told = (*_three(interval), accuracy.floor)
            add(
                "family_knn",
                interval,
                accuracy.floor,
                "share whose family the 5 nearest training latents name; floor: the training notes' most frequent family",
            )
        representation = None
        if entry["distances"]:
            where = f"log-spectral distance in dB to the recording, {len(entry['distance_groups'])} notes"
            of_sound, of_representation = (
                mean_interval(entry["distances"][name], entry["distance_groups"], seed=seed)
                for name in ("reconstruction", "representation")
            )
            sound, representation = _three(of_sound), float(of_representation.value)
            below = None if floor is None else float(floor["distances"]["reconstruction"].mean())
            add("sound_db", of_sound, below, f"{where}; floor: mean image, where it is among the runs")
            add("representation_db", of_representation, None, f"{where}, analysed and synthesised without the model")
        rows.append(
            (
                *(entry["store"], entry["name"], entry["run"].model, entry["run"].space.latent_size),
                *(len(groups), len(np.unique(groups)), *_three(mse), *_three(ssim), *against, *told, *sound),
                representation,
            )
        )
    return rows, results


def _names(paths: Sequence[Path], what: str) -> list[str]:
    """The folders' names, or their paths where names are the same."""
    names = [path.resolve().name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    if len({path.resolve() for path in paths}) < len(paths):
        raise ValueError(f"the same {what} is named twice")
    return names


def _reference(runs, names, asked: str | None) -> str | None:
    if asked is None:
        return next((name for name, run in zip(names, runs, strict=True) if run.model == "pca"), None)
    for name, run in zip(names, runs, strict=True):
        if asked == name or Path(asked).resolve() == run.workdir.resolve() or Path(asked).name == name:
            return name
    raise ValueError(f"--reference={asked} is not one of the runs {', '.join(names)}")


def _families(runs, names) -> tuple[str, ...]:
    chosen = {tuple(sorted(run.config["data"].get("families") or ())) for run in runs}
    if len(chosen) > 1:
        raise ValueError(
            f"the runs {', '.join(names)} were trained on different families; say which to score with --families=A,B"
        )
    return chosen.pop()


def _three(interval) -> tuple[float, float, float]:
    return float(interval.value), float(interval.low), float(interval.high)


def _define_flags() -> None:
    flags.DEFINE_list("workdir", [], "Runs, with commas.")
    flags.DEFINE_string("out", None, "Folder for the table.")
    flags.DEFINE_string("store", None, "Store of the notes; by default the one the first run was trained on.")
    flags.DEFINE_list("more_stores", [], "Further stores, each with rows of its own.")
    flags.DEFINE_string("split", "test", "Split of the stores.")
    flags.DEFINE_integer("number", 0, "Notes of each store, even over instruments; 0 means all.", lower_bound=0)
    flags.DEFINE_integer("sounds", 64, "Notes whose sound is compared; 0 means none.", lower_bound=0)
    flags.DEFINE_list("families", None, "Only these families; by default those that all runs were trained on.")
    flags.DEFINE_string("reference", None, "Run that MSE is held against; by default the PCA among the runs.")
    flags.DEFINE_list(
        "metrics", None, "Of sounds: lsd, stft, mel, level, odg, fingerprint, ndb, frechet, kernel; commas between."
    )
    flags.DEFINE_integer("known", 1000, "Training sounds that sets of sounds are held against.", lower_bound=2)
    flags.DEFINE_integer("bins", 50, "Bins of NDB.", lower_bound=2)
    flags.DEFINE_string("embedding", "timbre", "Of Fréchet and kernel distance: timbre, mel_statistics, or an .npz file.")
    flags.DEFINE_string("peaq", "pqevalaudio", "Preset of the ODG: pqevalaudio, gstpeaq, rebnord2022.")
    flags.DEFINE_enum("undefined_bandwidth", None, ["zero", "drop", "nan"], "What the ODG does there; by default the preset's.")
    flags.DEFINE_integer("seed", 0, "Of the choice of notes and of resampling.")
    flags.DEFINE_bool("progress", True, "Show a bar with the time left.")


def main(_) -> int:
    command_line.use_compilation_cache()
    command_line.call(evaluate, workdirs=flags.FLAGS.workdir)
    print((Path(flags.FLAGS.out) / "scores.md").read_text(encoding="utf-8"), end="")
    return 0


if __name__ == "__main__":
    _define_flags()
    command_line.run(main, __doc__)
