"""Constant baseline of notes: the mean of the training features.

  python experiments/prepare.py --out=notes --number=10000
  python experiments/train.py --config=mean_image --workdir=runs/mean_image --config.data.store=notes

On a GPU:

  python experiments/train.py --config=mean_image --workdir=runs/mean_image --config.data.store=notes --platform=cuda

Cost: seconds on two CPU cores; the fit is in closed form.
Expected on the held-out instruments of the bank (1,379 notes): MSE .0565 (.0435-.0754), SSIM .415.

The representation is that of `notes_best` (log f0, fixed ranges).
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("harmonic_tracks")
    config.model = model_section("mean_image")
    return config
