"""PCA with 8 components: the best linear model of the size, the floor that a network of 8 latents has to beat.

  python experiments/train.py --config=pca8 --workdir=runs/pca8 --config.data.store=notes

The representation is that of `notes_best` (log f0, fixed ranges).
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    config = default_config()
    config.representation = representation_section("harmonic_tracks")
    config.model = model_section("pca", latent_size=8)
    return config
