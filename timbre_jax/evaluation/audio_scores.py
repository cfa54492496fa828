"""The tables of sounds: every run's sounds against the recordings, pair by pair and as sets, with the floors of each metric.

Floors and ceilings are rows of their own, in angle brackets:
  <unrelated sounds>   recordings against recordings of other groups: what a metric says where nothing is alike
  <nearest known>      for each recording the nearest sound of the store's training split: what a library without a model gives
                       (a run may have been trained on other stores too)
  <real sounds>        the recordings themselves, as a set against the training sounds: no model can be expected below that
  <known halves>       the training sounds, one half against the other, groups kept whole
  <REPRESENTATION>     analysed and synthesised without a model: the ceiling of its models
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from timbre_jax.data.store import Store
from timbre_jax.evaluation.runs import Notes, Run, even_choice
from timbre_jax.inference.rendering import fit_length, resynthesize
from timbre_jax.metrics import sound_sets
from timbre_jax.metrics.bootstrap import mean_interval
from timbre_jax.metrics.embedding import Embedding, embedding_definition, load_embedding
from timbre_jax.metrics.fingerprint import require
from timbre_jax.metrics.ndb import THESIS_BINS
from timbre_jax.metrics.sound_pairs import COUNTED, PAIR_METRICS, pair_distances, pair_measures
from timbre_jax.metrics.sound_sets import SET_METRICS, SetDistances, SoundSet
from timbre_jax.metrics.table import Result, Table

METRICS = (*PAIR_METRICS, *SET_METRICS)
UNRELATED, NEAREST, REAL, HALVES = "<unrelated sounds>", "<nearest known>", "<real sounds>", "<known halves>"


@dataclasses.dataclass(frozen=True)
class SoundSettings:
    """What is measured of sounds, and how.

    Attributes:
      metrics: some of `METRICS`.
      number: sounds compared, even over groups.
      known: sounds of the training split that sets are held against, even over groups.
      split: the training split's name.
      embedding: a name of `metrics.embedding.EMBEDDINGS`, or an .npz file.
      bins: of NDB.
      peaq, undefined_bandwidth: of ODG, as `metrics.peaq.basic.peaq_basic` takes them.
      seed: of every choice.
    """

    metrics: tuple[str, ...]
    number: int = 64
    known: int = 1000
    split: str = "train"
    embedding: str = "timbre"
    bins: int = THESIS_BINS
    peaq: str = "pqevalaudio"
    undefined_bandwidth: str | None = None
    seed: int = 0

    def __post_init__(self):
        if unknown := [name for name in self.metrics if name not in METRICS]:
            raise ValueError(f"there is no metric {unknown[0]!r}; there are {', '.join(METRICS)}")
        if "fingerprint" in self.metrics:
            require()
        # Wrong names are told before hours of work.
        pair_measures(self.metrics, peaq=self.peaq, undefined_bandwidth=self.undefined_bandwidth)
        if self.of_sets:
            load_embedding(self.embedding)

    @property
    def of_pairs(self) -> tuple[str, ...]:
        return tuple(name for name in PAIR_METRICS if name in self.metrics)

    @property
    def of_sets(self) -> tuple[str, ...]:
        return tuple(name for name in SET_METRICS if name in self.metrics)


@dataclasses.dataclass(frozen=True)
class SoundRow:
    """What one row of the table measured: of pairs [M] each by name, and of the set."""

    store: str
    name: str
    groups: np.ndarray
    classes: np.ndarray
    pairs: dict[str, np.ndarray]
    sets: SetDistances


class SoundScorer:
    """The recordings of one store that all runs are compared on, with the training sounds: read once, then `rows` per run.

    Attributes:
      recorded: [M, T] of the chosen notes, T what every run covers.
      known, real: the training sounds (of the families, where some are named) and the chosen notes as sets; `known` is None
        where the store has no training split, or it is the one that is scored.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        notes: Notes,
        runs: Sequence[Run],
        settings: SoundSettings,
        *,
        families: Sequence[str] = (),
        progress: bool = True,
    ):
        self.name, self.store, self.settings, self.progress = name, store, settings, progress
        self.chosen = even_choice(notes.labels["instrument"], settings.number, seed=settings.seed)
        self.ids = notes.labels["id"][self.chosen]
        self.groups, self.classes = (notes.labels[label][self.chosen] for label in ("instrument", "family"))
        lengths = [getattr(run.space.representation, "length", 0) or store.samples for run in runs]
        self.samples = min(store.samples, *lengths)
        self.recorded = fit_length(notes.audio(self.chosen), self.samples)
        self.lengths = notes.varying_lengths(self.chosen, most=self.samples)
        embedded = {"frechet", "kernel"} & set(settings.metrics)
        self.embedding: Embedding | None = load_embedding(settings.embedding) if embedded else None
        self.seen: set = set()
        # Of a split that runs were trained on, the sounds themselves would be the nearest.
        self.known_rows, self.known = np.zeros(0, np.int64), None
        if settings.split in store.splits and notes.split != settings.split:
            metadata = store.metadata(settings.split)
            allowed = np.isin(metadata["family"], list(families)) if families else np.ones(len(metadata["id"]), bool)
            rows, groups = np.flatnonzero(allowed), metadata["instrument"]
            self.known_rows = rows[even_choice(groups[rows], settings.known, seed=settings.seed)]
            if len(rows):
                self.known = self._set(self._known_waves, self.known_rows, groups[self.known_rows])
        self.real = self._set(lambda rows: self.recorded[rows], np.arange(len(self.recorded)), self.groups)

    def floors(self) -> list[SoundRow]:
        """The rows that no run makes."""
        rows = []
        if self.settings.of_pairs and len(np.unique(self.groups)) > 1:
            other = sound_sets.unrelated(self.groups, self.classes, seed=self.settings.seed)
            rows.append(self._row(UNRELATED, self.recorded[other], sets=False))
        if self.known is None:
            return rows
        if self.settings.of_pairs:
            near = sound_sets.nearest_sounds(
                self.recorded,
                self.real.images,
                self.known.images,
                lambda rows: self._known_waves(self.known_rows[rows]),
                lengths=self.lengths,
            )
            rows.append(self._row(NEAREST, self._known_waves(self.known_rows[near]), sets=False))
        if self.settings.of_sets:
            found = self._against(self.known, self.real)
            rows.append(SoundRow(self.name, REAL, self.groups, self.classes, {}, found))
            first, second = sound_sets.two_halves(self.known.groups, seed=self.settings.seed)
            if len(second):
                halves = self._against(self.known.part(first), self.known.part(second))
                groups = self.known.groups[second]
                rows.append(SoundRow(self.name, HALVES, groups, np.full(len(groups), ""), {}, halves))
        return [row for row in rows if row.pairs or row.sets != SetDistances()]

    def made(self, run_name: str, run: Run, notes: Notes) -> dict[str, np.ndarray]:
        """What the run makes of the chosen notes (`inference.rendering.resynthesize`).

        Raises:
          ValueError: the run sees other notes than those that were chosen.
        """
        part = notes.part(self.chosen)
        if not np.array_equal(part.labels["id"], self.ids):
            raise ValueError(f"{run_name} sees other notes of {self.name} than the other runs")
        return resynthesize(run.space, part.features)

    def rows(self, run_name: str, run: Run, made: dict[str, np.ndarray]) -> list[SoundRow]:
        """The run's reconstructions, and its representation's ceiling where no other run had the same."""
        rows = [self._row(run_name, made["reconstruction"])]
        representation = run.space.representation
        if representation not in self.seen:
            known = any(other.name == representation.name for other in self.seen)
            name = f"{representation.name} of {run_name}" if known else representation.name
            self.seen.add(representation)
            rows.append(self._row(f"<{name}>", made["representation"]))
        return rows

    def _row(self, name: str, waves: np.ndarray, *, sets: bool = True) -> SoundRow:
        waves, settings = fit_length(waves, self.samples), self.settings
        distances = {}
        if settings.of_pairs:
            distances = pair_distances(
                waves,
                self.recorded,
                self.store.sample_rate,
                settings.of_pairs,
                lengths=self.lengths,
                peaq=settings.peaq,
                undefined_bandwidth=settings.undefined_bandwidth,
                progress=lambda parts: tqdm(parts, desc=f"sounds of {name}", leave=False, disable=not self.progress),
            )
        found = SetDistances()
        if sets and self.known is not None and settings.of_sets:
            found = self._against(self.known, self._set(lambda rows: waves[rows], np.arange(len(waves)), self.groups))
        return SoundRow(self.name, name, self.groups, self.classes, distances, found)

    def _against(self, reference: SoundSet, test: SoundSet) -> SetDistances:
        settings = self.settings
        return sound_sets.set_distances(reference, test, settings.of_sets, k=settings.bins, seed=settings.seed)

    def _known_waves(self, rows: np.ndarray) -> np.ndarray:
        return fit_length(
            self.store.audio(self.settings.split, rows, samples=min(self.samples, self.store.samples)), self.samples
        )

    def _set(self, read, rows: np.ndarray, groups: np.ndarray) -> SoundSet:
        """In parts, so that a thousand sounds need not lie in memory as waves."""
        rate, parts = self.store.sample_rate, []
        embed = self.embedding or (lambda waves, rate: np.zeros((len(waves), 1)))
        for start in tqdm(range(0, len(rows), 128), desc="sounds to compare", leave=False, disable=not self.progress):
            waves = read(rows[start : start + 128])
            parts.append((embed(waves, rate), sound_sets.small_spectrograms(waves, rate)))
        points, images = (np.concatenate(part) for part in zip(*parts, strict=True))
        return SoundSet(points, images, groups)


