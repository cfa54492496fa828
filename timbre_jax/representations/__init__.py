"""Registry of representations, pairs of analysis and synthesis, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from timbre_jax.representations.base import Representation, representation_settings
from timbre_jax.representations.harmonic_tracks import HarmonicTracks
from timbre_jax.representations.log_mel import LOG_MEL_PRESETS, LogMel
from timbre_jax.representations.wave_frames import WaveFrames

REPRESENTATIONS: dict[str, type[Representation]] = {kind.name: kind for kind in (HarmonicTracks, LogMel, WaveFrames)}


def make_representation(name: str, **settings: Any) -> Representation:
    """Creates a representation by name.

    Args:
      name: one of `REPRESENTATIONS`.
      **settings: fields of the representation. Lists, as in JSON, become tuples.

    Raises:
      ValueError: the name or a setting is unknown, or a value is out of range.
    """
    if name not in REPRESENTATIONS:
        raise ValueError(f"representation {name!r}: unknown name (expected one of {', '.join(sorted(REPRESENTATIONS))})")
    kind = REPRESENTATIONS[name]
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ValueError(f"representation {name!r}: unknown setting {unknown[0]!r} (expected one of {', '.join(known)})")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})


__all__ = [
    "LOG_MEL_PRESETS",
    "REPRESENTATIONS",
    "HarmonicTracks",
    "LogMel",
    "Representation",
    "WaveFrames",
    "make_representation",
    "representation_settings",
]
