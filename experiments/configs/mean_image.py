"""The mean of the training features: what a model scores that says the same for every sound.

  python experiments/train.py --config=mean_image --workdir=runs/mean_image --config.data.store=notes

The representation is that of `notes_best` (log f0, fixed ranges).
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    config = default_config()
    config.representation = representation_section("harmonic_tracks")
    config.model = model_section("mean_image")
    return config
