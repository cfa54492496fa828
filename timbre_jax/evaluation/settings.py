"""Settings of the comparison of runs, flags of `experiments/evaluate.py`; loads no JAX."""

from __future__ import annotations

import dataclasses
import os

from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class EvaluationSettings(Settings):
    """Runs, sounds and metrics of `comparison.evaluate`; each field has its help text.

    Raises:
      ValueError: a metric, preset or embedding is unknown, or its optional programs are not installed.
    """

    workdir: tuple[str | os.PathLike, ...] = setting((), "Runs to score, separated by commas.")
    store: str | None = setting(None, "Store of the sounds; default: the one that the first run was trained on.")
    more_stores: tuple[str | os.PathLike, ...] = setting((), "Further stores, whose scores get rows of their own.")
    split: str = setting("test", "Split of the stores to score.")
    number: int = setting(0, "Number of sounds of each store, evenly over instruments; 0: all.", low=0)
    sounds: int = setting(64, "Number of these whose audio is compared; 0: none.", low=0)
    families: tuple[str, ...] | None = setting(None, "Families to score; default: those that all runs were trained on.")
    reference: str | None = setting(None, "Run to compare with; default: the PCA among the runs.")
    metrics: tuple[str, ...] | None = setting(
        None,
        "Metrics of sounds: lsd, stft, mel, level, odg, fingerprint, ndb, frechet, kernel; default: those that fit the space.",
    )
    known: int = setting(1000, "Number of training sounds in the reference set.", low=2)
    bins: int = setting(50, "Number of bins of NDB.", low=2)
    embedding: str = setting("timbre", "Embedding of Fréchet and kernel distance: timbre, mel_statistics, or an .npz file.")
    peaq: str = setting("pqevalaudio", "Preset of the ODG: pqevalaudio, gstpeaq, rebnord2022.")
    undefined_bandwidth: str | None = setting(
        None, "Treatment of an undefined bandwidth in the ODG; default: that of the preset.", choices=("zero", "drop", "nan")
    )
    seed: int = setting(0, "Random seed for the choice of sounds and for resampling.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.metrics:
            return
        from timbre_jax.metrics.embedding import load_embedding
        from timbre_jax.metrics.fingerprint import check_available
        from timbre_jax.metrics.sound_pairs import PAIR_METRICS
        from timbre_jax.metrics.sound_sets import SET_METRICS

        # Fail now, not after hours of scoring.
        known = (*PAIR_METRICS, *SET_METRICS)
        if unknown := [name for name in self.metrics if name not in known]:
            raise ValueError(f"metrics={unknown[0]!r}: must be among {', '.join(known)}")
        if "fingerprint" in self.metrics:
            check_available()
        self.pair_measures()
        if self.set_metrics:
            load_embedding(self.embedding)

    @property
    def pair_metrics(self) -> tuple[str, ...]:
        """Chosen metrics of pairs of sounds."""
        from timbre_jax.metrics.sound_pairs import PAIR_METRICS

        return tuple(name for name in PAIR_METRICS if name in (self.metrics or ()))

    @property
    def set_metrics(self) -> tuple[str, ...]:
        """Chosen metrics of sets of sounds."""
        from timbre_jax.metrics.sound_sets import SET_METRICS

        return tuple(name for name in SET_METRICS if name in (self.metrics or ()))

    def pair_measures(self) -> list:
        """Returns the measures (`metrics.sound_pairs.PairMeasure`) of the chosen metrics."""
        from timbre_jax.metrics.sound_pairs import pair_measures

        return pair_measures(self.metrics or (), peaq=self.peaq, undefined_bandwidth=self.undefined_bandwidth)
