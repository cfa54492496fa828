"""Natsiou et al. 2023: convolutional VAE with 8 latents on harmonic tracks of notes.

A. Natsiou, S. O'Leary, L. Longo, An Exploration of the Latent Space of a Convolutional Variational Autoencoder for the
Generation of Musical Instrument Tones, xAI 2023.

  python experiments/prepare.py --out=notes --number=10000
  python experiments/train.py --config=natsiou2023 --workdir=runs/natsiou2023 --config.data.store=notes

On a GPU:

  python experiments/train.py --config=natsiou2023 --workdir=runs/natsiou2023 --config.data.store=notes --platform=cuda

Cost: at most 10,800 steps with early stopping, 72 minutes at the 2.5 steps per second of one CPU core; less on two cores.
Expected on the held-out instruments of the bank (1,379 notes): MSE .00210 (.00161-.00269), SSIM .925; on 495 NSynth notes MSE
.00608 (.00448-.00826), SSIM .863.

From the paper: YIN f0 and 7 harmonics, min-max scaled by the data; two convolutions of 32 filters in encoder and decoder;
binary cross-entropy; Adam at 1e-3 with batches of 128; early stopping with a patience of 20 epochs. Inferred: f0 in Hz (the
text mentions a logarithm for the amplitudes only); 372 frames; sigmoid output; cross-entropy summed over pixels with KL weight
1; at most 200 epochs.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("harmonic_tracks", f0_scale="hz", fit_ranges=True)
    config.model = model_section("conv_vae", latent_size=8)
    config.optimizer.learning_rate = 1e-3
    config.train.batch_size = 128
    config.train.epochs = 200.0
    config.train.patience = 20
    return config
