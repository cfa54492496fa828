"""Linear baseline of sample libraries: PCA with 64 components of log-mel spectrograms.

  python experiments/prepare.py --source=drums --splits=70,10,20 --out=drums
  python experiments/train.py --config=library_pca64 --workdir=runs/library_pca64 --config.data.store=drums

On a GPU:

  python experiments/train.py --config=library_pca64 --workdir=runs/library_pca64 --config.data.store=drums --platform=cuda

Cost: seconds on two CPU cores; the fit is in closed form.
Expected on 141 unseen hits of 703: MSE of the log-mel .00393 (.00353-.00437), log-spectral distance 3.20 dB (2.71-3.73), kNN
accuracy of the class 74 %.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("log_mel")
    config.model = model_section("pca", latent_size=64)
    return config
