"""Settings of the analysis of a run. This module does not import JAX."""

from __future__ import annotations

import dataclasses

from timbre_jax.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class AnalysisSettings(Settings):
    """Settings of the analysis of a run."""

    workdir: str = setting(help="Folder of the run.")
    out: str = setting(help="Folder for the report and its files.")
    store: str | None = setting(None, "Store of the sounds. Default: the training store of the run.")
    split: str = setting("test", "Split of the store.")
    number: int = setting(500, "Number of sounds to analyze, drawn evenly over instruments; 0 means all.", low=0)
    explained: int = setting(64, "Number of these sounds for methods that decode hundreds of variants of each sound.", low=2)
    players: int = setting(3, "Number of sounds with audio players on the page.", low=0)
    seed: int = setting(0, "Random seed for the choice of sounds, resampling, t-SNE and sampling.")
    progress: bool = setting(True, "Show a progress bar.")
