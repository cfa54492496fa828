"""PCA with 64 components of log-mel spectrograms: the linear floor of every table on a library.

python experiments/train.py --config=library_pca64 --workdir=runs/library_pca64 --config.data.store=hits

Fitted in closed form, in seconds.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    config = default_config()
    config.representation = representation_section("log_mel")
    config.model = model_section("pca", latent_size=64)
    return config
