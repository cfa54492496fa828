"""Learn a space of timbres from recorded sounds, explain its directions, and make new sounds from it.

The names below are imported when they are first used, so that `import timbre_jax` is fast.
"""

from __future__ import annotations

import importlib

from timbre_jax.version import __version__

_ROOMS = {
    # A space and what passes through it
    "timbre_jax.checkpoint": ("load",),
    "timbre_jax.space": ("TimbreSpace",),
    "timbre_jax.types": ("Features", "Latent", "Posterior"),
    # Representations and models
    "timbre_jax.representations": ("HarmonicTracks", "LogMel", "Representation", "WaveFrames", "make_representation"),
    "timbre_jax.models": ("TimbreModel", "make_model"),
    # Sounds and stores
    "timbre_jax.audio.io": ("read_wave", "write_wave"),
    "timbre_jax.data.store": ("Store", "open_store"),
    "timbre_jax.data.prepare.make_store": ("prepare",),
    # Training
    "timbre_jax.training.config": ("default_config",),
    "timbre_jax.training.loop": ("train_and_evaluate",),
    # Inference on many and on long sounds
    "timbre_jax.inference.batched": ("encode_features",),
    "timbre_jax.inference.chunked": ("embed_long", "reconstruct_long", "render_long"),
    "timbre_jax.inference.pooled": ("held_space",),
    # Analyzes
    "timbre_jax.analysis.ablation": ("ablation",),
    "timbre_jax.analysis.attribution": ("integrated_gradients", "shapley"),
    "timbre_jax.analysis.correlation": ("correlation",),
    "timbre_jax.analysis.perturbation": ("perturbation",),
    "timbre_jax.analysis.projection": ("pca_map", "tsne_map", "umap_map"),
    "timbre_jax.analysis.sage": ("sage",),
    "timbre_jax.analysis.sensitivity": ("sensitivity",),
    "timbre_jax.analysis.series": ("analyze_series",),
    "timbre_jax.analysis.static": ("analyze_static",),
    # New sounds
    "timbre_jax.generation.static_paths": ("interpolate", "sample_aggregate", "sample_prior", "sweep"),
    "timbre_jax.generation.generate": ("generate",),
    # Scores and maps
    "timbre_jax.evaluation.comparison": ("evaluate",),
    "timbre_jax.evaluation.settings": ("EvaluationSettings",),
    "timbre_jax.evaluation.sounds": ("SoundArrays",),
    "timbre_jax.evaluation.runs": ("open_run",),
    "timbre_jax.metrics.peaq": ("peaq_basic",),
    "timbre_jax.metrics.reconstruction": ("reconstruction_scores",),
    "timbre_jax.maps.sound_map": ("load_map", "make_map"),
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
