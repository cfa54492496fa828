"""timbre_jax: learn a space of timbres from recorded sounds, explain its directions, make new sounds from it."""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str):
    # `load` needs flax and orbax; `import timbre_jax` alone should not wait for them.
    if name == "load":
        from timbre_jax.checkpoint import load

        return load
    raise AttributeError(f"module 'timbre_jax' has no attribute {name!r}")
