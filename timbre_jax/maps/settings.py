"""Settings of maps, their server, similarity search and generation. Does not import JAX."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from timbre_jax.generation.settings import HeldSettings, parse_points
from timbre_jax.settings import Settings, setting

METHODS = ("kernel", "umap", "tsne", "pca")


@dataclasses.dataclass(frozen=True)
class MapSettings(Settings):
    """Settings of a map."""

    workdir: str = setting(help="Folder of the run.")
    out: str = setting(help="Folder for the map.")
    store: str | None = setting(None, "Store to map. Default: the training store of the run.")
    split: str = setting("train", "Comma-separated splits of the store, or 'all'.")
    number: int = setting(2000, "Number of sounds on the map, drawn evenly over splits and instruments; 0 means all.", low=0)
    method: str = setting(
        "kernel", "Projection of the latents to the map; 'kernel' is fitted together with its inverse.", choices=METHODS
    )
    perplexity: float | None = setting(
        None, "--method=tsne (default 49) and kernel (default 30): effective number of neighbors.", low=1.0
    )
    iterations: int | None = setting(None, "--method=tsne: optimizer steps (default 1000).", low=250)
    neighbors: int | None = setting(None, "--method=umap: number of neighbors of each sound (default 100).", low=2)
    min_dist: float | None = setting(None, "--method=umap: smallest distance between sounds (default 0.8).", low=0.0, high=1.0)
    names_from: str | None = setting(None, "Labeled store that provides the classes of unlabeled sounds.")
    players: int = setting(
        400, "Number of library sounds inside map.html (10 to 20 kB each), drawn evenly over classes.", low=0
    )
    hold: float = setting(1.0, "In a series space: duration of the sound of a map point in seconds.", low=0.01)
    seed: int = setting(0, "Random seed for the choice of sounds and the map.")
    progress: bool = setting(True, "Show progress bars.")

    @property
    def of_method(self) -> dict[str, float]:
        """Settings of the method that are not None."""
        names = ("perplexity", "iterations", "neighbors", "min_dist")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclasses.dataclass(frozen=True)
class ServeSettings(Settings):
    """Settings of the server of a map."""

    serve: bool = setting(False, "Serve a local page on which a click creates a new sound.")
    port: int = setting(8765, "Port of the server; any free port if it is 0 or in use.", low=0, high=65535)
    click_ms: float = setting(75.0, "Time budget for a new sound in ms, which limits the iterations of the inverter.", low=1.0)


@dataclasses.dataclass(frozen=True)
class SimilarSettings(Settings):
    """Settings of the search for similar sounds."""

    workdir: str = setting(help="Folder of the run.")
    files: tuple[str, ...] = setting(help="Sound files or folders, separated by commas.")
    out: str | None = setting(None, "Folder for similar.json and the similar sounds. Default: only print the result.")
    store: str | None = setting(None, "Store to search. Default: the training store of the run.")
    split: str = setting("all", "Comma-separated splits of the store, or 'all'.")
    number: int = setting(0, "Number of sounds to search, drawn evenly over splits and instruments; 0 means all.", low=0)
    k: int = setting(8, "Number of similar sounds for each file.", low=1)
    seed: int = setting(0, "Random seed for the choice of sounds.")
    progress: bool = setting(True, "Show progress bars.")


@dataclasses.dataclass(frozen=True)
class MapPoints(HeldSettings):
    """Settings of the mode "map", which generates sounds at points of a map."""

    mode: ClassVar[str] = "map"

    map: str = setting("", "Folder (or .npz file) of a map of the run, created by experiments/map.py.")
    at: tuple[tuple[float, float], ...] = setting((), 'Points of the map from 0 to 1, "x,y;x,y".', parse=parse_points)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.map and self.at):
            raise ValueError('--mode=map: needs --map=FOLDER (of experiments/map.py) and --at="x,y;x,y"')
        object.__setattr__(self, "at", parse_points(self.at))
