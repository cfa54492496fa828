"""Models by name. Loading a run looks its model up here: no code comes from a checkpoint."""

from __future__ import annotations

import dataclasses

from timbre_jax.models.base import TimbreModel
from timbre_jax.models.conv_vae import ConvVAE
from timbre_jax.models.dense_vae import DenseVAE
from timbre_jax.models.linear import PCA, MeanImage

MODELS: dict[str, type[TimbreModel]] = {"conv_vae": ConvVAE, "dense_vae": DenseVAE, "mean_image": MeanImage, "pca": PCA}


def make_model(name: str, **settings) -> TimbreModel:
    """The model of that name; lists in settings (as JSON has them) become tuples, so that it is hashable.

    Raises:
      ValueError: an unknown name or setting.
    """
    if name not in MODELS:
        raise ValueError(f"there is no model {name!r}; there are {', '.join(sorted(MODELS))}")
    settings = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()}
    known = {field.name for field in dataclasses.fields(MODELS[name])} - {"parent", "name"}
    if unknown := sorted(set(settings) - known):
        raise ValueError(f"model {name!r} has no setting {unknown[0]!r}; it has {', '.join(sorted(known))}")
    return MODELS[name](**settings)
