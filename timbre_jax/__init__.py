"""Learn a space of timbres from recorded sounds, explain its directions, and make new sounds from it.

The names below are imported when they are first used, so that `import timbre_jax` is fast.
"""

from __future__ import annotations

import importlib

from timbre_jax.version import __version__

_ROOMS = {
    "timbre_jax.checkpoint": ("load",),
    "timbre_jax.types": ("Features", "Latent", "Posterior"),
    "timbre_jax.space": ("TimbreSpace",),
}
"""Public names by the module that defines them."""

_MODULES = {name: module for module, names in _ROOMS.items() for name in names}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module 'timbre_jax' has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
