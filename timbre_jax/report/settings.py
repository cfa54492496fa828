"""Settings of the analysis of a run. Imports no JAX."""

from __future__ import annotations

import dataclasses

from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class AnalysisSettings(Settings):
    """Settings of the analysis of a run."""

    workdir: str = setting(help="The run, as experiments/train.py made it.")
    out: str = setting(help="Folder for the report and its files.")
    store: str | None = setting(None, "Store of the notes; by default the one the run was trained on.")
    split: str = setting("test", "Split of the store.")
    number: int = setting(500, "Notes to analyze, even over instruments; 0 means all.", low=0)
    explained: int = setting(64, "Of these, notes for the methods that decode hundreds of variants of each.", low=2)
    players: int = setting(3, "Notes to listen to, with every ablation.", low=0)
    seed: int = setting(0, "Random seed for the choice of notes, resampling, t-SNE and sampling.")
    progress: bool = setting(True, "Show a bar with the time left.")