def sound_tables(rows: Sequence[SoundRow], settings: SoundSettings) -> tuple[Table, Table, list[Result]]:
    """The table of sounds, the table by class, and both as results."""
    measures = pair_measures(settings.metrics, peaq=settings.peaq, undefined_bandwidth=settings.undefined_bandwidth)
    records, by_class, results = [], [], []
    for row in rows:
        record = {"store": row.store, "run": row.name, "sounds": len(row.groups), "groups": len(np.unique(row.groups))}
        unrelated = _find(rows, row.store, UNRELATED)
        for measure in measures:
            value = low = high = count = None
            if measure.name in row.pairs:
                scores, groups = _defined(row.pairs[measure.name], row.groups)
                count = len(scores)
                if count:
                    interval = mean_interval(scores, groups, seed=settings.seed)
                    value, low, high = float(interval.value), float(interval.low), float(interval.high)
                    below = None if unrelated is None else _mean(unrelated.pairs.get(measure.name))
                    where = f"{count} of {len(row.groups)} sounds of {row.store}; floor: unrelated sounds"
                    results.append(
                        Result(
                            f"{row.store}/{row.name}/{measure.name}", value, low, high, below, f"{measure.definition}; {where}"
                        )
                    )
            record |= {measure.name: value, f"{measure.name}_low": low, f"{measure.name}_high": high}
            if count is not None and count < len(row.groups):
                record[f"{measure.name}_sounds"] = count
        record |= _set_cells(row, rows, settings, results)
        records.append(record)
        by_class += _class_records(row, measures)
    caption = " ".join([sound_definition(settings), *_missing(rows, settings)])
    return (
        Table.from_records("sounds", records, caption),
        Table.from_records("classes", by_class, f"Means by class, and the best sound of each. {caption}"),
        results,
    )


