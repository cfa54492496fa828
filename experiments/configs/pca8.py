"""Linear baseline of notes: PCA with 8 components.

  python experiments/prepare.py --out=notes --number=10000
  python experiments/train.py --config=pca8 --workdir=runs/pca8 --config.data.store=notes

On a GPU:

  python experiments/train.py --config=pca8 --workdir=runs/pca8 --config.data.store=notes --platform=cuda

Cost: seconds on two CPU cores; the fit is in closed form.
Expected on the held-out instruments of the bank (1,379 notes): MSE .00271 (.00212-.00339), SSIM .862.

PCA is the best linear model of its size. The representation is that of `notes_best` (log f0, fixed ranges).
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("harmonic_tracks")
    config.model = model_section("pca", latent_size=8)
    return config
