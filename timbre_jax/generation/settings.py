"""Settings of the modes of generation: one frozen dataclass for each mode.

    from timbre_jax.generation.generate import generate
    from timbre_jax.generation.settings import Interpolate

    generate("run", "out", Interpolate(files=("flute.wav", "bell.wav"), steps=5))

The fields are the flags of experiments/generate.py. The functions of the modes are in static_modes.py (one latent per sound),
series_modes.py and control_modes.py (one latent per frame); `modes.MODES` has both by name.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from timbre_jax.settings import Settings, setting

if TYPE_CHECKING:
    from timbre_jax.space import TimbreSpace

Points = tuple[tuple[float, float], ...]
SERIES_ONLY = ("seconds", "movement", "mixed_by")
"""Settings that have no effect in a static space, and are not in its manifest."""


@dataclasses.dataclass(frozen=True)
class ModeSettings(Settings):
    """Base class of the settings of a mode.

    Attributes:
      mode: name of the mode.
      needs_all: whether the mode needs all of its files, as an average does, so that one unreadable file is an error.
    """

    mode: ClassVar[str] = ""
    needs_all: ClassVar[bool] = False

    def paths(self) -> list[Path]:
        """Returns the input files, with folders replaced by the sound files in them.

        Raises:
          ValueError: the mode needs files and there are none, or a folder contains no sound file.
        """
        return []

    def for_count(self, count: int) -> Self:
        """Returns the settings for a number of input files.

        Raises:
          ValueError: the mode needs another number of files.
        """
        return self

    def check_space(self, space: TimbreSpace) -> None:
        """Raises a ValueError if the settings do not fit the space."""

    def record(self, kind: str) -> dict:
        """Returns the settings as JSON values for the manifest, without the input files.

        Args:
          kind: kind of the space of the run, "static" or "series".
        """
        omitted = ("files",) if kind == "series" else ("files", *SERIES_ONLY)
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in omitted}
        return json.loads(json.dumps(values, default=os.fspath))


@dataclasses.dataclass(frozen=True)
class FileSettings(ModeSettings):
    """Settings of a mode with sound files as input.

    Attributes:
      files_optional: whether the mode also works without files.
    """

    files_optional: ClassVar[bool] = False

    files: tuple[str | os.PathLike, ...] = setting((), "Sound files, or folders of sound files, separated by commas.")

    def paths(self) -> list[Path]:
        """Returns the input files, with folders replaced by the sound files in them."""
        from timbre_jax.generation.sound_files import expand_folders

        if not self.files and not self.files_optional:
            raise ValueError(f"--mode={self.mode}: no files; give --files=A.wav,B.wav")
        return expand_folders(self.files)


@dataclasses.dataclass(frozen=True)
class HeldSettings(ModeSettings):
    """Settings of a mode whose sounds do not take their duration from files."""

    seconds: float = setting(
        2.0, "Duration of each sound in seconds, in a series space. With --mode=control: for --curve without --files.", low=0.02
    )


@dataclasses.dataclass(frozen=True)
class MixedSettings(FileSettings):
    """Settings of a mode whose latents are between the codes of a discrete space."""

    mixed_by: str = setting(
        "vectors",
        "How sounds are mixed: as vectors, as vectors replaced by the nearest codes (discrete spaces only), or as a crossfade "
        "of the sounds (--mode=interpolate only).",
        choices=("vectors", "codes", "crossfade"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixed_by == "crossfade" and self.mode != "interpolate":
            raise ValueError(f"--mixed_by=crossfade: only for --mode=interpolate, got --mode={self.mode}")

    def check_space(self, space: TimbreSpace) -> None:
        """Raises a ValueError if nearest codes are asked for in a continuous space."""
        if self.mixed_by == "codes" and not space.model.is_discrete:
            raise ValueError("--mixed_by=codes: needs a discrete space, and this one is continuous")


@dataclasses.dataclass(frozen=True)
class Reconstruct(FileSettings):
    """Settings of `reconstruct`, which encodes and decodes each file."""

    mode: ClassVar[str] = "reconstruct"


@dataclasses.dataclass(frozen=True)
class Sample(HeldSettings):
    """Settings of `sample`, which draws random sounds."""

    mode: ClassVar[str] = "sample"

    number: int = setting(8, "Number of sounds.", low=1)
    draw_from: str = setting(
        "training",
        "Distribution of the latents: a Gaussian fitted to the training set, or the standard normal prior (static spaces "
        "only).",
        choices=("training", "prior"),
    )
    spread: float = setting(1.0, "Factor on the standard deviation of the latents; below 1, sounds are more typical.", low=0.0)
    movement: float = setting(
        0.3, "In a series space: slow random movement of each sound, in standard deviations of the training set.", low=0.0
    )
    seed: int = setting(0, "Random seed for sampling.")

    def check_space(self, space: TimbreSpace) -> None:
        """Raises a ValueError if samples of the prior are asked for in a series space."""
        if space.kind == "series" and self.draw_from == "prior":
            raise ValueError("--draw_from=prior: only for static spaces; use --draw_from=training in this series space")


@dataclasses.dataclass(frozen=True)
class Interpolate(MixedSettings):
    """Settings of `interpolate`, which makes sounds between two files."""

    mode: ClassVar[str] = "interpolate"
    needs_all: ClassVar[bool] = True

    steps: int = setting(9, "Number of sounds, including both ends.", low=2)
    interpolation: str = setting(
        "linear",
        "Path between the sounds: a straight line, an arc, or (series spaces only, slow) a path along which brightness and "
        "bandwidth change evenly.",
        choices=("linear", "spherical", "even"),
    )

    def for_count(self, count: int) -> Self:
        """Returns the settings for two files."""
        if count != 2:
            raise ValueError(f"--mode=interpolate: expected 2 files, got {count}")
        return self

    def check_space(self, space: TimbreSpace) -> None:
        """Raises a ValueError for an even path or nearest codes in a space without them."""
        super().check_space(space)
        if space.kind == "static" and self.interpolation == "even":
            raise ValueError("--interpolation=even: only for series spaces; use linear or spherical in this static space")


@dataclasses.dataclass(frozen=True)
class Sweep(HeldSettings, FileSettings):
    """Settings of `sweep`, which moves one latent of a file, or of the training mean."""

    mode: ClassVar[str] = "sweep"
    files_optional: ClassVar[bool] = True

    latent: int = setting(0, "Latent that moves through its range, numbered from 0.", low=0)
    steps: int = setting(9, "Number of sounds, including both ends.", low=2)

    def for_count(self, count: int) -> Self:
        """Returns the settings for one file or none."""
        if count > 1:
            raise ValueError(f"--mode=sweep: expected 1 file or none, got {count}")
        return self

    def check_space(self, space: TimbreSpace) -> None:
        """Raises a ValueError if the space does not have the latent."""
        if self.latent >= space.latent_size:
            raise ValueError(f"--latent={self.latent}: the space has latents 0 to {space.latent_size - 1}")


@dataclasses.dataclass(frozen=True)
class Variations(MixedSettings):
    """Settings of `variations`, which makes sounds around each file."""

    mode: ClassVar[str] = "variations"

    number: int = setting(8, "Number of sounds for each file.", low=1)
    spread: float = setting(0.3, "Distance from the file, in standard deviations of the training set.", low=0.0)
    seed: int = setting(0, "Random seed for sampling.")


@dataclasses.dataclass(frozen=True)
class Average(HeldSettings, FileSettings):
    """Settings of `average`, which averages the latents of several files."""

    mode: ClassVar[str] = "average"
    needs_all: ClassVar[bool] = True

    def for_count(self, count: int) -> Self:
        """Returns the settings for at least two files."""
        if count < 2:
            raise ValueError(f"--mode=average: expected at least 2 files, got {count}")
        return self


@dataclasses.dataclass(frozen=True)
class Arithmetic(HeldSettings, FileSettings):
    """Settings of `arithmetic`, which adds and subtracts latents around the training mean."""

    mode: ClassVar[str] = "arithmetic"
    needs_all: ClassVar[bool] = True

    weights: tuple[float, ...] = setting((), "Weight of each file: 1,1,-1 is a + b - c. Default: 1 each.")

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "weights", tuple(map(float, self.weights)))
        except ValueError:
            text = ",".join(map(str, self.weights))
            raise ValueError(f"--weights={text}: expected numbers separated by commas, such as 1,1,-1") from None
        super().__post_init__()

    def for_count(self, count: int) -> Self:
        """Returns the settings with one weight for each file."""
        if self.weights and len(self.weights) != count:
            text = ",".join(f"{weight:g}" for weight in self.weights)
            raise ValueError(f"--weights={text}: expected one number for each of the {count} files")
        return dataclasses.replace(self, weights=self.weights or (1.0,) * count)


@dataclasses.dataclass(frozen=True)
class Convert(FileSettings):
    """Settings of `convert`, which gives each file the timbre of the training sounds."""

    mode: ClassVar[str] = "convert"

    match_level: bool = setting(True, "Adjust the level of the result, frame by frame, to that of the input.")


@dataclasses.dataclass(frozen=True)
class Plane(MixedSettings):
    """Settings of `plane`, which mixes files at (0, 0), (1, 0), (0, 1) and (1, 1)."""

    mode: ClassVar[str] = "plane"
    needs_all: ClassVar[bool] = True

    at: tuple[tuple[float, float], ...] = setting(
        (),
        'Points of the square with the files at 0,0, 1,0, 0,1 and 1,1, as "x,y;x,y"; the sound moves through them in time.',
        parse=lambda text: parse_points(text),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "at", parse_points(self.at) if self.at else ())

    def for_count(self, count: int) -> Self:
        """Returns the settings for four files."""
        if count != 4 or not self.at:
            raise ValueError(f'--mode=plane: expected 4 files and --at="x,y;x,y", got {count} files and {len(self.at)} points')
        return self


@dataclasses.dataclass(frozen=True)
class ApplyEdits(MixedSettings):
    """Settings of `edit`, which applies a list of edits, or one operator, to each file."""

    mode: ClassVar[str] = "edit"

    edits: str | None = setting(None, "CSV or JSON file with a list of edits (docs/file_formats.md).")
    operator: str | None = setting(None, "One operator on the whole sound instead of --edits, such as stretch.")
    amount: str | None = setting(None, "Amount of --operator, such as 2; or 0:2, which moves from 0 to 2 over the sound.")
    target: str = setting("all", "Part that --operator changes: all, level, latent 3 or axis 0.")
    seed: int = setting(0, "Random seed for sampling.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.edits is None) == (self.operator is None):
            raise ValueError("--mode=edit: give either --edits=FILE (CSV or JSON) or --operator=NAME --amount=NUMBER")


@dataclasses.dataclass(frozen=True)
class Control(HeldSettings, FileSettings):
    """Settings of `control`, which makes sounds whose descriptors follow target curves."""

    mode: ClassVar[str] = "control"
    files_optional: ClassVar[bool] = True

    descriptor: tuple[str, ...] = setting(
        ("centroid",),
        "Descriptors to control: centroid (brightness), bandwidth, flatness, rolloff, loudness; in a discrete space f0 instead "
        "of loudness.",
    )
    curve: tuple[str, ...] = setting(
        (), "Curve of each descriptor as SHAPE:HZ, such as sine:0.5; shapes are sine, line, exponential and constant."
    )
    curve_file: tuple[str | os.PathLike, ...] = setting((), "CSV file of each descriptor with lines of time,value.")
    like: str | None = setting(None, "Sound whose own curves are followed, scaled into the reachable range.")
    between: tuple[str, ...] = setting(
        (), "Range of --curve or --like for each descriptor, as LOW-HIGH. Default: the middle of the reachable range."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        sources = [name for name in ("curve", "curve_file", "like") if getattr(self, name)]
        if len(sources) != 1:
            text = " and ".join(f"--{name}" for name in sources) or "none"
            raise ValueError(f"--mode=control: give one of --curve=sine:0.5, --curve_file=CSV and --like=SOUND, got {text}")
        for name in ("curve", "curve_file", "between"):
            values = getattr(self, name)
            if values and len(values) != len(self.descriptor):
                text = ",".join(map(str, values))
                raise ValueError(f"--{name}={text}: expected one for each descriptor ({', '.join(self.descriptor)})")


def parse_points(at: str | Sequence[Sequence[float]]) -> Points:
    """Returns points from a text "x,y;x,y", or from pairs of numbers.

    Raises:
      ValueError: not pairs of finite numbers.
    """
    pairs = [part.split(",") for part in at.split(";") if part.strip()] if isinstance(at, str) else at
    try:
        points = tuple((float(x), float(y)) for x, y in pairs)
    except (TypeError, ValueError):
        points = ()
    if not points:
        raise ValueError(f'--at={at}: expected points as "x,y;x,y"')
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"--at: the coordinates of a point must be finite, got {x},{y}")
    return points


MODE_SETTINGS = (
    Reconstruct, Sample, Interpolate, Sweep, Variations, Average, Arithmetic, Convert, Plane, ApplyEdits, Control,
)  # fmt: skip
"""Settings of all modes but "map", which is in `timbre_jax.maps.settings`."""