def sound_definition(settings: SoundSettings) -> str:
    """What stands under the tables."""
    measures = pair_measures(settings.metrics, peaq=settings.peaq, undefined_bandwidth=settings.undefined_bandwidth)
    sentences = [f"{measure.name}: {measure.definition}" for measure in measures] + [f"Of pairs {COUNTED}"] * bool(measures)
    reference = f"at most {settings.known} sounds of split “{settings.split}” of the store"
    if "ndb" in settings.metrics:
        sentences.append(
            f"ndb: bins of {settings.bins} that differ (5 % level) between the sounds and {reference}, on the thesis' log-mel "
            "spectrograms shrunk to 32 x 16, beside what chance gives (mean and 95 %); js: Jensen-Shannon divergence in nats"
        )
    if {"frechet", "kernel"} & set(settings.metrics):
        sentences.append(
            "frechet, kernel: Fréchet distance (biased upwards by few sounds) and unbiased kernel distance (KAD: squared MMD, "
            f"Gaussian kernel as wide as the median distance; jackknife over groups) to {reference}; "
            f"{embedding_definition(settings.embedding)}"
        )
    floors = (
        f"{UNRELATED}: recordings of other groups, as far as the sound lasts where lengths vary. {NEAREST}: of split "
        f"“{settings.split}” of the store the sound of least log-spectral distance among the 8 nearest. {REAL}: the recordings "
        f"against the training sounds. {HALVES}: one half of the training sounds against the other. <a representation>: "
        "without any model. Brackets: 95 %, bootstrap over groups"
    )
    return f"{'. '.join(sentences)}. {floors}."


def _missing(rows: Sequence[SoundRow], settings: SoundSettings) -> list[str]:
    """Why metrics of sets that were asked for are not there, a sentence for each store."""
    if not settings.of_sets:
        return []
    told = []
    for store in dict.fromkeys(row.store for row in rows):
        of_store = [row for row in rows if row.store == store]
        if all(row.sets == SetDistances() for row in of_store):
            told.append(
                f"{store}: no {', '.join(settings.of_sets)}: there are no sounds of split “{settings.split}” beside these."
            )
        elif "ndb" in settings.metrics and all(row.sets.ndb is None for row in of_store):
            told.append(f"{store}: no ndb: split “{settings.split}” has fewer sounds than there are bins ({settings.bins}).")
    return told


