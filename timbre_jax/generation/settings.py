"""Settings of the modes of generation, one frozen dataclass a mode; the flags of experiments/generate.py are their fields.

    from timbre_jax.generation.generate import generate
    from timbre_jax.generation.settings import Interpolate

    generate("run", "out", Interpolate(files=("flute.wav", "bell.wav"), steps=5))

The functions of the modes are in static_modes.py (one latent a sound), series_modes.py and control_modes.py (one latent a
frame); `modes.MODES` has both by name.
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
"""Settings without effect in a static space, which the manifest of one leaves out."""


@dataclasses.dataclass(frozen=True)
class ModeSettings(Settings):
    """Base class of the settings of a mode.

    Attributes:
      mode: name of the mode.
      needs_all: whether one unreadable file makes the result meaningless, as in an average.
    """

    mode: ClassVar[str] = ""
    needs_all: ClassVar[bool] = False

    def paths(self) -> list[Path]:
        """Returns the input files, with folders replaced by the sound files in them."""
        return []

    def for_count(self, count: int) -> Self:
        """Returns the settings for a number of input files.

        Raises:
          ValueError: the mode does not work with so many files.
        """
        return self

    def check_space(self, space: TimbreSpace) -> None:
        """Raises a ValueError if the settings do not fit the space."""

    def record(self, kind: str) -> dict:
        """Returns the settings as JSON values for the manifest, without the input files.

        Args:
          kind: "static" or "series", the kind of the run's space.
        """
        left_out = ("files",) if kind == "series" else ("files", *SERIES_ONLY)
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in left_out}
        return json.loads(json.dumps(values, default=os.fspath))


@dataclasses.dataclass(frozen=True)
class FileSettings(ModeSettings):
    """Settings of a mode that works on sound files."""

    files_optional: ClassVar[bool] = False

    files: tuple[str | os.PathLike, ...] = setting((), "Sound files or folders of sound files, separated by commas.")

    def paths(self) -> list[Path]:
        from timbre_jax.generation.sound_files import expand

        if not self.files and not self.files_optional:
            raise ValueError(f"--mode={self.mode} needs --files=A.wav,B.wav")
        return expand(self.files)


@dataclasses.dataclass(frozen=True)
class HeldSettings(ModeSettings):
    """Settings of a mode whose sounds have no length of their own in a series space."""

    seconds: float = setting(2.0, "Length of the sounds in a series space; of control: with --curve.", low=0.02)


@dataclasses.dataclass(frozen=True)
class MixedSettings(FileSettings):
    """Settings of a mode that mixes or changes latents, which in a discrete space then lie between the codes."""

    mixed_by: str = setting(
        "vectors",
        "interpolate, plane, edit, variations in a discrete space: decode the vectors between codes, or the nearest codes; "
        "crossfade (interpolate): mix the sounds themselves.",
        choices=("vectors", "codes", "crossfade"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixed_by == "crossfade" and self.mode != "interpolate":
            raise ValueError(f"--mixed_by=crossfade is for --mode=interpolate, not for {self.mode}")

    def check_space(self, space: TimbreSpace) -> None:
        if self.mixed_by == "codes" and not space.model.is_discrete:
            raise ValueError("--mixed_by=codes needs a discrete space; this one is continuous")


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
        "sample: a Gaussian with the mean and deviation of the training set's latents, or the standard normal prior.",
        choices=("training", "prior"),
    )
    spread: float = setting(1.0, "Factor on the deviation; less is more typical.", low=0.0)
    movement: float = setting(
        0.3, "sample in a series space: slow random movement, in standard deviations of the training set.", low=0.0
    )
    seed: int = setting(0, "Random seed for sampling.")

    def check_space(self, space: TimbreSpace) -> None:
        if space.kind == "series" and self.draw_from == "prior":
            raise ValueError("--draw_from=prior: a series space draws around the points of the training set; leave it out")


@dataclasses.dataclass(frozen=True)
class Interpolate(MixedSettings):
    """Settings of `interpolate`, which goes from one file to another."""

    mode: ClassVar[str] = "interpolate"
    needs_all: ClassVar[bool] = True

    steps: int = setting(9, "interpolate, sweep: number of sounds, both ends included.", low=2)
    interpolation: str = setting(
        "linear",
        "interpolate: a straight line, an arc, or (series space; slow) a path along which brightness and bandwidth change "
        "evenly.",
        choices=("linear", "spherical", "even"),
    )

    def for_count(self, count: int) -> Self:
        if count != 2:
            raise ValueError(f"--mode=interpolate goes between two files, not {count}")
        return self

    def check_space(self, space: TimbreSpace) -> None:
        super().check_space(space)
        if space.kind == "static" and self.interpolation == "even":
            raise ValueError("--interpolation=even bends a series; this run has one latent a sound: take linear or spherical")


@dataclasses.dataclass(frozen=True)
class Sweep(HeldSettings, FileSettings):
    """Settings of `sweep`, which changes one latent of a file, or of the training mean, over its range."""

    mode: ClassVar[str] = "sweep"
    files_optional: ClassVar[bool] = True

    latent: int = setting(0, "sweep: index of the latent.", low=0)
    steps: int = setting(9, "interpolate, sweep: number of sounds, both ends included.", low=2)

    def for_count(self, count: int) -> Self:
        if count > 1:
            raise ValueError(f"--mode=sweep starts from one file or none, not {count}")
        return self

    def check_space(self, space: TimbreSpace) -> None:
        if self.latent >= space.latent_size:
            raise ValueError(f"--latent={self.latent}: the space has latents 0 to {space.latent_size - 1}")


@dataclasses.dataclass(frozen=True)
class Variations(MixedSettings):
    """Settings of `variations`, which makes sounds around each file."""

    mode: ClassVar[str] = "variations"

    number: int = setting(8, "Number of sounds for each file.", low=1)
    spread: float = setting(0.3, "Distance from the file in standard deviations of the training set.", low=0.0)
    seed: int = setting(0, "Random seed for sampling.")


@dataclasses.dataclass(frozen=True)
class Average(HeldSettings, FileSettings):
    """Settings of `average`, which averages the latents of several files."""

    mode: ClassVar[str] = "average"
    needs_all: ClassVar[bool] = True

    def for_count(self, count: int) -> Self:
        if count < 2:
            raise ValueError("--mode=average takes at least two files, not 1")
        return self


@dataclasses.dataclass(frozen=True)
class Arithmetic(HeldSettings, FileSettings):
    """Settings of `arithmetic`, which adds and subtracts latents around the training mean."""

    mode: ClassVar[str] = "arithmetic"
    needs_all: ClassVar[bool] = True

    weights: tuple[float, ...] = setting((), "arithmetic: a number for each file: 1,1,-1 is a + b - c. Default: 1 each.")

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "weights", tuple(map(float, self.weights)))
        except ValueError:
            given = ",".join(map(str, self.weights))
            raise ValueError(f"--weights takes numbers with commas between, not {given}") from None
        super().__post_init__()

    def for_count(self, count: int) -> Self:
        if self.weights and len(self.weights) != count:
            given = ",".join(f"{weight:g}" for weight in self.weights)
            raise ValueError(f"--weights needs a finite number for each of the {count} files, not {given}")
        return dataclasses.replace(self, weights=self.weights or (1.0,) * count)


@dataclasses.dataclass(frozen=True)
class Convert(FileSettings):
    """Settings of `convert`, which encodes and decodes each file and keeps its level curve."""

    mode: ClassVar[str] = "convert"

    match_level: bool = setting(True, "convert: turn the result up and down until its level curve is the input's.")


@dataclasses.dataclass(frozen=True)
class Plane(MixedSettings):
    """Settings of `plane`, which mixes four files at the corners of a square."""

    mode: ClassVar[str] = "plane"
    needs_all: ClassVar[bool] = True

    at: tuple[tuple[float, float], ...] = setting(
        (), 'Points of the square, 0 to 1, as "x,y;x,y"; several are passed in time.', parse=lambda text: parse_points(text)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "at", parse_points(self.at) if self.at else ())

    def for_count(self, count: int) -> Self:
        if count != 4 or not self.at:
            raise ValueError(f'--mode=plane lies between four files and needs --at="x,y;x,y", got {count} and --at={self.at}')
        return self


@dataclasses.dataclass(frozen=True)
class ApplyEdits(MixedSettings):
    """Settings of `edit`, which applies a list of edits, or one operator, to each file."""

    mode: ClassVar[str] = "edit"

    edits: str | None = setting(None, "edit: a CSV or JSON file of edits (timbre_jax/generation/edits.py).")
    operator: str | None = setting(None, "edit: one operator on the whole sound instead of a file.")
    amount: str | None = setting(None, "edit: amount of --operator.")
    what: str = setting("all", "edit: what --operator changes: all, level, latent 3, axis 0.")
    seed: int = setting(0, "Random seed for sampling.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.edits is None) == (self.operator is None):
            raise ValueError("--mode=edit needs --edits=FILE (CSV or JSON) or --operator=NAME --amount=NUMBER, one of both")


@dataclasses.dataclass(frozen=True)
class Control(HeldSettings, FileSettings):
    """Settings of `control`, which makes sounds whose descriptors follow curves."""

    mode: ClassVar[str] = "control"
    files_optional: ClassVar[bool] = True

    descriptor: tuple[str, ...] = setting(
        ("centroid",), "control: centroid, bandwidth, flatness, rolloff, loudness; in a discrete space also f0."
    )
    curve: tuple[str, ...] = setting(
        (), "control: SHAPE:HZ for each descriptor; shapes are sine, line, exponential and constant."
    )
    curve_file: tuple[str | os.PathLike, ...] = setting((), "control: a CSV file of time,value for each descriptor.")
    like: str | None = setting(None, "control: a sound whose own curve is followed, scaled into what the space reaches.")
    between: tuple[str, ...] = setting(
        (), "control: LOW-HIGH for each descriptor of --curve or --like. Default: the middle of what the space reaches."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in ("curve", "curve_file", "like") if getattr(self, name)]
        if len(given) != 1:
            named = " and ".join(f"--{name}" for name in given) or "none"
            raise ValueError(
                f"--mode=control follows --curve=sine:0.5, --curve_file=CSV or --like=SOUND, one of them, not {named}"
            )
        for name in ("curve", "curve_file", "between"):
            values = getattr(self, name)
            if values and len(values) != len(self.descriptor):
                raise ValueError(
                    f"--{name}={','.join(map(str, values))}: one for each of {', '.join(self.descriptor)} is needed"
                )


def parse_points(at: str | Sequence[Sequence[float]]) -> Points:
    """Returns points of a plane from "x,y;x,y" or from pairs of numbers.

    Raises:
      ValueError: not pairs of finite numbers.
    """
    pairs = [part.split(",") for part in at.split(";") if part.strip()] if isinstance(at, str) else at
    try:
        points = tuple((float(x), float(y)) for x, y in pairs)
    except (TypeError, ValueError):
        points = ()
    if not points:
        raise ValueError(f'--at takes points of the map as "x,y;x,y", not {at!r}')
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            raise ValueError(f"--at: a point is two finite numbers, the map itself lies in 0..1, not ({x}, {y})")
    return points


MODE_SETTINGS = (
    Reconstruct, Sample, Interpolate, Sweep, Variations, Average, Arithmetic, Convert, Plane, ApplyEdits, Control,
)  # fmt: skip
"""Settings of all modes of this room."""
