"""Registry of models by name, so that loading a run executes no code from its checkpoint."""

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
"""New names of the models of version 0.1; `make_model` refuses the old ones with a message that says the new one."""
RENAMED_SETTINGS = {
    "commitment": "commitment_weight",
    "flow_start": "flow_init_scale",
    "gate": "silence_threshold",
    "given": "decoder_conditions",
    "linear": "linear_paths",
    "refine_prior": "refine_prior_weight",
    "relative_db": "relative_range_db",
    "restart": "restart_threshold",
    "reversal_time": "reversal_time_constant",
    "straight_weight": "straightness_weight",
    "strided": "strided_layer",
    "warm_up": "warm_up_fraction",
    "weights": "feature_weights",
}
"""New names of the settings of version 0.1; `make_model` accepts both, so that its runs load."""


def make_model(name: str, **settings) -> TimbreModel:
    """Creates a model by name.

    Args:
      name: one of `MODELS`.
      **settings: fields of the model. Lists, as in JSON, become tuples, so that the model is hashable.

    Returns:
      The model, an unbound linen module.

    Raises:
      ValueError: the model is unknown or renamed, a setting is unknown, or a value has the wrong type or range.
    """
    if name in RENAMED:
        raise ValueError(f"model {name!r}: renamed to {RENAMED[name]!r}; rename it in the configuration or train the run again")
    if name not in MODELS:
        raise ValueError(f"model {name!r}: unknown name (expected one of {', '.join(sorted(MODELS))})")
    settings = {RENAMED_SETTINGS.get(key, key): _lists_to_tuples(value) for key, value in settings.items()}
    if name == "conv_vae" and settings.get("dtype") == "float32":
        del settings["dtype"]  # A setting of version 0.1, which config.train.precision replaced.
    known = {field.name for field in dataclasses.fields(MODELS[name])} - {"parent", "name"}
    if unknown := sorted(set(settings) - known):
        raise ValueError(f"model {name!r}: unknown setting {unknown[0]!r} (expected one of {', '.join(sorted(known))})")
    for field in dataclasses.fields(MODELS[name]):
        if field.name in settings:
            _check(name, field, settings[field.name], allow_zero=field.name in MODELS[name].nonnegative_fields)
    return MODELS[name](**settings)


def _lists_to_tuples(value: Any) -> Any:
    return tuple(_lists_to_tuples(part) for part in value) if isinstance(value, list | tuple) else value


def _check(model: str, field: dataclasses.Field, value: Any, *, allow_zero: bool) -> None:
    """Raises ValueError if a setting differs in type from its default or is out of range."""
    if field.default is None or field.default is dataclasses.MISSING:
        return
    expected = type(field.default)
    same_type = isinstance(value, (int, float) if expected is float else expected)
    if not same_type or isinstance(value, bool) != (expected is bool):
        raise ValueError(f"model {model!r}: {field.name} must be {expected.__name__} like {field.default!r} (got {value!r})")
    for part in value if isinstance(value, tuple) else (value,):
        if isinstance(part, int | float) and not isinstance(part, bool) and not (part > 0 or (part == 0 and allow_zero)):
            raise ValueError(
                f"model {model!r}: {field.name} must {'not be negative' if allow_zero else 'be positive'} (got {value!r})"
            )
