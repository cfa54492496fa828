"""Registry of the modes of generation, with settings and functions by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from timbre_jax.evaluation.runs import Run
from timbre_jax.generation import control_modes, series_modes, settings, static_modes
from timbre_jax.generation.generated_sound import Generated


@dataclasses.dataclass(frozen=True)
class Mode:
    """Mode of generation: its settings, and its functions for static and series spaces.

    The functions take (space, inputs, settings, **resources) and yield sounds.

    Attributes:
      settings: class of its settings.
      static: function for static spaces; None if the mode needs a series space.
      series: function for series spaces; None if the mode applies `static` to held points.
      resources: function that takes the run and the settings and returns further arguments; it raises a ValueError before
        anything is written. None for no further arguments.
    """

    settings: type[settings.ModeSettings]
    static: Callable[..., Generated] | None = None
    series: Callable[..., Generated] | None = None
    resources: Callable[[Run, Any], dict[str, Any]] | None = None


MODES: dict[str, Mode] = {}
"""Modes by name. `timbre_jax.maps.generation_mode` adds "map"."""


def add_mode(mode: Mode) -> None:
    """Registers a mode in `MODES`."""
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
