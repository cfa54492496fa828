"""Natsiou, O'Leary & Longo 2023: a convolutional VAE with 8 latents on the harmonic tracks of notes.

  python experiments/prepare.py --source=soundfont --number=10000 --out=notes
  python experiments/train.py --config=natsiou2023 --workdir=runs/natsiou2023 --config.data.store=notes

The paper's: YIN f0 and 7 harmonics, min-max scaled by the data; two convolutions of 32 filters each way; binary
cross-entropy; Adam at 1e-3, batches of 128; early stopping with patience 20 (epochs). Inferred: f0 in Hz (the text names
no logarithm for it, and does for the amplitudes); 372 frames; sigmoid output; cross-entropy summed over pixels, KL weight
1; at most 200 epochs.
"""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    config = default_config()
    config.representation = representation_section("harmonic_tracks", f0_scale="hz", fit_ranges=True)
    config.model = model_section("conv_vae", latent_size=8)
    config.optimizer.learning_rate = 1e-3
    config.train.batch_size = 128
    config.train.epochs = 200.0
    config.train.patience = 20
    return config
