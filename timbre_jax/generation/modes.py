"""Registry of the modes of generation: settings and functions by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from timbre_jax.evaluation.runs import Run
from timbre_jax.generation import control_modes, series_modes, settings, static_modes
from timbre_jax.generation.generated_sound import Generated


@dataclasses.dataclass(frozen=True)
class Mode:
    """Mode of generation. Its functions take (space, inputs, settings, **resources) and yield the sounds.

    Attributes:
      settings: kind of its settings.
      static: makes sounds in a space with one latent a sound; None if the mode needs a series space.
      series: makes sounds in a space with one latent a frame; None if it is `static` on held points.
      resources: returns further arguments of the functions from the run and the settings, or raises a ValueError before
        anything is written.
    """

    settings: type[settings.ModeSettings]
    static: Callable[..., Generated] | None = None
    series: Callable[..., Generated] | None = None
    resources: Callable[[Run, Any], dict[str, Any]] | None = None


MODES: dict[str, Mode] = {}
"""Modes by name. `timbre_jax.maps.generation_mode` adds "map"."""


def add_mode(mode: Mode) -> None:
    """Adds a mode to `MODES`."""
    MODES[mode.settings.mode] = mode


for _mode in (
    Mode(settings.Reconstruct, static_modes.reconstruct, series_modes.reconstruct),
    Mode(settings.Sample, static_modes.sample, series_modes.sample),
    Mode(settings.Interpolate, static_modes.interpolate, series_modes.interpolate),
    Mode(settings.Sweep, static_modes.sweep),
    Mode(settings.Variations, static_modes.variations, series_modes.variations),
    Mode(settings.Average, static_modes.average),
    Mode(settings.Arithmetic, static_modes.arithmetic),
    Mode(settings.Convert, series=series_modes.convert),
    Mode(settings.Plane, series=series_modes.plane),
    Mode(settings.ApplyEdits, series=series_modes.edit, resources=series_modes.edit_resources),
    Mode(settings.Control, series=control_modes.control),
):
    add_mode(_mode)
