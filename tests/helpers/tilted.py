"""A continuous series space in which descriptors can be moved: noise whose spectrum tilts and bulges with two latents."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from tests.helpers.series import linear_space
from timbre_jax.space import TimbreSpace

FRAMES = 40
HOP = 128


def tilted_space() -> TimbreSpace:
    """16 kHz, hop 128, two frames a latent; the centroid goes from about 0.5 to 7 kHz with the first latent."""
    made = linear_space(2, frames=FRAMES)
    bands = np.linspace(-1, 1, 24)
    tilt, bulge = np.tile(bands, 2), np.tile(bands**2 - np.mean(bands**2), 2)
    basis = np.stack([tilt / np.linalg.norm(tilt), bulge / np.linalg.norm(bulge)])
    return made.replace(variables={"params": {"mean": jnp.full((48,), 0.6), "basis": jnp.asarray(basis, jnp.float32)}})
