"""Settings of maps: making, serving and searching them, and making sounds at their points. Imports no JAX."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from timbre_jax.generation.settings import HeldSettings, parse_points
from timbre_jax.settings import Settings, setting

METHODS = ("kernel", "umap", "tsne", "pca")


@dataclasses.dataclass(frozen=True)
class MapSettings(Settings):
    """Settings of `make_map_of_run`."""

    workdir: str = setting(help="The run, as experiments/train.py made it.")
    out: str = setting(help="Folder for the map.")
    store: str | None = setting(None, "Library to map; by default the one the run was trained on.")
    split: str = setting("train", "Its split, several with commas, or 'all'.")
    number: int = setting(2000, "Sounds on the map, even over instruments; 0 means all.", low=0)
    method: str = setting(
        "kernel", "How sounds are placed: 'kernel' optimizes the places together with the inverse.", choices=METHODS
    )
    perplexity: float | None = setting(None, "t-SNE and kernel: neighbors that count (30).", low=1.0)
    iterations: int | None = setting(None, "t-SNE: steps (1000).", low=250)
    neighbors: int | None = setting(None, "UMAP: neighbors that count (100).", low=2)
    min_dist: float | None = setting(None, "UMAP: how close sounds may come (0.8).", low=0.0, high=1.0)
    names_from: str | None = setting(None, "A labeled store: classes of the map's sounds are borrowed from it.")
    players: int = setting(400, "Library sounds inside map.html, even over classes (10 to 20 kB each).", low=0)
    hold: float = setting(1.0, "A space with a latent a frame: seconds that a point of the map is held.", low=0.01)
    seed: int = setting(0, "Random seed of the choice of sounds and of the map.")
    progress: bool = setting(True, "Show bars.")

    @property
    def of_method(self) -> dict[str, float]:
        """The settings of the method that were given."""
        names = ("perplexity", "iterations", "neighbors", "min_dist")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


@dataclasses.dataclass(frozen=True)
class ServeSettings(Settings):
    """Settings of `serve_map`."""

    serve: bool = setting(False, "Serve a local page on which a click makes a new sound.")
    port: int = setting(8765, "Of --serve; taken: any free one. 0: any free one.", low=0, high=65535)
    click_ms: float = setting(75.0, "Time for making a sound, which an inverter's iterations are chosen by.", low=1.0)


@dataclasses.dataclass(frozen=True)
class SimilarSettings(Settings):
    """Settings of `find_similar`."""

    workdir: str = setting(help="The run, as experiments/train.py made it.")
    files: tuple[str, ...] = setting(help="Sound files or folders of them, with commas.")
    out: str | None = setting(None, "Folder for similar.json and the similar sounds; none: only print.")
    store: str | None = setting(None, "Library to search; by default the one the run was trained on.")
    split: str = setting("all", "Its split, several with commas, or 'all'.")
    number: int = setting(0, "Search as many of its sounds, even over instruments; 0: all.", low=0)
    k: int = setting(8, "Similar sounds for each file.", low=1)
    seed: int = setting(0, "Random seed of the choice of sounds.")
    progress: bool = setting(True, "Show bars.")


@dataclasses.dataclass(frozen=True)
class MapPoints(HeldSettings):
    """Settings of `map`, which makes sounds at points of a map."""

    mode: ClassVar[str] = "map"

    map: str = setting("", "map: the folder (or .npz) that experiments/map.py made from this run.")
    at: tuple[tuple[float, float], ...] = setting((), 'Points of the map, 0 to 1, as "x,y;x,y".', parse=parse_points)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.map and self.at):
            raise ValueError('--mode=map needs --map=FOLDER, as experiments/map.py made it, and --at="x,y;x,y"')
        object.__setattr__(self, "at", parse_points(self.at))
