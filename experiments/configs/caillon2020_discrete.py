"""The discrete model of Caillon et al. 2020 (Bitton, Esling & Harada 2020, arXiv 2007.06349): a VQ-VAE that shapes noise."""

from timbre_jax.training.config import default_config, model_section, representation_section


def get_config():
    config = default_config()
    config.representation = representation_section("wave_frames")
    config.model = model_section(
        "vq_vae",
        latent_size=128,
        channels=(8, 8, 16, 16, 32, 64, 128),
        width=256,
        depth=1,
        train_frames=16,
    )
    config.optimizer.learning_rate = 1e-3
    config.optimizer.clip_norm = 1.0
    config.train.batch_size = 8
    config.train.steps = 2400
    config.train.eval_every = 600
    config.train.statistics_examples = 48
    return config
