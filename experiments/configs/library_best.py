"""Best model of sample libraries with 64 latents: dense VAE in a basis of varied sounds.

  python experiments/prepare.py --source=drums --splits=70,10,20 --out=drums
  python experiments/train.py --config=library_best --workdir=runs/library_best --config.data.store=drums

On a GPU:

  python experiments/train.py --config=library_best --workdir=runs/library_best --config.data.store=drums --platform=cuda

Cost: 8,000 steps, 40 minutes on one CPU core; less on two cores.
Expected on 141 unseen hits of 703, with the drum kits of the bank as extra_stores (docs/results.md): log-spectral distance 3.08
dB, sound by sound 0.115 (0.080-0.145) below PCA with 64 components and 0.22 (0.02-0.41) below the nearest training hit; MSE of
the log-mel .00286 within the sounds, 27 % below PCA.

It starts from a PCA with 64 components and differs from it as follows. The basis of 512 components is fitted to sounds varied
in pitch, tempo, color and decay, which span unseen hits better than the hits do. Dense layers represent
onsets and decays, for which linear components are inefficient. Latents are refined against the decoder. Bands are weighted by
the bins that they contain. `silence_threshold` mutes nearly silent values, and 1 dB of texture (`texture_db`) restores some of
the noise that decoders smooth.
"""

from timbre_jax.representations import LogMel
from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    """Returns the configuration."""
    config = default_config()
    config.representation = representation_section("log_mel", texture_db=1.0)
    config.model = model_section(
        "dense_vae",
        latent_size=64,
        basis_size=512,
        width=768,
        depth=2,
        linear_paths=True,
        feature_weights=LogMel().band_bins,
        silence_threshold=0.05,
        refine_steps=4,
    )
    config.augment = {"name": "mel"}
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.optimizer.final_fraction = 0.01
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 128
    config.train.steps = 8000
    config.train.eval_every = 250
    config.train.monitor = "mse"
    config.train.average_decay = 0.998
    config.train.initialize_readings = 8
    config.data.in_memory = True
    return config
