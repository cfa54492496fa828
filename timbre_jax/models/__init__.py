"""Registry of models by name. Loading a run looks its model up here: no code comes from a checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

from timbre_jax.models.base import TimbreModel
from timbre_jax.models.conv_vae import ConvVAE
from timbre_jax.models.dense_vae import DenseVAE
from timbre_jax.models.flow_vae import FlowVAE
from timbre_jax.models.frame_vae import FrameVAE
from timbre_jax.models.linear import PCA, MeanImage
from timbre_jax.models.spectral_vq_vae import SpectralVQVAE
from timbre_jax.models.variable_length_vae import VariableLengthVAE
from timbre_jax.models.vq_vae import VQVAE

MODELS: dict[str, type[TimbreModel]] = {
    "conv_vae": ConvVAE,
    "dense_vae": DenseVAE,
    "flow_vae": FlowVAE,
    "frame_vae": FrameVAE,
    "mean_image": MeanImage,
    "pca": PCA,
    "spectral_vq_vae": SpectralVQVAE,
    "variable_length_vae": VariableLengthVAE,
    "vq_vae": VQVAE,
}
RENAMED = {"any_length_vae": "variable_length_vae", "sample_vae": "flow_vae", "vq_spectra": "spectral_vq_vae"}
"""Names of earlier versions: runs saved under them are refused with the name that replaced it."""


def make_model(name: str, **settings) -> TimbreModel:
    """Makes the model of that name; lists in settings (as JSON has them) become tuples, so that it is hashable.

    Raises:
      ValueError: an unknown or replaced name, an unknown setting, or a value that is not possible.
    """
    if name in RENAMED:
        raise ValueError(f"model {name!r} is now {RENAMED[name]!r}: rename it in the configuration, or train the run again")
    if name == "conv_vae" and settings.get("dtype") == "float32":
        del settings["dtype"]  # Runs of version 0.1 have it.
    if name not in MODELS:
        raise ValueError(f"there is no model {name!r}; there are {', '.join(sorted(MODELS))}")
    settings = {key: _tuples(value) for key, value in settings.items()}
    known = {field.name for field in dataclasses.fields(MODELS[name])} - {"parent", "name"}
    if unknown := sorted(set(settings) - known):
        raise ValueError(f"model {name!r} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}")
    for field in dataclasses.fields(MODELS[name]):
        if field.name in settings:
            _check(name, field, settings[field.name], may_be_zero=field.name in MODELS[name].nonnegative_fields)
    return MODELS[name](**settings)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, list | tuple) else value


def _check(model: str, field: dataclasses.Field, value: Any, *, may_be_zero: bool) -> None:
    """Raises a ValueError where a setting is not of its default's kind, or is a size that nothing can have."""
    if field.default is None or field.default is dataclasses.MISSING:
        return
    wanted = type(field.default)
    right = isinstance(value, (int, float) if wanted is float else wanted) and isinstance(value, bool) == (wanted is bool)
    if not right:
        raise ValueError(f"model {model!r}: {field.name} must be {wanted.__name__} like {field.default!r}, not {value!r}")
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, int | float) and not isinstance(part, bool) and not (part > 0 or (part == 0 and may_be_zero)):
            least = "must not be negative" if may_be_zero else "must be more than 0"
            raise ValueError(f"model {model!r}: {field.name} {least}, not {value!r}")
