"""Augmentation of features on the device: more instruments than the training set has. Pure, one key per example."""

from __future__ import annotations

from collections.abc import Callable

from timbre_jax.data.augment.harmonic import HarmonicAugment
from timbre_jax.data.augment.log_mel import MelAugment
from timbre_jax.representations.base import Representation
from timbre_jax.types import Array

Augment = Callable[[Array, Array, Array], Array]
"""(keys [B], values [B, N, F], mask [B, N]) -> values [B, N, F]."""

AUGMENTS = {"harmonic": HarmonicAugment, "mel": MelAugment}


def make_augment(name: str, *, representation: Representation, **settings) -> Augment | None:
    """The augmentation of that name for a representation: "none" (None), "harmonic" or "mel".

    Raises:
      ValueError: an unknown name or setting, a value that makes no sense, or a representation that it does not fit.
    """
    if name == "none":
        if settings:
            raise ValueError(f"augmentation 'none' has no setting {min(settings)!r}; there are 'harmonic' and 'mel' to be set")
        return None
    if name not in AUGMENTS:
        raise ValueError(f"there is no augmentation {name!r}; there are 'none', 'harmonic', 'mel'")
    known = AUGMENTS[name].settings
    if unknown := sorted(set(settings) - set(known)):
        raise ValueError(f"augmentation {name!r} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}")
    for setting, value in settings.items():
        whole = isinstance(getattr(AUGMENTS[name], setting), int)
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError(f"augmentation {name!r}: {setting} must be a {'whole ' * whole}number, not {value!r}")
        if value < 0:
            raise ValueError(f"augmentation {name!r}: {setting} must not be negative, not {value}")
    if not settings.get("probability", 1.0) <= 1.0:
        raise ValueError(f"augmentation {name!r}: probability must lie in [0, 1], not {settings['probability']}")
    for setting, least in (("held_seconds", 0.0), ("knots", 1)):
        if not settings.get(setting, least + 1) > least:
            raise ValueError(f"augmentation {name!r}: {setting} must be more than {least:g}, not {settings[setting]}")
    return AUGMENTS[name].of(representation, **settings)


__all__ = ["AUGMENTS", "Augment", "HarmonicAugment", "MelAugment", "make_augment"]
