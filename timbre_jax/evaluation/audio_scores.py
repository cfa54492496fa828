"""Scores of sounds against recordings, in pairs and as sets, with baselines and bounds.

Baselines and upper bounds are rows of their own, in angle brackets:
  <unrelated sounds>   recordings against recordings of other groups: the score of unrelated sounds
  <nearest known>      for each recording, the nearest sound of the training split of the store: the score of a sample library
                       without a model (a run may have been trained on other stores too)
  <real sounds>        the recordings as a set, against the training sounds: the best score that a model can be expected to have
  <known halves>       one half of the training sounds against the other; no group is in both halves
  <REPRESENTATION>     recordings analyzed and synthesized without a model: the upper bound of models of this representation
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from tqdm import tqdm

from timbre_jax.data.store import Store
from timbre_jax.evaluation.runs import Notes, Run, even_choice
from timbre_jax.evaluation.settings import EvaluationSettings
from timbre_jax.inference.batched import map_batches
from timbre_jax.inference.rendering import fit_length, resynthesize
from timbre_jax.metrics import sound_sets
from timbre_jax.metrics.embedding import Embedding, load_embedding
from timbre_jax.metrics.sound_pairs import pair_distances
from timbre_jax.metrics.sound_sets import SetDistances, SoundSet

UNRELATED, NEAREST, REAL, HALVES = "<unrelated sounds>", "<nearest known>", "<real sounds>", "<known halves>"


@dataclasses.dataclass(frozen=True)
class SoundRow:
    """Scores of one row of the table of sounds.

    Attributes:
      store: name of the store.
      name: name of the run, or of a baseline in angle brackets.
      groups: [M] instruments, or groups of near-duplicates.
      classes: [M] families.
      pairs: values [M] of each measure of pairs, by name.
      sets: distances of the set.
    """

    store: str
    name: str
    groups: np.ndarray
    classes: np.ndarray
    pairs: dict[str, np.ndarray]
    sets: SetDistances


class SoundScorer:
    """Scorer of all runs against the recordings and the training sounds of one store.

    Attributes:
      recorded: [M, T] waves of the chosen notes; T is the shortest length of the store and the runs.
      lengths: [M] lengths of the recordings in samples; None if they are equal.
      known: set of training sounds of the chosen families; None if the store has no training split, or the runs were trained
        on the scored split.
      real: set of the chosen notes.
    """

    def __init__(
        self,
        name: str,
        store: Store,
        notes: Notes,
        runs: Sequence[Run],
        settings: EvaluationSettings,
        *,
        families: Sequence[str] = (),
        progress: bool = True,
    ):
        self.name, self.store, self.settings, self.progress = name, store, settings, progress
        self.training_split = training_split(runs)
        self.chosen = even_choice(notes.labels["instrument"], settings.sounds, seed=settings.seed)
        self.ids = notes.labels["id"][self.chosen]
        self.groups, self.classes = (notes.labels[label][self.chosen] for label in ("instrument", "family"))
        lengths = [run.space.representation.length or store.samples for run in runs]
        self.samples = min(store.samples, *lengths)
        self.recorded = fit_length(notes.audio(self.chosen), self.samples)
        self.lengths = notes.varying_lengths(self.chosen, most=self.samples)
        embedded = {"frechet", "kernel"} & set(settings.set_metrics)
        self._embedding: Embedding | None = load_embedding(settings.embedding) if embedded else None
        self._representations: set = set()
        # If the training split is scored, each sound would be its own nearest sound.
        self.known_rows, self.known = np.zeros(0, np.int64), None
        if self.training_split in store.splits and notes.split != self.training_split:
            metadata = store.metadata(self.training_split)
            allowed = np.isin(metadata["family"], list(families)) if families else np.ones(len(metadata["id"]), bool)
            rows, groups = np.flatnonzero(allowed), metadata["instrument"]
            self.known_rows = rows[even_choice(groups[rows], settings.known, seed=settings.seed)]
            if len(rows):
                self.known = self._embed_set(self._training_waves, self.known_rows, groups[self.known_rows])
        self.real = self._embed_set(lambda rows: self.recorded[rows], np.arange(len(self.recorded)), self.groups)

    def baseline_rows(self) -> list[SoundRow]:
        """Scores the baselines and upper bounds that need no run."""
        rows, seed = [], self.settings.seed
        if self.settings.pair_metrics and len(np.unique(self.groups)) > 1:
            other = sound_sets.choose_unrelated(self.groups, self.classes, seed=seed)
            rows.append(self._row(UNRELATED, self.recorded[other], sets=False))
        if self.known is None:
            return rows
        if self.settings.pair_metrics:
            near = sound_sets.nearest_sounds(
                self.recorded,
                self.real.images,
                self.known.images,
                lambda rows: self._training_waves(self.known_rows[rows]),
                lengths=self.lengths,
            )
            rows.append(self._row(NEAREST, self._training_waves(self.known_rows[near]), sets=False))
        if self.settings.set_metrics:
            distances = self._set_distances(self.known, self.real)
            rows.append(SoundRow(self.name, REAL, self.groups, self.classes, {}, distances))
            first, second = sound_sets.split_in_halves(self.known.groups, seed=seed)
            if len(second):
                distances = self._set_distances(self.known.part(first), self.known.part(second))
                groups = self.known.groups[second]
                rows.append(SoundRow(self.name, HALVES, groups, np.full(len(groups), ""), {}, distances))
        return [row for row in rows if row.pairs or row.sets != SetDistances()]

    def resynthesize(self, run_name: str, run: Run, notes: Notes) -> dict[str, np.ndarray]:
        """Resynthesizes the chosen notes with a run (`inference.rendering.resynthesize`).

        Args:
          run_name: name of the run, for errors.
          run: run that resynthesizes the notes.
          notes: all notes, with features in the representation of the run.

        Raises:
          ValueError: the notes of this run are not those of the other runs.
        """
        part = notes.part(self.chosen)
        if not np.array_equal(part.labels["id"], self.ids):
            raise ValueError(
                f"{run_name}: its notes of {self.name} differ from those of the other runs; give runs of the same families"
            )
        return resynthesize(run.space, part.features)

    def run_rows(self, run_name: str, run: Run, waves: dict[str, np.ndarray]) -> list[SoundRow]:
        """Scores a run, and its representation if it is new.

        Args:
          run_name: name of the run.
          run: the run.
          waves: the chosen notes, as `resynthesize` returns them.
        """
        rows = [self._row(run_name, waves["reconstruction"])]
        representation = run.space.representation
        if representation not in self._representations:
            known = any(other.name == representation.name for other in self._representations)
            name = f"{representation.name} of {run_name}" if known else representation.name
            self._representations.add(representation)
            rows.append(self._row(f"<{name}>", waves["representation"]))
        return rows

    def _row(self, name: str, waves: np.ndarray, *, sets: bool = True) -> SoundRow:
        """Scores waves [M, T'] against the recordings."""
        waves, settings = fit_length(waves, self.samples), self.settings
        pairs, distances = {}, SetDistances()
        if settings.pair_metrics:
            pairs = pair_distances(
                waves,
                self.recorded,
                self.store.sample_rate,
                settings.pair_metrics,
                lengths=self.lengths,
                peaq=settings.peaq,
                undefined_bandwidth=settings.undefined_bandwidth,
                progress=self._progress_bar(f"sounds of {name}"),
            )
        if sets and self.known is not None and settings.set_metrics:
            test = self._embed_set(lambda rows: waves[rows], np.arange(len(waves)), self.groups)
            distances = self._set_distances(self.known, test)
        return SoundRow(self.name, name, self.groups, self.classes, pairs, distances)

    def _set_distances(self, reference: SoundSet, test: SoundSet) -> SetDistances:
        """Computes the chosen distances of a set to a reference set."""
        settings = self.settings
        return sound_sets.set_distances(reference, test, settings.set_metrics, k=settings.bins, seed=settings.seed)

    def _training_waves(self, rows: np.ndarray) -> np.ndarray:
        """Reads the waves of rows of the training split."""
        waves = self.store.audio(self.training_split, rows, samples=min(self.samples, self.store.samples))
        return fit_length(waves, self.samples)

    def _embed_set(self, read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, groups: np.ndarray) -> SoundSet:
        """Embeds sounds in batches, so that not all waves are in memory."""
        rate, embed = self.store.sample_rate, self._embedding

        def measure(batch: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            waves = read(batch)
            points = np.zeros((len(waves), 1)) if embed is None else embed(waves, rate)
            return points, sound_sets.small_spectrograms(waves, rate)

        points, images = map_batches(measure, rows, batch_size=128, progress=self._progress_bar("sounds to compare"))
        return SoundSet(points, images, groups)

    def _progress_bar(self, name: str) -> Callable[[Iterable], Iterable]:
        """Returns a function that wraps an iterable with a progress bar."""
        return functools.partial(tqdm, desc=name, leave=False, disable=not self.progress)


def training_split(runs: Sequence[Run]) -> str:
    """Returns the name of the split that the first run was trained on."""
    return runs[0].config["data"]["train_split"]
