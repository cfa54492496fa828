"""Settings of the comparison of runs, the flags of experiments/evaluate.py; this module loads neither JAX nor a model."""

from __future__ import annotations

import dataclasses
import os

from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class EvaluationSettings(Settings):
    """Runs, notes and metrics of `comparison.evaluate`; the help text of each field says what it is."""

    workdir: tuple[str | os.PathLike, ...] = setting((), "Runs to score, with commas.")
    store: str | None = setting(None, "Store of the notes; by default the one the first run was trained on.")
    more_stores: tuple[str | os.PathLike, ...] = setting((), "Further stores, each with rows of its own.")
    split: str = setting("test", "Split of the stores.")
    number: int = setting(0, "Notes of each store, even over instruments; 0 means all.", low=0)
    sounds: int = setting(64, "Notes whose sound is compared; 0 means none.", low=0)
    families: tuple[str, ...] | None = setting(None, "Only these families; by default those that all runs were trained on.")
    reference: str | None = setting(None, "Run that MSE is held against; by default the PCA among the runs.")
    metrics: tuple[str, ...] | None = setting(
        None, "Metrics of sounds: lsd, stft, mel, level, odg, fingerprint, ndb, frechet, kernel; by default those of the space."
    )
    known: int = setting(1000, "Training sounds that sets of sounds are held against.", low=2)
    bins: int = setting(50, "Bins of NDB.", low=2)
    embedding: str = setting(
        "timbre", "Embedding of the Fréchet and kernel distance: timbre, mel_statistics, or an .npz file of your own."
    )
    peaq: str = setting("pqevalaudio", "Preset of the ODG: pqevalaudio, gstpeaq, rebnord2022.")
    undefined_bandwidth: str | None = setting(
        None, "Treatment of an undefined bandwidth in the ODG; by default the preset's.", choices=("zero", "drop", "nan")
    )
    seed: int = setting(0, "Random seed for the choice of notes and for resampling.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.metrics:
            return
        from timbre_jax.metrics.embedding import load_embedding
        from timbre_jax.metrics.fingerprint import require
        from timbre_jax.metrics.sound_pairs import PAIR_METRICS
        from timbre_jax.metrics.sound_sets import SET_METRICS

        # Whatever would fail after hours of work fails here.
        known = (*PAIR_METRICS, *SET_METRICS)
        if unknown := [name for name in self.metrics if name not in known]:
            raise ValueError(f"there is no metric {unknown[0]!r}; there are {', '.join(known)}")
        if "fingerprint" in self.metrics:
            require()
        self.pair_measures()
        if self.set_metrics:
            load_embedding(self.embedding)

    @property
    def pair_metrics(self) -> tuple[str, ...]:
        """The chosen metrics that compare sounds pair by pair."""
        from timbre_jax.metrics.sound_pairs import PAIR_METRICS

        return tuple(name for name in PAIR_METRICS if name in (self.metrics or ()))

    @property
    def set_metrics(self) -> tuple[str, ...]:
        """The chosen metrics that compare sets of sounds."""
        from timbre_jax.metrics.sound_sets import SET_METRICS

        return tuple(name for name in SET_METRICS if name in (self.metrics or ()))

    def pair_measures(self) -> list:
        """Returns the measures (`metrics.sound_pairs.PairMeasure`) of the chosen metrics."""
        from timbre_jax.metrics.sound_pairs import pair_measures

        return pair_measures(self.metrics or (), peaq=self.peaq, undefined_bandwidth=self.undefined_bandwidth)