def sounds_markdown(table: Table) -> str:
    """The table of sounds for people: value and interval in one cell."""
    from timbre_jax.metrics.table import format_cell

    rows = []
    for cells in table.rows:
        record = dict(zip(table.columns, cells, strict=True))
        shown = {"store": record["store"], "run": record["run"], "sounds": f"{record['sounds']} of {record['groups']}"}
        for name in table.columns:
            if f"{name}_low" not in table.columns or name == "ndb_chance":
                continue
            text = format_cell(record[name])
            if text != "–" and np.isfinite(record[f"{name}_low"]):
                text += f" ({format_cell(record[f'{name}_low'])}–{format_cell(record[f'{name}_high'])})"
            if record.get(f"{name}_sounds") is not None:
                text += f", of {record[f'{name}_sounds']}"
            shown[name] = text
        if "ndb" in table.columns and record["ndb"] is not None:
            chance = f"{record['ndb_chance']:.1f} ({record['ndb_chance_low']:.0f}–{record['ndb_chance_high']:.0f})"
            shown["ndb"], shown["by chance"] = str(record["ndb"]), chance
            shown["js"] = f"{record['js']:.3f} ({record['js_chance']:.3f})"
        if "frechet" in table.columns:
            shown["frechet"] = format_cell(record["frechet"])
        rows.append(shown)
    return f"{Table.from_records('sounds', rows).markdown()}\n{table.caption}\n"


def _set_cells(row: SoundRow, rows: Sequence[SoundRow], settings: SoundSettings, results: list[Result]) -> dict:
    record, prefix = {}, f"{row.store}/{row.name}"
    real = _find(rows, row.store, REAL)
    against = "the other half of them" if row.name == HALVES else f"the training sounds of {row.store}"
    reference = f"{len(row.groups)} {'training ' * (row.name == HALVES)}sounds against {against}"
    if "ndb" in settings.metrics:
        found = row.sets.ndb
        names = ("ndb", "ndb_chance", "ndb_chance_low", "ndb_chance_high", "ndb_p", "js", "js_chance")
        values = (None,) * 7
        if found is not None:
            divergence = (found.jensen_shannon, found.jensen_shannon_chance)
            values = (found.ndb, found.chance, found.chance_low, found.chance_high, found.p_value, *divergence)
            of = f"of {found.k} bins, {reference}; floor: mean by chance"
            results.append(Result(f"{prefix}/ndb", found.ndb, None, None, found.chance, f"statistically different bins {of}"))
            results.append(Result(f"{prefix}/js", divergence[0], None, None, divergence[1], f"Jensen-Shannon, nats, {of}"))
        record |= dict(zip(names, values, strict=True))
    if "frechet" in settings.metrics:
        record["frechet"] = row.sets.frechet
        if row.sets.frechet is not None:
            below = None if real is None else real.sets.frechet
            text = f"Fréchet distance, {embedding_definition(settings.embedding)}, {reference}; floor: the recordings"
            results.append(Result(f"{prefix}/frechet", row.sets.frechet, None, None, below, text))
    if "kernel" in settings.metrics:
        found = row.sets.kernel
        record |= {"kernel": None, "kernel_low": None, "kernel_high": None}
        if found is not None:
            record |= {"kernel": found.value, "kernel_low": found.low, "kernel_high": found.high}
            below = real.sets.kernel.value if real is not None and real.sets.kernel is not None else None
            text = f"kernel distance, {embedding_definition(settings.embedding)}, {reference}; floor: the recordings"
            results.append(Result(f"{prefix}/kernel", found.value, found.low, found.high, below, text))
    return record


def _class_records(row: SoundRow, measures) -> list[dict]:
    """By class: how many, the mean of each measure and its best (tables 7.4 and A of the thesis)."""
    if not row.pairs:
        return []
    records = []
    for name in np.unique(row.classes):
        inside = row.classes == name
        record = {"store": row.store, "run": row.name, "class": name, "sounds": int(inside.sum())}
        for measure in measures:
            scores, _ = _defined(row.pairs[measure.name][inside], row.groups[inside])
            best = None if not len(scores) else float(scores.max() if measure.better == "high" else scores.min())
            record |= {measure.name: _mean(scores), f"{measure.name}_best": best}
        records.append(record)
    return records


def _find(rows: Sequence[SoundRow], store: str, name: str) -> SoundRow | None:
    return next((row for row in rows if row.store == store and row.name == name), None)


def _defined(scores: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    finite = np.isfinite(scores)
    return scores[finite], groups[finite]


def _mean(scores: np.ndarray | None) -> float | None:
    scores = None if scores is None else scores[np.isfinite(scores)]
    return None if scores is None or not len(scores) else float(scores.mean())
