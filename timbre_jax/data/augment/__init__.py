"""Augmentation of features on the device: pure functions with one key per example."""

from __future__ import annotations

import dataclasses

from timbre_jax.data.augment.base import Augmentation
from timbre_jax.data.augment.harmonic import HarmonicAugment
from timbre_jax.data.augment.log_mel import MelAugment
from timbre_jax.representations.base import Representation
from timbre_jax.settings import field_types

AUGMENTS = {"harmonic": HarmonicAugment, "mel": MelAugment}


def make_augment(name: str, *, representation: Representation, **settings) -> Augmentation | None:
    """Creates an augmentation by name; returns None for the name "none".

    Args:
      name: "none", "harmonic" or "mel".
      representation: representation of the features.
      settings: settings of the augmentation.

    Raises:
      ValueError: the name, a setting or a value is not valid, or the augmentation does not apply to the representation.
    """
    if name != "none" and name not in AUGMENTS:
        raise ValueError(f"config.augment.name={name}: must be one of none, {', '.join(AUGMENTS)}")
    if name == "none":
        if settings:
            raise ValueError(f"config.augment.{min(settings)}: augmentation 'none' has no settings; set config.augment.name")
        return None
    kind = AUGMENTS[name]
    known = [field.name for field in dataclasses.fields(kind) if field.metadata]
    for key, value in settings.items():
        if key not in known:
            raise ValueError(f"config.augment.{key}: not a setting of {name!r} (its settings are {', '.join(sorted(known))})")
        number = int if field_types(kind)[key] is int else int | float
        if isinstance(value, bool) or not isinstance(value, number):
            raise ValueError(f"config.augment.{key}={value!r}: must be a {'whole ' if number is int else ''}number")
    units = kind.units(representation)
    try:
        return kind(**settings, **units)
    except ValueError as error:
        raise ValueError(f"config.augment.{error}") from None


__all__ = ["AUGMENTS", "Augmentation", "HarmonicAugment", "MelAugment", "make_augment"]
